"""Small file operations: atomic writes, checksums, and a lock that one process holds."""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from core.errors import Busy


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` so that `path` holds either its former content or all of the new one, whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def check_can_write(folder: Path) -> None:
    """Raise OSError where nothing can be written into a folder, which need not exist; nothing is left behind."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    tempfile.TemporaryFile(dir=there).close()


def write_text(path: Path, content: str) -> None:
    """Write text as UTF-8, atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (no NaN, no Infinity), indented, atomically."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON document."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left half-written below `folder`; only for the holder of the folder's lock."""
    for leftover in folder.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def wait_for_lock(path: Path, waiting: Callable[[], object], poll_seconds: float = 0.2) -> Generator[None]:
    """Hold an exclusive lock; while another process holds it, call `waiting` once and wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = False
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    waiting()
                told = True
                time.sleep(poll_seconds)
        yield


@contextlib.contextmanager
def try_lock(path: Path, busy: str) -> Generator[None]:
    """Hold an exclusive lock; raise `Busy(busy)` at once when another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(busy) from None
        yield
