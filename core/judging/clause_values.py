"""Clauses evaluated on a table of measurements: rows, then steps, then one number for each unit.

A table has the columns study, replicate, conditions, metric and value (see `core.runs.measurements`). Every step works
on the values alone and removes the columns it names; where rows are absent, doubled or unpaired it raises `BadInput`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core.errors import BadInput, unknown_name
from core.judging import stats
from core.papers.claims import Clause, Step, values_match
from core.papers.clause_language import CONTRASTS, PAIRED_SUMMARIES

VALUE = "value"
NUMERIC = ("crossing", "slope", "loglog_slope", "rank_correlation", "argmin", "argmax")  # steps along numbers
RAGGED = ("crossing", "argmin", "argmax", "min", "max")  # steps for which curves may differ in length


@dataclass(frozen=True)
class UnitValues:
    """What the steps leave: a row of `values` (shape (n, 1), or (n, 2) for a paired summary) for each unit."""

    units: pd.DataFrame
    values: np.ndarray
    infinite: int  # how many crossings (or, without crossings, measurements) are infinite
    of: int


def clause_values(clause: Clause, table: pd.DataFrame) -> UnitValues:
    """The clause's numbers, one row for each unit; a single row for an exact clause."""
    rows = _selected(clause, table)
    _check_units(clause, table, rows)
    infinite, of = int(np.isinf(rows[VALUE]).sum()), len(rows)
    for step in clause.number:
        rows = _applied(step, rows, clause)
        if step.name == "crossing":
            infinite, of = int(np.isinf(rows[VALUE]).sum()), len(rows)
    if clause.summary.name in PAIRED_SUMMARIES:
        paired = _paired(clause.summary, rows, clause)
        values = paired[["first", "second"]].to_numpy(float)
        rows = paired.drop(columns=["first", "second"])
    else:
        values = rows[[VALUE]].to_numpy(float)
        rows = rows.drop(columns=VALUE)
    every = ["replicate"] if clause.exact else []  # an exact clause holds in every replicate
    for column in rows.columns.difference([*clause.over, *every]):
        held = rows[column].unique()
        if len(held) > 1:
            raise BadInput(
                f"{clause.place}: '{column}' still has {len(held)} values ({_listed(held)}); "
                "select one, reduce it with a step, or name it in over"
            )
    if clause.exact and len(rows) > 1:
        low, high = (np.full(len(rows), bound) for bound in clause.region)
        worst = np.maximum(stats.difference(low, values[:, 0]), stats.difference(values[:, 0], high)).argmax()
        rows, values = rows.iloc[[worst]], values[[worst]]
    order = rows[list(clause.over)].sort_values(list(clause.over)).index if clause.over else rows.index
    units = rows.loc[order, list(clause.over)].reset_index(drop=True)
    return UnitValues(units, values[rows.index.get_indexer(order)], infinite, of)


def clause_interval(clause: Clause, numbers: UnitValues, level: float) -> stats.Interval:
    """The interval of the clause's summary over its units."""
    name, values = clause.summary.name, numbers.values[:, 0]
    if len(clause.over) == 2:
        return stats.crossed_mean_interval(_crossed(clause, numbers.units, values), level)
    if name == "mean":
        return stats.mean_interval(values, level)
    if name == "median":
        return stats.median_interval(values, level)
    if name == "share":
        return stats.share_interval(_beyond(clause.summary, values), level)
    return stats.bootstrap_interval(numbers.values, _STATISTICS[name], level)


def paired_clause_interval(clause: Clause, effect: UnitValues, control: UnitValues, level: float) -> stats.Interval:
    """The interval of (effect - control effect), paired over the units of both."""
    if not effect.units.equals(control.units):
        raise BadInput(f"{clause.place}: the claim and its control are not measured on the same {clause.over[0]}s")
    name, first, second = clause.summary.name, effect.values[:, 0], control.values[:, 0]
    if name in ("mean", "median"):
        apart = stats.difference(first, second)
        return clause_interval(clause, UnitValues(effect.units, apart[:, None], 0, 0), level)
    if name == "share":
        hits = _beyond(clause.summary, first).astype(float) - _beyond(clause.summary, second)
        return stats.mean_interval(hits, level)
    width, statistic = effect.values.shape[1], _STATISTICS[name]
    both = np.concatenate([effect.values, control.values], axis=1)
    return stats.bootstrap_interval(both, lambda r: statistic(r[..., :width]) - statistic(r[..., width:]), level)


_STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sd": lambda rows: rows[..., 0].std(-1, ddof=1),
    "slope": lambda rows: stats.slopes(rows[..., 0], rows[..., 1]),
    "rank_correlation": lambda rows: stats.rank_correlations(rows[..., 0], rows[..., 1]),
}


