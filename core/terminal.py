"""What every command prints through: the console, lengths of time, short paths, progress with the time left."""

import os
import sys
import time
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

QUIET_SECONDS, PIPE_COLUMNS = 20.0, 120

_printed: set[str] = set()


def format_duration(minutes: float) -> str:
    """A length of time in words."""
    if minutes < 1:
        return f"{minutes * 60:.0f} s"
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"


class Terminal(Console):
    """A console whose reader may leave early."""

    def on_broken_pipe(self) -> None:
        """Tell the command, which ends in peace, instead of failing here."""
        raise BrokenPipeError


def console(file: TextIO | None = None) -> Console:
    """The terminal, or `PIPE_COLUMNS` where the output goes elsewhere and `COLUMNS` is not set.

    `file` stands in the place of standard output.
    """
    plain = Terminal(file=file, highlight=False, soft_wrap=True, markup=False)
    if plain.is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return plain
    return Terminal(file=file, highlight=False, soft_wrap=True, markup=False, width=PIPE_COLUMNS)


def print_table(screen: Console, table: Table) -> None:
    """A table, or its rows below each other, a line for each cell, where the console is too narrow for whole words."""
    if _fit_columns(screen, table):
        screen.print(table, soft_wrap=False)
        return
    columns = [(str(column.header), list(column.cells)) for column in table.columns]
    for row in range(table.row_count):
        for place, (header, cells) in enumerate(columns):
            if str(cells[row]).strip():
                line = Text(f"{header}: {cells[row]}" if place else f"{cells[row]}")
                screen.print(Padding(line, (0, 0, 0, 2 if place else 0)), soft_wrap=False)
        screen.print()


def _fit_columns(screen: Console, table: Table) -> bool:
    """Give every column room for its longest word and a share of the rest by what it lacks; False where that fails."""
    anywhere = screen.options.update(max_width=sys.maxsize)
    measured = [
        [Measurement.get(screen, anywhere, text) for text in (column.header, *column.cells)] for column in table.columns
    ]
    most = [max(text.maximum for text in texts) for texts in measured]
    least = [
        full if column.no_wrap else max(text.minimum for text in texts)
        for column, texts, full in zip(table.columns, measured, most, strict=True)
    ]
    room = screen.width - 2 * (len(most) - 1)  # two blanks between columns
    if sum(most) <= room or sum(least) > room:
        return sum(most) <= room
    for column, low, high in zip(table.columns, least, most, strict=True):
        column.width = low + (room - sum(least)) * (high - low) // (sum(most) - sum(least))
    return True


class ProgressBar:
    """Steps done and time left: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, what: str, total: int) -> None:
        self._console, self._what, self._total = console, what, total
        self._done, self._started, self._said = 0, time.monotonic(), time.monotonic()
        self._bar: Bar | None = None
        self._task = TaskID(0)
        if console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"),
                TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console,
            )  # fmt: skip
            self._task = self._bar.add_task(what, total=total or None)

    def __enter__(self) -> "ProgressBar":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, steps: int) -> None:
        """Count some steps."""
        self._done += steps
        if self._bar:
            self._bar.advance(self._task, steps)
        elif time.monotonic() - self._said > QUIET_SECONDS and self._done:
            self._said = time.monotonic()
            self._console.print(self._line())

    def print_once(self, line: str) -> None:
        """A line that this process prints the first time only."""
        if line not in _printed:
            _printed.add(line)
            self._console.print(f" {line}")

    def _line(self) -> str:
        elapsed = (time.monotonic() - self._started) / 60
        if not self._total:
            return f" {self._what}: {self._done} steps, {format_duration(elapsed)}"
        left = elapsed * max(0, self._total - self._done) / self._done
        done = 100 * self._done / self._total
        return f" {self._what}: {done:.0f} %, {format_duration(elapsed)}, about {format_duration(left)} left"


def format_number(value: float | None, missing: str) -> str:
    """Three significant digits with a sign, whole thousands in full."""
    if value is None:
        return missing
    return f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.3g}"


def short_path(path: Path) -> str:
    """A path as short as it can be said from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
