"""What a module does when it is imported, beyond defining names.

A statement that may alter something else than the names it binds (a registration, a setting of a library, an entry in
somebody's table) belongs to whatever imports its module, not only to what asks for its names. Calls are judged by what
is called: a few functions of libraries are known to alter nothing, functions and classes of the project are judged by
their own code, all others are taken to have effects.
"""

import ast
import builtins
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from core.runs.references import attribute_chain

HANDED = "?"  # between a function of the project, or nothing for one of a library, and what is handed to it

# They take functions and call none.
_WRAPPERS = (
    "abc.", "collections.namedtuple", "contextlib.contextmanager", "dataclasses.", "enum.", "functools.cache",
    "functools.lru_cache", "functools.cached_property", "functools.partial", "functools.total_ordering",
    "functools.update_wrapper", "functools.wraps", "jax.checkpoint", "jax.custom_jvp", "jax.custom_vjp", "jax.grad",
    "jax.jacfwd", "jax.jacrev", "jax.jit", "jax.named_call", "jax.pmap", "jax.remat", "jax.tree_util.Partial",
    "jax.value_and_grad", "jax.vmap", "typing.", "flax.linen.", "flax.struct.", "pydantic.",
)  # fmt: skip
# They alter nothing, provided that the functions handed to them alter nothing.
_PURE = (
    "chex.", "collections.", "datetime.", "decimal.", "fractions.", "hashlib.", "itertools.", "jax.ShapeDtypeStruct",
    "jax.lax.", "jax.nn.", "jax.numpy.", "jax.scipy.", "math.", "numpy.", "operator.", "optax.", "pathlib.", "re.",
    "scipy.", "sklearn.base.", "statistics.", "string.", "struct.", "textwrap.", "types.",
)  # fmt: skip
_IMPURE = ("numpy.random.", "numpy.seterr", "numpy.set", "re.purge")
_SHOW = ("cycler.", "matplotlib.", "rich.")  # whatever they alter, no number comes from them
_BUILTINS = {
    *(
        "bool",
        "bytes",
        "complex",
        "dict",
        "float",
        "frozenset",
        "int",
        "list",
        "object",
        "set",
        "slice",
        "str",
        "tuple",
    ),
    *("abs", "divmod", "hash", "id", "max", "min", "pow", "round", "sum", "all", "any", "len", "sorted", "reversed"),
    *("ascii", "bin", "chr", "format", "hex", "oct", "ord", "repr", "enumerate", "iter", "range", "zip"),
    *("getattr", "hasattr", "isinstance", "issubclass", "type"),
}
_WRAPPING_BUILTINS = {"classmethod", "property", "staticmethod", "super"}
_BASES = {"object", "int", "float", "str", "tuple", "dict", "list", "set", "frozenset", "type"}
# Methods of numbers, words and collections that alter none of them.
_READING = {
    *("copy", "count", "get", "index", "items", "keys", "values"),
    *("decode", "encode", "endswith", "format", "isdigit", "join", "lower", "lstrip", "partition", "removeprefix"),
    *(
        "removesuffix",
        "replace",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "title",
    ),
    "upper",
}
# `function.defvjp(...)` says more about a function, `register(class, ...)` about a class: they belong to it alone.
_ADDITIONS = {"defjvp", "defjvps", "defvjp", "def_vmap", "def_partition", "setter", "getter", "deleter"}
_REGISTRATIONS = ("jax.tree_util.register_", "jax.export.register_", "flax.serialization.register_serialization_state")
_CONSTRUCTION = {"__init__", "__new__", "__post_init__", "__set_name__", "__class_getitem__", "model_post_init"}
_SUBCLASSING = {"__init_subclass__", "__pydantic_init_subclass__", "__mro_entries__"}
_ALWAYS = (ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Delete, ast.Assert, ast.Raise, ast.Match)
_OUTREACHING = (ast.Global, ast.Nonlocal, ast.Delete, ast.ClassDef, ast.Import, ast.ImportFrom)  # in a function
_FRESH = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)


@dataclass
class Effects:
    """What a statement does when its module is imported.

    Attributes:
      certain: it may alter something else than the names it binds.
      calls: what of the project it calls, on which that depends; with `HANDED` in it, what it hands to what.
      about: names of the module about which it only says more.
    """

    certain: bool = False
    calls: set[str] = field(default_factory=set)
    about: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Surroundings:
    """What a module binds: dotted names of libraries by the names of their imports, and all of its top-level names."""

    libraries: Mapping[str, str]
    bound: frozenset[str]
    values: Mapping[str, ast.expr | None]  # the value of a name that is assigned once

    def own(self) -> frozenset[str]:
        """Names that stand for something of the project."""
        return self.bound - self.libraries.keys()


def alters_nothing(path: str) -> bool:
    """Whether a function or class of a library, by its dotted name, is known to alter nothing when it is called."""
    return path.startswith((*_WRAPPERS, *_SHOW, *_PURE)) and not path.startswith(_IMPURE)


