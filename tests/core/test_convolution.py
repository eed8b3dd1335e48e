"""Convolutions in the form of the backend, against XLA's own and flax's: values, gradients, loops, replicates."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.lab.replicas import Lifter, ReplicateAxis
from core.models.convolution import PIECE, Conv, Padding, convolve, forward_mode

NUMBERS = ("NHWC", "HWIO", "NHWC")
# kernel size, stride, padding, height and width, channels, batch
CASES = [
    (1, 1, "SAME", (4, 5), 3, 3),
    (1, 2, "SAME", (7, 8), 4, PIECE + 1),
    (1, 2, "VALID", (8, 7), 1, 2),
    (3, 1, "SAME", (6, 7), 3, 2 * PIECE),
    (3, 1, "SAME", (5, 4), 16, 2 * PIECE + 3),
    (3, 1, "VALID", (7, 6), 4, PIECE),
    (3, 2, "SAME", (8, 9), 4, PIECE + 5),
    (3, 2, "VALID", (8, 9), 1, 3),
    (5, 1, "SAME", (4, 6), 1, PIECE + 1),
    (5, 1, "VALID", (9, 8), 3, 1),
    (5, 1, "VALID", (5, 7), 16, 20),
    (5, 2, "SAME", (7, 10), 3, PIECE - 1),
    (5, 2, "VALID", (10, 8), 4, 2 * PIECE + 1),
]


def of_xla(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding = "SAME") -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=NUMBERS)


def normal(number: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(number), shape)


def with_gradients(function: Callable, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, ...]:
    """The convolution, and the derivatives in images and kernel of its product with fixed weights."""
    y, pull = jax.vjp(function, x, kernel)
    return (y, *pull(jnp.sin(jnp.arange(y.size)).reshape(y.shape).astype(y.dtype)))


def assert_equal(found: tuple, expected: tuple, rtol: float = 3e-6) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        largest = float(jnp.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=rtol * largest)


@pytest.mark.parametrize(("size", "stride", "padding", "pixels", "channels", "batch"), CASES)
def test_values_and_gradients_are_those_of_xla(size, stride, padding, pixels, channels, batch):
    x, kernel = normal(0, batch, *pixels, channels), normal(1, size, size, channels, 6)
    ours, plain = (
        jax.jit(partial(with_gradients, partial(f, stride=stride, padding=padding)))(x, kernel)
        for f in (convolve, of_xla)
    )
    assert_equal(ours, plain)


def test_half_precision_stays_and_a_gradient_is_summed_in_full():
    x, kernel = normal(0, 80, 6, 6, 1).astype(jnp.bfloat16), normal(1, 3, 3, 1, 2).astype(jnp.bfloat16)
    found = jax.jit(partial(with_gradients, convolve))(x, kernel)
    assert {leaf.dtype for leaf in found} == {jnp.dtype(jnp.bfloat16)}
    exact = jax.jit(partial(with_gradients, of_xla))(x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert_equal(tuple(leaf.astype(jnp.float32) for leaf in found), exact, rtol=1e-2)


def descend(function: Callable, kernel: jax.Array, x: jax.Array) -> jax.Array:
    """A few steps of gradient descent in a compiled loop."""

    def step(kernel: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        return kernel - 0.01 * jax.grad(lambda k: jnp.mean(function(x, k) ** 2))(kernel), None

    return jax.lax.scan(step, kernel, jnp.arange(3))[0]


@pytest.mark.parametrize("how", ["loop", "vmap", "pmap"])
def test_replicates_may_be_trained_in_a_loop_in_every_layout(how):
    kernels, x = normal(0, 3, 3, 3, 2, 4), normal(1, PIECE + 2, 6, 6, 2)
    lifter = Lifter(ReplicateAxis.choose(3, how))
    lifted = lifter.lift("descend", partial(descend, convolve), 1, 1)
    found = lifter.join([lifted(group, x) for group in lifter.split(kernels)])
    expected = jax.jit(jax.vmap(partial(descend, of_xla), in_axes=(0, None)))(kernels, x)
    assert_equal((found,), (expected,))


def test_gradients_of_every_example_by_itself():
    x, kernel = normal(0, 5, 1, 6, 6, 2), normal(1, 3, 3, 2, 4)
    ours, plain = (
        jax.jit(jax.vmap(partial(with_gradients, f), in_axes=(0, None)))(x, kernel) for f in (convolve, of_xla)
    )
    assert_equal(ours, plain)


def slow_convolutions(function: Callable) -> list[str]:
    """The convolutions in a compiled loop of steps that are not in the form that is handed to a fast library."""

    def both_layers(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return function(jnp.tanh(function(x, kernel)), kernel)

    lowered = jax.jit(partial(descend, both_layers)).lower(normal(0, 3, 3, 4, 4), normal(1, 2 * PIECE, 8, 8, 4))
    lines = [line for line in (lowered.compile().as_text() or "").splitlines() if " convolution(" in line]
    assert len(lines) >= 5, "two forward, one in the images, two in the kernels"
    return [line for line in lines if "dim_labels=b01f_01io->b01f" not in line or "reversal" in line]


def test_all_convolutions_in_a_loop_have_the_fast_form():
    """Those that XLA derives have not, as long as this test can fail."""
    assert not slow_convolutions(convolve)
    assert slow_convolutions(of_xla)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "use_bias"), [(3, 1, "SAME", True), (5, 1, "VALID", True), (1, 2, "SAME", False)]
)
def test_the_module_is_that_of_flax(size, stride, padding, use_bias):
    x, init = normal(0, 3, 8, 7, 3), nn.initializers.glorot_normal()
    ours = Conv(4, size, stride, padding, use_bias)
    flax = nn.Conv(4, (size, size), stride, padding, use_bias=use_bias, kernel_init=init)
    variables = ours.init(jax.random.key(1), x)
    expected = flax.init(jax.random.key(1), x)
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    assert_equal((variables["params"]["kernel"],), (expected["params"]["kernel"],), rtol=0)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, variables)  # biases begin with 0
    assert_equal((ours.apply(variables, x),), (flax.apply(variables, x),))


def test_an_accelerator_gets_the_plain_convolution(monkeypatch):
    x, kernel = normal(0, 2, 6, 6, 3), normal(1, 3, 3, 3, 4)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    written = str(jax.make_jaxpr(partial(with_gradients, convolve))(x, kernel))
    assert "custom_vjp" not in written and written.count("conv_general_dilated[") == 3


@pytest.mark.parametrize("use_bias", [False, True])
def test_forward_derivatives_where_they_are_asked_for(use_bias):
    conv, x = Conv(4, 3, 2, use_bias=use_bias), normal(0, 3, 6, 5, 3)
    params = conv.init(jax.random.key(1), x)
    change = jax.tree.map(lambda leaf: normal(2, *leaf.shape), params)
    with forward_mode():
        value, slope = jax.jvp(lambda p: conv.apply(p, x), (params,), (change,))
    # the layer is linear in its parameters, so that its derivative is what the change gives
    np.testing.assert_allclose(value, conv.apply(params, x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(slope, conv.apply(change, x), rtol=1e-5, atol=1e-5)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda p: conv.apply(p, x), (params,), (change,))
