"""The style of figures: what is drawn is what the numbers say, and files are the same every time."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from scipy import stats

from core.figures import drawing, standard
from core.papers.config import FigureForm


def example() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"arm": arm, "replicate": replicate, "density": density, "value": 95 + rng.normal() + (arm == "ticket")}
        for arm in ("dense", "ticket")
        for replicate in range(5)
        for density in (3.6, 21.1, 100.0)
    ]
    return pd.DataFrame(rows)


def test_interval_is_the_t_interval_over_replicates() -> None:
    frame = example().query("arm == 'dense'")
    table = drawing.mean_confidence_intervals(frame, "density", "value")
    values = frame.query("density == 21.1")["value"]
    expected = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(table.loc[21.1, ["low", "high"]], expected, rtol=1e-12)
    assert table.index.tolist() == [3.6, 21.1, 100.0]
    assert table["n"].tolist() == [5, 5, 5]


def test_draws_of_one_replicate_count_once() -> None:
    frame = pd.DataFrame({"density": 1.0, "replicate": [0, 0, 0, 1], "value": [1.0, 2.0, 3.0, 6.0]})
    row = drawing.mean_confidence_intervals(frame, "density", "value").loc[1.0]
    assert row["mean"] == pytest.approx(4.0)
    assert row["n"] == 2


def test_single_replicate_has_a_line_and_no_width() -> None:
    frame = pd.DataFrame({"density": [1.0, 2.0], "replicate": 0, "value": [1.0, 2.0]})
    table = drawing.mean_confidence_intervals(frame, "density", "value")
    np.testing.assert_array_equal(table["low"], table["high"])


def test_infinite_values_are_refused() -> None:
    frame = pd.DataFrame({"density": [1.0, 1.0], "replicate": [0, 1], "value": [1.0, np.inf]})
    with pytest.raises(ValueError, match="not finite"):
        drawing.mean_confidence_intervals(frame, "density", "value")


def drawn() -> plt.Figure:
    figure, panels = drawing.panel_grid(["accuracy", "again"], columns=2)
    for axes in panels.values():
        drawing.plot_mean_with_band(axes, example(), "density", "value", "arm", order=["ticket", "dense"])
        drawing.label_axes(axes, "weights remaining", "test accuracy", "%", "%")
    drawing.add_shared_legend(figure)
    return figure


def test_bands_hold_means_and_keep_colours_by_order() -> None:
    figure = drawn()
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    expected = example().groupby(["arm", "density"])["value"].mean()
    for arm, color in (("ticket", drawing.PALETTE[0]), ("dense", drawing.PALETTE[1])):
        np.testing.assert_allclose(lines[arm].get_ydata(), expected[arm], rtol=1e-12)
        assert lines[arm].get_color() == color
    assert axes.get_xlabel() == "weights remaining (%)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ticket", "dense"]
    plt.close(figure)


def test_an_interval_at_a_single_place_is_a_bar() -> None:
    """A band would have no area there."""
    frame = pd.DataFrame({"x": 1.0, "y": [1.0, 3.0], "arm": "a", "replicate": [0, 1]})
    figure, axes = plt.subplots()
    drawing.plot_mean_with_band(axes, frame, "x", "y", "arm")
    [drawn_line] = [each for each in axes.collections if isinstance(each, LineCollection)]
    [segment] = drawn_line.get_segments()
    half = 12.706204736 * 1.0  # t of one degree of freedom, times the standard error
    np.testing.assert_allclose(segment, [[1.0, 2.0 - half], [1.0, 2.0 + half]])
    plt.close(figure)


def test_files_are_the_same_every_time_and_figures_are_closed(tmp_path: Path) -> None:
    [first] = drawing.save_figures({"accuracy": drawn()}, tmp_path / "first")
    [second] = drawing.save_figures({"accuracy": drawn()}, tmp_path / "second")
    assert first == tmp_path / "first" / "accuracy.svg"
    assert first.read_bytes() == second.read_bytes()
    assert ElementTree.fromstring(first.read_text()).tag.endswith("svg")
    assert b"<dc:date>" not in first.read_bytes()
    assert plt.get_fignums() == []


def test_description_is_kept_in_the_file(tmp_path: Path) -> None:
    figure = drawn()
    drawing.set_caption(figure, "Tickets stay level & the dense network too.")
    [path] = drawing.save_figures({"accuracy": figure}, tmp_path)
    description = ElementTree.fromstring(path.read_text()).find(".//{http://purl.org/dc/elements/1.1/}description")
    assert description is not None
    assert description.text == "Tickets stay level & the dense network too."


def test_places_of_the_grid_without_a_panel_are_left_out() -> None:
    figure, panels = drawing.panel_grid(["a", "b", "c", "d"], columns=3)
    assert list(panels) == ["a", "b", "c", "d"]
    assert len(figure.axes) == 4
    plt.close(figure)


def test_a_declared_figure_has_a_panel_for_each_value_of_a_column_and_a_line_for_each_arm() -> None:
    form = FigureForm(study="s", x="step", y="left", panels="width", order=("a", "b"), caption="What is left.")
    rows = [
        {"replicate": r, "arm": arm, "width": width, "step": step, "metric": "left", "value": 10.0 * step + r}
        for r in (0, 1)
        for arm in ("a", "b", "c")
        for width in (100.0, 1000.0)
        for step in (1, 2)
    ]
    [figure] = standard.standard_figures({"left": form}, {"left": "error"}, "s", pd.DataFrame(rows)).values()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["width 100", "width 1,000"]
    for axes in figure.axes:
        assert [line.get_label() for line in axes.lines] == ["a", "b"]
        np.testing.assert_allclose(axes.lines[0].get_ydata(), [10.5, 20.5])  # means over replicates
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "left (error)")
    plt.close(figure)


def test_style_does_not_leak() -> None:
    before = plt.rcParams["axes.grid"]
    drawing.call_in_style(lambda: {"one": drawn()})
    plt.close("all")
    assert plt.rcParams["axes.grid"] == before


def declared(**more: Any) -> plt.Figure:
    """A figure of the example, of which one panel lacks the first arm."""
    rows = example().assign(metric="test_accuracy", part=lambda frame: frame["density"].map({3.6: "a"}).fillna("b"))
    form = FigureForm(study="lenet", x="density", y="test_accuracy", caption="Accuracy.", **more)
    shown = rows[(rows["arm"] != "dense") | (rows["part"] == "b")]
    return standard.standard_figures({"it": form}, {"test_accuracy": "percent"}, "lenet", shown)["it"]


@pytest.mark.parametrize("order", [(), ("dense", "ticket")])
def test_panels_of_a_declared_figure_have_the_same_colours(order: tuple[str, ...]) -> None:
    panels = declared(panels="part", order=order).axes
    colours = [{line.get_label(): line.get_color() for line in axes.get_lines()} for axes in panels]
    assert [set(each) for each in colours] == [{"dense", "ticket"}, {"ticket"}]
    assert len({each["ticket"] for each in colours}) == 1
    plt.close("all")


def test_a_logarithmic_axis_over_few_decades_has_plain_numbers() -> None:
    [axes] = declared(log=("x",), at={"density": (21.1, 100.0)}).axes
    low, high = axes.get_xlim()
    inside = [place for place in axes.get_xticks() if low <= place <= high]
    labels = [axes.xaxis.get_major_formatter()(place) for place in inside]
    assert labels == ["20", "50", "100"][-len(labels) :] and len(labels) > 1
    assert not any(text.get_text() for text in axes.get_xticklabels(minor=True))
    plt.close("all")
