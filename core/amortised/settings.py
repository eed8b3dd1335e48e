"""Settings of networks that are trained on data sets from a prior, with one vocabulary for all papers."""

from typing import Self

from pydantic import model_validator

from core.optim.settings import NumberOrPerArm
from core.papers.settings import NonNegativeInt, PerArm, PositiveFloat, PositiveInt, Settings, setting
from core.papers.validation import conflict
from core.supervised.settings import TrainingSettings


class EncoderSettings(Settings):
    """The network."""

    width: int = setting("width of a token", ge=2)
    layers: PositiveInt = setting("layers")
    heads: PositiveInt = setting("attention heads, a divisor of the width")
    hidden: PositiveInt = setting("hidden units of a layer")

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % self.heads:
            raise conflict("{heads} must divide {width}", "heads", "width")
        return self


class DataSetSettings(Settings):
    """Data sets from the prior: N points with F features, of which the first n are the context."""

    points: int = setting("points N of a data set", ge=2)
    features: PositiveInt = setting("features F of a point")
    context: PositiveInt | None = setting("one context size for all steps; by default a random one", default=None)
    sizes: tuple[NonNegativeInt, ...] = setting(
        "context sizes that steps are compiled for, the last N - 1 or the fixed one; by default that alone",
        rising=True, default=(),
    )  # fmt: skip

    @property
    def largest(self) -> int:
        """The largest context."""
        return self.points - 1 if self.context is None else self.context

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if self.largest >= self.points:
            raise conflict("{context} leaves no query of {points}", "context", "points")
        if self.sizes and self.sizes[-1] != self.largest:
            raise conflict(f"{{sizes}} must end with {self.largest}, the largest context", "sizes", "points")
        return self


class FittingSettings(TrainingSettings):
    """Adam with its gradient clipped to norm 1; its step size rises, stays, and falls to 0."""

    learning_rate: NumberOrPerArm = setting("step size at its highest, for all arms or by arm")
    warmup: NonNegativeInt = setting("linear warm-up", unit="iterations", at_most="iterations")
    decay: float = setting("share of a training in which the step size falls", gt=0, le=1)

    def rate_of(self, arm: str) -> float:
        """The step size of an arm. Raises KeyError for an arm without one."""
        return self.learning_rate[arm] if isinstance(self.learning_rate, PerArm) else self.learning_rate


class AmortisedSettings(Settings):
    """The groups that every experiment of amortised inference has; its own settings stand beside them."""

    network: EncoderSettings = setting("the network")
    data: DataSetSettings = setting("data sets from the prior")
    training: FittingSettings = setting("length, batches and step size")


class NetworkTableSettings(Settings):
    """Laws of the random networks that make tables, see `core.amortised.priors`."""

    features: tuple[PositiveFloat, PositiveFloat] = setting(
        "(a, b) of the beta law of the share of features in use, beyond two"
    )
    width: tuple[PositiveFloat, PositiveFloat] = setting("of that of the hidden units, beyond two")
    max_width: int = setting("most hidden units", ge=2)
    layers: int = setting("affine maps", ge=3)
    weights: tuple[PositiveFloat, PositiveFloat] = setting(
        "shape and scale of the gamma law of the deviation of weights and biases"
    )
    noise: tuple[PositiveFloat, PositiveFloat] = setting("of that of the noise behind every map but the first")
    shared: PositiveInt = setting("data sets that one network makes")
