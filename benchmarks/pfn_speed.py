"""Data sets per second in training prior-data fitted networks, ours against pfns, and milliseconds of a prediction.

    python -m benchmarks.pfn_speed [--pfns-python PATH] [--rounds 5] [--core 0] [--sizes laptop]

Both sides train a fresh network end to end: draw Gaussian processes from the prior, forward, backward, clip, Adam.
Sizes, context sizes of every update, borders of the bars, learning rate and the law of the data sets are equal; numbers
of parameters and the losses on the same held-out data sets are compared first, beside the exact posterior's loss.
Each side is one process with one thread on the same core, as `encore run` trains independent networks, and they take
turns. What remains different: a query of ours attends to itself too, our layers have biases and scales, and pfns gets a
fresh model and data loader by its own `train`, which takes it milliseconds.

pfns is needed only here, by the interpreter that `--pfns-python` names: `pip install torch==2.13.0 gpytorch`,
`pip install --no-deps pfns==0.4.2`, and what it imports (einops, tqdm, tensorboard, scikit-learn, matplotlib).
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.pfn_work import ALONE, GEMM, SEEN, SETS, SIZES, Size, given, named, write_shared
from benchmarks.served import Served, spread
from core.files import write_json
from core.running.worker_pool import worker_environment
from core.runs.provenance import collect_provenance

RESULT = Path(__file__).parent / "results" / "pfn_speed.json"
LOSSES = 0.25  # nats by which the losses after a run may differ: initial values and draws differ
PARAMETERS = 0.1  # share by which numbers of parameters may differ
PAUSE = 0.1  # seconds between two runs


def started(python: str, side: str, folder: Path, sizes: list[Size], core: int) -> Served:
    """One side, on one core, having done every run once."""
    variables = worker_environment(accelerator=False, single_threaded=True)
    command = ["taskset", "-c", str(core), python, "-m", "benchmarks.pfn_work", side, str(folder)]
    command.append(",".join(size.name for size in sizes))
    served = Served(command, variables)
    served.facts = served.answer()
    return served


def measured(sides: dict[str, Served], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of every run of every side, taking turns within a round."""
    names = list(dict.fromkeys(name for side in sides.values() for name in side.facts["runs"]))
    seconds: dict[str, dict[str, list[float]]] = {side: {} for side in sides}
    for _ in range(rounds):
        for name in names:
            for side, served in sides.items():
                if name in served.facts["runs"]:
                    served.ask(name)
                    seconds[side].setdefault(name, []).append(served.answer())
                    time.sleep(PAUSE)
    return seconds


def agreement(folder: Path, sizes: list[Size], sides: dict[str, Served]) -> dict[str, Any]:
    """Losses and numbers of parameters of both sides; refused where they are too far apart."""
    found = {}
    for size in sizes:
        exact = float(given(folder, size)["exact"])
        losses = {side: served.facts["losses"][size.name] for side, served in sides.items()}
        counts = {side: served.facts["parameters"][size.name] for side, served in sides.items()}
        assert max(losses.values()) - min(losses.values()) < LOSSES, (size.name, losses)
        assert max(counts.values()) < (1 + PARAMETERS) * min(counts.values()), (size.name, counts)
        # No network predicts better than the exact posterior, but by chance on these few data sets.
        assert min(losses.values()) > exact - 0.05, (size.name, losses, exact)
        rounded = {side: round(loss, 3) for side, loss in losses.items()}
        found[size.name] = {"loss": rounded, "loss_of_the_exact_posterior": round(exact, 3), "parameters": counts}
    return found


