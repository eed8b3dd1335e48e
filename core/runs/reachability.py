"""What code reaches: the definitions of the project that some names lead to, followed through imports of any kind.

Whatever cannot be followed counts whole. A class counts with its bases and all of its methods; a module that is handed
around as a value, with all of its names, and so does one whose `globals()` are asked for. Where any module could be
meant (`importlib`, `eval`, `sys.modules`), all of core and of the experiment count. What a module does when it is
imported counts wherever it is imported.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, cast

from core.runs.references import EVERYTHING, REFLECTION
from core.runs.source_files import HEX, Definition
from core.runs.source_tree import WHOLE, Place, SourceTree, is_neutral

AT_IMPORT = "(at import)"  # stands for what a module does when it is imported, in order
NAMES = "(imports)"  # stands for what the imports of a module bind, where all of its names count
# They type settings, whose values count.
NEUTRAL_LIBRARIES = frozenset({"annotated_types", "pydantic", "pydantic_core", "typing_extensions"})


@dataclass(frozen=True)
class Reach:
    """What some roots lead to.

    Attributes:
      definitions: a hash for every definition that is reached, by module and name.
      libraries: import names of the libraries that these use.
    """

    definitions: dict[str, dict[str, str]]
    libraries: frozenset[str]


@dataclass(frozen=True)
class Roots:
    """Where code begins.

    Attributes:
      names: definitions, as `module:name`.
      settings: classes, as `module:name`, whose instances are handed to the code: the values of their fields are known
        otherwise, so that methods and properties count, and those of their bases and of the classes of their fields.
      study: an entry of an experiment's table of studies: module, study, and "trial" or "prepare".
    """

    names: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    study: tuple[str, str, str] | None = None


def find_reach(tree: SourceTree, package: str, roots: Roots) -> Reach:
    """What `roots` lead to in core and in `package`.

    Raises BadInput for a module of the project that does not exist, SyntaxError for one that is not Python.
    """
    if (package, roots) not in tree.memory:
        walk = _Walk(tree, package)
        walk.begin(roots)
        tree.memory[package, roots] = walk.result()
    return cast(Reach, tree.memory[package, roots])


class _Step(NamedTuple):
    """What one definition leads to at once: places, import names of libraries, modules that are imported, and marks."""

    places: frozenset[Place]
    libraries: frozenset[str]
    modules: frozenset[str]
    marks: frozenset[str]


class _Walk:
    """One search through the definitions of a tree."""

    def __init__(self, tree: SourceTree, package: str) -> None:
        self.tree, self.package = tree, package
        self.reached: set[Place] = set()
        self.handed: set[Place] = set()  # classes of which only the behaviour of instances counts
        self.whole: set[str] = set()
        self.loaded: set[str] = set()
        self.libraries: set[str] = set()
        self.reflects = False
        self.entries: list[tuple[str, Definition]] = []
        self.pending: set[Place] = set()

    def begin(self, roots: Roots) -> None:
        """Follow everything from the roots."""
        for name in roots.names:
            self._take(self._step(name.partition(":")[0], (name,)))
        for name in roots.settings:
            self._hand(name.partition(":")[0], name)
        if roots.study is not None:
            module, study, part = roots.study
            file = self.tree.file(module)
            assert file is not None
            definition = file.studies[study][part]
            self._load(module)
            self.entries.append((module, definition))
            self._take(self._step(module, definition.uses, definition.loads))
        while self.pending:
            place = self.pending.pop()
            if place.index == WHOLE:
                self._take_whole(place.module)
            elif place not in self.reached:
                self.reached.add(place)
                self._load(place.module)
                self._take(self._step_from(place))

    def _step_from(self, place: Place) -> _Step:
        memory = self.tree.memory
        if (_Step, place) not in memory:
            definition = self.tree.definition(place)
            memory[_Step, place] = self._step(place.module, definition.uses, definition.loads)
        return cast(_Step, memory[_Step, place])

    def _step(self, module: str, uses: Iterable[str], loads: Iterable[str] = ()) -> _Step:
        marks = frozenset({EVERYTHING, REFLECTION} & {*uses})
        targets = [self.tree.targets(module, use) for use in uses if use not in marks]
        libraries = frozenset(path.partition(".")[0] for each in targets for path in each.libraries)
        imported = (each for target in loads for each in self.tree.loaded_modules(module, target))
        modules = frozenset(each for target in targets for each in target.modules).union(imported)
        return _Step(frozenset(place for each in targets for place in each.places), libraries, modules, marks)

    def _take(self, step: _Step) -> None:
        self.pending |= step.places - self.reached
        self.libraries |= step.libraries
        for module in step.modules - self.loaded:
            self._load(module)
        self.reflects |= REFLECTION in step.marks
        if EVERYTHING in step.marks:
            self.pending |= {Place("core", WHOLE), Place(self.package, WHOLE)}

    def _load(self, module: str) -> None:
        """Import a module: what it does at that, it and whatever it imports, counts."""
        pending = [module]
        while pending:
            module = pending.pop()
            if module not in self.loaded and not is_neutral(module):
                self.loaded.add(module)
                self.pending |= {Place(module, index) for index in self.tree.acting(module)}
                pending += self.tree.imported_modules(module)

    def _take_whole(self, module: str) -> None:
        """Everything in a module counts, with all that its imports bind, and everything below a package."""
        if module in self.whole or is_neutral(module):
            return
        self.whole.add(module)
        self._load(module)
        file = self.tree.file(module)
        if file is not None:
            self.pending |= {Place(module, index) for index in range(len(file.definitions))}
            self._take(self._step(module, file.imports))
        self.pending |= {Place(each, WHOLE) for each in self.tree.submodules(module)}

    def _hand(self, module: str, use: str) -> None:
        """Follow what an instance of a class does, without the declarations of its fields."""
        targets = self.tree.targets(module, use)
        for each in targets.modules:
            self._load(each)
        for place in targets.places - self.handed:
            behaviour = None if place.index == WHOLE else self.tree.definition(place).behaviour
            if behaviour is None:
                self.pending.add(place)  # no class, such as a type that is composed of others
                continue
            self.handed.add(place)
            self._take(self._step(place.module, behaviour.uses))
            for inner in (*self.tree.definition(place).bases, *behaviour.types):
                if inner not in (EVERYTHING, REFLECTION):
                    self._hand(place.module, inner)

    def result(self) -> Reach:
        """The hashes of all that was found."""
        found: dict[str, dict[str, list[str]]] = {}
        for place in sorted(self.reached | self.handed):
            definition = self.tree.definition(place)
            own = found.setdefault(place.module, {})
            hashed = self._hash(place, definition)
            if definition.names:
                own.setdefault("/".join(definition.names), []).append(hashed)
            if place.index in self.tree.acting(place.module):
                own.setdefault(AT_IMPORT, []).append(hashed)
        for module, definition in self.entries:
            found.setdefault(module, {})[definition.names[0]] = [self._hash_definition(module, definition)]
        for module in self.whole:
            if (file := self.tree.file(module)) is not None and file.imports:
                found.setdefault(module, {})[NAMES] = [self._meanings(module, file.imports)]
        definitions = {
            module: {name: hashes[0] if len(hashes) == 1 else _short("".join(hashes)) for name, hashes in own.items()}
            for module, own in sorted(found.items())
        }
        return Reach(definitions, frozenset(self.libraries - NEUTRAL_LIBRARIES))

    def _hash(self, place: Place, definition: Definition) -> str:
        """The hash of a definition: of what it says, and of what its references stand for."""
        behaviour = None if place in self.reached else definition.behaviour
        key = place, behaviour is None, self.reflects
        memory = self.tree.memory
        if key not in memory:
            if behaviour is not None:
                text = definition.source if self.reflects else behaviour.text
                definition = definition._replace(text=text, uses=(*behaviour.uses, *definition.bases))
            memory[key] = self._hash_definition(place.module, definition)
        return cast(str, memory[key])

    def _hash_definition(self, module: str, definition: Definition) -> str:
        text = definition.source if self.reflects else definition.text
        return _short(f"{text} {self._meanings(module, definition.uses)}")

    def _meanings(self, module: str, uses: Iterable[str]) -> str:
        return "; ".join(f"{use}: {self._meaning(module, use)}" for use in uses)

    def _meaning(self, module: str, use: str) -> str:
        """What a reference stands for, in words that change with it."""
        if use in (EVERYTHING, REFLECTION):
            return ""
        targets = self.tree.targets(module, use)
        places = [
            f"{place.module}.{'*' if place.index == WHOLE else '/'.join(self.tree.definition(place).names)}"
            for place in targets.places
        ]
        return " ".join(sorted({*places, *targets.libraries, *targets.neutral}))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:HEX]
