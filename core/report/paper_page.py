"""What the site says about one paper: its page, its results, how fresh they are, and the curves behind them."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.papers import claims as written
from core.papers.claims import ClaimForm
from core.papers.config import PaperConfig, Reference, StudyConfig
from core.paths import experiment_file
from core.report import curves, formatting, ratios, unfinished
from core.report.claims import Claim
from core.report.freshness_process import CURRENT, EDITED, STALE, Freshness
from core.report.results import Drawing, FigureImage, Result, read_figure
from core.report.unfinished import UnfinishedRun

SHOWN_SCALES = ("laptop", "smoke", "paper")
MAX_SOURCES = 8  # results of one page whose curves it holds, the published ones and the newest first
EXACT = "exact"  # the kind of a claim without an interval
NOT_RUN, LOCAL, PUBLISHED = "not run", "local only", "published"


@dataclass(frozen=True)
class ClaimRow:
    """One claim of a paper with the verdict to show for it, if there is one."""

    id: str
    statement: str
    printed: str
    printed_times: str
    source: str
    claim: Claim | None
    result: Result | None


@dataclass(frozen=True)
class StudySummary:
    """One study as the config describes it; settings by name at each of the shown scales."""

    name: str
    description: str
    default: bool
    arms: Mapping[str, str]
    deviations: list[Mapping[str, Any]]
    settings: Mapping[str, list[str]]


@dataclass(frozen=True)
class ResultMeasurements:
    """The measurements of one result, as tables and curves show them."""

    label: str
    link: str
    problem: str
    chart: Mapping[str, Any]
    conditions: Sequence[str]
    final_rows: Sequence[Mapping[str, Any]]
    final_row_count: int


class PaperPage:
    """What the site says about one paper."""

    def __init__(
        self, config: PaperConfig, results: list[Result], unfinished_runs: Sequence[UnfinishedRun] = ()
    ) -> None:
        about = config.paper
        self.unfinished_runs = unfinished_runs
        self.freshness: Sequence[Freshness] = ()
        self.shown = True  # whether there is a page of it
        self.slug = config.slug
        self.experiment = experiment_file(config.slug)
        self.results = results
        self.title = about.title
        self.byline = _byline(about)
        self.arxiv = about.arxiv
        self.fields = list(about.fields)
        self.idea = about.idea
        self.year = about.year
        self.notes = config.notes
        self.not_shown = config.form.not_shown
        self.front = config.form.front
        self.config_studies = list(config.studies.values())
        self.claims: Mapping[str, written.Claim] = config.claims
        self.forms = config.form.claims
        self.declared_figures = list(config.form.figures)
        self.drawn_metrics = {name: figure.y for name, figure in config.form.figures.items()}
        self.rows = [claim_row(name, self.forms.get(name), results) for name in self.claims]

    @cached_property
    def studies(self) -> list[StudySummary]:
        """Its studies as the config describes them."""
        return [_study(study) for study in self.config_studies]

    @property
    def shown_results(self) -> list[Result]:
        """Results that give the verdicts shown first."""
        return [result for result in self.results if any(row.result is result for row in self.rows)]

    @property
    def is_local_only(self) -> bool:
        """Whether every verdict shown comes from a local run."""
        return bool(self.shown_results) and not any(result.published for result in self.shown_results)

    @property
    def duration_text(self) -> str:
        """Wall time of the default studies when they were published, or of what is shown in their place."""
        return formatting.format_minutes(self.minutes if self.shown_results else None)

    @property
    def last_run(self) -> str:
        """Day of the latest of the results that give the verdicts shown."""
        return max((result.date for result in self.shown_results), default="")

    @property
    def minutes(self) -> float:
        """Wall time behind `duration_text`, to sort by."""
        published = [result for result in self.results if result.published and result.scale == "laptop"]
        by_default = {study.name for study in self.config_studies if study.default}
        return sum(result.minutes_of_studies(by_default) for result in published or self.shown_results)

    @property
    def holding_count(self) -> int:
        """How many of its claims hold."""
        return sum(row.claim is not None and row.claim.verdict == "holds" for row in self.rows)

    @property
    def state(self) -> str:
        """One word for the published results, or for what stands in their place."""
        states = {each.state for each in self.freshness}
        for state in (EDITED, STALE):
            if state in states:
                return state
        if self.is_local_only or not self.shown_results:
            return LOCAL if self.shown_results else NOT_RUN
        return CURRENT if states == {CURRENT} else PUBLISHED

    @property
    def verdicts(self) -> list[str]:
        """The different verdicts of its claims, for a filter."""
        return sorted({row.claim.verdict if row.claim else NOT_RUN for row in self.rows})

    @property
    def short_state_explanation(self) -> str:
        """What `state` comes from, where there is one reason; how many studies, where there are more."""
        reasons = [each for each in self.freshness if each.reason]
        return self.state_explanation if len(reasons) < 2 else f"{len(reasons)} studies; the page says why"

    @property
    def state_explanation(self) -> str:
        """What `state` comes from."""
        return "; ".join(
            f"{each.study}: {each.reason}" if each.study else each.reason for each in self.freshness if each.reason
        )

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing the numbers."""
        found = [f"{result.path}: {warning}" for result in self.shown_results for warning in result.warnings]
        stale = [f"{each.study} ({each.reason})" for each in self.freshness if each.state == STALE]
        if stale:
            found.append(f"Published by other code, settings, data or libraries than today's: {', '.join(stale)}.")
        for result in self.shown_results:
            found += [f"{result.path}: {name} is missing" for name in result.missing_figures()]
        return found

    def staleness(self, row: ClaimRow) -> str:
        """That a claim's verdict is not what today's code would give; nothing where it is, or where nobody knows.

        What changed is among the warnings.
        """
        if row.claim is None or row.result is None or not row.result.published:
            return ""
        for each in self.freshness:
            here = each.scale == row.result.scale and each.study in (row.claim.study, "*")
            if here and each.state in (STALE, EDITED):
                return f"{each.state}: {each.reason.partition(': ')[0]}" if each.reason else each.state
        return ""

    def arms_of_control(self, claim: Claim) -> dict[str, str]:
        """What the arms are that the control of a claim takes in, in the config's words."""
        study = next((study for study in self.config_studies if study.name == claim.study), None)
        if study is None or claim.control is None:
            return {}
        taken_in = claim.control.name.partition(" in place of ")[0]
        return {name: study.form.arms[name] for name in re.findall(r"\w+", taken_in) if name in study.form.arms}

    @cached_property
    def drawings(self) -> list[Drawing]:
        """The drawings of the results shown: studies as in the config, those run by default first."""
        ranked = sorted(self.config_studies, key=lambda study: not study.default)
        names = [study.name for study in ranked]
        return [each for result in self.shown_results for each in result.drawings(names, self.declared_figures)]

    @cached_property
    def figures(self) -> list[FigureImage]:
        """The same, read."""
        return [read_figure(each.path) for each in self.drawings]

    @cached_property
    def front_drawing(self) -> Drawing | None:
        """The drawing that stands for the paper: the one that its config names, or else the first of a study with a
        decided claim that is no matter of arithmetic, or else the first."""
        named = [each for each in self.drawings if each.name == self.front.figure]
        decided = [row.claim for row in self.rows if row.claim and row.claim.clauses]
        weighty = {claim.study for claim in decided if claim.kind != EXACT}
        return next(iter([*named, *(each for each in self.drawings if each.study in weighty), *self.drawings]), None)

    @property
    def front_metric(self) -> str:
        """The metric that the front drawing shows, where the config declares it; else an empty text."""
        return self.drawn_metrics.get(self.front_drawing.name, "") if self.front_drawing else ""

    @property
    def has_plots(self) -> bool:
        """Whether any clause has an interval to draw."""
        claims = [row.claim for row in self.rows if row.claim]
        return any(formatting.forest_plot(clause, claim) for claim in claims for clause in claim.clauses)

    @property
    def caption(self) -> str:
        """What stands above the table of verdicts."""
        place = {study.name: number for number, study in enumerate(self.studies)}
        ran = [study for result in self.shown_results for study in result.studies]
        ran.sort(key=lambda study: place.get(study.name, len(place)))
        shown = dict.fromkeys(f"{study.name}: {study.replicates}" for study in ran)
        return "; ".join(shown) or "Nothing has been run yet."

    @property
    def commands(self) -> list[str]:
        """Commands that repeat the result, on the same and on fresh replicates, and the studies run on request."""
        run = f"encore run paper={self.slug}"
        on_request = [f"{run} study={study.name}" for study in self.studies if not study.default]
        return [run, f"{run} first_replicate=1000    # fresh replicates", *on_request]

    def measurement_sources(self, out: Path) -> list[ResultMeasurements]:
        """The measurements to show, each with the way to its file from a page in `out`."""
        arms = list(dict.fromkeys(arm for study in self.studies for arm in study.arms))
        averaged = averaged_columns(self.claims)
        results = self.results[:MAX_SOURCES]
        share = curves.MAX_PAGE_POINTS // max(1, len(results) + len(self.unfinished_runs))
        found = [_source(result, arms, averaged, share, out) for result in results]
        return [*found, *(_live(run, share) for run in self.unfinished_runs if run.started_replicates)]


