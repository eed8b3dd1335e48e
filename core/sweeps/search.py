"""Which points a sweep has: all combinations at once, or the next few of a TPE search by Optuna.

A search keeps no state of its own. Before every choice Optuna's study is made anew from the points in the sweep's
folder, so that a search that was killed, or is shared by several terminals, goes on from what is known.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from core import files
from core.errors import BadInput, EncoreError
from core.runs import sweep_folder
from core.runs.identity import digest
from core.runs.sweep_folder import SweepPoint
from core.sweeps import sweep_command
from core.sweeps.objective import Objective
from core.sweeps.sweep_command import PointChecker, SweepCommand

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ATTEMPTS = 10  # at a point that is not among those there are, before the next unused one is taken
ATTEMPT_SEEDS = 1_000_003  # between the seeds of two attempts


class PointSource(Protocol):
    """Where the points of a sweep come from."""

    def sweep_identity(self) -> str:
        """12 hexadecimal digits."""
        ...

    def points_to_check(self) -> list[dict[str, str]]:
        """Values that are checked before anything runs: all points, or the corners of what is searched."""
        ...

    def add_points(self, folder: Path) -> list[SweepPoint]:
        """Choose and record further points; none when there are enough."""
        ...

    def end_line(self, folder: Path) -> str:
        """Why there are fewer points than were asked for; empty where there are not."""
        ...


@dataclass(frozen=True)
class GridSource:
    """All combinations; they are recorded from the start."""

    command: SweepCommand

    def sweep_identity(self) -> str:
        """12 hexadecimal digits of the set of points."""
        return sweep_command.grid_identity(self.command)

    def points_to_check(self) -> list[dict[str, str]]:
        """All points."""
        return sweep_command.expand_grid(self.command)

    def add_points(self, folder: Path) -> list[SweepPoint]:
        """There are no others."""
        return []

    def end_line(self, folder: Path) -> str:
        """There are all."""
        return ""


@dataclass(frozen=True)
class TpeSource:
    """A search by a tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011)."""

    command: SweepCommand
    checker: PointChecker
    objective: Objective
    trials: int
    startup_trials: int
    batch_size: int
    seed: int

    def sweep_identity(self) -> str:
        """12 hexadecimal digits of what is searched, by what and from which seed; not of how long."""
        axes = sorted(str(override.input_line) for override in self.command.axes.values())
        fixed = sweep_command.canonical_words(self.command.fixed)
        return digest(["tpe", self.seed, axes, list(fixed), self.objective.as_dict()])[:12]

    def points_to_check(self) -> list[dict[str, str]]:
        """The lower and the upper ends of all axes, and every value of a choice beside the lower ends."""
        found = {key: axis_ends(override) for key, override in self.command.axes.items()}
        low = {key: values[0] for key, values in found.items()}
        others = [{**low, key: value} for key, values in found.items() for value in values[1:]]
        return [low, {key: values[-1] for key, values in found.items()}, *others]

    def add_points(self, folder: Path) -> list[SweepPoint]:
        """Choose the next points by the objectives of those that are finished."""
        with files.wait_for_lock(folder / "search.lock", lambda: None):
            known = sweep_folder.read_sweep(folder).points
            found: list[SweepPoint] = []
            for number in range(len(known), min(self.trials, len(known) + self.batch_size)):
                values = self._choose([*known, *found])
                if values is None:
                    break
                point = self._check_point(number, values)
                sweep_folder.write_point(folder, point)
                found.append(point)
        return found

    def end_line(self, folder: Path) -> str:
        """That the space is used up, where it is before the number of trials is reached."""
        count = len(sweep_folder.read_sweep(folder).points)
        if count >= self.trials or self._unused(_tried(sweep_folder.read_sweep(folder).points)) is not None:
            return ""
        return f"the search ends with {count} points of {self.trials}: there are no others in its ranges"

    def _choose(self, known: Sequence[SweepPoint]) -> dict[str, str] | None:
        """Values that no point has yet; None where every combination has been tried."""
        tried = _tried(known)
        for attempt in range(ATTEMPTS):
            values = self._ask(known, attempt)
            if frozenset(values.items()) not in tried:
                return values
        return self._unused(tried)

    def _unused(self, tried: set[frozenset[tuple[str, str]]]) -> dict[str, str] | None:
        """The first combination that was not tried; of a long range, the first values, more than a search can try."""
        axes = [[(key, value) for value in axis_beginning(override)] for key, override in self.command.axes.items()]
        return next((dict(each) for each in itertools.product(*axes) if frozenset(each) not in tried), None)

    def _check_point(self, number: int, values: Mapping[str, str]) -> SweepPoint:
        """A point; one whose values contradict each other is a failed one."""
        try:
            return self.checker.check_point(number, values)
        except EncoreError as error:
            words = (*self.command.fixed, *(f"{key}={value}" for key, value in values.items()))
            return SweepPoint(number, values, words, (), (0, 0), "failed", str(error), None, error.exit_code)

    def _ask(self, known: Sequence[SweepPoint], attempt: int) -> dict[str, str]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # A seed of its own for every choice: the same history always gives the same next point.
        seed = (self.seed + len(known) + ATTEMPT_SEEDS * attempt) % 2**32
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.startup_trials)
        direction = "maximize" if self.objective.direction == "max" else "minimize"
        study = optuna.create_study(sampler=sampler, direction=direction)
        space = {key: _distribution(override) for key, override in self.command.axes.items()}
        for point in known:
            study.add_trial(_trial(point, space))
        chosen = study.ask(space).params
        return {key: _text(_round(value, space[key])) for key, value in chosen.items()}


def _tried(points: Sequence[SweepPoint]) -> set[frozenset[tuple[str, str]]]:
    """The combinations of values that points have."""
    return {frozenset(point.overrides.items()) for point in points}


def _trial(point: SweepPoint, space: Mapping[str, "BaseDistribution"]) -> Any:
    """A point as Optuna remembers it; one without a number yet is passed over by the estimator."""
    import optuna
    from optuna.trial import TrialState

    params = {key: _value(point.overrides[key], distribution) for key, distribution in space.items()}
    value = point.objective["mean"] if point.state == "finished" and point.objective else None
    state, seen = TrialState.COMPLETE if value is not None else TrialState.FAIL, {}
    if point.state == "pruned":  # the estimator takes it for worse than all that went further
        state, seen = TrialState.PRUNED, dict(enumerate(point.means, 1))
    return optuna.trial.create_trial(
        params=params, distributions=dict(space), value=value, state=state, intermediate_values=seen
    )


def _value(text: str, distribution: "BaseDistribution") -> Any:
    from optuna.distributions import FloatDistribution, IntDistribution

    if isinstance(distribution, IntDistribution):
        return int(text)
    return float(text) if isinstance(distribution, FloatDistribution) else text


def _round(value: Any, distribution: "BaseDistribution") -> Any:
    """Five digits of a fraction are enough, unless they lead out of the range."""
    if not isinstance(value, float):
        return value
    short = float(f"{value:.5g}")
    return short if distribution._contains(short) else value


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _distribution(override: Override) -> "BaseDistribution":
    """An axis as Optuna samples it: a continuous range, whole numbers, steps, or a choice."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    log = "log" in getattr(value, "tags", ())
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low or 0), float(high or 0), log=log)
    if isinstance(value, RangeSweep) and all(isinstance(each, int) for each in (value.start, value.stop, value.step)):
        last = sweep_command.axis_values(override)[-1]
        return IntDistribution(int(value.start or 0), int(last), step=int(value.step))
    return CategoricalDistribution(sweep_command.axis_values(override))


