"""The claims of a config: what a sentence of the paper says, how it is judged, and what must not hold.

`ClaimForm` is what a config may write. `compile_claim` makes a `Claim` of it: clauses in their whole form, with units.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from core.errors import BadInput, unknown_name
from core.papers.clause_language import (
    ALONG,
    CONTRASTS,
    SHORT_FORMS,
    THRESHOLDS,
    ClauseForm,
    Equivalence,
    Exact,
    Form,
    NonInferiority,
    Scalar,
    ShortClause,
    Sooner,
    StepForm,
    SummaryForm,
    Superiority,
    Times,
    Trend,
    Values,
    one_of,
    repeated,
    to_tuple,
    whole_forms,
)

Scale = Literal["smoke", "laptop", "paper"]
SCALES: tuple[Scale, ...] = ("smoke", "laptop", "paper")
BODIES = ("all", "any", "at_least", *SHORT_FORMS)
FEW_UNITS = 4  # an interval over fewer says little
CONTROL_KEYS = ("name", "swap", "select")
LEVEL = 0.95


def _form_of(written: Any) -> str:
    is_short = isinstance(written, ShortClause) or (isinstance(written, Mapping) and set(written) & set(SHORT_FORMS))
    return "short form" if is_short else "clause"


AnyClause = Annotated[
    Annotated[ClauseForm, Tag("clause")] | Annotated[ShortClause, Tag("short form")], Discriminator(_form_of)
]
"""A clause in its whole form or in a short one."""


class Printed(Form):
    """What the paper prints: a number only where somebody read it."""

    value: str | int | float = Field(description="a number, or the paper's words")
    unit: str = Field("", description="of a number: the unit of the claim's first clause")
    where: str = Field(description="abstract, section, table or figure")
    quote: bool = Field(False, description="the words are literally the paper's, and are shown in quotation marks")

    @property
    def text(self) -> str:
        """Its value as a reader sees it, without the unit."""
        return f"“{self.value}”" if self.quote else str(self.value)


def _accept_swap(schema: dict[str, Any]) -> None:
    """Let the JSON schema of a control take a mapping of values, too."""
    properties = schema["properties"]
    some = {"minProperties": 1}
    whole = {**schema, "anyOf": [{"properties": {key: some}, "required": [key]} for key in ("swap", "select")]}
    others = {"type": "object", "minProperties": 1, "additionalProperties": properties["swap"]["additionalProperties"]}
    others["not"] = {"anyOf": [{"required": [key]} for key in CONTROL_KEYS]}
    description = schema["description"]
    schema.clear()
    schema.update(description=description, anyOf=[whole, others])


class ControlForm(Form):
    """The same claim with arms or conditions exchanged; a mapping of values alone is a swap."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _accept_swap(schema))
    name: str = Field("", description="by default the exchange in words")
    swap: dict[str, Scalar] = Field({}, description="value: what takes its place in selections and contrasts")
    select: dict[str, Values] = Field({}, description="columns selected anew")

    @model_validator(mode="before")
    @classmethod
    def _from_swap(cls, written: Any) -> Any:
        is_swap = isinstance(written, Mapping) and written and not set(written) & set(CONTROL_KEYS)
        return {"swap": written} if is_swap else written

    @model_validator(mode="after")
    def _exchanges_something(self) -> Self:
        if not self.swap and not self.select:
            raise ValueError("say what it exchanges: {arm: other arm}, or select: {column: value}")
        return self


class AtLeast(Form):
    """So many of some clauses."""

    k: int = Field(ge=1)
    of: tuple[AnyClause, ...] = Field(min_length=1)


