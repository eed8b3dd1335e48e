"""The studies of several papers one after the other: a paper that fails does not stop the others.

Nothing is remembered beside the runs themselves: given again, the command shows what is finished and goes on there.
"""

import sys
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Column, Table

from core.errors import EncoreError, Stopped, Unfinished
from core.launch.compose import Launch, compose_launch
from core.running import execute
from core.running.display import MARKS
from core.terminal import console, format_duration, print_table


@dataclass(frozen=True)
class PaperOutcome:
    """What came of one paper.

    Attributes:
      verdicts: one word for each claim of the studies that were performed.
      code: the exit code that the paper alone would have had.
      message: why it is not finished, in one line; empty where it is.
    """

    slug: str
    verdicts: tuple[str, ...] = ()
    minutes: float = 0.0
    code: int = 0
    message: str = ""


def run_papers(commands: Mapping[str, Sequence[str]]) -> int:
    """Perform one command for each paper, and show a summary; returns the worst of their exit codes.

    Args:
      commands: the words of `encore run` by paper.

    Raises the fault of the words where no paper takes them; papers that alone do not take them are left out.
    """
    outcomes: dict[str, PaperOutcome] = {}
    launches = _compose_each(commands, outcomes)
    with execute.handle_signals(execute.raise_stopped):
        for slug, launch in launches.items():
            try:
                outcomes[slug] = _perform(slug, launch)
            except Stopped as error:
                outcomes[slug] = PaperOutcome(slug, code=error.exit_code, message=str(error))
                break
    unfinished = {slug: PaperOutcome(slug, code=Unfinished.exit_code, message="not begun") for slug in commands}
    ends = [outcomes.get(slug, unfinished[slug]) for slug in commands]
    if all(launch.hosts.leads for launch in launches.values()):
        print_summary(ends)
    return worst_code(ends)


def worst_code(ends: Sequence[PaperOutcome]) -> int:
    """0 when every paper is finished; else the lowest other code: a fault before what only has to be gone on with."""
    return min((each.code for each in ends if each.code), default=0)


def _compose_each(commands: Mapping[str, Sequence[str]], outcomes: dict[str, PaperOutcome]) -> dict[str, Launch]:
    """The checked launch of every paper that takes its words; of the others `outcomes` says why not."""
    launches: dict[str, Launch] = {}
    faults: list[EncoreError] = []
    for slug, words in commands.items():
        try:
            launches[slug] = compose_launch(words)
        except EncoreError as error:
            outcomes[slug] = PaperOutcome(slug, code=error.exit_code, message=str(error))
            faults.append(error)
    if not launches:
        raise faults[0]
    return launches


def _perform(slug: str, launch: Launch) -> PaperOutcome:
    """Perform one paper, whatever becomes of it. Raises Stopped where a signal asks for it."""
    started, verdicts, code, message = time.monotonic(), (), 0, ""
    try:
        outcomes = execute.perform_and_show(launch)
        verdicts = tuple(claim["verdict"] for outcome in outcomes for claim in outcome.claims)
    except Stopped:
        raise
    except EncoreError as error:
        code, message = error.exit_code, str(error).partition("\n")[0]
    except Exception as error:  # a fault of one experiment must not cost the others their night
        traceback.print_exc()
        code, message = EncoreError.exit_code, f"{type(error).__name__}: {error}".splitlines()[0]
    if message:
        print(f"encore: {slug}: {message}", file=sys.stderr)
    return PaperOutcome(slug, verdicts, (time.monotonic() - started) / 60, code, message)


def print_summary(ends: Sequence[PaperOutcome]) -> None:
    """A line for each paper: its verdicts, how long it took now, how it ended; and all of them together."""
    screen = console()
    table = Table(
        "paper", *(Column(mark, justify="right", no_wrap=True) for mark in MARKS.values()), "time", "end", box=None
    )
    table.pad_edge = False
    counts = Counter(verdict for each in ends for verdict in each.verdicts)
    for each in ends:
        own = Counter(each.verdicts)
        took = format_duration(each.minutes) if each.minutes else ""
        numbers = [str(own[verdict]) if each.verdicts else "" for verdict in MARKS]
        table.add_row(each.slug, *numbers, took, f"exit code {each.code}" if each.code else "finished")
    total = format_duration(sum(each.minutes for each in ends))
    finished = sum(not each.code for each in ends)
    table.add_row(
        "together", *(str(counts[verdict]) for verdict in MARKS), total, f"{finished} of {len(ends)} finished"
    )
    screen.print(f"\n{len(ends)} papers", style="bold")
    print_table(screen, table)
    for each in ends:
        if each.message:
            screen.print(f" {each.slug}: {each.message}")
    if any(each.code == Unfinished.exit_code for each in ends):
        screen.print(" the same command goes on from here")
