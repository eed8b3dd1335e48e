"""What makes a result itself: settings, the definitions that compute it, data, numerical libraries and their flags.

Comments, docstrings and layout never change an identity, nor does code that a trial does not reach. Every part keeps a
hash per setting, definition and file beside its digest, so that a result that no longer stands can say what changed.
"""

import functools
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import BadInput, suggest
from core.runs.reachability import Reach, Roots, find_reach
from core.runs.source_tree import REPOSITORY, current_tree

# All that a trial sees of the machinery, and what gives it its random keys and the work that its replicates share.
MACHINERY = (
    "core.lab.lab:Lab",
    "core.lab.vectorised:VectorisedLab",
    "core.lab.keys:replicate_keys",
    "core.lab.keys:preparation_key",
    "core.lab.trials:perform_trial",
)
VERDICTS = ("core.judging.verdicts:judge_study", "core.papers.claims:compile_claim")
FIGURES = ("core.figures.drawing:call_in_style", "core.figures.drawing:save_figures")
FIGURES += ("core.figures.standard:standard_figures",)
NUMERICAL = ("flax", "jax", "jaxlib", "numpy", "optax", "scipy")  # distributions in every run's identity
SHORT = 12  # hexadecimal digits of the hash of one setting, definition or file

# Import names met often; asking the metadata of everything that is installed costs 0.1 s.
_DISTRIBUTIONS = {
    **{name: name for name in (*NUMERICAL, "blackjax", "chex", "matplotlib", "pandas", "safetensors", "threadpoolctl")},
    "PIL": "pillow",
    "sklearn": "scikit-learn",
}


@dataclass(frozen=True)
class Identity:
    """The parts that a result depends on; they name the folder that holds it."""

    slug: str
    study: str
    scale: str
    parts: dict[str, Any]

    @property
    def name(self) -> str:
        """`<slug>-<study>-<scale>-<12 hex>`."""
        return f"{self.slug}-{self.study}-{self.scale}-{digest(self.parts)[:SHORT]}"


@dataclass(frozen=True)
class Code:
    """The code of a trial: a hash for every definition by module and name, and the distributions that these use."""

    definitions: Mapping[str, Mapping[str, str]]
    distributions: frozenset[str] = frozenset()

    @property
    def modules(self) -> frozenset[str]:
        """The modules of which some definition counts."""
        return frozenset(self.definitions)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all of it."""
        return digest(self.definitions)


def canonical_json(value: Any) -> str:
    """Plain data as JSON with sorted keys and floats by repr: equal text for equal data, in every process."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(value: Any) -> str:
    """Hexadecimal SHA-256 of plain data."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def code_of_trial(
    experiment: Path, study: str, settings_classes: Iterable[str] = (), extra_definitions: Iterable[str] = ()
) -> Code:
    """What the trial of a study reaches in the project, with the machinery that it runs in.

    Args:
      experiment: the experiment's module with the table STUDIES, or its folder.
      study: the study in that table; of the table, only this entry counts.
      settings_classes: those of the settings that the trial is handed, as `module:Class` or by their names in the
        experiment. What their methods and properties compute counts, the declarations of their fields do not.
      extra_definitions: what works for the trial without being named by it, as `module:name`, such as the readers of
        its data.

    Raises BadInput for a study or a module of the project that does not exist.
    """
    return _code_of_study(experiment, study, "trial", settings_classes, extra_definitions)


def code_of_preparation(
    experiment: Path, study: str, settings_classes: Iterable[str] = (), extra_definitions: Iterable[str] = ()
) -> Code:
    """The same for what a study prepares for all of its replicates."""
    return _code_of_study(experiment, study, "prepare", settings_classes, extra_definitions)


def study_parts(experiment: Path) -> dict[str, list[str]]:
    """The studies in an experiment's table, with the parts that each has: "trial", "prepare", "settings"."""
    repository, module, package = experiment_module(experiment)
    file = current_tree(repository, package).file(module)
    return {study: list(parts) for study, parts in file.studies.items()} if file else {}


def _code_of_study(experiment: Path, study: str, part: str, settings: Iterable[str], also: Iterable[str]) -> Code:
    repository, module, package = experiment_module(experiment)
    tree = current_tree(repository, package)
    file = tree.file(module)
    studies = file.studies if file else {}
    if study not in studies:
        raise BadInput(
            f"{module} has no study '{study}' in a table STUDIES written as one dictionary: {suggest(study, studies)}"
        )
    if part not in studies[study]:
        raise BadInput(f"{module}: the study '{study}' has no {part}")
    classes = [name if ":" in name else f"{module}:{name}" for name in settings]
    if part == "trial" and "settings" in studies[study]:
        classes += [f"{module}:{use}" for use in studies[study]["settings"].uses]
    return _code(find_reach(tree, package, Roots((*MACHINERY, *also), tuple(classes), (module, study, part))))


