"""What a benchmark found: tables of medians over rounds, with where they come from; printed, kept, and summed up."""

import json
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
BUSY = 0.25  # load per core above which other work slows what is measured
Row = float | Mapping[str, Any]


@dataclass
class Result:
    """Filled while a benchmark runs.

    Attributes:
      tables: by title and row, the spread over rounds, or a number that was taken once.
      agreement: largest difference of each peer's results from the reference's, relative to the largest entry.
      facts: whatever else is worth keeping.
      left_out: what is missing for want of an interpreter; such a result is not kept.
    """

    name: str
    work: str
    tables: dict[str, dict[str, Row]] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def add(self, title: str, rows: Mapping[str, Sequence[float] | float]) -> None:
        """Add rows to a table; a sequence holds the values of the rounds, in their order."""
        table = self.tables.setdefault(title, {})
        for name, values in rows.items():
            table[name] = values if isinstance(values, int | float) else spread(values)

    def content(self) -> dict[str, Any]:
        """What is kept of it, empty parts left out."""
        parts = ("work", "provenance", "agreement", "tables", "facts")
        return {part: significant(value) for part in parts if (value := getattr(self, part))}


def significant(value: Any) -> Any:
    """Plain data with four significant digits in its fractions; whole numbers stay."""
    if isinstance(value, Mapping):
        return {name: significant(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [significant(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, lowest and highest over the rounds, and all of them in their order."""
    found = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return found | {"rounds": list(values)}


def middle(row: Row) -> float:
    """The number to be quoted of a row."""
    return row["median"] if isinstance(row, Mapping) else row


def find_load() -> float:
    """The machine's load average over a minute."""
    return round(os.getloadavg()[0], 2)


def describe_origin(result: Result, rounds: int, cores: Sequence[int], before: float, seconds: float) -> dict[str, Any]:
    """Where a result comes from: code, machine, load before and after, versions."""
    from core.runs.provenance import collect_provenance

    about = collect_provenance(seconds=seconds, peak_gib=0.0)
    return {
        "date": about["date"],
        "commit": about["commit"],
        "dirty": about["dirty"],
        "cpu": about["device"]["cpu"],
        "cores": len(cores),
        "rounds": rounds,
        "seconds": about["seconds"],
        "load": [before, find_load()],
        "busy": before > BUSY * len(cores),
        "versions": {"python": about["python"], **result.versions},
    }


def print_result(content: Mapping[str, Any]) -> None:
    """A result as kept, for people."""
    print(content["work"])
    for title, rows in content.get("tables", {}).items():
        print(f"\n{title:72}{'median':>10}{'lowest':>10}{'highest':>10}")
        for name, row in rows.items():
            values = [row.get(part) for part in ("median", "lowest", "highest")] if isinstance(row, dict) else [row]
            print(f"  {name:70}" + "".join(f"{value:10.4g}" for value in values if value is not None))
    for part in ("agreement", "facts", "provenance"):
        if part in content:
            print(f"\n{part}: {json.dumps(content[part], ensure_ascii=False)}")
    if content["provenance"].get("busy"):
        print("\nThe machine did other work: seconds say little, ratios formed round by round somewhat more.")


def write_result(result: Result) -> Path:
    """Keep a result in the place of the one before it; what is innermost stands on one line."""
    from core.files import write_text

    def on_one_line(match: re.Match[str]) -> str:
        return re.sub(r"\s+", " ", match[0]).replace("[ ", "[").replace(" ]", "]")

    text = json.dumps(result.content(), indent=1, allow_nan=False, ensure_ascii=False)
    path = FOLDER / f"{result.name}.json"
    for innermost in (r"\[[^][{}]*\]", r"\{[^{}]*\}"):
        text = re.sub(innermost, on_one_line, text)
    write_text(path, text + "\n")
    return path


def read_result(name: str) -> dict[str, Any] | None:
    """The result that is kept of a benchmark."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
