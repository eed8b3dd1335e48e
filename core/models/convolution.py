"""Convolutions of images in the form that is fastest on the backend, inside compiled loops of steps too.

On a CPU XLA hands a convolution to a fast library only in one form: images (n, h, w, c), kernels (height, width, c, f),
no reversal. The convolutions that automatic differentiation derives are in others, up to a hundred times slower inside
a loop. Here both derivatives are convolutions of that form again. Accelerators have fast ones for all forms.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

Padding = Literal["SAME", "VALID"]
Pads = tuple[tuple[int, int], ...]  # pixels before and after the image, in height and width; less than none: cut off
PIECE = 8  # images whose contributions to a kernel's gradient are computed together: more do not stay in the cache
glorot_init = nn.initializers.glorot_normal()


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding = "SAME") -> jax.Array:
    """Images (n, h, w, c) with a kernel (height, width, c, f) of the same dtype: images (n, h', w', f).

    On a CPU it can be differentiated once, in reverse mode; under `vmap` convolutions follow each other there.
    """
    pads = tuple(jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride, stride), padding))
    if jax.default_backend() != "cpu":
        return _plain(x, kernel, stride, pads)
    if kernel.shape[:2] == (1, 1):
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    return _convolve(x, kernel, stride, pads)


class Conv(nn.Module):
    """A convolution of images (n, h, w, c), its parameters as flax's `Conv` names, shapes and draws them."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = glorot_init

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Images (n, h', w', features)."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias)
        y = convolve(x, kernel, self.stride, self.padding)
        return y if bias is None else y + bias[None, None, None]


def forward_mode() -> AbstractContextManager[None]:
    """What flax modules compute within can be differentiated forwards, too: each `Conv` is XLA's own convolution."""
    return nn.intercept_methods(_with_xla_derivatives)


def _with_xla_derivatives(method: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
    conv = context.module
    if not isinstance(conv, Conv) or context.method_name != "__call__" or conv.is_initializing():
        return method(*args, **kwargs)
    bias = conv.get_variable("params", "bias") if conv.use_bias else None
    x, kernel, bias = promote_dtype(*args, conv.get_variable("params", "kernel"), bias)
    strides = (conv.stride, conv.stride)
    pads = tuple(jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, conv.padding))
    y = _plain(x, kernel, conv.stride, pads)
    return y if bias is None else y + bias[None, None, None]


def _plain(
    x: jax.Array, kernel: jax.Array, stride: int, pads: Pads, image_dilation: int = 1, kernel_dilation: int = 1
) -> jax.Array:
    """XLA's convolution in the form that is fast everywhere; a dilation puts zeros between pixels."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, (image_dilation,) * 2, (kernel_dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def _alone(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads, *dilations: int) -> jax.Array:
    """The same, which `vmap` turns into a loop, as one convolution of all would be in a slow form."""
    call = jax.custom_batching.sequential_vmap(lambda x, kernel: _plain(x, kernel, stride, pads, *dilations))
    return call(x, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> jax.Array:
    if x.shape[-1] == 3:  # of four channels it is three times as fast
        x, kernel = (
            jnp.pad(a, [(0, 0)] * axis + [(0, 1)] + [(0, 0)] * (3 - axis)) for a, axis in ((x, 3), (kernel, 2))
        )
    return _alone(x, kernel, stride, pads)


def _forward(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, stride, pads), (x, kernel)


def _backward(stride: int, pads: Pads, kept: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    return image_gradient(g, kernel, x.shape[1:3], stride, pads), kernel_gradient(x, g, kernel.shape[:2], stride, pads)


_convolve.defvjp(_forward, _backward)


def image_gradient(g: jax.Array, kernel: jax.Array, size: Any, stride: int, pads: Pads) -> jax.Array:
    """The derivative in images of height and width `size`, of which g (n, h', w', f) is that in their convolution."""
    # y[p] = Σ_t k[t] x[s p + t - before]  =>  dx[q] = Σ_t k[-t] g_dilated[q + t + before], as x[q] meets k[t] in
    # s p = q - t + before: the kernel turned by 180 degrees, its channels exchanged
    around = []
    for n, m, k, (before, _) in zip(size, g.shape[1:3], kernel.shape[:2], pads, strict=True):
        dilated = (m - 1) * stride + 1
        around.append((k - 1 - before, n - dilated + before))
    return _alone(g, kernel[::-1, ::-1].swapaxes(2, 3), 1, tuple(around), stride, 1)


def kernel_gradient(x: jax.Array, g: jax.Array, size: Any, stride: int, pads: Pads) -> jax.Array:
    """The derivative in a kernel of height and width `size`: (height, width, c, f)."""
    # dk[t] = Σ_p x[s p + t - before] g[p], a convolution of x by g dilated, channels as batch, batch as channels
    around = []
    for n, m, k, (before, _) in zip(x.shape[1:3], g.shape[1:3], size, pads, strict=True):
        around.append((before, k - 1 + (m - 1) * stride + 1 - n - before))
    x, around = _cut(x, tuple(around))

    def contribution(x: jax.Array, g: jax.Array) -> jax.Array:
        found = _alone(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), 1, around, 1, stride)
        return found.astype(jnp.promote_types(found.dtype, jnp.float32))

    first = (len(x) - 1) % PIECE + 1
    rest = [a[first:].reshape(-1, PIECE, *a.shape[1:]) for a in (x, g)]
    total, _ = jax.lax.scan(
        lambda total, part: (total + contribution(*part), None), contribution(x[:first], g[:first]), rest
    )
    return total.transpose(1, 2, 0, 3).astype(x.dtype)


def _cut(x: jax.Array, pads: Pads) -> tuple[jax.Array, Pads]:
    """Images without what negative pads cut off, and the pads that are left."""
    height, width = (slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(x.shape[1:3], pads, strict=True))
    return x[:, height, width], tuple((max(0, a), max(0, b)) for a, b in pads)
