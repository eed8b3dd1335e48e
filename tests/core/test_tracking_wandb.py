"""Weights & Biases: what is really written and sent, row by row against the run's files, and servers that fail."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from core import files
from core.cli.main import main
from core.errors import BadInput
from core.tracking import upload
from core.tracking.mirror import Mirror
from core.tracking.run_info import RunInfo, VerdictFolder
from core.tracking.trackers import wandb
from tests.limits import machine_seconds
from tests.tracking import (
    TRACKING,
    assert_nothing_private,
    curves,
    entries,
    free_port,
    measured_curves,
    read_records,
    recorder,
    records_of,
    silent,
    wait_for,
    write_live_rows,
    write_run,
)

NAME = "a_paper-lenet-laptop-0123456789ab"
ONLINE = TRACKING | {"mode": "online"}


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key, and no settings from outside."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-own"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy paper's name, mirrored offline, to be copied."""
    folder = tmp_path_factory.mktemp("mirrored") / NAME
    verdict = write_run(folder, "toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_MODE", raising=False)
        assert Mirror.start(folder, TRACKING).finish(verdict) is not None
    return folder


@pytest.fixture
def offline(mirrored: Path, toy_root: Path, tmp_path: Path) -> Path:
    """A run that was mirrored offline, the only one there is."""
    return Path(shutil.copytree(mirrored, tmp_path / "results" / "runs" / NAME))


# Offline


def check_offline_records(records: list[Any]) -> None:
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.project, run.run_group, run.job_type) == ("encore", "a_paper", "lenet")
    assert (run.notes, list(run.tags), run.host) == ("a note", ["a_paper", "lenet", "laptop", "mine"], "")
    assert run.display_name == "lenet 6789ab"
    assert not run.git.remote_url and not run.git.commit
    config = entries(run.config.update)
    assert config["settings"] == {"learning_rate": 0.001, "place": ["(private)"]}
    assert config["identity"] == {"data": "ba89"} and config["run"] == NAME
    summary = entries([item for record in records if record.HasField("summary") for item in record.summary.update])
    assert summary["verdict/C1"] == "holds"
    assert summary["test_accuracy/ticket, density 21.1"] == pytest.approx(98.0)  # draws and replicates averaged
    assert summary["measurements/nrows"] == 12 and summary["claims/nrows"] == 1
    updates = [entries(record.config.update) for record in records if record.HasField("config")]
    assert {"provenance": {"commit": "abc123", "dirty": False}, "replicates": {"first": 0, "count": 2}} in updates


def test_offline_run_is_complete_private_and_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["encore", "run", "secret-argument"])
    folder = tmp_path / NAME
    verdict = write_run(folder)
    with recorder() as (address, handler):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        line = Mirror.start(folder, TRACKING).finish(verdict)
    assert handler.received == b""  # not even telemetry
    assert line == "wandb: offline run, upload it with: encore sync"
    records = records_of(folder)
    check_offline_records(records)
    assert curves(records) == measured_curves(folder) and len(curves(records)) == 12
    files = [path for path in (folder / "wandb").rglob("*") if path.is_file()]
    for path in files:
        assert_nothing_private(path.read_bytes(), folder)
    names = {path.name for path in files}
    assert not names & {"requirements.txt", "wandb-metadata.json", "diff.patch", "output.log"}
    [table] = (folder / "wandb").rglob("measurements*.table.json")
    content = json.loads(table.read_text())
    assert content["columns"] == ["replicate", "arm", "density", "draw", "metric", "value"]
    assert [0, "dense", 21.1, None, "first_crossing", "inf"] in content["data"]
    [claims] = (folder / "wandb").rglob("claims*.table.json")
    assert json.loads(claims.read_text())["data"][0][:3] == ["C1", "holds", "It wins."]
    [figure] = (folder / "wandb").rglob("accuracy*.html")
    assert figure.read_bytes() == (verdict / "figures" / "accuracy.svg").read_bytes()


