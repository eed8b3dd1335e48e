"""Masks: which weights are kept, by brute force; random masks alike; densities by hand; layers at any depth."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from core.sparsity.masks import (
    apply_mask,
    full_mask,
    keep_largest,
    kernels,
    magnitude_mask,
    pruning_densities,
    random_like,
    random_mask,
)

WEIGHTS = {"a": jnp.array([[3.0, -1.0], [0.5, -4.0]]), "b": jnp.array([2.0, -2.0, 0.0])}


def largest_by_sorting(scores: np.ndarray, keep: int) -> np.ndarray:
    """The `keep` largest scores; of equal ones the later ones."""
    flat = scores.ravel()
    order = sorted(range(len(flat)), key=lambda i: (flat[i], i))
    kept = np.zeros(len(flat), bool)
    kept[order[len(flat) - keep :]] = True
    return kept.reshape(scores.shape)


class Variants(chex.TestCase):
    """Every function of masks gives the same with and without jit."""

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(({"a": 2, "b": 1},), ({"a": 0, "b": 3},), ({"a": 4, "b": 2},))
    def test_the_largest_of_every_layer_are_kept(self, keep):
        found = self.variant(magnitude_mask)(WEIGHTS, keep)
        for layer, weights in WEIGHTS.items():
            np.testing.assert_array_equal(found[layer], largest_by_sorting(np.abs(weights), keep[layer]))

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(0, 1, 3, 6, 7)
    def test_the_largest_of_all_layers_are_kept(self, keep):
        found = self.variant(magnitude_mask)(WEIGHTS, {"all": keep})
        together = np.concatenate([np.abs(weights).ravel() for weights in WEIGHTS.values()])
        expected = largest_by_sorting(together, keep)
        np.testing.assert_array_equal(np.concatenate([mask.ravel() for mask in found.values()]), expected)

    @chex.variants(with_jit=True, without_jit=True)
    def test_what_is_pruned_stays_pruned(self):
        mask = {"a": jnp.array([[False, True], [True, True]]), "b": jnp.array([True, True, True])}
        found = self.variant(keep_largest)(WEIGHTS, {"a": 2, "b": 2}, mask)
        # scores, not sizes: 3 is masked, so that 0.5 and -1 are the largest that are left
        np.testing.assert_array_equal(found["a"], [[False, True], [True, False]])

    @chex.variants(with_jit=True, without_jit=True)
    def test_a_random_mask_keeps_as_many_in_every_layer(self):
        mask = {"a": jnp.arange(300).reshape(30, 10) < 40, "b": jnp.arange(50) < 7}
        found = self.variant(random_like)(jax.random.key(0), mask)
        other = self.variant(random_like)(jax.random.key(1), mask)
        for layer, kept in mask.items():
            assert found[layer].shape == kept.shape and found[layer].sum() == kept.sum()
            assert (found[layer] != kept).any() and (found[layer] != other[layer]).any()


def test_a_random_mask_counts_all_layers_together():
    weights = {"a": jnp.ones((12, 10)), "b": jnp.ones(30)}
    draw = jax.jit(jax.vmap(lambda key: random_mask(key, weights, {"all": 30})))
    drawn = draw(jax.random.split(jax.random.key(0), 400))
    together = np.concatenate([np.asarray(each).reshape(400, -1) for each in drawn.values()], 1)
    assert (together.sum(1) == 30).all()
    assert np.abs(together.mean(0) - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 400)  # 5 standard errors


def test_ties_are_broken_by_position_so_that_the_number_is_exact():
    found = magnitude_mask({"a": jnp.ones((4, 4))}, {"a": 5})["a"]
    assert found.sum() == 5 and found.ravel()[-5:].all()


def test_a_kept_weight_of_0_outranks_what_was_pruned():
    weights, mask = {"a": jnp.zeros(4)}, {"a": jnp.array([False, True, False, True])}
    assert magnitude_mask(weights, {"a": 2}, mask)["a"].tolist() == [False, True, False, True]
    assert magnitude_mask(weights, {"a": 1}, mask)["a"].tolist() == [False, False, False, True]


def test_every_place_of_a_random_mask_is_as_likely_as_any_other():
    mask = {"a": jnp.arange(120).reshape(12, 10) < 24}
    drawn = jax.vmap(lambda key: random_like(key, mask)["a"])(jax.random.split(jax.random.key(0), 400))
    shares = np.asarray(drawn, float).mean(0)
    assert np.abs(shares - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 400)  # 5 standard errors


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.LayerNorm()(nn.Dense(3, name="inner")(x))


class Nested(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, name="outer")(Block(name="block")(x))


def test_layers_are_found_and_masked_at_any_depth():
    params = Nested().init(jax.random.key(0), jnp.ones((1, 4)))["params"]
    assert {layer: kernel.shape for layer, kernel in kernels(params).items()} == {
        "block/inner": (4, 3),
        "outer": (3, 2),
    }
    assert set(kernels(params, ["outer"])) == {"outer"}
    mask = {"block/inner": jnp.zeros((4, 3), bool)}
    found = apply_mask(params, mask)
    assert not found["block"]["inner"]["kernel"].any()
    for path in (("block", "inner", "bias"), ("block", "LayerNorm_0", "scale"), ("outer", "kernel")):
        before, after = params, found
        for step in path:
            before, after = before[step], after[step]
        np.testing.assert_array_equal(before, after)
    jax.tree.map(np.testing.assert_array_equal, apply_mask(params, full_mask(kernels(params))), params)
    jax.tree.map(np.testing.assert_array_equal, apply_mask(params, {}), params)


def test_a_mask_of_another_shape_is_an_error():
    params = Nested().init(jax.random.key(0), jnp.ones((1, 4)))["params"]
    with pytest.raises(AssertionError):
        apply_mask(params, {"outer": jnp.ones((2, 3), bool)})


def test_densities_are_those_of_rounds_done_by_hand():
    found = pruning_densities({"a": 100, "b": 10}, {"a": 0.2, "b": 0.1}, 3)
    # 100 -> 80 -> 64 -> 51 (64 - round(12.8)), 10 -> 9 -> 8 -> 7
    assert [{layer: int(n) for layer, n in each.keep.items()} for each in found] == [
        {"a": 100, "b": 10}, {"a": 80, "b": 9}, {"a": 64, "b": 8}, {"a": 51, "b": 7}
    ]  # fmt: skip
    assert [round(each.percent, 3) for each in found] == [100.0, 80.909, 65.455, 52.727]
