"""Which examples are trained on, held out and tested on, and the order in which they are visited."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Split(NamedTuple):
    """Row numbers of one replicate, int32.

    Attributes:
      order: of training examples, (iterations, batch), or a pytree of such arrays for several streams.
      validation: held-out examples; none where nothing is evaluated during the training.
      test: test examples; by default all of them.
      train: training examples that are evaluated beside the held-out ones; by default none.
    """

    order: Any
    validation: jax.Array | None = None
    test: jax.Array | None = None
    train: jax.Array | None = None


def epoch_batches(key: jax.Array, examples: int, batch: int, steps: int) -> jax.Array:
    """Row numbers of `steps` batches, int32 (steps, batch): every epoch visits the rows once, in a new random order.

    The rows that fill no whole batch at the end of an epoch are left out of it.
    """
    batches = examples // batch
    keys = jax.random.split(key, -(-steps // batches))
    orders = jax.vmap(lambda k: jax.random.permutation(k, examples)[: batches * batch])(keys)
    return orders.reshape(-1, batch)[:steps].astype(jnp.int32)


def cyclic_batches(key: jax.Array, examples: int, batch: int, steps: int) -> jax.Array:
    """The same, int32 (steps, batch), in one random order again and again; no row is left out."""
    order = jax.random.permutation(key, examples).astype(jnp.int32)
    return order[jnp.arange(steps * batch) % examples].reshape(steps, batch)


def uniform_batches(key: jax.Array, examples: int, batch: int, steps: int) -> jax.Array:
    """The same, int32 (steps, batch), every row drawn anew."""
    return jax.random.randint(key, (steps, batch), 0, examples, jnp.int32)


def stream_split(
    draws: Mapping[str, Callable], counts: Mapping[str, int], rest: tuple[int, int], batch: int, steps: int,
    key: jax.Array,
) -> Split:  # fmt: skip
    """Orders of several streams of as many examples a batch, and all of `rest`, the held-out and the test examples.

    Args:
      draws: of every stream, such as `epoch_batches`.
      counts: of its examples.
      rest: counts of held-out and test examples.
      batch, steps: of every stream.
      key: of one replicate.
    """
    keys = dict(zip(draws, jax.random.split(key, len(draws)), strict=True))
    order = {name: draw(keys[name], counts[name], batch, steps) for name, draw in draws.items()}
    return Split(order, *(jnp.arange(count, dtype=jnp.int32) for count in rest))


def random_split(
    counts: tuple[int, int, int, int | None],
    batch: int,
    steps: int,
    split_key: jax.Array,
    order_key: jax.Array,
    evaluated: int = 0,
) -> Split:
    """Random training and validation examples, and the order of the former, epoch by epoch.

    Args:
      counts: of examples that are there, that are trained on, that are held out, and of test examples (None: all).
      batch: examples in a batch.
      steps: how many batches.
      split_key, order_key: of one replicate.
      evaluated: how many training examples are evaluated beside the held-out ones.
    """
    there, train, validation, test = counts
    rows = jax.random.permutation(split_key, there).astype(jnp.int32)
    held_out, own = rows[:validation], rows[validation : validation + train]
    order = own[epoch_batches(order_key, train, batch, steps)]
    tested = None if test is None else jnp.arange(test, dtype=jnp.int32)
    return Split(order, held_out, tested, own[:evaluated] if evaluated else None)
