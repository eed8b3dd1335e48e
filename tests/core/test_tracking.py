"""The mirror as a run sees it: fed from files, ended in bounded time, never in the way; and what trackers are told."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadInput
from core.runs import sweep_folder
from core.tracking import rows
from core.tracking.mirror import Mirror
from core.tracking.mirror_process import TrackerUpdater
from core.tracking.run_info import RunInfo, VerdictFolder, newest_verdict_folder
from tests.tracking import TRACKING, write_live_rows, write_replicate, write_run


def about(folder: Path, **tracking: Any) -> RunInfo:
    return RunInfo(folder, TRACKING | tracking, "shown")


class Heard:
    """A tracker that only remembers."""

    def __init__(self) -> None:
        self.live_rows: list[rows.Row] = []
        self.by_replicate: dict[int, list[rows.Row]] = {}
        self.verdicts: list[VerdictFolder] = []

    def log_live_rows(self, rows: list[rows.Row]) -> None:
        self.live_rows += rows

    def log_replicate(self, replicate: int, rows: list[rows.Row]) -> None:
        assert replicate not in self.by_replicate
        self.by_replicate[replicate] = rows

    def log_verdict(self, rows: list[rows.Row], verdict: VerdictFolder) -> None:
        assert len(rows) == 12, "final measurements of both replicates"
        self.verdicts.append(verdict)

    def close(self, complete: bool) -> str:
        return f"closed, {complete}"


# Following files


def test_live_rows_are_logged_and_then_replaced_by_the_measurements(tmp_path: Path) -> None:
    verdict = write_run(tmp_path / "run")
    (done := tmp_path / "run" / "replicates" / "000001" / "done.json").unlink()
    heard = Heard()
    updater = TrackerUpdater(about(tmp_path / "run"), heard)
    write_live_rows(tmp_path / "run", 1, range(0, 300, 100))
    updater.update()
    assert list(heard.by_replicate) == [0] and len(heard.by_replicate[0]) == 12
    assert [(row["replicate"], row["stage"], row["step"], row["value"]) for row in heard.live_rows] == [
        (1, "dense", step, 1 / (1 + step)) for step in (0, 100, 200)
    ]
    write_live_rows(tmp_path / "run", 1, range(300, 500, 100))
    done.write_text("{}")
    updater.update()
    assert sorted(heard.by_replicate) == [0, 1] and len(heard.live_rows) == 3, (
        "it is finished, so its live rows are history"
    )
    updater.update()
    assert updater.finish(verdict) == "closed, True" and [each.folder for each in heard.verdicts] == [verdict]
    assert TrackerUpdater(about(tmp_path / "run"), heard, [0, 1]).finish(None) == "closed, False"


def test_a_replicate_that_cannot_be_read_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path)
    (tmp_path / "replicates" / "000000" / "measurements.jsonl").write_text('{"metric": "x", "val')
    (tmp_path / "replicates" / "000003").mkdir()
    (tmp_path / "replicates" / "000003" / "done.json").write_text("{}")
    (tmp_path / "replicates" / "notes").mkdir()
    heard = Heard()
    TrackerUpdater(about(tmp_path), heard).update()
    assert list(heard.by_replicate) == [1]
    assert capsys.readouterr().err.count("cannot be read: left out") == 2


def test_fast_loops_are_thinned_evenly_and_the_newest_row_is_kept() -> None:
    live_rows = [{"replicate": r, "stage": s, "step": step} for step in range(100) for r in (0, 1) for s in "ab"]
    kept = rows.thin_live_rows(live_rows, 20)
    for replicate in (0, 1):
        for stage in "ab":
            own = [each["step"] for each in kept if (each["replicate"], each["stage"]) == (replicate, stage)]
            assert own == list(range(4, 100, 5))
    assert rows.thin_live_rows(live_rows[:12], 20) == live_rows[:12]


def test_live_rows_are_named_by_the_arms_of_the_config(tmp_path: Path, toy_root: Path) -> None:
    settings = {"paper": "toy", "study": "fit", "scale": "smoke", "overridden": ["rate", "gone"], "identity": {}}
    (tmp_path / "settings.json").write_text(
        json.dumps(settings | {"settings": {"rate": 0.5, "optimizer": {"name": "x"}}})
    )
    run = RunInfo(tmp_path, TRACKING, "shown")
    assert run.arms == ("fast", "slow", "slow_again")
    assert run.stage_columns("slow_again") == {"arm": "slow_again"}
    assert run.stage_columns("high/slow-3") == {"arm": "slow", "stage": "high/3"}
    assert run.stage_columns("slower") == {"stage": "slower"}
    assert run.label == f"fit smoke rate=0.5 {tmp_path.name[-6:]}"
    live_rows = [{"replicate": 0, "stage": "fast", "step": 3, "loss": 1.0, "norm": float("nan"), "far": float("inf")}]
    fast = {"replicate": 0, "step": 3, "arm": "fast"}
    assert rows.tidy_live_rows(live_rows, run.stage_columns) == [
        fast | {"metric": "loss", "value": 1.0},
        fast | {"metric": "far", "value": float("inf")},
    ]


def test_a_run_of_a_sweep_is_grouped_by_it(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "run")
    assert about(tmp_path / "runs" / "run").group == "a_paper"
    point = sweep_folder.SweepPoint(0, {"settings.rate": "0.1"}, (), ("run",), (0, 2))
    folder = sweep_folder.sweep_path(tmp_path / "runs", "0123456789ab")
    sweep_folder.write_sweep(sweep_folder.Sweep("0123456789ab", (), "grid", {}, None, (point,), None, folder))
    assert about(tmp_path / "runs" / "run").group == "sweep-0123456789ab"
    assert about(tmp_path / "runs" / "run", group="mine").group == "mine"


def test_the_newest_verdict_counts(tmp_path: Path) -> None:
    first = write_run(tmp_path)
    assert newest_verdict_folder(tmp_path) == first and VerdictFolder(first).replicates == range(2)
    os.utime(first / "provenance.json", (1, 1))
    (tmp_path / "verdict" / "1000-3").mkdir()
    assert newest_verdict_folder(tmp_path) == first, "half-written"
    (tmp_path / "verdict" / "1000-3" / "provenance.json").write_text("{}")
    assert newest_verdict_folder(tmp_path) == tmp_path / "verdict" / "1000-3"
    assert VerdictFolder(tmp_path / "verdict" / "1000-3").replicates == range(1000, 1003)
    assert newest_verdict_folder(tmp_path / "nowhere") is None


# The process


def test_killed_mirror_does_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    verdict = write_run(folder)
    mirror = Mirror.start(folder, TRACKING)
    assert mirror._process is not None
    os.kill(mirror._process.pid, signal.SIGKILL)
    line = mirror.finish(verdict)
    assert line is not None
    assert "ended early" in line
    assert mirror.finish(verdict) is None


def test_mirror_that_hangs_is_stopped_after_the_bound(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    verdict = write_run(folder)
    mirror = Mirror.start(folder, TRACKING)
    process = mirror._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    line = mirror.finish(verdict, wait_seconds=0.1)
    assert line is not None
    assert "not finished within" in line
    assert process.poll() == -signal.SIGKILL


def test_disabled_starts_nothing(tmp_path: Path) -> None:
    mirror = Mirror.start(tmp_path, TRACKING | {"mode": "disabled"})
    assert mirror.finish(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


REFUSED: dict[str, dict[str, Any]] = {
    "did you mean 'online'": {"mode": "onlin"},
    "tracking.project must be a name": {"project": "a/b"},
    "tracking=none has no mode 'offline'": {"name": "none"},
    "tracking=trackio has no mode 'online': choose from offline, disabled": {"name": "trackio", "mode": "online"},
    "tracking.group=3 must be text": {"group": 3},
    "tracking.tags must be a list": {"tags": "mine"},
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_no_mirror_can_work_with_is_refused(said: str, tmp_path: Path) -> None:
    for wrong in (REFUSED[said], {"project": ""} if "project" in REFUSED[said] else REFUSED[said]):
        with pytest.raises(BadInput) as refused:
            Mirror.start(tmp_path, TRACKING | wrong)
        assert said in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.tracking.trackers.trackio.PACKAGE", "no_such_package")
    with pytest.raises(BadInput, match=r"pip install 'encore-papers\[trackio\]'"):
        Mirror.start(tmp_path, TRACKING | {"name": "trackio"})


def test_series_are_named_by_metric_arm_and_the_conditions_that_apply() -> None:
    row = {"metric": "loss", "value": 0.5, "step": 3, "arm": "ticket", "density": 21.1, "draw": None, "replicate": 0}
    assert rows.dashboard_series_name(row) == "loss/ticket, density 21.1, replicate 0"
    assert rows.dashboard_series_name({"metric": "loss", "value": 0.5}) == "loss"


def test_only_finished_replicates_are_read(tmp_path: Path) -> None:
    write_replicate(tmp_path, 0)
    write_replicate(tmp_path, 3)
    (tmp_path / "replicates" / "000003" / "done.json").unlink()
    assert rows.finished_replicates(tmp_path) == [0]
    assert rows.read_replicate_rows(tmp_path, 0)[-1]["value"] == float("inf")
