"""Gaussian processes with unknown hyper-parameters: the network beside MAP and NUTS, and one for everybody's use."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from core.amortised import bar_distribution, calls
from core.amortised.encoder import flatten_params
from core.amortised.fitting import Fitting, make_spec
from core.amortised.priors import sample_hierarchical_gaussian_process
from core.amortised.training import TrainingSpec, standardise_targets
from core.bayes import gaussian_process, hyperparameters
from core.bayes.gaussian_process import matern52
from core.bayes.hyperparameters import GammaPrior, HyperparameterPrior
from core.lab.keys import named_keys
from experiments.pfn import rivals
from experiments.pfn.rivals import Target

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.pfn.settings import EstimatorSettings, HyperSettings, LawSettings

Tree = Any


def hyper_prior(settings: "LawSettings") -> HyperparameterPrior:
    """ℓ, s² and σ² - floor by Gamma laws (shape, rate)."""
    laws = (settings.lengthscale, settings.outputscale, settings.noise)
    lengthscale, outputscale, noise = (GammaPrior(*law) for law in laws)
    return HyperparameterPrior(lengthscale, outputscale, noise, settings.floor)


def matern_process(prior: HyperparameterPrior, key: jax.Array, shape: tuple[int, int, int]) -> Any:
    """y from a Matérn-5/2 process whose hyper-parameters are drawn anew for every data set."""
    return sample_hierarchical_gaussian_process(key, shape, matern52, prior)


# --- C3: beside MAP and NUTS ----------------------------------------------------------------------------------------


def by_map(
    prior: HyperparameterPrior, steps: int, starts: int, n: int, x: jax.Array, y: jax.Array, key: jax.Array
) -> jax.Array:
    """Of one data set, with the hyper-parameters θ that maximise p(y | x, θ) p(θ), which the paper calls MLE-II."""
    hyper = hyperparameters.fit_hyperparameters(
        matern52, prior, x[:n], y[:n], key, steps, starts, use_prior=True
    ).hyperparameters
    return gaussian_process.normal_log_density(gaussian_process.predict(matern52, hyper, x[:n], y[:n], x[n:]), y[n:])


def hyper_target(prior: HyperparameterPrior, n: int, x: jax.Array, y: jax.Array) -> Target:
    """The posterior of the logarithms of hyper-parameters after n points."""

    def log_joint(logs: Tree) -> jax.Array:
        return hyperparameters.log_joint(logs, prior, matern52, x[:n], y[:n])

    def log_densities(positions: Tree) -> jax.Array:
        return hyperparameters.log_density_per_draw(matern52, prior, positions, x[:n], y[:n], x[n:], y[n:])

    return Target(log_joint, prior.sample, log_densities)


def methods_of(settings: "HyperSettings", n: int) -> dict[str, Callable]:
    """What the network is compared with, for one data set each."""
    prior = hyper_prior(settings)
    target = partial(hyper_target, prior, n)
    chains = {f"nuts_{draws}": partial(rivals.by_nuts, target, draws) for draws in settings.rivals.nuts_draws}
    return {"map": partial(by_map, prior, settings.map_steps, settings.map_starts, n), **chains}


def hyper_trial(settings: "HyperSettings", keys: jax.Array, lab: "Lab") -> None:
    """The network, MAP, short chains and long ones, on the same data sets after several numbers of points."""
    prior, sets, timed = hyper_prior(settings), settings.sets, settings.rivals.timed_sets
    spec = make_spec(settings, partial(matern_process, prior), settings.bars)
    fitting = Fitting(lab, keys, spec, settings, settings.border_sets)
    borders = fitting.borders()
    trained = (fitting.fit("pfn", borders), borders)
    data = calls.draw_data_sets(lab, keys, spec, sets, max(settings.contexts))
    for n in settings.contexts:
        here = data._replace(n=n)
        rivals.measure_losses(lab, calls.network_calls(spec, trained, here, sets, sets), sets, arm="pfn", context=n)
        for arm, one in methods_of(settings, n).items():
            rivals.measure_losses(lab, calls.alone(one, here, sets), sets, arm=arm, context=n)
        rivals.measure_long(lab, settings.rivals, partial(hyper_target, prior, n), here, context=n)
    timed_calls = calls.network_styles(rivals.NETWORK, spec, trained, data, timed)
    timed_calls |= calls.both_styles(methods_of(settings, data.n), data, timed)
    rivals.measure_seconds(lab, timed_calls, settings.rivals, spec, (keys, borders), settings.training.iterations)


# --- a network for use ----------------------------------------------------------------------------------------------


def narrow_process(prior: HyperparameterPrior, key: jax.Array, shape: tuple[int, int, int]) -> Any:
    """The same with 1 to F features in use, the others 0."""
    own, data = jax.random.split(key)
    used = jax.random.randint(own, shape[:1], 1, shape[2] + 1)
    return sample_hierarchical_gaussian_process(data, shape, matern52, prior, used)


def estimator_spec(settings: "EstimatorSettings") -> TrainingSpec:
    """A network that sees targets in units of their context, as `core.amortised.estimators` gives them to it."""
    return make_spec(
        settings,
        partial(narrow_process, hyper_prior(settings)),
        settings.bars,
        smallest_context_size=settings.smallest,
        standardise=True,
    )


def estimator_trial(settings: "EstimatorSettings", keys: jax.Array, lab: "Lab") -> None:
    """Train it, measure on held-out draws how often its intervals hold the target, and keep it."""
    spec = estimator_spec(settings)
    fitting = Fitting(lab, keys, spec, settings, settings.border_sets)
    borders = fitting.borders()
    params = fitting.fit("pfn", borders)
    found = lab.map(partial(coverage, settings, spec), params, borders, named_keys(lab, keys, "held out"))
    lab.measure(found, along={"context": settings.contexts, "level": settings.levels}, arm="pfn")
    lab.keep("weights", lab.map(flatten_params, params))
    lab.keep("borders", borders)


def coverage(
    settings: "EstimatorSettings", spec: TrainingSpec, params: Tree, borders: jax.Array, key: jax.Array
) -> dict[str, jax.Array]:
    """Share of queries within central intervals, (contexts, levels), of held-out data sets."""
    x, y = spec.prior(key, (settings.sets, spec.points, spec.network.features))
    found = []
    for n in settings.contexts:
        z = standardise_targets(y, n)
        place = bar_distribution.cdf(borders, jnp.asarray(spec.network.apply({"params": params}, x, z, n)), z[:, n:])
        # the central interval of a level holds what lies at quantiles (1 - level)/2 to (1 + level)/2
        found.append(jnp.stack([jnp.mean(jnp.abs(place - 0.5) < level / 2) for level in settings.levels]))
    return {"coverage": jnp.stack(found)}
