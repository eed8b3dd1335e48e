"""What the benchmarks of kernels share: starting the peers, comparing what they computed, letting them take turns."""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import old_jax
from benchmarks.ntk_work import EXACT
from benchmarks.served import Served
from core.files import write_json
from core.running.worker_pool import worker_environment
from core.runs.provenance import collect_provenance

SLOW, SLOW_ROUNDS = 3.0, 2  # runs of more seconds than this are done in the first rounds only,
VERY_SLOW = 20.0  # and of more than this never again: the first time counts
PAUSE = 0.1  # seconds between two runs, for idle threads to fall asleep
TOLERANCE = {EXACT: 1e-10}  # relative to the largest entry
SINGLE = 1e-5  # in float32


def arguments(says: str, peers: list[str]) -> argparse.Namespace:
    """The command line: an interpreter for each peer, and how many rounds."""
    parser = argparse.ArgumentParser(description=says)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds")
    for peer in peers:
        parser.add_argument(f"--{peer}-python", type=Path, help=f"interpreter that has {peer}; without it, left out")
    return parser.parse_args()


def started(task: str, given: argparse.Namespace, peers: list[str], folder: Path) -> dict[str, Served]:
    """Encore and the peers that can be run here, each having done every run once; what is left out is said."""
    found = {}
    for peer in ("encore", *peers):
        python: Path | None = getattr(given, f"{peer.replace('-', '_')}_python", Path(sys.executable))
        why = f"no --{peer}-python" if python is None else None
        if peer == "neural-tangents" and python is not None:
            why = old_jax.failure(python)
        if why:
            print(f"without {peer}: {why}")
            continue
        variables = worker_environment(accelerator=False, single_threaded=False)
        if peer == "neural-tangents":
            variables.pop("JAX_COMPILATION_CACHE_DIR")  # its jax is another one
        found[peer] = Served([str(python), "-m", "benchmarks.ntk_work", task, peer, str(folder)], variables)
        found[peer].facts = found[peer].answer()  # one after the other: each has the machine for itself
    return found


def agreement(folder: Path) -> dict[str, float]:
    """How far every peer's kernel is from ours, relative to its largest entry; refused when too far."""
    found = {}
    for path in sorted(folder.glob("*.npy")):
        peer, _, name = path.stem.partition(", ")
        ours = next((p for p in folder.glob("encore, *.npy") if name.startswith(p.stem.partition(", ")[2])), None)
        if peer == "encore" or ours is None:
            continue
        theirs, expected = np.load(path), np.load(ours)
        expected = expected[: len(theirs)]
        if expected.ndim == 3:  # both kernels of infinite width: their diagonals are reported apart
            off = ~np.eye(expected.shape[1], dtype=bool)
            found[f"{path.stem}, diagonal"] = float(abs(theirs[:, ~off] / expected[:, ~off] - 1).max())
            theirs, expected = theirs[:, off], expected[:, off]
        apart = float(abs(theirs - expected).max() / abs(expected).max())
        found[path.stem] = apart
        if not apart <= TOLERANCE.get(name.partition(",")[0], SINGLE):
            raise SystemExit(f"{path.stem} is not the same kernel: it differs by {apart:.1e} of the largest entry")
    return found


def measured(peers: Mapping[str, Served], rounds: int) -> dict[str, list[float]]:
    """Seconds of every run of every peer in every round, the peers taking turns run by run; slow ones less often."""
    order = sorted(
        ((name, peer) for peer, served in peers.items() for name in served.facts["runs"]), key=lambda both: both[0]
    )
    seconds: dict[str, list[float]] = {f"{peer}, {name}": [] for name, peer in order}
    for turn in range(rounds):
        for name, peer in order:
            taken = seconds[f"{peer}, {name}"]
            if peers[peer].facts["first"][name] > VERY_SLOW:
                taken[:] = [peers[peer].facts["first"][name]]
                continue
            if taken and taken[0] > SLOW and turn >= SLOW_ROUNDS:
                continue
            peers[peer].ask(name)
            taken.append(peers[peer].answer())
            time.sleep(PAUSE)
    for peer, served in peers.items():
        for name, scale in served.facts["scales"].items():
            seconds[f"{peer}, {name}"] = [scale * value for value in seconds[f"{peer}, {name}"]]
    return seconds


def exponents(seconds: Mapping[str, list[float]]) -> dict[str, dict[str, Any]]:
    """The power with which the median seconds grow with each axis: of all sizes, and between the two largest."""
    found = {}
    marker = "encore, growth with "
    for axis in sorted({name.removeprefix(marker).partition(":")[0] for name in seconds if name.startswith(marker)}):
        sizes = {
            int(name.rpartition(": ")[2]): float(np.median(values))
            for name, values in seconds.items()
            if name.startswith(f"{marker}{axis}:")
        }
        x, y = np.log(list(sizes)), np.log(list(sizes.values()))
        found[axis] = {
            "seconds": {str(size): round(value, 5) for size, value in sizes.items()},
            "exponent": round(float(np.polyfit(x, y, 1)[0]), 2),
            "between_the_largest": round(float((y[-1] - y[-2]) / (x[-1] - x[-2])), 2),
        }
    return found


def keep(path: Path, work: str, peers: Mapping[str, Served], took: float, busy: float, found: dict[str, Any]) -> None:
    """Write the result with what is needed to read it."""
    provenance = collect_provenance(seconds=took, peak_gib=0.0)
    facts = {
        "work": work,
        "cpu": provenance["device"]["cpu"],
        "cores": provenance["device"]["cores"],
        "load_average": [round(load, 1) for load in (busy, os.getloadavg()[0])],
        "versions": {peer: served.facts["version"] for peer, served in peers.items()},
        "commit": provenance["commit"],
        "dirty": provenance["dirty"],
    }
    write_json(path, facts | found)
