"""What each page of the report was made from, kept beside the pages: one whose inputs stand is not made anew."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from core import files, kept
from core.papers.config import PaperConfig
from core.papers.config_files import all_slugs
from core.paths import project_root
from core.report.freshness_process import Freshness
from core.report.results import run_folders
from core.runs.identity import digest
from core.runs.sweep_folder import SWEEPS_FOLDER, is_locked

INPUTS_FILE = "inputs.json"
SITE = "*"  # stands for all pages together


class PageInputs:
    """The pages of one folder, each with a stamp of its inputs and with its size and time when it was written."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._before = _read(out / INPUTS_FILE)
        self._now: dict[str, list[Any]] = {}

    def stands(self, name: str, inputs: str) -> bool:
        """Whether the page of this name was made from these inputs and is as it was written; it is kept if so."""
        entry = [inputs, *_written(self.out / name)]
        if self._before.get(name) != entry:
            return False
        self._now[name] = entry
        return True

    def is_new(self, name: str) -> bool:
        """Whether nothing is known of a page of this name."""
        return name not in self._before

    def add(self, name: str, inputs: str) -> None:
        """A page that was just written."""
        self._now[name] = [inputs, *_written(self.out / name)]

    def site_stands(self, inputs: str) -> bool:
        """Whether the whole site was made from these inputs and no page was touched since."""
        pages = {name: entry[1:] for name, entry in self._before.items() if name != SITE}
        written = all(_written(self.out / name) == entry for name, entry in pages.items())
        return bool(pages) and written and self._before.get(SITE) == [inputs]

    def save(self, site: str) -> None:
        """Keep what was added and what stood; `site` is the stamp of everything, empty where it cannot be relied on."""
        entries = self._now | ({SITE: [site]} if site else {})
        with contextlib.suppress(OSError):  # without it the next report takes its time, and nothing else
            files.write_json(self.out / INPUTS_FILE, entries)


def code_stamp() -> str:
    """Changes with the code, the templates and what is installed."""
    own = (*kept.code_files(), *kept.files_below(Path(__file__).parent), *kept.shared_config_files())
    return f"{kept.stamp(own)}{kept.library_stamp()}"


def site_stamp(published: Path, local: Path, out: Path) -> str:
    """Changes with anything that any page hangs on."""
    slugs = all_slugs()
    own = [entry for slug in slugs for entry in kept.paper_files(slug)]
    trees = [entry for folder in _published(published) for entry in kept.files_below(folder)]
    runs = [*_runs(local, ""), *_sweeps(local)]
    said = [str(project_root()), slugs, _link(published, out), _link(local, out), _locks(local)]
    return digest([code_stamp(), kept.stamp([*own, *trees]), kept.stamp(runs), said])


def page_stamp(code: str, config: PaperConfig, places: tuple[Path, Path, Path], freshness: Sequence[Freshness]) -> str:
    """Changes with what the page of one paper hangs on; `places` are published results, local ones, and the pages."""
    published, local, out = places
    own = [*kept.paper_files(config.slug), *kept.files_below(published / config.slug), *_sweeps(local)]
    own += _runs(local, f"{config.slug}-")
    said = [config.form.model_dump(mode="json"), [repr(each) for each in freshness]]
    return digest([code, kept.stamp(own), said, _link(published, out), _link(local, out), _locks(local, config.slug)])


def _read(path: Path) -> dict[str, list[Any]]:
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and all(isinstance(entry, list) for entry in found.values()) else {}


def _written(path: Path) -> list[int]:
    try:
        about = path.stat()
    except OSError:
        return []
    return [about.st_size, about.st_mtime_ns]


def _published(root: Path) -> Iterable[Path]:
    return sorted(path for path in root.glob("[!.]*") if path.is_dir() and path.name not in ("runs", "report"))


def _runs(local: Path, beginning: str) -> Iterator[kept.Entry]:
    for run in run_folders(local):
        if run.name.startswith(beginning):
            yield from kept.files_below(run)


def _sweeps(local: Path) -> Iterator[kept.Entry]:
    yield from kept.files_below(local / "runs" / SWEEPS_FOLDER)


def _locks(local: Path, slug: str = "") -> list[str]:
    """The runs and the points of sweeps at work: that one stopped changes no file."""
    own = [run / "lock" for run in run_folders(local) if run.name.startswith(slug)]
    points = sorted((local / "runs" / SWEEPS_FOLDER).glob("*/points/*.lock"))
    return [str(lock.relative_to(local)) for lock in (*own, *points) if _is_held(lock)]


def _is_held(lock: Path) -> bool:
    try:
        return is_locked(lock)
    except OSError:  # not ours to open: named where runs are read
        return False


def _link(place: Path, out: Path) -> str:
    return os.path.relpath(place, out)