def axis_beginning(override: Override) -> list[str]:
    """The values that an axis can have, as a search spells them; of a long range, more than a search has points."""
    value, most = override.value(), sweep_command.MOST_POINTS
    if not isinstance(value, IntervalSweep):
        return sweep_command.axis_values(override)
    low, high = value.start, value.end
    if isinstance(low, int) and isinstance(high, int):
        return [str(each) for each in range(low, min(high, low + most) + 1)]
    first, last = float(low or 0), float(high or 0)
    return [_text(first + (last - first) * step / most) for step in range(most + 1)]


def axis_description(override: Override) -> list[str] | str:
    """An axis as `sweep.json` shows it: its values, or the words of a continuous range."""
    return (
        sweep_command.axis_values(override)
        if override.is_discrete_sweep()
        else str(override.input_line).partition("=")[2]
    )


def axis_ends(override: Override) -> list[str]:
    """The ends of a continuous range, or all values of a discrete axis; BadInput where the ends make no range."""
    value = override.value()
    if not isinstance(value, IntervalSweep):
        return sweep_command.axis_values(override)
    low, high = value.start, value.end
    if low is None or high is None or not low < high or ("log" in value.tags and low <= 0):
        raise BadInput(f"'{override.input_line}': its ends must rise, and be positive on a logarithmic scale")
    return [_text(low), _text(high)]


def make_source(
    command: SweepCommand, checker: PointChecker, objective: Objective | None, options: Mapping[str, Any]
) -> GridSource | TpeSource:
    """The source of points that the words name."""
    sweeper = options["sweeper"]
    if sweeper["name"] == "grid":
        return GridSource(command)
    if objective is None:
        raise BadInput("a search needs to know what is better: objective.metric=… objective.direction=min|max")
    if not command.axes:
        raise BadInput("a search needs something to vary, such as settings.rate='interval(0.1,1)'")
    most = {"trials": sweep_command.MOST_POINTS, "startup": sweep_command.MOST_POINTS, "seed": 2**31 - 1}
    trials, startup, seed = (_whole(key, sweeper[key], int(key != "seed"), most[key]) for key in most)
    at_once = options["at_once"] if sweeper["at_once"] is None else sweeper["at_once"]
    batch_size = _whole("at_once", at_once, 1, sweep_command.MOST_JOBS)
    return TpeSource(command, checker, objective, trials, startup, batch_size, seed)


def _whole(key: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadInput(f"sweeper.{key}={value!r} must be a whole number from {least} to {most}")
    return value
