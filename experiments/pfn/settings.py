"""What can be varied in the studies of `experiments.pfn`; the groups network, data and training are core's."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from core.amortised.settings import AmortisedSettings, NetworkTableSettings
from core.data.catalogue import find_data_set
from core.errors import unknown_name
from core.papers.settings import DataSetName, PositiveFloat, PositiveInt, Settings, setting
from core.papers.validation import conflict

Gamma = tuple[PositiveFloat, PositiveFloat]
"""Shape and rate of a gamma law."""


class BarSettings(AmortisedSettings):
    """A network for regression by bars, and what it is held against."""

    bars: int = setting("bars of the head", ge=3)
    border_sets: PositiveInt = setting("data sets whose targets give the borders of the bars")
    sets: int = setting("held-out data sets", ge=2)
    contexts: tuple[PositiveInt, ...] = setting("context sizes at which predictions are compared", rising=True)

    @model_validator(mode="after")
    def _check_contexts(self) -> Self:
        if max(self.contexts) >= self.data.points:
            raise conflict("{contexts} must be below {data.points}", "contexts", "data.points")
        return self


class ProcessSettings(BarSettings):
    """A Gaussian process with fixed hyper-parameters, whose posterior is known exactly."""

    lengthscale: PositiveFloat = setting("lengthscale ℓ of the prior")
    noise: PositiveFloat = setting("variance of the noise")
    coarse_bars: int = setting("bars of a head that is too coarse, as a control", ge=3, at_most="bars")


class GPSettings(ProcessSettings):
    """Networks beside the exact posterior, by the length of their training."""

    wrong_lengthscale: PositiveFloat = setting("of another prior, as a control")
    lengths: tuple[Annotated[int, Field(ge=2)], ...] = setting("shorter trainings", unit="iterations", rising=True)
    shown: tuple[PositiveInt, ...] = setting("context sizes of the figure", at_most="contexts")

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if self.lengths[-1] >= self.training.iterations:
            raise conflict("{lengths} must be shorter than {training.iterations}", "lengths", "training.iterations")
        if self.training.warmup > self.lengths[0]:
            raise conflict("{training.warmup} is longer than the first of {lengths}", "training.warmup", "lengths")
        return self


class LawSettings(BarSettings):
    """A Gaussian process whose hyper-parameters have a prior of their own."""

    lengthscale: Gamma = setting("shape and rate of the gamma law of ℓ")
    outputscale: Gamma = setting("of the variance s²")
    noise: Gamma = setting("of the variance of the noise above its floor")
    floor: PositiveFloat = setting("smallest variance of the noise")


class EstimatorSettings(LawSettings):
    """A network for whoever has a small regression, trained on targets in units of their context."""

    smallest: PositiveInt = setting("smallest context")
    levels: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = setting("of central intervals", rising=True)


class RivalSettings(Settings):
    """Methods that infer anew for every data set, and how they are timed."""

    nuts_draws: tuple[PositiveInt, ...] = setting("draws of chains, after as many of warm-up", rising=True)
    long_sets: int = setting("data sets of the long chains", ge=2)
    long_chains: int = setting("long chains of each of them", ge=2)
    long_draws: int = setting("draws of a long chain, after as many of warm-up", ge=4)
    timed_sets: PositiveInt = setting("data sets that are timed")
    timed_steps: PositiveInt = setting("iterations of a training that are timed", unit="iterations")
    rounds: PositiveInt = setting("rounds in which seconds are taken")


class HyperSettings(LawSettings):
    """A trained network beside methods that infer hyper-parameters for every data set."""

    rivals: RivalSettings = setting("chains and seconds")
    map_steps: PositiveInt = setting("steps of L-BFGS")
    map_starts: PositiveInt = setting("its starts, the best end counts")


class BNNSettings(AmortisedSettings):
    """A trained network beside SVI and NUTS on a small Bayesian neural network."""

    rivals: RivalSettings = setting("chains and seconds")
    prior_hidden: PositiveInt = setting("hidden units of the Bayesian network")
    sets: int = setting("held-out data sets", ge=2)
    svi_steps: tuple[PositiveInt, ...] = setting("numbers of steps of SVI", rising=True)
    svi_rate: PositiveFloat = setting("its step size")
    svi_draws: PositiveInt = setting("draws of its posterior")
    margin: PositiveFloat = setting("by which a loss may exceed the network's", unit="nats")


class TableSettings(AmortisedSettings):
    """Small real tables, of which a few rows are the context."""

    prior: NetworkTableSettings = setting("the random networks that make tables")
    dataset: DataSetName = setting("data set of tables")
    tables: tuple[str, ...] = setting("tables of it")
    other_dataset: DataSetName = setting("another one")
    other_tables: tuple[str, ...] = setting("tables of it")
    subsets: PositiveInt = setting("subsets of a table")
    rows: int = setting("rows of a subset, half of them of each class", ge=4, multiple_of=2)
    folds: int = setting("folds in which the other methods choose their hyper-parameters", ge=2)
    configurations: int = setting("configurations that each of them chooses from", ge=1, le=8)
    bins: PositiveInt = setting("bins of the calibration error")

    @model_validator(mode="after")
    def _check_tables(self) -> Self:
        """The tables are there, and narrow enough."""
        for dataset, tables in self.sources():
            arrays = find_data_set(dataset).array_shapes
            known = [name.removesuffix("_features") for name in arrays if name.endswith("_features")]
            for table in tables:
                if table not in known:
                    raise ValueError(str(unknown_name(f"table of {dataset}", table, known)))
                if (width := arrays[f"{table}_features"][0][1]) > self.data.features:
                    raise conflict(f"table {table} has {width} features, more than {{data.features}}", "data.features")
        return self

    def sources(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Data sets and their tables."""
        return (self.dataset, self.tables), (self.other_dataset, self.other_tables)


SETTINGS = {
    "gp": GPSettings,
    "tables": TableSettings,
    "head_tuning": ProcessSettings,
    "head": ProcessSettings,
    "hyper": HyperSettings,
    "bnn": BNNSettings,
    "estimator": EstimatorSettings,
}
