"""The parent's side of the workers: start them pinned to a core each, hand out tasks, gather events.

On a CPU there are as many single-threaded workers as cores and memory allow; an accelerator gets one worker.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import paths
from core.errors import Interrupted
from core.planning.machine import available_cores
from core.running import program_cache
from core.terminal import short_path

STOP_SECONDS = 30.0


# The allocator of glibc gives large arrays back to the system after every call and is given them anew, page by page:
# a third of a training step of an LSTM (50 steps of 64 sequences, 128 units). With these values it keeps its memory.
ALLOCATOR_SETTINGS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_ARENA_MAX": "1"}


def worker_environment(accelerator: bool, single_threaded: bool) -> dict[str, str]:
    """Environment variables of a worker: a shared cache of compiled programs, and one thread when `single_threaded`.

    What the user has set of `ALLOCATOR_SETTINGS` stays.
    """
    variables = ALLOCATOR_SETTINGS | dict(os.environ)
    variables.update(
        **program_cache.cache_variables(),
        TF_CPP_MIN_LOG_LEVEL="2",
        PYTHONPATH=os.pathsep.join([str(paths.project_root()), *filter(None, [os.environ.get("PYTHONPATH")])]),
    )
    if not accelerator:
        variables["JAX_PLATFORMS"] = "cpu"
    if single_threaded:
        variables.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", NPROC="1")
    return variables


@dataclass
class WorkerProcess:
    """One worker as the parent sees it."""

    number: int
    process: subprocess.Popen[str]
    task: dict[str, Any] | None = None
    gone: bool = False

    def send(self, message: dict[str, Any]) -> None:
        """Write one line to the worker; a dead worker is noticed by the end of its events."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()


@dataclass
class WorkerPool:
    """Workers, and the queue of everything they say."""

    logs: Path
    accelerator: bool
    pinned: bool
    workers: list[WorkerProcess] = field(default_factory=list)
    events: "queue.Queue[tuple[WorkerProcess, dict[str, Any]]]" = field(default_factory=queue.Queue)
    devices: list[str] = field(default_factory=list)
    stopped_at: float | None = None

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_workers(self, count: int, hosts: dict[str, Any] | None = None) -> None:
        """Have `count` workers, each on a core of its own when pinned; new ones join the other processes of `hosts`."""
        available = available_cores()
        self.logs.mkdir(parents=True, exist_ok=True)
        for number in range(len(self.workers), count):
            core = available[number % len(available)] if self.pinned else None
            with (self.logs / f"worker-{number}.log").open("a", encoding="utf-8") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "core.running.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    encoding="utf-8",
                    env=worker_environment(self.accelerator, self.pinned),
                    start_new_session=True,
                )
            worker = WorkerProcess(number, process)
            self.workers.append(worker)
            worker.send({"core": core, "hosts": hosts})
            threading.Thread(target=self._receive_events, args=(worker,), daemon=True).start()

    def _receive_events(self, worker: WorkerProcess) -> None:
        assert worker.process.stdout is not None
        with worker.process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # half a line of a worker that was killed
                    self.events.put((worker, json.loads(line)))
        self.events.put((worker, {"event": "gone", "code": worker.process.wait()}))

    def run_tasks(self, tasks: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Hand out tasks as workers become free; yields every event until all tasks are finished or have failed."""
        waiting, open_tasks = list(tasks), 0
        for worker in self.workers:
            if waiting and worker.process.poll() is None:
                open_tasks += self._give(worker, waiting.pop(0))
        while open_tasks:
            if self.stopped_at is not None:
                waiting.clear()
                if time.monotonic() - self.stopped_at > STOP_SECONDS:
                    return
            try:
                worker, event = self.events.get(timeout=0.2)
            except queue.Empty:
                yield {"event": "quiet"}
                continue
            if event["event"] == "gone":
                worker.gone, event = True, self._death(event["code"])
                if worker.task is None:
                    continue
            if event["event"] == "ready":
                self.devices = event["devices"]
            yield {**event, "worker": worker.number}
            if event["event"] in ("finished", "failed") and worker.task is not None:
                open_tasks -= 1
                worker.task = None
                if waiting and worker.process.poll() is None:
                    open_tasks += self._give(worker, waiting.pop(0))
        if waiting and self.stopped_at is None:
            message = f"no worker is left for {len(waiting)} of {len(tasks)} tasks; {self._where()}"
            yield {"event": "failed", "message": message, "code": 1}

    def is_reusable(self) -> bool:
        """Whether another run can have these workers: all of them live, and wait for work."""
        idle = all(worker.task is None and not worker.gone for worker in self.workers)
        return idle and self.stopped_at is None and all(worker.process.poll() is None for worker in self.workers)

    def _give(self, worker: WorkerProcess, task: dict[str, Any]) -> int:
        worker.task = task
        worker.send(task)
        return 1

    def _death(self, code: int) -> dict[str, Any]:
        """The failure of a worker's task: to be taken up again when the worker was killed."""
        reason = f"by signal {-code}" if code < 0 else f"with code {code}"
        hint = " (out of memory? try workers=1)" if code == -9 else ""
        message = f"a worker ended {reason}{hint}; {self._where()}"
        return {"event": "failed", "message": message, "code": Interrupted.exit_code if code < 0 else 1}

    def _where(self) -> str:
        return f"its log is in {short_path(self.logs)}"

    def request_stop(self) -> None:
        """Ask every worker to keep a checkpoint and give its task back; those that take too long are left."""
        self.stopped_at = time.monotonic()
        for worker in self.workers:
            worker.send({"kind": "stop"})

    def close(self) -> None:
        """End the workers, waiting a bounded time."""
        for worker in self.workers:
            worker.send({"kind": "end"})
        for worker in self.workers:
            assert worker.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                worker.process.stdin.close()
            try:
                worker.process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
