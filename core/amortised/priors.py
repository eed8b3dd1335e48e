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


class DataSetBatch(NamedTuple):
    """Data sets: inputs (B, N, F) and targets (B, N)."""

    x: jax.Array
    y: jax.Array


def sample_gaussian_process(
    key: jax.Array, shape: Shape, kernel: Kernel, hyperparameters: Hyperparameters
) -> DataSetBatch:
    """A Gaussian process at inputs uniform in the unit cube, with noise in its targets.

    Args:
      key: one key.
      shape: (B, N, F).
      kernel: of `core.bayes.gaussian_process`.
      hyperparameters: scalars, or (B,) for values of every data set; a noise below about 1e-5 of the outputscale is
        lost in float32.
    """
    inputs, normal = jax.random.split(key)
    x = jax.random.uniform(inputs, shape)
    each = Hyperparameters(*(jnp.broadcast_to(value, shape[:1]) for value in hyperparameters))
    # y ~ N(0, K + σ² I)
    covariance = jax.vmap(lambda points, one: kernel(points, points, one))(x, each)
    covariance = covariance + each.noise[:, None, None] * jnp.eye(shape[1])[None]
    y = jnp.einsum("bij,bj->bi", jnp.linalg.cholesky(covariance), jax.random.normal(normal, shape[:2]))
    return DataSetBatch(x, y)


def sample_hierarchical_gaussian_process(
    key: jax.Array, shape: Shape, kernel: Kernel, prior: HyperparameterPrior
) -> DataSetBatch:
    """A Gaussian process whose hyper-parameters are drawn anew for every data set."""
    own, data = jax.random.split(key)
    logs = jax.vmap(prior.sample)(jax.random.split(own, shape[0]))
    return sample_gaussian_process(data, shape, kernel, prior.hyperparameters_from_logs(logs))


def sample_linear_classifiers(key: jax.Array, shape: Shape, layers: TwoLayerClassifier) -> DataSetBatch:
    """Data sets of a small Bayesian classifier of two linear layers; targets are its labels, 0 or 1."""
    x, y = jax.vmap(lambda k: sample_data_set(layers, k, shape[1]))(jax.random.split(key, shape[0]))
    return DataSetBatch(x, y.astype(jnp.float32))


class ArchitectureRanges(NamedTuple):
    """Ranges of the architecture prior: widest layer, deepest network, most features in use (all static)."""

    max_width: int
    max_depth: int
    max_features: int


def sample_network_tables(key: jax.Array, shape: Shape, ranges: ArchitectureRanges) -> DataSetBatch:
    """Binary tables made by random networks of random architecture.

    Of every data set are drawn: how many of the F features are in use (1 to `ranges.max_features`, the others are 0 and
      those in use scaled by F over their number), how many layers (1 to depth) and units (2 to width), the scale of the
      weights and the share of them that is 0, the activation (identity, tanh, ReLU, absolute value), and how much noise
      the outcome has. Features are N(0, 1); the label is 1 where the outcome lies above its median over the data set.
    """
    return DataSetBatch(
        *jax.vmap(lambda k: sample_network_table(k, shape[1:], ranges))(jax.random.split(key, shape[0]))
    )


def sample_network_table(
    key: jax.Array, shape: tuple[int, int], ranges: ArchitectureRanges
) -> tuple[jax.Array, jax.Array]:
    """One data set, (N, F) and (N,), from three draws (one for each number would take far longer to compile)."""
    (points, features), width = shape, ranges.max_width
    sizes = (points * features, features * width, *[width * width] * (ranges.max_depth - 1), width, points)
    keys = jax.random.split(key, 3)
    u = jax.random.uniform(keys[0], (7,))
    normal = jnp.split(jax.random.normal(keys[1], (sum(sizes),)), np.cumsum(sizes)[:-1])
    chance = jnp.split(jax.random.uniform(keys[2], (sum(sizes[1:-2]),)), np.cumsum(sizes[1:-2])[:-1])
    used = 1 + jnp.floor(u[0] * ranges.max_features)
    depth, units, kind = 1 + jnp.floor(u[1] * ranges.max_depth), 2 + jnp.floor(u[2] * (width - 1)), jnp.floor(u[3] * 4)
    kept = 0.3 + 0.7 * u[4]
    scale, noise = log_uniform(0.5, 3.0, u[5]), log_uniform(0.01, 0.5, u[6])
    x = normal[0].reshape(shape) * (jnp.arange(features) < used)[None]
    h, inputs = x, used
    for layer, (drawn, zero) in enumerate(zip(normal[1:-2], chance, strict=True)):
        # h ← a(s W h / √(inputs · share of weights kept)), on the units in use, as long as there are layers
        weights = (drawn * (zero < kept)).reshape(-1, width)
        after = (
            apply_activation(kind, scale * (h @ weights) / jnp.sqrt(inputs * kept)) * (jnp.arange(width) < units)[None]
        )
        h = after if layer == 0 else jnp.where(layer < depth, after, h)
        inputs = units
    raw = h @ normal[-2]
    raw = (raw - raw.mean()) / (raw.std() + 1e-6) + noise * normal[-1]
    return x * (features / used), (raw > jnp.median(raw)).astype(jnp.float32)


def log_uniform(low: float, high: float, u: jax.Array) -> jax.Array:
    """Log-uniform from a uniform number."""
    return low * (high / low) ** u


def apply_activation(index: jax.Array, h: jax.Array) -> jax.Array:
    """One of four activations."""
    return jnp.select([index == 0, index == 1, index == 2], [h, jnp.tanh(h), jax.nn.relu(h)], jnp.abs(h))
