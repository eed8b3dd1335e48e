"""The Lottery Ticket Hypothesis (Frankle and Carbin, ICLR 2019, arXiv 1803.03635).

Claim: a dense, randomly initialised network f(x; θ0) contains a sparse subnetwork f(x; m ∘ θ0) that, trained alone
from the same initial values, reaches the accuracy of the dense network in at most as many iterations. The same mask
with other initial values, or another mask with the same values, does not.

Tickets are found by iterative magnitude pruning with resetting:

    θ0 ~ D, m = 1
    repeat: train f(·; m ∘ θ0) for J iterations to θJ;
            in m, clear the fraction p of the surviving weights with the smallest |θJ|;
            reset the survivors to θ0

Pruning is layer by layer, the output layer at half the rate, or global over all convolutions. P_m is the share of
prunable weights that survive; biases are never pruned. What is shrunk against the paper stands in the config.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from core.data.catalogue import describe
from core.errors import BadInput
from core.lab.keys import named_keys
from core.models.images import PlainNetwork, ResNet18, Vgg19, as_input, augmented
from core.optim.named import optimizer
from core.optim.settings import OptimizerSettings
from core.papers.contract import Study
from core.papers.settings import setting
from experiments.lottery_ticket.figures import figures as figures

if TYPE_CHECKING:
    from core.lab.lab import Lab

Tree = Any
EVALUATED_AT_ONCE = 500


@dataclass(frozen=True)
class TicketSettings:
    """One network, one data set, one ladder of densities."""

    dataset: str = setting("data set", data=True)
    network: str = setting("plain (LeNet, Conv-2/4/6), vgg19 or resnet18", choices=("plain", "vgg19", "resnet18"))
    channels: tuple[int, ...] = setting(
        "widths of the convolutions of a plain network, pooled in pairs; of the stages of resnet18", within="[1, inf)"
    )
    hidden: tuple[int, ...] = setting("widths of the dense layers of a plain network", within="[1, inf)")
    iterations: int = setting("training length J", unit="iterations", within="[1, inf)")
    batch: int = setting("batch size", unit="images", within="[1, inf)")
    optimizer: OptimizerSettings = setting("optimizer, reset in every round")
    augment: bool = setting("random flips and 4-pixel shifts")
    validation: int = setting("images set aside for validation", unit="images", within="[1, inf)")
    evaluate_every: int = setting("between two evaluations", unit="iterations", within="[1, inf)")
    scope: str = setting("ranking of weights: within each layer, or over all convolutions", choices=("layer", "global"))
    prune_conv: float = setting("fraction of surviving convolution weights pruned per round", within="(0, 1)")
    prune_dense: float = setting("fraction of surviving dense weights pruned per round", within="[0, 1)")
    prune_output: float = setting("the same in the output layer", within="[0, 1)")
    rounds: int = setting("rounds of pruning", within="[1, inf)")
    reinit: tuple[int, ...] = setting(
        "rounds whose ticket is re-initialised; listed k times: k draws", within="[1, inf)"
    )
    reinit_again: tuple[int, ...] = setting("the same, as a control", within="[1, inf)")
    one_shot: tuple[int, ...] = setting("rounds whose density is also pruned to in one go", within="[1, inf)")
    random: tuple[int, ...] = setting("rounds with a random mask of the same layer densities", within="[1, inf)")
    random_again: tuple[int, ...] = setting("the same, as a control", within="[1, inf)")

    def __post_init__(self) -> None:
        """Refuse what contradicts itself before anything is trained."""
        images = describe(self.dataset).arrays["train_images"][0][0]
        if self.validation + self.batch > images:
            raise BadInput(f"settings.validation={self.validation} leaves less than one batch of the {images} images")
        if self.evaluate_every > self.iterations:
            raise BadInput(f"settings.evaluate_every={self.evaluate_every} is longer than iterations={self.iterations}")
        for name in ("reinit", "reinit_again", "one_shot", "random", "random_again"):
            if any(number > self.rounds for number in getattr(self, name)):
                raise BadInput(f"settings.{name}={list(getattr(self, name))} goes beyond rounds={self.rounds}")
        for layer, (weights, fraction) in self.layers().items():
            if weights * (1 - fraction) ** self.rounds < 1:
                raise BadInput(f"settings.rounds={self.rounds} leaves less than one weight in {layer}: prune less")

    def layers(self) -> dict[str, tuple[int, float]]:
        """Weights and pruned fraction of every layer of a plain network; nothing is known here of the others."""
        if self.network != "plain":
            return {}
        height, width, *rest = describe(self.dataset).arrays["train_images"][0][1:]
        inputs, found = (rest or [1])[0], {}
        for number, outputs in enumerate(self.channels):
            found[f"conv_{number}"] = (9 * inputs * outputs, self.prune_conv)
            inputs = outputs
            if number % 2:
                height, width = height // 2, width // 2
        inputs *= height * width
        for number, outputs in enumerate(self.hidden):
            found[f"dense_{number}"] = (inputs * outputs, self.prune_dense)
            inputs = outputs
        return {**found, "output": (inputs * len(describe(self.dataset).classes), self.prune_output)}


@dataclass(frozen=True)
class DeepSettings(TicketSettings):
    """Deep networks under three learning rates: `optimizer` is the high one."""

    low: OptimizerSettings = setting("optimizer with a low learning rate")
    warm: OptimizerSettings = setting("optimizer with a high learning rate after a warm-up")


@dataclass(frozen=True)
class LadderSettings:
    """The printed densities of LeNet-300-100, to be met by arithmetic."""

    weights: tuple[int, ...] = setting("weights of the layers, the output layer last", within="[1, inf)")
    prune: float = setting("fraction of surviving weights pruned per round", within="(0, 1)")
    prune_output: float = setting("the same in the output layer", within="(0, 1)")
    rounds: tuple[int, ...] = setting("rounds with a printed density", within="[1, inf)")
    printed: tuple[float, ...] = setting("printed densities after these rounds", unit="percent", within="(0, 100)")

    def __post_init__(self) -> None:
        """Every printed density belongs to a round."""
        if len(self.rounds) != len(self.printed):
            raise BadInput("settings.rounds and settings.printed must have equal lengths")


# --- the network --------------------------------------------------------------------------------------------------


def network(settings: TicketSettings) -> nn.Module:
    """The module that the settings name."""
    classes = len(describe(settings.dataset).classes)
    if settings.network == "plain":
        return PlainNetwork(settings.channels, settings.hidden, classes)
    if settings.network == "vgg19":
        return Vgg19(classes)
    return ResNet18(classes, settings.channels) if settings.channels else ResNet18(classes)


def initial(settings: TicketSettings, key: jax.Array) -> dict[str, Tree]:
    """θ0 ~ D: Gaussian Glorot weights, zero biases, and the statistics of normalisation layers where there are any."""
    shape = describe(settings.dataset).arrays["train_images"][0]
    variables = network(settings).init(key, jnp.zeros((1, *shape[1:3], (shape[3:] or (1,))[0])))
    return {"params": variables["params"], "statistics": variables.get("batch_stats", {})}


def loss(params: Tree, statistics: Tree, settings: TicketSettings, x: jax.Array, labels: jax.Array) -> tuple:
    """Mean cross-entropy of a training batch, and the updated statistics of normalisation layers."""
    variables = {"params": params, "batch_stats": statistics}
    logits, updated = network(settings).apply(variables, x, train=True, mutable=["batch_stats"])
    # L = -1/n Σ log softmax(f(x; θ))[y]
    mean = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return mean, updated.get("batch_stats", {})


def evaluate(settings: TicketSettings, values: dict[str, Tree], images: jax.Array, labels: jax.Array) -> tuple:
    """Mean cross-entropy, and accuracy in percent, on images, some at a time to bound memory."""
    variables = {"params": values["params"], "batch_stats": values["statistics"]}
    losses, hits = [], []
    for first in range(0, len(images), EVALUATED_AT_ONCE):
        part = slice(first, first + EVALUATED_AT_ONCE)
        logits: Any = network(settings).apply(variables, as_input(images[part]))
        losses.append(optax.softmax_cross_entropy_with_integer_labels(logits, labels[part]).sum())
        hits.append((logits.argmax(-1) == labels[part]).sum())
    return sum(losses) / len(images), 100 * sum(hits) / len(images)


# --- masks and pruning --------------------------------------------------------------------------------------------


def kernels(params: Tree, scope: str) -> dict[str, jax.Array]:
    """The prunable weights by layer: all kernels, or only those of convolutions where the ranking is global."""
    found = {layer: values["kernel"] for layer, values in params.items() if "kernel" in values}
    return found if scope == "layer" else {layer: kernel for layer, kernel in found.items() if kernel.ndim == 4}


def masked(params: Tree, mask: dict[str, jax.Array]) -> Tree:
    """m ∘ θ: masked kernels set to 0, everything else as it is."""
    return {
        layer: {**values, "kernel": jnp.where(mask[layer], values["kernel"], 0)} if layer in mask else values
        for layer, values in params.items()
    }


def largest(scores: jax.Array, keep: jax.Array) -> jax.Array:
    """Mask of the `keep` largest scores; by rank, so that ties are broken by position and the number is exact."""
    rank = jnp.argsort(jnp.argsort(scores.ravel()))
    return (rank >= scores.size - keep).reshape(scores.shape)


def pruned(scope: str, weights: dict[str, jax.Array], mask: dict[str, jax.Array], keep: dict[str, jax.Array]) -> dict:
    """The next mask: the survivors with the largest |θJ|, `keep[layer]` of each layer, or `keep["all"]` of all."""
    scores = {layer: jnp.where(mask[layer], jnp.abs(weights[layer]), -1.0) for layer in mask}
    if scope == "layer":
        return {layer: largest(scores[layer], keep[layer]) for layer in mask}
    together = largest(jnp.concatenate([scores[layer].ravel() for layer in mask]), keep["all"])
    ends = np.cumsum([scores[layer].size for layer in mask])
    parts = jnp.split(together, ends[:-1])
    return {layer: part.reshape(mask[layer].shape) for layer, part in zip(mask, parts, strict=True)}


def shuffled(key: jax.Array, mask: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """A random mask with as many weights in every layer."""
    keys = jax.random.split(key, len(mask))
    return {
        layer: jax.random.permutation(k, mask[layer].ravel()).reshape(mask[layer].shape)
        for k, layer in zip(keys, mask, strict=True)
    }


class Rung(NamedTuple):
    """How many weights survive some rounds of pruning: per layer (or in all), and in percent."""

    keep: dict[str, np.int32]
    density: float


def ladder(layers: Mapping[str, tuple[int, float]], rounds: int) -> list[Rung]:
    """The densities after 0, 1, …, `rounds` rounds; each round removes the rounded fraction of a layer's survivors."""
    keep, total, rungs = {layer: n for layer, (n, _) in layers.items()}, sum(n for n, _ in layers.values()), []
    for _ in range(rounds + 1):
        rungs.append(Rung({layer: np.int32(n) for layer, n in keep.items()}, 100 * sum(keep.values()) / total))
        keep = {layer: n - round(layers[layer][1] * n) for layer, n in keep.items()}
    return rungs


