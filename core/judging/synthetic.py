"""Synthetic measurements with a known effect, made from a claim's own clauses: they test the claim, not the paper.

Whatever rows the clauses and the control name are made, so that each clause's number lands where it is wanted:

    planted    inside the region for the claim, outside for its control: the claim holds and the control passes
    none       outside the region (for superiority: all arms alike): the claim does not hold
    swapped    inside the region for the claim and for its control: the control holds, which must be noticed

Each cell (a combination of selected values) has a level. A clause's number is a sum of levels with signs, so levels
that put every number in place solve linear equations. Claims beyond that need rows made by their own test.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from core.papers.claims import Claim, Clause, Step
from core.papers.clause_language import CONTRASTS

EFFECTS = ("planted", "none", "swapped")
AVERAGES = ("mean", "median", "min", "max")
SHAPES = ("crossing", "slope", "loglog_slope", "sd")
PLACES = np.arange(1.0, 9.0)  # along a column whose values the config does not list
STEPS = np.unique(np.geomspace(50, 40_000, 160).round())  # along a curve that crosses a threshold
CENTRE = 1_000.0  # where curves cross when nothing asks for another place
NOISE = 0.02  # spread between units, in parts of the distance from the region's border

Cell = tuple[tuple[str, Any], ...]  # sorted (column, value), the metric among them


@dataclass(frozen=True)
class Equation:
    """The sum of levels, with weights, that is to be `target`; `margin` is its distance from the region's border."""

    weights: dict[Cell, float]
    target: float
    margin: float


def synthetic_measurements(claim: Claim, effect: str, replicates: int = 12, seed: int = 0) -> pd.DataFrame:
    """Rows for the claim and its control with the effect `planted`, with `none`, or `swapped` into the control too.

    Raises NotImplementedError for clauses whose rows cannot be made up from the config alone.
    """
    if effect not in EFFECTS:
        raise ValueError(f"effect is one of {', '.join(EFFECTS)}, not {effect!r}")
    controls = claim.control.clauses
    equations = [_equation(clause, inside=effect != "none") for clause in claim.clauses]
    equations += [_equation(clause, inside=effect == "swapped") for clause in controls]
    makers = _makers(claim, (*claim.clauses, *controls))
    levels = _solved(claim, equations, makers)
    noise = NOISE * min(equation.margin for equation in equations)
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for cell, level in levels.items():
        clause = makers[dict(cell)["metric"]]
        for units, own in _unit_levels(clause, level, noise, replicates, random):
            rows += [{**dict(cell), **units, **row} for row in _rows(clause, cell, own)]
    table = pd.DataFrame(rows)
    if "replicate" not in table:
        table["replicate"] = 0
    return table.fillna({"replicate": 0}).astype({"replicate": int})


def _equation(clause: Clause, inside: bool) -> Equation:
    target, margin = _target(clause, inside)
    weights: dict[Cell, float] = {}
    for cell, weight in _cells(clause):
        weights[cell] = weights.get(cell, 0.0) + weight
    return Equation(weights, target, margin)


def _target(clause: Clause, inside: bool) -> tuple[float, float]:
    """A number well inside or outside the clause's region, and its distance from the border."""
    low, high = clause.region
    if clause.summary.name == "share":
        upwards = (high >= 1) == (clause.summary.side == "above")
        if low > 0 and high < 1:
            raise NotImplementedError(f"{clause.place}: no synthetic rows for a share between two bounds")
        return clause.summary.threshold + (1.0 if inside == upwards else -1.0), 1.0
    if clause.matters is not None:
        effect = 3 * abs(clause.matters)
        return (math.copysign(effect, high if math.isinf(high) else low) if inside else 0.0), effect
    if math.isinf(low) or math.isinf(high):
        border, sign = (high, -1.0) if math.isinf(low) else (low, 1.0)
        margin = abs(border) or 1.0
        return border + (sign if inside else -sign) * margin, margin
    margin = (high - low) / 2
    if margin == 0:
        margin = 0.0 if inside else abs(high) or 1.0
        return high + margin, margin
    return (low + margin if inside else high + margin), margin


def _cells(clause: Clause) -> list[tuple[Cell, float]]:
    """The cells whose levels make up the clause's number, each with its weight."""
    known = (*AVERAGES, *SHAPES, *CONTRASTS)
    for step in clause.number:
        if step.name not in known:
            raise NotImplementedError(f"{clause.place}: no synthetic rows for the step {step.name}")
    if clause.summary.name not in ("mean", "median", "share"):
        raise NotImplementedError(f"{clause.place}: no synthetic rows for the summary {clause.summary.name}")
    fixed = dict(clause.select)
    parts: list[tuple[dict[str, Any], float]] = [({}, 1.0)]
    for step in reversed(clause.number):
        if step.name in CONTRASTS:
            sides = [dict(zip(step.columns, side, strict=True)) for side in step.sides]
            parts = [
                (cell | side, weight * sign)
                for cell, weight in parts
                for side, sign in zip(sides, (1, -1), strict=True)
            ]
        elif step.name in SHAPES:
            fixed.pop(step.columns[0], None)
        elif step.columns[0] in fixed:
            listed = fixed[step.columns[0]]
            parts = [
                (cell | {step.columns[0]: value}, weight / len(listed)) for cell, weight in parts for value in listed
            ]
    single = {column: values[0] for column, values in fixed.items()}
    return [(tuple(sorted((single | cell).items())), weight) for cell, weight in parts]


