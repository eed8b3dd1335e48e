"""What a module does when it is imported, beyond defining names.

A statement that may alter something else than the names it binds (a registration, a setting of a library, an entry in
somebody's table) belongs to whatever imports its module, not only to what asks for its names. Functions and classes of
libraries that are known to alter nothing are listed here; those of the project are judged by their own code, which is
found by following what a statement runs; everything else is taken to have effects.
"""

import ast
import builtins
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from core.runs.references import attribute_chain

HANDED, STORED = "?", "="  # `f?x`: x is handed to f; `?x`: to a library or an operator; `=x.y`: y of x is kept

# They take functions and call none.
_WRAPPERS = (
    *("abc.", "collections.namedtuple", "contextlib.contextmanager", "dataclasses.", "enum.", "functools.cache"),
    *("functools.lru_cache", "functools.partial", "functools.total_ordering", "functools.update_wrapper"),
    *("functools.wraps", "typing.", "flax.linen.", "flax.struct.", "pydantic.", "jax.checkpoint", "jax.custom_jvp"),
    *("jax.custom_vjp", "jax.grad", "jax.jacfwd", "jax.jacrev", "jax.jit", "jax.named_call", "jax.pmap", "jax.remat"),
    *("jax.tree_util.Partial", "jax.value_and_grad", "jax.vmap"),
)
# They alter nothing, provided that what is handed to them does not.
_PURE = (
    *("chex.", "collections.", "datetime.", "decimal.", "fractions.", "hashlib.", "itertools.", "math.", "operator."),
    *("pathlib.", "re.", "statistics.", "string.", "struct.", "textwrap.", "types.", "numpy.", "optax.", "scipy."),
    *("sklearn.base.", "jax.Array", "jax.ShapeDtypeStruct", "jax.lax.", "jax.nn.", "jax.numpy.", "jax.scipy."),
)
_IMPURE = ("numpy.random.", "numpy.seterr", "numpy.set", "re.purge")
_SHOW = ("cycler.", "matplotlib.", "rich.")  # whatever they alter, no number comes from them
_WRAPPING_BUILTINS = {"classmethod", "property", "staticmethod", "super"}
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
    *("ascii", "bin", "chr", "format", "hex", "oct", "ord", "repr", "enumerate", "iter", "map", "range", "zip"),
    *("getattr", "hasattr", "isinstance", "issubclass", "type"),
}
_BASES = {"object", "int", "float", "str", "tuple", "dict", "list", "set", "frozenset", "type"}
# Methods of numbers, words, arrays and collections that alter none of them.
READING = {
    *("copy", "count", "fromkeys", "get", "index", "items", "keys", "values", "astype", "reshape", "round", "resolve"),
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
    *("hexdigest", "upper"),
}
# `function.defvjp(...)` says more about a function, `register(class, ...)` about a class: they belong to it alone.
_ADDITIONS = {"defjvp", "defjvps", "defvjp", "def_vmap", "def_partition"}
_ACCESSORS = {"setter", "getter", "deleter"}
_REGISTRATIONS = ("jax.tree_util.register_", "jax.export.register_", "flax.serialization.register_serialization_state")
_CONSTRUCTION = {"__init__", "__new__", "__post_init__", "__set_name__", "model_post_init"}
_SUBCLASSING = {"__init_subclass__", "__pydantic_init_subclass__", "__mro_entries__"}
_ALWAYS = (ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Delete, ast.Assert, ast.Raise, ast.Match)
_OUTREACHING = (ast.Global, ast.Nonlocal, ast.Delete, ast.ClassDef, ast.Import, ast.ImportFrom)  # in a function
_FRESH = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Effects:
    """What a statement does when its module is imported.

    Attributes:
      certain: it may alter something else than the names it binds.
      runs: what of the project it calls, hands to calls, or keeps (see `HANDED` and `STORED`); on these it depends.
      about: names of the module about which it only says more.
    """

    certain: bool = False
    runs: set[str] = field(default_factory=set)
    about: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Surroundings:
    """What a module binds.

    Attributes:
      libraries: dotted names of libraries, or of parts of them, by the names of their imports.
      bound: all of its names.
      defined: those that its statements bind, imports left out.
      values: the value of a name that is assigned once.
    """

    libraries: Mapping[str, str]
    bound: frozenset[str]
    defined: frozenset[str]
    values: Mapping[str, ast.expr | None]


