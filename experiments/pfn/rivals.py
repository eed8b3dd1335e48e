"""The studies that count seconds: a trained network beside methods that infer anew for every data set.

One network is trained beforehand, as prepared work. Every method then answers the same held-out data sets; seconds are
those of one data set, on one core, without compilation.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from core.amortised import heads
from core.amortised.priors import linear_network
from core.amortised.training import Recipe, begin, schedule, step
from core.bayes import chains, evidence, gaussian_process, network, variational
from core.bayes.gaussian_process import matern52
from core.bayes.network import TwoLayers
from core.keys import key_for, named_keys
from experiments.pfn.networks import Training, borders_of, recipe_of
from experiments.pfn.processes import hyper_prior, matern_process

if TYPE_CHECKING:
    from core.lab import Lab
    from experiments.pfn import BNNPreparedSettings, BNNSettings, HyperSettings, LawSettings

Tree = Any


def clocked(lab: "Lab", call: Callable[[], Any], rounds: int) -> np.ndarray:
    """Seconds of one call in every round; whatever it returns, all rounds count as equal work."""

    def run() -> np.ndarray:
        jax.block_until_ready(call())
        return np.zeros(())

    return np.array(lab.time({"call": run}, rounds)["call"])


def measure_seconds(lab: "Lab", seconds: np.ndarray, arm: str, **conditions: Any) -> None:
    """One row per round."""
    values = np.tile(seconds, (1, 1))
    lab.measure({"seconds": values}, along={"round": range(len(seconds))}, arm=arm, **conditions)


# --- C3: hyper-parameters -------------------------------------------------------------------------------------------


def hyper_recipe(settings: "LawSettings") -> Recipe:
    """The network that is trained."""
    return recipe_of(settings, partial(matern_process, hyper_prior(settings)), settings.bars, sizes=settings.sizes)


def hyper_prepare(settings: "LawSettings", keys: jax.Array, lab: "Lab") -> Tree:
    """Train the network once."""
    recipe = hyper_recipe(settings)
    drawn = named_keys(lab, keys, "borders")
    borders = lab.map(partial(borders_of, recipe, settings.border_sets), drawn, shared=({},))
    [params] = Training(lab, keys, settings, borders).run("pfn", recipe, {}, (settings.steps,))
    return {"params": params, "borders": borders}


def by_network(recipe: Recipe, n: int, params: Tree, borders: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Log density of all queries of all data sets in one pass: (S, N - n)."""
    return recipe.head(borders, jnp.asarray(recipe.network.apply({"params": params}, x, y, n)), y[:, n:])


def without_context(lab: "Lab", recipe: Recipe, n: int, trained: Tree, x: Any, y: Any) -> Any:
    """The same queries by the network that is shown nothing, as a control."""
    queries = partial(tail_of, n)
    function = partial(by_network, recipe, 0)
    return lab.map(function, trained["params"], trained["borders"], lab.map(queries, x), lab.map(queries, y))


def tail_of(n: int, array: jax.Array) -> jax.Array:
    """Points from the n-th on."""
    return array[:, n:]


def by_evidence(
    prior: evidence.HyperPrior, steps: int, starts: int, n: int, x: jax.Array, y: jax.Array, key: jax.Array
) -> jax.Array:
    """Of one data set, with the hyper-parameters that maximise the evidence (MLE-II): (N - n,)."""
    hyper = evidence.fit(matern52, prior, x[:n], y[:n], key, steps, starts).hyper
    return gaussian_process.log_density(gaussian_process.predictive(matern52, hyper, x[:n], y[:n], x[n:]), y[n:])


def by_nuts(
    prior: evidence.HyperPrior, warmup: int, draws: int, n: int, x: jax.Array, y: jax.Array, key: jax.Array
) -> jax.Array:
    """Of one data set, the mixture over a chain of NUTS: (N - n,)."""

    def log_density(logs: Tree) -> jax.Array:
        return evidence.log_joint(logs, prior, matern52, x[:n], y[:n])

    start = prior.sample(key_for(key, "start"))
    positions = chains.nuts(log_density, start, key, warmup, draws).positions
    return chains.mixture(evidence.log_density_at(matern52, prior, positions, x[:n], y[:n], x[n:], y[n:]))


