"""Runs that have no verdict yet, or are being added to: how far they are, and the curves they show meanwhile."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.paths import result_name
from core.report.results import InvalidResult, read_run_settings
from core.runs.sweep_folder import is_locked

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class UnfinishedRun:
    """A run in progress, or one that stopped on the way.

    Attributes:
      running: whether a process is at work on it at this moment.
      finished_replicates: replicates that are complete.
      started_replicates: replicates that show live rows.
      last_step: the furthest step of these.
      last_written: when something was last written, to the minute, in UTC.
    """

    slug: str
    study: str
    scale: str
    path: str
    overridden: tuple[str, ...]
    running: bool
    finished_replicates: int
    started_replicates: int
    last_step: int
    last_written: str
    live_folder: Path

    @property
    def state(self) -> str:
        """In a word."""
        return "running" if self.running else "stopped"


def read_unfinished_run(run: Path) -> UnfinishedRun | None:
    """What a run's folder says of its progress, None when it rests with a verdict. Raises InvalidResult."""
    running = is_locked(run / "lock")
    if not running and any((run / "verdict").glob("*/claims.json")):
        return None
    if not any((run / name).exists() for name in ("settings.json", "replicates", "verdict")):
        raise InvalidResult(f"{result_name(run)}: not a run")
    about = read_run_settings(run)
    rows = list(_rows(run / "live"))
    return UnfinishedRun(
        slug=about["paper"],
        study=about["study"],
        scale=about["scale"],
        path=result_name(run),
        overridden=tuple(str(name) for name in about.get("overridden") or ()),
        running=running,
        finished_replicates=len(list((run / "replicates").glob("*/done.json"))),
        started_replicates=len({row["replicate"] for row in rows}),
        last_step=max((row["step"] for row in rows), default=0),
        last_written=_latest(run),
        live_folder=run / "live",
    )


def live_table(unfinished: UnfinishedRun) -> "pd.DataFrame":
    """Its live rows as a table of measurements; stages take the place of arms, later lines of the same step win."""
    import pandas as pd

    found: dict[tuple[Any, ...], float] = {}
    for row in _rows(unfinished.live_folder):
        for metric in row.keys() - {"replicate", "stage", "step"}:
            found[row["replicate"], row["stage"], row["step"], metric] = row[metric]
    rows = [
        (unfinished.study, number, stage, step, name, value) for (number, stage, step, name), value in found.items()
    ]
    return pd.DataFrame(rows, columns=["study", "replicate", "arm", "step", "metric", "value"])


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    from core.runs.live import LiveReader

    return LiveReader(folder).new_rows()


def _latest(run: Path) -> str:
    written = [path for path in run.rglob("*") if path.is_file() and not re.search(r"\.tmp$|/lock$", path.as_posix())]
    newest = max((path.stat().st_mtime for path in written), default=0.0)
    return datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%d %H:%M UTC")
