"""Images per second of a full adversarial step, 64 + 64 images through the paper's network, against PyTorch.

    python -m benchmarks.dann_steps [--torch-python PATH] [--rounds 5] [--cores 0,1]

Both do the same work from the same values on the same batches of bytes that lie in memory: the network of figure 4a
with 32 and 48 channels, both heads, the gradient reversal layer, momentum and the schedules. Their parameters are
compared after some steps before anything is timed. The arrangements have the same cores, as one process with a thread
for each core, or as single-threaded processes, one on each core, as `encore run` works; they take turns within a round,
warm, and rates add up over processes. PyTorch is needed only here (`pip install torch==2.13.0`).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.served import command_line

BATCH, STEPS, IMAGES, COMPARED = 64, 20, 2000, 5
RESULT = Path(__file__).parent / "results" / "dann_steps.json"
TOLERANCE = 2e-4  # of parameters after COMPARED steps: float32 sums taken in another order
SHAPES = {
    "features_0": (5, 5, 3, 32),
    "features_1": (5, 5, 32, 48),
    "label_0": (100, 768),
    "label_1": (100, 100),
    "label": (10, 100),
    "domain_0": (100, 768),
    "domain": (1, 100),
}


def write_inputs(folder: Path) -> None:
    """Images, labels, batches and initial weights."""
    random = np.random.default_rng(0)
    arrays = {name: random.integers(0, 256, (IMAGES, 28, 28, 3), np.uint8) for name in ("source", "target")}
    arrays |= {f"order_{name}": random.integers(0, IMAGES, (STEPS, BATCH)) for name in ("source", "target")}
    arrays["labels"] = random.integers(0, 10, IMAGES)
    for name, shape in SHAPES.items():
        size = np.prod(shape[1:] if len(shape) == 2 else shape[:3])
        arrays[f"w_{name}"] = (random.normal(size=shape) / np.sqrt(size)).astype(np.float32)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def with_jax(inputs: dict[str, np.ndarray]) -> tuple[Callable[[int], Any], Callable[[Any], np.ndarray]]:
    """The experiment's own step in a compiled loop; what it leaves of the weights of the first layer."""
    import jax
    import jax.numpy as jnp

    from experiments.dann import adversarial

    network = adversarial.Network((32, 48), 0, (100, 100), (100,), 10)
    training = adversarial.Training(network, STEPS, 0.01, 0.9, 10.0, 10.0)
    params = {
        name: {
            "kernel": inputs[f"w_{name}"],
            "bias": np.zeros(inputs[f"w_{name}"].shape[-1 if len(s) == 4 else 0], np.float32),
        }
        for name, s in SHAPES.items()
    }
    data = {name: jnp.asarray(inputs[name]) for name in ("source", "target", "labels")} | {
        "mean": jnp.full((1, 1, 1, 3), 0.5)
    }
    orders = {name: jnp.asarray(inputs[f"order_{name}"]) for name in ("source", "target")}
    chosen = adversarial.Arm(jnp.float32(1), jnp.float32(1), jnp.array(False))
    begin = adversarial.begin(training, jax.tree.map(jnp.asarray, params))

    @partial(jax.jit, static_argnums=1)
    def run(state: Any, steps: int, data: Any, orders: Any) -> Any:
        def one(state: Any, i: jax.Array) -> tuple[Any, None]:
            return adversarial.step(training, state, jax.random.key(0), i, chosen, orders, data), None

        return jax.lax.scan(one, state, jnp.arange(steps))[0]

    def weights(state: Any) -> np.ndarray:
        return np.asarray(state.params["features_0"]["kernel"]).transpose(3, 2, 0, 1)

    return lambda steps: jax.block_until_ready(run(begin, steps, data, orders)), weights


def with_torch(inputs: dict[str, np.ndarray]) -> tuple[Callable[[int], Any], Callable[[Any], np.ndarray]]:
    """The same network, layer and schedules, eager, as re-implementations have them."""
    import torch
    from torch.nn import functional

    class Reversal(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: float) -> Any:
            ctx.weight = weight
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return -ctx.weight * gradient, None

    data = {name: torch.from_numpy(inputs[name]) for name in ("source", "target")}
    labels = torch.from_numpy(inputs["labels"])
    orders = {name: torch.from_numpy(inputs[f"order_{name}"]) for name in ("source", "target")}
    told = torch.cat([torch.zeros(BATCH), torch.ones(BATCH)])

    def parameters() -> dict[str, Any]:
        found = {}
        for name, shape in SHAPES.items():
            w = torch.from_numpy(inputs[f"w_{name}"].copy())
            if len(shape) == 4:
                w = w.permute(3, 2, 0, 1).contiguous()
            elif name.endswith("_0"):  # features are flattened by channel here, by place there
                w = w.reshape(-1, 4, 4, 48).permute(0, 3, 1, 2).reshape(len(w), -1).contiguous()
            found[name] = (w.requires_grad_(), torch.zeros(len(w)).requires_grad_())
        return found

    def loss(p: dict[str, Any], rows: Any, others: Any, reversal: float) -> Any:
        x = torch.cat([data["source"][rows], data["target"][others]]).permute(0, 3, 1, 2).float() / 255 - 0.5
        for name in ("features_0", "features_1"):
            x = functional.relu(functional.max_pool2d(functional.conv2d(x, *p[name]), 2))
        f = x.flatten(1)
        h = functional.relu(functional.linear(f[:BATCH], *p["label_0"]))
        h = functional.relu(functional.linear(h, *p["label_1"]))
        d = functional.relu(functional.linear(Reversal.apply(f, reversal), *p["domain_0"]))
        d = functional.linear(d, *p["domain"])[:, 0]
        domain = 2 * functional.binary_cross_entropy_with_logits(d, told)
        return functional.cross_entropy(functional.linear(h, *p["label"]), labels[rows]) + domain

    def run(steps: int) -> Any:
        p = parameters()
        sgd = torch.optim.SGD([leaf for pair in p.values() for leaf in pair], 0.01, momentum=0.9)
        for i in range(steps):
            for group in sgd.param_groups:
                group["lr"] = 0.01 / (1 + 10 * i / STEPS) ** 0.75
            sgd.zero_grad(set_to_none=True)
            loss(p, orders["source"][i], orders["target"][i], 2 / (1 + np.exp(-10 * i / STEPS)) - 1).backward()
            sgd.step()
        return p

    return run, lambda p: p["features_0"][0].detach().numpy()


