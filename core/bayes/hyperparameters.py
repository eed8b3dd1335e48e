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

from core.bayes.gaussian_process import (
    Hyperparameters,
    IndependentNormal,
    Kernel,
    log_marginal_likelihood,
    normal_log_density,
    predict,
)
from core.errors import unknown_name
from core.lab.keys import key_for

LogHyperparameters = dict[str, jax.Array]  # name of a free hyper-parameter -> its logarithm
METHODS = ("adam", "lbfgs")


class GammaPrior(NamedTuple):
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


class HyperparameterPrior(NamedTuple):
    """Independent Gamma priors; noise = noise_floor + draw, or just the floor where its prior is None."""

    lengthscale: GammaPrior
    outputscale: GammaPrior
    noise: GammaPrior | None = None
    noise_floor: float = 1e-4

    def free_priors(self) -> dict[str, GammaPrior]:
        """The priors of the hyper-parameters that are inferred, by name."""
        found = {"lengthscale": self.lengthscale, "outputscale": self.outputscale}
        return found | ({} if self.noise is None else {"noise": self.noise})

    def hyperparameters_from_logs(self, logs: LogHyperparameters) -> Hyperparameters:
        """Hyper-parameters from logarithms."""
        outputscale = jnp.exp(logs["outputscale"])
        floor = jnp.full_like(outputscale, self.noise_floor)
        noise = floor if self.noise is None else floor + jnp.exp(logs["noise"])
        return Hyperparameters(jnp.exp(logs["lengthscale"]), outputscale, noise)

    def sample(self, key: jax.Array, dtype: Any = jnp.float32) -> LogHyperparameters:
        """One draw of the logarithms."""
        return {name: gamma.sample_log(key_for(key, name), (), dtype) for name, gamma in self.free_priors().items()}

    def log_density(self, logs: LogHyperparameters) -> jax.Array:
        """log p of the logarithms."""
        return sum(
            (gamma.log_density_of_log(logs[name]) for name, gamma in self.free_priors().items()),
            jnp.zeros_like(logs["outputscale"]),
        )


def log_joint(
    logs: LogHyperparameters,
    prior: HyperparameterPrior,
    kernel: Kernel,
    x: jax.Array,
    y: jax.Array,
    mask: jax.Array | None = None,
) -> jax.Array:
    """log p(y | x, θ) + log p(log θ), up to a constant the posterior of the logarithms."""
    return log_marginal_likelihood(kernel, prior.hyperparameters_from_logs(logs), x, y, mask) + prior.log_density(logs)


class PointEstimate(NamedTuple):
    """A point estimate: the hyper-parameters and the objective there, in nats."""

    hyperparameters: Hyperparameters
    objective: jax.Array


def fit_hyperparameters(
    kernel: Kernel,
    prior: HyperparameterPrior,
    x: jax.Array,
    y: jax.Array,
    key: jax.Array,
    steps: int,
    starts: int = 3,
    method: str = "lbfgs",
    use_prior: bool = False,
    mask: jax.Array | None = None,
    learning_rate: float = 0.05,
) -> PointEstimate:
    """Hyper-parameters that maximise the evidence (MLE-II) or, with `use_prior`, its product with the prior (MAP).

    Args:
      kernel: the covariance function.
      prior: where starts are drawn from, and the penalty; its floor bounds the noise from below.
      x: inputs (n, d).
      y: targets (n,).
      key: for the starts; the first is the prior's mean.
      steps: of the optimizer from every start.
      starts: how many; the best end is taken.
      method: "lbfgs" (zoom line search) or "adam".
      use_prior: whether the prior is part of the objective. MAP is taken in θ itself, not in log θ.
      mask: bool (n,), rows of the context.
      learning_rate: of Adam.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)

    def loss(logs: LogHyperparameters) -> jax.Array:
        value = log_marginal_likelihood(kernel, prior.hyperparameters_from_logs(logs), x, y, mask)
        if use_prior:
            # log p(θ) = log p(log θ) - Σ log θ
            value += prior.log_density(logs) - sum(logs.values())
        return jnp.where(jnp.isfinite(value), -value, 1e10)

    keys = jax.random.split(key, starts)
    drawn = jax.vmap(lambda k: prior.sample(k, x.dtype))(keys)
    centre = {name: jnp.log(jnp.asarray(g.shape / g.rate, x.dtype)) for name, g in prior.free_priors().items()}
    first = {name: drawn[name].at[0].set(centre[name]) for name in drawn}
    ends, losses = jax.vmap(partial(minimise, loss, steps=steps, method=method, learning_rate=learning_rate))(first)
    best = jnp.argmin(losses)
    return PointEstimate(
        prior.hyperparameters_from_logs({name: value[best] for name, value in ends.items()}), -losses[best]
    )


def minimise(loss: Callable, start: Any, *, steps: int, method: str, learning_rate: float) -> tuple[Any, jax.Array]:
    """The best point that the optimizer meets from `start` (a pytree) in so many steps, and the loss there."""
    optimizer = optax.lbfgs() if method == "lbfgs" else optax.adam(learning_rate)
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


def predict_per_draw(
    kernel: Kernel,
    prior: HyperparameterPrior,
    log_draws: LogHyperparameters,
    x: jax.Array,
    y: jax.Array,
    test_x: jax.Array,
    mask: jax.Array | None = None,
) -> IndependentNormal:
    """The predictive distributions under many hyper-parameters, `log_draws` (s,): mean and variance (s, m)."""
    return jax.vmap(lambda one: predict(kernel, prior.hyperparameters_from_logs(one), x, y, test_x, mask))(log_draws)


def log_density_per_draw(
    kernel: Kernel,
    prior: HyperparameterPrior,
    log_draws: LogHyperparameters,
    x: jax.Array,
    y: jax.Array,
    test_x: jax.Array,
    test_y: jax.Array,
    mask: jax.Array | None = None,
) -> jax.Array:
    """log p(y* | x*, context, θ_s) for hyper-parameters (s,), test_x (m, d) and test_y (m,): (s, m)."""
    normal = predict_per_draw(kernel, prior, log_draws, x, y, test_x, mask)
    return jax.vmap(normal_log_density, (0, None))(normal, test_y)
