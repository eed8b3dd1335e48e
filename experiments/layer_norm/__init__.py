"""Layer Normalization (Ba, Kiros and Hinton 2016, arXiv 1607.06450).

Claim: normalising the summed inputs of a layer over its units, for each case and each time step by itself, makes
training faster, above all of recurrent networks. Unlike batch normalisation it needs no batch, and is the same in
training and test.

    μ = 1/H Σ_i a_i,   σ = √(1/H Σ_i (a_i - μ)²)             statistics over the H summed inputs of one layer, one case
    LN(a) = g ∘ (a - μ) / σ + b,   h = f(LN(a))              equation 3; g = 1 and b = 0 at first
    a_t = W_hh h_{t-1} + W_xh x_t,   h_t = f(LN(a_t))        equation 4, at every time step by itself

The recurrent cells are those of the supplement: an LSTM normalises W_h h, W_x x (each over all its gates together) and
the cell; a GRU W_h h and W_x x (both gates together), and W x and U h of its candidate. Table 1 is in `invariances`,
section 6.6 in `perceptrons`, stand-ins for sections 6.1 to 6.3 and 6.5 in `sequences`, section 6.4 in `drawing`. What
is shrunk or replaced against the paper stands in the config.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax

from core.data.catalogue import find_data_set
from core.errors import BadInput
from core.papers.contract import Study
from core.papers.settings import setting
from experiments.layer_norm import drawing, perceptrons, sequences
from experiments.layer_norm.figures import figures as figures
from experiments.layer_norm.invariances import numerics_trial

if TYPE_CHECKING:
    from core.lab.lab import Lab


@dataclass(frozen=True)
class RateSettings:
    """Adam's step size in every arm: the winners of the study `tuning`."""

    plain: float = setting("without normalisation", within="(0, inf)")
    layer_norm: float = setting("with layer norm", within="(0, inf)")
    batch_norm: float | None = setting("with batch norm", within="(0, inf)", default=None)
    batch_axis: float | None = setting("with layer norm along the wrong axis", within="(0, inf)", default=None)

    def of(self, arm: str) -> float:
        """The step size of an arm."""
        rate = getattr(self, arm)
        if rate is None:
            raise BadInput(f"the learning rate of the arm {arm} is missing")
        return rate


@dataclass(frozen=True)
class NumericsSettings:
    """One random layer, its weights and data transformed, and a network whose cases change company."""

    inputs: int = setting("inputs of the layer", within="[2, inf)")
    units: int = setting("units H of a layer", within="[2, inf)")
    cases: int = setting("cases in a batch", within="[2, inf)")
    factor: float = setting("factor δ of every re-scaling", within="(0, inf)")
    epsilon: float = setting("added to the variance", within="[0, inf)")


@dataclass(frozen=True)
class PerceptronSettings:
    """Perceptrons on images without their geometry, at several batch sizes."""

    dataset: str = setting("data set", data=True)
    hidden: tuple[int, ...] = setting("widths of the hidden layers", within="[1, inf)")
    batches: tuple[int, ...] = setting("batch sizes", unit="images", within="[2, inf)")
    examples: int = setting("images trained on", unit="images", within="[1, inf)")
    validation: int = setting("held-out images", unit="images", within="[1, inf)")
    watched: int = setting("training images on which the training loss is taken", unit="images", within="[1, inf)")
    seen: int = setting("images seen in a training, whatever the batch", unit="images", within="[1, inf)")
    every: int = setting("images between two evaluations", unit="images", within="[1, inf)")
    clip: float = setting("largest norm of a gradient", within="(0, inf)")
    memory: int = setting("images that batch norm's running statistics remember", unit="images", within="[1, inf)")
    unbiased_up_to: int = setting(
        "largest batch with unbiased variances in batch norm", unit="images", within="[0, inf)"
    )
    small_rates: RateSettings = setting("learning rates at the smallest batch")
    large_rates: RateSettings = setting("learning rates at the other batches")

    def __post_init__(self) -> None:
        """There are enough images, and between two evaluations is at least one batch."""
        images = find_data_set(self.dataset).array_shapes["train_images"][0][0]
        if self.examples + self.validation > images:
            raise BadInput(
                f"settings.examples={self.examples} and validation={self.validation} are more than {images} images"
            )
        if max(self.batches) > min(self.every, self.seen, self.examples, self.validation, self.watched):
            raise BadInput(
                f"settings.batches={list(self.batches)} must not exceed every, seen, examples, validation or watched"
            )


