"""A lab that computes nothing: it follows a trial with shapes only and counts steps, operations and bytes.

It answers what a run would cost, and whether a configuration of any size can be built, without allocating it.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

from core.data import catalogue
from core.errors import BadInput, EncoreError
from core.lab.lab import LoopResult, Scope, evaluation_steps
from core.lab.replicas import function_key
from core.lab.stages import check_stage_name

Tree = Any


@dataclass
class TrialCost:
    """What one replicate of a trial takes.

    Attributes:
      steps: steps of all loops.
      flops: floating-point operations as XLA counts them, a scan as often as it runs.
      peak_bytes: arrays alive in the largest loop (data, state, arguments), a lower bound of the memory needed.
      parameters: values in the state of the largest loop.
      stages: names of all stages.
      uncounted: those of them that compute on the host, in which no operation is counted.
    """

    steps: int = 0
    flops: float = 0.0
    peak_bytes: int = 0
    parameters: int = 0
    stages: list[str] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)


def size_in_bytes(tree: Tree) -> int:
    """Bytes of all arrays of a pytree of arrays or their shapes."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def count_operations(function: Callable, *arguments: Tree) -> float:
    """Floating-point operations of one call; nothing is compiled, and a scan counts as often as its body runs."""
    return _whole_and_once(function, *arguments)[0]


def _whole_and_once(function: Callable, *arguments: Tree) -> tuple[float, float]:
    """Operations in all, and as XLA counts them, which takes the body of every loop once."""
    traced = jax.jit(function).trace(*arguments)
    once = float((traced.lower().cost_analysis() or {}).get("flops", 0.0))
    whole = once
    for body, length in _scans(traced.jaxpr.jaxpr):
        inner = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in body.in_avals]
        body_whole, body_once = _whole_and_once(jax.extend.core.jaxpr_as_fun(body), *inner)
        whole += length * body_whole - body_once
    return whole, once


def _scans(jaxpr: Any) -> Iterator[tuple[Any, int]]:
    """Body and length of every scan outside of other scans, at any depth."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation.params["jaxpr"], equation.params["length"]
            continue
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda value: hasattr(value, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from _scans(inner)


def _shapes(tree: Tree) -> Tree:
    """Shapes of arrays and of plain numbers."""
    return jax.eval_shape(lambda tree: tree, tree)


def _one(tree: Tree) -> Tree:
    """Shapes of one replicate."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)


def _batched(tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype), tree)


MOST_EVALUATIONS = 100_000  # of a loop


