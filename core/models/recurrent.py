"""Recurrent layers: Elman, LSTM and GRU cells with layer, batch or weight normalisation, and their run over time.

Sequences are time-major, (time, batch, features). In all cells one matrix product with h is followed by what works on
single cases, `combine`; what does not depend on h is computed for the whole sequence before the run. The backward pass
is written out for this structure: gradients of the recurrent kernel are one matrix product after the run instead of
one per step, and only the sums W_h h and the states are kept for it.
"""

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

# What is normalised, in units of the width: the place is the part of a name before the underscore.
PARTS = {
    "elman": {"sum": 1},
    "lstm": {"input": 4, "recurrent": 4, "cell": 1},
    "gru": {"input_gates": 2, "input_candidate": 1, "recurrent_gates": 2, "recurrent_candidate": 1},
}
BLOCKS = {"elman": 1, "lstm": 4, "gru": 3}
NORMS = ("none", "layer", "batch", "weight")
Normalise = Callable[[str, jax.Array], jax.Array]


def elman(normalise: Normalise, carry: Carry, sums: jax.Array, projected: jax.Array) -> Carry:
    """One step of a plain recurrent network (Ba et al. 2016, eq. 4), from W_h h and W_x x + b, each (batch, width)."""
    # h ← tanh(LN(W_h h + W_x x + b))
    return (jnp.tanh(normalise("sum", sums + projected)),)


def lstm(normalise: Normalise, carry: Carry, sums: jax.Array, projected: jax.Array) -> Carry:
    """One LSTM step (Ba et al. 2016, eqs. 20-22), from W_h h and LN(W_x x) + b, each (batch, 4 width)."""
    _, c = carry
    # [f i o g] = LN(W_h h) + LN(W_x x) + b
    f, i, o, g = jnp.split(normalise("recurrent", sums) + projected, 4, axis=-1)
    # c ← σ(f) ⊙ c + σ(i) ⊙ tanh(g)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    # h ← σ(o) ⊙ tanh(LN(c))
    return sigmoid(o) * jnp.tanh(normalise("cell", c)), c


def gru(normalise: Normalise, carry: Carry, sums: jax.Array, projected: jax.Array) -> Carry:
    """One GRU step (Ba et al. 2016, eqs. 16-19), from [U_zr h, U h] and [LN(W_zr x), LN(W x)] + b, (batch, 3 width)."""
    (h,) = carry
    # Split and not sliced: the gradient is a concatenation, not a sum of padded arrays.
    gates, candidate = jnp.split(sums, [2 * h.shape[-1]], axis=-1)
    gates_x, candidate_x = jnp.split(projected, [2 * h.shape[-1]], axis=-1)
    # [z r] = LN(U_zr h) + LN(W_zr x) + b
    z, r = jnp.split(normalise("recurrent_gates", gates) + gates_x, 2, axis=-1)
    # ĥ = tanh(LN(W x) + b + σ(r) ⊙ LN(U h))
    candidate = jnp.tanh(candidate_x + sigmoid(r) * normalise("recurrent_candidate", candidate))
    # h ← (1 - σ(z)) ⊙ h + σ(z) ⊙ ĥ
    return (h + sigmoid(z) * (candidate - h),)


CELLS = {"elman": elman, "lstm": lstm, "gru": gru}


class Kind(NamedTuple):
    """What of a layer is known when its program is compiled."""

    cell: str
    norm: str
    eps: float
    unbiased: bool
    train: bool


class Inputs(NamedTuple):
    """What one step is given besides the carry, or all steps with a leading time axis."""

    projected: jax.Array  # (batch, blocks x width)
    present: jax.Array | None  # bool (batch,): other cases keep their carry
    running: dict[str, Moments]  # statistics by which batch norm evaluates, by part


