"""The experiment, to be read beside the paper; see the package's docstring for its claim and symbols."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from core.data.catalogue import find_data_set
from core.lab.keys import named_keys
from core.papers.contract import Study
from core.supervised.batches import Split
from core.supervised.comparison import Comparison, Trained, split_examples
from core.supervised.tasks import Task
from core.supervised.training import Examples
from experiments.layer_norm.drawing import draw_examples, draw_task
from experiments.layer_norm.invariances import numerics_trial
from experiments.layer_norm.networks import AGAIN, image_task, network_of, perceptron_task, text_task
from experiments.layer_norm.settings import (
    DrawSettings,
    GainSettings,
    PerceptronSettings,
    PixelSettings,
    ReaderSettings,
    TextSettings,
)

if TYPE_CHECKING:
    from core.lab.lab import Lab


# --- what all comparisons share ---------------------------------------------------------------------------------------


def train_arms(
    comparison: Comparison, arms: Iterable[str], task_of: Callable[[str], Task], again: Split, rates: str = ""
) -> dict[str, Trained]:
    """Train every arm; those called `…_again` have other first weights and the order of `again`.

    `rates` ends the names of the learning rates, where the same arms are trained under several conditions.
    """
    found = {}
    for arm in arms:
        task, other = task_of(arm), arm.endswith(AGAIN)
        weights = comparison.initial("init_again" if other else "init", task)
        split = again if other else comparison.split
        found[arm] = comparison.train(arm, weights, task=task, split=split, rate_of=network_of(arm) + rates)
        lowest = comparison.lab.map(jnp.min, found[arm].curves["validation_loss"])
        comparison.lab.measure({"lowest_validation_loss": lowest}, arm=arm)
    return found


def compare_images(
    settings: PerceptronSettings | ReaderSettings | DrawSettings,
    keys: jax.Array,
    lab: "Lab",
    task_of: Callable[[str], Task],
    rates: str = "",
    examples: Examples | None = None,
    keep_best: bool = True,
) -> dict[str, Trained]:
    """Train every arm on the images that the settings name, or on other `examples` of as many rows.

    As in section 6.1 the network at the lowest validation loss is tested; without `keep_best`, that at the end.
    """
    comparison = Comparison.of_settings(settings, keys, lab, task_of(settings.arms[0]), keep_best=keep_best)
    comparison.examples = examples or comparison.examples
    again = split_examples(settings, keys, lab, "order_again")
    return train_arms(comparison, settings.arms, task_of, again, rates)


# --- section 6.6 ------------------------------------------------------------------------------------------------------


def mlp_trial(settings: PerceptronSettings, keys: jax.Array, lab: "Lab") -> None:
    """No norm, batch norm and layer norm in large and in small batches, on as many images."""
    large = settings.training
    for batch in (large.batch, settings.small_batch):
        n = large.batch // batch
        length = large.replace(batch=batch, iterations=n * large.iterations, evaluate_every=n * large.evaluate_every)
        own = settings.replace(training=length)
        with lab.scope(f"{batch}/", {"batch": batch}):
            compare_images(own, keys, lab, partial(perceptron_task, own), f"/{batch}", keep_best=False)


# --- stand-ins for sections 6.1 to 6.3 and 6.5 ------------------------------------------------------------------------


def chars_trial(settings: TextSettings, keys: jax.Array, lab: "Lab") -> None:
    """A GRU on text with and without layer norm, without it once more, and without it from small input weights."""
    data, length = lab.data(settings.data.name), settings.training
    train, test, held_out = ({"text": data[f"{part}_text"]} for part in ("train", "test", "validation"))
    split, again = (
        lab.map(partial(text_split, settings), named_keys(lab, keys, name)) for name in ("order", "order_again")
    )
    task_of = partial(text_task, settings)
    comparison = Comparison(
        lab, keys, task_of(settings.arms[0]), Examples(train, test, held_out), split, length.iterations,
        length.evaluate_every, settings.optimizer, keep_best=True
    )  # fmt: skip
    train_arms(comparison, settings.arms, task_of, again)


def text_split(settings: TextSettings, key: jax.Array) -> Split:
    """Random starts of windows (iterations, batch), and evenly spaced ones in the other parts."""
    data, length = settings.data, settings.training
    arrays = find_data_set(data.name).array_shapes
    room = {part: arrays[f"{part}_text"][0][0] - data.length for part in ("train", "validation", "test")}
    order = jax.random.randint(key, (length.iterations, length.batch), 0, room["train"])
    held_out, test = (
        jnp.arange(getattr(data, part)) * (room[part] // getattr(data, part)) for part in ("validation", "test")
    )
    return Split(order, held_out, test)


def rows_trial(settings: GainSettings, keys: jax.Array, lab: "Lab") -> None:
    """An LSTM on rows of images without a norm, with layer norm and with batch norm, these from two initial gains."""
    compare_images(settings, keys, lab, partial(image_task, settings))


def pixels_trial(settings: PixelSettings, keys: jax.Array, lab: "Lab") -> None:
    """Long sequences in small batches against short ones in large batches; each has its own loss to reach."""
    few = settings.training.replace(batch=settings.short_batch)
    short = settings.replace(pixels=settings.short_pixels, training=few)
    for regime, own, target in (("long", settings, settings.long_target), ("short", short, settings.short_target)):
        with lab.scope(f"{regime}/", {"regime": regime}):
            found = compare_images(own, keys, lab, partial(image_task, own), f"/{regime}")
            for arm, trained in found.items():
                above = lab.map(partial(jnp.add, -target), trained.curves["validation_loss"])
                lab.measure({"above_target": above}, along={"step": trained.steps}, arm=arm)


# --- section 6.4 ------------------------------------------------------------------------------------------------------


def draw_trial(settings: DrawSettings, keys: jax.Array, lab: "Lab") -> None:
    """DRAW with and without layer norm, and without it once more."""
    examples = draw_examples(lab.data(settings.data.name))
    compare_images(settings, keys, lab, partial(draw_task, settings), examples=examples)


STUDIES = {
    "numerics": Study(numerics_trial),
    "mlp": Study(mlp_trial),
    "mlp_tuning": Study(mlp_trial),
    "chars": Study(chars_trial),
    "chars_tuning": Study(chars_trial),
    "rows": Study(rows_trial),
    "rows_tuning": Study(rows_trial),
    "pixels": Study(pixels_trial),
    "pixels_tuning": Study(pixels_trial),
    "draw": Study(draw_trial),
    "draw_tuning": Study(draw_trial),
}
