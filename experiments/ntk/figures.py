"""Figures of the tangent kernel: the paper's figures 1 to 3, and how everything depends on the width."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TENTH = 1.2816  # standard deviations from the median to the 10th and to the 90th percentile of a Gaussian
NAMES = {
    "limit": "beside the limit",
    "other_depth": "beside the limit of one layer less",
    "ntk": "NTK parametrisation",
    "standard": "standard parametrisation",
    "narrow": "narrow networks instead",
    "component": "kernel principal components",
    "shuffled": "their values shuffled",
}


def figures(measurements: "pd.DataFrame", arrays: dict[str, Any]) -> dict[str, "Figure"]:
    """What the measurements of a study have figures for."""
    metrics = set(measurements["metric"])
    found: dict[str, Figure] = {}
    if "kernel_error" in metrics:
        found["widths"] = initial_widths(measurements)
    if "kernel_change" in metrics:
        found |= {"kernel": kernel_rows(arrays), "widths": training_widths(measurements)}
    if "mean_gap" in metrics:
        found["percentiles"] = percentiles(arrays)
    if "off_line" in metrics:
        found["line"] = along_component(measurements, arrays)
    if "half_time" in metrics:
        found["speed"] = speed(measurements)
    return found


def initial_widths(measurements: "pd.DataFrame") -> "Figure":
    """Distance of the kernel at initialisation from its limit."""
    title = "kernel at initialisation"
    figure, panels = panels_of([title])
    against_width(panels[title], measurements[measurements["metric"] == "kernel_error"], ("limit", "other_depth"))
    return finished(
        figure,
        panels,
        "relative distance",
        "Relative distance of the tangent kernel on the circle from its limit; means and 95 % intervals over "
        "replicates. The line falls as 1/√width.",
    )


def training_widths(measurements: "pd.DataFrame") -> "Figure":
    """Change of the kernel, and distance from the linear equation."""
    titles, arms = ("change of the kernel", "distance from the linear equation"), ("ntk", "standard", "narrow")
    figure, panels = panels_of(titles)
    change = measurements[measurements["metric"] == "kernel_change"]
    last = change[change["arm"] == "standard"]["step"].max()
    change = change[(change["step"] == last) & (change["arm"] != "narrow")]
    against_width(panels[titles[0]], change, arms)
    error = measurements[measurements["metric"] == "linear_error_share"]
    against_width(panels[titles[1]], error[error["step"] == error["step"].max()], arms)
    return finished(
        figure,
        panels,
        "relative distance",
        f"Left: relative change of the kernel on the circle after {last} steps. Right: distance between the network "
        "and the linear equation of its own kernel at the end of training, by what there is to learn. Means and 95 % "
        "intervals over replicates; the lines fall as 1/√width.",
    )


def panels_of(titles: Any) -> tuple["Figure", dict[str, "Axes"]]:
    """Panels beside each other."""
    from core.figures.drawing import panel_grid

    return panel_grid(list(titles), columns=len(titles))


def against_width(axes: "Axes", frame: "pd.DataFrame", arms: tuple[str, ...]) -> None:
    """One metric over the width, both on logarithmic scales, with a guide that falls as 1/√width from the first arm."""
    from core.figures.drawing import mean_confidence_intervals, plot_mean_with_band

    plot_mean_with_band(axes, frame, "width", "value", "arm", order=arms, names=NAMES)
    means = mean_confidence_intervals(frame[frame["arm"] == arms[0]], "width", "value")["mean"]
    widths = means.index.to_numpy(float)
    axes.plot(widths, means.iloc[0] * np.sqrt(widths[0] / widths), color="#555555", linestyle=":", label="1/√width")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(widths, labels=[f"{width:g}" for width in widths])


def finished(figure: "Figure", panels: dict[str, "Axes"], y: str, text: str, x: str = "width") -> "Figure":
    """Labels, one legend and a caption."""
    from core.figures.drawing import add_shared_legend, label_axes, set_caption

    for axes in panels.values():
        label_axes(axes, x, y)
    add_shared_legend(figure)
    set_caption(figure, text)
    return figure


def kernel_rows(arrays: dict[str, Any]) -> "Figure":
    """The paper's figure 1: Θ(x0, x) around the circle at a narrow and at the largest width, before and after."""
    from core.figures.drawing import PALETTE, panel_grid

    widths = sorted(int(name.removeprefix("rows_")) for name in arrays if name.startswith("rows_"))
    shown = [widths[min(1, len(widths) - 1)], widths[-1]]
    titles = {width: f"width {width:,}" for width in dict.fromkeys(shown)}
    figure, panels = panel_grid(list(titles.values()), columns=2, share_y=True)
    for width, title in titles.items():
        rows = np.asarray(arrays[f"rows_{width}"])
        for moment, name, color in ((0, "at initialisation", PALETTE[0]), (1, "after training", PALETTE[1])):
            around(panels[title], rows[:, moment], name, color)
        axes, limit = panels[title], np.asarray(arrays["limit"])[:1]
        around(axes, limit, "limit of infinite width", PALETTE[6], linestyle="--", linewidth=1.2, alpha=1.0)
    return finished(
        figure,
        panels,
        "Θ(x0, x)",
        "The tangent kernel between x0 = (1, 0) and x = (cos γ, sin γ) before and after training; one line for each "
        "replicate.",
        x="γ (radian)",
    )


