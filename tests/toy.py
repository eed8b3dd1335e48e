"""A toy paper in a root of its own, for tests of the machinery: two studies that take a second or two.

The fixture `toy_root` (in `conftest.py`) puts it into a temporary folder and points the project there:

- `fit` minimises a quadratic by `lab.iterate`, with curves, kept arrays and a figure; claim C1 and its control hold.
- `ready` adds a number that `prepare` computed; claim C2 is exact.
- the optional study `drift` diverges where `settings.rate` is above 1.

Its config has the name `toy`: `encore run paper=toy`,
`core.launch.compose.compose_launch(["paper=toy", "tracking=none"])`.
"""

import shutil
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

PAGE = """\
# @package _global_
paper: {title: A toy, authors: [Nobody], year: 2001, fields: [toys], idea: A bowl has a bottom. Downhill leads there.}
studies:
  fit:
    says: Gradient descent in a bowl.
    replicates: {laptop: 4, paper: 6}
    settings: {size: 3, steps: 30, every: 10, rate: 0.1, widths: [1, 2], optimizer: {name: sgd, learning_rate: 0.1}}
    scales:
      smoke: {steps: 7, every: 3}
      paper: {steps: 300, optimizer: {name: adam}}
    arms: {fast: the whole rate, slow: a tenth of it, slow_again: the same from elsewhere}
    deviations: [{what: length, paper: 300 steps, laptop: 30 steps, bears_on: [C1], why: time}]
  ready:
    says: A prepared number, and one of its own.
    replicates: 2
    settings: {prepared: {count: 4}, extra: 2.0}
    scales: {smoke: {extra: 1.0}}
    arms: {sum: the prepared number and the extra, half: half of it}
  drift:
    says: Leaves the bowl.
    default: false
    replicates: 1
    settings: {size: 3, steps: 400, every: 100, rate: 3.0, widths: [], optimizer: {name: sgd, learning_rate: 0.1}}
    arms: {fast: away}
claims:
  C1:
    says: A higher rate gets further.
    printed: {value: 1.0, unit: loss, where: nowhere}
    study: fit
    all:
      - metric: loss
        unit: loss
        number: [{minus: {arm: [slow, fast]}}]
        over: replicate
        in: [0, .inf]
        matters: 0.01
    control: {name: a low rate from elsewhere, swap: {fast: slow_again}}
  C2:
    says: The extra is added.
    printed: {value: 8, unit: none, where: nowhere}
    study: ready
    all: [{metric: total, select: {arm: sum, replicate: 0}, in: [7.9, 8.1]}]
    control: {name: half of it, swap: {sum: half}}
notes: A toy.
"""

SHEET = '''\
"""A bowl: x ← x - rate · (x - 1), whose loss |x - 1|² shrinks by (1 - rate)² in every step."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from core.papers.contract import Study
from core.errors import BadInput
from core.lab.keys import named_keys
from core.optim.settings import OptimizerSettings
from core.papers.settings import setting


@dataclass(frozen=True)
class FitSettings:
    """A bowl."""

    size: int = setting("dimensions", within="[1, inf)")
    steps: int = setting("length", unit="steps", within="[1, inf)")
    every: int = setting("between two looks", unit="steps", within="[1, inf)")
    rate: float = setting("step size", within="(0, 10]")
    widths: tuple[int, ...] = setting("of nothing", within="[1, 9]")
    optimizer: OptimizerSettings = setting("of nothing")
    mode: str = setting("of nothing", choices=("plain", "fancy"), default="plain")
    limit: float | None = setting("of nothing", within="[0, 1]", default=None)
    quiet: bool = setting("says nothing", default=False)

    def __post_init__(self) -> None:
        """The looks lie within the run."""
        if self.every > self.steps:
            raise BadInput(f"settings.every={self.every} is longer than steps={self.steps}")


@dataclass(frozen=True)
class CountSettings:
    """What is prepared."""

    count: int = setting("how far to count", within="[1, inf)")


@dataclass(frozen=True)
class ReadySettings:
    """A prepared number and another."""

    prepared: CountSettings = setting("shared by all replicates")
    extra: float = setting("added to it")


def start(settings, key):
    return {"x": jax.random.normal(key, (settings.size,))}


def step(settings, scale, state, key, i):
    noise = 1e-3 * jax.random.normal(key, (settings.size,))
    return {"x": state["x"] - scale * settings.rate * (state["x"] - 1) + noise}


def look(state, i):
    return state, {"loss_curve": jnp.sum((state["x"] - 1) ** 2)}


def finish(state):
    return {"x": state["x"], "loss": jnp.sum((state["x"] - 1) ** 2)}


def trial(settings, keys, lab):
    for arm, scale in (("fast", 1.0), ("slow", 0.1), ("slow_again", 0.1)):
        state = lab.map(partial(start, settings), named_keys(lab, keys, "again" if arm == "slow_again" else "init"))
        moved = partial(step, settings, scale)
        length = {"steps": settings.steps, "evaluate_every": settings.every}
        run = lab.iterate(arm, moved, keys, state, **length, evaluate=look, finish=finish)
        lab.measure({"loss": run.result["loss"]}, arm=arm)
        lab.measure(run.curves, along={"step": run.steps}, arm=arm)
        lab.keep(f"end_{arm}", run.result["x"])


def prepare(settings, keys, lab):
    return {"number": np.float32(sum(range(settings.count)))}


def ready_trial(settings, keys, lab):
    total = np.full(keys.shape, float(lab.prepared["number"]) + settings.extra)
    lab.measure({"total": total}, arm="sum")
    lab.measure({"total": total / 2}, arm="half")


def figures(measurements, arrays):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    for arm, rows in measurements[measurements["metric"] == "loss"].groupby("arm"):
        axes.plot(rows["replicate"], rows["value"], label=arm)
    return {"loss": figure}


STUDIES = {
    "fit": Study(settings=FitSettings, trial=trial),
    "ready": Study(settings=ReadySettings, trial=ready_trial, prepare=prepare),
    "drift": Study(settings=FitSettings, trial=trial),
}
'''


def build_root(root: Path) -> Path:
    """A project root without a paper, with the project's own run and tracking groups."""
    shutil.copytree(PROJECT / "configs", root / "configs", ignore=shutil.ignore_patterns("paper", "__pycache__"))
    for folder in ("configs/paper", "experiments"):
        (root / folder).mkdir()
    return root


def build_toy(root: Path) -> Path:
    """A project root with the toy paper alone."""
    build_root(root)
    (root / "configs" / "paper" / "toy.yaml").write_text(PAGE, encoding="utf-8")
    (root / "experiments" / "toy.py").write_text(SHEET, encoding="utf-8")
    return root
