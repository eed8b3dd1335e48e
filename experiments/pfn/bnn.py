"""The network beside SVI and NUTS on a Bayesian neural network of two linear layers (section 6, figure 5)."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from core.amortised import heads
from core.amortised.priors import sample_linear_classifiers
from core.amortised.training import TrainingSpec
from core.bayes import chains, two_layer_classifier, variational
from core.bayes.two_layer_classifier import TwoLayerClassifier
from core.lab.keys import key_for, named_keys
from experiments.pfn import rivals
from experiments.pfn.networks import Training, recipe_of
from experiments.pfn.rivals import Target

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.pfn.settings import BNNPreparedSettings, BNNSettings

Tree = Any


def bnn_prior(layers: TwoLayerClassifier, key: jax.Array, shape: tuple[int, int, int]) -> Any:
    """Labels of a random two-layer linear classifier."""
    return sample_linear_classifiers(key, shape, layers)


def bnn_recipe(settings: "BNNPreparedSettings") -> tuple[TrainingSpec, TwoLayerClassifier]:
    """The network that is trained, and the one whose posterior it learns."""
    layers = TwoLayerClassifier(settings.features, settings.prior_hidden)
    prior = partial(bnn_prior, layers)
    return recipe_of(settings, prior, 1, heads.bernoulli_log_density, fixed=settings.context), layers


def bnn_prepare(settings: "BNNPreparedSettings", keys: jax.Array, lab: "Lab") -> Tree:
    """Train the network once; its head has no use for borders."""
    recipe, _ = bnn_recipe(settings)
    none = jnp.zeros((*keys.shape, 1))
    [params] = Training(lab, keys, settings, none).run("pfn", recipe, {}, (settings.steps,))
    return {"params": params, "borders": none}


def bnn_target(layers: TwoLayerClassifier, n: int, x: jax.Array, y: jax.Array) -> Target:
    """The posterior of the weights after n points."""
    labels = y.astype(jnp.int32)

    def log_joint(weights: Tree) -> jax.Array:
        return two_layer_classifier.log_joint(weights, x[:n], labels[:n])

    def log_densities(draws: Tree) -> jax.Array:
        return two_layer_classifier.log_likelihoods_per_draw(draws, x[n:], labels[n:])

    return Target(log_joint, layers.sample_weights, log_densities)


def by_field(
    target: Callable, steps: tuple[int, ...], rate: float, draws: int, x: jax.Array, y: jax.Array, key: jax.Array
) -> jax.Array:
    """Of one data set, the mean-field posterior (SVI) after several numbers of steps: (steps, N - n)."""
    at = target(x, y)
    fields = variational.fit_mean_field(at.log_joint, at.start(key_for(key, "start")), key, steps, rate)
    drawn = jax.vmap(lambda field: variational.sample_mean_field(field, key_for(key, "draws"), draws))(fields)
    return jax.vmap(lambda weights: chains.log_mean_exp(at.log_densities(weights)))(drawn)


def methods_of(settings: "BNNSettings", target: Callable) -> dict[str, dict[int, Callable]]:
    """SVI and NUTS by their budgets, for one data set each."""
    field = partial(by_field, target)
    return {
        "svi": {k: partial(field, (k,), settings.svi_rate, settings.svi_draws) for k in settings.svi_steps},
        "nuts": {k: partial(rivals.by_nuts, target, k) for k in settings.nuts_draws},
    }


def bnn_trial(settings: "BNNSettings", keys: jax.Array, lab: "Lab") -> None:
    """Losses and seconds of SVI and NUTS at several budgets, and how long they take to the network's loss."""
    recipe, layers = bnn_recipe(settings.prepared)
    n, sets = settings.prepared.context, settings.sets
    target = partial(bnn_target, layers, n)
    x, y = lab.map(partial(rivals.drawn_sets, recipe, sets), named_keys(lab, keys, "held out"))
    arrays = (x, y, lab.map(partial(rivals.split, sets), named_keys(lab, keys, "chains")))
    methods, found = methods_of(settings, target), {}
    for arm, function in (("pfn", rivals.by_network), ("blind", rivals.without_context)):
        way = rivals.network_way(partial(function, recipe, n), lab.prepared, x, y, sets, sets)
        found[arm] = {0: rivals.measure_losses(lab, way, sets, arm=arm)}
    for arm, budgets in methods.items():
        ways = {budget: rivals.alone_way(one, arrays, sets) for budget, one in budgets.items()}
        found[arm] = {k: rivals.measure_losses(lab, way, sets, arm=arm, budget=k) for k, way in ways.items()}
    rivals.measure_long(settings, target, arrays, lab)
    measure_seconds(settings, recipe, methods, found, arrays, keys, lab)


def measure_seconds(
    settings: "BNNSettings", recipe: TrainingSpec, methods: dict, found: dict, arrays: tuple, keys: Any, lab: "Lab"
) -> None:
    """Seconds of all methods in both styles, and how many times as long they take to the network's loss."""
    n, sets, (x, y, _) = settings.prepared.context, settings.timed_sets, arrays
    ways = rivals.network_ways(recipe, n, lab.prepared, x, y, sets)
    for arm, budgets in methods.items():
        for budget, one in budgets.items():
            ways |= rivals.rival_ways(arm, budget, one, arrays, sets)
    last = settings.svi_steps[-1]
    rivals.measure_batching(lab, ways, {"pfn": ("pfn", "pfn_alone"), "svi": (f"svi.{last}", f"svi_batched.{last}")})
    taken = rivals.measure_times(lab, ways, settings, recipe, keys)
    arms = ["again", "alone_again", *(f"{arm}{style}" for arm in methods for style in ("", "_batched"))]
    shapes = dict.fromkeys(arms, jax.ShapeDtypeStruct((settings.rounds,), jnp.float32))
    for margin in (0.0, settings.margin):
        ratios = lab.stage(f"time_ratio/{margin}", partial(time_ratios, methods, found, taken, margin), like=shapes)
        for arm in arms:
            lab.measure({"time_ratio": ratios[arm]}, along={"round": range(settings.rounds)}, arm=arm, margin=margin)


def first_as_good(losses: Mapping[int, Any], bound: float) -> int | None:
    """The smallest budget whose mean loss is at most the bound."""
    return next((budget for budget in sorted(losses) if float(np.mean(losses[budget])) <= bound), None)


def time_ratios(methods: Mapping[str, Any], found: Tree, taken: Tree, margin: float) -> Tree:
    """Seconds of every method until its mean loss is within `margin` of the network's, by the network's.

    Formed round by round, infinite where no budget is as good. The network alone is held against methods alone; in a
    batch, against what is faster on this machine, all data sets at once or one after another.
    """
    bound = float(np.mean(found["pfn"][0])) + margin
    ratios = {"again": taken["again"] / taken["pfn"], "alone_again": taken["alone_again"] / taken["pfn_alone"]}
    for arm in methods:
        budget = first_as_good(found[arm], bound)
        alone = batched = np.full_like(taken["pfn"], math.inf)
        if budget is not None:
            alone, batched = taken[f"{arm}.{budget}"], taken[f"{arm}_batched.{budget}"]
        ratios[arm] = alone / taken["pfn_alone"]
        ratios[f"{arm}_batched"] = np.minimum(alone, batched) / taken["pfn"]
    return ratios
