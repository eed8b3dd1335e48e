"""Which names of its module, and which imports of its own, a piece of code refers to.

Names are looked up as Python does it: a parameter, a local variable or the variable of a comprehension hides the name
of the module; a class hides its names from its methods; `global` and `nonlocal` reach outwards.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_LEAVES = (ast.Name, ast.Constant, ast.expr_context)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

EVERYTHING, OWN_MODULE, REFLECTION = "**", "*", "~"  # marks among references, for what no name says
# By one of these attributes code reaches other code without naming it, or reads how it is written.
_MARKS = dict.fromkeys(("__globals__", "__subclasses__", "__builtins__", "f_globals", "f_back", "gi_frame"), EVERYTHING)
_MARKS |= dict.fromkeys(("__annotations__", "__code__", "__doc__", "__file__"), REFLECTION)
_MARKS |= dict.fromkeys(("get_annotations", "get_type_hints", "getdoc", "getsource", "signature"), REFLECTION)


@dataclass
class References:
    """What a piece of code refers to.

    Attributes:
      names: `name.attribute.attribute` for names of the module (or of Python itself), `module:attribute.attribute` for
        imports inside of functions and blocks, with as many dots in front as the import has, and marks.
      loads: the modules that it imports when it runs, as `module:attribute`.
      assigns: names of the module that it binds by `global`.
    """

    names: set[str] = field(default_factory=set)
    loads: set[str] = field(default_factory=set)
    assigns: set[str] = field(default_factory=set)


class _Scope:
    """The names that one scope binds: by imports, and otherwise."""

    def __init__(self, kind: str, parent: "_Scope | None", name: str = "") -> None:
        self.kind, self.parent = kind, parent
        self.classes: list[str] = [*(parent.classes if parent else ()), *filter(None, [name])]  # those around it
        self.imports: dict[str, set[str]] = {}
        self.others: set[str] = set()
        self.outer: dict[str, str] = {}  # names declared `global` or `nonlocal`

    def find(self, name: str) -> "_Scope | None":
        """The scope whose variable a name is; None for the module's."""
        scope: _Scope | None = self
        while scope is not None:
            declared = scope.outer.get(name)
            if declared == "global":
                return None
            if declared is None and (name in scope.imports or name in scope.others):
                return scope if scope.parent is not None else None
            scope = scope.parent
            while scope is not None and scope.kind == "class":
                scope = scope.parent
        return None


def find_references(*nodes: ast.AST) -> References:
    """The references of some top-level code, at any depth."""
    found, scope = References(), _Scope("module", None)
    for node in nodes:
        _Visitor(found).visit(node, scope)
    return found


def bound_names(statement: ast.stmt) -> set[str]:
    """Names that a top-level statement binds in its module."""
    scope = _Scope("module", None)
    _bind([statement], scope)
    return scope.others | scope.imports.keys()


