"""The flax networks of a study, found by following its trial by shapes, as tables of layers, parameters and FLOPs."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from core.lab.lab import LoopResult
from core.lab.shape_lab import ShapeLab
from core.papers.config import StudyConfig
from core.planning.forecasting import trace_trial

Tree = Any
WIDTH = 1000  # of what is printed at most: a table takes the room that it needs, whatever the terminal's
SHOWN_LOOPS = 4


@dataclass
class CalledNetwork:
    """A flax module that a trial calls from outside of any other, with the inputs of its first call.

    Attributes:
      module: unbound.
      method: the name of the method that is called.
      arguments: its inputs, arrays as `jax.ShapeDtypeStruct`.
      options: further arguments by name.
      loops: names of the loops of steps that call it.
    """

    module: nn.Module
    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    loops: list[str] = field(default_factory=list)


@dataclass
class NetworkLab(ShapeLab):
    """Follows a trial by shapes, and notes the networks that it calls."""

    networks: dict[str, CalledNetwork] = field(default_factory=dict)
    _loop: str = ""
    _inside: bool = False

    def iterate(self, name: str, *arguments: Any, **rest: Any) -> LoopResult:
        """As `core.lab.lab.Lab.iterate`."""
        before, self._loop = self._loop, self._scope.prefix + name
        try:
            return super().iterate(name, *arguments, **rest)
        finally:
            self._loop = before

    def _shape(self, name: tuple, function: Callable, *arguments: Tree) -> Tree:
        """Traced anew for every loop, so that each is seen to call its networks."""
        with self._noting():
            return jax.eval_shape(lambda *given: function(*given), *arguments)

    def _flops(self, name: tuple, function: Callable, *arguments: Tree) -> float:
        """Nothing is counted."""
        return 0.0

    @contextmanager
    def _noting(self) -> Generator[None]:
        def note(call: Callable, arguments: tuple, options: dict[str, Any], context: Any) -> Any:
            if self._inside or context.module.path or context.method_name == "setup":
                return call(*arguments, **options)
            self._inside = True
            try:
                self._note_network(context.module, context.method_name, arguments, options)
                return call(*arguments, **options)
            finally:
                self._inside = False

        with nn.intercept_methods(note):
            yield

    def _note_network(self, module: nn.Module, method: str, arguments: tuple, options: dict[str, Any]) -> None:
        unbound = module.clone(parent=None, name=None)
        found = self.networks.setdefault(
            repr(unbound), CalledNetwork(unbound, method, *jax.tree.map(_shape_of, (arguments, options)))
        )
        if self._loop and self._loop not in found.loops:
            found.loops.append(self._loop)


def _shape_of(value: Any) -> Any:
    return jax.ShapeDtypeStruct(value.shape, value.dtype) if isinstance(value, jax.Array) else value


def _zeros(shape: jax.ShapeDtypeStruct) -> Any:
    """Something of a shape, as flax looks at shapes alone."""
    if jax.dtypes.issubdtype(shape.dtype, jax.dtypes.prng_key):
        return jax.random.key(0)
    return np.zeros(shape.shape, shape.dtype)


def find_networks(study: StudyConfig, scale: str) -> list[CalledNetwork]:
    """The networks that the trial of a study calls at a scale, in the order of their first calls."""
    lab = NetworkLab()
    trace_trial(study.slug, study, study.build(study.values(scale)), lab)
    return list(lab.networks.values())


def render_network(network: CalledNetwork) -> str:
    """Flax's table of a network: path, layer, shapes, FLOPs of one call and parameters, line by line."""
    leaves, structure = jax.tree.flatten((network.arguments, network.options))
    arrays = [_zeros(leaf) for leaf in leaves if isinstance(leaf, jax.ShapeDtypeStruct)]

    def call(module: nn.Module, *given: Any) -> Any:
        """Options that are no arrays, such as `train`, stay as they are."""
        rest = list(given)
        whole = [rest.pop(0) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf for leaf in leaves]
        arguments, options = jax.tree.unflatten(structure, whole)
        return getattr(module, network.method)(*arguments, **options)

    keys = {name: jax.random.key(0) for name in ("params", "dropout", "batch_stats")}
    table = nn.tabulate(
        network.module,
        keys,
        method=call,
        compute_flops=True,
        console_kwargs={"width": WIDTH, "force_terminal": False, "no_color": True},
        column_kwargs={"justify": "left", "no_wrap": True},
    )(*arrays)
    return "\n".join(line.rstrip() for line in table.splitlines() if line.strip())


def loops_in_words(network: CalledNetwork) -> str:
    """Which loops of steps call it."""
    rest = f" and {len(network.loops) - SHOWN_LOOPS} more" if len(network.loops) > SHOWN_LOOPS else ""
    return f"{', '.join(network.loops[:SHOWN_LOOPS])}{rest}" if network.loops else "no loop of steps"
