"""What a sweep costs besides its computations, and what is left of one that is killed again and again.

Every measured command has empty folders for results and caches; what its points compute is next to nothing. Processors
are those of the command and of what it started and waited for, which Ray's workers are not.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness import Measurement, Options
from benchmarks.results import Result
from benchmarks.timing import Times, fit_line, take_turns, time_command

ENCORE = [sys.executable, "-m", "experiments", "run"]
NOTHING = ("paper=lottery_ticket", "study=ladder", "scale=smoke", "tracking=none")  # densities, by arithmetic
TRAINING = ("paper=lottery_ticket", "study=lenet", "scale=smoke", "tracking=none", "replicates=2")
LOOP = """
import sys
from core.launch.compose import compose_launch
from core.running.execute import run_launch
from core.sweeps.sweep_command import expand_points
for words in expand_points(sys.argv[1:]):
    run_launch(compose_launch(words))
"""
LAUNCHERS = ("local", "joblib", "slurm_local", "ray")


def point_values(count: int) -> list[str]:
    """One word for each of so many points."""
    return [f"settings.prune_output={0.05 + 0.0001 * n:.4f}" for n in range(count)]


def axis(words: Sequence[str]) -> str:
    """One word that names the values of all of them."""
    return words[0].partition("=")[0] + "=" + ",".join(word.partition("=")[2] for word in words)


def sweep(count: int, launcher: str = "local") -> list[str]:
    """The command of a sweep."""
    return [*ENCORE, "-m", *NOTHING, axis(point_values(count)), f"launcher={launcher}"]


def folders(root: str | Path) -> dict[str, str]:
    """Empty folders for everything that is kept."""
    return {"ENCORE_RESULTS": str(Path(root) / "results"), "ENCORE_CACHE": str(Path(root) / "cache")}


def time_afresh(commands: Sequence[Sequence[str]]) -> dict[str, float]:
    """Seconds of commands that find nothing finished or compiled."""
    with tempfile.TemporaryDirectory() as root:
        return time_command(*commands, environment=folders(root))


def compare_launchers(options: Options, result: Result) -> None:
    """Sweeps of few and of many points, whose difference says what a point costs; beside loops over single runs."""
    few, many = options.sizes.points
    ways: dict[str, Callable[[int], list[list[str]]]] = {
        "a command per point": lambda count: [[*ENCORE, *NOTHING, word] for word in point_values(count)],
        "a loop in Python": lambda count: [[sys.executable, "-c", LOOP, *NOTHING, axis(point_values(count))]],
    } | {f"launcher={name}": lambda count, name=name: [sweep(count, name)] for name in options.sizes.launchers}
    runs = {f"{way}; {n}": partial(time_afresh, ways[way](n)) for way in ways for n in (few, many)}
    for clock, times in take_turns(runs, options.rounds).items():
        pairs = {way: list(zip(times[f"{way}; {few}"], times[f"{way}; {many}"], strict=True)) for way in ways}
        each = {way: [(b - a) / (many - few) for a, b in pairs[way]] for way in ways}
        start = {way: [a - few * one for (a, _), one in zip(pairs[way], each[way], strict=True)] for way in ways}
        result.add(f"seconds a point, {clock}", each)
        result.add(f"seconds to start, {clock}", start)


def fit_points(options: Options, result: Result) -> None:
    """Seconds against the number of points, afresh and again when all is finished, and the lines through them."""
    counts, found = options.sizes.points, {"afresh": {}, "again": {}}
    for count in counts:
        with tempfile.TemporaryDirectory() as root:
            for when in found:
                found[when][count] = time_command(sweep(count), environment=folders(root))
    for when, times in found.items():
        for clock in ("clock", "processors"):
            seconds = [times[count][clock] for count in counts]
            result.add(f"seconds, {clock}", {f"{n} points, {when}": s for n, s in zip(counts, seconds, strict=True)})
            fit = fit_line(counts, seconds)
            result.add(f"seconds, fitted, {clock}", {f"{name}, {when}": value for name, value in fit.items()})


def finished(root: str) -> dict[str, int]:
    """When each replicate was finished."""
    runs = Path(root) / "results" / "runs"
    return {str(path.relative_to(runs)): path.stat().st_mtime_ns for path in runs.glob("*/replicates/*/done.json")}


def measured(root: str) -> dict[str, bytes]:
    """All tables of measurements."""
    runs = Path(root) / "results" / "runs"
    return {str(path.relative_to(runs)): path.read_bytes() for path in runs.glob("*/verdict/*/measurements.csv.gz")}


def kill_sweeps(options: Options, result: Result) -> None:
    """A long sweep under SIGKILL at random moments, beside one that nothing happens to."""
    from core.files import read_json

    points, kills = options.sizes.points, options.sizes.kills
    command, at, twice, lives = sweep(points), {}, 0, []
    with tempfile.TemporaryDirectory() as broken, tempfile.TemporaryDirectory() as whole:
        for life in range(kills + 1):
            if life < kills:
                process = subprocess.Popen(command, env={**os.environ, **folders(broken)}, stdout=subprocess.DEVNULL)
                while len(finished(broken)) < points // (kills + 1) * (life + 1) and process.poll() is None:
                    time.sleep(0.05)
                time.sleep(random.uniform(0, 1))
                process.kill()
                process.wait()
            else:
                time_command(command, environment=folders(broken))
            now = finished(broken)
            twice += sum(now.get(path) != when for path, when in at.items())
            lives.append(len(now) - len(at))
            at = now
        time_command(command, environment=folders(whole))
        tables = [measured(root) for root in (broken, whole)]
        [book] = (Path(broken) / "results" / "runs" / "sweeps").glob("*/sweep.json")
        states = [point["state"] for point in read_json(book)["points"]]
    changed = sum(tables[0].get(name) != table for name, table in tables[1].items())
    found = {"finished": states.count("finished"), "lost": len(tables[1].keys() - tables[0].keys())}
    result.add("points", {**found, "computed twice": twice, "different from an unbroken sweep": changed})
    result.facts["points finished in each life"] = lives


def compare_vectorised(options: Options, result: Result) -> None:
    """Networks that differ in their learning rate, trained one by one and in one program."""
    from core.runs.measurements import read_measurements

    rates = [f"settings.optimizer.learning_rate={3e-4 * 33 ** (n / 5):.4g}" for n in range(options.sizes.points)]
    tables: dict[str, list] = {}

    def train(launcher: str) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as root:
            command = [*ENCORE, "-m", *TRAINING, axis(rates), f"launcher={launcher}"]
            times = time_command(command, environment=folders(root))
            paths = sorted((Path(root) / "results" / "runs").glob("*/verdict/*/measurements.csv.gz"))
            tables[launcher] = [read_measurements(path) for path in paths]
        return times

    times: Times = take_turns({name: partial(train, name) for name in ("local", "vectorised")}, options.rounds)
    for clock, seconds in times.items():
        result.add(f"seconds, {clock}", seconds)
    losses = [[t[t["metric"] == "validation_loss"]["value"] for t in tables[name]] for name in ("local", "vectorised")]
    result.agreement["validation loss"] = max(float((a - b).abs().max()) for a, b in zip(*losses, strict=True))


BENCHMARKS = (
    Measurement(
        name="sweep_launchers",
        question="What does a point of a sweep cost by each launcher, beside loops over single runs?",
        work="sweeps of {points} points that compute nothing",
        sizes={"points": [2, 8], "launchers": LAUNCHERS},
        quick={"points": [1, 2], "launchers": ["local"]},
        rounds=1,
        headline=tuple(
            ("seconds a point, clock", way) for way in ("a command per point", "a loop in Python", "launcher=local")
        ),
        perform=compare_launchers,
    ),
    Measurement(
        name="sweep_points",
        question="How do the seconds of a sweep grow with its points, afresh and when all is finished?",
        work="sweeps of {points} points that compute nothing, in the process of the command",
        sizes={"points": [5, 10, 20, 40]},
        quick={"points": [2, 4]},
        rounds=1,
        headline=(("seconds, fitted, clock", "start, afresh"), ("seconds, fitted, clock", "each, afresh")),
        perform=fit_points,
    ),
    Measurement(
        name="sweep_kills",
        question="What is lost or computed twice when a sweep is killed again and again?",
        work="a sweep of {points} points under SIGKILL {kills} times",
        sizes={"points": 200, "kills": 10},
        quick={"points": 6, "kills": 1},
        rounds=1,
        headline=(("points", "finished"), ("points", "lost"), ("points", "computed twice")),
        perform=kill_sweeps,
    ),
    Measurement(
        name="sweep_vectorised",
        question="What does it save to train points that differ in a learning rate in one program?",
        work="{points} networks, two replicates, one by one and in one program",
        sizes={"points": 6},
        quick={"points": 2},
        rounds=1,
        headline=(("seconds, clock", "local"), ("seconds, clock", "vectorised")),
        perform=compare_vectorised,
    ),
)
