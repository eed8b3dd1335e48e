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

MAX_PAGE_POINTS = 40_000  # of one page, about 1 MB
MIN_CURVE_POINTS, MAX_CURVE_POINTS = 40, 400  # points of one line
MAX_TABLE_ROWS = 400
MAX_CONDITION_VALUES = 24  # a condition with more values is one to average over, such as a query's number
LABEL_COLUMNS, NUMERIC_COLUMNS = ("study", "metric", "arm"), ("replicate", "step", "value")

Array = np.ndarray


class CurvesUnavailable(ValueError):
    """Why the curves of a table cannot be shown, in one line."""


@dataclass(frozen=True)
class Curve:
    """One curve: an arm under some conditions; all arrays have one value per point, NaN where nothing is finite."""

    arm: str
    conditions: dict[str, Any]
    replicates: int
    x: Array
    mean: Array
    low: Array
    high: Array

    def downsample(self, max_points: int) -> "Curve":
        """At most `max_points` points, each for as many steps in a row; no extreme is lost."""
        if len(self.x) <= max_points:
            return self
        starts = np.linspace(0, len(self.x), max_points, endpoint=False).astype(int)
        ends = np.append(starts[1:], len(self.x)) - 1
        mean, _, _ = _summary(self.mean, starts)
        x = (self.x[starts] + self.x[ends]) / 2
        low, high = np.fmin.reduceat(self.low, starts), np.fmax.reduceat(self.high, starts)
        return Curve(self.arm, self.conditions, self.replicates, x, mean, low, high)


@dataclass(frozen=True)
class CurveChart:
    """One chart's worth: a metric of a study against steps or against a numeric condition."""

    study: str
    metric: str
    x: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class MeasurementTable:
    """Measurements by column: `codes` numbers the values of each word or condition, -1 where it does not apply."""

    codes: dict[str, Array]
    values: dict[str, Array]
    replicate: Array
    step: Array
    value: Array

    def __len__(self) -> int:
        return len(self.value)

    def select(self, chosen: Array) -> "MeasurementTable":
        """The rows that a mask or an order picks."""
        codes = {name: each[chosen] for name, each in self.codes.items()}
        return MeasurementTable(codes, self.values, self.replicate[chosen], self.step[chosen], self.value[chosen])

    def count_values(self, name: str) -> int:
        """How many values of a column there are among these rows."""
        return int(np.count_nonzero(np.bincount(self.codes[name] + 1, minlength=1)[1:]))

    def numeric_column(self, name: str) -> Array:
        """A numeric column, NaN where it does not apply."""
        return np.append(self.values[name].astype(float), np.nan)[self.codes[name]]

    def condition_columns(self, averaged: Collection[str]) -> list[str]:
        """Columns that tell lines of one arm apart."""
        names = [name for name in self.codes if name not in LABEL_COLUMNS and name not in averaged]
        return [name for name in names if 0 < self.count_values(name) <= MAX_CONDITION_VALUES]

    def group_numbers(self, names: Sequence[str]) -> Array:
        """A number per row, equal where all named columns are equal; in the order in which values appear."""
        import pandas as pd

        key = np.zeros(len(self), dtype=np.int64)
        for name in names:
            key = pd.factorize(key * (len(self.values[name]) + 1) + self.codes[name] + 1)[0]
        return key

    def row_values(self, row: int, names: Sequence[str]) -> dict[str, Any]:
        """What one row has in the named columns, None where one does not apply."""
        places = {name: int(self.codes[name][row]) for name in names}
        return {name: None if place < 0 else self.values[name][place] for name, place in places.items()}


def read_measurement_table(path: Path) -> MeasurementTable:
    """A table of measurements. Raises NoCurves when there is none, or none that can be read."""
    import pandas as pd

    try:
        words: Any = dict.fromkeys(LABEL_COLUMNS, "category")
        how: Any = {"keep_default_na": False, "na_values": [""], "low_memory": False}
        table = pd.read_csv(path, compression="gzip", dtype=words, **how)
    except FileNotFoundError:
        raise CurvesUnavailable(f"{path.name} is missing") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise CurvesUnavailable(f"{path.name} cannot be read ({type(error).__name__})") from None
    return table_from_frame(table, path.name)


