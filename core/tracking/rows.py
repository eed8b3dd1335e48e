"""A run's files as curves, tables and summary numbers, ready for a dashboard; knows nothing of any tracking service."""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from core.runs.live import INDEX_COLUMNS, Row

CLAIM_COLUMNS = (
    "claim", "verdict", "statement", "published", "estimate", "low", "high", "units", "region", "metric", "n",
    "control", "control passes", "kind", "study", "note",
)  # fmt: skip


def finished_replicates(folder: Path) -> list[int]:
    """The replicates of a run whose record is complete."""
    return sorted(int(done.parent.name) for done in folder.glob("replicates/*/done.json") if done.parent.name.isdigit())


def read_replicate_rows(folder: Path, replicate: int) -> list[Row]:
    """One finished replicate's measurements, in the order they were made, with `replicate` as a column."""
    text = (folder / "replicates" / f"{replicate:06d}" / "measurements.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [{"replicate": replicate} | row | {"value": float(row["value"])} for row in rows]


def thin_live_rows(rows: Sequence[Row], max_rows_per_loop: int) -> list[Row]:
    """At most `max_rows_per_loop` rows of every loop, evenly chosen, the newest among them, in their order."""
    places: dict[tuple[int, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[row["replicate"], row["stage"]].append(place)
    kept = []
    for each in places.values():
        count = min(max_rows_per_loop, len(each))
        kept += [each[-1 - k * len(each) // count] for k in range(count)]
    return [rows[place] for place in sorted(kept)]


def tidy_live_rows(rows: Iterable[Row], stage_columns: Callable[[str], dict[str, str]]) -> list[Row]:
    """Live rows as rows of one metric each; `stage_columns` gives the columns that a stage's name stands for."""
    found = []
    for row in rows:
        shared = {"replicate": row["replicate"], "step": row["step"], **stage_columns(row["stage"])}
        found += [shared | {"metric": name, "value": value} for name, value in row.items() if name not in INDEX_COLUMNS]
    return [row for row in found if not math.isnan(row["value"])]


def curve_points(rows: Iterable[Row]) -> list[Row]:
    """Curves by step: `{"step": s, <series name>: value, …}`, one point for every step that was measured."""
    points: dict[int, Row] = defaultdict(dict)
    for row in rows:
        if row.get("step") is not None:
            points[int(row["step"])][dashboard_series_name(row)] = row["value"]
    return [{"step": step} | points[step] for step in sorted(points)]


def final_measurements_table(rows: Iterable[Row]) -> tuple[list[str], list[list[Any]]]:
    """Column names and cells of the measurements that belong to no curve; None where a condition does not apply."""
    final = [row for row in rows if row.get("step") is None]
    ends = ("replicate", "arm", "metric", "value", "step")
    conditions = sorted({name for row in final for name in row} - set(ends))
    columns = ["replicate", "arm", *conditions, "metric", "value"]
    return columns, [[_cell(row.get(name)) for name in columns] for row in final]


def final_means(rows: Iterable[Row]) -> dict[str, float]:
    """Mean over replicates (and draws) of every final metric, per arm and conditions: what sweeps are compared by."""
    groups: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.get("step") is None:
            shared = {name: value for name, value in row.items() if name not in ("replicate", "draw")}
            groups[dashboard_series_name(shared)].append(row["value"])
    return {name: statistics.fmean(values) for name, values in groups.items()}


def claims_table(claims: list[Row]) -> tuple[list[str], list[list[Any]]]:
    """Column names and cells: one row per clause of each claim, or one per claim that has none."""
    pairs = [(claim, clause) for claim in claims for clause in claim.get("clauses") or [{}]]
    return list(CLAIM_COLUMNS), [[_claim_line(*pair)[name] for name in CLAIM_COLUMNS] for pair in pairs]


def _claim_line(claim: Row, clause: Row) -> Row:
    control = claim.get("control") or {}
    return (
        {name: claim.get(name) for name in ("study", "kind", "statement", "verdict", "note")}
        | {name: clause.get(name) for name in ("metric", "estimate", "low", "high", "n")}
        | {"claim": claim.get("id"), "units": clause.get("unit_of_value")}
        | {"published": json.dumps(claim.get("published")), "region": json.dumps(clause.get("region"))}
        | {"control": control.get("name"), "control passes": control.get("passes")}
    )


def dashboard_series_name(row: Row) -> str:
    """Such as `validation_loss/ticket, density 21.1, replicate 0`: dashboards group by what precedes the slash."""
    hidden = ("metric", "value", "step", "arm", "replicate")
    conditions = [f"{name} {row[name]}" for name in sorted(row) if name not in hidden and row[name] is not None]
    parts = [
        row.get("arm"),
        *conditions,
        f"replicate {row['replicate']}" if "replicate" in row else None,
    ]
    return "/".join(
        filter(
            None,
            [row["metric"], ", ".join(str(part) for part in parts if part is not None)],
        )
    )


def _cell(value: Any) -> Any:
    """The value as strict JSON can hold it: infinities become words."""
    return str(value) if isinstance(value, float) and math.isinf(value) else value
