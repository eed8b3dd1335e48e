"""Curves of a table of measurements, ready for the charts of a page: few enough points to open at once.

A line is the mean over replicates, its band reaches from the lowest to the highest of them. Where more was logged than
is drawn, a point stands for several steps in a row: its mean is theirs, its band holds their lowest and highest value.
"""

import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

POINTS = 40_000  # of one page, about 1 MB
FEWEST, MOST = 40, 400  # points of one line
LINES = 800  # of one page
TABLE_ROWS = 400
FEW = 24  # a condition with more values is one to average over, such as a query's number
WORDS, NUMBERS = ("study", "metric", "arm"), ("replicate", "step", "value")

Array = np.ndarray


class NoCurves(ValueError):
    """Why the curves of a table cannot be shown, in one line."""


@dataclass(frozen=True)
class Line:
    """One curve: an arm under some conditions; all arrays have one value per point, NaN where nothing is finite."""

    arm: str
    at: dict[str, Any]
    replicates: int
    x: Array
    mean: Array
    low: Array
    high: Array

    def shortened(self, most: int) -> "Line":
        """At most `most` points, each for as many steps in a row; no extreme is lost."""
        if len(self.x) <= most:
            return self
        starts = np.linspace(0, len(self.x), most, endpoint=False).astype(int)
        ends = np.append(starts[1:], len(self.x)) - 1
        mean, _, _ = _summary(self.mean, starts)
        x = (self.x[starts] + self.x[ends]) / 2
        low, high = np.fmin.reduceat(self.low, starts), np.fmax.reduceat(self.high, starts)
        return Line(self.arm, self.at, self.replicates, x, mean, low, high)


@dataclass(frozen=True)
class View:
    """One chart's worth: a metric of a study against steps or against a numeric condition."""

    study: str
    metric: str
    x: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Rows:
    """Measurements by column: `codes` numbers the values of each word or condition, -1 where it does not apply."""

    codes: dict[str, Array]
    values: dict[str, Array]
    replicate: Array
    step: Array
    value: Array

    def __len__(self) -> int:
        return len(self.value)

    def where(self, chosen: Array) -> "Rows":
        """The rows that a mask or an order picks."""
        codes = {name: each[chosen] for name, each in self.codes.items()}
        return Rows(codes, self.values, self.replicate[chosen], self.step[chosen], self.value[chosen])

    def count(self, name: str) -> int:
        """How many values of a column there are among these rows."""
        return int(np.count_nonzero(np.bincount(self.codes[name] + 1, minlength=1)[1:]))

    def numbers(self, name: str) -> Array:
        """A numeric column, NaN where it does not apply."""
        return np.append(self.values[name].astype(float), np.nan)[self.codes[name]]

    def conditions(self, averaged: Collection[str]) -> list[str]:
        """Columns that tell lines of one arm apart."""
        names = [name for name in self.codes if name not in WORDS and name not in averaged]
        return [name for name in names if 0 < self.count(name) <= FEW]

    def groups(self, names: Sequence[str]) -> Array:
        """A number per row, equal where all named columns are equal; in the order in which values appear."""
        import pandas as pd

        key = np.zeros(len(self), dtype=np.int64)
        for name in names:
            key = pd.factorize(key * (len(self.values[name]) + 1) + self.codes[name] + 1)[0]
        return key

    def label(self, row: int, names: Sequence[str]) -> dict[str, Any]:
        """What one row has in the named columns, None where one does not apply."""
        places = {name: int(self.codes[name][row]) for name in names}
        return {name: None if place < 0 else self.values[name][place] for name, place in places.items()}


def read(path: Path) -> Rows:
    """A table of measurements. Raises NoCurves when there is none, or none that can be read."""
    import pandas as pd

    try:
        words: Any = dict.fromkeys(WORDS, "category")
        how: Any = {"keep_default_na": False, "na_values": [""], "low_memory": False}
        table = pd.read_csv(path, compression="gzip", dtype=words, **how)
    except FileNotFoundError:
        raise NoCurves(f"{path.name} is missing") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise NoCurves(f"{path.name} cannot be read ({type(error).__name__})") from None
    return rows_of(table, path.name)


