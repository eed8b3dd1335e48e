"""The folder of a sweep: written whole, read at any moment, and honest about who works on what."""

import fcntl
from dataclasses import replace
from pathlib import Path

import pytest

from core import files
from core.errors import BadInput
from core.runs import sweep_folder
from core.runs.sweep_folder import Sweep, SweepPoint


def example(runs: Path, identity: str = "0123456789ab") -> Sweep:
    """A small sweep as it lies on disk while its last point is being computed; also for the tests of its readers."""
    folder = sweep_folder.sweep_path(runs, identity)
    points = tuple(
        SweepPoint(
            number=number,
            overrides={"settings.rate": rate},
            words=("paper=toy", "study=fit", f"settings.rate={rate}"),
            runs=(f"toy-fit-laptop-{number:012x}",),
            replicates=(0, 4),
            **about,
        )
        for number, (rate, about) in enumerate(
            {
                "0.1": {"state": "finished", "objective": {"mean": 0.3, "low": 0.2, "high": 0.4, "n": 4}},
                "0.2": {"state": "finished", "objective": {"mean": 0.1, "low": 0.0, "high": 0.2, "n": 4}},
                "3.0": {"state": "failed", "message": "fit: a worker ended with code 1", "code": 1},
                "0.3": {"state": "running"},
            }.items()
        )
    )
    objective = {"study": "fit", "metric": "loss", "arm": "fast", "select": {}, "direction": "min"}
    words = ("paper=toy", "study=fit", "settings.rate=0.1,0.2,3.0,0.3")
    axes = {"settings.rate": ["0.1", "0.2", "3.0", "0.3"]}
    winner = {"number": 1, "fresh": {"first": 1000, "mean": 0.12, "low": 0.01, "high": 0.23, "n": 4}}
    sweep = Sweep(identity, words, "grid", axes, objective, points, winner, folder)
    sweep_folder.write_sweep(sweep)
    return sweep


def test_a_sweep_is_read_as_it_was_written(tmp_path: Path) -> None:
    sweep = example(tmp_path)
    (sweep.folder / "points").mkdir()
    with sweep_folder.point_lock_path(sweep.folder, 3).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert sweep_folder.read_sweeps(tmp_path) == [sweep]
    assert [point.number for point in sweep.ranked_points()] == [1, 0]
    assert [point.number for point in replace(sweep, objective={"direction": "max"}).ranked_points()] == [0, 1]


def test_a_point_whose_process_is_gone_is_interrupted(tmp_path: Path) -> None:
    [found] = sweep_folder.read_sweeps(tmp_path) if example(tmp_path) else []
    assert [point.state for point in found.points] == ["finished", "finished", "failed", "interrupted"]
    assert found.points[3].message == "its process ended"


def test_what_is_known_of_a_point_wins_over_the_list(tmp_path: Path) -> None:
    sweep = example(tmp_path)
    sweep_folder.write_point(sweep.folder, replace(sweep.points[3], state="finished", seconds=2.5))
    [found] = sweep_folder.read_sweeps(tmp_path)
    assert found.points[3] == replace(sweep.points[3], state="finished", seconds=2.5)
    assert (found.count_points("finished"), found.count_points("failed")) == (3, 1)


def test_sweeps_are_found_by_the_beginning_of_their_identity(tmp_path: Path) -> None:
    example(tmp_path, "0123456789ab")
    example(tmp_path, "0fff456789ab")
    assert sweep_folder.find_sweep(tmp_path, "01").identity == "0123456789ab"
    for wrong, said in {"0": "0123456789ab, 0fff456789ab", "": "0123", "0123456789aa": "mean '0123456789ab'"}.items():
        with pytest.raises(BadInput, match=said):
            sweep_folder.find_sweep(tmp_path, wrong)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"points": [{}]}', '{"points": 3}'])
def test_a_damaged_sweep_hides_no_other(tmp_path: Path, content: str) -> None:
    sweep = example(tmp_path)
    files.write_text(tmp_path / "sweeps" / "damaged" / "sweep.json", content)
    assert [found.identity for found in sweep_folder.read_sweeps(tmp_path)] == [sweep.identity]
    assert sweep_folder.read_sweeps(tmp_path / "nowhere") == []
