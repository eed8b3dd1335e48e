"""What can be varied in the studies of `experiments.pfn`."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from core.data.catalogue import find_data_set
from core.errors import BadInput, unknown_name
from core.papers.settings import (
    DataSetName,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    setting,
)


class NetworkSettings(Settings):
    """A network and its training."""

    width: int = setting("width of a token", ge=2)
    layers: PositiveInt = setting("layers")
    heads: PositiveInt = setting("attention heads, a divisor of the width")
    hidden: PositiveInt = setting("hidden units of a layer")
    features: PositiveInt = setting("features F of a point")
    points: int = setting("points N of a data set", ge=2)
    batch: PositiveInt = setting("data sets in a step")
    learning_rate: PositiveFloat = setting("step size of Adam at its highest")
    warmup: NonNegativeInt = setting("linear warm-up", unit="steps")
    decay: float = setting("share of a training in which the step size falls to 0", gt=0, le=1)
    every: PositiveInt = setting("between two checkpoints of a loop", unit="steps")

    @model_validator(mode="after")
    def _check_network(self) -> Self:
        """Heads share a token."""
        if self.width % self.heads:
            raise BadInput(f"settings.heads={self.heads} must divide settings.width={self.width}")
        return self


class ProcessSettings(NetworkSettings):
    """A network for regression with bars, trained for contexts of any size."""

    bars: int = setting("bars of the head", ge=3)
    sizes: tuple[NonNegativeInt, ...] = setting("compiled context sizes, growing, the last is N - 1")
    border_sets: PositiveInt = setting("data sets whose targets give the borders of the bars")

    @model_validator(mode="after")
    def _check_process(self) -> Self:
        """Every context size has a compiled one that holds it."""
        if list(self.sizes) != sorted(set(self.sizes)) or self.sizes[-1:] != (self.points - 1,):
            raise BadInput(f"settings.sizes={list(self.sizes)} must grow and end with {self.points - 1}, points - 1")
        return self


class LawSettings(ProcessSettings):
    """A Gaussian process whose hyper-parameters have a prior of their own."""

    lengthscale: tuple[PositiveFloat, ...] = setting("shape and rate of the gamma law of ℓ")
    outputscale: tuple[PositiveFloat, ...] = setting("of the variance s²")
    noise: tuple[PositiveFloat, ...] = setting("of the variance of the noise above its floor")
    floor: PositiveFloat = setting("smallest variance of the noise")
    steps: int = setting("training length", unit="steps", ge=2)

    @model_validator(mode="after")
    def _check_law(self) -> Self:
        """Gamma laws have two numbers."""
        for name in ("lengthscale", "outputscale", "noise"):
            if len(getattr(self, name)) != 2:
                raise BadInput(f"settings.{name} must be the shape and the rate of a gamma law")
        return self


class GPSettings(ProcessSettings):
    """A Gaussian process with fixed hyper-parameters, whose posterior is known exactly."""

    lengthscale: PositiveFloat = setting("lengthscale ℓ of the prior")
    wrong_lengthscale: PositiveFloat = setting("of another prior, as a control")
    noise: PositiveFloat = setting("variance of the noise")
    coarse_bars: int = setting("bars of a head that is too coarse, as a control", ge=3)
    lengths: tuple[Annotated[int, Field(ge=2)], ...] = setting(
        "trainings, growing; controls have the first", unit="steps"
    )
    contexts: tuple[NonNegativeInt, ...] = setting("context sizes at which posteriors are compared")
    sets: int = setting("held-out data sets", ge=2)
    shown: tuple[PositiveInt, ...] = setting("context sizes of the figure")

    @model_validator(mode="after")
    def _check_gp(self) -> Self:
        """The context sizes leave queries."""
        if max(*self.contexts, *self.shown) >= self.points:
            raise BadInput(f"context sizes must be below settings.points={self.points}")
        if list(self.lengths) != sorted(set(self.lengths)):
            raise BadInput(f"settings.lengths={list(self.lengths)} must grow")
        return self


class HeadSettings(LawSettings):
    """Heads of several kinds on the same encoder; with hyper-parameters unknown, predictions are no Gaussians."""

    coarse_bars: int = setting("bars of a head that is too coarse, as a control", ge=3)
    contexts: tuple[PositiveInt, ...] = setting("context sizes at which heads are compared")
    sets: PositiveInt = setting("held-out data sets")


class RivalSettings(Settings):
    """Held-out data sets, and parts of them."""

    sets: int = setting("held-out data sets", ge=2)
    long_sets: int = setting("data sets of the long chains", ge=2)
    long_chains: int = setting("long chains of each of them", ge=2)
    long_draws: int = setting("draws of a long chain, after as many of warm-up", ge=4)
    timed_sets: PositiveInt = setting("data sets that are timed")
    rounds: PositiveInt = setting("rounds in which seconds are taken")

    @model_validator(mode="after")
    def _check_rival(self) -> Self:
        """Parts are no more than the whole."""
        for name in ("long_sets", "timed_sets"):
            if getattr(self, name) > self.sets:
                raise BadInput(f"settings.{name}={getattr(self, name)} must be at most settings.sets={self.sets}")
        return self


class HyperSettings(RivalSettings):
    """A trained network beside MLE-II and NUTS, which infer hyper-parameters for every data set."""

    prepared: LawSettings = setting("the network and its training")
    contexts: tuple[PositiveInt, ...] = setting("context sizes")
    mle_steps: PositiveInt = setting("steps of L-BFGS")
    mle_starts: PositiveInt = setting("its starts, the best end counts")
    nuts_draws: tuple[PositiveInt, ...] = setting("draws of short chains, after as many of warm-up")

    @model_validator(mode="after")
    def _check_hyper(self) -> Self:
        """Contexts leave queries."""
        if max(self.contexts) >= self.prepared.points:
            raise BadInput(f"context sizes must be below settings.prepared.points={self.prepared.points}")
        return self


class BNNPreparedSettings(NetworkSettings):
    """The network of the study on Bayesian neural networks."""

    prior_hidden: PositiveInt = setting("hidden units of the Bayesian network")
    context: PositiveInt = setting("context size")
    steps: int = setting("training length", unit="steps", ge=2)

    @model_validator(mode="after")
    def _check_bnnprepared(self) -> Self:
        """The context leaves queries."""
        if self.context >= self.points:
            raise BadInput(f"settings.context={self.context} must be below settings.points={self.points}")
        return self


class BNNSettings(RivalSettings):
    """A trained network beside SVI and NUTS on a small Bayesian neural network."""

    prepared: BNNPreparedSettings = setting("the network and its training")
    svi_steps: tuple[PositiveInt, ...] = setting("numbers of steps of SVI, growing")
    svi_rate: PositiveFloat = setting("its step size")
    svi_draws: PositiveInt = setting("draws of its posterior")
    nuts_draws: tuple[PositiveInt, ...] = setting("draws of chains, after as many of warm-up")
    margin: PositiveFloat = setting("by which a loss may exceed the network's", unit="nats")


class TableSettings(NetworkSettings):
    """Small real tables, of which a few rows are the context."""

    dataset: DataSetName = setting("data set of tables")
    tables: tuple[str, ...] = setting("tables of it")
    other_dataset: DataSetName = setting("another one")
    other_tables: tuple[str, ...] = setting("tables of it")
    prior_width: int = setting("largest width of the random networks", ge=2)
    prior_depth: PositiveInt = setting("largest number of their layers")
    steps: int = setting("training length", unit="steps", ge=2)
    subsets: PositiveInt = setting("subsets of a table")
    rows: int = setting("rows of a subset, half of them of each class", ge=4)
    context: int = setting("of them to learn from", ge=2)
    folds: int = setting("folds in which the other methods choose their hyper-parameters", ge=2)
    configurations: int = setting("configurations that each of them chooses from", ge=1, le=8)
    bins: PositiveInt = setting("bins of the calibration error")

    @model_validator(mode="after")
    def _check_table(self) -> Self:
        """The tables are there, and narrow enough."""
        for dataset, tables in ((self.dataset, self.tables), (self.other_dataset, self.other_tables)):
            arrays = find_data_set(dataset).array_shapes
            known = [name.removesuffix("_features") for name in arrays if name.endswith("_features")]
            for table in tables:
                if table not in known:
                    raise unknown_name(f"table of {dataset}", table, known)
                width = arrays[f"{table}_features"][0][1]
                if width > self.features:
                    raise BadInput(f"table {table} has {width} features, settings.features={self.features}")
        return self


SETTINGS = {
    "gp": GPSettings,
    "tables": TableSettings,
    "head": HeadSettings,
    "hyper": HyperSettings,
    "bnn": BNNSettings,
}
