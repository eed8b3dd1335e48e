"""What more devices, more processes and more replicates cost and bring, on this machine's cores.

Devices are virtual and share the same cores: what is seen is the cost of spreading; no gain can be had beyond the
number of cores. Times of runs are those of the ledger of costs: from starting the first worker to the last result.
"""

import socket
import subprocess
import sys
from functools import partial
from typing import Any

from benchmarks.harness import Comparison, Measurement, Options
from benchmarks.peers import Inputs, Peer, Work, ready
from benchmarks.results import Result
from benchmarks.timing import fit_line, take_turns

RUN = ("paper=lottery_ticket", "study=lenet", "scale=smoke", "settings.training.iterations=600", "tracking=none")


def build_devices(devices: int, work: Work, _: Inputs) -> None:
    """Replicates spread by `pmap`, and one network with its batch spread, over so many devices."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from core.lab import loops
    from core.lab.replicas import Lifter, ReplicateAxis
    from core.scaling.gradients import batch_gradient
    from core.scaling.settings import ScalingSettings

    width, batch_size, steps, replicates = (work.sizes.width, work.sizes.batch, work.sizes.steps, work.sizes.replicates)

    def loss(params: Any, batch: Any) -> Any:
        x, y = batch
        for kernel in params:
            x = jnp.tanh(x @ kernel)
        return ((x - y) ** 2).mean(), {}

    def step(scaling: Any, params: Any, key: Any, i: Any, batch: Any) -> Any:
        _, gradient = batch_gradient(loss, scaling)(params, batch)
        return [a - 0.1 * b for a, b in zip(params, gradient, strict=True)]

    def add(case: str, axis: ReplicateAxis, scaling: Any) -> None:
        keys = jax.random.split(jax.random.key(0), axis.size)
        params = [jax.random.normal(jax.random.key(n), (axis.size, width, width)) / width**0.5 for n in range(3)]
        batch = (jnp.ones((batch_size, width)), jnp.zeros((batch_size, width)))
        lifter = Lifter(axis)
        block = lifter.lift("block", loops.scan_block(partial(step, scaling), steps, 0), 2, 2)
        [(state, key)] = lifter.split((params, keys))
        start = loops.LoopState(state, jnp.full((axis.size,) if axis.how != "loop" else (), -1, jnp.int32))
        call = ready(block, start, key, np.int32(0), batch)
        work.add(case, call, axis.size * steps, result=lambda progress: progress.state[0])

    add("replicates spread", ReplicateAxis(replicates, "vmap" if devices == 1 else "pmap", devices), ScalingSettings())
    add("batch spread", ReplicateAxis(1, "loop"), ScalingSettings(spread=True))


def device_peer(devices: int) -> Peer:
    """So many virtual devices; with few cores they wait for each other unless the machine is taken for larger."""
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "NPROC": "16"}
    name = f"{devices} device" + "s" * (devices > 1)
    return Peer(name, partial(build_devices, devices), environment=flags)


def time_run(processes: int, *words: str) -> dict[str, float]:
    """Seconds of one run, as the ledger has them, by so many processes on loopback."""
    from core.paths import temporary_results_folder
    from core.planning import cost_ledger

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    started = []
    with temporary_results_folder():
        for index in range(processes):
            hosts = [f"hosts.coordinator='{address}'", f"hosts.count={processes}", f"hosts.index={index}"]
            line = [sys.executable, "-m", "experiments", "run", *RUN, *words, *(hosts if processes > 1 else [])]
            started.append(subprocess.Popen(line, stdout=subprocess.DEVNULL))
        codes = [process.wait(timeout=600) for process in started]
        if any(codes):
            raise SystemExit(f"{' '.join([*RUN, *words])} failed")
        [entry] = cost_ledger.read_entries()
    return {"seconds": 60 * entry.minutes}


def compare_processes(options: Options, result: Result) -> None:
    """One run by one process or more, each with one worker."""
    counts, words = options.sizes.processes, (f"replicates={options.sizes.replicates}", "workers=1")
    runs = {f"{count} process" + "es" * (count > 1): partial(time_run, count, *words) for count in counts}
    result.add("seconds", take_turns(runs, options.rounds)["seconds"])


def compare_replicates(options: Options, result: Result) -> None:
    """Seconds by number of replicates with two workers, and the line through them: start + each · rounds of two."""
    counts = options.sizes.replicates
    runs = {str(count): partial(time_run, 1, f"replicates={count}", "workers=2") for count in counts}
    seconds = take_turns(runs, options.rounds)["seconds"]
    result.add("seconds", {f"{count} replicates": values for count, values in seconds.items()})
    fitted = [fit_line([count / 2 for count in counts], one_round) for one_round in zip(*seconds.values(), strict=True)]
    names = {"start": "start", "each": "a round of replicates", "largest residual": "largest residual"}
    result.add("seconds, fitted", {name: [fit[key] for fit in fitted] for key, name in names.items()})


BENCHMARKS = (
    Comparison(
        name="scaling_devices",
        question="What does spreading replicates or a batch over virtual devices of the same cores cost?",
        work="three layers of {width}, batch {batch}, {replicates} replicates, {steps} steps a run",
        sizes={"width": 256, "batch": 512, "replicates": 8, "steps": 100},
        quick={"width": 8, "batch": 8, "steps": 2},
        rounds=3,
        unit="steps",
        peers=tuple(map(device_peer, (1, 2, 4, 8))),
        tolerance={"": 1e-4},
        headline=tuple(("steps/s", f"replicates spread: {devices}") for devices in ("1 device", "8 devices")),
    ),
    Measurement(
        name="scaling_processes",
        question="What does a run cost when more processes share it on one machine?",
        work=" ".join(RUN) + ", {replicates} replicates, one worker a process",
        sizes={"replicates": 8, "processes": [1, 2]},
        quick={"replicates": 2},
        rounds=3,
        headline=(("seconds", "1 process"), ("seconds", "2 processes")),
        perform=compare_processes,
    ),
    Measurement(
        name="scaling_replicates",
        question="How do the seconds of a run grow with its replicates?",
        work=" ".join(RUN) + ", {replicates} replicates, two workers",
        sizes={"replicates": [2, 4, 8, 16]},
        quick={"replicates": [2, 4]},
        rounds=1,
        headline=(("seconds, fitted", "start"), ("seconds, fitted", "a round of replicates")),
        perform=compare_replicates,
    ),
)
