"""What can be varied in the studies of `experiments.dann`."""

from typing import Self

from pydantic import model_validator

from core.data.catalogue import find_data_set
from core.errors import BadInput, unknown_name
from core.papers.settings import (
    DataSetName,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    Share,
    setting,
)


class ImageSettings(Settings):
    """Two domains of images and the network of figure 4."""

    source: DataSetName = setting("data set with labels")
    target: DataSetName = setting("data set whose labels are only tested on")
    crop: PositiveInt = setting("height and width kept of the middle of images", unit="pixels")
    size: int = setting("height and width of all images", unit="pixels", ge=16)
    channels: tuple[PositiveInt, ...] = setting("widths of the 5 x 5 convolutions, each pooled")
    hidden: tuple[PositiveInt, ...] = setting("widths of the hidden layers of the label head")
    domain_hidden: tuple[PositiveInt, ...] = setting("widths of the hidden layers of the domain head")
    train: PositiveInt = setting("images of each domain to train on, at most")
    test: PositiveInt = setting("images of each domain to test on, at most")
    steps: PositiveInt = setting("length of a training", unit="steps")
    batch: PositiveInt = setting("images of each domain in a batch")
    learning_rate: PositiveFloat = setting("step size at the start")
    momentum: Share = setting("momentum")
    decay: NonNegativeFloat = setting("α of the learning rate μ / (1 + α p)^0.75; 0: constant")
    domain_weight: PositiveFloat = setting("weight of the summed domain losses; 0.5: their mean")
    reversal_gain: PositiveFloat = setting("γ of the reversal weight 2 / (1 + exp(-γ p)) - 1")
    svm_cost: PositiveFloat = setting("C of the support vector machine in place of the last layer")
    compared: int = setting("labelled images it is trained on, at most", ge=2)
    directions: tuple[PositiveInt, ...] = setting("numbers of principal directions tried by subspace alignment")
    controls: tuple[str, ...] = setting("controls: flipped, shuffled")

    @model_validator(mode="after")
    def _check_image(self) -> Self:
        """Refuse what contradicts itself before anything is trained."""
        if find_data_set(self.source).classes != find_data_set(self.target).classes:
            raise BadInput(f"settings.target={self.target} has other classes than settings.source={self.source}")
        for name in ("source", "target"):
            if "train_images" not in find_data_set(getattr(self, name)).array_shapes:
                raise BadInput(f"settings.{name}={getattr(self, name)} is no set of labelled images")
        images_there = find_data_set(self.source).array_shapes["train_images"][0][0]
        if self.source == self.target and images_there - self.train < self.batch:
            raise BadInput(f"settings.train={self.train} leaves none of the {images_there} images for the target")
        side = self.size
        for _ in self.channels:
            side = (side - 4) // 2
        if side < 1:
            raise BadInput(f"settings.size={self.size} is too small for {len(self.channels)} convolutions")
        if max(self.directions) > self.hidden[-1]:
            raise BadInput(f"settings.directions={list(self.directions)} goes beyond hidden={list(self.hidden)}")
        for name in self.controls:
            if name not in ("flipped", "shuffled"):
                raise unknown_name("control in settings.controls:", name, ("flipped", "shuffled"))
        return self


class BlendedSettings(ImageSettings):
    """The same, with photographs behind the images of the target."""

    backgrounds: DataSetName = setting("data set of photographs")

    @model_validator(mode="after")
    def _check_blended(self) -> Self:
        """Backgrounds are photographs."""
        if "train_photographs" not in find_data_set(self.backgrounds).array_shapes:
            raise BadInput(f"settings.backgrounds={self.backgrounds} is no set of photographs")
        return self


class MoonSettings(Settings):
    """Two moons, and the shallow network."""

    points: int = setting("points of each domain, even", ge=4)
    noise: NonNegativeFloat = setting("standard deviation of the points")
    degrees: float = setting("how far the target is turned", unit="degrees", ge=0, lt=360)
    width: PositiveInt = setting("hidden units")
    epochs: PositiveInt = setting("length of a training", unit="epochs")
    learning_rate: PositiveFloat = setting("step size")
    weight: NonNegativeFloat = setting("λ, weight of the loss of domains")

    @model_validator(mode="after")
    def _check_moon(self) -> Self:
        """Both moons have as many points."""
        if self.points % 2:
            raise BadInput(f"settings.points={self.points} is odd, and there are two moons")
        return self


class ReviewSettings(Settings):
    """Pairs of kinds of reviews, and the shallow network."""

    dataset: DataSetName = setting("data set of documents")
    pairs: tuple[str, ...] = setting("pairs of domains, as books_to_dvd")
    denoising_layers: NonNegativeInt = setting("layers of marginalised denoising; 0: counts as they are")
    width: PositiveInt = setting("hidden units")
    steps: PositiveInt = setting("length of a training", unit="steps")
    batch: PositiveInt = setting("documents of each domain in a batch")
    learning_rate: PositiveFloat = setting("step size")
    momentum: Share = setting("momentum")
    evaluate_every: PositiveInt = setting("between two evaluations on the held-out documents", unit="steps")
    weights: tuple[NonNegativeFloat, ...] = setting("values of λ that reverse validation chooses among")
    shown_weight: NonNegativeFloat = setting("λ at which the proxy A-distance is taken, one of them")
    costs: tuple[PositiveFloat, ...] = setting("rising values of C of the support vector machines")

    @model_validator(mode="after")
    def _check_review(self) -> Self:
        """Known domains; a shown weight that is trained; a path of costs that rises."""
        known = [
            name.removesuffix("_train") for name in find_data_set(self.dataset).array_shapes if name.endswith("_train")
        ]
        for pair in self.pairs:
            for domain in pair.split("_to_"):
                if domain not in known or pair.count("_to_") != 1:
                    raise unknown_name("domain in settings.pairs:", domain, known)
        if self.shown_weight not in self.weights:
            raise BadInput(f"settings.shown_weight={self.shown_weight} is none of weights={list(self.weights)}")
        if list(self.costs) != sorted(set(self.costs)):
            raise BadInput(f"settings.costs={list(self.costs)} must rise")
        return self


class LayerSettings(Settings):
    """One update of a small network, computed in two ways."""

    inputs: PositiveInt = setting("inputs")
    width: PositiveInt = setting("hidden units")
    examples: PositiveInt = setting("examples of each domain")
    weights: tuple[NonNegativeFloat, ...] = setting("values of λ")


SETTINGS = {
    "reversal": LayerSettings,
    "moons": MoonSettings,
    "digits": ImageSettings,
    "mnist_m": BlendedSettings,
    "reviews": ReviewSettings,
    "house_numbers": ImageSettings,
}
