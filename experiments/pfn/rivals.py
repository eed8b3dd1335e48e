"""A trained network beside methods that infer anew for every data set: what both studies that count seconds share.

Every method answers the same held-out data sets with log densities of their queries. Seconds are those of a data set,
without compilation, in two styles: one data set after another, a call for each, as methods of inference are published,
and all of them in one call, as the published network is. Like is compared with like.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.amortised.training import TrainingSpec, init_state, learning_rate_plan, training_step
from core.bayes import chains
from core.lab.keys import key_for
from core.lab.replicas import function_key, select_replicate

if TYPE_CHECKING:
    from core.lab.lab import Lab

Tree = Any
LOST = 20.0  # nats for a query whose log density is no number
STEPS = 50  # of a training, to be timed


# --- answers --------------------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """A posterior to draw from: its log density, first positions by a key, log densities (draws, queries) of draws."""

    log_joint: Callable
    start: Callable
    log_densities: Callable


def by_network(recipe: TrainingSpec, n: int, params: Tree, borders: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Log density of all queries of all data sets in one pass: (S, N - n)."""
    return recipe.head(borders, jnp.asarray(recipe.network.apply({"params": params}, x, y, n)), y[:, n:])


def without_context(
    recipe: TrainingSpec, n: int, params: Tree, borders: jax.Array, x: jax.Array, y: jax.Array
) -> jax.Array:
    """The same queries by the network that is shown nothing, as a control."""
    return by_network(recipe, 0, params, borders, x[:, n:], y[:, n:])


