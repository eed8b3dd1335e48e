"""Trackio and the board: its database against the run's files, who may reach it, and that it calls nobody."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import files
from core.cli.main import main
from core.tracking.mirror import Mirror
from tests.limits import machine_seconds
from tests.tracking import TRACKING, free_port, wait_for, write_live_rows, write_replicate, write_run

ROOT = Path(__file__).resolve().parents[2]
NAME = "a_paper-lenet-laptop-0123456789ab"
TRACKIO = TRACKING | {"name": "trackio", "project": None}

# Starts what the board starts, after a hook that ends the process if any other machine is so much as asked for.
ALONE = """
import os, sys
from ipaddress import ip_address

def record(event, arguments):
    place = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}.get(event)
    if place is not None:
        host = arguments[place][0] if isinstance(arguments[place], tuple) else arguments[place]
        if isinstance(host, str) and host and not host.startswith("/") and host != "localhost":
            if not ip_address(host).is_loopback:
                print(f"{event} {host}", file=sys.stderr, flush=True)
                os._exit(9)

sys.addaudithook(record)
from core.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_word_to_another_machine_would_be_noticed() -> None:
    for call in ("socket.create_connection(('192.0.2.1', 9), 1)", "socket.getaddrinfo('192.0.2.1', 9)"):
        program = ALONE.partition("from core.cli")[0] + f"import socket\n{call}"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=machine_seconds(60), check=False
        )
        assert done.returncode == 9 and "192.0.2.1" in done.stderr


