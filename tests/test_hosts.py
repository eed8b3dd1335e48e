"""One run by several processes on loopback: the same measurements, one writer, and a clear end when one is lost."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from core.cli.main import main
from core.errors import BadInput
from core.lab import stages
from core.launch import compose, jobs
from core.launch.hosts import Hosts, parse_hosts, spreads_batches
from core.papers.settings import Settings, setting
from core.running import execute
from core.running.process_group import ProcessGroup
from core.running.worker_pool import WorkerPool
from core.runs import measurements
from core.scaling.settings import ScalingSettings
from tests.limits import machine_seconds
from tests.net import build_net

GIVEN = {"coordinator": None, "count": None, "index": None, "patience": 20}
ONE_DEVICE = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
PATIENCE = 100.0
FIT = ("paper=toy", "study=fit", "tracking=none")
NET = ("paper=net", "tracking=none", "settings.scaling.spread=true", "settings.steps=600", "settings.every=20")


# Which process of how many


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ({}, {}, Hosts()),
        ({"count": 1}, {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}, Hosts()),
        ({}, {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}, Hosts(4, 2)),
        ({}, {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, Hosts()),  # a batch script, not a task that srun started
        ({"coordinator": "node1:8476", "count": 3, "index": 1, "patience": 5}, {}, Hosts(3, 1, "node1:8476", 5.0)),
    ],
)
def test_which_process_of_how_many(given, environment, expected):
    assert parse_hosts({**GIVEN, **given}, environment) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hosts.count=2"], "hosts.index is missing: each process needs"),
        (["hosts.index=1"], "hosts.count is missing"),
        (["hosts.count=2", "hosts.index=0"], "hosts.coordinator=None must be the address of process 0, such as"),
        (
            ["hosts.count=2", "hosts.index=0", "hosts.coordinator=node1"],
            "hosts.coordinator='node1' must be the address",
        ),
        (["hosts.count=2", "hosts.index=0", "hosts.coordinator='node1:99999'"], "must be the address of process 0"),
        (["hosts.count=2", "hosts.index=2"], "hosts.index=2 is out of range: 2 processes are numbered from 0 to 1"),
        (["hosts.count=two", "hosts.index=0"], "hosts.count='two' must be a whole number"),
        (["hosts.patience=0"], "hosts.patience=0 is out of range: it must lie in [5, 3600]"),
        (["hosts.size=2"], "did you mean 'hosts."),
    ],
)
def test_bad_hosts_are_one_line(toy_root, tmp_path, capfd, words, message):
    assert main(["run", *FIT, *words]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "results").exists()


def test_nonsense_of_slurm_is_refused():
    with pytest.raises(BadInput, match=r"task 4 of 4: add hosts\.count=1 to run alone"):
        parse_hosts(GIVEN, {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "4"})


class Inner(Settings):
    scaling: ScalingSettings = setting("")


class Outer(Settings):
    rate: float = setting("")
    inner: Inner = setting("")


def test_settings_that_spread_batches_are_found():
    assert spreads_batches(Outer(rate=1.0, inner=Inner(scaling=ScalingSettings(spread=True))))
    assert not spreads_batches(Outer(rate=1.0, inner=Inner(scaling=ScalingSettings())))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_replicates_are_shared_out_evenly_and_once(tmp_path, count):
    missing = [3, 4, 7, 9, 10]
    pool = WorkerPool(tmp_path, accelerator=False, pinned=False)
    shares = [ProcessGroup(Hosts(count, index), pool, spread=False).own_share(missing) for index in range(count)]
    assert sorted(number for share in shares for number in share) == missing
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert ProcessGroup(Hosts(count, count - 1), pool, spread=True).own_share(missing) == missing


# Processes


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def started(commands: Sequence[Sequence[str]], slurm: bool = False) -> Generator[list[subprocess.Popen[str]]]:
    """`encore run` as so many processes, told about each other by words or by Slurm's variables."""
    port, count = free_port(), len(commands)
    job, environment = random.randrange(2**20), {**os.environ, "XLA_FLAGS": ONE_DEVICE, "NPROC": "4"}
    processes = []
    for index, words in enumerate(commands):
        own = [] if slurm else [f"hosts.coordinator=127.0.0.1:{port}", f"hosts.count={count}", f"hosts.index={index}"]
        if slurm:
            environment |= {"SLURM_STEP_NUM_TASKS": str(count), "SLURM_NTASKS": str(count), "SLURM_JOB_ID": str(job)}
            environment |= {"SLURM_PROCID": str(index), "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "localhost"}
        line = [sys.executable, "-m", "experiments", "run", *words, *own]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(line, env=environment, **pipes))
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, output and error of every process."""
    said = [process.communicate(timeout=machine_seconds(PATIENCE)) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def wait_for(pattern: str, folder: Path) -> None:
    deadline = time.monotonic() + machine_seconds(PATIENCE)
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def measured(folder: Path) -> dict[str, bytes]:
    """What all replicates measured, with the table made of it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.name in ("measurements.jsonl", "arrays.msgpack", "measurements.csv.gz")
    }


def test_two_processes_of_a_slurm_step_measure_what_one_does(toy_root, tmp_path, monkeypatch):
    words = (*FIT, "scale=smoke", "replicates=3")
    with started([words, words], slurm=True) as processes:
        (code, said, _), (other_code, other_said, error) = ended(processes)
    assert (code, other_code, other_said, error) == (0, 0, "", "") and "fit: 3 replicates from 0" in said
    several = measured(tmp_path / "results")
    logs = {path.parent.name for path in (tmp_path / "results").rglob("worker-*.log")}
    assert logs == {"process-0", "process-1"}
    assert len((tmp_path / "results" / "runs" / "ledger.jsonl").read_text().splitlines()) == 1
    monkeypatch.setenv("ENCORE_RESULTS", str(tmp_path / "alone"))
    assert main(["run", *words, "workers=1"]) == 0
    assert several == measured(tmp_path / "alone") != {}