def table_from_frame(frame: "pd.DataFrame", name: str = "the table") -> MeasurementTable:
    """The columns of a table of measurements. Raises NoCurves for one that holds something else."""
    import pandas as pd

    if missing := [column for column in (*LABEL_COLUMNS, "replicate", "value") if column not in frame.columns]:
        raise CurvesUnavailable(f"{name} has no column {missing[0]}")
    if frame["value"].dtype.kind not in "fi":
        raise CurvesUnavailable(f"{name} has values that are no numbers")
    codes, values = {}, {}
    for column in (column for column in frame.columns if column not in NUMERIC_COLUMNS):
        codes[str(column)], found = pd.factorize(frame[column])
        values[str(column)] = np.asarray(found)
    step = frame["step"].to_numpy(dtype=float, na_value=np.nan) if "step" in frame else np.full(len(frame), np.nan)
    return MeasurementTable(codes, values, frame["replicate"].to_numpy(), step, frame["value"].to_numpy(dtype=float))


def build_charts(table: MeasurementTable, averaged_columns: Collection[str] = ()) -> list[CurveChart]:
    """Every curve of a table: metrics against steps, then final metrics against the condition with the most values.

    `averaged_columns` names columns, besides the replicate, that are repetitions and no conditions.
    """
    logged = np.isfinite(table.step)
    found = list(_build_charts(table.select(logged), averaged_columns, "step"))
    final = table.select(~logged)
    against: dict[str, Array] = {}
    key = final.group_numbers(["study", "metric"])
    for number in range(key.max(initial=-1) + 1):
        chosen = key == number
        own = final.select(chosen)
        numeric = [name for name in own.condition_columns(averaged_columns) if own.values[name].dtype.kind in "fi"]
        counts = {name: own.count_values(name) for name in numeric}
        if counts and max(counts.values()) >= 3:
            x = max(counts, key=lambda name: counts[name])
            against[x] = against.get(x, False) | (chosen & (final.codes[x] >= 0))
    for x, chosen in against.items():
        found += _build_charts(final.select(chosen), averaged_columns, x)
    return found


def _build_charts(table: MeasurementTable, averaged: Collection[str], x: str) -> Iterator[CurveChart]:
    if not len(table):
        return
    names = [name for name in table.condition_columns(averaged) if name != x]
    key, place = table.group_numbers([*LABEL_COLUMNS, *names]), table.step if x == "step" else table.numeric_column(x)
    order = np.lexsort((place, key))
    table, key, place = table.select(order), key[order], place[order]
    starts = np.flatnonzero(np.append(True, (np.diff(key) != 0) | (np.diff(place) != 0)))
    mean, low, high = _summary(table.value, starts)
    firsts, replicates = np.flatnonzero(np.append(True, np.diff(key[starts]) != 0)), _replicates(key, table.replicate)
    lines: dict[tuple[str, str], list[Curve]] = {}
    for line, (first, last) in enumerate(zip(firsts, [*firsts[1:], len(starts)], strict=True)):
        label = table.row_values(starts[first], [*LABEL_COLUMNS, *names])
        at = {name: _python_value(label[name]) for name in names if label[name] is not None}
        points = slice(first, last)
        own = (place[starts[points]], mean[points], low[points], high[points])
        made = Curve(str(label["arm"]), at, int(replicates[line]), *own)
        lines.setdefault((str(label["study"]), str(label["metric"])), []).append(made)
    for (study, metric), found in lines.items():
        if any(len(line.x) > 1 for line in found):
            yield CurveChart(study, metric, x, tuple(found))


def _replicates(key: Array, replicate: Array) -> Array:
    """How many different replicates each group has."""
    pairs = np.unique(np.stack([key, np.unique(replicate, return_inverse=True)[1]]), axis=1)
    return np.bincount(pairs[0])


