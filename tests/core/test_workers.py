"""Workers: tasks are handed out, failures are one line, a stop gives tasks back, and no worker outlives its parent."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from core.errors import BadInput
from core.launch.compose import compose_launch
from core.launch.jobs import Job, make_job
from core.planning import machine
from core.planning.forecasting import replicate_batches
from core.running import execute, prepared, worker_pool
from core.running.distributed import join_processes
from core.running.process_group import JOINING
from core.running.worker import Worker
from core.running.worker_pool import WorkerPool
from core.runs import measurements
from core.runs.folder import RunFolder
from core.runs.live import LiveReader
from tests.limits import machine_seconds
from tests.toy import build_toy, use_root

PATIENCE = 100.0

PARENT = """
import os, signal, sys
from pathlib import Path
from core.running.worker_pool import WorkerPool
from core.runs.live import LiveReader
pool = WorkerPool(Path(sys.argv[1]), accelerator=False, pinned=True)
pool.start_workers(1)
print(pool.workers[0].process.pid, flush=True)
pool.events.get()  # the worker is ready
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("workers")
    with pytest.MonkeyPatch.context() as patch:
        use_root(build_toy(folder / "root"), patch)
        patch.setenv("ENCORE_RESULTS", str(folder / "results"))
        yield folder


@pytest.fixture(scope="module")
def pool(root: Path) -> Iterator[WorkerPool]:
    with WorkerPool(root / "logs", accelerator=False, pinned=True) as pool:
        pool.start_workers(2)
        yield pool
    assert all(worker.process.poll() is not None for worker in pool.workers)


def job(*words: str) -> Job:
    launch = compose_launch(["paper=toy", "study=fit", "tracking=none", *words])
    return make_job(launch, launch.studies[0])


def tasks(asked: Job) -> list[dict[str, Any]]:
    return [
        execute.worker_task(asked, "trial", batch, asked.run)
        for batch in replicate_batches(asked.missing, accelerator=False)
    ]


