"""Priors over data sets, drawn on the device: each gives inputs (B, N, F) and targets (B, N), float32.

Every prior is a function of a key, the shape (B, N, F) and its hyper-parameters, which may be traced.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from core.bayes.evidence import HyperPrior
from core.bayes.gaussian_process import Hyper, Kernel
from core.bayes.network import TwoLayers, data_set

Shape = tuple[int, int, int]


class Drawn(NamedTuple):
    """Data sets: inputs (B, N, F) and targets (B, N)."""

    x: jax.Array
    y: jax.Array


def process(key: jax.Array, shape: Shape, kernel: Kernel, hyper: Hyper) -> Drawn:
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
    each = Hyper(*(jnp.broadcast_to(value, shape[:1]) for value in hyper))
    # y ~ N(0, K + σ² I)
    covariance = jax.vmap(lambda points, one: kernel(points, points, one))(x, each)
    covariance = covariance + each.noise[:, None, None] * jnp.eye(shape[1])[None]
    y = jnp.einsum("bij,bj->bi", jnp.linalg.cholesky(covariance), jax.random.normal(normal, shape[:2]))
    return Drawn(x, y)


def hyper_process(key: jax.Array, shape: Shape, kernel: Kernel, prior: HyperPrior) -> Drawn:
    """A Gaussian process whose hyper-parameters are drawn anew for every data set."""
    own, data = jax.random.split(key)
    logs = jax.vmap(prior.sample)(jax.random.split(own, shape[0]))
    return process(data, shape, kernel, prior.hyper(logs))


def linear_network(key: jax.Array, shape: Shape, layers: TwoLayers) -> Drawn:
    """Data sets of a small Bayesian classifier of two linear layers; targets are its labels, 0 or 1."""
    x, y = jax.vmap(lambda k: data_set(layers, k, shape[1]))(jax.random.split(key, shape[0]))
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
    """One data set, (N, F) and (N,)."""
    points, features = shape
    keys = jax.random.split(key, 9)
    used = jax.random.randint(keys[0], (), 1, law.features + 1)
    x = jax.random.normal(keys[1], shape) * (jnp.arange(features) < used)[None]
    depth = jax.random.randint(keys[2], (), 1, law.depth + 1)
    units = jax.random.randint(keys[3], (), 2, law.width + 1)
    kind = jax.random.randint(keys[4], (), 0, 4)
    kept = jax.random.uniform(keys[5], (), minval=0.3, maxval=1.0)
    scale = jnp.exp(jax.random.uniform(keys[6], (), minval=jnp.log(0.5), maxval=jnp.log(3.0)))
    noise = jnp.exp(jax.random.uniform(keys[7], (), minval=jnp.log(0.01), maxval=jnp.log(0.5)))
    mask = (jnp.arange(law.width) < units)[None]
    weights, zeros, outcome, errors = jax.random.split(keys[8], 4)
    h, inputs = x, used.astype(jnp.float32)
    for layer in range(law.depth):
        h_next = h @ masked(jax.random.fold_in(weights, layer), jax.random.fold_in(zeros, layer), h, law.width, kept)
        h_next = activated(kind, scale * h_next / jnp.sqrt(inputs * kept)) * mask
        h = h_next if layer == 0 else jnp.where(layer < depth, h_next, h)
        inputs = units.astype(jnp.float32)
    raw = h @ jax.random.normal(outcome, (law.width,))
    raw = (raw - raw.mean()) / (raw.std() + 1e-6) + noise * jax.random.normal(errors, (points,))
    return x * (features / used), (raw > jnp.median(raw)).astype(jnp.float32)


def masked(weights: jax.Array, zeros: jax.Array, h: jax.Array, width: int, kept: jax.Array) -> jax.Array:
    """Normal weights (inputs, width), a share of which is 0."""
    shape = (h.shape[-1], width)
    return jax.random.normal(weights, shape) * jax.random.bernoulli(zeros, kept, shape)


def activated(kind: jax.Array, h: jax.Array) -> jax.Array:
    """One of four activations."""
    return jnp.select([kind == 0, kind == 1, kind == 2], [h, jnp.tanh(h), jax.nn.relu(h)], jnp.abs(h))
