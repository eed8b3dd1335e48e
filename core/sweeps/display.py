"""What a person sees of sweeps: a line per point while they run, the points and the best of them, how to go on."""

import shlex
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from core import files
from core.errors import Unfinished
from core.output import duplicate_output
from core.runs import sweep_folder
from core.runs.sweep_folder import Sweep, SweepPoint
from core.terminal import console, format_duration, print_table, short_path

POLL_SECONDS = 0.5
QUIET_SECONDS = 20.0
BEST_COUNT = 5
MARKS = {"finished": "✓", "failed": "✗", "interrupted": "–", "pruned": "↓", "running": "…", "waiting": " "}
DONE = ("finished", "failed", "pruned")


class SweepProgress:
    """Follows the folder of a sweep in a thread and prints what has changed, whoever computed it."""

    def __init__(self, folder: Path) -> None:
        self._file = duplicate_output()  # launchers have their output sent elsewhere
        self._folder, self._console = folder, console(self._file)
        self._sweep = sweep_folder.read_sweep(folder)
        self._seen = {point.number: point for point in self._sweep.points}
        self._times: dict[str, int] = {path.name: path.stat().st_mtime_ns for path in self._files()}
        self._started = self._said = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "SweepProgress":
        counts = Counter(point.state for point in self._seen.values())
        finished = f", {counts['finished']} finished before" if counts["finished"] else ""
        points = f"{len(self._seen)} points" if self._seen else "points chosen one after the other"
        self._console.print(f"sweep {self._sweep.identity} · {points}{finished}", style="bold")
        if counts["running"]:
            self.print_line(f"{counts['running']} of them in progress elsewhere")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.print_changes()
        self._file.close()

    def print_line(self, text: str) -> None:
        """One plain line."""
        self._said = time.monotonic()
        self._console.print(f" {text}")

    def print_waiting(self, count: int) -> None:
        """Say now and then that everything left is being computed elsewhere."""
        if time.monotonic() - self._said > QUIET_SECONDS:
            self.print_line(f"waiting for {count} point{'s' * (count != 1)} in progress elsewhere")

    def _follow(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            self.print_changes()
            if time.monotonic() - self._said > QUIET_SECONDS:
                self.print_line(self._progress())

    def _files(self) -> list[Path]:
        return list((self._folder / "points").glob("*.json"))

    def print_changes(self) -> None:
        """Print what has changed since the last call."""
        for path in sorted(self._files()):
            changed = path.stat().st_mtime_ns
            if self._times.get(path.name) != changed:
                self._times[path.name] = changed
                self._tell(sweep_folder.parse_point(files.read_json(path)))

    def _tell(self, point: SweepPoint) -> None:
        before = self._seen.get(point.number)
        self._seen[point.number] = point
        if point.state in (*DONE, "interrupted") and (before is None or before.state != point.state):
            found = f" · {format_objective_value(point.objective)}" if point.objective else ""
            said = f": {'pruned ' * (point.state == 'pruned')}{point.message}" if point.message else ""
            took = f" in {format_duration(point.seconds / 60)}" if point.seconds else ""
            done = sum(each.state in DONE for each in self._seen.values())
            count = f"{MARKS[point.state]} {done}/{len(self._seen)}"
            self.print_line(f"{count} {point.label()}{took}{found}{said}")

    def _progress(self) -> str:
        running = [point.label() for point in self._seen.values() if point.state == "running"]
        elapsed = format_duration((time.monotonic() - self._started) / 60)
        return f"{elapsed}: in progress: {'; '.join(running[:4]) or 'none yet'}"


def format_objective_value(found: Mapping[str, Any]) -> str:
    """A mean with its interval."""
    bounds = "" if found["low"] is None else f" [{found['low']:.4g}, {found['high']:.4g}]"
    return f"{found['mean']:.4g}{bounds}"


def format_objective(sweep: Sweep) -> str:
    """What a sweep selects by, in words."""
    wanted = sweep.objective or {}
    conditions = {**({"arm": wanted["arm"]} if wanted["arm"] else {}), **wanted["select"]}
    where = ", ".join(f"{column} {value}" for column, value in conditions.items())
    extreme = "lowest" if wanted["direction"] == "min" else "highest"
    return f"{extreme} {wanted['metric']}{f' ({where})' if where else ''} of {wanted['study']}"


def format_state_counts(sweep: Sweep) -> str:
    """How many points are in which state."""
    counts = Counter(point.state for point in sweep.points)
    return (
        ", ".join(f"{counts[state]} {state}" for state in sweep_folder.STATES[::-1] if counts[state]) or "no point yet"
    )


def print_sweep_end(sweep: Sweep, stopped: bool, words: Sequence[str], only_points: Sequence[int] | None = None) -> int:
    """Print how a sweep ended and how to go on; returns its exit code, that of the points `only_points` when given."""
    screen = console()
    screen.print(f"\nsweep {sweep.identity}: {format_state_counts(sweep)}", style="bold")
    print_best_points(screen, sweep)
    failed = [point for point in sweep.points if point.state == "failed"]
    for point in failed:
        screen.print(f" ✗ point {point.number} {point.label()}: {point.message}")
    if failed:
        own = [word for word in words if not word.startswith("points=")]
        numbers = ",".join(str(point.number) for point in failed)
        screen.print(f" to run just those again: {shlex.join(['encore', 'run', '-m', *own, f'points=[{numbers}]'])}")
    screen.print(f" encore sweeps {sweep.identity}")
    wanted = [point for point in sweep.points if only_points is None or point.number in only_points]
    unfinished = [point for point in wanted if point.state not in DONE]
    if stopped or any(point.state == "interrupted" for point in unfinished):
        done = len(wanted) - len(unfinished)
        print(
            f"encore: {'stopped' if stopped else 'interrupted'} with {done} of {len(wanted)} points done; "
            "the same command goes on from here",
            file=sys.stderr,
        )
        return Unfinished.exit_code
    codes = {point.code for point in wanted if point.state == "failed"}
    return codes.pop() if len(codes) == 1 else int(bool(codes))


def print_best_points(screen: Console, sweep: Sweep) -> None:
    """The best points with their intervals, and what fresh replicates of the first one gave."""
    best = sweep.ranked_points()[:BEST_COUNT]
    if not best:
        return
    screen.print(f" best by {format_objective(sweep)}, mean over replicates with its 95 % interval:")
    for point in best:
        screen.print(f"   {point.number:>4}  {format_objective_value(point.objective or {})}  {point.label()}")
    if sweep.winner is None or sweep.winner["number"] != best[0].number:
        return
    fresh = sweep.winner["fresh"]
    if fresh is None:
        screen.print("   the first one has not been run again on fresh replicates yet")
    else:
        screen.print(f"   the first one on fresh replicates from {fresh['first']} on: {format_objective_value(fresh)}")


def print_overview(screen: Console, sweeps: Sequence[Sweep]) -> None:
    """One line per sweep."""
    table = Table("sweep", "points", Column("state", no_wrap=True), "best", "words", box=None, pad_edge=False)
    for sweep in sweeps:
        best = sweep.ranked_points()
        found = f"{format_objective_value(best[0].objective or {})} {best[0].label()}" if best else ""
        table.add_row(sweep.identity, str(len(sweep.points)), format_state_counts(sweep), found, " ".join(sweep.words))
    print_table(screen, table)


def print_points(screen: Console, sweep: Sweep) -> None:
    """Every point of a sweep."""
    rule = "" if sweep.pruner == "none" else f", bad points pruned by the {sweep.pruner} rule"
    screen.print(f"sweep {sweep.identity} ({sweep.sweeper}{rule}): {format_state_counts(sweep)}", style="bold")
    screen.print(f" {shlex.join(['encore', 'run', '-m', *sweep.words])}")
    table = Table("point", *sweep.axes, "state", box=None, pad_edge=False)
    for name in ("objective", "time", "run or message") if sweep.objective else ("time", "run or message"):
        table.add_column(name)
    for point in sweep.points:
        values = [point.overrides.get(key, "") for key in sweep.axes]
        found = [format_objective_value(point.objective) if point.objective else ""] if sweep.objective else []
        took = format_duration(point.seconds / 60) if point.seconds else ""
        where = point.message or " ".join(point.runs)
        table.add_row(str(point.number), *values, f"{MARKS[point.state]} {point.state}", *found, took, where)
    print_table(screen, table)
    print_best_points(screen, sweep)
    screen.print(f" {short_path(sweep.folder)}")
