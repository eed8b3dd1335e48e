"""Layer, batch and weight normalisation: pure functions, and small modules over them.

Statistics of float16 and bfloat16 inputs are taken in float32, the variance in two passes, and eps stands inside the
square root. Half-precision inputs give half-precision outputs.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.errors import BadInput

Tree = Any
BLOCKED_ROWS = 2048  # from so many rows on, layer norm goes through them in blocks
BLOCK_VALUES = 32768  # in a block: what is computed from it stays in the cache


def _to_statistics_dtype(x: jax.Array) -> jax.Array:
    """The values in the type in which statistics are taken: at least float32."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _as_rows(vector: jax.Array, x: jax.Array) -> jax.Array:
    """A vector (n,) with as many axes as x (..., n)."""
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)


class Sums(NamedTuple):
    """How sums are taken: of values (..., n) along rows, each value weighted by (n,), and over all rows."""

    along_rows: Callable[[jax.Array, jax.Array], jax.Array]  # (..., 1)
    over_rows: Callable[[jax.Array], jax.Array]  # (n,)


PLAIN_SUMS = Sums(
    lambda a, weights: jnp.sum(a * _as_rows(weights, a), -1, keepdims=True),
    lambda a: jnp.sum(a, tuple(range(a.ndim - 1))),
)
# Of a matrix (rows, n): XLA on a CPU takes products several times as fast as sums that share their terms.
PRODUCT_SUMS = Sums(
    lambda a, weights: jnp.matmul(a, weights, precision="highest")[:, None],
    lambda a: jnp.matmul(jnp.ones_like(a, shape=a.shape[:1]), a, precision="highest"),
)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _layer_norm(x: jax.Array, gain: jax.Array, bias: jax.Array, eps: float, divisor: int) -> jax.Array:
    return _normalise(x, *_row_statistics(x, eps, divisor), gain, bias)


def _layer_norm_forward(x: jax.Array, gain: jax.Array, bias: jax.Array, eps: float, divisor: int) -> tuple:
    mean, inverse = _row_statistics(x, eps, divisor)
    if _block_rows(x) > 1:
        # XLA on a CPU takes the statistics in one pass where it does not have to give the outputs with them.
        mean, inverse = jax.lax.platform_dependent(
            mean, inverse, cpu=lambda *found: jax.lax.optimization_barrier(found), default=lambda *found: found
        )
    return _normalise(x, mean, inverse, gain, bias), (x, mean, inverse, gain, bias)


def _layer_norm_backward(eps: float, divisor: int, kept: tuple, given: jax.Array) -> tuple:
    x, mean, inverse, gain, bias = kept
    form = whole = partial(_gradients, PLAIN_SUMS, divisor, gain)
    if _block_rows(x) > 1:
        form = partial(jax.lax.platform_dependent, cpu=partial(_gradients_by_blocks, divisor, gain), default=whole)
    dx, dgain, dbias = form(x, mean, inverse, given)
    return dx, dgain.astype(gain.dtype), dbias.astype(bias.dtype)


def _row_statistics(x: jax.Array, eps: float, divisor: int) -> tuple[jax.Array, jax.Array]:
    """Means and inverse deviations of the rows of x (..., n), each (..., 1)."""
    a = _to_statistics_dtype(x)
    mean = a.mean(-1, keepdims=True)  # μ
    centred = a - mean
    return mean, jax.lax.rsqrt(jnp.sum(centred * centred, -1, keepdims=True) / divisor + eps)  # 1 / σ


def _normalise(x: jax.Array, mean: jax.Array, inverse: jax.Array, gain: jax.Array, bias: jax.Array) -> jax.Array:
    # g ⊙ (a - μ) / σ + b
    y = (_to_statistics_dtype(x) - mean) * inverse * _as_rows(gain, x) + _as_rows(bias, x)
    return y.astype(x.dtype)


def _gradients(
    sums: Sums, divisor: int, gain: jax.Array, x: jax.Array, mean: jax.Array, inverse: jax.Array, given: jax.Array
) -> tuple:
    """Gradients of x (..., n), gain and bias (n,) from that of y, with the statistics of the rows (..., 1)."""
    # With n̂ = (a - μ)/σ and δ = g ⊙ ∂L/∂y: ∂L/∂a = (δ - mean δ - n̂ Σ(δ n̂)/divisor) / σ
    dy = _to_statistics_dtype(given)
    normal = (_to_statistics_dtype(x) - mean) * inverse
    weighted = dy * normal
    middle, along = sums.along_rows(dy, gain) / x.shape[-1], sums.along_rows(weighted, gain) / divisor
    dx = (dy * _as_rows(gain, x) - middle - normal * along) * inverse
    return dx.astype(x.dtype), sums.over_rows(weighted), sums.over_rows(dy)


