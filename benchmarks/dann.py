"""Adversarial training beside PyTorch: the speed of its steps, and the accuracies at the end of whole trainings.

PyTorch's convolutions, pooling, losses, optimizer and automatic differentiation are independent of ours, and its
reversal layer is written as re-implementations have it. Both sides take the same images in the same order from the same
weights, those of a replicate of the study `mnist_m`; after a few steps the first layer's weights must have changed
alike. Steps are timed with the network of figure 4a on scanned digits, which need no download.
"""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.convolutions import FORMATS, add_product, share_of_products
from benchmarks.harness import Comparison, Measurement, Options, check_agreement, choose_interpreters
from benchmarks.peers import LAYOUTS, Inputs, Peer, Work, start_teams
from benchmarks.results import Result

COMPARED = 5  # steps after which weights are compared
CHANGE = 0.1  # share by which their changes may differ: sums in another order decide which unit is largest
REVERSALS = {"source_only": 0.0, "dann": 1.0}


def compose_settings(words: list[str]) -> Any:
    """Settings of the study `mnist_m` by the words of `encore run`."""
    from core.launch.compose import compose_launch

    (chosen,) = compose_launch(["paper=dann", "study=mnist_m", *words]).studies
    return chosen.settings


def draw_replicate(sizes: SimpleNamespace, number: int = 1000) -> Inputs:
    """Images, blended digits, order of the batches and initial weights of one development replicate; its settings are
    added to the sizes."""
    import jax
    import jax.numpy as jnp

    from core.data.loading import load_data_set
    from core.lab.keys import key_for, replicate_keys
    from core.supervised.batches import stream_split
    from experiments.dann import adversarial, images

    settings = compose_settings(sizes.words)
    vars(sizes).update(flat_settings(settings))
    key = replicate_keys("dann", "mnist_m", [number])[0]
    arrays = {name: jax.tree.map(jnp.asarray, load_data_set(getattr(settings.data, name))) for name in
              ("source", "target", "backgrounds")}  # fmt: skip
    data = images.draw_images(settings.data, key_for(key, "images"), arrays["source"], arrays["target"])
    parts = [arrays["backgrounds"][f"{part}_photographs"] for part in ("train", "test")]
    data = images.add_mean(images.blend_target(settings.data.binary, key_for(key, "backgrounds"), data, *parts))
    counts, order_key = {name: len(x) for name, x in data.items()}, key_for(key, "order")
    order = stream_split(adversarial.DEEP, counts, (1, 1), sizes.batch, sizes.steps, order_key).order
    start = task_of(sizes).initial(key_for(key, "init"))["params"]
    kept = {name: data[name] for name in ("source", "target", "labels", "test", "true", "mean")}
    kept |= {f"order_{name}": rows for name, rows in order.items()}
    kept |= {f"{leaf}_{name}": value for name, pair in start.items() for leaf, value in pair.items()}
    return {name: np.asarray(array) for name, array in kept.items()}


def flat_settings(settings: Any) -> dict[str, Any]:
    """What both sides need of the settings, by one word each."""
    found = settings.network.model_dump()
    found |= {name: getattr(settings, name) for name in ("domain_weight", "reversal_gain")}
    found |= {"batch": settings.training.batch, "steps": settings.training.iterations, "size": settings.data.size}
    found |= {name: getattr(settings.optimizer, name) for name in ("learning_rate", "momentum", "growth", "power")}
    return {**found, "optimizer": settings.optimizer.model_dump(mode="json")}


def network_of(sizes: SimpleNamespace) -> Any:
    """The network of figure 4a."""
    from experiments.dann.adversarial import Network

    return Network(tuple(sizes.channels), 0, tuple(sizes.hidden), tuple(sizes.domain_hidden), 10)


def task_of(sizes: SimpleNamespace) -> Any:
    """Its adversarial training."""
    from experiments.dann.adversarial import adversarial_task

    return adversarial_task(network_of(sizes), (sizes.size, sizes.size, 3), sizes.steps, sizes.reversal_gain)