def rows_of(runs: Path, project: str = "a_paper") -> dict[str, dict[int, dict[str, Any]]]:
    """Values of every Trackio run by name and step, from its database, without the code under test."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for name, step, metrics in selected(runs, "run_name, step, metrics from metrics order by id", project):
        found.setdefault(name, {}).setdefault(step, {}).update(json.loads(metrics))
    return found


def selected(runs: Path, what: str, project: str = "a_paper") -> list[tuple]:
    """Rows of the database of a project."""
    with contextlib.closing(sqlite3.connect(runs / "trackio" / f"{project}.db")) as database:
        return database.execute(f"select {what}").fetchall()


def shown(runs: Path, name: str, project: str = "a_paper") -> bool:
    """Whether the database, which may only be about to be made, holds a Trackio run."""
    if not (runs / "trackio" / f"{project}.db").exists():
        return False
    with contextlib.suppress(sqlite3.OperationalError):
        return name in rows_of(runs, project)
    return False


def expected(folder: Path, replicate: int, arm: str) -> dict[int, dict[str, float]]:
    """What one arm of one replicate measured, from the run's own files; what is final stands at step 0."""
    found: dict[int, dict[str, float]] = {0: {}}
    for line in (folder / "replicates" / f"{replicate:06d}" / "measurements.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["arm"] == arm and row["value"] != "inf":
            conditions = ", ".join(f"{name} {row[name]}" for name in ("density", "draw") if name in row)
            found.setdefault(row.get("step", 0), {})[f"{row['metric']}/{conditions}"] = row["value"]
    return found


def test_a_run_is_mirrored_value_by_value_and_only_once(tmp_path: Path) -> None:
    verdict = write_run(tmp_path / NAME)
    for computing in (True, False):
        assert Mirror.start(tmp_path / NAME, TRACKIO, computing).finish(verdict) == "trackio: encore board"
        found = rows_of(tmp_path)
        for replicate in (0, 1):
            for arm in ("dense", "ticket"):
                assert found.pop(f"{arm} r{replicate} lenet 6789ab") == expected(tmp_path / NAME, replicate, arm)
        [claim] = found.pop("verdict lenet 6789ab")[0]["claims"]["_value"]
        assert (claim["claim"], claim["verdict"], claim["statement"]) == ("C1", "holds", "It wins.")
        assert not found and len(selected(tmp_path, "id from metrics")) == 2 * 2 * (3 + 1) + 1
    [[text]] = selected(tmp_path, "config from configs where run_name like 'ticket r1%'")
    config = json.loads(text)
    assert config["_Group"] == "a_paper" and config["settings.learning_rate"] == 0.001
    assert (config["arm"], config["replicate"], config["settings.place"]) == ("ticket", 1, ["(private)"])
    assert "_Username" not in config


def test_what_runs_is_shown_and_then_replaced(tmp_path: Path) -> None:
    write_run(tmp_path / NAME)
    (done := tmp_path / NAME / "replicates" / "000001" / "done.json").rename(tmp_path / NAME / "hidden")
    mirror = Mirror.start(tmp_path / NAME, TRACKIO)
    running = "r1 running lenet 6789ab"
    write_live_rows(tmp_path / NAME, 1, range(3))
    wait_for(lambda: shown(tmp_path, running))
    assert rows_of(tmp_path)[running] == {step: {"loss/stage dense": 1 / (1 + step)} for step in range(3)}
    (tmp_path / NAME / "hidden").rename(done)
    assert mirror.finish(None) == "trackio: encore board"
    found = rows_of(tmp_path)
    assert running not in found and found["dense r1 lenet 6789ab"] == expected(tmp_path / NAME, 1, "dense")


@pytest.fixture
def runs(toy_root: Path, tmp_path: Path) -> Path:
    """The folder of runs, with one of the toy paper that nothing was told of, and one that cannot be read."""
    runs = tmp_path / "results" / "runs"
    write_run(runs / NAME, "toy")
    (runs / "torn").mkdir()
    (runs / "torn" / "settings.json").write_text('{"paper": "to')
    (runs / "foreign").mkdir()
    return runs


def asked(address: str) -> str:
    with urllib.request.urlopen(address, timeout=machine_seconds(30)) as answer:
        return answer.read().decode()


@pytest.fixture
def board(runs: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a board that would end at the first word to another machine, and its process."""
    variables = {"HF_TOKEN": "hf_x", "TRACKIO_SPACE_ID": "someone/space", "GRADIO_SHARE": "true", "SYSTEM": "spaces"}
    process = subprocess.Popen(
        [sys.executable, "-c", ALONE, "board", "--no-browser", "--port", str(free_port())],
        env=os.environ | variables,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(" board: http://127.0.0.1:"), process.communicate()
        yield line.split()[1], process
    finally:
        process.kill()
        process.communicate()


def test_the_board_shows_every_run_and_those_to_come(board: tuple[str, subprocess.Popen[str]], runs: Path) -> None:
    address, process = board
    assert "<title>Trackio Dashboard</title>" in asked(address) and "smoothing=0" in address
    names = {f"{arm} r{replicate} lenet 6789ab" for arm in ("dense", "ticket") for replicate in (0, 1)}
    assert set(rows_of(runs, "toy")) == {*names, "verdict lenet 6789ab"}
    write_replicate(runs / NAME, 2)
    write_live_rows(runs / NAME, 3, range(2))
    with files.try_lock(runs / NAME / "lock", "busy"):
        wait_for(lambda: shown(runs, "r3 running lenet 6789ab", "toy"))
    wait_for(lambda: shown(runs, "r3 stopped lenet 6789ab", "toy"))
    assert "r3 running lenet 6789ab" not in rows_of(runs, "toy"), "nobody is at work on it any more"
    assert len(rows_of(runs, "toy")["r3 stopped lenet 6789ab"]) == 2
    with files.try_lock(runs / NAME / "lock", "busy"):
        wait_for(lambda: shown(runs, "r3 running lenet 6789ab", "toy"))
    assert "r3 stopped lenet 6789ab" not in rows_of(runs, "toy")
    assert rows_of(runs, "toy")["ticket r2 lenet 6789ab"] == expected(runs / NAME, 2, "ticket")
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    port = f"{urllib.parse.urlsplit(address).port:04X}"
    assert [each for each in listening if each.endswith(f":{port}")] == [f"0100007F:{port}"], "on loopback alone"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=machine_seconds(60))
    assert process.returncode == 0 and said == " torn cannot be read: left out\n"


def test_what_the_board_cannot_do_is_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(*words: str) -> str:
        assert main(["board", "--no-browser", *words]) == 2
        [line] = capsys.readouterr().err.splitlines()
        return line

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"port {port} is in use: add --port " in refusal("--port", str(port))
    assert "is no port" in refusal("--port", "70000")
    assert "did you mean 'toy'?" in refusal("toi")
    assert not (runs / "trackio").exists()


def test_results_that_cannot_be_written_are_shown_nevertheless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.tracking import board

    (tmp_path / "trackio").write_text("a file where the folder should be")
    with board.open_database_folder(tmp_path) as (folder, note):
        assert folder.is_dir() and note is not None and "cannot be written" in note
    assert not folder.exists()
    with board.open_database_folder(tmp_path / "fresh") as (folder, note):
        assert folder == tmp_path / "fresh" / "trackio" and note is None
