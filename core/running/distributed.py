"""What a worker does as one of several processes: join them, meet them, and compute along without writing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from core.lab.lab import Lab
from core.lab.stages import Checkpoint, StageStore
from core.running.process_group import JOINING

Tree = Any


def join_processes(hosts: dict[str, Any]) -> None:
    """Join the other processes through jax's coordination service, which ends this process when one is lost."""
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from the worker
    named = hosts["coordinator"] is not None
    jax.distributed.initialize(
        hosts["coordinator"],
        hosts["count"] if named else None,
        hosts["index"] if named else None,
        heartbeat_timeout_seconds=max(1, round(hosts["patience"])),
        initialization_timeout=max(1, round(JOINING * hosts["patience"])),
    )


def barrier(what: str) -> None:
    """Wait for the others; raises AssertionError when one of them is about to do something else."""
    multihost_utils.sync_global_devices(what)


def any_process_stopping(stopping: Callable[[], bool]) -> Callable[[], bool]:
    """Whether any process was asked to stop, so that all of them stop at the same step."""
    return lambda: bool(np.any(multihost_utils.process_allgather(np.asarray(stopping()))))


class ReadOnlyStore(StageStore):
    """Results of stages, read where process 0 keeps them, and kept by nobody else."""

    def save(self, name: str, tree: Tree) -> None:
        """Leave it to process 0."""


class ReadOnlyCheckpoint(Checkpoint):
    """The newest state inside an unfinished stage, likewise."""

    def save(self, done: int, state: Tree) -> None:
        """Leave it to process 0."""

    def remove(self) -> None:
        """Leave it to process 0."""


class ReadOnlyLab(Lab):
    """A lab that computes along with that of process 0, which writes."""

    def __post_init__(self) -> None:
        """As the other, but for the store."""
        super().__post_init__()
        self.store: StageStore = ReadOnlyStore(self.folders)

    def _checkpoints(self, name: str) -> list[Checkpoint]:
        return [ReadOnlyCheckpoint(Path(each.path), each.replicates) for each in super()._checkpoints(name)]
