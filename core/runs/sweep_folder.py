"""The folder of a sweep: its points, how far each has come, and which is best.

`results/runs/sweeps/<identity>/sweep.json` says what the sweep is; `points/<number>.json` is written by whoever works
on a point, so that several processes and machines can share a sweep; `points/<number>.lock` is held meanwhile.
"""

import dataclasses
import fcntl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import files
from core.errors import unknown_name

STATES = ("waiting", "running", "finished", "failed", "interrupted", "pruned")
SWEEPS_FOLDER = "sweeps"  # within the folder of runs


@dataclass(frozen=True)
class SweepPoint:
    """One combination of values.

    Attributes:
      number: its place in the sweep, from 0.
      overrides: what distinguishes it from the other points, as on the command line: {"settings.rate": "0.1"}.
      words: the whole command line of `encore run` that computes it.
      runs: names of its run folders, one per study.
      replicates: the first replicate and how many.
      state: one of STATES.
      message: why it failed or stopped, one line.
      objective: {"mean", "low", "high", "n"} of what the sweep selects by; bounds are None for a single replicate.
      code: the exit code it ended with.
      seconds: how long the last attempt took.
      means: the mean objective over its first 1, 2, … replicates, as far as a pruner has compared it.
    """

    number: int
    overrides: Mapping[str, str]
    words: tuple[str, ...]
    runs: tuple[str, ...]
    replicates: tuple[int, int]
    state: str = "waiting"
    message: str | None = None
    objective: Mapping[str, Any] | None = None
    code: int = 0
    seconds: float = 0.0
    means: tuple[float, ...] = ()

    def label(self) -> str:
        """Its values in one line."""
        return " ".join(f"{key}={value}" for key, value in self.overrides.items()) or "the only point"


@dataclass(frozen=True)
class Sweep:
    """A sweep as its folder describes it.

    Attributes:
      identity: 12 hexadecimal digits; equal for equal sets of points, whatever the order of words.
      words: the command line that started it.
      sweeper: "grid" or "tpe".
      axes: the keys that vary, with their values, or with the words of a continuous range.
      objective: {"study", "metric", "arm", "select", "direction"}, or None.
      points: by number.
      winner: {"number", "fresh"}, the best point and what fresh replicates of it gave (None: not run yet), or None.
      folder: where this is recorded.
      pruner: the rule by which bad points stop early: "none", "median" or "halving".
    """

    identity: str
    words: tuple[str, ...]
    sweeper: str
    axes: Mapping[str, Any]
    objective: Mapping[str, Any] | None
    points: tuple[SweepPoint, ...]
    winner: Mapping[str, Any] | None
    folder: Path = field(compare=False)
    pruner: str = "none"

    def count_points(self, state: str) -> int:
        """How many points are in a state."""
        return sum(point.state == state for point in self.points)

    def ranked_points(self) -> list[SweepPoint]:
        """Points with an objective, the best first; equals by number."""
        judged = [point for point in self.points if point.state == "finished" and point.objective]
        sign = -1 if self.objective and self.objective["direction"] == "max" else 1
        return sorted(judged, key=lambda point: (sign * (point.objective or {})["mean"], point.number))


def sweep_path(runs: Path, identity: str) -> Path:
    """The folder of a sweep."""
    return runs / SWEEPS_FOLDER / identity


def point_path(folder: Path, number: int) -> Path:
    """The file with the state of one point."""
    return folder / "points" / f"{number:06d}.json"


def point_lock_path(folder: Path, number: int) -> Path:
    """The lock held by the process that works on a point."""
    return folder / "points" / f"{number:06d}.lock"


def point_output_path(folder: Path, number: int) -> Path:
    """The file with what the run of a point printed."""
    return folder / "points" / f"{number:06d}.txt"


def write_sweep(sweep: Sweep) -> None:
    """Write what the sweep is, with its points as they are now."""
    content = dataclasses.asdict(sweep)
    del content["folder"]
    files.write_json(sweep.folder / "sweep.json", content)


def write_point(folder: Path, point: SweepPoint) -> None:
    """Write how far one point has come."""
    files.write_json(point_path(folder, point.number), dataclasses.asdict(point))


def read_sweep(folder: Path) -> Sweep:
    """The sweep in a folder, its points as they are at this moment; OSError or ValueError when there is none."""
    content = files.read_json(folder / "sweep.json")
    try:
        points = {point["number"]: parse_point(point) for point in content.pop("points")}
        for path in sorted((folder / "points").glob("*.json")):
            point = parse_point(files.read_json(path))
            points[point.number] = point
        found = tuple(_now(folder, points[number]) for number in sorted(points))
        return _sweep(content, found, folder)
    except (TypeError, KeyError) as error:
        raise ValueError(f"{folder / 'sweep.json'} does not describe a sweep: {error}") from None


def read_point(folder: Path, number: int) -> tuple[Sweep, SweepPoint]:
    """A sweep as it was listed, and one of its points as it is now, for whoever holds the point's lock."""
    content = files.read_json(folder / "sweep.json")
    listed = [parse_point(point) for point in content.pop("points") if point["number"] == number]
    path = point_path(folder, number)
    point = parse_point(files.read_json(path)) if path.exists() else listed[0]
    return _sweep(content, (point,), folder), point


def read_sweeps(runs_folder: Path) -> list[Sweep]:
    """Every sweep below a folder of runs, the one worked on last first; what cannot be read is left out."""
    found = []
    for path in (runs_folder / SWEEPS_FOLDER).glob("*/sweep.json"):
        try:
            found.append((path.stat().st_mtime, read_sweep(path.parent)))
        except (OSError, ValueError):
            continue
    return [sweep for _, sweep in sorted(found, key=lambda pair: (-pair[0], pair[1].identity))]


def find_sweep(runs_folder: Path, wanted: str) -> Sweep:
    """The sweep whose identity begins with `wanted`; BadInput names the nearest one."""
    sweeps = {sweep.identity: sweep for sweep in read_sweeps(runs_folder)}
    matching = [identity for identity in sweeps if wanted and identity.startswith(wanted)]
    if len(matching) != 1:
        raise unknown_name("sweep", wanted, matching or sweeps)
    return sweeps[matching[0]]


def is_locked(path: Path) -> bool:
    """Whether some process holds a lock."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def parse_point(content: Mapping[str, Any]) -> SweepPoint:
    """A point as a file holds it."""
    sequences: dict[str, Any] = {name: tuple(content[name]) for name in ("words", "runs", "replicates")}
    sequences["means"] = tuple(content.get("means", ()))
    return SweepPoint(**{**content, **sequences})


def _sweep(content: Mapping[str, Any], points: tuple[SweepPoint, ...], folder: Path) -> Sweep:
    about: dict[str, Any] = {**content, "words": tuple(content["words"])}
    return Sweep(**about, points=points, folder=folder)


def _now(folder: Path, point: SweepPoint) -> SweepPoint:
    """A point that is being worked on, unless the process that did so is gone."""
    if point.state == "running" and not is_locked(point_lock_path(folder, point.number)):
        return dataclasses.replace(point, state="interrupted", message="its process ended")
    return point
