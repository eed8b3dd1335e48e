"""`encore run`: check the whole command first, then run it, or all the points of a sweep."""

import argparse
import sys
from collections.abc import Sequence

from core.cli import documents
from core.errors import BadInput
from core.launch import hydra_queries
from core.launch.compose import Launch, compose_launch
from core.running import surroundings
from core.running.display import RunDisplay

WITHOUT_PAPER = ("plugins",)  # what Hydra can say of no run in particular
SWEEP_WORDS = ("launcher", "sweeper", "objective", "points", "hydra.launcher", "hydra.sweeper", "hydra.sweep")


def main(arguments: argparse.Namespace) -> int:
    """Run one launch or a sweep, or print what Hydra would make of it; returns the exit code."""
    words = [*arguments.overrides, *hydra_queries.search_path_words(arguments.config_dir)]
    if arguments.json and (arguments.hydra_help or arguments.info or arguments.cfg or arguments.multirun):
        raise BadInput("--json speaks of one finished run: leave -m, --cfg, --info and --hydra-help out")
    if arguments.hydra_help or arguments.info in WITHOUT_PAPER:
        hydra_queries.ask_hydra(None, words, _flags(arguments))
        return 0
    if arguments.multirun and (arguments.cfg or arguments.info):
        raise BadInput("--cfg and --info speak of one run: leave -m out, and name one value of each key")
    if arguments.multirun:
        from core.sweeps import driver

        return driver.run_sweep(words)
    _check_words(arguments.overrides)
    if not arguments.cfg and (arguments.resolve or arguments.package):
        raise BadInput("--resolve and --package belong to --cfg job, --cfg hydra or --cfg all")
    launch = compose_launch(words)
    if arguments.info:
        hydra_queries.ask_hydra(launch, words, _flags(arguments))
    elif arguments.cfg:
        print(hydra_queries.printed_config(launch, arguments.cfg, arguments.package, arguments.resolve), end="")
    else:
        surroundings.check_surroundings(launch)
        return _run(launch, arguments.json)
    return 0


def _run(launch: Launch, as_json: bool) -> int:
    from core.running.execute import perform_launch, run_launch

    if not as_json:
        return run_launch(launch)
    if outcomes := perform_launch(launch, RunDisplay(sys.stderr)):
        documents.print_json("run", **documents.run_document(launch, outcomes))
    return 0


def _check_words(words: Sequence[str]) -> None:
    """Refuse words that a single run would pass over."""
    for word in words:
        key = word.partition("=")[0].replace("/", ".").lstrip("+~")
        if any(key == each or key.startswith(f"{each}.") for each in SWEEP_WORDS):
            raise BadInput(f"'{word}' speaks to sweeps: add -m")
        if key.startswith("hydra.run."):
            raise BadInput(f"'{word}': a run's folder bears its identity; ENCORE_RESULTS moves all of them")


def _flags(arguments: argparse.Namespace) -> list[str]:
    return ["--hydra-help"] if arguments.hydra_help else ["--info", arguments.info]