# --- ours ----------------------------------------------------------------------------------------------------------


def train_with_jax(sizes: SimpleNamespace, inputs: Inputs) -> tuple[Any, Any, Any]:
    """`train(reversal, steps)` by the experiment's own step in a compiled loop, `change` of the weights of the first
    layer, and `accuracy` on the test images, both of what `train` returns."""
    import jax
    import jax.numpy as jnp

    from core.optim.settings import OptimizerSettings
    from core.papers.settings import build_settings
    from core.scaling.settings import ScalingSettings
    from core.supervised import training
    from core.supervised.batches import Split
    from experiments.dann import adversarial

    optimizer = build_settings(OptimizerSettings, sizes.optimizer)
    plan = training.Plan(task_of(sizes), optimizer, sizes.steps, ScalingSettings(), keep_best=False)
    arrays = {name: jnp.asarray(array) for name, array in inputs.items()}
    names = [name.removeprefix("kernel_") for name in inputs if name.startswith("kernel_")]
    params = {name: {leaf: arrays[f"{leaf}_{name}"] for leaf in ("kernel", "bias")} for name in names}
    given = {name: arrays[name] for name in ("source", "target", "labels", "mean", "test", "true")}
    given |= {"held": given["test"], "held_labels": given["true"]}
    split = Split({name: arrays[f"order_{name}"] for name in ("source", "target")})
    conditions = training.TrainingConditions(split, {}, jnp.float32(sizes.learning_rate))
    start = training.begin(plan, {"params": params}, conditions)

    @partial(jax.jit, static_argnums=1)
    def run(state: Any, steps: int, examples: Any) -> Any:
        def one(state: Any, i: jax.Array) -> tuple[Any, None]:
            return training.step(plan, state, jax.random.key(0), i, conditions, examples), None

        return jax.lax.scan(one, state, jnp.arange(steps))[0]

    def train(reversal: float, steps: int) -> Any:
        examples = adversarial.arm_examples(given, jax.random.key(0), reversal, sizes.domain_weight)
        return jax.block_until_ready(run(start, steps, examples)).variables

    def change(variables: Any) -> np.ndarray:
        kernel = variables["params"]["features_0"]["kernel"] - params["features_0"]["kernel"]
        return np.asarray(kernel).transpose(3, 2, 0, 1)

    def accuracy(variables: Any) -> float:
        labels = adversarial.outputs(network_of(sizes), variables, given["test"], given["mean"]).labels
        return 100 * float((labels.argmax(-1) == given["true"]).mean())

    return train, change, accuracy


# --- PyTorch -------------------------------------------------------------------------------------------------------