def test_a_killed_process_ends_the_others_and_one_alone_goes_on(toy_root, tmp_path, monkeypatch):
    long = (*FIT, "replicates=2", "workers=1", "settings.steps=60000", "settings.every=100", "hosts.patience=5")
    with started([long, long]) as processes:
        wait_for("results/runs/*/live/*.jsonl", tmp_path)
        processes[1].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        (code, _, said), _ = ended(processes)
    assert code == 75 and time.monotonic() - killed < machine_seconds(PATIENCE / 2)
    [line] = said.splitlines()
    assert "process 0 of 2 lost another one" in line and "any other number of processes, go on from here" in line
    assert main(["run", *long]) == 0
    resumed = measured(tmp_path / "results")
    monkeypatch.setenv("ENCORE_RESULTS", str(tmp_path / "unbroken"))
    assert main(["run", *long]) == 0
    assert resumed == measured(tmp_path / "unbroken") != {}


def test_processes_that_are_stopped_one_after_the_other_keep_their_checkpoints(toy_root, tmp_path):
    long = (*FIT, "replicates=2", "workers=1", "settings.steps=600000", "settings.every=2000", "hosts.patience=8")
    with started([long, long]) as processes:
        for replicate in ("000000", "000001"):
            wait_for(f"results/runs/*/live/{replicate}.jsonl", tmp_path)
        processes[0].send_signal(signal.SIGTERM)
        wait_for("results/runs/*/checkpoints/000000/*.msgpack", tmp_path)
        time.sleep(1)  # in which process 0 would have left, and jax ended the worker of the other
        processes[1].send_signal(signal.SIGTERM)
        assert [code for code, _, _ in ended(processes)] == [75, 75]
    kept = {path.parent.name for path in (tmp_path / "results").rglob("checkpoints/*/*.msgpack")}
    assert kept == {"000000", "000001"}


def test_processes_that_would_compute_different_things_are_refused(toy_root, tmp_path):
    with started([(*FIT, "scale=smoke"), (*FIT, "scale=smoke", "settings.rate=0.2")]) as processes:
        for code, _, said in ended(processes):
            assert code == 2 and "they do not compute the same: check their commands" in said
    assert not list(tmp_path.glob("results/**/done.json"))


def net_task(index: int, count: int) -> tuple[jobs.Job, dict[str, Any]]:
    """The job `net`, and its first replicate as work for one of `count` processes together."""
    hosts = [f"hosts.count={count}", f"hosts.index={index}", "hosts.coordinator='node1:8476'"]
    launch = compose.compose_launch([*NET, *hosts])
    job = jobs.make_job(launch, launch.studies[0])
    return job, execute.worker_task(job, "trial", [0], job.run, spread=True)


def together(folder: Path, count: int, stop: int | None = None) -> list[list[dict[str, Any]]]:
    """The events of `count` workers that compute one replicate together; number `stop` is asked to stop."""
    address, works = f"127.0.0.1:{free_port()}", [net_task(index, count)[1] for index in range(count)]
    with ExitStack() as stack:
        pools = [
            stack.enter_context(WorkerPool(folder / str(n), accelerator=False, pinned=False)) for n in range(count)
        ]
        for index, pool in enumerate(pools):
            pool.start_workers(1, asdict(Hosts(count, index, address, 60.0)))

        def events(index: int) -> list[dict[str, Any]]:
            found = []
            for event in pools[index].run_tasks([works[index]]):
                found.append(event)
                if index == stop and event["event"] == "steps" and event["count"]:
                    pools[index].request_stop()
            return found

        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(events, range(count)))


def test_batches_spread_over_four_processes_stop_together_and_go_on_with_two(toy_root, tmp_path, monkeypatch):
    build_net(toy_root)
    monkeypatch.setenv("XLA_FLAGS", ONE_DEVICE)
    for events in together(tmp_path, 4, stop=2):
        [failed] = [event for event in events if event["event"] == "failed"]
        assert (failed["code"], failed["message"]) == (75, "stopped")
    [checkpoint] = tmp_path.glob("results/runs/*/checkpoints/*/*")
    kept = stages.load_tree(checkpoint)
    done = 0 if kept is None else int(kept["done"])
    for events in together(tmp_path, 2):
        assert [event["event"] for event in events][-1] == "finished"
    several = measurements.read_rows(net_task(0, 2)[0].run.replicate_folder(0) / "measurements.jsonl")
    assert not list(tmp_path.glob("results/runs/*/checkpoints/*/*")) and 0 < done < 600

    monkeypatch.setenv("ENCORE_RESULTS", str(tmp_path / "alone"))
    with WorkerPool(tmp_path / "single", accelerator=False, pinned=False) as pool:
        pool.start_workers(1)
        job, work = net_task(0, 1)
        assert list(pool.run_tasks([{**work, "spread": False}]))[-1]["event"] == "finished"
    alone = measurements.read_rows(job.run.replicate_folder(0) / "measurements.jsonl")
    for row, expected in zip(several, alone, strict=True):
        assert {**row, "value": 0} == {**expected, "value": 0}
        if row.get("step", 0) <= 200:
            assert row["value"] == pytest.approx(expected["value"], rel=0.02) or "step" not in row
