"""Whether one classifier is better than another, on one task and over several (Lacoste et al. 2012)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc


def probability_better(right: jax.Array, rival_right: jax.Array) -> jax.Array:
    """The probability that a classifier is better than a rival on one task, from which examples they get right (n,).

    Where k and k' examples are got right by one of them alone, the share p of these that the first gets right has the
    posterior Beta(k + 1, k' + 1), and P(p > 1/2) = I_{1/2}(k' + 1, k + 1).
    """
    wins, losses = (right & ~rival_right).sum(), (rival_right & ~right).sum()
    return betainc(losses + 1.0, wins + 1.0, 0.5)


def probability_on_most(probabilities: Sequence[jax.Array]) -> jax.Array:
    """The probability of being better on more than half of the tasks, on just half of them counted half: the Poisson
    binomial test. That for the rival is 1 less it."""
    counts = jnp.ones(1)
    for p in probabilities:  # counts[k] = P(better on k tasks so far)
        counts = jnp.append(counts * (1 - p), 0.0) + jnp.append(0.0, counts * p)
    tasks, k = len(probabilities), jnp.arange(len(probabilities) + 1)
    return counts @ jnp.where(2 * k == tasks, 0.5, 2 * k > tasks)
