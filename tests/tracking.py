"""Runs to be mirrored, what trackers wrote of them read back, and servers on this machine for them to talk to."""

import contextlib
import getpass
import http.server
import importlib
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from tests.limits import machine_seconds

TRACKING: dict[str, Any] = {"name": "wandb", "mode": "offline", "project": "encore", "entity": None, "group": None}
TRACKING |= {"tags": ["mine"], "notes": "a note"}
SETTINGS = {"learning_rate": 0.001, "place": [str(Path.home() / "data")]}
STEPS = (0, 100, 200)
ARMS = ("dense", "ticket")


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


def write_run(folder: Path, paper: str = "a_paper") -> Path:
    """A small finished run of two replicates; returns its verdict folder."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "paper": paper,
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


def write_live_rows(folder: Path, replicate: int, steps: range, stage: str = "dense") -> None:
    """Live rows of a running replicate."""
    (folder / "live").mkdir(exist_ok=True)
    with (folder / "live" / f"{replicate:06d}.jsonl").open("a") as file:
        for step in steps:
            file.write(
                json.dumps({"replicate": replicate, "stage": stage, "step": step, "loss": 1 / (1 + step)}) + "\n"
            )


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
        if position + 7 + length > len(data):
            break  # it is still being written
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


def records_of(folder: Path) -> list[Any]:
    """The records of the only wandb run below a run's folder."""
    [written] = (folder / "wandb").glob("*run-*/run-*.wandb")
    return read_records(written)


def history(records: list[Any]) -> list[dict[str, Any]]:
    """The rows of a wandb run, in their order."""
    return [entries(record.history.item) for record in records if record.HasField("history")]


def curves(records: list[Any]) -> dict[tuple[str, int], float]:
    """Every point of every curve of a wandb run: its series and step."""
    found: dict[tuple[str, int], float] = {}
    for row in history(records):
        for name, value in row.items():
            if "step" in row and name != "step" and not name.startswith("_"):
                found[name, row["step"]] = value
    return found


def measured_curves(folder: Path) -> dict[tuple[str, int], float]:
    """The same from a run's own files, read without the code under test."""
    found: dict[tuple[str, int], float] = {}
    for path in folder.glob("replicates/*/measurements.jsonl"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if "step" in row:
                conditions = [f"{name} {row[name]}" for name in ("density",) if name in row]
                place = ", ".join([row["arm"], *conditions, f"replicate {int(path.parent.name)}"])
                found[f"{row['metric']}/{place}", row["step"]] = float(row["value"])
    return found


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What the condition gives as soon as that is true."""
    deadline = time.monotonic() + machine_seconds(seconds)
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)
    return found


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
    for text in [*private_strings(), str(folder), "mirror_process", "secret-argument"]:
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def silent() -> Generator[str]:
    """The address of a server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
