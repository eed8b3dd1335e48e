"""From the words of `encore run -m` to the points of a sweep, every one of them checked; nothing is written here."""

import importlib.util
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import OmegaConf

from core.errors import BadInput, suggest, unknown_name
from core.launch import compose
from core.launch.compose import Compositions, Launch
from core.launch.jobs import Job, make_job
from core.launch.overrides import parse_overrides
from core.paths import project_root
from core.runs.identity import digest
from core.runs.sweep_folder import SweepPoint

OBJECTIVE_KEYS = ("study", "metric", "arm", "select", "direction")
OPEN_GROUPS = ("init", "remote", "additional_parameters")  # of launchers, whose keys are Ray's and Slurm's own
# Choices of `launcher` and `sweeper` that need an extra: the module that shows it is there, and the extra.
REQUIRED_EXTRAS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "joblib"),
    "slurm": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "slurm_local": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
    "tpe": ("optuna", "search"),
}
SEARCH_PATH = "hydra.searchpath"  # where presets are
MOST_POINTS = 2_000  # of a sweep: all of them are checked, and listed, before the first one runs
MOST_JOBS = 1024  # points side by side
# Whole numbers of launchers, each with its range; what they may be beside is theirs to say.
LAUNCHER_RANGES = {"n_jobs": (1, MOST_JOBS), "array_parallelism": (1, MOST_JOBS), "timeout_min": (1, 1_000_000)}
# Words that say how points are run and not what they compute: no part of a sweep's identity.
EXECUTION_KEYS = ("device", "workers", "axis", "tracking", "budget", "budget.minutes", SEARCH_PATH)
EXECUTION_KEYS += ("debug", "debug.nan", "debug.trace")


@dataclass(frozen=True)
class SweepCommand:
    """The words of a sweep, sorted by whom they speak to.

    Attributes:
      words: all of them, as given.
      axes: the words that name several values, by key.
      fixed: the words that all points share.
      launcher: the words for Hydra's launcher and the search, as `configs/sweep.yaml` takes them.
      choices: the chosen `launcher` and `sweeper`.
      objective: the values of the `objective.` words.
      only_points: the numbers of the points to run, or None for all.
    """

    words: tuple[str, ...]
    axes: Mapping[str, Override]
    fixed: tuple[str, ...]
    launcher: tuple[str, ...]
    choices: Mapping[str, str]
    objective: Mapping[str, Any]
    only_points: tuple[int, ...] | None

    def shared_value(self, key: str, default: str) -> str:
        """The value of a word that all points share."""
        given = [word.partition("=")[2] for word in self.fixed if word.partition("=")[0] == key]
        return given[-1] if given else default


def parse_command(words: Sequence[str]) -> SweepCommand:
    """Sort the words of a sweep; BadInput for those that no sweep knows."""
    axes: dict[str, Override] = {}
    fixed, launcher, only = [], [], None
    names, objective = {"launcher": "local", "sweeper": "grid"}, {}
    for override in parse_overrides(words):
        key, line = override.key_or_group, str(override.input_line)
        top = key.split("/")[0].split(".")[0]
        if key == SEARCH_PATH:
            fixed.append(line)
            continue
        if top in ("launcher", "sweeper", "objective", "points", "hydra") and override.is_sweep_override():
            raise BadInput(f"'{line}': {key} is one for the whole sweep")
        if key in names:
            names[key] = _choice(key, override.value())
            launcher.append(line)
        elif top in ("launcher", "hydra"):
            launcher.append(line if top == "hydra" else f"hydra.{line}")
        elif top == "sweeper":
            launcher.append(line)
        elif top == "objective":
            _note(objective, key, override.value())
        elif key == "points":
            only = _numbers(override.value())
        elif override.is_sweep_override():
            axes[override.get_key_element()] = override  # with its + where it adds a preset or the value of an arm
        else:
            fixed.append(line)
    if manner := [key for key in axes if key in EXECUTION_KEYS or key.startswith("tracking.")]:
        raise BadInput(f"'{axes[manner[0]].input_line}': {manner[0]} is one for the whole sweep")
    _check_axes(axes, is_grid=names["sweeper"] == "grid")
    return SweepCommand(tuple(words), axes, tuple(fixed), tuple(launcher), names, objective, only)


