"""Dual activations: what an activation makes of a pair of Gaussian pre-activations.

For (u, v) ~ N(0, [[q1, c], [c, q2]]) a `DualActivation` knows E[s(u)s(v)] and E[s'(u)s'(v)], the two numbers that the
recursions of infinite width need (Jacot et al. 2018, Theorem 1; Cho and Saul 2009; Williams 1997). Closed forms where
they exist; `quadrature_dual` for every smooth activation and `hermite_dual` for series. All of them broadcast, follow
the dtype of their arguments (float32 or float64) and are finite at equal, opposite and vanishing pre-activations,
gradients included.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

Expectations = tuple[jax.Array, jax.Array]


@dataclass(frozen=True)
class DualActivation:
    """An activation `apply` and `expectations(q1, q2, c) -> (E[s(u)s(v)], E[s'(u)s'(v)])`; hashable, static to jit."""

    name: str
    apply: Callable[[jax.Array], jax.Array]
    expectations: Callable[[jax.Array, jax.Array, jax.Array], Expectations]


def _linear(q1: jax.Array, q2: jax.Array, c: jax.Array) -> Expectations:
    return c, jnp.ones_like(c)


def _square(q1: jax.Array, q2: jax.Array, c: jax.Array) -> Expectations:
    # E[u² v²] = q1 q2 + 2 c²; E[2u 2v] = 4 c
    return q1 * q2 + 2 * c**2, 4 * c


def _relu(q1: jax.Array, q2: jax.Array, c: jax.Array) -> Expectations:
    cosine = c * (_inverse_root(q1) * _inverse_root(q2))
    sine, angle = _sine_and_angle(cosine)
    rest = jnp.where(cosine < 0, angle, np.pi - angle)  # π - t, without cancellation for opposite inputs
    # E[s s] = √(q1 q2) (sin t + (π - t) cos t) / 2π; E[s' s'] = (π - t) / 2π
    return _root(q1) * _root(q2) * (sine + rest * cosine) / (2 * np.pi), rest / (2 * np.pi)


def _erf(q1: jax.Array, q2: jax.Array, c: jax.Array) -> Expectations:
    # (1 + 2 q1)(1 + 2 q2) - 4 c², with the difference q1 q2 - c² ≥ 0 kept apart
    determinant = 1 + 2 * (q1 + q2) + 4 * jnp.maximum(q1 * q2 - c**2, 0)
    # E[s s] = 2/π arcsin(2 c / √((1 + 2 q1)(1 + 2 q2))); E[s' s'] = 4/π / √((1 + 2 q1)(1 + 2 q2) - 4 c²)
    root = jnp.sqrt(determinant)
    return 2 / np.pi * jnp.arctan2(2 * c, root), 4 / np.pi / root


linear = DualActivation("linear", lambda x: x, _linear)
square = DualActivation("square", jnp.square, _square)
relu = DualActivation("relu", jax.nn.relu, _relu)
erf = DualActivation("erf", jax.scipy.special.erf, _erf)


@cache
def quadrature_dual(
    activation: Callable[[jax.Array], jax.Array],
    derivative: Callable[[jax.Array], jax.Array] | None = None,
    degree: int = 100,
) -> DualActivation:
    """The dual of any smooth elementwise activation, by Gauss-Hermite quadrature with `degree` nodes.

    With a_k(q) the coefficients of s(√q z) in normalised Hermite polynomials and ρ = c / √(q1 q2),
    E[s(u)s(v)] = Σ_k a_k(q1) a_k(q2) ρ^k (Mehler): the activation is evaluated for each point, not for each pair.
    Exact for polynomials of less than `degree`. Converges fast for smooth activations at moderate variances (tanh: to
    1e-10 at variance 1, 1e-7 at 2, 1e-4 at 5), slowly where s or s' jumps. The derivative is taken by `jax.jvp` where
    none is given.
    """
    slope = derivative or (lambda x: jax.jvp(activation, (x,), (jnp.ones_like(x),))[1])
    return DualActivation(
        getattr(activation, "__name__", "activation"), activation, partial(_mehler, activation, slope, degree)
    )


@cache
def hermite_dual(coefficients: tuple[float, ...]) -> DualActivation:
    """s(x) = Σ_k a_k h_k(x), h_k the Hermite polynomials that are orthonormal under N(0, 1); exact moments.

    At unit variance E[s(u)s(v)] = Σ_k a_k² ρ^k, so that Σ a_k² = 1 normalises.
    """

    def series(x: jax.Array) -> jax.Array:
        return sum((a * h for a, h in zip(coefficients, _hermite(x, len(coefficients)), strict=True)), 0 * x)

    return quadrature_dual(series, degree=len(coefficients) + 1)


def _mehler(
    activation: Callable, slope: Callable, degree: int, q1: jax.Array, q2: jax.Array, c: jax.Array
) -> Expectations:
    nodes, weights = np.polynomial.hermite_e.hermegauss(degree)
    projection = np.stack(_hermite(nodes, degree)) * (weights / weights.sum())  # (degree, nodes)
    correlation = jnp.clip(c * (_inverse_root(q1) * _inverse_root(q2)), -1, 1)

    def moment(function: Callable) -> jax.Array:
        def coefficients(q: jax.Array) -> jax.Array:  # (degree, *q.shape)
            z = jnp.asarray(nodes, q.dtype).reshape(-1, *[1] * q.ndim)
            return jnp.tensordot(jnp.asarray(projection, q.dtype), function(_root(q)[None] * z), 1)

        def horner(total: jax.Array, pair: Expectations) -> tuple[jax.Array, None]:
            return total * correlation + pair[0] * pair[1], None

        pairs, start = (coefficients(q1), coefficients(q2)), jnp.zeros_like(correlation)
        return jax.lax.scan(horner, start, pairs, reverse=True, unroll=8)[0]

    return moment(activation), moment(slope)


def _hermite(x: jax.Array | np.ndarray, count: int) -> list:
    """The first `count` orthonormal Hermite polynomials at x."""
    found = [0 * x + 1, x]
    for k in range(1, count - 1):
        # √(k+1) h_{k+1} = x h_k - √k h_{k-1}
        found.append((x * found[k] - math.sqrt(k) * found[k - 1]) / math.sqrt(k + 1))
    return found[:count]


@jax.custom_jvp
def _root(q: jax.Array) -> jax.Array:
    """√q, with gradient 0 instead of infinity at 0."""
    return jnp.sqrt(q)


@jax.custom_jvp
def _inverse_root(q: jax.Array) -> jax.Array:
    """1/√q, and 0 at 0, as is its gradient: a pre-activation that vanishes is correlated with nothing."""
    return jnp.where(q > 0, jax.lax.rsqrt(q), 0)


@_root.defjvp
def _slope_of_root(q: tuple[jax.Array], change: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _root(*q), _inverse_root(*q) / 2 * change[0]


@_inverse_root.defjvp
def _slope_of_inverse_root(q: tuple[jax.Array], change: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    found = _inverse_root(*q)
    return found, -(found**3) / 2 * change[0]


def _sine_and_angle(cosine: jax.Array) -> tuple[jax.Array, jax.Array]:
    """sin t and t in [0, π/2] for cos t = |cosine|.

    A cosine within rounding of 1 counts as 1: the angle is the square root of the difference, and a point would be at
    an angle of 1e-3 with itself in float32. By the half angle h = t/2, sin² h = (1 - cos t)/2 and t = 2 arcsin(sin h);
    arcsin by a polynomial, which compilers turn into vector instructions, unlike arccos and arctan2.
    """
    apart = 1 - jnp.abs(cosine)
    half_sine = _root(jnp.where(apart > 8 * jnp.finfo(apart.dtype).eps, apart / 2, 0))
    half_sine = jax.lax.optimization_barrier(half_sine)  # once for both moments
    squared = half_sine**2
    series = jnp.zeros_like(squared)
    for coefficient in _arcsine(squared.dtype.name):
        series = series * squared + coefficient
    return 2 * half_sine * jnp.sqrt(1 - squared), 2 * half_sine * series


@cache
def _arcsine(dtype: str) -> tuple[float, ...]:
    """Coefficients, highest first, of arcsin(√z)/√z on [0, 1/2] to rounding in `dtype`, by Chebyshev interpolation."""
    degree = 8 if np.dtype(dtype).itemsize <= 4 else 19

    def ratio(z: np.ndarray) -> np.ndarray:
        return np.arcsin(np.sqrt(z)) / np.sqrt(z)

    fit = np.polynomial.Chebyshev.interpolate(ratio, degree, domain=[0, 0.5])
    return tuple(float(a) for a in fit.convert(kind=np.polynomial.Polynomial).coef[::-1])
