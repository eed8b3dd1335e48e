"""Settings of supervised training, with one vocabulary for all papers: data, training, optimizer, scaling."""

from typing import Self

from pydantic import model_validator

from core.data.catalogue import find_data_set
from core.optim.settings import OptimizerSettings
from core.papers.settings import DataSetName, NonNegativeInt, PositiveInt, Settings, setting
from core.papers.validation import conflict
from core.scaling.settings import ScalingSettings


class DataSettings(Settings):
    """Which examples, and how many of them."""

    name: DataSetName = setting("data set")
    examples: PositiveInt | None = setting("trained on, at most; by default all that are left", default=None)
    validation: PositiveInt = setting("held-out examples")
    test: PositiveInt | None = setting("test examples, at most; by default all", default=None)
    evaluated: NonNegativeInt = setting("training examples evaluated beside the held-out ones", default=0)
    augment: bool = setting("random flips and 4-pixel shifts of images", default=False)

    @property
    def there(self) -> int:
        """How many labelled training examples the data set has."""
        return find_data_set(self.name).array_shapes["train_labels"][0][0]

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        asked = (self.examples or 1) + self.validation
        if asked > self.there:
            most = self.there - (self.examples or 1)
            names = ("validation", "examples", "name") if self.examples else ("validation", "name")
            raise conflict(f"{{validation}} leaves too few of the {self.there} examples: at most {most}", *names)
        if self.evaluated > self.train:
            raise conflict(f"{{evaluated}} is more than the {self.train} training examples", "evaluated", "validation")
        return self

    @property
    def train(self) -> int:
        """How many examples are trained on."""
        return self.examples or self.there - self.validation


class TrainingSettings(Settings):
    """How long, and in which batches."""

    iterations: PositiveInt = setting("length of a training", unit="iterations")
    batch: PositiveInt = setting("examples in a batch")
    evaluate_every: PositiveInt = setting("between two evaluations", unit="iterations", at_most="iterations")


class SupervisedSettings(Settings):
    """The groups that a supervised experiment has; its own settings stand beside them."""

    data: DataSettings = setting("examples")
    training: TrainingSettings = setting("length and batches")
    optimizer: OptimizerSettings = setting("optimizer")
    scaling: ScalingSettings = setting("how gradients are computed", default=ScalingSettings())

    @model_validator(mode="after")
    def _check_batch(self) -> Self:
        if self.training.batch > self.data.train:
            message = f"{{training.batch}} is larger than the training examples: at most {self.data.train}"
            raise conflict(message, "training.batch", "data.validation", "data.name")
        if self.optimizer.warmup >= self.training.iterations:
            message = f"{{optimizer.warmup}} is the whole training: at most {self.training.iterations - 1}"
            raise conflict(message, "optimizer.warmup", "training.iterations")
        return self