def rows_of(table: "pd.DataFrame", name: str = "the table") -> Rows:
    """The columns of a table of measurements. Raises NoCurves for one that holds something else."""
    import pandas as pd

    if missing := [column for column in (*WORDS, "replicate", "value") if column not in table.columns]:
        raise NoCurves(f"{name} has no column {missing[0]}")
    if table["value"].dtype.kind not in "fi":
        raise NoCurves(f"{name} has values that are no numbers")
    codes, values = {}, {}
    for column in (column for column in table.columns if column not in NUMBERS):
        codes[str(column)], found = pd.factorize(table[column])
        values[str(column)] = np.asarray(found)
    step = table["step"].to_numpy(dtype=float, na_value=np.nan) if "step" in table else np.full(len(table), np.nan)
    return Rows(codes, values, table["replicate"].to_numpy(), step, table["value"].to_numpy(dtype=float))


def views(rows: Rows, averaged: Collection[str] = ()) -> list[View]:
    """Every curve of a table: metrics against steps, then final metrics against the condition with the most values.

    `averaged` names columns, besides the replicate, that are repetitions and no conditions.
    """
    logged = np.isfinite(rows.step)
    found = list(_views(rows.where(logged), averaged, "step"))
    final = rows.where(~logged)
    against: dict[str, Array] = {}
    key = final.groups(["study", "metric"])
    for number in range(key.max(initial=-1) + 1):
        chosen = key == number
        own = final.where(chosen)
        numeric = [name for name in own.conditions(averaged) if own.values[name].dtype.kind in "fi"]
        counts = {name: own.count(name) for name in numeric}
        if counts and max(counts.values()) >= 3:
            x = max(counts, key=lambda name: counts[name])
            against[x] = against.get(x, False) | (chosen & (final.codes[x] >= 0))
    for x, chosen in against.items():
        found += _views(final.where(chosen), averaged, x)
    return found


def _views(rows: Rows, averaged: Collection[str], x: str) -> Iterator[View]:
    if not len(rows):
        return
    names = [name for name in rows.conditions(averaged) if name != x]
    key, place = rows.groups([*WORDS, *names]), rows.step if x == "step" else rows.numbers(x)
    order = np.lexsort((place, key))
    rows, key, place = rows.where(order), key[order], place[order]
    starts = np.flatnonzero(np.append(True, (np.diff(key) != 0) | (np.diff(place) != 0)))
    mean, low, high = _summary(rows.value, starts)
    firsts, replicates = np.flatnonzero(np.append(True, np.diff(key[starts]) != 0)), _replicates(key, rows.replicate)
    lines: dict[tuple[str, str], list[Line]] = {}
    for line, (first, last) in enumerate(zip(firsts, [*firsts[1:], len(starts)], strict=True)):
        label = rows.label(starts[first], [*WORDS, *names])
        at = {name: _plain_value(label[name]) for name in names if label[name] is not None}
        points = slice(first, last)
        own = (place[starts[points]], mean[points], low[points], high[points])
        made = Line(str(label["arm"]), at, int(replicates[line]), *own)
        lines.setdefault((str(label["study"]), str(label["metric"])), []).append(made)
    for (study, metric), found in lines.items():
        if any(len(line.x) > 1 for line in found):
            yield View(study, metric, x, tuple(found))


def _replicates(key: Array, replicate: Array) -> Array:
    """How many different replicates each group has."""
    pairs = np.unique(np.stack([key, np.unique(replicate, return_inverse=True)[1]]), axis=1)
    return np.bincount(pairs[0])


