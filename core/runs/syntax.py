"""Python source read as pieces: what each top-level statement binds, loads and imports, and its syntax tree as text.

The text is free of comments, docstrings, layout and type-checking blocks, and equal in every supported Python.
"""

import ast
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

# Fields that differ between Python versions or say nothing about what is computed.
_SILENT_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COLLECTED = frozenset({ast.Name, ast.Global, ast.Import, ast.ImportFrom})
_REDUCED = frozenset({ast.JoinedStr, ast.FormattedValue})
_EFFECTS = (ast.Expr, ast.For, ast.While, ast.With, ast.Delete, ast.Assert, ast.Match)


@dataclass(frozen=True)
class Import:
    """`import module` (no names) or `from module import names`, `level` dots before the module."""

    module: str
    level: int
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Piece:
    """One top-level statement; `anchored` when it acts on its own, so that it belongs to every use of the module."""

    binds: frozenset[str]
    loads: frozenset[str]
    imports: tuple[Import, ...]
    text: str
    anchored: bool


@functools.lru_cache(maxsize=512)
def pieces(source: str) -> tuple[Piece, ...]:
    """The top-level statements of a module that have an effect, in order. Raises SyntaxError."""
    return tuple(_piece(statement) for statement in _effective(ast.parse(source).body))


def reached(found: Iterable[Piece], roots: Iterable[str]) -> list[Piece]:
    """The pieces that the roots lead to through the names they load, and the anchored ones, in their order."""
    found = list(found)
    binders: dict[str, list[Piece]] = {}
    for piece in found:
        for name in piece.binds:
            binders.setdefault(name, []).append(piece)
    kept = {piece for piece in found if piece.anchored}
    pending = [*roots, *(name for piece in kept for name in piece.loads)]
    while pending:
        for piece in binders.get(pending.pop(), ()):
            if piece not in kept:
                kept.add(piece)
                pending += piece.loads
    return [piece for piece in found if piece in kept]


def _piece(statement: ast.stmt) -> Piece:
    text: list[str] = []
    loads: set[str] = set()
    imports: list[Import] = []
    _dump(statement, text, loads, imports)
    binds = frozenset(_bound(statement))
    anchored = not binds or "*" in binds or isinstance(statement, _EFFECTS)
    return Piece(binds, frozenset(loads), tuple(imports), "".join(text), anchored)


def _effective(body: list[ast.stmt]) -> list[ast.stmt]:
    """A block without constants that stand alone and without what only a type checker sees."""
    kept: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, ast.If) and _is_type_checking(statement.test):
            kept += _effective(statement.orelse)
        else:
            kept.append(statement)
    return kept


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement defines or alters; `table` for `table[key] = …` and `table.part = …`."""
    for node in [statement] if isinstance(statement, _DEFINITIONS) else ast.walk(statement):
        if isinstance(node, _DEFINITIONS):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            base: ast.expr = node
            while isinstance(base, ast.Attribute | ast.Subscript):
                base = base.value
            if isinstance(base, ast.Name):
                yield base.id


def _dump(node: ast.AST, text: list[str], loads: set[str], imports: list[Import]) -> None:
    """Append a node as text; collect the names it loads and its imports, at any depth."""
    kind = type(node)
    if kind in _COLLECTED:
        _collect(node, loads, imports)
    text.append(f"{kind.__name__}(")
    for field in _fields(kind):
        value = getattr(node, field, None)
        if kind in _REDUCED or type(value) is list:
            value = _significant(node, field, value)
        if (value is None and kind is not ast.Constant) or value == []:
            continue  # absent and empty fields come and go with the version of Python
        text.append(f"{field}=")
        for part in value if type(value) is list else (value,):
            if isinstance(part, ast.AST):
                _dump(part, text, loads, imports)
            else:
                text.append(f"{part!a};")
        text.append(",")
    text.append(")")


@functools.cache
def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    return tuple(field for field in kind._fields if field not in _SILENT_FIELDS)


def _collect(node: ast.AST, loads: set[str], imports: list[Import]) -> None:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        loads.add(node.id)
    elif isinstance(node, ast.Global):
        loads.update(node.names)
    elif isinstance(node, ast.Import):
        imports += [Import(alias.name, 0, ()) for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        imports.append(Import(node.module or "", node.level, tuple(alias.name for alias in node.names)))


def _significant(node: ast.AST, field: str, value: Any) -> Any:
    """A field's value without what has no effect on what is computed; None or empty when nothing is left."""
    if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
        return _effective(value)
    if isinstance(node, ast.JoinedStr):
        return _joined(node.values)
    if isinstance(value, ast.JoinedStr) and field == "format_spec" and not _joined(value.values):
        return None
    return value


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """Parts of an f-string, neighbouring texts made one and empty ones left out: Python versions cut differently."""
    merged: list[ast.expr] = []
    for value in values:
        last = merged[-1] if merged else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            merged[-1] = ast.Constant(f"{last.value}{value.value}")
        elif not (isinstance(value, ast.Constant) and value.value == ""):
            merged.append(value)
    return merged