def _solved(claim: Claim, equations: Sequence[Equation], makers: dict[str, Clause]) -> dict[Cell, float]:
    """Levels of all cells, as equal as the equations allow: above 0 where possible, in logarithms for ratios."""
    cells = list(dict.fromkeys(cell for equation in equations for cell in equation.weights))
    matrix = np.array([[equation.weights.get(cell, 0.0) for cell in cells] for equation in equations])
    targets = np.array([equation.target for equation in equations])
    base = [0.0 if _in_logarithms(makers[dict(cell)["metric"]]) else 2 * np.abs(targets).max() for cell in cells]
    levels = base + np.linalg.lstsq(matrix, targets - matrix @ base, rcond=None)[0]
    if not np.allclose(matrix @ levels, targets, rtol=1e-6, atol=1e-9):
        raise NotImplementedError(
            f"claim {claim.id}: its clauses and its control share rows that cannot meet all of them"
        )
    return dict(zip(cells, levels.tolist(), strict=True))


def _makers(claim: Claim, clauses: Sequence[Clause]) -> dict[str, Clause]:
    """For each metric the clause that says how its rows look; clauses on one metric must agree."""
    makers: dict[str, Clause] = {}
    for clause in clauses:
        for metric in clause.select["metric"]:
            maker = makers.setdefault(metric, clause)
            if _look(maker) != _look(clause):
                raise NotImplementedError(f"claim {claim.id}: its clauses read '{metric}' in different ways")
    return makers


def _look(clause: Clause) -> tuple[Any, ...]:
    shapes = tuple(step for step in clause.number if step.name in SHAPES)
    if len(shapes) > 1:
        raise NotImplementedError(f"{clause.place}: no synthetic rows for two shapes in one clause")
    if shapes and shapes[0].name == "crossing" and not _in_logarithms(clause):
        raise NotImplementedError(f"{clause.place}: no synthetic rows for a crossing outside a log_ratio")
    return shapes, _in_logarithms(clause), _free(clause), clause.over


def _in_logarithms(clause: Clause) -> bool:
    return any(step.name == "log_ratio" for step in clause.number)


def _free(clause: Clause) -> tuple[str, ...]:
    """Columns that are averaged over but whose values the config does not list."""
    return tuple(
        step.columns[0] for step in clause.number if step.name in AVERAGES and step.columns[0] not in clause.select
    )


def _unit_levels(
    clause: Clause, level: float, noise: float, replicates: int, random: np.random.Generator
) -> Iterable[tuple[dict[str, Any], float]]:
    """Every unit with its level: noise of mean 0 over the units, so that the average is exact."""
    units = [
        dict(zip(clause.over, number, strict=True)) for number in product(range(replicates), repeat=len(clause.over))
    ]
    scatter = random.normal(0.0, noise, len(units)) if clause.over else np.zeros(1)
    return zip(units, level + scatter - scatter.mean(), strict=True)


def _rows(clause: Clause, cell: Cell, level: float) -> list[dict[str, Any]]:
    """The measurements of one unit in one cell."""
    shape = next((step for step in clause.number if step.name in SHAPES), None)
    repeats = [dict(zip(_free(clause), number, strict=True)) for number in product(range(3), repeat=len(_free(clause)))]
    if shape is None:
        points = [{"value": math.exp(level) if _in_logarithms(clause) else level}]
    else:
        at, values = _curve(shape, clause, level)
        points = [{shape.columns[0]: a, "value": v} for a, v in zip(at.tolist(), values.tolist(), strict=True)]
    return [{**repeat, **point} for repeat in repeats for point in points]


def _curve(shape: Step, clause: Clause, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Values along a column from which `shape` makes `level` (a crossing: its logarithm beyond the centre)."""
    listed = clause.select.get(shape.columns[0])
    if shape.name == "crossing":
        at = STEPS
        above = CENTRE * math.exp(level) / at - 1
        return at, shape.threshold + (above if shape.side == "below" else -above)
    at = np.array(listed, float) if listed else PLACES
    if shape.name == "sd":
        return at, level * (at - at.mean()) / at.std(ddof=1)
    return at, at * level if shape.name == "slope" else at**level