def _code(reach: Reach) -> Code:
    return Code(reach.definitions, frozenset({*NUMERICAL, *_distributions(reach.libraries)}))


def experiment_module(experiment: Path) -> tuple[Path, str, str]:
    """The repository, the module and the package (`experiments.<slug>`) of an experiment, given by file or folder."""
    file = experiment
    if experiment.is_dir():
        inner = experiment / "experiment.py"
        file = inner if inner.is_file() else experiment / "__init__.py"
    for folder in file.parents:
        if folder.name == "experiments":
            parts = file.relative_to(folder.parent).with_suffix("").parts
            return folder.parent, ".".join(parts).removesuffix(".__init__"), ".".join(parts[:2])
    raise BadInput(f"{file.name} is not in a folder named experiments")


def definition_of(function: Any) -> str:
    """A function or class as `module:name`; one without a name of its own stands for its whole module.

    Raises BadInput for anything else that can be called: nobody could say where it comes from.
    """
    name = getattr(function, "__qualname__", None)
    if name is None:
        raise BadInput(f"{function!r} must be a function with a name, to be followed in its source")
    return f"{function.__module__}:{'' if '<' in name else name}"


def run_identity(
    slug: str,
    study: str,
    scale: str,
    *,
    settings: Mapping[str, Any],
    code: Code,
    data: Mapping[str, Mapping[str, str]],
    libraries: Mapping[str, str],
    flags: Mapping[str, str],
    prepared: Identity | None = None,
) -> Identity:
    """The identity of one study's run.

    Args:
      settings: all values that reach the trial.
      code: what the trial reaches.
      data: for every data set the hashes of its files and of whatever else of it can change a result.
      libraries: versions by distribution.
      flags: settings of the numerical libraries that differ from their defaults.
      prepared: the identity of the work that all replicates share.
    """
    values = {name: _short(value) for name, value in flatten_leaves(settings)}
    definitions = {
        module: {name: hashed[:SHORT] for name, hashed in own.items()} for module, own in code.definitions.items()
    }
    parts = {
        "settings": {"digest": digest(settings), "values": values},
        "code": {"digest": code.fingerprint, "definitions": definitions},
        "data": {
            name: {"digest": digest(hashes), "files": {file: hashed[:SHORT] for file, hashed in hashes.items()}}
            for name, hashes in data.items()
        },
        "libraries": dict(libraries),
        "flags": dict(flags),
    }
    return Identity(slug, study, scale, parts | ({"prepared": prepared.parts} if prepared else {}))


def flatten_leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested plain data."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten_leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _short(value: Any) -> str:
    return digest(value)[:SHORT]


def inputs_of(parts: Mapping[str, Any]) -> list[Any]:
    """The parts of an identity that are not code or libraries: settings, data and flags, those of prepared work too."""
    prepared = parts.get("prepared")
    own = [parts.get(part) for part in ("settings", "data", "flags")]
    return own + ([inputs_of(prepared)] if prepared else [])


# Verdicts, figures, libraries


def verdict_identity(judged: Mapping[str, Any], repository: Path = REPOSITORY) -> str:
    """Identity of verdicts: what the config says that reaches them (claims, deviations) and the code that judges."""
    return digest([judged, find_reach(current_tree(repository), "core", Roots(VERDICTS)).definitions])


def figures_identity(experiment: Path, declared: Mapping[str, Any]) -> str:
    """Identity of a paper's figures: what its config declares, what its own `figures` reaches, and the style."""
    repository, module, package = experiment_module(experiment)
    tree = current_tree(repository, package)
    drawn = [f"{place}:figures" for place in (module, f"{package}.figures") if tree.binds(place, "figures")]
    return digest([declared, find_reach(tree, package, Roots((*FIGURES, *drawn))).definitions])


def library_versions(distributions: Iterable[str] = NUMERICAL) -> dict[str, str]:
    """Installed versions by distribution name; `absent` where a distribution is not installed."""
    return {name: _version(name) for name in sorted(distributions)}


@functools.cache
def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@functools.cache
def _providers() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _distributions(libraries: Iterable[str]) -> set[str]:
    """Distributions that provide what is imported from outside the project and the standard library."""
    outside = set(libraries) - sys.stdlib_module_names
    known = {_DISTRIBUTIONS[name] for name in outside & _DISTRIBUTIONS.keys()}
    if unknown := outside - _DISTRIBUTIONS.keys():
        provided = _providers()
        known |= {owner for name in unknown for owner in provided.get(name, [name])}
    return known