def around(axes: "Axes", curves: np.ndarray, name: str, color: str, **style: Any) -> None:
    """Functions on the circle, (curves, grid), from -π to π; the grid begins at γ = 0."""
    count = curves.shape[1]
    angles = 2 * np.pi * np.arange(-(count // 2), count - count // 2 + 1) / count
    turned = np.roll(curves, count // 2, 1)
    closed = np.concatenate([turned, turned[:, :1]], 1)
    for number, curve in enumerate(closed):
        line_style: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.6, **style}
        axes.plot(angles, curve, color=color, label=name if number == 0 else None, **line_style)


def percentiles(arrays: dict[str, Any]) -> "Figure":
    """The paper's figure 2: percentiles of the law, and trained networks of the first ensemble."""
    from core.figures.drawing import PALETTE, panel_grid

    widths = sorted(int(name.removeprefix("outputs_")) for name in arrays if name.startswith("outputs_"))
    figure, panels = panel_grid([f"width {width:,}" for width in widths], columns=len(widths), share_y=True)
    mean, sd = (np.asarray(arrays[name])[:1] for name in ("mean", "sd"))
    angles = np.asarray(arrays["angles"])[0]
    for width, axes in zip(widths, panels.values(), strict=True):
        around(axes, np.asarray(arrays[f"outputs_{width}"])[0], "trained networks", PALETTE[0])
        for name, shift in (("10th and 90th percentile", -TENTH), ("10th and 90th percentile", TENTH), ("median", 0)):
            line = "-" if shift == 0 else "--"
            around(axes, mean + shift * sd, name, PALETTE[1], linestyle=line, linewidth=1.5, alpha=1.0)
        axes.plot(angles, np.cos(angles) * np.sin(angles), "o", color=PALETTE[6], label="training points", zorder=3)
    return finished(
        figure,
        panels,
        "f(cos γ, sin γ)",
        "Percentiles of the law of infinitely wide networks trained to the end, and the first ten networks of the "
        "first replicate.",
        x="γ (radian)",
    )


def along_component(measurements: "pd.DataFrame", arrays: dict[str, Any]) -> "Figure":
    """The paper's figure 3: what is left to learn along a component, and the deviation from the line."""
    from core.figures.drawing import PALETTE, panel_grid

    titles = {"left": "left along the component", "across": "deviation from the line"}
    figure, panels = panel_grid(list(titles.values()), columns=2)
    frame = measurements[
        (measurements["arm"] == "component") & measurements["course"].fillna("").str.startswith("alone")
    ]
    [number] = frame["component"].dropna().unique()
    held = measurements[(measurements["metric"] == "eigenvalue") & (measurements["component"] == number)]
    eigenvalues = dict(zip(held["replicate"], held["value"], strict=True))
    rate = float(np.asarray(arrays["learning_rate"])[0])
    end = 0.0
    for position, width in enumerate(sorted(frame["width"].unique())):
        for metric, title in titles.items():
            rows = frame[(frame["width"] == width) & (frame["metric"] == metric)]
            for count, (replicate, curve) in enumerate(rows.groupby("replicate")):
                time = curve["step"].to_numpy(float) * rate * eigenvalues[replicate]
                end = max(end, time[-1])
                name = f"width {width:,.0f}" if count == 0 else None
                panels[title].plot(time, curve["value"], color=PALETTE[position], linewidth=0.8, alpha=0.7, label=name)
    time = np.linspace(0, end, 100)
    start = float(np.asarray(arrays["amplitude"])[0])
    panels[titles["left"]].plot(time, start * np.exp(-time), color=PALETTE[6], linestyle="--", label="infinite width")
    panels[titles["across"]].plot(time, 0 * time, color=PALETTE[6], linestyle="--")
    return finished(
        figure,
        panels,
        "root mean square",
        f"Training towards kernel principal component {number:.0f}; one line for each replicate, time in units of the "
        "inverse eigenvalue.",
        x="time by 1/λ",
    )


def speed(measurements: "pd.DataFrame") -> "Figure":
    """Time to learn half of a component against its eigenvalue."""
    from core.figures.drawing import MARKERS, PALETTE

    title = "components learnt together"
    figure, panels = panels_of([title])
    axes = panels[title]
    held = measurements[measurements["metric"] == "eigenvalue"][["replicate", "component", "value"]]
    for position, arm in enumerate(("component", "shuffled")):
        rows = measurements[(measurements["metric"] == "half_time") & (measurements["arm"] == arm)]
        rows = rows.merge(held, on=["replicate", "component"], suffixes=("", "_of"))
        style: dict[str, Any] = {"color": PALETTE[position], "marker": MARKERS[position], "linestyle": ""}
        axes.plot(rows["value_of"], rows["value"], label=NAMES[arm], **style)
    ends = np.array([held["value"].min(), held["value"].max()])
    axes.plot(ends, np.log(2) / ends, color=PALETTE[6], linestyle="--", label="log 2 / λ")
    axes.set_xscale("log")
    axes.set_yscale("log")
    return finished(
        figure,
        panels,
        "time until half is learnt",
        "Time until half of a component is learnt against its eigenvalue, for every component and replicate; where the "
        "training ended before, as its whole course foretells.",
        x="eigenvalue λ",
    )
