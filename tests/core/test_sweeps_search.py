"""The search: deterministic, resumable at any point, and better than chance where the best point is known."""

import dataclasses
from pathlib import Path

import pytest

from core.errors import BadInput
from core.runs import sweep_folder
from core.runs.sweep_folder import Sweep
from core.sweeps import search, sweep_command
from core.sweeps.objective import Objective
from core.sweeps.search import TpeSource
from core.sweeps.sweep_command import PointChecker

WORDS = ("paper=toy", "study=fit", "scale=smoke")
AXES = ("settings.rate=tag(log,interval(0.001,10))", "settings.steps=int(interval(5,60))", "settings.mode=plain,fancy")


def tpe(*axes: str, trials: int, at_once: int = 1, seed: int = 0) -> TpeSource:
    command = sweep_command.parse_command([*WORDS, *axes])
    wanted = Objective("fit", "loss", "min", "fast")
    return TpeSource(
        command, PointChecker(command.fixed), wanted, trials, startup_trials=8, batch_size=at_once, seed=seed
    )


def opened(source: TpeSource, folder: Path) -> Path:
    sweep_folder.write_sweep(
        Sweep(source.sweep_identity(), WORDS, "tpe", {}, source.objective.as_dict(), (), None, folder)
    )
    return folder


def loss(values: dict[str, str]) -> float:
    """Lowest at rate 1, 40 steps and mode fancy."""
    rate, steps = float(values["settings.rate"]), int(values["settings.steps"])
    return abs(rate - 1) + abs(steps - 40) / 20 + (values["settings.mode"] == "plain")


def carried_out(source: TpeSource, folder: Path) -> list[dict[str, str]]:
    """Play the search to its end, every point given its loss at once."""
    while found := source.add_points(folder):
        for point in found:
            value = {"mean": loss(dict(point.overrides)), "low": None, "high": None, "n": 1}
            sweep_folder.write_point(folder, dataclasses.replace(point, state="finished", objective=value))
    return [dict(point.overrides) for point in sweep_folder.read_sweep(folder).points]


@pytest.fixture(autouse=True)
def root(toy_root: Path) -> Path:
    return toy_root


def test_a_search_finds_what_is_better_and_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    source = tpe(*AXES, trials=30)
    whole = carried_out(source, opened(source, tmp_path / "whole"))
    assert len(whole) == 30
    losses = [loss(values) for values in whole]
    assert min(losses[8:]) < min(losses[:8]) and sorted(losses[8:])[11] < sorted(losses[:8])[4], "no better than chance"
    for at in (1, 8, 20):  # a search that is killed has nothing but its folder
        folder = opened(source, tmp_path / f"cut-{at}")
        carried_out(tpe(*AXES, trials=at), folder)
        assert carried_out(tpe(*AXES, trials=30), folder) == whole
    assert (
        source.sweep_identity()
        == tpe(*AXES, trials=5).sweep_identity()
        != tpe(*AXES, trials=5, seed=1).sweep_identity()
    )


def test_several_points_at_once_are_different_and_all_within_range(tmp_path: Path) -> None:
    source = tpe(*AXES, trials=10, at_once=4)
    folder = opened(source, tmp_path)
    assert [point.number for point in source.add_points(folder)] == [0, 1, 2, 3]
    assert [point.number for point in source.add_points(folder)] == [4, 5, 6, 7], (
        "points that others still compute count"
    )
    assert [point.number for point in source.add_points(folder)] == [8, 9]
    assert source.add_points(folder) == []
    found = sweep_folder.read_sweep(folder).points
    assert len({point.words for point in found}) == 10
    for point in found:
        assert 0.001 <= float(point.overrides["settings.rate"]) <= 10 and len(point.runs) == 1
        assert 5 <= int(point.overrides["settings.steps"]) <= 60


@pytest.mark.parametrize(
    ("axes", "size"),
    [
        (("settings.mode=plain,fancy,plain", "settings.steps=5,9"), 4),
        (("settings.steps=int(interval(5,9))",), 5),
        (("settings.steps=range(5,20,5)", "settings.mode=plain,fancy"), 6),
    ],
)
def test_points_of_a_finite_space_are_distinct_and_the_search_ends_with_the_last(
    axes: tuple[str, ...], size: int, tmp_path: Path
) -> None:
    source = tpe(*axes, trials=20, at_once=3)
    folder = opened(source, tmp_path)
    assert source.end_line(folder) == ""
    while found := source.add_points(folder):
        for point in found:
            value = {"mean": float(point.overrides.get("settings.steps", 0)), "low": None, "high": None, "n": 1}
            sweep_folder.write_point(folder, dataclasses.replace(point, state="finished", objective=value))
    points = sweep_folder.read_sweep(folder).points
    assert len(points) == len({point.words for point in points}) == size
    assert source.end_line(folder) == f"the search ends with {size} points of 20: there are no others in its ranges"
    assert tpe(*axes, trials=size).end_line(folder) == "", "as many as were asked for"


def test_every_seed_that_is_accepted_can_begin_a_search(tmp_path: Path) -> None:
    """What is added to it for the next points leads beyond 32 bits."""
    source = tpe(*AXES, trials=2, at_once=2, seed=2**32 - 1)
    assert len(source.add_points(opened(source, tmp_path))) == 2


def test_values_that_contradict_each_other_are_a_failed_point(tmp_path: Path) -> None:
    """steps below every=3 are refused by the experiment, which only the combination shows."""
    source = tpe("settings.steps=int(interval(1,2))", trials=2)
    with pytest.raises(BadInput, match="must not be larger than"):
        source.checker.check_point(0, source.points_to_check()[0])
    folder = opened(source, tmp_path)
    [point] = source.add_points(folder)
    assert point.state == "failed" and point.code == 2 and "must not be larger than" in (point.message or "")


def test_ends_are_checked_before_anything_runs() -> None:
    command = sweep_command.parse_command([*WORDS, *AXES])
    assert [search.axis_ends(override) for override in command.axes.values()] == [
        ["0.001", "10.0"],
        ["5", "60"],
        ["plain", "fancy"],
    ]
    corners = tpe(*AXES, trials=1).points_to_check()
    assert {tuple(corner.values()) for corner in corners} == {
        ("0.001", "5", "plain"), ("10.0", "60", "fancy"), ("10.0", "5", "plain"), ("0.001", "60", "plain"),
        ("0.001", "5", "fancy"),
    }  # fmt: skip