class ClaimForm(Form):
    """A falsifiable sentence of the paper: one short form, or clauses under `all`, `any` or `at_least`."""

    model_config = ConfigDict(json_schema_extra=one_of(*BODIES))
    says: str = Field(description="the sentence, no less and no more than the paper's")
    study: str = Field(description="the study that measures it")
    printed: Printed | None = Field(None, description="what the paper prints")
    all: tuple[AnyClause, ...] | None = Field(None, min_length=1)
    any: tuple[AnyClause, ...] | None = Field(None, min_length=1)
    at_least: AtLeast | None = None
    more: Superiority | None = None
    less: Superiority | None = None
    not_less: NonInferiority | None = None
    not_more: NonInferiority | None = None
    equal: Equivalence | None = None
    sooner: Sooner | None = None
    times: Times | None = None
    trend: Trend | None = None
    exact: Exact | None = None
    control: ControlForm = Field(description="{arm: other arm}: the same claim, which must not hold then")
    not_testable: dict[Scale, str] = Field({}, description="scale: why it cannot be decided there")
    extension: int | None = Field(None, ge=1, description="replicates after one planned extension")
    note: str = ""

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        given = [name for name in BODIES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give its clauses once, not under {' and '.join(given)}")
        if not given:
            raise ValueError(f"give its clauses under one of {', '.join(BODIES)}")
        return self

    def clauses(self) -> tuple[str, int, list[ClauseForm]]:
        """How the clauses are joined, how many must hold, and the clauses in their whole form."""
        for name in SHORT_FORMS:
            if (form := getattr(self, name)) is not None:
                found = list(whole_forms(name, form))
                return "all", len(found), found
        if self.at_least is not None:
            found = list(_whole(self.at_least.of))
            return "at_least", self.at_least.k, found
        if self.any is not None:
            return "any", 1, list(_whole(self.any))
        found = list(_whole(self.all or ()))
        return "all", len(found), found


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
        """Without a unit of its interval the number itself is judged, in every replicate."""
        return not self.over


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
    control: Control
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


def compile_claim(
    name: str, form: ClaimForm, metrics: Mapping[str, str], studies: Mapping[str, Mapping[str, str]]
) -> Claim:
    """A claim from what the config writes. Raises BadInput for what contradicts itself, and for unknown names.

    Args:
      name: its id.
      form: as written.
      metrics: unit of every metric that claims may name.
      studies: the arms of every study that claims may name.
    """
    place = f"claim {name}"
    join, needed, listed = form.clauses()
    if needed > len(listed):
        raise BadInput(f"{place}: at_least {needed} of {len(listed)} clauses can never hold")
    clauses = tuple(
        _compile_clause(clause, f"{place}, clause {i}", form.study, metrics) for i, clause in enumerate(listed, 1)
    )
    _check_names(clauses, studies)
    control = _compile_control(form.control, clauses, f"{place}, control")
    _check_names(control.clauses, studies)
    printed = form.printed
    if printed is not None and isinstance(printed.value, int | float) and printed.unit != clauses[0].unit:
        raise BadInput(f"{place}: the printed number is in '{printed.unit}', its clause in '{clauses[0].unit}'")
    return Claim(
        id=name,
        study=form.study,
        says=form.says,
        published=printed.value if printed else None,
        source=printed.where if printed else None,
        join=join,
        needed=needed,
        clauses=clauses,
        control=control,
        not_testable=dict(form.not_testable),
        extension=form.extension,
        note=form.note,
    )


def _check_names(clauses: Sequence[Clause], studies: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse clauses that name a study that is none, an arm that the study does not have, or one replicate."""
    for clause in clauses:
        for study in clause.select["study"]:
            if study not in studies:
                raise unknown_name(f"study of {clause.place}:", str(study), studies)
            for column, value in named_values(clause):
                if column == "replicate":
                    raise BadInput(f"{clause.place}: name no replicate by its number; exact claims hold in every one")
                if column == "arm" and value not in studies[study]:
                    raise unknown_name(f"arm in {clause.place}:", str(value), studies[study])


def swap_values(clause: Clause, swap: Mapping[str, Any], select: Mapping[str, tuple[Any, ...]], place: str) -> Clause:
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


def clause_unit(metric_units: Sequence[str], steps: Sequence[Step], summary: Step) -> str:
    """The unit of a clause's number, as it follows from that of its metric and from the steps.

    A difference of percent is in percentage points; a log-ratio has the unit "log-ratio", of what follows in brackets.
    """
    unit = metric_units[0] if len(set(metric_units)) == 1 else ", ".join(metric_units)
    for step in steps:
        unit = _unit_after(step, unit)
    if summary.name in ("share", "slope"):
        return summary.name
    return "rank correlation" if summary.name == "rank_correlation" else unit


def _unit_after(step: Step, unit: str) -> str:
    match step.name:
        case "minus":
            return "percentage points" if unit == "percent" else unit
        case "log_ratio":
            return f"log-ratio of {unit}"
        case "crossing" | "argmin" | "argmax":
            return f"{step.columns[0]}s"
        case "slope":
            return f"{unit} per {step.columns[0]}"
        case "loglog_slope":
            return f"slope of logarithms over {step.columns[0]}"
        case "rank_correlation":
            return "rank correlation"
        case "share" | "rank":
            return step.name
    return unit


def _whole(listed: Sequence[ClauseForm | ShortClause]) -> Iterator[ClauseForm]:
    for form in listed:
        if isinstance(form, ClauseForm):
            yield from repeated(form)
        else:
            [name] = form.model_fields_set
            yield from whole_forms(name, getattr(form, name))


def _compile_clause(form: ClauseForm, place: str, study: str, metrics: Mapping[str, str]) -> Clause:
    names = to_tuple(form.metric)
    for name in names:
        if name not in metrics:
            raise unknown_name(f"metric in {place}: it is not listed under metrics;", str(name), metrics)
    select = {column: to_tuple(wanted) for column, wanted in form.select.items()}
    number = tuple(_compile_step(step, f"{place}, step {i}") for i, step in enumerate(form.number, 1))
    summary = _compile_summary(form.summary)
    clause = Clause(
        place=place,
        metric=", ".join(names),
        unit=clause_unit([metrics[name] for name in names], number, summary),
        select={"study": (study,), "metric": names} | select,
        number=number,
        over=() if form.over is None else to_tuple(form.over),
        summary=summary,
        region=form.region,
        matters=form.matters,
    )
    _check_clause(clause, "summary" in form.model_fields_set)
    return clause


def _compile_step(form: StepForm, place: str) -> Step:
    [name] = form.model_fields_set
    what = getattr(form, name)
    if name in ALONG:
        return Step(name, (what,))
    if name in THRESHOLDS:
        side = "below" if what.below is not None else "above"
        return Step(name, (what.along,), side=side, threshold=getattr(what, side))
    if name in CONTRASTS:
        return _contrast(name, what, place)
    if len(what) != 1:
        raise BadInput(f"{place}: rank takes one column and a value, such as {{rank: {{arm: ticket}}}}")
    return Step(name, tuple(what), (tuple(what.values()),))


def _contrast(name: str, pairs: Mapping[str, tuple[Any, Any]], place: str) -> Step:
    sides = (tuple(pair[0] for pair in pairs.values()), tuple(pair[1] for pair in pairs.values()))
    _check_sides(sides, place)
    return Step(name, tuple(pairs), sides)


def _compile_summary(form: str | SummaryForm) -> Step:
    if isinstance(form, str):
        return Step(form, side="above" if form == "share" else "")
    [name] = form.model_fields_set
    what = getattr(form, name)
    if name == "share":
        side = "below" if what.below is not None else "above"
        return Step(name, side=side, threshold=getattr(what, side))
    return _contrast(name, what, "summary")


def _compile_control(form: ControlForm, clauses: tuple[Clause, ...], place: str) -> Control:
    named = [value for clause in clauses for _, value in named_values(clause)]
    for old in form.swap:
        if not any(_is_called(value, old) for value in named):
            raise unknown_name(f"value to swap in {place}:", str(old), [str(value) for value in named])
    anew = {column: to_tuple(value) for column, value in form.select.items()}
    made = tuple(swap_values(clause, form.swap, anew, f"{clause.place}, control") for clause in clauses)
    if replace(made[0], place=clauses[0].place) == clauses[0]:
        raise BadInput(f"{place}: it leaves the first clause as it is")
    exchange = [f"{new} in place of {old}" for old, new in form.swap.items()]
    exchange += [f"{column} {', '.join(map(str, values))}" for column, values in anew.items()]
    return Control(form.name or "; ".join(exchange), made)


def _check_clause(clause: Clause, summary_given: bool) -> None:
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


def _swapped_step(step: Step, swap: Mapping[str, Any], place: str) -> Step:
    sides = tuple(_exchanged(side, swap) for side in step.sides)
    _check_sides(sides, place)
    return replace(step, sides=sides)


def _exchanged(values: tuple[Any, ...], swap: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(next((new for old, new in swap.items() if _is_called(value, old)), value) for value in values)


def _is_called(value: Any, name: str) -> bool:
    """Whether a key of a swap, which is text in YAML, means a value, which may be a number."""
    if isinstance(value, str) or value is None:
        return value == name
    try:
        return values_match(value, float(name))
    except ValueError:
        return False


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
