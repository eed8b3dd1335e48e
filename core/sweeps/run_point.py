"""One point of a sweep at work, in whatever process a launcher of Hydra's puts it."""

import contextlib
import dataclasses
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from core import files, processes
from core.errors import Busy, EncoreError, Stopped, Unfinished
from core.launch import compose
from core.launch.compose import Launch
from core.launch.jobs import make_job
from core.running import execute, worker_reuse
from core.running.worker_pool import STOP_SECONDS
from core.runs import sweep_folder
from core.runs.sweep_folder import Sweep, SweepPoint
from core.sweeps import core_reservation, pruning
from core.sweeps.objective import Objective

POLL_SECONDS = 0.3


def run_point(config: Mapping[str, Any]) -> None:
    """The task that Hydra launches: `config` names the sweep's folder and the point, whose file records the outcome."""
    folder, number = Path(config["folder"]), int(config["point"])
    leader = Leader(Path(config["leader"]))
    if leader.is_this_process:
        compute_point_if_free(folder, number, leader)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader hears Ctrl-C and tells its points
    if config["parent"] is not None and leader.is_here:
        end_with_leader(int(config["parent"]))
    with _at_work, core_reservation.reserve_cores(int(config["workers"]), leader.stop_requested) as cores:
        if cores:
            worker_reuse.reuse_workers_until_exit(folder / "logs" / f"{socket.gethostname()}-{os.getpid()}")
            compute_point_if_free(folder, number, leader)


_leader_ended = threading.Event()  # in a process that a launcher started here
_at_work = threading.Lock()  # held while such a process has a point
_followed: set[int] = set()


def end_with_leader(pid: int) -> None:
    """Have this process end when the leader has: its point keeps a checkpoint first, as at any stop."""

    def end() -> None:
        _leader_ended.set()  # which stops the point
        _at_work.acquire(timeout=STOP_SECONDS)
        os._exit(Unfinished.exit_code)

    if pid not in _followed:
        _followed.add(pid)
        processes.when_process_ends(pid, end)


@dataclasses.dataclass(frozen=True)
class Leader:
    """The process that launches the points of a sweep; where `stop_file`, named after it, exists, they are to stop."""

    stop_file: Path

    @classmethod
    def this_process(cls, folder: Path) -> "Leader":
        """This process, as the leader of the sweep in `folder`."""
        return cls(folder / f"stop-{socket.gethostname()}-{os.getpid()}")

    @property
    def is_this_process(self) -> bool:
        """Whether this process is the leader."""
        return self == Leader.this_process(self.stop_file.parent)

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine."""
        return self.stop_file.name.startswith(f"stop-{socket.gethostname()}-")

    def request_stop(self) -> None:
        """Ask the points to keep a checkpoint and end."""
        self.stop_file.touch()

    def stop_requested(self) -> bool:
        """Whether the points are asked to stop, or the leader is gone."""
        return _leader_ended.is_set() or self.stop_file.exists()


def compute_point_if_free(folder: Path, number: int, leader: Leader) -> None:
    """Compute a point unless it is finished or another process is at it; every outcome is written to its file."""
    if leader.stop_requested():
        return
    with (
        contextlib.suppress(Busy),
        files.try_lock(sweep_folder.point_lock_path(folder, number), "in progress elsewhere"),
    ):
        sweep, point = sweep_folder.read_point(folder, number)
        if point.state in ("finished", "pruned"):
            return
        sweep_folder.write_point(folder, dataclasses.replace(point, state="running", message=None, code=0))
        started = time.monotonic()
        with (
            execute.handle_signals(lambda: None),
            stop_with_leader(leader),
            redirect_output(sweep_folder.point_output_path(folder, number)),
        ):
            found = compute_point(sweep, point, leader)
        seconds = round(time.monotonic() - started, 3)
        sweep_folder.write_point(folder, dataclasses.replace(point, **found, seconds=seconds))


def compute_point(sweep: Sweep, point: SweepPoint, leader: Leader) -> dict[str, Any]:
    """Run a point; returns its new state with message, exit code and objective."""
    try:
        launch = set_tracking_group(compose.compose_launch(point.words), sweep.identity)
        means: list[float] = []
        if sweep.pruner != pruning.NONE:
            means, pruned = pruning.compute_until_pruned(sweep, point, launch)
            if pruned:
                message = f"after {len(means)} of {point.replicates[1]} replicates, mean {means[-1]:.4g}"
                return {"state": "pruned", "message": message, "code": 0, "means": tuple(means)}
        execute.run_launch(launch)
        value = objective_value(sweep, launch)
        return {"state": "finished", "message": None, "code": 0, "objective": value, "means": tuple(means)}
    except Busy:
        return {"state": "waiting", "message": "its runs are being computed by another process"}
    except Unfinished as error:
        if isinstance(error, Stopped) and leader.is_this_process:
            leader.request_stop()  # the signal was meant for the whole sweep
        return {"state": "interrupted", "message": str(error), "code": error.exit_code}
    except EncoreError as error:
        return {"state": "failed", "message": str(error), "code": error.exit_code}
    except Exception as error:
        traceback.print_exc()
        return {"state": "failed", "message": f"{type(error).__name__}: {error}".splitlines()[0], "code": 1}


def set_tracking_group(launch: Launch, identity: str) -> Launch:
    """The launch with its runs in the sweep's group of the dashboard, unless another group was named."""
    tracking = {**launch.tracking, "group": launch.tracking.get("group") or f"sweep-{identity}"}
    return dataclasses.replace(launch, tracking=tracking)


def objective_value(sweep: Sweep, launch: Launch) -> dict[str, Any] | None:
    """The value, of a finished launch, that the sweep selects by; None where it selects by nothing."""
    if sweep.objective is None:
        return None
    objective = Objective(**sweep.objective)
    [chosen] = [chosen for chosen in launch.studies if chosen.study.name == objective.study]
    return objective.mean_interval(make_job(launch, chosen))


@contextlib.contextmanager
def stop_with_leader(leader: Leader) -> Generator[None]:
    """Turn a leader's wish to stop into the signal that stops a run at a point to go on from."""
    done = threading.Event()

    def poll() -> None:
        while not done.wait(POLL_SECONDS):
            if leader.stop_requested():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def redirect_output(path: Path) -> Generator[None]:
    """Send what a run prints to a file: its header, verdicts, and traceback if it comes to that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield
