"""Dual activations against integrals over a grid, identities, and their limits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.kernels.duals import DualActivation, erf, hermite_dual, linear, quadrature_dual, relu, square

SERIES = hermite_dual((0.2, 0.5, -0.3, 0.1))
DUALS = [linear, square, relu, erf, quadrature_dual(jnp.tanh), SERIES]
GRID = np.polynomial.legendre.leggauss(400)
by_name = pytest.mark.parametrize("dual", DUALS, ids=lambda dual: dual.name)
PAIRS = [(1.0, 1.0, 0.3), (0.5, 2.0, -0.8), (1.3, 0.7, 0.0), (2.0, 2.0, 1.8)]


def integral(function, q1, q2, c, lowest):
    """E[function(u, v)] on a Gauss-Legendre grid of u, v > lowest, by the density of the pair itself."""
    nodes, weights = GRID
    (u, wu), (v, wv) = (
        ((top - low) / 2 * nodes + (top + low) / 2, (top - low) / 2 * weights)
        for top, low in ((10 * np.sqrt(q), max(lowest, -10 * np.sqrt(q))) for q in (q1, q2))
    )
    determinant = q1 * q2 - c**2
    u, v = u[:, None], v[None]
    density = np.exp(-(q2 * u**2 - 2 * c * u * v + q1 * v**2) / (2 * determinant)) / (2 * np.pi * np.sqrt(determinant))
    return float(wu @ (function(u, v) * density) @ wv)


def tolerance(dual):
    return 3e-7 if dual.name == "tanh" else 1e-9  # the quadrature is not exact


@by_name
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_moments_are_the_integrals(dual: DualActivation, pair) -> None:
    with jax.enable_x64(True):
        slope = jax.vmap(jax.vmap(jax.grad(dual.apply)))
        found = dual.expectations(*map(jnp.float64, pair))
        # A kink at zero: over the quadrant where the activation does not vanish, the integrand is smooth.
        lowest = 0.0 if dual is relu else -np.inf
        values = integral(lambda u, v: np.asarray(dual.apply(u)) * np.asarray(dual.apply(v)), *pair, lowest)
        slopes = integral(lambda u, v: np.asarray(slope(u)) * np.asarray(slope(v)), *pair, lowest)
        assert all(moment.dtype == jnp.float64 for moment in found)
    np.testing.assert_allclose(found, (values, slopes), rtol=tolerance(dual), atol=1e-12)


@by_name
def test_the_slope_of_the_first_moment_is_the_second(dual: DualActivation) -> None:
    with jax.enable_x64(True):  # Price's theorem: ∂E[s(u)s(v)]/∂c = E[s'(u)s'(v)]
        for q1, q2, c in PAIRS:
            slope = jax.grad(lambda c, q1=q1, q2=q2: dual.expectations(jnp.float64(q1), jnp.float64(q2), c)[0])(c)
            np.testing.assert_allclose(
                slope, dual.expectations(*map(jnp.float64, (q1, q2, c)))[1], rtol=tolerance(dual)
            )


@by_name
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_equal_opposite_and_zero_are_safe(dual: DualActivation, dtype) -> None:
    with jax.enable_x64(True):
        beyond = 1 + 2 * jnp.finfo(dtype).eps  # what rounding makes of equal inputs
        cases = [(1.7, 1.7, 1.7), (1.7, 1.7, 1.7 * beyond), (1.7, 1.7, -1.7 * beyond), (0, 0, 0), (0, 1.7, 0)]
        q1, q2, c = (jnp.array(column, dtype) for column in zip(*cases, strict=True))
        assert all(moment.dtype == dtype and jnp.isfinite(moment).all() for moment in dual.expectations(q1, q2, c))
        for number in (0, 1):
            gradients = jax.grad(lambda *args, k=number: dual.expectations(*args)[k].sum(), (0, 1, 2))(q1, q2, c)
            assert all(jnp.isfinite(gradient).all() for gradient in gradients), gradients


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_limits_of_relu(dtype) -> None:
    with jax.enable_x64(True):
        q, c = jnp.full(3, 1.7, dtype), jnp.array([1.7, -1.7, 0], dtype)
        values, slopes = relu.expectations(q, q, c)
        rounding = 8 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(values, [1.7 / 2, 0, 1.7 / (2 * np.pi)], atol=rounding)
    np.testing.assert_allclose(slopes, [1 / 2, 0, 1 / 4], atol=rounding)


def test_relu_near_equal_inputs_keeps_the_angle() -> None:
    with jax.enable_x64(True):
        angle = jnp.array([1e-7, 1e-5, 1e-3, 0.1, 1.0, 2.0, 3.0, np.pi - 1e-5])
        _, slopes = relu.expectations(jnp.ones(8), jnp.ones(8), jnp.cos(angle))
        # cos t is rounded to 1e-16, which is 1e-16/t of the angle
        np.testing.assert_allclose(slopes, (np.pi - angle) / (2 * np.pi), rtol=1e-11, atol=1e-9)
        np.testing.assert_allclose(slopes[2:], (np.pi - angle[2:]) / (2 * np.pi), atol=1e-13)


def test_float32_agrees_with_float64() -> None:
    with jax.enable_x64(True):
        c = jnp.linspace(-1, 1, 1001).astype(jnp.float32)
        single, double = (relu.expectations(jnp.ones_like(x), jnp.ones_like(x), x) for x in (c, c.astype(jnp.float64)))
        for a, b in zip(single, double, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-7)


def test_quadrature_agrees_with_the_closed_form_of_erf() -> None:
    with jax.enable_x64(True):
        q = jnp.linspace(0.01, 1.5, 9)
        c = jnp.linspace(-1, 1, 7)[None] * q[:, None]
        exact = erf.expectations(q[:, None], q[:, None], c)
        derivative = partial(_gaussian, 2 / np.sqrt(np.pi))
        for dual in (quadrature_dual(erf.apply, degree=100), quadrature_dual(erf.apply, derivative, degree=100)):
            np.testing.assert_allclose(dual.expectations(q[:, None], q[:, None], c), exact, atol=1e-8)


def _gaussian(scale, x):
    return scale * jnp.exp(-(x**2))


def test_a_normalised_series_is_a_power_series_of_the_correlation() -> None:
    rho = jnp.linspace(-1, 1, 5)
    values, slopes = SERIES.expectations(jnp.ones(5), jnp.ones(5), rho)
    squares = np.array([0.2, 0.5, -0.3, 0.1]) ** 2
    np.testing.assert_allclose(values, np.polynomial.polynomial.polyval(rho, squares), atol=1e-6)
    np.testing.assert_allclose(slopes, np.polynomial.polynomial.polyval(rho, squares[1:] * [1, 2, 3]), atol=1e-6)


def test_the_same_activation_is_the_same_dual() -> None:
    assert quadrature_dual(jnp.tanh) is quadrature_dual(jnp.tanh)
    assert hash(hermite_dual((0.0, 1.0))) == hash(hermite_dual((0.0, 1.0)))