def _python_value(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _summary(values: Array, starts: Array) -> tuple[Array, Array, Array]:
    """Mean, lowest and highest of the finite values in each group of neighbours; NaN where there is none."""
    finite = np.isfinite(values)
    known = np.where(finite, values, np.nan)
    counts = np.add.reduceat(finite.astype(float), starts)
    sums = np.add.reduceat(np.where(finite, values, 0.0), starts)
    mean = np.divide(sums, counts, out=np.full(len(starts), np.nan), where=counts > 0)
    return mean, np.fmin.reduceat(known, starts), np.fmax.reduceat(known, starts)


def chart_data(
    name: str, charts: Sequence[CurveChart], arms: Sequence[str], max_points: int, row_count: int
) -> dict[str, Any]:
    """Charts as plain data for the page's script, downsampled to about `max_points` points in all.

    Args:
      name: of the source, as the reader chooses it.
      charts: the charts.
      arms: in the order that gives them their colours.
      max_points: to share among the lines.
      row_count: how many were logged, for the note.
    """
    wanted = sum(len(chart.curves) for chart in charts)
    most = int(np.clip(max_points // max(1, wanted), MIN_CURVE_POINTS, MAX_CURVE_POINTS))
    left = max(1, max_points // MIN_CURVE_POINTS)
    shown, drawn, logged = [], 0, 0
    for chart in charts:
        lines = [line.downsample(most) for line in chart.curves[:left]]
        left -= len(lines)
        logged += sum(len(line.x) for line in chart.curves)
        drawn += sum(len(line.x) for line in lines)
        if lines:
            shown.append(_chart_as_dict(chart, lines))
    known = list(dict.fromkeys([*arms, *(line.arm for chart in charts for line in chart.curves)]))
    return {
        "name": name,
        "views": shown,
        "arms": known,
        "note": _note(row_count, logged, drawn, most, wanted - sum(len(chart["lines"]) for chart in shown)),
    }


def _chart_as_dict(chart: CurveChart, lines: Sequence[Curve]) -> dict[str, Any]:
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
        known = {
            "arm": line.arm,
            "at": line.conditions,
            "n": line.replicates,
            "x": grids[line.x.tobytes()],
            "y": next(numbers),
        }
        written.append(known | ({"low": next(numbers), "high": next(numbers)} if wide else {}))
    steps = [round_for_json(np.frombuffer(each), 7) for each in grids]
    return {"study": chart.study, "metric": chart.metric, "x": chart.x, "xs": steps, "lines": written}


def _short_parts(parts: Sequence[Array]) -> list[list[float | int | None]]:
    """`round_for_json` of several arrays at once."""
    together, ends = round_for_json(np.concatenate(parts)), np.cumsum([len(part) for part in parts]).tolist()
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


def round_for_json(values: Iterable[float], digits: int = 5) -> list[float | int | None]:
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


def summarise_final_measurements(
    table: MeasurementTable, averaged_columns: Collection[str] = ()
) -> tuple[list[str], list[dict[str, Any]], int]:
    """Final measurements by arm and conditions: names of the conditions, rows, and how many rows there are in all.

    A row has the columns of its group, the mean, lowest and highest value over `n` replicates, and `never`, how many
    values are infinite and thus left out of them.
    """
    final = table.select(~np.isfinite(table.step))
    names = final.condition_columns(averaged_columns)
    if not len(final):
        return names, [], 0
    key = final.group_numbers([*LABEL_COLUMNS, *names])
    order = np.argsort(key, kind="stable")
    final, key = final.select(order), key[order]
    starts = np.flatnonzero(np.append(True, np.diff(key) != 0))
    never, replicates = np.add.reduceat(np.isinf(final.value).astype(int), starts), _replicates(key, final.replicate)
    found = []
    for place, start, *summary in zip(range(MAX_TABLE_ROWS), starts, *_summary(final.value, starts), strict=False):
        label = {
            name: _python_value(value) for name, value in final.row_values(start, [*LABEL_COLUMNS, *names]).items()
        }
        mean, low, high = (None if number != number else float(number) for number in summary)
        counts = {"n": int(replicates[place]), "never": int(never[place])}
        found.append(label | {"mean": mean, "low": low, "high": high} | counts)
    return names, found, len(starts)