def prunable(settings: TicketSettings) -> dict[str, tuple[int, float]]:
    """Weights and pruned fraction of every layer, or of all convolutions together."""
    shapes = jax.eval_shape(partial(initial, settings), jax.random.key(0))
    sizes = {layer: int(np.prod(kernel.shape)) for layer, kernel in kernels(shapes["params"], settings.scope).items()}
    if settings.scope == "global":
        return {"all": (sum(sizes.values()), settings.prune_conv)}
    rates = {"conv": settings.prune_conv, "dense": settings.prune_dense, "output": settings.prune_output}
    return {layer: (size, rates[layer.split("_")[0]]) for layer, size in sizes.items()}


# --- training -----------------------------------------------------------------------------------------------------


class Best(NamedTuple):
    """The network at the lowest validation loss so far, found without ever stopping the training."""

    values: dict[str, Tree]
    loss: jax.Array
    iteration: jax.Array


class State(NamedTuple):
    """A network in training."""

    values: dict[str, Tree]
    moments: Tree
    best: Best


def start(settings: TicketSettings, values: dict[str, Tree], mask: dict[str, jax.Array]) -> State:
    """m ∘ θ0 with a fresh optimizer."""
    values = {**values, "params": masked(values["params"], mask)}
    moments = optimizer(settings.optimizer).init(values["params"])
    nothing_yet = jnp.finfo(jnp.float32).max  # finite, since an infinite state counts as diverged
    return State(values, moments, Best(values, jnp.float32(nothing_yet), jnp.int32(0)))


