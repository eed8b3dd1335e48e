"""Figures of prior-data fitted networks: posteriors, gaps to the exact one, NLL against seconds, ranks on tables."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {
    "pfn": "network",
    "blind": "without the context",
    "wrong_prior": "another lengthscale",
    "coarse": "five bars",
    "mle": "MLE-II",
    "svi": "SVI",
    "nuts": "NUTS",
    "long": "NUTS, long chains",
    "boosted_trees": "boosted trees",
    "logistic_regression": "logistic regression",
    "gaussian_process": "Gaussian process",
    "nearest_neighbours": "nearest neighbours",
    "permuted": "network, labels permuted",
    "bars": "bars",
    "gaussian": "Gaussian",
}


def figures(measurements: "pd.DataFrame", arrays: dict[str, Any]) -> dict[str, "Figure"]:
    """What the measurements of a study have figures for."""
    metrics, found = set(measurements["metric"]), {}
    if "gap" in metrics:
        found = {"posterior": posteriors(arrays), "gap": gaps(measurements)}
    if "auc" in metrics:
        found = {"ranks": ranks(measurements)}
    if "permutation_change" in metrics:
        found = {"heads": heads(measurements)}
    if "seconds" in metrics:
        found = {"time": losses_in_time(measurements)}
    return found


def posteriors(arrays: dict[str, Any]) -> "Figure":
    """Mean and 95 % band of the first network beside the exact posterior, after several numbers of points."""
    from core.figures.drawing import PALETTE, add_shared_legend, label_axes, panel_grid, set_caption

    sizes = sorted(int(name.removeprefix("posterior_")) for name in arrays if name.startswith("posterior_"))
    figure, panels = panel_grid([f"{n} point{'s' * (n > 1)}" for n in sizes], columns=2, share_y=True)
    x, y = np.asarray(arrays["points"])[0]
    for n, axes in zip(sizes, panels.values(), strict=True):
        network, exactly = np.asarray(arrays[f"posterior_{n}"])[0]
        grid = np.linspace(0, 1, network.shape[1])
        for curves, name, color, line in ((exactly, "exact", PALETTE[6], "--"), (network, "network", PALETTE[0], "-")):
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


def gaps(measurements: "pd.DataFrame") -> "Figure":
    """Gap to the exact posterior against the context size and against the number of data sets trained on."""
    from core.figures.drawing import add_shared_legend, label_axes, panel_grid, set_caption

    titles = ("by context size", "by data sets trained on")
    figure, panels = panel_grid(titles, columns=2, share_x=False)
    rows = measurements[measurements["metric"] == "gap"]
    by_network(panels[titles[0]], rows, "context", ("pfn", "blind", "wrong_prior", "coarse"))
    by_network(panels[titles[1]], measurements[measurements["metric"] == "mean_gap"], "times", ("pfn",))
    label_axes(panels[titles[0]], "context size n", "gap", None, "nats")
    label_axes(panels[titles[1]], "data sets, in those of the shortest training", "gap", None, "nats")
    add_shared_legend(figure)
    set_caption(
        figure,
        "Mean of log p - log q over held-out data sets: how far a network's predictive density is from the exact one. "
        "One line for each network.",
    )
    return figure


def by_network(axes: "Axes", rows: "pd.DataFrame", column: str, arms: tuple[str, ...]) -> None:
    """Mean over data sets for every network of every arm, on logarithmic scales."""
    from core.figures.drawing import MARKERS, PALETTE

    for place, arm in enumerate(arms):
        own = rows[rows["arm"] == arm]
        for number, (_, frame) in enumerate(own.groupby("replicate")):
            means = frame.groupby(column)["value"].mean()
            name = NAMES[arm] if number == 0 else None
            axes.plot(means.index, means, color=PALETTE[place], marker=MARKERS[place], linewidth=0.9, label=name)
    logarithmic(axes)
    ticks = sorted(rows[column].dropna().unique())
    axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)


def logarithmic(axes: "Axes") -> None:
    """Both axes."""
    axes.set_xscale("log")
    axes.set_yscale("log")


def ranks(measurements: "pd.DataFrame") -> "Figure":
    """Mean rank, AUC and calibration error of every method over the tables."""
    from core.figures.drawing import MARKERS, PALETTE, label_axes, panel_grid, set_caption

    metrics = {"rank": "rank by AUC", "auc": "area under the ROC curve", "ece": "calibration error"}
    figure, panels = panel_grid(list(metrics.values()), columns=3, share_x=False)
    order = measurements[measurements["metric"] == "rank"].groupby("arm")["value"].mean().sort_values().index
    for metric, title in metrics.items():
        axes = panels[title]
        for place, arm in enumerate(order):
            rows = measurements[(measurements["metric"] == metric) & (measurements["arm"] == arm)]
            means = rows.groupby("table")["value"].mean()
            color = PALETTE[0] if arm == "pfn" else PALETTE[6]
            axes.plot(means, np.full(len(means), place), ".", color=color, alpha=0.35)
            axes.plot(means.mean(), place, MARKERS[0], color=color)
        axes.set_yticks(range(len(order)), labels=[NAMES[arm] for arm in order] if metric == "rank" else [])
        axes.invert_yaxis()
        label_axes(axes, title, "")
    set_caption(figure, "Small dots are tables (means over replicates), large ones the mean over all of them.")
    return figure


def heads(measurements: "pd.DataFrame") -> "Figure":
    """Loss of every replicate by head."""
    from core.figures.drawing import MARKERS, PALETTE, label_axes, panel_grid, set_caption

    title = "loss on held-out data sets"
    figure, panels = panel_grid([title], columns=1)
    axes, arms = panels[title], ("coarse", "gaussian", "bars")
    rows = measurements[measurements["metric"] == "nll"]
    for number, (_, frame) in enumerate(rows.groupby("replicate")):
        values = frame.set_index("arm")["value"].reindex(list(arms))
        axes.plot(range(3), values, color=PALETTE[number % len(PALETTE)], marker=MARKERS[0], linewidth=0.8)
    axes.set_xticks(range(3), labels=[NAMES[arm] for arm in arms])
    label_axes(axes, "head", "negative log density", None, "nats")
    set_caption(figure, "One line for each replicate: the same encoder, data sets and order, with three heads.")
    return figure


def losses_in_time(measurements: "pd.DataFrame") -> "Figure":
    """Loss against seconds per data set for every method and budget, in both styles, on logarithmic scales."""
    from core.figures.drawing import MARKERS, PALETTE, add_shared_legend, label_axes, panel_grid, set_caption

    mean, truth = mean_losses(measurements)
    taken = measurements[measurements["metric"] == "seconds"]
    figure, panels = panel_grid(list(STYLES.values()), columns=2, share_y=True)
    for style, title in STYLES.items():
        axes, methods = panels[title], by_method(taken, mean, style)
        for arm, points in methods.items():
            seconds, loss = zip(*points, strict=True)
            place = METHODS.index(arm)
            axes.plot(seconds, loss, color=PALETTE[place], marker=MARKERS[place], label=NAMES[arm])
        axes.axhline(truth, color=PALETTE[6], linestyle="--", linewidth=0.9, label=NAMES["long"])
        logarithmic(axes)
        plain_ticks(axes)
        label_axes(axes, "time for a data set", "negative log density", "seconds", "nats")
    add_shared_legend(figure)
    set_caption(
        figure,
        "Mean loss over the data sets that the long chains answered, against seconds per data set on one core, without "
        "compilation and, for the network, without its training. Of SVI and NUTS, one point for each budget.",
    )
    return figure


METHODS = ("pfn", "mle", "svi", "nuts")
STYLES = {"alone": "one data set after another", "batched": "all data sets at once"}


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


def by_method(taken: "pd.DataFrame", mean: dict[tuple, float], style: str) -> dict[str, list[tuple[float, float]]]:
    """Points (median seconds, loss) of every method in one style, budgets growing: `nuts_8` and `nuts_32` are one."""
    found: dict[str, dict[float, tuple[float, float]]] = {}
    medians: dict[tuple, float] = with_budgets(taken).groupby(["arm", "budget"])["value"].median().to_dict()
    for (arm, budget), seconds in medians.items():
        source = arm.removesuffix("_batched").removesuffix("_alone")
        own = "alone" if arm == "pfn_alone" or not (arm == "pfn" or arm.endswith("_batched")) else "batched"
        if own == style and (source, budget) in mean:
            method, _, draws = source.partition("_")
            found.setdefault(method, {})[float(draws or budget)] = (seconds, mean[source, budget])
    return {method: [points[budget] for budget in sorted(points)] for method, points in found.items()}


def plain_ticks(axes: "Axes") -> None:
    """Losses in plain numbers, as they often lie within one power of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
