"""How every network here is trained and evaluated: Adam, gradients cut at a norm, losses of held-out examples."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from core.lab.keys import named_keys

if TYPE_CHECKING:
    from core.lab.lab import Lab

Tree = Any


class State(NamedTuple):
    """A network in training: {"params", "batch_stats"} and the moments of Adam."""

    values: dict[str, Tree]
    moments: Tree


class Task(NamedTuple):
    """What is trained, as functions of one replicate; `arrays` are the data that all replicates share.

    initial(key) -> {"params": …, "batch_stats": …}
    loss(values, rows, key, *arrays) -> (mean loss of these examples in nats, new statistics)
    evaluate(values, part, rows, *arrays) -> {metric: scalar} on held-out rows, called once for every part but "test"
    """

    initial: Callable
    loss: Callable
    evaluate: Callable


def begin(initial: Callable, key: jax.Array) -> State:
    """A fresh network and a fresh optimizer."""
    values = initial(key)
    return State(values, optax.scale_by_adam().init(values["params"]))


def update(
    loss: Callable, clip: float, state: State, key: jax.Array, i: jax.Array, order: Tree, parts: Tree, *shared: Any
) -> State:
    """One step of Adam on batch `i`; `shared` is the learning rate and the data."""
    rate, *arrays = shared

    def objective(params: Tree) -> tuple[jax.Array, Tree]:
        return loss({**state.values, "params": params}, order[i], key, *arrays)

    gradient, statistics = jax.grad(objective, has_aux=True)(state.values["params"])
    # g ← g min(1, c / ‖g‖)
    gradient, _ = optax.clip_by_global_norm(clip).update(gradient, optax.EmptyState())
    direction, moments = optax.scale_by_adam().update(gradient, state.moments)
    params = jax.tree.map(lambda w, d: w - rate * d, state.values["params"], direction)
    return State({"params": params, "batch_stats": statistics}, moments)


def evaluate_splits(
    evaluate: Callable, state: State, i: jax.Array, order: Tree, parts: Tree, *shared: Any
) -> tuple[State, dict]:
    """The metrics of every part but the test part."""
    seen = {}
    for part, rows in parts.items():
        if part != "test":
            seen |= {f"{part}_{name}": value for name, value in evaluate(state.values, part, rows, *shared[1:]).items()}
    return state, seen


def finish(evaluate: Callable, state: State, order: Tree, parts: Tree, *shared: Any) -> dict[str, jax.Array]:
    """The metrics of the test part at the end of the training."""
    return {f"test_{name}": v for name, v in evaluate(state.values, "test", parts["test"], *shared[1:]).items()}


class Training(NamedTuple):
    """Length of a training, and what all arms of a comparison share: order of examples, parts, data."""

    steps: int
    every: int
    clip: float
    order: Tree
    parts: dict[str, Tree]
    arrays: tuple[Tree, ...]


def train(
    lab: "Lab",
    keys: jax.Array,
    task: Task,
    training: Training,
    rate: float,
    draws: str,
    name: str,
    /,
    **conditions: Any,
) -> tuple[dict[str, Any], np.ndarray]:
    """Train one arm and measure it: results and curves, and steps of these. `draws` names the first weights."""
    state = lab.map(partial(begin, task.initial), named_keys(lab, keys, draws))
    result, curves, steps = lab.iterate(
        name,
        partial(update, task.loss, training.clip),
        keys,
        state,
        steps=training.steps,
        each=(training.order, training.parts),
        shared=(np.float32(rate), *training.arrays),
        evaluate_every=training.every,
        evaluate=partial(evaluate_splits, task.evaluate),
        finish=partial(finish, task.evaluate),
    )
    lab.measure(result, **conditions)
    lab.measure(curves, along={"step": steps}, **conditions)
    return result | curves, steps


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over all labels of -log softmax(logits)[label], in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def percent_wrong(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of labels that are not the most likely class, in percent."""
    return 100 * (logits.argmax(-1) != labels).mean(dtype=jnp.float32)


def kind_of(arm: str) -> str:
    """The arm whose network an arm has: a control differs in its random draws or in what it is trained on."""
    return {"shuffled": "layer_norm"}.get(arm, arm.removesuffix("_again"))
