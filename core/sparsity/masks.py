"""Masks on kernels: the largest by a score, random ones alike, and how many weights are left after rounds of pruning.

A mask maps the names of some layers to boolean arrays of their kernels' shapes, True where a weight is kept. Layers
that a mask does not name, and biases, are never touched.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

Tree = Any
Mask = dict[str, jax.Array]
Scope = Literal["layer", "global"]
ALL = "all"  # the name under which all layers are counted together


def kernels(params: Tree, layers: Collection[str] | None = None) -> dict[str, jax.Array]:
    """The kernels of a network by layer, as "block/dense"; all of them, or those of some layers."""
    found = {path[:-1]: leaf for path, leaf in flatten_dict(params).items() if path[-1] == "kernel"}
    named = {"/".join(path): kernel for path, kernel in found.items()}
    return {layer: kernel for layer, kernel in named.items() if layers is None or layer in layers}


def full_mask(weights: Mapping[str, jax.Array]) -> Mask:
    """The mask that keeps every weight of some kernels."""
    return {layer: jnp.ones(kernel.shape, bool) for layer, kernel in weights.items()}


def apply_mask(params: Tree, mask: Mapping[str, jax.Array]) -> Tree:
    """m ∘ θ: kernels set to 0 where the mask is False, everything else as it is."""
    if not mask:
        return params
    leaves = flatten_dict(params)
    for layer, kept in mask.items():
        path = (*layer.split("/"), "kernel")
        chex.assert_equal_shape([leaves[path], kept])
        leaves[path] = jnp.where(kept, leaves[path], 0)
    return unflatten_dict(leaves)


def keep_largest(
    scores: Mapping[str, jax.Array], keep: Mapping[str, jax.Array | int], mask: Mapping[str, jax.Array] | None = None
) -> Mask:
    """The mask of the weights with the largest scores.

    Args:
      scores: of every weight, by layer.
      keep: how many weights are kept, by layer, or of all layers together under the name "all".
      mask: the weights that may be kept; by default every one.

    Ties are broken by position, so that the numbers are exact.
    """
    lowest = jnp.finfo(jnp.float32).min
    allowed = {
        layer: score if mask is None else jnp.where(mask[layer], score, lowest) for layer, score in scores.items()
    }
    if ALL not in keep:
        return {layer: _largest(score, keep[layer]) for layer, score in allowed.items()}
    together = _largest(jnp.concatenate([score.ravel() for score in allowed.values()]), keep[ALL])
    ends = np.cumsum([score.size for score in allowed.values()])
    parts = jnp.split(together, ends[:-1])
    return {layer: part.reshape(allowed[layer].shape) for layer, part in zip(allowed, parts, strict=True)}


def magnitude_mask(
    weights: Mapping[str, jax.Array],
    keep: Mapping[str, jax.Array | int],
    mask: Mapping[str, jax.Array] | None = None,
) -> Mask:
    """The mask of the weights with the largest |θ|, as `keep_largest`."""
    return keep_largest({layer: jnp.abs(kernel) for layer, kernel in weights.items()}, keep, mask)


def random_mask(key: jax.Array, weights: Mapping[str, jax.Array], keep: Mapping[str, jax.Array | int]) -> Mask:
    """The mask of as many weights at random, each with the same probability, counted as in `keep_largest`."""
    keys = dict(zip(weights, jax.random.split(key, len(weights)), strict=True))
    return keep_largest(
        {layer: jax.random.uniform(keys[layer], weight.shape) for layer, weight in weights.items()}, keep
    )


def random_like(key: jax.Array, mask: Mapping[str, jax.Array]) -> Mask:
    """A random mask that keeps as many weights in every layer."""
    keys = jax.random.split(key, len(mask))
    return {
        layer: jax.random.permutation(k, kept.ravel()).reshape(kept.shape)
        for k, (layer, kept) in zip(keys, mask.items(), strict=True)
    }


class Density(NamedTuple):
    """How many weights are left: by layer, or of all together under "all", and in percent."""

    keep: dict[str, np.int32]
    percent: float


def pruning_densities(sizes: Mapping[str, int], fractions: Mapping[str, float], rounds: int) -> list[Density]:
    """What is left after 0, 1, …, `rounds` rounds; each removes the rounded fraction of a layer's surviving weights.

    Args:
      sizes: weights by layer, or of all together under "all".
      fractions: pruned in each round, by the same names.
      rounds: how many.
    """
    keep, total, found = dict(sizes), sum(sizes.values()), []
    for _ in range(rounds + 1):
        percent = 100 * sum(keep.values()) / total
        found.append(Density({layer: np.int32(count) for layer, count in keep.items()}, percent))
        keep = {layer: count - round(fractions[layer] * count) for layer, count in keep.items()}
    return found


def _largest(scores: jax.Array, keep: jax.Array | int) -> jax.Array:
    rank = jnp.argsort(jnp.argsort(scores.ravel()))
    return (rank >= scores.size - keep).reshape(scores.shape)
