"""The network beside MLE-II and NUTS where a Gaussian process has unknown hyper-parameters (section 5, figure 4b)."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax

from core.amortised.training import TrainingSpec
from core.bayes import gaussian_process, hyperparameters
from core.bayes.gaussian_process import matern52
from core.lab.keys import named_keys
from experiments.pfn import rivals
from experiments.pfn.networks import Training, borders_of, recipe_of
from experiments.pfn.processes import hyper_prior, matern_process
from experiments.pfn.rivals import Target

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.pfn.settings import HyperSettings, LawSettings

Tree = Any


def hyper_recipe(settings: "LawSettings") -> TrainingSpec:
    """The network that is trained."""
    return recipe_of(settings, partial(matern_process, hyper_prior(settings)), settings.bars, sizes=settings.sizes)


def hyper_prepare(settings: "LawSettings", keys: jax.Array, lab: "Lab") -> Tree:
    """Train the network once."""
    recipe = hyper_recipe(settings)
    drawn = named_keys(lab, keys, "borders")
    borders = lab.map(partial(borders_of, recipe, settings.border_sets), drawn, shared=({},))
    [params] = Training(lab, keys, settings, borders).run("pfn", recipe, {}, (settings.steps,))
    return {"params": params, "borders": borders}


def by_evidence(
    prior: hyperparameters.HyperparameterPrior,
    steps: int,
    starts: int,
    n: int,
    x: jax.Array,
    y: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Of one data set, with the hyper-parameters that maximise the evidence (MLE-II): (N - n,)."""
    hyper = hyperparameters.fit_hyperparameters(matern52, prior, x[:n], y[:n], key, steps, starts).hyperparameters
    return gaussian_process.normal_log_density(gaussian_process.predict(matern52, hyper, x[:n], y[:n], x[n:]), y[n:])


def hyper_target(prior: hyperparameters.HyperparameterPrior, n: int, x: jax.Array, y: jax.Array) -> Target:
    """The posterior of the logarithms of hyper-parameters after n points."""

    def log_joint(logs: Tree) -> jax.Array:
        return hyperparameters.log_joint(logs, prior, matern52, x[:n], y[:n])

    def log_densities(positions: Tree) -> jax.Array:
        return hyperparameters.log_density_per_draw(matern52, prior, positions, x[:n], y[:n], x[n:], y[n:])

    return Target(log_joint, prior.sample, log_densities)


def methods_of(settings: "HyperSettings", n: int) -> dict[str, Callable]:
    """What the network is compared with, for one data set each."""
    prior = hyper_prior(settings.prepared)
    target = partial(hyper_target, prior, n)
    found: dict[str, Callable] = {"mle": partial(by_evidence, prior, settings.mle_steps, settings.mle_starts, n)}
    return found | {f"nuts_{draws}": partial(rivals.by_nuts, target, draws) for draws in settings.nuts_draws}


def hyper_trial(settings: "HyperSettings", keys: jax.Array, lab: "Lab") -> None:
    """The network, MLE-II, short chains and long ones, on the same data sets after several numbers of points."""
    recipe = hyper_recipe(settings.prepared)
    x, y = lab.map(partial(rivals.drawn_sets, recipe, settings.sets), named_keys(lab, keys, "held out"))
    own = lab.map(partial(rivals.split, settings.sets), named_keys(lab, keys, "chains"))
    for n in settings.contexts:
        measure_losses(settings, recipe, n, (x, y, own), lab)
    measure_seconds(settings, recipe, (x, y, own), keys, lab)


def measure_losses(settings: "HyperSettings", recipe: TrainingSpec, n: int, arrays: tuple, lab: "Lab") -> None:
    """Losses of all methods after n points; of long chains, on the first data sets."""
    x, y, _ = arrays
    for arm, function in (("pfn", rivals.by_network), ("blind", rivals.without_context)):
        way = rivals.network_way(partial(function, recipe, n), lab.prepared, x, y, settings.sets, settings.sets)
        rivals.measure_losses(lab, way, settings.sets, arm=arm, context=n)
    for arm, one in methods_of(settings, n).items():
        rivals.measure_losses(lab, rivals.alone_way(one, arrays, settings.sets), settings.sets, arm=arm, context=n)
    target = partial(hyper_target, hyper_prior(settings.prepared), n)
    rivals.measure_long(settings, target, arrays, lab, context=n)


def measure_seconds(settings: "HyperSettings", recipe: TrainingSpec, arrays: tuple, keys: Any, lab: "Lab") -> None:
    """Seconds per data set at the largest context, those of the whole training, and after how many sets it has paid."""
    n, sets, (x, y, _) = max(settings.contexts), settings.timed_sets, arrays
    ways = rivals.network_ways(recipe, n, lab.prepared, x, y, sets)
    for name, one in methods_of(settings, n).items():
        ways |= rivals.rival_ways(name, "", one, arrays, sets)
    rivals.measure_batching(lab, ways, {"pfn": ("pfn", "pfn_alone"), "mle": ("mle", "mle_batched")})
    rivals.measure_times(lab, ways, settings, recipe, keys)
