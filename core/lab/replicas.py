"""The replicate axis: functions of ONE replicate lifted over a batch of them.

A batch of one is called as it is, so that `lax.switch` stays a switch. On one accelerator a batch runs under `vmap`,
on several it is spread by `pmap`, padded with copies of the last replicate when it cannot be divided.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import BaseModel

Tree = Any
SPREAD = "replicates"  # name of the axis that is spread over devices


@dataclass(frozen=True)
class ReplicateAxis:
    """How a batch of `size` replicates is laid out: "loop", "vmap", or "pmap" over `devices` devices."""

    size: int
    how: str
    devices: int = 1

    @classmethod
    def choose(cls, size: int, how: str = "auto") -> "ReplicateAxis":
        """The layout for a batch of `size` on the devices at hand; `how` overrides the choice."""
        devices = jax.local_device_count()
        if how == "auto":
            on_host = jax.default_backend() == "cpu"
            how = "loop" if size == 1 or on_host else ("pmap" if devices > 1 else "vmap")
        return cls(size, how, min(devices, size) if how == "pmap" else 1)


def function_key(function: Callable) -> Hashable:
    """A key that is equal for equal functions: partials over hashable settings count as equal when their parts are."""
    if not isinstance(function, functools.partial):
        return function
    keywords = tuple((name, _part(value)) for name, value in sorted(function.keywords.items()))
    return (function_key(function.func), tuple(map(_part, function.args)), keywords)


def _part(value: Any) -> Hashable:
    """With its type, as 1, 1.0 and True are equal but compile to different programs; functions in it by their keys."""
    if dataclasses.is_dataclass(value) and type(value).__dataclass_params__.frozen:
        return (type(value), *(_part(getattr(value, each.name)) for each in dataclasses.fields(value)))
    if isinstance(value, BaseModel):  # settings
        return (type(value), *(_part(each) for _, each in value))
    if isinstance(value, dict):
        return (dict, *((name, _part(each)) for name, each in sorted(value.items())))
    if isinstance(value, tuple):
        return (type(value), *map(_part, value))
    return (type(value), function_key(value))


def _in_numpy(leaf: Any) -> bool:
    """Whether numpy can cut and join an array where it lies; as jax operations each shape and index is a program."""
    if not isinstance(leaf, jax.Array):
        return True
    return leaf.is_fully_addressable and all(device.platform == "cpu" for device in leaf.devices())


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def select_replicate(tree: Tree, position: int) -> Tree:
    """The part of one replicate: every leaf, keys included, at a position of its leading axis."""
    return jax.tree.map(lambda leaf: _take(leaf, position), tree)


def _take(leaf: Any, position: int) -> jax.Array:
    if _is_key(leaf):
        return jax.random.wrap_key_data(_take(jax.random.key_data(leaf), position), impl=jax.random.key_impl(leaf))
    return jax.device_put(np.asarray(leaf)[position]) if _in_numpy(leaf) else leaf[position]


def _stack(leaves: Sequence[Any]) -> jax.Array:
    """The parts of all replicates under a leading axis, of the dtype they have (not "weakly", as after a restart)."""
    if _is_key(leaves[0]):
        data = _stack([jax.random.key_data(leaf) for leaf in leaves])
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaves[0]))
    if all(map(_in_numpy, leaves)):
        return jax.device_put(np.stack([np.asarray(leaf) for leaf in leaves]))
    return jnp.stack(leaves)


class Lifter:
    """Compiles functions of one replicate, once per function, for the groups that a batch is worked off in.

    In the "loop" form every replicate is a group of its own and arrays carry no replicate axis; otherwise the whole
    batch is one group and they do.
    """

    def __init__(self, axis: ReplicateAxis) -> None:
        self.axis = axis
        self.compiled: dict[Hashable, Callable] = {}

    def split(self, tree: Tree) -> list[Tree]:
        """The groups of a batched pytree."""
        if self.axis.how != "loop":
            return [tree]
        return [select_replicate(tree, position) for position in range(self.axis.size)]

    def join(self, groups: list[Tree]) -> Tree:
        """The batched pytree of one result per group."""
        if self.axis.how != "loop":
            return groups[0]
        return jax.tree.map(lambda *leaves: _stack(leaves), *groups)

    def lift(self, name: Hashable, function: Callable, each: int, shared: int) -> Callable:
        """`function(*each, *shared)` for a group: the first `each` arguments belong to replicates, the others to all.

        Functions of one `name` must be equal; the first one is compiled and kept.
        """
        if name not in self.compiled:
            self.compiled[name] = self._lifted(function, (0,) * each + (None,) * shared)
        return self.compiled[name]

    def _lifted(self, function: Callable, axes: tuple[int | None, ...]) -> Callable:
        if self.axis.how == "loop":
            return jax.jit(function)
        if self.axis.how == "vmap":
            return jax.jit(jax.vmap(function, in_axes=axes))
        return _spread(function, axes, self.axis)


def _spread(function: Callable, axes: tuple[int | None, ...], axis: ReplicateAxis) -> Callable:
    """`pmap` over devices of `vmap` over each device's share of the replicates."""
    devices = jax.local_devices()[: axis.devices]
    compiled = jax.pmap(jax.vmap(function, in_axes=axes), SPREAD, in_axes=axes, devices=devices)
    mesh = jax.sharding.Mesh(devices, (SPREAD,))
    own, everywhere = (jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*names)) for names in ([SPREAD], []))
    each = sum(position == 0 for position in axes)
    share = -(-axis.size // axis.devices)

    def fold(leaf: jax.Array) -> jax.Array:
        padding = (
            jnp.stack([leaf[-1]] * (share * axis.devices - axis.size)) if share * axis.devices > axis.size else leaf[:0]
        )
        folded = jnp.concatenate([leaf, padding]).reshape(axis.devices, share, *leaf.shape[1:])
        return jax.device_put(folded, own)  # what comes from an earlier call lies elsewhere, and pmap moves nothing

    def unfold(leaf: jax.Array) -> jax.Array:
        return leaf.reshape(axis.devices * share, *leaf.shape[2:])[: axis.size]

    def call(*arguments: Tree) -> Tree:
        folded = jax.tree.map(fold, arguments[:each])
        shared = jax.device_put(arguments[each:], everywhere)
        result = jax.block_until_ready(compiled(*folded, *shared))  # unblocked programs can deadlock on CPUs
        return jax.tree.map(unfold, result)

    return call