def by_nuts(target: Callable, draws: int, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
    """Of one data set, the mixture over a chain of NUTS with as many steps of warm-up as draws: (N - n,)."""
    return chains.log_mean_exp(chain(target(x, y), draws, key))


def chain(at: Target, draws: int, key: jax.Array) -> jax.Array:
    """Log densities (draws, queries) of the draws of one chain."""
    found = chains.sample_nuts(at.log_joint, at.start(key_for(key, "start")), key, draws, draws)
    return at.log_densities(found.positions)


def by_long_chains(
    target: Callable, count: int, draws: int, x: jax.Array, y: jax.Array, key: jax.Array
) -> dict[str, jax.Array]:
    """Of one data set, the mixture over all draws of several long chains, which shows where the truth lies.

    Returns:
      `log_density` (N - n,), and of the mean log density of the queries, as a function of the draw, the effective
      number of draws and the potential scale reduction. Chains that all stand still have none, and infinity.
    """
    keys = jax.random.split(key_for(key, "long"), count)
    found = jax.lax.map(partial(chain, target(x, y), draws), keys)
    followed = found.mean(-1)
    effective, reduction = chains.effective_sample_size(followed), chains.potential_scale_reduction(followed)
    return {
        "log_density": chains.log_mean_exp(found.reshape(count * draws, -1)),
        "effective_draws": jnp.where(jnp.isfinite(effective), effective, 0.0),
        "scale_reduction": jnp.where(jnp.isfinite(reduction), reduction, jnp.inf),
    }


def together(one: Callable, *arrays: jax.Array) -> jax.Array:
    """All data sets at once."""
    return jax.vmap(one)(*arrays)


# --- losses ---------------------------------------------------------------------------------------------------------


def losses(log_densities: jax.Array) -> dict[str, jax.Array]:
    """Of every data set the negative log density, mean over its queries, and whether one of them is no number.

    Such a query counts as a loss of 20 nats, so that failures are neither left out nor infinite.
    """
    fine = jnp.isfinite(log_densities)
    return {"nll": jnp.mean(jnp.where(fine, -log_densities, LOST), -1), "failed": jnp.any(~fine, -1).astype(jnp.int32)}


def drawn_sets(recipe: TrainingSpec, sets: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Held-out data sets."""
    return tuple(recipe.prior(key, (sets, recipe.points, recipe.network.features)))


def split(count: int, key: jax.Array) -> jax.Array:
    """A key for every data set."""
    return jax.random.split(key, count)


# --- programs -------------------------------------------------------------------------------------------------------


class Way(NamedTuple):
    """How a method goes over data sets: what is called, and the arguments of its calls, which are made beforehand."""

    function: Callable
    arguments: Callable[[], list[tuple]]


PROGRAMS: dict[Any, Callable] = {}  # compiled once, for losses and seconds


def program(function: Callable) -> Callable:
    """The compiled function; equal ones have one program."""
    return PROGRAMS.setdefault(function_key(function), jax.jit(function))


def network_way(function: Callable, trained: Tree, x: Any, y: Any, sets: int, size: int) -> Way:
    """A network, asked about `size` data sets in a call."""

    def cut() -> list[tuple]:
        params, borders = select_replicate((trained["params"], trained["borders"]), 0)
        a, b = np.asarray(x)[0], np.asarray(y)[0]
        return [(params, borders, *jax.device_put((a[k : k + size], b[k : k + size]))) for k in range(0, sets, size)]

    return Way(function, cut)


def alone_way(one: Callable, arrays: Sequence[Any], sets: int) -> Way:
    """A method, one data set after another."""

    def cut() -> list[tuple]:
        own = select_replicate(tuple(arrays), 0)
        return [select_replicate(own, k) for k in range(sets)]

    return Way(one, cut)


def batched_way(one: Callable, arrays: Sequence[Any], sets: int) -> Way:
    """A method, all data sets at once."""

    def cut() -> list[tuple]:
        x, y, keys = arrays
        return [select_replicate((np.asarray(x)[:, :sets], np.asarray(y)[:, :sets], keys[:, :sets]), 0)]

    return Way(partial(together, one), cut)


def answers(way: Way) -> np.ndarray:
    """Log densities (S, queries) of all data sets."""
    found = [np.asarray(program(way.function)(*each)) for each in way.arguments()]
    return np.concatenate([each.reshape(-1, each.shape[-1]) for each in found])


def measure_losses(lab: "Lab", way: Way, sets: int, **conditions: Any) -> Any:
    """Measure the losses of a method and how often it failed; returns the former, (1, S)."""
    shapes = {"nll": jax.ShapeDtypeStruct((sets,), jnp.float32), "failed": jax.ShapeDtypeStruct((sets,), jnp.int32)}

    def compute() -> Tree:
        return {name: np.asarray(values)[None] for name, values in losses(jax.device_put(answers(way))).items()}

    found = lab.stage("/".join(["losses", *map(str, conditions.values())]), compute, like=shapes)
    lab.measure(found, along={"dataset": range(sets)}, **conditions)
    return found["nll"]


def measure_long(settings: Any, target: Callable, arrays: tuple, lab: "Lab", **conditions: Any) -> None:
    """Losses of long chains on the first data sets, and whether they have mixed."""
    sets, one = settings.long_sets, partial(by_long_chains, target, settings.long_chains, settings.long_draws)
    scalars = dict.fromkeys(("nll", "effective_draws", "scale_reduction"), jax.ShapeDtypeStruct((sets,), jnp.float32))
    way = alone_way(one, arrays, sets)

    def compute() -> Tree:
        found = [program(way.function)(*each) for each in way.arguments()]
        joined = {name: jax.device_put(np.stack([each[name] for each in found])) for name in found[0]}
        joined |= losses(joined.pop("log_density"))
        return {name: np.asarray(values)[None] for name, values in joined.items()}

    shapes = scalars | {"failed": jax.ShapeDtypeStruct((sets,), jnp.int32)}
    found = lab.stage("/".join(["long", *map(str, conditions.values())]), compute, like=shapes)
    lab.measure(found, along={"dataset": range(sets)}, arm="long", **conditions)


def measure_batching(lab: "Lab", ways: Mapping[str, Way], pairs: Mapping[str, tuple[str, str]]) -> None:
    """How far losses move, in nats and on average, where all data sets are answered at once.

    Of the network and of optimizers; chains forget the last bits of their gradients after some steps, and go elsewhere.
    """

    def compute() -> Tree:
        return {arm: np.array([apart(*(answers(ways[name]) for name in pair))]) for arm, pair in pairs.items()}

    found = lab.stage("batching", compute, like=dict.fromkeys(pairs, jax.ShapeDtypeStruct((), jnp.float32)))
    for arm, value in found.items():
        lab.measure({"batching_change": value}, arm=arm)


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over data sets of the difference between two of their losses, nats."""
    ours, others = (losses(jax.device_put(values))["nll"] for values in (first, second))
    return float(jnp.mean(jnp.abs(ours - others)))


# --- seconds --------------------------------------------------------------------------------------------------------


def network_ways(recipe: TrainingSpec, n: int, trained: Tree, x: Any, y: Any, sets: int) -> dict[str, Way]:
    """The network in both styles, each also under another name, as a control."""
    function = partial(by_network, recipe, n)
    alone, batched = (network_way(function, trained, x, y, sets, size) for size in (1, sets))
    return {"pfn_alone": alone, "alone_again": alone, "pfn": batched, "again": batched}


def rival_ways(arm: str, budget: int | str, one: Callable, arrays: Sequence[Any], sets: int) -> dict[str, Way]:
    """A method in both styles, with or without a budget in their names."""
    after = f".{budget}" if budget else ""
    return {
        f"{arm}{after}": alone_way(one, arrays, sets),
        f"{arm}_batched{after}": batched_way(one, arrays, sets),
    }


def called(way: Way) -> Callable[[], float]:
    """All calls of a method, each awaited before the next.

    Returns the share of log densities that are not infinitely large: 1 for every method, whatever it answers and where
    it fails, and known only when everything is computed. So `lab.time` finds methods equal whose answers differ.
    """
    function, arguments = program(way.function), cache(way.arguments)

    def call() -> float:
        return min(float(np.mean(~np.isposinf(np.asarray(function(*each))))) for each in arguments())

    return call


def trained_steps(recipe: TrainingSpec, key: jax.Array, borders: jax.Array) -> jax.Array:
    """The first steps of a training, to be timed: what is left are parameters."""
    given = {"plan": learning_rate_plan(0, STEPS, 1, 1e-3, False), "prior": {}, "shows_context": jnp.float32(1)}

    def one(state: Tree, i: jax.Array) -> tuple[Tree, None]:
        return training_step(recipe, state, jax.random.fold_in(key, i), i, borders, given), None

    state, _ = jax.lax.scan(one, init_state(recipe, key), jnp.arange(STEPS))
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(state["params"])])