def test_a_mirror_is_made_anew_when_there_is_more_to_show(offline: Path) -> None:
    verdict, before = offline / "verdict" / "0-2", (offline / "wandb" / "mirror.json").read_bytes()

    def mirrored(verdict: Path | None) -> str | None:
        return Mirror.start(offline, TRACKING, computing=False).finish(verdict)

    assert mirrored(verdict) == "wandb: offline run, upload it with: encore sync"
    assert mirrored(None) == "wandb: nothing new to mirror"
    assert (offline / "wandb" / "mirror.json").read_bytes() == before, "nothing has changed"
    [first] = (offline / "wandb").glob("*run-*")
    (claims := verdict / "claims.json").write_text(claims.read_text().replace('"holds"', '"fails"'))
    mirrored(verdict)
    [second] = (offline / "wandb").glob("*run-*")
    assert second != first and second.name.rpartition("-")[2] == first.name.rpartition("-")[2], "the same wandb run"
    assert b"fails" in next(second.glob("*.wandb")).read_bytes()


def test_what_a_mirror_holds_is_known_by_all_that_it_shows(tmp_path: Path) -> None:
    verdict = VerdictFolder(write_run(tmp_path))
    held = {
        wandb.mirror_digest(RunInfo(tmp_path, TRACKING | each, ""), verdict) for each in ({}, ONLINE, {"notes": "x"})
    }
    assert len(held) == 2, "where it goes counts, and not when"
    shutil.rmtree(tmp_path / "replicates" / "000001")
    assert wandb.mirror_digest(RunInfo(tmp_path, TRACKING, ""), verdict) not in held


def test_workers_and_points_of_a_sweep_never_mix(toy_root: Path, tmp_path: Path) -> None:
    words = ("paper=toy", "study=fit", "tracking=wandb", "workers=2", "replicates=2", "scale=smoke")
    assert main(["run", "-m", *words, "settings.rate=0.1,0.2"]) == 0
    folders = [path.parent for path in (tmp_path / "results" / "runs").glob("toy-*/settings.json")]
    assert len(folders) == 2
    identities = set()
    for folder in folders:
        records = records_of(folder)
        found = {key: value for key, value in curves(records).items() if not key[0].startswith("live/")}
        assert found == measured_curves(folder) and len(found) == 2 * 3 * 3
        [run] = [record.run for record in records if record.WhichOneof("record_type") == "run"]
        identities.add(run.run_id)
        assert entries(run.config.update)["settings"] == json.loads((folder / "settings.json").read_text())["settings"]
    assert len(identities) == 2


def test_a_killed_mirror_loses_no_more_than_its_last_flush(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    verdict = write_run(folder)
    for replicate in (0, 1):
        (folder / "replicates" / f"{replicate:06d}" / "done.json").rename(folder / f"done-{replicate}")
    mirror = Mirror.start(folder, TRACKING)

    def on_disk() -> dict[tuple[str, int], float]:
        return curves([record for path in (folder / "wandb").glob("*/*.wandb") for record in read_records(path)])

    write_live_rows(folder, 0, range(20))
    wait_for(lambda: len(on_disk()) >= 15)
    write_live_rows(folder, 0, range(20, 40))
    assert mirror._process is not None
    wait_for(lambda: len(on_disk()) >= 30)
    os.kill(mirror._process.pid, signal.SIGKILL)
    mirror._process.communicate()
    kept = on_disk()
    assert len(kept) >= 30 and kept["live/loss/stage dense, replicate 0", 29] == pytest.approx(1 / 30)
    for replicate in (0, 1):
        (folder / f"done-{replicate}").rename(folder / "replicates" / f"{replicate:06d}" / "done.json")
    line = Mirror.start(folder, TRACKING, computing=False).finish(verdict)
    assert line is not None and "offline run" in line
    assert curves(records_of(folder)) == measured_curves(folder), "whole, and in place of the torn one"


def test_only_what_no_server_has_seen_is_replaced(tmp_path: Path) -> None:
    """To a wandb run that it has seen a server appends: its points would be there twice."""
    write_run(tmp_path)
    about = RunInfo(tmp_path, TRACKING, "")
    assert [wandb.start_generation(about) for _ in range(2)] == [0, 0]
    wandb.update_mirror_state(about, touched=True)
    assert [wandb.start_generation(about) for _ in range(2)] == [1, 1]


# Online


def test_online_run_sends_measurements_and_nothing_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / NAME
    verdict = write_run(folder)
    with recorder() as (address, handler):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        line = Mirror.start(folder, ONLINE).finish(verdict)
        assert line is not None and line.startswith(f"wandb: {address}/someone/encore/runs/")
        sent = handler.received
        assert Mirror.start(folder, ONLINE, computing=False).finish(verdict) == line
        assert handler.received == sent, "nothing is sent twice"
        assert list(upload.pending_uploads(tmp_path, (), False, {})) == []
    for text in (b"validation_loss/ticket, density 21.1, replicate 1", b"first_crossing", b"It wins.", b"abc123"):
        assert text in sent
    assert_nothing_private(sent, folder)


def test_silent_server_is_given_up_after_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "REACH_SECONDS", 0.2)
    with silent() as address:
        started = time.monotonic()
        assert wandb.why_unreachable(address) is not None
        assert time.monotonic() - started < machine_seconds(3)
    assert wandb.why_unreachable("no address") is not None
    with recorder() as (address, _):
        assert wandb.why_unreachable(address) is None