@dataclass(frozen=True)
class ReaderSettings:
    """A recurrent network and how it is trained."""

    dataset: str = setting("data set", data=True)
    width: int = setting("units of the recurrent layer", within="[2, inf)")
    batch: int = setting("batch size", unit="sequences", within="[2, inf)")
    steps: int = setting("training length", unit="steps", within="[1, inf)")
    every: int = setting("between two evaluations", unit="steps", within="[1, inf)")
    validation: int = setting("held-out sequences", unit="sequences", within="[1, inf)")
    clip: float = setting("largest norm of a gradient", within="(0, inf)")
    rates: RateSettings = setting("learning rates")


@dataclass(frozen=True)
class TextSettings(ReaderSettings):
    """A GRU that foretells the next character of a text."""

    length: int = setting("characters T in a window", unit="characters", within="[2, inf)")
    test: int = setting("windows of the test part", unit="sequences", within="[1, inf)")

    def __post_init__(self) -> None:
        """Every part of the text has room for its windows."""
        for part, windows in (("validation", self.validation), ("test", self.test)):
            letters = find_data_set(self.dataset).array_shapes[f"{part}_text"][0][0]
            if windows * self.length >= letters:
                raise BadInput(f"settings.{part}={windows} windows of {self.length} do not fit into {letters} letters")


