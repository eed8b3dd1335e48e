"""What can be varied in the studies of `experiments.layer_norm`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.data.catalogue import find_data_set
from core.optim.settings import OptimizerSettings
from core.papers.settings import (
    DataSetName,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    setting,
)  # fmt: skip
from core.papers.validation import conflict
from core.supervised.settings import SupervisedSettings, TrainingSettings

Arm = Literal[
    "plain", "plain_again", "small_inputs", "large_inputs", "layer_norm", "layer_norm_again", "layer_norm_small_gain",
    "batch_norm", "batch_norm_again", "batch_norm_small_gain"
]  # fmt: skip
Arms = Annotated[tuple[Arm, ...], Field(min_length=1)]
TwoOrMore = Annotated[int, Field(ge=2)]


class NumericsSettings(Settings):
    """One random layer, its weights and data transformed, and a network whose cases change company."""

    inputs: TwoOrMore = setting("inputs of the layer")
    units: TwoOrMore = setting("units H of a layer")
    cases: TwoOrMore = setting("cases in a batch")
    factor: PositiveFloat = setting("factor δ of every re-scaling")
    epsilon: NonNegativeFloat = setting("added to the variance")


class PerceptronSettings(SupervisedSettings):
    """Perceptrons on images without their geometry, in large and in small batches."""

    arms: Arms = setting("arms that are trained")
    hidden: tuple[PositiveInt, ...] = setting("widths of the hidden layers")
    small_batch: TwoOrMore = setting("the smaller batch size; trained on as many images as the other", unit="images")
    memory: PositiveInt = setting("images that batch norm's running statistics remember", unit="images")
    unbiased_up_to: NonNegativeInt = setting("largest batch with unbiased variances in batch norm", unit="images")

    @model_validator(mode="after")
    def _check_batches(self) -> Self:
        """Both batch sizes see as many images."""
        if self.training.batch % self.small_batch:
            raise conflict("{small_batch} does not divide {training.batch}", "small_batch", "training.batch")
        return self


class TextData(Settings):
    """Windows of a text."""

    name: DataSetName = setting("data set")
    length: TwoOrMore = setting("characters T in a window", unit="characters")
    validation: PositiveInt = setting("held-out windows")
    test: PositiveInt = setting("windows of the test part")

    @model_validator(mode="after")
    def _check_text(self) -> Self:
        """Every part of the text has room for its windows."""
        for part in ("validation", "test"):
            there = find_data_set(self.name).array_shapes[f"{part}_text"][0][0]
            if getattr(self, part) * self.length >= there:
                raise conflict(f"{{{part}}} windows of {{length}} do not fit into {there} letters", part, "length")
        return self


class TextSettings(Settings):
    """A GRU that foretells the next character of a text."""

    arms: Arms = setting("arms that are trained")
    data: TextData = setting("windows")
    training: TrainingSettings = setting("length and batches")
    optimizer: OptimizerSettings = setting("optimizer")
    width: TwoOrMore = setting("units of the recurrent layer")


class ReaderSettings(SupervisedSettings):
    """An LSTM that reads an image piece by piece and names its class at the end."""

    arms: Arms = setting("arms that are trained")
    width: TwoOrMore = setting("units of the recurrent layer")
    pixels: PositiveInt = setting("pixels read at a time", unit="pixels")
    shrink: PositiveInt = setting("side of the squares of pixels averaged beforehand", unit="pixels", default=1)

    @model_validator(mode="after")
    def _check_pieces(self) -> Self:
        """Images are cut into equal pieces."""
        height, width = find_data_set(self.data.name).array_shapes["train_images"][0][1:]
        for name in ("pixels", "short_pixels"):
            pixels = getattr(self, name, self.pixels)
            if height % self.shrink or width % self.shrink or (height * width // self.shrink**2) % pixels:
                raise conflict(f"{{shrink}} and {{{name}}} do not cut {height} x {width} pixels evenly", "shrink", name)
        return self


class GainSettings(ReaderSettings):
    """The same from two initial gains of the norms."""

    gain: PositiveFloat = setting("initial gain of the norms")
    small_gain: PositiveFloat = setting("another one, for the arms called `…_small_gain`")


class PixelSettings(ReaderSettings):
    """Images read in many small pieces in small batches, and in few large pieces in large batches."""

    short_pixels: PositiveInt = setting("pixels read at a time in the short sequences", unit="pixels")
    short_batch: TwoOrMore = setting("batch size with the short sequences", unit="images")
    long_target: PositiveFloat = setting("validation loss to reach with long sequences", unit="nats")
    short_target: PositiveFloat = setting("the same with short sequences", unit="nats")


class DrawSettings(SupervisedSettings):
    """DRAW without attention on binarised images."""

    arms: Arms = setting("arms that are trained")
    width: TwoOrMore = setting("units of encoder and decoder")
    latent: PositiveInt = setting("latent variables of a glimpse")
    glimpses: PositiveInt = setting("glimpses T")


SETTINGS = {
    "numerics": NumericsSettings,
    "mlp": PerceptronSettings,
    "mlp_tuning": PerceptronSettings,
    "chars": TextSettings,
    "chars_tuning": TextSettings,
    "rows": GainSettings,
    "rows_tuning": GainSettings,
    "pixels": PixelSettings,
    "pixels_tuning": PixelSettings,
    "draw": DrawSettings,
    "draw_tuning": DrawSettings,
}
