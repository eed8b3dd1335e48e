"""Kernels of fully connected networks of infinite width: NNGP and NTK (Jacot et al. 2018, Proposition 1, Theorem 1)."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from core.errors import BadInput
from core.kernels.duals import Dual


class Kernels(NamedTuple):
    """The covariance of the outputs at random initialisation, and the neural tangent kernel; both (n1, n2)."""

    nngp: jax.Array
    ntk: jax.Array


def fully_connected(
    x1: jax.Array,
    x2: jax.Array | None = None,
    *,
    depth: int,
    activation: Dual,
    weight_variance: float = 1.0,
    bias_variance: float = 0.0,
) -> Kernels:
    """Kernels of pre_{l+1} = √(weight_variance/n_l) W_l a_l + √bias_variance b_l, a_l = s(pre_l), W and b ~ N(0, 1).

    Args:
      x1: inputs (n1, features); their dtype is that of the result.
      x2: inputs (n2, features), or None for x1 itself: then the diagonal is exact.
      depth: number of affine maps, as the paper counts: 1 is a linear model, 2 has one hidden layer.
      activation: the dual of s.
      weight_variance: of every affine map.
      bias_variance: of every affine map, β² in the paper.

    Raises:
      BadInput: for arrays that are not (n, features) alike, no affine map, or a negative variance.
    """
    other = x1 if x2 is None else x2
    if x1.ndim != 2 or other.ndim != 2 or x1.shape[1] != other.shape[1]:
        raise BadInput(f"inputs must be (n1, features) and (n2, features), not {x1.shape} and {other.shape}")
    if depth < 1:
        raise BadInput(f"depth counts affine maps and is 1 or more, not {depth}")
    for name, variance in (("weight", weight_variance), ("bias", bias_variance)):
        if isinstance(variance, int | float) and not 0 <= variance < float("inf"):  # otherwise perhaps traced
            raise BadInput(f"{name} variance must be 0 or more, and finite, not {variance}")
    return _recursion(x1, x2, depth, activation, weight_variance, bias_variance)


@partial(jax.jit, static_argnames=("depth", "activation"))
def _recursion(
    x1: jax.Array, x2: jax.Array | None, depth: int, activation: Dual, weight_variance: float, bias_variance: float
) -> Kernels:
    q1 = weight_variance * (x1**2).mean(1) + bias_variance
    q2 = q1 if x2 is None else weight_variance * (x2**2).mean(1) + bias_variance
    # S_1 = σ² x·x'/n_0 + β²;  Θ_1 = S_1
    nngp = weight_variance * (x1 @ (x1 if x2 is None else x2).T) / x1.shape[1] + bias_variance
    nngp = _with_diagonal(nngp, q1) if x2 is None else nngp
    ntk = nngp
    for _ in range(depth - 1):
        # S_{l+1} = σ² E[s(u)s(v)] + β²;  Θ_{l+1} = S_{l+1} + σ² Θ_l E[s'(u)s'(v)],  (u, v) ~ N(0, S_l)
        values, slopes = activation.moments(q1[:, None], q2[None], nngp)
        nngp = weight_variance * values + bias_variance
        ntk = nngp + weight_variance * ntk * slopes
        q1, q2 = (weight_variance * activation.moments(q, q, q)[0] + bias_variance for q in (q1, q2))
    return Kernels(nngp, ntk)


def _with_diagonal(kernel: jax.Array, values: jax.Array) -> jax.Array:
    """The diagonal as the norms say it, so that a point has correlation 1 with itself in spite of rounding."""
    return jnp.where(jnp.eye(len(values), dtype=bool), values[:, None], kernel)
