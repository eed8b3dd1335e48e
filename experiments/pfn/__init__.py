"""Transformers Can Do Bayesian Inference (Müller, Hollmann, Pineda Arango, Grabocka and Hutter, ICLR 2022, 2112.10510).

Claim: a Transformer trained on data sets D ~ p(D) of a prior to predict held-out targets,

    ℓ(θ) = E_{D ∪ (x, y) ~ p(D)} [ -log q_θ(y | x, D) ],

a "prior-data fitted network" (PFN), gives the posterior predictive distribution of that prior: ℓ is the expected KL
divergence of q_θ(· | x, D) from p(· | x, D), up to a constant (corollary 1.1). At test time inference is one forward
pass without a gradient, where MLE-II, variational inference and MCMC start anew for every data set.

The network, its bars, priors and training are in `core.amortised`; the posteriors that it is held against in
`core.bayes`. What is shrunk against the paper stands in the config.
"""

from dataclasses import dataclass

from core.data.catalogue import find_data_set
from core.errors import BadInput, unknown_name
from core.papers.contract import Study
from core.papers.settings import setting
from experiments.pfn.bnn import bnn_prepare, bnn_trial
from experiments.pfn.figures import figures as figures
from experiments.pfn.hyper import hyper_prepare, hyper_trial
from experiments.pfn.processes import gp_trial, head_trial
from experiments.pfn.tables import tables_trial


@dataclass(frozen=True)
class NetworkSettings:
    """A network and its training."""

    width: int = setting("width of a token", within="[2, inf)")
    layers: int = setting("layers", within="[1, inf)")
    heads: int = setting("attention heads, a divisor of the width", within="[1, inf)")
    hidden: int = setting("hidden units of a layer", within="[1, inf)")
    features: int = setting("features F of a point", within="[1, inf)")
    points: int = setting("points N of a data set", within="[2, inf)")
    batch: int = setting("data sets in a step", within="[1, inf)")
    learning_rate: float = setting("step size of Adam at its highest", within="(0, inf)")
    warmup: int = setting("linear warm-up", unit="steps", within="[0, inf)")
    decay: float = setting("share of a training in which the step size falls to 0", within="(0, 1]")
    every: int = setting("between two checkpoints of a loop", unit="steps", within="[1, inf)")

    def __post_init__(self) -> None:
        """Heads share a token."""
        if self.width % self.heads:
            raise BadInput(f"settings.heads={self.heads} must divide settings.width={self.width}")


@dataclass(frozen=True)
class ProcessSettings(NetworkSettings):
    """A network for regression with bars, trained for contexts of any size."""

    bars: int = setting("bars of the head", within="[3, inf)")
    sizes: tuple[int, ...] = setting("compiled context sizes, growing, the last is N - 1", within="[0, inf)")
    border_sets: int = setting("data sets whose targets give the borders of the bars", within="[1, inf)")

    def __post_init__(self) -> None:
        """Every context size has a compiled one that holds it."""
        NetworkSettings.__post_init__(self)
        if list(self.sizes) != sorted(set(self.sizes)) or self.sizes[-1:] != (self.points - 1,):
            raise BadInput(f"settings.sizes={list(self.sizes)} must grow and end with {self.points - 1}, points - 1")


@dataclass(frozen=True)
class LawSettings(ProcessSettings):
    """A Gaussian process whose hyper-parameters have a prior of their own."""

    lengthscale: tuple[float, ...] = setting("shape and rate of the gamma law of ℓ", within="(0, inf)")
    outputscale: tuple[float, ...] = setting("of the variance s²", within="(0, inf)")
    noise: tuple[float, ...] = setting("of the variance of the noise above its floor", within="(0, inf)")
    floor: float = setting("smallest variance of the noise", within="(0, inf)")
    steps: int = setting("training length", unit="steps", within="[2, inf)")

    def __post_init__(self) -> None:
        """Gamma laws have two numbers."""
        ProcessSettings.__post_init__(self)
        for name in ("lengthscale", "outputscale", "noise"):
            if len(getattr(self, name)) != 2:
                raise BadInput(f"settings.{name} must be the shape and the rate of a gamma law")


@dataclass(frozen=True)
class GPSettings(ProcessSettings):
    """A Gaussian process with fixed hyper-parameters, whose posterior is known exactly."""

    lengthscale: float = setting("lengthscale ℓ of the prior", within="(0, inf)")
    wrong_lengthscale: float = setting("of another prior, as a control", within="(0, inf)")
    noise: float = setting("variance of the noise", within="(0, inf)")
    coarse_bars: int = setting("bars of a head that is too coarse, as a control", within="[3, inf)")
    lengths: tuple[int, ...] = setting("trainings, growing; controls have the first", unit="steps", within="[2, inf)")
    contexts: tuple[int, ...] = setting("context sizes at which posteriors are compared", within="[0, inf)")
    sets: int = setting("held-out data sets", within="[2, inf)")
    shown: tuple[int, ...] = setting("context sizes of the figure", within="[1, inf)")

    def __post_init__(self) -> None:
        """The context sizes leave queries."""
        ProcessSettings.__post_init__(self)
        if max(*self.contexts, *self.shown) >= self.points:
            raise BadInput(f"context sizes must be below settings.points={self.points}")
        if list(self.lengths) != sorted(set(self.lengths)):
            raise BadInput(f"settings.lengths={list(self.lengths)} must grow")


