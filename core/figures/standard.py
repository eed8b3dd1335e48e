"""The figures that a config declares: curves with bands, paired differences, scatter against the identity, ranks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from core.errors import BadInput
from core.figures.drawing import (
    MARKERS,
    PALETTE,
    add_shared_legend,
    label_axes,
    mean_confidence_intervals,
    panel_grid,
    plot_mean_with_band,
    set_caption,
)
from core.papers.claims import values_match
from core.papers.config import FigureForm

MANY_DECADES = 1e3
FIXED = ("study", "metric", "value")


def standard_figures(
    forms: Mapping[str, FigureForm], metrics: Mapping[str, str], study: str, table: pd.DataFrame
) -> dict[str, Figure]:
    """The declared figures of one study, drawn from its measurements.

    `metrics` are units by metric. Raises BadInput where the measurements lack what a figure shows.
    """
    return {name: _draw(form, metrics, table) for name, form in forms.items() if form.study == study}


def selected_rows(form: FigureForm, table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of a metric under the figure's conditions, columns reduced as it says, in the order it shows."""
    rows = table[table["metric"] == metric]
    for column, wanted in form.at.items():
        allowed = wanted if isinstance(wanted, tuple) else (wanted,)
        rows = rows[[any(values_match(_plain(value), one) for one in allowed) for value in rows[column]]]
    if form.order:
        rows = rows[[any(values_match(_plain(value), one) for one in form.order) for value in rows[form.by]]]
    if rows.empty:
        raise BadInput(f"no measurements of {metric} under {form.at or 'any conditions'}")
    rows = rows.dropna(axis="columns", how="all")
    for column, how in form.reduce.items():
        if column in rows.columns:
            keys = [name for name in rows.columns if name not in (column, "value")]
            rows = rows.groupby(keys, dropna=False, as_index=False, sort=False)["value"].agg(how)
    return rows.astype({"value": float})


def _draw(form: FigureForm, metrics: Mapping[str, str], table: pd.DataFrame) -> Figure:
    rows = selected_rows(form, table, form.y)
    form = form.model_copy(update={"order": tuple(_order(form, rows))})  # all panels have the same colours
    titles = list(dict.fromkeys(rows[form.panels])) if form.panels else [""]
    figure, panels = panel_grid([f"{form.panels} {_said(title)}".strip() for title in titles])
    for title, axes in zip(titles, panels.values(), strict=True):
        own = rows[rows[form.panels] == title] if form.panels else rows
        _KINDS[form.kind](axes, form, own, table)
        for side in form.log:
            _set_log_scale(axes, side)
        label_axes(axes, *_labels(form, metrics))
    add_shared_legend(figure)
    set_caption(figure, form.caption)
    return figure


def _set_log_scale(axes: Axes, side: str) -> None:
    """Make one axis logarithmic; where it spans few decades, with plain numbers at 1, 2 and 5 of each of them."""
    axes.set_xscale("log") if side == "x" else axes.set_yscale("log")
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = axes.get_xlim() if side == "x" else axes.get_ylim()
    if high / low < MANY_DECADES:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _labels(form: FigureForm, metrics: Mapping[str, str]) -> tuple[str, str, str | None, str | None]:
    """Names and units of both axes."""
    unit = metrics.get(form.y)
    if form.kind == "scatter":
        return form.x_label or _words(form.x), form.y_label or _words(form.y), metrics.get(form.x), unit
    if form.kind == "differences":
        unit = "percentage points" if unit == "percent" else unit
        return form.x_label, form.y_label or f"{_words(form.y)}, less that of {form.against}", None, unit
    if form.kind == "ranks":
        return form.x_label or f"mean rank by {_words(form.y)}, 1 is best", form.y_label, None, None
    return form.x_label or _words(form.x), form.y_label or _words(form.y), None, unit


def _curves(axes: Axes, form: FigureForm, rows: pd.DataFrame, table: pd.DataFrame) -> None:
    """The mean over units against a condition, with its 95 % interval as a band, a line for each value of `by`."""
    plot_mean_with_band(axes, rows, form.x, "value", form.by, unit=form.unit, order=form.order)


