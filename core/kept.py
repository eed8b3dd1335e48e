"""Answers kept in the cache folder beside a stamp of the files that they hang on, and found anew when it changes."""

import contextlib
import hashlib
import json
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from core import files
from core.paths import WINNERS, cache_folder, configs_folder, experiment_path, project_root, published_folder
from core.processes import end_with_process

FEW = 4  # answers to be found anew, below which no further process is started

Entry = os.DirEntry[str] | Path


def find_answers(
    name: str,
    stamps: dict[str, str],
    find: Callable[[str], Any],
    processes: int = 1,
    check: Callable[[str], object] = lambda key: None,
) -> dict[str, Any]:
    """The answer to every key: the kept one while its stamp stays, what `find(key)` gives otherwise.

    Args:
      name: of this kind of answer: its folder in the cache.
      stamps: by key, of all that the answer hangs on.
      find: gives plain data; with several `processes` a function of a module, so that it reaches them.
      check: raises for a key without an answer; called with all that are to be found anew before any of them is.
    """
    kept = {key: _read(_file(name, key)) for key in stamps}
    answers = {key: kept[key].get("answer") for key in stamps if kept[key].get("stamp") == stamps[key]}
    missing = [key for key in stamps if key not in answers]
    for key in missing:
        check(key)
    for key, answer in zip(missing, _find_each(find, missing, processes), strict=True):
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, and nothing else
            files.write_json(_file(name, key), {"stamp": stamps[key], "answer": answer})
        answers[key] = answer
    return {key: answers[key] for key in stamps}


def _find_each(find: Callable[[str], Any], keys: Sequence[str], processes: int) -> Iterator[Any]:
    if processes == 1 or len(keys) < FEW:
        yield from map(find, keys)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, end_with_process, (os.getpid(),)) as pool:
        yield from pool.map(find, keys)


def _file(name: str, key: str) -> Path:
    return cache_folder() / name / f"{hashlib.sha256(f'{project_root()} {key}'.encode()).hexdigest()[:24]}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def stamp(found: Iterable[Entry]) -> str:
    """Changes when one of the files is another one, was written since, or is gone, and with the version of Python."""
    digest = hashlib.sha256(sys.version.encode())
    for each in found:
        about = None
        with contextlib.suppress(OSError):
            about = each.stat()
        digest.update(f"{os.fspath(each)} {about.st_mtime_ns} {about.st_size}".encode() if about else b"-")
    return digest.hexdigest()[:16]


def code_files() -> Iterator[Entry]:
    """The Python files of core."""
    return files_below(Path(__file__).parent, ".py")


def library_stamp() -> str:
    """Changes with what is installed, and with the variables that set flags of the numerical libraries."""
    flags = sorted(item for item in os.environ.items() if item[0].startswith(("JAX_", "XLA_", "LIBTPU_")))
    folders = {Path(sysconfig.get_path(each)) for each in ("purelib", "platlib")}
    return hashlib.sha256(f"{stamp(sorted(folders))} {json.dumps(flags)}".encode()).hexdigest()[:16]


def shared_config_files() -> Iterator[Entry]:
    """The configs that are not a paper's: of runs, sweeps, launchers, tracking."""
    papers = configs_folder()
    for entry in files_below(papers.parent, ".yaml"):
        if Path(entry).parent != papers:
            yield entry


def paper_files(slug: str) -> Iterator[Entry]:
    """What says how a paper is performed: its config, its experiment, the values that its tuning chose."""
    yield configs_folder() / f"{slug}.yaml"
    yield published_folder() / slug / "laptop" / WINNERS
    yield from files_below(experiment_path(slug).parent, ".py")


def files_below(folder: Path, ending: str = "") -> Iterator[Entry]:
    """The files below a folder whose names end so, in a fixed order; none where there is no folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                yield from files_below(Path(entry.path), ending)
            elif entry.name.endswith(ending):
                yield entry
