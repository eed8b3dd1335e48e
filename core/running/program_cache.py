"""The cache of compiled programs, which all workers share: where it is, its bound, and what keeps it from working."""

import contextlib
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import paths

FOLDER, MAX_SIZE = "JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"
FAULT = re.compile(
    r"^(?:Error (?:reading|writing) persistent compilation cache entry for|Cache value for key) '.*?':? "
)


def cache_variables() -> dict[str, str]:
    """Environment variables with which jax keeps every program, however small."""
    return {
        FOLDER: str(paths.cache_folder() / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def date_programs() -> None:
    """Where the cache is bounded, note a time of last use for each program that has none.

    A jax with `JAX_COMPILATION_CACHE_MAX_SIZE` reads that time of every program before it writes one, and fails on
    those that were written without the bound.
    """
    if os.environ.get(MAX_SIZE, "-1") == "-1":
        return
    for program in Path(os.environ[FOLDER]).glob("*-cache"):
        date = program.with_name(f"{program.name.removesuffix('-cache')}-atime")
        with contextlib.suppress(OSError):  # evicted by another process, or a folder that cannot be written
            if not date.exists():
                date.write_bytes(program.stat().st_mtime_ns.to_bytes(8, "little"))


def report_faults(tell: Callable[[str], object]) -> None:
    """Have `tell` called once, with a line, when jax cannot keep or find programs, which it only warns of."""
    show, told = warnings.showwarning, False

    def notice(message: Warning | str, *about: Any, **named: Any) -> None:
        nonlocal told
        found = FAULT.match(str(message))
        if found and not told and os.environ.get(MAX_SIZE) != "0":
            told = True
            reason = str(message)[found.end() :].strip()
            tell(f"compiled programs are not kept in {os.environ.get(FOLDER)}, every run compiles them anew: {reason}")
        show(message, *about, **named)

    warnings.showwarning = notice  # ty: ignore[invalid-assignment]
