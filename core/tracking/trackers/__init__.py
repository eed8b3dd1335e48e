"""Trackers: a module each, with a configuration group of the same name in `configs/tracking/`. Adding one is one file.

A tracker's module offers `MODES` (of `offline`, `online`), `PACKAGE` (what it needs installed),
`current_mirror_line(run, verdict)` (a line for the person when the mirror already holds all of it, or None) and
`start_tracker(run)`, which gives a `Tracker`. It is imported with the run's settings, before its package is needed, and
so imports that lazily.
"""

import importlib
from importlib.util import find_spec
from typing import Any, Protocol

from core.errors import BadInput
from core.tracking.rows import Row
from core.tracking.run_info import VerdictFolder


class Tracker(Protocol):
    """The mirror of one run, fed with tidy rows: replicate, arm, conditions, step, metric, value."""

    def log_live_rows(self, rows: list[Row]) -> None:
        """Add what running replicates showed since the last time; `stage` stands for the conditions."""

    def log_replicate(self, replicate: int, rows: list[Row]) -> None:
        """Add the measurements of a finished replicate, in place of what it showed while it ran."""

    def log_verdict(self, rows: list[Row], verdict: VerdictFolder) -> None:
        """Add claims, figures, provenance; `rows` are the final measurements of all finished replicates."""

    def close(self, complete: bool) -> str:
        """End the mirror, of a whole run or of one that stopped; returns a line for the person."""


def load_tracker(name: str) -> Any:
    """The module of a tracker; BadInput when what it needs is not installed."""
    module: Any = importlib.import_module(f"core.tracking.trackers.{name}")
    if find_spec(module.PACKAGE) is None:
        raise BadInput(f"tracking={name} needs {module.PACKAGE}: pip install 'encore-papers[{name}]'")
    return module
