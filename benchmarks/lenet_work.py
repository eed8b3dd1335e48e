"""The work that `benchmarks.lenet_steps` times, in processes of their own: our updates, PyTorch's, matrix products.

Each process reads names of runs, one a line, and answers with the seconds that the run took.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.served import serve

Run = Callable[[], Any]
Inputs = dict[str, np.ndarray]
LAYERS = {"dense_0": (784, 300), "dense_1": (300, 100), "output": (100, 10)}
IMAGES, COMPARED, BATCH, BLOCK, UPDATES = 60_000, 1000, 60, 100, 400
DENSITY, LEARNING_RATE = 0.211, 1.2e-3


def write_inputs(folder: Path) -> None:
    """Images (IMAGES, 28, 28) of ten patterns under noise, as bytes; labels, batches, initial values and masks."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, IMAGES, dtype=np.int32)
    patterns = rng.integers(0, 20, (10, 28, 28), dtype=np.uint8)
    images = patterns[labels] + rng.integers(0, 236, (IMAGES, 28, 28), dtype=np.uint8)
    arrays = {"images": images, "labels": labels, "order": rng.integers(0, IMAGES, (UPDATES, BATCH), dtype=np.int32)}
    for name, (n, m) in LAYERS.items():
        arrays[name] = rng.normal(0, np.sqrt(2 / (n + m)), (n, m)).astype(np.float32)
        arrays[name + "_mask"] = rng.random((n, m)) < DENSITY
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def work_jax(inputs: Inputs) -> None:
    """The experiment's own step in the lab's own blocks, and the matrix products of one update."""
    import jax
    import jax.numpy as jnp

    from core.lab import loops
    from core.lab.replicas import Lifter, ReplicateAxis
    from core.papers.config import load_config
    from core.papers.contract import experiment_studies, load_experiment
    from core.papers.settings import build_settings

    experiment, config = load_experiment("lottery_ticket"), load_config("lottery_ticket")
    settings = build_settings(
        experiment_studies(experiment)["lenet"].settings, config.studies["lenet"].values("laptop")
    )
    data = {name: jnp.asarray(value) for name, value in inputs.items()}
    params = {name: {"kernel": data[name].T, "bias": jnp.zeros(m)} for name, (_, m) in LAYERS.items()}
    mask = {name: data[name + "_mask"].T for name in LAYERS}
    each = (data["order"], jnp.arange(COMPARED), mask)
    shared = (data["images"], data["labels"], data["images"][:COMPARED], data["labels"][:COMPARED])
    step, lifter, key = partial(experiment.step, settings), Lifter(ReplicateAxis(1, "loop")), jax.random.key(0)
    block = lifter.lift("block", loops.scan_block(step, BLOCK, len(each)), 2 + len(each), 1 + len(shared))
    begin = experiment.start(settings, {"params": params, "statistics": {}}, mask)

    def advance() -> loops.LoopState:
        progress = loops.LoopState(begin, jnp.int32(-1))
        for done in range(0, UPDATES, BLOCK):
            progress = block(progress, key, *each, np.int32(done), *shared)
        return jax.block_until_ready(progress)

    loss, _ = jax.jit(partial(experiment.evaluate, settings))(advance().state.values, *shared[2:])
    single = jax.jit(loops.single_step(step, len(each))).lower(begin, key, *each, np.int32(0), *shared).compile()
    products = {name: product(*about) for name, about in shapes_of_products().items()}
    for run in products.values():
        run()
    flops = (single.cost_analysis() or {})["flops"]
    serve({"ours": advance, **products}, {"losses": {"ours": float(loss)}, "flops": flops, "version": jax.__version__})


def shapes_of_products() -> dict[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]:
    """Shapes of both factors of every product of one update, and the axis of each that is summed over."""
    found = {}
    for name, (n, m) in LAYERS.items():
        found[f"{name}, forward"] = ((BATCH, n), (m, n), (1, 1))
        found[f"{name}, gradient of weights"] = ((BATCH, m), (BATCH, n), (0, 0))
        if name != "dense_0":
            found[f"{name}, gradient of inputs"] = ((BATCH, m), (m, n), (1, 0))
    return found


