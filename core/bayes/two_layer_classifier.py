"""A small Bayesian classifier: two LINEAR layers, every weight and bias N(0, 1), softmax over classes.

There is no activation between the layers (Müller et al. 2022, section 6, as their code has it): the model is a
logistic regression whose coefficients have a product prior, known up to the rotations of its hidden layer.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from core.lab.keys import key_for

Weights = dict[str, jax.Array]


class TwoLayerClassifier(NamedTuple):
    """Numbers of features, hidden units and classes, such as 3-5-2."""

    features: int
    hidden: int
    classes: int = 2

    def sample_weights(self, key: jax.Array) -> Weights:
        """Weights and biases from the prior N(0, 1), float32."""
        shapes = {
            "weights_1": (self.features, self.hidden),
            "biases_1": (self.hidden,),
            "weights_2": (self.hidden, self.classes),
            "biases_2": (self.classes,),
        }
        return {name: jax.random.normal(key_for(key, name), shape) for name, shape in shapes.items()}


def logits(weights: Weights, x: jax.Array) -> jax.Array:
    """(x W₁ + b₁) W₂ + b₂ for x (n, features): (n, classes)."""
    hidden = x @ weights["weights_1"] + weights["biases_1"][None]
    return hidden @ weights["weights_2"] + weights["biases_2"][None]


def log_likelihoods(weights: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
    """log p(y | x, w) of each row, for classes y (n,) int: (n,)."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits(weights, x)), y[:, None], axis=1)[:, 0]


def log_prior(weights: Weights) -> jax.Array:
    """Σ log N(w; 0, 1)."""
    flat = ravel_pytree(weights)[0]
    return -jnp.sum(flat**2) / 2 - len(flat) * math.log(2 * math.pi) / 2


def log_joint(weights: Weights, x: jax.Array, y: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """log p(y, w | x) over the rows of the context, `mask` bool (n,), by default all."""
    found = log_likelihoods(weights, x, y)
    return jnp.sum(found if mask is None else jnp.where(mask, found, 0)) + log_prior(weights)


def sample_data_set(network: TwoLayerClassifier, key: jax.Array, rows: int) -> tuple[jax.Array, jax.Array]:
    """One data set of the prior: x ~ N(0, 1) (rows, features), y (rows,) int32 drawn from the softmax."""
    x = jax.random.normal(key_for(key, "x"), (rows, network.features))
    weights = network.sample_weights(key_for(key, "weights"))
    return x, jax.random.categorical(key_for(key, "y"), logits(weights, x)).astype(jnp.int32)


def log_likelihoods_per_draw(draws: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
    """log p(y | x, w_s) for draws with leading axis (s,): (s, n)."""
    return jax.vmap(lambda weights: log_likelihoods(weights, x, y))(draws)


def predictive_probabilities(draws: Weights, x: jax.Array) -> jax.Array:
    """The posterior predictive probabilities (n, classes): the mean of the softmax over draws."""
    return jnp.mean(jax.vmap(lambda weights: jax.nn.softmax(logits(weights, x)))(draws), axis=0)
