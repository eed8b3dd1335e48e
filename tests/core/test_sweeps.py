"""Sweeps from end to end on the toy paper: every launcher, killed and shared sweeps, failures, the winner."""

import contextlib
import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core import files
from core.cli.main import main
from core.runs import measurements, sweep_folder
from core.runs.sweep_folder import Sweep, SweepPoint
from core.sweeps import display
from tests.core.test_sweep_folder import example
from tests.limits import machine_seconds
from tests.toy import build_toy, use_root

TOY = ("run", "-m", "paper=toy", "study=fit", "scale=smoke", "tracking=none", "replicates=2")
RATES = "settings.rate=0.1,0.2,0.3"
# A second or two for each of its points.
LONG = ("run", "-m", "paper=toy", "study=fit", "tracking=none", "replicates=1", "settings.steps=20000",
        "settings.every=50", "settings.rate=0.1,0.2,0.3")  # fmt: skip


@pytest.fixture
def here(toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory outside the project, with the toy paper's root and the results in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of a sweep in the plain loop."""
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        use_root(build_toy(folder / "root"), patch)
        patch.setenv("ENCORE_RESULTS", str(folder / "results"))
        assert main([*TOY, RATES]) == 0
    return folder / "results" / "runs"


def runs_of(folder: Path) -> Path:
    return folder / "results" / "runs"


def tables(runs: Path) -> dict[str, bytes]:
    """All that the runs measured, by run and file."""
    return {str(path.relative_to(runs)): path.read_bytes() for path in runs.glob("toy-*/verdict/*/measurements.csv.gz")}


def sweep_of(folder: Path) -> Sweep:
    [found] = sweep_folder.read_sweeps(runs_of(folder))
    return found


def written(folder: Path) -> dict[Path, int]:
    """When every replicate was finished."""
    return {path: path.stat().st_mtime_ns for path in runs_of(folder).glob("toy-*/replicates/*/done.json")}


def started(*words: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "experiments", *words]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object], *processes: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + machine_seconds(100)
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.01)


# Launchers


@pytest.mark.parametrize("launcher", ["joblib", "slurm_local", "ray"])
def test_launchers_leave_what_the_plain_loop_leaves(
    launcher: str, here: Path, one_by_one: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if launcher == "ray":
        pytest.importorskip("ray")
    process = started(*TOY, RATES, f"launcher={launcher}")  # engines change loggers and signals of their process
    said, errors = process.communicate(timeout=machine_seconds(100))
    assert process.returncode == 0 and errors == "" and "3 finished" in said
    assert tables(runs_of(here)) == tables(one_by_one)
    sweep = sweep_of(here)
    assert [(point.state, point.number) for point in sweep.points] == [
        ("finished", 0),
        ("finished", 1),
        ("finished", 2),
    ]
    assert not list(sweep.folder.glob("stop-*"))
    for point in sweep.points:
        pool = files.read_json(runs_of(here) / point.runs[0] / "verdict" / "0-2" / "provenance.json")
        assert pool["device"], "a point has its provenance"
        assert "workers=1" in point.words, "a point keeps to the cores it was given"
    before = written(here)
    assert main([*TOY, RATES]) == 0, "the same sweep by another launcher"
    assert "3 finished before" in capfd.readouterr().out
    assert written(here) == before and len(sweep_folder.read_sweeps(runs_of(here))) == 1


def test_vectorised_points_give_what_they_give_one_by_one(
    here: Path, one_by_one: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*TOY, RATES, "launcher=vectorised"]) == 0
    shown = capfd.readouterr().out
    assert "3 points of fit, different in rate: 6 replicates in one program" in shown
    together, apart = tables(runs_of(here)), tables(one_by_one)
    assert together.keys() == apart.keys() and len(together) == 3
    for name in apart:
        one, other = (measurements.read_measurements(runs / name) for runs in (one_by_one, runs_of(here)))
        assert one.drop(columns="value").equals(other.drop(columns="value"))
        assert np.allclose(one["value"], other["value"], rtol=2e-5, atol=1e-7)
        assert one["value"].nunique() > 12
    batches = [json.loads(path.read_text())["batch"] for path in written(here)]
    assert len(batches) == 6 and min(batches) > 1, "replicates of several points shared a program"


def test_vectorised_under_vmap_too(here: Path, one_by_one: Path) -> None:
    assert main([*TOY, RATES, "launcher=vectorised", "axis=vmap"]) == 0
    for name in tables(one_by_one):
        one, other = (measurements.read_measurements(runs / name) for runs in (one_by_one, runs_of(here)))
        assert np.allclose(one["value"], other["value"], rtol=2e-5, atol=1e-7)


# Interruptions and company