def summary(folder: Path, sizes: list[Size], seconds: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Rates, shares of the peak and milliseconds; ratios are formed round by round.

    The peak is the core's, by the side whose large product is faster in that round.
    """
    peak = {side: [2e-9 * GEMM**3 / value for value in runs["gemm"]] for side, runs in seconds.items()}
    peaks = [max(values) for values in zip(*peak.values(), strict=True)]
    found: dict[str, Any] = {"gflops_of_a_large_product": {side: spread(values, 1) for side, values in peak.items()}}
    for size in sizes:
        flops = sum(map(size.flops, map(int, given(folder, size)["contexts"])))
        shown: dict[str, Any] = {"datasets_per_second": {}, "share_of_the_peak": {}, "milliseconds_of_a_prediction": {}}
        best: dict[str, list[float]] = {}
        for side, runs in seconds.items():
            for name, values in runs.items():
                of, _, what = name.partition(": ")
                label = f"{side}{what.removeprefix('train')}"
                if of != size.name:
                    continue
                if what.startswith("train"):
                    shown["datasets_per_second"][label] = spread([size.steps * size.batch / v for v in values], 0)
                    shares = [1e-9 * flops / v / p for v, p in zip(values, peaks, strict=True)]
                    shown["share_of_the_peak"][label] = spread(shares)
                    if side not in best or statistics.median(values) < statistics.median(best[side]):
                        best[side] = values
                else:
                    count = ALONE if what.endswith("one by one") else size.batch
                    shown["milliseconds_of_a_prediction"][f"{side}, {what.removeprefix('predict ')}"] = spread(
                        [1e3 * value / count for value in values]
                    )
        if "pfns" in best:
            shown["encore_to_best_pfns"] = spread([b / a for a, b in zip(best["encore"], best["pfns"], strict=True)], 2)
        found[size.name] = shown
    return found


def print_table(found: dict[str, Any]) -> None:
    """The same for people."""
    print(f"{found['work']}\n{'':64}{'median':>10}{'lowest':>10}{'highest':>10}")
    for size in filter(lambda size: size.name in found, SIZES):
        for what, lines in found[size.name].items():
            lines = {"": lines} if "median" in lines else lines
            for label, values in lines.items():
                print(f"{size.name + ': ' + what + ' ' + label:64}" + "".join(f"{v:10.4g}" for v in values.values()))
    for side, values in found["gflops_of_a_large_product"].items():
        print(f"{'GFLOP/s of a large product, ' + side:64}" + "".join(f"{v:10.4g}" for v in values.values()))


def main() -> None:
    """Compare, print a table, and keep it as JSON."""
    parser = argparse.ArgumentParser(description="Training prior-data fitted networks: data sets per second.")
    parser.add_argument("--pfns-python", help="interpreter that has torch, gpytorch and pfns; without it, ours alone")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--core", type=int, default=0, help="core that both sides run on")
    parser.add_argument("--sizes", default=",".join(size.name for size in SIZES), help="which comparisons")
    asked = parser.parse_args()
    sizes = named(asked.sizes)
    begun, busy = time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder, sides = Path(name), {}
        write_shared(folder, sizes)
        try:
            sides["encore"] = started(sys.executable, "encore", folder, sizes, asked.core)
            if asked.pfns_python:
                sides["pfns"] = started(asked.pfns_python, "pfns", folder, sizes, asked.core)
            agreed = agreement(folder, sizes, sides)
            seconds = measured(sides, asked.rounds)
        finally:
            for served in sides.values():
                served.close()
        found = summary(folder, sizes, seconds)
    provenance = collect_provenance(seconds=time.perf_counter() - begun, peak_gib=0.0)
    result = {
        "work": f"Gaussian processes, one thread on one core, {asked.rounds} rounds; predictions of {SETS} data sets",
        "sizes": {size.name: {k: v for k, v in vars(size).items() if k != "name"} for size in sizes},
        "points_seen_when_predicting": SEEN,
        "cpu": provenance["device"]["cpu"],
        "load_before": round(busy, 2),
        "versions": {side: served.facts["version"] for side, served in sides.items()},
        "commit": provenance["commit"],
        "agreement": agreed,
        **found,
    }
    write_json(RESULT, result)
    print_table(result)


if __name__ == "__main__":
    main()
