"""Exact regression with Gaussian processes of mean 0, for one data set of fixed size; jittable and differentiable.

Everything follows the dtype of its arguments. A `mask` says which of the n rows belong to the context, so that one
compiled program serves every size up to n: a row outside of it gets the identity's row in the covariance matrix and
target 0, which leaves posterior and evidence of the others as they are (Rasmussen and Williams 2006, chapter 2).
`core.kernels.solvers` has the same on the host in float64, with checks.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

Kernel = Callable[[jax.Array, jax.Array, "Hyperparameters"], jax.Array]


class Hyperparameters(NamedTuple):
    """Hyper-parameters: lengthscale () or (d,), in units of x; outputscale and noise (), variances in units of y²."""

    lengthscale: jax.Array
    outputscale: jax.Array
    noise: jax.Array


class IndependentNormal(NamedTuple):
    """Independent normal distributions: mean (m,) and variance (m,)."""

    mean: jax.Array
    variance: jax.Array


def scaled_squared_distances(x1: jax.Array, x2: jax.Array, lengthscale: jax.Array) -> jax.Array:
    """|x1 - x2|² / lengthscale² of all pairs, (n, m), from (n, d) and (m, d); by differences, so that 0 is exact."""
    scale = jnp.broadcast_to(lengthscale, x1.shape[1:])
    apart = (x1[:, None] - x2[None]) / scale[None, None]
    return jnp.sum(apart**2, -1)


def rbf(x1: jax.Array, x2: jax.Array, hyperparameters: Hyperparameters) -> jax.Array:
    """k(x, x') = s exp(-r²/2), r = |x - x'|/ℓ; (n, m)."""
    return hyperparameters.outputscale * jnp.exp(-scaled_squared_distances(x1, x2, hyperparameters.lengthscale) / 2)


def matern52(x1: jax.Array, x2: jax.Array, hyperparameters: Hyperparameters) -> jax.Array:
    """k(x, x') = s (1 + √5 r + 5r²/3) exp(-√5 r), r = |x - x'|/ℓ; (n, m)."""
    squared = scaled_squared_distances(x1, x2, hyperparameters.lengthscale)
    # The root's gradient at 0 is infinite, and k's is 0 there: keep the root away from it.
    r = jnp.sqrt(jnp.where(squared > 0, squared, 1))
    root = math.sqrt(5) * jnp.where(squared > 0, r, 0)
    return hyperparameters.outputscale * (1 + root + 5 / 3 * squared) * jnp.exp(-root)


class FactorisedContext(NamedTuple):
    """A factorised context: x (n, d), the lower factor (n, n) of its covariance, L⁻¹y (n,) and the mask (n,)."""

    x: jax.Array
    factor: jax.Array
    whitened: jax.Array
    mask: jax.Array


def factorise_context(
    kernel: Kernel,
    hyperparameters: Hyperparameters,
    x: jax.Array,
    y: jax.Array,
    mask: jax.Array | None = None,
    jitter: float = 0.0,
) -> FactorisedContext:
    """Factorise the covariance of the context.

    Args:
      kernel: `rbf`, `matern52` or another function of (n, d), (m, d) and hyper-parameters.
      hyperparameters: scalars.
      x: inputs (n, d).
      y: targets (n,).
      mask: bool (n,), True in the context; by default all are.
      jitter: added to the noise of the context only, against rounding.

    Returns:
      The context; NaN where the matrix is not positive definite in this precision.
    """
    mask = jnp.ones(len(x), bool) if mask is None else mask
    inside = mask.astype(x.dtype)
    # A = K + (noise + jitter) I inside the context, I outside
    covariance = kernel(x, x, hyperparameters) * (inside[:, None] * inside[None])
    covariance += jnp.diag(jnp.where(mask, hyperparameters.noise + jitter, 1))
    factor = jnp.linalg.cholesky(covariance)
    return FactorisedContext(x, factor, solve_triangular(factor, y * inside, lower=True), mask)


def predict_from_context(
    kernel: Kernel, hyperparameters: Hyperparameters, context: FactorisedContext, test_x: jax.Array
) -> IndependentNormal:
    """p(y* | x*, context) at inputs test_x (m, d), each by itself; the noise of y* is part of the variance."""
    cross = kernel(context.x, test_x, hyperparameters) * context.mask[:, None].astype(test_x.dtype)
    half = solve_triangular(context.factor, cross, lower=True)
    # mean = k*ᵀ A⁻¹ y;  variance = k(x*, x*) - k*ᵀ A⁻¹ k* + noise
    prior = jax.vmap(lambda one: kernel(one[None], one[None], hyperparameters)[0, 0])(test_x)
    return IndependentNormal(
        half.T @ context.whitened, jnp.maximum(prior - jnp.sum(half**2, 0), 0) + hyperparameters.noise
    )


def predict(
    kernel: Kernel,
    hyperparameters: Hyperparameters,
    x: jax.Array,
    y: jax.Array,
    test_x: jax.Array,
    mask: jax.Array | None = None,
    jitter: float = 0.0,
) -> IndependentNormal:
    """The exact predictive distribution of noisy targets at test_x (m, d); arguments as in `factorise_context`."""
    return predict_from_context(
        kernel, hyperparameters, factorise_context(kernel, hyperparameters, x, y, mask, jitter), test_x
    )


def log_marginal_likelihood(
    kernel: Kernel,
    hyperparameters: Hyperparameters,
    x: jax.Array,
    y: jax.Array,
    mask: jax.Array | None = None,
    jitter: float = 0.0,
) -> jax.Array:
    """log p(y | x) = -yᵀA⁻¹y/2 - log det(A)/2 - n log(2π)/2 of the context; arguments as in `factorise_context`."""
    context = factorise_context(kernel, hyperparameters, x, y, mask, jitter)
    rows = jnp.sum(context.mask).astype(x.dtype)
    half_log_determinant = jnp.sum(jnp.log(jnp.diagonal(context.factor)))
    return -jnp.sum(context.whitened**2) / 2 - half_log_determinant - rows * math.log(2 * math.pi) / 2


def normal_log_density(normal: IndependentNormal, y: jax.Array) -> jax.Array:
    """log N(y; mean, variance) for each, nats; (m,)."""
    squared = (y - normal.mean) ** 2 / normal.variance
    return -(squared + jnp.log(normal.variance) + math.log(2 * math.pi)) / 2
