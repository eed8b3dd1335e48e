"""Kernels of fully connected networks of infinite width: NNGP and NTK (Jacot et al. 2018, Proposition 1, Theorem 1)."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.errors import BadInput
from core.kernels.duals import Dual

TILE = 250  # points on a side: the arrays of a tile fit into the cache of a core


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
    if x1.ndim != 2 or other.ndim != 2 or x1.shape[1] != other.shape[1] or 0 in x1.shape + other.shape:
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
    symmetric, width = x2 is None, x1.shape[1]

    def variances(x: jax.Array) -> jax.Array:  # S_l(x, x) for every l: (n, depth)
        found = [weight_variance * (x**2).mean(1) + bias_variance]
        for _ in range(depth - 1):
            q = found[-1]
            found.append(weight_variance * activation.moments(q, q, q)[0] + bias_variance)
        return jnp.stack(found, 1)

    def tile(rows: Points, columns: Points) -> Kernels:
        # S_1 = σ² x·x'/n_0 + β²;  Θ_1 = S_1
        nngp = weight_variance * (rows.x @ columns.x.T) / width + bias_variance
        if symmetric:  # a point has correlation 1 with itself in spite of rounding
            nngp = jnp.where(rows.number[:, None] == columns.number[None], rows.variances[:, :1], nngp)
        ntk = nngp
        for layer in range(depth - 1):
            # S_{l+1} = σ² E[s(u)s(v)] + β²;  Θ_{l+1} = S_{l+1} + σ² Θ_l E[s'(u)s'(v)],  (u, v) ~ N(0, S_l)
            q1, q2 = rows.variances[:, layer], columns.variances[:, layer]
            values, slopes = activation.moments(q1[:, None], q2[None], nngp)
            nngp = weight_variance * values + bias_variance
            ntk = nngp + weight_variance * ntk * slopes
        return Kernels(nngp, ntk)

    one, two = (Points(x, variances(x), jnp.arange(len(x))) for x in (x1, x1 if x2 is None else x2))
    return _by_tiles(tile, one, two, symmetric)


class Points(NamedTuple):
    """Inputs (n, features), the variances of their pre-activations (n, depth), and their numbers (n,)."""

    x: jax.Array
    variances: jax.Array
    number: jax.Array


def _by_tiles(tile: Callable[[Points, Points], Kernels], one: Points, two: Points, symmetric: bool) -> Kernels:
    """Both kernels from tiles small enough for a core's cache; of symmetric ones no tile below the diagonal."""
    size1, size2 = (min(TILE, len(points.number)) for points in (one, two))
    starts1, starts2 = ([*range(0, n - s, s), n - s] for n, s in ((len(one.x), size1), (len(two.x), size2)))
    places = np.array([(i, j) for i in starts1 for j in starts2 if i <= j or not symmetric])
    if len(places) == 1:
        return tile(one, two)

    def part(points: Points, start: jax.Array, size: int) -> Points:
        return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, size), points)

    def place(step: int, kernels: Kernels) -> Kernels:
        i, j = jnp.asarray(places)[step]
        # Computed before it is copied: a compiler would otherwise do both in one loop, without vector instructions.
        found = jax.lax.optimization_barrier(tile(part(one, i, size1), part(two, j, size2)))
        kernels = jax.tree.map(lambda whole, t: jax.lax.dynamic_update_slice(whole, t, (i, j)), kernels, found)
        if symmetric:
            kernels = jax.tree.map(lambda whole, t: jax.lax.dynamic_update_slice(whole, t.T, (j, i)), kernels, found)
        return kernels

    empty = jnp.zeros((len(one.x), len(two.x)), one.variances.dtype)
    return jax.lax.fori_loop(0, len(places), place, Kernels(empty, empty))