@dataclass(frozen=True)
class ImageSettings(ReaderSettings):
    """An LSTM that reads an image piece by piece and names its class at the end."""

    examples: int = setting("images trained on", unit="images", within="[1, inf)")
    pixels: int = setting("pixels read at a time", unit="pixels", within="[1, inf)")
    shrink: int = setting(
        "side of the squares of pixels that are averaged beforehand", unit="pixels", within="[1, inf)"
    )
    gain: float = setting("initial gain of the norms", within="(0, inf)", default=1.0)

    def __post_init__(self) -> None:
        """Images are cut into equal pieces, and there are enough of them."""
        images, height, width = find_data_set(self.dataset).array_shapes["train_images"][0]
        if height % self.shrink or width % self.shrink or (height * width // self.shrink**2) % self.pixels:
            raise BadInput(
                f"settings.shrink={self.shrink} and pixels={self.pixels} do not cut {height} x {width} pixels evenly"
            )
        if self.examples + self.validation > images or self.batch > self.examples:
            raise BadInput(
                f"settings.examples={self.examples} and validation={self.validation} do not fit {images} images"
            )


@dataclass(frozen=True)
class PixelSettings:
    """The same images read in many small pieces in small batches, and in few large pieces in large batches."""

    long: ImageSettings = setting("long sequences, small batches")
    short: ImageSettings = setting("short sequences, large batches")
    long_target: float = setting("validation loss to reach, from the study `tuning`", unit="nats", within="(0, inf)")
    short_target: float = setting("the same for short sequences", unit="nats", within="(0, inf)")


@dataclass(frozen=True)
class GainSettings:
    """The same reader from several initial gains."""

    rows: ImageSettings = setting("the reader")
    gains: tuple[float, ...] = setting("initial gains, the usual one first", within="(0, inf)")

    def __post_init__(self) -> None:
        """A spread needs two."""
        if len(self.gains) < 2:
            raise BadInput("settings.gains needs two gains or more")


@dataclass(frozen=True)
class DrawSettings:
    """DRAW without attention on binarised images."""

    dataset: str = setting("data set", data=True)
    width: int = setting("units of encoder and decoder", within="[2, inf)")
    latent: int = setting("latent variables of a glimpse", within="[1, inf)")
    glimpses: int = setting("glimpses T", within="[1, inf)")
    batch: int = setting("batch size", unit="images", within="[1, inf)")
    steps: int = setting("training length", unit="steps", within="[1, inf)")
    every: int = setting("between two evaluations", unit="steps", within="[1, inf)")
    examples: int = setting("images trained on", unit="images", within="[1, inf)")
    validation: int = setting("held-out images", unit="images", within="[1, inf)")
    test: int = setting("test images", unit="images", within="[1, inf)")
    clip: float = setting("largest norm of a gradient", within="(0, inf)")
    rates: RateSettings = setting("learning rates")

    def __post_init__(self) -> None:
        """There are enough images."""
        arrays = find_data_set(self.dataset).array_shapes
        for part, asked in (("train", self.examples + self.validation), ("test", self.test)):
            if asked > arrays[f"{part}_images"][0][0]:
                raise BadInput(f"{asked} {part} images are asked for, there are {arrays[f'{part}_images'][0][0]}")


@dataclass(frozen=True)
class SecondsSettings:
    """Recurrent networks whose training steps are timed."""

    chars: TextSettings = setting("the GRU on text")
    rows: ImageSettings = setting("the LSTM on rows of images")
    steps: int = setting("training steps in a measurement", unit="steps", within="[1, inf)")
    rounds: int = setting("measurements of every arm, in turn", within="[2, inf)")


@dataclass(frozen=True)
class TuningSettings:
    """The learning rates that every arm of every study is tried with."""

    grid: tuple[float, ...] = setting("learning rates", within="(0, inf)")
    mlp: PerceptronSettings = setting("as in the study `mlp`")
    chars: TextSettings = setting("as in the study `chars`")
    rows: ImageSettings = setting("as in the study `rows`")


@dataclass(frozen=True)
class LongTuningSettings:
    """The same for the studies that are not run by default."""

    grid: tuple[float, ...] = setting("learning rates", within="(0, inf)")
    long: ImageSettings = setting("as in the study `pixels`")
    short: ImageSettings = setting("as in the study `pixels`")
    draw: DrawSettings = setting("as in the study `draw`")


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
        rows, arms = replace(settings.rows, gain=gain), ("layer_norm", "batch_norm", "batch_norm_again")
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
        rates = RateSettings(rate, rate, rate, rate)
        by_batch = dict.fromkeys(settings.mlp.batches, rates)
        perceptrons.compare(settings.mlp, keys, lab, by_batch, f"{rate:g}/mlp/", task="mlp", rate=rate)
        sequences.compare_texts(settings.chars, keys, lab, two, rates, f"{rate:g}/chars/", task="chars", rate=rate)
        sequences.compare_images(settings.rows, keys, lab, three, rates, f"{rate:g}/rows/", task="rows", rate=rate)


def long_tuning_trial(settings: LongTuningSettings, keys: jax.Array, lab: "Lab") -> None:
    """Both arms of the longer studies with every learning rate of the grid."""
    arms = ("plain", "layer_norm")
    for rate in settings.grid:
        rates = RateSettings(rate, rate)
        for task in ("long", "short"):
            images, prefix = getattr(settings, task), f"{rate:g}/{task}/"
            sequences.compare_images(images, keys, lab, arms, rates, prefix, task=task, rate=rate)
        drawing.compare(settings.draw, keys, lab, arms, rates, f"{rate:g}/draw/", task="draw", rate=rate)


STUDIES = {
    "numerics": Study(settings=NumericsSettings, trial=numerics_trial),
    "mlp": Study(settings=PerceptronSettings, trial=mlp_trial),
    "chars": Study(settings=TextSettings, trial=chars_trial),
    "rows": Study(settings=ImageSettings, trial=rows_trial),
    "pixels": Study(settings=PixelSettings, trial=pixels_trial),
    "draw": Study(settings=DrawSettings, trial=draw_trial),
    "gain": Study(settings=GainSettings, trial=gain_trial),
    "seconds": Study(settings=SecondsSettings, trial=seconds_trial),
    "tuning": Study(settings=TuningSettings, trial=tuning_trial),
    "long_tuning": Study(settings=LongTuningSettings, trial=long_tuning_trial),
}
