"""The networks of section 6 and of its stand-ins: perceptrons, and recurrent readers of texts and of images."""

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.data.catalogue import find_data_set
from core.models.norms import LayerNorm, batch_moments, batch_norm, initial_moments, update_running_moments
from core.models.recurrent import RecurrentLayer
from core.supervised.tasks import Task, cross_entropies, module_task
from experiments.layer_norm.settings import GainSettings, PerceptronSettings, ReaderSettings, TextSettings

AGAIN, SMALL_GAIN = "_again", "_small_gain"  # how the names of arms end that have the network of another
GLOROT = ("small_inputs", "layer_norm")  # arms on text with Glorot's input weights; in the others W x has variance 1
NORMS = {"plain": "none", "small_inputs": "none", "layer_norm": "layer", "large_inputs": "layer", "batch_norm": "batch"}


def network_of(arm: str) -> str:
    """The arm whose network and learning rate an arm has: it differs in its draws, or in its initial gain."""
    return arm.removesuffix(AGAIN).removesuffix(SMALL_GAIN)


def image_example(data_set: str) -> jax.ShapeDtypeStruct:
    """Shape and dtype of one image of a data set."""
    shape, dtype = find_data_set(data_set).array_shapes["train_images"]
    return jax.ShapeDtypeStruct(shape[1:], jnp.dtype(dtype))


