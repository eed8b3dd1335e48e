"""A run's files as curves, tables and summary numbers, ready for a dashboard; knows nothing of any tracking service."""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from core.tracking.live import SHARED, Row


def finished_replicates(folder: Path) -> list[int]:
    """The replicates of a run whose record is complete."""
    return sorted(int(done.parent.name) for done in folder.glob("replicates/*/done.json") if done.parent.name.isdigit())


def read_rows(folder: Path, replicate: int) -> list[Row]:
    """One finished replicate's measurements, in the order they were made, with `replicate` as a column."""
    text = (folder / "replicates" / f"{replicate:06d}" / "measurements.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [{"replicate": replicate} | row | {"value": float(row["value"])} for row in rows]


def thinned(looks: Sequence[Row], most: int) -> list[Row]:
    """At most so many looks of every loop, evenly chosen, the newest among them, in their order."""
    places: dict[tuple[int, str], list[int]] = defaultdict(list)
    for place, look in enumerate(looks):
        places[look["replicate"], look["stage"]].append(place)
    kept = []
    for each in places.values():
        count = min(most, len(each))
        kept += [each[-1 - k * len(each) // count] for k in range(count)]
    return [looks[place] for place in sorted(kept)]


def tidy_looks(looks: Iterable[Row], arm_of: Callable[[str], str | None]) -> list[Row]:
    """Looks as rows with one metric each: replicate, arm (None where the stage does not say), stage, step."""
    found = []
    for look in looks:
        shared = {name: look[name] for name in SHARED} | {"arm": arm_of(look["stage"])}
        found += [shared | {"metric": name, "value": value} for name, value in look.items() if name not in SHARED]
    return [row for row in found if not math.isnan(row["value"])]


def curve_points(rows: Iterable[Row]) -> list[Row]:
    """Curves by step: `{"step": s, <series name>: value, …}`, one point for every step that was measured."""
    points: dict[int, Row] = defaultdict(dict)
    for row in rows:
        if row.get("step") is not None:
            points[int(row["step"])][series_name(row)] = row["value"]
    return [{"step": step} | points[step] for step in sorted(points)]


def final_table(rows: Iterable[Row]) -> tuple[list[str], list[list[Any]]]:
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
            groups[series_name(shared)].append(row["value"])
    return {name: statistics.fmean(values) for name, values in groups.items()}


def claims_table(claims: list[Row]) -> tuple[list[str], list[list[Any]]]:
    """Column names and cells: one row per clause of each claim, or one per claim that has none."""
    columns = [
        "claim",
        "study",
        "kind",
        "statement",
        "published",
        "metric",
        "units",
        "estimate",
        "low",
        "high",
    ]
    columns += ["region", "n", "verdict", "control", "control passes", "note"]
    cells = []
    for claim in claims:
        control = claim.get("control") or {}
        for clause in claim.get("clauses") or [{}]:
            before = [
                claim.get("id"),
                claim.get("study"),
                claim.get("kind"),
                claim.get("statement"),
            ]
            numbers = [clause.get(name) for name in ("metric", "unit_of_value", "estimate", "low", "high")]
            after = [
                claim.get("verdict"),
                control.get("name"),
                control.get("passes"),
                claim.get("note"),
            ]
            published, region = (
                json.dumps(claim.get("published")),
                json.dumps(clause.get("region")),
            )
            cells.append([*before, published, *numbers, region, clause.get("n"), *after])
    return columns, cells


def series_name(row: Row) -> str:
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
