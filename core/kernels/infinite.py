"""Kernels of fully connected networks of infinite width: NNGP and NTK (Jacot et al. 2018, Proposition 1, Theorem 1)."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.errors import BadInput
from core.kernels.duals import DualActivation

TILE, LANES = 400, 16  # most points on a side, so that a tile stays in the cache; and of what that is a multiple


class KernelPair(NamedTuple):
    """The covariance of the outputs at random initialisation, and the neural tangent kernel; both (n1, n2)."""

    nngp: jax.Array
    ntk: jax.Array


def fully_connected_kernels(
    x1: jax.Array,
    x2: jax.Array | None = None,
    *,
    depth: int,
    activation: DualActivation,
    weight_variance: float = 1.0,
    bias_variance: float = 0.0,
) -> KernelPair:
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
    x1: jax.Array,
    x2: jax.Array | None,
    depth: int,
    activation: DualActivation,
    weight_variance: float,
    bias_variance: float,
) -> KernelPair:
    symmetric, width = x2 is None, x1.shape[1]

    def variances(x: jax.Array) -> jax.Array:  # S_l(x, x) for every l: (n, depth)
        found = [weight_variance * (x**2).mean(1) + bias_variance]
        for _ in range(depth - 1):
            q = found[-1]
            found.append(weight_variance * activation.expectations(q, q, q)[0] + bias_variance)
        return jnp.stack(found, 1)

    def tile(rows: TilePoints, columns: TilePoints) -> KernelPair:
        # S_1 = σ² x·x'/n_0 + β²;  Θ_1 = S_1
        nngp = weight_variance * (rows.x @ columns.x.T) / width + bias_variance
        if symmetric:  # a point has correlation 1 with itself in spite of rounding
            nngp = jnp.where(rows.number[:, None] == columns.number[None], rows.variances[:, :1], nngp)
        ntk = nngp
        for layer in range(depth - 1):
            # S_{l+1} = σ² E[s(u)s(v)] + β²;  Θ_{l+1} = S_{l+1} + σ² Θ_l E[s'(u)s'(v)],  (u, v) ~ N(0, S_l)
            q1, q2 = rows.variances[:, layer], columns.variances[:, layer]
            values, slopes = activation.expectations(q1[:, None], q2[None], nngp)
            nngp = weight_variance * values + bias_variance
            ntk = nngp + weight_variance * ntk * slopes
        return KernelPair(nngp, ntk)

    one, two = (TilePoints(x, variances(x), jnp.arange(len(x))) for x in (x1, x1 if x2 is None else x2))
    return _by_tiles(tile, one, two, symmetric)


class TilePoints(NamedTuple):
    """Inputs (n, features), the variances of their pre-activations (n, depth), and their numbers (n,)."""

    x: jax.Array
    variances: jax.Array
    number: jax.Array


def _by_tiles(
    tile: Callable[[TilePoints, TilePoints], KernelPair], one: TilePoints, two: TilePoints, symmetric: bool
) -> KernelPair:
    """Both kernels from tiles that stay in the cache; of symmetric ones no tile above the diagonal."""
    n1, n2 = len(one.number), len(two.number)
    if max(n1, n2) <= TILE:
        return tile(one, two)
    one, two = _cut(one), _cut(two)
    (k1, size1), (k2, size2) = one.number.shape, two.number.shape
    places = np.array([(i, j) for i in range(k1) for j in range(k2) if i >= j or not symmetric])

    def part(place: jax.Array) -> KernelPair:
        return tile(*(jax.tree.map(lambda a, k=k: a[k], points) for points, k in zip((one, two), place, strict=True)))

    number = np.zeros((k1, k2), int)  # of the tile that holds each block, transposed above the diagonal
    for k, (i, j) in enumerate(places):
        number[i, j] = k
        if symmetric:
            number[j, i] = k
    above = np.arange(k1)[:, None, None, None] < np.arange(k2)[None, :, None, None]

    def whole(tiles: jax.Array) -> jax.Array:
        blocks = tiles[number]
        blocks = jnp.where(above, blocks.swapaxes(2, 3), blocks) if symmetric else blocks
        return blocks.swapaxes(1, 2).reshape(k1 * size1, k2 * size2)[:n1, :n2]

    return jax.tree.map(whole, jax.lax.map(part, jnp.asarray(places)))


def _cut(points: TilePoints) -> TilePoints:
    """Points in as few equal parts of at most TILE as possible: a new first axis; zeros fill up."""
    n = len(points.number)
    parts = -(-n // TILE)
    size = min(TILE, -(-n // parts // LANES) * LANES)

    def cut(a: jax.Array) -> jax.Array:
        padded = jnp.pad(a, [(0, parts * size - n), *[(0, 0)] * (a.ndim - 1)])
        return padded.reshape(parts, size, *a.shape[1:])

    return jax.tree.map(cut, points)
