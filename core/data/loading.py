"""From a name to verified arrays: what is at hand first, then every source in turn, one clear line if none delivers."""

import contextlib
import gzip
import importlib.util
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import files
from core.data.catalogue import find_data_set
from core.data.dataset import DataFile, DataSet, FileContents
from core.errors import DataMissing
from core.paths import cache_folder

Notify = Callable[[str], object]


def load_data_set(name: str, notify: Notify = print) -> dict[str, Any]:
    """The numpy arrays of a data set, each of its files verified by sha256; fetched first where they are missing.

    Image sets: `train_images` and `test_images` uint8 (N, H, W) or (N, H, W, 3), `train_labels` and `test_labels` int32
    (N,). Arrays may be read-only. Raises BadInput for an unknown name and DataMissing where no source delivers.
    """
    data = find_data_set(name)
    _, contents = _find_or_fetch(data, notify)
    return data.parse(contents)


def fetch_data_set(name: str, notify: Notify = print) -> Path:
    """Make sure that a data set is at hand and verified; returns its folder, `notify` is told of the progress."""
    folder, contents = _find_or_fetch(find_data_set(name), notify)
    count, size = len(contents), sum(map(len, contents.values())) / 1e6
    notify(f"{name}: {count} file{'s' * (count > 1)}, {size:.1f} MB, verified in {folder}")
    return folder


def cached_data_folder(name: str) -> Path:
    """Folder in the cache for the files of one data set."""
    return cache_folder().expanduser() / "data" / name


def user_data_folders(name: str) -> list[Path]:
    """Where a user may have placed the files by hand: `$ENCORE_DATA/<name>/`, then `$ENCORE_DATA/` itself."""
    root = os.environ.get("ENCORE_DATA")
    return [Path(root).expanduser() / name, Path(root).expanduser()] if root else []


def _find_or_fetch(data: DataSet, notify: Notify) -> tuple[Path, FileContents]:
    notes: list[str] = []
    found = _find_files(data, notes)
    for note in notes:
        notify(f"{data.name}: {note}")
    return found or _obtain(data, notes, notify)


def _find_files(data: DataSet, notes: list[str]) -> tuple[Path, FileContents] | None:
    """The first folder with all files, each verified, and their contents; `notes` grows by what is wrong with others.

    A damaged file in the cache is set aside, so that it is fetched again; what a user has placed is never touched.
    """
    cache = cached_data_folder(data.name)
    for folder in [cache, *user_data_folders(data.name), *_package_folders(data)]:
        contents: FileContents = {}
        for file in data.files:
            content = _content(folder, file)
            if content is None:
                break
            if files.sha256(content) != file.sha256:
                notes.append(f"{folder / file.name} is not the declared file (its sha256 differs)")
                if folder == cache:
                    notes[-1] += f", set aside as {_set_aside(cache / file.name)}"
                break
            contents[file.name] = content
        else:
            return folder, contents
    return None


def _package_folders(data: DataSet) -> list[Path]:
    """The folder of an installed package that has the files; the package is found without being imported."""
    package, _, inside = data.package_folder.partition(":")
    found = importlib.util.find_spec(package) if package else None
    return [Path(found.origin).parent / inside] if found and found.origin else []


def _content(folder: Path, file: DataFile) -> bytes | None:
    """Bytes of the file, or of its compressed form with .gz at the end; None where there is neither."""
    with contextlib.suppress(OSError):
        return (folder / file.name).read_bytes()
    with contextlib.suppress(OSError, EOFError, zlib.error), gzip.open(folder / f"{file.name}.gz") as packed:
        return packed.read(file.bytes + 1)
    return None


def _set_aside(path: Path) -> str:
    aside = path.with_name(f"{path.name}.corrupt")
    with contextlib.suppress(OSError):
        path.replace(aside)
    return aside.name


def _obtain(data: DataSet, notes: list[str], notify: Notify) -> tuple[Path, FileContents]:
    """Ask every source in turn; all files of the first that delivers them verified go to the cache."""
    from core.data import sources  # network and archives: of no use where the data are at hand

    cache = cached_data_folder(data.name)
    if data.sources:
        _writable(cache)
    tried = list(notes)
    for source in data.sources:
        notify(f"{data.name}: trying {source.description}")
        try:
            with tempfile.TemporaryDirectory(prefix="encore-") as scratch:
                contents = sources.fetch_from_source(source, data, user_data_folders(data.name), Path(scratch), notify)
        except (sources.SourceUnavailable, OSError) as error:
            tried.append(f"{source.description}: {sources.error_text(error)}")
            notify(f"  {sources.error_text(error)}")
            continue
        _store(cache, contents)
        return cache, contents
    raise DataMissing(_no_source_message(data, tried))


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_store(folder, error.strerror) from None
    if not os.access(folder, os.W_OK):
        raise _cannot_store(folder, "it is not writable")


def _store(folder: Path, contents: FileContents) -> None:
    for name, content in contents.items():
        try:
            files.write_bytes(folder / name, content)
        except OSError as error:
            raise _cannot_store(folder, error.strerror) from None


def _cannot_store(folder: Path, reason: str | None) -> DataMissing:
    return DataMissing(
        f"data cannot be stored in {folder} ({reason}): set ENCORE_CACHE to a folder with room that can be written"
    )


def _no_source_message(data: DataSet, tried: list[str]) -> str:
    searched = [str(folder) for folder in [cached_data_folder(data.name), *user_data_folders(data.name)]]
    line = f"data set '{data.name}' is not at hand (searched {', '.join(searched)})"
    line += f" nor in the package {data.package_folder.partition(':')[0]}" if data.package_folder else ""
    line += f" and no source delivered it: {'; '.join(tried)}." if tried else "."
    line += f" Place {_placeable(data)} in the folder {data.name}/ below $ENCORE_DATA by hand"
    if data.alternatives:
        others = " or ".join(data.alternatives)
        line += f", or choose {others} in its place in the settings, a deviation that the verdict will carry"
    return line


def _placeable(data: DataSet) -> str:
    """What a user can put down: the files (unless they are made by a conversion), another form of them, an archive."""
    made = any(source.unpack for source in data.sources)
    forms = [] if made else [", ".join(file.name for file in data.files)]
    forms += [source.address for source in data.sources if source.kind == "placed"]
    forms += [source.address.rpartition("/")[2] for source in data.sources if source.kind == "archive"]
    return ", or ".join(forms)
