"""Runs that have no verdict yet, or are being added to: how far they are, and the curves they show meanwhile."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.report.results import InvalidResult, about_run, place
from core.runs.sweep_folder import is_locked

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Unfinished:
    """A run in progress, or one that stopped on the way.

    Attributes:
      running: whether a process is at work on it at this moment.
      finished: replicates that are complete.
      begun: replicates that show live rows.
      step: the furthest step of these.
      seen: when something was last written, to the minute, in UTC.
    """

    slug: str
    study: str
    scale: str
    place: str
    overridden: tuple[str, ...]
    running: bool
    finished: int
    begun: int
    step: int
    seen: str
    live: Path

    @property
    def state(self) -> str:
        """In a word."""
        return "running" if self.running else "stopped"


def read(root: Path, run: Path) -> Unfinished | None:
    """What a run's folder says of its progress, None when it rests with a verdict. Raises Unfit."""
    running = is_locked(run / "lock")
    if not running and any((run / "verdict").glob("*/claims.json")):
        return None
    if not any((run / name).exists() for name in ("settings.json", "replicates", "verdict")):
        raise InvalidResult(f"{place(run, root)}: not a run")
    about = about_run(root, run)
    rows = list(_rows(run / "live"))
    return Unfinished(
        slug=about["paper"],
        study=about["study"],
        scale=about["scale"],
        place=place(run, root),
        overridden=tuple(str(name) for name in about.get("overridden") or ()),
        running=running,
        finished=len(list((run / "replicates").glob("*/done.json"))),
        begun=len({row["replicate"] for row in rows}),
        step=max((row["step"] for row in rows), default=0),
        seen=_latest(run),
        live=run / "live",
    )


def table(unfinished: Unfinished) -> "pd.DataFrame":
    """Its live rows as a table of measurements; stages take the place of arms, later lines of the same step win."""
    import pandas as pd

    found: dict[tuple[Any, ...], float] = {}
    for row in _rows(unfinished.live):
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
