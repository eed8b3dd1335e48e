"""Tangent kernels of finite networks: Θ(x, x')_{op} = ∂f_o(x)·∂f_p(x') over all parameters (Jacot et al. 2018, eq. 4).

Three ways give the same numbers at different costs (after Novak et al. 2022). For N points, o outputs, P parameters,
F operations of one forward pass and layers of width w_l:

- `jacobian` contracts Jacobians: N² o² P operations, N o P numbers in memory.
- `products` multiplies columns of the identity by the kernel, J(x) (J(x')ᵀ e), each one pass back and one forward:
  N² o F operations, P numbers.
- `layers` contracts layer by layer, which needs every parameter to sit in a dense layer on (batch, features):
  Θ = Σ_l (δ_l(x)·δ_l(x')) (a_l(x)·a_l(x')), δ_l the derivative by the outputs of layer l and a_l its inputs; N² o² w_l
  operations, N o w_l numbers. A layer may be used several times.

Inputs are cut into blocks so that what a way holds at a time stays below a bound; of a symmetric kernel only blocks
on and above the diagonal are computed. `apply` treats its inputs independently of each other (no batch statistics).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from core.errors import BadInput, unknown
from core.kernels import layers
from core.kernels.linear import Apply

Outputs = Literal["all", "trace"] | int
GIB = 2.0**30


class Way(NamedTuple):
    """A kernel as a contraction of features of its inputs: `features(apply, params, x, outputs)`, then `contract`."""

    features: Callable[[Apply, Any, jax.Array, Outputs], Any]
    contract: Callable[[Apply, Any, Any, Any, Outputs], jax.Array]


@dataclass(frozen=True)
class Cost:
    """What one way costs: floating-point operations, GiB held beside parameters and inputs, points in a block."""

    flops: float
    gib: float
    block: int
    refused: str = ""  # why this way is not possible


@dataclass(frozen=True)
class Estimate:
    """The cost of every way, and the cheapest possible one."""

    costs: dict[str, Cost]
    choice: str

    def __str__(self) -> str:
        """One line per way."""
        return "\n".join(
            f"{name:9} {cost.refused or f'{cost.flops / 1e9:10.3g} GFLOP {cost.gib:8.3g} GiB, blocks of {cost.block}'}"
            + (" (chosen)" if name == self.choice else "")
            for name, cost in self.costs.items()
        )


def empirical_ntk(
    apply: Apply,
    params: Any,
    x1: jax.Array,
    x2: jax.Array | None = None,
    *,
    method: str = "auto",
    outputs: Outputs = "all",
    memory_gib: float = 2.0,
) -> jax.Array:
    """The tangent kernel of `apply(params, x) -> (n, o)` between inputs x1 and x2.

    Args:
      apply: for instance `network.apply`; a new function object is compiled anew.
      params: any pytree of arrays, for instance the variables of a flax module.
      x1: inputs (n1, ...).
      x2: inputs (n2, ...), or None for x1 itself.
      method: "jacobian", "products", "layers", or "auto" for the cheapest that is possible (see `estimate`).
      outputs: "all" pairs of outputs, the number of one output, or "trace": the mean of Θ_oo over outputs o.
      memory_gib: bound on what is held beside parameters and inputs, the result included.

    Returns:
      (n1, n2, o, o) for "all" outputs, else (n1, n2).

    Raises:
      BadInput: for shapes that do not fit, a method that is not possible, or too little memory.
    """
    found = estimate(apply, params, x1, x2, outputs=outputs, memory_gib=memory_gib)
    if method not in ("auto", *WAYS):
        raise unknown("method", method, ("auto", *WAYS))
    name = found.choice if method == "auto" else method
    if not name or found.costs[name].refused:
        reasons = found.costs.items() if not name else [(name, found.costs[name])]
        possible = [other for other, cost in found.costs.items() if not cost.refused]
        hint = f"; possible: {', '.join(possible)}" if possible else ""
        raise BadInput("; ".join(f"{way}: {cost.refused}" for way, cost in reasons) + hint)
    return _blocked(name, apply, params, x1, x2, outputs, found.costs[name].block)


def estimate(
    apply: Apply,
    params: Any,
    x1: jax.Array,
    x2: jax.Array | None = None,
    *,
    outputs: Outputs = "all",
    memory_gib: float = 2.0,
) -> Estimate:
    """What `empirical_ntk` would cost each way, from shapes alone; arguments as there."""
    leaves, structure = jax.tree.flatten(jax.tree.map(_shape, params))
    return _estimate(
        apply, structure, tuple(leaves), _shape(x1), None if x2 is None else _shape(x2), outputs, memory_gib
    )


def _shape(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(array), jnp.result_type(array))


@lru_cache(maxsize=64)
def _estimate(
    apply: Apply,
    structure: Any,
    leaves: tuple[jax.ShapeDtypeStruct, ...],
    x1: jax.ShapeDtypeStruct,
    x2: jax.ShapeDtypeStruct | None,
    outputs: Outputs,
    memory_gib: float,
) -> Estimate:
    params = jax.tree.unflatten(structure, leaves)
    n1, n2 = x1.shape[0], (x1 if x2 is None else x2).shape[0]
    if x2 is not None and x1.shape[1:] != x2.shape[1:]:
        raise BadInput(f"inputs must be alike, not {x1.shape} and {x2.shape}")
    one = jax.ShapeDtypeStruct((1, *x1.shape[1:]), x1.dtype)
    result = jax.eval_shape(apply, params, one)
    if result.ndim != 2:
        raise BadInput(f"a network must give (n, outputs), not {result.shape} for one input")
    o = result.shape[1]
    if isinstance(outputs, int) and not 0 <= outputs < o:
        raise BadInput(f"the network has outputs 0 to {o - 1}, and not {outputs}")
    if isinstance(outputs, str) and outputs not in ("all", "trace"):
        raise unknown("outputs", outputs, ("all", "trace"))
    seen = 1 if isinstance(outputs, int) else o  # outputs that are differentiated
    pairs = o**2 if outputs == "all" else seen  # and pairs of them that are contracted
    size = sum(leaf.size for leaf in leaves)
    forward = (jax.jit(apply).lower(params, one).cost_analysis() or {}).get("flops", 2.0 * size)
    dense = layers.survey(apply, params, one)
    width = dense.inputs + dense.outputs
    points, product = n1 + n2, 2.0 * n1 * n2 * pairs
    # Operations; numbers held whatever the block; numbers held for each point of a block.
    amounts = {
        "jacobian": (points * (1 + 2 * seen) * forward + product * size, 0, 2 * seen * size),
        "products": (n2 * seen * (2 + 2 * n1) * forward, 3 * size, 8 * seen * width),
        "layers": (points * (1 + seen) * forward + product * dense.outputs, size // 2, 3 * (1 + seen) * width),
    }
    kept = n1 * n2 * (o**2 if outputs == "all" else 1)
    item, longest = result.dtype.itemsize / GIB, max(n1, n2)
    costs = {}
    for name, (flops, fixed, each) in amounts.items():
        each = 2 * each + 3 * pairs * min(n1, n2)
        block = min(longest, int((memory_gib / item - kept - fixed) // each))
        gib = item * (kept + fixed + max(block, 1) * each)
        refused = dense.refused if name == "layers" else ""
        if not refused and block < 1:
            refused = f"needs {gib:.3g} GiB even in blocks of one point, more than memory_gib={memory_gib:g}"
        costs[name] = Cost(flops, gib, max(block, 1), refused)
    possible = {name: cost.flops for name, cost in costs.items() if not cost.refused}
    return Estimate(costs, min(possible, key=possible.__getitem__) if possible else "")


def _blocked(
    name: str, apply: Apply, params: Any, x1: jax.Array, x2: jax.Array | None, outputs: Outputs, block: int
) -> jax.Array:
    """The kernel from blocks of inputs; those below the diagonal of a symmetric kernel are transposed copies."""
    features, contract = WAYS[name]
    other = x1 if x2 is None else x2
    rows = []
    for i, one in enumerate(_cut(x1, block)):
        left, row = features(apply, params, one, outputs), []
        for j, two in enumerate(_cut(other, block)):
            if x2 is None and j < i:
                row.append(_transposed(rows[j][i]))
                continue
            right = left if x2 is None and j == i else features(apply, params, two, outputs)
            row.append(contract(apply, params, left, right, outputs))
        rows.append(row)
    if len(rows) == len(rows[0]) == 1:
        return rows[0][0]
    return jnp.concatenate([jnp.concatenate(row, 1) for row in rows])


def _cut(x: jax.Array, block: int) -> Iterator[jax.Array]:
    return (x[start : start + block] for start in range(0, len(x), block))


def _transposed(kernel: jax.Array) -> jax.Array:
    """Θ(x', x) from Θ(x, x'): points exchanged, and outputs where there are any."""
    return kernel.swapaxes(0, 1) if kernel.ndim == 2 else kernel.transpose(1, 0, 3, 2)


def _chosen(apply: Apply, outputs: Outputs) -> Apply:
    """The network reduced to the outputs that are differentiated."""
    if isinstance(outputs, int):
        return lambda params, x: apply(params, x)[:, outputs : outputs + 1]
    return apply


def _reduced(kernel: jax.Array, outputs: Outputs) -> jax.Array:
    """The shape that was asked for, from (n1, n2, o, o)."""
    if outputs == "all":
        return kernel
    return jnp.trace(kernel, axis1=2, axis2=3) / kernel.shape[-1]


_compiled = partial(jax.jit, static_argnames=("apply", "outputs"))


@_compiled
def _jacobian(apply: Apply, params: Any, x: jax.Array, outputs: Outputs) -> Any:
    """J(x): for every parameter array (n, o, size)."""
    network = _chosen(apply, outputs)
    found = jax.vmap(lambda one: jax.jacrev(lambda p: network(p, one[None])[0])(params))(x)
    return jax.tree.map(lambda leaf, p: leaf.reshape(*leaf.shape[: leaf.ndim - p.ndim], -1), found, params)


@_compiled
def _contract_jacobians(apply: Apply, params: Any, left: Any, right: Any, outputs: Outputs) -> jax.Array:
    # Θ = J(x) J(x')ᵀ
    form = "nop,mqp->nmoq" if outputs == "all" else "nop,mop->nm"
    first, *parts = (jnp.einsum(form, a, b) for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True))
    return sum(parts, first) / (1 if outputs == "all" else jax.tree.leaves(left)[0].shape[1])


def _inputs(apply: Apply, params: Any, x: jax.Array, outputs: Outputs) -> jax.Array:
    return x


@_compiled
def _multiply(apply: Apply, params: Any, left: jax.Array, right: jax.Array, outputs: Outputs) -> jax.Array:
    network = _chosen(apply, outputs)
    _, push = jax.linearize(lambda p: network(p, left), params)

    def columns(one: jax.Array) -> jax.Array:
        # Θ(x, x') e_p = J(x) (J(x')ᵀ e_p) for each output p: (o, n1, o)
        value, pull = jax.vjp(lambda p: network(p, one[None])[0], params)
        return jax.lax.map(lambda e: push(*pull(e)), jnp.eye(len(value), dtype=value.dtype))

    return _reduced(jax.lax.map(columns, right).transpose(2, 0, 3, 1), outputs)


@_compiled
def _layer_features(apply: Apply, params: Any, x: jax.Array, outputs: Outputs) -> Any:
    return layers.features(_chosen(apply, outputs), params, x)


@_compiled
def _contract_layers(apply: Apply, params: Any, left: Any, right: Any, outputs: Outputs) -> jax.Array:
    return layers.contract(left, right, outputs == "all")


WAYS = {
    "jacobian": Way(_jacobian, _contract_jacobians),
    "products": Way(_inputs, _multiply),
    "layers": Way(_layer_features, _contract_layers),
}