def statement_effects(statement: ast.stmt, around: Surroundings) -> Effects:
    """The effects of one top-level statement."""
    judge = _Judge(around, statement)
    if about := _addition(statement, around):
        judge.effects.about.add(about)
        for call in _parts_of_addition(statement):
            judge.expression(call)
    else:
        judge.statement(statement)
    return judge.effects


def body_effects(function: ast.FunctionDef | ast.AsyncFunctionDef, around: Surroundings) -> Effects:
    """The effects of calling a function: certain as soon as it stores into anything but its own variables."""
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    # `x += …` alters a list or an array in place, which may be another's.
    sums = {getattr(node.target, "id", "") for node in nodes if isinstance(node, ast.AugAssign)}
    if any(_reaches_out(node) for node in nodes) or (sums and not sums <= _fresh_variables(function)):
        return Effects(certain=True)
    judge = _Judge(around, function)
    for node in nodes:
        if isinstance(node, ast.Call) and not judge.effects.certain:
            judge.call(node)
    return judge.effects


def _reaches_out(node: ast.AST) -> bool:
    """Whether a part of a function alters, or may alter, something else than its variables."""
    stores = isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load)
    return stores or isinstance(node, _OUTREACHING)


def calls_in_lambdas(node: ast.AST) -> bool:
    """Whether a value holds a function without a name that calls something."""
    lambdas = [each.body for each in ast.walk(node) if isinstance(each, ast.Lambda)]
    return any(isinstance(each, ast.Call) for body in lambdas for each in ast.walk(body))


