"""What more devices, more processes and more replicates cost and bring, on this machine's cores.

    python -m benchmarks.scaling [--rounds 3] [--only devices processes replicates]

- devices: steps per second of eight replicates spread by `pmap`, and of one network with its batch spread, over 1, 2,
  4 and 8 virtual devices of one process. They share the same cores: this is the cost of spreading; no gain can be had
  beyond the number of cores.
- processes: wall-clock time of one run by 1 and by 2 processes on loopback, each with one worker.
- replicates: wall-clock time of 2 to 16 replicates with two workers; a + b · rounds is fitted by least squares.

Times of runs are those of the ledger of costs: from starting the first worker to the last result.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.files import write_json
from core.paths import temporary_results_folder
from core.planning import cost_ledger
from core.runs.provenance import collect_provenance

RESULT = Path(__file__).parent / "results" / "scaling.json"
DEVICES, REPLICATES, COUNTS = (1, 2, 4, 8), 8, (2, 4, 8, 16)
WIDTH, BATCH, STEPS = 256, 512, 100
RUN = ("paper=lottery_ticket", "study=lenet", "scale=smoke", "settings.iterations=600", "tracking=none")


def spread(devices: int, rounds: int) -> dict[str, list[float]]:
    """Steps per second of every round, measured in this process, which has so many virtual devices."""
    import jax
    import jax.numpy as jnp

    from core.lab import loops
    from core.lab.replicas import Lifter, ReplicateAxis
    from core.scaling.gradients import batch_value_and_grad
    from core.scaling.settings import ScalingSettings

    def loss(params: Any, batch: Any) -> Any:
        x, y = batch
        for kernel in params:
            x = jnp.tanh(x @ kernel)
        return ((x - y) ** 2).mean(), {}

    def step(scaling: Any, params: Any, key: Any, i: Any, batch: Any) -> Any:
        _, gradient = batch_value_and_grad(loss, scaling)(params, batch)
        return [a - 0.1 * b for a, b in zip(params, gradient, strict=True)]

    def rates(axis: ReplicateAxis, scaling: Any, size: int) -> list[float]:
        keys = jax.random.split(jax.random.key(0), size)
        params = [jax.random.normal(jax.random.key(n), (size, WIDTH, WIDTH)) / WIDTH**0.5 for n in range(3)]
        batch = (jnp.ones((BATCH, WIDTH)), jnp.zeros((BATCH, WIDTH)))
        lifter = Lifter(axis)
        one = loops.scan_block(lambda *given: step(scaling, *given), STEPS, 0)
        block = lifter.lift("block", one, 2, 2)
        [(state, key)] = lifter.split((params, keys))
        progress = loops.LoopState(state, jnp.full((size,) if axis.how != "loop" else (), -1, jnp.int32))
        found = []
        for _ in range(rounds + 1):
            started = time.perf_counter()
            progress = jax.block_until_ready(block(progress, key, np.int32(0), batch))
            found.append(size * STEPS / (time.perf_counter() - started))
        return found[1:]

    how = "vmap" if devices == 1 else "pmap"
    return {
        "replicates": rates(ReplicateAxis(REPLICATES, how, devices), ScalingSettings(), REPLICATES),
        "batch": rates(ReplicateAxis(1, "loop"), ScalingSettings(spread=True), 1),
    }


def over_devices(rounds: int) -> dict[str, Any]:
    """Steps per second by number of devices, each in a process of its own."""
    found: dict[str, Any] = {"replicates": {}, "batch": {}}
    for devices in DEVICES:
        flags = {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "NPROC": "16",
            "JAX_PLATFORMS": "cpu",
        }
        line = [sys.executable, "-m", "benchmarks.scaling", "--spread", str(devices), "--rounds", str(rounds)]
        done = subprocess.run(
            line, env={**os.environ, **flags}, capture_output=True, text=True, timeout=600, check=True
        )
        for name, values in json.loads(done.stdout).items():
            found[name][str(devices)] = around(values)
    return found


def around(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Median, lowest and highest."""
    return {
        "median": round(statistics.median(values), digits),
        "lowest": round(min(values), digits),
        "highest": round(max(values), digits),
    }


def performed(words: Sequence[str], processes: int = 1) -> cost_ledger.CostEntry:
    """The line of the ledger about one run."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with temporary_results_folder():
        started = []
        for index in range(processes):
            own = [f"hosts.coordinator='{address}'", f"hosts.count={processes}", f"hosts.index={index}"]
            line = [sys.executable, "-m", "experiments", "run", *words, *(own if processes > 1 else [])]
            started.append(subprocess.Popen(line, stdout=subprocess.DEVNULL))
        codes = [process.wait(timeout=600) for process in started]
        if any(codes):
            raise SystemExit(f"{' '.join(words)} failed")
        [line] = cost_ledger.read_entries()
    return line


def over_processes(rounds: int) -> dict[str, Any]:
    """Seconds of one run of eight replicates, by number of processes with one worker each."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for processes in (1, 2):
            line = performed([*RUN, "replicates=8", "workers=1"], processes)
            found.setdefault(str(processes), []).append(60 * line.minutes)
    return {name: around(values) for name, values in found.items()}


def over_replicates() -> dict[str, Any]:
    """Seconds by number of replicates with two workers, and the line through them."""
    seconds = {count: 60 * performed([*RUN, f"replicates={count}", "workers=2"]).minutes for count in COUNTS}
    rounds = np.array([count / 2 for count in COUNTS])
    slope, start = np.polyfit(rounds, list(seconds.values()), 1)
    residual = np.array(list(seconds.values())) - (start + slope * rounds)
    return {
        "seconds": {str(count): round(value, 1) for count, value in seconds.items()},
        "start_seconds": round(float(start), 2),
        "seconds_per_round": round(float(slope), 2),
        "largest_residual": round(float(np.abs(residual).max()), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Scaling over devices, processes and replicates.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=["devices", "processes", "replicates"])
    parser.add_argument("--spread", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.spread:
        print(json.dumps(spread(given.spread, given.rounds)))
        return
    started, before = time.perf_counter(), os.getloadavg()[0]
    measured: dict[str, Any] = {}
    if "devices" in given.only:
        measured["steps_per_second_by_devices"] = over_devices(given.rounds)
    if "processes" in given.only:
        measured["seconds_by_processes"] = over_processes(given.rounds)
    if "replicates" in given.only:
        measured["by_replicates"] = over_replicates()
    provenance = collect_provenance(seconds=time.perf_counter() - started, peak_gib=0.0)
    found = {
        "work": f"three layers of {WIDTH}, batch {BATCH}, {REPLICATES} replicates; runs: {' '.join(RUN)}",
        "cpu": provenance["device"]["cpu"],
        "cores": provenance["device"]["cores"],
        "commit": provenance["commit"],
        "date": provenance["date"],
        "load_average": [round(load, 1) for load in (before, os.getloadavg()[0])],
        "rounds": given.rounds,
        **measured,
    }
    write_json(RESULT, found)
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
