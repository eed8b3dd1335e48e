"""Figures of domain-adversarial training that are drawn from arrays: decisions on moons, features of two domains."""

from typing import TYPE_CHECKING, Any

import numpy as np

from core.figures.drawing import PALETTE, add_shared_legend, label_axes, panel_grid, set_caption

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arrays = dict[str, Any]
NAMES = {"plain": "without adaptation", "source_only": "source only", "dann": "adversarial"}
REACH = (3.6, 2.6)


def figures(measurements: "pd.DataFrame", arrays: Arrays) -> dict[str, "Figure"]:
    """What the study at hand has to show."""
    found = {}
    if "label_map_dann" in arrays:
        found["boundaries"] = draw_boundaries(arrays)
    if "plane_labels" in arrays:
        found["features"] = draw_features(arrays)
    return found


def draw_boundaries(arrays: Arrays) -> "Figure":
    """The paper's figure 2."""
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
        scatter_domains(axes, source, target, colours)
        label_axes(axes, "first coordinate", "second coordinate")
        axes = panels[titles["features", arm]]
        plane = arrays[f"plane_{arm}"][0]
        scatter_domains(axes, plane[: len(source)], plane[len(source) :], colours)
        label_axes(axes, "first direction", "second direction")
    set_caption(
        figure,
        "One replicate. Above: decisions on labels (colours) and between domains (line), source points filled, target "
        "points hollow. Below: hidden layers of both domains along their two largest principal directions.",
    )
    return figure


def scatter_domains(axes: "Axes", source: np.ndarray, target: np.ndarray, colours: np.ndarray) -> None:
    """Source points filled in the colour of their class, target points hollow."""
    axes.scatter(source[:, 0], source[:, 1], s=5, c=colours, linewidths=0)
    axes.scatter(target[:, 0], target[:, 1], s=7, facecolors="none", edgecolors="#555555", linewidths=0.4)


def draw_features(arrays: Arrays) -> "Figure":
    """The paper's figure 5, by principal directions."""
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
    set_caption(
        figure,
        "One replicate: features of source and target images along their two largest principal directions, by domain "
        "(above) and by class (below).",
    )
    return figure