def _gradients_by_blocks(divisor: int, gain: jax.Array, *arrays: jax.Array) -> tuple:
    """The same, some rows after the others: they stay in the cache, where XLA on a CPU would go through all again."""
    x, mean, *_ = arrays

    def block(sums: tuple, rows: tuple) -> tuple:
        dx, dgain, dbias = _gradients(PRODUCT_SUMS, divisor, gain, *rows)
        return (sums[0] + dgain, sums[1] + dbias), dx

    zeros = jnp.zeros_like(mean, shape=gain.shape)
    blocks = tuple(a.reshape(-1, _block_rows(x), a.shape[-1]) for a in arrays)
    (dgain, dbias), dx = jax.lax.scan(block, (zeros, zeros), blocks)
    return dx.reshape(x.shape), dgain, dbias


def _block_rows(x: jax.Array) -> int:
    """Rows in a block of x (..., n): a power of two that divides their number, or 1 where blocks do not pay."""
    rows = x.size // x.shape[-1]
    wanted = 2 ** math.floor(math.log2(max(8, BLOCK_VALUES / x.shape[-1])))
    found = math.gcd(rows, wanted)
    return found if rows >= BLOCKED_ROWS and found >= 8 else 1


_layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


def layer_norm(x: jax.Array, gain: jax.Array, bias: jax.Array, eps: float = 1e-5, unbiased: bool = False) -> jax.Array:
    """Layer normalisation over the last axis (Ba et al. 2016, eq. 3): g ⊙ (a - μ) / √(σ² + eps) + b.

    Args:
      x: summed inputs (..., n) of one layer, any float type.
      gain, bias: (n,).
      eps: added to the variance; a constant vector becomes the bias.
      unbiased: divide the variance by n - 1 instead of n.

    Returns:
      Normalised inputs (..., n) in the type of x.

    Raises:
      BadInput: when gain or bias does not have the length of the last axis, or `unbiased` meets a single unit.
    """
    n = x.shape[-1] if x.ndim else 0
    if not n or gain.shape != (n,) or bias.shape != (n,):
        raise BadInput(f"layer norm of inputs {x.shape} needs gain and bias ({n},), not {gain.shape} and {bias.shape}")
    if unbiased and n == 1:
        raise BadInput("the unbiased variance of a layer needs at least two units")
    return _layer_norm(x, gain, bias, eps, n - 1 if unbiased else n)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis, with gain and bias (n,)."""

    eps: float = 1e-5
    unbiased: bool = False
    initial_gain: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalised inputs (..., n)."""
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        gain = self.param("gain", nn.initializers.constant(self.initial_gain), x.shape[-1:], dtype)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], dtype)
        return layer_norm(x, gain, bias, self.eps, self.unbiased)


# Batch normalisation


class Moments(NamedTuple):
    """Statistics of a batch, or their running average: mean (..., n), biased variance (..., n), and a count (...).

    The count is of cases in a batch and of averaged batches in a running average.
    """

    mean: jax.Array
    variance: jax.Array
    count: jax.Array


def batch_moments(x: jax.Array, mask: jax.Array | None = None) -> Moments:
    """Mean and biased variance of x (..., batch, n) over the batch, in at least float32.

    Args:
      x: inputs.
      mask: bool (..., batch); other cases do not count. A batch without any has mean and variance 0.

    Raises:
      BadInput: for a batch of fewer than two cases, whose variance says nothing.
    """
    if x.ndim < 2 or x.shape[-2] < 2:
        raise BadInput(f"batch statistics of inputs {x.shape} need at least two cases on the axis before the last")
    a = _to_statistics_dtype(x)
    if mask is None:
        count = jnp.full(x.shape[:-2], x.shape[-2], a.dtype)
        mean = a.mean(-2)
        return Moments(mean, jnp.square(a - mean[..., None, :]).mean(-2), count)
    weights = mask.astype(a.dtype)
    count = weights.sum(-1)
    divisor = jnp.maximum(count, 1)[..., None]
    mean = jnp.sum(a * weights[..., None], -2) / divisor
    variance = jnp.sum(jnp.square(a - mean[..., None, :]) * weights[..., None], -2) / divisor
    return Moments(mean, variance, count)


def batch_norm(x: jax.Array, moments: Moments, gain: jax.Array, bias: jax.Array, eps: float = 1e-5) -> jax.Array:
    """Inputs (..., batch, n) normalised by given moments (..., n): g ⊙ (a - μ) / √(σ² + eps) + b.

    Ioffe and Szegedy 2015, algorithm 1; with gain and bias (n,), in the type of x.
    """
    scale = jax.lax.rsqrt(moments.variance + eps)[..., None, :] * _as_rows(gain, x)
    return ((_to_statistics_dtype(x) - moments.mean[..., None, :]) * scale + _as_rows(bias, x)).astype(x.dtype)


