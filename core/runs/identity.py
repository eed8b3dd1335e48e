"""What makes a result itself: settings, syntax trees of the code that computes it, data and numerical libraries.

Comments, docstrings and layout never change an identity, nor does code that a trial does not reach: from an experiment
only the definitions its roots lead to count, from the project's other modules those that this code imports, as wholes.
"""

import ast
import functools
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import BadInput
from core.runs.syntax import Import, Piece, pieces, reached

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = ("core", "experiments")
MACHINERY = ("core.lab.lab",)  # all that a trial sees of the machinery: in every run's identity
VERDICTS = ("core.judging.judge", "core.judging.stats")
FIGURES = ("core.figures.drawing", "core.figures.standard")
# Messages, places and files, the typing of settings (their values count), the fetching of data (its checksums count).
NEUTRAL = frozenset(
    {"core.errors", "core.files", "core.paths", "core.papers.settings", "core.data.catalogue", "core.data.loading"}
)
NUMERICAL = ("flax", "jax", "jaxlib", "numpy", "optax", "scipy")  # distributions in every run's identity

# Import names met often; asking the metadata of everything that is installed costs 0.1 s.
_DISTRIBUTIONS = {
    **{name: name for name in (*NUMERICAL, "chex", "matplotlib", "pandas")},
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
        return f"{self.slug}-{self.study}-{self.scale}-{digest(self.parts)[:12]}"


@dataclass(frozen=True)
class Code:
    """A fingerprint, with the project modules (the experiment excepted) and the distributions that it covers."""

    fingerprint: str
    modules: frozenset[str]
    distributions: frozenset[str]


def canonical_json(value: Any) -> str:
    """Plain data as JSON with sorted keys and floats by repr: equal text for equal data, in every process."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(value: Any) -> str:
    """Hexadecimal SHA-256 of plain data."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def run_identity(
    slug: str,
    study: str,
    scale: str,
    settings: Mapping[str, Any],
    code: str,
    data: Mapping[str, str],
    libraries: Mapping[str, str],
) -> Identity:
    """The identity of one study's run: `settings` are all values that reach the trial, `data` maps names to sha256."""
    parts = {"settings": digest(settings), "code": code, "data": dict(data), "libraries": dict(libraries)}
    return Identity(slug, study, scale, parts)


