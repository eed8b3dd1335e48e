"""The gradient of a batch as the settings say: by micro-batches, rematerialised, spread over devices.

An experiment gives the group `scaling: ScalingSettings` to its settings and writes

    logits = apply_in_precision(network.apply, settings.scaling)({"params": params}, x)     # in its loss
    (value, aux), gradient = batch_value_and_grad(loss, settings.scaling)(params, batch)    # in its step

where `loss(params, batch, *rest)` is a mean over the leading axis of every leaf of `batch`.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.errors import BadInput
from core.scaling import sharding
from core.scaling.settings import ScalingSettings

Tree = Any


def batch_value_and_grad(loss: Callable, scaling: ScalingSettings) -> Callable:
    """`call(params, batch, *rest) -> ((value, aux), gradient)` for a loss that returns `(value, aux)`.

    Args:
      loss: `loss(params, batch, *rest)`, the mean over a batch and a pytree of further means, or of statistics, which
        are averaged over the parts of a batch like the loss; `rest` is the same for all parts.
      scaling: how. Normalisation over a batch sees every part on its own, as it does everywhere else.
    """
    if scaling.rematerialise:
        # Products are kept and everything between them is computed again.
        loss = jax.checkpoint(loss, policy=jax.checkpoint_policies.dots_saveable)
    function = jax.value_and_grad(loss, has_aux=True)
    if scaling.micro_batches > 1:
        function = average_over_micro_batches(function, scaling.micro_batches)
    return sharding.average_over_devices(function) if scaling.spread else function


def average_over_micro_batches(function: Callable, count: int) -> Callable:
    """The mean of `function(params, part, *rest)` over equal parts of a batch, one after the other."""

    def call(params: Tree, batch: Tree, *rest: Any) -> Tree:
        def cut(leaf: jax.Array) -> jax.Array:
            if len(leaf) % count:
                raise BadInput(f"a batch of {len(leaf)} cannot be cut into {count} micro-batches of equal size")
            return leaf.reshape(count, len(leaf) // count, *leaf.shape[1:])

        def add(total: Tree, part: Tree) -> tuple[Tree, None]:
            return jax.tree.map(jnp.add, total, function(params, part, *rest)), None

        cut_batch = jax.tree.map(cut, batch)
        first, others = (jax.tree.map(lambda leaf, s=s: leaf[s], cut_batch) for s in (0, slice(1, None)))
        # ∇L = 1/K Σ_k ∇L_k
        total, _ = jax.lax.scan(add, function(params, first, *rest), others)
        return jax.tree.map(lambda leaf: leaf / count, total)

    return call


def apply_in_precision(apply: Callable, scaling: ScalingSettings) -> Callable:
    """`apply(variables, *inputs, **options)` of a flax module with parameters and inputs in the chosen precision.

    Its results come back as float32. Collections other than `params` (running statistics) stay as they are. Modules
    follow the precision of what they are given as long as their `dtype` is None, flax's default.
    """
    if scaling.precision == "float32":
        return apply
    low = jnp.dtype(scaling.precision)

    def call(variables: dict[str, Tree], *inputs: Tree, **options: Any) -> Tree:
        lowered = {**variables, "params": _floats_as(low, variables["params"])}
        return _floats_as(jnp.dtype("float32"), apply(lowered, *_floats_as(low, inputs), **options))

    return call


def remat_module(module: type[nn.Module], scaling: ScalingSettings) -> type[nn.Module]:
    """A block of a network whose activations are computed again as a whole, where the settings ask for it."""
    return nn.remat(module) if scaling.rematerialise else module


def _floats_as(dtype: Any, tree: Tree) -> Tree:
    """Every leaf of floating-point numbers as `dtype`."""

    def converted(leaf: Any) -> Any:
        return leaf.astype(dtype) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf

    return jax.tree.map(converted, tree)