def loss_and_error(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    """Cross-entropy in nats, and 100 where the most likely class is wrong, of every case."""
    wrong = (logits.argmax(-1) != labels).astype(jnp.float32)
    return {"loss": cross_entropies(logits, labels), "error": 100 * wrong}


# --- perceptrons (section 6.6) ----------------------------------------------------------------------------------------


class BatchAxis(nn.Module):
    """Layer normalisation along the wrong axis: over the cases at hand, in training and test alike."""

    @nn.compact
    def __call__(self, a: jax.Array) -> jax.Array:
        """Summed inputs (cases, units), each unit with mean 0 and variance 1 over the cases, times g, plus b."""
        gain = self.param("gain", nn.initializers.ones, a.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, a.shape[-1:])
        mean, variance = a.mean(0), a.var(0)
        return gain[None] * (a - mean[None]) / jnp.sqrt(variance + 1e-5)[None] + bias[None]


class BatchNorm(nn.Module):
    """Batch norm of section 6.6; `unbiased`: training takes the unbiased estimate of the variance, as test does."""

    momentum: float
    unbiased: bool

    @nn.compact
    def __call__(self, a: jax.Array, train: bool) -> jax.Array:
        """Summed inputs (cases, units), normalised by this batch in training and by running statistics otherwise."""
        gain = self.param("gain", nn.initializers.ones, a.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, a.shape[-1:])
        running = self.variable("batch_stats", "running", initial_moments, a.shape[-1:])
        if not train or self.is_initializing():
            return batch_norm(a, running.value, gain, bias)
        seen = batch_moments(a)
        if self.unbiased:
            seen = seen._replace(variance=seen.variance * len(a) / (len(a) - 1))
        running.value = update_running_moments(running.value, jax.lax.stop_gradient(seen), self.momentum, False)
        return batch_norm(a, seen, gain, bias)


class Perceptron(nn.Module):
    """Dense layers with ReLU; layer norm on the hidden layers only, batch norm on the output layer too."""

    hidden: tuple[int, ...]
    classes: int
    arm: str
    momentum: float
    unbiased: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Logits (cases, classes) of inputs (cases, inputs)."""
        for number, width in enumerate(self.hidden):
            # h = max(0, LN(W x)); biases are those of the norm, where there is one
            a = nn.Dense(width, use_bias=self.arm == "plain", name=f"dense_{number}")(x)
            x = nn.relu(self.normalise(a, f"norm_{number}", train))
        logits = nn.Dense(self.classes, use_bias=self.arm != "batch_norm", name="output")(x)
        return self.normalise(logits, "norm_output", train) if self.arm == "batch_norm" else logits

    def normalise(self, a: jax.Array, name: str, train: bool) -> jax.Array:
        """Summed inputs under the norm of the arm."""
        if self.arm == "layer_norm":
            return LayerNorm(name=name)(a)
        if self.arm == "batch_norm":
            return BatchNorm(self.momentum, self.unbiased, name=name)(a, train)
        return BatchAxis(name=name)(a) if self.arm == "batch_axis" else a


def as_vectors(images: jax.Array) -> jax.Array:
    """Bytes (cases, height, width) as vectors of numbers in [0, 1]."""
    return images.reshape(len(images), -1).astype(jnp.float32) / 255


def perceptron_of(settings: PerceptronSettings, arm: str) -> Perceptron:
    """The network of an arm; running statistics remember as many images whatever the batch size."""
    batch, classes = settings.training.batch, len(find_data_set(settings.data.name).classes)
    momentum = max(0.0, 1 - batch / settings.memory)
    return Perceptron(settings.hidden, classes, network_of(arm), momentum, batch <= settings.unbiased_up_to)


def perceptron_task(settings: PerceptronSettings, arm: str) -> Task:
    """Classification of images by the network of an arm."""
    net, example = perceptron_of(settings, arm), image_example(settings.data.name)
    return module_task(net, example, metrics=loss_and_error, prepare=as_vectors, scaling=settings.scaling, at_once=1000)


# --- recurrent readers ------------------------------------------------------------------------------------------------


class Reader(nn.Module):
    """A recurrent layer over a sequence and a dense layer: logits at every step, or after the last one alone.

    Attributes:
      input_sd: of the initial input weights; 0: Glorot's.
      gain: initial gain of the norms.
    """

    cell: str
    width: int
    classes: int
    norm: str
    input_sd: float
    gain: float = 1.0
    every_step: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Logits (cases, steps, classes), or (cases, classes), of sequences (cases, steps, inputs)."""
        steps, inputs = x.shape[1:]
        input_init = nn.initializers.normal(self.input_sd) if self.input_sd else nn.initializers.glorot_normal()
        layer = RecurrentLayer(
            self.cell, inputs, self.width, self.norm, initial_gain=self.gain, forget_bias=1.0, input_init=input_init,
            max_length=steps if self.norm == "batch" else 1, name="recurrent"
        )  # fmt: skip
        h, _ = layer(x.swapaxes(0, 1), train=train)
        h = h.swapaxes(0, 1) if self.every_step else h[-1]
        return nn.Dense(self.classes, name="output")(h)


def text_task(settings: TextSettings, arm: str) -> Task:
    """A GRU that foretells the next letter after every letter."""
    symbols = len(find_data_set(settings.data.name).classes)
    kind = network_of(arm)
    net = Reader("gru", settings.width, symbols, NORMS[kind], 0.0 if kind in GLOROT else 1.0, every_step=True)
    window = jax.ShapeDtypeStruct((settings.data.length,), jnp.int32)
    letters = partial(jax.nn.one_hot, num_classes=symbols)
    task = module_task(net, window, window_losses, window_metrics, prepare=letters, at_once=250)
    return dataclasses.replace(task, gather=partial(text_windows, settings.data.length))


def text_windows(length: int, examples: dict[str, jax.Array], starts: jax.Array) -> dict[str, jax.Array]:
    """The T letters from each start (n,) on, and the ones that follow each of them: int32 (n, T)."""
    codes = examples["text"][starts[:, None] + jnp.arange(length + 1)[None]].astype(jnp.int32)
    return {"x": codes[:, :-1], "y": codes[:, 1:]}


def window_losses(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy of the next letter in every window, in nats."""
    return cross_entropies(logits, labels).mean(-1)


def window_metrics(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    """The same, as a metric."""
    return {"loss": window_losses(logits, labels)}


def image_task(settings: ReaderSettings, arm: str) -> Task:
    """An LSTM that names the class of an image after its last piece; W x has a variance of about 1 at first."""
    classes, gain = len(find_data_set(settings.data.name).classes), 1.0
    if isinstance(settings, GainSettings):
        gain = settings.small_gain if arm.endswith(SMALL_GAIN) else settings.gain
    net = Reader("lstm", settings.width, classes, NORMS[network_of(arm)], (settings.pixels + 1) ** -0.5, gain)
    example, pieces = image_example(settings.data.name), partial(image_pieces, settings.shrink, settings.pixels)
    return module_task(net, example, metrics=loss_and_error, prepare=pieces, scaling=settings.scaling, at_once=250)


def image_pieces(shrink: int, pixels: int, images: jax.Array) -> jax.Array:
    """Bytes (cases, height, width) as sequences (cases, steps, pixels + 1) of numbers in [-1, 1], rows from the top.

    The last input is always 1: the bias within LN(W x + b) of the authors' code. LN(W x) of a single pixel would be its
    sign, and where x = 0 gradients grow by 1/√ε at each step.
    """
    n, height, width = images.shape
    small = images.astype(jnp.float32).reshape(n, height // shrink, shrink, width // shrink, shrink)
    pieces = small.mean((2, 4)).reshape(n, -1, pixels) / 127.5 - 1
    return jnp.pad(pieces, ((0, 0), (0, 0), (0, 1)), constant_values=1)
