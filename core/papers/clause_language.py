"""How a config writes the clauses of its claims: which rows, the steps to one number per unit, a region fixed before.

The whole form says everything:

    metric: test_accuracy                              # or several: [predicted, observed]
    select: {density: 21.1}                            # column: value, or a list of values
    number: [{mean: draw}, {minus: {arm: [ticket, reinit]}}]
    over: replicate                                    # or [replicate, query]; absent: an exact clause
    summary: mean
    in: [0, .inf]
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

The forms that return have a short one (`SHORT_FORMS`), which stands for a whole one:

    more: {metric: m, arms: [a, b], matters: 0.2}      a is above b; or, for `matters`, `by: 5`: by 5 or more
    less: {…}                                          the same for measures that are better when small
    not_less: {metric: m, arms: [a, b], margin: 0.2}   a is not below b by more than a margin (not_more likewise)
    equal: {metric: m, arms: [a, b], within: 0.5}      they differ by no more than that
    sooner: {metric: m, arms: [a, b], below: 0.1, matters: 0.2}   a reaches a level sooner: log-ratio, median
    times: {metric: m, arms: [a, b], at_least: 10}     a is ten times b or more (at_most): log-ratio
    trend: {metric: m, along: width, in: [-0.6, -0.4]} slope of log m on log width (`log: false`: of m on width)
    exact: {metric: m, in: [0, 1e-6]}                  the number itself, in every replicate; no interval

Each takes `at: {column: value}` (select), `reduce: {column: mean}` (before all else but the crossing of `sooner`),
`over` (by default replicate), and `each: {column: [values]}`: one clause for every value. Those with arms also take
`sides: {column: [first, second]}`, contrasted beside the arms, and `more_at: {column: [x, y]}`: the difference at x
minus the difference at y.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    WithJsonSchema,
    model_validator,
)

Scalar = str | int | float | bool | None
Values = Scalar | tuple[Scalar, ...]
Pair = tuple[Scalar, Scalar]
Columns = str | tuple[str, ...]
Repetition = dict[str, Annotated[tuple[Scalar, ...], Field(min_length=1)]] | None
Reduction = Literal["mean", "median", "min", "max", "sd"]

INFINITE = {"inf": math.inf, "-inf": -math.inf}  # YAML writes .inf; the words are understood, too
End = Annotated[
    float,
    BeforeValidator(lambda written: INFINITE.get(written, written) if isinstance(written, str) else written),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(INFINITE)}]}),
]


def _check_region(region: tuple[float, float]) -> tuple[float, float]:
    low, high = region
    if not low <= high or (low, high) == (-math.inf, math.inf):
        raise ValueError(f"region [{low:g}, {high:g}] must run upwards and leave something out")
    return region


Region = Annotated[tuple[End, End], AfterValidator(_check_region)]

ALONG = ("mean", "median", "sd", "min", "max", "slope", "loglog_slope", "rank_correlation", "argmin", "argmax")
THRESHOLDS = ("crossing", "share")
CONTRASTS = ("minus", "log_ratio")
PAIRED_SUMMARIES = ("slope", "rank_correlation")
SHORT_FORMS = ("more", "less", "not_less", "not_more", "equal", "sooner", "times", "trend", "exact")


class Form(BaseModel):
    """Base of what a config may say: frozen, strict about types, and without unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


# What validators ask for, said for the JSON schema.
ONE_KEY: dict[str, Any] = {"minProperties": 1, "maxProperties": 1}


def one_of(*names: str) -> dict[str, Any]:
    """Exactly one of these keys."""
    return {"oneOf": [{"required": [name]} for name in names]}


def some_of(*names: str) -> dict[str, Any]:
    """One of these keys at least."""
    return {"anyOf": [{"required": [name]} for name in names]}


class Bound(Form):
    """One bound of a threshold."""

    model_config = ConfigDict(json_schema_extra=one_of("below", "above"))
    below: float | None = None
    above: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.below is None) == (self.above is None):
            raise ValueError("takes one bound, below or above")
        return self


class Threshold(Bound):
    """A threshold along a column."""

    along: str