def seconds_of(lab: "Lab", ways: Mapping[str, Way], sets: int, rounds: int, recipe: TrainingSpec, keys: Any) -> Tree:
    """Seconds of a data set in every way and, under `training`, of a step of training: (1, rounds) each.

    All of them take turns within a round.
    """
    steps = Way(partial(trained_steps, recipe), lambda: [select_replicate((keys, lab.prepared["borders"]), 0)])
    taken = lab.time({name: called(way) for name, way in (*ways.items(), ("training", steps))}, rounds)
    per_call = {name: STEPS if name == "training" else sets for name in taken}
    return {name: np.array([taken[name]]) / per_call[name] for name in taken}


def pays_after(seconds: Tree, steps: int) -> Tree:
    """For every method: after how many data sets the network's training has cost less; infinite if never."""
    middle = {name: float(np.median(values)) for name, values in seconds.items()}
    found = {}
    for name in rivals_in(seconds):
        saved = middle[name] - middle[network_beside(name)]
        found[name] = np.array([middle["training"] * steps / saved if saved > 0 else math.inf])
    return found


def network_beside(name: str) -> str:
    """The network in the style of a method: in batches or alone."""
    return "pfn" if "_batched" in name else "pfn_alone"


def rivals_in(names: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Of ways to be timed, those that are no network's."""
    return [name for name in names if name not in ("pfn", "pfn_alone", "again", "alone_again", "training")]


def measure_times(lab: "Lab", ways: dict[str, Way], settings: Any, recipe: TrainingSpec, keys: Any) -> Tree:
    """Measure seconds per data set, those of the whole training, and when it has paid; returns the seconds."""
    rounds, steps = settings.rounds, settings.prepared.steps
    taken = lab.stage(
        "seconds",
        partial(seconds_of, lab, ways, settings.timed_sets, rounds, recipe, keys),
        like=dict.fromkeys((*ways, "training"), jax.ShapeDtypeStruct((rounds,), jnp.float32)),
    )
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    pays = lab.stage("pays", partial(pays_after, taken, steps), like=dict.fromkeys(rivals_in(ways), scalar))
    for name in ways:
        lab.measure({"seconds": taken[name]}, along={"round": range(rounds)}, **conditions_of(name))
    for name, value in pays.items():
        lab.measure({"break_even_sets": value}, **conditions_of(name))
    whole = lab.map(partial(times, steps), taken["training"])
    lab.measure({"training_seconds": whole}, along={"round": range(rounds)}, arm="pfn")
    return taken


def times(count: int, value: jax.Array) -> jax.Array:
    """So often."""
    return count * value


def conditions_of(name: str) -> dict[str, Any]:
    """Arm and budget of a way to be timed, called `arm` or `arm.budget`."""
    arm, _, budget = name.partition(".")
    return {"arm": arm} | ({"budget": int(budget)} if budget else {})
