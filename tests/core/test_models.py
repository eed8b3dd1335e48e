"""Models: parameter counts as papers print them, pooling against flax, distribution of initial weights."""

from itertools import product

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.models.images import (
    CifarResNet20,
    ConvNet,
    Vgg19,
    blend_with_patches,
    crop_and_resize,
    max_pool_2x2,
    random_flip_and_shift,
)


def shapes(model: nn.Module, *image: int) -> dict:
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *image))))


def count(tree) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def convolutions(params) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params) if leaf.ndim == 4)


def test_lenet_has_266610_parameters():
    params = shapes(ConvNet((), (300, 100), 10), 28, 28, 1)["params"]
    assert count(params) == 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10 == 266_610


@pytest.mark.parametrize(
    ("channels", "total", "millions", "convolutional"),
    [((64, 64), 4_301_642, 4.3, 38e3), ((64, 64, 128, 128), 2_425_930, 2.4, 260e3)],
)
def test_conv_networks_are_as_large_as_printed(channels, total, millions, convolutional):
    """Frankle and Carbin 2019, figure 2; by hand for Conv-2: 1,792 + 36,928 + 4,194,560 + 65,792 + 2,570."""
    params = shapes(ConvNet(channels, (256, 256), 10), 32, 32, 3)["params"]
    assert count(params) == total and round(total / 1e6, 1) == millions
    assert convolutions(params) == pytest.approx(convolutional, rel=0.04)


def test_deep_networks_are_as_large_as_printed():
    """Frankle and Carbin 2019, figure 2: VGG-19 20.0M; ResNet-18 274K, running statistics included, 270K in kernels."""
    vgg, resnet = (shapes(model, 32, 32, 3) for model in (Vgg19(10), CifarResNet20(10)))
    assert count(vgg["params"]) == 20_035_018 and round(count(vgg) / 1e6, 1) == 20.0
    assert count(resnet["params"]) == 272_474 and round(count(resnet) / 1e3) == 274
    assert round(convolutions(resnet["params"]) / 1e4) == 27
    assert sum("conv" in name for name in vgg["params"]) == 16
    assert sum("conv" in name for name in resnet["params"]) == 19


@pytest.mark.parametrize("model", [ConvNet((4, 4), (8,), 7), Vgg19(7, ((1, 4), (1, 4))), CifarResNet20(7, (4, 8), 1)])
def test_models_return_logits_and_end_in_a_layer_called_output(model):
    x = jax.random.normal(jax.random.key(0), (3, 8, 8, 2))
    variables = model.init(jax.random.key(1), x)
    assert model.apply(variables, x).shape == (3, 7)
    assert variables["params"]["output"]["kernel"].shape[0] == 7


@pytest.mark.parametrize("model", [Vgg19(3, ((1, 4), (1, 4))), CifarResNet20(3, (4, 8), 1)])
def test_training_updates_statistics_and_evaluation_does_not_depend_on_the_batch(model):
    x = jax.random.normal(jax.random.key(0), (6, 8, 8, 1))
    variables = model.init(jax.random.key(1), x)
    _, updated = model.apply(variables, x, train=True, mutable=["batch_stats"])
    before, after = jax.tree.leaves(variables["batch_stats"]), jax.tree.leaves(updated["batch_stats"])
    assert all(not np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    np.testing.assert_allclose(model.apply(variables, x)[:2], model.apply(variables, x[:2]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 3), (9, 4)])
def test_pooling_equals_that_of_flax_in_values_and_gradients(size):
    x = jax.random.normal(jax.random.key(0), (2, *size, 3))
    weights = jax.random.normal(jax.random.key(1), (2, size[0] // 2, size[1] // 2, 3))

    def weighted(pool):
        return jax.value_and_grad(lambda x: jnp.sum(weights * pool(x)))(x)

    value, gradient = weighted(max_pool_2x2)
    expected, expected_gradient = weighted(lambda x: nn.max_pool(x, (2, 2), (2, 2)))
    np.testing.assert_array_equal(max_pool_2x2(x), nn.max_pool(x, (2, 2), (2, 2)))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-6)


def test_initial_weights_have_the_glorot_variance_and_biases_are_zero():
    params = ConvNet((), (300, 100), 10).init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    kernel = params["dense_0"]["kernel"]
    assert float(kernel.std()) == pytest.approx(np.sqrt(2 / (784 + 300)), rel=0.01)
    assert abs(float(kernel.mean())) < 3e-4
    assert all(not np.any(layer["bias"]) for layer in params.values())


def test_images_are_cropped_in_the_middle_and_resized() -> None:
    x = jnp.arange(2 * 6 * 6, dtype=jnp.uint8).reshape(2, 6, 6)
    np.testing.assert_array_equal(crop_and_resize(x, 4, 4), x[:, 1:5, 1:5])
    np.testing.assert_array_equal(crop_and_resize(x, 9, 6), x)
    ramp = jnp.broadcast_to(jnp.array([0, 100, 200, 100], jnp.uint8)[None, None, :, None], (1, 4, 4, 3))
    larger = np.asarray(crop_and_resize(ramp, 4, 8))
    assert larger.shape == (1, 8, 8, 3) and larger.dtype == np.uint8
    assert larger[0, 3, :, 1].tolist() == [0, 25, 75, 125, 175, 175, 125, 100]


def test_augmented_images_are_flips_and_shifts():
    image = np.arange(1, 8 * 8 * 3 + 1, dtype=np.float32).reshape(8, 8, 3)
    possible = {}
    for flip, top, left in product((False, True), range(9), range(9)):
        padded = np.pad(image[:, ::-1] if flip else image, ((4, 4), (4, 4), (0, 0)))
        possible[padded[top : top + 8, left : left + 8].tobytes()] = (flip, top, left)
    assert len(possible) == 162
    batch = np.asarray(jax.jit(random_flip_and_shift)(jax.random.key(0), jnp.stack([image] * 400)))
    drawn = [possible[one.tobytes()] for one in batch]
    assert {top for _, top, _ in drawn} == {left for _, _, left in drawn} == set(range(9))
    assert 150 < sum(flip for flip, _, _ in drawn) < 250


def test_blending_by_hand_does_not_wrap_around() -> None:
    photograph = np.zeros((1, 2, 2, 3), np.uint8)
    photograph[0, 0, 0], photograph[0, 0, 1], photograph[0, 1, 0] = (10, 200, 255), (1, 2, 3), (7, 7, 7)
    given = (jax.random.key(0), jnp.array([[[1, 0], [255, 0]]], jnp.uint8), jnp.asarray(photograph))
    black, grey = (np.asarray(blend_with_patches(*given, binary=binary)) for binary in (True, False))
    assert black.dtype == grey.dtype == np.uint8
    assert black[0].tolist() == [[[245, 55, 0], [1, 2, 3]], [[248, 248, 248], [0, 0, 0]]]
    assert grey[0].tolist() == [[[9, 199, 254], [1, 2, 3]], [[248, 248, 248], [0, 0, 0]]]


def test_patches_come_from_everywhere_in_every_photograph() -> None:
    places = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    photographs = jnp.asarray(np.stack([places] * 3, -1))
    found = np.asarray(blend_with_patches(jax.random.key(1), jnp.zeros((600, 2, 2), jnp.uint8), photographs, True))
    possible = {tuple(places[n, i : i + 2, j : j + 2].ravel()) for n in range(3) for i in range(3) for j in range(4)}
    assert {tuple(patch) for patch in found[..., 0].reshape(600, 4).tolist()} == possible
    assert (found[..., 0] == found[..., 2]).all()
