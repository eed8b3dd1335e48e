"""Figures: Table 1 as measured, the batch sizes of figure 6, validation curves, gradients through time."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NAMES = {
    "plain": "no normalisation",
    "layer_norm": "layer norm",
    "batch_norm": "batch norm",
    "batch_axis": "layer norm along the wrong axis",
    "weight_norm": "weight norm",
    "uncentred": "batch norm, not centred",
    "whole_matrix": "weight norm, whole matrix",
}
ORDER = ["plain", "layer_norm", "batch_norm", "batch_axis"]
TRANSFORMATIONS = {
    "matrix_scaling": "weight matrix\nre-scaling",
    "matrix_centring": "weight matrix\nre-centring",
    "vector_scaling": "weight vector\nre-scaling",
    "dataset_scaling": "data set\nre-scaling",
    "dataset_centring": "data set\nre-centring",
    "case_scaling": "single case\nre-scaling",
}
NEVER = 1e-17  # drawn in the place of a change of exactly 0


def figures(measurements: "pd.DataFrame", arrays: dict[str, Any]) -> dict[str, "Figure"]:
    """What the study at hand has rows for."""
    from core.figures.drawing import set_caption

    metrics, found = set(measurements["metric"]), {}
    if "rate" in measurements:
        return {}
    if "relative_change" in metrics:
        found["invariances"] = invariances(measurements)
        set_caption(
            found["invariances"],
            "Table 1 as measured: the largest change of a layer's output, by its largest value, in double precision. "
            "Filled cells are invariances.",
        )
    elif "batch" in measurements:
        found["batch-sizes"] = batch_sizes(measurements)
        set_caption(
            found["batch-sizes"],
            "The paper's figure 6: training loss and validation error in batches of 128 and of 4 against epochs; means "
            "and 95 % intervals over replicates.",
        )
    elif "validation_loss" in metrics:
        found["validation"] = validation(measurements)
        set_caption(found["validation"], "Validation loss during training; means and 95 % intervals over replicates.")
    if "gradient_norm" in metrics:
        found["gradients"] = gradients(measurements)
        set_caption(
            found["gradients"],
            "Norm of the gradient of the loss with respect to the input of every time step, of fresh networks, by that "
            "of the last step; means and 95 % intervals over replicates.",
        )
    return found


def invariances(measurements: "pd.DataFrame") -> "Figure":
    """A cell for every norm and transformation."""
    from core.figures.drawing import PALETTE, panel_grid

    arms = ["layer_norm", "batch_norm", "weight_norm", "batch_axis", "uncentred", "whole_matrix"]
    rows = measurements[measurements["metric"] == "relative_change"]
    table = rows.pivot_table(index="arm", columns="transformation", values="value").loc[arms, list(TRANSFORMATIONS)]
    figure, panels = panel_grid(["relative change of a layer's output"], columns=1)
    figure.set_size_inches(7.4, 3.2)
    (axes,) = panels.values()
    axes.grid(visible=False)
    for y, arm in enumerate(arms):
        for x, name in enumerate(TRANSFORMATIONS):
            value = table.loc[arm, name]
            color = PALETTE[2] if value < 1e-6 else "white"
            axes.fill_between([x - 0.48, x + 0.48], y - 0.46, y + 0.46, color=color, alpha=0.35, linewidth=0)
            axes.annotate("0" if value < NEVER else f"{value:.1g}", (x, y), ha="center", va="center")
    axes.axhline(2.5, color="#999999", linewidth=1)
    axes.set_xticks(range(len(TRANSFORMATIONS)), list(TRANSFORMATIONS.values()))
    axes.set_yticks(range(len(arms)), [NAMES[arm] for arm in arms])
    axes.set_xlim(-0.5, len(TRANSFORMATIONS) - 0.5)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    return figure


def batch_sizes(measurements: "pd.DataFrame") -> "Figure":
    """The paper's figure 6: a column for every batch size."""
    from core.figures.drawing import add_shared_legend, label_axes, panel_grid, plot_mean_with_band

    batches = sorted(measurements["batch"].unique(), reverse=True)
    shown = {"train_loss": ("training loss", "nats"), "validation_error": ("validation error", "%")}
    titles = {(metric, batch): f"batches of {batch:g}" for metric in shown for batch in batches}
    figure, panels = panel_grid([f"{metric}/{batch}" for metric, batch in titles], columns=len(batches))
    for (metric, batch), axes in zip(titles, panels.values(), strict=True):
        rows = measurements[(measurements["metric"] == metric) & (measurements["batch"] == batch)]
        rows = rows.assign(thousands=rows["step"] * batch / 1000)
        plot_mean_with_band(axes, rows, "thousands", "value", "arm", order=ORDER, names=NAMES)
        axes.set_title(titles[metric, batch])
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}" if metric == "validation_error" else "")
        label_axes(axes, "images seen", shown[metric][0], "thousands", shown[metric][1])
    for metric in shown:  # one scale for both batch sizes
        both = [axes for (name, _), axes in zip(titles, panels.values(), strict=True) if name == metric]
        low, high = min(axes.get_ylim()[0] for axes in both), max(axes.get_ylim()[1] for axes in both)
        for axes in both:
            axes.set_ylim(low, high)
    add_shared_legend(figure)
    return figure


def validation(measurements: "pd.DataFrame") -> "Figure":
    """Validation curves: a panel for every regime or initial gain, or a single one."""
    from core.figures.drawing import add_shared_legend, label_axes, panel_grid, plot_mean_with_band

    rows = measurements[(measurements["metric"] == "validation_loss") & measurements["arm"].isin(ORDER)]
    unit = "bits per letter" if set(rows["study"]) == {"chars"} else "nats"
    column = next((name for name in ("regime", "gain") if name in rows), None)
    panels_of = {"validation loss": rows}
    if column is not None:
        panels_of = {f"{column} {value}": part for value, part in rows.groupby(column, sort=False)}
    figure, panels = panel_grid(list(panels_of), columns=2, share_y=column == "gain")
    figure.set_size_inches(5.0 if column is None else 6.6, 3.0)
    for title, part in panels_of.items():
        axes = panels[title]
        plot_mean_with_band(
            axes, part.assign(step=part["step"].astype(float)), "step", "value", "arm", order=ORDER, names=NAMES
        )
        for line in axes.get_lines():
            line.set_markersize(2.5)
        label_axes(axes, "training", "validation loss", "steps", unit)
    add_shared_legend(figure)
    return figure


def gradients(measurements: "pd.DataFrame") -> "Figure":
    """How far back gradients reach in a fresh network."""
    from core.figures.drawing import add_shared_legend, label_axes, panel_grid, plot_mean_with_band

    rows = measurements[measurements["metric"] == "gradient_norm"]
    figure, panels = panel_grid(["norm of the gradient, by that of the last step"], columns=1)
    figure.set_size_inches(5.0, 3.0)
    (axes,) = panels.values()
    plot_mean_with_band(
        axes, rows.assign(time=rows["time"].astype(float)), "time", "value", "arm", order=ORDER, names=NAMES
    )
    axes.set_yscale("log")
    label_axes(axes, "time step of the input", "relative norm")
    add_shared_legend(figure)
    return figure
