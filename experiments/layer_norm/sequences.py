"""Recurrent networks with and without normalisation (sections 4 and 6): texts by letters, images by pieces."""

from functools import partial
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from core.data.catalogue import find_data_set
from core.lab import timing
from core.lab.keys import named_keys
from core.models.recurrent import RecurrentLayer
from core.supervised.batches import epoch_batches
from experiments.layer_norm.learning import (
    State,
    Task,
    Training,
    begin,
    cross_entropy,
    kind_of,
    percent_wrong,
    train,
    update,
)

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.layer_norm.settings import ImageSettings, RateSettings, SecondsSettings, TextSettings

Tree = Any
AT_ONCE = 250  # sequences that are evaluated together
NORMS = {"plain": "none", "layer_norm": "layer", "batch_norm": "batch"}
BITS = 1 / np.log(2)  # of a nat
TEXT_PARTS = ("train_text", "validation_text", "test_text")
IMAGE_PARTS = ("train_images", "train_labels", "test_images", "test_labels")


class Reader(nn.Module):
    """A recurrent layer over a sequence and a dense layer: logits at every step, or after the last one alone."""

    cell: str
    width: int
    classes: int
    norm: str
    gain: float
    every_step: bool

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Logits (cases, steps, classes), or (cases, classes), of sequences (cases, steps, inputs)."""
        steps, inputs = x.shape[1:]
        layer = RecurrentLayer(
            self.cell,
            inputs,
            self.width,
            self.norm,
            initial_gain=self.gain,
            forget_bias=1.0,
            max_length=steps if self.norm == "batch" else 1,
            name="recurrent",
        )
        h, _ = layer(x.swapaxes(0, 1), train=training)
        h = h.swapaxes(0, 1) if self.every_step else h[-1]
        return nn.Dense(self.classes, name="output")(h)


# --- texts ----------------------------------------------------------------------------------------------------------


def letters(settings: "TextSettings") -> int:
    """How many symbols a text is written with."""
    return len(find_data_set(settings.dataset).classes)


def text_reader(settings: "TextSettings", arm: str) -> Reader:
    """A GRU that foretells the next letter after every letter."""
    return Reader("gru", settings.width, letters(settings), NORMS[arm], 1.0, every_step=True)


def as_letters(settings: "TextSettings", codes: jax.Array) -> jax.Array:
    """Codes (…) as indicator vectors (…, symbols)."""
    return jax.nn.one_hot(codes, letters(settings))


def first_text_values(settings: "TextSettings", arm: str, key: jax.Array) -> dict[str, Tree]:
    """Fresh parameters."""
    x = jnp.zeros((2, settings.length, letters(settings)))
    made = text_reader(settings, arm).init(key, x, True)
    return {"params": made["params"], "batch_stats": made.get("batch_stats", {})}


def windows(settings: "TextSettings", text: jax.Array, starts: jax.Array) -> jax.Array:
    """The T letters from each start (n,) on, and the one after them: int32 (n, T + 1)."""
    return text[starts[:, None] + jnp.arange(settings.length + 1)[None]].astype(jnp.int32)


def text_loss(
    settings: "TextSettings",
    arm: str,
    shuffled: bool,
    values: Tree,
    starts: jax.Array,
    key: jax.Array,
    *arrays: jax.Array,
) -> tuple[jax.Array, Tree]:
    """Mean cross-entropy of the next letter over all letters of the windows, in nats."""
    codes = windows(settings, arrays[0], starts)
    if shuffled:
        codes = jax.random.permutation(key, codes, axis=1, independent=True)
    logits, new = text_reader(settings, arm).apply(
        values, as_letters(settings, codes[:, :-1]), True, mutable=["batch_stats"]
    )
    return cross_entropy(logits, codes[:, 1:]), new.get("batch_stats", {})


def evaluate_text(
    settings: "TextSettings", arm: str, values: Tree, part: str, starts: jax.Array, *arrays: jax.Array
) -> dict[str, jax.Array]:
    """Mean cross-entropy of the next letter, in bits per letter."""
    codes = windows(settings, arrays[TEXT_PARTS.index(f"{part}_text")], starts)
    read = partial(text_reader(settings, arm).apply, values)

    def some(chunk: jax.Array) -> jax.Array:
        return cross_entropy(read(as_letters(settings, chunk[None, :-1]), False)[0], chunk[1:])

    return {"loss": BITS * jax.lax.map(some, codes, batch_size=AT_ONCE).mean()}


def arranged_text(settings: "TextSettings", key: jax.Array) -> tuple[jax.Array, Tree]:
    """Random starts of windows (steps, batch), and evenly spaced ones in the other parts."""
    arrays = find_data_set(settings.dataset).array_shapes
    room = {part: arrays[f"{part}_text"][0][0] - settings.length for part in ("train", "validation", "test")}
    order = jax.random.randint(key, (settings.steps, settings.batch), 0, room["train"])
    asked = {"validation": settings.validation, "test": settings.test}
    parts = {part: jnp.arange(count) * (room[part] // count) for part, count in asked.items()}
    return order, parts


def compare_texts(
    settings: "TextSettings",
    keys: jax.Array,
    lab: "Lab",
    arms: tuple[str, ...],
    rates: "RateSettings",
    prefix: str = "",
    **conditions: Any,
) -> dict[str, tuple]:
    """Train readers of a text; all arms but `plain_again` have the same first weights and windows."""
    data = lab.data(settings.dataset)
    arrays = tuple(data[name] for name in TEXT_PARTS)
    found = {}
    for arm in arms:
        again = "_again" if arm.endswith("_again") else ""
        order, parts = lab.map(partial(arranged_text, settings), named_keys(lab, keys, f"order{again}"))
        training = Training(settings.steps, settings.every, settings.clip, order, parts, arrays)
        kind, shuffled = kind_of(arm), arm == "shuffled"
        loss = partial(text_loss, settings, kind, shuffled)
        task = Task(partial(first_text_values, settings, kind), loss, partial(evaluate_text, settings, kind))
        rate, draws = rates.of(kind), f"init{again}"
        found[arm] = train(lab, keys, task, training, rate, draws, prefix + arm, arm=arm, **conditions)
    return found


# --- images ---------------------------------------------------------------------------------------------------------


def image_reader(settings: "ImageSettings", arm: str) -> Reader:
    """An LSTM that names the class of an image after its last piece."""
    classes = len(find_data_set(settings.dataset).classes)
    return Reader("lstm", settings.width, classes, NORMS[arm], settings.gain, every_step=False)


def as_pieces(settings: "ImageSettings", images: jax.Array) -> jax.Array:
    """Bytes (cases, height, width) as sequences (cases, steps, pixels) of numbers in [-1, 1], rows from the top.

    An empty margin is not 0: summed inputs that are all alike leave nothing to normalise, and through many such steps
    gradients grow by 1/√ε at each.
    """
    n, height, width = images.shape
    small = images.astype(jnp.float32).reshape(
        n, height // settings.shrink, settings.shrink, width // settings.shrink, settings.shrink
    )
    return small.mean((2, 4)).reshape(n, -1, settings.pixels) / 127.5 - 1


def first_image_values(settings: "ImageSettings", arm: str, key: jax.Array) -> dict[str, Tree]:
    """Fresh parameters, and statistics of every time step where there are any."""
    x = jnp.zeros((2, *find_data_set(settings.dataset).array_shapes["train_images"][0][1:]), jnp.uint8)
    made = image_reader(settings, arm).init(key, as_pieces(settings, x), True)
    return {"params": made["params"], "batch_stats": made.get("batch_stats", {})}


def image_loss(
    settings: "ImageSettings",
    arm: str,
    shuffled: bool,
    values: Tree,
    rows: jax.Array,
    key: jax.Array,
    *arrays: jax.Array,
) -> tuple[jax.Array, Tree]:
    """Mean cross-entropy of the classes of a batch, in nats."""
    images, labels, *_ = arrays
    x = as_pieces(settings, images[rows])
    if shuffled:
        x = jax.vmap(jax.random.permutation)(jax.random.split(key, len(x)), x)
    logits, new = image_reader(settings, arm).apply(values, x, True, mutable=["batch_stats"])
    return cross_entropy(logits, labels[rows]), new.get("batch_stats", {})


def evaluate_images(
    settings: "ImageSettings", arm: str, values: Tree, part: str, rows: jax.Array, *arrays: jax.Array
) -> dict[str, jax.Array]:
    """Mean cross-entropy in nats and error in percent, some images at a time."""
    images, labels = arrays[2:] if part == "test" else arrays[:2]
    read = partial(image_reader(settings, arm).apply, values)

    def some(row: jax.Array) -> jax.Array:
        return read(as_pieces(settings, images[row][None]), False)[0]

    logits = jax.lax.map(some, rows, batch_size=AT_ONCE)
    return {"loss": cross_entropy(logits, labels[rows]), "error": percent_wrong(logits, labels[rows])}


def arranged_images(settings: "ImageSettings", split: jax.Array, order: jax.Array) -> tuple[jax.Array, Tree]:
    """Order of the training images (steps, batch), held-out images, and all test images."""
    arrays = find_data_set(settings.dataset).array_shapes
    chosen = jax.random.permutation(split, arrays["train_images"][0][0]).astype(jnp.int32)
    own, held_out = chosen[: settings.examples], chosen[settings.examples :][: settings.validation]
    rows = own[epoch_batches(order, settings.examples, settings.batch, settings.steps)]
    return rows, {"validation": held_out, "test": jnp.arange(arrays["test_images"][0][0])}


def compare_images(
    settings: "ImageSettings",
    keys: jax.Array,
    lab: "Lab",
    arms: tuple[str, ...],
    rates: "RateSettings",
    prefix: str = "",
    **conditions: Any,
) -> dict[str, tuple]:
    """Train readers of images; arms called `…_again` have other first weights and another order."""
    data = lab.data(settings.dataset)
    arrays = tuple(data[name] for name in IMAGE_PARTS)
    found = {}
    for arm in arms:
        again = "_again" if arm.endswith("_again") else ""
        drawn = [named_keys(lab, keys, name) for name in ("split", f"order{again}")]
        order, parts = lab.map(partial(arranged_images, settings), *drawn)
        training = Training(settings.steps, settings.every, settings.clip, order, parts, arrays)
        kind, shuffled = kind_of(arm), arm == "shuffled"
        loss = partial(image_loss, settings, kind, shuffled)
        task = Task(partial(first_image_values, settings, kind), loss, partial(evaluate_images, settings, kind))
        rate, draws = rates.of(kind), f"init{again}"
        found[arm] = train(lab, keys, task, training, rate, draws, prefix + arm, arm=arm, **conditions)
    return found


# --- gradients through time, and seconds ----------------------------------------------------------------------------


def gradient_norms(settings: "ImageSettings", arm: str, key: jax.Array, *arrays: jax.Array) -> jax.Array:
    """Mean over a batch of ‖∂L/∂x_t‖ at every time step t of a fresh network, by that at the last step: (steps,)."""
    keys = jax.random.split(key)
    values = first_image_values(settings, arm, keys[0])
    rows = jax.random.choice(keys[1], len(arrays[0]), (settings.batch,), replace=False)
    # Noise in place of images, whose margins are all alike and leave nothing to normalise over a batch.
    x = jax.random.uniform(keys[1], as_pieces(settings, arrays[0][rows]).shape, minval=-1.0)

    def objective(x: jax.Array) -> jax.Array:
        logits, _ = image_reader(settings, arm).apply(values, x, True, mutable=["batch_stats"])
        return cross_entropy(logits, arrays[1][rows])

    norms = jnp.linalg.norm(jax.grad(objective)(x), axis=-1).mean(0)
    return norms / norms[-1]


def measure_gradients(settings: "ImageSettings", keys: jax.Array, lab: "Lab", arms: tuple[str, ...]) -> None:
    """How gradients fade through time before any training."""
    data = lab.data(settings.dataset)
    for arm in arms:
        shared = (data["train_images"], data["train_labels"])
        norms = lab.map(partial(gradient_norms, settings, arm), named_keys(lab, keys, "gradients"), shared=shared)
        lab.measure({"gradient_norm": norms}, along={"time": np.arange(1, norms.shape[-1] + 1)}, arm=arm)


def steps_taken(task: Task, clip: float, steps: int, key: jax.Array, rate: jax.Array, rows: Tree, *arrays: Any) -> Tree:
    """1 where some training steps on one batch end in finite parameters: an answer that needs all of them."""
    keys = jax.random.split(key, steps + 1)

    def one(state: State, key: jax.Array) -> tuple[State, None]:
        return update(task.loss, clip, state, key, jnp.int32(0), rows[None], {}, rate, *arrays), None

    state, _ = jax.lax.scan(one, begin(task.initial, keys[0]), keys[1:])
    fine = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.values["params"])]
    return jnp.stack(fine).all().astype(jnp.float32)


def measure_seconds(settings: "SecondsSettings", keys: jax.Array, lab: "Lab", arms: tuple[str, ...]) -> None:
    """Seconds of a training step in every arm, by those of the plain arm in the same round: median over the rounds."""
    tasks: list[tuple[str, Any, tuple, tuple[str, ...]]] = [
        ("chars", settings.chars, (first_text_values, text_loss, evaluate_text), TEXT_PARTS),
        ("rows", settings.rows, (first_image_values, image_loss, evaluate_images), IMAGE_PARTS),
    ]
    for name, own, functions, parts in tasks:
        data = lab.data(own.dataset)
        arrays, rows = [data[part] for part in parts], jnp.arange(own.batch)
        calls = {}
        for arm in arms:
            first, loss, evaluate = functions
            kind = kind_of(arm)
            task = Task(partial(first, own, kind), partial(loss, own, kind, False), partial(evaluate, own, kind))
            taken = jax.jit(partial(steps_taken, task, own.clip, settings.steps))
            calls[arm] = partial(taken, jax.random.key(0), np.float32(own.rates.of(kind)), rows, *arrays)
        seconds = lab.time(calls, settings.rounds)
        for arm in arms:
            cost, *_ = timing.median_ratio(seconds, arm, arms[0])
            milliseconds = 1000 * float(np.median(seconds[arm])) / settings.steps
            found = {"step_milliseconds": milliseconds, "step_ratio": cost}
            lab.measure({key: np.full(keys.shape, value) for key, value in found.items()}, arm=arm, task=name)
