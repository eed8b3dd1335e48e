"""Where a computation turns non-finite: its operations performed one by one, each result traced to what made it so.

A value that is not finite though all that it was made of was finite is an origin. Non-finite values that are masked
away later, as -inf in a softmax, lead to no result and are not reported.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core as jax_core

from core.paths import project_root

Tree = Any
CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # parameters that hold the operations of an inner function
MACHINERY = "core/lab/"  # frames that every trial has


@dataclass(frozen=True)
class Origin:
    """One operation whose result is not finite.

    Attributes:
      kind: "NaN" or "infinite".
      operation: jax's name for it, such as "log" or "mul".
      places: lines of the project that asked for it, the innermost first: "loss in experiments/x/experiment.py:12".
      line: the text of the innermost one.
    """

    kind: str
    operation: str
    places: tuple[str, ...]
    line: str


def find_origins(function: Callable, *arguments: Tree) -> tuple[Tree, dict[str, Origin]]:
    """`function(*arguments)`, operation by operation, and the origin of every leaf of it that is not finite.

    Origins are named by the leaf's place, such as "['params']['kernel']". `arguments` are finite pytrees of arrays.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    leaves = jax.tree.leaves(arguments)
    values, origins = _walk(closed.jaxpr, closed.consts, leaves, [None] * len(leaves))
    result = jax.tree.unflatten(jax.tree.structure(shape), values)
    places = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(shape)]
    return result, {place: origin for place, origin in zip(places, origins, strict=True) if origin is not None}


def is_finite(value: Any) -> bool:
    """Whether no element of an array is NaN or infinite."""
    return not jnp.issubdtype(jnp.result_type(value), jnp.inexact) or bool(jnp.all(jnp.isfinite(value)))


def _walk(
    jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any], origins: Sequence[Origin | None]
) -> tuple[list[Any], list[Origin | None]]:
    """Results of a jaxpr, and for each the origin of its being not finite, None where it is finite."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))
    found = dict(zip(jaxpr.invars, origins, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jax_core.Literal) else values[atom]

    def origin_of(atom: Any) -> Origin | None:
        return None if isinstance(atom, jax_core.Literal) else found.get(atom)

    for equation in jaxpr.eqns:
        inputs, before = list(map(read, equation.invars)), list(map(origin_of, equation.invars))
        results = equation.primitive.bind(*inputs, **equation.primitive.get_bind_params(equation.params))
        results = list(results) if equation.primitive.multiple_results else [results]
        after: list[Origin | None] = [None] * len(results)
        if not all(map(is_finite, results)):
            after = _origins(equation, inputs, before, results)
        values.update(zip(equation.outvars, results, strict=True))
        found.update(zip(equation.outvars, after, strict=True))
    return list(map(read, jaxpr.outvars)), list(map(origin_of, jaxpr.outvars))


def _origins(equation: Any, inputs: list[Any], before: list[Origin | None], results: list[Any]) -> list[Origin | None]:
    """The origin of every result that is not finite: an input's, that of an operation inside, or this one."""
    earlier = next(filter(None, before), None)
    if earlier is None and (inside := _inside(equation, inputs)) is not None:
        earlier = next(filter(None, inside), None)
    return [None if is_finite(each) else earlier or _origin(equation, each) for each in results]


def _inside(equation: Any, inputs: list[Any]) -> list[Origin | None] | None:
    """Origins inside an operation that is a function of its own; None where nobody can look into it."""
    parameters, name = equation.params, equation.primitive.name
    if name == "scan":
        return _inside_scan(parameters, inputs)
    if name == "cond":
        branch = parameters["branches"][int(inputs[0])]
        return _walk(branch.jaxpr, branch.consts, inputs[1:], [None] * (len(inputs) - 1))[1]
    inner = next((parameters[key] for key in CALLS if key in parameters), None)
    jaxpr = getattr(inner, "jaxpr", inner)
    if jaxpr is None or len(jaxpr.invars) != len(inputs):
        return None
    return _walk(jaxpr, getattr(inner, "consts", ()), inputs, [None] * len(inputs))[1]


def _inside_scan(parameters: dict[str, Any], inputs: list[Any]) -> list[Origin | None]:
    """Origins in the first turn of a scan that gives something that is not finite."""
    fixed, carried, body = parameters["num_consts"], parameters["num_carry"], parameters["jaxpr"]
    constants, state, rows = inputs[:fixed], inputs[fixed : fixed + carried], inputs[fixed + carried :]
    turns = range(parameters["length"])
    for turn in reversed(turns) if parameters["reverse"] else turns:
        arguments = [*constants, *state, *(row[turn] for row in rows)]
        results, origins = _walk(body.jaxpr, body.consts, arguments, [None] * len(arguments))
        if any(origins):
            return origins
        state = results[:carried]
    return []


def _origin(equation: Any, result: Any) -> Origin:
    frames = _project_frames(equation)
    kind = "NaN" if bool(jnp.any(jnp.isnan(result))) else "infinite"
    places = tuple(f"{frame.name} in {_within_project(frame.filename)}:{frame.lineno}" for frame in frames)
    return Origin(kind, equation.primitive.name, places, (frames[0].line or "") if frames else "")


def _project_frames(equation: Any) -> list[traceback.FrameSummary]:
    """The lines of experiments, and of core but its machinery, on the way to an operation; the innermost first."""
    recorded = equation.source_info.traceback
    frames = traceback.extract_tb(recorded.as_python_traceback()) if recorded is not None else []
    own = [frame for frame in frames if _within_project(frame.filename).startswith(("experiments/", "core/"))]
    return [frame for frame in reversed(own) if not _is_machinery(_within_project(frame.filename))]


def _is_machinery(name: str) -> bool:
    return name.startswith((MACHINERY, "core/running/"))


def _within_project(file: str) -> str:
    """A file's path within the project, or within this package's checkout; another file's as it is."""
    for root in (project_root(), Path(__file__).parents[2]):
        if Path(file).is_relative_to(root):
            return Path(file).relative_to(root).as_posix()
    return file
