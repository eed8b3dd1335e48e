"""A clause as a config writes it: which rows, the steps to one number per unit, and the region fixed beforehand.

    metric: test_accuracy                              # or several: [predicted, observed]
    unit: percentage points
    select: {density: 21.1}                            # column: value or list of values
    number: [{mean: draw}, {minus: {arm: [ticket, reinit]}}]
    over: replicate                                    # or [replicate, query]; absent: an exact clause
    summary: mean
    in: [0, inf]
    matters: 0.17                                      # superiority only

`number` is a list of steps; each removes the columns it names. After the last only the columns of `over` may vary.

    step                                          the number
    {mean: col}  median sd min max                of the values along the column
    {slope: col}  loglog_slope rank_correlation   of the values on the column's numbers
    {argmin: col}  argmax                         where along the column the value is smallest (first, if several)
    {crossing: {along: col, below: 0.1}}          first place where the value is at or below it (above: at or above);
                                                  inf where it never is
    {share: {along: col, above: 0}}               share of the values strictly above it (below: strictly below)
    {rank: {col: a}}                              rank of the value at a among all of the column, 1 is the largest
    {minus: {col: [a, b]}}                        value at a minus value at b; two that never reached are tied: 0
    {log_ratio: {col: [a, b]}}                    natural logarithm of (value at a / value at b); the same tie
    {minus: {col: [a, b], other: [c, d]}}         contrasts of several columns at once: (a, c) against (b, d)

`summary` over the units: mean (default), median, share (of numbers above 0, or {share: {above: 0.3}}), sd,
{slope: {col: [x, y]}} of y on x, and {rank_correlation: {col: [x, y]}}.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.errors import BadInput, unknown_name

ALONG = ("mean", "median", "sd", "min", "max", "slope", "loglog_slope", "rank_correlation", "argmin", "argmax")
THRESHOLDS = ("crossing", "share")
CONTRASTS = ("minus", "log_ratio")
STEPS = (*ALONG, *THRESHOLDS, *CONTRASTS, "rank")
SUMMARIES = ("mean", "median", "share", "sd", "slope", "rank_correlation")
PAIRED_SUMMARIES = ("slope", "rank_correlation")
KEYS = ("metric", "unit", "select", "number", "over", "summary", "in", "matters")


@dataclass(frozen=True)
class Step:
    """One step, or a summary: what it does, the columns it removes, the sides of a contrast, a threshold."""

    name: str
    columns: tuple[str, ...] = ()
    sides: tuple[tuple[Any, ...], ...] = ()  # a value for each column: two sides of a contrast, one of a rank
    side: str = ""  # "below" or "above" the threshold
    threshold: float = 0.0


@dataclass(frozen=True)
class Clause:
    """A number with a unit, what it generalises over, and the closed region it must lie in."""

    place: str  # for messages: "claim C1, clause 2"
    metric: str
    unit: str
    select: dict[str, tuple[Any, ...]]
    number: tuple[Step, ...]
    over: tuple[str, ...]
    summary: Step
    region: tuple[float, float]
    matters: float | None

    @property
    def exact(self) -> bool:
        """Without a unit the number itself is judged."""
        return not self.over


def parse_clause(written: Any, place: str, study: str, unit: str = "") -> Clause:
    """A clause from its mapping in the config; `study` and `unit` are the claim's own. Errors name the `place`."""
    written = check_keys(written, KEYS, place, required=("metric", "in"))
    metrics = _values(written["metric"])
    select = {
        column: _values(wanted) for column, wanted in _mapping(written.get("select", {}), f"{place}, select").items()
    }
    steps = written.get("number", [])
    if not _is_list(steps):
        raise BadInput(f"{place}: number is a list of steps, such as [{{minus: {{arm: [a, b]}}}}]")
    clause = Clause(
        place=place,
        metric=", ".join(str(name) for name in metrics),
        unit=str(written.get("unit", unit)),
        select={"study": (study,), "metric": metrics} | select,
        number=tuple(_step(step, f"{place}, step {i}") for i, step in enumerate(steps, 1)),
        over=tuple(str(column) for column in _values(written["over"])) if written.get("over") else (),
        summary=_summary(written.get("summary", "mean"), f"{place}, summary"),
        region=_region(written["in"], place),
        matters=None if written.get("matters") is None else parse_number(written["matters"], f"{place}, matters"),
    )
    _check(clause, "summary" in written)
    return clause


