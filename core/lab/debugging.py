"""Labs that look into a trial: one finds where a replicate diverged, one traces a few warm steps of a loop.

They read the stages that a run has kept and write none: what they compute is no result. Both leave the trial, by an
exception, as soon as they have seen what they look for.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from core.lab import loops
from core.lab.lab import Lab, Loop, LoopResult, evaluation_steps
from core.lab.origins import Origin, find_origins
from core.lab.replicas import function_key
from core.lab.stages import StageStore

Tree = Any
TRACED_BLOCKS = 3


class Seen(Exception):
    """What a debugging lab looked for, as lines for the person."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(*lines)
        self.lines = list(lines)


class KeptStages(StageStore):
    """Stages that a run has kept, but for one; none is written."""

    hidden = ""

    def load(self, name: str) -> Tree | None:
        """The kept result of a stage."""
        return None if name == self.hidden else super().load(name)

    def save(self, name: str, tree: Tree) -> None:
        """Keep nothing."""


def single_step(step: Callable, each: int) -> Callable:
    """One step of one replicate: `run(state, key, *each, i, *shared) -> state`."""

    def run(state: Tree, key: jax.Array, *rest: Any) -> Tree:
        i, arguments = rest[each], rest[:each] + rest[each + 1 :]
        return step(state, jax.random.fold_in(key, i), i, *arguments)

    return run


@dataclass
class DivergenceLab(Lab):
    """Computes a stage that diverged again, up to the evaluation before, then step by step; raises `Seen`.

    Attributes:
      stage_name: the stage.
      diverged_at: the number of steps by which it was found to have diverged.
    """

    stage_name: str = ""
    diverged_at: int = 0

    def __post_init__(self) -> None:
        """As the other, but for the store."""
        super().__post_init__()
        self.store: StageStore = KeptStages(self.folders)

    def _iterate(self, loop: Loop, keys: jax.Array, state: Tree, each: tuple, shared: tuple) -> Tree:
        if loop.name != self.stage_name:
            return super()._iterate(loop, keys, state, each, shared)
        [group] = self._split((keys, state, each))
        raise Seen(self._locate(loop, *group, shared))

    def _locate(self, loop: Loop, keys: jax.Array, state: Tree, each: tuple, shared: tuple) -> list[str]:
        """The step and the operations in which the state of one replicate turns non-finite."""
        marks = evaluation_steps(loop.steps, loop.evaluate_every)
        carried, done = self._fresh(loop, state, len(marks), each, shared), 0
        for position, mark in enumerate(marks[: int(np.searchsorted(marks, self.diverged_at))]):
            carried = self._block(loop, carried, keys, done, int(mark), position, each, shared)
            done = int(mark)
        state, count = carried[0].state, len(each)
        if not loops.all_finite(state):
            return [f"{loop.name}: the evaluation after {done} steps leaves a state that is not finite"]
        plain = single_step(loop.step, count)
        one = self._lift(("step", function_key(loop.step), count), plain, 2 + count, 1 + len(shared))
        for i in range(done, loop.steps):
            arguments = (state, keys, *each, np.int32(i), *shared)
            after = one(*arguments)
            if not loops.all_finite(after):
                return [f"{loop.name}: diverges in step {i} (counted from 0)", *_origin_lines(plain, arguments)]
            state = after
        return [f"{loop.name}: one step at a time it does not diverge: the border of float32 is a rounding away"]


def _origin_lines(step: Callable, arguments: tuple) -> list[str]:
    """Where one step turns non-finite: leaf by leaf of the state, each origin once."""
    _, origins = find_origins(step, *arguments)
    if not origins:
        return [
            "operation by operation the step stays finite: only the compiled program, which rounds otherwise, diverges"
        ]
    places: dict[Origin, list[str]] = {}
    for place, origin in origins.items():
        places.setdefault(origin, []).append(place)
    lines = []
    for origin, leaves in places.items():
        rest = f" and {len(leaves) - 3} more" if len(leaves) > 3 else ""
        lines.append(
            f"state{', state'.join(leaves[:3])}{rest}: {origin.kind} from '{origin.operation}' of finite numbers"
        )
        lines += [f"  {'called by ' if number else ''}{each}" for number, each in enumerate(origin.places[:4])]
        lines += [f"    {origin.line}"] if origin.line else []
    return lines


@dataclass
class TraceLab(Lab):
    """Has jax's profiler trace some steps of the first long loop, after the program is warm; raises `Seen`.

    Attributes:
      trace_folder: where the trace is written.
      least_steps: how many steps make a loop a long one.
      block: steps of one block at most.
    """

    trace_folder: Path = Path()
    least_steps: int = 1
    block: int = 10

    def __post_init__(self) -> None:
        """As the other, but for the store."""
        super().__post_init__()
        self.store: StageStore = KeptStages(self.folders)

    def iterate(self, name: str, step: Callable, keys: jax.Array, state: Tree, **rest: Any) -> LoopResult:
        """As `core.lab.lab.Lab.iterate`, of a short loop."""
        if rest["steps"] < self.least_steps:
            return super().iterate(name, step, keys, state, **rest)
        every = rest.get("evaluate_every") or rest["steps"]
        loop = Loop(self._scope.prefix + name, step, rest["steps"], every, None, None)
        group = self._split((keys, state, tuple(rest.get("each", ()))))[0]
        raise Seen(self._trace(loop, *group, tuple(rest.get("shared", ()))))

    def _warm(
        self, loop: Loop, keys: jax.Array, state: Tree, each: tuple, shared: tuple
    ) -> tuple[Callable[[loops.LoopState, int], loops.LoopState], loops.LoopState, int]:
        """A function that takes the n-th block of steps, the state after the first one, and the steps of a block."""
        count = max(1, min(self.block, loop.evaluate_every, loop.steps // (TRACED_BLOCKS + 1)))
        progress, _ = self._fresh(loop, state, 1, each, shared)

        def advance(progress: loops.LoopState, block: int) -> loops.LoopState:
            arguments = (keys, block * count, (block + 1) * count, each, shared)
            return jax.block_until_ready(self._advance(loop, progress, *arguments))

        return advance, advance(progress, 0), count

    def _trace(self, loop: Loop, keys: jax.Array, state: Tree, each: tuple, shared: tuple) -> list[str]:
        advance, progress, count = self._warm(loop, keys, state, each, shared)
        self.trace_folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        with jax.profiler.trace(str(self.trace_folder), create_perfetto_trace=True):
            for block in range(1, TRACED_BLOCKS + 1):
                progress = advance(progress, block)
            seconds = time.perf_counter() - started
        each_step = 1e3 * seconds / (TRACED_BLOCKS * count)
        return [f"{loop.name}: {TRACED_BLOCKS * count} warm steps traced, {each_step:.3g} ms each (with the tracing)"]
