"""A sweep as its page shows it: its points as a table, as parallel coordinates and, over two keys, as a heat map."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.paths import result_name
from core.report import curves, formatting
from core.runs.sweep_folder import Sweep, SweepPoint

MAX_POINTS = 2000  # points of one page


@dataclass(frozen=True)
class SweepPage:
    """What the site says about one sweep."""

    sweep: Sweep

    @property
    def file_name(self) -> str:
        """The name of its page."""
        return f"sweep-{self.sweep.folder.name}.html"

    @property
    def path(self) -> str:
        """Where its points are kept."""
        return result_name(self.sweep.folder)

    @property
    def paper(self) -> str:
        """The slug of the paper it runs, or an empty text."""
        named = [word.partition("=")[2] for word in self.sweep.words if word.startswith("paper=")]
        return named[0] if named else ""

    @property
    def varied_keys(self) -> list[str]:
        """The keys that vary."""
        return list(self.sweep.axes)

    @property
    def points(self) -> list[SweepPoint]:
        """The points shown: all of them, unless there are very many."""
        return list(self.sweep.points[:MAX_POINTS])

    @property
    def state_counts(self) -> str:
        """How far it is, in a line."""
        states = [point.state for point in self.sweep.points]
        known = dict.fromkeys(["finished", "running", "waiting", "failed", "interrupted", *states])
        return ", ".join(f"{states.count(state)} {state}" for state in known if state in states) or "no points yet"

    @property
    def objective_text(self) -> str:
        """What its points are compared by, in words."""
        about = self.sweep.objective
        if not about:
            return ""
        where = [f"{name} {formatting.format_setting(value)}" for name, value in (about.get("select") or {}).items()]
        parts = [str(about.get("metric") or ""), *filter(None, [about.get("arm")]), *where]
        goal = {"max": "higher is better", "min": "lower is better"}.get(str(about.get("direction")), "")
        return ", ".join(filter(None, [*parts, goal]))

    @property
    def axes(self) -> list[tuple[str, str]]:
        """The keys that vary with their values, in words."""
        return [(key, formatting.format_setting(values)) for key, values in self.sweep.axes.items()]

    @property
    def best_point(self) -> SweepPoint | None:
        """The point that was chosen, or the best so far."""
        number = (self.sweep.winner or {}).get("number")
        chosen = [point for point in self.sweep.points if point.number == number]
        return next(iter([*chosen, *self.sweep.ranked_points()]), None)

    @property
    def fresh_replicates_text(self) -> str:
        """What fresh replicates of the winner gave, or an empty text."""
        found = (self.sweep.winner or {}).get("fresh")
        return _interval(found) if isinstance(found, Mapping) else ""

    def objective_value(self, point: SweepPoint) -> str:
        """The objective of a point with its interval, in words."""
        return _interval(point.objective) if point.objective else ""

    def chart_data(self) -> dict[str, Any]:
        """Axes and points as plain data for the page's script."""
        points = self.points
        axes = [_axis(key, [point.overrides.get(key) for point in points]) for key in self.varied_keys]
        values = [_finite((point.objective or {}).get("mean")) for point in points]
        return {
            "axes": axes,
            "objective": self.objective_text,
            "metric": str((self.sweep.objective or {}).get("metric") or ""),
            "direction": (self.sweep.objective or {}).get("direction"),
            "numbers": [point.number for point in points],
            "states": [point.state for point in points],
            "values": curves.round_for_json([math.nan if value is None else value for value in values]),
        }


def _axis(key: str, words: list[str | None]) -> dict[str, Any]:
    """One axis: numbers where every value is one, otherwise words in the order in which they appear."""
    numbers = [_number(word) for word in words if word is not None]
    name = key.removeprefix("settings.")
    if numbers and None not in numbers:
        values = [None if word is None else _number(word) for word in words]
        positive = [value for value in values if value is not None]
        return {"name": name, "words": None, "values": values, "log": _spread(positive)}
    known = list(dict.fromkeys(word for word in words if word is not None))
    return {
        "name": name,
        "words": known,
        "values": [None if word is None else known.index(word) for word in words],
        "log": False,
    }


def _spread(values: list[float]) -> bool:
    """Whether numbers are read better by their orders of magnitude."""
    return min(values) > 0 and max(values) / min(values) >= 8


def _number(word: str) -> float | None:
    try:
        return _finite(float(word))
    except ValueError:
        return None


def _finite(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _interval(found: Mapping[str, Any]) -> str:
    mean, low, high = (_finite(found.get(name)) for name in ("mean", "low", "high"))
    decimals = max(formatting.significant_decimals(mean, low, high), 3 if low is None else 0)
    shown = formatting.format_number(mean, decimals)
    return shown if low is None and high is None else f"{shown} {formatting.format_interval(low, high, decimals)}"