def _selected(clause: Clause, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the selection that the contrasts use, columns without any entry left out."""
    rows = table
    for column, wanted in clause.select.items():
        parts = [_matching(rows, (column,), (value,), clause) for value in wanted]
        for part, value in zip(parts, wanted, strict=True):
            if not part.any():
                raise BadInput(
                    f"{clause.place}: no rows with {column} {value!r}; there are {_listed(rows[column].unique())}"
                )
        rows = rows[np.logical_or.reduce(parts)]
    for step in (*clause.number, clause.summary):
        if len(step.sides) == 2:
            parts = [_matching(rows, step.columns, side, clause) for side in step.sides]
            for part, side in zip(parts, step.sides, strict=True):
                if not part.any():
                    raise BadInput(f"{clause.place}: no rows with {_named(step.columns, side)} in the selection")
            rows = rows[np.logical_or.reduce(parts)]
    named = {column for step in clause.number for column in step.columns} | set(clause.over) | {VALUE}
    kept = [column for column in rows.columns if column in named or rows[column].notna().any()]
    _check_columns(clause, kept)
    return rows[kept].reset_index(drop=True)


def _matching(rows: pd.DataFrame, columns: Sequence[str], values: Sequence[Any], clause: Clause) -> np.ndarray:
    """Which rows hold these values in these columns."""
    _check_columns(clause, rows.columns, columns)
    match = np.ones(len(rows), bool)
    for column, wanted in zip(columns, values, strict=True):
        held = [value for value in rows[column].unique() if values_match(None if pd.isna(value) else value, wanted)]
        match &= rows[column].isin(held).to_numpy()
    return match


def _check_columns(clause: Clause, present: Sequence[str] | pd.Index, needed: Sequence[str] | None = None) -> None:
    if needed is None:
        needed = [*clause.over, *(column for step in clause.number for column in step.columns)]
    for column in needed:
        if column not in present:
            raise unknown_name(f"column in {clause.place}:", column, [str(name) for name in present if name != VALUE])


def _check_units(clause: Clause, table: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Every unit has the same rows, once each, and every replicate of the study is there."""
    keys = [column for column in rows.columns if column != VALUE]
    doubled = rows.duplicated(keys)
    if doubled.any():
        raise BadInput(f"{clause.place}: several rows with {_row(rows.loc[doubled.idxmax(), keys])}")
    if not clause.over:
        return
    if rows[list(clause.over)].isna().to_numpy().any():
        raise BadInput(f"{clause.place}: some rows have no {' or no '.join(clause.over)}, the unit of the clause")
    if "replicate" in clause.over:
        study = table[table["study"].isin(rows["study"].unique())]
        lacking = np.setdiff1d(study["replicate"].unique(), rows["replicate"].unique())
        if len(lacking):
            raise BadInput(f"{clause.place}: replicate {_listed(lacking)} has no rows in the selection")
    ragged = {column for step in clause.number if step.name in RAGGED for column in step.columns}
    conditions = [column for column in keys if column not in clause.over and column not in ragged]
    cells = rows[[*clause.over, *conditions]].drop_duplicates()
    expected = cells[list(clause.over)].drop_duplicates().merge(cells[conditions].drop_duplicates(), how="cross")
    found = expected.merge(cells, how="left", indicator="_side")
    absent = found[found["_side"] == "left_only"].drop(columns="_side")
    if len(absent):
        raise BadInput(f"{clause.place}: no row with {_row(absent.iloc[0])}")


def _applied(step: Step, rows: pd.DataFrame, clause: Clause) -> pd.DataFrame:
    if step.name in CONTRASTS:
        paired = _paired(step, rows, clause)
        first, second = paired.pop("first").to_numpy(float), paired.pop("second").to_numpy(float)
        if step.name == "log_ratio":
            if min(first.min(), second.min()) < 0:
                raise BadInput(f"{clause.place}: log_ratio along {', '.join(step.columns)} meets negative values")
            with np.errstate(divide="ignore"):
                first, second = np.log(first), np.log(second)
        return paired.assign(**{VALUE: stats.difference(first, second)})
    return _reduced(step, rows, clause)


def _paired(step: Step, rows: pd.DataFrame, clause: Clause) -> pd.DataFrame:
    """Columns `first` and `second` of the two sides of a contrast, paired on all other columns."""
    sides = [
        rows[_matching(rows, step.columns, side, clause)].drop(columns=list(step.columns)).rename(columns={VALUE: name})
        for side, name in zip(step.sides, ("first", "second"), strict=True)
    ]
    keys = [column for column in rows.columns if column not in (*step.columns, VALUE)]
    if not keys:
        return sides[0].merge(sides[1], how="cross")
    paired = sides[0].merge(sides[1], on=keys, how="outer", indicator="_side")
    alone = paired[paired["_side"] != "both"]
    if len(alone):
        there, absent = step.sides if alone.iloc[0]["_side"] == "left_only" else reversed(step.sides)
        raise BadInput(
            f"{clause.place}: {step.name} pairs {_named(step.columns, there)} at {_row(alone.iloc[0][keys])} "
            f"with nothing of {_named(step.columns, absent)}; select or reduce the column that differs"
        )
    return paired.drop(columns="_side")


def _reduced(step: Step, rows: pd.DataFrame, clause: Clause) -> pd.DataFrame:
    """One value for each combination of the columns that `step` does not remove."""
    (column,) = step.columns
    if step.name in NUMERIC and not (pd.api.types.is_numeric_dtype(rows[column]) and rows[column].notna().all()):
        raise BadInput(f"{clause.place}: {step.name} needs a number in every row's '{column}'")
    keys = [name for name in rows.columns if name not in (column, VALUE)]
    if not keys:
        groups = np.zeros(len(rows), int)
    else:
        groups = rows.groupby(keys, dropna=False, sort=False, observed=True).ngroup().to_numpy()
    order = np.lexsort((rows[column].to_numpy(), groups)) if step.name in NUMERIC else np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    at, values = rows[column].to_numpy()[order], rows[VALUE].to_numpy(float)[order]
    pieces = zip(np.split(at, starts[1:]), np.split(values, starts[1:]), strict=True)
    numbers = np.array([_number(step, where, piece, clause) for where, piece in pieces])
    return rows.iloc[order[starts]][keys].reset_index(drop=True).assign(**{VALUE: numbers})


def _number(step: Step, at: np.ndarray, values: np.ndarray, clause: Clause) -> float:
    """What one step makes of the values along one column; `at` is sorted where the step needs numbers there."""
    match step.name:
        case "mean":
            return stats.mean(values)
        case "median":
            return stats.median(values)
        case "min" | "max":
            return float(values.min() if step.name == "min" else values.max())
        case "argmin" | "argmax":
            return float(at[values.argmin() if step.name == "argmin" else values.argmax()])
        case "share":
            return float(_beyond(step, values).mean())
        case "crossing":
            reached = values <= step.threshold if step.side == "below" else values >= step.threshold
            return float(at[reached.argmax()]) if reached.any() else math.inf
        case "rank":
            own = values[[values_match(None if pd.isna(value) else value, step.sides[0][0]) for value in at]]
            if len(own) != 1:
                raise BadInput(f"{clause.place}: no rows with {_named(step.columns, step.sides[0])} to rank")
            return float((values > own).sum() + ((values == own).sum() + 1) / 2)
    return _shape(step, at.astype(float) if step.name != "sd" else values, values, clause)


def _shape(step: Step, at: np.ndarray, values: np.ndarray, clause: Clause) -> float:
    """Spread or trend of finite values along a column."""
    place = f"{clause.place}: {step.name} along '{step.columns[0]}'"
    if len(values) < 2:
        raise BadInput(f"{place} needs at least two values")
    if step.name == "rank_correlation":
        return float(stats.rank_correlations(at, values))
    if not np.isfinite(values).all():
        raise BadInput(f"{place} meets infinite values")
    if step.name == "sd":
        return float(values.std(ddof=1))
    if step.name == "loglog_slope":
        if min(at.min(), values.min()) <= 0:
            raise BadInput(f"{place} meets values that are not positive")
        at, values = np.log(at), np.log(values)
    return float(stats.slopes(at, values))


def _beyond(step: Step, values: np.ndarray) -> np.ndarray:
    return values > step.threshold if step.side == "above" else values < step.threshold


def _crossed(clause: Clause, units: pd.DataFrame, values: np.ndarray) -> np.ndarray:
    """Values as a matrix of the first unit by the second."""
    first, second = clause.over
    grid = units.assign(**{VALUE: values}).pivot(index=first, columns=second, values=VALUE)
    if grid.isna().to_numpy().any():
        where = grid.index[grid.isna().any(axis=1)][0]
        raise BadInput(f"{clause.place}: {first} {where} lacks some {second}; crossed units need every combination")
    return grid.to_numpy(float)


def _named(columns: Sequence[str] | pd.Index, values: Sequence[Any]) -> str:
    return ", ".join(f"{column} {_said(value)}" for column, value in zip(columns, values, strict=True))


def _row(row: pd.Series) -> str:
    shown = row.drop(["study", "metric"], errors="ignore").dropna()
    return _named(shown.index, shown.to_list()) or "no condition"


def _listed(values: Sequence[Any] | np.ndarray) -> str:
    names = [_said(value) for value in values if not pd.isna(value)]
    return (", ".join(names[:8]) + (", …" if len(names) > 8 else "")) or "none"


def _said(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, (int, float, np.number)) else str(value)
