"""What lists say of every paper, taken from configs that were found sound.

Checking all configs takes a second with fifty of them; so what was found is kept in the cache, beside a stamp of all
that it hangs on: the config, the experiment's files, the published winners, and the code that reads and checks.
"""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import files
from core.papers.config_files import all_slugs
from core.paths import WINNERS, cache_folder, configs_folder, experiment_path, project_root, results_folder


@dataclass(frozen=True)
class PaperOverview:
    """One paper in a list.

    Attributes:
      default_studies: those that `encore run` takes when no study is named.
    """

    title: str
    fields: tuple[str, ...]
    claims: int
    default_studies: tuple[str, ...]


def paper_overviews() -> dict[str, PaperOverview]:
    """Every paper by its name. Raises BadInput with one line for the first config that is refused."""
    path, code = _cache_file(), _stamp(_python_files(Path(__file__).parents[1]))
    kept = _read(path)
    found = {slug: _overview(slug, f"{code}{_stamp(_files_of(slug))}", kept.get(slug, {})) for slug in all_slugs()}
    if found != kept:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, and nothing else
            files.write_json(path, found)
    return {slug: _from_entry(entry) for slug, entry in found.items()}


def _overview(slug: str, stamp: str, kept: dict[str, Any]) -> dict[str, Any]:
    """The entry of a paper as the cache holds it; its config is read and checked only where the stamp is another."""
    if kept.get("stamp") == stamp:
        return kept
    from core.papers.config import load_config

    config = load_config(slug)
    return {
        "stamp": stamp,
        "title": config.paper.title,
        "fields": list(config.paper.fields),
        "claims": len(config.form.claims),
        "default_studies": [study.name for study in config.studies.values() if study.default],
    }


def _from_entry(entry: dict[str, Any]) -> PaperOverview:
    return PaperOverview(entry["title"], tuple(entry["fields"]), entry["claims"], tuple(entry["default_studies"]))


def _cache_file() -> Path:
    return cache_folder() / f"overviews-{hashlib.sha256(str(project_root()).encode()).hexdigest()[:12]}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _files_of(slug: str) -> Iterator[os.DirEntry[str] | Path]:
    yield configs_folder() / f"{slug}.yaml"
    yield results_folder() / slug / "laptop" / WINNERS
    yield from _python_files(experiment_path(slug).parent)


def _python_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The Python files below a folder, in a fixed order."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                yield from _python_files(Path(entry.path))
            elif entry.name.endswith(".py"):
                yield entry


def _stamp(found: Iterator[os.DirEntry[str] | Path]) -> str:
    """Changes when one of the files is another one, was written since, or is gone."""
    digest = hashlib.sha256(sys.version.encode())
    for each in found:
        about = None
        with contextlib.suppress(OSError):
            about = each.stat()
        digest.update(f"{os.fspath(each)} {about.st_mtime_ns} {about.st_size}".encode() if about else b"-")
    return digest.hexdigest()[:16]
