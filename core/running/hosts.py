"""Several processes, on one host or on many, that perform one run together.

Replicates are shared out between them; where settings spread batches, all of them compute every replicate together.
They share the results folder. Process 0 alone judges and writes what belongs to the run as a whole. The first worker
of each joins the others through `jax.distributed`, which ends it when one of them is lost.
"""

import dataclasses
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import BadInput, Interrupted
from core.running.workers import Pool
from core.scaling.settings import ScalingSettings

POLL_SECONDS = 0.2
LEAVING = 10.0  # seconds that process 0 stays for the others when it was asked to stop
JOINING = 10  # times the patience: how long processes wait for each other at the start


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


def hosts_of(given: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Hosts:
    """Hosts from `hosts.…` of a command line, else from Slurm where `srun` started several tasks, else one alone."""
    count, index, coordinator = (given[name] for name in ("count", "index", "coordinator"))
    patience = given["patience"]
    if isinstance(patience, bool) or not isinstance(patience, int | float) or not patience >= 1:
        raise BadInput(f"hosts.patience={patience!r} must be a number of seconds from 1 on")
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


def spreads(settings: Any) -> bool:
    """Whether typed settings ask for batches spread over all devices, in one of their groups."""
    values = [getattr(settings, each.name) for each in dataclasses.fields(settings)]
    groups = [value for value in values if dataclasses.is_dataclass(value)]
    return any(group.spread if isinstance(group, ScalingSettings) else spreads(group) for group in groups)


@dataclass
class Team:
    """The processes of one study, seen from one of them; alone, everything goes through without a word.

    Attributes:
      hosts: this process among the others.
      pool: its workers, of which the first has joined those of the others.
      together: every replicate is computed by all processes at once.
    """

    hosts: Hosts
    pool: Pool
    together: bool

    def __enter__(self) -> "Team":
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

    def join(self, what: str) -> None:
        """Start the first worker, and meet the others, who must be about to compute the same."""
        if not self.hosts.several:
            return
        self.pool.start(1, dataclasses.asdict(self.hosts))
        if failed := self._met(what):
            if failed["code"] == BadInput.exit_code:
                raise BadInput(failed["message"])
            where = f" at {self.hosts.coordinator}" if self.hosts.coordinator else ""
            raise Interrupted(
                f"the {self.hosts.count} processes did not come together: process 0 must be reachable{where}, and all "
                f"started within {JOINING * self.hosts.patience:.0f} s ({failed['message']})"
            )

    def meet(self, what: str) -> None:
        """Wait until every process is at this point; all must name it alike."""
        if self.hosts.several and (failed := self._met(what)):
            self.check()
            raise Interrupted(failed["message"])

    def _met(self, what: str) -> dict[str, Any] | None:
        """Nothing, or what came between."""
        events = list(self.pool.run([{"kind": "meet", "what": what}]))
        return next((event for event in events if event["event"] == "failed"), None)

    def share(self, replicates: Sequence[int]) -> list[int]:
        """Those that this process has a part in."""
        return list(replicates) if self.together else list(replicates[self.hosts.index :: self.hosts.count])

    def run(self, tasks: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Every event of the workers at these tasks; they are stopped when another process is lost.

        Where all processes compute together, a failed task is the last one, as the others have it no further either.
        """
        for part in [[each] for each in tasks] if self.together else [list(tasks)]:
            failed = None
            for event in self.pool.run(part):
                if self.lost and self.pool.stopped_at is None:
                    self.pool.stop()
                failed = event if event["event"] == "failed" else failed
                yield event
            if failed and self.together:
                if failed["code"] == 1:
                    self._look_around()
                return

    def _look_around(self) -> None:
        """Give jax the time to tell whether it was the loss of another process that made a computation fail."""
        deadline = time.monotonic() + 2 * self.hosts.patience
        while not self.lost and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    @property
    def lost(self) -> bool:
        """Whether another process is gone, as the end of the first worker tells."""
        return self.hosts.several and any(each.process.poll() is not None for each in self.pool.workers[:1])

    def check(self) -> None:
        """Raise when another process is gone."""
        if self.lost:
            raise Interrupted(
                f"process {self.hosts.index} of {self.hosts.count} lost another one, which ended early or cannot be "
                "reached; the same commands, or those of any other number of processes, go on from here"
            )

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait for what another process writes, with an eye on the others."""
        while self.hosts.several and not done():
            self.check()
            time.sleep(POLL_SECONDS)


def alone(pool: Pool) -> Team:
    """The workers of a process that has no others beside it."""
    return Team(Hosts(), pool, together=False)
