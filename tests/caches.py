"""Where tests keep what later test runs need again: compiled programs, Python's bytecode, trials followed by shapes.

By default in `.cache` of the checkout. A folder outside of it serves all checkouts: `$ENCORE_TEST_CACHE`, or
`${XDG_CACHE_HOME:-~/.cache}/encore-tests` where that exists. Whatever is in it can be lost at any time and costs only
time: test runs share it side by side, and each bounds it when it begins.
"""

import contextlib
import os
import tempfile
from pathlib import Path

VARIABLE = "ENCORE_TEST_CACHE"
MOST_BYTES = 2 * 2**30  # where more is found, what was used longest ago is removed, down to the half


def choose_cache(checkout: Path, scratch: Path) -> Path:
    """The first folder that can be written to; at last one in `scratch`, which lives as long as the test run."""
    home = Path(os.environ.get("HOME") or checkout)
    named, shared = os.environ.get(VARIABLE), Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "encore-tests"
    asked = [Path(named)] if named else [shared] if shared.is_dir() else []
    for folder in (*asked, checkout / ".cache"):
        if _can_write(folder):
            return folder.resolve()
    return scratch / "test-cache"


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def bound_cache(folder: Path, most: int = MOST_BYTES) -> None:
    """Remove files, longest unused first, down to half of `most` bytes where there are more than that."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another test run removed it
            if not path.is_dir():
                about = path.stat()
                found.append((max(about.st_atime, about.st_mtime), about.st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= most:
        return
    for _, size, path in sorted(found, key=lambda each: each[0]):
        if total <= most / 2:
            return
        total -= size
        with contextlib.suppress(OSError):
            path.unlink()
