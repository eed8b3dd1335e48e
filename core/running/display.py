"""What a person sees of a run: a header, progress with the time left, and the table of verdicts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.table import Table

from core.data import catalogue
from core.papers.claims import FEW_UNITS, Printed
from core.papers.settings import data_sets_of_settings
from core.paths import report_folder
from core.terminal import ProgressBar, console, format_duration, format_number, print_table, short_path

if TYPE_CHECKING:
    from core.launch.compose import Launch
    from core.launch.jobs import Job, JobOutcome
    from core.planning.forecasting import Forecast

MARKS = {"holds": "✓ holds", "fails": "✗ fails", "undecided": "? undecided", "not testable": "– not testable"}


class RunDisplay:
    """Prints to the terminal, or to `file`."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.console = console(file)

    def print_line(self, text: str) -> None:
        """One plain line."""
        self.console.print(f" {text}")

    def print_header(self, launch: "Launch", jobs: Sequence["Job"], forecasts: Sequence["Forecast"]) -> None:
        """What is about to run."""
        names = {name for job in jobs for name in data_sets_of_settings(job.chosen.settings)}
        data = ", ".join(
            f"{catalogue.find_data_set(name).title} (sha256 {catalogue.data_set_checksum(name)[:4]}…)"
            for name in sorted(names)
        )
        minutes = sum(forecast.minutes for forecast in forecasts)
        self.console.print(
            f"{launch.config.slug} · {launch.scale} scale" + (f" · {data}" if data else ""), style="bold"
        )
        for job, forecast in zip(jobs, forecasts, strict=True):
            count = len(job.numbers)
            finished = count - len(job.missing)
            state = (
                f"{finished} of them finished before" if finished else f"forecast {format_duration(forecast.minutes)}"
            )
            if finished == count:
                state = "finished before, nothing is computed again"
            self.print_line(f"{job.study.name}: {count} replicate{'s' * (count != 1)} from {job.numbers[0]}, {state}")
        if len(jobs) > 1 and minutes:
            self.print_line(f"forecast {format_duration(minutes)} together")

    def progress_bar(self, job: "Job", total: int, what: str) -> ProgressBar:
        """Progress of one study."""
        return ProgressBar(self.console, f"{job.study.name} {what}", total)

    def print_verdicts(self, outcomes: Sequence["JobOutcome"]) -> None:
        """The table of claims, their controls, and where everything is."""
        scale = outcomes[0].job.launch.scale
        columns = ("claim", "paper", "here (95 % interval)", f"verdict at {scale} scale")
        table, controls = Table(*columns, box=None, pad_edge=False, leading=1), []
        config = outcomes[0].job.launch.config
        for claim in (claim for outcome in outcomes for claim in outcome.claims):
            table.add_row(*claim_cells(claim, config.form.claims[claim["id"]].printed))
            if claim["control"]:
                controls.append(format_control(claim))
        self.console.print()
        if table.rows:
            print_table(self.console, table)
        for line in [*controls, *(note for outcome in outcomes for note in outcome.notes)]:
            self.print_line(line)
        self.console.print()
        for outcome in outcomes:
            self.print_line(f"{outcome.job.study.name}: {short_path(outcome.folder)}")
        self.print_line(f"encore report makes pages of it: {short_path(report_folder() / 'index.html')}")


def claim_cells(claim: Mapping[str, Any], printed: Printed | None) -> tuple[str, str, str, str]:
    """One claim as cells: identifier and statement, printed value, what was found, verdict."""
    note = f"\n{claim['note']}" if claim["note"] else ""
    here = "\n".join(format_clause(clause) for clause in claim["clauses"])
    return f"{claim['id']} {claim['statement']}", format_printed(printed), here, MARKS[claim["verdict"]] + note


def format_printed(printed: Printed | None) -> str:
    """What the paper prints, with its unit."""
    return f"{printed.text} {printed.unit}".strip() if printed else ""


def format_clause(clause: Mapping[str, Any]) -> str:
    """A clause's number with its interval and unit."""
    if clause["estimate"] is None and clause["low"] is None:
        return "-"
    interval = (
        ""
        if clause["units"] in (None, [])
        else f" [{format_number(clause['low'], '-∞')}, {format_number(clause['high'], '∞')}]"
    )
    few = f" (only {clause['n']})" if clause.get("n") and clause["n"] < FEW_UNITS else ""
    return f"{format_number(clause['estimate'], '∞')}{interval} {clause['unit_of_value'] or ''}".rstrip() + few


def format_control(claim: Mapping[str, Any]) -> str:
    """How the control of a claim came out."""
    control = claim["control"]
    if control["verdict"] == "not testable":
        return f"control of {claim['id']} ({control['name']}): not testable"
    if control["passes"]:
        outcome = "passes"
    elif control["verdict"] == "holds":
        outcome = "does NOT pass (holds): the claim proves nothing"
    else:
        outcome = f"does NOT pass ({control['verdict']}): its effect cannot be told from the claim's"
    return f"control of {claim['id']} ({control['name']}): {outcome}"
