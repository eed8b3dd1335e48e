"""Claims and their verdicts: a claim is data in the config, a verdict follows from measurements alone.

An interval inside the region holds, entirely outside fails, anything else is undecided. A superiority clause
(`matters`) must exclude 0 strictly; entirely below what matters it fails, unless it still excludes 0: then it holds,
small. A control is the same claim with values exchanged; it must not hold, and the paired interval of (effect -
control effect) must exclude 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from core.judging import clause_values, stats
from core.papers.claims import Claim, Clause, Control
from core.papers.config import Deviation

HOLDS, FAILS, UNDECIDED, NOT_TESTABLE = "holds", "fails", "undecided", "not testable"


@dataclass(frozen=True)
class JudgedClause:
    """One clause with its number, interval and verdict."""

    clause: Clause
    numbers: clause_values.UnitValues
    interval: stats.Interval
    verdict: str
    small: bool


def judge_claim(claim: Claim, table: pd.DataFrame, scale: str, deviations: Sequence[Deviation] = ()) -> dict[str, Any]:
    """One claim's verdict as strict JSON; of the study's `deviations`, those that bear on it (or name no claim)."""
    if scale in claim.not_testable:
        judged, verdict, note = [], NOT_TESTABLE, claim.not_testable[scale]
        control = _control_entry(claim.control, NOT_TESTABLE, None, None)
    else:
        judged = [_judged(clause, table, claim.clause_level) for clause in claim.clauses]
        verdict = _joined([one.verdict for one in judged], claim.needed)
        control = _judged_control(claim, claim.control, judged, table)
        note = _note(claim, judged, verdict, control, table)
    return {
        "id": claim.id,
        "study": claim.study,
        "kind": claim.kind,
        "statement": claim.says,
        "published": claim.published,
        "source": claim.source,
        "verdict": verdict,
        "note": note,
        "join": claim.join,
        "clauses": [_clause_entry(one) for one in judged] or [_empty_entry(clause) for clause in claim.clauses],
        "deviations": [
            each.model_dump(mode="json") for each in deviations if claim.id in (each.bears_on or (claim.id,))
        ],
        "control": control,
    }


def decide_clause(clause: Clause, interval: stats.Interval) -> tuple[str, bool]:
    """The verdict of one interval, and whether it holds with an effect below what matters."""
    low, high = interval.low, interval.high
    if clause.matters is not None:
        if clause.region[0] == -math.inf:
            low, high = -high, -low
        if low > 0:
            return HOLDS, high < abs(clause.matters)
        return (FAILS if high < abs(clause.matters) else UNDECIDED), False
    if clause.region[0] <= low and high <= clause.region[1]:
        return HOLDS, False
    return (FAILS if high < clause.region[0] or low > clause.region[1] else UNDECIDED), False


def more_units_needed(clause: Clause, interval: stats.Interval) -> int | None:
    """Roughly how many more units would decide an undecided clause; None where nothing can be said."""
    if clause.matters is not None:
        zero_or_small = (0.0, math.copysign(clause.matters, 1 if clause.region[0] == 0 else -1))
        return min(filter(None, (stats.units_needed(interval, bound) for bound in zero_or_small)), default=None)
    inside = clause.region[0] <= interval.estimate <= clause.region[1]
    crossed = [b for b in clause.region if math.isfinite(b) and interval.low <= b <= interval.high]
    if not inside:
        crossed = sorted(crossed, key=lambda b: abs(b - interval.estimate))[:1]
    needed = [stats.units_needed(interval, bound) for bound in crossed]
    return max(filter(None, needed)) if all(needed) and needed else None


def _judged(clause: Clause, table: pd.DataFrame, level: float) -> JudgedClause:
    numbers = clause_values.clause_values(clause, table)
    if clause.exact:
        number = float(numbers.values[0, 0])
        interval = stats.Interval(number, number, number, 1.0, 1, "exact")
    else:
        interval = clause_values.clause_interval(clause, numbers, level)
    verdict, small = decide_clause(clause, interval)
    return JudgedClause(clause, numbers, interval, verdict, small)


def _joined(verdicts: Sequence[str], needed: int) -> str:
    if verdicts.count(HOLDS) >= needed:
        return HOLDS
    return FAILS if len(verdicts) - verdicts.count(FAILS) < needed else UNDECIDED


def _judged_control(
    claim: Claim, control: Control, judged: Sequence[JudgedClause], table: pd.DataFrame
) -> dict[str, Any]:
    others = [_judged(clause, table, claim.clause_level) for clause in control.clauses]
    verdict = _joined([one.verdict for one in others], claim.needed)
    lead, other = judged[0], others[0]
    if lead.clause.exact:
        apart = stats.difference(lead.numbers.values, other.numbers.values).item()
        entry = _control_entry(control, verdict, None, verdict != HOLDS)
        return entry | {"difference": {"estimate": _finite(apart), "low": None, "high": None}}
    apart = clause_values.paired_clause_interval(other.clause, lead.numbers, other.numbers, claim.level)
    return _control_entry(control, verdict, apart, verdict != HOLDS and (apart.low > 0 or apart.high < 0))


def _control_entry(
    control: Control, verdict: str, difference: stats.Interval | None, passes: bool | None
) -> dict[str, Any]:
    bounds = {name: _finite(getattr(difference, name, None)) for name in ("estimate", "low", "high")}
    return {"name": control.name, "verdict": verdict, "difference": bounds, "passes": passes}


def _clause_entry(judged: JudgedClause) -> dict[str, Any]:
    interval, exact = judged.interval, judged.clause.exact
    return _empty_entry(judged.clause) | {
        "estimate": _finite(interval.estimate),
        "low": None if exact else _finite(interval.low),
        "high": None if exact else _finite(interval.high),
        "level": None if exact else round(interval.level, 6),
        "n": None if exact else interval.n,
    }


def _empty_entry(clause: Clause) -> dict[str, Any]:
    nothing = dict.fromkeys(("estimate", "low", "high", "level"))
    region = [_finite(bound) for bound in clause.region]
    rest = {"region": region, "matters": clause.matters, "units": list(clause.over), "n": None}
    return {"metric": clause.metric, "unit_of_value": clause.unit} | nothing | rest


def _note(
    claim: Claim, judged: Sequence[JudgedClause], verdict: str, control: Mapping[str, Any], table: pd.DataFrame
) -> str:
    """What a reader needs beside the verdict, most important first."""
    parts = []
    if control["verdict"] == HOLDS:
        parts.append("the control holds too, so the claim proves nothing")
    elif verdict == HOLDS and control["passes"] is False:
        parts.append("the control does not hold, but its effect cannot be told from the claim's")
    if verdict == HOLDS and any(one.small for one in judged if one.verdict == HOLDS):
        parts.append("small: below what matters")
    for one in judged if verdict == FAILS else ():
        if one.verdict == FAILS and _is_too_small(one):
            least = f"{abs(one.clause.matters or 0):g} {one.clause.unit}".strip()
            parts.append(f"below what matters ({least})")
    if verdict == UNDECIDED:
        parts.append(_advice(judged))
        if claim.extension and any(one.interval.n < claim.extension for one in judged):
            parts.append(f"one extension to {claim.extension} replicates is planned")
    if claim.join == "at_least":
        parts.append(f"at least {claim.needed} of {len(claim.clauses)} clauses are asked for")
    for one in judged:
        if one.numbers.infinite:
            number = f" (clause {judged.index(one) + 1})" if len(judged) > 1 else ""
            parts.append(f"never reached in {one.numbers.infinite} of {one.numbers.of}{number}")
    rows = table[table["study"].isin(claim.clauses[0].select["study"])]
    if diverged := rows.loc[rows["metric"] == "diverged", "replicate"].nunique():
        parts.append(f"{diverged} of {rows['replicate'].nunique()} replicates diverged")
    return "; ".join([*parts, *([claim.note] if claim.note else [])])


def _is_too_small(one: JudgedClause) -> bool:
    """Whether a clause fails by what matters alone: its interval reaches into the region."""
    if one.clause.matters is None:
        return False
    return one.interval.low < 0 if one.clause.region[0] == -math.inf else one.interval.high > 0


def _advice(judged: Sequence[JudgedClause]) -> str:
    """About how many more units the slowest undecided clause asks for."""
    waiting = [one for one in judged if one.verdict == UNDECIDED]
    needs = [(more_units_needed(one.clause, one.interval), one.clause.over[0]) for one in waiting]
    for more, unit in needs:
        if more is None:
            return f"no number of further {_plural(unit)} can be named that would decide"
    more, unit = max((more, unit) for more, unit in needs if more)
    return f"about {more} more {unit if more == 1 else _plural(unit)}"


def _plural(unit: str) -> str:
    return f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}s"


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
