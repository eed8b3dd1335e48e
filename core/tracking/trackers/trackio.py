"""Trackio: a board on this machine, without account or network, in the folder `trackio` beside the runs.

A Trackio run is one arm of one replicate, so that the board lays arms, replicates and points of a sweep over each
other in one plot per metric and conditions. What a running replicate shows is replaced by what it measured. Rows have
names of their own, so that adding them twice, from a run's mirror and from the board, adds nothing.
"""

import math
import os
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core import files
from core.papers.settings import flatten_settings
from core.tracking.rows import Row, claims_table, finished_replicates, series_name
from core.tracking.run_info import RunInfo, VerdictFolder

PACKAGE = "trackio"
MODES = ("offline",)
FOLDER = "trackio"  # beside the runs
SETTINGS_FILE = "trackio.json"  # in a run's folder
FOREIGN_VARIABLES = ("TRACKIO_", "GRADIO_", "HF_", "SPACE_", "SYSTEM")  # variables by which it would talk to servers


class TrackioTracker:
    """The Trackio runs of one run."""

    def __init__(self, run: RunInfo, is_running: bool = True) -> None:
        self.run, self.is_running = run, is_running
        self._begun = datetime.now(UTC).isoformat()

    def log_live_rows(self, rows: list[Row]) -> None:
        """Curves of unfinished replicates, named by their stage."""
        state = "running" if self.is_running else "stopped"
        for (replicate, arm), own in group_by_arm(rows).items():
            self._log(f"live/{replicate:06d}/{arm}", f"{arm} r{replicate} {state}".strip(), replicate, arm, own)

    def forget_live_rows(self) -> None:
        """Remove the curves of unfinished replicates."""
        self._forget("live/")

    def log_replicate(self, replicate: int, rows: list[Row]) -> None:
        """Curves and final values per metric and conditions."""
        self._forget(f"live/{replicate:06d}/")
        for (_, arm), own in group_by_arm(rows).items():
            self._log(f"{replicate:06d}/{arm}", f"{arm} r{replicate}".strip(), replicate, arm, own)
        trackio_storage().set_project_metadata(self.run.project, f"{self.run.folder.name}/{replicate:06d}", "measured")

    def logged_replicates(self) -> set[int]:
        """The replicates whose measurements are all there."""
        keys = {number: f"{self.run.folder.name}/{number:06d}" for number in finished_replicates(self.run.folder)}
        return {number for number, key in keys.items() if trackio_storage().get_project_metadata(self.run.project, key)}

    def log_verdict(self, rows: list[Row], verdict: VerdictFolder) -> None:
        """The table of claims, unless it is there already."""
        columns, cells = claims_table(verdict.claims)
        table = {"_type": "trackio.table", "_value": [dict(zip(columns, line, strict=True)) for line in cells]}
        key, content = f"{self.run.folder.name}/verdict", repr(cells)
        if trackio_storage().get_project_metadata(self.run.project, key) != content:
            self._forget("verdict")
            self._write("verdict", "verdict", {}, [(0, "claims", {"claims": table})])
            trackio_storage().set_project_metadata(self.run.project, key, content)

    def close(self, complete: bool) -> str:
        """Nothing is held open."""
        return "trackio: encore board"

    def _log(self, part: str, name: str, replicate: int, arm: str, own: list[Row]) -> None:
        points = [(step, f"{stage}:{step}", values) for (stage, step), values in points_by_step(own).items()]
        self._write(part, name, {"arm": arm or None, "replicate": replicate}, points)

    def _write(self, part: str, name: str, own: dict[str, Any], points: list[tuple[int, str, dict[str, Any]]]) -> None:
        """Add rows of (step, name of the row, values) to the Trackio run of a part of this run."""
        about, identity = self.run, f"{self.run.folder.name}/{part}"
        settings = {
            f"settings.{key}": value for key, value in flatten_settings(about.metadata["settings"]) if value is not None
        }
        config = {name: about.metadata[name] for name in ("paper", "study", "scale")} | settings | own
        trackio_storage().bulk_log(
            about.project,
            f"{name} {about.label}",
            [values for _, _, values in points],
            steps=[step for step, _, _ in points],
            log_ids=[f"{identity}/{row}" for _, row, _ in points],
            config={**config, "run": about.folder.name, "_Group": about.group, "_Created": self._begun},
            run_id=identity,
        )

    def _forget(self, part: str) -> None:
        """Remove the Trackio runs whose part begins so."""
        begin = f"{self.run.folder.name}/{part}"
        for record in trackio_storage().get_run_records(self.run.project):
            if str(record["id"]).startswith(begin):
                trackio_storage().delete_run(self.run.project, record["name"], run_id=record["id"])


def start_tracker(run: RunInfo) -> TrackioTracker:
    """The board's database beside the run."""
    configure_trackio(run.folder.parent / FOLDER)
    files.write_json(run.folder / SETTINGS_FILE, dict(run.tracking))
    return TrackioTracker(run)


def read_tracking_settings(folder: Path) -> dict[str, Any]:
    """The tracking settings that a run was mirrored with, or the defaults."""
    plain = {"name": "trackio", "mode": "offline", "tags": []} | dict.fromkeys(("project", "entity", "group", "notes"))
    try:
        return plain | files.read_json(folder / SETTINGS_FILE)
    except (OSError, ValueError, TypeError):
        return plain


def current_mirror_line(run: RunInfo, verdict: VerdictFolder) -> str | None:
    """Never: adding what is there already adds nothing."""
    return None


def configure_trackio(folder: Path) -> None:
    """Have Trackio keep its databases in `folder` and keep to itself; before it is first imported."""
    for name in [name for name in os.environ if name.startswith(FOREIGN_VARIABLES)]:
        del os.environ[name]
    os.environ.update(
        TRACKIO_DIR=str(folder),
        TRACKIO_STORAGE_MODE="sqlite",
        GRADIO_ANALYTICS_ENABLED="False",
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
    )


def trackio_storage() -> Any:
    """Trackio's database. Its `init` would search for accounts and servers, and keeps one run open at a time."""
    from trackio.sqlite_storage import SQLiteStorage

    return SQLiteStorage


def group_by_arm(rows: Iterable[Row]) -> dict[tuple[int, str], list[Row]]:
    """Rows by replicate and arm; rows of no arm under an empty name."""
    found: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["replicate"], row.get("arm") or ""].append(row)
    return found


def points_by_step(rows: Iterable[Row]) -> dict[tuple[str, int], dict[str, float]]:
    """Finite values by stage and step, named by metric and conditions; final ones, of no step, stand at step 0."""
    found: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for row in rows:
        stage = "final" if row.get("step") is None else row.get("stage") or ""
        name = series_name({column: value for column, value in row.items() if column not in ("arm", "replicate")})
        if math.isfinite(row["value"]):
            found[stage, int(row.get("step") or 0)][name] = row["value"]
    return found