def train_with_torch(sizes: SimpleNamespace, inputs: Inputs, form: str = "") -> tuple[Any, Any, Any]:
    """The same three, eager, as re-implementations have them; the form is images' memory format."""
    import torch
    from torch.nn import functional

    class Reversal(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, features: Any, weight: float) -> Any:
            context.weight = weight
            return features.view_as(features)

        @staticmethod
        def backward(context: Any, gradient: Any) -> Any:
            return -context.weight * gradient, None

    arrays = {name: torch.from_numpy(inputs[name]) for name in inputs}
    orders = {name: arrays[f"order_{name}"].long() for name in ("source", "target")}
    layout = torch.channels_last if form else torch.contiguous_format
    told = torch.cat([torch.zeros(sizes.batch), torch.ones(sizes.batch)])

    def parameters() -> dict[str, Any]:
        found, width = {}, sizes.channels[-1]
        for name in (name.removeprefix("kernel_") for name in inputs if name.startswith("kernel_")):
            kernel = arrays[f"kernel_{name}"]
            if kernel.ndim == 4:
                kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=layout)
            elif name.endswith("_0"):  # features are flattened by channel here, by place there
                side = round((kernel.shape[1] / width) ** 0.5)
                kernel = kernel.reshape(-1, side, side, width).permute(0, 3, 1, 2).reshape(len(kernel), -1)
            pair = (kernel.clone(), arrays[f"bias_{name}"].clone())
            found[name] = tuple(leaf.requires_grad_() for leaf in pair)
        return found

    def as_input(x: Any) -> Any:  # bytes (n, h, w, 1 or 3)
        x = (x.float() / 255 - arrays["mean"].reshape(3)).permute(0, 3, 1, 2)
        return x.contiguous(memory_format=layout)

    def features(p: dict[str, Any], x: Any) -> Any:
        for number in range(len(sizes.channels)):
            x = functional.relu(functional.max_pool2d(functional.conv2d(x, *p[f"features_{number}"]), 2))
        return x.flatten(1)

    def head(p: dict[str, Any], name: str, hidden: list[int], x: Any) -> Any:
        for number in range(len(hidden)):
            x = functional.relu(functional.linear(x, *p[f"{name}_{number}"]))
        return functional.linear(x, *p[name])

    def loss(p: dict[str, Any], rows: Any, others: Any, reversal: float) -> Any:
        f = features(p, torch.cat([as_input(arrays["source"][rows]), as_input(arrays["target"][others])]))
        labels = head(p, "label", sizes.hidden, f[: len(rows)])
        domains = head(p, "domain", sizes.domain_hidden, Reversal.apply(f, reversal))[:, 0]
        domain_loss = 2 * sizes.domain_weight * functional.binary_cross_entropy_with_logits(domains, told)
        return functional.cross_entropy(labels, arrays["labels"][rows].long()) + domain_loss

    def train(reversal: float, steps: int) -> dict[str, Any]:
        p = parameters()
        sgd = torch.optim.SGD([leaf for pair in p.values() for leaf in pair], 1.0, momentum=sizes.momentum)
        for i in range(steps):
            progress = i / sizes.steps
            for group in sgd.param_groups:
                group["lr"] = sizes.learning_rate / (1 + sizes.growth * progress) ** sizes.power
            weight = reversal * (2 / (1 + np.exp(-sizes.reversal_gain * progress)) - 1)
            sgd.zero_grad(set_to_none=True)
            loss(p, orders["source"][i], orders["target"][i], weight).backward()
            sgd.step()
        return p

    def change(p: dict[str, Any]) -> np.ndarray:
        return p["features_0"][0].detach().numpy() - inputs["kernel_features_0"].transpose(3, 2, 0, 1)

    def accuracy(p: dict[str, Any]) -> float:
        with torch.no_grad():
            parts = [head(p, "label", sizes.hidden, features(p, as_input(x))) for x in arrays["test"].split(500)]
        return 100 * float((torch.cat(parts).argmax(1) == arrays["true"]).float().mean())

    return train, change, accuracy


# --- what is done --------------------------------------------------------------------------------------------------


def build(library: str, work: Work, inputs: Inputs, whole: bool = False) -> None:
    """Steps of the adversarial network to be timed; or (`whole`) the accuracies at the end of both arms' trainings."""
    if library == "torch":
        import torch

        torch.set_num_threads(work.threads)
    if whole:
        train, change, accuracy = (train_with_torch if library == "torch" else train_with_jax)(work.sizes, inputs)
        for arm, reversal in REVERSALS.items():
            work.compare(f"weights of {arm}", change(train(reversal, COMPARED)))
            work.facts[arm] = accuracy(train(reversal, work.sizes.steps))
        return
    for form in FORMATS if library == "torch" else ("",):
        sides = train_with_torch(work.sizes, inputs, form) if library == "torch" else train_with_jax(work.sizes, inputs)
        train, change, _ = sides
        work.compare("weights of dann", change(train(1.0, COMPARED)), form)
        work.add("step", partial(train, 1.0, work.sizes.steps), 2 * work.sizes.batch * work.sizes.steps, form=form)
    if library == "jax":
        work.facts["step"] = gflop_of_an_image(work.sizes, inputs)
        add_product(work)


