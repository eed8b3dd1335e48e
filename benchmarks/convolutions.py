"""Training steps of Conv-2 per second, against PyTorch's default and `channels_last` memory formats.

All sides do the same work, 3 x 3 convolutions in a pair, pooling, dense layers and Adam, from the same values on the
same batches. What the processor's matrix products reach is measured beside them: the roof of every convolution.
"""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.harness import Comparison, Outcome
from benchmarks.peers import Inputs, Peer, Work, ready

WIDTHS, HIDDEN, CLASSES, PIXELS = (16, 64), (256, 256), 10, 32  # widths of the convolutions: at laptop scale, published
COMPARED, LEARNING_RATE, SQUARE = 100, 2e-4, 1024
PRODUCT, PRODUCTS = "matrix product", "GFLOP"
FORMATS = ("", "channels_last")  # of PyTorch's convolutions in memory


def shapes_of(width: int) -> dict[str, tuple[int, ...]]:
    """Kernels of the network, those of convolutions (height, width, inputs, outputs), the others (outputs, inputs)."""
    widths = [(PIXELS // 2) ** 2 * width, *HIDDEN, CLASSES]
    dense = {f"dense_{number}": (widths[number + 1], widths[number]) for number in range(len(HIDDEN))}
    return {"conv_0": (3, 3, 3, width), "conv_1": (3, 3, width, width), **dense, "output": (CLASSES, HIDDEN[-1])}


def draw(sizes: SimpleNamespace) -> Inputs:
    """Images (n, 32, 32, 3) of ten patterns under noise, as bytes; labels, batches and initial values."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, sizes.images, dtype=np.int32)
    patterns = rng.integers(0, 60, (CLASSES, PIXELS, PIXELS, 3), dtype=np.uint8)
    images = patterns[labels] + rng.integers(0, 196, (sizes.images, PIXELS, PIXELS, 3), dtype=np.uint8)
    order = rng.integers(0, sizes.images, (sizes.updates, sizes.batch), dtype=np.int32)
    arrays = {"images": images, "labels": labels, "order": order}
    for width in WIDTHS:
        for name, shape in shapes_of(width).items():
            around = np.sqrt(2 / (np.prod(shape) * (1 / shape[-1] + 1 / shape[-2])))
            arrays[f"{width}_{name}"] = rng.normal(0, around, shape).astype(np.float32)
    return arrays


def gflop_of_an_update(width: int, batch: int) -> float:
    """Of all products, forward and for both derivatives; nobody needs that in the images."""
    first, *others = [
        2e-9 * batch * np.prod(shape) * (PIXELS**2 if len(shape) == 4 else 1) for shape in shapes_of(width).values()
    ]
    return float(2 * first + 3 * sum(others))


def build_encore(work: Work, inputs: Inputs) -> None:
    """The experiment's own step in the lab's own block, and matrix products."""
    import jax
    import jax.numpy as jnp

    from core.lab import loops
    from core.lab.replicas import Lifter, ReplicateAxis
    from core.papers.config import load_config
    from core.scaling.settings import ScalingSettings
    from core.supervised import training
    from core.supervised.batches import Split
    from experiments.lottery_ticket.experiment import classification

    study = load_config("lottery_ticket").studies["conv"]
    settings = study.build(study.values("laptop"))
    arrays = {name: jnp.asarray(value) for name, value in inputs.items()}
    examples = training.Examples(*[{"x": arrays["images"], "y": arrays["labels"]}] * 2)
    lifter, key, updates = Lifter(ReplicateAxis(1, "loop")), jax.random.key(0), work.sizes.updates
    for width in WIDTHS:
        network = settings.network.replace(channels=(width, width))
        task = classification(settings.replace(network=network))
        plan = training.Plan(task, settings.optimizer, updates, ScalingSettings(), keep_best=False)
        params = {
            name: {"kernel": arrays[f"{width}_{name}"], "bias": jnp.zeros(shape[-1 if len(shape) == 4 else 0])}
            for name, shape in shapes_of(width).items()
        }
        split = Split(arrays["order"], jnp.arange(COMPARED))
        conditions = training.TrainingConditions(split, {}, jnp.float32(LEARNING_RATE))
        begin = loops.LoopState(training.begin(plan, {"params": params}, conditions), jnp.int32(-1))
        block = lifter.lift(width, loops.scan_block(partial(training.step, plan), updates, 1), 3, 2)

        def loss(progress: loops.LoopState, task: Any = task) -> jax.Array:
            mean = jax.jit(partial(training.mean_metrics, task))
            return mean(progress.state.variables, examples.train, jnp.arange(COMPARED))["loss"]

        call = ready(block, begin, key, conditions, np.int32(0), examples)
        work.add(f"{width} channels", call, updates * work.sizes.batch, result=loss)
        work.facts[f"{width} channels"] = gflop_of_an_update(width, work.sizes.batch) / work.sizes.batch
    add_product(work)


def add_product(work: Work) -> None:
    """Square matrices of 1,024: what the processor's products reach."""
    import jax
    import jax.numpy as jnp

    matrix = jnp.full((SQUARE, SQUARE), 1e-3)
    work.add(PRODUCT, ready(jax.jit(jnp.matmul), matrix, matrix), 2e-9 * SQUARE**3, PRODUCTS)


def share_of_products(outcome: Outcome) -> dict[str, dict[str, list[float]]]:
    """GFLOP/s of everybody's steps as a share of the best that square matrix products reach in the same round."""
    products = {label: rates for label, rates in outcome.rates.items() if label.case == PRODUCT}
    shares = {}
    for label, rates in outcome.rates.items():
        if (gflop := outcome.facts["encore"].get(label.case)) is not None:
            [roof] = [found for product, found in products.items() if product.layout == label.layout]
            shares[str(label)] = (gflop * np.array(rates) / np.array(roof)).tolist()
    return {"share of matrix products": shares}


def build_torch(work: Work, inputs: Inputs) -> None:
    """PyTorch, eager, in both memory formats."""
    import torch

    torch.set_num_threads(work.threads)
    for width in WIDTHS:
        for form in FORMATS:
            add_torch(work, form, width, inputs)


def add_torch(work: Work, form: str, width: int, inputs: Inputs) -> None:
    """Updates of one network from its initial values; pixels of features are flattened by channel here."""
    import torch
    from torch.nn import functional

    layout, side = torch.channels_last if form else torch.contiguous_format, PIXELS // 2
    images = torch.from_numpy(inputs["images"])
    labels, order = (torch.from_numpy(inputs[name]).long() for name in ("labels", "order"))
    kernels = {name: torch.from_numpy(inputs[f"{width}_{name}"]) for name in shapes_of(width)}
    for name in ("conv_0", "conv_1"):
        kernels[name] = kernels[name].permute(3, 2, 0, 1).contiguous(memory_format=layout)
    first = kernels["dense_0"].reshape(-1, side, side, width).permute(0, 3, 1, 2)
    kernels["dense_0"] = first.reshape(HIDDEN[0], -1)

    def begin() -> dict[str, tuple[Any, Any]]:
        pairs = {name: (kernel.clone(), torch.zeros(len(kernel))) for name, kernel in kernels.items()}
        return {name: tuple(leaf.requires_grad_() for leaf in pair) for name, pair in pairs.items()}

    def loss(p: dict[str, tuple[Any, Any]], rows: Any) -> Any:
        x = (images[rows].permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=layout)
        for name in ("conv_0", "conv_1"):
            x = functional.relu(functional.conv2d(x, *p[name], padding=1))
        x = functional.max_pool2d(x, 2).flatten(1)
        for number in range(len(HIDDEN)):
            x = functional.relu(functional.linear(x, *p[f"dense_{number}"]))
        return functional.cross_entropy(functional.linear(x, *p["output"]), labels[rows])

    def train() -> dict[str, tuple[Any, Any]]:
        p = begin()
        adam = torch.optim.Adam([leaf for pair in p.values() for leaf in pair], LEARNING_RATE, fused=True)
        for rows in order:
            adam.zero_grad(set_to_none=True)
            loss(p, rows).backward()
            adam.step()
        return p

    def compared(p: dict[str, tuple[Any, Any]]) -> Any:
        return loss(p, torch.arange(COMPARED)).detach()

    work.add(f"{width} channels", train, len(order) * work.sizes.batch, form=form, result=compared)


BENCHMARKS = (
    Comparison(
        name="conv2_steps",
        question="How fast are training steps of Conv-2, beside PyTorch in both memory formats and matrix products?",
        work="two 3 x 3 convolutions, pooled, 256, 256, batch {batch}, Adam: {updates} updates a run",
        sizes={"images": 2000, "batch": 60, "updates": 10},
        quick={"images": 200, "batch": 4, "updates": 2},
        unit="images",
        peers=(
            Peer("encore", build_encore),
            Peer("torch", build_torch, ("torch",), foreign=True),
        ),
        draw=draw,
        tolerance={"": 1e-4},  # of the loss after all updates
        layouts=("pinned",),
        derive=share_of_products,
    ),
)