def identity_differences(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """In which parts two identities differ: "code", "settings", "data mnist", "jax 0.10.2 -> 0.11.0"."""
    found = [part for part in ("code", "settings") if recorded.get(part) != current.get(part)]
    found += [f"data {name}" for name, _, _ in _changed(recorded.get("data", {}), current.get("data", {}))]
    libraries = _changed(recorded.get("libraries", {}), current.get("libraries", {}))
    return found + [f"{name} {before} -> {now}" for name, before, now in libraries]


def code(experiment: Path, roots: Iterable[str], also: Iterable[str] = ()) -> Code:
    """What a trial is made of: what `roots` reach in the experiment (a file or a folder) and what it imports.

    `also` names modules that work for the trial without being imported by it, such as the readers of its data. The
    machinery's modules always count. Its distributions do not, as those for tables or progress have no say in a
    result: the numerical ones count, and what the experiment's side imports. Raises BadInput for a root or a project
    module that does not exist.
    """
    return _read(experiment, roots, MACHINERY, also)


def code_fingerprint(experiment: Path, roots: Iterable[str], also: Iterable[str] = ()) -> str:
    """SHA-256 over the syntax trees that `roots` of the experiment reach."""
    return code(experiment, roots, also).fingerprint


def closure(experiment: Path, roots: Iterable[str], also: Iterable[str] = ()) -> set[str]:
    """Names of the project modules, other than the experiment, whose code is in the fingerprint."""
    return set(code(experiment, roots, also).modules)


def verdict_identity(judged: Mapping[str, Any], repository: Path = REPOSITORY) -> str:
    """Identity of verdicts: what the config says that reaches them (claims, deviations) and the code that judges."""
    return digest([judged, _texts(_modules(repository, VERDICTS, None))])


def figures_identity(module: Path, declared: Mapping[str, Any]) -> str:
    """Identity of a paper's figures: what is `declared`, what `figures` of its module reaches, and the style."""
    roots = {"figures"} if module.is_file() else set()
    sheet = module if roots else module.with_name("experiment.py")
    return digest([declared, _read(sheet, roots, FIGURES).fingerprint])


def study_roots(experiment: Path, study: str) -> list[str]:
    """What STUDIES calls the trial of a study, and its `prepare` if it has one. Raises BadInput where it has none."""
    for node in ast.parse(experiment.read_text(encoding="utf-8")).body:
        if (
            isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "STUDIES"
            and isinstance(node.value, ast.Dict)
        ):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == study and isinstance(value, ast.Call):
                    return [ast.unparse(each) for each in [*value.args, *(word.value for word in value.keywords)]]
    raise BadInput(f"experiments/{experiment.parent.name}/experiment.py has no study '{study}' in STUDIES")


def library_versions(distributions: Iterable[str] = NUMERICAL) -> dict[str, str]:
    """Installed versions by distribution name; `absent` where a distribution is not installed."""
    return {name: _version(name) for name in sorted(distributions)}


@functools.cache
def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    pairs = [(name, before.get(name, "unused"), now.get(name, "unused")) for name in sorted({*before, *now})]
    return [(name, old, new) for name, old, new in pairs if old != new]


def _read(experiment: Path, roots: Iterable[str], seeds: Iterable[str], also: Iterable[str] = ()) -> Code:
    file, roots = _sheet_file(experiment), set(roots)
    repository = _repository(file)
    name = ".".join(file.relative_to(repository).with_suffix("").parts).removesuffix(".__init__")
    found = _source(file)
    if absent := roots - {name for piece in found for name in piece.binds}:
        raise BadInput(f"the experiment {name.rpartition('.')[2]} does not define '{min(absent)}'")
    used = reached(found, roots)
    modules = _modules(repository, [*seeds, *also, *_project_imports(repository, used, name, file)], name)
    machinery = _modules(repository, seeds, name)
    own = [*used, *(piece for module in modules.keys() - machinery.keys() for piece in modules[module])]
    fingerprint = digest([[piece.text for piece in used], _texts(modules)])
    return Code(fingerprint, frozenset(modules), frozenset({*NUMERICAL, *_distributions(own)}))


def _sheet_file(experiment: Path) -> Path:
    return experiment / "__init__.py" if experiment.is_dir() else experiment


def _repository(file: Path) -> Path:
    for folder in file.parents:
        if folder.name == "experiments":
            return folder.parent
    raise BadInput(f"{file.name} is not in a folder named experiments")


def _source(file: Path) -> tuple[Piece, ...]:
    return pieces(file.read_text(encoding="utf-8"))


def _texts(modules: Mapping[str, Iterable[Piece]]) -> dict[str, list[str]]:
    return {name: [piece.text for piece in found] for name, found in modules.items()}


def _modules(repository: Path, names: Iterable[str], experiment: str | None) -> dict[str, tuple[Piece, ...]]:
    """The named project modules and what they import, transitively, with the packages they live in.

    A package's own code runs on import, so it counts; but an experiment that is a package is read by piece elsewhere.
    """
    pending, found = list(names), {}
    while pending:
        name = pending.pop()
        if name in found or name in NEUTRAL:
            continue
        file = _module_file(repository, name)
        found[name] = _source(file) if file else ()
        pending += _project_imports(repository, found[name], name, file)
        parent = name.rpartition(".")[0]
        if parent and parent != experiment:
            pending.append(parent)
    return found


def _path(repository: Path, name: str) -> Path:
    """Where a module's file or folder is; a tree without a package of its own uses the one that runs."""
    own = (repository / name.partition(".")[0]).is_dir()
    return (repository if own else REPOSITORY).joinpath(*name.split("."))


def _module_file(repository: Path, name: str) -> Path | None:
    """The file of a project module; None for a package folder without code of its own."""
    path = _path(repository, name)
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    if path.is_dir():
        return None
    raise BadInput(f"there is no module {name}, which the code of a run imports")


def _project_imports(repository: Path, found: Iterable[Piece], importer: str, file: Path | None) -> Iterator[str]:
    """Absolute names of the project modules that some pieces of one module import."""
    package = importer if file and file.name == "__init__.py" else importer.rpartition(".")[0]
    for entry in (entry for piece in found for entry in piece.imports):
        base = _absolute(entry, package)
        if base.partition(".")[0] in PROJECT:
            yield from {_submodule(repository, base, name) for name in entry.names} or {base}


def _absolute(entry: Import, package: str) -> str:
    if not entry.level:
        return entry.module
    parts = package.split(".")
    above = parts[: len(parts) - entry.level + 1]
    return ".".join([*above, entry.module] if entry.module else above)


def _submodule(repository: Path, base: str, name: str) -> str:
    """`from base import name` loads the module base.name when there is one, else only base."""
    path = _path(repository, base) / name
    return f"{base}.{name}" if path.is_dir() or path.with_suffix(".py").is_file() else base


def _distributions(found: Iterable[Piece]) -> set[str]:
    """Distributions that provide what some pieces import from outside the project and the standard library."""
    imports = [entry for piece in found for entry in piece.imports if not entry.level]
    outside = {entry.module.partition(".")[0] for entry in imports} - {*PROJECT, *sys.stdlib_module_names}
    known = {_DISTRIBUTIONS[name] for name in outside & _DISTRIBUTIONS.keys()}
    if unknown := outside - _DISTRIBUTIONS.keys():
        provided = importlib.metadata.packages_distributions()
        known |= {owner for name in unknown for owner in provided.get(name, [name])}
    return known
