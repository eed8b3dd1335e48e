"""What a sweep costs besides its computations, and what is left of one that is killed again and again.

    python -m benchmarks.sweeps                  every part, about ten minutes on two idle cores
    python -m benchmarks.sweeps launchers killed some of them

- `launchers`: seconds per point and to start, by launcher, beside loops over single runs; the points compute nothing.
- `points`: seconds against the number of points, fitted by a line.
- `killed`: 200 points under SIGKILL ten times; what was lost, and what was computed twice.
- `vectorised`: points that differ in a learning rate, one by one and in one program.

Every measured command is a process of its own with empty folders for results and caches. Processor seconds are those of
the command and of what it started and waited for, which Ray's workers are not; they bear a busy machine better than
seconds of the clock do.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.files import read_json, write_json
from core.runs import measurements
from core.runs.provenance import collect_provenance

RESULT = Path(__file__).with_name("results") / "sweeps.json"
ENCORE = [sys.executable, "-m", "experiments"]
# Densities by arithmetic: a study that computes next to nothing.
NOTHING = ("paper=lottery_ticket", "study=ladder", "scale=smoke", "tracking=none")
TRAINING = ("paper=lottery_ticket", "study=lenet", "scale=smoke", "tracking=none", "replicates=2")
FEW, MANY = 2, 8
KILLS, KILLED_POINTS = 10, 200
LAUNCHERS = ("local", "joblib", "slurm_local", "ray")


def values(count: int) -> str:
    """An axis of so many points."""
    return "settings.prune_output=" + ",".join(f"{0.05 + 0.0001 * n:.4f}" for n in range(count))


def environment(folder: Path) -> dict[str, str]:
    """Empty folders for everything that is kept."""
    return {**os.environ, "ENCORE_RESULTS": str(folder / "results"), "ENCORE_CACHE": str(folder / "cache")}


def seconds_of(folder: Path, *commands: Sequence[str]) -> np.ndarray:
    """How long some commands take, one after the other: seconds of the clock and of processors, shape (2,)."""
    started = _now()
    for words in commands:
        subprocess.run(words, env=environment(folder), check=True, capture_output=True, timeout=900)
    return _now() - started


def _now() -> np.ndarray:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.perf_counter(), used.ru_utime + used.ru_stime])


def sweep(launcher: str, count: int) -> list[str]:
    return [*ENCORE, "run", "-m", *NOTHING, values(count), f"launcher={launcher}"]


LOOP = """
import sys
from core.running import compose, flow
from core.sweeps.sweep_command import expand
for words in expand(sys.argv[1:]):
    flow.execute(compose.prepare_launch(words))
