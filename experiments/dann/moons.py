"""The shallow network on inter-twinning moons, the target turned by 35 degrees (section 5.1.1)."""

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from core.lab.keys import named_keys
from core.supervised.batches import epoch_batches
from experiments.dann.adversarial import Network, State, Training, accuracy, arm, initial, outputs, plane, step

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.dann.settings import MoonSettings

Tree = Any
ARMS = {"plain": 0.0, "dann": 1.0, "flipped": -1.0}
GRID = 40  # points a side of the decision maps
REACH = (3.6, 2.6)  # half of the width and height they cover


def moons(key: jax.Array, points: int, noise: float) -> tuple[jax.Array, jax.Array]:
    """Two half circles that reach into each other, with Gaussian noise: points (n, 2) and labels (n,), n even."""
    angle = jnp.linspace(0, jnp.pi, points // 2)
    outer = jnp.stack([jnp.cos(angle), jnp.sin(angle)], 1)
    inner = jnp.stack([1 - jnp.cos(angle), 0.5 - jnp.sin(angle)], 1)
    x = jnp.concatenate([outer, inner])
    return x + noise * jax.random.normal(key, x.shape), jnp.repeat(jnp.arange(2), points // 2)


def turned(x: jax.Array, degrees: float) -> jax.Array:
    """Points (n, 2) turned counter-clockwise about the origin."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return x @ jnp.array([[c, s], [-s, c]])


def domains(settings: "MoonSettings", key: jax.Array) -> Tree:
    """Source, target and fresh target points to test on, centred and doubled as in the authors' program."""
    keys = jax.random.split(key, 3)
    (source, labels), (target, _), (test, true) = (moons(k, settings.points, settings.noise) for k in keys)
    middle = source.mean(0)[None]
    source, target, test = (2 * (x - middle) for x in (source, target, test))
    return {
        "source": source,
        "labels": labels,
        "target": turned(target, settings.degrees),
        "test": turned(test, settings.degrees),
        "true": true,
        "mean": jnp.zeros((1, 2)),
    }


def training_of(settings: "MoonSettings") -> Training:
    """One sigmoid layer, linear heads, plain gradient descent at a constant rate (algorithm 1)."""
    steps = settings.epochs * settings.points
    return Training(Network((), settings.width, (), (), 2), steps, settings.learning_rate, 0.0, 0.0, 0.0)


def ordered(settings: "MoonSettings", key: jax.Array) -> dict[str, jax.Array]:
    """One source and one target example at a time."""
    steps = settings.epochs * settings.points
    keys = jax.random.split(key)
    return {
        name: epoch_batches(k, settings.points, 1, steps) for name, k in zip(("source", "target"), keys, strict=True)
    }


def finish(training: Training, state: State, *given: Tree) -> Tree:
    """Accuracies in percent, decisions (GRID, GRID) on labels and domains, and the plane of the features."""
    data = given[2]

    def of(x: jax.Array) -> Any:
        return outputs(training, state.params, x, data["mean"])

    across, up = (jnp.linspace(-reach, reach, GRID) for reach in REACH)
    grid = of(jnp.stack(jnp.meshgrid(across, up), -1).reshape(-1, 2))
    source, target, test = of(data["source"]), of(data["target"]), of(data["test"])
    right_labels = accuracy(test.labels, data["true"])
    right = (source.domains < 0).mean() + (target.domains >= 0).mean()
    return {
        "source_accuracy": accuracy(source.labels, data["labels"]),
        "test_accuracy": right_labels,
        "test_error": 100 - right_labels,
        "domain_accuracy": 50 * right,
        "label_map": grid.labels.argmax(-1).astype(jnp.uint8).reshape(GRID, GRID),
        "domain_map": (grid.domains >= 0).astype(jnp.uint8).reshape(GRID, GRID),
        "plane": plane(source.features, target.features),
    }


def trial(settings: "MoonSettings", keys: jax.Array, lab: "Lab") -> None:
    """The plain network, its adversarial training, and the reversal with its sign flipped."""
    training = training_of(settings)
    data = lab.map(partial(domains, settings), named_keys(lab, keys, "points"))
    orders = lab.map(partial(ordered, settings), named_keys(lab, keys, "order"))
    start = lab.map(partial(initial, training, (2,)), named_keys(lab, keys, "init"))
    for name, reversal in ARMS.items():
        result = lab.iterate(
            name,
            partial(step, training),
            keys,
            start,
            steps=training.steps,
            each=(arm(keys.shape, reversal, settings.weight), orders, data),
            finish=partial(finish, training),
        ).result
        kinds = ("source_accuracy", "test_accuracy", "domain_accuracy")
        lab.measure({kind: result[kind] for kind in (*kinds, "test_error")}, arm=name)
        if name != "flipped":
            for kind in ("label_map", "domain_map", "plane"):
                lab.keep(f"{kind}_{name}", result[kind])
    for kind in ("source", "target", "labels"):
        lab.keep(kind, data[kind])