def averaged_columns(claims: Mapping[str, written.Claim]) -> frozenset[str]:
    """Columns that the claims average over: repetitions within a replicate, and no conditions."""
    found: set[str] = set()
    for clause in [clause for claim in claims.values() for clause in claim.clauses]:
        found.update(clause.over)
        found.update(column for step in clause.number if step.name in ("mean", "median") for column in step.columns)
    return frozenset(found) - {"arm", "step", "study", "metric"}


def _source(
    result: Result, arms: Sequence[str], averaged: frozenset[str], points: int, out: Path
) -> ResultMeasurements:
    link = Path(os.path.relpath(result.measurements_file, out)).as_posix()
    try:
        rows = curves.read_measurement_table(result.measurements_file)
        found = curves.build_charts(rows, averaged)
    except curves.CurvesUnavailable as error:
        return ResultMeasurements(result.label, "", str(error), {}, (), (), 0)
    chart = curves.chart_data(result.label, found, arms, points, len(rows))
    return ResultMeasurements(result.label, link, "", chart, *curves.summarise_final_measurements(rows, averaged))


def _live(run: UnfinishedRun, points: int) -> ResultMeasurements:
    label = f"{run.state} now: {run.study}" if run.running else f"unfinished: {run.study}, {run.scale} scale"
    rows = curves.table_from_frame(unfinished.live_table(run))
    chart = curves.chart_data(label, curves.build_charts(rows), (), points, len(rows))
    return ResultMeasurements(label, "", "", chart, (), (), 0)


