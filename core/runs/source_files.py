"""One Python file as its definitions: what each binds, refers to and is made of.

What is found depends on the source alone, never on where it stands.
"""

import ast
import copy
import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from core.runs import import_effects, references, syntax
from core.runs.import_effects import Surroundings
from core.runs.references import EVERYTHING, OWN_MODULE, References

PROJECT = ("core", "experiments")
STUDIES = "STUDIES"  # the table of an experiment's studies, which counts by its entries
HEX = 16  # digits of the hash of one definition

_KINDS: dict[str, Any] = {
    "function": (ast.FunctionDef, ast.AsyncFunctionDef),
    "class": ast.ClassDef,
    "value": (ast.Assign, ast.AugAssign, ast.AnnAssign),
}
# Names of Python by which code reaches what it does not name.
_DYNAMIC = dict.fromkeys(("globals", "locals", "vars", "__spec__", "__file__"), OWN_MODULE)
_DYNAMIC |= dict.fromkeys(("eval", "exec", "compile", "__import__", "__builtins__", "__loader__"), EVERYTHING)
_OPEN_ENDED = ("builtins", "gc", "importlib", "inspect", "marshal", "pickle", "pkgutil", "runpy")
_FOLLOWED = ("importlib.metadata", "importlib.resources", "importlib.util.find_spec", "inspect.signature", "inspect.is")
_FOLLOWED += ("inspect.Parameter", "inspect.getsource", "inspect.getdoc", "inspect.get_annotations", "inspect.unwrap")
_SYSTEM = ("sys.modules", "sys._getframe", "sys._current_frames", "sys.meta_path", "sys.path_hooks")


class Behaviour(NamedTuple):
    """What the instances of a class do, whatever values their fields have: its methods and unannotated attributes."""

    text: str
    uses: tuple[str, ...]
    types: tuple[str, ...]  # what the annotations of the fields refer to


class Definition(NamedTuple):
    """One top-level statement.

    Attributes:
      names: what it binds, or what it says more about.
      kind: "function", "class", "value" or "block".
      text: hash of its syntax tree without what has no effect.
      source: hash of its source as it stands, for code that reads code.
      uses: what it refers to, see `References.names`.
      loads: modules that it imports when it runs.
      acts: its import may alter something else than its names.
      runs: on what of the project that depends, see `Effects.runs`.
      acts_later: using it (calling it, its methods, or functions in it) may do so.
      bases: of a class, those in the project.
      record: a class of which instances are made without running anything of its own.
      watches: a class that learns of its subclasses.
      behaviour: of a class.
    """

    names: tuple[str, ...]
    kind: str
    text: str
    source: str = ""
    uses: tuple[str, ...] = ()
    loads: tuple[str, ...] = ()
    acts: bool = False
    runs: tuple[str, ...] = ()
    acts_later: bool = True
    bases: tuple[str, ...] = ()
    record: bool = False
    watches: bool = False
    behaviour: Behaviour | None = None


class SourceFile(NamedTuple):
    """What a module consists of.

    Attributes:
      definitions: its statements with an effect, imports left out, in order.
      imports: what its imports bind, as `module:attribute`.
      loads: the modules that they run.
      studies: for an experiment, the parts of each study ("trial", "prepare", "settings") in its table.
    """

    definitions: tuple[Definition, ...]
    imports: dict[str, list[str]]
    loads: tuple[str, ...]
    studies: dict[str, dict[str, Definition]]


def analyse_source(source: str) -> SourceFile:
    """The analysis of a module's source. Raises SyntaxError."""
    module, lines = ast.parse(source), source.splitlines()
    mentioned = {node.id for node in ast.walk(module) if type(node) is ast.Name}  # in annotations, too
    statements = syntax.effective_statements(module)
    imports: dict[str, list[str]] = {}
    loads: set[str] = set()
    others: list[ast.stmt] = []
    for statement in statements:
        if isinstance(statement, ast.Import | ast.ImportFrom) and "*" not in references.import_targets(statement):
            for name, target in references.import_targets(statement).items():
                imports.setdefault(name, []).append(target)
            loads |= references.import_loads(statement)
        else:
            others.append(statement)
            if isinstance(statement, ast.Import | ast.ImportFrom):
                loads |= references.import_loads(statement)
            elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                loads = loads.union(*map(references.import_loads, references.executed_imports(statement)))
    analysis = _Analysis(imports, others, lines)
    found = [*analysis.definitions(), *_imports_for_effect(imports, mentioned)]
    return SourceFile(tuple(found), imports, tuple(sorted(loads)), analysis.studies())


def _imports_for_effect(imports: Mapping[str, list[str]], mentioned: set[str]) -> Iterable[Definition]:
    """Imports of libraries that nothing uses: they are there for what they do."""
    for name, targets in imports.items():
        for target in targets:
            module, _, attribute = target.partition(":")
            if name not in mentioned and name != attribute and is_library(module):
                yield Definition((), "block", short_hash(target), short_hash(target), (target,), acts=True)


def is_library(module: str) -> bool:
    """Whether a module is neither of the project nor of Python itself."""
    top = module.partition(".")[0]
    return bool(top) and top not in PROJECT and top not in sys.stdlib_module_names


def is_outside(target: str) -> bool:
    """Whether an import, as `module:attribute`, leaves the project."""
    module = target.partition(":")[0]
    return not module.startswith(".") and module.partition(".")[0] not in PROJECT


