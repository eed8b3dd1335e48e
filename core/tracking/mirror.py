"""The side of tracking that a run sees: start a mirror process, tell it the verdict, never depend on it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import BadInput, unknown

MODES = ("offline", "online", "disabled")
LOG = "logs/tracking.log"  # inside the run's folder
WAIT_SECONDS = 60.0  # at the end of a run, for the last rows and, when online, the upload


class Mirror:
    """A process that copies one run's files to a dashboard; whatever happens to it, the run goes on."""

    def __init__(self, folder: Path, process: subprocess.Popen[str] | None) -> None:
        self.folder = folder
        self._process = process

    @classmethod
    def start(cls, folder: Path, tracking: Mapping[str, Any], about: Mapping[str, Any]) -> "Mirror":
        """Start mirroring the run in `folder`.

        `tracking` is the chosen tracking group (name, mode, project, entity, group, tags, notes).
        `about` names the replicates (`first_replicate`, `replicates`); all of it goes into the dashboard's config.
        """
        check(tracking)
        if tracking["mode"] == "disabled":
            return cls(folder, None)
        process = _launch(folder.resolve())
        _tell(process, {"tracking": dict(tracking), "about": dict(about), "shown": str(folder)})
        return cls(folder, process)

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
            return f"wandb: not finished within {wait_seconds:.0f} s and stopped; what was written is in {self._kept()}"
        lines = answer.strip().splitlines()
        if not lines:
            return f"wandb: the mirror ended early (see {self.folder / LOG}); the run itself does not depend on it"
        return lines[-1]

    def _kept(self) -> str:
        return str(self.folder / "wandb")


def check(tracking: Mapping[str, Any]) -> None:
    """Raise `BadInput` for settings that no mirror can work with."""
    if tracking["mode"] not in MODES:
        raise unknown("tracking mode", str(tracking["mode"]), MODES)
    if not isinstance(tracking["project"], str) or not tracking["project"]:
        raise BadInput("tracking.project must be a name, for example tracking.project=encore")


def _launch(folder: Path) -> subprocess.Popen[str]:
    log = folder / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "core.tracking.wandb_mirror", str(folder)]
    with log.open("w") as errors:
        # A session of its own: an interrupt at the terminal reaches the run, and the mirror ends when the run does.
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
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