def step(settings: TicketSettings, state: State, key: jax.Array, i: jax.Array, *given: Tree) -> State:
    """One update of the surviving weights."""
    order, _, mask, images, labels, *_ = given
    x = as_input(images[order[i]])
    x = augmented(key, x) if settings.augment else x
    params = state.values["params"]
    gradient, statistics = jax.grad(loss, has_aux=True)(
        params, state.values["statistics"], settings, x, labels[order[i]]
    )
    # g ← m ∘ g. Pruned weights start at 0; without a gradient their moments and updates are 0, and they stay there.
    gradient = masked(gradient, mask)
    updates, moments = optimizer(settings.optimizer).update(gradient, state.moments, params)
    return State({"params": optax.apply_updates(params, updates), "statistics": statistics}, moments, state.best)


def look(settings: TicketSettings, state: State, i: jax.Array, *given: Tree) -> tuple[State, dict[str, jax.Array]]:
    """Validation loss and accuracy; the best network so far is carried along."""
    _, held_out, _, images, labels, *_ = given
    validation_loss, accuracy = evaluate(settings, state.values, images[held_out], labels[held_out])
    here = Best(state.values, validation_loss, i)
    best = jax.tree.map(partial(jnp.where, validation_loss < state.best.loss), here, state.best)
    return state._replace(best=best), {"validation_loss": validation_loss, "validation_accuracy": accuracy}


