"""What an experiment offers, and what it is given."""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

from core.errors import unknown_name


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
