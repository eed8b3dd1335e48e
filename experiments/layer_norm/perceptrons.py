"""Permutation-invariant MNIST at a large and a small batch (section 6.6): no norm, batch norm, layer norm."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.data.catalogue import find_data_set
from core.lab.keys import named_keys
from core.models.norms import BatchNorm, LayerNorm
from core.supervised.batches import epoch_batches
from experiments.layer_norm.learning import Task, Training, cross_entropy, percent_wrong, train

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.layer_norm.settings import PerceptronSettings, RateSettings

Tree = Any
ARMS = ("plain", "batch_norm", "layer_norm", "batch_axis")
AT_ONCE = 1000  # test images that are evaluated together


class BatchAxis(nn.Module):
    """Layer normalisation along the wrong axis: over the cases at hand, in training and test alike."""

    @nn.compact
    def __call__(self, a: jax.Array) -> jax.Array:
        """Summed inputs (cases, units), each unit with mean 0 and variance 1 over the cases, times g, plus b."""
        gain = self.param("gain", nn.initializers.ones, a.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, a.shape[-1:])
        mean, variance = a.mean(0), a.var(0)
        return gain[None] * (a - mean[None]) / jnp.sqrt(variance + 1e-5)[None] + bias[None]


class Perceptron(nn.Module):
    """Dense layers with ReLU; layer norm on the hidden layers only, batch norm on the output layer too."""

    hidden: tuple[int, ...]
    classes: int
    arm: str
    momentum: float
    unbiased: bool

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Logits (cases, classes) of inputs (cases, inputs)."""
        for number, width in enumerate(self.hidden):
            # h = max(0, LN(W x)); biases are those of the norm, where there is one
            a = nn.Dense(width, use_bias=self.arm == "plain", name=f"dense_{number}")(x)
            x = nn.relu(self.normalised(a, f"norm_{number}", training))
        logits = nn.Dense(self.classes, use_bias=self.arm != "batch_norm", name="output")(x)
        return self.normalised(logits, "norm_output", training) if self.arm == "batch_norm" else logits

    def normalised(self, a: jax.Array, name: str, training: bool) -> jax.Array:
        """Summed inputs under the norm of the arm."""
        if self.arm == "layer_norm":
            return LayerNorm(name=name)(a)
        if self.arm == "batch_norm":
            return BatchNorm(momentum=self.momentum, unbiased=self.unbiased, name=name)(a, train=training)
        return BatchAxis(name=name)(a) if self.arm == "batch_axis" else a


def perceptron(settings: "PerceptronSettings", arm: str, batch: int) -> Perceptron:
    """The network of an arm; running statistics remember as many examples whatever the batch size."""
    momentum = max(0.0, 1 - batch / settings.memory)
    return Perceptron(
        settings.hidden, len(find_data_set(settings.dataset).classes), arm, momentum, batch <= settings.unbiased_up_to
    )


def initial(settings: "PerceptronSettings", arm: str, batch: int, key: jax.Array) -> dict[str, Tree]:
    """Fresh parameters and statistics."""
    x = jnp.zeros((2, *find_data_set(settings.dataset).array_shapes["train_images"][0][1:]), jnp.uint8)
    made = perceptron(settings, arm, batch).init(key, as_vectors(x), True)
    return {"params": made["params"], "batch_stats": made.get("batch_stats", {})}


def as_vectors(images: jax.Array) -> jax.Array:
    """Bytes (cases, height, width) as vectors of numbers in [0, 1]."""
    return images.reshape(len(images), -1).astype(jnp.float32) / 255


def loss(
    settings: "PerceptronSettings", arm: str, batch: int, values: Tree, rows: jax.Array, key: jax.Array, *arrays: Any
) -> tuple[jax.Array, Tree]:
    """Mean cross-entropy of a training batch, and the new running statistics."""
    images, labels, *_ = arrays
    net = perceptron(settings, arm, batch)
    logits, new = net.apply(values, as_vectors(images[rows]), True, mutable=["batch_stats"])
    return cross_entropy(logits, labels[rows]), new.get("batch_stats", {})


def evaluate(
    settings: "PerceptronSettings", arm: str, batch: int, values: Tree, part: str, rows: jax.Array, *arrays: Any
) -> dict[str, jax.Array]:
    """Cross-entropy and error, some cases at a time; layer norm along the wrong axis has them in training batches."""
    images, labels = arrays[2:] if part == "test" else arrays[:2]
    net = perceptron(settings, arm, batch)
    together = batch if arm == "batch_axis" else min(AT_ONCE, len(rows))
    rows = rows[: len(rows) // together * together]

    def some(chunk: jax.Array) -> Any:
        return net.apply(values, as_vectors(images[chunk]), False)

    logits = jax.lax.map(some, rows.reshape(-1, together), batch_size=max(1, AT_ONCE // together))
    logits = logits.reshape(len(rows), -1)
    return {"loss": cross_entropy(logits, labels[rows]), "error": percent_wrong(logits, labels[rows])}


def arranged(settings: "PerceptronSettings", batch: int, key: jax.Array, test: int) -> tuple[jax.Array, Tree]:
    """Order of the training examples (steps, batch), and the parts: some of them, held-out ones, all test images."""
    split, order = jax.random.split(key)
    images = find_data_set(settings.dataset).array_shapes["train_images"][0][0]
    rows = jax.random.permutation(split, images)[: settings.examples + settings.validation].astype(jnp.int32)
    own, held_out = rows[: settings.examples], rows[settings.examples :]
    steps = settings.seen // batch
    parts = {"train": own[: settings.watched], "validation": held_out, "test": jnp.arange(test)}
    return own[epoch_batches(order, settings.examples, batch, steps)], parts


def compare(
    settings: "PerceptronSettings",
    keys: jax.Array,
    lab: "Lab",
    rates: Mapping[int, "RateSettings"],
    prefix: str = "",
    **conditions: Any,
) -> None:
    """Every arm at every batch size, with the same first weights and as many examples seen."""
    data = lab.data(settings.dataset)
    arrays = tuple(data[name] for name in ("train_images", "train_labels", "test_images", "test_labels"))
    for batch in settings.batches:
        order, parts = lab.map(
            partial(arranged, settings, batch, test=arrays[3].shape[0]), named_keys(lab, keys, "order")
        )
        training = Training(settings.seen // batch, settings.every // batch, settings.clip, order, parts, arrays)
        for arm in ARMS:
            task = Task(*(partial(each, settings, arm, batch) for each in (initial, loss, evaluate)))
            rate, name = rates[batch].of(arm), f"{prefix}{arm}/{batch}"
            train(lab, keys, task, training, rate, "init", name, arm=arm, batch=batch, **conditions)