"""


def launchers() -> dict[str, Any]:
    """Seconds per point and to start, from sweeps of few and of many points."""

    def shell(count: int) -> list[list[str]]:
        return [[*ENCORE, "run", *NOTHING, word] for word in expanded(count)]

    def loop(count: int) -> list[list[str]]:
        return [[sys.executable, "-c", LOOP, *NOTHING, values(count)]]

    ways: dict[str, Callable[[int], list[list[str]]]] = {"a command per point": shell, "a loop in Python": loop}
    ways |= {f"launcher={name}": lambda count, name=name: [sweep(name, count)] for name in LAUNCHERS}
    found = {}
    for name, commands in ways.items():
        taken = {}
        for count in (FEW, MANY):
            with tempfile.TemporaryDirectory() as folder:
                taken[count] = seconds_of(Path(folder), *commands(count))
        each = (taken[MANY] - taken[FEW]) / (MANY - FEW)
        start = taken[FEW] - FEW * each
        found[name] = {
            "seconds_per_point": round(float(each[0]), 3),
            "seconds_to_start": round(float(start[0]), 2),
            "processor_seconds_per_point": round(float(each[1]), 3),
            "processor_seconds_to_start": round(float(start[1]), 2),
        }
        print(f"{name:24}{each.round(2)} s a point, {start.round(1)} s to start (clock, processors)", flush=True)
    return found


def expanded(count: int) -> list[str]:
    key, _, choices = values(count).partition("=")
    return [f"{key}={value}" for value in choices.split(",")]


def points() -> dict[str, Any]:
    """Seconds of a sweep in this process against its points, started afresh and started again when all is finished."""
    counts, fresh, again = [5, 10, 20, 40], [], []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            for taken in (fresh, again):
                taken.append(seconds_of(Path(folder), sweep("local", count)))
        print(f"{count:4} points: {fresh[-1].round(1)} s, again {again[-1].round(1)} s (clock, processors)", flush=True)
    kinds = {"": 0, "_processors": 1}
    lines = {f"fresh{name}": line(counts, [taken[kind] for taken in fresh]) for name, kind in kinds.items()}
    lines |= {f"again{name}": line(counts, [taken[kind] for taken in again]) for name, kind in kinds.items()}
    return {"points": counts, **lines}


def line(counts: Sequence[int], taken: Sequence[float]) -> dict[str, Any]:
    """Least squares: seconds = start + each · points."""
    each, start = np.polyfit(counts, taken, 1)
    off = np.abs(np.polyval([each, start], counts) - taken) / np.array(taken)
    return {
        "seconds": [round(float(value), 2) for value in taken],
        "start": round(float(start), 2),
        "each": round(float(each), 4),
        "furthest_off": round(float(off.max()), 3),
    }


def killed() -> dict[str, Any]:
    """A long sweep under SIGKILL at random moments, beside one that nothing happens to."""
    command = sweep("local", KILLED_POINTS)
    with tempfile.TemporaryDirectory() as broken, tempfile.TemporaryDirectory() as whole:
        at, twice, lives = {}, 0, []
        share = KILLED_POINTS // (KILLS + 1)
        for kill in range(KILLS):
            process = subprocess.Popen(command, env=environment(Path(broken)), stdout=subprocess.DEVNULL)
            while len(finished(Path(broken))) < share * (kill + 1) and process.poll() is None:
                time.sleep(0.05)
            time.sleep(random.uniform(0, 1))
            process.kill()
            process.wait()
            now = finished(Path(broken))
            twice += sum(now.get(path) != when for path, when in at.items())
            lives.append(len(now) - len(at))
            at = now
        seconds_of(Path(broken), command)
        now = finished(Path(broken))
        twice += sum(now.get(path) != when for path, when in at.items())
        seconds_of(Path(whole), command)
        tables = [measured(Path(folder)) for folder in (broken, whole)]
        [record] = (Path(broken) / "results" / "runs" / "sweeps").glob("*/sweep.json")
        states = [point["state"] for point in read_json(record)["points"]]
    found = {
        "points": KILLED_POINTS,
        "kills": KILLS,
        "points_finished_in_each_life": [*lives, len(now) - len(at)],
        "finished": states.count("finished"),
        "lost": len(tables[1].keys() - tables[0].keys()),
        "computed_twice": twice,
        "different_from_unbroken": sum(tables[0].get(name) != table for name, table in tables[1].items()),
    }
    print(json.dumps(found), flush=True)
    return found


def finished(folder: Path) -> dict[str, int]:
    """When each replicate was finished."""
    runs = folder / "results" / "runs"
    return {str(path.relative_to(runs)): path.stat().st_mtime_ns for path in runs.glob("*/replicates/*/done.json")}


def measured(folder: Path) -> dict[str, bytes]:
    """All tables of measurements."""
    runs = folder / "results" / "runs"
    return {str(path.relative_to(runs)): path.read_bytes() for path in runs.glob("*/verdict/*/measurements.csv.gz")}


def vectorised() -> dict[str, Any]:
    """Networks that differ in their learning rate, trained one by one and in one program."""
    rates = "settings.optimizer.learning_rate=" + ",".join(f"{rate:.4g}" for rate in np.geomspace(3e-4, 1e-2, 6))
    taken, tables = {}, []
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        for name, folder in (("local", one), ("vectorised", other)):
            command = [*ENCORE, "run", "-m", *TRAINING, rates, f"launcher={name}"]
            clock, processors = seconds_of(Path(folder), command)
            taken[name] = {"clock": round(float(clock), 1), "processors": round(float(processors), 1)}
            paths = sorted((Path(folder) / "results" / "runs").glob("*/verdict/*/measurements.csv.gz"))
            tables.append([measurements.read_measurements(path) for path in paths])
    apart, together = ([table[table["metric"] == "validation_loss"]["value"] for table in found] for found in tables)
    furthest = max(float((a - b).abs().max()) for a, b in zip(apart, together, strict=True))
    found = {
        "points": 6,
        "replicates": 2,
        "seconds": taken,
        "furthest_apart_in_validation_loss": float(f"{furthest:.2g}"),
    }
    print(json.dumps(found), flush=True)
    return found


PARTS = {"launchers": launchers, "points": points, "killed": killed, "vectorised": vectorised}


def main() -> None:
    """Measure some parts and keep them as JSON, beside what was measured of the others."""
    parser = argparse.ArgumentParser(description="What a sweep costs besides its computations.")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[], help="by default all")
    wanted = parser.parse_args().parts or list(PARTS)
    found = read_json(RESULT) if RESULT.exists() else {}
    for name in wanted:
        started = time.perf_counter()
        measured_now = PARTS[name]()
        about = collect_provenance(seconds=time.perf_counter() - started, peak_gib=0.0)
        kept = {"cpu": about["device"]["cpu"], "cores": os.cpu_count(), "commit": about["commit"]}
        kept["load_average"] = [round(value, 1) for value in os.getloadavg()]
        found[name] = {**measured_now, "measured_on": kept}
        write_json(RESULT, {name: found[name] for name in PARTS if name in found})


if __name__ == "__main__":
    main()
