"""Recurrent layers: Elman, LSTM and GRU cells with layer, batch or weight normalisation, and their run over time.

Sequences are time-major, (time, batch, features). In all cells a matrix product with h, a GRU's in two parts, is
followed by what works on single cases, `apply_cell`; what does not depend on h is computed for the whole sequence
before the run. The backward pass is written out for this structure: gradients of the recurrent kernel are one matrix
product after the scan instead of one per step, and only the sums W_h h and the states are kept for it.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from core.errors import BadInput, unknown_name
from core.models import norms
from core.models.norms import Moments

Tree = Any
Carry = tuple[jax.Array, ...]  # (h,) or (h, c), each (batch, width)
Sums = tuple[jax.Array | None, ...]  # by part of `SUM_SIZES`, each (batch, size x width); None: added already

# What is normalised, in units of the width; `normalised_parts` names what comes before the underscore.
NORMALISED_SIZES = {
    "elman": {"sum": 1},
    "lstm": {"input": 4, "recurrent": 4, "cell": 1},
    "gru": {"input_gates": 2, "input_candidate": 1, "recurrent_gates": 2, "recurrent_candidate": 1},
}
# What is summed together, in units of the width: the parts of both kernels, each a product of its own.
SUM_SIZES = {"elman": (1,), "lstm": (4,), "gru": (2, 1)}
GATE_COUNTS = {cell: sum(sizes) for cell, sizes in SUM_SIZES.items()}
NORMS = ("none", "layer", "batch", "weight")
NormaliseFunction = Callable[[str, jax.Array], jax.Array]


def _add(a: jax.Array, b: jax.Array | None) -> jax.Array:
    return a if b is None else a + b


def elman_step(normalise: NormaliseFunction, carry: Carry, recurrent_sums: tuple, input_projection: Sums) -> Carry:
    """One step of a plain recurrent network (Ba et al. 2016, eq. 4), from W_h h and W_x x + b, each (batch, width)."""
    (sums,), (from_x,) = recurrent_sums, input_projection
    # h ← tanh(LN(W_h h + W_x x + b))
    return (jnp.tanh(normalise("sum", _add(sums, from_x))),)


def lstm_step(normalise: NormaliseFunction, carry: Carry, recurrent_sums: tuple, input_projection: Sums) -> Carry:
    """One LSTM step (Ba et al. 2016, eqs. 20-22), from W_h h and LN(W_x x) + b, each (batch, 4 width)."""
    (sums,), (from_x,), (_, c) = recurrent_sums, input_projection, carry
    # [f i o g] = LN(W_h h) + LN(W_x x) + b
    f, i, o, g = jnp.split(_add(normalise("recurrent", sums), from_x), 4, axis=-1)
    # c ← σ(f) ⊙ c + σ(i) ⊙ tanh(g)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    # h ← σ(o) ⊙ tanh(LN(c))
    return sigmoid(o) * jnp.tanh(normalise("cell", c)), c


def gru_step(normalise: NormaliseFunction, carry: Carry, recurrent_sums: tuple, input_projection: Sums) -> Carry:
    """One GRU step (Ba et al. 2016, eqs. 16-19), from U_zr h and U h, and LN(W_zr x) + b and LN(W x) + b."""
    (gates, candidate), (gates_x, candidate_x), (h,) = recurrent_sums, input_projection, carry
    # [z r] = LN(U_zr h) + LN(W_zr x) + b
    z, r = jnp.split(_add(normalise("recurrent_gates", gates), gates_x), 2, axis=-1)
    # ĥ = tanh(LN(W x) + b + σ(r) ⊙ LN(U h))
    candidate = jnp.tanh(_add(sigmoid(r) * normalise("recurrent_candidate", candidate), candidate_x))
    # h ← (1 - σ(z)) ⊙ h + σ(z) ⊙ ĥ
    return (h + sigmoid(z) * (candidate - h),)


CELL_STEPS = {"elman": elman_step, "lstm": lstm_step, "gru": gru_step}


class CellConfig(NamedTuple):
    """Which cell and normalisation a layer has: what is known when its program is compiled."""

    cell: str
    norm: str
    eps: float
    unbiased: bool
    train: bool


class StepInputs(NamedTuple):
    """What one step is given besides the carry, or all steps with a leading time axis."""

    input_projection: Sums  # LN(W_x x) + b
    mask: jax.Array | None  # bool (batch,): other cases keep their carry
    running_moments: dict[str, Moments]  # statistics by which batch norm evaluates, by part


def apply_cell(
    cell: CellConfig, affine: dict, carry: Carry, recurrent_sums: tuple, inputs: StepInputs
) -> tuple[Carry, dict[str, Moments]]:
    """One step: the new carry from W_h h by part, and the statistics of the batch by normalised part."""
    seen: dict[str, Moments] = {}

    def normalise(part: str, x: jax.Array) -> jax.Array:
        if part not in affine:
            return x
        gain, bias = affine[part]["gain"], affine[part]["bias"]
        if cell.norm == "layer":
            return norms.layer_norm(x, gain, bias, cell.eps, cell.unbiased)
        moments = inputs.running_moments.get(part)
        if cell.train:
            moments = seen[part] = norms.batch_moments(x, inputs.mask)
        assert moments is not None
        return norms.batch_norm(x, moments, gain, bias, cell.eps)

    new = CELL_STEPS[cell.cell](normalise, carry, recurrent_sums, inputs.input_projection)
    if inputs.mask is not None:
        new = tuple(jnp.where(inputs.mask[:, None], a, b) for a, b in zip(new, carry, strict=True))
    return new, seen


class ScanConfig(NamedTuple):
    """How the scan over time is compiled; results do not depend on it beyond rounding."""

    reverse: bool = False
    unroll: int = 1
    remat: bool = False
    custom_backward: bool = True


def scan_cell(
    cell: CellConfig, scan: ScanConfig, kernels: tuple, affine: dict, carry: Carry, inputs: StepInputs
) -> tuple:
    """Run a cell over all steps: outputs h (time, batch, width), the last carry, and the statistics of all steps.

    Args:
      cell: the cell.
      scan: see `ScanConfig`; `remat` computes the sums W_h h again in the backward pass instead of keeping them, and
        `custom_backward=False` leaves the backward pass to automatic differentiation (needed for forward mode).
      kernels: recurrent kernels by part, (width, size x width).
      affine: gains and biases of the normalised parts.
      carry: the first carry.
      inputs: of all steps; may have no step at all.
    """
    if scan.custom_backward:
        outputs, last, seen = _scan_with_custom_backward(cell, scan, kernels, affine, carry, inputs)
        return outputs, last, jax.lax.stop_gradient(seen)

    def step(carry: Carry, now: StepInputs) -> tuple:
        carry, seen = apply_cell(cell, affine, carry, _recurrent_sums(carry, kernels), now)
        return carry, (carry[0], seen)

    body = jax.checkpoint(step) if scan.remat else step
    last, (outputs, seen) = jax.lax.scan(body, carry, inputs, reverse=scan.reverse, unroll=scan.unroll)
    return outputs, last, jax.lax.stop_gradient(seen)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _scan_with_custom_backward(
    cell: CellConfig, scan: ScanConfig, kernels: tuple, affine: dict, carry: Carry, inputs: StepInputs
) -> tuple:
    return _run_forward(cell, scan, kernels, affine, carry, inputs)[0]


def _recurrent_sums(carry: Carry, kernels: tuple) -> tuple:
    return tuple(carry[0] @ kernel for kernel in kernels)  # W_h h


def _add_early(cell: CellConfig, affine: dict) -> tuple[bool, ...]:
    """By part: whether W_h h and W_x x + b only ever count as their sum, which is then all that has to be kept."""
    if cell.cell == "gru":
        return "recurrent_gates" not in affine, False
    return (cell.cell == "elman" or "recurrent" not in affine,)


def _add_projection(early: tuple, sums: tuple, inputs: StepInputs) -> tuple[tuple, StepInputs]:
    """Sums with what is added early, and what is left of the inputs."""
    now = tuple(_add(a, b if added else None) for a, b, added in zip(sums, inputs.input_projection, early, strict=True))
    return now, _leave_out(early, inputs)


def _leave_out(early: tuple, inputs: StepInputs) -> StepInputs:
    left = tuple(None if added else b for b, added in zip(inputs.input_projection, early, strict=True))
    return inputs._replace(input_projection=left)


def _run_forward(
    cell: CellConfig, scan: ScanConfig, kernels: tuple, affine: dict, carry: Carry, inputs: StepInputs
) -> tuple:
    early = _add_early(cell, affine)

    def step(carry: Carry, now: StepInputs) -> tuple:
        sums, left = _add_projection(early, _recurrent_sums(carry, kernels), now)
        carry, seen = apply_cell(cell, affine, carry, sums, left)
        return carry, (carry, seen, None if scan.remat else sums)

    last, (carries, seen, sums) = _scan_ahead(step, carry, inputs, scan.reverse, scan.unroll)
    return (carries[0], last, seen), (kernels, affine, carry, inputs, carries, sums)


def _run_backward(cell: CellConfig, scan: ScanConfig, kept: tuple, given: tuple) -> tuple:
    kernels, affine, first, inputs, carries, sums = kept
    d_outputs, d_last, _ = given  # statistics are constants
    early = _add_early(cell, affine)
    before = tuple(_shift_states(f, c, scan.reverse) for f, c in zip(first, carries, strict=True))

    def step(carried: tuple, now: tuple) -> tuple:
        d_carry, d_affine = carried
        carry, sums, inputs, d_output = now
        if scan.remat:
            sums, inputs = _add_projection(early, _recurrent_sums(carry, kernels), inputs)

        def local(affine: dict, carry: Carry, sums: tuple, input_projection: Sums) -> Carry:
            return apply_cell(cell, affine, carry, sums, inputs._replace(input_projection=input_projection))[0]

        _, pull = jax.vjp(local, affine, carry, sums, inputs.input_projection)
        more, d_carry, d_sums, d_left = pull((d_carry[0] + d_output, *d_carry[1:]))
        d_h = sum((d @ kernel.T for d, kernel in zip(d_sums, kernels, strict=True)), d_carry[0])
        return ((d_h, *d_carry[1:]), jax.tree.map(jnp.add, d_affine, more)), (d_sums, d_left)

    start = d_last, jax.tree.map(jnp.zeros_like, affine)
    each = before, sums, inputs if scan.remat else _leave_out(early, inputs), d_outputs
    (d_first, d_affine), (d_sums, d_left) = jax.lax.scan(
        step, start, each, reverse=not scan.reverse, unroll=scan.unroll
    )
    # ∂L/∂W_h = Σ_t h_{t-1}ᵀ ∂L/∂(W_h h_{t-1}): one product over all steps and cases
    states = before[0].reshape(-1, before[0].shape[-1])
    d_kernels = tuple(states.T @ d.reshape(-1, d.shape[-1]) for d in d_sums)
    d_projected = tuple(a if b is None else b for a, b in zip(d_sums, d_left, strict=True))
    d_inputs = StepInputs(d_projected, None, jax.tree.map(jnp.zeros_like, inputs.running_moments))
    return d_kernels, d_affine, d_first, d_inputs


_scan_with_custom_backward.defvjp(_run_forward, _run_backward)


def _scan_ahead(step: Callable, carry: Tree, each: Tree, reverse: bool, unroll: int) -> tuple:
    """`jax.lax.scan` that takes what the next step is given into the carry.

    XLA on a CPU may otherwise read it from the whole sequence inside of the step's arithmetic. Forward steps of
    128 units and 64 cases took 30 % less time so in an LSTM and 40 % less in a GRU; backward ones took 7 % more, and do
    without.
    """
    steps = len(jax.tree.leaves(each)[0])
    if not steps:
        return jax.lax.scan(step, carry, each, reverse=reverse)

    def at(t: jax.Array | int) -> Tree:
        return jax.tree.map(lambda v: jax.lax.dynamic_index_in_dim(v, t, keepdims=False), each)

    def ahead(carried: tuple, t: jax.Array) -> tuple:
        carry, now = carried
        following = at(jnp.maximum(t - 1, 0) if reverse else jnp.minimum(t + 1, steps - 1))
        carry, out = step(carry, now)
        return (carry, following), out

    start = carry, at(steps - 1 if reverse else 0)
    (last, _), out = jax.lax.scan(ahead, start, jnp.arange(steps), reverse=reverse, unroll=unroll)
    return last, out


def _shift_states(first: jax.Array, each: jax.Array, reverse: bool) -> jax.Array:
    """States before each step from those after it."""
    joined = [each, first[None]] if reverse else [first[None], each]
    return jnp.concatenate(joined)[1:] if reverse else jnp.concatenate(joined)[:-1]


class RecurrentLayer(nn.Module):
    """A recurrent layer over sequences (time, batch, inputs); `step` runs it step by step.

    Attributes:
      cell: `elman`, `lstm` or `gru`.
      inputs: features per step.
      width: units H.
      norm: `none`, `layer`, `batch` (statistics per time step, Cooijmans et al. 2017) or `weight`.
      normalised_parts: what is normalised, by default what is published for the cell: `sum` (elman), `input`,
        `recurrent` and `cell` (lstm), `input` and `recurrent` (gru). `("cell",)` is the LSTM of DRAW, normalised in
        tanh(LN(c)) alone.
      initial_gain: of layer and batch norm.
      forget_bias: initial bias of the LSTM's forget gate.
      learn_initial_carry: the first carry is learnt instead of zero.
      max_length: steps with batch statistics of their own; later steps share those of the last.
      reverse: run from the last step to the first; outputs stay at their steps.
      unroll, remat, custom_backward: see `ScanConfig`.
    """

    cell: str
    inputs: int
    width: int
    norm: str = "none"
    normalised_parts: Sequence[str] | None = None
    initial_gain: float = 1.0
    forget_bias: float = 0.0
    learn_initial_carry: bool = False
    max_length: int = 1
    momentum: float = 0.9
    eps: float = 1e-5
    unbiased: bool = False
    reverse: bool = False
    unroll: int = 1
    remat: bool = False
    custom_backward: bool = True
    input_init: nn.initializers.Initializer = nn.initializers.glorot_normal()
    recurrent_init: nn.initializers.Initializer = nn.initializers.orthogonal()
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Parameters: kernels, bias, gains and biases of normalised parts, the learnt carry; running statistics."""
        self._check()
        blocks = GATE_COUNTS[self.cell]
        self.input_kernel = self._kernel("input", self.input_init, self.inputs)
        self.recurrent_kernel = self._kernel("recurrent", self.recurrent_init, self.width)
        self.bias = self.param("bias", self._initial_bias, (blocks * self.width,))
        parts = self._parts()
        self.affine = {part: self._affine(part, size) for part, size in parts.items()}
        self.running = {
            part: self.variable("batch_stats", part, norms.initial_moments, (self.max_length, size), self.dtype)
            for part, size in parts.items()
            if self.norm == "batch"
        }
        states = ("h", "c") if self.cell == "lstm" else ("h",)
        zeros = nn.initializers.zeros
        self.learnt_carry = [
            self.param(f"first_{name}", zeros, (self.width,), self.dtype) if self.learn_initial_carry else None
            for name in states
        ]

    def _check(self) -> None:
        if self.cell not in CELL_STEPS:
            raise unknown_name("cell", self.cell, CELL_STEPS)
        if self.norm not in NORMS:
            raise unknown_name("norm", self.norm, NORMS)
        known = {part.split("_")[0] for part in NORMALISED_SIZES[self.cell]}
        for part in self.normalised_parts or ():
            if part not in known:
                raise unknown_name(f"part of the cell {self.cell}", part, known)
        for name in ("inputs", "width", "max_length", "unroll"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} of a recurrent layer is {getattr(self, name)}: at least 1 is needed")

    def _parts(self) -> dict[str, int]:
        """Names and sizes of the parts that are normalised."""
        if self.norm not in ("layer", "batch"):
            return {}
        chosen = [
            p
            for p in NORMALISED_SIZES[self.cell]
            if self.normalised_parts is None or p.split("_")[0] in self.normalised_parts
        ]
        return {part: NORMALISED_SIZES[self.cell][part] * self.width for part in chosen}

    def _kernel(self, name: str, initial: nn.initializers.Initializer, inputs: int) -> jax.Array:
        """A kernel (inputs, blocks x width), each block drawn by itself; weight normalisation included."""

        def draw(key: jax.Array) -> jax.Array:
            keys = jax.random.split(key, GATE_COUNTS[self.cell])
            return jnp.concatenate([initial(k, (inputs, self.width), self.dtype) for k in keys], axis=1)

        kernel = self.param(f"{name}_kernel", draw)
        if self.norm != "weight":
            return kernel
        return norms.weight_norm(kernel, self.param(f"{name}_gain", lambda _: norms.initial_gains(kernel, None)))

    def _initial_bias(self, key: jax.Array, shape: tuple[int]) -> jax.Array:
        bias = jnp.zeros(shape, self.dtype)
        return bias.at[: self.width].set(self.forget_bias) if self.cell == "lstm" else bias

    def _affine(self, part: str, size: int) -> dict[str, jax.Array]:
        gain = nn.initializers.constant(self.initial_gain)
        return {
            "gain": self.param(f"{part}_gain", gain, (size,), self.dtype),
            "bias": self.param(f"{part}_bias", nn.initializers.zeros, (size,), self.dtype),
        }

    def initial_carry(self, batch: int, dtype: Any = None) -> Carry:
        """The first carry of a batch: zero or learnt, each (batch, width)."""
        dtype = dtype or self.dtype
        return tuple(
            jnp.zeros((batch, self.width), dtype)
            if first is None
            else jnp.broadcast_to(first.astype(dtype)[None], (batch, self.width))
            for first in self.learnt_carry
        )

    def _cell_config(self, train: bool) -> CellConfig:
        return CellConfig(self.cell, self.norm, self.eps, self.unbiased, train)

    def _at(self, times: jax.Array) -> dict[str, Moments]:
        """Running statistics of the given steps, with a leading time axis."""
        index = jnp.minimum(times, self.max_length - 1)
        return {part: jax.tree.map(lambda v: v[index], kept.value) for part, kept in self.running.items()}

    def _split(self, array: jax.Array) -> list[jax.Array]:
        """An array (..., blocks x width) by the parts that are summed together."""
        ends = [self.width * end for end in itertools.accumulate(SUM_SIZES[self.cell])]
        return jnp.split(array, ends[:-1], axis=-1)

    def _project(
        self, x: jax.Array, mask: jax.Array | None, running: dict[str, Moments], train: bool
    ) -> tuple[tuple, dict[str, Moments]]:
        """LN(W_x x) + b of all steps by part, (time, batch, size x width), and the statistics of the batch by part."""
        found, seen = [], {}
        normalised = [part for part in NORMALISED_SIZES[self.cell] if part.startswith("input")] or [""]
        for part, kernel, bias in zip(normalised, self._split(self.input_kernel), self._split(self.bias), strict=True):
            y = (x.reshape(-1, self.inputs) @ kernel.astype(x.dtype)).reshape(*x.shape[:2], kernel.shape[-1])
            if part not in self.affine:
                found.append(y + bias.astype(y.dtype)[None, None])
                continue
            gain, bias = self.affine[part]["gain"], self.affine[part]["bias"] + bias
            if self.norm == "layer":
                found.append(norms.layer_norm(y, gain, bias, self.eps, self.unbiased))
                continue
            if train:
                seen[part] = norms.batch_moments(y, mask)
            found.append(norms.batch_norm(y, seen[part] if train else running[part], gain, bias, self.eps))
        return tuple(found), seen

    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, carry: Carry | None = None, train: bool = False
    ) -> tuple[jax.Array, Carry]:
        """Outputs h (time, batch, width) and the last carry.

        Args:
          x: sequences (time, batch, inputs); time may be 0.
          mask: bool (time, batch); at other steps a case keeps its carry, and its output repeats h.
          carry: the first carry; by default `initial_carry`.
          train: batch norm takes the statistics of the batch and updates the collection `batch_stats`.

        Raises:
          BadInput: for shapes that do not fit.
        """
        return self._steps(x, mask, carry, train, jnp.arange(x.shape[0]) if x.ndim else jnp.arange(0))

    def step(
        self,
        carry: Carry,
        x: jax.Array,
        time: jax.Array | int = 0,
        mask: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[Carry, jax.Array]:
        """One step from x (batch, inputs): the new carry and the output h (batch, width), as decoders need them.

        `time` chooses the statistics of batch norm.
        """
        mask = None if mask is None else mask[None]
        outputs, carry = self._steps(x[None], mask, carry, train, jnp.asarray(time)[None])
        return carry, outputs[0]

    def _steps(
        self, x: jax.Array, mask: jax.Array | None, carry: Carry | None, train: bool, times: jax.Array
    ) -> tuple[jax.Array, Carry]:
        if x.ndim != 3 or x.shape[2] != self.inputs:
            raise BadInput(f"sequences need the shape (time, batch, {self.inputs}), not {x.shape}")
        if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != bool):
            raise BadInput(f"`mask` needs bool {x.shape[:2]}, not {mask.dtype} {mask.shape}")
        carry = self.initial_carry(x.shape[1], x.dtype) if carry is None else carry
        shapes = [state.shape for state in carry]
        if shapes != [(x.shape[1], self.width)] * len(self.learnt_carry):
            raise BadInput(f"the carry needs {len(self.learnt_carry)} x {(x.shape[1], self.width)}, not {shapes}")
        train = train and not self.is_initializing()
        running = self._at(times)
        projected, seen = self._project(x, mask, running, train)
        scan = ScanConfig(self.reverse, min(self.unroll, max(1, len(x))), self.remat, self.custom_backward)
        inputs = StepInputs(projected, mask, {} if train else running)
        kernels = tuple(self._split(self.recurrent_kernel.astype(x.dtype)))
        affine = {part: values for part, values in self.affine.items() if not part.startswith("input")}
        outputs, last, more = scan_cell(self._cell_config(train), scan, kernels, affine, carry, inputs)
        self._update(times, seen | more)
        return outputs, last

    def _update(self, times: jax.Array, seen: dict[str, Moments]) -> None:
        """Take the statistics of these steps (time, n) into the running ones, up to `max_length`."""
        for part, found in seen.items():
            kept = self.running[part]
            old = jax.tree.map(lambda v: v[jnp.minimum(times, self.max_length - 1)], kept.value)
            new = norms.update_running_moments(old, jax.lax.stop_gradient(found), self.momentum, self.unbiased)
            # Steps beyond the last are dropped.
            kept.value = jax.tree.map(lambda v, n: v.at[times].set(n, mode="drop"), kept.value, new)


class Bidirectional(nn.Module):
    """Two layers over the same sequences, the second from the end: outputs (time, batch, 2 width), forward first."""

    forward: RecurrentLayer
    backward: RecurrentLayer

    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, carry: Sequence | None = None, train: bool = False
    ) -> tuple[jax.Array, tuple[Carry, Carry]]:
        """Outputs, and both last carries; the first ones may be given in the same order."""
        if self.forward.reverse or not self.backward.reverse:
            raise BadInput("of two directions the first runs forward and the second has reverse=True")
        starts = (None, None) if carry is None else carry
        one, last = self.forward(x, mask, starts[0], train)
        other, end = self.backward(x, mask, starts[1], train)
        return jnp.concatenate([one, other], axis=-1), (last, end)
