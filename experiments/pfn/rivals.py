"""A trained network beside methods that infer anew for every data set: what both studies that count seconds share.

Every method answers the same held-out data sets with log densities of their queries, by `core.amortised.calls`. Seconds
are those of a data set, without compilation.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.amortised.calls import Calls, DataSets, alone, answers, program, timed_call
from core.amortised.training import TrainingSpec, init_state, learning_rate_plan, training_step
from core.bayes import chains
from core.lab.keys import key_for
from core.lab.replicas import select_replicate

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.pfn.settings import RivalSettings

Tree = Any
NETWORK = ("pfn", "again")  # timed twice, the second time as a control
LOST = 20.0  # nats for a query whose log density is no number


# --- answers --------------------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """A posterior to draw from: its log density, first positions by a key, log densities (draws, queries) of draws."""

    log_joint: Callable
    start: Callable
    log_densities: Callable


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
    """Of one data set, the mixture over all draws of several long chains, and whether they have mixed."""
    keys, at = jax.random.split(key_for(key, "long"), count), target(x, y)
    return chains.pool_chains(jax.lax.map(partial(chain, at, draws), keys))


# --- losses ---------------------------------------------------------------------------------------------------------


def losses(log_densities: Any) -> dict[str, np.ndarray]:
    """Of every data set the negative log density, mean over its queries, and whether one of them is no number.

    Such a query counts as a loss of 20 nats, so that failures are neither left out nor infinite.
    """
    found = np.asarray(log_densities)
    fine = np.isfinite(found)
    return {"nll": np.where(fine, -found, LOST).mean(-1), "failed": np.any(~fine, -1).astype(np.int32)}


def measure_losses(lab: "Lab", calls: Calls, sets: int, **conditions: Any) -> Any:
    """Measure the losses of a method and how often it failed; returns the former, (1, S)."""
    return _measure(lab, "losses", lambda: losses(answers(calls)), sets, ("nll", "failed"), conditions)["nll"]


def measure_long(lab: "Lab", rivals: "RivalSettings", target: Callable, data: DataSets, **conditions: Any) -> None:
    """Losses of long chains on the first data sets, and whether they have mixed."""
    one = partial(by_long_chains, target, rivals.long_chains, rivals.long_draws)
    calls = alone(one, data, rivals.long_sets)

    def compute() -> dict[str, np.ndarray]:
        found = [program(calls.function)(*each) for each in calls.arguments()]
        joined = {name: np.stack([np.asarray(each[name]) for each in found]) for name in found[0]}
        return joined | losses(joined.pop("log_density"))

    names = ("nll", "failed", "effective_draws", "scale_reduction")
    _measure(lab, "long", compute, rivals.long_sets, names, {"arm": "long", **conditions})


def _measure(lab: "Lab", stage: str, compute: Callable, sets: int, names: Sequence[str], conditions: Any) -> Tree:
    """Measure what `compute` finds on the host for every data set, kept as a stage."""
    like = {name: jax.ShapeDtypeStruct((sets,), jnp.int32 if name == "failed" else jnp.float32) for name in names}
    name = "/".join([stage, *map(str, conditions.values())])
    found = lab.stage(name, lambda: {name: values[None] for name, values in compute().items()}, like=like)
    lab.measure(found, along={"dataset": range(sets)}, **conditions)
    return found


# --- seconds --------------------------------------------------------------------------------------------------------


def first_steps(spec: TrainingSpec, steps: int, key: jax.Array, borders: jax.Array) -> jax.Array:
    """The first steps of a training, to be timed: what is left are parameters."""
    given = {"plan": learning_rate_plan(0, steps, 1, 1e-3, False), "prior": {}}

    def one(state: Tree, i: jax.Array) -> tuple[Tree, None]:
        return training_step(spec, state, jax.random.fold_in(key, i), i, borders, given), None

    state, _ = jax.lax.scan(one, init_state(spec, key), jnp.arange(steps))
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(state["params"])])


def measure_seconds(
    lab: "Lab", calls: Mapping[str, Calls], rivals: "RivalSettings", spec: TrainingSpec, training: tuple, length: int
) -> Tree:
    """Measure seconds per data set, those of a training of `length` steps, and after how many data sets it has paid.

    All methods and some steps of the training, with `(keys, borders)`, take turns in every round. Returns the seconds.
    """
    steps, rounds = rivals.timed_steps, rivals.rounds
    begun = Calls(partial(first_steps, spec, steps), lambda: [select_replicate(training, 0)])

    def compute() -> Tree:
        timed = {name: timed_call(each) for name, each in (*calls.items(), ("training", begun))}
        found = {name: np.array([values]) for name, values in lab.time(timed, rounds).items()}
        per_call = dict.fromkeys(calls, rivals.timed_sets) | {"training": steps / length}
        return {name: values / per_call[name] for name, values in found.items()}

    like = dict.fromkeys((*calls, "training"), jax.ShapeDtypeStruct((rounds,), jnp.float32))
    taken = lab.stage("seconds", compute, like=like)
    for name in calls:
        lab.measure({"seconds": taken[name]}, along={"round": range(rounds)}, **conditions_of(name))
    lab.measure({"training_seconds": taken["training"]}, along={"round": range(rounds)}, arm="pfn")
    others = [name for name in calls if conditions_of(name)["arm"] not in NETWORK]
    like = dict.fromkeys(others, jax.ShapeDtypeStruct((), jnp.float32))
    pays = lab.stage("pays", lambda: {name: np.array([pays_after(taken, name)]) for name in others}, like=like)
    for name, value in pays.items():
        lab.measure({"break_even_sets": value}, **conditions_of(name))
    return taken


def pays_after(taken: Mapping[str, Any], name: str) -> float:
    """After how many data sets the network's training has cost less than a method; infinite if never."""
    beside = name.partition(":")[0] + ":pfn"
    middle = {each: float(np.median(taken[each])) for each in (name, beside, "training")}
    saved = middle[name] - middle[beside]
    return middle["training"] / saved if saved > 0 else math.inf


def conditions_of(name: str) -> dict[str, Any]:
    """Style, arm and budget of what is timed, called `style:arm` or `style:arm.budget`."""
    style, _, rest = name.rpartition(":")
    arm, _, budget = rest.partition(".")
    return {"arm": arm} | ({"style": style} if style else {}) | ({"budget": int(budget)} if budget else {})