def import_targets(statement: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """The names that an import binds, with what they stand for: `module:` or `module:attribute`."""
    if isinstance(statement, ast.Import):
        pairs = {alias.asname or alias.name.partition(".")[0]: alias for alias in statement.names}
        return {name: f"{alias.name if alias.asname else name}:" for name, alias in pairs.items()}
    module = "." * statement.level + (statement.module or "")
    return {alias.asname or alias.name: f"{module}:{alias.name}" for alias in statement.names}


def import_loads(statement: ast.Import | ast.ImportFrom) -> set[str]:
    """The modules that an import runs, if they have not been run before."""
    if isinstance(statement, ast.Import):
        return {f"{alias.name}:" for alias in statement.names}
    return set(import_targets(statement).values())


def executed_imports(statement: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports inside of a top-level statement that run when its module is imported: those outside of functions."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not isinstance(child, _FUNCTIONS):
            yield from executed_imports(child)


def attribute_chain(node: ast.expr) -> tuple[ast.expr, list[str]]:
    """The expression in front of some attributes, and these: `a.b.c` is the name `a` with ["b", "c"]."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return node, attributes[::-1]


class _Visitor:
    def __init__(self, found: References) -> None:
        self.found = found

    def visit(self, node: ast.AST, scope: _Scope) -> None:
        if isinstance(node, ast.Name | ast.Attribute):
            self._name(node, scope)
        elif isinstance(node, _FUNCTIONS):
            self._function(node, scope)
        elif isinstance(node, ast.ClassDef):
            self._class(node, scope)
        elif isinstance(node, _COMPREHENSIONS):
            self._comprehension(node, scope)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node, scope)
        else:
            if isinstance(node, ast.Constant) and str(node.value).startswith("__"):
                self._mark(node.value)  # as in getattr(function, "__globals__")
            for child in ast.iter_child_nodes(node):
                self.visit(child, scope)

    def _name(self, node: ast.Name | ast.Attribute, scope: _Scope) -> None:
        root, attributes = attribute_chain(node)
        for attribute in attributes:
            self._mark(attribute)
        if not isinstance(root, ast.Name):
            self.visit(root, scope)
            return
        owner, stores = scope.find(root.id), isinstance(root.ctx, ast.Store | ast.Del)
        if owner is None:
            self._mark(root.id)
        else:
            if root.id in owner.imports:
                # A name that is also bound otherwise may be something else: the whole of what is imported counts.
                followed = [] if root.id in owner.others else attributes
                self.found.names |= {_extended(target, followed) for target in owner.imports[root.id]}
            if owner.kind != "class" or stores:
                return  # a class looks outside for a name that it has not bound yet
        if not stores:
            private = root.id.startswith("__") and not root.id.endswith("__")  # Python puts the class in front
            names = [f"_{each.lstrip('_')}{root.id}" for each in scope.classes] if private else [root.id]
            self.found.names |= {".".join([name, *attributes]) for name in [root.id, *names]}

    def _mark(self, word: object) -> None:
        if isinstance(word, str) and word in _MARKS:
            self.found.names.add(_MARKS[word])

    def _function(self, node: ast.AST, scope: _Scope) -> None:
        assert isinstance(node, _FUNCTIONS)
        own, arguments = _Scope("function", scope), node.args
        outside = [*getattr(node, "decorator_list", ()), *arguments.defaults, *filter(None, arguments.kw_defaults)]
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        for argument in filter(None, named):
            own.others.add(argument.arg)
            outside += [argument.annotation] if argument.annotation else []
        outside += filter(None, [getattr(node, "returns", None)])
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        self._enter(body, own)
        self._all(outside, scope)
        self._all(body, own)

    def _class(self, node: ast.ClassDef, scope: _Scope) -> None:
        own = _Scope("class", scope, node.name)
        self._enter(node.body, own)
        self._all([*node.decorator_list, *node.bases, *node.keywords], scope)
        self._all(node.body, own)
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign):
                self._all(_quoted_types(statement.annotation), own)

    def _comprehension(self, node: ast.AST, scope: _Scope) -> None:
        assert isinstance(node, _COMPREHENSIONS)
        own = _Scope("function", scope)
        for each in node.generators:
            targets = (part for part in ast.walk(each.target) if isinstance(part, ast.Name))
            own.others |= {part.id for part in targets if isinstance(part.ctx, ast.Store)}
        self.visit(node.generators[0].iter, scope)
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._all(results, own)
        for number, each in enumerate(node.generators):
            self._all([each.target, *each.ifs, *([each.iter] if number else [])], own)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: _Scope) -> None:
        self.found.loads |= import_loads(node)
        for name, target in import_targets(node).items():
            # What a block of the module, a class or another scope binds may be found there without its name.
            if scope.kind != "function" or name in scope.outer:
                self.found.names.add(target)

    def _enter(self, body: Iterable[ast.AST], own: _Scope) -> None:
        """Find out what a scope binds; what it declares `global` it may bind for the whole module."""
        _bind(body, own)
        declared = {name for name, kind in own.outer.items() if kind == "global"}
        self.found.assigns |= declared
        self.found.names |= declared

    def _all(self, nodes: Iterable[ast.AST], scope: _Scope) -> None:
        for node in nodes:
            self.visit(node, scope)


def _extended(target: str, attributes: list[str]) -> str:
    module, _, attribute = target.partition(":")
    return f"{module}:{'.'.join([*filter(None, [attribute]), *attributes])}"


def _quoted_types(annotation: ast.expr) -> list[ast.expr]:
    """Types of a field that are written as strings."""
    found = []
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                found.append(ast.parse(node.value, mode="eval").body)
            except (SyntaxError, ValueError):  # some other string
                continue
    return found


def _bind(body: Iterable[ast.AST], scope: _Scope) -> None:
    """Enter what some code binds in its own scope."""
    for node in _own_nodes(body):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store | ast.Del):
                scope.others.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            scope.others.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for name, target in import_targets(node).items():
                scope.imports.setdefault(name, set()).add(target)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            scope.outer |= dict.fromkeys(node.names, type(node).__name__.lower())
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            scope.others |= {node.name} if node.name else set()
        elif isinstance(node, ast.MatchMapping):
            scope.others |= {node.rest} if node.rest else set()


def _own_nodes(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of one scope, without those of scopes inside of it, but with `:=` of comprehensions inside."""
    pending = list(body)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, _FUNCTIONS):
            pending += getattr(node, "decorator_list", ())
            pending += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, ast.ClassDef):
            pending += [*node.decorator_list, *node.bases, *node.keywords]
        elif isinstance(node, _COMPREHENSIONS):
            pending.append(node.generators[0].iter)
            pending += _walrus_targets(node)
        elif not isinstance(node, _LEAVES):
            pending += ast.iter_child_nodes(node)


def _walrus_targets(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.NamedExpr):
            yield child.target
        if not isinstance(child, _FUNCTIONS):
            yield from _walrus_targets(child)
