"""What a benchmark found: tables of medians over rounds, with where they come from; printed, kept, and read again."""

import json
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
BUSY = 0.5  # load per core above which other work slows what is measured
Row = float | Mapping[str, Any]


@dataclass
class Result:
    """Filled while a benchmark runs.

    Attributes:
      tables: by title and row, the spread over rounds, or a number that was taken once.
      agreement: largest difference of each result from the reference's, relative to its largest entry.
      facts: whatever else is worth keeping.
      left_out: peers without an interpreter; such a result is not kept.
    """

    name: str
    work: str
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def add(self, title: str, rows: Mapping[str, Sequence[float] | float]) -> None:
        """Add rows to a table; a sequence holds the values of the rounds, in their order."""
        for name, values in rows.items():
            row = values if isinstance(values, int | float) else spread(values)
            self.tables.setdefault(title, {})[name] = row

    def content(self) -> dict[str, Any]:
        """What is kept of it, empty parts left out."""
        parts = ("work", "provenance", "agreement", "tables", "facts")
        return {part: significant(value) for part in parts if (value := getattr(self, part))}


def significant(value: Any) -> Any:
    """Plain data with four significant digits in its fractions."""
    if isinstance(value, Mapping):
        return {name: significant(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [significant(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, lowest and highest over the rounds, and all of them in their order."""
    around = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return {**around, "rounds": list(values)}


def middle(row: Row) -> float:
    """The number to be quoted of a row."""
    return row["median"] if isinstance(row, Mapping) else row


def short(value: float) -> str:
    """A number with three digits."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def find_load() -> float:
    """The machine's load average over a minute."""
    return round(os.getloadavg()[0], 2)


def describe_origin(result: Result, rounds: int, cores: Sequence[int], before: float, seconds: float) -> dict[str, Any]:
    """Where a result comes from: code, machine, load before and after, versions."""
    from core.runs.provenance import collect_provenance

    about = collect_provenance(seconds=seconds, peak_gib=0.0)
    own = {"python": about["python"], **{name: about["libraries"][name] for name in ("jax", "numpy")}}
    return {
        **{name: about[name] for name in ("date", "commit", "dirty")},
        "cpu": about["device"]["cpu"],
        "cores": len(cores),
        "rounds": rounds,
        "seconds": about["seconds"],
        "load": [before, find_load()],
        "versions": own | result.versions,
    }


def was_busy(provenance: Mapping[str, Any]) -> bool:
    """Whether the machine did other work when the measuring began."""
    return provenance.get("load", [0.0])[0] > BUSY * provenance.get("cores", 1)


def print_result(content: Mapping[str, Any]) -> None:
    """A result as kept, for people."""
    print(content["work"])
    for title, rows in content.get("tables", {}).items():
        print(f"\n{title:72}{'median':>10}{'lowest':>10}{'highest':>10}")
        for name, row in rows.items():
            values = [row.get(part) for part in ("median", "lowest", "highest")] if isinstance(row, dict) else [row]
            print(f"  {name:70}" + "".join(f"{value:10.4g}" for value in values if value is not None))
    for part in (part for part in ("agreement", "facts", "provenance") if part in content):
        print(f"\n{part}: {json.dumps(content[part], ensure_ascii=False)}")
    if was_busy(content["provenance"]):
        print("\nThe machine did other work: seconds say little, ratios formed round by round somewhat more.")


def write_result(result: Result) -> Path:
    """Keep a result in the place of the one before it; what is innermost stands on one line."""
    from core.files import write_text

    text = json.dumps(result.content(), indent=1, allow_nan=False, ensure_ascii=False)
    for innermost in (r"\[[^][{}]*\]", r"\{[^{}]*\}"):
        text = re.sub(innermost, lambda match: re.sub(r"\s+", " ", match[0]), text)
    path = FOLDER / f"{result.name}.json"
    write_text(path, text + "\n")
    return path


def read_result(name: str) -> Any:
    """The result that is kept of a benchmark, or None."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
