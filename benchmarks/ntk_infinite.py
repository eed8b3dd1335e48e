"""Seconds of infinite-width kernels, ours against neural-tangents and against what bounds them.

    python -m benchmarks.old_jax .cache/old-jax
    python -m benchmarks.ntk_infinite --neural-tangents-python .cache/old-jax/bin/python

NNGP and NTK of a fully connected ReLU network of four affine maps at 2,000 points, with 784 inputs, where the bound
is the matrix product of the inputs, and with 16, where it is writing both kernels. The kernels are compared before
anything is timed, their diagonals apart: a point's correlation with itself, rounded, has an angle of 1e-3 in float32.
Peers have both cores and take turns run by run.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import kernel_peers
from benchmarks.ntk_work import DEPTH, FEATURES, INFINITE
from benchmarks.served import spread

RESULT = Path(__file__).parent / "results" / "ntk_infinite.json"
PEERS = ["neural-tangents"]


def ratios(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """The peer's seconds and the bounds over ours, formed round by round."""
    found = {}
    for features in (16, FEATURES):
        ours = seconds[f"encore, features {features}"]
        product = seconds[f"encore, bound: product of features {features}"]
        writing = seconds["encore, bound: one kernel read, two written"]
        others: dict[str, Any] = {
            "product of the inputs": product,
            "product, and writing both kernels": [a + b for a, b in zip(product, writing, strict=True)],
        }
        if (theirs := seconds.get(f"neural-tangents, features {features}")) is not None:
            others["neural-tangents"] = theirs
        for name, values in others.items():
            shares = [a / b for a, b in zip(values, ours, strict=True)]
            found[f"features {features}: {name} / encore"] = spread(shares, 3)
    return found


def main() -> None:
    """Compare, print a table, and keep it as JSON."""
    given = kernel_peers.arguments("Kernels of infinite width against neural-tangents and their bounds.", PEERS)
    begun, busy = time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        peers = kernel_peers.started("infinite", given, PEERS, Path(name))
        try:
            agreement = kernel_peers.agreement(Path(name))
            seconds = kernel_peers.measured(peers, given.rounds)
        finally:
            for served in peers.values():
                served.close()
    growth = kernel_peers.exponents(seconds)
    shown = {key: spread(values, 4) for key, values in seconds.items() if "growth" not in key}
    entries = {
        key: round(INFINITE**2 / values["median"] / 1e6, 1)
        for key, values in shown.items()
        if key.partition(", ")[2].startswith("features")
    }
    found = {
        "seconds": shown,
        "million_entries_per_second": entries,
        "over_ours": ratios(seconds),
        "largest_difference": {key: float(f"{value:.1e}") for key, value in agreement.items()},
        "growth": growth,
    }
    work = f"NNGP and NTK of depth {DEPTH}, ReLU, at {INFINITE} points; {given.rounds} rounds"
    kernel_peers.keep(RESULT, work, peers, time.perf_counter() - begun, busy, found)
    print(f"{work}\n{'':62}{'median':>10}{'lowest':>10}{'highest':>10}")
    for name, values in {**shown, **found["over_ours"]}.items():
        print(f"{name:62}" + "".join(f"{value:10.4g}" for value in values.values()))
    print({axis: facts["exponent"] for axis, facts in growth.items()})


if __name__ == "__main__":
    main()
