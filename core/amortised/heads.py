"""What the outputs of a network mean: log densities of targets, (B, N) from outputs (B, N, outputs).

Every head is `head(borders, outputs, y)`; only the bars look at the borders.
"""

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from core.amortised.bars import log_density as bars

__all__ = ["bars", "bernoulli", "gaussian", "gaussian_parts"]
SMALLEST = 1e-3  # standard deviation that a Gaussian head can give


def gaussian_parts(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of a Gaussian head with two outputs."""
    return outputs[..., 0], SMALLEST + jax.nn.softplus(outputs[..., 1])


def gaussian(borders: jax.Array, outputs: jax.Array, y: jax.Array) -> jax.Array:
    """log N(y; m, s²)."""
    return norm.logpdf(y, *gaussian_parts(outputs))


def bernoulli(borders: jax.Array, outputs: jax.Array, y: jax.Array) -> jax.Array:
    """log P(y) of labels 0 and 1 from one logit."""
    return -jax.nn.softplus(jnp.where(y > 0.5, -outputs[..., 0], outputs[..., 0]))