def work(kind: str, folder: Path, cores: list[int]) -> None:
    """Answer every line of the input with the seconds that STEPS steps took."""
    os.sched_setaffinity(0, cores)
    inputs = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    if kind == "torch":
        import torch

        torch.set_num_threads(len(cores))
    run, weights = (with_jax if kind == "jax" else with_torch)(inputs)
    np.save(folder / f"after_{kind}_{cores[0]}_{len(cores)}", weights(run(COMPARED)))
    run(STEPS)
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        run(STEPS)
        print(time.perf_counter() - started, flush=True)


def started(kind: str, python: str, folder: Path, cores: list[int]) -> subprocess.Popen[str]:
    """A process at work on these cores, once it is warm."""
    from core.running.worker_pool import worker_environment

    command = [python, "-m", "benchmarks.dann_steps", "--work", kind, str(folder), ",".join(map(str, cores))]
    process = subprocess.Popen(
        command,
        env=worker_environment(accelerator=False, single_threaded=len(cores) == 1),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if answer(process) != "ready":
        raise SystemExit(f"{kind} ended early: has its interpreter what it needs?")
    return process


def answer(process: subprocess.Popen[str]) -> str:
    """The next line of a process."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def rate(processes: list[subprocess.Popen[str]]) -> float:
    """Images per second of one run, summed over the processes, which run at the same time."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(2 * BATCH * STEPS / float(answer(process)) for process in processes)


def assert_agreement(folder: Path) -> float:
    """The largest difference between weights after COMPARED steps; refused above TOLERANCE."""
    found = {path.stem: np.load(path) for path in folder.glob("after_*.npy")}
    first = next(iter(found.values()))
    apart = max(float(np.abs(other - first).max()) for other in found.values())
    moved = float(np.abs(first - np.load(folder / "w_features_0.npy").transpose(3, 2, 0, 1)).max())
    if apart > TOLERANCE or moved < 10 * apart:
        raise SystemExit(f"not the same work: weights moved by {moved:g} and differ by {apart:g}")
    return apart


def main() -> None:
    """Compare, print, and keep as JSON."""
    given = command_line("Adversarial steps: images per second against PyTorch.", 5).parse_args()
    if given.work:
        work(given.work[0], Path(given.work[1]), [int(core) for core in given.work[2].split(",")])
        return
    from core.files import write_json
    from core.runs.provenance import collect_provenance

    shares = {"pinned": [[core] for core in given.cores], "one process": [given.cores]}
    teams: dict[str, list[subprocess.Popen[str]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        for where, cores in shares.items():
            for kind, python in (("jax", sys.executable), ("torch", given.torch_python)):
                teams[f"{kind}, {where}"] = [started(kind, python, folder, share) for share in cores]
        apart = assert_agreement(folder)
        rates: dict[str, list[float]] = {team: [] for team in teams}
        for _ in range(given.rounds):
            for team, processes in teams.items():
                rates[team].append(rate(processes))
        for process in (process for processes in teams.values() for process in processes):
            process.communicate(timeout=60)
    best = {
        kind: max((t for t in rates if t.startswith(kind)), key=lambda t: statistics.median(rates[t]))
        for kind in ("jax", "torch")
    }
    ratios = [a / b for a, b in zip(rates[best["jax"]], rates[best["torch"]], strict=True)]
    about = collect_provenance(seconds=0.0, peak_gib=0.0)
    found = {
        "work": f"figure 4a, 32 and 48 channels, 64 + 64 images, {STEPS} steps a run, {given.rounds} rounds",
        "largest_difference_of_weights": apart,
        "images_per_second": {team: [round(value, 1) for value in sorted(values)] for team, values in rates.items()},
        "ours_to_torch": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
        "compared": best,
        "commit": about.get("commit"),
    }
    print(json.dumps(found, indent=1))
    write_json(RESULT, found)


if __name__ == "__main__":
    main()
