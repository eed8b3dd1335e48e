"""Convolutions without padding, in the form that is fastest on the backend."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.models.images import glorot_init


def extract_patches(x: jax.Array, kernel_size: int) -> jax.Array:
    """All size x size patches of images (n, h, w, c): (n, h - size + 1, w - size + 1, size² c), row by row."""
    h, w = x.shape[1] - kernel_size + 1, x.shape[2] - kernel_size + 1
    return jnp.concatenate(
        [x[:, i : i + h, j : j + w] for i in range(kernel_size) for j in range(kernel_size)], axis=-1
    )


class ValidConv(nn.Module):
    """A convolution of images (n, h, w, c) without padding, with bias.

    On a CPU it is a matrix product with all patches, which may stand inside a compiled loop of steps; a convolution of
    XLA is twelve times slower there.
    """

    features: int
    kernel_size: int = 5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Images (n, h - size + 1, w - size + 1, width)."""
        kernel = self.param("kernel", glorot_init, (self.kernel_size, self.kernel_size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        bias = bias[None, None, None]
        if jax.default_backend() == "cpu":
            return extract_patches(x, self.kernel_size) @ kernel.reshape(-1, self.features) + bias
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=numbers) + bias