def _check_axes(axes: Mapping[str, Override], is_grid: bool) -> None:
    """Refuse axes without a value, and more points than a sweep may have; nothing is counted out."""
    counts = {key: axis_length(override) for key, override in axes.items()}
    for key, count in counts.items():
        line = str(axes[key].input_line)
        if count < 1:
            raise BadInput(f"'{line}' has no value: a range leaves its end out, range(3,5) is 3 and 4")
        if count > MOST_POINTS:
            raise BadInput(f"'{line}' has {count:,} values: at most {MOST_POINTS:,}, or interval(a,b) in a search")
    if is_grid and (points := math.prod(counts.values())) > MOST_POINTS:
        words = " ".join(str(override.input_line) for override in axes.values())
        raise BadInput(f"'{words}' are {points:,} points: at most {MOST_POINTS:,}; sweeper=tpe tries some of them")


def axis_length(override: Override) -> int:
    """How many values an axis names; a continuous range counts as one."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return 1
    if isinstance(value, ChoiceSweep):
        return len(value.list)
    if not isinstance(value, RangeSweep):
        raise BadInput(f"'{override.input_line}': name the values, as a,b,c or range(a,b,step)")
    start, stop, step = float(value.start or 0), float(value.stop or 0), float(value.step)
    if not step or not all(map(math.isfinite, (start, stop, step))):
        raise BadInput(f"'{override.input_line}': a range has finite ends and a step that is not 0: range(1,9,2)")
    return max(0, math.ceil((stop - start) / step))


def _choice(key: str, value: Any) -> str:
    choices = [path.stem for path in (project_root() / "configs" / key).glob("*.yaml")]
    if value not in choices:
        raise unknown_name(key, str(value), choices)
    return str(value)


def _note(objective: dict[str, Any], key: str, value: Any) -> None:
    """One `objective.` word: objective.metric=…, objective.select.density=100, objective.select={density: 100}."""
    name, _, column = key.removeprefix("objective").removeprefix(".").partition(".")
    if name not in OBJECTIVE_KEYS or (column and name != "select"):
        shown = key.removeprefix("objective.")
        raise BadInput(f"unknown key 'objective.{shown}': {suggest(name, OBJECTIVE_KEYS)}")
    if name != "select":
        objective[name] = value
    elif column:
        objective.setdefault("select", {})[column] = value
    elif isinstance(value, Mapping):
        objective.setdefault("select", {}).update(value)
    else:
        raise BadInput(f"objective.select={value!r} must name a column: objective.select.density=100")


def _numbers(value: Any) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < MOST_POINTS for n in numbers):
        raise BadInput(f"points={value!r} must be numbers of points, from 0 on, such as points=[0,3]")
    return tuple(numbers)


def expand_grid(command: SweepCommand) -> list[dict[str, str]]:
    """All combinations of the values of the axes, the last one changing fastest."""
    for override in command.axes.values():
        if not override.is_discrete_sweep():
            raise BadInput(
                f"'{override.input_line}': a continuous range needs a search, sweeper=tpe; otherwise name values "
                "or range(a,b,step)"
            )
    values = [[(key, value) for value in axis_values(override)] for key, override in command.axes.items()]
    return [dict(combination) for combination in dict.fromkeys(itertools.product(*values))]


def axis_values(override: Override) -> list[str]:
    """The values of a discrete axis as words, each once."""
    return list(dict.fromkeys(str(value) for value in override.sweep_string_iterator()))


def grid_identity(command: SweepCommand) -> str:
    """12 hexadecimal digits of the set of points, whatever the order and the manner in which they are run."""
    found = {canonical_words([*command.fixed, *override_words(overrides)]) for overrides in expand_grid(command)}
    return digest(sorted(found))[:12]


def canonical_words(words: Iterable[str]) -> tuple[str, ...]:
    """The words that say what a point computes, sorted; of two words with one key the last counts."""
    by_key = {word.partition("=")[0]: word for word in words}
    return tuple(
        sorted(word for key, word in by_key.items() if key not in EXECUTION_KEYS and not key.startswith("tracking."))
    )


def override_words(overrides: Mapping[str, Any]) -> list[str]:
    """Values by key as words."""
    return [f"{key}={value}" for key, value in overrides.items()]


@dataclass
class PointChecker:
    """Turns values into checked points; whatever is common to many points is composed once."""

    fixed: Sequence[str]
    compositions: Compositions = field(default_factory=dict)

    def check_point(self, number: int, overrides: Mapping[str, str]) -> SweepPoint:
        """The point of these values, or BadInput with the fault."""
        words = (*self.fixed, *override_words(overrides))
        jobs = self.point_jobs(words)
        replicates = (jobs[0].numbers[0], max(len(job.numbers) for job in jobs))
        return SweepPoint(number, dict(overrides), words, tuple(job.run.identity for job in jobs), replicates)

    def compose_point(self, words: Sequence[str]) -> Launch:
        """The checked launch of one point."""
        return compose.compose_launch(words, self.compositions)

    def point_jobs(self, words: Sequence[str]) -> list[Job]:
        """Its studies with their identities."""
        launch = self.compose_point(words)
        return [make_job(launch, chosen) for chosen in launch.studies]


def hydra_words(command: SweepCommand, values: Mapping[str, Any]) -> list[str]:
    """The words for launcher and search as `configs/sweep.yaml` takes them, or BadInput with the nearest key.

    `values` are those that the configuration needs to be composed at all.
    """
    for name in command.choices.values():
        check_installed(name)
    chosen = [f"{key}={name}" for key, name in command.choices.items()]
    bare = compose_sweep([*chosen, *override_words(values)])
    return [_check_launcher_word(word, command, bare) for word in command.launcher]


def check_launcher_ranges(launcher: Mapping[str, Any]) -> None:
    """Refuse numbers of a launcher's options that are out of their range."""
    for name, (least, most) in LAUNCHER_RANGES.items():
        value = launcher.get(name)
        if isinstance(value, int) and not least <= value <= most:
            raise BadInput(f"launcher.{name}={value} is out of range: it must lie in [{least}, {most}]")


