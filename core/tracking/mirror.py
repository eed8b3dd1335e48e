"""The side of tracking that a run sees: start a mirror process, tell it the verdict, never depend on it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import BadInput, unknown_name
from core.tracking import trackers

MIRROR_COMMAND = ("-m", "core.tracking.mirror_process")
MODES = ("offline", "online", "disabled")
PROJECT_NAME = r"[A-Za-z0-9_.-]+( [A-Za-z0-9_.-]+)*"
LOG_FILE = "logs/tracking.log"  # inside the run's folder
WAIT_SECONDS = 60.0  # at the end of a run, for the last rows and, when online, the upload


class Mirror:
    """A process that copies one run's files to a dashboard; whatever happens to it, the run goes on."""

    def __init__(self, folder: Path, process: subprocess.Popen[str] | None, name: str = "none") -> None:
        self.folder, self.name = folder, name
        self._process = process

    @classmethod
    def start(cls, folder: Path, tracking: Mapping[str, Any], computing: bool = True) -> "Mirror":
        """Start mirroring the run in `folder`.

        `tracking` is the chosen tracking group: name, mode, project, entity, group, tags, notes. Unless the run is
        `computing`, there is nothing to mirror before its verdict.
        """
        check_tracking_settings(tracking)
        if tracking["mode"] == "disabled":
            return cls(folder, None)
        process = _launch(folder.resolve())
        _tell(process, {"tracking": dict(tracking), "computing": computing, "display_path": str(folder)})
        return cls(folder, process, tracking["name"])

    def finish(self, verdict_folder: Path | None, wait_seconds: float = WAIT_SECONDS) -> str | None:
        """Send the verdict (None: the run stopped without one), wait a bounded time; a line for the person, or None."""
        process, self._process = self._process, None
        if process is None:
            return None
        _tell(process, {"verdict": str(verdict_folder.resolve()) if verdict_folder else None})
        try:
            answer, _ = process.communicate(timeout=wait_seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"{self.name}: not finished within {wait_seconds:.0f} s and stopped; the run's files are complete"
        lines = answer.strip().splitlines()
        if not lines:
            log = self.folder / LOG_FILE
            return f"{self.name}: the mirror ended early (see {log}); the run itself does not depend on it"
        return lines[-1]


def check_tracking_settings(tracking: Mapping[str, Any]) -> None:
    """Raise `BadInput` for settings that no mirror can work with."""
    name, mode, project = tracking["name"], tracking["mode"], tracking["project"]
    if mode not in MODES:
        raise unknown_name("tracking mode", str(mode), MODES)
    if mode == "disabled":
        return
    if name == "none":
        raise BadInput(f"tracking=none has no mode '{mode}': choose tracking=wandb or tracking=trackio")
    tracker = trackers.load_tracker(name)
    if mode not in tracker.MODES:
        raise BadInput(f"tracking={name} has no mode '{mode}': choose from {', '.join([*tracker.MODES, 'disabled'])}")
    if project is not None and not (isinstance(project, str) and re.fullmatch(PROJECT_NAME, project)):
        raise BadInput("tracking.project must be a name, for example tracking.project=encore")
    for key in ("entity", "group", "notes"):
        if not isinstance(tracking[key], str | None):
            raise BadInput(f"tracking.{key}={tracking[key]!r} must be text: write tracking.{key}='\"…\"'")
    if not isinstance(tracking["tags"], list) or not all(isinstance(tag, str) for tag in tracking["tags"]):
        raise BadInput("tracking.tags must be a list of words, for example tracking.tags=[mine,first]")


def _launch(folder: Path) -> subprocess.Popen[str]:
    log = folder / LOG_FILE
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *MIRROR_COMMAND, str(folder)]
    with log.open("w", encoding="utf-8") as errors:
        # A session of its own: an interrupt at the terminal reaches the run, and the mirror ends when the run does.
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )


def _tell(process: subprocess.Popen[str], message: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
