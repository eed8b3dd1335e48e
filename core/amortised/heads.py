"""What the outputs of a network mean: log densities of targets, (B, N) from outputs (B, N, outputs).

Every head is `head(borders, outputs, y)`; only the bars need the borders.
"""

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from core.amortised.bar_distribution import log_density as bar_log_density

__all__ = ["bar_log_density", "bernoulli_log_density", "gaussian_log_density", "gaussian_mean_and_std"]
MIN_STD = 1e-3  # standard deviation that a Gaussian head can give


def gaussian_mean_and_std(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of a Gaussian head with two outputs."""
    return outputs[..., 0], MIN_STD + jax.nn.softplus(outputs[..., 1])


def gaussian_log_density(borders: jax.Array, outputs: jax.Array, y: jax.Array) -> jax.Array:
    """log N(y; m, s²) with mean and standard deviation from two outputs."""
    return norm.logpdf(y, *gaussian_mean_and_std(outputs))


def bernoulli_log_density(borders: jax.Array, outputs: jax.Array, y: jax.Array) -> jax.Array:
    """log P(y) of labels 0 and 1 from one logit."""
    return -jax.nn.softplus(jnp.where(y > 0.5, -outputs[..., 0], outputs[..., 0]))