def flops_of_products() -> dict[str, int]:
    """Multiplications and additions of every product."""
    return {name: 2 * a[0] * a[1] * b[1 - axes[1]] for name, (a, b, axes) in shapes_of_products().items()}


def product(left: tuple[int, int], right: tuple[int, int], axes: tuple[int, int]) -> Run:
    """UPDATES products in a compiled loop; each depends on the one before, so that none is dropped."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def repeated(a: jax.Array, b: jax.Array) -> jax.Array:
        def one(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
            a, out = carry
            a = a.at[0, 0].set(1e-3 * out[0, 0])
            return (a, jax.lax.dot_general(a, b, (((axes[0],), (axes[1],)), ((), ())))), None

        out = jnp.zeros((left[1 - axes[0]], right[1 - axes[1]]))
        return jax.lax.scan(one, (a, out), None, length=UPDATES)[0][1]

    a, b = jnp.full(left, 1e-2), jnp.full(right, 1e-2)
    return lambda: jax.block_until_ready(repeated(a, b))


def work_torch(inputs: Inputs, threads: int) -> None:
    """PyTorch with each form of its Adam, eager and compiled."""
    import torch

    torch.set_num_threads(threads)
    adams = {"plain": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
    forms = [("plain", ""), ("foreach", ""), ("fused", ""), ("plain", "update"), ("fused", "loss"), ("fused", "update")]
    runs: dict[str, Run] = {}
    losses, failed = {}, {}
    for name, part in forms:
        label = f"{name} Adam" + (f", compiled {part}" if part else "")
        try:
            runs[label], loss = torch_network(inputs, adams[name], part)
            runs[label]()
            losses[label] = loss()
        except Exception as error:  # a form that this version cannot compile is reported, not hidden
            runs.pop(label, None)
            failed[label] = type(error).__name__
    serve(runs, {"losses": losses, "failed": failed, "version": torch.__version__})


def torch_network(inputs: Inputs, arguments: dict[str, bool], compiled: str) -> tuple[Run, Run]:
    """UPDATES updates of one network, and its loss on the first images; `compiled` is "loss", "update" or neither."""
    import torch
    from torch.nn import functional

    images = torch.from_numpy(inputs["images"]).reshape(IMAGES, 784)
    labels, order = (torch.from_numpy(inputs[name]).long() for name in ("labels", "order"))
    layers = [torch.nn.Linear(n, m) for n, m in LAYERS.values()]
    masks = [torch.from_numpy(inputs[name + "_mask"].T.astype(np.float32)).contiguous() for name in LAYERS]
    with torch.no_grad():
        for layer, name, mask in zip(layers, LAYERS, masks, strict=True):
            layer.weight.copy_(torch.from_numpy(inputs[name].T) * mask)
            layer.bias.zero_()
    model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    adam = torch.optim.Adam(model.parameters(), LEARNING_RATE, **arguments)

    def loss(rows: Any) -> Any:
        return functional.cross_entropy(model(images[rows].float() / 255), labels[rows])

    differentiated = torch.compile(loss) if compiled == "loss" else loss

    def update(rows: Any) -> None:
        adam.zero_grad(set_to_none=True)
        differentiated(rows).backward()
        for layer, mask in zip(layers, masks, strict=True):
            layer.weight.grad.mul_(mask)
        adam.step()

    once = torch.compile(update) if compiled == "update" else update

    def run() -> None:
        for rows in order:
            once(rows)

    return run, lambda: float(loss(torch.arange(COMPARED)).detach())


def main() -> None:
    """`lenet_work jax|torch FOLDER CORE[,CORE]`: work on these cores only, with one thread for each."""
    kind, folder, cores = sys.argv[1], Path(sys.argv[2]), [int(core) for core in sys.argv[3].split(",")]
    os.sched_setaffinity(0, cores)  # before the libraries count the cores
    inputs = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    if kind == "jax":
        work_jax(inputs)
    else:
        work_torch(inputs, len(cores))


if __name__ == "__main__":
    main()
