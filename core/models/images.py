"""Image classifiers: perceptrons and plain convolutional networks, VGG and the CIFAR variant of ResNet.

Inputs are float arrays (batch, height, width, channels), outputs logits (batch, classes). Weights are drawn from the
Gaussian Glorot distribution (variance 2 / (fan in + fan out), truncated at two standard deviations), biases are zero.
The last layer is called `output` in all of them.
"""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.models.convolution import Conv, glorot_init


def images_to_floats(images: jax.Array) -> jax.Array:
    """Bytes (batch, height, width[, channels]) as floats in [0, 1] (batch, height, width, channels)."""
    x = images.astype(jnp.float32) / 255
    return x if x.ndim == 4 else x[..., None]


def crop_and_resize(images: jax.Array, crop: int, size: int) -> jax.Array:
    """The middle of bytes (n, h, w[, c]), at most `crop` pixels a side, at `size` x `size`: bilinear, rounded."""
    for axis in (1, 2):
        kept = min(crop, images.shape[axis])
        first = (images.shape[axis] - kept) // 2
        images = jax.lax.slice_in_dim(images, first, first + kept, axis=axis)
    if images.shape[1:3] == (size, size):
        return images
    shape = (len(images), size, size, *images.shape[3:])
    return jnp.round(jax.image.resize(images.astype(jnp.float32), shape, "bilinear")).astype(jnp.uint8)


def blend_with_patches(key: jax.Array, images: jax.Array, photographs: jax.Array, binary: bool) -> jax.Array:
    """|P - I| of a random patch P of a random photograph, uint8 (n, h, w, 3): MNIST-M (Ganin et al. 2016, 5.2.4).

    Args:
      key: of the patches.
      images: uint8 (n, h, w).
      photographs: uint8 (m, height, width, 3).
      binary: take every pixel above 0 for 255, so that the patch is inverted there.
    """
    count, high, wide, _ = photographs.shape
    n, h, w = images.shape
    corners = jax.random.randint(key, (n, 3), 0, jnp.array([[count, high - h + 1, wide - w + 1]]))
    ink = jnp.where(images > 0, 255, 0) if binary else images

    def one(image: jax.Array, corner: jax.Array) -> jax.Array:
        patch = jax.lax.dynamic_slice(photographs, (*corner, 0), (1, h, w, 3))[0]
        # Wider than bytes, in which a difference below 0 would wrap around.
        return jnp.abs(patch.astype(jnp.int16) - image[..., None].astype(jnp.int16))

    return jax.vmap(one)(ink, corners).astype(jnp.uint8)


def random_flip_and_shift(key: jax.Array, x: jax.Array) -> jax.Array:
    """Images (n, h, w, c), each flipped with probability one half and shifted by up to four pixels, zeros moving in."""
    flip_key, shift_key = jax.random.split(key)
    flip = jax.random.bernoulli(flip_key, shape=(len(x), 1, 1, 1))
    x = jnp.where(flip, x[:, :, ::-1], x)
    padded = jnp.pad(x, ((0, 0), (4, 4), (4, 4), (0, 0)))
    corners = jax.random.randint(shift_key, (len(x), 2), 0, 9)

    def cropped(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), x.shape[1:])

    return jax.vmap(cropped)(padded, corners)


def dense_layer(
    x: jax.Array, width: int, name: str, kernel_init: nn.initializers.Initializer = glorot_init
) -> jax.Array:
    """A dense layer on (batch, inputs); its kernel is stored (outputs, inputs), whose gradient is faster on a CPU."""
    return nn.Einsum((width, x.shape[-1]), "bi,oi->bo", kernel_init=kernel_init, name=name)(x)


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """2 x 2 maximum pooling of (batch, height, width, channels), by reshaping: its gradient is cheaper on a CPU."""
    n, h, w, c = x.shape
    return x[:, : h - h % 2, : w - w % 2].reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))


class ConvNet(nn.Module):
    """Pairs of 3 x 3 convolutions, each pair followed by pooling, then dense layers; all with ReLU.

    `channels=()` and `hidden=(300, 100)` is LeNet-300-100; `channels=(64, 64)` and `hidden=(256, 256)` is Conv-2.
    """

    channels: Sequence[int]
    hidden: Sequence[int]
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits of a batch of images."""
        for number, width in enumerate(self.channels):
            x = nn.relu(Conv(width, name=f"conv_{number}")(x))
            if number % 2:
                x = max_pool_2x2(x)
        x = x.reshape(len(x), -1)
        for number, width in enumerate(self.hidden):
            x = nn.relu(dense_layer(x, width, f"dense_{number}"))
        return dense_layer(x, self.classes, "output")


class Vgg19(nn.Module):
    """VGG-19 for small images: 16 normalised convolutions in five blocks, average pooling, one dense layer."""

    classes: int
    blocks: Sequence[tuple[int, int]] = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits of a batch of images."""
        for block, (count, width) in enumerate(self.blocks):
            if block:
                x = max_pool_2x2(x)
            for number in range(count):
                x = Conv(width, use_bias=False, name=f"conv_{block}_{number}")(x)
                x = nn.relu(nn.BatchNorm(use_running_average=not train, name=f"norm_{block}_{number}")(x))
        return dense_layer(x.mean(axis=(1, 2)), self.classes, "output")


class CifarResNet20(nn.Module):
    """The 20-layer residual network for CIFAR that the lottery-ticket literature calls ResNet-18."""

    classes: int
    widths: Sequence[int] = (16, 32, 64)
    blocks: int = 3

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits of a batch of images."""
        norm = partial(nn.BatchNorm, use_running_average=not train)
        x = nn.relu(norm(name="norm_in")(Conv(self.widths[0], use_bias=False, name="conv_in")(x)))
        for stage, width in enumerate(self.widths):
            for number in range(self.blocks):
                name, stride = f"{stage}_{number}", 2 if stage and not number else 1
                y = Conv(width, stride=stride, use_bias=False, name=f"conv_{name}_a")(x)
                y = nn.relu(norm(name=f"norm_{name}_a")(y))
                y = Conv(width, use_bias=False, name=f"conv_{name}_b")(y)
                y = norm(name=f"norm_{name}_b")(y)
                if stride == 2:
                    x = Conv(width, 1, stride, use_bias=False, name=f"skip_{name}")(x)
                    x = norm(name=f"norm_{name}_skip")(x)
                x = nn.relu(x + y)
        return dense_layer(x.mean(axis=(1, 2)), self.classes, "output")
