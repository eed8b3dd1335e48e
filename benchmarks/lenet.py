"""Updates per second of LeNet-300-100, against PyTorch and against the bare matrix products of one update.

All sides do the same work, 784-300-100-10 with masked gradients and Adam, from the same values on the same batches. The
matrix products are timed at the shapes of one update, forward and backward, each in a compiled loop of its own.
"""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.harness import Comparison, Outcome
from benchmarks.peers import Inputs, Peer, Work, ready

LAYERS = {"dense_0": (784, 300), "dense_1": (300, 100), "output": (100, 10)}
COMPARED, BLOCK, DENSITY, LEARNING_RATE = 1000, 100, 0.211, 1.2e-3
PRODUCTS = "GFLOP"  # unit of the matrix products


def draw(sizes: SimpleNamespace) -> Inputs:
    """Images (n, 28, 28) of ten patterns under noise, as bytes; labels, batches, initial values and masks."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, sizes.images, dtype=np.int32)
    patterns = rng.integers(0, 20, (10, 28, 28), dtype=np.uint8)
    images = patterns[labels] + rng.integers(0, 236, (sizes.images, 28, 28), dtype=np.uint8)
    order = rng.integers(0, sizes.images, (sizes.updates, sizes.batch), dtype=np.int32)
    arrays = {"images": images, "labels": labels, "order": order}
    for name, (n, m) in LAYERS.items():
        arrays[name] = rng.normal(0, np.sqrt(2 / (n + m)), (n, m)).astype(np.float32)
        arrays[name + "_mask"] = rng.random((n, m)) < DENSITY
    return arrays


def build_encore(work: Work, inputs: Inputs) -> None:
    """The experiment's own step in the lab's own blocks, and the matrix products of one update."""
    import jax
    import jax.numpy as jnp

    from core.lab import loops
    from core.lab.replicas import Lifter, ReplicateAxis
    from core.papers.config import load_config
    from core.scaling.settings import ScalingSettings
    from core.supervised import training
    from core.supervised.batches import Split
    from experiments.lottery_ticket.experiment import classification

    study = load_config("lottery_ticket").studies["lenet"]
    settings = study.build(study.values("laptop"))
    plan = training.Plan(
        classification(settings), settings.optimizer, settings.training.iterations, ScalingSettings(), keep_best=True
    )
    data = {name: jnp.asarray(value) for name, value in inputs.items()}
    params = {name: {"kernel": data[name].T, "bias": jnp.zeros(m)} for name, (_, m) in LAYERS.items()}
    mask = {name: data[name + "_mask"].T for name in LAYERS}
    rate = jnp.float32(settings.optimizer.rate_of("dense"))
    conditions = training.TrainingConditions(Split(data["order"], jnp.arange(COMPARED)), mask, rate)
    examples = training.Examples(*[{"x": data["images"], "y": data["labels"]}] * 2)
    step, lifter, key = partial(training.step, plan), Lifter(ReplicateAxis(1, "loop")), jax.random.key(0)
    block = lifter.lift("block", loops.scan_block(step, BLOCK, 1), 3, 2)
    begin = training.begin(plan, {"params": params}, conditions)

    def train() -> loops.LoopState:
        progress = loops.LoopState(begin, jnp.int32(-1))
        for done in range(0, work.sizes.updates, BLOCK):
            progress = block(progress, key, conditions, np.int32(done), examples)
        return progress

    def loss(progress: loops.LoopState) -> jax.Array:
        rows = jnp.arange(COMPARED)
        found = jax.jit(partial(training.mean_metrics, plan.task))(progress.state.variables, examples.train, rows)
        return found["loss"]

    work.add("update", ready(train), work.sizes.updates, result=loss)
    single = jax.jit(step).lower(begin, key, np.int32(0), conditions, examples).compile()
    work.facts["flops of an update"] = (single.cost_analysis() or {})["flops"]
    for name, (n, m) in LAYERS.items():
        batch = work.sizes.batch
        add_product(work, f"{name}, forward", (batch, n), (m, n), (1, 1))
        add_product(work, f"{name}, gradient of weights", (batch, m), (batch, n), (0, 0))
        if name != "dense_0":
            add_product(work, f"{name}, gradient of inputs", (batch, m), (m, n), (1, 0))


def add_product(work: Work, name: str, left: tuple[int, int], right: tuple[int, int], axes: tuple[int, int]) -> None:
    """As many products as updates, in a compiled loop; each depends on the one before, so that none is dropped."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def repeat(a: jax.Array, b: jax.Array) -> jax.Array:
        def one(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
            a, out = carry
            a = a.at[0, 0].set(1e-3 * out[0, 0])
            return (a, jax.lax.dot_general(a, b, (((axes[0],), (axes[1],)), ((), ())))), None

        out = jnp.zeros((left[1 - axes[0]], right[1 - axes[1]]))
        return jax.lax.scan(one, (a, out), None, length=work.sizes.updates)[0][1]

    gflop = 2e-9 * left[0] * left[1] * right[1 - axes[1]]
    work.facts.setdefault("gflop", {})[f"product {name}"] = gflop
    a, b = jnp.full(left, 1e-2), jnp.full(right, 1e-2)
    work.add(f"product {name}", ready(repeat, a, b), gflop * work.sizes.updates, PRODUCTS)


def build_torch(work: Work, inputs: Inputs) -> None:
    """PyTorch with each form of its Adam, eager and compiled."""
    import torch

    torch.set_num_threads(work.threads)
    adams = {"plain": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
    for name, part in (
        ("plain", ""), ("foreach", ""), ("fused", ""), ("plain", "update"), ("fused", "loss"), ("fused", "update")
    ):  # fmt: skip
        form = f"{name} Adam" + (f", compiled {part}" if part else "")
        try:
            add_torch(work, form, inputs, adams[name], part)
        except Exception as error:  # a form that this version cannot compile is reported, not hidden
            work.facts[f"{form} is not possible"] = type(error).__name__


def add_torch(work: Work, form: str, inputs: Inputs, adam_form: dict[str, bool], compiled: str) -> None:
    """Updates of one network; `compiled` is "loss", "update" or neither. Later runs go on from earlier ones."""
    import torch
    from torch.nn import functional

    images = torch.from_numpy(inputs["images"]).reshape(-1, 784)
    labels, order = (torch.from_numpy(inputs[name]).long() for name in ("labels", "order"))
    layers = [torch.nn.Linear(n, m) for n, m in LAYERS.values()]
    masks = [torch.from_numpy(inputs[name + "_mask"].T.astype(np.float32)).contiguous() for name in LAYERS]
    with torch.no_grad():
        for layer, name, mask in zip(layers, LAYERS, masks, strict=True):
            layer.weight.copy_(torch.from_numpy(inputs[name].T) * mask)
            layer.bias.zero_()
    model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    adam = torch.optim.Adam(model.parameters(), LEARNING_RATE, **adam_form)

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

    def train() -> None:
        for rows in order:
            once(rows)

    work.add("update", train, len(order), form=form, result=lambda _: loss(torch.arange(COMPARED)).detach())


def share_of_products(outcome: Outcome) -> dict[str, dict[str, list[float]]]:
    """GFLOP/s of an update of ours and of all its products, and the one as a share of the other."""
    facts, tables = outcome.facts["encore"], {PRODUCTS + "/s": {}, "an update / its products": {}}
    for update in (label for label in outcome.rates if label[:3] == ("update", "encore", "")):
        ours = str(update).partition(": ")[2]
        # all products of an update take the sum of their seconds
        seconds = [
            gflop / np.array(outcome.rates[update._replace(case=case)]) for case, gflop in facts["gflop"].items()
        ]
        products = sum(facts["gflop"].values()) / np.sum(seconds, axis=0)
        reached = 1e-9 * facts["flops of an update"] * np.array(outcome.rates[update])
        tables[PRODUCTS + "/s"] |= {f"all products: {ours}": products.tolist(), f"update: {ours}": reached.tolist()}
        tables["an update / its products"][ours] = (reached / products).tolist()
    return tables


BENCHMARKS = (
    Comparison(
        name="lenet_steps",
        question="How fast are updates of a pruned LeNet-300-100, beside PyTorch and their bare matrix products?",
        work="LeNet-300-100, batch {batch}, masked, Adam: {updates} updates a run",
        sizes={"images": 60_000, "batch": 60, "updates": 400},
        quick={"images": 1000, "updates": BLOCK},
        rounds=9,
        unit="updates",
        peers=(
            Peer("encore", build_encore),
            Peer("torch", build_torch, ("torch",), foreign=True, environment={"TORCHINDUCTOR_COMPILE_THREADS": "1"}),
        ),
        draw=draw,
        tolerance={"": 5e-3},  # of the loss after all updates: float32 sums taken in another order drift apart
        layouts=("pinned", "one process"),
        derive=share_of_products,
    ),
)