def combine(
    kind: Kind, affine: dict, carry: Carry, sums: jax.Array, inputs: Inputs
) -> tuple[Carry, dict[str, Moments]]:
    """The new carry from W_h h (batch, blocks x width), and the statistics of the batch by part."""
    seen: dict[str, Moments] = {}

    def normalise(part: str, x: jax.Array) -> jax.Array:
        if part not in affine:
            return x
        gain, bias = affine[part]["gain"], affine[part]["bias"]
        if kind.norm == "layer":
            return norms.layer_norm(x, gain, bias, kind.eps, kind.unbiased)
        moments = inputs.running.get(part)
        if kind.train:
            moments = seen[part] = norms.batch_moments(x, inputs.present)
        assert moments is not None
        return norms.batch_norm(x, moments, gain, bias, kind.eps)

    new = CELLS[kind.cell](normalise, carry, sums, inputs.projected)
    if inputs.present is not None:
        new = tuple(jnp.where(inputs.present[:, None], a, b) for a, b in zip(new, carry, strict=True))
    return new, seen


class How(NamedTuple):
    """How a run over time is compiled; results do not depend on it beyond rounding."""

    reverse: bool = False
    unroll: int = 1
    remat: bool = False
    written_out: bool = True


def run(kind: Kind, how: How, kernel: jax.Array, affine: dict, carry: Carry, inputs: Inputs) -> tuple:
    """All steps: outputs h (time, batch, width), the last carry, and the statistics of all steps.

    Args:
      kind: the cell.
      how: see `How`; `remat` computes the sums W_h h again in the backward pass instead of keeping them, and
        `written_out=False` leaves the backward pass to automatic differentiation (needed for forward mode).
      kernel: recurrent kernel (width, blocks x width).
      affine: gains and biases of the normalised parts.
      carry: the first carry.
      inputs: of all steps; may have no step at all.
    """
    if how.written_out:
        outputs, last, seen = _run(kind, how, kernel, affine, carry, inputs)
        return outputs, last, jax.lax.stop_gradient(seen)

    def step(carry: Carry, now: Inputs) -> tuple:
        carry, seen = combine(kind, affine, carry, carry[0] @ kernel, now)
        return carry, (carry[0], seen)

    body = jax.checkpoint(step) if how.remat else step
    last, (outputs, seen) = jax.lax.scan(body, carry, inputs, reverse=how.reverse, unroll=how.unroll)
    return outputs, last, jax.lax.stop_gradient(seen)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run(kind: Kind, how: How, kernel: jax.Array, affine: dict, carry: Carry, inputs: Inputs) -> tuple:
    return _run_forward(kind, how, kernel, affine, carry, inputs)[0]


def _run_forward(kind: Kind, how: How, kernel: jax.Array, affine: dict, carry: Carry, inputs: Inputs) -> tuple:
    def step(carry: Carry, now: Inputs) -> tuple:
        sums = carry[0] @ kernel
        carry, seen = combine(kind, affine, carry, sums, now)
        return carry, (carry, seen, None if how.remat else sums)

    last, (carries, seen, sums) = _scan(step, carry, inputs, how.reverse, how.unroll)
    return (carries[0], last, seen), (kernel, affine, carry, inputs, carries, sums)


def _run_backward(kind: Kind, how: How, kept: tuple, given: tuple) -> tuple:
    kernel, affine, first, inputs, carries, sums = kept
    d_outputs, d_last, _ = given  # statistics are constants
    before = tuple(_shifted(f, c, how.reverse) for f, c in zip(first, carries, strict=True))

    def step(carried: tuple, now: tuple) -> tuple:
        d_carry, d_affine = carried
        carry, sums, inputs, d_output = now
        sums = carry[0] @ kernel if sums is None else sums

        def local(affine: dict, carry: Carry, sums: jax.Array, projected: jax.Array) -> Carry:
            return combine(kind, affine, carry, sums, inputs._replace(projected=projected))[0]

        _, pull = jax.vjp(local, affine, carry, sums, inputs.projected)
        more, d_carry, d_sums, d_projected = pull((d_carry[0] + d_output, *d_carry[1:]))
        d_carry = (d_carry[0] + d_sums @ kernel.T, *d_carry[1:])
        return (d_carry, jax.tree.map(jnp.add, d_affine, more)), (d_sums, d_projected)

    start = d_last, jax.tree.map(jnp.zeros_like, affine)
    each = before, sums, inputs, d_outputs
    (d_first, d_affine), (d_sums, d_projected) = _scan(step, start, each, not how.reverse, how.unroll)
    # ∂L/∂W_h = Σ_t h_{t-1}ᵀ ∂L/∂(W_h h_{t-1}): one product over all steps and cases
    d_kernel = before[0].reshape(-1, kernel.shape[0]).T @ d_sums.reshape(-1, kernel.shape[1])
    return d_kernel, d_affine, d_first, Inputs(d_projected, None, jax.tree.map(jnp.zeros_like, inputs.running))