def initial_moments(shape: tuple[int, ...], dtype: Any = jnp.float32) -> Moments:
    """The running average (..., n) before any batch: mean 0, variance 1."""
    return Moments(jnp.zeros(shape, dtype), jnp.ones(shape, dtype), jnp.zeros(shape[:-1], dtype))


def update_running_moments(running: Moments, batch: Moments, momentum: float, unbiased: bool) -> Moments:
    """The running average after one more batch: r ← r + w (s - r), w = max(1 - momentum, 1 / (batches + 1)).

    The first batches are averaged equally, so that the average owes nothing to its initial value. Where no case was
    seen nothing changes. With `unbiased` the variance of a batch of m counts m / (m - 1) times (algorithm 2), provided
    that m is at least 2.
    """
    some = batch.count > 0
    weight = jnp.where(some, jnp.maximum(1 - momentum, 1 / (running.count + 1)), 0)[..., None]
    variance = batch.variance
    if unbiased:
        variance = variance * (batch.count / jnp.maximum(batch.count - 1, 1))[..., None]
    return Moments(
        running.mean + weight * (batch.mean - running.mean),
        running.variance + weight * (variance - running.variance),
        running.count + some,
    )


def recompute_batch_stats(update: Callable[[Tree, Tree], Tree], batch_stats: Tree, batches: Tree) -> Tree:
    """Statistics for evaluation, averaged anew over many batches by final weights.

    Args:
      update: `update(batch_stats, batch)` gives the collection after one more batch, as training does.
      batch_stats: the collection; its values do not matter.
      batches: a tree of arrays (number, ...), one batch per entry.
    """
    fresh = jax.tree.map(jnp.zeros_like, batch_stats)
    found = jax.lax.map(lambda batch: update(fresh, batch), batches)

    def averaged(each: Moments) -> Moments:
        share = each.count / jnp.maximum(each.count.sum(0, keepdims=True), 1)
        mean, variance = (jnp.sum(values * share[..., None], 0) for values in (each.mean, each.variance))
        return Moments(mean, variance, each.count.sum(0))

    return jax.tree.map(averaged, found, is_leaf=lambda leaf: isinstance(leaf, Moments))


class BatchNorm(nn.Module):
    """Batch normalisation of (batch, n), or of (..., n) over all axes but the last.

    The running average is kept in the collection `batch_stats`, which has to be mutable in training.

    Attributes:
      momentum: share of the old running average, see `update_running_moments`.
      unbiased: the running variance estimates that of the population.
    """

    momentum: float = 0.9
    eps: float = 1e-5
    unbiased: bool = True
    initial_gain: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Normalised inputs, by the statistics of this batch in training and by the running average otherwise."""
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        gain = self.param("gain", nn.initializers.constant(self.initial_gain), x.shape[-1:], dtype)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], dtype)
        running = self.variable("batch_stats", "running", initial_moments, x.shape[-1:], dtype)
        rows = x.reshape(-1, x.shape[-1])
        if not train or self.is_initializing():
            return batch_norm(rows, running.value, gain, bias, self.eps).reshape(x.shape)
        seen = batch_moments(rows)
        running.value = update_running_moments(running.value, jax.lax.stop_gradient(seen), self.momentum, self.unbiased)
        return batch_norm(rows, seen, gain, bias, self.eps).reshape(x.shape)


# Weight normalisation


def weight_norm(direction: jax.Array, gain: jax.Array) -> jax.Array:
    """Kernel (inputs, outputs) whose columns have direction v and length g (Salimans and Kingma 2016, eq. 2)."""
    # w = g v / ‖v‖
    return direction * (gain[None, :] / jnp.linalg.norm(direction, axis=0, keepdims=True))


class WeightNormDense(nn.Module):
    """A dense layer on (..., inputs) with weight normalisation.

    `initial_gain=None` takes the length of the initial direction: the initial function is that of a plain layer.
    """

    features: int
    use_bias: bool = True
    initial_gain: float | None = None
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Summed inputs (..., features)."""
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        direction = self.param("direction", self.kernel_init, (x.shape[-1], self.features), dtype)
        gain = self.param("gain", lambda _: initial_gains(direction, self.initial_gain))
        y = x @ weight_norm(direction, gain).astype(x.dtype)
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,), dtype)
        return y + _as_rows(bias, y).astype(x.dtype)


def initial_gains(direction: jax.Array, gain: float | None) -> jax.Array:
    """Gains (outputs,) of weight normalisation: the same value for all, or the lengths of the columns."""
    lengths = jnp.linalg.norm(direction, axis=0)
    return lengths if gain is None else jnp.full_like(lengths, gain)
