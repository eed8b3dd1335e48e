"""The experiment, to be read beside the paper; see the package's docstring for its claim and symbols."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from core.lab.keys import key_for
from core.papers.contract import Study
from experiments.dann.adversarial import Network, objective
from experiments.dann.images import compare as image_trial
from experiments.dann.moons import trial as moon_trial
from experiments.dann.reviews import trial as review_trial
from experiments.dann.settings import LayerSettings

if TYPE_CHECKING:
    from core.lab.lab import Lab

Tree = Any


# --- the gradient reversal layer against the updates it stands for ----------------------------------------------------


def updates(params: Tree, network: Network, batch: Tree, weight: jax.Array, scaled: bool = False) -> tuple[Tree, Tree]:
    """The direction of one update by the reversal layer, and by the equations 13 to 15 without it.

    `scaled` is a broken variant, in which λ weighs the loss of domains for both players.
    """
    layer = jax.grad(objective)(params, network, *batch, *((1.0, weight) if scaled else (weight, 1.0)))
    # ∂L_y/∂θ and ∂L_d/∂θ each by itself: with a reversal of -1 the layer is the identity both ways.
    labels = jax.grad(objective)(params, network, *batch, -1.0, 0.0)
    both = jax.grad(objective)(params, network, *batch, -1.0, 1.0)
    domains = jax.tree.map(jnp.subtract, both, labels)

    def factor(name: str) -> jax.Array | float:
        return -weight if name.startswith("features") else 1.0

    by_hand = {
        name: jax.tree.map(jnp.add, labels[name], jax.tree.map(partial(jnp.multiply, factor(name)), domains[name]))
        for name in params
    }
    return layer, by_hand


def update_error(settings: LayerSettings, scaled: bool, key: jax.Array) -> jax.Array:
    """The largest difference between the two, in parts of the largest entry, over all λ."""
    network = Network((), settings.width, (settings.width,), (settings.width,), 3)
    shape = (settings.examples, settings.inputs)
    source, target = (jax.random.normal(key_for(key, name), shape) for name in ("source", "target"))
    labels = jax.random.randint(key_for(key, "labels"), shape[:1], 0, 3)
    told = jnp.stack([jnp.zeros(shape[0]), jnp.ones(shape[0])])
    params = network.init(key_for(key, "init"), source)["params"]

    def apart(weight: jax.Array) -> jax.Array:
        layer, by_hand = updates(params, network, (source, labels, target, told), weight, scaled)
        pairs = list(zip(jax.tree.leaves(layer), jax.tree.leaves(by_hand), strict=True))
        return jnp.max(jnp.array([jnp.abs(a - b).max() / jnp.abs(b).max() for a, b in pairs]))

    return jnp.max(jax.lax.map(apart, jnp.array(settings.weights)))


def layer_trial(settings: LayerSettings, keys: jax.Array, lab: "Lab") -> None:
    """As published and, as a broken variant, with λ on both players."""
    for name, scaled in (("layer", False), ("scaled", True)):
        lab.measure({"update_error": lab.map(partial(update_error, settings, scaled), keys)}, arm=name)


STUDIES = {
    "reversal": Study(layer_trial),
    "moons": Study(moon_trial),
    "digits": Study(image_trial),
    "mnist_m": Study(image_trial),
    "reviews": Study(review_trial),
    "house_numbers": Study(image_trial),
}