def compose_sweep(words: Sequence[str]) -> dict[str, Any]:
    """Hydra's composition of `configs/sweep.yaml` as plain values, of Hydra's own part just the launcher."""
    with compose.one_line_errors():
        config = compose.compose_with_hydra("sweep", words, hydra=True)
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        # The rest of Hydra's part refers to jobs that do not run yet.
        whole = OmegaConf.merge(own, {"hydra": {"launcher": config.hydra.launcher}})
        values = OmegaConf.to_container(whole, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _check_launcher_word(word: str, command: SweepCommand, bare: Mapping[str, Any]) -> str:
    """A word for the launcher or the search, prefixed by ++ where it adds a key that is not Hydra's to know."""
    key = word.partition("=")[0]
    *groups, last = key.split(".")
    group: Any = bare
    for name in groups:
        group = group.get(name) if isinstance(group, Mapping) else None
    if not groups or (isinstance(group, Mapping) and last in group):
        return word
    if isinstance(group, Mapping) and groups[-1] in OPEN_GROUPS:
        return f"++{word}"
    if groups[0] == "sweeper" and command.choices["sweeper"] == "grid":
        raise BadInput(f"'{word}' speaks to a search: add sweeper=tpe")
    launcher = groups[0] == "hydra"
    known = _leaves(bare["hydra"]["launcher"] if launcher else bare["sweeper"], "launcher." if launcher else "sweeper.")
    shown = key.removeprefix("hydra.")
    raise BadInput(f"unknown key '{shown}': {suggest(shown, known)}")


def _leaves(group: Mapping[str, Any], prefix: str) -> list[str]:
    names = []
    for name, value in group.items():
        if name not in ("_target_", "name"):
            names += _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else [prefix + name]
    return names


def check_installed(name: str) -> None:
    """Refuse the choice of a launcher or a search whose package is not there, with the extra that brings it."""
    module, extra = REQUIRED_EXTRAS.get(name, ("core", ""))
    if importlib.util.find_spec(module) is None:
        raise BadInput(f"'{name}' needs a further package: pip install 'encore-papers[{extra}]'")


def expand_sweep(words: Sequence[str]) -> list[list[str]]:
    """Every point of a grid as the words of a single run."""
    command = parse_command(words)
    return [[*command.fixed, *override_words(overrides)] for overrides in expand_grid(command)]