def alters_nothing(path: str) -> bool:
    """Whether a function or class of a library, by its dotted name, is known to alter nothing when it is called."""
    return path.startswith((*_WRAPPERS, *_SHOW, *_PURE)) and not path.startswith(_IMPURE)


def statement_effects(statement: ast.stmt, around: Surroundings) -> Effects:
    """The effects of one top-level statement."""
    judge = _Judge(around, statement)
    if about := _addition(statement, around):
        judge.effects.about.add(about)
        for part in _parts_of_addition(statement):
            judge.store(part)
    else:
        judge.statement(statement)
    return judge.effects


def may_alter_when_called(node: ast.stmt, around: Surroundings) -> bool:
    """Whether calling a function, a method of a class, or a nameless function in a value may alter something else.

    What they refer to in the project is left to whoever can follow it.
    """
    inner = [each for each in ast.walk(node) if isinstance(each, _Function | ast.Lambda)]
    outermost = [node] if isinstance(node, _Function) else inner  # whose nodes hold those of functions inside
    return any(_body_acts(each, around) for each in outermost)


def _body_acts(function: _Function | ast.Lambda, around: Surroundings) -> bool:
    body = [function.body] if isinstance(function, ast.Lambda) else function.body
    nodes = [node for part in body for node in ast.walk(part)]
    # `x += …` alters a list or an array in place, which may be another's.
    sums = {getattr(node.target, "id", "") for node in nodes if isinstance(node, ast.AugAssign)}
    if any(_reaches_out(node) for node in nodes) or (sums and not sums <= _fresh_variables(function)):
        return True
    judge = _Judge(around, function)
    for node in nodes:
        if isinstance(node, ast.Call) and not judge.effects.certain:
            judge.callee(node.func)
    return judge.effects.certain


def _reaches_out(node: ast.AST) -> bool:
    """Whether a part of a function alters, or may alter, something else than its variables."""
    stores = isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load)
    return stores or isinstance(node, _OUTREACHING)


