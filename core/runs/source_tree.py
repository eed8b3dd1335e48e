"""The modules of a repository as of one moment, and what the references in them lead to."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from core.errors import BadInput
from core.runs.import_effects import HANDED, READING, STORED, alters_nothing
from core.runs.references import EVERYTHING, OWN_MODULE
from core.runs.source_cache import read_folder, read_source_file
from core.runs.source_files import PROJECT, Definition, SourceFile

REPOSITORY = Path(__file__).resolve().parents[2]
# Messages, places and files, the reading of configs and the typing of settings (their values count), the fetching of
# data (its checksums count) and the description of data sets (checksums and shapes count).
NEUTRAL = ("core.errors", "core.files", "core.paths")
NEUTRAL += ("core.papers.config", "core.papers.config_files", "core.papers.contract", "core.papers.reading")
NEUTRAL += ("core.papers.settings", "core.papers.validation")
NEUTRAL += ("core.data.catalogue", "core.data.dataset", "core.data.loading", "core.data.sources")
WHOLE = -1


class Place(NamedTuple):
    """A definition of a module by its position, or `WHOLE` for the module with everything in it."""

    module: str
    index: int


class Targets:
    """What a reference leads to.

    Attributes:
      places: definitions and whole modules of the project.
      libraries: dotted names of what is used of libraries.
      modules: modules of the project that are imported on the way.
      neutral: dotted names of what cannot change a result.
      members: definitions of which an attribute is meant, with its name.
    """

    def __init__(self) -> None:
        self.places: set[Place] = set()
        self.libraries: set[str] = set()
        self.modules: set[str] = set()
        self.neutral: set[str] = set()
        self.members: set[tuple[Place, str]] = set()
        self._seen: set[tuple[str, ...]] = set()

    def enter(self, *step: str) -> bool:
        """Whether a step has not been taken before: modules may import from each other in circles."""
        fresh = step not in self._seen
        self._seen.add(step)
        return fresh

    def __bool__(self) -> bool:
        return bool(self.places or self.libraries or self.neutral)


@functools.cache
def is_neutral(module: str) -> bool:
    """Whether nothing in a module can change a result."""
    return any(module == each or module.startswith(f"{each}.") for each in NEUTRAL)


_TREES: dict[Path, "SourceTree"] = {}


def current_tree(repository: Path, package: str = "core") -> "SourceTree":
    """The sources of a repository as they are now; what is known is kept while those of core and `package` stay."""
    kept = _TREES.get(repository)
    if kept is None or not kept.is_current({"core", "experiments", package}):
        kept = _TREES[repository] = SourceTree(repository)
    return kept


class SourceTree:
    """The modules of a repository, read when they are asked for; one without a `core` of its own uses that which runs.

    Attributes:
      memory: for those who ask the same again.
    """

    def __init__(self, repository: Path) -> None:
        self.memory: dict[object, object] = {}
        self._roots = {top: str(repository if (repository / top).is_dir() else REPOSITORY) for top in PROJECT}
        self._files: dict[str, dict[str, SourceFile | None]] = {}  # by package and path, absent ones included
        self._folders: dict[str, dict[str, tuple[str, ...] | None]] = {}
        self._modules: dict[str, tuple[str, SourceFile | None]] = {}
        self._names: dict[str, dict[str, list[int]]] = {}
        self._targets: dict[tuple[str, str], Targets] = {}
        self._harmless: dict[tuple[str, str], bool] = {}
        self._imported: dict[str, frozenset[str]] = {}
        self._acting: dict[str, frozenset[int]] = {}

    def is_current(self, packages: Iterable[str]) -> bool:
        """Whether no file or folder of these packages that was looked at has changed, appeared or gone."""
        try:
            return all(
                all(read_source_file(path) is found for path, found in self._files.get(package, {}).items())
                and all(read_folder(path) is found for path, found in self._folders.get(package, {}).items())
                for package in packages
            )
        except (SyntaxError, ValueError):
            return False

    def file(self, module: str) -> SourceFile | None:
        """A module's file; None for a folder without code of its own. Raises BadInput where there is no module."""
        found = self._find(module)
        if found is None:
            raise BadInput(f"there is no module {module}, which the code of a run imports")
        return found[1]

    def definition(self, place: Place) -> Definition:
        """The definition at a place."""
        file = self.file(place.module)
        assert file is not None
        return file.definitions[place.index]

    def binds(self, module: str, name: str) -> bool:
        """Whether a module exists and binds a name."""
        file = (self._find(module) or ("", None))[1]
        return file is not None and (name in file.imports or name in self._indices(module, file))

    def submodules(self, module: str) -> list[str]:
        """The modules directly below a package."""
        if not self._is_package(module):
            return []
        names = self._listing(module, self._path(module)) or ()
        found = {name.removesuffix(".py") for name in names} - {"__init__", "__main__"}
        return [f"{module}.{name}" for name in sorted(found) if self._find(f"{module}.{name}")]

    def _find(self, module: str) -> tuple[str, SourceFile | None] | None:
        """Path and content of a module; the folder itself where it holds no `__init__`."""
        if module not in self._modules:
            path = self._path(module)
            parent, _, name = module.rpartition(".")
            beside = self._listing(parent, self._path(parent)) or () if parent else (name,)
            inside = self._listing(module, path) if name in beside else None
            file = f"{path}/__init__.py" if inside is not None and "__init__.py" in inside else f"{path}.py"
            content = self._read(module, file) if file.endswith("__init__.py") or f"{name}.py" in beside else None
            if content is None and inside is None:
                return None
            self._modules[module] = (path, None) if content is None else (file, content)
        return self._modules[module]

    def _path(self, module: str) -> str:
        return "/".join([self._roots[module.partition(".")[0]], *module.split(".")])

    def _read(self, module: str, path: str) -> SourceFile | None:
        files = self._files.setdefault(_package(module), {})
        if path not in files:
            files[path] = read_source_file(path)
        return files[path]

    def _listing(self, module: str, path: str) -> tuple[str, ...] | None:
        folders = self._folders.setdefault(_package(module), {})
        if path not in folders:
            folders[path] = read_folder(path)
        return folders[path]

    def _is_package(self, module: str) -> bool:
        path, file = self._find(module) or ("", None)
        return file is None or path.endswith("__init__.py")

    # What references lead to

    def targets(self, module: str, use: str) -> Targets:
        """What one reference in a module leads to, re-exports followed; nothing for names of Python itself."""
        key = module, use
        if key not in self._targets:
            found = self._targets[key] = Targets()
            if use == OWN_MODULE:
                found.places.add(Place(module, WHOLE))
            elif ":" in use:
                self._follow_import(module, use, [], found)
            else:
                name, *attributes = use.split(".")
                self._follow_name(module, name, attributes, found)
        return self._targets[key]

    def loaded_modules(self, module: str, target: str) -> list[str]:
        """The modules of the project that an import runs, given as `module:attribute`."""
        base, _, attribute = target.partition(":")
        base = self._absolute(module, base)
        if base.partition(".")[0] not in PROJECT:
            return []
        inner = f"{base}.{attribute}"
        return [base, *([inner] if attribute and self._is_package(base) and self._find(inner) else [])]

    def imported_modules(self, module: str) -> frozenset[str]:
        """The modules that importing a module imports, its package among them."""
        if module not in self._imported:
            file, parent = self.file(module), module.rpartition(".")[0]
            found = {each for target in (file.loads if file else ()) for each in self.loaded_modules(module, target)}
            self._imported[module] = frozenset({*found, *filter(None, [parent])})
        return self._imported[module]

    def _follow_name(self, module: str, name: str, attributes: list[str], found: Targets) -> bool:
        """Follow a name of a module; returns whether the module binds it."""
        file = self.file(module)
        if file is None or not found.enter(module, name, *attributes):
            return file is not None
        places = [Place(module, index) for index in self._indices(module, file).get(name, ())]
        found.places.update(places)
        found.members.update((place, attributes[0]) for place in places if attributes)
        for target in file.imports.get(name, ()):
            self._follow_import(module, target, attributes, found)
        return bool(places) or name in file.imports

    def _follow_import(self, module: str, target: str, attributes: list[str], found: Targets) -> None:
        base, _, attribute = target.partition(":")
        self._walk(self._absolute(module, base), [*filter(None, attribute.split(".")), *attributes], found)

    def _walk(self, module: str, attributes: list[str], found: Targets) -> None:
        """Follow attributes of a module, as far as they are definitions or modules."""
        if module.partition(".")[0] not in PROJECT:
            found.libraries.add(".".join([module, *attributes]))
            return
        if is_neutral(module):
            found.neutral.add(".".join([module, *attributes]))
            return
        found.modules.add(module)
        self.file(module)
        if not attributes:
            found.places.add(Place(module, WHOLE))
            return
        name, *rest = attributes
        known = self._follow_name(module, name, rest, found)
        inner = f"{module}.{name}"
        if self._is_package(module) and (is_neutral(inner) or self._find(inner)):
            self._walk(inner, rest, found)
        elif not known:  # made by `__getattr__`, `import *`, `globals()`, or an attribute such as `__dict__`
            found.places.add(Place(module, WHOLE))

    def _absolute(self, module: str, base: str) -> str:
        name = base.lstrip(".")
        level = len(base) - len(name)
        if not level:
            return name
        parts = module.split(".")
        above = parts[: len(parts) - level + self._is_package(module)]
        return ".".join([*above, *filter(None, [name])])

    def _indices(self, module: str, file: SourceFile) -> dict[str, list[int]]:
        if module not in self._names:
            names: dict[str, list[int]] = {}
            for index, definition in enumerate(file.definitions):
                for name in definition.names:
                    names.setdefault(name, []).append(index)
            self._names[module] = names
        return self._names[module]

    # What imports do

    def acting(self, module: str) -> frozenset[int]:
        """The statements that may alter something else than the names they bind when their module is imported."""
        if module not in self._acting:
            file = self.file(module)
            definitions = enumerate(file.definitions if file else ())
            self._acting[module] = frozenset(index for index, each in definitions if self._acts(module, each))
        return self._acting[module]

    def _acts(self, module: str, definition: Definition) -> bool:
        return (
            definition.acts
            or any(not self._is_quiet(module, run) for run in definition.runs)
            or any(self._is_watching(module, base) for base in definition.bases)
        )

    def _is_quiet(self, module: str, run: str) -> bool:
        """Whether what a statement runs at import is known to alter nothing."""
        if run.startswith(STORED):
            use = run.removeprefix(STORED)
            members = self.targets(module, use).members
            plain = all(self.definition(place).kind != "value" or name in READING for place, name in members)
            return plain or self._is_harmless(module, use)
        callee, handed, name = run.partition(HANDED)
        if callee and self._makes_records(module, callee):
            return True
        use = name if handed else callee
        return bool(use) and self._is_harmless(module, use)

    def _makes_records(self, module: str, callee: str) -> bool:
        """Whether a reference stands for a class of which instances are made without running anything of its own."""
        targets = self.targets(module, callee)
        if targets.members or targets.libraries or not (targets.places or targets.neutral):
            return False
        found = [(place, self.definition(place)) for place in targets.places if place.index != WHOLE]
        return len(found) == len(targets.places) and all(
            each.record and all(self._keeps_records(place.module, base) for base in each.bases) for place, each in found
        )

    def _keeps_records(self, module: str, base: str) -> bool:
        """Whether a base class leaves it at that: one of the project, or of a library that alters nothing."""
        libraries = self.targets(module, base).libraries
        return all(map(alters_nothing, libraries)) if libraries else self._makes_records(module, base)

    def _is_harmless(self, module: str, use: str) -> bool:
        """Whether nothing can be altered by working with what a reference stands for, and with all that it refers to.

        A function or a class is harmless if its code alters nothing, a value if nothing else is in it.
        """
        if (module, use) not in self._harmless:
            pending, seen = [(module, use)], {(module, use)}
            while pending and (following := self._follow_harmless(*pending.pop())) is not None:
                pending += following - seen
                seen |= following
            self._harmless[module, use] = not pending and following is not None
        return self._harmless[module, use]

    def _follow_harmless(self, module: str, use: str) -> set[tuple[str, str]] | None:
        """What a reference stands for refers to; None where something may be altered by that itself."""
        if use in (EVERYTHING, OWN_MODULE):
            return None
        targets, following = self.targets(module, use), set()
        if not all(alters_nothing(path) for path in targets.libraries):
            return None
        if any(self.definition(place).kind != "class" and name not in READING for place, name in targets.members):
            return None
        for place in targets.places:
            if place.index == WHOLE or self.definition(place).acts_later:
                return None
            following |= {(place.module, inner) for inner in self.definition(place).uses}
        return following

    def _is_watching(self, module: str, base: str) -> bool:
        """Whether a base class of the project may learn of its subclasses; one that is not found may."""
        targets = self.targets(module, base)
        found = [(place, self.definition(place)) for place in _definitions(targets)]
        return not targets or any(
            each.watches or each.kind != "class" or any(self._is_watching(place.module, above) for above in each.bases)
            for place, each in found
        )


def _definitions(targets: Targets) -> list[Place]:
    return [place for place in targets.places if place.index != WHOLE]


def _package(module: str) -> str:
    """The unit by which changes are noticed: core, or one experiment."""
    top, *rest = module.split(".")
    return top if top == "core" else ".".join([top, *rest[:1]])