_run.defvjp(_run_forward, _run_backward)


def _scan(step: Callable, carry: Tree, each: Tree, reverse: bool, unroll: int) -> tuple:
    """`jax.lax.scan` that takes what the next step is given into the carry.

    XLA on a CPU may otherwise read it from the whole sequence inside of the step's arithmetic. Forward steps of an LSTM
    became a third quicker in the one case that was measured; gradients hardly did.
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


def _shifted(first: jax.Array, each: jax.Array, reverse: bool) -> jax.Array:
    """States before each step from those after it."""
    joined = [each, first[None]] if reverse else [first[None], each]
    return jnp.concatenate(joined)[1:] if reverse else jnp.concatenate(joined)[:-1]


class Recurrent(nn.Module):
    """A recurrent layer over sequences (time, batch, inputs); `step` runs it step by step.

    Attributes:
      cell: `elman`, `lstm` or `gru`.
      inputs: features per step.
      width: units H.
      norm: `none`, `layer`, `batch` (statistics per time step, Cooijmans et al. 2017) or `weight`.
      places: what is normalised, by default what is published for the cell: `sum` (elman), `input`, `recurrent` and
        `cell` (lstm), `input` and `recurrent` (gru). `("cell",)` is the LSTM of DRAW, normalised in tanh(LN(c)) alone.
      initial_gain: of layer and batch norm.
      forget_bias: initial bias of the LSTM's forget gate.
      learnt_start: the first carry is learnt instead of zero.
      max_length: steps with batch statistics of their own; later steps share those of the last.
      reverse: run from the last step to the first; outputs stay at their steps.
      unroll, remat, written_out: see `How`.
    """

    cell: str
    inputs: int
    width: int
    norm: str = "none"
    places: Sequence[str] | None = None
    initial_gain: float = 1.0
    forget_bias: float = 0.0
    learnt_start: bool = False
    max_length: int = 1
    momentum: float = 0.9
    eps: float = 1e-5
    unbiased: bool = False
    reverse: bool = False
    unroll: int = 1
    remat: bool = False
    written_out: bool = True
    input_init: nn.initializers.Initializer = nn.initializers.glorot_normal()
    recurrent_init: nn.initializers.Initializer = nn.initializers.orthogonal()
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Parameters: kernels, bias, gains and biases of normalised parts, the learnt carry; running statistics."""
        self._check()
        blocks = BLOCKS[self.cell]
        self.input_kernel = self._kernel("input", self.input_init, self.inputs)
        self.recurrent_kernel = self._kernel("recurrent", self.recurrent_init, self.width)
        self.bias = self.param("bias", self._initial_bias, (blocks * self.width,))
        parts = self._parts()
        self.affine = {part: self._affine(part, size) for part, size in parts.items()}
        self.running = {
            part: self.variable("batch_stats", part, norms.no_moments, (self.max_length, size), self.dtype)
            for part, size in parts.items()
            if self.norm == "batch"
        }
        states = ("h", "c") if self.cell == "lstm" else ("h",)
        zeros = nn.initializers.zeros
        self.first = [
            self.param(f"first_{name}", zeros, (self.width,), self.dtype) if self.learnt_start else None
            for name in states
        ]

    def _check(self) -> None:
        if self.cell not in CELLS:
            raise unknown_name("cell", self.cell, CELLS)
        if self.norm not in NORMS:
            raise unknown_name("norm", self.norm, NORMS)
        known = {part.split("_")[0] for part in PARTS[self.cell]}
        for place in self.places or ():
            if place not in known:
                raise unknown_name(f"place of the cell {self.cell}", place, known)
        for name in ("inputs", "width", "max_length", "unroll"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} of a recurrent layer is {getattr(self, name)}: at least 1 is needed")

    def _parts(self) -> dict[str, int]:
        """Names and sizes of the parts that are normalised."""
        if self.norm not in ("layer", "batch"):
            return {}
        chosen = [p for p in PARTS[self.cell] if self.places is None or p.split("_")[0] in self.places]
        return {part: PARTS[self.cell][part] * self.width for part in chosen}

    def _kernel(self, name: str, initial: nn.initializers.Initializer, inputs: int) -> jax.Array:
        """A kernel (inputs, blocks x width), each block drawn by itself; weight normalisation included."""

        def draw(key: jax.Array) -> jax.Array:
            keys = jax.random.split(key, BLOCKS[self.cell])
            return jnp.concatenate([initial(k, (inputs, self.width), self.dtype) for k in keys], axis=1)

        kernel = self.param(f"{name}_kernel", draw)
        if self.norm != "weight":
            return kernel
        return norms.weight_norm(kernel, self.param(f"{name}_gain", lambda _: norms.initial_lengths(kernel, None)))

    def _initial_bias(self, key: jax.Array, shape: tuple[int]) -> jax.Array:
        bias = jnp.zeros(shape, self.dtype)
        return bias.at[: self.width].set(self.forget_bias) if self.cell == "lstm" else bias

    def _affine(self, part: str, size: int) -> dict[str, jax.Array]:
        gain = nn.initializers.constant(self.initial_gain)
        return {
            "gain": self.param(f"{part}_gain", gain, (size,), self.dtype),
            "bias": self.param(f"{part}_bias", nn.initializers.zeros, (size,), self.dtype),
        }

    def start(self, batch: int, dtype: Any = None) -> Carry:
        """The first carry of a batch: zero or learnt, each (batch, width)."""
        dtype = dtype or self.dtype
        return tuple(
            jnp.zeros((batch, self.width), dtype)
            if first is None
            else jnp.broadcast_to(first.astype(dtype)[None], (batch, self.width))
            for first in self.first
        )

    def _kind(self, train: bool) -> Kind:
        return Kind(self.cell, self.norm, self.eps, self.unbiased, train)

    def _at(self, times: jax.Array) -> dict[str, Moments]:
        """Running statistics of the given steps, with a leading time axis."""
        index = jnp.minimum(times, self.max_length - 1)
        return {part: jax.tree.map(lambda v: v[index], kept.value) for part, kept in self.running.items()}

    def _project(
        self, x: jax.Array, present: jax.Array | None, running: dict[str, Moments], train: bool
    ) -> tuple[jax.Array, dict[str, Moments]]:
        """LN(W_x x) + b of all steps (time, batch, blocks x width), and the statistics of the batch by part."""
        steps, batch, _ = x.shape
        y = x.reshape(-1, self.inputs) @ self.input_kernel.astype(x.dtype)
        y = y.reshape(steps, batch, BLOCKS[self.cell] * self.width)
        seen, done, begin = {}, [], 0
        for part, size in PARTS[self.cell].items():
            if not part.startswith("input"):
                continue
            piece, begin = y[..., begin : begin + size * self.width], begin + size * self.width
            if part in self.affine:
                gain, bias = self.affine[part]["gain"], self.affine[part]["bias"]
                if self.norm == "layer":
                    piece = norms.layer_norm(piece, gain, bias, self.eps, self.unbiased)
                else:
                    if train:
                        seen[part] = norms.batch_moments(piece, present)
                    piece = norms.batch_norm(piece, seen[part] if train else running[part], gain, bias, self.eps)
            done.append(piece)
        y = jnp.concatenate(done, axis=-1) if done else y
        return y + self.bias.astype(y.dtype)[None, None], seen

    def __call__(
        self, x: jax.Array, present: jax.Array | None = None, carry: Carry | None = None, train: bool = False
    ) -> tuple[jax.Array, Carry]:
        """Outputs h (time, batch, width) and the last carry.

        Args:
          x: sequences (time, batch, inputs); time may be 0.
          present: bool (time, batch); at other steps a case keeps its carry, and its output repeats h.
          carry: the first carry; by default `start`.
          train: batch norm takes the statistics of the batch and updates the collection `batch_stats`.

        Raises:
          BadInput: for shapes that do not fit.
        """
        return self._steps(x, present, carry, train, jnp.arange(x.shape[0]) if x.ndim else jnp.arange(0))

    def step(
        self,
        carry: Carry,
        x: jax.Array,
        time: jax.Array | int = 0,
        present: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[Carry, jax.Array]:
        """One step from x (batch, inputs): the new carry and the output h (batch, width), as decoders need them.

        `time` chooses the statistics of batch norm.
        """
        present = None if present is None else present[None]
        outputs, carry = self._steps(x[None], present, carry, train, jnp.asarray(time)[None])
        return carry, outputs[0]

    def _steps(
        self, x: jax.Array, present: jax.Array | None, carry: Carry | None, train: bool, times: jax.Array
    ) -> tuple[jax.Array, Carry]:
        if x.ndim != 3 or x.shape[2] != self.inputs:
            raise BadInput(f"sequences need the shape (time, batch, {self.inputs}), not {x.shape}")
        if present is not None and (present.shape != x.shape[:2] or present.dtype != bool):
            raise BadInput(f"`present` needs bool {x.shape[:2]}, not {present.dtype} {present.shape}")
        carry = self.start(x.shape[1], x.dtype) if carry is None else carry
        shapes = [state.shape for state in carry]
        if shapes != [(x.shape[1], self.width)] * len(self.first):
            raise BadInput(f"the carry needs {len(self.first)} x {(x.shape[1], self.width)}, not {shapes}")
        train = train and not self.is_initializing()
        running = self._at(times)
        projected, seen = self._project(x, present, running, train)
        how = How(self.reverse, min(self.unroll, max(1, len(x))), self.remat, self.written_out)
        inputs = Inputs(projected, present, {} if train else running)
        kernel = self.recurrent_kernel.astype(x.dtype)
        affine = {part: values for part, values in self.affine.items() if not part.startswith("input")}
        outputs, last, more = run(self._kind(train), how, kernel, affine, carry, inputs)
        self._update(times, seen | more)
        return outputs, last

    def _update(self, times: jax.Array, seen: dict[str, Moments]) -> None:
        """Take the statistics of these steps (time, n) into the running ones, up to `max_length`."""
        for part, found in seen.items():
            kept = self.running[part]
            old = jax.tree.map(lambda v: v[jnp.minimum(times, self.max_length - 1)], kept.value)
            new = norms.running_moments(old, jax.lax.stop_gradient(found), self.momentum, self.unbiased)
            # Steps beyond the last are dropped.
            kept.value = jax.tree.map(lambda v, n: v.at[times].set(n, mode="drop"), kept.value, new)


class BothDirections(nn.Module):
    """Two layers over the same sequences, the second from the end: outputs (time, batch, 2 width), forward first."""

    forward: Recurrent
    backward: Recurrent

    def __call__(
        self, x: jax.Array, present: jax.Array | None = None, carry: Sequence | None = None, train: bool = False
    ) -> tuple[jax.Array, tuple[Carry, Carry]]:
        """Outputs, and both last carries; the first ones may be given in the same order."""
        if self.forward.reverse or not self.backward.reverse:
            raise BadInput("of two directions the first runs forward and the second has reverse=True")
        starts = (None, None) if carry is None else carry
        one, last = self.forward(x, present, starts[0], train)
        other, end = self.backward(x, present, starts[1], train)
        return jnp.concatenate([one, other], axis=-1), (last, end)