def of_kind(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def test_every_task_is_computed_once_and_its_steps_are_counted(pool):
    asked = job("replicates=5", "scale=smoke")
    events = list(pool.run_tasks(tasks(asked)))
    assert sorted(event["replicates"] for event in of_kind(events, "finished")) == [[0], [1], [2], [3], [4]]
    assert sum(event["count"] for event in of_kind(events, "steps")) == 5 * 3 * 7
    assert not of_kind(events, "failed") and asked.missing == []
    assert set(asked.run.read_cost(3)) >= {"seconds", "compile_seconds", "iterating_seconds", "peak_gib", "steps"}


def test_only_the_time_of_compiling_counts_as_such(monkeypatch):
    listeners = []
    monkeypatch.setattr("jax.monitoring.register_event_duration_secs_listener", listeners.append)
    worker = Worker(events=None)
    worker.count_compile_seconds()
    for event, seconds in (("/jax/core/compile/backend_compile_duration", 2.0), ("/jax/tracing_duration", 5.0)):
        listeners[0](event, seconds, fun_name="step")
    assert worker.compile_seconds == 2.0


@pytest.mark.parametrize(("coordinator", "told"), [("10.0.0.1:9000", (3, 1)), (None, (None, None))])
def test_processes_are_numbered_where_a_coordinator_is_named_and_by_their_cluster_otherwise(
    monkeypatch, coordinator, told
):
    given = {}
    monkeypatch.setattr("jax.config.update", lambda *_: None)
    monkeypatch.setattr("jax.distributed.initialize", lambda *places, **waits: given.update(waits, places=places))
    join_processes({"coordinator": coordinator, "count": 3, "index": 1, "patience": 0.2})
    assert given.pop("places") == (coordinator, *told)
    assert given == {"heartbeat_timeout_seconds": 1, "initialization_timeout": max(1, round(0.2 * JOINING))}


def test_a_task_that_fails_is_one_line_and_the_others_go_on(pool):
    asked = job("replicates=3", "settings.rate=0.2", "scale=smoke")
    first, second, third = tasks(asked)
    events = list(pool.run_tasks([first, {**second, "study": "nothing"}, third]))
    (failed,) = of_kind(events, "failed")
    assert failed["code"] == 2 and failed["message"].startswith("unknown study in experiments/toy/experiment.py")
    assert asked.missing == [1]
    events = list(pool.run_tasks([{**second, "settings": {**second["settings"], "rate": -1.0}}]))
    (failed,) = of_kind(events, "failed")
    assert failed["code"] == 2 and failed["message"].startswith("settings.rate=-1.0 is out of range")


def test_a_worker_that_dies_is_one_clear_failure_and_the_others_go_on(pool):
    asked = job("replicates=4", "settings.steps=20000")
    events = []
    for event in pool.run_tasks(tasks(asked)):
        events.append(event)
        if event["event"] == "steps" and event["worker"] == 0 and pool.workers[0].process.poll() is None:
            os.kill(pool.workers[0].process.pid, signal.SIGKILL)
    (failed,) = of_kind(events, "failed")
    assert failed["code"] == 75 and "by signal 9 (out of memory? try workers=1)" in failed["message"]
    [named] = re.findall(r"its log is in (\S+)$", failed["message"])
    assert Path(named).resolve() == pool.logs.resolve() and "\n" not in failed["message"]
    assert len(asked.missing) == 1 and len(of_kind(events, "finished")) == 3


def test_without_workers_nothing_is_left_unsaid(pool):
    for worker in pool.workers:
        worker.process.kill()
        worker.process.wait(timeout=machine_seconds(PATIENCE))
    (failed,) = list(pool.run_tasks(tasks(job("replicates=3", "settings.rate=0.4"))))
    assert failed["event"] == "failed" and "no worker is left for 3 of 3 tasks" in failed["message"]


class Heard:
    """The parent's ear, for tasks that are computed in this process."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def send(self, event: str, **_: Any) -> None:
        self.events.append(event)

    def count_steps(self, steps: int) -> None:
        pass

    def flush(self) -> None:
        pass


def test_prepared_work_reaches_every_replicate_and_is_computed_again_when_damaged(root):
    launch = compose_launch(["paper=toy", "study=ready", "tracking=none", "settings.prepared.count=5"])
    asked = make_job(launch, launch.studies[0])
    assert asked.prepared is not None and not prepared.is_prepared(asked.prepared)
    heard = Heard()
    worker = Worker(heard)
    worker.compute(execute.worker_task(asked, "prepare", [0], RunFolder(asked.prepared)))
    assert prepared.is_prepared(asked.prepared)
    for task in tasks(asked):
        worker.compute(task)
    table = measurements.collect_measurements(asked.run, "ready", asked.numbers)
    sums = table[table["arm"] == "sum"]["value"].tolist()
    assert sums == [0 + 1 + 2 + 3 + 4 + 2.0] * 2 and heard.events == ["finished"] * 3

    (RunFolder(asked.prepared).replicate_folder(0) / prepared.FILE).write_bytes(b"damaged")
    assert not prepared.is_prepared(asked.prepared)


def test_a_batch_of_several_replicates_measures_the_same(root):
    alone, together = job("settings.rate=0.3"), job("settings.rate=0.3", "first_replicate=4")
    worker = Worker(Heard())
    batch = execute.worker_task(alone, "trial", [0, 1, 2], alone.run)
    worker.compute({**batch, "axis": "vmap"})
    table = measurements.collect_measurements(alone.run, "fit", [0, 1, 2])
    for number in (0, 1, 2):
        shutil.rmtree(alone.run.replicate_folder(number))
    for number in (0, 1, 2):
        worker.compute(execute.worker_task(alone, "trial", [number], alone.run))
    pd.testing.assert_frame_equal(
        measurements.collect_measurements(alone.run, "fit", [0, 1, 2]), table, rtol=1e-5, atol=1e-7
    )
    assert measurements.collect_arrays(alone.run, [2, 0])["end_fast"].shape == (2, 3)
    assert together.run == alone.run and together.missing == [4, 5, 6, 7]


def test_a_stop_gives_the_task_back_with_a_checkpoint_to_go_on_from(root):
    asked = job("replicates=2", "settings.steps=200000")
    events = []
    with WorkerPool(root / "stopped", accelerator=False, pinned=False) as pool:
        pool.start_workers(1)
        for event in pool.run_tasks(tasks(asked)):
            events.append(event)
            if event["event"] == "steps" and event["count"]:
                pool.request_stop()
    (failed,) = of_kind(events, "failed")
    assert failed["code"] == 75 and asked.missing == [0, 1]
    assert [path.name for path in (asked.run.checkpoints / "000000").iterdir()] == ["fast.msgpack"]
    assert [path.name for path in asked.run.live_folder.iterdir()] == ["000000.jsonl"]


def test_live_rows_are_the_curves_to_come_and_go_when_these_are_there(root):
    asked = job("replicates=2", "scale=smoke", "settings.rate=0.15")
    worker, shown = Worker(Heard()), []

    def steps_and_rows(steps):
        shown.extend(reader.new_rows())

    reader, worker.events.count_steps = LiveReader(asked.run.live_folder), steps_and_rows
    for task in tasks(asked):
        worker.compute(task)
    assert list(asked.run.live_folder.iterdir()) == []
    table = measurements.collect_measurements(asked.run, "fit", asked.numbers)
    curves = table[table["metric"] == "loss_curve"]
    expected = {
        (r, arm, s): v for r, arm, s, v in curves[["replicate", "arm", "step", "value"]].itertuples(index=False)
    }
    assert {(row["replicate"], row["stage"], row["step"]): row["loss_curve"] for row in shown} == expected
    assert len(shown) == 2 * 3 * 3


def test_workers_do_not_outlive_their_parent(root):
    parent = subprocess.run(
        [sys.executable, "-c", PARENT, str(root / "orphans")],
        capture_output=True,
        text=True,
        timeout=machine_seconds(PATIENCE),
    )
    assert parent.returncode == -signal.SIGKILL
    pid, deadline = int(parent.stdout), time.monotonic() + machine_seconds(PATIENCE)
    while running(pid):
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.05)


def running(pid: int) -> bool:
    """Whether a process exists and is not merely waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("device", "platforms", "expected"),
    [("cpu", "cuda", False), ("accelerator", "cpu", True), ("auto", "cpu", False), ("auto", "cuda,cpu", True)],
)
def test_whether_an_accelerator_is_used(monkeypatch, device, platforms, expected):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    assert machine.use_accelerator(device) is expected


