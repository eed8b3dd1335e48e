"""The mirror: what it writes, what it must never write or send, and that a run does not depend on it."""

import contextlib
import getpass
import http.server
import importlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadInput
from core.tracking import rows, wandb_mirror
from core.tracking.mirror import Mirror

TRACKING: dict[str, Any] = {
    "name": "wandb",
    "mode": "offline",
    "project": "encore",
    "entity": None,
    "group": None,
}
TRACKING |= {"tags": ["mine"], "notes": "a note"}
ABOUT = {"first_replicate": 0, "replicates": 2}
SETTINGS = {"learning_rate": 0.001, "place": [str(Path.home() / "data")]}
STEPS = (0, 100, 200)


def write_replicate(folder: Path, replicate: int) -> None:
    place = folder / "replicates" / f"{replicate:06d}"
    place.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for arm in ("dense", "ticket"):
        for step in STEPS:
            value = loss(arm, replicate, step)
            lines.append(
                {
                    "metric": "validation_loss",
                    "value": value,
                    "arm": arm,
                    "density": 21.1,
                    "step": step,
                }
            )
        lines.append(
            {
                "metric": "test_accuracy",
                "value": 97.0 + replicate,
                "arm": arm,
                "density": 21.1,
                "draw": 0,
            }
        )
        lines.append(
            {
                "metric": "test_accuracy",
                "value": 98.0 + replicate,
                "arm": arm,
                "density": 21.1,
                "draw": 1,
            }
        )
        lines.append({"metric": "first_crossing", "value": "inf", "arm": arm, "density": 21.1})
    (place / "measurements.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (place / "done.json").write_text('{"seconds": 1.0}')


def loss(arm: str, replicate: int, step: int) -> float:
    return (2.0 if arm == "dense" else 1.0) / (1 + replicate + step)


def write_run(folder: Path) -> Path:
    """A small finished run of two replicates; returns its verdict folder."""
    folder.mkdir(parents=True)
    settings = {
        "paper": "a_paper",
        "study": "lenet",
        "scale": "laptop",
        "settings": SETTINGS,
    }
    (folder / "settings.json").write_text(json.dumps(settings | {"overridden": [], "identity": {"data": "ba89"}}))
    for replicate in range(2):
        write_replicate(folder, replicate)
    verdict = folder / "verdict" / "0-2"
    (verdict / "figures").mkdir(parents=True)
    clause: dict[str, Any] = {
        "metric": "test_accuracy",
        "unit_of_value": "percentage points",
        "estimate": 0.4,
        "low": 0.2,
    }
    clause |= {
        "high": None,
        "level": 0.95,
        "region": [0, None],
        "matters": 0.17,
        "units": ["replicate"],
        "n": 2,
    }
    claim: dict[str, Any] = {
        "id": "C1",
        "study": "lenet",
        "kind": "statistical",
        "statement": "It wins.",
        "published": {"value": 0.5},
    }
    claim |= {
        "verdict": "holds",
        "note": None,
        "clauses": [clause],
        "control": {"name": "again", "passes": True},
    }
    (verdict / "claims.json").write_text(json.dumps([claim]))
    (verdict / "provenance.json").write_text(json.dumps({"commit": "abc123", "dirty": False}))
    (verdict / "figures" / "accuracy.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'></svg>")
    return verdict


def read_records(path: Path) -> list[Any]:
    """The records of a .wandb file: after a 7-byte header, LevelDB log blocks of 32 KiB holding protobuf messages."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    records, position, message = [], 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        message += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole message, or the last piece of one
            record = messages.Record()
            record.ParseFromString(message)
            records.append(record)
            message = b""
    return records


def entries(items: Any) -> dict[str, Any]:
    """Key and decoded value of history, summary or config items."""
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def private_strings() -> list[str]:
    """What identifies the person or the machine and is long enough not to occur by chance."""
    found = {
        socket.gethostname(),
        socket.getfqdn(),
        getpass.getuser(),
        str(Path.home()),
        str(Path.cwd()),
        sys.executable,
    }
    return [text for text in found if len(text) > 4]


def assert_nothing_private(content: bytes, folder: Path) -> None:
    for text in [*private_strings(), str(folder), "wandb_mirror", "secret-argument"]:
        assert text.encode() not in content, text


class Recorder(http.server.BaseHTTPRequestHandler):
    """As much of a tracking server as it takes to accept a run; keeps everything it is sent."""

    received: bytes = b""
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        type(self).received += f"{self.path} {self.headers}".encode() + body
        answer = json.dumps(self.answer(body.decode(errors="replace"))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST

    def answer(self, body: str) -> dict[str, Any]:
        if "upsertBucket" in body:
            entity = {"id": "e", "name": "someone"}
            project = {"id": "p", "name": "encore", "entity": entity}
            name = json.loads(body)["variables"]["name"]
            bucket = {
                "id": "b",
                "name": name,
                "config": "{}",
                "historyLineCount": 0,
                "project": project,
            }
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        if "createRunFiles" in body:
            place = f"http://{self.headers['Host']}/put/"
            files = [{"name": name, "uploadUrl": place + name} for name in json.loads(body)["variables"]["files"]]
            return {
                "data": {
                    "createRunFiles": {
                        "runID": "b",
                        "uploadHeaders": [],
                        "files": files,
                    }
                }
            }
        return {"data": {}, "exitcode": None, "limits": {}}


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


@contextlib.contextmanager
def recorder() -> Generator[tuple[str, type[Recorder]]]:
    """A recording server on this machine: its address and its handler, which holds what came in."""
    handler = type("Handler", (Recorder,), {"received": b""})
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_offline_records(records: list[Any]) -> None:
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.project, run.run_group, run.job_type) == ("encore", "a_paper", "lenet")
    assert (run.notes, list(run.tags), run.host) == (
        "a note",
        ["a_paper", "lenet", "laptop", "mine"],
        "",
    )
    assert not run.git.remote_url
    assert not run.git.commit
    config = entries(run.config.update)
    assert config["settings"] == {"learning_rate": 0.001, "place": ["(private)"]}
    assert config["identity"] == {"data": "ba89"}
    history = [entries(record.history.item) for record in records if record.HasField("history")]
    curves = [row for row in history if "step" in row]
    assert [row["step"] for row in curves] == [0, 100, 200, 0, 100, 200]
    for position, row in enumerate(curves):
        replicate = position // 3
        for arm in ("dense", "ticket"):
            name = f"validation_loss/{arm}, density 21.1, replicate {replicate}"
            assert row[name] == pytest.approx(loss(arm, replicate, row["step"]), rel=1e-12)
    summary = entries([item for record in records if record.HasField("summary") for item in record.summary.update])
    assert summary["verdict/C1"] == "holds"
    assert summary["test_accuracy/ticket, density 21.1"] == pytest.approx(98.0)  # draws and replicates averaged
    assert summary["measurements/nrows"] == 12
    assert summary["claims/nrows"] == 1
    updates = [entries(record.config.update) for record in records if record.HasField("config")]
    assert {"provenance": {"commit": "abc123", "dirty": False}} in updates


def test_offline_run_is_complete_private_and_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["encore", "run", "secret-argument"])
    folder = tmp_path / "a_paper-lenet-laptop-0123456789ab"
    verdict = write_run(folder)
    with recorder() as (address, handler):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        line = Mirror.start(folder, TRACKING, ABOUT).finish(verdict)
    assert handler.received == b""  # not even telemetry
    assert line is not None
    assert "offline" in line
    [written] = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    assert str(written.parent) in line
    check_offline_records(read_records(written))
    files = [path for path in (folder / "wandb").rglob("*") if path.is_file()]
    for path in files:
        assert_nothing_private(path.read_bytes(), folder)
    names = {path.name for path in files}
    assert not names & {
        "requirements.txt",
        "wandb-metadata.json",
        "diff.patch",
        "output.log",
    }
    [table] = (folder / "wandb").rglob("measurements*.table.json")
    content = json.loads(table.read_text())
    assert content["columns"] == [
        "replicate",
        "arm",
        "density",
        "draw",
        "metric",
        "value",
    ]
    assert [0, "dense", 21.1, None, "first_crossing", "inf"] in content["data"]
    [figure] = (folder / "wandb").rglob("accuracy*.html")
    assert figure.read_bytes() == (verdict / "figures" / "accuracy.svg").read_bytes()


def test_online_run_sends_measurements_and_nothing_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a_paper-lenet-laptop-0123456789ab"
    verdict = write_run(folder)
    with recorder() as (address, handler):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        line = Mirror.start(folder, TRACKING | {"mode": "online"}, ABOUT).finish(verdict)
    assert line is not None
    assert line.startswith(f"wandb: {address}/someone/encore/runs/")
    for text in (
        b"validation_loss/ticket, density 21.1, replicate 1",
        b"first_crossing",
        b"It wins.",
        b"abc123",
    ):
        assert text in handler.received
    assert_nothing_private(handler.received, folder)


def test_silent_server_is_given_up_after_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wandb_mirror, "REACH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        assert wandb_mirror.unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}") is not None
        assert time.monotonic() - started < 3
    assert wandb_mirror.unreachable("no address") is not None
    with recorder() as (address, _):
        assert wandb_mirror.unreachable(address) is None


def test_killed_mirror_does_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    verdict = write_run(folder)
    mirror = Mirror.start(folder, TRACKING, ABOUT)
    assert mirror._process is not None
    os.kill(mirror._process.pid, signal.SIGKILL)
    line = mirror.finish(verdict)
    assert line is not None
    assert "ended early" in line
    assert mirror.finish(verdict) is None


def test_mirror_that_hangs_is_stopped_after_the_bound(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    verdict = write_run(folder)
    mirror = Mirror.start(folder, TRACKING, ABOUT)
    process = mirror._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    line = mirror.finish(verdict, wait_seconds=0.1)
    assert line is not None
    assert "not finished within" in line
    assert process.poll() == -signal.SIGKILL


def test_refusing_server_falls_back_once_and_the_mirror_ends_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_port()}")
    folder = tmp_path / "run"
    write_run(folder)
    process = Mirror.start(folder, TRACKING | {"mode": "online"}, ABOUT)._process
    assert process is not None
    output, _ = process.communicate(timeout=60)  # closes its input, as the system does when the run is killed
    assert process.returncode == 0
    assert output.count("tracking is offline: server unreachable") == 1
    [written] = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    kinds = [record.WhichOneof("record_type") for record in read_records(written)]
    assert kinds.count("history") == 7
    assert kinds[-1] == "exit"


def test_disabled_starts_nothing(tmp_path: Path) -> None:
    mirror = Mirror.start(tmp_path, TRACKING | {"mode": "disabled"}, ABOUT)
    assert mirror.finish(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_unknown_mode_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'online'"):
        Mirror.start(tmp_path, TRACKING | {"mode": "onlin"}, ABOUT)
    with pytest.raises(BadInput, match="project"):
        Mirror.start(tmp_path, TRACKING | {"project": ""}, ABOUT)
    assert list(tmp_path.iterdir()) == []


def test_only_finished_replicates_are_read(tmp_path: Path) -> None:
    write_replicate(tmp_path, 0)
    write_replicate(tmp_path, 3)
    (tmp_path / "replicates" / "000003" / "done.json").unlink()
    assert rows.finished_replicates(tmp_path, range(5)) == [0]
    assert rows.read_rows(tmp_path, 0)[-1]["value"] == float("inf")
