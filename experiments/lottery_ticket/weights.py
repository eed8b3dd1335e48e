"""Networks for others: the dense LeNet-300-100, and its winning ticket with the mask and the initial weights."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from core.models.images import images_to_floats
from core.papers.contract import Network
from experiments.lottery_ticket.experiment import densities, network
from experiments.lottery_ticket.settings import TicketSettings

if TYPE_CHECKING:
    from core.weights.replicate import FinishedReplicate

Tree = Any
TAKES = "`model(images)` takes bytes (n, 28, 28) and gives logits (n, 10). Stored in half precision."


def dense_network(settings: TicketSettings, left: "FinishedReplicate") -> Tree:
    """θJ of the whole network."""
    return {"params": _half(_params(left.stage("dense")))}


def winning_ticket(settings: TicketSettings, left: "FinishedReplicate") -> Tree:
    """θJ of the smallest ticket, its mask m, and m ∘ θ0, from which anybody can train it again."""
    params = _params(left.stage(f"ticket/{settings.pruning.rounds}"))
    mask = {layer: _mask(settings, params, layer, bits) for layer, bits in left.arrays("mask/").items()}
    initial, kept = _zeros(params), left.arrays("initial/")
    for layer, places in mask.items():
        initial[layer]["kernel"][places] = kept[f"{layer}/kernel"]
        initial[layer]["bias"][:] = kept[f"{layer}/bias"]
    return {"params": _half(params), "initial": _half(initial), "mask": mask}


def smallest_density(settings: TicketSettings) -> float:
    """How many percent of the weights the smallest ticket has."""
    return round(densities(settings)[-1].percent, 1)


def _mask(settings: TicketSettings, params: Tree, layer: str, bits: np.ndarray) -> np.ndarray:
    """The mask of a layer, from the bits of its places in their order."""
    shape = params[layer]["kernel"].shape
    mask = np.unpackbits(bits, count=params[layer]["kernel"].size).reshape(shape).astype(bool)
    assert mask.sum() == densities(settings)[-1].keep[layer]
    return mask


def classifier(settings: TicketSettings, arrays: Tree) -> Any:
    """f(x; θJ) on images of bytes."""
    return jax.jit(partial(_logits, settings, arrays["params"]))


def _logits(settings: TicketSettings, params: Tree, images: jax.Array) -> jax.Array:
    logits = network(settings).apply({"params": params}, images_to_floats(images))
    assert isinstance(logits, jax.Array)
    return logits


def _params(stage: Tree) -> Tree:
    return stage["result"]["variables"]["params"]


def _zeros(params: Tree) -> Tree:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), params)


def _half(params: Tree) -> Tree:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), params)


NETWORKS = {
    "dense": Network(
        "lenet",
        f"LeNet-300-100, trained on handwritten digits without pruning. {TAKES}",
        dense_network,
        classifier,
        lambda settings: [{"metric": "final_test_accuracy", "arm": "dense"}],
        kept=("dense/",),
    ),
    "ticket": Network(
        "lenet",
        "A winning ticket of LeNet-300-100: what iterative pruning leaves of its weights, trained from their initial "
        f"values. `arrays` holds its mask and the initial weights that it keeps, besides the trained ones. {TAKES}",
        winning_ticket,
        classifier,
        lambda settings: [{"metric": "final_test_accuracy", "arm": "ticket", "density": smallest_density(settings)}],
        kept=("ticket/", "initial/", "mask/"),
    ),
}
