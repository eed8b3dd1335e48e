"""Seconds of empirical tangent kernels, ours against torch.func and neural-tangents.

    python -m benchmarks.old_jax .cache/old-jax
    python -m benchmarks.ntk_empirical --torch-python PATH --neural-tangents-python .cache/old-jax/bin/python

The kernel of a ReLU network of four affine maps with 784 inputs at 128 points, of one and ten outputs, from the same
parameters; the kernels are compared before anything is timed. Peers have both cores and take turns run by run.
torch.func contracts Jacobians (`vmap(jacrev)`; at ten outputs they do not fit, 15 and 51 GB) or multiplies vectors
(`jvp` of `vjp`): of those kernels it computes four rows, and its seconds are scaled to all. neural-tangents runs its
structured derivatives, and at the smallest case its other ways. Apart from that: our seconds and memory at a width
at which the Jacobian does not fit, and how our seconds grow. Needs `pip install torch==2.13.0` in an environment of
its own.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import kernel_peers
from benchmarks.ntk_work import OUTPUTS, POINTS, WIDTHS, named
from benchmarks.served import Served, spread
from core.running.worker_pool import worker_environment

RESULT = Path(__file__).parent / "results" / "ntk_empirical.json"
PEERS = ["torch", "neural-tangents"]


def ratios(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """How many times our seconds every peer's best way takes, formed round by round."""
    found = {}
    for name in (named(width, outputs) for outputs in OUTPUTS for width in WIDTHS):
        ours = seconds[f"encore, {name}"]
        for peer in PEERS:
            theirs = {key: values for key, values in seconds.items() if key.startswith(f"{peer}, {name},")}
            if theirs:
                best = min(theirs, key=lambda key: float(np.median(theirs[key])))
                found[f"{best} / encore"] = spread([a / b for a, b in zip(theirs[best], ours, strict=False)], 2)
    return found


def wide() -> dict[str, Any]:
    """Our seconds and memory at width 10,000 and 64 points, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ntk_work", "wide", "encore", "."]
    served = Served(command, worker_environment(accelerator=False, single_threaded=False))
    facts = {name: value for name, value in served.answer().items() if name != "runs"}
    served.close()
    return {
        name: [round(each, 3) for each in value] if isinstance(value, list) else round(value, 3)
        for name, value in facts.items()
    }


def main() -> None:
    """Compare, print a table, and keep it as JSON."""
    given = kernel_peers.arguments("Empirical tangent kernels against torch.func and neural-tangents.", PEERS)
    begun, busy = time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        peers = kernel_peers.started("empirical", given, PEERS, Path(name))
        try:
            agreement = kernel_peers.agreement(Path(name))
            seconds = kernel_peers.measured(peers, given.rounds)
        finally:
            for served in peers.values():
                served.close()
    growth = kernel_peers.exponents(seconds)
    shown = {key: spread(values, 4) for key, values in seconds.items() if "growth" not in key}
    found = {
        "seconds": shown,
        "times_ours": ratios(seconds),
        "largest_difference": {key: float(f"{value:.1e}") for key, value in agreement.items()},
        "width_10000_points_64": wide(),
        "growth": growth,
    }
    work = f"tangent kernel of 784-n-n-n-o, ReLU, at {POINTS} points; {given.rounds} rounds"
    kernel_peers.keep(RESULT, work, peers, time.perf_counter() - begun, busy, found)
    print(f"{work}\n{'':62}{'median':>10}{'lowest':>10}{'highest':>10}")
    for name, values in {**shown, **found["times_ours"]}.items():
        print(f"{name:62}" + "".join(f"{value:10.4g}" for value in values.values()))
    print({axis: facts["exponent"] for axis, facts in growth.items()}, found["width_10000_points_64"], sep="\n")


if __name__ == "__main__":
    main()