def _plain_value(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _summary(values: Array, starts: Array) -> tuple[Array, Array, Array]:
    """Mean, lowest and highest of the finite values in each group of neighbours; NaN where there is none."""
    finite = np.isfinite(values)
    known = np.where(finite, values, np.nan)
    counts = np.add.reduceat(finite.astype(float), starts)
    sums = np.add.reduceat(np.where(finite, values, 0.0), starts)
    mean = np.divide(sums, counts, out=np.full(len(starts), np.nan), where=counts > 0)
    return mean, np.fmin.reduceat(known, starts), np.fmax.reduceat(known, starts)


def chart(name: str, found: Sequence[View], arms: Sequence[str], points: int, rows: int) -> dict[str, Any]:
    """Views as plain data for the page's script, shortened to about `points` points in all.

    Args:
      name: of the source, as the reader chooses it.
      found: its views.
      arms: in the order that gives them their colours.
      points: to share among the lines.
      rows: how many were logged, for the note.
    """
    wanted = sum(len(view.lines) for view in found)
    most = int(np.clip(points // max(1, wanted), FEWEST, MOST))
    left = max(1, points // FEWEST)
    shown, drawn, logged = [], 0, 0
    for view in found:
        lines = [line.shortened(most) for line in view.lines[:left]]
        left -= len(lines)
        logged += sum(len(line.x) for line in view.lines)
        drawn += sum(len(line.x) for line in lines)
        if lines:
            shown.append(_plain(view, lines))
    known = list(dict.fromkeys([*arms, *(line.arm for view in found for line in view.lines)]))
    return {
        "name": name,
        "views": shown,
        "arms": known,
        "note": _note(rows, logged, drawn, most, wanted - sum(len(view["lines"]) for view in shown)),
    }


def _plain(view: View, lines: Sequence[Line]) -> dict[str, Any]:
    grids: dict[bytes, int] = {}
    for line in lines:
        grids.setdefault(line.x.tobytes(), len(grids))
    # All numbers are rounded in one go: an array has some overhead, and there are several to a line.
    spread = [
        not (np.array_equal(each.low, each.mean, True) and np.array_equal(each.high, each.mean, True)) for each in lines
    ]
    parts = [
        [line.mean, line.low, line.high] if wide else [line.mean] for line, wide in zip(lines, spread, strict=True)
    ]
    numbers = iter(_short_parts([part for own in parts for part in own]))
    written = []
    for line, wide in zip(lines, spread, strict=True):
        known = {"arm": line.arm, "at": line.at, "n": line.replicates, "x": grids[line.x.tobytes()], "y": next(numbers)}
        written.append(known | ({"low": next(numbers), "high": next(numbers)} if wide else {}))
    steps = [short(np.frombuffer(each), 7) for each in grids]
    return {"study": view.study, "metric": view.metric, "x": view.x, "xs": steps, "lines": written}


def _short_parts(parts: Sequence[Array]) -> list[list[float | int | None]]:
    """`short` of several arrays at once."""
    together, ends = short(np.concatenate(parts)), np.cumsum([len(part) for part in parts]).tolist()
    return [together[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _note(rows: int, logged: int, drawn: int, most: int, left_out: int) -> str:
    said = [f"{rows:,} measurements".replace(",", "\u202f")]
    if drawn < logged:
        said.append(
            f"lines are drawn with at most {most} points, each for several steps in a row: the line is their mean, "
            "the band holds their lowest and highest value"
        )
    if left_out:
        said.append(f"{left_out} lines are left out of this page; the measurements hold them")
    return "; ".join(said)


def short(values: Iterable[float], digits: int = 5) -> list[float | int | None]:
    """Numbers rounded to some significant digits, all as integers where all are whole, None for what is not finite."""
    found = np.asarray(values, dtype=float)
    finite = np.isfinite(found)
    size = np.abs(np.where(finite & (found != 0), found, 1.0))
    places = np.minimum(digits - 1 - np.floor(np.log10(size)), 300)
    scale = 10.0 ** np.abs(places)
    # Dividing by a power of ten, never multiplying by its inverse, gives the double with the shortest decimals.
    with np.errstate(over="ignore", invalid="ignore"):  # in the branch that is not taken
        rounded = np.where(places >= 0, np.round(found * scale) / scale, np.round(found / scale) * scale)
    whole = bool((rounded[finite] == np.round(rounded[finite])).all()) and bool((np.abs(rounded[finite]) < 2**53).all())
    plain = (np.where(finite, rounded, 0).astype(np.int64) if whole else rounded).tolist()
    return plain if finite.all() else [value if known else None for value, known in zip(plain, finite, strict=True)]


def final_rows(rows: Rows, averaged: Collection[str] = ()) -> tuple[list[str], list[dict[str, Any]], int]:
    """Final measurements by arm and conditions: names of the conditions, rows, and how many rows there are in all.

    A row has the columns of its group, the mean, lowest and highest value over `n` replicates, and `never`, how many
    values are infinite and thus left out of them.
    """
    final = rows.where(~np.isfinite(rows.step))
    names = final.conditions(averaged)
    if not len(final):
        return names, [], 0
    key = final.groups([*WORDS, *names])
    order = np.argsort(key, kind="stable")
    final, key = final.where(order), key[order]
    starts = np.flatnonzero(np.append(True, np.diff(key) != 0))
    never, replicates = np.add.reduceat(np.isinf(final.value).astype(int), starts), _replicates(key, final.replicate)
    found = []
    for place, start, *summary in zip(range(TABLE_ROWS), starts, *_summary(final.value, starts), strict=False):
        label = {name: _plain_value(value) for name, value in final.label(start, [*WORDS, *names]).items()}
        mean, low, high = (None if number != number else float(number) for number in summary)
        counts = {"n": int(replicates[place]), "never": int(never[place])}
        found.append(label | {"mean": mean, "low": low, "high": high} | counts)
    return names, found, len(starts)
