"""Layer, batch and weight norm against NumPy, against flax and against differences of their values."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from core.errors import BadInput
from core.models import norms
from core.models.norms import BatchNorm, LayerNorm, Moments, WeightNormDense


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def by_hand(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float = 1e-5, ddof: int = 0) -> np.ndarray:
    """Case by case, as the equation stands in the paper."""
    y = np.empty_like(x)
    for place in np.ndindex(x.shape[:-1]):
        a = x[place]
        y[place] = gain * (a - np.mean(a)) / np.sqrt(np.var(a, ddof=ddof) + eps) + bias
    return y


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 1, 4), (0, 3), (1, 2)])
def test_layer_norm_is_its_equation(shape: tuple[int, ...], unbiased: bool) -> None:
    x, gain, bias = 3 + 2 * draw(*shape), draw(shape[-1], seed=1), draw(shape[-1], seed=2)
    with jax.enable_x64(True):
        found = norms.layer_norm(*map(jnp.asarray, (x, gain, bias)), unbiased=unbiased)
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, by_hand(x, gain, bias, ddof=int(unbiased)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("unbiased", [False, True])
def test_the_gradient_of_layer_norm_is_that_of_its_values(unbiased: bool) -> None:
    with jax.enable_x64(True):
        arrays = tuple(map(jnp.asarray, (draw(4, 6), draw(6, seed=1), draw(6, seed=2))))
        weights = draw(4, 6, seed=3)
        check_grads(
            lambda *a: jnp.sum(weights * norms.layer_norm(*a, unbiased=unbiased)), arrays, order=1, modes=["rev"]
        )


@pytest.mark.parametrize("unbiased", [False, True])
def test_layer_norm_of_many_rows_is_its_equation_with_its_gradient(unbiased: bool) -> None:
    n, eps = 96, 1e-3
    shape, divisor = (2, norms.BLOCKED_ROWS, n), n - unbiased
    x, dy, gain, bias = 50 + draw(*shape), draw(*shape, seed=1), draw(n, seed=2), draw(n, seed=3)
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).sum(-1, keepdims=True) / divisor + eps)
    normal, delta = centred / deviation, dy * gain
    along = (delta * normal).sum(-1, keepdims=True) / divisor
    slopes = (
        (delta - delta.mean(-1, keepdims=True) - normal * along) / deviation,
        (dy * normal).sum((0, 1)),
        dy.sum((0, 1)),
    )
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-5)):
        with jax.enable_x64(dtype == np.float64):
            arrays = (jnp.asarray(array, dtype) for array in (x, gain, bias))
            y, pull = jax.vjp(lambda *a: norms.layer_norm(*a, eps, unbiased), *arrays)
            for found, expected in zip(
                (y, *pull(jnp.asarray(dy, dtype))), (normal * gain + bias, *slopes), strict=True
            ):
                assert found.dtype == dtype
                np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("cases", [(3, 4), (2, norms.BLOCKED_ROWS), (norms.BLOCKED_ROWS + 1,)])
def test_layer_norm_is_that_of_flax(cases: tuple[int, ...]) -> None:
    x, weights = (jnp.asarray(draw(*cases, 8, seed=seed), jnp.float32) for seed in (0, 1))
    gain, bias = jnp.linspace(0.5, 2, 8), jnp.linspace(-1, 1, 8)
    flax = nn.LayerNorm(epsilon=1e-5, use_fast_variance=False)

    def ours(x: Any, gain: Any, bias: Any) -> Any:
        return jnp.sum(weights * LayerNorm().apply({"params": {"gain": gain, "bias": bias}}, x))

    def theirs(x: Any, gain: Any, bias: Any) -> Any:
        return jnp.sum(weights * flax.apply({"params": {"scale": gain, "bias": bias}}, x))

    found, expected = (jax.value_and_grad(f, argnums=(0, 1, 2))(x, gain, bias) for f in (ours, theirs))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_has_statistics_in_float32(dtype: Any) -> None:
    # The sum of squares is beyond the range of float16, and the mean beyond the digits of bfloat16.
    x = (1000 + 30 * draw(4, 4096)).astype(dtype)
    ones, zeros = jnp.ones(4096), jnp.zeros(4096)
    found = norms.layer_norm(jnp.asarray(x), ones, zeros)
    expected = by_hand(np.asarray(x, np.float64), np.ones(4096), np.zeros(4096))
    assert found.dtype == dtype
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, atol=4 * float(jnp.finfo(dtype).eps))
    weights = jnp.asarray(draw(4, 4096, seed=1), dtype)

    def loss(x: Any) -> Any:
        return jnp.sum((weights * norms.layer_norm(x, ones, zeros)).astype(jnp.float32))

    exact = jax.grad(loss)(jnp.asarray(x, jnp.float32))
    half = jax.grad(loss)(jnp.asarray(x))
    assert half.dtype == dtype
    np.testing.assert_allclose(
        np.asarray(half, np.float32), exact, atol=4 * float(jnp.finfo(dtype).eps) * float(jnp.abs(exact).max())
    )


def test_a_constant_vector_and_a_single_unit_become_the_bias() -> None:
    for x in (jnp.full((2, 5), 7.0), jnp.array([[3.0], [-2.0]])):
        gain, bias = jnp.full(x.shape[1], 2.0), jnp.arange(1.0, x.shape[1] + 1)
        value, slope = jax.value_and_grad(lambda x, g=gain, b=bias: norms.layer_norm(x, g, b).sum())(x)
        np.testing.assert_allclose(norms.layer_norm(x, gain, bias), np.tile(bias, (2, 1)))
        assert np.isfinite(value)
        np.testing.assert_allclose(slope, 0, atol=1e-3)


def test_two_units_become_plus_and_minus_the_gain() -> None:
    found = norms.layer_norm(jnp.array([[1.0, 5.0], [2.0, -90.0]]), jnp.full(2, 3.0), jnp.zeros(2))
    np.testing.assert_allclose(found, [[-3, 3], [3, -3]], rtol=1e-5)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(BadInput, match=r"needs gain and bias \(4,\), not \(3,\)"):
        norms.layer_norm(jnp.ones((2, 4)), jnp.ones(3), jnp.ones(4))
    with pytest.raises(BadInput, match="needs gain and bias"):
        norms.layer_norm(jnp.ones((2, 0)), jnp.ones(0), jnp.ones(0))
    with pytest.raises(BadInput, match="at least two units"):
        norms.layer_norm(jnp.ones((2, 1)), jnp.ones(1), jnp.ones(1), unbiased=True)
    with pytest.raises(BadInput, match="at least two cases"):
        norms.batch_moments(jnp.ones((1, 3)))


# Batch norm


def trained(model: BatchNorm, batches: np.ndarray) -> tuple[list, Any]:
    variables: Any = model.init(jax.random.key(0), jnp.asarray(batches[0]))
    outputs = []
    for batch in batches:
        y, changed = model.apply(variables, jnp.asarray(batch), train=True, mutable=["batch_stats"])
        variables = {**variables, **changed}
        outputs.append(y)
    return outputs, variables


@pytest.mark.parametrize("unbiased", [False, True])
def test_batch_norm_in_training_and_evaluation(unbiased: bool) -> None:
    batches = (2 + 3 * draw(4, 5, 3)).astype(np.float32)
    outputs, variables = trained(BatchNorm(momentum=0.6, unbiased=unbiased, initial_gain=0.5), batches)
    mean, variance = np.zeros(3), np.ones(3)
    for number, (batch, y) in enumerate(zip(batches, outputs, strict=True)):
        normal = (batch - batch.mean(0)) / np.sqrt(batch.var(0) + 1e-5)
        np.testing.assert_allclose(y, 0.5 * normal, rtol=1e-4, atol=1e-5)
        weight = max(0.4, 1 / (number + 1))
        mean += weight * (batch.mean(0) - mean)
        variance += weight * (batch.var(0, ddof=int(unbiased)) - variance)
    running = variables["batch_stats"]["running"]
    np.testing.assert_allclose(running.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(running.variance, variance, rtol=1e-5)
    x = draw(1, 3, seed=5).astype(np.float32)  # one case is enough for evaluation
    np.testing.assert_allclose(
        BatchNorm(initial_gain=0.5).apply(variables, jnp.asarray(x)),
        0.5 * (x - mean) / np.sqrt(variance + 1e-5),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_gradient_of_batch_norm_goes_through_its_statistics() -> None:
    with jax.enable_x64(True):
        weights, present = draw(5, 3, seed=1), jnp.array([True, True, False, True, True])
        affine = jnp.asarray(draw(3, seed=2)), jnp.asarray(draw(3, seed=3))

        def loss(x: Any, shown: Any) -> Any:
            return jnp.sum(weights * norms.batch_norm(x, norms.batch_moments(x, shown), *affine))

        for shown in (None, present):
            check_grads(lambda x, s=shown: loss(x, s), (jnp.asarray(draw(5, 3)),), order=1, modes=["rev"])


def test_cases_that_are_absent_do_not_count() -> None:
    x = draw(3, 6, 4).astype(np.float32)
    present = np.array([[1, 1, 0, 1, 0, 1], [0, 0, 1, 0, 0, 0], [0] * 6], bool)
    found = norms.batch_moments(jnp.asarray(x), jnp.asarray(present))
    np.testing.assert_allclose(found.mean[0], x[0][present[0]].mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.variance[0], x[0][present[0]].var(0), rtol=1e-5)
    np.testing.assert_allclose(found.mean[1], x[1, 2], rtol=1e-6)
    np.testing.assert_array_equal(found.variance[1:], 0)
    np.testing.assert_array_equal(found.count, [4, 1, 0])
    before = Moments(jnp.ones((3, 4)), jnp.ones((3, 4)), jnp.ones(3))
    after = norms.update_running_moments(before, found, 0.9, unbiased=True)
    np.testing.assert_array_equal(after.mean[2], 1)  # nothing was seen there
    np.testing.assert_array_equal(after.count, [2, 2, 1])


def test_recomputed_statistics_are_those_of_all_batches() -> None:
    batches = (1 + draw(6, 8, 3)).astype(np.float32)
    model = BatchNorm(unbiased=False)
    variables = model.init(jax.random.key(0), jnp.asarray(batches[0]))

    def update(batch_stats: Any, batch: Any) -> Any:
        found = model.apply({**variables, "batch_stats": batch_stats}, batch, train=True, mutable=["batch_stats"])
        return found[1]["batch_stats"]

    running = norms.recompute_batch_stats(update, variables["batch_stats"], jnp.asarray(batches))["running"]
    np.testing.assert_allclose(running.mean, batches.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(running.variance, batches.var(1).mean(0), rtol=1e-5)
    assert running.count == 6


def test_batch_norm_in_training_is_that_of_flax() -> None:
    x = jnp.asarray(draw(2, 7, 3), jnp.float32)
    ours, theirs = BatchNorm(), nn.BatchNorm(use_running_average=False)
    found, _ = ours.apply(ours.init(jax.random.key(0), x), x, train=True, mutable=["batch_stats"])
    expected, _ = theirs.apply(theirs.init(jax.random.key(0), x), x, mutable=["batch_stats"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# Weight norm


def test_weight_norm_has_columns_of_the_length_of_the_gain() -> None:
    direction, gain = draw(5, 3), np.array([1.0, -2.0, 0.5])
    found = np.asarray(norms.weight_norm(jnp.asarray(direction), jnp.asarray(gain)))
    for column in range(3):
        expected = gain[column] * direction[:, column] / np.sqrt(np.sum(direction[:, column] ** 2))
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-5)


def test_a_weight_normalised_layer_starts_as_a_plain_one_and_ignores_the_scale_of_its_direction() -> None:
    x = jnp.asarray(draw(4, 5), jnp.float32)
    layer = WeightNormDense(3)
    params = layer.init(jax.random.key(1), x)["params"]
    np.testing.assert_allclose(layer.apply({"params": params}, x), x @ params["direction"], rtol=1e-5, atol=1e-6)
    scaled = params | {"direction": params["direction"] * jnp.array([[2.0, 7.0, 0.1]])}
    np.testing.assert_allclose(layer.apply({"params": scaled}, x), layer.apply({"params": params}, x), rtol=1e-5)

    def loss(direction: Any) -> Any:
        return jnp.sum(jnp.square(jnp.asarray(layer.apply({"params": params | {"direction": direction}}, x))))

    slope = jax.grad(loss)(params["direction"])
    np.testing.assert_allclose(jnp.sum(slope * params["direction"], axis=0), 0, atol=1e-4)  # no slope along itself
    fixed = WeightNormDense(3, use_bias=False, initial_gain=2.0)
    params = fixed.init(jax.random.key(1), x)["params"]
    assert set(params) == {"direction", "gain"}
    np.testing.assert_array_equal(params["gain"], 2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 255.0])
def test_images_of_one_colour_become_the_bias_and_have_finite_gradients(dtype: Any, value: float) -> None:
    """Rows of constant pixels, as at the edge of scans: their mean is rounded, and their variance is that rounding."""
    x = jnp.full((4, 784), value, dtype).at[0].set(jnp.linspace(0, 1, 784, dtype=dtype))
    gain, bias = jnp.full(784, 2.0), jnp.full(784, 0.5)
    layer = partial(norms.layer_norm, gain=gain, bias=bias)

    def batch(x: jax.Array) -> jax.Array:
        return norms.batch_norm(x, norms.batch_moments(x), gain, bias)

    for normalise in (layer, batch):
        slope = jax.grad(lambda x, f=normalise: jnp.sin(f(x).astype(jnp.float32)).sum())(x)
        assert np.isfinite(np.asarray(normalise(x), np.float32)).all() and np.isfinite(slope.astype(jnp.float32)).all()
    np.testing.assert_allclose(np.asarray(layer(x), np.float32)[1:], 0.5, atol=2e-2)
