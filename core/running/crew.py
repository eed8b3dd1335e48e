"""Workers that outlive a run: the points of a sweep share them, as starting a worker takes seconds.

Outside of `kept()` and `stay()` every run has a pool of its own.
"""

import atexit
import contextlib
import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from core.running import plan
from core.running.workers import Pool, cores

CALIBRATED_SECONDS = 60.0


@dataclass
class Crew:
    """At most one pool that waits for its next run, and what it is good for."""

    logs: Path
    pool: Pool | None = None
    fit_for: tuple = ()
    speed: float = 0.0
    measured_at: float = -math.inf

    def hire(self, accelerator: bool, pinned: bool) -> Pool:
        """The waiting pool when it fits, otherwise a new one; cores are this process's at this moment."""
        wanted = (accelerator, pinned, tuple(cores()))
        if self.pool is None or self.fit_for != wanted or not self.pool.healthy():
            self.dismiss()
            self.pool, self.fit_for = Pool(self.logs, accelerator, pinned), wanted
        return self.pool

    def dismiss(self) -> None:
        """End the waiting pool."""
        if self.pool is not None:
            self.pool.close()
            self.pool = None


def calibrated() -> float:
    """This machine's speed (`plan.calibrate`), measured at most once a minute by those who share workers."""
    crew = _crew[-1] if _crew else Crew(Path())
    if time.monotonic() - crew.measured_at > CALIBRATED_SECONDS:
        crew.speed, crew.measured_at = plan.calibrate(), time.monotonic()
    return crew.speed


_crew: list[Crew] = []  # the innermost `kept()` that is open in this process


@contextlib.contextmanager
def kept(logs: Path) -> Generator[None]:
    """Keep workers from run to run in this process, until the end of the context; what they say goes to `logs`."""
    _crew.append(Crew(logs))
    try:
        yield
    finally:
        _crew.pop().dismiss()


def stay(logs: Path) -> None:
    """Keep workers from run to run for as long as this process lives: one that a launcher uses for many points."""
    if not _crew:
        _crew.append(Crew(logs))
        atexit.register(_crew[0].dismiss)  # where it does not come to that, they end with their input


@contextlib.contextmanager
def pool(logs: Path, accelerator: bool, pinned: bool) -> Generator[Pool]:
    """The workers of one run."""
    if _crew:
        yield _crew[-1].hire(accelerator, pinned)
        return
    with Pool(logs, accelerator, pinned) as own:
        yield own
