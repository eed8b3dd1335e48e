"""Priors over data sets, drawn on the device: each gives inputs (B, N, F) and targets (B, N), float32.

Every prior is a function of a key, the shape (B, N, F) and its hyper-parameters, which may be traced.
"""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.amortised.settings import NetworkTableSettings
from core.bayes.gaussian_process import Hyperparameters, Kernel
from core.bayes.hyperparameters import HyperparameterPrior
from core.bayes.two_layer_classifier import TwoLayerClassifier, sample_data_set
from core.errors import BadInput

Shape = tuple[int, int, int]


class DataSetBatch(NamedTuple):
    """Data sets: inputs (B, N, F) and targets (B, N)."""

    x: jax.Array
    y: jax.Array


def sample_gaussian_process(
    key: jax.Array, shape: Shape, kernel: Kernel, hyperparameters: Hyperparameters, used: jax.Array | None = None
) -> DataSetBatch:
    """A Gaussian process at inputs uniform in the unit cube, with noise in its targets.

    Args:
      key: one key.
      shape: (B, N, F).
      kernel: of `core.bayes.gaussian_process`.
      hyperparameters: scalars, or (B,) for values of every data set; a noise below about 1e-5 of the outputscale is
        lost in float32.
      used: (B,), how many features of every data set are in use; the others are 0. By default all.
    """
    inputs, normal = jax.random.split(key)
    x = jax.random.uniform(inputs, shape)
    if used is not None:
        x = x * (jnp.arange(shape[2])[None] < used[:, None])[:, None]
    each = Hyperparameters(*(jnp.broadcast_to(value, shape[:1]) for value in hyperparameters))
    # y ~ N(0, K + σ² I)
    covariance = jax.vmap(lambda points, one: kernel(points, points, one))(x, each)
    covariance = covariance + each.noise[:, None, None] * jnp.eye(shape[1])[None]
    y = jnp.einsum("bij,bj->bi", jnp.linalg.cholesky(covariance), jax.random.normal(normal, shape[:2]))
    return DataSetBatch(x, y)


def sample_hierarchical_gaussian_process(
    key: jax.Array, shape: Shape, kernel: Kernel, prior: HyperparameterPrior, used: jax.Array | None = None
) -> DataSetBatch:
    """`sample_gaussian_process` with hyper-parameters that are drawn anew for every data set."""
    own, data = jax.random.split(key)
    logs = jax.vmap(prior.sample)(jax.random.split(own, shape[0]))
    return sample_gaussian_process(data, shape, kernel, prior.hyperparameters_from_logs(logs), used)


def sample_linear_classifiers(key: jax.Array, shape: Shape, layers: TwoLayerClassifier) -> DataSetBatch:
    """Data sets of a small Bayesian classifier of two linear layers; targets are its labels, 0 or 1."""
    x, y = jax.vmap(lambda k: sample_data_set(layers, k, shape[1]))(jax.random.split(key, shape[0]))
    return DataSetBatch(x, y.astype(jnp.float32))


def sample_network_tables(key: jax.Array, shape: Shape, law: NetworkTableSettings) -> DataSetBatch:
    """Binary tables made by random tanh networks, as in the code released with Müller et al. (2022).

    Features are N(0, 1) and standardised over the data set, those not in use 0. The label says whether the outcome lies
    above its median; rows take turns between the classes, so that every even context has both alike.
    """
    sets, points, features = shape
    if sets % law.shared or points % 2:
        raise BadInput(f"{sets} data sets, {law.shared} by each network, of {points} points: must divide and be even")
    x, y = jax.vmap(lambda k: _tables_of_network(k, (points, features), law))(jax.random.split(key, sets // law.shared))
    return DataSetBatch(x.reshape(shape), y.reshape(shape[:2]))


def _tables_of_network(
    key: jax.Array, shape: tuple[int, int], law: NetworkTableSettings
) -> tuple[jax.Array, jax.Array]:
    """The data sets of one network, (shared, N, F) and (shared, N)."""
    features, width = shape[1], law.max_width
    sizes = (features, *[width] * (law.layers - 1), 1)
    keys = jax.random.split(key, 4)
    (a_f, b_f), (a_w, b_w) = law.features, law.width
    share = jax.random.beta(keys[0], jnp.array([a_f, a_w]), jnp.array([b_f, b_w]))
    # 2 + round(β (most - 1) - 1/2), most being the largest number there can be
    used, units = 2 + jnp.round(share * (jnp.array([features, width]) - 1) - 0.5)
    (shape_w, scale_w), (shape_n, scale_n) = law.weights, law.noise
    deviation, noise = jax.random.gamma(keys[1], jnp.array([shape_w, shape_n])) * jnp.array([scale_w, scale_n])
    drawn = jax.random.normal(keys[2], (sum(after * (before + 1) for before, after in pairwise(sizes)),))
    maps, start = [], 0
    for before, after in pairwise(sizes):
        maps.append(deviation * drawn[start : start + after * (before + 1)].reshape(before + 1, after))
        start += after * (before + 1)

    def table(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        draws = jax.random.normal(key, (shape[0], features + sum(sizes[2:])))
        x, noises = draws[:, :features], jnp.split(draws[:, features:], np.cumsum(sizes[2:-1]), 1)
        x = x * (jnp.arange(features) < used)[None]
        h = x @ maps[0][1:] + maps[0][:1]
        for weights, normal in zip(maps[1:], noises, strict=True):
            # h ← W tanh(h) + b + σ ε, on the units in use
            h = jnp.tanh(h) * (jnp.arange(width) < units)[None]
            h = h @ weights[1:] + weights[:1] + noise * normal
        outcome = h[:, 0]
        x = (x - x.mean(0, keepdims=True)) / (x.std(0, keepdims=True) + 1e-6)
        y = outcome > jnp.median(outcome)
        order = jnp.argsort(y).reshape(2, -1).T.reshape(-1)
        return x[order], y[order].astype(jnp.float32)

    return jax.vmap(table)(jax.random.split(keys[3], law.shared))
