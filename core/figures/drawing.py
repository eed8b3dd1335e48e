"""The house style of figures and the drawing helpers that experiments share; files are the same byte for byte."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from core.files import write_bytes

mpl.use("Agg")

# Okabe and Ito's palette, told apart with every common form of colour blindness; ordered by contrast on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
PANEL_INCHES = (3.3, 2.5)
LEGEND_ROW_INCHES = 0.19

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "svg.fonttype": "path",
    "svg.hashsalt": "encore",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


def panel_grid(
    panels: Sequence[str], *, columns: int = 3, share_x: bool = True, share_y: bool = False
) -> tuple[Figure, dict[str, Axes]]:
    """A grid of equal panels in the house style, and its axes by panel title; empty places of the grid are left out."""
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    size = (PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(rows, columns, figsize=size, sharex=share_x, sharey=share_y, squeeze=False)
        places = list(grid.flat)
        for axes, title in zip(places, panels, strict=False):
            axes.set_title(title)
        for axes in places[len(panels) :]:
            axes.remove()
        for axes in places[max(0, len(panels) - columns) : len(panels)]:
            axes.tick_params(labelbottom=True)
    return figure, dict(zip(panels, places, strict=False))


def label_axes(axes: Axes, x: str, y: str, x_unit: str | None = None, y_unit: str | None = None) -> None:
    """Name both axes, each with its unit in brackets where it has one."""
    axes.set_xlabel(f"{x} ({x_unit})" if x_unit else x)
    axes.set_ylabel(f"{y} ({y_unit})" if y_unit else y)


def mean_confidence_intervals(
    frame: pd.DataFrame, x: str, y: str, unit: str = "replicate", level: float = 0.95
) -> pd.DataFrame:
    """Mean of `y` at each `x` with its t interval over the values of `unit`, whose own rows are averaged first.

    Args:
      frame: rows with the columns `x`, `y` and `unit`; `y` must be finite.
      x: column of the horizontal axis.
      y: column of values.
      unit: column of independent repetitions.
      level: of the interval.

    Returns:
      A frame indexed by the sorted values of `x` with columns mean, low, high, n; the bounds are the mean where n is 1.
    """
    units = frame.groupby([x, unit], as_index=False)[y].mean()
    if not np.isfinite(units[y]).all():
        raise ValueError(f"{y} has values that are not finite; draw them as censored instead of averaging them")
    groups = units.groupby(x)[y]
    mean, n = groups.mean(), groups.size()
    error = (groups.std(ddof=1) / np.sqrt(n)).fillna(0.0)
    half = stats.t.ppf((1 + level) / 2, np.maximum(n - 1, 1)) * error
    return pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half, "n": n})


def plot_mean_with_band(
    axes: Axes,
    frame: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    *,
    unit: str = "replicate",
    order: Sequence[Any] | None = None,
    names: Mapping[str, str] | None = None,
) -> None:
    """For each value of the column `by`, the mean line of `y` over `x` with its 95 % t interval as a band.

    `order` fixes which values are drawn and which colour and marker each has, so that panels of one figure agree;
    `names` are their names in the legend.
    """
    for position, value in enumerate(order if order is not None else sorted(frame[by].unique())):
        rows = frame[frame[by] == value]
        if rows.empty:
            continue
        table = mean_confidence_intervals(rows, x, y, unit)
        color, marker = PALETTE[position % len(PALETTE)], MARKERS[position % len(MARKERS)]
        shown = table.index.to_numpy(dtype=float)
        axes.plot(shown, table["mean"], color=color, marker=marker, label=(names or {}).get(value, str(value)))
        if len(shown) == 1:  # a band has no area there
            axes.vlines(shown, table["low"], table["high"], color=color)
        else:
            axes.fill_between(shown, table["low"], table["high"], color=color, alpha=0.18, linewidth=0)


def add_shared_legend(figure: Figure) -> None:
    """One legend below the panels for all of them, each name once."""
    entries = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    if entries:
        columns = max(1, int(figure.get_figwidth() // 2.2))
        # The legend gets room of its own: else it takes it from the panels.
        figure.set_figheight(figure.get_figheight() + LEGEND_ROW_INCHES * math.ceil(len(entries) / columns))
        with plt.rc_context(STYLE):
            figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)


def call_in_style(make: Callable[..., Mapping[str, Figure]], *arguments: Any) -> dict[str, Figure]:
    """Call an experiment's `figures` in the house style."""
    with plt.rc_context(STYLE):
        return dict(make(*arguments))


def set_caption(figure: Figure, text: str) -> None:
    """What a reader sees in the figure, in a sentence or two: kept in its file, shown as its caption."""
    figure.set_label(text)


def save_figures(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write `<folder>/<name>.svg` for every figure, atomically and reproducibly, and close them all."""
    written = []
    try:
        for name, figure in figures.items():
            content = io.BytesIO()
            metadata = {"Date": None, "Creator": None, "Description": str(figure.get_label()) or None}
            with plt.rc_context(STYLE):
                figure.savefig(content, format="svg", metadata=metadata)
            path = folder / f"{name}.svg"
            write_bytes(path, content.getvalue())
            written.append(path)
    finally:
        for figure in figures.values():
            plt.close(figure)
    return written