def _fresh_variables(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Variables that hold nothing but numbers, words, and dictionaries, lists and sets made here."""
    assigned: dict[str, list[ast.AST]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                assigned.setdefault(getattr(target, "id", ""), []).append(node.value)
        elif isinstance(node, ast.arg):
            assigned.setdefault(node.arg, []).append(node)
    return {name for name, values in assigned.items() if all(isinstance(v, (*_FRESH, ast.Constant)) for v in values)}


def runs_code_when_called(node: ast.ClassDef) -> bool:
    """Whether making an instance of a class runs code of the project."""
    keywords = (each for each in ast.walk(node) if isinstance(each, ast.keyword) and each.arg == "default_factory")
    plain = all(isinstance(each.value, ast.Name) and each.value.id in _BUILTINS for each in keywords)
    return not plain or bool(_methods(node) & _CONSTRUCTION)


def runs_code_when_subclassed(node: ast.ClassDef) -> bool:
    """Whether a class learns of its subclasses when they are defined."""
    return bool(_methods(node) & _SUBCLASSING) or any(keyword.arg == "metaclass" for keyword in node.keywords)


def _methods(node: ast.ClassDef) -> set[str]:
    return {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def _names_inside(statement: ast.stmt) -> frozenset[str]:
    found = set()
    for node in ast.walk(statement):
        if node is statement:
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
    return frozenset(found)


def _addition(statement: ast.stmt, around: Surroundings) -> str | None:
    """The one name of the module about which a statement says more, and does nothing else."""
    name: ast.expr | None = None
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        root, attributes = attribute_chain(call.func)
        path = ".".join([around.libraries.get(getattr(root, "id", ""), ""), *attributes])
        if path.startswith(_REGISTRATIONS) and call.args:
            name = call.args[0]
        elif len(attributes) == 1 and attributes[0] in _ADDITIONS:
            name = root
    elif isinstance(statement, ast.FunctionDef) and len(statement.decorator_list) == 1:
        root, attributes = attribute_chain(statement.decorator_list[0])
        name = root if len(attributes) == 1 and attributes[0] in _ADDITIONS else None
    elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            fresh = isinstance(around.values.get(target.value.id), _FRESH)
            name = target.value if fresh else None
    return name.id if isinstance(name, ast.Name) and name.id in around.own() else None


def _parts_of_addition(statement: ast.stmt) -> Iterator[ast.expr]:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        yield from [*statement.value.args, *(keyword.value for keyword in statement.value.keywords)]
    elif isinstance(statement, ast.Assign):
        yield statement.value
    elif isinstance(statement, ast.FunctionDef):
        yield from [*statement.args.defaults, *filter(None, statement.args.kw_defaults)]


class _Judge:
    """Gathers the effects of what is executed, function bodies left out."""

    def __init__(self, around: Surroundings, judged: ast.stmt) -> None:
        self.around, self.effects, self._judged = around, Effects(), judged

    @functools.cached_property
    def inside(self) -> frozenset[str]:
        """Names that what is judged binds within itself, which therefore are not the module's."""
        return _names_inside(self._judged)

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, _ALWAYS):
            self.effects.certain = True
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._all([*node.args.defaults, *filter(None, node.args.kw_defaults)])
            for decorator in node.decorator_list:
                self._decorator(decorator)
        elif isinstance(node, ast.ClassDef):
            self._class(node)
        elif isinstance(node, ast.If | ast.Try | ast.TryStar):
            self._block(node)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts = [part for target in targets for part in ast.walk(target)]
            self.effects.certain |= any(isinstance(part, ast.Attribute | ast.Subscript) for part in parts)
            self._all([node.value] if node.value is not None else [])
        elif isinstance(node, ast.Expr):
            self.expression(node.value)

    def expression(self, node: ast.AST) -> None:
        """Judge the calls of an expression, those of lambdas left out: nobody has called these yet."""
        if isinstance(node, ast.Call):
            self.call(node)
        elif isinstance(node, ast.Await | ast.Yield | ast.YieldFrom):
            self.effects.certain = True
        if not isinstance(node, ast.Lambda):
            self._all(ast.iter_child_nodes(node))

    def _all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.expression(node)

    def _block(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self.statement(child)
            elif isinstance(child, ast.ExceptHandler):
                self._block(child)
            else:
                self.expression(child)

    def _class(self, node: ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            self._decorator(decorator)
        for base in node.bases:
            self._base(base.value if isinstance(base, ast.Subscript) else base)
        metaclasses = [attribute_chain(keyword.value) for keyword in node.keywords if keyword.arg == "metaclass"]
        for root, attributes in metaclasses:
            self.effects.certain |= ([getattr(root, "id", ""), *attributes])[-1] not in ("ABCMeta", "EnumMeta")
        for statement in node.body:
            self.statement(statement)

    def _base(self, base: ast.expr) -> None:
        root, attributes = attribute_chain(base)
        name = getattr(root, "id", "")
        if isinstance(base, ast.Call):
            self.expression(base)
        elif name in self.around.libraries:
            self.effects.certain |= not alters_nothing(".".join([self.around.libraries[name], *attributes]))
        elif name not in self.around.bound:  # what a base of the project does at that is found by following it
            self.effects.certain |= name not in _BASES and not is_exception(name)

    def _decorator(self, node: ast.expr) -> None:
        """A decorator is called with what it decorates; one that is called itself before that, twice."""
        if isinstance(node, ast.Call):
            self.call(node)
            self._all([*node.args, *(keyword.value for keyword in node.keywords)])
            self._callee(_behind_partial(node), handing=())
        else:
            self._callee(node, handing=())

    def call(self, node: ast.Call) -> None:
        """Judge one call, not its arguments' own calls."""
        self._callee(node.func, [*node.args, *(keyword.value for keyword in node.keywords)])

    def _callee(self, callee: ast.expr, handing: Iterable[ast.expr]) -> None:
        root, attributes = attribute_chain(callee)
        if isinstance(root, ast.Name):
            self._named(root.id, attributes, handing)
        elif isinstance(root, ast.Call):
            # A method of a fresh result; a result that is called itself is known only behind `partial`.
            if not attributes and (inner := _behind_partial(root)) is not root.func:
                self._callee(inner, handing)
            elif not attributes:
                self.effects.certain = True
        elif not isinstance(root, ast.Constant | ast.JoinedStr) and (attributes or [""])[-1] not in _READING:
            self.effects.certain = True

    def _named(self, name: str, attributes: list[str], handing: Iterable[ast.expr]) -> None:
        around, effects, last = self.around, self.effects, (attributes or [""])[-1]
        if name in self.inside:
            effects.certain |= last not in _READING | _ADDITIONS
        elif name in around.libraries:
            path = ".".join([around.libraries[name], *attributes])
            effects.certain |= not alters_nothing(path)
            if not path.startswith(_WRAPPERS):
                self._hand("", handing)
        elif name in around.bound:
            value = around.values.get(name)
            if isinstance(value, ast.Call) and not attributes and _behind_partial(value) is not value.func:
                self._callee(_behind_partial(value), handing)
            elif last not in _READING:
                effects.calls.add(".".join([name, *attributes]))
                self._hand(".".join([name, *attributes]), handing)
        elif not attributes and (name in _WRAPPING_BUILTINS or is_exception(name)):
            return
        else:  # a function or type of Python's own, or a method such as `dict.fromkeys`
            effects.certain |= name not in _BUILTINS
            self._hand("", handing)

    def _hand(self, callee: str, handing: Iterable[ast.expr]) -> None:
        """Functions that are handed to a call may be called by it."""
        for value in handing:
            root, attributes = attribute_chain(value.value if isinstance(value, ast.Starred) else value)
            if isinstance(root, ast.Lambda):
                if calls_in_lambdas(root):
                    self.effects.calls.add(callee + HANDED)
            elif isinstance(root, ast.Name) and root.id in self.around.own() - self.inside:
                self.effects.calls.add(callee + HANDED + ".".join([root.id, *attributes]))


def is_exception(name: str) -> bool:
    """Whether a builtin name is that of an exception."""
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def _behind_partial(call: ast.Call) -> ast.expr:
    """What is called in the end: `jax.jit` in `partial(jax.jit, …)`, else what the call itself names."""
    root, attributes = attribute_chain(call.func)
    if [getattr(root, "id", ""), *attributes][-1] == "partial" and call.args:
        return call.args[0]
    return call.func
