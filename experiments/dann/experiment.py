"""The gradient reversal layer against the updates it stands for, and the list of all studies."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.nn import one_hot, softmax

from core.lab.keys import key_for
from core.papers.contract import Study
from experiments.dann.adversarial import objective, shallow_network
from experiments.dann.images import trial as image_trial
from experiments.dann.moons import trial as moon_trial
from experiments.dann.reviews import trial as review_trial
from experiments.dann.settings import LayerSettings

if TYPE_CHECKING:
    from core.lab.lab import Lab

Tree = Any
# What descends: the reversal and the weight of the domain loss, both as functions of λ.
ARMS = {
    "weighted_loss": (lambda weight: 1.0, lambda weight: weight),
    "weighted_reversal": (lambda weight: weight, lambda weight: 1.0),
    "equation_18": (lambda weight: 1.0, lambda weight: -weight),
}
# What it should perform: the factors of ∂L_d in the updates of the features (reversed) and of the domain head.
UPDATES = {
    "equations 13 to 15": (lambda weight: weight, lambda weight: weight),
    "section 5.2.2": (lambda weight: weight, lambda weight: 1.0),
}


def written_out(params: Tree, batch: Tree, on_features: Any, on_domain: Any) -> Tree:
    """The direction of descent of every parameter of the shallow network, its derivatives by hand as in algorithm 1.

    θ_f ← θ_f - μ (∂L_y/∂θ_f - on_features ∂L_d/∂θ_f),  θ_y ← θ_y - μ ∂L_y/∂θ_y,  θ_d ← θ_d - μ on_domain ∂L_d/∂θ_d
    """
    w, v, u = (params[name]["kernel"] for name in ("features", "label", "domain"))
    b, c, z = (params[name]["bias"][None] for name in ("features", "label", "domain"))
    n = len(batch["source"])
    x = jnp.concatenate([batch["source"], batch["target"]])
    f = 1 / (1 + jnp.exp(-(x @ w.T + b)))  # G_f
    # ∂L_y/∂(V f + c) = (G_y - e(y)) / n and ∂L_d/∂(u f + z) = (G_d - d) / n
    of_labels = (softmax(f[:n] @ v.T + c) - one_hot(batch["labels"], c.shape[1])) / n
    of_domains = (1 / (1 + jnp.exp(-(f @ u.T + z))) - jnp.repeat(jnp.arange(2), n)[:, None]) / n
    # ∂/∂(W x + b) = (Vᵀ ∂L_y - λ uᵀ ∂L_d) ⊙ G_f ⊙ (1 - G_f)
    of_features = jnp.concatenate([of_labels @ v, jnp.zeros((n, w.shape[0]))]) - on_features * of_domains @ u
    errors = (of_features * f * (1 - f), of_labels, on_domain * of_domains)
    inputs = zip(("features", "label", "domain"), errors, (x, f[:n], f), strict=True)
    return {name: {"kernel": error.T @ each, "bias": error.sum(0)} for name, error, each in inputs}


def update_error(settings: LayerSettings, arm: str, equations: str, key: jax.Array) -> jax.Array:
    """The largest difference between both directions, in parts of the largest entry of every array, over all λ."""
    network, shape = shallow_network(settings.width, settings.classes), (settings.examples, settings.inputs)
    source, target = (jax.random.normal(key_for(key, name), shape) for name in ("source", "target"))
    labels = jax.random.randint(key_for(key, "labels"), shape[:1], 0, settings.classes)
    batch = {"source": source, "target": target, "labels": labels}
    told = jnp.stack([jnp.zeros(shape[0]), jnp.ones(shape[0])])
    params = jax.tree.map(lambda leaf: leaf.astype(source.dtype), network.init(key_for(key, "init"), source)["params"])

    def error(weight: jax.Array) -> jax.Array:
        reversal, loss_weight = (factor(weight) for factor in ARMS[arm])
        found = jax.grad(objective)(params, network, batch, told, reversal, loss_weight)
        expected = written_out(params, batch, *(factor(weight) for factor in UPDATES[equations]))
        pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
        return jnp.max(jnp.array([jnp.abs(a - b).max() / jnp.abs(b).max() for a, b in pairs]))

    return jnp.max(jax.lax.map(error, jnp.array(settings.weights)))


def layer_trial(settings: LayerSettings, keys: jax.Array, lab: "Lab") -> None:
    """Both places of λ, and equation 18 with its sign as printed, against both forms of the updates."""
    for arm in ARMS:
        for equations in UPDATES:
            error = lab.map(partial(update_error, settings, arm, equations), keys)
            lab.measure({"update_error": error}, arm=arm, updates=equations)


STUDIES = {
    "reversal": Study(layer_trial),
    "moons": Study(moon_trial),
    "clothes": Study(image_trial),
    "mnist_m": Study(image_trial),
    "tuning": Study(review_trial),
    "reviews": Study(review_trial),
    "house_numbers": Study(image_trial),
}
