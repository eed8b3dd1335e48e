"""Methods that answer held-out data sets in two styles, one after another or all at once, and how they are timed.

A method is a function of one data set, `one(x, y, key)`, that gives log densities of its queries, (queries,); the
network answers any number of data sets in one pass. Like is compared with like: methods of inference are published one
data set after another, a call for each, and networks in batches.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.amortised.training import TrainingSpec
from core.lab.keys import named_keys
from core.lab.replicas import function_key, select_replicate

if TYPE_CHECKING:
    from core.lab.lab import Lab

Tree = Any
STYLES = ("alone", "batch")


class DataSets(NamedTuple):
    """Held-out data sets of one replicate after n points: x (1, S, N, F), y (1, S, N), a key for each (1, S)."""

    n: int
    x: Any
    y: Any
    keys: Any

    def part(self, start: int, stop: int) -> tuple[jax.Array, ...]:
        """Some of them, without the replicate axis."""
        x, y = (np.asarray(array)[:, start:stop] for array in (self.x, self.y))
        return tuple(select_replicate((x, y, self.keys[:, start:stop]), 0))


def draw_data_sets(lab: "Lab", keys: jax.Array, spec: TrainingSpec, sets: int, n: int) -> DataSets:
    """Data sets that the network is not trained on."""
    drawn = lab.map(partial(_draw, spec, sets), named_keys(lab, keys, "held out"))
    return DataSets(n, *drawn, lab.map(partial(_split, sets), named_keys(lab, keys, "chains")))


def _draw(spec: TrainingSpec, sets: int, key: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(spec.prior(key, (sets, spec.points, spec.network.features)))


def _split(count: int, key: jax.Array) -> jax.Array:
    return jax.random.split(key, count)


def by_network(spec: TrainingSpec, n: int, params: Tree, borders: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Log density of all queries of all data sets in one pass: (S, N - n)."""
    return spec.head(borders, jnp.asarray(spec.network.apply({"params": params}, x, y, n)), y[:, n:])


class Calls(NamedTuple):
    """How a method goes over data sets: what is called, and the arguments of its calls, which are made beforehand."""

    function: Callable
    arguments: Callable[[], list[tuple]]


PROGRAMS: dict[Any, Callable] = {}  # compiled once, for losses and seconds


def program(function: Callable) -> Callable:
    """The compiled function; equal ones have one program."""
    return PROGRAMS.setdefault(function_key(function), jax.jit(function))


def network_calls(spec: TrainingSpec, trained: tuple, data: DataSets, sets: int, size: int) -> Calls:
    """The network, `(params, borders)`, asked about `size` data sets in a call."""

    def cut() -> list[tuple]:
        own = select_replicate(trained, 0)
        return [(*own, *data.part(start, start + size)[:2]) for start in range(0, sets, size)]

    return Calls(partial(by_network, spec, data.n), cut)


def alone(one: Callable, data: DataSets, sets: int) -> Calls:
    """A method, one data set after another."""
    return Calls(one, lambda: [select_replicate(data.part(0, sets), k) for k in range(sets)])


def batched(one: Callable, data: DataSets, sets: int) -> Calls:
    """A method, all data sets at once."""
    return Calls(partial(_together, one), lambda: [data.part(0, sets)])


def _together(one: Callable, *arrays: jax.Array) -> jax.Array:
    return jax.vmap(one)(*arrays)


def both_styles(methods: Mapping[str, Callable], data: DataSets, sets: int) -> dict[str, Calls]:
    """Methods called `arm` or `arm.budget`, in both styles: `alone:arm`, `batch:arm`."""
    found = {f"alone:{name}": alone(one, data, sets) for name, one in methods.items()}
    return found | {f"batch:{name}": batched(one, data, sets) for name, one in methods.items()}


def network_styles(
    arms: Sequence[str], spec: TrainingSpec, trained: tuple, data: DataSets, sets: int
) -> dict[str, Calls]:
    """The network in both styles, under each of these names."""
    sizes = dict(zip(STYLES, (1, sets), strict=True))
    calls = {style: network_calls(spec, trained, data, sets, size) for style, size in sizes.items()}
    return {f"{style}:{arm}": calls[style] for arm in arms for style in STYLES}


def answers(calls: Calls) -> np.ndarray:
    """Log densities (S, queries) of all data sets."""
    found = [np.asarray(program(calls.function)(*each)) for each in calls.arguments()]
    return np.concatenate([each.reshape(-1, each.shape[-1]) for each in found])


def timed_call(calls: Calls) -> Callable[[], float]:
    """All calls of a method, each awaited before the next.

    Returns the share of log densities that are not infinitely large: 1 for every method, whatever it answers and where
    it fails, and known only when everything is computed. So `lab.time` finds methods equal whose answers differ.
    """
    function, arguments = program(calls.function), cache(calls.arguments)

    def call() -> float:
        return min(float(np.mean(~np.isposinf(np.asarray(function(*each))))) for each in arguments())

    return call