def many(one: Callable, x: jax.Array, y: jax.Array, keys: jax.Array) -> jax.Array:
    """One data set after another, in one program."""
    return jax.lax.map(lambda each: one(*each), (x, y, keys))


def together(one: Callable, x: jax.Array, y: jax.Array, keys: jax.Array) -> jax.Array:
    """All data sets at once."""
    return jax.vmap(one)(x, y, keys)


def losses(values: jax.Array) -> jax.Array:
    """Negative log density of every data set, mean over its queries; what is not finite counts as 20 nats."""
    return jnp.mean(jnp.where(jnp.isfinite(values), -values, 20.0), -1)


def hyper_trial(settings: "HyperSettings", keys: jax.Array, lab: "Lab") -> None:
    """The network, MLE-II, short chains and a long one, on the same data sets after several numbers of points."""
    recipe = hyper_recipe(settings.prepared)
    x, y = lab.map(partial(drawn_sets, recipe, settings.sets), named_keys(lab, keys, "held out"))
    own = lab.map(partial(split, settings.sets), named_keys(lab, keys, "chains"))
    for n in settings.contexts:
        for arm, (sets, call) in hyper_answers(settings, recipe, n, x, y, own, lab).items():
            found = lab.stage(f"{arm}/{n}", partial(losses_of, lab, call))["nll"]
            lab.measure({"nll": found}, along={"dataset": range(sets)}, arm=arm, context=n)
    hyper_seconds(settings, recipe, x, y, own, lab)


def hyper_answers(
    settings: "HyperSettings", recipe: Recipe, n: int, x: Any, y: Any, own: Any, lab: "Lab"
) -> dict[str, tuple[int, Callable]]:
    """Of every method, how many data sets it answers and how: log densities of their queries."""
    trained, prior = lab.prepared, hyper_prior(settings.prepared)
    network = partial(lab.map, partial(by_network, recipe, n), trained["params"], trained["borders"], x, y)
    mle = partial(by_evidence, prior, settings.mle_steps, settings.mle_starts, n)
    found: dict[str, tuple[int, Callable]] = {
        "pfn": (settings.sets, network),
        "blind": (settings.sets, partial(without_context, lab, recipe, n, trained, x, y)),
        "mle": (settings.sets, partial(lab.map, partial(together, mle), x, y, own)),
    }
    chains_of = {f"nuts_{draws}": (settings.nuts_sets, draws) for draws in settings.nuts_draws}
    for arm, (sets, draws) in (chains_of | {"long": (settings.long_sets, settings.long_draws)}).items():
        chain = partial(many, partial(by_nuts, prior, draws, draws, n))
        found[arm] = (sets, partial(first_sets, lab, chain, sets, x, y, own))
    return found


def losses_of(lab: "Lab", call: Callable) -> Tree:
    """Of every data set."""
    return {"nll": lab.map(losses, call())}


def first_sets(lab: "Lab", function: Callable, sets: int, *arrays: Any) -> Any:
    """A function of the first data sets alone."""
    return lab.map(function, *(lab.map(partial(head_of, sets), array) for array in arrays))


def head_of(count: int, array: jax.Array) -> jax.Array:
    """The first rows."""
    return array[:count]


