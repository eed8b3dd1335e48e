"""Winning tickets by iterative magnitude pruning with resetting, and everything that they are compared with."""

from functools import partial
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from core.data.catalogue import find_data_set
from core.models.images import CifarResNet20, ConvNet, Vgg19, images_to_floats
from core.papers.contract import Study
from core.sparsity.masks import (
    Density,
    Mask,
    full_mask,
    kernels,
    magnitude_mask,
    pruning_densities,
    random_like,
)
from core.supervised.comparison import Comparison, Trained
from core.supervised.tasks import Task, module_task
from experiments.lottery_ticket.settings import DeepSettings, LadderSettings, TicketSettings

if TYPE_CHECKING:
    from core.lab.lab import Lab

Tree = Any


# --- the network and its prunable weights -----------------------------------------------------------------------------


def network(settings: TicketSettings) -> nn.Module:
    """The module that the settings name."""
    classes = len(find_data_set(settings.data.name).classes)
    name, channels = settings.network.name, settings.network.channels
    if name == "plain":
        return ConvNet(channels, settings.network.hidden, classes)
    if name == "vgg19":
        return Vgg19(classes)
    return CifarResNet20(classes, channels) if channels else CifarResNet20(classes)


def classification(settings: TicketSettings) -> Task:
    """f(x; θ) on images, by cross-entropy: θ0 ~ D has Gaussian Glorot weights and zero biases."""
    shape, dtype = find_data_set(settings.data.name).array_shapes["train_images"]
    example = jax.ShapeDtypeStruct(shape[1:], jnp.dtype(dtype))
    return module_task(
        network(settings), example, prepare=images_to_floats, augment=settings.data.augment, scaling=settings.scaling
    )


def prunable(settings: TicketSettings, params: Tree) -> dict[str, jax.Array]:
    """All kernels; where the ranking is global, those of convolutions, without the 1 x 1 ones beside a residual."""
    found = kernels(params)
    return {
        layer: kernel
        for layer, kernel in found.items()
        if settings.pruning.scope == "layer" or kernel.shape[:2] == (3, 3)
    }


def densities(settings: TicketSettings) -> list[Density]:
    """How many weights are left after 0, 1, … rounds, by layer, or of all convolutions together."""
    variables = jax.eval_shape(classification(settings).initial, jax.random.key(0))
    sizes = {layer: int(np.prod(kernel.shape)) for layer, kernel in prunable(settings, variables["params"]).items()}
    if settings.pruning.scope == "global":
        return pruning_densities({"all": sum(sizes.values())}, {"all": settings.pruning.conv}, settings.pruning.rounds)
    fractions = {layer: getattr(settings.pruning, layer.split("_")[0]) for layer in sizes}
    return pruning_densities(sizes, fractions, settings.pruning.rounds)


def all_kept(settings: TicketSettings, params: Tree) -> Mask:
    """m = 1 on every prunable weight."""
    return full_mask(prunable(settings, params))


def pruned(settings: TicketSettings, params: Tree, mask: Mask, keep: dict[str, jax.Array]) -> Mask:
    """The next mask: of the surviving weights, those with the largest |θJ|."""
    return magnitude_mask(prunable(settings, params), keep, mask)


# --- the experiment ---------------------------------------------------------------------------------------------------