def _differences(axes: Axes, form: FigureForm, rows: pd.DataFrame, table: pd.DataFrame) -> None:
    """What each arm has more than the one it is held against, a dot for each unit, the mean with its interval."""
    wide = rows.pivot_table(index=form.unit, columns=form.by, values="value", aggfunc="mean", sort=False)
    if form.against not in wide:
        raise BadInput(f"no measurements of {form.by} {form.against}")
    names = [name for name in _order(form, rows) if name != form.against]
    apart = wide[names].sub(wide[form.against], axis=0)
    long = apart.melt(ignore_index=False, var_name=form.by, value_name="value").reset_index()
    for place, name in enumerate(names):
        own = long[long[form.by] == name].assign(place=place)
        _dots_with_interval(axes, own, place, form.unit)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(names)), [str(name) for name in names], rotation=20, ha="right")


def _dots_with_interval(axes: Axes, rows: pd.DataFrame, place: int, unit: str) -> None:
    color = PALETTE[place % len(PALETTE)]
    spread = np.linspace(-0.12, 0.12, len(rows)) if len(rows) > 1 else np.zeros(1)
    axes.plot(place + spread, rows["value"], linestyle="none", marker=".", color=color, alpha=0.6)
    mean = mean_confidence_intervals(rows, "place", "value", unit).iloc[0]
    reach = [[mean["mean"] - mean["low"]], [mean["high"] - mean["mean"]]]
    axes.errorbar([place + 0.25], [mean["mean"]], yerr=reach, marker="o", color=color, capsize=3)


def _scatter(axes: Axes, form: FigureForm, rows: pd.DataFrame, table: pd.DataFrame) -> None:
    """One metric against another of the same unit and conditions, with the line on which they are equal."""
    across = selected_rows(form, table, form.x)
    shared = [name for name in rows.columns if name in across.columns and name not in FIXED]
    pairs = across.merge(rows, on=shared, suffixes=("_x", "_y"))
    if pairs.empty:
        raise BadInput(f"{form.x} and {form.y} are not measured together")
    for place, name in enumerate(form.order):
        own = pairs[[values_match(_plain(value), name) for value in pairs[form.by]]]
        if own.empty:
            continue
        marker, color = MARKERS[place % len(MARKERS)], PALETTE[place % len(PALETTE)]
        axes.plot(own["value_x"], own["value_y"], linestyle="none", marker=marker, color=color, label=str(name))
    low, high = pairs[["value_x", "value_y"]].to_numpy().min(), pairs[["value_x", "value_y"]].to_numpy().max()
    axes.plot([low, high], [low, high], color="black", linewidth=0.8)


def _ranks(axes: Axes, form: FigureForm, rows: pd.DataFrame, table: pd.DataFrame) -> None:
    """The mean rank of each value of `by` over units, the best at the top; the largest value has rank 1."""
    wide = rows.pivot_table(index=form.unit, columns=form.by, values="value", aggfunc="mean")
    ranks = wide.rank(axis="columns", ascending=False).melt(ignore_index=False, value_name="value").reset_index()
    means = mean_confidence_intervals(ranks, form.by, "value", form.unit).sort_values("mean", ascending=False)
    places = np.arange(len(means))
    reach = np.array([means["mean"] - means["low"], means["high"] - means["mean"]])
    axes.errorbar(means["mean"], places, xerr=reach, linestyle="none", marker="o", color=PALETTE[0], capsize=3)
    axes.set_yticks(places, [str(name) for name in means.index])


_KINDS: Mapping[str, Callable[[Axes, FigureForm, pd.DataFrame, pd.DataFrame], None]] = {
    "curves": _curves,
    "differences": _differences,
    "scatter": _scatter,
    "ranks": _ranks,
}


def _order(form: FigureForm, rows: pd.DataFrame) -> Sequence[Any]:
    """The values of `by` that are shown."""
    there = list(dict.fromkeys(rows[form.by]))
    return [value for value in form.order if any(values_match(_plain(each), value) for each in there)] or there


def _plain(value: Any) -> Any:
    return None if pd.isna(value) else value


def _said(value: Any) -> str:
    return f"{value:,g}" if isinstance(value, float) else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")