class StepForm(Form):
    """One step, under its name."""

    model_config = ConfigDict(json_schema_extra=ONE_KEY)
    mean: str | None = Field(None, description="of the values along a column")
    median: str | None = None
    sd: str | None = None
    min: str | None = None
    max: str | None = None
    slope: str | None = Field(None, description="of the values on a column's numbers")
    loglog_slope: str | None = None
    rank_correlation: str | None = None
    argmin: str | None = Field(None, description="where along a column the value is smallest")
    argmax: str | None = None
    crossing: Threshold | None = Field(None, description="first place along a column at or beyond a threshold")
    share: Threshold | None = Field(None, description="of the values along a column beyond a threshold")
    minus: dict[str, Pair] | None = Field(None, description="value at the first minus value at the second")
    log_ratio: dict[str, Pair] | None = Field(None, description="natural logarithm of first by second")
    rank: dict[str, Scalar] | None = Field(None, description="of a value among all of its column, 1 is the largest")

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"a step has one name, not {len(self.model_fields_set)}")
        return self


class SummaryForm(Form):
    """A summary that takes more than its name."""

    model_config = ConfigDict(json_schema_extra=ONE_KEY)
    share: Bound | None = None
    slope: dict[str, Pair] | None = None
    rank_correlation: dict[str, Pair] | None = None

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("a summary has one name: share, slope or rank_correlation")
        return self


class ClauseForm(Form):
    """A clause in its whole form."""

    metric: Columns = Field(description="one metric, or several that a step brings together")
    select: dict[str, Values] = Field({}, description="which rows: column: value, or a list of values")
    number: tuple[StepForm, ...] = Field((), description="steps to one number per unit")
    over: Columns | None = Field(None, description="the unit of the interval; absent: an exact clause")
    summary: Literal["mean", "median", "share", "sd"] | SummaryForm = "mean"
    region: Region = Field(alias="in", description="where the number must lie, fixed before the run")
    matters: float | None = Field(None, description="smallest effect worth the claim; regions [0, inf] and [-inf, 0]")
    each: Repetition = Field(None, description="column: values; one clause for every value")


class ShortForm(Form):
    """What all short forms take."""

    metric: str
    at: dict[str, Values] = Field({}, description="which rows: column: value")
    reduce: dict[str, Reduction] = Field({}, description="column: how its values are brought to one")
    over: Columns | None = "replicate"
    each: Repetition = Field(None, description="column: values; one clause for every value")


class ContrastForm(ShortForm):
    """Two arms, or two sides of other columns."""

    model_config = ConfigDict(json_schema_extra=some_of("arms", "sides"))
    arms: Pair | None = Field(None, description="the arm that the claim is about, and the one it is held against")
    sides: dict[str, Pair] = Field({}, description="column: [first, second], contrasted beside the arms")
    more_at: dict[str, Pair] = Field({}, description="column: [x, y]: the difference at x minus that at y")

    @model_validator(mode="after")
    def _two_sides(self) -> Self:
        if self.arms is None and not self.sides:
            raise ValueError("needs two arms, or sides")
        return self

    def contrasts(self, how: str, turned: bool = False) -> tuple[dict[str, Any], ...]:
        """The steps that hold the first side against the second; `turned`, the second against the first."""
        pairs = {**({"arm": self.arms} if self.arms else {}), **self.sides}
        sides = {column: pair[::-1] if turned else pair for column, pair in pairs.items()}
        return ({how: sides}, *({"minus": {column: pair}} for column, pair in self.more_at.items()))


class Superiority(ContrastForm):
    """`more` and `less`."""

    model_config = ConfigDict(json_schema_extra={**some_of("arms", "sides"), **one_of("matters", "by")})
    matters: FiniteFloat | None = Field(None, gt=0, description="smallest difference worth the claim")
    by: FiniteFloat | None = Field(None, description="the difference that must be reached")

    @model_validator(mode="after")
    def _one_aim(self) -> Self:
        if (self.matters is None) == (self.by is None):
            raise ValueError("takes either matters, the smallest difference worth the claim, or by")
        return self


class NonInferiority(ContrastForm):
    """`not_less` and `not_more`."""

    margin: FiniteFloat = Field(ge=0, description="by which it may be worse")


class Equivalence(ContrastForm):
    """`equal`."""

    within: FiniteFloat = Field(gt=0, description="largest difference either way")


class Sooner(ContrastForm):
    """`sooner`: the first place along a column where a level is reached."""

    model_config = ConfigDict(json_schema_extra={**some_of("arms", "sides"), **one_of("below", "above")})
    along: str = "step"
    below: float | None = None
    above: float | None = None
    matters: FiniteFloat = Field(gt=0, description="smallest log-ratio worth the claim")

    @model_validator(mode="after")
    def _one_level(self) -> Self:
        if (self.below is None) == (self.above is None):
            raise ValueError("takes one level, below or above")
        return self