def test_a_killed_sweep_loses_nothing_and_computes_nothing_twice(here: Path) -> None:
    kept: dict[Path, int] = {}
    for kill in range(2):
        process = started(*LONG)
        wait_for(lambda n=kill: len(written(here)) > n, process)
        time.sleep(random.uniform(0, 0.5))
        process.kill()
        process.communicate(timeout=machine_seconds(60))
        assert {path: when for path, when in written(here).items() if path in kept} == kept
        kept = written(here)
        for path in runs_of(here).rglob("*.json"):
            if not path.name.startswith("."):
                assert files.read_json(path)
    assert main(LONG) == 0
    assert len(written(here)) == 3 and {path: written(here)[path] for path in kept} == kept
    assert sweep_of(here).count_points("finished") == 3


def processes_of(folder: Path) -> set[int]:
    """The processes whose results are in a folder, but for this one: those that were started in its surroundings."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            state = path.with_name("stat").read_text().rpartition(")")[2].split()[0]
            if f"ENCORE_RESULTS={folder / 'results'}".encode() in path.read_bytes().split(b"\0") and state != "Z":
                found.add(int(path.parent.name))
    return found - {os.getpid()}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize("launcher", ["local", "vectorised", "joblib", "slurm_local"])
def test_what_a_killed_sweep_has_started_ends_with_it(here: Path, launcher: str) -> None:
    """Pool processes, their workers and their mirrors, while they compute and while they wait."""
    words = [word for word in LONG if word != "tracking=none"]
    process = started(*words, f"launcher={launcher}", "settings.steps=2000000", "settings.every=5000")
    if launcher == "vectorised":  # which writes no curves while it computes
        wait_for(lambda: list(here.rglob("checkpoints/*")) or len(processes_of(here)) > 2, process)
    else:
        wait_for(lambda: list(runs_of(here).rglob("live/*.jsonl")), process)
    children = processes_of(here) - {process.pid}
    assert len(children) >= 2
    process.kill()
    process.communicate(timeout=machine_seconds(60))
    wait_for(lambda: not processes_of(here))
    assert not {point.state for point in sweep_of(here).points} & {"running", "failed"}


def test_two_terminals_share_a_sweep(here: Path) -> None:
    both = [started(*LONG), started(*LONG)]
    said = [process.communicate(timeout=machine_seconds(100)) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    sweep = sweep_of(here)
    assert sweep.count_points("finished") == 3 and len(written(here)) == 3
    logs = [path.read_text() for path in (sweep.folder / "points").glob("*.txt")]
    assert len(logs) == 3 and not any("finished before" in text for text in logs), "a point was run twice"


@pytest.mark.parametrize("launcher", ["local", "joblib"])
def test_a_signal_stops_the_whole_sweep_and_it_goes_on_later(here: Path, launcher: str) -> None:
    process = started(*LONG, f"launcher={launcher}")
    wait_for(lambda: list(runs_of(here).glob("toy-*/replicates/*/stages/*.msgpack")), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=machine_seconds(60))
    assert process.returncode == 75, said
    [line] = said.splitlines()
    assert re.search(r"stopped with \d of 3 points done; the same command goes on from here", line)
    sweep = sweep_of(here)
    assert sweep.count_points("waiting") and sweep.count_points("interrupted") and not list(sweep.folder.glob("stop-*"))
    before = written(here)
    assert main(LONG) == 0
    assert {path: written(here)[path] for path in before} == before and len(written(here)) == 3


def test_a_point_that_others_compute_is_left_and_come_back_to(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*TOY, "settings.rate=0.1,0.2"]
    assert main([*words, "points=[1]"]) == 0
    sweep = sweep_of(here)
    assert [point.state for point in sweep.points] == ["waiting", "finished"]
    with contextlib.ExitStack() as elsewhere:
        elsewhere.enter_context(files.try_lock(runs_of(here) / sweep.points[0].runs[0] / "lock", "busy"))
        process = started(*words)
        output = sweep.folder / "points" / "000000.txt"
        wait_for(lambda: output.exists() and sweep_of(here).points[0].message, process)
        assert "another process" in str(sweep_of(here).points[0].message)
    said, _ = process.communicate(timeout=machine_seconds(60))
    assert process.returncode == 0 and "2 finished" in said


# Outcomes


def test_failures_are_listed_with_how_to_run_just_them(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*TOY, "settings.size=3,2000000000,4", "budget.minutes=1"]
    assert main(words) == 3, "the code of the failure"
    shown = capfd.readouterr()
    assert shown.err == "" and "2 finished" in shown.out
    [failed] = [line for line in shown.out.splitlines() if line.startswith(" ✗ point 1 ")]
    assert "settings.size=2000000000" in failed and "budget" in failed
    [again] = [line for line in shown.out.splitlines() if "to run just those again: " in line]
    command = again.partition("again: ")[2]
    assert command == f"encore run -m {' '.join(words[2:])} 'points=[1]'"
    before = written(here)
    assert main([*words, "points=[1]"]) == 3
    assert written(here) == before
    sweep = sweep_of(here)
    assert [(point.state, point.code) for point in sweep.points] == [("finished", 0), ("failed", 3), ("finished", 0)]


def test_a_broken_experiment_fails_its_points_and_not_the_sweep(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    experiment = here / "root" / "experiments" / "toy" / "experiment.py"
    broken = '    if settings.rate == 0.2 and not hasattr(lab, "cost"):\n        raise ZeroDivisionError("by hand")\n'
    text = experiment.read_text()
    at = text.index('    for arm, scale in (("fast"')
    experiment.write_text(text[:at] + broken + text[at:])
    assert main([*TOY, RATES]) == 1
    shown = capfd.readouterr()
    assert "ZeroDivisionError: by hand" in shown.out and "1 failed, 2 finished" in shown.out
    assert shown.err == ""


def test_a_search_ends_with_its_winner_on_fresh_replicates(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*TOY, "settings.rate=interval(0.05,1.9)", "sweeper=tpe", "sweeper.startup=2", "objective.metric=loss"]
    words += ["objective.arm=fast", "objective.direction=min"]
    assert main([*words, "sweeper.trials=2"]) == 0
    assert main([*words, "sweeper.trials=3"]) == 0
    shown = capfd.readouterr().out
    sweep = sweep_of(here)
    assert (
        sweep.sweeper == "tpe"
        and sweep.count_points("finished") == 3
        and sweep.axes == {"settings.rate": "interval(0.05,1.9)"}
    )
    best = sweep.ranked_points()[0]
    assert best.objective is not None and sweep.winner is not None
    assert best.objective["mean"] == min(point.objective["mean"] for point in sweep.points if point.objective)
    assert sweep.winner["number"] == best.number
    fresh = sweep.winner["fresh"]
    assert fresh["first"] == 1000 and fresh["n"] == 2 and fresh["mean"] != best.objective["mean"]
    run = runs_of(here) / best.runs[0]
    table = measurements.read_measurements(run / "verdict" / "1000-2" / "measurements.csv.gz")
    rows = table[(table["metric"] == "loss") & (table["arm"] == "fast")]
    assert rows["replicate"].tolist() == [1000, 1001] and np.isclose(rows["value"].mean(), fresh["mean"])
    assert "the first one on fresh replicates from 1000 on" in shown


def test_a_search_of_two_points_ends_with_them_and_says_so(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*TOY, "settings.mode=plain,fancy", "sweeper=tpe", "sweeper.trials=5", "objective.metric=loss"]
    assert main([*words, "objective.arm=fast", "objective.direction=min"]) == 0
    assert "the search ends with 2 points of 5: there are no others in its ranges" in "".join(capfd.readouterr())
    points = sweep_of(here).points
    assert sorted(point.overrides["settings.mode"] for point in points) == ["fancy", "plain"]


# Listing sweeps


def test_sweeps_are_shown(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    assert main(["sweeps"]) == 0 and "no sweep yet" in capsys.readouterr().out
    example(runs_of(here))
    assert main(["sweeps"]) == 0
    shown = capsys.readouterr().out
    assert "0123456789ab" in shown and "1 interrupted, 1 failed, 2 finished" in " ".join(shown.split())
    assert main(["sweeps", "0123"]) == 0
    shown = capsys.readouterr().out
    for part in ("settings.rate", "0.1 [0, 0.2]", "a worker ended with code 1", "on fresh replicates from 1000 on"):
        assert part in shown
    assert main(["sweeps", "9"]) == 2 and "unknown sweep '9'" in capsys.readouterr().err


def test_points_are_counted_in_every_state() -> None:
    states = ("waiting", "running", "finished", "finished", "failed", "interrupted")
    points = tuple(SweepPoint(n, {}, (), (), (0, 1), state) for n, state in enumerate(states))
    sweep = Sweep("0123", (), "grid", {}, None, points, None, Path())
    assert display.format_state_counts(sweep) == "1 interrupted, 1 failed, 2 finished, 1 running, 1 waiting"
    assert display.format_state_counts(dataclasses.replace(sweep, points=())) == "no point yet"


def test_numbers_are_shown_with_their_intervals() -> None:
    assert display.format_objective_value({"mean": 0.12345678, "low": 0.1, "high": 0.2, "n": 4}) == "0.1235 [0.1, 0.2]"
    assert display.format_objective_value({"mean": 2.0, "low": None, "high": None, "n": 1}) == "2"


def test_a_launcher_that_fails_is_said_to_have_failed(here: Path) -> None:
    """No cluster is there to submit to."""
    process = started(*TOY, "settings.rate=0.1,0.2", "launcher=slurm")
    said, errors = process.communicate(timeout=machine_seconds(100))
    assert process.returncode == 1 and "2 waiting" in said
    [line] = errors.splitlines()
    assert "the launcher failed" in line and "launcher.log says why" in line
    [log] = runs_of(here).glob("sweeps/*/launcher.log")
    assert "Could not detect" in log.read_text() or "sbatch" in log.read_text()
