"""Claims as the report shows them: `claims.json` parsed strictly, so that nothing malformed reaches a page."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VERDICTS = ("holds", "fails", "undecided", "not testable")
MARKS = {"holds": "✓", "fails": "✗", "undecided": "?", "not testable": "–"}
MEANINGS = {
    "holds": "the interval lies inside the region that was fixed beforehand; with the note “small”, the effect is "
    "there but below the size that was named as mattering",
    "fails": "the interval lies outside that region, or the effect is smaller than what would matter",
    "undecided": "the interval reaches across the region's edge; more replicates would decide",
    "not testable": "this scale cannot decide the claim, for the reason given",
}


@dataclass(frozen=True)
class Clause:
    """One number with its interval; a bound of None is infinite, an estimate of None was never reached."""

    metric: str
    unit: str
    estimate: float | None
    low: float | None
    high: float | None
    level: float | None
    region: tuple[float | None, float | None] | None
    matters: float | None
    units: tuple[str, ...]
    n: int | None

    @property
    def is_inside(self) -> bool:
        """Whether its interval, or its bare number, lies inside the region."""
        ends, region = self._ends(), self._bounds()
        return region is None or (ends is not None and region[0] <= ends[0] and ends[1] <= region[1])

    @property
    def misses_region(self) -> bool:
        """Whether it lies entirely outside, or below the smallest effect that matters without excluding 0."""
        ends, region = self._ends(), self._bounds()
        if ends is None or region is None:
            return ends is None
        too_small = self.matters is not None and ends[1] < self.matters and not self.is_inside
        return ends[1] < region[0] or ends[0] > region[1] or too_small

    def _ends(self) -> tuple[float, float] | None:
        if self.estimate is None and self.low is None:
            return None
        if self.n is None and self.estimate is not None:
            return self.estimate, self.estimate
        return -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high

    def _bounds(self) -> tuple[float, float] | None:
        if self.region is None:
            return None
        low, high = self.region
        return -math.inf if low is None else low, math.inf if high is None else high


@dataclass(frozen=True)
class Control:
    """The same claim with something exchanged; it must not hold."""

    name: str
    verdict: str
    difference: tuple[float | None, float | None, float | None] | None
    passes: bool | None


@dataclass(frozen=True)
class Claim:
    """One claim with its verdict."""

    id: str
    study: str
    kind: str
    statement: str
    published: Any
    source: str
    verdict: str
    note: str
    join: str
    clauses: tuple[Clause, ...]
    deviations: tuple[Any, ...]
    control: Control | None

    @property
    def telling_clause(self) -> Clause | None:
        """The clause that the verdict hangs on: of a claim that fails the first one that misses its region, of an
        undecided one the first that is not inside, of any other the first."""
        if self.verdict == "fails":
            missed = [clause for clause in self.clauses if clause.misses_region]
            return next(iter([*missed, *self.clauses]), None)
        open_ones = [clause for clause in self.clauses if self.verdict == "undecided" and not clause.is_inside]
        return next(iter([*open_ones, *self.clauses]), None)

    @property
    def verdict_sign(self) -> str:
        """The verdict as one sign."""
        return MARKS[self.verdict]

    @property
    def proves_nothing(self) -> bool:
        """Whether it holds, and with the control's exchange as well, or as far as can be told."""
        return self.verdict == "holds" and self.control_does_not_pass

    @property
    def control_does_not_pass(self) -> bool:
        """Whether the control holds as well, or has an effect that cannot be told from the claim's."""
        return self.control is not None and self.control.passes is False


def parse_claims(data: Any) -> tuple[Claim, ...]:
    """The claims of a `claims.json`; ValueError says what is wrong with it."""
    if not isinstance(data, list):
        raise ValueError("not a list of claims")
    return tuple(_claim(item) for item in data)


def _claim(data: Any) -> Claim:
    if not isinstance(data, Mapping) or not isinstance(data.get("id"), str):
        raise ValueError("a claim without an id")
    if data.get("verdict") not in VERDICTS:
        raise ValueError(f"{data['id']} has no verdict that is known")
    clauses = data.get("clauses")
    if not isinstance(clauses, list):
        raise ValueError(f"{data['id']} has no list of clauses")
    return Claim(
        id=data["id"],
        study=_text(data.get("study")),
        kind=_text(data.get("kind")),
        statement=_text(data.get("statement")),
        published=data.get("published"),
        source=_text(data.get("source")),
        verdict=data["verdict"],
        note=_text(data.get("note")),
        join=_text(data.get("join")) or "all",
        clauses=tuple(_clause(data["id"], item) for item in clauses),
        deviations=tuple(data.get("deviations") or ()),
        control=_control(data["id"], data.get("control")),
    )


def _clause(claim: str, data: Any) -> Clause:
    if not isinstance(data, Mapping):
        raise ValueError(f"{claim} has a clause that is not a mapping")
    units = data.get("units") or ()
    return Clause(
        metric=_text(data.get("metric")),
        unit=_text(data.get("unit_of_value")),
        estimate=_number(claim, data.get("estimate")),
        low=_number(claim, data.get("low")),
        high=_number(claim, data.get("high")),
        level=_number(claim, data.get("level")),
        region=_pair(claim, data.get("region")),
        matters=_number(claim, data.get("matters")),
        units=(units,) if isinstance(units, str) else tuple(str(unit) for unit in units),
        n=None if data.get("n") is None else int(_number(claim, data["n"]) or 0),
    )


def _control(claim: str, data: Any) -> Control | None:
    if not isinstance(data, Mapping):
        return None
    difference = data.get("difference")
    numbers = None
    if isinstance(difference, Mapping):
        estimate, low, high = (_number(claim, difference.get(name)) for name in ("estimate", "low", "high"))
        numbers = (estimate, low, high)
    passes = data.get("passes")
    return Control(
        name=_text(data.get("name")),
        verdict=_text(data.get("verdict")),
        difference=numbers,
        passes=passes if isinstance(passes, bool) else None,
    )


def _pair(claim: str, value: Any) -> tuple[float | None, float | None] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{claim} has a region that is not a pair of bounds")
    return _number(claim, value[0]), _number(claim, value[1])


def _number(claim: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{claim} has {value!r} where a number belongs")
    return float(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