@dataclass(frozen=True)
class HeadSettings(LawSettings):
    """Heads of several kinds on the same encoder; with hyper-parameters unknown, predictions are no Gaussians."""

    coarse_bars: int = setting("bars of a head that is too coarse, as a control", within="[3, inf)")
    contexts: tuple[int, ...] = setting("context sizes at which heads are compared", within="[1, inf)")
    sets: int = setting("held-out data sets", within="[1, inf)")


@dataclass(frozen=True)
class RivalSettings:
    """Held-out data sets, and parts of them."""

    sets: int = setting("held-out data sets", within="[2, inf)")
    long_sets: int = setting("data sets of the long chains", within="[2, inf)")
    long_chains: int = setting("long chains of each of them", within="[2, inf)")
    long_draws: int = setting("draws of a long chain, after as many of warm-up", within="[4, inf)")
    timed_sets: int = setting("data sets that are timed", within="[1, inf)")
    rounds: int = setting("rounds in which seconds are taken", within="[1, inf)")

    def __post_init__(self) -> None:
        """Parts are no more than the whole."""
        for name in ("long_sets", "timed_sets"):
            if getattr(self, name) > self.sets:
                raise BadInput(f"settings.{name}={getattr(self, name)} must be at most settings.sets={self.sets}")


@dataclass(frozen=True)
class HyperSettings(RivalSettings):
    """A trained network beside MLE-II and NUTS, which infer hyper-parameters for every data set."""

    prepared: LawSettings = setting("the network and its training")
    contexts: tuple[int, ...] = setting("context sizes", within="[1, inf)")
    mle_steps: int = setting("steps of L-BFGS", within="[1, inf)")
    mle_starts: int = setting("its starts, the best end counts", within="[1, inf)")
    nuts_draws: tuple[int, ...] = setting("draws of short chains, after as many of warm-up", within="[1, inf)")

    def __post_init__(self) -> None:
        """Contexts leave queries."""
        RivalSettings.__post_init__(self)
        if max(self.contexts) >= self.prepared.points:
            raise BadInput(f"context sizes must be below settings.prepared.points={self.prepared.points}")


@dataclass(frozen=True)
class BNNPreparedSettings(NetworkSettings):
    """The network of the study on Bayesian neural networks."""

    prior_hidden: int = setting("hidden units of the Bayesian network", within="[1, inf)")
    context: int = setting("context size", within="[1, inf)")
    steps: int = setting("training length", unit="steps", within="[2, inf)")

    def __post_init__(self) -> None:
        """The context leaves queries."""
        NetworkSettings.__post_init__(self)
        if self.context >= self.points:
            raise BadInput(f"settings.context={self.context} must be below settings.points={self.points}")


@dataclass(frozen=True)
class BNNSettings(RivalSettings):
    """A trained network beside SVI and NUTS on a small Bayesian neural network."""

    prepared: BNNPreparedSettings = setting("the network and its training")
    svi_steps: tuple[int, ...] = setting("numbers of steps of SVI, growing", within="[1, inf)")
    svi_rate: float = setting("its step size", within="(0, inf)")
    svi_draws: int = setting("draws of its posterior", within="[1, inf)")
    nuts_draws: tuple[int, ...] = setting("draws of chains, after as many of warm-up", within="[1, inf)")
    margin: float = setting("by which a loss may exceed the network's", unit="nats", within="(0, inf)")


@dataclass(frozen=True)
class TableSettings(NetworkSettings):
    """Small real tables, of which a few rows are the context."""

    dataset: str = setting("data set of tables", data=True)
    tables: tuple[str, ...] = setting("tables of it")
    other_dataset: str = setting("another one", data=True)
    other_tables: tuple[str, ...] = setting("tables of it")
    prior_width: int = setting("largest width of the random networks", within="[2, inf)")
    prior_depth: int = setting("largest number of their layers", within="[1, inf)")
    steps: int = setting("training length", unit="steps", within="[2, inf)")
    subsets: int = setting("subsets of a table", within="[1, inf)")
    rows: int = setting("rows of a subset, half of them of each class", within="[4, inf)")
    context: int = setting("of them to learn from", within="[2, inf)")
    folds: int = setting("folds in which the other methods choose their hyper-parameters", within="[2, inf)")
    configurations: int = setting("configurations that each of them chooses from", within="[1, 8]")
    bins: int = setting("bins of the calibration error", within="[1, inf)")

    def __post_init__(self) -> None:
        """The tables are there, and narrow enough."""
        NetworkSettings.__post_init__(self)
        for dataset, tables in ((self.dataset, self.tables), (self.other_dataset, self.other_tables)):
            arrays = find_data_set(dataset).array_shapes
            known = [name.removesuffix("_features") for name in arrays if name.endswith("_features")]
            for table in tables:
                if table not in known:
                    raise unknown_name(f"table of {dataset}", table, known)
                width = arrays[f"{table}_features"][0][1]
                if width > self.features:
                    raise BadInput(f"table {table} has {width} features, settings.features={self.features}")


STUDIES = {
    "gp": Study(settings=GPSettings, trial=gp_trial),
    "tables": Study(settings=TableSettings, trial=tables_trial),
    "head": Study(settings=HeadSettings, trial=head_trial),
    "hyper": Study(settings=HyperSettings, trial=hyper_trial, prepare=hyper_prepare),
    "bnn": Study(settings=BNNSettings, trial=bnn_trial, prepare=bnn_prepare),
}
