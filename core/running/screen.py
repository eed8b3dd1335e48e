"""What a person sees of a run: a header, progress with the time left, and the table of verdicts."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from core.data import catalogue
from core.settings import data_sets

if TYPE_CHECKING:
    from core.running.compose import Launch
    from core.running.jobs import Job, Outcome
    from core.running.plan import Forecast

QUIET_SECONDS = 20.0
MARKS = {"holds": "✓ holds", "fails": "✗ fails", "undecided": "? undecided", "not testable": "– not testable"}


def duration(minutes: float) -> str:
    """A length of time in words."""
    if minutes < 1:
        return f"{minutes * 60:.0f} s"
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"


class Terminal(Console):
    """A console whose reader may leave early."""

    def on_broken_pipe(self) -> None:
        """Tell the command, which ends in peace, instead of failing here."""
        raise BrokenPipeError


def console(file: TextIO | None = None) -> Console:
    """The terminal, or 120 columns where the output goes elsewhere; `file` instead of whatever is standard output."""
    plain = Terminal(file=file, highlight=False, soft_wrap=True, markup=False)
    return plain if plain.is_terminal else Terminal(file=file, highlight=False, soft_wrap=True, markup=False, width=120)


class Progress:
    """Steps done and time left: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, what: str, total: int) -> None:
        self._console, self._what, self._total = console, what, total
        self._done, self._started, self._said = 0, time.monotonic(), time.monotonic()
        self._bar: Bar | None = None
        self._task = TaskID(0)
        if console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"),
                TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console,
            )  # fmt: skip
            self._task = self._bar.add_task(what, total=total or None)

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, steps: int) -> None:
        """Count some steps."""
        self._done += steps
        if self._bar:
            self._bar.advance(self._task, steps)
        elif time.monotonic() - self._said > QUIET_SECONDS and self._done:
            self._said = time.monotonic()
            self._console.print(self._line())

    def _line(self) -> str:
        elapsed = (time.monotonic() - self._started) / 60
        if not self._total:
            return f" {self._what}: {self._done} steps, {duration(elapsed)}"
        left = elapsed * max(0, self._total - self._done) / self._done
        return (
            f" {self._what}: {100 * self._done / self._total:.0f} %, {duration(elapsed)}, about {duration(left)} left"
        )


class Screen:
    """Prints to the terminal."""

    def __init__(self) -> None:
        self.console = console()

    def line(self, text: str) -> None:
        """One plain line."""
        self.console.print(f" {text}")

    def header(self, launch: "Launch", jobs: Sequence["Job"], forecasts: Sequence["Forecast"]) -> None:
        """What is about to run."""
        names = {name for job in jobs for name in data_sets(job.chosen.settings)}
        data = ", ".join(
            f"{catalogue.describe(name).title} (sha256 {catalogue.checksum(name)[:4]}…)" for name in sorted(names)
        )
        minutes = sum(forecast.minutes for forecast in forecasts)
        self.console.print(f"{launch.page.slug} · {launch.scale} scale" + (f" · {data}" if data else ""), style="bold")
        for job, forecast in zip(jobs, forecasts, strict=True):
            count = len(job.numbers)
            finished = count - len(job.missing)
            state = f"{finished} of them finished before" if finished else f"forecast {duration(forecast.minutes)}"
            if finished == count:
                state = "finished before, nothing is computed again"
            self.line(f"{job.study.name}: {count} replicate{'s' * (count != 1)} from {job.numbers[0]}, {state}")
        if len(jobs) > 1 and minutes:
            self.line(f"forecast {duration(minutes)} together")

    def progress(self, job: "Job", total: int, what: str) -> Progress:
        """Progress of one study."""
        return Progress(self.console, f"{job.study.name} {what}", total)

    def verdicts(self, outcomes: Sequence["Outcome"]) -> None:
        """The table of claims, their controls, and where everything is."""
        scale = outcomes[0].job.launch.scale
        columns = ("claim", "paper", "here (95 % interval)", f"verdict at {scale} scale")
        table, controls = Table(*columns, box=None, pad_edge=False, leading=1), []
        page = outcomes[0].job.launch.page
        for claim in (claim for outcome in outcomes for claim in outcome.claims):
            table.add_row(*claim_row(claim, page.claims[claim["id"]]["printed"]))
            if claim["control"]:
                controls.append(control_line(claim))
        self.console.print()
        if table.rows:
            self.console.print(table, soft_wrap=False)
        for line in [*controls, *(note for outcome in outcomes for note in outcome.notes)]:
            self.line(line)
        self.console.print()
        for outcome in outcomes:
            self.line(f"{outcome.job.study.name}: {shown(outcome.folder)}")
        self.line("encore report makes pages of it: results/report/index.html")


def claim_row(claim: Mapping[str, Any], printed: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """One claim as cells: identifier and statement, printed value, what was found, verdict."""
    note = f"\n{claim['note']}" if claim["note"] else ""
    here = "\n".join(clause_text(clause) for clause in claim["clauses"])
    paper = f"{printed['value']} {printed['unit']}".strip()
    return f"{claim['id']} {claim['statement']}", paper, here, MARKS[claim["verdict"]] + note


def clause_text(clause: Mapping[str, Any]) -> str:
    """A clause's number with its interval and unit."""
    if clause["estimate"] is None and clause["low"] is None:
        return "-"
    interval = (
        "" if clause["units"] in (None, []) else f" [{number(clause['low'], '-∞')}, {number(clause['high'], '∞')}]"
    )
    return f"{number(clause['estimate'], '∞')}{interval} {clause['unit_of_value'] or ''}".rstrip()


def number(value: float | None, missing: str) -> str:
    """Three significant digits with a sign, whole thousands in full."""
    if value is None:
        return missing
    return f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.3g}"


def control_line(claim: Mapping[str, Any]) -> str:
    """How the control of a claim came out."""
    control = claim["control"]
    if control["verdict"] == "not testable":
        return f"control of {claim['id']} ({control['name']}): not testable"
    outcome = (
        "fails as it must"
        if control["passes"]
        else f"does NOT separate ({control['verdict']}): the claim proves nothing"
    )
    return f"control of {claim['id']} ({control['name']}): {outcome}"


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
