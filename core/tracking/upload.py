"""Uploading what was mirrored offline: wandb's own `sync` on each run that waits, after its mirror is whole.

Nothing is uploaded twice: what a server has stands in the `mirror.json` of a run, and in wandb's own mark.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import files
from core.errors import BadInput, EncoreError, Interrupted
from core.tracking.mirror import Mirror
from core.tracking.run_info import RunInfo, VerdictFolder, newest_verdict_folder
from core.tracking.trackers import load_tracker, wandb

PUSH_SECONDS = 600.0  # for one run
MIRROR_SECONDS = 600.0
RUN_ADDRESS = re.compile(r"https?://[^\s\x1b'\"]+/runs/[^\s\x1b'\"]+")  # of one run, in what wandb prints
DEFAULT_TRACKING: dict[str, Any] = {
    "name": "wandb",
    "mode": "offline",
    "project": "encore",
    "entity": None,
    "group": None,
    "tags": [],
    "notes": None,
}


@dataclass(frozen=True)
class PendingUpload:
    """A run that shall be uploaded: its folder and how its mirror was asked for."""

    folder: Path
    tracking: Mapping[str, Any]

    @property
    def run_info(self) -> RunInfo:
        """The run as trackers present it."""
        return RunInfo(self.folder, self.tracking, str(self.folder))


def pending_uploads(
    runs: Path, papers: Sequence[str], rebuild: bool, overrides: dict[str, Any]
) -> Iterator[PendingUpload]:
    """Finished runs, of some papers or of all, whose mirror is not uploaded as it now would be.

    Without `papers` only runs that have a mirror count; with `rebuild` those that are uploaded count too.
    `overrides` holds another project or entity.
    """
    for path in sorted(runs.glob("*/settings.json")):
        folder = path.parent
        mirrored, verdict = (folder / "wandb").is_dir(), newest_verdict_folder(folder)
        if verdict is None or not (mirrored or (papers and rebuild)):
            continue
        state = wandb.read_mirror_state(folder)
        run = PendingUpload(folder, DEFAULT_TRACKING | (state["tracking"] or {}) | overrides | {"mode": "offline"})
        try:
            about = run.run_info
            if papers and about.metadata["paper"] not in papers:
                continue
            current = state["holds"] == wandb.mirror_digest(about, VerdictFolder(verdict))
        except (OSError, ValueError, KeyError, TypeError):
            print(f" {folder.name} cannot be read: left out", file=sys.stderr)
            continue
        if rebuild or not (current and state["pushed"]):
            yield run


def refresh_mirror(run: PendingUpload, rebuild: bool) -> None:
    """Make the mirror anew unless it holds the newest verdict; `Interrupted` while the run goes on."""
    verdict = newest_verdict_folder(run.folder)
    assert verdict is not None
    if not rebuild and wandb.current_mirror_line(run.run_info, VerdictFolder(verdict)):
        return
    busy = f"{run.folder.name} is being computed: left for later"
    try:
        with files.try_lock(run.folder / "lock", busy):
            if rebuild:
                wandb.update_mirror_state(run.run_info, holds=None)
            line = Mirror.start(run.folder, run.tracking, computing=False).finish(verdict, MIRROR_SECONDS)
    except OSError as error:
        raise BadInput(f"{run.folder.name} cannot be mirrored: {error.strerror or error}") from None
    if wandb.current_mirror_line(run.run_info, VerdictFolder(verdict)) is None:
        raise EncoreError(f"{run.folder.name}: {line}")


def upload_run(run: PendingUpload) -> str | None:
    """Have wandb upload the mirror of a run: the address of its page, if wandb names one.

    EncoreError with wandb's last words when it does not succeed.
    """
    place = run.folder / "wandb" / wandb.read_mirror_state(run.folder)["folder"]
    wandb.update_mirror_state(run.run_info, touched=True)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_SERVICE")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", str(place)],
            env=variables | wandb.NO_TELEMETRY,
            cwd=run.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=PUSH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Interrupted(f"{run.folder.name}: not uploaded within {PUSH_SECONDS:.0f} s") from None
    if not list(place.glob("*.wandb.synced")):
        words = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise EncoreError(f"{run.folder.name} was not uploaded; wandb says: {words[-1][:160] if words else 'nothing'}")
    page = RUN_ADDRESS.search(done.stdout + done.stderr)
    address = page.group().rstrip(".,)") if page else None
    wandb.update_mirror_state(run.run_info, pushed=address or "uploaded by encore sync")
    return address


def check_wandb_server() -> str:
    """The address of the server; BadInput without a key for it, `Interrupted` when it gives no answer."""
    load_tracker("wandb")
    address, key = wandb.server_address_and_key()
    if not key:
        raise BadInput(f"no key for {address}: `wandb login` asks for one, or set WANDB_API_KEY")
    if wandb.why_unreachable(address):
        raise Interrupted(f"{address} cannot be reached: nothing is lost, the same command uploads it later")
    return address
