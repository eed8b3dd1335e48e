"""Claims and their verdicts: a claim is data in the config, a verdict follows from measurements alone.

An interval inside the region holds, entirely outside fails, anything else is undecided. A superiority clause
(`matters`) must exclude 0 strictly; entirely below what matters it fails, unless it still excludes 0: then it holds,
small. A control is the same claim with values exchanged; it must not hold, and the paired interval of (effect -
control effect) must exclude 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from core.errors import BadInput, unknown_name
from core.judging import clause_values, stats
from core.judging.clauses import Clause, check_keys, named_values, parse_clause, parse_number, swap_values, values_match

LEVEL = 0.95
SCALES = ("smoke", "laptop", "paper")
JOINS = ("all", "any", "at_least")
KEYS = ("says", "printed", "study", *JOINS, "control", "not_testable", "extension", "note")
HOLDS, FAILS, UNDECIDED, NOT_TESTABLE = "holds", "fails", "undecided", "not testable"


@dataclass(frozen=True)
class Control:
    """The claim's clauses with values exchanged or selected anew: they must not hold."""

    name: str
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class Claim:
    """A falsifiable sentence of a paper and the clauses it is judged by; at least `needed` of them must hold."""

    id: str
    study: str
    says: str
    published: Any
    source: str | None
    join: str
    needed: int
    clauses: tuple[Clause, ...]
    control: Control | None
    not_testable: dict[str, str]
    extension: int | None
    note: str

    @property
    def kind(self) -> str:
        """Exact if no clause has a unit."""
        return "exact" if all(clause.exact for clause in self.clauses) else "statistical"

    @property
    def level(self) -> float:
        """Confidence level of one look: a planned extension splits the error over two looks."""
        return 1 - (1 - LEVEL) / (2 if self.extension else 1)

    @property
    def clause_level(self) -> float:
        """Confidence level of one clause: inside any and at_least the error is split over the clauses."""
        return 1 - (1 - self.level) / (1 if self.join == "all" else len(self.clauses))


@dataclass(frozen=True)
class JudgedClause:
    """One clause with its number, interval and verdict."""

    clause: Clause
    numbers: clause_values.UnitValues
    interval: stats.Interval
    verdict: str
    small: bool


def parse_claim(name: str, written: Any) -> Claim:
    """A claim from its mapping in the config; `BadInput` names the place and the nearest valid word."""
    place = f"claim {name}"
    written = check_keys(written, KEYS, place, required=("says", "study"))
    printed = check_keys(written.get("printed") or {}, ("value", "unit", "where"), f"{place}, printed")
    join, needed, listed = _joined_clauses(written, place)
    study, unit = str(written["study"]), str(printed.get("unit") or "")
    clauses = tuple(parse_clause(clause, f"{place}, clause {i}", study, unit) for i, clause in enumerate(listed, 1))
    reasons = check_keys(written.get("not_testable") or {}, SCALES, f"{place}, not_testable")
    return Claim(
        id=name,
        study=study,
        says=str(written["says"]),
        published=printed.get("value"),
        source=printed.get("where"),
        join=join,
        needed=needed,
        clauses=clauses,
        control=_control(written["control"], clauses, place) if written.get("control") else None,
        not_testable={scale: str(reason) for scale, reason in reasons.items()},
        extension=None if written.get("extension") is None else _count(written["extension"], f"{place}, extension"),
        note=str(written.get("note") or ""),
    )


def parse_claims(claims: Mapping[str, Any], studies: Mapping[str, Any]) -> dict[str, Claim]:
    """All claims of a config by id, held against its studies: names, arms, and what their deviations bear on."""
    parsed = {str(name): parse_claim(str(name), written) for name, written in claims.items()}
    for claim in parsed.values():
        for clause in (*claim.clauses, *(claim.control.clauses if claim.control else ())):
            _check_names(clause, studies)
    for name, study in studies.items():
        for deviation in study.get("deviations") or ():
            for bears_on in deviation.get("bears_on") or ():
                if bears_on not in parsed:
                    raise unknown_name(f"claim in the deviations of study {name}:", str(bears_on), parsed)
    return parsed


