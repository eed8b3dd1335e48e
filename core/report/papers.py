"""What the site says about one paper: its page, its results, how fresh they are, and the curves behind them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.papers import claims as written
from core.papers.claims import ClaimForm
from core.papers.config import PaperConfig, Reference, StudyConfig
from core.paths import experiment_file
from core.report import curves, unfinished, wording
from core.report.claims import Claim
from core.report.freshness_process import CURRENT, EDITED, STALE, Freshness
from core.report.results import Figure, Result
from core.report.unfinished import Unfinished

SHOWN_SCALES = ("laptop", "smoke", "paper")
SOURCES = 8  # results of one page whose curves it holds, the published ones and the newest first
NOT_RUN, LOCAL, PUBLISHED = "not run", "local only", "published"


@dataclass(frozen=True)
class Row:
    """One claim of a page with the verdict to show for it, if there is one."""

    id: str
    says: str
    printed: str
    source: str
    claim: Claim | None
    result: Result | None


@dataclass(frozen=True)
class Study:
    """One study as its page describes it; settings by name at each of the shown scales."""

    name: str
    says: str
    default: bool
    arms: Mapping[str, str]
    deviations: list[Mapping[str, Any]]
    settings: Mapping[str, list[str]]


@dataclass(frozen=True)
class Source:
    """The measurements of one result, as tables and curves show them."""

    label: str
    link: str
    problem: str
    chart: Mapping[str, Any]
    conditions: Sequence[str]
    finals: Sequence[Mapping[str, Any]]
    total: int


class Paper:
    """What the site says about one paper."""

    def __init__(self, page: PaperConfig, results: list[Result], runs: Sequence[Unfinished] = ()) -> None:
        about = page.paper
        self.runs = runs
        self.fresh: Sequence[Freshness] = ()
        self.slug = page.slug
        self.sheet = experiment_file(page.slug)
        self.results = results
        self.title = about.title
        self.byline = _byline(about)
        self.arxiv = about.arxiv
        self.fields = list(about.fields)
        self.idea = about.idea
        self.notes = page.notes
        self.studies = [_study(study) for study in page.studies.values()]
        self.claims: Mapping[str, written.Claim] = page.claims
        self.forms = page.form.claims
        self.rows = [row_of(name, self.forms.get(name), results) for name in self.claims]

    @property
    def used(self) -> list[Result]:
        """Results that give the verdicts shown first."""
        return [result for result in self.results if any(row.result is result for row in self.rows)]

    @property
    def local_only(self) -> bool:
        """Whether every verdict shown comes from a local run."""
        return bool(self.used) and not any(result.published for result in self.used)

    @property
    def takes(self) -> str:
        """Wall time of the published laptop run, or of what is shown in its place."""
        return wording.duration(self.minutes)

    @property
    def last_run(self) -> str:
        """Day of the latest result."""
        return max((result.date for result in self.results), default="")

    @property
    def minutes(self) -> float:
        """Wall time behind `takes`, to sort by."""
        published = [result for result in self.results if result.published and result.scale == "laptop"]
        return sum(result.minutes for result in published or self.used)

    @property
    def holding(self) -> int:
        """How many of its claims hold."""
        return sum(row.claim is not None and row.claim.verdict == "holds" for row in self.rows)

    @property
    def state(self) -> str:
        """One word for the published results, or for what stands in their place."""
        states = {each.state for each in self.fresh}
        for state in (EDITED, STALE):
            if state in states:
                return state
        if self.local_only or not self.used:
            return LOCAL if self.used else NOT_RUN
        return CURRENT if states == {CURRENT} else PUBLISHED

    @property
    def state_words(self) -> str:
        """What `state` comes from."""
        return "; ".join(f"{each.study}: {each.why}" if each.study else each.why for each in self.fresh if each.why)

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing the numbers."""
        found = [f"results/{result.place}: {warning}" for result in self.used for warning in result.warnings]
        stale = [f"{each.study} ({each.why})" for each in self.fresh if each.state == STALE]
        if stale:
            found.append(f"Published by other code, settings, data or libraries than today's: {', '.join(stale)}.")
        for result in self.used:
            found += [f"results/{result.place}: {name} is missing" for name in result.missing_figures()]
        return found

    @cached_property
    def figures(self) -> list[Figure]:
        """The drawings of the results shown."""
        return [figure for result in self.used for figure in result.figures()]

    @property
    def has_plots(self) -> bool:
        """Whether any clause has an interval to draw."""
        claims = [row.claim for row in self.rows if row.claim]
        return any(wording.forest(clause, claim) for claim in claims for clause in claim.clauses)

    @property
    def caption(self) -> str:
        """What stands above the table of verdicts."""
        shown = {f"{study.name}: {study.replicates}" for result in self.used for study in result.studies}
        return "; ".join(sorted(shown)) or "Nothing has been run yet."

    @property
    def commands(self) -> list[str]:
        """Commands that repeat the result, on the same and on fresh replicates, and the studies run on request."""
        run = f"encore run paper={self.slug}"
        on_request = [f"{run} study={study.name}" for study in self.studies if not study.default]
        return [run, f"{run} first_replicate=1000    # fresh replicates", *on_request]

    @property
    def search(self) -> str:
        """The words by which the index finds it."""
        words = [self.slug, self.title, self.byline, self.idea, *self.fields]
        return " ".join([*words, *(f"{row.id} {row.says}" for row in self.rows)]).lower()

    def sources(self, out: Path) -> list[Source]:
        """The measurements to show, each with the way to its file from a page in `out`."""
        arms = list(dict.fromkeys(arm for study in self.studies for arm in study.arms))
        averaged = repetitions(self.claims)
        results = self.results[:SOURCES]
        share = curves.POINTS // max(1, len(results) + len(self.runs))
        found = [_source(result, arms, averaged, share, out) for result in results]
        return [*found, *(_live(run, share) for run in self.runs if run.begun)]


