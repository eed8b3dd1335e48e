"""Priors over data sets, drawn on the device: each gives inputs (B, N, F) and targets (B, N), float32.

Every prior is a function of a key, the shape (B, N, F) and its hyper-parameters, which may be traced.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.bayes.gaussian_process import Hyperparameters, Kernel
from core.bayes.hyperparameters import HyperparameterPrior
from core.bayes.two_layer_classifier import TwoLayerClassifier, sample_data_set

Shape = tuple[int, int, int]


class Drawn(NamedTuple):
    """Data sets: inputs (B, N, F) and targets (B, N)."""

    x: jax.Array
    y: jax.Array


def process(key: jax.Array, shape: Shape, kernel: Kernel, hyper: Hyperparameters) -> Drawn:
    """A Gaussian process at inputs uniform in the unit cube, with noise in its targets.

    Args:
      key: one key.
      shape: (B, N, F).
      kernel: of `core.bayes.gaussian_process`.
      hyper: scalars, or (B,) for values of every data set; a noise below about 1e-5 of the outputscale is lost in
        float32.
    """
    inputs, normal = jax.random.split(key)
    x = jax.random.uniform(inputs, shape)
    each = Hyperparameters(*(jnp.broadcast_to(value, shape[:1]) for value in hyper))
    # y ~ N(0, K + σ² I)
    covariance = jax.vmap(lambda points, one: kernel(points, points, one))(x, each)
    covariance = covariance + each.noise[:, None, None] * jnp.eye(shape[1])[None]
    y = jnp.einsum("bij,bj->bi", jnp.linalg.cholesky(covariance), jax.random.normal(normal, shape[:2]))
    return Drawn(x, y)


def hyper_process(key: jax.Array, shape: Shape, kernel: Kernel, prior: HyperparameterPrior) -> Drawn:
    """A Gaussian process whose hyper-parameters are drawn anew for every data set."""
    own, data = jax.random.split(key)
    logs = jax.vmap(prior.sample)(jax.random.split(own, shape[0]))
    return process(data, shape, kernel, prior.hyperparameters_from_logs(logs))


def linear_network(key: jax.Array, shape: Shape, layers: TwoLayerClassifier) -> Drawn:
    """Data sets of a small Bayesian classifier of two linear layers; targets are its labels, 0 or 1."""
    x, y = jax.vmap(lambda k: sample_data_set(layers, k, shape[1]))(jax.random.split(key, shape[0]))
    return Drawn(x, y.astype(jnp.float32))


class TabularLaw(NamedTuple):
    """Ranges of the architecture prior: widest layer, deepest network, most features in use (all static)."""

    width: int
    depth: int
    features: int


def tabular_network(key: jax.Array, shape: Shape, law: TabularLaw) -> Drawn:
    """Binary tables made by random networks of random architecture.

    Of every data set are drawn: how many of the F features are in use (1 to `law.features`, the others are 0 and those
    in use scaled by F over their number), how many layers (1 to depth) and units (2 to width), the scale of the weights
    and the share of them that is 0, the activation (identity, tanh, ReLU, absolute value), and how much noise the
    outcome has. Features are N(0, 1); the label is 1 where the outcome lies above its median over the data set.
    """
    return Drawn(*jax.vmap(lambda k: one_table(k, shape[1:], law))(jax.random.split(key, shape[0])))


def one_table(key: jax.Array, shape: tuple[int, int], law: TabularLaw) -> tuple[jax.Array, jax.Array]:
    """One data set, (N, F) and (N,), from three draws (one for each number would take far longer to compile)."""
    (points, features), width = shape, law.width
    sizes = (points * features, features * width, *[width * width] * (law.depth - 1), width, points)
    keys = jax.random.split(key, 3)
    u = jax.random.uniform(keys[0], (7,))
    normal = jnp.split(jax.random.normal(keys[1], (sum(sizes),)), np.cumsum(sizes)[:-1])
    chance = jnp.split(jax.random.uniform(keys[2], (sum(sizes[1:-2]),)), np.cumsum(sizes[1:-2])[:-1])
    used = 1 + jnp.floor(u[0] * law.features)
    depth, units, kind = 1 + jnp.floor(u[1] * law.depth), 2 + jnp.floor(u[2] * (width - 1)), jnp.floor(u[3] * 4)
    kept = 0.3 + 0.7 * u[4]
    scale, noise = between(0.5, 3.0, u[5]), between(0.01, 0.5, u[6])
    x = normal[0].reshape(shape) * (jnp.arange(features) < used)[None]
    h, inputs = x, used
    for layer, (drawn, zero) in enumerate(zip(normal[1:-2], chance, strict=True)):
        # h ← a(s W h / √(inputs · share of weights kept)), on the units in use, as long as there are layers
        weights = (drawn * (zero < kept)).reshape(-1, width)
        after = activated(kind, scale * (h @ weights) / jnp.sqrt(inputs * kept)) * (jnp.arange(width) < units)[None]
        h = after if layer == 0 else jnp.where(layer < depth, after, h)
        inputs = units
    raw = h @ normal[-2]
    raw = (raw - raw.mean()) / (raw.std() + 1e-6) + noise * normal[-1]
    return x * (features / used), (raw > jnp.median(raw)).astype(jnp.float32)


def between(low: float, high: float, u: jax.Array) -> jax.Array:
    """Log-uniform from a uniform number."""
    return low * (high / low) ** u


def activated(kind: jax.Array, h: jax.Array) -> jax.Array:
    """One of four activations."""
    return jnp.select([kind == 0, kind == 1, kind == 2], [h, jnp.tanh(h), jax.nn.relu(h)], jnp.abs(h))
