"""Python source without what has no effect on what is computed, and its syntax trees as text.

The text is free of comments, docstrings, layout and type-checking blocks, and equal in every supported Python.
"""

import ast
import functools
from typing import Any

# Fields that differ between Python versions or say nothing about what is computed.
_SILENT_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
_REDUCED = frozenset({ast.JoinedStr, ast.FormattedValue})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

# Decorators, by the last word of their names, that do not look at annotations.
_BLIND_DECORATORS = {
    *(
        "abstractmethod",
        "cache",
        "cached_property",
        "classmethod",
        "contextmanager",
        "dataclass",
        "getter",
        "lru_cache",
    ),
    *("overload", "override", "partial", "property", "setter", "staticmethod", "wraps"),
    *(
        "checkpoint",
        "compact",
        "custom_jvp",
        "custom_vjp",
        "defjvp",
        "defvjp",
        "jit",
        "nowrap",
        "pmap",
        "remat",
        "vmap",
    ),
}


def effective_statements(module: ast.Module) -> list[ast.stmt]:
    """The top-level statements of a module, which are altered: without what has no effect on what is computed.

    Annotations stay where they have an effect: on the fields of classes, and on functions whose decorators may read
    them.
    """
    return _simple_statements(module.body, inside="module", keep=False)


def _simple_statements(body: list[ast.stmt], inside: str, keep: bool) -> list[ast.stmt]:
    """A block without constants that stand alone, without what only a type checker or a script's start sees."""
    kept: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, ast.If) and (_is_type_checking(statement.test) or _is_main(statement.test, inside)):
            kept += _simple_statements(statement.orelse, inside, keep)
            continue
        if isinstance(statement, ast.AnnAssign) and not _counts(statement.annotation, inside == "class"):
            if statement.value is None and inside == "module":
                continue
            statement = _without_annotation(statement)
        _simplify(statement, inside, keep)
        kept.append(statement)
    return kept


def _simplify(node: ast.AST, inside: str, keep: bool) -> None:
    if isinstance(node, ast.ClassDef):
        inside, keep = "class", not _are_blind(node.decorator_list)
    elif isinstance(node, _FUNCTIONS):
        if not keep and _are_blind(node.decorator_list):
            _remove_annotations(node)
        inside = "function"
    for field, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            _simplify(value, inside, keep)
        elif isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            setattr(node, field, _simple_statements(value, inside, keep))
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, ast.AST):
                    _simplify(item, inside, keep)


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def _is_main(test: ast.expr, inside: str) -> bool:
    """A module that is imported never runs what stands below `if __name__ == "__main__"`."""
    return inside == "module" and ast.unparse(test) == "__name__ == '__main__'"


def _without_annotation(statement: ast.AnnAssign) -> ast.stmt:
    """`x: int = 1` as `x = 1`; a bare `x: int` makes a function's name a local one, and stays without its type."""
    if statement.value is None:
        statement.annotation = ast.Constant(None)
        return statement
    return ast.copy_location(ast.Assign([statement.target], statement.value), statement)


def _are_blind(decorators: list[ast.expr]) -> bool:
    for decorator in decorators:
        called = [decorator.func, *decorator.args[:1]] if isinstance(decorator, ast.Call) else [decorator]
        names = [getattr(each, "attr", getattr(each, "id", None)) for each in called]
        if names[0] not in _BLIND_DECORATORS or (names[0] == "partial" and names[-1] not in _BLIND_DECORATORS):
            return False
    return True


def _remove_annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    function.returns = function.returns if _counts(function.returns) else None
    arguments = function.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
        if argument is not None and not _counts(argument.annotation):
            argument.annotation = None


def _counts(annotation: ast.expr | None, always: bool = False) -> bool:
    """Whether an annotation has an effect by itself: it is evaluated, and may call something."""
    return annotation is not None and (always or any(isinstance(node, ast.Call) for node in ast.walk(annotation)))


def text_of(*nodes: ast.AST) -> str:
    """Syntax trees as text: equal for equal programs, different for different ones."""
    text: list[str] = []
    for node in nodes:
        _dump(node, text)
    return "".join(text)


def _dump(node: ast.AST, text: list[str]) -> None:
    kind = type(node)
    text.append(f"{kind.__name__}(")
    for field in _fields(kind):
        value = getattr(node, field, None)
        if kind in _REDUCED:
            value = _reduced(node, field, value)
        if (value is None and kind is not ast.Constant) or value == []:
            continue  # absent and empty fields come and go with the version of Python
        text.append(f"{field}=")
        for part in value if type(value) is list else (value,):
            if isinstance(part, ast.AST):
                _dump(part, text)
            else:
                text.append(f"{part!a};")
        text.append(",")
    text.append(")")


@functools.cache
def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    return tuple(field for field in kind._fields if field not in _SILENT_FIELDS)


def _reduced(node: ast.AST, field: str, value: Any) -> Any:
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
