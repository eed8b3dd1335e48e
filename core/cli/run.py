"""`encore run`: check the whole command first, then run it, or all the points of a sweep."""

import argparse

from core.errors import BadInput
from core.launch import compose
from core.running import execute

SWEEP_WORDS = ("hydra", "launcher", "sweeper", "objective", "points")


def main(arguments: argparse.Namespace) -> int:
    """Run one launch or a sweep; returns the exit code."""
    if arguments.multirun and arguments.cfg:
        raise BadInput("--cfg prints the settings of one run: leave -m out, and name one value of each key")
    if arguments.multirun:
        from core.sweeps import driver

        return driver.run_sweep(arguments.overrides)
    for word in arguments.overrides:
        if word.partition("=")[0].split(".")[0].split("/")[0] in SWEEP_WORDS:
            raise BadInput(f"'{word}' speaks to sweeps: add -m")
    launch = compose.compose_launch(arguments.overrides)
    if arguments.cfg:
        print(launch.printable(), end="")
        return 0
    return execute.run_launch(launch)
