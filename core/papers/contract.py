"""What an experiment offers, and what it is given."""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from core.errors import unknown_name
from core.paths import experiment_path


@dataclass(frozen=True)
class Study:
    """The parts of one study, as an experiment lists them in `STUDIES`.

    Attributes:
      trial: `trial(settings, keys, lab)`, the experiment for a batch of replicates; `keys` has shape (replicates,).
      prepare: `prepare(settings.prepared, key, lab)`, the work that all replicates share; a study has it exactly when
        its settings have the group `prepared`.
    """

    trial: Callable
    prepare: Callable | None = None


@dataclass(frozen=True)
class Network:
    """A trained network that others can use, as `experiments.<slug>.weights` lists them in `NETWORKS` by name.

    Attributes:
      study: a finished run of it left the network.
      says: what it is and what it takes and gives, for its card.
      collect: `collect(settings, left) -> {"params": tree, …}`, the arrays of its file, from what one replicate left, a
        `core.weights.replicate.FinishedReplicate`.
      model: `model(settings, arrays)`, what a reader calls or fits; `arrays` are those of its file.
      measured: `measured(settings)`, which rows say how good it is, by their metric and conditions, such as
        {"metric": "accuracy", "arm": "ticket"}.
      kept: how the names of kept arrays begin that it takes up: they are published in its file alone.
    """

    study: str
    says: str
    collect: Callable[[Any, Any], Any]
    model: Callable[[Any, Any], Any]
    measured: Callable[[Any], Sequence[Mapping[str, Any]]]
    kept: tuple[str, ...] = ()


def load_experiment(slug: str) -> ModuleType:
    """Import `experiments.<slug>.experiment`, which needs the numerical libraries."""
    return importlib.import_module(f"experiments.{slug}.experiment")


def load_study(slug: str, name: str) -> Study:
    """One study of an experiment. Raises BadInput for one that STUDIES does not list."""
    studies: Mapping[str, Study] = load_experiment(slug).STUDIES
    if name not in studies:
        raise unknown_name(f"study in experiments/{slug}/experiment.py", name, studies)
    return studies[name]


def load_figures(slug: str) -> Callable | None:
    """`figures(measurements, arrays) -> {name: Figure}` of `experiments.<slug>.figures`, if a paper has that module."""
    name = f"experiments.{slug}.figures"
    return importlib.import_module(name).figures if importlib.util.find_spec(name) is not None else None


def load_networks(slug: str) -> Mapping[str, Network]:
    """`NETWORKS` of `experiments.<slug>.weights`; none where a paper has no such module."""
    if not experiment_path(slug).with_name("weights.py").exists():
        return {}
    return importlib.import_module(f"experiments.{slug}.weights").NETWORKS