def short_hash(text: str) -> str:
    """The first digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:HEX]


class _Analysis:
    """The definitions of one module in the light of all names that it binds."""

    def __init__(self, imports: Mapping[str, list[str]], statements: list[ast.stmt], lines: list[str]) -> None:
        self.imports, self.statements, self.lines = imports, statements, lines
        count = Counter(name for statement in statements for name in references.bound_names(statement))
        count.update({name: len(targets) for name, targets in imports.items()})
        self.bound = frozenset(count)
        values: dict[str, ast.expr | None] = {}
        for statement in statements:
            target = statement.targets[0] if isinstance(statement, ast.Assign) else None
            if isinstance(statement, ast.Assign) and isinstance(target, ast.Name) and count[target.id] == 1:
                values[target.id] = statement.value if len(statement.targets) == 1 else None
        outside = {name: targets[0] for name, targets in imports.items() if count[name] == 1 and is_outside(targets[0])}
        libraries = {name: target.rstrip(":").replace(":", ".") for name, target in outside.items()}
        defined = frozenset(name for statement in statements for name in references.bound_names(statement))
        self.around = Surroundings(libraries, self.bound, defined - imports.keys(), values)

    def definitions(self) -> list[Definition]:
        """Every statement."""
        return [self._definition(statement) for statement in self.statements]

    def _definition(self, node: ast.stmt) -> Definition:
        found = references.find_references(node)
        effects = import_effects.statement_effects(node, self.around)
        names = references.bound_names(node) | found.assigns | effects.about
        kind = next((kind for kind, types in _KINDS.items() if isinstance(node, types)), "block")
        made = Definition(
            names=tuple(sorted(names - {"*"})),
            kind=kind,
            text=short_hash(syntax.text_of(node)),
            source=short_hash(self._source(node)),
            uses=self._uses(found),
            loads=tuple(sorted(found.loads)),
            acts=effects.certain or "*" in names,
            runs=tuple(sorted(effects.runs)),
            acts_later=kind == "block" or import_effects.may_alter_when_called(node, self.around),
        )
        if isinstance(node, ast.ClassDef):
            bases = self._uses(references.find_references(*node.bases))
            return made._replace(
                bases=tuple(base for base in bases if base.partition(".")[0] in self.bound),
                record=import_effects.is_record(node),
                watches=import_effects.watches_subclasses(node),
                behaviour=self._behaviour(node),
            )
        return made

    def _source(self, node: ast.stmt) -> str:
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
        return "\n".join(self.lines[first - 1 : node.end_lineno])

    def _behaviour(self, node: ast.ClassDef) -> Behaviour:
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and _is_field(each)]
        made = copy.copy(node)
        made.bases, made.body = [], [each for each in node.body if each not in fields]
        types = copy.copy(node)
        types.bases, types.keywords, types.decorator_list = [], [], []
        types.body = [ast.AnnAssign(each.target, each.annotation, None, 1) for each in fields]
        uses = self._uses(references.find_references(made))
        return Behaviour(short_hash(syntax.text_of(made)), uses, self._uses(references.find_references(types)))

    def _uses(self, found: References) -> tuple[str, ...]:
        """References with marks for those that cannot be followed."""
        uses = set(found.names)
        for use in found.names:
            root, _, rest = use.partition(".")
            if ":" in use:
                uses |= _open_ended(use.replace(":", ".").rstrip("."))
            elif root in self.around.libraries:
                uses |= _open_ended(".".join(filter(None, [self.around.libraries[root], rest])))
            elif root in _DYNAMIC and root not in self.bound:
                uses.add(_DYNAMIC[root])
        return tuple(sorted(uses))

    def studies(self) -> dict[str, dict[str, Definition]]:
        """The table of studies, read as it is written; empty where it is not one dictionary with words as keys."""
        table = self.around.values.get(STUDIES)
        if not isinstance(table, ast.Dict):
            return {}
        keys = [key.value if isinstance(key, ast.Constant) else None for key in table.keys]
        if not all(isinstance(key, str) for key in keys):
            return {}
        return {str(key): self._study(str(key), value) for key, value in zip(keys, table.values, strict=True)}

    def _study(self, name: str, value: ast.expr) -> dict[str, Definition]:
        """`Study(trial, prepare=…, settings=…)` by its parts; of anything else the whole is both trial and prepare."""
        parts: dict[str, list[ast.expr]] = {"trial": [value], "prepare": [value]}
        callee = references.attribute_chain(value.func) if isinstance(value, ast.Call) else (None, [])
        if isinstance(value, ast.Call) and [getattr(callee[0], "id", ""), *callee[1]][-1] == "Study":
            parts = {}
            places = ("trial", "prepare")
            for number, argument in enumerate(value.args):
                parts.setdefault(places[number] if number < len(places) else "trial", []).append(argument)
            for keyword in value.keywords:
                known = keyword.arg in (*places, "settings")
                parts.setdefault(str(keyword.arg) if known else "trial", []).append(keyword.value)
        return {part: self._expression(f"{STUDIES}.{name}.{part}", nodes) for part, nodes in parts.items()}

    def _expression(self, name: str, nodes: list[ast.expr]) -> Definition:
        found, text = references.find_references(*nodes), short_hash(syntax.text_of(*nodes))
        return Definition((name,), "value", text, text, self._uses(found), tuple(sorted(found.loads)))


def _is_field(node: ast.AnnAssign) -> bool:
    """Whether an annotated name of a class is a field of its instances: not private, no class variable."""
    private = isinstance(node.target, ast.Name) and node.target.id.startswith("_")
    return not private and "ClassVar" not in ast.unparse(node.annotation)


def _open_ended(path: str) -> set[str]:
    """A mark where something of a library, by its dotted name, lets code reach what it does not name."""
    inside = any(path == each or path.startswith(f"{each}.") for each in _OPEN_ENDED)
    system = path == "sys" or path.startswith(_SYSTEM)
    return {EVERYTHING} if system or (inside and not path.startswith(_FOLLOWED)) else set()
