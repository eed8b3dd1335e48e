"""What an experiment offers, and what it is given."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

from core.errors import unknown_name
from core.paths import experiment_path


@dataclass(frozen=True)
class Study:
    """The parts of one study, as an experiment lists them in `STUDIES`.

    Attributes:
      settings: a frozen dataclass of `core.papers.settings.setting` fields.
      trial: `trial(settings, keys, lab)`, the experiment for a batch of replicates; `keys` has shape (replicates,).
      prepare: `prepare(settings.prepared, key, lab)`, the work that all replicates share; optional.
    """

    settings: type
    trial: Callable
    prepare: Callable | None = None


def load_experiment(slug: str) -> ModuleType:
    """Import the experiment of a paper."""
    name, path = f"experiments.{slug}", experiment_path(slug)
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.exists():
        raise unknown_name("experiment", slug, [p.stem for p in path.parent.glob("*.py")])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def experiment_studies(experiment: ModuleType) -> Mapping[str, Study]:
    """The studies of an imported experiment."""
    return experiment.STUDIES
