"""Workers that outlive a run: the points of a sweep share them, as starting a worker takes seconds.

Outside of `reuse_workers()` and `reuse_workers_until_exit()` every run has a pool of its own.
"""

import atexit
import contextlib
import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from core.planning import machine
from core.planning.machine import available_cores
from core.running.worker_pool import WorkerPool

CALIBRATED_SECONDS = 60.0


@dataclass
class ReusablePool:
    """At most one pool that waits for its next run, and what it is good for."""

    logs: Path
    pool: WorkerPool | None = None
    fit_for: tuple = ()
    speed: float = 0.0
    measured_at: float = -math.inf

    def acquire(self, accelerator: bool, pinned: bool) -> WorkerPool:
        """The waiting pool when it fits, otherwise a new one; cores are this process's at this moment."""
        wanted = (accelerator, pinned, tuple(available_cores()))
        if self.pool is None or self.fit_for != wanted or not self.pool.is_reusable():
            self.close()
            self.pool, self.fit_for = WorkerPool(self.logs, accelerator, pinned), wanted
        return self.pool

    def close(self) -> None:
        """End the waiting pool."""
        if self.pool is not None:
            self.pool.close()
            self.pool = None


def recent_machine_gflops() -> float:
    """This machine's speed (`plan.calibrate`), measured at most once a minute by those who share workers."""
    pool_kept = _reused[-1] if _reused else ReusablePool(Path())
    if time.monotonic() - pool_kept.measured_at > CALIBRATED_SECONDS:
        pool_kept.speed, pool_kept.measured_at = machine.measure_gflops(), time.monotonic()
    return pool_kept.speed


_reused: list[ReusablePool] = []  # the innermost `reuse_workers()` that is open in this process


@contextlib.contextmanager
def reuse_workers(logs: Path) -> Generator[None]:
    """Keep workers from run to run in this process, until the end of the context; what they say goes to `logs`."""
    _reused.append(ReusablePool(logs))
    try:
        yield
    finally:
        _reused.pop().close()


def reuse_workers_until_exit(logs: Path) -> None:
    """Keep workers from run to run for as long as this process lives: one that a launcher uses for many points."""
    if not _reused:
        _reused.append(ReusablePool(logs))
        atexit.register(_reused[0].close)  # where it does not come to that, they end with their input


@contextlib.contextmanager
def acquire_pool(logs: Path, accelerator: bool, pinned: bool) -> Generator[WorkerPool]:
    """The workers of one run."""
    if _reused:
        yield _reused[-1].acquire(accelerator, pinned)
        return
    with WorkerPool(logs, accelerator, pinned) as own:
        yield own
