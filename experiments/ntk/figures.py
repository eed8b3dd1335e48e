"""The paper's figures 1 and 2: kernels around the circle before and after training, and the law of trained networks."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TENTH = 1.2816  # standard deviations from the median to the 10th and to the 90th percentile of a Gaussian


def figures(measurements: "pd.DataFrame", arrays: dict[str, Any]) -> dict[str, "Figure"]:
    """What the kept arrays of a study have figures for."""
    from core.figures.drawing import add_shared_legend

    found = {"kernel": kernel_rows(arrays)} if "limit" in arrays else {}
    found |= {"percentiles": percentiles(arrays)} if "mean" in arrays else {}
    for figure in found.values():
        add_shared_legend(figure)
    return found


def kernel_rows(arrays: dict[str, Any]) -> "Figure":
    """Θ(x0, x) around the circle at a narrow and at the largest width, before and after training."""
    from core.figures.drawing import PALETTE

    widths = widths_of(arrays, "rows_")
    text = (
        "The tangent kernel between x0 = (1, 0) and x = (cos γ, sin γ) before and after training; a line a replicate."
    )
    figure, panels = width_panels(sorted({widths[min(1, len(widths) - 1)], widths[-1]}), "Θ(x0, x)", text)
    for width, axes in panels.items():
        rows = np.asarray(arrays[f"rows_{width}"])
        around(axes, rows[:, 0], "at initialisation", PALETTE[0])
        around(axes, rows[:, 1], "after training", PALETTE[1])
        around(axes, np.asarray(arrays["limit"])[:1], "limit of infinite width", PALETTE[6], "--", 1.2)
    return figure


def percentiles(arrays: dict[str, Any]) -> "Figure":
    """Percentiles of the law, and trained networks of the first ensemble."""
    from core.figures.drawing import PALETTE

    text = "Percentiles of the law of infinitely wide trained networks, and ten networks of the first replicate."
    figure, panels = width_panels(widths_of(arrays, "outputs_"), "f(cos γ, sin γ)", text)
    mean, sd = (np.asarray(arrays[name])[:1] for name in ("mean", "sd"))
    angles = np.asarray(arrays["angles"])[0]
    for width, axes in panels.items():
        around(axes, np.asarray(arrays[f"outputs_{width}"])[0], "trained networks", PALETTE[0])
        around(axes, mean, "median", PALETTE[1], "-", 1.5)
        for shift in (-TENTH, TENTH):
            around(axes, mean + shift * sd, "10th and 90th percentile", PALETTE[1], "--", 1.5)
        axes.plot(angles, np.cos(angles) * np.sin(angles), "o", color=PALETTE[6], label="training points", zorder=3)
    return figure


def widths_of(arrays: dict[str, Any], prefix: str) -> list[int]:
    """The widths that arrays were kept for."""
    return sorted(int(name.removeprefix(prefix)) for name in arrays if name.startswith(prefix))


def width_panels(widths: list[int], y: str, text: str) -> tuple["Figure", dict[int, "Axes"]]:
    """A panel for each width, beside each other, for functions of the angle."""
    from core.figures.drawing import label_axes, panel_grid, set_caption

    figure, panels = panel_grid([f"width {width:,}" for width in widths], columns=len(widths), share_y=True)
    for axes in panels.values():
        label_axes(axes, "γ", y, "radian")
    set_caption(figure, text)
    return figure, dict(zip(widths, panels.values(), strict=True))


def around(axes: "Axes", curves: np.ndarray, name: str, color: str, line: str = "-", width: float = 0.7) -> None:
    """Functions on the circle, (curves, grid), from -π to π; the grid begins at γ = 0."""
    count = curves.shape[1]
    angles = 2 * np.pi * np.arange(-(count // 2), count - count // 2 + 1) / count
    turned = np.roll(curves, count // 2, 1)
    drawn = axes.plot(angles, np.concatenate([turned, turned[:, :1]], 1).T, line, color=color, linewidth=width)
    drawn[0].set_label(name)