def test_a_refusing_server_falls_back_once_and_the_mirror_ends_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_port()}")
    folder = tmp_path / NAME
    write_run(folder)
    process = Mirror.start(folder, ONLINE)._process
    assert process is not None
    output, _ = process.communicate(
        timeout=machine_seconds(60)
    )  # closes its input, as the system does when the run is killed
    assert process.returncode == 0
    assert output.count("tracking is offline: server unreachable") == 1
    assert curves(records_of(folder)) == measured_curves(folder)
    assert records_of(folder)[-1].WhichOneof("record_type") == "exit"


def test_a_run_does_not_wait_for_a_silent_server(
    toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with silent() as address:
        monkeypatch.setenv("WANDB_BASE_URL", address)
        words = ("paper=toy", "study=fit", "tracking=wandb", "tracking.mode=online", "workers=1", "scale=smoke")
        assert main(["run", *words, "replicates=1"]) == 0
    shown = capfd.readouterr().out
    assert shown.count("tracking is offline: server unreachable") == 1 and "encore sync" in shown
    [folder] = (tmp_path / "results" / "runs").glob("toy-fit-*")
    found = {key: value for key, value in curves(records_of(folder)).items() if not key[0].startswith("live/")}
    assert found == measured_curves(folder)


def test_a_server_that_vanishes_in_mid_run_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / NAME
    verdict = write_run(folder)
    (done := folder / "replicates" / "000001" / "done.json").rename(folder / "hidden")
    with recorder() as (address, handler):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        impatient = "from core.tracking.trackers import wandb; wandb.INIT_SECONDS = 120; wandb.UPLOAD_SECONDS = 4.0;"
        monkeypatch.setattr(
            "core.tracking.mirror.MIRROR_COMMAND",
            ("-c", impatient + "from core.tracking import mirror_process; mirror_process.main()"),
        )
        mirror = Mirror.start(folder, ONLINE)
        wait_for(lambda: b"replicate 0" in handler.received)
    (folder / "hidden").rename(done)
    line = mirror.finish(verdict)
    assert line == "wandb: tracking is offline: the server stopped answering; offline run, upload it with: encore sync"
    assert curves(records_of(folder)) == measured_curves(folder)
    [run] = upload.pending_uploads(tmp_path, (), False, {})
    assert wandb.current_mirror_line(run.run_info, VerdictFolder(verdict)) is None, (
        "a part of it was sent: it is made anew first"
    )


# Uploading later


def test_what_waits_is_uploaded_once(
    offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with recorder() as (address, handler):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        assert main(["sync"]) == 0, capsys.readouterr()
        config = f"{address}/someone/encore/runs/"
        assert f"{NAME}: uploaded to {config}" in capsys.readouterr().out
        sent = handler.received
        for text in (b"validation_loss/ticket, density 21.1, replicate 1", b"first_crossing", b"It wins.", b"abc123"):
            assert text in sent
        assert_nothing_private(sent, offline)
        assert main(["sync", "toy"]) == 0 and "nothing waits" in capsys.readouterr().out
        assert handler.received == sent
    verdict = offline / "verdict" / "0-2"
    assert f"wandb: {config}" in (Mirror.start(offline, TRACKING, computing=False).finish(verdict) or "")
    assert wandb.read_mirror_state(offline)["touched"]
    (claims := verdict / "claims.json").write_text(claims.read_text().replace('"holds"', '"fails"'))
    assert [run.folder for run in upload.pending_uploads(offline.parent, (), False, {})] == [offline]


def test_a_mirror_that_was_cut_short_is_made_anew_and_uploaded_once(
    offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Mirror.start(offline, TRACKING, computing=False).finish(offline / "verdict" / "0-2")
    [run] = upload.pending_uploads(offline.parent, (), False, {})
    assert wandb.current_mirror_line(run.run_info, VerdictFolder(offline / "verdict" / "0-2"))
    [written] = (offline / "wandb").glob("*run-*/*.wandb")
    written.write_bytes(written.read_bytes()[: written.stat().st_size // 2])
    with recorder() as (address, handler):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        assert main(["sync"]) == 0, capsys.readouterr()
        sent = handler.received
        for text in (b"validation_loss/ticket, density 21.1, replicate 1", b"first_crossing", b"It wins."):
            assert text in sent
        assert curves(records_of(offline)) == measured_curves(offline)
        assert main(["sync"]) == 0 and "nothing waits" in capsys.readouterr().out
        assert handler.received == sent


def test_a_mirror_is_rebuilt_from_the_files_alone(
    offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = curves(records_of(offline))
    shutil.rmtree(offline / "wandb")
    assert main(["sync"]) == 0 and "nothing waits" in capsys.readouterr().out, "it was never mirrored"
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_port()}")
    assert main(["sync", "toy", "--rebuild"]) == 75
    printed = capsys.readouterr()
    assert "1 of 1 mirrors are whole" in printed.out and "nothing is lost" in printed.err
    assert curves(records_of(offline)) == before == measured_curves(offline)


def test_what_stands_in_the_way_of_an_upload_is_one_line(
    offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(code: int, *words: str) -> str:
        assert main(["sync", *words]) == code, capsys.readouterr()
        [line] = capsys.readouterr().err.splitlines()
        return line

    assert "did you mean 'toy'?" in refusal(2, "toi")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_port()}")
    assert "cannot be reached: nothing is lost" in refusal(75)
    with silent() as address:
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setattr(wandb, "REACH_SECONDS", 0.2)
        monkeypatch.setattr(upload, "PUSH_SECONDS", 2.0)
        assert "cannot be reached" in refusal(75)
        monkeypatch.setattr(wandb, "why_unreachable", lambda address: None)
        assert "not uploaded within 2 s" in refusal(75)
    monkeypatch.delenv("WANDB_API_KEY")
    assert f"no key for {address}" in refusal(2)
    with files.try_lock(offline / "lock", ""):
        [run] = upload.pending_uploads(offline.parent, (), False, {})
        with pytest.raises(upload.Interrupted, match="is being computed"):
            upload.refresh_mirror(run, rebuild=True)
    assert wandb.read_mirror_state(offline)["pushed"] is None
    (offline / "lock").unlink()
    (offline / "lock").mkdir()  # as good as a folder that cannot be written, for whoever runs the tests
    with pytest.raises(BadInput, match="cannot be mirrored"):
        upload.refresh_mirror(run, rebuild=True)
    (offline.parent / "foreign").mkdir()
    (offline.parent / "foreign" / "settings.json").write_text("{")
    (offline / "settings.json").write_text("[]")
    assert main(["sync"]) == 0
    assert f"{NAME} cannot be read: left out" in capsys.readouterr().err
