"""What can be varied in the studies of `experiments.layer_norm`."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from core.data.catalogue import find_data_set
from core.errors import BadInput
from core.papers.settings import (
    DataSetName,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    setting,
)


class RateSettings(Settings):
    """Adam's step size in every arm: the winners of the study `tuning`."""

    plain: PositiveFloat = setting("without normalisation")
    layer_norm: PositiveFloat = setting("with layer norm")
    batch_norm: PositiveFloat | None = setting("with batch norm", default=None)
    batch_axis: PositiveFloat | None = setting("with layer norm along the wrong axis", default=None)

    def of(self, arm: str) -> float:
        """The step size of an arm."""
        rate = getattr(self, arm)
        if rate is None:
            raise BadInput(f"the learning rate of the arm {arm} is missing")
        return rate


class NumericsSettings(Settings):
    """One random layer, its weights and data transformed, and a network whose cases change company."""

    inputs: int = setting("inputs of the layer", ge=2)
    units: int = setting("units H of a layer", ge=2)
    cases: int = setting("cases in a batch", ge=2)
    factor: PositiveFloat = setting("factor δ of every re-scaling")
    epsilon: NonNegativeFloat = setting("added to the variance")


class PerceptronSettings(Settings):
    """Perceptrons on images without their geometry, at several batch sizes."""

    dataset: DataSetName = setting("data set")
    hidden: tuple[PositiveInt, ...] = setting("widths of the hidden layers")
    batches: tuple[Annotated[int, Field(ge=2)], ...] = setting("batch sizes", unit="images")
    examples: PositiveInt = setting("images trained on", unit="images")
    validation: PositiveInt = setting("held-out images", unit="images")
    watched: PositiveInt = setting("training images on which the training loss is taken", unit="images")
    seen: PositiveInt = setting("images seen in a training, whatever the batch", unit="images")
    every: PositiveInt = setting("images between two evaluations", unit="images")
    clip: PositiveFloat = setting("largest norm of a gradient")
    memory: PositiveInt = setting("images that batch norm's running statistics remember", unit="images")
    unbiased_up_to: NonNegativeInt = setting("largest batch with unbiased variances in batch norm", unit="images")
    small_rates: RateSettings = setting("learning rates at the smallest batch")
    large_rates: RateSettings = setting("learning rates at the other batches")

    @model_validator(mode="after")
    def _check_perceptron(self) -> Self:
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
        return self


class ReaderSettings(Settings):
    """A recurrent network and how it is trained."""

    dataset: DataSetName = setting("data set")
    width: int = setting("units of the recurrent layer", ge=2)
    batch: int = setting("batch size", unit="sequences", ge=2)
    steps: PositiveInt = setting("training length", unit="steps")
    every: PositiveInt = setting("between two evaluations", unit="steps")
    validation: PositiveInt = setting("held-out sequences", unit="sequences")
    clip: PositiveFloat = setting("largest norm of a gradient")
    rates: RateSettings = setting("learning rates")


class TextSettings(ReaderSettings):
    """A GRU that foretells the next character of a text."""

    length: int = setting("characters T in a window", unit="characters", ge=2)
    test: PositiveInt = setting("windows of the test part", unit="sequences")

    @model_validator(mode="after")
    def _check_text(self) -> Self:
        """Every part of the text has room for its windows."""
        for part, windows in (("validation", self.validation), ("test", self.test)):
            letters = find_data_set(self.dataset).array_shapes[f"{part}_text"][0][0]
            if windows * self.length >= letters:
                raise BadInput(f"settings.{part}={windows} windows of {self.length} do not fit into {letters} letters")
        return self


class ImageSettings(ReaderSettings):
    """An LSTM that reads an image piece by piece and names its class at the end."""

    examples: PositiveInt = setting("images trained on", unit="images")
    pixels: PositiveInt = setting("pixels read at a time", unit="pixels")
    shrink: PositiveInt = setting("side of the squares of pixels that are averaged beforehand", unit="pixels")
    gain: PositiveFloat = setting("initial gain of the norms", default=1.0)

    @model_validator(mode="after")
    def _check_image(self) -> Self:
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
        return self


class PixelSettings(Settings):
    """The same images read in many small pieces in small batches, and in few large pieces in large batches."""

    long: ImageSettings = setting("long sequences, small batches")
    short: ImageSettings = setting("short sequences, large batches")
    long_target: PositiveFloat = setting("validation loss to reach, from the study `tuning`", unit="nats")
    short_target: PositiveFloat = setting("the same for short sequences", unit="nats")


class GainSettings(Settings):
    """The same reader from several initial gains."""

    rows: ImageSettings = setting("the reader")
    gains: tuple[PositiveFloat, ...] = setting("initial gains, the usual one first")

    @model_validator(mode="after")
    def _check_gain(self) -> Self:
        """A spread needs two."""
        if len(self.gains) < 2:
            raise BadInput("settings.gains needs two gains or more")
        return self


class DrawSettings(Settings):
    """DRAW without attention on binarised images."""

    dataset: DataSetName = setting("data set")
    width: int = setting("units of encoder and decoder", ge=2)
    latent: PositiveInt = setting("latent variables of a glimpse")
    glimpses: PositiveInt = setting("glimpses T")
    batch: PositiveInt = setting("batch size", unit="images")
    steps: PositiveInt = setting("training length", unit="steps")
    every: PositiveInt = setting("between two evaluations", unit="steps")
    examples: PositiveInt = setting("images trained on", unit="images")
    validation: PositiveInt = setting("held-out images", unit="images")
    test: PositiveInt = setting("test images", unit="images")
    clip: PositiveFloat = setting("largest norm of a gradient")
    rates: RateSettings = setting("learning rates")

    @model_validator(mode="after")
    def _check_draw(self) -> Self:
        """There are enough images."""
        arrays = find_data_set(self.dataset).array_shapes
        for part, asked in (("train", self.examples + self.validation), ("test", self.test)):
            if asked > arrays[f"{part}_images"][0][0]:
                raise BadInput(f"{asked} {part} images are asked for, there are {arrays[f'{part}_images'][0][0]}")
        return self


class SecondsSettings(Settings):
    """Recurrent networks whose training steps are timed."""

    chars: TextSettings = setting("the GRU on text")
    rows: ImageSettings = setting("the LSTM on rows of images")
    steps: PositiveInt = setting("training steps in a measurement", unit="steps")
    rounds: int = setting("measurements of every arm, in turn", ge=2)


class TuningSettings(Settings):
    """The learning rates that every arm of every study is tried with."""

    grid: tuple[PositiveFloat, ...] = setting("learning rates")
    mlp: PerceptronSettings = setting("as in the study `mlp`")
    chars: TextSettings = setting("as in the study `chars`")
    rows: ImageSettings = setting("as in the study `rows`")


class LongTuningSettings(Settings):
    """The same for the studies that are not run by default."""

    grid: tuple[PositiveFloat, ...] = setting("learning rates")
    long: ImageSettings = setting("as in the study `pixels`")
    short: ImageSettings = setting("as in the study `pixels`")
    draw: DrawSettings = setting("as in the study `draw`")


SETTINGS = {
    "numerics": NumericsSettings,
    "mlp": PerceptronSettings,
    "chars": TextSettings,
    "rows": ImageSettings,
    "pixels": PixelSettings,
    "draw": DrawSettings,
    "gain": GainSettings,
    "seconds": SecondsSettings,
    "tuning": TuningSettings,
    "long_tuning": LongTuningSettings,
}
