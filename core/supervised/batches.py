"""The order in which examples are visited."""

import jax
import jax.numpy as jnp


def epoch_batches(key: jax.Array, examples: int, batch: int, steps: int) -> jax.Array:
    """Row numbers of `steps` batches, int32 (steps, batch): every epoch visits the rows once, in a new random order.

    The rows that fill no whole batch at the end of an epoch are left out of it.
    """
    batches = examples // batch
    keys = jax.random.split(key, -(-steps // batches))
    orders = jax.vmap(lambda k: jax.random.permutation(k, examples)[: batches * batch])(keys)
    return orders.reshape(-1, batch)[:steps].astype(jnp.int32)
