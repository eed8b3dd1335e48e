"""The convolution that is a matrix product, against the one of XLA, in values and gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.lab.loops import has_convolution
from core.models.convolution import ValidConv, extract_patches


@pytest.mark.parametrize(("shape", "size"), [((2, 9, 7, 3), 5), ((3, 5, 5, 1), 3), ((1, 5, 6, 2), 5)])
def test_it_is_a_convolution_without_padding(shape: tuple[int, ...], size: int) -> None:
    x = jax.random.normal(jax.random.key(0), shape)
    model = ValidConv(4, size)
    params = model.init(jax.random.key(1), x)["params"] | {"bias": jnp.arange(4.0)}

    def of_xla(kernel: jax.Array, x: jax.Array) -> jax.Array:
        numbers = ("NHWC", "HWIO", "NHWC")
        found = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=numbers)
        return found + params["bias"][None, None, None]

    def ours(kernel: jax.Array, x: jax.Array) -> Any:
        return model.apply({"params": params | {"kernel": kernel}}, x)

    weights = jax.random.normal(jax.random.key(2), ours(params["kernel"], x).shape)
    both = [
        jax.value_and_grad(lambda k, x, f=function: jnp.sum(weights * f(k, x)), argnums=(0, 1))(params["kernel"], x)
        for function in (ours, of_xla)
    ]
    for found, expected in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert not has_convolution(ours, params["kernel"], x), "it would be slow in a loop on a CPU"


def test_patches_hold_what_the_kernel_meets() -> None:
    x = jnp.arange(2 * 4 * 4 * 2.0).reshape(2, 4, 4, 2)
    found = extract_patches(x, 3)
    assert found.shape == (2, 2, 2, 18)
    np.testing.assert_array_equal(found[1, 0, 1], x[1, 0:3, 1:4].ravel())
