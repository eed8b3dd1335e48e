"""The lab: all that a trial sees of the machinery.

A trial describes the experiment for a batch of replicates; the lab decides where arrays live, how functions of one
replicate are lifted over the batch, what is kept on disk, and where an interrupted run goes on.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from core.errors import BadInput, Unfinished
from core.lab import loops, timing
from core.lab.replicas import Lifter, ReplicateAxis, function_key
from core.lab.stages import SUFFIX, Checkpoint, StageStore, check_stage_name

Tree = Any
CHECKPOINT_SECONDS = 30.0
RESERVED = {"study", "replicate", "metric", "value"}  # columns of every measurement


class LoopResult(NamedTuple):
    """What a loop leaves: a dictionary of arrays, and its curves at the given steps, all with a replicate axis."""

    result: Tree
    curves: dict[str, np.ndarray]
    steps: np.ndarray


class Loop(NamedTuple):
    """The functions of one loop and how long it runs."""

    name: str
    step: Callable
    steps: int
    evaluate_every: int
    evaluate: Callable | None
    finish: Callable | None


@dataclass(frozen=True)
class Scope:
    """What the names of stages begin with, and the conditions of all measurements, inside of a part of a trial."""

    prefix: str = ""
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def within(self, prefix: str, conditions: Mapping[str, Any]) -> "Scope":
        """A scope inside of this one."""
        return Scope(self.prefix + prefix, {**self.conditions, **conditions})


def evaluation_steps(steps: int, every: int) -> np.ndarray:
    """The numbers of completed steps at which a loop is evaluated: every `every`, and at its end; int64."""
    if steps < 1 or every < 1:
        raise BadInput(f"a loop of {steps} steps cannot be evaluated every {every}: both must be 1 or more")
    return np.unique(np.append(np.arange(every, steps + 1, every), steps))


@dataclass
class Lab:
    """One batch of replicates at work.

    Attributes:
      replicates: the numbers of the replicates in this batch.
      folders: one folder per replicate, where its stages are kept.
      checkpoints: folder for the states of unfinished loops.
      load_data: gives the arrays of a data set by name.
      axis: how the batch is laid out on the devices.
      prepared: what `prepare` returned, or None.
      exclusive: nothing else runs beside this study, so that its seconds mean something.
      on_progress: told of every block of steps, for progress.
      on_evaluate: told of every evaluation: stage, steps done, the group's replicates, its newest point of every curve.
      should_stop: asked at every block whether the run should stop and be resumed later.
    """

    replicates: Sequence[int]
    folders: Sequence[Path]
    checkpoints: Path
    load_data: Callable[[str], Mapping[str, np.ndarray]]
    axis: ReplicateAxis
    prepared: Tree = None
    exclusive: bool = False
    on_progress: Callable[[int], None] = lambda steps: None
    on_evaluate: Callable[[str, int, Sequence[int], dict[str, np.ndarray]], None] = lambda *evaluated: None
    should_stop: Callable[[], bool] = lambda: False
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    lifter: Lifter | None = None
    rows: list[list[dict[str, Any]]] = field(default_factory=list)
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    iterating_seconds: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        self.lifter = self.lifter or Lifter(self.axis)
        self.store = StageStore(self.folders)
        self.rows = [[] for _ in self.replicates]
        self._data: dict[str, dict[str, jax.Array]] = {}
        self._names: set[str] = set()
        self._scope = Scope()

    @contextmanager
    def scope(self, prefix: str, conditions: Mapping[str, Any]) -> Generator[None]:
        """For as long as the context lasts, begin names of stages with `prefix` and measure under `conditions`, too."""
        outer, self._scope = self._scope, self._scope.within(prefix, conditions)
        try:
            yield
        finally:
            self._scope = outer

    def data(self, name: str) -> dict[str, jax.Array]:
        """The arrays of a data set, verified and on the device."""
        if name not in self._data:
            # jax.device_put, unlike jnp.asarray, compiles nothing.
            self._data[name] = jax.device_put(dict(self.load_data(name)))
        return self._data[name]

    def stage(self, name: str, compute: Callable[[], Tree], like: Tree = None) -> Tree:
        """The result of `compute()`, a nested dictionary of arrays with a replicate axis, computed at most once.

        Work that cannot be followed by shapes alone (a solver on the host) says in `like` what it returns for one
        replicate, as `jax.ShapeDtypeStruct`s without the replicate axis; only plans read it.
        """
        return self._stage(self._scope.prefix + name, compute)

    def _stage(self, name: str, compute: Callable[[], Tree]) -> Tree:
        if name in self._names:
            raise BadInput(f"two stages of a trial are called '{name}'")
        self._names.add(name)
        found = self.store.load(name)
        if found is None:
            found = compute()
            self.store.save(name, found)
        return found

    def map(self, function: Callable, *each: Tree, shared: Sequence[Tree] = ()) -> Tree:
        """`function(*each, *shared)` of one replicate, over the batch: `each` and the result carry its axis."""
        lifted = self._lift(("map", function_key(function), len(each)), function, len(each), len(shared))
        return self._join([lifted(*group, *shared) for group in self._split(each)])

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
        """A resumable loop, kept as a stage.

        Args:
          name: the stage's name, unique within the trial.
          step: `step(state, key, i, *each, *shared) -> state` of one replicate; `i` counts from 0.
          keys: one key per replicate; step `i` gets the key folded with `i`.
          state: any pytree with a replicate axis.
          steps: how many steps.
          each: further arguments with a replicate axis.
          shared: further arguments that all replicates share.
          evaluate_every: evaluate after every so many steps, and at the end.
          evaluate: `evaluate(state, i, *each, *shared) -> (state, {metric: scalar})` of one replicate, after `i` steps.
          finish: `finish(state, *each, *shared) -> {name: array}`; by default the state itself is the result.

        A replicate whose state turns non-finite is frozen at its last finite evaluation and measured as `diverged`.
        """
        name = self._scope.prefix + name
        loop = Loop(name, step, steps, evaluate_every or steps, evaluate, finish)
        self.steps += steps
        found = self._stage(name, lambda: self._iterate(loop, keys, state, tuple(each), tuple(shared)))
        for checkpoint in self._checkpoints(name):
            checkpoint.remove()
        self._note_divergence(name, found["diverged_at"])
        return LoopResult(found["result"], found["curves"], evaluation_steps(loop.steps, loop.evaluate_every))

    def measure(self, metrics: Mapping[str, Any], *, along: Mapping[str, Any] | None = None, **conditions: Any) -> None:
        """Record measurements under conditions such as `arm="dense"`.

        Each metric has shape (replicates, *lengths of along); `along` names the further axes and their labels, such
        as {"step": steps}. Infinity means "never reached"; NaN is refused.
        """
        along, conditions = dict(along or {}), {**self._scope.conditions, **conditions}
        for name in RESERVED & {*conditions, *along} | set(conditions) & set(along):
            raise BadInput(f"'{name}' cannot be a condition of {', '.join(metrics)}: it names another column")
        conditions = {name: _label(name, value) for name, value in conditions.items()}
        shape = (len(self.replicates), *(len(labels) for labels in along.values()))
        for metric, values in metrics.items():
            array = np.asarray(values, dtype=np.float64)
            if array.shape != shape:
                raise BadInput(
                    f"metric '{metric}' has shape {array.shape}, expected {shape}: (replicates, {', '.join(along)})"
                )
            if np.isnan(array).any():
                raise BadInput(f"metric '{metric}' is NaN under {conditions}")
            for index in np.ndindex(shape):
                labels = {column: _label(column, along[column][i]) for column, i in zip(along, index[1:], strict=True)}
                self.rows[index[0]].append({**conditions, **labels, "metric": metric, "value": float(array[index])})

    def keep(self, name: str, array: Any) -> None:
        """Keep a small array, shape (replicates, …), for the figures."""
        kept = np.asarray(array)
        if kept.shape[:1] != (len(self.replicates),):
            raise BadInput(f"kept array '{name}' has shape {kept.shape}, expected ({len(self.replicates)}, …)")
        self.kept[check_stage_name(self._scope.prefix + name)] = kept

    def time(
        self, arms: Mapping[str, Callable[[], Any]], rounds: int = 5, rtol: float = 1e-5
    ) -> dict[str, list[float]]:
        """Seconds of every arm in every round, interleaved and warm, after their results were found equal."""
        if not self.exclusive:
            raise BadInput("seconds are only measured in a study that the config marks `exclusive: true`")
        timing.assert_agreement({arm: call() for arm, call in arms.items()}, rtol)
        return timing.time_interleaved(arms, rounds)

    def _lift(self, name: tuple, function: Callable, each: int, shared: int) -> Callable:
        assert self.lifter is not None
        return self.lifter.lift((*name, shared), function, each, shared)

    def _split(self, trees: Tree) -> list[Tree]:
        assert self.lifter is not None
        return self.lifter.split(trees)

    def _join(self, groups: list[Tree]) -> Tree:
        assert self.lifter is not None
        return self.lifter.join(groups)

    def _iterate(self, loop: Loop, keys: jax.Array, state: Tree, each: tuple, shared: tuple) -> Tree:
        groups = self._split((keys, state, each))
        started = time.perf_counter()
        results = [
            self._iterate_group(loop, checkpoint, *group, shared)
            for checkpoint, group in zip(self._checkpoints(loop.name), groups, strict=True)
        ]
        self.iterating_seconds += time.perf_counter() - started
        return self._join(results)

    def _checkpoints(self, name: str) -> list[Checkpoint]:
        """One per group."""
        groups = [[number] for number in self.replicates] if self.axis.how == "loop" else [list(self.replicates)]
        file = check_stage_name(name) + SUFFIX
        return [Checkpoint(self.checkpoints / f"{numbers[0]:06d}" / file, numbers) for numbers in groups]

    def _iterate_group(
        self, loop: Loop, checkpoint: Checkpoint, keys: jax.Array, state: Tree, each: tuple, shared: tuple
    ) -> Tree:
        """The loop for one group: blocks of steps, an evaluation after each, a checkpoint now and then."""
        marks = evaluation_steps(loop.steps, loop.evaluate_every)
        carried = self._fresh(loop, state, len(marks), each, shared)
        done, carried = checkpoint.load(carried) or (0, carried)
        saved_at = time.monotonic()
        for position in range(int(np.searchsorted(marks, done, side="right")), len(marks)):
            done, mark = (int(marks[position - 1]) if position else 0), int(marks[position])
            carried = self._block(loop, carried, keys, done, mark, position, each, shared)
            self.on_evaluate(
                loop.name, mark, checkpoint.replicates, {name: c[position] for name, c in carried[1].items()}
            )
            self.on_progress((mark - done) * (1 if self.axis.how == "loop" else len(self.replicates)))
            stopping = self.should_stop()
            if stopping or time.monotonic() - saved_at > self.checkpoint_seconds:
                checkpoint.save(mark, carried)
                saved_at = time.monotonic()
            if stopping:
                raise Unfinished("stopped")
        progress, curves = carried
        result = progress.state if loop.finish is None else self._finish(loop, progress.state, each, shared)
        return {"result": result, "curves": _curves_last(curves, self.axis), "diverged_at": progress.diverged_at}

    def _fresh(self, loop: Loop, state: Tree, marks: int, each: tuple, shared: tuple) -> tuple[loops.LoopState, dict]:
        """Progress at the start, and room for the curves: one host array of shape (marks, replicates or nothing)."""
        batch = () if self.axis.how == "loop" else (len(self.replicates),)
        progress = loops.LoopState(*jax.device_put((state, np.full(batch, -1, np.int32))))
        names = []
        if loop.evaluate is not None:
            evaluate = self._evaluate(loop, each, shared)
            names = list(jax.eval_shape(evaluate, progress.state, *each, np.int32(0), *shared)[1])
        return progress, {name: np.zeros((marks, *batch), np.float32) for name in names}

    def _block(
        self,
        loop: Loop,
        carried: tuple,
        keys: jax.Array,
        done: int,
        mark: int,
        position: int,
        each: tuple,
        shared: tuple,
    ) -> tuple[loops.LoopState, dict]:
        """Advance from step `done` to step `mark`, then evaluate."""
        progress, curves = carried
        progress = self._advance(loop, progress, keys, done, mark, each, shared)
        if loop.evaluate is not None:
            state, seen = self._evaluate(loop, each, shared)(progress.state, *each, np.int32(mark), *shared)
            progress = progress._replace(state=state)
            for name, value in seen.items():
                curves[name][position] = value
        return progress, curves

    def _advance(
        self, loop: Loop, progress: loops.LoopState, keys: jax.Array, done: int, mark: int, each: tuple, shared: tuple
    ) -> loops.LoopState:
        count, length = len(each), mark - done
        name = ("block", function_key(loop.step), count, length)
        block = self._lift(name, loops.scan_block(loop.step, length, count), 2 + count, 1 + len(shared))
        return block(progress, keys, *each, np.int32(done), *shared)

    def _evaluate(self, loop: Loop, each: tuple, shared: tuple) -> Callable:
        evaluate, count = loop.evaluate, len(each)
        assert evaluate is not None

        def evaluate_one(state: Tree, *rest: Any) -> tuple[Tree, dict[str, jax.Array]]:
            return evaluate(state, rest[count], *rest[:count], *rest[count + 1 :])

        return self._lift(("evaluate", function_key(evaluate), count), evaluate_one, 1 + count, 1 + len(shared))

    def _finish(self, loop: Loop, state: Tree, each: tuple, shared: tuple) -> Tree:
        assert loop.finish is not None
        lifted = self._lift(("finish", function_key(loop.finish), len(each)), loop.finish, 1 + len(each), len(shared))
        return lifted(state, *each, *shared)

    def _note_divergence(self, name: str, diverged_at: np.ndarray) -> None:
        for rows, step in zip(self.rows, np.asarray(diverged_at), strict=True):
            if step >= 0:
                rows.append({"stage": name, "metric": "diverged", "value": float(step)})


def _curves_last(curves: dict[str, np.ndarray], axis: ReplicateAxis) -> dict[str, np.ndarray]:
    """Curves with the replicate axis, if there is one, in front of the axis of steps."""
    return curves if axis.how == "loop" else {name: np.moveaxis(curve, 0, 1) for name, curve in curves.items()}


def _label(name: str, value: Any) -> str | float:
    """A condition as plain data."""
    plain = value.item() if isinstance(value, np.generic | np.ndarray | jax.Array) and value.ndim == 0 else value
    if not isinstance(plain, str | int | float) or (isinstance(plain, float) and not np.isfinite(plain)):
        raise BadInput(f"{name}={value!r} cannot label a measurement: it must be a word or a finite number")
    return plain