@pytest.mark.parametrize(
    ("device", "platforms", "refused"),
    [("accelerator", "cpu", True), ("accelerator", "cuda,cpu", False), ("auto", "cpu", False), ("cpu", "cpu", False)],
)
def test_an_accelerator_that_is_not_there_is_refused(monkeypatch, device, platforms, refused):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    with pytest.raises(BadInput, match="this machine shows none") if refused else contextlib.nullcontext():
        machine.check_device(device)
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(machine, "ACCELERATOR_FILES", ("/nowhere",))
    assert not machine.has_accelerator()
    monkeypatch.setattr(machine, "ACCELERATOR_FILES", ("/nowhere", "/dev/null"))
    assert machine.has_accelerator()


def test_the_environment_of_a_worker(monkeypatch, tmp_path):
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path))
    monkeypatch.delenv("JAX_PLATFORMS")
    single = worker_pool.worker_environment(accelerator=False, single_threaded=True)
    assert single["JAX_PLATFORMS"] == "cpu" and single["NPROC"] == single["OMP_NUM_THREADS"] == "1"
    assert single["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "compiled")
    assert worker_pool.ALLOCATOR_SETTINGS.items() <= single.items()
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    free = worker_pool.worker_environment(accelerator=True, single_threaded=False)
    assert free["MALLOC_ARENA_MAX"] == "4"
    assert "JAX_PLATFORMS" not in free and free.get("OMP_NUM_THREADS") == os.environ.get("OMP_NUM_THREADS")


def test_cores_are_those_that_may_be_used():
    assert set(machine.available_cores()) == os.sched_getaffinity(0)
