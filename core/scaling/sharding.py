"""Batches of data over several devices: the only module that says where their parts live.

Parameters are on every device, each device computes the gradient of its part of the batch, and the mean of the
gradients is taken between them (data parallelism). With several processes in one `jax.distributed` program the devices
are those of all of them.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from core.errors import BadInput

Tree = Any
DATA_AXIS = "data"


def average_over_devices(function: Callable) -> Callable:
    """The mean of `function(params, part, *rest)` over the parts of a batch, one on every device.

    `call(params, batch, *rest)` cuts the leading axis of every leaf of `batch`. On one device it is `function` itself.
    """

    def call(params: Tree, batch: Tree, *rest: Any) -> Tree:
        devices = jax.device_count()
        if devices == 1:
            return function(params, batch, *rest)
        _check(batch, devices)

        def part(params: Tree, batch: Tree, *rest: Any) -> Tree:
            # ∇L = 1/D Σ_d ∇L_d
            return jax.lax.pmean(function(params, batch, *rest), DATA_AXIS)

        mesh = jax.make_mesh((devices,), (DATA_AXIS,), axis_types=(AxisType.Auto,))
        specs = (P(), P(DATA_AXIS), *(P() for _ in rest))
        return jax.shard_map(part, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)(params, batch, *rest)

    return call


def _check(batch: Tree, devices: int) -> None:
    if jax.sharding.get_abstract_mesh().manual_axes:
        raise BadInput("the replicates are spread over the devices already: add axis=loop to spread batches instead")
    for leaf in jax.tree.leaves(batch):
        if len(leaf) % devices:
            near = max(1, round(len(leaf) / devices)) * devices
            raise BadInput(f"a batch of {len(leaf)} cannot be spread over {devices} devices: {near} can, for example")
