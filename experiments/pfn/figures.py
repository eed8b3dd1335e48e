"""Figures that the config cannot declare: posteriors beside the exact one, and losses against seconds."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NAMES = {"pfn": "network", "map": "MAP", "svi": "SVI", "nuts": "NUTS", "long": "NUTS, long chains"}
STYLES = {"alone": "one data set after another", "batch": "all data sets at once"}


def figures(measurements: "pd.DataFrame", arrays: dict[str, Any]) -> dict[str, "Figure"]:
    """What the measurements of a study have figures for."""
    found = {"posterior": draw_posteriors(arrays)} if "posteriors" in arrays else {}
    return found | ({"time": draw_times(measurements)} if "seconds" in set(measurements["metric"]) else {})


def draw_posteriors(arrays: dict[str, Any]) -> "Figure":
    """Mean and 95 % band of the first network beside the exact posterior, after several numbers of points."""
    from core.figures.drawing import PALETTE, add_shared_legend, label_axes, panel_grid, set_caption

    sizes, (x, y) = np.asarray(arrays["shown"])[0].tolist(), np.asarray(arrays["points"])[0]
    figure, panels = panel_grid([f"{n} point{'s' * (n > 1)}" for n in sizes], columns=2, share_y=True)
    for n, axes, (network, exact) in zip(sizes, panels.values(), np.asarray(arrays["posteriors"])[0], strict=True):
        grid = np.linspace(0, 1, network.shape[1])
        for curves, name, color, line in ((exact, "exact", PALETTE[6], "--"), (network, "network", PALETTE[0], "-")):
            axes.plot(grid, curves[0], color=color, linestyle=line, label=name)
            for side in curves[1:]:
                axes.plot(grid, side, color=color, linestyle=line, linewidth=0.8)
        axes.fill_between(grid, network[1], network[2], color=PALETTE[0], alpha=0.15, linewidth=0)
        axes.plot(x[:n], y[:n], "o", color=PALETTE[1], label="context", zorder=3)
        label_axes(axes, "x", "y")
    add_shared_legend(figure)
    set_caption(
        figure,
        "Posterior predictive mean and 95 % band of the first network and of the exact Gaussian process, on the first "
        "held-out data set.",
    )
    return figure


def draw_times(measurements: "pd.DataFrame") -> "Figure":
    """Loss against seconds per data set for every method and budget, in both styles, on logarithmic scales."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    from core.figures.drawing import MARKERS, PALETTE, add_shared_legend, label_axes, panel_grid, set_caption

    mean, truth = mean_losses(measurements)
    taken = measurements[measurements["metric"] == "seconds"]
    figure, panels = panel_grid(list(STYLES.values()), columns=2, share_y=True)
    for style, title in STYLES.items():
        axes = panels[title]
        for arm, points in points_by_method(taken, mean, style).items():
            place = list(NAMES).index(arm)
            axes.plot(*zip(*points, strict=True), color=PALETTE[place], marker=MARKERS[place], label=NAMES[arm])
        axes.axhline(truth, color=PALETTE[6], linestyle="--", linewidth=0.9, label=NAMES["long"])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        label_axes(axes, "time for a data set", "negative log density", "seconds", "nats")
    add_shared_legend(figure)
    set_caption(
        figure,
        "Mean loss over the data sets that the long chains answered, against seconds per data set on one core, without "
        "compilation and, for the network, without its training. Of SVI and NUTS, one point for each budget.",
    )
    return figure


def mean_losses(measurements: "pd.DataFrame") -> tuple[dict[tuple, float], float]:
    """Mean losses by arm and budget (0: none) at the largest context, and of the long chains, on the same data sets."""
    rows = measurements[measurements["metric"] == "nll"]
    if "context" in rows:
        rows = rows[rows["context"] == rows["context"].max()]
    long = rows[rows["arm"] == "long"]
    rows = with_budgets(rows[rows["dataset"].isin(set(long["dataset"]))])
    return rows.groupby(["arm", "budget"])["value"].mean().to_dict(), float(long["value"].mean())


def with_budgets(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Rows with a column of budgets, 0 where there is none."""
    return rows.assign(budget=rows["budget"].fillna(0) if "budget" in rows else 0)


def points_by_method(
    taken: "pd.DataFrame", mean: dict[tuple, float], style: str
) -> dict[str, list[tuple[float, float]]]:
    """Points (median seconds, loss) of every method in one style, budgets rising: `nuts_32` and `nuts_256` are one."""
    found: dict[str, dict[float, tuple[float, float]]] = {}
    own = with_budgets(taken[taken["style"] == style])
    medians: dict[tuple, float] = own.groupby(["arm", "budget"])["value"].median().to_dict()
    for (arm, budget), seconds in medians.items():
        if (arm, budget) in mean:
            method, _, draws = arm.partition("_")
            found.setdefault(method, {})[float(draws or budget)] = (seconds, mean[arm, budget])
    return {method: [points[budget] for budget in sorted(points)] for method, points in found.items()}
