"""Training a prior-data fitted network within a trial, and holding it against an exact posterior."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from core.amortised import bar_distribution, heads
from core.amortised.encoder import TransformerEncoder
from core.amortised.training import (
    TrainingSpec,
    init_state,
    learning_rate_plan,
    params_only,
    sample_prior_targets,
    training_step,
)
from core.bayes import gaussian_process
from core.bayes.gaussian_process import Hyperparameters
from core.lab.keys import named_keys

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.pfn.settings import NetworkSettings

Tree = Any


def recipe_of(
    settings: "NetworkSettings",
    prior: Callable,
    outputs: int,
    head: Callable = heads.bar_log_density,
    *,
    sizes: tuple[int, ...] = (),
    fixed: int | None = None,
) -> TrainingSpec:
    """What is trained, by the settings of a study: for the context sizes up to the last of `sizes`, or for one."""
    network = TransformerEncoder(
        settings.features, settings.width, settings.layers, settings.heads, settings.hidden, outputs
    )
    compiled = sizes if fixed is None else (fixed,)
    return TrainingSpec(network, prior, head, settings.points, settings.batch, compiled, fixed)


def borders_of(recipe: TrainingSpec, sets: int, key: jax.Array, prior: Tree) -> jax.Array:
    """Borders with equal prior mass between them, from the targets of so many data sets."""
    return bar_distribution.borders_from_samples_jit(
        sample_prior_targets(recipe, sets, key, prior), recipe.network.outputs
    )


class Training(NamedTuple):
    """Where and how long networks of one kind are trained.

    Attributes:
      lab: the lab.
      keys: one per replicate; networks trained under the same keys have the same start, data sets and context sizes.
      settings: learning rate, warm-up, `decay`, `every`.
      borders: (replicates, bars + 1).
    """

    lab: "Lab"
    keys: jax.Array
    settings: "NetworkSettings"
    borders: Any

    def run(
        self, name: str, recipe: TrainingSpec, prior: Tree, lengths: Sequence[int], shows_context: float = 1.0
    ) -> list[Tree]:
        """Parameters after so many steps in all, for each of the growing lengths.

        The trunk runs at a constant rate; for every length a branch leaves it at (1 - decay) of it and lowers the rate
        to 0 in the rest, so that every network has a whole schedule of its own.
        """
        lab, settings, done, found = self.lab, self.settings, 0, []
        state = lab.map(partial(init_state, recipe), named_keys(lab, self.keys, "start"))
        for length in lengths:
            turn = min(round(length * (1 - settings.decay)), length - 1)
            if turn > done:
                state = self._loop(name, recipe, state, prior, shows_context, (done, turn), ends=False)
            done = turn
            ended = self._loop(name, recipe, state, prior, shows_context, (turn, length), ends=True)
            found.append(ended["params"])
        return found

    def _loop(
        self,
        name: str,
        recipe: TrainingSpec,
        state: Tree,
        prior: Tree,
        shows_context: float,
        span: tuple[int, int],
        ends: bool,
    ) -> Tree:
        start, end = span
        part = f"{'branch' if ends else 'trunk'}/{end}"
        plan = learning_rate_plan(start, end, self.settings.warmup, self.settings.learning_rate, ends)
        given = {"plan": plan, "prior": prior, "shows_context": jnp.float32(shows_context)}
        return self.lab.iterate(
            f"{name}/{part}",
            partial(training_step, recipe),
            named_keys(self.lab, self.keys, part),
            state,
            steps=end - start,
            each=(self.borders,),
            shared=(given,),
            evaluate_every=min(self.settings.every, end - start),
            finish=params_only if ends else None,
        ).result


def by_context(answer: Callable, contexts: Sequence[int]) -> dict[str, Tree]:
    """`answer(n)` for every context size, by name."""
    return {f"n{n}": answer(n) for n in contexts}


def exact(
    kernel: Callable, hyper: Hyperparameters, contexts: Sequence[int], x: jax.Array, y: jax.Array
) -> dict[str, Tree]:
    """The exact predictive distributions of all queries after n points: mean, sd and log density, (S, N - n) each."""

    def one(n: int) -> dict[str, jax.Array]:
        found = jax.vmap(lambda a, b: gaussian_process.predict(kernel, hyper, a[:n], b[:n], a[n:]))(x, y)
        log_density = jax.vmap(gaussian_process.normal_log_density)(found, y[:, n:])
        return {"mean": found.mean, "sd": jnp.sqrt(found.variance), "log_density": log_density}

    return by_context(one, contexts)


def held_against(
    recipe: TrainingSpec,
    contexts: Sequence[int],
    params: Tree,
    borders: jax.Array,
    data: Tree,
    truth: Tree,
    shows_context: jax.Array,
) -> dict[str, jax.Array]:
    """A network beside the exact posterior on the same data sets.

    Returns:
      `gap`, the mean over queries of log p(y | x, D) - log q(y | x, D) in nats, and `off`, the mean distance of the two
      means in standard deviations of the exact one: (S, contexts) each.
    """
    x, y = data["x"], data["y"]
    gaps, off = [], []
    for n in contexts:
        seen = jnp.int32(n) * shows_context.astype(jnp.int32)
        outputs = jnp.asarray(recipe.network.apply({"params": params}, x, y, seen, max_context_size=n, first_query=n))
        right = truth[f"n{n}"]
        gaps.append(jnp.mean(right["log_density"] - recipe.head(borders, outputs, y[:, n:]), 1))
        off.append(jnp.mean(jnp.abs(bar_distribution.mean(borders, outputs) - right["mean"]) / right["sd"], 1))
    return {"gap": jnp.stack(gaps, 1), "off": jnp.stack(off, 1)}
