"""The bar distribution ("Riemann distribution"): a density that is constant on bars, with half-normal tails.

Borders b_0 < … < b_B are quantiles of targets under the prior, so that every bar has the same prior mass. A network
gives logits (…, B); p = softmax of them. Bar k has density p_k/(b_{k+1} - b_k), but the outermost two are half-normals
that begin at b_1 and b_{B-1}, run outwards for ever and hold half of their mass within the bar they replace. Targets
and results have the shape of the logits without their last axis. Source: Müller et al. (2022), section 4 and appendix.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from core.errors import BadInput

HALF_NORMAL_MEDIAN = 0.6744897501960817  # Φ⁻¹(3/4): half of a half-normal of scale 1 lies below it
HALF_NORMAL_MEAN = 0.7978845608028654  # √(2/π), its mean


class BarGeometry(NamedTuple):
    """Lower borders, widths (B,), and the scales of the lower and the upper tail."""

    lower_borders: jax.Array
    widths: jax.Array
    lower_tail_scale: jax.Array
    upper_tail_scale: jax.Array


def validate_borders(borders: Any) -> np.ndarray:
    """The borders (B + 1,) in float32; `BadInput` unless there are three bars or more, finite and growing."""
    found = np.asarray(borders, np.float32)
    if found.ndim != 1 or len(found) < 4 or not np.isfinite(found).all() or not (np.diff(found) > 0).all():
        raise BadInput("borders of bars must be four or more finite numbers that grow")
    return found


def borders_from_samples(samples: Any, bars: int) -> np.ndarray:
    """Borders (at most bars + 1,) with equal shares of the samples between them, doubled ones left out."""
    drawn = np.asarray(samples, float).ravel()
    if not len(drawn) or not np.isfinite(drawn).all():
        raise BadInput("borders are quantiles of finite targets")
    return validate_borders(np.unique(np.quantile(drawn, np.linspace(0, 1, bars + 1)).astype(np.float32)))


def borders_from_samples_jit(samples: jax.Array, bars: int) -> jax.Array:
    """`borders_from_samples` inside a compiled function, (bars + 1,), for targets without ties.

    Borders are never nearer to each other than 1e-6.
    """
    found = jnp.quantile(samples.reshape(-1), jnp.linspace(0, 1, bars + 1))
    apart = 1e-6 * jnp.arange(bars + 1)
    return jax.lax.cummax(found - apart) + apart


def bar_geometry(borders: jax.Array) -> BarGeometry:
    """Lower borders, widths and tail scales of the bars with these borders (B + 1,)."""
    width = jnp.diff(borders)
    return BarGeometry(borders[:-1], width, width[0] / HALF_NORMAL_MEDIAN, width[-1] / HALF_NORMAL_MEDIAN)


def bar_index(borders: jax.Array, y: jax.Array) -> jax.Array:
    """The number of the bar a target lies in, int32; those beyond the ends lie in the outermost."""
    return jnp.clip(jnp.searchsorted(borders, y, side="right") - 1, 0, len(borders) - 2)


def log_density(borders: jax.Array, logits: jax.Array, y: jax.Array) -> jax.Array:
    """log p(y), nats."""
    bars, bar = bar_geometry(borders), bar_index(borders, y)
    last = len(borders) - 2
    # log (p_k / w_k), or log (p_k 2 N(y; b, s²)) in a tail
    inside = -jnp.log(bars.widths)[bar]
    below = jnp.log(2.0) + norm.logpdf(y, borders[1], bars.lower_tail_scale)
    above = jnp.log(2.0) + norm.logpdf(y, borders[last], bars.upper_tail_scale)
    shape = jnp.where(bar == 0, below, jnp.where(bar == last, above, inside))
    chosen = jnp.take_along_axis(logits, bar[..., None], -1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, -1) + shape


def bar_moments(borders: jax.Array) -> tuple[jax.Array, jax.Array]:
    """E y and E y² of every bar alone, (B,) each."""
    bars = bar_geometry(borders)
    middle = bars.lower_borders + bars.widths / 2
    lower, upper = borders[1], borders[-2]
    first = (
        middle.at[0]
        .set(lower - HALF_NORMAL_MEAN * bars.lower_tail_scale)
        .at[-1]
        .set(upper + HALF_NORMAL_MEAN * bars.upper_tail_scale)
    )
    second = middle**2 + bars.widths**2 / 12
    second = second.at[0].set(
        lower**2 - 2 * lower * HALF_NORMAL_MEAN * bars.lower_tail_scale + bars.lower_tail_scale**2
    )
    return first, second.at[-1].set(
        upper**2 + 2 * upper * HALF_NORMAL_MEAN * bars.upper_tail_scale + bars.upper_tail_scale**2
    )


def mean(borders: jax.Array, logits: jax.Array) -> jax.Array:
    """The mean E y."""
    return jax.nn.softmax(logits, -1) @ bar_moments(borders)[0]


def variance(borders: jax.Array, logits: jax.Array) -> jax.Array:
    """The variance Var y."""
    p, (first, second) = jax.nn.softmax(logits, -1), bar_moments(borders)
    return jnp.maximum(p @ second - (p @ first) ** 2, 0)


def bar_cdfs(borders: jax.Array, y: jax.Array) -> jax.Array:
    """Of every bar, the share of its mass at or below y: (…, B)."""
    bars, y = bar_geometry(borders), y[..., None]
    pad = (1,) * (y.ndim - 1) + (-1,)
    share = jnp.clip((y - bars.lower_borders.reshape(pad)) / bars.widths.reshape(pad), 0, 1)
    below = jnp.minimum(2 * norm.cdf((y[..., 0] - borders[1]) / bars.lower_tail_scale), 1)
    above = jnp.maximum(2 * norm.cdf((y[..., 0] - borders[-2]) / bars.upper_tail_scale) - 1, 0)
    return share.at[..., 0].set(below).at[..., -1].set(above)


def cdf(borders: jax.Array, logits: jax.Array, y: jax.Array) -> jax.Array:
    """P(target ≤ y)."""
    return jnp.sum(jax.nn.softmax(logits, -1) * bar_cdfs(borders, y), -1)


def quantile(borders: jax.Array, logits: jax.Array, level: float) -> jax.Array:
    """The y with P(target ≤ y) = level, for a level between 0 and 1, both excluded."""
    bars, p = bar_geometry(borders), jax.nn.softmax(logits, -1)
    upto = jnp.cumsum(p, -1)
    last = p.shape[-1] - 1
    bar = jnp.minimum(jnp.sum(upto < level, -1), last)
    here = jnp.take_along_axis(p, bar[..., None], -1)[..., 0]
    before = jnp.take_along_axis(upto, bar[..., None], -1)[..., 0] - here
    share = jnp.clip((level - before) / jnp.maximum(here, 1e-30), 1e-7, 1 - 1e-7)
    inside = bars.lower_borders[bar] + share * bars.widths[bar]
    below = borders[1] + bars.lower_tail_scale * norm.ppf(share / 2)
    above = borders[-2] - bars.upper_tail_scale * norm.ppf((1 - share) / 2)
    return jnp.where(bar == 0, below, jnp.where(bar == last, above, inside))


def expected_improvement(borders: jax.Array, logits: jax.Array, best: jax.Array) -> jax.Array:
    """E max(y - best, 0); `best` broadcasts with the shape of the result."""
    bars, f = bar_geometry(borders), jnp.asarray(best)[..., None]
    pad = (1,) * (f.ndim - 1) + (-1,)
    low, width = bars.lower_borders.reshape(pad), bars.widths.reshape(pad)
    left = jnp.clip(low + width - f, 0, width)  # the part of the bar above `best`
    # ∫ (y - f)₊ / w over a bar: (above part)²/2w, plus what lies between f and the bar
    gain = left**2 / (2 * width) + jnp.maximum(low - f, 0) * (left > 0)
    c = jnp.maximum((borders[1] - f) / bars.lower_tail_scale, 0)
    # y = b - s|z|: s (c (2Φ(c) - 1) - 2 (φ(0) - φ(c)))
    lower = bars.lower_tail_scale * (c * (2 * norm.cdf(c) - 1) - 2 * (norm.pdf(0.0) - norm.pdf(c)))
    a = (f - borders[-2]) / bars.upper_tail_scale
    # y = b + s|z|: 2s (φ(a) - a (1 - Φ(a))) above b, and E y - f below it
    upper = jnp.where(a > 0, 2 * (norm.pdf(a) - a * norm.sf(a)), HALF_NORMAL_MEAN - a) * bars.upper_tail_scale
    gain = jnp.concatenate([lower, gain[..., 1:-1], upper], -1)
    return jnp.sum(jax.nn.softmax(logits, -1) * gain, -1)
