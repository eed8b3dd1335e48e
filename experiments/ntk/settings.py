"""What can be varied in the studies of `experiments.ntk`."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from core.data.catalogue import find_data_set
from core.errors import BadInput
from core.papers.settings import (
    DataSetName,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Settings,
    setting,
)


class NetworkSettings(Settings):
    """What networks and their limiting kernel have in common."""

    depth: int = setting("affine maps L", ge=2)
    bias: NonNegativeFloat = setting("factor β of the biases")


class SphereSettings(NetworkSettings):
    """Random points on unit spheres, and the limiting kernels of several activations on them."""

    dimensions: tuple[Annotated[int, Field(ge=2)], ...] = setting("dimensions of the space around the sphere")
    points: tuple[Annotated[int, Field(ge=2)], ...] = setting("points on each sphere")

    @model_validator(mode="after")
    def _check_sphere(self) -> Self:
        """Every sphere has its number of points."""
        if len(self.dimensions) != len(self.points):
            raise BadInput("settings.dimensions and settings.points must have equal lengths")
        return self


class InitialSettings(NetworkSettings):
    """Tangent kernels at initialisation, on a grid of the unit circle."""

    widths: tuple[PositiveInt, ...] = setting("widths of the hidden layers")
    draws: int = setting("initialisations at each width", ge=2)
    grid: int = setting("points on the circle, the first is (1, 0)", ge=2)


class TrainingSettings(NetworkSettings):
    """Networks of several widths that learn x1 x2 from random points of the plane."""

    widths: tuple[PositiveInt, ...] = setting("widths of the hidden layers")
    narrow: PositiveInt = setting("width that stands in for all of them, as a control")
    points: PositiveInt = setting("training points N, each N(0, I)")
    learning_rate: PositiveFloat = setting("step size η of gradient descent")
    steps: PositiveInt = setting("training length", unit="steps")
    every: PositiveInt = setting("between two evaluations", unit="steps")
    kernel_after: PositiveInt = setting("steps after which kernels are compared", unit="steps")
    grid: int = setting("points on the circle, the first is (1, 0)", ge=2)

    @model_validator(mode="after")
    def _check_training(self) -> Self:
        """The kernels are compared at an evaluation."""
        if self.kernel_after > self.steps or self.kernel_after % self.every:
            raise BadInput(
                f"settings.kernel_after={self.kernel_after} is no evaluation: these are every {self.every} steps up to "
                f"{self.steps}"
            )
        return self


class LawSettings(NetworkSettings):
    """Ensembles of networks trained on a few points of the unit circle, to be held against their law."""

    other_bias: NonNegativeFloat = setting("a wrong β for the law, as a control")
    widths: tuple[PositiveInt, ...] = setting("widths of the hidden layers")
    networks: int = setting("networks in an ensemble", ge=2)
    angles: tuple[Annotated[float, Field(ge=-7, le=7)], ...] = setting("training points on the circle", unit="radian")
    learning_rate: PositiveFloat = setting("step size η of gradient descent")
    steps: PositiveInt = setting("training length", unit="steps")
    grid: int = setting("test points on the circle", ge=2)


class ComponentSettings(NetworkSettings):
    """Networks whose target differs from their start by kernel principal components of a batch of images."""

    dataset: DataSetName = setting("data set")
    other_depth: PositiveInt = setting("another count of affine maps, for the eigenvalues alone")
    images: int = setting("images in a batch, N", unit="images", ge=2)
    learning_rate: PositiveFloat = setting("step size η of gradient descent")
    amplitude: PositiveFloat = setting("of the component in the target")
    component: PositiveInt = setting("component of the target, counted from 1")
    widths: tuple[PositiveInt, ...] = setting("widths that learn this component")
    steps: PositiveInt = setting("their training length", unit="steps")
    every: PositiveInt = setting("between two evaluations", unit="steps")
    components: tuple[PositiveInt, ...] = setting("components that one network learns together")
    together_amplitude: PositiveFloat = setting("of every one of them in the target")
    together_width: PositiveInt = setting("its width")
    together_steps: PositiveInt = setting("its training length", unit="steps")
    together_every: PositiveInt = setting("between two evaluations", unit="steps")
    printed: tuple[PositiveFloat, ...] = setting("printed eigenvalues, the largest first")

    @model_validator(mode="after")
    def _check_component(self) -> Self:
        """The batch is there, and has the components."""
        images = find_data_set(self.dataset).array_shapes["train_images"][0][0]
        if self.images > images:
            raise BadInput(f"settings.images={self.images} is more than the {images} images of {self.dataset}")
        if list(self.components) != sorted(set(self.components)):
            raise BadInput(f"settings.components={list(self.components)} must grow")
        if self.largest() > self.images:
            raise BadInput(f"component {self.largest()} asks for as many images, settings.images={self.images}")
        return self

    def largest(self) -> int:
        """How many components are needed."""
        return max(self.component, len(self.printed), *self.components, 1)


SETTINGS = {
    "sphere": SphereSettings,
    "initial": InitialSettings,
    "training": TrainingSettings,
    "law": LawSettings,
    "components": ComponentSettings,
    "mnist": ComponentSettings,
}
