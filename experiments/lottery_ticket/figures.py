"""Figures of the lottery ticket: the paper's figures 3 and 4 as small multiples, and the losses behind them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = {
    "ticket": "winning ticket",
    "reinit": "same mask, fresh weights",
    "one_shot": "pruned in one shot",
    "random": "random mask",
    "dense": "dense network",
}
TICKS = (100, 51.3, 21.1, 13.5, 7.0, 3.6, 1.9, 1.2)


def figures(measurements: "pd.DataFrame", arrays: dict[str, Any]) -> dict[str, "Figure"]:
    """The paper's figures 3 and 4 as small multiples, and the validation losses behind them."""
    from core.figures.drawing import set_caption as caption

    if "test_accuracy" not in set(measurements["metric"]) or "rate" in measurements:
        return {}
    found = {"densities": against_density(measurements), "losses": loss_curves(measurements)}
    caption(
        found["densities"],
        "Test accuracy at the early-stop iteration, and that iteration, against the share of weights left; means and "
        "95 % intervals over replicates. Rings mark means that include networks still improving at the cap.",
    )
    caption(found["losses"], "Validation loss during training by density; means and 95 % intervals over replicates.")
    return found


def against_density(measurements: "pd.DataFrame") -> "Figure":
    """Accuracy and early-stop iteration of tickets and of what they are compared with, from dense to sparse."""
    from core.figures.drawing import add_shared_legend, label_axes, panel_grid

    present = set(measurements["arm"])
    others = [arm for arm in ("reinit", "one_shot", "random") if arm in present]
    rows = (("test_accuracy", "test accuracy", "%"), ("early_stop_iteration", "early stop", "iterations"))
    titles = {(arm, metric): f"{SHOWN[arm]}: {text}" for metric, text, _ in rows for arm in others}
    figure, panels = panel_grid(list(titles.values()), columns=len(others))
    for metric, text, unit in rows:
        frame = measurements[(measurements["metric"] == metric) & measurements["arm"].isin(SHOWN)]
        for arm in others:
            axes = panels[titles[arm, metric]]
            density_panel(axes, frame, arm)
            label_axes(axes, "weights left", text, "%", unit)
            if metric == "early_stop_iteration":
                ring_capped(axes, frame[frame["arm"].isin(["ticket", arm])], measurements["step"].max())
    add_shared_legend(figure)
    return figure


def density_panel(axes: "Axes", frame: "pd.DataFrame", arm: str) -> None:
    """One metric of tickets and one other arm, on the scale of all arms; the dense network as a line."""
    from core.figures.drawing import PALETTE, plot_mean_with_band

    drawn = frame[frame["arm"].isin(["ticket", arm])]
    plot_mean_with_band(axes, drawn, "density", "value", "arm", order=list(SHOWN), names=SHOWN)
    axes.axhline(frame[frame["arm"] == "dense"]["value"].mean(), color=PALETTE[6], linestyle="--", label=SHOWN["dense"])
    lowest, highest = frame["value"].min(), frame["value"].max()
    room = 0.05 * (highest - lowest) or 1.0
    axes.set_ylim(lowest - room, highest + room)
    least = frame["density"].min()
    axes.set_xscale("log")
    axes.set_xlim(120, least / 1.2)
    axes.set_xticks([tick for tick in TICKS if tick >= least], labels=[f"{tick:g}" for tick in TICKS if tick >= least])
    axes.minorticks_off()


def ring_capped(axes: "Axes", frame: "pd.DataFrame", cap: float) -> None:
    """A ring around every mean that includes a censored iteration: the network was still improving at the cap."""
    from core.figures.drawing import mean_confidence_intervals

    for _, rows in frame.groupby("arm"):
        densities = rows[rows["value"] >= cap]["density"].unique()
        means = mean_confidence_intervals(rows[rows["density"].isin(densities)], "density", "value")["mean"]
        axes.plot(means.index, means, "o", markersize=9, fillstyle="none", color="#555555", label="some at the cap")


def loss_curves(measurements: "pd.DataFrame") -> "Figure":
    """Validation loss against iterations at the densities where tickets were re-initialised."""
    from core.figures.drawing import add_shared_legend, label_axes, panel_grid, plot_mean_with_band

    frame = measurements[measurements["metric"] == "validation_loss"]
    frame = frame.assign(step=frame["step"].astype(float))
    densities = sorted(frame[frame["arm"] == "reinit"]["density"].unique(), reverse=True)
    figure, panels = panel_grid([f"{density:g} % of the weights" for density in densities], columns=2, share_y=True)
    for density, axes in zip(densities, panels.values(), strict=True):
        rows = frame[(frame["density"] == density) | (frame["arm"] == "dense")]
        plot_mean_with_band(axes, rows, "step", "value", "arm", order=list(SHOWN), names=SHOWN)
        axes.set_yscale("log")
        label_axes(axes, "training", "validation loss", "iterations", "nats")
    add_shared_legend(figure)
    return figure
