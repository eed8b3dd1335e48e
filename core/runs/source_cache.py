"""Analyses of source files: in memory while a file stays as it is, and in the cache folder by its content.

One analysis serves every checkout and every process. What is kept is verified when it is read, and made again where it
is damaged; where nothing can be written, nothing is kept.
"""

import contextlib
import functools
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from core.paths import cache_folder
from core.runs import import_effects, references, source_files, syntax
from core.runs.source_files import Behaviour, Definition, SourceFile, analyse_source

RECENT_NS = 2_000_000_000  # what was written so recently may change again without a change of its times
_ANALYSERS = (source_files, syntax, references, import_effects)

Content = TypeVar("Content")


def read_source_file(path: str) -> SourceFile | None:
    """The analysis of a file, the same object while its content stays; None where there is no file.

    Raises SyntaxError or ValueError for a file that is not Python.
    """
    return _remember(path, lambda: _analyse_content(Path(path).read_bytes()))


def read_folder(path: str) -> tuple[str, ...] | None:
    """Names of the Python files and folders in a folder, the same object while they stay; None where there is none."""
    return _remember(path, lambda: _intern_names(tuple(sorted(filter(_is_source, os.listdir(path))))))  # noqa: PTH208


def _is_source(name: str) -> bool:
    return name.removesuffix(".py").isidentifier() and name != "__pycache__"


@functools.lru_cache(maxsize=4096)
def _intern_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return names


class _Known(NamedTuple):
    signature: tuple[int, ...]
    read: int
    content: Any


_MEMORY: dict[str, _Known] = {}


def _remember(path: str, read: Callable[[], Content]) -> Content | None:
    """What `read` gives for a path, asked again only when the path has changed, or may have."""
    try:
        about = os.stat(path)  # noqa: PTH116 (hundreds of files in a few milliseconds)
        signature = about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino, about.st_mode
        known = _MEMORY.get(path)
        if known is not None and known.signature == signature and known.read - max(signature[:2]) > RECENT_NS:
            return known.content
        now = time.time_ns()
        content = read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    _MEMORY[path] = _Known(signature, now, content)
    return content


@functools.lru_cache(maxsize=4096)
def _analyse_content(content: bytes) -> SourceFile:
    key = hashlib.sha256(_analysis_version() + content).hexdigest()
    file = cache_folder() / "analysis" / key[:2] / key[2:]
    if (kept := _load(file)) is not None:
        return kept
    found = analyse_source(content.decode("utf-8-sig"))
    _save(file, found)
    return found


@functools.cache
def _analysis_version() -> bytes:
    """Changes with the code that analyses, and with the version of Python that runs it."""
    files = [Path(module.__file__ or "") for module in _ANALYSERS]
    return hashlib.sha256(repr([sys.version_info[:2], *(file.read_bytes() for file in files)]).encode()).digest()


def _load(file: Path) -> SourceFile | None:
    """A kept analysis; None where there is none or it is damaged."""
    try:
        digest, _, body = file.read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    definitions, imports, loads, studies = json.loads(body)
    parts = {study: {part: _unpack(each) for part, each in found.items()} for study, found in studies.items()}
    return SourceFile(tuple(map(_unpack, definitions)), imports, tuple(loads), parts)


def _unpack(packed: list[Any]) -> Definition:
    values: list[Any] = [tuple(value) if isinstance(value, list) else value for value in packed]
    if (behaviour := values.pop()) is not None:
        behaviour = Behaviour(behaviour[0], *map(tuple, behaviour[1:]))
    return Definition(*values, behaviour)


def _save(file: Path, found: SourceFile) -> None:
    """Keep an analysis where that is possible, whole or not at all; another process may do the same."""
    body = json.dumps(found, separators=(",", ":")).encode()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".", suffix=".tmp", dir=file.parent, delete=False) as stream:
            try:
                stream.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
                stream.close()
                Path(stream.name).replace(file)
            except OSError:
                Path(stream.name).unlink()
