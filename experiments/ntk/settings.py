"""What can be varied in the studies of `experiments.ntk`."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from core.data.catalogue import find_data_set
from core.papers.settings import DataSetName, NonNegativeFloat, PositiveFloat, PositiveInt, Settings, setting
from core.papers.validation import conflict

Widths = tuple[PositiveInt, ...]
AtLeastTwo = Annotated[int, Field(ge=2)]


class NetworkSettings(Settings):
    """What networks and their limiting kernel have in common."""

    depth: int = setting("affine maps L", ge=2)
    bias: NonNegativeFloat = setting("factor β of the biases")


class SphereSettings(NetworkSettings):
    """Random points on unit spheres, and the limiting kernels of several activations on them."""

    spheres: tuple[tuple[AtLeastTwo, AtLeastTwo], ...] = setting("dimension of the space, and points on the sphere")


class InitialSettings(NetworkSettings):
    """Tangent kernels at initialisation, on a grid of the unit circle."""

    widths: Widths = setting("widths of the hidden layers")
    draws: int = setting("initialisations at each width", ge=2)
    grid: int = setting("points on the circle, the first is (1, 0)", ge=2)


class DescentSettings(Settings):
    """Gradient descent on a whole training set."""

    widths: Widths = setting("widths of the hidden layers")
    learning_rate: PositiveFloat = setting("step size η of gradient descent")
    iterations: PositiveInt = setting("length of a training", unit="iterations")


class TrainingSettings(NetworkSettings, DescentSettings):
    """Networks of several widths that learn x1 x2 from random points of the plane."""

    points: PositiveInt = setting("training points N, each N(0, I)")
    evaluate_every: PositiveInt = setting("between two evaluations", unit="iterations", at_most="iterations")
    grid: int = setting("points on the circle, the first is (1, 0)", ge=2)


class LawSettings(NetworkSettings, DescentSettings):
    """Ensembles of networks trained on a few points of the unit circle, to be held against their law."""

    networks: int = setting("networks in an ensemble", ge=2)
    angles: tuple[Annotated[float, Field(ge=-7, le=7)], ...] = setting("training points on the circle", unit="radian")
    grid: int = setting("test points on the circle", ge=2)


class CourseSettings(DescentSettings):
    """How large components of the target are, and how they are learnt."""

    amplitude: PositiveFloat = setting("of every component in the target")
    evaluate_every: PositiveInt = setting("between two evaluations", unit="iterations", at_most="iterations")


class ComponentSettings(NetworkSettings):
    """Networks whose target differs from their start by kernel principal components of a batch of images."""

    dataset: DataSetName = setting("data set")
    images: int = setting("images in a batch, N", unit="images", ge=2)
    leading: PositiveInt = setting("components that are known, and mixed in the controls", at_most="images")
    other_depth: PositiveInt = setting("another count of affine maps, for the eigenvalues alone")
    component: PositiveInt = setting("component that is learnt alone, counted from 1", at_most="leading")
    alone: CourseSettings = setting("how it is learnt")
    components: tuple[PositiveInt, ...] = setting("components that are learnt at once", at_most="leading", rising=True)
    together: CourseSettings = setting("how they are learnt")

    @model_validator(mode="after")
    def _check_images(self) -> Self:
        """The batch is there."""
        images = find_data_set(self.dataset).array_shapes["train_images"][0][0]
        if self.images > images:
            raise conflict(f"{{images}} is more than the {images} images of {{dataset}}", "images", "dataset")
        return self


SETTINGS = {
    "sphere": SphereSettings,
    "initial": InitialSettings,
    "training": TrainingSettings,
    "law": LawSettings,
    "components": ComponentSettings,
    "wide": ComponentSettings,
}
