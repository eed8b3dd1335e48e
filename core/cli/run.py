"""`encore run`: check the whole command first, then run it, or hand the sweep to Hydra."""

import argparse
import itertools
import sys
from collections.abc import Sequence

from hydra.core.override_parser.types import Override

from core.errors import BadInput, EncoreError, Stopped
from core.publishing import identity
from core.roots import project_root, runs_folder
from core.running import compose, flow


def main(arguments: argparse.Namespace) -> int:
    """Run one launch or a sweep; returns the exit code."""
    if arguments.multirun and arguments.cfg:
        raise BadInput("--cfg prints the settings of one run: leave -m out, and name one value of each key")
    if arguments.multirun:
        return sweep(arguments.overrides)
    if hydra_words := [word for word in arguments.overrides if word.startswith("hydra")]:
        raise BadInput(f"'{hydra_words[0]}' speaks to sweeps: add -m")
    launch = compose.prepare_launch(arguments.overrides)
    if arguments.cfg:
        print(launch.printable(), end="")
        return 0
    return flow.execute(launch)


def points(words: Sequence[str]) -> list[list[str]]:
    """Every point of a sweep as the words of a single run."""
    choices = []
    for override in compose.parse(words):
        if override.key_or_group.split("/")[0].split(".")[0] == "hydra":
            continue
        choices.append(_values(override))
    return [list(point) for point in itertools.product(*choices)]


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise BadInput(
            f"'{override.input_line}': a continuous range needs a search sweeper; name values or range(a,b,step)"
        )
    return [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]


def sweep(words: Sequence[str]) -> int:
    """Check every point, then let Hydra's multirun run them; returns the worst exit code."""
    for point in points(words):
        compose.prepare_launch(point)
    import hydra
    from hydra.core.hydra_config import HydraConfig

    codes, stopped = [0], False

    def job(_: object) -> None:
        nonlocal stopped
        if stopped:
            return
        own = [word.removeprefix("++") for word in HydraConfig.get().overrides.task]
        try:
            codes.append(flow.execute(compose.prepare_launch(own)))
        except EncoreError as error:
            print(f"encore: {error}", file=sys.stderr)
            codes.append(error.exit_code)
            stopped = isinstance(error, Stopped)

    folder = runs_folder() / "sweeps" / identity.digest(sorted(words))[:12]
    quiet = ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    argv, sys.argv = sys.argv, ["encore", "-m", *map(_for_hydra, words), f"hydra.sweep.dir='{folder}'", *quiet]
    try:
        hydra.main(config_path=str(project_root() / "configs"), config_name="run", version_base="1.3")(job)()
    finally:
        sys.argv = argv
    return max(codes)


def _for_hydra(word: str) -> str:
    """Settings live under the studies; Hydra is told to accept them as they are."""
    return f"++{word}" if word.startswith(("settings.", "studies.")) else word
