"""The network beside SVI and NUTS on a Bayesian neural network of two linear layers (figure 5)."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from core.amortised import calls, heads
from core.amortised.fitting import Fitting, make_spec
from core.amortised.priors import sample_linear_classifiers
from core.bayes import chains, two_layer_classifier, variational
from core.bayes.two_layer_classifier import TwoLayerClassifier
from core.lab.keys import key_for
from experiments.pfn import rivals
from experiments.pfn.rivals import Target

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.pfn.settings import BNNSettings

Tree = Any


def bnn_prior(layers: TwoLayerClassifier, key: jax.Array, shape: tuple[int, int, int]) -> Any:
    """Labels of a random two-layer linear classifier."""
    return sample_linear_classifiers(key, shape, layers)


def bnn_target(layers: TwoLayerClassifier, n: int, x: jax.Array, y: jax.Array) -> Target:
    """The posterior of the weights after n points."""
    labels = y.astype(jnp.int32)

    def log_joint(weights: Tree) -> jax.Array:
        return two_layer_classifier.log_joint(weights, x[:n], labels[:n])

    def log_densities(draws: Tree) -> jax.Array:
        return two_layer_classifier.log_likelihoods_per_draw(draws, x[n:], labels[n:])

    return Target(log_joint, layers.sample_weights, log_densities)


def by_field(
    target: Callable, steps: int, rate: float, draws: int, x: jax.Array, y: jax.Array, key: jax.Array
) -> jax.Array:
    """Of one data set, the mean-field posterior (SVI) after so many steps: (N - n,)."""
    at = target(x, y)
    fields = variational.fit_mean_field(at.log_joint, at.start(key_for(key, "start")), key, (steps,), rate)
    weights = variational.sample_mean_field(jax.tree.map(lambda leaf: leaf[0], fields), key_for(key, "draws"), draws)
    return chains.log_mean_exp(at.log_densities(weights))


def methods_of(settings: "BNNSettings", target: Callable) -> dict[str, Callable]:
    """SVI and NUTS, called `arm.budget`, for one data set each."""
    fields = {
        f"svi.{steps}": partial(by_field, target, steps, settings.svi_rate, settings.svi_draws)
        for steps in settings.svi_steps
    }
    return fields | {f"nuts.{draws}": partial(rivals.by_nuts, target, draws) for draws in settings.rivals.nuts_draws}


def bnn_trial(settings: "BNNSettings", keys: jax.Array, lab: "Lab") -> None:
    """Losses and seconds of SVI and NUTS at several budgets, and how long they take to the network's loss."""
    layers, sets = TwoLayerClassifier(settings.data.features, settings.prior_hidden), settings.sets
    spec = make_spec(settings, partial(bnn_prior, layers), 1, heads.bernoulli_log_density)
    fitting, n = Fitting(lab, keys, spec, settings), settings.data.largest
    borders = fitting.borders()
    trained, target = (fitting.fit("pfn", borders), borders), partial(bnn_target, layers, n)
    data = calls.draw_data_sets(lab, keys, spec, sets, n)
    found = {"pfn": rivals.measure_losses(lab, calls.network_calls(spec, trained, data, sets, sets), sets, arm="pfn")}
    methods = methods_of(settings, target)
    for name, one in methods.items():
        conditions = rivals.conditions_of(name)
        found[name] = rivals.measure_losses(lab, calls.alone(one, data, sets), sets, **conditions)
    rivals.measure_long(lab, settings.rivals, target, data)
    timed = settings.rivals.timed_sets
    timed_calls = calls.network_styles(rivals.NETWORK, spec, trained, data, timed) | calls.both_styles(
        methods, data, timed
    )
    length, rounds = settings.training.iterations, settings.rivals.rounds
    taken = rivals.measure_seconds(lab, timed_calls, settings.rivals, spec, (keys, borders), length)
    timed_arms = [f"{style}:{arm}" for style in calls.STYLES for arm in ("again", "svi", "nuts")]
    like = dict.fromkeys(timed_arms, jax.ShapeDtypeStruct((rounds,), jnp.float32))
    for margin in (0.0, settings.margin):
        ratios = lab.stage(f"time_ratio/{margin}", partial(time_ratios, found, taken, margin), like=like)
        for name in timed_arms:
            conditions = rivals.conditions_of(name)
            lab.measure({"time_ratio": ratios[name]}, along={"round": range(rounds)}, margin=margin, **conditions)


def first_as_good(found: Mapping[str, Any], arm: str, bound: float) -> str | None:
    """Of the budgets of a method, called `arm.budget`, the smallest whose mean loss is at most the bound."""
    budgets = sorted((int(name.partition(".")[2]), name) for name in found if name.startswith(f"{arm}."))
    return next((name for _, name in budgets if float(np.mean(found[name])) <= bound), None)


def time_ratios(found: Mapping[str, Any], taken: Mapping[str, Any], margin: float) -> Tree:
    """Seconds of every method until its mean loss is within `margin` of the network's, by the network's.

    Formed round by round, infinite where no budget is as good. The network alone is held against methods alone; in a
    batch, against what is faster on this machine, all data sets at once or one after another.
    """
    bound = float(np.mean(found["pfn"])) + margin
    ratios = {f"{style}:again": taken[f"{style}:again"] / taken[f"{style}:pfn"] for style in calls.STYLES}
    for arm in ("svi", "nuts"):
        name = first_as_good(found, arm, bound)
        alone = batch = np.full_like(taken["batch:pfn"], math.inf)
        if name is not None:
            alone, batch = taken[f"alone:{name}"], taken[f"batch:{name}"]
        ratios[f"alone:{arm}"] = alone / taken["alone:pfn"]
        ratios[f"batch:{arm}"] = np.minimum(alone, batch) / taken["batch:pfn"]
    return ratios