def drawn_sets(recipe: Recipe, sets: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Held-out data sets."""
    return tuple(recipe.prior(key, (sets, recipe.points, recipe.network.features)))


def split(count: int, key: jax.Array) -> jax.Array:
    """A key for every data set."""
    return jax.random.split(key, count)


def hyper_seconds(settings: "HyperSettings", recipe: Recipe, x: Any, y: Any, own: Any, lab: "Lab") -> None:
    """Seconds per data set at the largest context, those of the whole training, and after how many sets it has paid."""
    n, prior, trained = max(settings.contexts), hyper_prior(settings.prepared), lab.prepared
    answers = hyper_answers(settings, recipe, n, x, y, own, lab)
    mle = partial(many, partial(by_evidence, prior, settings.mle_steps, settings.mle_starts, n))
    ways: dict[str, tuple[int, Callable]] = {
        "pfn": answers["pfn"],
        "again": answers["pfn"],
        "pfn_alone": (1, partial(first_network, lab, partial(by_network, recipe, n), trained, x, y)),
        "mle_batched": answers["mle"],
        "mle": (settings.nuts_sets, partial(first_sets, lab, mle, settings.nuts_sets, x, y, own)),
    }
    ways |= {f"nuts_{draws}": answers[f"nuts_{draws}"] for draws in settings.nuts_draws}
    taken = {arm: clocked(lab, call, settings.rounds) / sets for arm, (sets, call) in ways.items()}
    for arm, seconds in taken.items():
        measure_seconds(lab, seconds, arm)
    ten = partial(lab.map, partial(some_steps, recipe, 10), trained["borders"], lab.map(first_key, own))
    training = float(np.median(clocked(lab, ten, settings.rounds))) / 10 * settings.prepared.steps
    saved = max(float(np.median(taken["mle"]) - np.median(taken["pfn"])), 0.0)
    pays = training / saved if saved else math.inf
    lab.measure({"training_seconds": np.array([training]), "break_even_sets": np.array([pays])}, arm="pfn")


def first_key(keys: jax.Array) -> jax.Array:
    """One of many."""
    return keys[0]


def some_steps(recipe: Recipe, count: int, borders: jax.Array, key: jax.Array) -> Tree:
    """The first steps of a training, to be timed."""
    given = {"plan": schedule(0, count, 1, 1e-3, False), "prior": {}, "sees": jnp.float32(1)}

    def one(state: Tree, i: jax.Array) -> tuple[Tree, None]:
        return step(recipe, state, jax.random.fold_in(key, i), i, borders, given), None

    return jax.lax.scan(one, begin(recipe, key), jnp.arange(count))[0]


def first_network(lab: "Lab", function: Callable, trained: Tree, x: Any, y: Any) -> Any:
    """The network on one data set."""
    one = partial(head_of, 1)
    return lab.map(function, trained["params"], trained["borders"], lab.map(one, x), lab.map(one, y))


# --- C4: a Bayesian neural network ----------------------------------------------------------------------------------


def bnn_prior(layers: TwoLayers, key: jax.Array, shape: tuple[int, int, int]) -> Any:
    """Labels of a random two-layer linear classifier."""
    return linear_network(key, shape, layers)


def bnn_recipe(settings: "BNNPreparedSettings") -> tuple[Recipe, TwoLayers]:
    """The network that is trained, and the one whose posterior it learns."""
    layers = TwoLayers(settings.features, settings.prior_hidden)
    prior = partial(bnn_prior, layers)
    return recipe_of(settings, prior, 1, heads.bernoulli, fixed=settings.context), layers


def bnn_prepare(settings: "BNNPreparedSettings", keys: jax.Array, lab: "Lab") -> Tree:
    """Train the network once."""
    recipe, _ = bnn_recipe(settings)
    none = jnp.zeros((*keys.shape, 1))
    [params] = Training(lab, keys, settings, none).run("pfn", recipe, {}, (settings.steps,))
    return {"params": params}


def by_field(
    layers: TwoLayers,
    looks: tuple[int, ...],
    rate: float,
    draws: int,
    n: int,
    x: jax.Array,
    y: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Of one data set, the mean-field posterior (SVI) after several numbers of steps: (looks, N - n)."""
    labels = y.astype(jnp.int32)

    def log_joint(weights: Tree) -> jax.Array:
        return network.log_joint(weights, x[:n], labels[:n])

    fields = variational.fit_mean_field(log_joint, layers.sample(key_for(key, "start")), key, looks, rate)
    drawn = jax.vmap(lambda field: variational.sample(field, key_for(key, "draws"), draws))(fields)
    return jax.vmap(lambda weights: chains.mixture(network.log_densities(weights, x[n:], labels[n:])))(drawn)


def by_chain(layers: TwoLayers, draws: int, n: int, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
    """Of one data set, the mixture over a chain of NUTS with as much warm-up: (1, N - n)."""
    labels = y.astype(jnp.int32)

    def log_joint(weights: Tree) -> jax.Array:
        return network.log_joint(weights, x[:n], labels[:n])

    positions = chains.nuts(log_joint, layers.sample(key_for(key, "start")), key, draws, draws).positions
    return chains.mixture(network.log_densities(positions, x[n:], labels[n:]))[None]


def bnn_trial(settings: "BNNSettings", keys: jax.Array, lab: "Lab") -> None:
    """NLL and seconds of SVI and NUTS at several budgets, and how long they take to the network's NLL."""
    recipe, layers = bnn_recipe(settings.prepared)
    n, params = settings.prepared.context, lab.prepared["params"]
    x, y = lab.map(partial(drawn_sets, recipe, settings.sets), named_keys(lab, keys, "held out"))
    own = lab.map(partial(split, settings.sets), named_keys(lab, keys, "chains"))
    none = jnp.zeros((*keys.shape, 1))
    along = {"dataset": range(settings.sets)}
    pfn = partial(by_network, recipe, n)
    found = {"pfn": [lab.stage("pfn", lambda: {"nll": lab.map(losses, lab.map(pfn, params, none, x, y))})["nll"]]}
    svi = partial(by_field, layers, settings.svi_steps, settings.svi_rate, settings.svi_draws, n)
    field = lab.stage("svi", lambda: {"nll": lab.map(losses, lab.map(partial(together, svi), x, y, own))})["nll"]
    found["svi"] = [lab.map(partial(column_of, k), field) for k in range(len(settings.svi_steps))]
    found["nuts"] = []
    for draws in settings.nuts_draws:
        chain = partial(many, partial(by_chain, layers, draws, n))
        nll = lab.stage(f"nuts/{draws}", partial(loss_of_first, lab, chain, x, y, own))["nll"]
        found["nuts"].append(nll)
    budgets = {"pfn": (0,), "svi": settings.svi_steps, "nuts": settings.nuts_draws}
    seconds = bnn_seconds(settings, recipe, layers, x, y, own, lab)
    for arm, steps in budgets.items():
        for budget, nll in zip(steps, found[arm], strict=True):
            lab.measure({"nll": nll}, along=along, arm=arm, budget=budget)
            lab.measure({"seconds": np.array([seconds[arm][budget]])}, arm=arm, budget=budget)
    reached = lab.stage("reached", partial(time_ratios, budgets, found, seconds), like=ratio_shapes(budgets))
    for arm in budgets:
        lab.measure({"time_ratio": reached[arm]}, arm=arm)


def loss_of_first(lab: "Lab", function: Callable, x: Any, y: Any, own: Any) -> Tree:
    """Losses of a chain, its axis of looks taken away."""
    return {"nll": lab.map(partial(column_of, 0), lab.map(losses, lab.map(function, x, y, own)))}


def column_of(k: int, values: jax.Array) -> jax.Array:
    """One look of all data sets."""
    return values[:, k]


def bnn_seconds(
    settings: "BNNSettings", recipe: Recipe, layers: TwoLayers, x: Any, y: Any, own: Any, lab: "Lab"
) -> dict[str, dict[int, float]]:
    """Median seconds of one data set: the network's from a batch, as the paper's; the others one by one."""
    n, none = settings.prepared.context, jnp.zeros((1, 1))
    pfn = partial(by_network, recipe, n)

    def median(call: Callable) -> float:
        return float(np.median(clocked(lab, call, settings.rounds)))

    found: dict[str, dict[int, float]] = {
        "pfn": {0: median(partial(lab.map, pfn, lab.prepared["params"], none, x, y)) / settings.sets}
    }
    ways: dict[str, tuple[Sequence[int], Callable[[int], Callable]]] = {
        "svi": (
            settings.svi_steps,
            lambda steps: partial(by_field, layers, (steps,), settings.svi_rate, settings.svi_draws, n),
        ),
        "nuts": (settings.nuts_draws, lambda draws: partial(by_chain, layers, draws, n)),
    }
    for arm, (budgets, method) in ways.items():
        found[arm] = {
            budget: median(partial(lab.map, partial(many, method(budget)), x, y, own)) / settings.sets
            for budget in budgets
        }
    return found


def time_ratios(budgets: dict, found: dict, seconds: dict) -> Tree:
    """Seconds of the smallest budget whose mean NLL is as low as the network's, by the network's; infinite if none."""
    target = float(np.mean(found["pfn"][0]))
    ratios = {}
    for arm, steps in budgets.items():
        good = [b for b, nll in zip(steps, found[arm], strict=True) if float(np.mean(nll)) <= target]
        ratio = min((seconds[arm][b] for b in good), default=math.inf) / seconds["pfn"][0]
        ratios[arm] = np.array([ratio])
    return ratios


def ratio_shapes(budgets: dict) -> Tree:
    """Shapes of `time_ratios`."""
    return {arm: jax.ShapeDtypeStruct((), jnp.float32) for arm in budgets}
