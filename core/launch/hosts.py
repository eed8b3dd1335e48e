"""Which process this is among those that perform a run together, on one host or on many."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import BadInput
from core.papers.settings import Settings
from core.scaling.settings import ScalingSettings


@dataclass(frozen=True)
class Hosts:
    """This process among those that perform a run.

    Attributes:
      count: how many there are.
      index: which one this is; 0 judges and writes.
      coordinator: address of process 0, `host:port`; None where the launcher's environment tells jax.
      patience: seconds after which a silent process counts as lost.
    """

    count: int = 1
    index: int = 0
    coordinator: str | None = None
    patience: float = 20.0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.count > 1

    @property
    def leads(self) -> bool:
        """Whether this process judges and writes."""
        return self.index == 0


def parse_hosts(given: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Hosts:
    """Hosts from `hosts.…` of a command line, else from Slurm where `srun` started several tasks, else one alone."""
    count, index, coordinator = (given[name] for name in ("count", "index", "coordinator"))
    patience = given["patience"]
    if (count, index, coordinator) == (None, None, None):
        tasks, rank = environment.get("SLURM_STEP_NUM_TASKS", "1"), environment.get("SLURM_PROCID", "0")
        if not (tasks.isdecimal() and rank.isdecimal() and int(rank) < int(tasks)):
            raise BadInput(f"Slurm's variables speak of task {rank} of {tasks}: add hosts.count=1 to run alone")
        return Hosts(int(tasks), int(rank), patience=float(patience))
    if count == 1 and not index:
        return Hosts(patience=float(patience))
    _check(count, index, coordinator)
    return Hosts(count, index, coordinator, float(patience))


def _check(count: Any, index: Any, coordinator: Any) -> None:
    """Refuse what does not say of one process which of how many it is, and where process 0 can be reached."""
    for name, value, least in (("count", count, 1), ("index", index, 0)):
        if value is None:
            raise BadInput(
                f"hosts.{name} is missing: each process needs hosts.coordinator, hosts.count and hosts.index"
            )
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BadInput(f"hosts.{name}={value!r} must be a whole number from {least} on")
    if index >= count:
        raise BadInput(f"hosts.index={index} is out of range: {count} processes are numbered from 0 to {count - 1}")
    host, _, port = coordinator.rpartition(":") if isinstance(coordinator, str) else ("", "", "")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadInput(f"hosts.coordinator={coordinator!r} must be the address of process 0, such as node1:8476")


def spreads_batches(settings: Settings) -> bool:
    """Whether typed settings ask for batches spread over all devices, in one of their groups."""
    groups = [group for _, group in settings if isinstance(group, Settings)]
    return any(group.spread if isinstance(group, ScalingSettings) else spreads_batches(group) for group in groups)
