"""The figure that the config cannot declare: Table 1 as measured."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ARMS = {
    "layer_norm": "layer norm",
    "batch_norm": "batch norm",
    "weight_norm": "weight norm",
    "batch_axis": "layer norm, wrong axis",
    "uncentred": "batch norm, not centred",
    "whole_matrix": "weight norm, whole matrix",
}
NEVER = 1e-17  # drawn in the place of a change of exactly 0


def figures(measurements: "pd.DataFrame", arrays: dict[str, Any]) -> dict[str, "Figure"]:
    """A cell for every norm and transformation, of the study that has such rows."""
    from core.figures.drawing import PALETTE, panel_grid, set_caption

    rows = measurements[measurements["metric"] == "relative_change"]
    if rows.empty:
        return {}
    names = list(dict.fromkeys(rows["transformation"]))
    table = rows.pivot_table(index="arm", columns="transformation", values="value").loc[list(ARMS), names]
    figure, panels = panel_grid(["relative change of a layer's output"], columns=1)
    figure.set_size_inches(7.4, 3.2)
    (axes,) = panels.values()
    axes.grid(visible=False)
    for y, values in enumerate(table.to_numpy()):
        for x, value in enumerate(values):
            color = PALETTE[2] if value < 1e-6 else "white"
            axes.fill_between([x - 0.48, x + 0.48], y - 0.46, y + 0.46, color=color, alpha=0.35, linewidth=0)
            axes.annotate("0" if value < NEVER else f"{value:.1g}", (x, y), ha="center", va="center")
    axes.axhline(2.5, color="#999999", linewidth=1)
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
    axes.set_yticks(range(len(ARMS)), list(ARMS.values()))
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(ARMS) - 0.5, -0.5)
    set_caption(figure, "Table 1 as measured: largest change of the output by its largest value; filled: invariances.")
    return {"invariances": figure}
