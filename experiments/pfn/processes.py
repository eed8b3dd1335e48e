"""The studies on Gaussian processes: how near a network comes to the exact posterior, and what its head is worth."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from core.amortised import bar_distribution, heads
from core.amortised.fitting import Fitting, make_spec
from core.amortised.priors import sample_gaussian_process
from core.amortised.training import TrainingSpec
from core.bayes.gaussian_process import Hyperparameters, normal_log_density, predict, rbf
from core.lab.keys import named_keys

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.pfn.settings import GPSettings, ProcessSettings

Tree = Any
GRID = 101  # inputs at which a posterior is drawn
LEVELS = (0.025, 0.975)


def rbf_process(key: jax.Array, shape: tuple[int, int, int], lengthscale: jax.Array, noise: jax.Array) -> Any:
    """f ~ GP(0, exp(-‖x - x'‖²/2ℓ²)), y = f(x) + ε, ε ~ N(0, σ²)."""
    return sample_gaussian_process(key, shape, rbf, Hyperparameters(lengthscale, jnp.float32(1), noise))


def arguments_of(settings: "ProcessSettings", lengthscale: float | None = None) -> dict[str, jax.Array]:
    """Arguments of the prior."""
    return {
        "lengthscale": jnp.float32(settings.lengthscale if lengthscale is None else lengthscale),
        "noise": jnp.float32(settings.noise),
    }


def held_out(lab: "Lab", keys: jax.Array, settings: "ProcessSettings") -> Tree:
    """Data sets that no network is trained on, x (replicates, S, N, F) and y (replicates, S, N)."""
    shape = (settings.sets, settings.data.points, settings.data.features)
    drawn = named_keys(lab, keys, "held out")
    return lab.map(partial(draw_data_sets, shape), drawn, shared=(arguments_of(settings),))


def draw_data_sets(shape: tuple[int, int, int], key: jax.Array, prior: Tree) -> dict[str, jax.Array]:
    """Those of one replicate."""
    return rbf_process(key, shape, **prior)._asdict()


def exact_process(prior: Tree) -> Hyperparameters:
    """Hyper-parameters of the process with these arguments."""
    return Hyperparameters(prior["lengthscale"], jnp.float32(1), prior["noise"])


# --- C1 and C2: the exact posterior ---------------------------------------------------------------------------------


def gp_trial(settings: "GPSettings", keys: jax.Array, lab: "Lab") -> None:
    """One network at several lengths of training, its repetition, and two that lack something, trained as long."""
    prior, longest = arguments_of(settings), settings.training.iterations
    spec, coarse = (make_spec(settings, rbf_process, bars) for bars in (settings.bars, settings.coarse_bars))
    fine = Fitting(lab, keys, spec, settings, settings.border_sets, prior)
    borders = fine.borders()
    networks = fine.fit_lengths("pfn", borders, (*settings.lengths, longest))
    elsewhere = Fitting(lab, named_keys(lab, keys, "repeat"), spec, settings, settings.border_sets, prior)
    repeated = elsewhere.fit("repeat", borders, settings.lengths[0])
    other = Fitting(lab, keys, spec, settings, 0, arguments_of(settings, settings.wrong_lengthscale))
    few = Fitting(lab, keys, coarse, settings, settings.border_sets, prior)
    edges = few.borders()
    data = held_out(lab, keys, settings)

    def beside(which: TrainingSpec, params: Tree, edges: Tree) -> Tree:
        return lab.map(partial(compare_with_exact, settings.contexts, which), params, edges, data, shared=(prior,))

    found = {length: beside(spec, params, borders) for length, params in networks.items()}
    first, last = 1, longest // settings.lengths[0]
    for length, each in found.items():
        measure_means(lab, settings, each, arm="pfn", times=length / settings.lengths[0])
    measure_means(lab, settings, found[settings.lengths[0]], arm="repeat", times=first)
    measure_means(lab, settings, beside(spec, repeated, borders), arm="repeat", times=last)
    compared = {
        "pfn": found[longest],
        "wrong_prior": beside(spec, other.fit("wrong_prior", borders), borders),
        "coarse": beside(coarse, few.fit("coarse", edges), edges),
    }
    along = {"dataset": range(settings.sets), "context": settings.contexts}
    for arm, each in compared.items():
        lab.measure(each, along=along, arm=arm)
    drawn = lab.map(partial(draw_posteriors, settings.shown, spec), networks[longest], borders, data, shared=(prior,))
    for name, array in drawn.items():
        lab.keep(name, array)


def compare_with_exact(
    contexts: tuple[int, ...], spec: TrainingSpec, params: Tree, borders: jax.Array, data: Tree, prior: Tree
) -> dict[str, jax.Array]:
    """A network beside the exact posterior on the same data sets.

    Returns:
      `gap`, the mean over queries of log p(y | x, D) - log q(y | x, D) in nats, and `off`, the mean distance of the two
      means in standard deviations of the exact one: (S, contexts) each, to 1e-4, since there are many rows.
    """
    x, y, hyper = data["x"], data["y"], exact_process(prior)

    def after(n: jax.Array) -> tuple[jax.Array, jax.Array]:
        asked = jnp.arange(spec.points) >= n
        right = jax.vmap(lambda a, b: predict(rbf, hyper, a, b, a, ~asked))(x, y)
        outputs = network_outputs(spec, params, x, y, n)
        gap = jax.vmap(normal_log_density)(right, y) - spec.head(borders, outputs, y)
        off = jnp.abs(bar_distribution.mean(borders, outputs) - right.mean) / jnp.sqrt(right.variance)
        return mean_over(asked, gap), mean_over(asked, off)

    gap, off = jax.lax.map(after, jnp.array(contexts))
    return {"gap": jnp.round(gap.T, 4), "off": jnp.round(off.T, 4)}


def network_outputs(spec: TrainingSpec, params: Tree, x: jax.Array, y: jax.Array, n: jax.Array) -> jax.Array:
    """Outputs at all points after n of them, (S, N, outputs); those at the context mean nothing."""
    largest = spec.points - 1
    return jnp.asarray(spec.network.apply({"params": params}, x, y, n, max_context_size=largest, first_query=0))


def mean_over(asked: jax.Array, values: jax.Array) -> jax.Array:
    """The mean over the points that are asked, (S,) of (S, N)."""
    return jnp.sum(jnp.where(asked[None], values, 0), 1) / jnp.sum(asked)


def measure_means(lab: "Lab", settings: "GPSettings", found: Tree, **conditions: Any) -> None:
    """The gap of every data set over all context sizes."""
    values = lab.map(partial(jnp.mean, axis=1), found["gap"])
    lab.measure({"mean_gap": values}, along={"dataset": range(settings.sets)}, **conditions)


def draw_posteriors(
    sizes: tuple[int, ...], spec: TrainingSpec, params: Tree, borders: jax.Array, data: Tree, prior: Tree
) -> dict[str, jax.Array]:
    """For the figure: mean and 95 % band of the first data set after several numbers of points, both ways.

    Returns:
      `posteriors` (sizes, 2, 3, GRID), the network first, `points` (2, N) and the `shown` sizes.
    """
    hyper, grid = exact_process(prior), jnp.tile(jnp.linspace(0, 1, GRID)[:, None], (1, spec.network.features))
    x, y, size = data["x"][0], data["y"][0], spec.points
    every, targets = jnp.concatenate([x, grid])[None], jnp.pad(y, (0, GRID))[None]

    def after(n: jax.Array) -> jax.Array:
        logits = spec.network.apply({"params": params}, every, targets, n, max_context_size=size - 1, first_query=size)[
            0
        ]
        right = predict(rbf, hyper, x, y, grid, jnp.arange(size) < n)
        reach = 1.959964 * jnp.sqrt(right.variance)
        sides = [bar_distribution.quantile(borders, logits, level) for level in LEVELS]
        network = jnp.stack([bar_distribution.mean(borders, logits), *sides])
        return jnp.stack([network, jnp.stack([right.mean, right.mean - reach, right.mean + reach])])

    shown = jnp.array(sizes)
    return {"posteriors": jax.lax.map(after, shown), "points": jnp.stack([x[:, 0], y]), "shown": shown}


# --- C6: the head ---------------------------------------------------------------------------------------------------


def head_trial(settings: "ProcessSettings", keys: jax.Array, lab: "Lab") -> None:
    """The same encoder with many bars, with few, with a Gaussian head, and told the places of points."""
    prior = arguments_of(settings)
    data = held_out(lab, keys, settings)
    kinds: dict[str, tuple[int, Callable, bool]] = {
        "bars": (settings.bars, heads.bar_log_density, False),
        "coarse": (settings.coarse_bars, heads.bar_log_density, False),
        "gaussian": (2, heads.gaussian_log_density, False),
        "positions": (settings.bars, heads.bar_log_density, True),
    }
    for arm, (outputs, head, positions) in kinds.items():
        spec = make_spec(settings, rbf_process, outputs, head, positions=positions)
        fitting = Fitting(lab, keys, spec, settings, 0 if arm == "gaussian" else settings.border_sets, prior)
        borders = fitting.borders()
        measured = partial(mean_loss, settings.contexts, spec)
        lab.measure({"nll": lab.map(measured, fitting.fit(arm, borders), borders, data)}, arm=arm)


def mean_loss(contexts: tuple[int, ...], spec: TrainingSpec, params: Tree, borders: jax.Array, data: Tree) -> Any:
    """Mean negative log density of queries of held-out data sets over the context sizes, nats."""
    x, y = data["x"], data["y"]

    def after(n: jax.Array) -> jax.Array:
        found = spec.head(borders, network_outputs(spec, params, x, y, n), y)
        return -jnp.mean(mean_over(jnp.arange(spec.points) >= n, found))

    return jnp.mean(jax.lax.map(after, jnp.array(contexts)))
