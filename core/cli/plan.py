"""`encore plan`: what runs would do and cost, from shapes and earlier runs; nothing of their size is allocated."""

import argparse
import math
import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from core import files
from core.cli import documents
from core.errors import BadInput, OverBudget
from core.launch import compose
from core.papers.config_files import all_slugs
from core.paths import project_root
from core.planning import accelerators, budget, cost_ledger, estimate
from core.planning.accelerators import STEP_SECONDS, Fleet
from core.planning.estimate import StudyEstimate
from core.sweeps import sweep_command
from core.terminal import console, format_duration, print_table, short_path

MOST_ACCELERATORS = 1_000_000


def main(arguments: argparse.Namespace) -> int:
    """Print the plan of a selection of runs."""
    screen = console()
    if arguments.json and (arguments.check or arguments.document):
        raise BadInput("--json speaks of what runs would cost: leave --check and --document out")
    if arguments.check:
        return _check(screen)
    if arguments.document:
        return _document(screen)
    if arguments.within is not None and not 0 < arguments.within < math.inf:
        raise BadInput(f"--within {arguments.within:g} must be a positive number of minutes, such as --within 30")
    fleet = _fleet(arguments)
    found = estimate.estimate_launches(expand_runs(arguments.overrides, arguments.multirun), fleet)
    if arguments.json:
        picked = [] if arguments.within is None else _picked(found, arguments.within)
        _refuse(found, arguments)
        documents.print_json("plan", **documents.plan_document(found, fleet, picked))
        return 0
    _show(screen, found, fleet)
    if arguments.within is not None:
        _pick(screen, found, arguments.within)
    _refuse(found, arguments)
    return 0


def _fleet(arguments: argparse.Namespace) -> Fleet | None:
    if not 0 < arguments.efficiency <= 1:
        raise BadInput(f"--efficiency {arguments.efficiency:g} must lie in (0, 1]: it is a share of the peak")
    if not 1 <= arguments.count <= MOST_ACCELERATORS:
        raise BadInput(f"--count {arguments.count} must lie in [1, {MOST_ACCELERATORS}]")
    if not arguments.on:
        if arguments.count > 1:
            raise BadInput("--count says how many accelerators: add --on, such as --on h100")
        return None
    return Fleet(accelerators.find_accelerator(arguments.on), arguments.count, arguments.efficiency)


def _show(screen: Console, found: Sequence[StudyEstimate], fleet: Fleet | None) -> None:
    table = Table(
        "study", "replicates", "stages", "steps", "GFLOP", "memory", "time", "claims", "estimated from",
        box=None, pad_edge=False,
    )  # fmt: skip
    papers = {line.slug for line in found}
    several = len({line.words[:-1] for line in found}) > 1
    for line in found:
        table.add_row(*_cells(line, _name(line, several)))
    where = "this machine"
    if fleet:
        where = f"{fleet.count} x {fleet.accelerator.title}" if fleet.count > 1 else fleet.accelerator.title
    title = found[0].slug if len(papers) == 1 else f"{len(papers)} papers"
    screen.print(f"{title} · {found[0].scale} scale · on {where}", style="bold")
    print_table(screen, table)
    if len(found) > 1:
        total, flops = sum(line.minutes for line in found), sum(line.replicates * line.flops for line in found)
        screen.print(f" together {format_duration(total)}, one after the other; {flops / 1e9:,.0f} GFLOP")
    for line in found:
        if line.changes:
            screen.print(
                f" {_name(line, several)} differs from its published result: {'; '.join(line.changes)}", soft_wrap=True
            )
    if any(line.is_lower_bound for line in found):
        screen.print(" ≥: some stages compute on the host, where nothing can be counted; a first run will tell")
    if fleet:
        kind, percent = fleet.accelerator, 100 * fleet.efficiency
        screen.print(
            f" {kind.title}: {kind.teraflops:.0f} TFLOP/s ({kind.precision}), {kind.gib:.0f} GiB as published, "
            f"{percent:.0f} % of the peak assumed and {STEP_SECONDS * 1e6:.0f} µs or more per step; operations as XLA "
            "counts them, memory without what a step computes in between"
        )
        for line in (line for line in found if line.gib > kind.gib):
            screen.print(f" {line.study}: {line.gib:.0f} GiB do not fit {kind.gib:.0f} GiB: fewer at once")


