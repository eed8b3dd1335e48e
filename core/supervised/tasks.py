"""What is trained, as functions of one replicate; the usual tasks are made of a flax module and a loss.

A task works on batches: dictionaries of arrays with one row per example, gathered from the examples by their numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from core.models.images import random_flip_and_shift
from core.scaling.gradients import apply_in_precision
from core.scaling.settings import ScalingSettings

Tree = Any
Batch = Mapping[str, jax.Array]
PLAIN = ScalingSettings()


def gather_rows(examples: Mapping[str, jax.Array], rows: jax.Array) -> dict[str, jax.Array]:
    """The examples of some numbers."""
    return {name: array[rows] for name, array in examples.items()}


@dataclass(frozen=True)
class Task:
    """What is trained and how it is judged.

    Attributes:
      initial: `initial(key) -> variables`, a dictionary of flax collections with "params" among them.
      loss: `loss(variables, batch, key, i) -> (mean loss, new collections)` of a training batch in iteration `i`; the
        collections are those that change beside the gradient, such as "batch_stats".
      metrics: `metrics(variables, batch) -> {name: (rows,)}` of every example, outside of training.
      gather: `gather(examples, rows) -> batch`; by default the rows of every array.
      at_once: examples whose metrics are computed together, to bound memory.
    """

    initial: Callable[[jax.Array], dict[str, Tree]]
    loss: Callable[[dict[str, Tree], Batch, jax.Array, jax.Array], tuple[jax.Array, dict[str, Tree]]]
    metrics: Callable[[dict[str, Tree], Batch], dict[str, jax.Array]]
    gather: Callable[[Mapping[str, jax.Array], Any], Batch] = gather_rows
    at_once: int = 500


def cross_entropies(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """-log softmax(logits)[label] of every example, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def classification_metrics(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    """Loss in nats, and accuracy in percent, of every example."""
    hits = (logits.argmax(-1) == labels).astype(jnp.float32)
    return {"loss": cross_entropies(logits, labels), "accuracy": 100 * hits}


def squared_errors(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over the outputs of (f(x) - y)², of every example."""
    return ((outputs - targets) ** 2).reshape(len(outputs), -1).mean(1)


def regression_metrics(outputs: jax.Array, targets: jax.Array) -> dict[str, jax.Array]:
    """Squared error of every example."""
    return {"loss": squared_errors(outputs, targets)}


def module_task(
    module: nn.Module,
    example: jax.ShapeDtypeStruct,
    losses: Callable = cross_entropies,
    metrics: Callable = classification_metrics,
    prepare: Callable[[jax.Array], jax.Array] = lambda x: x,
    augment: bool = False,
    scaling: ScalingSettings = PLAIN,
    at_once: int = 500,
) -> Task:
    """The task of a flax module with the signature `module(x, train)`, on batches {"x": …, "y": …}.

    Args:
      module: the network; collections beside "params" are carried along.
      example: shape and dtype of one row of "x".
      losses: `losses(outputs, y) -> (rows,)`.
      metrics: `metrics(outputs, y) -> {name: (rows,)}`.
      prepare: from rows of "x" to the network's input, such as bytes to floats.
      augment: flip and shift training images at random.
      scaling: precision of the network's products.
      at_once: examples that are evaluated together.
    """
    parts = (module, prepare, scaling)
    return Task(
        partial(_initial, parts, example),
        partial(_loss, parts, losses, augment),
        partial(_metrics, parts, metrics),
        at_once=at_once,
    )


def _initial(parts: tuple, example: jax.ShapeDtypeStruct, key: jax.Array) -> dict[str, Tree]:
    module, prepare, _ = parts
    return dict(module.init(key, prepare(jnp.zeros((1, *example.shape), example.dtype)), train=False))


def _loss(
    parts: tuple, losses: Callable, augment: bool, variables: dict[str, Tree], batch: Batch, key: jax.Array, i: Any
) -> tuple[jax.Array, dict[str, Tree]]:
    module, prepare, scaling = parts
    x = prepare(batch["x"])
    x = random_flip_and_shift(key, x) if augment else x
    changing = [name for name in variables if name != "params"]
    apply = apply_in_precision(partial(module.apply, mutable=changing), scaling)
    outputs, updated = apply(variables, x, train=True, rngs={"dropout": key})
    return losses(outputs, batch["y"]).mean(), dict(updated)


def _metrics(parts: tuple, metrics: Callable, variables: dict[str, Tree], batch: Batch) -> dict[str, jax.Array]:
    module, prepare, scaling = parts
    outputs = apply_in_precision(module.apply, scaling)(variables, prepare(batch["x"]), train=False)
    return metrics(outputs, batch["y"])
