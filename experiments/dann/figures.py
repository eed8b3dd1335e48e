"""Figures of domain-adversarial training that are drawn from arrays: decisions on moons, features of two domains."""

from typing import TYPE_CHECKING, Any

import numpy as np

from core.figures.drawing import PALETTE, add_shared_legend, label_axes, panel_grid, set_caption

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Arrays = dict[str, Any]
NAMES = {"plain": "without adaptation", "source_only": "source only", "dann": "adversarial"}
REACH = (3.6, 2.6)
BOUNDARIES = (
    "One replicate. Above: decisions on labels (colours) and between domains (line), source points filled, target "
    "points hollow. Below: hidden layers of both domains along their two largest principal directions."
)
FEATURES = (
    "One replicate: features of source and target images along their two largest principal directions, by domain "
    "(above) and by class (below)."
)


def figures(measurements: "pd.DataFrame", arrays: Arrays) -> dict[str, "Figure"]:
    """What the study at hand has to show."""
    if "label_map_dann" in arrays:
        return {"boundaries": draw_boundaries(arrays)}
    return {"features": draw_features(arrays)} if "plane_labels" in arrays else {}


def draw_boundaries(arrays: Arrays) -> "Figure":
    """The paper's figure 2."""
    titles = {(kind, arm): f"{NAMES[arm]}: {kind}" for kind in ("decisions", "features") for arm in ("plain", "dann")}
    figure, panels = panel_grid(list(titles.values()), columns=2, share_x=False)
    source, target, labels = (arrays[name][0] for name in ("source", "target", "labels"))
    across, up = (np.linspace(-reach, reach, arrays["label_map_dann"].shape[-1]) for reach in REACH)
    for (kind, arm), title in titles.items():
        axes, plane, domains = panels[title], arrays[f"plane_{arm}"][0], arrays[f"domain_map_{arm}"][0]
        if kind == "decisions":
            plane = np.concatenate([source, target])
            decisions = arrays[f"label_map_{arm}"][0]
            axes.contourf(across, up, decisions, levels=[-0.5, 0.5, 1.5], colors=PALETTE[:2], alpha=0.2)
            if domains.min() < domains.max():
                axes.contour(across, up, domains, levels=[0.5], colors=[PALETTE[6]], linewidths=1)
        own, other = plane[: len(source)], plane[len(source) :]
        axes.scatter(own[:, 0], own[:, 1], s=5, c=np.array(PALETTE)[labels], linewidths=0)
        axes.scatter(other[:, 0], other[:, 1], s=7, facecolors="none", edgecolors="#555555", linewidths=0.4)
        what = "coordinate" if kind == "decisions" else "direction"
        label_axes(axes, f"first {what}", f"second {what}")
    set_caption(figure, BOUNDARIES)
    return figure


def draw_features(arrays: Arrays) -> "Figure":
    """The paper's figure 5, by principal directions."""
    titles = {
        (kind, arm): f"{NAMES[arm]}, by {kind}" for kind in ("domain", "class") for arm in ("source_only", "dann")
    }
    figure, panels = panel_grid(list(titles.values()), columns=2, share_x=False)
    classes = [arrays[f"plane_{name}"][0] for name in ("labels", "target_labels")]
    for (kind, arm), title in titles.items():
        axes, plane = panels[title], arrays[f"plane_{arm}"][0]
        half = len(plane) // 2
        if kind == "class":
            colours = np.concatenate([own[:half] for own in classes])
            axes.scatter(plane[:, 0], plane[:, 1], s=6, c=colours, cmap="tab10", linewidths=0)
        else:
            for name, shown, colour in zip(("source", "target"), (plane[:half], plane[half:]), PALETTE, strict=False):
                axes.scatter(shown[:, 0], shown[:, 1], s=6, c=colour, linewidths=0, label=name)
        label_axes(axes, "first direction", "second direction")
    add_shared_legend(figure)
    set_caption(figure, FEATURES)
    return figure
