"""Several processes, on one host or on many, that perform one run together.

Replicates are shared out between them; where settings spread batches, all of them compute every replicate together.
They share the results folder. Process 0 alone judges and writes what belongs to the run as a whole. The first worker
of each joins the others through `jax.distributed`, which ends it when one of them is lost.
"""

import dataclasses
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import BadInput, Interrupted
from core.launch.hosts import Hosts
from core.running.worker_pool import WorkerPool

POLL_SECONDS = 0.2
LEAVING = 10.0  # seconds that process 0 stays for the others when it was asked to stop
JOINING = 10  # times the patience: how long processes wait for each other at the start


@dataclass
class ProcessGroup:
    """The processes of one study, seen from one of them; alone, everything goes through without a word.

    Attributes:
      hosts: this process among the others.
      pool: its workers, of which the first has joined those of the others.
      spread: every replicate is computed by all processes at once.
    """

    hosts: Hosts
    pool: WorkerPool
    spread: bool

    def __enter__(self) -> "ProcessGroup":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Leave in peace at the end; otherwise let the others notice soon, instead of waiting for them.

        Where it was asked to stop, process 0 stays a little: the others were probably asked, too, and jax would end
        them before they have kept their checkpoints.
        """
        if not self.hosts.several or kind is None:
            return
        for worker in self.pool.workers[:1]:
            try:
                if self.hosts.leads and self.pool.stopped_at is not None:
                    worker.process.wait(min(LEAVING, self.hosts.patience))
            except subprocess.TimeoutExpired:
                pass
            finally:
                worker.process.kill()

    def connect(self, what: str) -> None:
        """Start the first worker, and meet the others, who must be about to compute the same."""
        if not self.hosts.several:
            return
        self.pool.start_workers(1, dataclasses.asdict(self.hosts))
        if failed := self._barrier_failure(what):
            if failed["code"] == BadInput.exit_code:
                raise BadInput(failed["message"])
            where = f" at {self.hosts.coordinator}" if self.hosts.coordinator else ""
            raise Interrupted(
                f"the {self.hosts.count} processes did not come together: process 0 must be reachable{where}, and all "
                f"started within {JOINING * self.hosts.patience:.0f} s, {JOINING} times hosts.patience "
                f"({failed['message']})"
            )

    def barrier(self, what: str) -> None:
        """Wait until every process is at this point; all must name it alike."""
        if self.hosts.several and (failed := self._barrier_failure(what)):
            self.raise_if_peer_lost()
            raise Interrupted(failed["message"])

    def _barrier_failure(self, what: str) -> dict[str, Any] | None:
        """Nothing, or what came between."""
        events = list(self.pool.run_tasks([{"kind": "barrier", "what": what}]))
        return next((event for event in events if event["event"] == "failed"), None)

    def own_share(self, replicates: Sequence[int]) -> list[int]:
        """Those that this process has a part in."""
        return list(replicates) if self.spread else list(replicates[self.hosts.index :: self.hosts.count])

    def run_tasks(self, tasks: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Every event of the workers at these tasks; they are stopped when another process is lost.

        Where all processes compute together, a failed task is the last one, as the others have it no further either.
        """
        for part in [[each] for each in tasks] if self.spread else [list(tasks)]:
            failed = None
            for event in self.pool.run_tasks(part):
                if self.is_peer_lost and self.pool.stopped_at is None:
                    self.pool.request_stop()
                failed = event if event["event"] == "failed" else failed
                yield event
            if failed and self.spread:
                if failed["code"] == 1:
                    self._await_peer_loss()
                return

    def _await_peer_loss(self) -> None:
        """Give jax the time to tell whether it was the loss of another process that made a computation fail."""
        deadline = time.monotonic() + 2 * self.hosts.patience
        while not self.is_peer_lost and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    @property
    def is_peer_lost(self) -> bool:
        """Whether another process is gone, as the end of the first worker tells."""
        return self.hosts.several and any(each.process.poll() is not None for each in self.pool.workers[:1])

    def raise_if_peer_lost(self) -> None:
        """Raise when another process is gone."""
        if self.is_peer_lost:
            raise Interrupted(
                f"process {self.hosts.index} of {self.hosts.count} lost another one, which ended early or cannot be "
                "reached; the same commands, or those of any other number of processes, go on from here"
            )

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Wait for what another process writes, with an eye on the others."""
        while self.hosts.several and not done():
            self.raise_if_peer_lost()
            time.sleep(POLL_SECONDS)


def single_process(pool: WorkerPool) -> ProcessGroup:
    """The workers of a process that has no others beside it."""
    return ProcessGroup(Hosts(), pool, spread=False)
