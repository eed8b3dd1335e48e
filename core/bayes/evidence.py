"""Hyper-parameters of a Gaussian process: their prior, their posterior, and point estimates (MLE-II and MAP).

Positive hyper-parameters θ are handled as u = log θ. Budgets are counts of steps, not seconds.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.scipy.special import gammaln

from core.bayes.gaussian_process import Hyper, Kernel, Normal, log_density, log_evidence, predictive
from core.errors import unknown_name
from core.lab.keys import key_for

Logs = dict[str, jax.Array]  # name of a free hyper-parameter -> its logarithm
METHODS = ("adam", "lbfgs")


class Gamma(NamedTuple):
    """A Gamma distribution by shape and rate: mean shape/rate."""

    shape: float
    rate: float

    def log_density_of_log(self, u: jax.Array) -> jax.Array:
        """Density of u = log θ: log Gamma(θ) + u, the last being log |dθ/du|."""
        shape = jnp.asarray(self.shape, u.dtype)
        # a log b - log Γ(a) + a u - b exp(u)
        return shape * jnp.log(self.rate) - gammaln(shape) + shape * u - self.rate * jnp.exp(u)

    def sample_log(self, key: jax.Array, shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> jax.Array:
        """Logarithms of draws, finite for small shapes too."""
        return jax.random.loggamma(key, jnp.asarray(self.shape, dtype), shape, dtype) - jnp.log(
            jnp.asarray(self.rate, dtype)
        )


class HyperPrior(NamedTuple):
    """Independent Gamma priors; noise = floor + draw, or just the floor where its prior is None."""

    lengthscale: Gamma
    outputscale: Gamma
    noise: Gamma | None = None
    floor: float = 1e-4

    def free(self) -> dict[str, Gamma]:
        """The hyper-parameters that are inferred."""
        found = {"lengthscale": self.lengthscale, "outputscale": self.outputscale}
        return found | ({} if self.noise is None else {"noise": self.noise})

    def hyper(self, logs: Logs) -> Hyper:
        """Hyper-parameters from logarithms."""
        outputscale = jnp.exp(logs["outputscale"])
        floor = jnp.full_like(outputscale, self.floor)
        noise = floor if self.noise is None else floor + jnp.exp(logs["noise"])
        return Hyper(jnp.exp(logs["lengthscale"]), outputscale, noise)

    def sample(self, key: jax.Array, dtype: Any = jnp.float32) -> Logs:
        """One draw of the logarithms."""
        return {name: gamma.sample_log(key_for(key, name), (), dtype) for name, gamma in self.free().items()}

    def log_density(self, logs: Logs) -> jax.Array:
        """log p of the logarithms."""
        return sum(
            (gamma.log_density_of_log(logs[name]) for name, gamma in self.free().items()),
            jnp.zeros_like(logs["outputscale"]),
        )


def log_joint(
    logs: Logs, prior: HyperPrior, kernel: Kernel, x: jax.Array, y: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """log p(y | x, θ) + log p(log θ), up to a constant the posterior of the logarithms."""
    return log_evidence(kernel, prior.hyper(logs), x, y, mask) + prior.log_density(logs)


class Fit(NamedTuple):
    """A point estimate: the hyper-parameters and the objective there, in nats."""

    hyper: Hyper
    objective: jax.Array


def fit(
    kernel: Kernel,
    prior: HyperPrior,
    x: jax.Array,
    y: jax.Array,
    key: jax.Array,
    steps: int,
    starts: int = 3,
    method: str = "lbfgs",
    penalised: bool = False,
    mask: jax.Array | None = None,
    rate: float = 0.05,
) -> Fit:
    """Hyper-parameters that maximise the evidence (MLE-II) or, `penalised`, its product with the prior (MAP).

    Args:
      kernel: the covariance function.
      prior: where starts are drawn from, and the penalty; its floor bounds the noise from below.
      x: inputs (n, d).
      y: targets (n,).
      key: for the starts; the first is the prior's mean.
      steps: of the optimizer from every start.
      starts: how many; the best end is taken.
      method: "lbfgs" (zoom line search) or "adam".
      penalised: whether the prior is part of the objective. MAP is taken in θ itself, not in log θ.
      mask: bool (n,), rows of the context.
      rate: learning rate of Adam.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)

    def loss(logs: Logs) -> jax.Array:
        value = log_evidence(kernel, prior.hyper(logs), x, y, mask)
        if penalised:
            # log p(θ) = log p(log θ) - Σ log θ
            value += prior.log_density(logs) - sum(logs.values())
        return jnp.where(jnp.isfinite(value), -value, 1e10)

    keys = jax.random.split(key, starts)
    drawn = jax.vmap(lambda k: prior.sample(k, x.dtype))(keys)
    centre = {name: jnp.log(jnp.asarray(g.shape / g.rate, x.dtype)) for name, g in prior.free().items()}
    first = {name: drawn[name].at[0].set(centre[name]) for name in drawn}
    ends, losses = jax.vmap(partial(minimised, loss, steps=steps, method=method, rate=rate))(first)
    best = jnp.argmin(losses)
    return Fit(prior.hyper({name: value[best] for name, value in ends.items()}), -losses[best])


def minimised(loss: Callable, start: Any, *, steps: int, method: str, rate: float) -> tuple[Any, jax.Array]:
    """The best point that the optimizer meets from `start` (a pytree) in so many steps, and the loss there."""
    optimizer = optax.lbfgs() if method == "lbfgs" else optax.adam(rate)
    value_and_grad = jax.value_and_grad(loss)

    def step(carried: tuple, _: None) -> tuple[tuple, None]:
        point, state, best, least = carried
        value, gradient = value_and_grad(point)
        gradient = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0), gradient)
        best = jax.tree.map(lambda new, old: jnp.where(value < least, new, old), point, best)
        extra = {"value": value, "grad": gradient, "value_fn": loss} if method == "lbfgs" else {}
        change, state = optimizer.update(gradient, state, point, **extra)
        moved = optax.apply_updates(point, change)
        point = jax.tree.map(lambda new, old: jnp.where(jnp.isfinite(new), new, old), moved, point)
        return (point, state, best, jnp.minimum(value, least)), None

    start_value = loss(start)
    (point, _, best, least), _ = jax.lax.scan(step, (start, optimizer.init(start), start, start_value), None, steps)
    last = loss(point)
    return jax.tree.map(lambda new, old: jnp.where(last < least, new, old), point, best), jnp.minimum(last, least)


def predictive_at(
    kernel: Kernel,
    prior: HyperPrior,
    logs: Logs,
    x: jax.Array,
    y: jax.Array,
    tests: jax.Array,
    mask: jax.Array | None = None,
) -> Normal:
    """The predictive distributions under many hyper-parameters (s,): mean and variance (s, m)."""
    return jax.vmap(lambda one: predictive(kernel, prior.hyper(one), x, y, tests, mask))(logs)


def log_density_at(
    kernel: Kernel,
    prior: HyperPrior,
    logs: Logs,
    x: jax.Array,
    y: jax.Array,
    tests: jax.Array,
    targets: jax.Array,
    mask: jax.Array | None = None,
) -> jax.Array:
    """log p(y* | x*, context, θ_s) for hyper-parameters (s,), tests (m, d) and targets (m,): (s, m)."""
    normal = predictive_at(kernel, prior, logs, x, y, tests, mask)
    return jax.vmap(log_density, (0, None))(normal, targets)
