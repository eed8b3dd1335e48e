"""A toy paper in a root of its own, for tests of the machinery: two studies that take a second or two.

The fixture `toy_root` (in `conftest.py`) puts it into a temporary folder and points the project there:

- `fit` minimises a quadratic by `lab.iterate`, with curves, kept arrays and a figure; claim C1 and its control hold.
- `ready` adds a number that `prepare` computed; claim C2 is exact.
- the optional study `drift` diverges where `settings.rate` is above 1.

Its config has the name `toy`: `encore run paper=toy`,
`core.launch.compose.compose_launch(["paper=toy", "tracking=none"])`.
"""

import importlib
import shutil
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]

CONFIG = """\
# @package _global_
paper: {title: A toy, authors: [Nobody], year: 2001, fields: [toys], idea: A bowl has a bottom. Downhill leads there.}
metrics: {loss: nats, total: apples}
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
    may_diverge: [fast]
    settings: {size: 3, steps: 400, every: 100, rate: 3.0, widths: [], optimizer: {name: sgd, learning_rate: 0.1}}
    arms: {fast: away}
claims:
  C1:
    says: A higher rate gets further.
    printed: {value: 1.0, unit: nats, where: nowhere}
    study: fit
    all:
      - metric: loss
        number: [{minus: {arm: [slow, fast]}}]
        over: replicate
        in: [0, .inf]
        matters: 0.01
    control: {name: a low rate from elsewhere, swap: {fast: slow_again}}
  C2:
    says: The extra is added.
    printed: {value: 8, unit: apples, where: nowhere}
    study: ready
    all: [{metric: total, select: {arm: sum}, in: [7.9, 8.1]}]
    control: {name: half of it, swap: {sum: half}}
notes: A toy.
"""

SETTINGS = '''\
"""Settings of the toy."""

from typing import Annotated, Literal

from pydantic import Field

from core.optim.settings import OptimizerSettings
from core.papers.settings import PositiveInt, Settings, setting


class FitSettings(Settings):
    """A bowl."""

    size: PositiveInt = setting("dimensions")
    steps: PositiveInt = setting("length", unit="steps")
    every: PositiveInt = setting("between two evaluations", unit="steps", at_most="steps")
    rate: float = setting("step size", gt=0, le=10)
    widths: tuple[Annotated[int, Field(ge=1, le=9)], ...] = setting("of nothing")
    optimizer: OptimizerSettings = setting("of nothing")
    mode: Literal["plain", "fancy"] = setting("of nothing", default="plain")
    limit: Annotated[float, Field(ge=0, le=1)] | None = setting("of nothing", default=None)
    quiet: bool = setting("says nothing", default=False)


class CountSettings(Settings):
    """What is prepared."""

    count: PositiveInt = setting("how far to count")


class ReadySettings(Settings):
    """A prepared number and another."""

    prepared: CountSettings = setting("shared by all replicates")
    extra: float = setting("added to it")


SETTINGS = {"fit": FitSettings, "ready": ReadySettings, "drift": FitSettings}
'''


EXPERIMENT = '''\
"""A bowl: x ← x - rate · (x - 1), whose loss |x - 1|² shrinks by (1 - rate)² in every step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from core.papers.contract import Study
from core.lab.keys import named_keys


def start(settings, key):
    return {"x": jax.random.normal(key, (settings.size,))}


def step(settings, scale, state, key, i):
    noise = 1e-3 * jax.random.normal(key, (settings.size,))
    return {"x": state["x"] - scale * settings.rate * (state["x"] - 1) + noise}


def evaluate(state, i):
    return state, {"loss_curve": jnp.sum((state["x"] - 1) ** 2)}


def finish(state):
    return {"x": state["x"], "loss": jnp.sum((state["x"] - 1) ** 2)}


def trial(settings, keys, lab):
    for arm, scale in (("fast", 1.0), ("slow", 0.1), ("slow_again", 0.1)):
        state = lab.map(partial(start, settings), named_keys(lab, keys, "again" if arm == "slow_again" else "init"))
        moved = partial(step, settings, scale)
        length = {"steps": settings.steps, "evaluate_every": settings.every}
        run = lab.iterate(arm, moved, keys, state, **length, evaluate=evaluate, finish=finish)
        lab.measure({"loss": run.result["loss"]}, arm=arm)
        lab.measure(run.curves, along={"step": run.steps}, arm=arm)
        lab.keep(f"end_{arm}", run.result["x"])


def prepare(settings, keys, lab):
    return {"number": np.float32(sum(range(settings.count)))}


def ready_trial(settings, keys, lab):
    total = np.full(keys.shape, float(lab.prepared["number"]) + settings.extra)
    lab.measure({"total": total}, arm="sum")
    lab.measure({"total": total / 2}, arm="half")


STUDIES = {
    "fit": Study(trial),
    "ready": Study(ready_trial, prepare=prepare),
    "drift": Study(trial),
}
'''


FIGURES = '''\
"""Figures of the toy."""


def figures(measurements, arrays):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    for arm, rows in measurements[measurements["metric"] == "loss"].groupby("arm"):
        axes.plot(rows["replicate"], rows["value"], label=arm)
    return {"loss": figure}
'''


def build_root(root: Path) -> Path:
    """A project root without a paper, with the project's own run and tracking groups."""
    shutil.copytree(PROJECT / "configs", root / "configs", ignore=shutil.ignore_patterns("paper", "__pycache__"))
    for folder in ("configs/paper", "experiments"):
        (root / folder).mkdir()
    return root


def use_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the papers of a root in the place of all others, as in a process that is started with ENCORE_ROOT."""
    import experiments

    monkeypatch.setenv("ENCORE_ROOT", str(root))
    monkeypatch.setattr(experiments, "__path__", [str(root / "experiments"), *experiments.__path__])
    others = ("experiments.toy", "experiments.net", "experiments.my_paper", "experiments.demo")
    for name in [name for name in sys.modules if name.startswith(others)]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()


def build_toy(root: Path) -> Path:
    """A project root with the toy paper alone."""
    build_root(root)
    write_paper(root, "toy", CONFIG, SETTINGS, EXPERIMENT, FIGURES)
    return root


def write_paper(root: Path, slug: str, config: str, settings: str, experiment: str, figures: str = "") -> None:
    """Write a paper's files below a root."""
    folder = root / "experiments" / slug
    folder.mkdir(parents=True)
    (root / "configs" / "paper" / f"{slug}.yaml").write_text(config, encoding="utf-8")
    (folder / "__init__.py").write_text(f'"""{slug}."""\n', encoding="utf-8")
    (folder / "settings.py").write_text(settings, encoding="utf-8")
    (folder / "experiment.py").write_text(experiment, encoding="utf-8")
    if figures:
        (folder / "figures.py").write_text(figures, encoding="utf-8")
