"""Seconds of the commands that are given all day, in a project of 57 papers.

The papers are the present ones over and over, config, experiment and results alike, under names of their own. Every
command is run once before it is timed, as the second time is the usual one: what lists, checks and plans found out is
kept until something they hang on is written. `from nothing` has an empty cache.
"""

import itertools
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness import Measurement, Options
from benchmarks.peers import ROOT
from benchmarks.report import copy_papers
from benchmarks.results import Result
from benchmarks.timing import take_turns, time_command

PAPER = "lottery_ticket"
SMOKE = ("run", f"paper={PAPER}", "study=lenet", "scale=smoke", "tracking=none")
COMMANDS: Mapping[str, Sequence[str]] = {
    "list": ["list"],
    "show": ["show", PAPER],
    "run --cfg job": ["run", f"paper={PAPER}", "--cfg", "job"],
    "a finished run again": SMOKE,
    "check": ["check"],
    "plan paper=all": ["plan", "paper=all"],
    "report": ["report"],
}
FROM_NOTHING = ("list", "check", "report")


def repeat_papers(count: int) -> dict[str, str]:
    """So many names, the present ones first, and which present paper each of them is."""
    present = sorted(path.stem for path in (ROOT / "configs" / "paper").glob("*.yaml"))
    return {
        slug if number < len(present) else f"{slug}_{number}": slug
        for number, slug in zip(range(count), itertools.cycle(present), strict=False)
    }


def run_command(root: Path, words: Sequence[str], cache: Path) -> dict[str, float]:
    """Seconds of a command in a project."""
    variables = {"ENCORE_ROOT": str(root), "ENCORE_RESULTS": str(root / "results"), "ENCORE_CACHE": str(cache)}
    variables["PYTHONPATH"] = str(ROOT)
    return time_command([sys.executable, "-m", "experiments", *words], environment=variables)


def run_from_nothing(root: Path, words: Sequence[str]) -> dict[str, float]:
    """The same with an empty cache, and without former pages of the report."""
    shutil.rmtree(root / "results" / "report", ignore_errors=True)
    with tempfile.TemporaryDirectory() as cache:
        return run_command(root, words, Path(cache))


def measure_tools(options: Options, result: Result) -> None:
    """Each command in turn, warm; some from nothing."""
    with tempfile.TemporaryDirectory() as name:
        root, cache = Path(name) / "project", Path(name) / "cache"
        copy_papers(root, repeat_papers(options.sizes.papers))
        for words in COMMANDS.values():
            run_command(root, words, cache)
        runs = {name: partial(run_command, root, words, cache) for name, words in COMMANDS.items()}
        for clock, seconds in take_turns(runs, options.rounds).items():
            result.add(f"seconds, nothing changed, {clock}", seconds)
        result.add("bytes", {"index": (root / "results" / "report" / "index.html").stat().st_size})
        if options.sizes.from_nothing:
            runs = {name: partial(run_from_nothing, root, COMMANDS[name]) for name in FROM_NOTHING}
            for clock, seconds in take_turns(runs, 1).items():
                result.add(f"seconds, from nothing, {clock}", seconds)


BENCHMARKS = (
    Measurement(
        name="tools",
        question="How long do list, show, check, plan and report take with 57 papers?",
        work="commands in a project of {papers} papers, the present ones over and over",
        sizes={"papers": 57, "from_nothing": True},
        quick={"papers": 2, "from_nothing": False},
        headline=tuple(("seconds, nothing changed, clock", name) for name in COMMANDS),
        perform=measure_tools,
    ),
)