def _fresh_variables(function: ast.AST) -> set[str]:
    """Variables that hold nothing but numbers, words, and dictionaries, lists and sets made here."""
    assigned: dict[str, list[ast.AST]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                assigned.setdefault(getattr(target, "id", ""), []).append(node.value)
        elif isinstance(node, ast.arg):
            assigned.setdefault(node.arg, []).append(node)
    return {name for name, values in assigned.items() if all(isinstance(v, (*_FRESH, ast.Constant)) for v in values)}


def is_record(node: ast.ClassDef) -> bool:
    """Whether making an instance of a class runs nothing of its own: it keeps what it is given."""
    factories = [each for each in ast.walk(node) if isinstance(each, ast.keyword) and each.arg == "default_factory"]
    plain = all(isinstance(each.value, ast.Name) and each.value.id in _BASES for each in factories)
    return plain and not _methods(node) & _CONSTRUCTION


def watches_subclasses(node: ast.ClassDef) -> bool:
    """Whether a class learns of its subclasses when they are defined."""
    return bool(_methods(node) & _SUBCLASSING) or any(keyword.arg == "metaclass" for keyword in node.keywords)


def _methods(node: ast.ClassDef) -> set[str]:
    return {each.name for each in node.body if isinstance(each, _Function)}


def _addition(statement: ast.stmt, around: Surroundings) -> str | None:
    """The one name that this module defines about which a statement says more, and does nothing else."""
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
    return name.id if isinstance(name, ast.Name) and name.id in around.defined else None


def _parts_of_addition(statement: ast.stmt) -> Iterator[ast.expr]:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        yield from _arguments(statement.value)
    elif isinstance(statement, ast.Assign):
        yield statement.value
    elif isinstance(statement, ast.FunctionDef):
        yield from _defaults(statement)


class _Judge:
    """Gathers the effects of what is executed, bodies of functions left out."""

    def __init__(self, around: Surroundings, judged: ast.AST) -> None:
        self.around, self.effects, self._judged = around, Effects(), judged

    @functools.cached_property
    def inside(self) -> frozenset[str]:
        """Names that what is judged binds within itself, which therefore are not the module's."""
        return _names_inside(self._judged)

    def statement(self, node: ast.stmt) -> None:
        """Judge a statement."""
        if isinstance(node, _ALWAYS):
            self.effects.certain = True
        elif isinstance(node, _Function):
            for part in _defaults(node):
                self.store(part)
            self._types(_annotations(node))
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
            if isinstance(node, ast.AnnAssign):
                self._types([node.annotation])
            if node.value is not None:
                (self._run if isinstance(node, ast.AugAssign) else self.store)(node.value)
        elif isinstance(node, ast.Expr):
            self.store(node.value)

    def _types(self, annotations: Iterable[ast.expr]) -> None:
        """Types alter nothing, however they are composed; what they call may."""
        for node in (each for annotation in annotations for each in ast.walk(annotation)):
            if isinstance(node, ast.Call):
                self._call(node)

    def _block(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self.statement(child)
            elif isinstance(child, ast.ExceptHandler):
                self._block(child)
            else:
                self._run(child)

    def _class(self, node: ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            self._decorator(decorator)
        for base in node.bases:
            self._base(base.value if isinstance(base, ast.Subscript) else base)
        for keyword in node.keywords:
            root, attributes = attribute_chain(keyword.value)
            known = [getattr(root, "id", ""), *attributes][-1] in ("ABCMeta", "EnumMeta")
            self.effects.certain |= keyword.arg == "metaclass" and not known
        for statement in node.body:
            self.statement(statement)

    def _base(self, base: ast.expr) -> None:
        root, attributes = attribute_chain(base)
        name = getattr(root, "id", "")
        if isinstance(base, ast.Call):
            self.store(base)
        elif name in self.around.libraries:
            self.effects.certain |= not alters_nothing(".".join([self.around.libraries[name], *attributes]))
        elif name not in self.around.bound:  # what a base of the project does at that is found by following it
            self.effects.certain |= name not in _BASES and not _is_exception(name)

    def _decorator(self, node: ast.expr) -> None:
        """A decorator is called with what it decorates; one that is called itself before that, twice."""
        root, attributes = attribute_chain(_behind_partial(node) if isinstance(node, ast.Call) else node)
        path = ".".join([self.around.libraries.get(getattr(root, "id", ""), ""), *attributes])
        if path.startswith(_REGISTRATIONS) or (attributes or [""])[-1] in _ACCESSORS:
            return  # about what it decorates
        if isinstance(node, ast.Call) and _behind_partial(node) is node.func:
            self.effects.certain |= self._call(node) is None  # nobody knows what a library's result does
        else:
            self.callee(node)

    def store(self, node: ast.AST, callee: str = "") -> None:
        """Judge a value that is kept as it is, in collections or by the instance that the class `callee` makes."""
        if isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.IfExp):
            kept = node.values if isinstance(node, ast.Dict) else list(ast.iter_child_nodes(node))
            for key in filter(None, node.keys if isinstance(node, ast.Dict) else ()):
                self._run(key)  # keys are asked for their hash
            for child in kept:
                self.store(child, callee)
        elif isinstance(node, ast.Name | ast.Attribute):
            root, attributes = attribute_chain(node)
            if self._is_own(root) and isinstance(root, ast.Name) and (callee or attributes):
                mark = callee + HANDED if callee else STORED
                self.effects.runs.add(mark + ".".join([root.id, *attributes]))
            elif not isinstance(root, ast.Name):
                self._run(root)
        elif isinstance(node, ast.Call):
            self._call(node)
        elif isinstance(node, ast.Lambda):
            for part in _defaults(node):
                self.store(part)
            if callee:  # whether it is called depends on what it is handed to
                self.effects.runs |= {f"{callee}{HANDED}"} if _body_acts(node, self.around) else set()
        else:
            self._run(node)

    def _run(self, node: ast.AST) -> None:
        """Judge an expression that is worked with: operators and libraries may call what is in it."""
        if isinstance(node, ast.Call):
            self._call(node)
            return
        if isinstance(node, ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr):
            self.effects.certain = True
        root, attributes = attribute_chain(node) if isinstance(node, ast.Attribute) else (node, [])
        if isinstance(root, ast.Name):
            if self._is_own(root):
                self.effects.runs.add(HANDED + ".".join([root.id, *attributes]))
            return
        for child in [root] if root is not node else ast.iter_child_nodes(node):
            self._run(child)

    def _call(self, node: ast.Call) -> str | None:
        return self._hand(self.callee(node.func), _arguments(node))

    def _hand(self, keeper: str | None, arguments: list[ast.expr]) -> str | None:
        for argument in arguments:
            if keeper is None:
                self._run(argument)
            else:
                self.store(argument, keeper)
        return keeper

    def callee(self, node: ast.expr) -> str | None:
        """Judge what is called; returns whose arguments are only kept: "" for a library's, None where they are run."""
        root, attributes = attribute_chain(node)
        last = (attributes or [""])[-1]
        if isinstance(root, ast.Name):
            return self._named(root.id, attributes)
        if isinstance(root, ast.Call) and not attributes and _behind_partial(root) is not root.func:
            return self._hand(self.callee(_behind_partial(root)), _arguments(root)[1:])
        if not isinstance(root, ast.Constant | ast.JoinedStr) and last not in READING:
            self.effects.certain = True
        self._run(root)
        return None

    def _named(self, name: str, attributes: list[str]) -> str | None:
        around, path = self.around, ".".join([name, *attributes])
        if name in self.inside:
            self.effects.certain |= (attributes or [""])[-1] not in READING
        elif name in around.libraries:
            path = ".".join([around.libraries[name], *attributes])
            self.effects.certain |= not alters_nothing(path)
            return "" if path.startswith(_WRAPPERS) else None
        elif name in around.bound:
            self.effects.runs.add(path)
            return path
        elif not attributes and (name in _WRAPPING_BUILTINS or _is_exception(name)):
            return ""
        else:  # a function or type of Python's own, or a method such as `dict.fromkeys`
            self.effects.certain |= name not in _BUILTINS or attributes[-1:] not in ([], ["fromkeys"])
        return None

    def _is_own(self, node: ast.AST) -> bool:
        """Whether a name stands for something of the project."""
        name = getattr(node, "id", None)
        return name in self.around.bound and name not in self.around.libraries and name not in self.inside


def _names_inside(judged: ast.AST) -> frozenset[str]:
    found = set()
    for node in ast.walk(judged):
        if node is judged and not isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, _Function | ast.ClassDef):
            found.add(node.name)
    return frozenset(found)


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _defaults(function: _Function | ast.Lambda) -> list[ast.expr]:
    return [*function.args.defaults, *filter(None, function.args.kw_defaults)]


def _annotations(function: _Function) -> Iterable[ast.expr]:
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    found = [each.annotation for each in [*named, function.args.vararg, function.args.kwarg] if each]
    return [each for each in [*found, function.returns] if each is not None]


def _is_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def _behind_partial(call: ast.Call) -> ast.expr:
    """What is called in the end: `jax.jit` in `partial(jax.jit, …)`, else what the call itself names."""
    root, attributes = attribute_chain(call.func)
    if [getattr(root, "id", ""), *attributes][-1] == "partial" and call.args:
        return call.args[0]
    return call.func
