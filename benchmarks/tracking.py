"""What tracking costs: the same training with each tracker against none, in one interleaved run.

    python -m benchmarks.tracking [--rounds 3] [--iterations 2000]

Every arrangement is one `encore run` of LeNet-300-100 on MNIST, eight networks in each of two replicates, on two pinned
workers, from the same seeds; the measurements of all runs must be equal. The arrangements take turns within a round and
begin with another one in each. Counted are the seconds inside the training loops, live rows and whatever a mirror takes
from the workers included; the seconds of the whole command, from its start to its verdict and the mirror's end; and the
processor time of all its processes, on which a crowded machine has little influence.
A silent server accepts connections and never answers. The writing of live rows is timed by itself, too.
"""

import argparse
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.files import sha256, write_json
from core.runs.live import LiveWriter
from core.runs.provenance import collect_provenance

RESULT = Path(__file__).parent / "results" / "tracking.json"
MEASURED = ("training", "command", "processor")
LIVE_ROWS = 2000  # of the timing of live rows
NETWORKS = ["rounds=2", *(f"{arm}=[2]" for arm in ("reinit", "reinit_again", "one_shot", "random", "random_again"))]
ARRANGEMENTS = {
    "none": ["tracking=none"],
    "wandb, offline": ["tracking=wandb"],
    "wandb, online, silent server": ["tracking=wandb", "tracking.mode=online"],
    "trackio": ["tracking=trackio"],
}


def performed(words: Sequence[str], iterations: int, server: str) -> dict[str, Any]:
    """One run in a folder of its own: seconds of training and of the command, points, digest of what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"settings.{word}" for word in (f"iterations={iterations}", *NETWORKS)]
        line = ["run", "paper=lottery_ticket", "study=lenet", "replicates=2", "workers=2", "first_replicate=1000"]
        variables = {"ENCORE_RESULTS": folder, "WANDB_BASE_URL": server, "WANDB_API_KEY": "0123456789" * 4}
        used, started = processor_seconds(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "experiments", *line, *settings, *words],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: {done.stderr}")
        records = sorted(Path(folder).glob("runs/*/replicates/*/done.json"))
        measured = [path.with_name("measurements.jsonl").read_bytes() for path in records]
        return {
            "training": sum(json.loads(path.read_text())["iterating_seconds"] for path in records) / len(records),
            "command": seconds,
            "processor": processor_seconds() - used,
            "points": sum(b'"step"' in line for text in measured for line in text.splitlines()),
            "digest": sha256(b"".join(measured)),
        }


def processor_seconds() -> float:
    """Processor time of all finished children of this process, theirs included: other programs have no part in it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def interleaved(rounds: int, iterations: int) -> dict[str, list[dict[str, Any]]]:
    """Every arrangement in every round, after one run that fills the caches; their measurements are compared."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ARRANGEMENTS}
    names = list(ARRANGEMENTS)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"http://127.0.0.1:{silent.getsockname()[1]}"
        digest = performed(ARRANGEMENTS["none"], iterations, server)["digest"]
        for turn in range(rounds):
            for name in [*names[turn % len(names) :], *names[: turn % len(names)]]:
                found[name].append(run := performed(ARRANGEMENTS[name], iterations, server))
                if run["digest"] != digest:
                    raise SystemExit(f"{name}: other measurements than without tracking")
    return found


def seconds_per_live_row() -> float:
    """The median time to write a live row of three metrics."""
    folder, spent = Path(tempfile.mkdtemp()), []
    writer = LiveWriter(folder, 0)
    values = dict.fromkeys(("training_loss", "validation_loss", "validation_accuracy"), np.array(0.123456, np.float32))
    for step in range(LIVE_ROWS):
        started = time.perf_counter()
        writer.write("ticket-3", step, [0], values)
        spent.append(time.perf_counter() - started)
    shutil.rmtree(folder)
    return statistics.median(spent)


def spread(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """Median, lowest and highest over the rounds."""
    found = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Seconds, and what each tracker adds to them in percent, formed round by round."""
    found: dict[str, Any] = {}
    for what in MEASURED:
        base = [run[what] for run in runs["none"]]
        found[f"{what}_seconds"] = {name: spread([run[what] for run in each]) for name, each in runs.items()}
        found[f"{what}_overhead_percent"] = {
            name: spread([100 * (run[what] / own - 1) for run, own in zip(each, base, strict=True)])
            for name, each in runs.items()
            if name != "none"
        }
    return found


def main() -> None:
    """Compare, print a table, and keep it as JSON."""
    parser = argparse.ArgumentParser(description="Seconds of training with each tracker against none.")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds")
    parser.add_argument("--iterations", type=int, default=2000, help="steps of each of the eight networks")
    given = parser.parse_args()
    started = time.perf_counter()
    runs = interleaved(given.rounds, given.iterations)
    per_row, points = seconds_per_live_row(), runs["none"][0]["points"]
    provenance = collect_provenance(seconds=time.perf_counter() - started, peak_gib=0.0)
    found: dict[str, Any] = {
        "work": f"LeNet-300-100, 2 replicates of 8 networks, {given.iterations} steps each, {given.rounds} rounds",
        "cpu": provenance["device"]["cpu"],
        "cores": provenance["device"]["cores"],
        "commit": provenance["commit"],
        "versions": {name: provenance["libraries"][name] for name in ("jax", "numpy")},
        "points_of_curves": points,
        "microseconds_per_live_row": round(1e6 * per_row, 1),
        **summary(runs),
    }
    write_json(RESULT, found)
    print(f"{found['work']}\n{'':60}{'median':>9}{'lowest':>9}{'highest':>9}")
    for what in (f"{each}_{kind}" for each in MEASURED for kind in ("seconds", "overhead_percent")):
        for name, values in found[what].items():
            print(f"{what.replace('_', ' ')}, {name:34}".ljust(60) + "".join(f"{v:9.2f}" for v in values.values()))
    print(f"{points} points of curves; a live row is written in {1e6 * per_row:.0f} microseconds")


if __name__ == "__main__":
    main()