def _name(line: StudyEstimate, several: bool) -> str:
    """The study; where there are several launches with the paper, and the words in which they differ."""
    if not several:
        return line.study
    own = [word for word in line.words if not word.startswith(("paper=", "scale=", "study=", "tracking", "budget."))]
    return " ".join([f"{line.slug}/{line.study}", *own])


def _cells(line: StudyEstimate, name: str) -> tuple[str, ...]:
    return (
        name,
        f"{line.replicates} of {line.total_replicates}"
        if line.replicates < line.total_replicates
        else str(line.total_replicates),
        str(line.stages),
        f"{line.replicates * line.steps:,}",
        f"{line.replicates * line.flops / 1e9:,.0f}",
        f"{line.gib:.1f} GiB" if line.gib >= 0.1 else f"{line.gib * 1024:.0f} MiB",
        ("≥ " if line.is_lower_bound else "") + format_duration(line.minutes),
        str(line.claims),
        line.source,
    )


def _pick(screen: Console, found: Sequence[StudyEstimate], minutes: float) -> None:
    """The runs that decide the most claims in the time given."""
    picked = [found[number] for number in _picked(found, minutes)]
    claims, total = sum(line.claims for line in picked), sum(line.minutes for line in picked)
    every = sum(line.claims for line in found)
    screen.print(f" within {format_duration(minutes)}: {claims} of {every} claims in {format_duration(total)}")
    for line in picked:
        screen.print(f" encore run {' '.join(line.words)}")


def _picked(found: Sequence[StudyEstimate], minutes: float) -> list[int]:
    """Their places in the list; OverBudget where there is none."""
    offers = [budget.RunOption(str(number), line.minutes, line.claims) for number, line in enumerate(found)]
    if not (picked := budget.choose_runs(offers, minutes)):
        raise OverBudget(f"no run of these decides a claim within {format_duration(minutes)}")
    return [int(offer.name) for offer in picked]


def _refuse(found: Sequence[StudyEstimate], arguments: argparse.Namespace) -> None:
    """Refuse what takes longer than a budget that was given, unless runs are picked by --within."""
    given = any(word.startswith("budget.minutes=") for word in arguments.overrides)
    if arguments.within is not None or not given:
        return
    total, minutes = sum(line.minutes for line in found), compose.compose_launch(found[0].words).budget_minutes
    if total > minutes:
        raise OverBudget(
            f"forecast {format_duration(total)}, budget {format_duration(minutes)}: --within {minutes:g} picks those "
            "that decide the most claims in that time"
        )


def _check(screen: Console) -> int:
    """Every forecast of the ledger beside what happened."""
    found = cost_ledger.forecast_error_factors(cost_ledger.read_entries())
    if not found:
        raise BadInput("nothing has been run here yet: the ledger of costs is empty")
    table = Table("run", "forecast", "took", "factor", "estimated from", box=None, pad_edge=False)
    for line, factor in found:
        table.add_row(
            line.identity, format_duration(line.forecast), format_duration(line.minutes), f"{factor:.2f}", line.source
        )
    print_table(screen, table)
    factors = [factor for _, factor in found]
    screen.print(f" median factor {statistics.median(factors):.2f}, largest {max(factors):.2f}, {len(factors)} runs")
    return 0


def _document(screen: Console) -> int:
    """Write docs/cost.md anew."""
    from core.report import cost_table

    path = project_root() / cost_table.COST_FILE
    files.write_text(path, cost_table.render_cost_table())
    screen.print(short_path(path))
    return 0


def expand_runs(words: Sequence[str], multirun: bool) -> list[list[str]]:
    """The words of every run that is meant: `paper` may name several or all, `-m` sweeps the rest."""
    return [own for point in _papers(words) for own in (sweep_command.expand_sweep(point) if multirun else [point])]


def _papers(words: Sequence[str]) -> list[list[str]]:
    """The words once per paper."""
    names = [word for word in words if word.startswith("paper=")]
    others = [word for word in words if not word.startswith("paper=")]
    if len(names) != 1:
        return [list(words)]
    wanted = names[0].removeprefix("paper=")
    listed = all_slugs() if wanted == "all" else [name.strip() for name in wanted.split(",")]
    return [[f"paper={name}", *others] for name in listed]