class Times(ContrastForm):
    """`times`: how many times the second side the first is."""

    model_config = ConfigDict(
        json_schema_extra={"allOf": [some_of("arms", "sides"), some_of("at_least", "at_most")]},
    )
    at_least: FiniteFloat | None = Field(None, gt=0)
    at_most: FiniteFloat | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _a_bound(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("takes at_least or at_most, or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is above at_most {self.at_most:g}")
        return self


class Trend(ShortForm):
    """`trend`: how the metric goes with the numbers of a column."""

    along: str
    log: bool = Field(True, description="slope of logarithms on logarithms; false: of the values on the numbers")
    region: Region = Field(alias="in")


class Exact(ShortForm):
    """`exact`: the number itself."""

    over: Columns | None = None
    region: Region = Field(alias="in")


class ShortClause(Form):
    """A clause in one of its short forms, under its name."""

    model_config = ConfigDict(json_schema_extra=ONE_KEY)
    more: Superiority | None = Field(None, description="the first arm is above the second")
    less: Superiority | None = Field(None, description="the first arm is below the second")
    not_less: NonInferiority | None = Field(None, description="not below it by more than a margin")
    not_more: NonInferiority | None = Field(None, description="not above it by more than a margin")
    equal: Equivalence | None = Field(None, description="no further apart than this")
    sooner: Sooner | None = Field(None, description="it reaches a level in fewer steps")
    times: Times | None = Field(None, description="so many times the second")
    trend: Trend | None = Field(None, description="how it goes with the numbers of a column")
    exact: Exact | None = Field(None, description="the number itself, in every replicate")

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"one of {', '.join(SHORT_FORMS)}")
        return self


def to_tuple(value: Any) -> tuple[Any, ...]:
    """The values of a column: one, or several."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def whole_forms(name: str, form: ShortForm) -> Iterator[ClauseForm]:
    """The clauses that a short form stands for."""
    reductions = tuple({how: column} for column, how in form.reduce.items())
    rest = _REST_OF_CLAUSE[name](form, reductions)
    whole = {"metric": form.metric, "select": form.at, "over": form.over, "each": form.each, **rest}
    yield from repeated(ClauseForm.model_validate(whole))


def repeated(clause: ClauseForm) -> Iterator[ClauseForm]:
    """One clause for every combination of the values under `each`, or the clause itself."""
    if not clause.each:
        yield clause
        return
    for values in product(*clause.each.values()):
        named = dict(zip(clause.each, values, strict=True))
        yield clause.model_copy(update={"select": {**clause.select, **named}, "each": None})


Steps = tuple[dict[str, Any], ...]


def _superior(form: Superiority, steps: Steps, turned: bool) -> dict[str, Any]:
    low = 0 if form.by is None else form.by
    return {"number": (*steps, *form.contrasts("minus", turned)), "in": (low, math.inf), "matters": form.matters}


def _not_inferior(form: NonInferiority, steps: Steps, turned: bool) -> dict[str, Any]:
    return {"number": (*steps, *form.contrasts("minus", turned)), "in": (-form.margin, math.inf)}


def _equal(form: Equivalence, steps: Steps) -> dict[str, Any]:
    return {"number": (*steps, *form.contrasts("minus")), "in": (-form.within, form.within)}


def _sooner(form: Sooner, steps: Steps) -> dict[str, Any]:
    level = {"below": form.below} if form.below is not None else {"above": form.above}
    crossing = {"crossing": {"along": form.along, **level}}
    return {
        "number": (crossing, *steps, *form.contrasts("log_ratio", turned=True)),
        "summary": "median",
        "in": (0, math.inf),
        "matters": form.matters,
    }


def _times(form: Times, steps: Steps) -> dict[str, Any]:
    low = -math.inf if form.at_least is None else math.log(form.at_least)
    high = math.inf if form.at_most is None else math.log(form.at_most)
    return {"number": (*steps, *form.contrasts("log_ratio")), "in": (low, high)}


def _trend(form: Trend, steps: Steps) -> dict[str, Any]:
    return {"number": (*steps, {"loglog_slope" if form.log else "slope": form.along}), "in": form.region}


_REST_OF_CLAUSE: Mapping[str, Any] = {
    "more": lambda form, steps: _superior(form, steps, turned=False),
    "less": lambda form, steps: _superior(form, steps, turned=True),
    "not_less": lambda form, steps: _not_inferior(form, steps, turned=False),
    "not_more": lambda form, steps: _not_inferior(form, steps, turned=True),
    "equal": _equal,
    "sooner": _sooner,
    "times": _times,
    "trend": _trend,
    "exact": lambda form, steps: {"number": steps, "in": form.region},
}