def finish(settings: TicketSettings, state: State, *given: Tree) -> dict[str, Tree]:
    """θJ of the prunable weights, and test accuracy at the early-stop iteration and at the end."""
    *_, test_images, test_labels = given
    return {
        "weights": kernels(state.values["params"], settings.scope),
        "early_stop_iteration": state.best.iteration,
        "test_accuracy": evaluate(settings, state.best.values, test_images, test_labels)[1],
        "final_test_accuracy": evaluate(settings, state.values, test_images, test_labels)[1],
    }


def arranged(settings: TicketSettings, split_key: jax.Array, order_key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The order of training images, (iterations, batch), epoch by epoch, and the held-out ones, (validation,)."""
    shuffled_rows = jax.random.permutation(split_key, describe(settings.dataset).arrays["train_images"][0][0])
    held_out, rows = shuffled_rows[: settings.validation], shuffled_rows[settings.validation :]
    batches = len(rows) // settings.batch
    epochs = -(-settings.iterations // batches)
    orders = [
        jax.random.permutation(key, rows)[: batches * settings.batch] for key in jax.random.split(order_key, epochs)
    ]
    order = jnp.concatenate(orders).reshape(-1, settings.batch)[: settings.iterations]
    return order.astype(jnp.int32), held_out.astype(jnp.int32)


@dataclass(frozen=True)
class Comparison:
    """Trains and measures one network after another under equal conditions: same split, same order of images."""

    settings: TicketSettings
    keys: jax.Array
    lab: "Lab"
    given: tuple[Tree, Tree]
    data: tuple[Tree, ...]
    rate: str = ""

    def train(self, arm: str, values: Tree, mask: Tree, rung: Rung, name: str = "", draw: int | None = None) -> Tree:
        """Train m ∘ θ for J iterations, record its measurements, and return θJ of the prunable weights."""
        settings, lab = self.settings, self.lab
        result, curves, steps = lab.iterate(
            (f"{self.rate}/" if self.rate else "") + arm + name,
            partial(step, settings),
            self.keys,
            lab.map(partial(start, settings), values, mask),
            steps=settings.iterations,
            each=(*self.given, mask),
            shared=self.data,
            evaluate_every=settings.evaluate_every,
            evaluate=partial(look, settings),
            finish=partial(finish, settings),
        )
        conditions: dict[str, Any] = {
            "arm": arm,
            "density": round(rung.density, 1),
            "draw": draw,
            "rate": self.rate or None,
        }
        conditions = {name: value for name, value in conditions.items() if value is not None}
        scalars = {name: value for name, value in result.items() if name != "weights"}
        lab.measure(scalars, along=None, **conditions)
        lab.measure(curves, along={"step": steps}, **conditions)
        return result["weights"]

    def draw(self, name: str) -> jax.Array:
        """One key per replicate for the draw called `name`."""
        return named_keys(self.lab, self.keys, name)


# --- the experiment -----------------------------------------------------------------------------------------------


def comparison_on(settings: TicketSettings, keys: jax.Array, lab: "Lab") -> Comparison:
    """The data set, split and ordered anew for every replicate."""
    data = lab.data(settings.dataset)
    split, order = (named_keys(lab, keys, name) for name in ("split", "order"))
    given = lab.map(partial(arranged, settings), split, order)
    parts = ("train_images", "train_labels", "test_images", "test_labels")
    return Comparison(settings, keys, lab, given, tuple(data[name] for name in parts))


def trial(settings: TicketSettings, keys: jax.Array, lab: "Lab") -> None:
    """The dense network, its winning tickets down the ladder, and the controls at the compared densities."""
    compare(comparison_on(settings, keys, lab))


def compare(comparison: Comparison) -> None:
    """Iterative magnitude pruning with resetting, and every arm it is compared with."""
    settings, lab = comparison.settings, comparison.lab
    rungs = ladder(prunable(settings), settings.rounds)
    theta_0 = lab.map(partial(initial, settings), comparison.draw("init"))
    everything = lab.map(partial(full_mask, settings.scope), theta_0)

    weights = comparison.train("dense", theta_0, everything, rungs[0])
    for number in settings.one_shot:
        mask = lab.map(partial(pruned, settings.scope), weights, everything, shared=(rungs[number].keep,))
        comparison.train("one_shot", theta_0, mask, rungs[number], f"/{number}")

    mask = everything
    for number in range(1, settings.rounds + 1):
        mask = lab.map(partial(pruned, settings.scope), weights, mask, shared=(rungs[number].keep,))
        weights = comparison.train("ticket", theta_0, mask, rungs[number], f"/{number}")
        controls(comparison, theta_0, mask, number, rungs[number])


def controls(comparison: Comparison, theta_0: Tree, mask: Tree, number: int, rung: Rung) -> None:
    """Fresh initial weights under the ticket's mask, and random masks over the ticket's initial weights."""
    settings, lab = comparison.settings, comparison.lab
    for arm, rounds in (("reinit", settings.reinit), ("reinit_again", settings.reinit_again)):
        for draw in range(rounds.count(number)):
            name = f"/{number}/{draw}"
            values = lab.map(partial(initial, settings), comparison.draw(arm + name))
            comparison.train(arm, values, mask, rung, name, draw)
    for arm, rounds in (("random", settings.random), ("random_again", settings.random_again)):
        for draw in range(rounds.count(number)):
            name = f"/{number}/{draw}"
            other = lab.map(shuffled, comparison.draw(arm + name), mask)
            comparison.train(arm, theta_0, other, rung, name, draw)


def full_mask(scope: str, values: dict[str, Tree]) -> dict[str, jax.Array]:
    """m = 1 on every prunable weight."""
    return {layer: jnp.ones(kernel.shape, bool) for layer, kernel in kernels(values["params"], scope).items()}


def deep_trial(settings: DeepSettings, keys: jax.Array, lab: "Lab") -> None:
    """The whole comparison once per learning rate: high, low, and high after a warm-up."""
    comparison = comparison_on(settings, keys, lab)
    for rate, chosen in (("high", settings.optimizer), ("low", settings.low), ("warm", settings.warm)):
        compare(replace(comparison, settings=replace(settings, optimizer=chosen), rate=rate))


def ladder_trial(settings: LadderSettings, keys: jax.Array, lab: "Lab") -> None:
    """Densities by arithmetic, as published and, as a broken variant, with the output layer pruned at the full rate."""
    for arm, output in (("half_rate", settings.prune_output), ("full_rate", settings.prune)):
        rates = [settings.prune] * (len(settings.weights) - 1) + [output]
        layers = {str(n): layer for n, layer in enumerate(zip(settings.weights, rates, strict=True))}
        rungs = ladder(layers, max(settings.rounds))
        away = [abs(rungs[n].density - printed) for n, printed in zip(settings.rounds, settings.printed, strict=True)]
        lab.measure({"away_from_print": np.full(keys.shape, max(away))}, arm=arm)


STUDIES = {
    "ladder": Study(settings=LadderSettings, trial=ladder_trial),
    "lenet": Study(settings=TicketSettings, trial=trial),
    "tuning": Study(settings=TicketSettings, trial=trial),
    "conv": Study(settings=TicketSettings, trial=trial),
    "deep": Study(settings=DeepSettings, trial=deep_trial),
}
