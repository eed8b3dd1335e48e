"""What can be varied in the studies of `experiments.dann`."""

from typing import Self

from pydantic import model_validator

from core.data.catalogue import find_data_set
from core.errors import BadInput, unknown_name
from core.optim.settings import OptimizerSettings
from core.papers.settings import (
    DataSetName,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    setting,
)
from core.papers.validation import conflict
from core.supervised.settings import TrainingSettings


class AdversarialSettings(Settings):
    """What all trainings have in common."""

    training: TrainingSettings = setting("length, and examples of each domain in a batch")
    optimizer: OptimizerSettings = setting("optimizer")


class DomainData(Settings):
    """Two domains of images."""

    source: DataSetName = setting("data set with labels")
    target: DataSetName = setting("data set whose labels are only tested on")
    crop: PositiveInt = setting("height and width kept of the middle of images", unit="pixels")
    size: int = setting("height and width of all images", unit="pixels", ge=16)
    train: PositiveInt = setting("images of each domain to train on, at most")
    test: PositiveInt = setting("images of each domain to test on, at most")
    backgrounds: DataSetName | None = setting("photographs behind the images of the target", default=None)
    binary: bool = setting("blend images in black and white, not in their greys", default=False)

    @model_validator(mode="after")
    def _check_domains(self) -> Self:
        for name in ("source", "target"):
            if "train_images" not in find_data_set(getattr(self, name)).array_shapes:
                raise conflict(f"{{{name}}} is no set of labelled images", name)
        if find_data_set(self.source).classes != find_data_set(self.target).classes:
            raise conflict("{target} has other classes than {source}", "target", "source")
        if self.backgrounds and "train_photographs" not in find_data_set(self.backgrounds).array_shapes:
            raise conflict("{backgrounds} is no set of photographs", "backgrounds")
        return self


class NetworkSettings(Settings):
    """The layers of figure 4a."""

    channels: tuple[PositiveInt, ...] = setting("widths of the 5 x 5 convolutions, each pooled")
    hidden: tuple[PositiveInt, ...] = setting("widths of the hidden layers of the label head")
    domain_hidden: tuple[PositiveInt, ...] = setting("widths of the hidden layers of the domain head")


class ImageSettings(AdversarialSettings):
    """Two domains of images and the network of figure 4."""

    data: DomainData = setting("images")
    network: NetworkSettings = setting("the network")
    domain_weight: PositiveFloat = setting("weight of the summed domain losses; 0.5: their mean")
    reversal_gain: PositiveFloat = setting("γ of the reversal weight 2 / (1 + exp(-γ p)) - 1")
    svm_cost: PositiveFloat = setting("C of the support vector machine in place of the last layer")
    compared: int = setting("labelled images it is trained on, at most", ge=2)
    directions: tuple[PositiveInt, ...] = setting("numbers of principal directions tried by subspace alignment")

    @model_validator(mode="after")
    def _check_image(self) -> Self:
        there = find_data_set(self.data.source).array_shapes["train_images"][0][0]
        if self.data.source == self.data.target and there - self.data.train < self.training.batch:
            raise conflict(f"{{data.train}} leaves none of the {there} images for the target", "data.train")
        side = self.data.size
        for _ in self.network.channels:
            side = (side - 4) // 2
        if side < 1:
            raise conflict("{data.size} is too small for {network.channels}", "data.size", "network.channels")
        if max(self.directions) > self.network.hidden[-1]:
            raise conflict("{directions} goes beyond {network.hidden}", "directions", "network.hidden")
        return self


class MoonSettings(AdversarialSettings):
    """Two moons, and the shallow network."""

    points: int = setting("points of each domain, half of them on either moon", ge=4, multiple_of=2)
    noise: NonNegativeFloat = setting("standard deviation of the points")
    degrees: float = setting("how far the target is turned", unit="degrees", ge=0, lt=360)
    width: PositiveInt = setting("hidden units")
    weight: NonNegativeFloat = setting("λ, weight of the loss of domains")


class ReviewSettings(AdversarialSettings):
    """Pairs of kinds of reviews, and the shallow network."""

    dataset: DataSetName = setting("data set of documents")
    pairs: tuple[str, ...] = setting("pairs of domains, as books_to_dvd")
    denoising_layers: NonNegativeInt = setting("layers of marginalised denoising; 0: counts as they are")
    widths: tuple[PositiveInt, ...] = setting("hidden units that reverse validation chooses among", rising=True)
    weights: tuple[NonNegativeFloat, ...] = setting("values of λ that it chooses among", rising=True)
    shown_weight: NonNegativeFloat = setting("λ of the networks whose distance is taken", member_of="weights")
    costs: tuple[PositiveFloat, ...] = setting("values of C of the support vector machine", rising=True)
    distance_costs: tuple[PositiveFloat, ...] = setting("values of C of the proxy A-distance", rising=True)

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        arrays = find_data_set(self.dataset).array_shapes
        known = [name.removesuffix("_train") for name in arrays if name.endswith("_train")]
        for pair in self.pairs:
            if pair.count("_to_") != 1:
                raise BadInput(f"settings.pairs: '{pair}' is no pair such as {known[0]}_to_{known[-1]}")
            for domain in pair.split("_to_"):
                if domain not in known:
                    raise unknown_name("domain in settings.pairs:", domain, known)
        return self


class LayerSettings(Settings):
    """One update of the shallow network, computed in two ways."""

    inputs: PositiveInt = setting("inputs")
    width: PositiveInt = setting("hidden units")
    classes: PositiveInt = setting("classes")
    examples: PositiveInt = setting("examples of each domain")
    weights: tuple[PositiveFloat, ...] = setting("values of λ")


SETTINGS = {
    "reversal": LayerSettings,
    "moons": MoonSettings,
    "clothes": ImageSettings,
    "mnist_m": ImageSettings,
    "tuning": ReviewSettings,
    "reviews": ReviewSettings,
    "house_numbers": ImageSettings,
}
