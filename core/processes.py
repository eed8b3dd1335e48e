"""Whether another process of this machine lives on, and what this one does when that one has ended."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.5
STATE, START = 0, 19  # fields of /proc/<pid>/stat behind the name of the program: 3 and 22 in its manual


def process_start(pid: int) -> str:
    """What tells a process from a later one of the same number; empty once it has ended, reaped or not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[STATE] in "ZX" else fields[START]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    try:  # a system without /proc
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "there"


def when_process_ends(pid: int, action: Callable[[], object]) -> None:
    """Call `action` in a thread of this process as soon as another process of this machine has ended."""
    start = process_start(pid)

    def watch() -> None:
        while start and process_start(pid) == start:
            time.sleep(POLL_SECONDS)
        action()

    threading.Thread(target=watch, daemon=True).start()


def end_with_process(pid: int) -> None:
    """End this process, at once, when another one of this machine has ended: for helpers that nobody asks any more."""
    when_process_ends(pid, lambda: os._exit(1))
