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
FIXED = ("study", "replicate", "arm", "step", "metric", "value")

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


def read(path: Path) -> "pd.DataFrame":
    """A table of measurements. Raises NoCurves when there is none, or none that can be read."""
    import pandas as pd

    try:
        words: Any = dict.fromkeys(("study", "arm", "metric"), "category")
        table = pd.read_csv(path, compression="gzip", keep_default_na=False, na_values=[""], dtype=words)
    except FileNotFoundError:
        raise NoCurves(f"{path.name} is missing") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise NoCurves(f"{path.name} cannot be read ({type(error).__name__})") from None
    return checked(table, path.name)


def checked(table: "pd.DataFrame", name: str) -> "pd.DataFrame":
    """The table, with an absent step filled in. Raises NoCurves for one that holds something else."""
    if missing := [column for column in FIXED if column not in (*table.columns, "step")]:
        raise NoCurves(f"{name} has no column {missing[0]}")
    if table["value"].dtype.kind not in "fi":
        raise NoCurves(f"{name} has values that are no numbers")
    return table if "step" in table.columns else table.assign(step=np.nan)


def views(table: "pd.DataFrame", averaged: Collection[str] = ()) -> list[View]:
    """Every curve of a table: metrics against steps, then final metrics against the condition with the most values.

    `averaged` names columns, besides the replicate, that are repetitions and no conditions.
    """
    logged = table["step"].notna().to_numpy()
    found = list(_views(table[logged], averaged, "step"))
    final = table[~logged]
    against: dict[str, Array] = {}
    key = _key(final, ["study", "metric"])
    for number in range(key.max(initial=-1) + 1):
        chosen = key == number
        rows = final[chosen]
        numeric = [name for name in conditions(rows, averaged) if rows[name].dtype.kind in "fi"]
        counts = {name: rows[name].nunique() for name in numeric}
        if counts and max(counts.values()) >= 3:
            x = max(counts, key=lambda name: counts[name])
            against[x] = against.get(x, False) | (chosen & final[x].notna().to_numpy())
    for x, chosen in against.items():
        found += _views(final[chosen], averaged, x)
    return found


def conditions(table: "pd.DataFrame", averaged: Collection[str]) -> list[str]:
    """Columns that tell lines of one arm apart."""
    names = [name for name in table.columns if name not in FIXED and name not in averaged]
    return [name for name in names if 0 < table[name].nunique() <= FEW]


def _key(table: "pd.DataFrame", names: Sequence[str]) -> Array:
    """A number per row, from 0, equal where all named columns are equal; in the order in which values appear."""
    import pandas as pd

    key = np.zeros(len(table), dtype=np.int64)
    for name in names:
        codes, values = pd.factorize(table[name], use_na_sentinel=False)
        key = pd.factorize(key * max(1, len(values)) + codes)[0]
    return key


def _views(table: "pd.DataFrame", averaged: Collection[str], x: str) -> Iterator[View]:
    if table.empty:
        return
    names = [name for name in conditions(table, averaged) if name != x]
    key = _key(table, ["study", "metric", "arm", *names])
    order = np.lexsort((table[x].to_numpy(dtype=float), key))
    key, place = key[order], table[x].to_numpy(dtype=float)[order]
    value, replicate = table["value"].to_numpy(dtype=float)[order], table["replicate"].to_numpy()[order]
    starts = np.flatnonzero(np.append(True, (np.diff(key) != 0) | (np.diff(place) != 0)))
    mean, low, high = _summary(value, starts)
    firsts = np.flatnonzero(np.append(True, np.diff(key[starts]) != 0))
    labels = table.iloc[order[starts[firsts]]][["study", "metric", "arm", *names]].to_dict("records")
    lines: dict[tuple[str, str], list[Line]] = {}
    for label, first, last in zip(labels, firsts, [*firsts[1:], len(starts)], strict=True):
        at = {name: label[name] for name in names if label[name] == label[name]}
        rows = slice(starts[first], starts[last] if last < len(starts) else len(value))
        points = slice(first, last)
        own = (place[starts[points]], mean[points], low[points], high[points])
        line = Line(str(label["arm"]), at, len(np.unique(replicate[rows])), *own)
        lines.setdefault((str(label["study"]), str(label["metric"])), []).append(line)
    for (study, metric), found in lines.items():
        if any(len(line.x) > 1 for line in found):
            yield View(study, metric, x, tuple(found))


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
    steps, written = [], []
    for line in lines:
        place = grids.setdefault(line.x.tobytes(), len(grids))
        if place == len(steps):
            steps.append(short(line.x, 7))
        known = {"arm": line.arm, "at": line.at, "n": line.replicates, "x": place, "y": short(line.mean)}
        if not (np.array_equal(line.low, line.mean, equal_nan=True) and np.array_equal(line.low, line.high, True)):
            known |= {"low": short(line.low), "high": short(line.high)}
        written.append(known)
    return {"study": view.study, "metric": view.metric, "x": view.x, "xs": steps, "lines": written}


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


def final_rows(table: "pd.DataFrame", averaged: Collection[str] = ()) -> tuple[list[str], list[dict[str, Any]], int]:
    """Final measurements by arm and conditions: names of the conditions, rows, and how many rows there are in all.

    A row has the columns of its group, the mean, lowest and highest value over `n` replicates, and `never`, how many
    values are infinite and thus left out of them.
    """
    final = table[table["step"].isna()]
    names = conditions(final, averaged)
    if final.empty:
        return names, [], 0
    key = _key(final, ["study", "metric", "arm", *names])
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(key[order]) != 0))
    value, replicate = final["value"].to_numpy(dtype=float)[order], final["replicate"].to_numpy()[order]
    ends = [*starts[1:].tolist(), len(order)]
    labels = final.iloc[order[starts[:TABLE_ROWS]]][["study", "metric", "arm", *names]].to_dict("records")
    rows = []
    for label, start, end, *summary in zip(labels, starts, ends, *_summary(value, starts), strict=False):
        row = {str(name): (None if text != text else text) for name, text in label.items()}
        mean, low, high = (None if number != number else float(number) for number in summary)
        never = int(np.isinf(value[start:end]).sum())
        n = len(np.unique(replicate[start:end]))
        rows.append(row | {"mean": mean, "low": low, "high": high, "n": n, "never": never})
    return names, rows, len(starts)
