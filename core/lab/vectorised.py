"""Settings that differ from replicate to replicate of one batch: several points of a sweep in one compiled program.

A trial gets its settings with a placeholder in the place of every number that varies. Functions of one replicate reach
the lab as partials over settings; there the placeholders give way to that replicate's numbers, which are arguments of
the compiled program instead of constants in it. An experiment need not know. Where one uses such a number elsewhere, to
choose a shape or a branch, the placeholder raises, and the points have to run one by one.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from pydantic import BaseModel

from core.lab.keys import replicate_keys
from core.lab.lab import Lab, LoopResult
from core.lab.shape_lab import ShapeLab
from core.lab.trials import perform_trial
from core.papers.contract import load_study
from core.papers.settings import PerArm

Tree = Any


@dataclass(frozen=True, eq=False)
class Placeholder:
    """A number that varies; all that can be done with it is to hand it on."""

    name: str

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Placeholder):
            raise TypeError(f"settings.{self.name} is compared outside of a function of one replicate")
        return self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __bool__(self) -> bool:
        raise TypeError(f"settings.{self.name} decides outside of a function of one replicate")

    def __array__(self, *_: object, **__: object) -> Any:
        raise TypeError(f"settings.{self.name} is made an array outside of a function of one replicate")


def insert_placeholders(settings: Any, names: Sequence[str]) -> Any:
    """Settings with placeholders for the numbers of these dotted names."""
    for name in names:
        settings = _with_placeholder(settings, name, name)
    return settings


def _with_placeholder(settings: Any, rest: str, name: str) -> Any:
    """A copy with a placeholder at `rest`; it is not checked, as the settings have seen the numbers before."""
    first, _, below = rest.partition(".")
    values = settings.root if isinstance(settings, PerArm) else dict(settings)
    changed = {first: _with_placeholder(values[first], below, name) if below else Placeholder(name)}
    return _copy(settings, changed)


def _copy(value: Any, changes: Mapping[str, Any]) -> Any:
    """A copy of settings, values by arm, or a dataclass, with some fields changed and nothing checked."""
    if isinstance(value, PerArm):
        return type(value).model_construct({**value.root, **changes})
    if isinstance(value, BaseModel):
        return value.model_copy(update=dict(changes))
    made = object.__new__(type(value))
    for described in dataclasses.fields(value):
        object.__setattr__(made, described.name, changes.get(described.name, getattr(value, described.name)))
    return made


def fill_placeholders(value: Any, numbers: Mapping[str, jax.Array]) -> Any:
    """A value with one replicate's numbers in the place of its placeholders, at any depth; else the value itself."""
    if isinstance(value, Placeholder):
        return numbers[value.name]
    if isinstance(value, partial):
        arguments = [fill_placeholders(each, numbers) for each in value.args]
        keywords = {name: fill_placeholders(each, numbers) for name, each in value.keywords.items()}
        return partial(fill_placeholders(value.func, numbers), *arguments, **keywords)
    if type(value) is tuple:
        return tuple(fill_placeholders(each, numbers) for each in value)
    before = _fields(value)
    after = {name: fill_placeholders(each, numbers) for name, each in before.items()}
    if any(after[name] is not before[name] for name in before):
        return _copy(value, after)
    return value


def _fields(value: Any) -> dict[str, Any]:
    """The parts of a value in which placeholders may stand."""
    if isinstance(value, PerArm):
        return dict(value.root)
    if isinstance(value, BaseModel):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.init}
    return {}


def stack_numbers(values: Mapping[str, Sequence[float]]) -> dict[str, jax.Array]:
    """One array of shape (replicates,) per name, weakly typed: in every expression as good as a Python number."""
    return {name: jnp.stack([jnp.asarray(value) for value in each]) for name, each in values.items()}


# The functions of one replicate as the lab sees them, with the numbers as a first argument of the replicate's own.


def _call(function: Callable, numbers: Mapping[str, jax.Array], *rest: Any) -> Any:
    return fill_placeholders(function, numbers)(*rest)


def _step(step: Callable, state: Tree, key: jax.Array, i: jax.Array, numbers: Mapping, *rest: Any) -> Tree:
    return fill_placeholders(step, numbers)(state, key, i, *rest)


def _evaluate(evaluate: Callable, state: Tree, i: jax.Array, numbers: Mapping, *rest: Any) -> Any:
    return fill_placeholders(evaluate, numbers)(state, i, *rest)


def _finish(finish: Callable, state: Tree, numbers: Mapping, *rest: Any) -> Any:
    return fill_placeholders(finish, numbers)(state, *rest)


class VectorisedMixin:
    """A lab whose functions of one replicate get that replicate's numbers."""

    numbers: dict[str, Any]

    def map(self, function: Callable, *each: Tree, shared: Sequence[Tree] = ()) -> Tree:
        """As `core.lab.lab.Lab.map`."""
        return super().map(partial(_call, function), self.numbers, *each, shared=shared)  # ty: ignore[missing-attribute]

    def iterate(
        self,
        name: str,
        step: Callable,
        keys: jax.Array,
        state: Tree,
        *,
        each: Sequence[Tree] = (),
        evaluate: Callable | None = None,
        finish: Callable | None = None,
        **rest: Any,
    ) -> LoopResult:
        """As `core.lab.lab.Lab.iterate`."""
        functions = {
            "evaluate": None if evaluate is None else partial(_evaluate, evaluate),
            "finish": None if finish is None else partial(_finish, finish),
        }
        each = (self.numbers, *each)
        return super().iterate(name, partial(_step, step), keys, state, each=each, **functions, **rest)  # ty: ignore[missing-attribute]


@dataclass
class VectorisedLab(VectorisedMixin, Lab):
    """A lab at work on replicates of several points."""

    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass
class VectorisedShapeLab(VectorisedMixin, ShapeLab):
    """Its shapes."""

    numbers: dict[str, Any] = field(default_factory=dict)


def why_not_vectorisable(slug: str, study: Any, settings: Any, names: Sequence[str]) -> str | None:
    """Why these numbers cannot vary within one program, in one line, or None when they can: from shapes alone."""
    with jax.enable_x64(study.form.x64):
        offered, lab = load_study(slug, study.name), VectorisedShapeLab(count_flops=False)
        lab.numbers = jax.eval_shape(lambda: stack_numbers({name: [0.5] for name in names}))
        keys = jax.eval_shape(lambda: replicate_keys(slug, study.name, [0]))
        if offered.prepare is not None:
            lab.prepared = offered.prepare(settings.prepared, keys, ShapeLab(count_flops=False))
        try:
            varying = insert_placeholders(settings, names)
            perform_trial(offered.trial, varying, keys, lab, study.form.tune, study.form.arms)
        except Exception as error:  # whatever an experiment does with a number that is not one
            return f"{type(error).__name__}: {error}".splitlines()[0]
    return None