@dataclass
class ShapeLab:
    """Stands in for `core.lab.lab.Lab` with one replicate; arrays are `jax.ShapeDtypeStruct`."""

    prepared: Tree = None
    count_flops: bool = True
    cost: TrialCost = field(default_factory=TrialCost)
    measured: list[tuple[str, dict]] = field(default_factory=list)
    _counted: dict = field(default_factory=dict)
    _scope: Scope = field(default_factory=Scope)
    _data_bytes: int = 0

    def data(self, name: str) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of a data set, from the catalogue."""
        arrays = catalogue.find_data_set(name).array_shapes
        shapes = {key: jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for key, (shape, dtype) in arrays.items()}
        self._data_bytes = max(self._data_bytes, size_in_bytes(shapes))
        return shapes

    @contextmanager
    def scope(self, prefix: str, conditions: Mapping[str, Any]) -> Generator[None]:
        """As `core.lab.lab.Lab.scope`."""
        outer, self._scope = self._scope, self._scope.within(prefix, conditions)
        try:
            yield
        finally:
            self._scope = outer

    def stage(self, name: str, compute: Callable[[], Tree], like: Tree = None) -> Tree:
        """Shapes of the result: those of `like` for work on the host, whose operations nobody can count beforehand."""
        name = self._scope.prefix + name
        self._note(name)
        if like is not None:
            self.cost.uncounted.append(name)
            return _batched(like)
        try:
            return jax.eval_shape(compute)
        except EncoreError:
            raise
        except Exception as error:  # whatever a solver says to shapes in place of numbers
            raise BadInput(
                f"stage '{name}' cannot be followed by shapes alone ({type(error).__name__}: {error}); if it computes "
                "on the host, give lab.stage(…, like=shapes of one replicate)"
            ) from error

    def map(self, function: Callable, *each: Tree, shared: Sequence[Tree] = ()) -> Tree:
        """Shapes of the result; its operations are counted."""
        one, shared = tuple(_one(tree) for tree in each), _shapes(tuple(shared))
        self.cost.flops += self._flops(("map", function_key(function)), function, *one, *shared)
        return _batched(self._shape(("map", function_key(function)), function, *one, *shared))

    def iterate(
        self,
        name: str,
        step: Callable,
        keys: jax.Array,
        state: Tree,
        *,
        steps: int,
        each: Sequence[Tree] = (),
        shared: Sequence[Tree] = (),
        evaluate_every: int | None = None,
        evaluate: Callable | None = None,
        finish: Callable | None = None,
    ) -> LoopResult:
        """Shapes of result and curves; steps, operations and bytes are counted."""
        if (count := steps // (evaluate_every or steps)) > MOST_EVALUATIONS:
            raise BadInput(f"'{name}' is evaluated {count:,} times: at most {MOST_EVALUATIONS:,}, so less often")
        name, marks = self._scope.prefix + name, evaluation_steps(steps, evaluate_every or steps)
        inputs = _one((state, keys, tuple(each)))
        key, rest = inputs[1], (*inputs[2], *_shapes(tuple(shared)))
        index = jax.ShapeDtypeStruct((), jnp.int32)
        after = self._shape(("step", function_key(step)), step, inputs[0], key, index, *rest)
        _same_shapes(name, inputs[0], after)
        flops = steps * self._flops(("step", function_key(step)), step, after, key, index, *rest)
        curves: dict[str, Any] = {}
        if evaluate is not None:
            _, seen = self._shape(("evaluate", function_key(evaluate)), evaluate, after, index, *rest)
            curves = {metric: jax.ShapeDtypeStruct((1, len(marks)), jnp.float32) for metric in seen}
            flops += len(marks) * self._flops(("evaluate", function_key(evaluate)), evaluate, after, index, *rest)
        result = after
        if finish is not None:
            result = self._shape(("finish", function_key(finish)), finish, after, *rest)
            flops += self._flops(("finish", function_key(finish)), finish, after, *rest)
        self._count(name, steps, flops, after, rest)
        return LoopResult(_batched(result), curves, marks)

    def measure(self, metrics: Mapping[str, Any], *, along: Mapping[str, Any] | None = None, **conditions: Any) -> None:
        """Check shapes and note what would be measured."""
        shape = (1, *(len(labels) for labels in (along or {}).values()))
        for metric, values in metrics.items():
            if tuple(np.shape(values)) != shape:
                raise ValueError(f"metric '{metric}' has shape {np.shape(values)}, expected {shape}")
            self.measured.append((metric, {**self._scope.conditions, **conditions}))

    def keep(self, name: str, array: Any) -> None:
        """Nothing is kept."""

    def time(
        self, arms: Mapping[str, Callable[[], Any]], rounds: int = 5, rtol: float = 1e-5
    ) -> dict[str, list[float]]:
        """Seconds of a run that did not take place; what is timed is followed, as far as shapes alone allow."""
        for call in arms.values():
            with contextlib.suppress(Exception):
                jax.eval_shape(call)
        return {arm: [1.0] * rounds for arm in arms}

    def _note(self, name: str) -> None:
        if check_stage_name(name) in self.cost.stages:
            raise BadInput(f"two stages of a trial are called '{name}'")
        self.cost.stages.append(name)

    def _count(self, name: str, steps: int, flops: float, state: Tree, rest: tuple) -> None:
        self._note(name)
        self.cost.steps += steps
        self.cost.flops += flops
        # The new state stands beside the old one while a step runs.
        self.cost.peak_bytes = max(
            self.cost.peak_bytes, self._data_bytes + 2 * size_in_bytes(state) + size_in_bytes(rest)
        )
        self.cost.parameters = max(
            self.cost.parameters, sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(state))
        )

    def _shape(self, name: tuple, function: Callable, *arguments: Tree) -> Tree:
        """Shapes of a result, traced once per function and shapes of its arguments."""
        return self._once(("shape", *name), lambda: jax.eval_shape(function, *arguments), arguments)

    def _flops(self, name: tuple, function: Callable, *arguments: Tree) -> float:
        """Operations of one call, counted once per function and shapes; nothing is compiled."""
        if not self.count_flops:
            return 0.0

        return self._once(("flops", *name), lambda: count_operations(function, *arguments), arguments)

    def _once(self, name: tuple, compute: Callable[[], Any], arguments: Tree) -> Any:
        key = (*name, tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(arguments)))
        if key not in self._counted:
            self._counted[key] = compute()
        return self._counted[key]


def _same_shapes(name: str, before: Tree, after: Tree) -> None:
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (before, after)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"loop '{name}': a step changes the shapes or dtypes of its state")
