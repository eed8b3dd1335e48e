"""Domain-Adversarial Training of Neural Networks (Ganin et al., JMLR 17, 2016, arXiv 1505.07818).

Claim: a network that is trained on labelled examples of a source domain and on unlabelled ones of a target domain does
better on the target when its features cannot tell the domains apart. That takes one more head, which guesses the
domain, and a layer before it that is the identity forwards and reverses the gradient backwards:

    θ_y ← θ_y - μ ∂L_y/∂θ_y                                  the label head learns labels of the source
    θ_d ← θ_d - μ ∂L_d/∂θ_d                                  the domain head learns to tell the domains apart
    θ_f ← θ_f - μ (∂L_y/∂θ_f - λ ∂L_d/∂θ_f)                  the features serve the first and hinder the second

The method is in `adversarial.py`; `moons.py`, `images.py` and `reviews.py` are the experiments. No label of the target
is read by anything but the final test, the arm trained on the target, and subspace alignment, which is labelled so.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from core.data.catalogue import find_data_set
from core.errors import BadInput, unknown_name
from core.lab.keys import key_for
from core.papers.contract import Study
from core.papers.settings import setting
from experiments.dann.adversarial import Network, objective
from experiments.dann.figures import figures as figures
from experiments.dann.images import compare as image_trial
from experiments.dann.moons import trial as moon_trial
from experiments.dann.reviews import trial as review_trial

if TYPE_CHECKING:
    from core.lab.lab import Lab

Tree = Any


@dataclass(frozen=True)
class ImageSettings:
    """Two domains of images and the network of figure 4."""

    source: str = setting("data set with labels", data=True)
    target: str = setting("data set whose labels are only tested on", data=True)
    crop: int = setting("height and width kept of the middle of images", unit="pixels", within="[1, inf)")
    size: int = setting("height and width of all images", unit="pixels", within="[16, inf)")
    channels: tuple[int, ...] = setting("widths of the 5 x 5 convolutions, each pooled", within="[1, inf)")
    hidden: tuple[int, ...] = setting("widths of the hidden layers of the label head", within="[1, inf)")
    domain_hidden: tuple[int, ...] = setting("widths of the hidden layers of the domain head", within="[1, inf)")
    train: int = setting("images of each domain to train on, at most", within="[1, inf)")
    test: int = setting("images of each domain to test on, at most", within="[1, inf)")
    steps: int = setting("length of a training", unit="steps", within="[1, inf)")
    batch: int = setting("images of each domain in a batch", within="[1, inf)")
    learning_rate: float = setting("step size at the start", within="(0, inf)")
    momentum: float = setting("momentum", within="[0, 1)")
    decay: float = setting("α of the learning rate μ / (1 + α p)^0.75; 0: constant", within="[0, inf)")
    domain_weight: float = setting("weight of the summed domain losses; 0.5: their mean", within="(0, inf)")
    reversal_gain: float = setting("γ of the reversal weight 2 / (1 + exp(-γ p)) - 1", within="(0, inf)")
    svm_cost: float = setting("C of the support vector machine in place of the last layer", within="(0, inf)")
    compared: int = setting("labelled images it is trained on, at most", within="[2, inf)")
    directions: tuple[int, ...] = setting(
        "numbers of principal directions tried by subspace alignment", within="[1, inf)"
    )
    controls: tuple[str, ...] = setting("controls: flipped, shuffled")

    def __post_init__(self) -> None:
        """Refuse what contradicts itself before anything is trained."""
        if find_data_set(self.source).classes != find_data_set(self.target).classes:
            raise BadInput(f"settings.target={self.target} has other classes than settings.source={self.source}")
        for name in ("source", "target"):
            if "train_images" not in find_data_set(getattr(self, name)).array_shapes:
                raise BadInput(f"settings.{name}={getattr(self, name)} is no set of labelled images")
        images_there = find_data_set(self.source).array_shapes["train_images"][0][0]
        if self.source == self.target and images_there - self.train < self.batch:
            raise BadInput(f"settings.train={self.train} leaves none of the {images_there} images for the target")
        side = self.size
        for _ in self.channels:
            side = (side - 4) // 2
        if side < 1:
            raise BadInput(f"settings.size={self.size} is too small for {len(self.channels)} convolutions")
        if max(self.directions) > self.hidden[-1]:
            raise BadInput(f"settings.directions={list(self.directions)} goes beyond hidden={list(self.hidden)}")
        for name in self.controls:
            if name not in ("flipped", "shuffled"):
                raise unknown_name("control in settings.controls:", name, ("flipped", "shuffled"))


@dataclass(frozen=True)
class BlendedSettings(ImageSettings):
    """The same, with photographs behind the images of the target."""

    backgrounds: str = setting("data set of photographs", data=True)

    def __post_init__(self) -> None:
        """Backgrounds are photographs."""
        super().__post_init__()
        if "train_photographs" not in find_data_set(self.backgrounds).array_shapes:
            raise BadInput(f"settings.backgrounds={self.backgrounds} is no set of photographs")


@dataclass(frozen=True)
class MoonSettings:
    """Two moons, and the shallow network."""

    points: int = setting("points of each domain, even", within="[4, inf)")
    noise: float = setting("standard deviation of the points", within="[0, inf)")
    degrees: float = setting("how far the target is turned", unit="degrees", within="[0, 360)")
    width: int = setting("hidden units", within="[1, inf)")
    epochs: int = setting("length of a training", unit="epochs", within="[1, inf)")
    learning_rate: float = setting("step size", within="(0, inf)")
    weight: float = setting("λ, weight of the loss of domains", within="[0, inf)")

    def __post_init__(self) -> None:
        """Both moons have as many points."""
        if self.points % 2:
            raise BadInput(f"settings.points={self.points} is odd, and there are two moons")


@dataclass(frozen=True)
class ReviewSettings:
    """Pairs of kinds of reviews, and the shallow network."""

    dataset: str = setting("data set of documents", data=True)
    pairs: tuple[str, ...] = setting("pairs of domains, as books_to_dvd")
    denoising_layers: int = setting("layers of marginalised denoising; 0: counts as they are", within="[0, inf)")
    width: int = setting("hidden units", within="[1, inf)")
    steps: int = setting("length of a training", unit="steps", within="[1, inf)")
    batch: int = setting("documents of each domain in a batch", within="[1, inf)")
    learning_rate: float = setting("step size", within="(0, inf)")
    momentum: float = setting("momentum", within="[0, 1)")
    evaluate_every: int = setting("between two evaluations on the held-out documents", unit="steps", within="[1, inf)")
    weights: tuple[float, ...] = setting("values of λ that reverse validation chooses among", within="[0, inf)")
    shown_weight: float = setting("λ at which the proxy A-distance is taken, one of them", within="[0, inf)")
    costs: tuple[float, ...] = setting("rising values of C of the support vector machines", within="(0, inf)")

    def __post_init__(self) -> None:
        """Known domains; a shown weight that is trained; a path of costs that rises."""
        known = [
            name.removesuffix("_train") for name in find_data_set(self.dataset).array_shapes if name.endswith("_train")
        ]
        for pair in self.pairs:
            for domain in pair.split("_to_"):
                if domain not in known or pair.count("_to_") != 1:
                    raise unknown_name("domain in settings.pairs:", domain, known)
        if self.shown_weight not in self.weights:
            raise BadInput(f"settings.shown_weight={self.shown_weight} is none of weights={list(self.weights)}")
        if list(self.costs) != sorted(set(self.costs)):
            raise BadInput(f"settings.costs={list(self.costs)} must rise")


@dataclass(frozen=True)
class LayerSettings:
    """One update of a small network, computed in two ways."""

    inputs: int = setting("inputs", within="[1, inf)")
    width: int = setting("hidden units", within="[1, inf)")
    examples: int = setting("examples of each domain", within="[1, inf)")
    weights: tuple[float, ...] = setting("values of λ", within="[0, inf)")


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
    "reversal": Study(settings=LayerSettings, trial=layer_trial),
    "moons": Study(settings=MoonSettings, trial=moon_trial),
    "digits": Study(settings=ImageSettings, trial=image_trial),
    "mnist_m": Study(settings=BlendedSettings, trial=image_trial),
    "reviews": Study(settings=ReviewSettings, trial=review_trial),
    "house_numbers": Study(settings=ImageSettings, trial=image_trial),
}