def trial(settings: TicketSettings, keys: jax.Array, lab: "Lab") -> tuple[Tree, Tree, Tree, Mask]:
    """The dense network, its winning tickets down the ladder, and what they are compared with at some densities.

    Returns θJ of the dense network, θJ of the smallest ticket, θ0 and its m, for those who keep them.
    """
    comparison = Comparison.of_settings(settings, keys, lab, classification(settings), keep_best=True)
    rungs, theta_0 = densities(settings), comparison.initial("init")
    everything = lab.map(partial(all_kept, settings), theta_0["params"])

    def prune(trained: Trained, mask: Mask, number: int) -> Mask:
        keep = jax.tree.map(jnp.asarray, rungs[number].keep)
        return lab.map(partial(pruned, settings), trained.params, mask, shared=(keep,))

    def train(arm: str, theta: Tree, mask: Mask, number: int, stage: str = "", **more: Any) -> Trained:
        return comparison.train(arm, theta, mask=mask, stage=stage, density=round(rungs[number].percent, 1), **more)

    dense = train("dense", theta_0, everything, 0)
    for number in settings.one_shot:
        train("one_shot", theta_0, prune(dense, everything, number), number, f"/{number}")
    if settings.one_shot_again:
        # the same of another network
        theta_1 = comparison.initial("init_again")
        again = train("dense_again", theta_1, everything, 0)
        for number in settings.one_shot_again:
            train("one_shot_again", theta_1, prune(again, everything, number), number, f"/{number}")

    mask, trained = everything, dense
    for number in range(1, settings.pruning.rounds + 1):
        # clear the fraction p of the surviving weights with the smallest |θJ|; reset the survivors to θ0
        mask = prune(trained, mask, number)
        trained = train("ticket", theta_0, mask, number, f"/{number}")
        # the ticket's mask with fresh initial weights
        for arm, rounds in (("reinit", settings.reinit), ("reinit_again", settings.reinit_again)):
            for draw in range(rounds.count(number)):
                fresh = comparison.initial(f"{arm}/{number}/{draw}")
                train(arm, fresh, mask, number, f"/{number}/{draw}", draw=draw)
        # random masks of the same layer densities over the ticket's initial weights
        for arm, rounds in (("random", settings.random), ("random_again", settings.random_again)):
            for draw in range(rounds.count(number)):
                other = lab.map(random_like, comparison.key(f"{arm}/{number}/{draw}"), mask)
                train(arm, theta_0, other, number, f"/{number}/{draw}", draw=draw)
    return dense.params, trained.params, theta_0["params"], mask


def lenet_trial(settings: TicketSettings, keys: jax.Array, lab: "Lab") -> None:
    """The comparison, and the weights worth loading."""
    smallest = densities(settings)[-1]
    for name, array in lab.map(partial(worth_keeping, smallest), *trial(settings, keys, lab)).items():
        lab.keep(name, array)


def worth_keeping(left: Density, dense: Tree, ticket: Tree, theta_0: Tree, mask: Mask) -> dict[str, jax.Array]:
    """Weights in half precision; of the ticket its mask as bits and, in their order, the weights that it keeps."""
    found = {f"dense/{path}": leaf for path, leaf in flatten_dict(dense, sep="/").items()}
    for layer, kept in mask.items():
        places = jnp.flatnonzero(kept, size=int(left.keep[layer]))
        for name, params in (("ticket", ticket), ("initial", theta_0)):
            found |= {f"{name}/{layer}/kernel": params[layer]["kernel"].ravel()[places]}
            found |= {f"{name}/{layer}/bias": params[layer]["bias"]}
    bits = {f"mask/{layer}": jnp.packbits(kept.ravel()) for layer, kept in mask.items()}
    return {name: array.astype(jnp.float16) for name, array in found.items()} | bits


def deep_trial(settings: DeepSettings, keys: jax.Array, lab: "Lab") -> None:
    """The whole comparison once per learning rate: high, low, and high after a warm-up."""
    for rate, chosen in (("high", settings.optimizer), ("low", settings.low), ("warm", settings.warm)):
        with lab.scope(f"{rate}/", {"rate": rate}):
            trial(settings.replace(optimizer=chosen), keys, lab)


def ladder_trial(settings: LadderSettings, keys: jax.Array, lab: "Lab") -> None:
    """Densities by arithmetic, as published and, as a broken variant, with the output layer pruned at the full rate."""
    for arm, output in (("half_rate", settings.prune_output), ("full_rate", settings.prune)):
        names = [str(number) for number in range(len(settings.weights))]
        fractions = dict.fromkeys(names, settings.prune) | {names[-1]: output}
        rungs = pruning_densities(dict(zip(names, settings.weights, strict=True)), fractions, max(settings.rounds))
        away = [abs(rungs[n].percent - printed) for n, printed in zip(settings.rounds, settings.printed, strict=True)]
        lab.measure({"away_from_print": np.full(keys.shape, max(away))}, arm=arm)


STUDIES = {
    "ladder": Study(ladder_trial),
    "lenet": Study(lenet_trial),
    "sparse": Study(trial),
    "conv": Study(trial),
    "deep": Study(deep_trial),
}
