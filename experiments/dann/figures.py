"""Figures of domain-adversarial training: moons, accuracies on the target, features of two domains, their distances."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arrays = dict[str, Any]
NAMES = {
    "source_only": "source only",
    "plain": "without adaptation",
    "dann": "adversarial",
    "subspace_alignment": "subspace alignment (chosen on target labels)",
    "train_on_target": "trained on the target",
    "flipped": "reversal flipped (control)",
    "shuffled": "domains shuffled (control)",
    "svm": "support vector machine",
    "raw": "documents",
}
REACH = (3.6, 2.6)


def figures(measurements: "pd.DataFrame", arrays: Arrays) -> dict[str, "Figure"]:
    """What the study at hand has to show."""
    from core.figures.drawing import set_caption as caption

    metrics, found = set(measurements["metric"]), {}
    if "label_map_dann" in arrays:
        found["boundaries"] = boundaries(arrays)
        caption(
            found["boundaries"],
            "One replicate. Above: decisions on labels (colours) and between domains (line), source points filled, "
            "target points hollow. Below: hidden layers of both domains along their two largest principal directions.",
        )
    if "plane_labels" in arrays:
        found["features"] = features(arrays)
        caption(
            found["features"],
            "One replicate: features of source and target images along their two largest principal directions, by "
            "domain (above) and by class (below).",
        )
    if "svm_test_accuracy" in metrics or "pair" in measurements or "label_map_dann" in arrays:
        found["accuracies"] = accuracies(measurements)
        caption(
            found["accuracies"],
            "Accuracy on the target's test set: means, 95 % intervals over replicates, and every replicate as a point. "
            "Beside them the share of the gap from source only to trained on the target, where it was measured.",
        )
    if "proxy_distance" in metrics:
        found["distances"] = distances(measurements)
        caption(
            found["distances"],
            "Proxy A-distance of adversarial features against that of the documents and of features without "
            "adaptation, one point for each pair of domains, means over replicates. Below the line is closer.",
        )
    return found


def boundaries(arrays: Arrays) -> "Figure":
    """The paper's figure 2."""
    from core.figures.drawing import PALETTE, label_axes, panel_grid

    arms = ("plain", "dann")
    titles = {(kind, arm): f"{NAMES[arm]}: {kind}" for kind in ("decisions", "features") for arm in arms}
    figure, panels = panel_grid(list(titles.values()), columns=2, share_x=False)
    source, target, labels = (arrays[name][0] for name in ("source", "target", "labels"))
    across, up = (np.linspace(-reach, reach, arrays["label_map_dann"].shape[-1]) for reach in REACH)
    colours = np.array(PALETTE)[labels]
    for arm in arms:
        axes = panels[titles["decisions", arm]]
        axes.contourf(across, up, arrays[f"label_map_{arm}"][0], levels=[-0.5, 0.5, 1.5], colors=PALETTE[:2], alpha=0.2)
        domains = arrays[f"domain_map_{arm}"][0]
        if domains.min() < domains.max():
            axes.contour(across, up, domains, levels=[0.5], colors=[PALETTE[6]], linewidths=1)
        scatter(axes, source, target, colours)
        label_axes(axes, "first coordinate", "second coordinate")
        axes = panels[titles["features", arm]]
        plane = arrays[f"plane_{arm}"][0]
        scatter(axes, plane[: len(source)], plane[len(source) :], colours)
        label_axes(axes, "first direction", "second direction")
    return figure


def scatter(axes: "Axes", source: np.ndarray, target: np.ndarray, colours: np.ndarray) -> None:
    """Source points filled in the colour of their class, target points hollow."""
    axes.scatter(source[:, 0], source[:, 1], s=5, c=colours, linewidths=0)
    axes.scatter(target[:, 0], target[:, 1], s=7, facecolors="none", edgecolors="#555555", linewidths=0.4)