def gflop_of_an_image(sizes: SimpleNamespace, inputs: Inputs) -> float:
    """Of all products of a step, forward and for both derivatives; nobody needs that in the images, and the label head
    sees one of two."""
    pixels, total = sizes.size, 0.0
    for name in (name.removeprefix("kernel_") for name in inputs if name.startswith("kernel_")):
        kernel, times = inputs[f"kernel_{name}"], 3.0
        if kernel.ndim == 4:
            number = int(name.rpartition("_")[2])
            pixels = (sizes.size if number == 0 else pixels) - len(kernel) + 1
            times, pixels = (2.0 if number == 0 else 3.0) * pixels**2, pixels // 2
        elif name.startswith("label"):
            times = 1.5
        total += 2e-9 * times * kernel.size
    return total


def compare_accuracies(options: Options, result: Result) -> None:
    """Both sides of one development replicate after the other, from 1000 on, one a round."""
    peers, layouts = choose_interpreters(ACCURACY_PEERS, options, result), LAYOUTS["one process"](options.cores)
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(1000, 1000 + options.rounds):
        inputs = draw_replicate(options.sizes, number)
        with start_teams("dann_accuracy", peers, {"one process": layouts}, inputs, options.sizes) as teams:
            apart = check_agreement(teams, {"": CHANGE})
            result.agreement |= {f"replicate {number}, {name}": value for name, value in apart.items()}
            for side, peer in ((team.sides[0], team.peer) for team in teams):
                result.versions |= side.versions
                for arm, value in side.facts.items():
                    found.setdefault(peer, {}).setdefault(arm, []).append(value)
    result.add("% of MNIST-M right", {f"{arm}: {peer}": own[arm] for peer, own in found.items() for arm in own})
    means = {f"{arm}: {peer}": float(np.mean(own[arm])) for peer, own in found.items() for arm in own}
    result.add(
        "points", {f"mean gain, {peer}": means[f"dann: {peer}"] - means[f"source_only: {peer}"] for peer in found}
    )
    if "torch" in found:
        apart = {arm: means[f"{arm}: encore"] - means[f"{arm}: torch"] for arm in REVERSALS}
        result.add("points", {f"mean difference, {arm}": value for arm, value in apart.items()})


ACCURACY_PEERS = (
    Peer("encore", partial(build, "jax", whole=True)),
    Peer("torch", partial(build, "torch", whole=True), ("torch",), foreign=True),
)
FIGURE_4A = [
    "settings.data.size=28",
    "settings.network.channels=[32,48]",
    "settings.network.hidden=[100,100]",
    "settings.network.domain_hidden=[100]",
]
BENCHMARKS = (
    Comparison(
        name="dann_steps",
        question="How fast is a full adversarial step of DANN, beside PyTorch in two memory formats?",
        work="figure 4a, 32 and 48 channels, 64 + 64 images, 20 steps a run",
        sizes={
            "words": [
                "scale=smoke",
                *FIGURE_4A,
                "settings.training.batch=64",
                "settings.training.iterations=20",
                "settings.training.evaluate_every=20",
            ]
        },
        quick={"words": ["scale=smoke"]},
        unit="images",
        peers=(
            Peer("encore", partial(build, "jax")),
            Peer("torch", partial(build, "torch"), ("torch",), foreign=True),
        ),
        draw=draw_replicate,
        derive=share_of_products,
        tolerance={"": CHANGE},
        layouts=("pinned", "one process"),
    ),
    Measurement(
        name="dann_accuracy",
        question="Do whole trainings of DANN on MNIST-M end as PyTorch's do, from the same arrays?",
        work="mnist_m by {words}: target accuracy of the network, development replicates from 1000 on, one a round",
        sizes={"words": ["scale=laptop"]},
        quick={"words": ["scale=smoke"]},
        rounds=3,
        peers=ACCURACY_PEERS,
        headline=(("points", "mean gain, encore"), ("points", "mean gain, torch")),
        perform=compare_accuracies,
    ),
)
