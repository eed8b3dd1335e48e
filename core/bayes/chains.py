"""Markov chains: NUTS (Hoffman and Gelman 2014) with window adaptation of step size and mass matrix, by blackjax."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp

from core.errors import BadInput
from core.lab.keys import key_for

MAX_DOUBLINGS = 8  # at most 2⁸ leapfrog steps a draw


class NutsDraws(NamedTuple):
    """Draws of one chain: positions, a pytree with leading axis (draws,), and what the sampler did.

    Attributes:
      positions: the draws.
      leapfrog_steps: gradient evaluations of each draw, (draws,).
      divergent: whether its trajectory diverged, (draws,).
      step_size: after adaptation, ().
    """

    positions: Any
    leapfrog_steps: jax.Array
    divergent: jax.Array
    step_size: jax.Array


def sample_nuts(
    log_density: Callable[[Any], jax.Array],
    start: Any,
    key: jax.Array,
    warmup: int,
    draws: int,
    target_acceptance: float = 0.8,
    max_doublings: int = MAX_DOUBLINGS,
) -> NutsDraws:
    """Run one chain of NUTS.

    Args:
      log_density: of an unconstrained pytree, up to a constant; where it is not finite the chain does not go.
      start: first position.
      key: typed key.
      warmup: steps of adaptation, thrown away.
      draws: steps kept, each of them.
      target_acceptance: aimed at by the adaptation.
      max_doublings: of a trajectory, at most.

    Returns:
      The draws. Under `vmap` every chain waits for the longest trajectory; `jax.lax.map` does not.
    """
    if warmup < 1 or draws < 1:
        raise BadInput(f"a chain needs 1 step of warm-up and 1 draw at least, not {warmup} and {draws}")

    def safe(position: Any) -> jax.Array:
        value = log_density(position)
        return jnp.where(jnp.isfinite(value), value, -1e30)

    adaptation: Any = blackjax.window_adaptation(
        blackjax.nuts, safe, target_acceptance_rate=target_acceptance, max_num_doublings=max_doublings
    )
    (state, parameters), _ = adaptation.run(key_for(key, "warmup"), start, num_steps=warmup)
    kernel = blackjax.nuts(safe, **parameters).step

    def step(state: Any, key: jax.Array) -> tuple[Any, tuple]:
        state, info = kernel(key, state)
        return state, (state.position, info.num_integration_steps, info.is_divergent)

    _, found = jax.lax.scan(step, state, jax.random.split(key_for(key, "draws"), draws))
    return NutsDraws(*found, parameters["step_size"])


def log_mean_exp(log_densities: jax.Array) -> jax.Array:
    """log (1/S) Σ_s p_s, the predictive log density of S draws, from log p_s (S, …)."""
    return jax.nn.logsumexp(log_densities, axis=0) - math.log(len(log_densities))


def running_log_mean_exp(log_densities: jax.Array, counts: tuple[int, ...]) -> jax.Array:
    """`log_mean_exp` of the first so many draws, for each of the counts: (counts, …)."""
    return jnp.stack([log_mean_exp(log_densities[:count]) for count in counts])


def effective_sample_size(values: jax.Array) -> jax.Array:
    """Effective number of draws of several chains, from values (chains, draws) of one quantity."""
    return blackjax.diagnostics.effective_sample_size(values)


def potential_scale_reduction(values: jax.Array) -> jax.Array:
    """Potential scale reduction R̂ of several chains (Gelman and Rubin 1992), from values (chains, draws)."""
    return blackjax.diagnostics.potential_scale_reduction(values)


def pool_chains(log_densities: jax.Array) -> dict[str, jax.Array]:
    """What several chains say together, from log densities (chains, draws, queries) of their draws.

    Returns:
      `log_density` (queries,) of the mixture over all draws, and of the mean over queries, as a function of the draw,
      `effective_draws` and `scale_reduction`. Chains that all stand still have none, and infinity.
    """
    followed = log_densities.mean(-1)
    effective, reduction = effective_sample_size(followed), potential_scale_reduction(followed)
    return {
        "log_density": log_mean_exp(log_densities.reshape(-1, log_densities.shape[-1])),
        "effective_draws": jnp.where(jnp.isfinite(effective), effective, 0.0),
        "scale_reduction": jnp.where(jnp.isfinite(reduction), reduction, jnp.inf),
    }
