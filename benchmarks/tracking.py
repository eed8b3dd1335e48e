"""What tracking costs: the same training with each tracker against none, from the same seeds, on two pinned workers.

The measurements of all runs must be equal. Counted are the seconds inside the training loops, live rows and whatever a
mirror takes from the workers included; the seconds of the whole command, from its start to its verdict and the mirror's
end; and those of all its processors. A silent server accepts connections and never answers.
"""

import json
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness import Measurement, Options
from benchmarks.results import Result
from benchmarks.timing import ratios, take_turns, time_command

NETWORKS = [
    "pruning.rounds=2",
    *(f"{arm}=[2]" for arm in ("reinit", "reinit_again", "shuffled", "random", "one_shot")),
]
TRACKERS = {
    "none": ["tracking=none"],
    "wandb, offline": ["tracking=wandb"],
    "wandb, online, silent server": ["tracking=wandb", "tracking.mode=online"],
    "trackio": ["tracking=trackio"],
}
TIMED = {"training": "inside the training loops", "clock": "of the command", "processors": "of its processors"}


def run_words(tracker: str, scale: str, iterations: int) -> list[str]:
    """The words of one run."""
    settings = [f"settings.{word}" for word in (f"training.iterations={iterations}", *NETWORKS)]
    run = ["paper=lottery_ticket", "study=lenet", f"scale={scale}", "replicates=2", "workers=2", "first_replicate=1000"]
    return [*run, *settings, *TRACKERS[tracker]]


def time_run(words: Sequence[str], server: str, measured: set[bytes], result: Result) -> dict[str, float]:
    """One run in a folder of its own, refused where it measures anything that no other run did."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {"ENCORE_RESULTS": folder, "WANDB_BASE_URL": server, "WANDB_API_KEY": "0123456789" * 4}
        times = time_command([sys.executable, "-m", "experiments", "run", *words], environment=variables)
        records = sorted(Path(folder).glob("runs/*/replicates/*/done.json"))
        rows = b"".join(path.with_name("measurements.jsonl").read_bytes() for path in records)
        measured.add(rows)
        if len(measured) > 1:
            raise SystemExit(f"{words[-1]}: other measurements than without tracking")
        result.facts["points of curves"] = sum(b'"step"' in line for line in rows.splitlines())
        seconds = [json.loads(path.read_text(encoding="utf-8"))["iterating_seconds"] for path in records]
        return {"training": sum(seconds) / len(seconds), **times}


def compare_trackers(options: Options, result: Result) -> None:
    """Every tracker in every round, after one run that fills the caches."""
    measured: set[bytes] = set()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"http://127.0.0.1:{silent.getsockname()[1]}"
        runs = {
            name: partial(
                time_run, run_words(name, options.sizes.scale, options.sizes.iterations), server, measured, result
            )
            for name in TRACKERS
        }
        runs["none"]()
        times = take_turns(runs, options.rounds)
    for timed, what in TIMED.items():
        result.add(f"seconds {what}", times[timed])
        added = {
            name: [100 * (ratio - 1) for ratio in ratios(values, times[timed]["none"])]
            for name, values in times[timed].items()
            if name != "none"
        }
        result.add(f"% more {what}", added)
    result.add("microseconds", {"a live row of three metrics": 1e6 * time_live_rows(options.sizes.rows)})


def time_live_rows(count: int) -> float:
    """Seconds that writing a live row takes, the mean of many."""
    import numpy as np

    from core.runs.live import LiveWriter

    names = ("training_loss", "validation_loss", "validation_accuracy")
    values = dict.fromkeys(names, np.array(0.123456, np.float32))
    with tempfile.TemporaryDirectory() as folder:
        writer, begun = LiveWriter(Path(folder), 0), time.perf_counter()
        for step in range(count):
            writer.write("ticket-3", step, [0], values)
        return (time.perf_counter() - begun) / count


BENCHMARKS = (
    Measurement(
        name="tracking",
        question="How much longer do runs take with each tracker?",
        work="LeNet-300-100, 2 replicates of 8 networks, {iterations} steps each",
        sizes={"scale": "laptop", "iterations": 2000, "rows": 2000},
        quick={"scale": "smoke", "iterations": 100, "rows": 10},
        rounds=3,
        headline=tuple(("% more inside the training loops", name) for name in TRACKERS if name != "none"),
        perform=compare_trackers,
    ),
)
