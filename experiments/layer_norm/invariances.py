"""Table 1 as measured: a layer under each norm, its weights and data transformed; and what its batch does to a case."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from core.lab.keys import named_keys
from core.models.norms import batch_moments, batch_norm, layer_norm, weight_norm
from experiments.layer_norm.networks import Perceptron

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.layer_norm.settings import NumericsSettings

Tree = Any
NORMS = ("layer_norm", "batch_norm", "weight_norm", "plain")
BROKEN = ("batch_axis", "uncentred", "whole_matrix")  # of layer norm, of batch norm, of weight norm
TRANSFORMATIONS = (
    "matrix_scaling", "matrix_centring", "vector_scaling", "dataset_scaling", "dataset_centring", "case_scaling"
)  # fmt: skip


def transformed(settings: "NumericsSettings", name: str, key: jax.Array, w: jax.Array, x: jax.Array) -> tuple:
    """Weights (units, inputs) and cases (cases, inputs) after one transformation of Table 1 (sections 5.1.1, 5.1.2)."""
    delta, gamma = settings.factor, jax.random.normal(key, w.shape[1:])
    match name:
        case "matrix_scaling":  # W' = δ W
            return delta * w, x
        case "matrix_centring":  # W' = W + 1 γᵀ
            return w + gamma[None], x
        case "vector_scaling":  # w'_1 = δ w_1
            return w.at[0].multiply(delta), x
        case "dataset_scaling":  # x' = δ x
            return w, delta * x
        case "dataset_centring":  # x' = x + γ
            return w, x + gamma[None]
    return w, x.at[0].multiply(delta)  # x'_1 = δ x_1


def normalised(
    settings: "NumericsSettings", arm: str, w: jax.Array, x: jax.Array, gain: jax.Array, bias: jax.Array
) -> jax.Array:
    """The summed inputs W x of a layer under a norm or a broken variant of one: (cases, units), in training."""
    small, a = settings.epsilon, x @ w.T
    match arm:
        case "layer_norm":
            return layer_norm(a, gain, bias, small)
        case "batch_norm":
            return batch_norm(a, batch_moments(a), gain, bias, small)
        case "weight_norm":
            return x @ weight_norm(w.T, gain) + bias[None]
        case "batch_axis":
            return gain[None] * (a - a.mean(0)[None]) / jnp.sqrt(a.var(0) + small)[None] + bias[None]
        case "uncentred":
            return gain[None] * a / jnp.sqrt(jnp.mean(a**2, 0) + small)[None] + bias[None]
        case "whole_matrix":
            return gain[None] * a / jnp.linalg.norm(w) + bias[None]
    return gain[None] * a + bias[None]


def relative_change(found: jax.Array, expected: jax.Array) -> jax.Array:
    """max |f - f'| / max |f|."""
    return jnp.abs(found - expected).max() / jnp.abs(expected).max()


def tables(settings: "NumericsSettings", key: jax.Array) -> dict[str, dict[str, jax.Array]]:
    """How much each transformation changes what a random layer computes, by norm and transformation."""
    keys = jax.random.split(key, 5)
    w = jax.random.normal(keys[0], (settings.units, settings.inputs))
    x = jax.random.normal(keys[1], (settings.cases, settings.inputs)) + 1.0
    gain, bias = 1 + 0.3 * jax.random.normal(keys[2], (settings.units,)), jax.random.normal(keys[3], (settings.units,))
    others = {name: transformed(settings, name, keys[4], w, x) for name in TRANSFORMATIONS}
    found = {}
    for arm in (*NORMS, *BROKEN):
        layer = partial(normalised, settings, arm, gain=gain, bias=bias)
        found[arm] = {name: relative_change(layer(*other), layer(w, x)) for name, other in others.items()}
    return found


def company(settings: "NumericsSettings", arm: str, key: jax.Array) -> dict[str, jax.Array]:
    """How much the output of one case changes with the others of its batch, without any, and between training and test.

    The network of section 6.6, its running statistics those of a former batch.
    """
    keys = jax.random.split(key, 4)
    x, others, former = (jax.random.normal(k, (settings.cases, settings.inputs)) for k in keys[:3])
    net = Perceptron((settings.units, settings.units), settings.units, arm, 0.0, unbiased=False)
    values = net.init(keys[3], x, True)
    values = {**values, **net.apply(values, former, True, mutable=["batch_stats"])[1]}

    def output(cases: jax.Array, training: bool = True) -> jax.Array:
        return net.apply(values, cases, training, mutable=["batch_stats"])[0][0]

    found = {
        "mates": relative_change(output(others.at[0].set(x[0])), output(x)),
        "test": relative_change(output(x, training=False), output(x)),
    }
    if arm != "batch_norm":  # which refuses a single case
        found["alone"] = relative_change(output(x[:1]), output(x))
    return found


def numerics_trial(settings: "NumericsSettings", keys: jax.Array, lab: "Lab") -> None:
    """Table 1, and whether a case's output is its own; every norm beside a broken variant of it."""
    drawn = named_keys(lab, keys, "layer")
    for arm, changes in lab.map(partial(tables, settings), drawn).items():
        for name, change in changes.items():
            lab.measure({"relative_change": change}, arm=arm, transformation=name)
    for arm in ("plain", "layer_norm", "batch_norm", "batch_axis"):
        for name, change in lab.map(partial(company, settings, arm), drawn).items():
            lab.measure({"case_change": change}, arm=arm, company=name)