def claim_row(name: str, form: ClaimForm | None, results: list[Result]) -> ClaimRow:
    """A claim with the verdict of the first result that has it: published before local, newest before older."""
    printed = form.printed if form else None
    for result in results:
        for claim in result.claims:
            if claim.id == name:
                source = claim.source or (printed.where if printed else "")
                shown = _printed(printed, formatting.format_printed_number(claim))
                times = ratios.format_printed_times(claim)
                return ClaimRow(name, claim.statement, shown, times, source, claim, result)
    if form is None or printed is None:
        return ClaimRow(name, form.says if form else "", "", "", "", None, None)
    shown = _printed(printed, formatting.format_with_unit(printed.value, printed.unit))
    times = ratios.bound_in_times(printed.value, printed.unit)
    return ClaimRow(name, form.says, shown, times, printed.where, None, None)


def _printed(printed: written.Printed | None, shown: str) -> str:
    """What a paper prints, in quotation marks where the words are its own."""
    return printed.text if printed is not None and printed.quote else shown


def _study(study: StudyConfig) -> StudySummary:
    columns = [formatting.format_settings(study.all_values(scale)) for scale in SHOWN_SCALES]
    names = list(dict.fromkeys(name for column in columns for name in column))
    return StudySummary(
        name=study.name,
        description=study.says,
        default=study.default,
        arms=study.form.arms,
        deviations=[each.model_dump(mode="json") for each in study.form.deviations],
        settings={name: [column.get(name, "") for column in columns] for name in names},
    )


def _byline(about: Reference) -> str:
    shown = ", ".join(about.authors) if len(about.authors) <= 6 else f"{about.authors[0]} et al."
    venue = " ".join(str(part) for part in (about.venue, about.year) if part)
    return " · ".join(part for part in (shown, venue) if part)
