"""Kernels of infinite width against networks drawn in NumPy, formulas by hand and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.errors import BadInput
from core.kernels import infinite
from core.kernels.duals import erf, linear, quadrature_dual, relu, square
from core.kernels.infinite import fully_connected_kernels
from core.models.ntk import NTKNetwork, StandardNetwork

X = np.random.default_rng(0).normal(size=(4, 5))
BIAS = 0.3


def drawn(rng, x, hidden, depth, weight_std):
    """Both kernels of one random ReLU network of `depth` affine maps and one output, in plain NumPy."""
    ntk = np.zeros((len(x), len(x)))
    a, maps = x, []
    for number in range(depth):
        width = hidden if number < depth - 1 else 1
        w, b = rng.normal(size=(width, a.shape[1])), rng.normal(size=width)
        maps.append((w * weight_std / np.sqrt(a.shape[1]), weight_std**2 * a @ a.T / a.shape[1] + BIAS**2))
        pre = a @ maps[-1][0].T + BIAS * b
        maps[-1] += (pre > 0,)
        a = np.maximum(pre, 0)
    nngp, delta = maps[-1][1], np.ones((len(x), 1))  # the covariance of f given the last hidden layer
    for number in reversed(range(depth)):
        w, gram, _ = maps[number]
        ntk += (delta @ delta.T) * gram
        if number:
            delta = (delta @ w) * maps[number - 1][2]
    return nngp, ntk


@pytest.mark.parametrize("depth", [2, 4])
def test_kernels_are_the_limit_of_wide_networks(depth) -> None:
    rng, weight_std = np.random.default_rng(1), 1.2
    draws = np.array([drawn(rng, X, 600, depth, weight_std) for _ in range(30)])
    mean, error = draws.mean(0), draws.std(0, ddof=1) / np.sqrt(len(draws))
    arguments = {"activation": relu, "weight_variance": weight_std**2, "bias_variance": BIAS**2}
    found = np.array(fully_connected_kernels(jnp.asarray(X, jnp.float32), depth=depth, **arguments))
    assert (abs(mean - found) / (error + 1e-3 * abs(found))).max() < 4
    assert abs(mean - found).max() < 0.03 * found.max()
    for wrong in (depth - 1, depth + 1):  # the test sees a depth that is off by one
        other = np.array(fully_connected_kernels(jnp.asarray(X, jnp.float32), depth=wrong, **arguments))
        assert (abs(mean - other) / (error + 1e-3 * abs(found))).max() > 10


@pytest.mark.parametrize("activation", [jnp.tanh, erf.apply], ids=["tanh", "erf"])
def test_other_activations_are_the_limit_too(activation) -> None:
    x, keys = jnp.asarray(X[:2], jnp.float32), jax.random.split(jax.random.key(0), 30)
    network = NTKNetwork((600, 600), activation=activation, bias_std=BIAS)

    @jax.vmap
    def tangent(key):
        gradients = [jax.grad(lambda v, one=one: network.apply(v, one[None])[0, 0])(network.init(key, x)) for one in x]
        return jnp.array([[sum(map(jnp.vdot, *map(jax.tree.leaves, (a, b)))) for a in gradients] for b in gradients])

    draws = np.asarray(jax.lax.map(lambda key: tangent(key[None])[0], keys))
    dual = quadrature_dual(jnp.tanh) if activation is jnp.tanh else erf
    expected = fully_connected_kernels(x, depth=3, activation=dual, bias_variance=BIAS**2).ntk
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    assert (abs(draws.mean(0) - expected) / (error + 2e-3 * abs(expected))).max() < 4


def test_one_affine_map_is_linear() -> None:
    for kernel in fully_connected_kernels(X, depth=1, activation=relu, weight_variance=2.0, bias_variance=0.5):
        np.testing.assert_allclose(kernel, 2 * X @ X.T / 5 + 0.5, rtol=1e-5, atol=1e-6)


def test_two_affine_maps_by_hand() -> None:
    angles = np.array([0.0, np.pi / 3, np.pi / 2, np.pi])
    x = np.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], 1)  # norm √n_0, so that S_1 = cos t
    with jax.enable_x64(True):
        nngp, ntk = fully_connected_kernels(jnp.asarray(x), depth=2, activation=relu)
    values = (np.sin(angles) + (np.pi - angles) * np.cos(angles)) / (2 * np.pi)
    np.testing.assert_allclose(nngp[0], values, atol=1e-12)
    np.testing.assert_allclose(ntk[0], values + np.cos(angles) * (np.pi - angles) / (2 * np.pi), atol=1e-12)


def test_a_polynomial_activation_by_hand() -> None:
    gram = X @ X.T / 5
    with jax.enable_x64(True):
        nngp, ntk = fully_connected_kernels(jnp.asarray(X), depth=2, activation=square)
    q = np.diag(gram)
    np.testing.assert_allclose(nngp, np.outer(q, q) + 2 * gram**2, rtol=1e-12)
    np.testing.assert_allclose(ntk, np.outer(q, q) + 6 * gram**2, rtol=1e-12)


def test_linear_networks_of_any_depth() -> None:
    nngp, ntk = fully_connected_kernels(X, depth=5, activation=linear)
    np.testing.assert_allclose(ntk, 5 * np.asarray(nngp), rtol=1e-5)


@pytest.mark.parametrize("activation", [relu, erf, quadrature_dual(jnp.tanh)], ids=lambda dual: dual.name)
def test_a_kernel_with_itself_is_the_kernel_between_copies(activation) -> None:
    with jax.enable_x64(True):
        x = jnp.asarray(X)
        alone = fully_connected_kernels(x, depth=4, activation=activation, bias_variance=0.01)
        pair = fully_connected_kernels(x, x[1:], depth=4, activation=activation, bias_variance=0.01)
        for a, b in zip(alone, pair, strict=True):
            assert b.shape == (4, 3) and np.allclose(a, a.T, rtol=1e-12)
            np.testing.assert_allclose(b, a[:, 1:], rtol=1e-6)  # √ε is the angle between equal inputs


@pytest.mark.parametrize(("n1", "n2"), [(9, None), (9, 5), (2, 9)])
def test_tiles_give_the_whole(n1, n2, monkeypatch) -> None:
    x = jax.random.normal(jax.random.key(0), (9, 3))
    arguments = {"depth": 3, "activation": relu, "bias_variance": 0.01}
    points = (x[:n1], None if n2 is None else x[9 - n2 :])
    whole = fully_connected_kernels(*points, **arguments)
    monkeypatch.setattr(infinite, "TILE", 4)
    jax.clear_caches()  # of functions compiled with the other size
    for tiled, expected in zip(fully_connected_kernels(*points, **arguments), whole, strict=True):
        np.testing.assert_allclose(tiled, expected, rtol=1e-6)
    if n2 is None:
        slope = jax.grad(lambda bias: fully_connected_kernels(*points, **arguments | {"bias_variance": bias}).ntk.sum())
        tiled = slope(0.01)
        monkeypatch.undo()
        jax.clear_caches()
        np.testing.assert_allclose(tiled, slope(0.01), rtol=1e-5)


def test_the_diagonal_does_not_feel_rounding() -> None:
    x = np.random.default_rng(3).normal(size=(50, 784)).astype(np.float32)
    single = fully_connected_kernels(x, depth=4, activation=relu, bias_variance=0.01).ntk
    with jax.enable_x64(True):
        double = fully_connected_kernels(jnp.asarray(x, jnp.float64), depth=4, activation=relu, bias_variance=0.01).ntk
    assert single.dtype == jnp.float32 and double.dtype == jnp.float64
    np.testing.assert_allclose(single, double, rtol=2e-6)


def test_equal_opposite_and_zero_inputs() -> None:
    x = jnp.array([[1.0, 2.0], [1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]])
    for bias_variance in (0.0, 0.1):
        for kernel in fully_connected_kernels(x, depth=4, activation=relu, bias_variance=bias_variance):
            assert jnp.isfinite(kernel).all()
            np.testing.assert_allclose(kernel[0], kernel[1], rtol=1e-3)
    assert (fully_connected_kernels(x, depth=4, activation=relu).ntk[3] == 0).all()


def test_kernels_can_be_differentiated_by_their_variances() -> None:
    with jax.enable_x64(True):

        def total(weight, bias):
            found = fully_connected_kernels(X, depth=3, activation=relu, weight_variance=weight, bias_variance=bias)
            return found.nngp.sum() + found.ntk.sum()

        for argument in (0, 1):
            point, step = np.array([1.3, 0.2]), 1e-6 * np.eye(2)[argument]
            slope = (total(*(point + step)) - total(*(point - step))) / 2e-6
            np.testing.assert_allclose(jax.grad(total, argument)(*point), slope, rtol=1e-6)


def test_the_twin_draws_the_same_functions_with_other_gradients() -> None:
    x = jnp.asarray(X, jnp.float32)
    ours, twin = NTKNetwork((6, 7), 2, weight_std=1.5), StandardNetwork((6, 7), 2, weight_std=1.5)
    drawn = ours.init(jax.random.key(0), x)["params"]
    assert drawn["dense_1"]["kernel"].shape == (7, 6)
    moved = {
        name: {"kernel": 1.5 / np.sqrt(layer["kernel"].shape[1]) * layer["kernel"], "bias": 0.1 * layer["bias"]}
        for name, layer in drawn.items()
    }
    np.testing.assert_allclose(ours.apply({"params": drawn}, x), twin.apply({"params": moved}, x), atol=1e-6)
    wide = StandardNetwork((400,), weight_std=1.5).init(jax.random.key(1), jnp.zeros((1, 900)))["params"]["dense_0"]
    np.testing.assert_allclose([wide["kernel"].std(), wide["bias"].std()], [1.5 / 30, 0.1], rtol=0.15)


@pytest.mark.parametrize(
    ("x1", "x2", "change", "line"),
    [
        (X[0], None, {}, r"inputs must be \(n1, features\) and \(n2, features\), not \(5,\)"),
        (X[:0], None, {}, r"not \(0, 5\) and \(0, 5\)"),
        (X, X[:, :2], {}, r"not \(4, 5\) and \(4, 2\)"),
        (X, None, {"depth": 0}, "depth counts affine maps and is 1 or more, not 0"),
        (X, None, {"bias_variance": -0.1}, "bias variance must be 0 or more, and finite, not -0.1"),
        (X, None, {"weight_variance": float("nan")}, "weight variance must be 0 or more, and finite, not nan"),
    ],
)
def test_bad_input_is_refused(x1, x2, change, line) -> None:
    with pytest.raises(BadInput, match=line):
        fully_connected_kernels(x1, x2, **{"depth": 2, "activation": relu} | change)