def swap_values(clause: Clause, swap: Mapping[Any, Any], select: Mapping[str, tuple[Any, ...]], place: str) -> Clause:
    """The same clause with values exchanged in its selection and contrasts, and with columns selected anew."""
    exchange = {column: _exchanged(values, swap) for column, values in clause.select.items()}
    number = tuple(_swapped_step(step, swap, place) for step in clause.number)
    summary = _swapped_step(clause.summary, swap, place)
    return replace(clause, place=place, select=exchange | dict(select), number=number, summary=summary)


def named_values(clause: Clause) -> list[tuple[str, Any]]:
    """Every (column, value) that the clause names, in its selection and in its contrasts."""
    named = [(column, value) for column, values in clause.select.items() for value in values]
    for step in (*clause.number, clause.summary):
        named += [pair for values in step.sides for pair in zip(step.columns, values, strict=True)]
    return named


def values_match(value: Any, wanted: Any) -> bool:
    """Whether a table's value is the config's: numbers to 1e-9 relative, missing is null, anything else exactly."""
    if _is_missing(value) or _is_missing(wanted):
        return _is_missing(value) and _is_missing(wanted)
    try:
        return bool(math.isclose(value, wanted, rel_tol=1e-9))
    except TypeError:
        return bool(value == wanted)


def check_keys(written: Any, known: Sequence[str], place: str, required: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping, once every key is known and every required one is there."""
    written = _mapping(written, place)
    for key in written:
        if key not in known:
            raise unknown_name(f"key of {place}", str(key), known)
    for key in required:
        if written.get(key) is None:
            raise BadInput(f"{place}: '{key}' is missing")
    return written


def parse_number(value: Any, place: str) -> float:
    """A real number or a signed 'inf' as a config may write it."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise BadInput(f"{place}: {value!r} is not a number (inf and -inf are allowed)")
    return number


def _step(written: Any, place: str) -> Step:
    written = _mapping(written, place)
    if len(written) != 1:
        raise BadInput(f"{place}: a step has one name, not {len(written)}: {', '.join(map(str, written)) or 'nothing'}")
    ((name, what),) = written.items()
    if name in ALONG:
        if not isinstance(what, str):
            raise BadInput(f"{place}: {name} takes one column, such as {{{name}: draw}}")
        return Step(name, (what,))
    if name in THRESHOLDS:
        return _threshold(name, what, place)
    if name in CONTRASTS:
        return _contrast(name, what, place)
    if name == "rank":
        sides = _mapping(what, place)
        if len(sides) != 1:
            raise BadInput(f"{place}: rank takes one column and a value, such as {{rank: {{arm: ticket}}}}")
        return Step(name, tuple(sides), (tuple(sides.values()),))
    raise unknown_name(f"step in {place}:", str(name), STEPS)


def _threshold(name: str, written: Any, place: str) -> Step:
    written = check_keys(written, ("along", "below", "above"), f"{place}, {name}", required=("along",))
    bounds = [key for key in ("below", "above") if key in written]
    if len(bounds) != 1 or not isinstance(written["along"], str):
        raise BadInput(f"{place}: {name} takes a column and one bound, such as {{along: step, below: 0.1}}")
    return Step(name, (written["along"],), side=bounds[0], threshold=parse_number(written[bounds[0]], place))


def _contrast(name: str, written: Any, place: str) -> Step:
    written = _mapping(written, place)
    pairs = list(written.values())
    if not pairs or not all(_is_list(pair) and len(pair) == 2 for pair in pairs):
        raise BadInput(f"{place}: {name} takes columns with two values each, such as {{arm: [ticket, reinit]}}")
    sides = (tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))
    _check_sides(sides, place)
    return Step(name, tuple(written), sides)


