"""Mean-field variational inference by reparametrised gradients, "Bayes by backprop" (Blundell et al. 2015)."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from core.errors import BadInput
from core.lab.keys import key_for


class MeanField(NamedTuple):
    """q = Π N(mean, exp(log_scale)²): two pytrees like the parameters."""

    mean: Any
    log_scale: Any


def sample_mean_field(mean_field: MeanField, key: jax.Array, draws: int) -> Any:
    """Draws of q: the parameters' pytree with leading axis (draws,)."""
    mean, unravel = ravel_pytree(mean_field.mean)
    scale = jnp.exp(ravel_pytree(mean_field.log_scale)[0])
    noise = jax.random.normal(key, (draws, len(mean)), mean.dtype)
    # w = μ + σ ε
    return jax.vmap(unravel)(mean[None] + scale[None] * noise)


def evidence_lower_bound(
    log_joint: Callable[[Any], jax.Array], mean_field: MeanField, key: jax.Array, particles: int
) -> jax.Array:
    """The evidence lower bound, nats: E_q[log p(D, w)] by `particles` draws, plus the entropy of q in closed form."""
    log_scale = ravel_pytree(mean_field.log_scale)[0]
    # E_q[log p(D, w)] + Σ (log σ + log(2πe)/2)
    entropy = jnp.sum(log_scale) + len(log_scale) * (1 + math.log(2 * math.pi)) / 2
    return jnp.mean(jax.vmap(log_joint)(sample_mean_field(mean_field, key, particles))) + entropy


def fit_mean_field(
    log_joint: Callable[[Any], jax.Array],
    start: Any,
    key: jax.Array,
    snapshot_steps: tuple[int, ...],
    learning_rate: float = 1e-3,
    particles: int = 1,
    initial_scale: float = 0.1,
) -> MeanField:
    """Maximise the lower bound with Adam.

    Args:
      log_joint: log p(data, w) of an unconstrained pytree w.
      start: first means.
      key: typed key.
      snapshot_steps: rising numbers of steps after which q is wanted; the last is how many steps there are.
      learning_rate: of Adam.
      particles: draws of each gradient.
      initial_scale: first standard deviation of all coordinates.

    Returns:
      q after each of these numbers of steps, every leaf with leading axis (snapshots,). The first snapshots are the
      same with and without the later ones.
    """
    if not snapshot_steps or min(snapshot_steps) < 1 or list(snapshot_steps) != sorted(set(snapshot_steps)):
        raise BadInput(f"snapshot_steps must be rising numbers of steps from 1 on, not {snapshot_steps}")
    optimizer = optax.adam(learning_rate)
    key = key_for(key, "steps")

    def step(carried: tuple, i: jax.Array) -> tuple[tuple, None]:
        field, state = carried
        gradient = jax.grad(lambda f: -evidence_lower_bound(log_joint, f, jax.random.fold_in(key, i), particles))(field)
        change, state = optimizer.update(gradient, state, field)
        return (optax.apply_updates(field, change), state), None

    field = MeanField(start, jax.tree.map(lambda leaf: jnp.full_like(leaf, math.log(initial_scale)), start))
    carried, found = (field, optimizer.init(field)), []
    for before, after in zip((0, *snapshot_steps), snapshot_steps, strict=False):
        carried, _ = jax.lax.scan(step, carried, jnp.arange(before, after))
        found.append(carried[0])
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)