def repetitions(claims: Mapping[str, written.Claim]) -> frozenset[str]:
    """Columns that the claims average over: repetitions within a replicate, and no conditions."""
    found: set[str] = set()
    for clause in [clause for claim in claims.values() for clause in claim.clauses]:
        found.update(clause.over)
        found.update(column for step in clause.number if step.name in ("mean", "median") for column in step.columns)
    return frozenset(found) - {"arm", "step", "study", "metric"}


def _source(result: Result, arms: Sequence[str], averaged: frozenset[str], points: int, out: Path) -> Source:
    link = Path(os.path.relpath(result.table, out)).as_posix()
    try:
        rows = curves.read(result.table)
        found = curves.views(rows, averaged)
    except curves.NoCurves as error:
        return Source(result.label, "", str(error), {}, (), (), 0)
    chart = curves.chart(result.label, found, arms, points, len(rows))
    return Source(result.label, link, "", chart, *curves.final_rows(rows, averaged))


def _live(run: Unfinished, points: int) -> Source:
    label = f"{run.state} now: {run.study}" if run.running else f"unfinished: {run.study}, {run.scale} scale"
    rows = curves.rows_of(unfinished.table(run))
    chart = curves.chart(label, curves.views(rows), (), points, len(rows))
    return Source(label, "", "", chart, (), (), 0)


def row_of(name: str, form: ClaimForm | None, results: list[Result]) -> Row:
    """A claim with the verdict of the first result that has it: published before local, newest before older."""
    printed = form.printed if form else None
    for result in results:
        for claim in result.claims:
            if claim.id == name:
                source = claim.source or (printed.where if printed else "")
                return Row(name, claim.statement, wording.printed(claim), source, claim, result)
    value = wording.with_unit(printed.value, printed.unit) if printed else ""
    return Row(name, form.says if form else "", value, printed.where if printed else "", None, None)


def _study(study: StudyConfig) -> Study:
    columns = [wording.flat(study.all_values(scale)) for scale in SHOWN_SCALES]
    names = list(dict.fromkeys(name for column in columns for name in column))
    return Study(
        name=study.name,
        says=study.says,
        default=study.default,
        arms=study.form.arms,
        deviations=[each.model_dump(mode="json") for each in study.form.deviations],
        settings={name: [column.get(name, "") for column in columns] for name in names},
    )


def _byline(about: Reference) -> str:
    shown = ", ".join(about.authors) if len(about.authors) <= 6 else f"{about.authors[0]} et al."
    venue = " ".join(str(part) for part in (about.venue, about.year) if part)
    return " · ".join(part for part in (shown, venue) if part)