def features(arrays: Arrays) -> "Figure":
    """The paper's figure 5, by principal directions."""
    from core.figures.drawing import PALETTE, add_shared_legend, label_axes, panel_grid

    arms = ("source_only", "dann")
    titles = {(kind, arm): f"{NAMES[arm]}, by {kind}" for kind in ("domain", "class") for arm in arms}
    figure, panels = panel_grid(list(titles.values()), columns=2, share_x=False)
    labels = arrays["plane_labels"][0]
    for arm in arms:
        plane, half = arrays[f"plane_{arm}"][0], len(labels) // 2
        for part, name, colour in ((slice(half), "source", PALETTE[0]), (slice(half, None), "target", PALETTE[1])):
            shown = plane[part]
            panels[titles["domain", arm]].scatter(shown[:, 0], shown[:, 1], s=6, c=colour, linewidths=0, label=name)
        panels[titles["class", arm]].scatter(plane[:, 0], plane[:, 1], s=6, c=labels, cmap="tab10", linewidths=0)
        for kind in ("domain", "class"):
            label_axes(panels[titles[kind, arm]], "first direction", "second direction")
    add_shared_legend(figure)
    return figure


def accuracies(measurements: "pd.DataFrame") -> "Figure":
    """Bars of the target accuracy by arm, each replicate as a point; means over the pairs of domains."""
    from core.figures.drawing import PALETTE, label_axes, mean_confidence_intervals, panel_grid

    metric = "svm_test_accuracy" if "svm_test_accuracy" in set(measurements["metric"]) else "test_accuracy"
    frame = measurements[measurements["metric"] == metric]
    units = frame.groupby(["arm", "replicate"], as_index=False)["value"].mean()
    table = mean_confidence_intervals(units, "arm", "value")
    arms = [arm for arm in reversed(NAMES) if arm in table.index]
    covered = measurements[measurements["metric"] == "gap_covered"].groupby("arm")["value"].mean()
    figure, panels = panel_grid(["target test accuracy"], columns=1)
    figure.set_size_inches(6.6, 0.42 * len(arms) + 1.1)
    axes = panels["target test accuracy"]
    for place, arm in enumerate(arms):
        row = table.loc[arm]
        error = [[row["mean"] - row["low"]], [row["high"] - row["mean"]]]
        axes.barh(place, row["mean"], height=0.6, color=PALETTE[1 if arm == "dann" else 5], alpha=0.6)
        axes.errorbar(row["mean"], place, xerr=error, color=PALETTE[6], capsize=3, linewidth=1)
        points = units[units["arm"] == arm]["value"]
        axes.plot(points, np.full(len(points), place - 0.2), ".", markersize=3, color="#555555")
        if arm in covered:
            axes.annotate(
                f"{covered[arm]:.0f} % of the gap",
                (0.99, place),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
            )
    axes.set_yticks(range(len(arms)), [NAMES[arm] for arm in arms])
    lowest, highest = units["value"].min(), units["value"].max()
    room = 0.3 * (highest - lowest) + 1
    axes.set_xlim(
        max(0, lowest - room),
        highest + room if "gap_covered" in set(measurements["metric"]) else min(100, highest + room),
    )
    label_axes(axes, "accuracy", "", "%")
    return figure


def distances(measurements: "pd.DataFrame") -> "Figure":
    """The paper's figure 3."""
    from core.figures.drawing import PALETTE, label_axes, panel_grid

    frame = measurements[measurements["metric"] == "proxy_distance"]
    means = frame.groupby(["arm", "pair"])["value"].mean().unstack("arm")
    titles = {arm: f"against {NAMES[arm]}" for arm in ("raw", "plain")}
    figure, panels = panel_grid(list(titles.values()), columns=2, share_y=True)
    low, high = means[["raw", "plain", "dann"]].min().min() - 0.1, means[["raw", "plain", "dann"]].max().max() + 0.1
    for arm, title in titles.items():
        axes = panels[title]
        axes.plot([low, high], [low, high], color="#999999", linewidth=1)
        axes.plot(means[arm], means["dann"], "o", color=PALETTE[1])
        label_axes(axes, f"proxy A-distance, {NAMES[arm]}", "proxy A-distance, adversarial")
    return figure
