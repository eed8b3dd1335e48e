"""Cores of this machine for one point at a time, so that points side by side never share a core.

Each group of cores has a lock file; whoever holds it may use the group. It works between any processes of a user:
workers of joblib and Ray, jobs of Slurm where the cluster does not bind them itself, sweeps in two terminals.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Generator

from core import files
from core.errors import Busy
from core.paths import cache_folder
from core.planning.machine import available_cores

POLL_SECONDS = 0.1


@contextlib.contextmanager
def reserve_cores(count: int, stopping: Callable[[], bool] = lambda: False) -> Generator[list[int]]:
    """Confine this process to `count` cores that nobody else has reserved, waiting for them; empty when stopped.

    Where the process may use no more cores than that, because a cluster has bound it, those are taken as they are.
    """
    mine = available_cores()
    groups = [mine[first : first + count] for first in range(0, len(mine) - count + 1, count)]
    if len(groups) < 2 or not hasattr(os, "sched_setaffinity"):
        yield mine
        return
    with contextlib.ExitStack() as held:
        group: list[int] = []
        while not group and not stopping():
            group = _free(groups, held)
            if not group:
                time.sleep(POLL_SECONDS)
        if not group:
            yield []
            return
        os.sched_setaffinity(0, group)
        try:
            yield group
        finally:
            os.sched_setaffinity(0, mine)


def _free(groups: list[list[int]], held: contextlib.ExitStack) -> list[int]:
    """The first group of which every core is free, locked; empty when there is none."""
    folder = cache_folder() / "cores" / socket.gethostname()
    for group in groups:
        with contextlib.ExitStack() as taken, contextlib.suppress(Busy):
            for core in group:
                taken.enter_context(files.try_lock(folder / f"{core}.lock", "in use"))
            held.push(taken.pop_all())
            return group
    return []