def _summary(written: Any, place: str) -> Step:
    if isinstance(written, str):
        if written in PAIRED_SUMMARIES:
            raise BadInput(f"{place}: {written} relates two numbers of a unit: {{{written}: {{metric: [x, y]}}}}")
        if written not in SUMMARIES:
            raise unknown_name(f"summary in {place}:", written, SUMMARIES)
        return Step(written, side="above" if written == "share" else "")
    written = _mapping(written, place)
    name = next(iter(written)) if len(written) == 1 else ""
    if name in PAIRED_SUMMARIES:
        return _contrast(name, written[name], place)
    if name != "share":
        raise BadInput(f"{place}: choose {', '.join(SUMMARIES)}; only share, slope, rank_correlation take more")
    bound = check_keys(written[name], ("below", "above"), f"{place}, share")
    if len(bound) != 1:
        raise BadInput(f"{place}: share takes one bound, such as {{share: {{above: 0.3}}}}")
    ((side, threshold),) = bound.items()
    return Step(name, side=side, threshold=parse_number(threshold, place))


def _region(written: Any, place: str) -> tuple[float, float]:
    if not _is_list(written) or len(written) != 2:
        raise BadInput(f"{place}: 'in' is a region of two numbers, such as [0, inf]")
    low, high = (parse_number(bound, f"{place}, in") for bound in written)
    if low > high or (math.isinf(low) and math.isinf(high)):
        raise BadInput(f"{place}: region [{low:g}, {high:g}] must run upwards and leave something out")
    return low, high


def _check(clause: Clause, summary_given: bool) -> None:
    if len(set(clause.over)) != len(clause.over) or len(clause.over) > 2:
        raise BadInput(f"{clause.place}: over is one column or two different ones")
    removed = {column for step in (*clause.number, clause.summary) for column in step.columns}
    for column in clause.over:
        if column in removed:
            raise BadInput(f"{clause.place}: '{column}' is both a unit (over) and removed by a step")
    if len(clause.over) == 2 and clause.summary.name != "mean":
        raise BadInput(f"{clause.place}: over two crossed units only a mean has an interval")
    if clause.exact and (summary_given or clause.matters is not None):
        raise BadInput(f"{clause.place}: summary and matters need units: say over which column")
    if clause.matters is not None and (
        clause.region not in ((0.0, math.inf), (-math.inf, 0.0)) or clause.matters == 0 or math.isinf(clause.matters)
    ):
        raise BadInput(f"{clause.place}: matters is a finite effect other than 0, for a region [0, inf] or [-inf, 0]")


def _check_sides(sides: tuple[tuple[Any, ...], ...], place: str) -> None:
    if len(sides) == 2 and all(values_match(first, second) for first, second in zip(*sides, strict=True)):
        raise BadInput(f"{place}: contrasts {' and '.join(map(str, sides[0]))} with itself")


def _swapped_step(step: Step, swap: Mapping[Any, Any], place: str) -> Step:
    sides = tuple(_exchanged(side, swap) for side in step.sides)
    _check_sides(sides, place)
    return replace(step, sides=sides)


def _exchanged(values: tuple[Any, ...], swap: Mapping[Any, Any]) -> tuple[Any, ...]:
    return tuple(next((new for old, new in swap.items() if values_match(value, old)), value) for value in values)


def _mapping(written: Any, place: str) -> dict[str, Any]:
    if not isinstance(written, Mapping):
        raise BadInput(f"{place}: expected 'name: value' entries, not {written!r}")
    return dict(written)


def _values(written: Any) -> tuple[Any, ...]:
    return tuple(written) if _is_list(written) else (written,)


def _is_list(written: Any) -> bool:
    return isinstance(written, Sequence) and not isinstance(written, str)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
