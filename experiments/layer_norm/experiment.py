"""The experiment, to be read beside the paper; see the package's docstring for its claim and symbols."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax

from core.papers.contract import Study
from experiments.layer_norm import drawing, perceptrons, sequences
from experiments.layer_norm.invariances import numerics_trial
from experiments.layer_norm.settings import (
    DrawSettings,
    GainSettings,
    ImageSettings,
    LongTuningSettings,
    PerceptronSettings,
    PixelSettings,
    RateSettings,
    SecondsSettings,
    TextSettings,
    TuningSettings,
)

if TYPE_CHECKING:
    from core.lab.lab import Lab


# --- the experiments of section 6 -----------------------------------------------------------------------------------


def mlp_trial(settings: PerceptronSettings, keys: jax.Array, lab: "Lab") -> None:
    """Section 6.6: no norm, batch norm, layer norm, and layer norm along the wrong axis, at every batch size."""
    rates = dict.fromkeys(settings.batches, settings.large_rates) | {min(settings.batches): settings.small_rates}
    perceptrons.compare(settings, keys, lab, rates)


def chars_trial(settings: TextSettings, keys: jax.Array, lab: "Lab") -> None:
    """A GRU with and without layer norm; without it once more, and with it on windows whose letters are shuffled."""
    sequences.compare_texts(settings, keys, lab, ("plain", "layer_norm", "plain_again", "shuffled"), settings.rates)


def rows_trial(settings: ImageSettings, keys: jax.Array, lab: "Lab") -> None:
    """An LSTM with layer norm, without, with batch norm; without once more, and with layer norm on shuffled rows."""
    arms = ("plain", "layer_norm", "batch_norm", "plain_again", "shuffled")
    sequences.compare_images(settings, keys, lab, arms, settings.rates)
    sequences.measure_gradients(settings, keys, lab, ("plain", "layer_norm", "batch_norm"))


def pixels_trial(settings: PixelSettings, keys: jax.Array, lab: "Lab") -> None:
    """Long sequences in small batches against short ones in large batches; each has its own loss to reach."""
    for regime, target in (("long", settings.long_target), ("short", settings.short_target)):
        images, arms = getattr(settings, regime), ("plain", "layer_norm", "plain_again")
        found = sequences.compare_images(images, keys, lab, arms, images.rates, f"{regime}/", regime=regime)
        for arm, (result, steps) in found.items():
            curve = lab.map(partial(above, target), result["validation_loss"])
            lab.measure({"above_target": curve}, along={"step": steps}, arm=arm, regime=regime)


def above(target: float, losses: jax.Array) -> jax.Array:
    """How far losses are above a target."""
    return losses - target


def gain_trial(settings: GainSettings, keys: jax.Array, lab: "Lab") -> None:
    """Every initial gain with layer norm and with batch norm, the latter twice: how far apart do the losses end?"""
    losses: dict[str, list[Any]] = {}
    for gain in settings.gains:
        rows, arms = settings.rows.replace(gain=gain), ("layer_norm", "batch_norm", "batch_norm_again")
        found = sequences.compare_images(rows, keys, lab, arms, rows.rates, f"{gain:g}/", gain=gain)
        for arm, (result, _) in found.items():
            losses.setdefault(arm, []).append(result["test_loss"])
    for arm, ends in losses.items():
        lab.measure({"loss_spread": lab.map(spread, *ends)}, arm=arm)


def spread(*losses: jax.Array) -> jax.Array:
    """Largest less smallest loss."""
    return jax.numpy.ptp(jax.numpy.stack(losses))


def draw_trial(settings: DrawSettings, keys: jax.Array, lab: "Lab") -> None:
    """Section 6.4: DRAW with and without layer norm; without it once more, and with it on images of shuffled pixels."""
    drawing.compare(settings, keys, lab, ("plain", "layer_norm", "plain_again", "shuffled"), settings.rates)


def seconds_trial(settings: SecondsSettings, keys: jax.Array, lab: "Lab") -> None:
    """Seconds of a training step with layer norm by those without it, on the machine at hand."""
    sequences.measure_seconds(settings, keys, lab, ("plain", "plain_again", "layer_norm"))


def tuning_trial(settings: TuningSettings, keys: jax.Array, lab: "Lab") -> None:
    """Every arm of the default studies with every learning rate of the grid, for the whole length of its training."""
    two, three = ("plain", "layer_norm"), ("plain", "layer_norm", "batch_norm")
    for rate in settings.grid:
        rates = RateSettings(plain=rate, layer_norm=rate, batch_norm=rate, batch_axis=rate)
        by_batch = dict.fromkeys(settings.mlp.batches, rates)
        perceptrons.compare(settings.mlp, keys, lab, by_batch, f"{rate:g}/mlp/", task="mlp", rate=rate)
        sequences.compare_texts(settings.chars, keys, lab, two, rates, f"{rate:g}/chars/", task="chars", rate=rate)
        sequences.compare_images(settings.rows, keys, lab, three, rates, f"{rate:g}/rows/", task="rows", rate=rate)


def long_tuning_trial(settings: LongTuningSettings, keys: jax.Array, lab: "Lab") -> None:
    """Both arms of the longer studies with every learning rate of the grid."""
    arms = ("plain", "layer_norm")
    for rate in settings.grid:
        rates = RateSettings(plain=rate, layer_norm=rate)
        for task in ("long", "short"):
            images, prefix = getattr(settings, task), f"{rate:g}/{task}/"
            sequences.compare_images(images, keys, lab, arms, rates, prefix, task=task, rate=rate)
        drawing.compare(settings.draw, keys, lab, arms, rates, f"{rate:g}/draw/", task="draw", rate=rate)


STUDIES = {
    "numerics": Study(numerics_trial),
    "mlp": Study(mlp_trial),
    "chars": Study(chars_trial),
    "rows": Study(rows_trial),
    "pixels": Study(pixels_trial),
    "draw": Study(draw_trial),
    "gain": Study(gain_trial),
    "seconds": Study(seconds_trial),
    "tuning": Study(tuning_trial),
    "long_tuning": Study(long_tuning_trial),
}