def judge_claims(
    claims: Mapping[str, Any], table: pd.DataFrame, scale: str, studies: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The verdicts of every claim whose study has rows in the table, in the order of the written."""
    measured = set(table["study"].unique())
    return [
        judge_claim(claim, table, scale, studies[claim.study].get("deviations") or ())
        for claim in parse_claims(claims, studies).values()
        if claim.study in measured
    ]


def judge_claim(
    claim: Claim, table: pd.DataFrame, scale: str, deviations: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """One claim's verdict as strict JSON; of the study's `deviations`, those that bear on it (or name no claim)."""
    if scale in claim.not_testable:
        judged, verdict, note = [], NOT_TESTABLE, claim.not_testable[scale]
        control = _control_entry(claim.control, NOT_TESTABLE, None, None) if claim.control else None
    else:
        judged = [_judged(clause, table, claim.clause_level) for clause in claim.clauses]
        verdict = _joined([one.verdict for one in judged], claim.needed)
        control = _judged_control(claim, claim.control, judged, table) if claim.control else None
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
        "deviations": [dict(each) for each in deviations if claim.id in (each.get("bears_on") or [claim.id])],
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
    claim: Claim, judged: Sequence[JudgedClause], verdict: str, control: Mapping[str, Any] | None, table: pd.DataFrame
) -> str:
    """What a reader needs beside the verdict, most important first."""
    parts = []
    if control and control["verdict"] == HOLDS:
        parts.append("the control holds too, so the claim proves nothing")
    elif control and verdict == HOLDS and control["passes"] is False:
        parts.append("the control does not hold, but its effect cannot be told from the claim's")
    if verdict == HOLDS and any(one.small for one in judged if one.verdict == HOLDS):
        parts.append("small: below what matters")
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


def _joined_clauses(written: Mapping[str, Any], place: str) -> tuple[str, int, list[Any]]:
    named = [join for join in JOINS if join in written]
    if len(named) != 1:
        raise BadInput(f"{place}: give its clauses under one of all, any, at_least, not {len(named)} of them")
    join, listed, needed = named[0], written[named[0]], 1
    if join == "at_least":
        asked = check_keys(listed, ("k", "of"), f"{place}, at_least", required=("k", "of"))
        listed, needed = asked["of"], _count(asked["k"], f"{place}, at_least, k")
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise BadInput(f"{place}: {join} takes a list of clauses")
    if needed > len(listed):
        raise BadInput(f"{place}: at_least {needed} of {len(listed)} clauses can never hold")
    return join, len(listed) if join == "all" else needed, list(listed)


def _control(written: Any, clauses: tuple[Clause, ...], place: str) -> Control:
    written = check_keys(written, ("name", "swap", "select"), f"{place}, control", required=("name",))
    swap, select = written.get("swap") or {}, written.get("select") or {}
    if not swap and not select:
        raise BadInput(f"{place}, control: say what it exchanges: swap: {{old: new}} or select: {{column: value}}")
    named = [value for clause in clauses for _, value in named_values(clause)]
    for old in swap:
        if not any(values_match(value, old) for value in named):
            raise unknown_name(f"value to swap in {place}, control:", str(old), [str(value) for value in named])
    anew = {column: tuple(value) if isinstance(value, list) else (value,) for column, value in select.items()}
    made = tuple(swap_values(clause, swap, anew, f"{clause.place}, control") for clause in clauses)
    if replace(made[0], place=clauses[0].place) == clauses[0]:
        raise BadInput(f"{place}, control: it leaves the first clause as it is")
    return Control(str(written["name"]), made)


def _check_names(clause: Clause, studies: Mapping[str, Any]) -> None:
    for study in clause.select["study"]:
        if study not in studies:
            raise unknown_name(f"study of {clause.place}:", str(study), studies)
        arms = studies[study].get("arms") or {}
        for column, value in named_values(clause):
            if column == "arm" and arms and value not in arms:
                raise unknown_name(f"arm in {clause.place}:", str(value), arms)


def _count(value: Any, place: str) -> int:
    number = parse_number(value, place)
    if number < 1 or number != int(number):
        raise BadInput(f"{place}: {value!r} is not a whole number of 1 or more")
    return int(number)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
