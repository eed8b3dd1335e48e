"""Tangent kernels of finite networks: Θ(x, x')_{op} = ∂f_o(x)·∂f_p(x') over all parameters (Jacot et al. 2018, eq. 4).

Three methods give the same numbers at different costs (after Novak et al. 2022). For N points, o outputs, P parameters,
F operations of one forward pass and layers of width w_l:

- `jacobian` contracts Jacobians: N² o² P operations, N o P numbers in memory.
- `products` multiplies columns of the identity by the kernel, J(x) (J(x')ᵀ e), each one pass back and one forward:
  N² o F operations, P numbers.
- `layers` contracts layer by layer, which needs every parameter to sit in a dense layer on (batch, features):
  Θ = Σ_l (δ_l(x)·δ_l(x')) (a_l(x)·a_l(x')), δ_l the derivative by the outputs of layer l and a_l its inputs; N² o² w_l
  operations, N o w_l numbers. A layer may be used several times.

Inputs are cut into blocks so that what a method holds at a time stays below a bound; of a symmetric kernel only blocks
on and above the diagonal are computed. `apply` treats its inputs independently of each other (no batch statistics).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from core.errors import BadInput, unknown_name
from core.kernels import layerwise
from core.kernels.linearisation import Apply
from core.models.convolution import forward_mode

Outputs = Literal["all", "trace"] | int
GIB = 2.0**30
MIN_TILE_ROWS = 128  # points times outputs; matrix products of fewer rows are slow


class KernelMethod(NamedTuple):
    """A kernel as a contraction of features of its inputs: pytrees whose leaves have the points as their first axis."""

    features: Callable[[Apply, Any, jax.Array, Outputs], Any]  # of apply, params, x, outputs
    contract: Callable[[Apply, Any, Any, Any, Outputs], jax.Array]  # of apply, params, both features, outputs
    tiles: int  # at most, in which a symmetric block is contracted: k of them save (k - 1)/2k of the operations


@dataclass(frozen=True)
class MethodCost:
    """What one method costs, and how the work is cut."""

    flops: float  # floating-point operations
    gib: float  # held beside parameters and inputs
    block: int  # points whose features are held at a time, of either side
    tiles: int  # of a block on the diagonal
    infeasible_reason: str = ""  # why this method is not possible; empty where it is


@dataclass(frozen=True)
class CostEstimate:
    """The cost of every method, and the name of the cheapest possible one, empty where none is."""

    costs: dict[str, MethodCost]
    cheapest: str

    def __str__(self) -> str:
        """One line per method."""
        lines = []
        for name, cost in self.costs.items():
            needs = f"{cost.flops / 1e9:10.3g} GFLOP {cost.gib:8.3g} GiB, blocks of {cost.block}"
            chosen = " (chosen)" if name == self.cheapest else ""
            lines.append(f"{name:9} {cost.infeasible_reason or needs}{chosen}")
        return "\n".join(lines)


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
      method: "jacobian", "products", "layers", or "auto" for the cheapest that is possible (see `estimate_cost`).
      outputs: "all" pairs of outputs, the number of one output, or "trace": the mean of Θ_oo over outputs o.
      memory_gib: bound on what is held beside parameters and inputs, the result included.

    Returns:
      (n1, n2, o, o) for "all" outputs, else (n1, n2).

    Raises:
      BadInput: for shapes that do not fit, a method that is not possible, or too little memory.
    """
    found = estimate_cost(apply, params, x1, x2, outputs=outputs, memory_gib=memory_gib)
    if method not in ("auto", *METHODS):
        raise unknown_name("method", method, ("auto", *METHODS))
    name = found.cheapest if method == "auto" else method
    if not name or found.costs[name].infeasible_reason:
        reasons = found.costs.items() if not name else [(name, found.costs[name])]
        possible = [other for other, cost in found.costs.items() if not cost.infeasible_reason]
        hint = f"; possible: {', '.join(possible)}" if possible else ""
        raise BadInput("; ".join(f"{each}: {cost.infeasible_reason}" for each, cost in reasons) + hint)
    return _compute_in_blocks(name, found.costs[name], apply, params, x1, x2, outputs)


def estimate_cost(
    apply: Apply,
    params: Any,
    x1: jax.Array,
    x2: jax.Array | None = None,
    *,
    outputs: Outputs = "all",
    memory_gib: float = 2.0,
) -> CostEstimate:
    """What `empirical_ntk` would cost by each method, from shapes alone; arguments as there."""
    if x2 is not None and x1.shape[1:] != x2.shape[1:]:
        raise BadInput(f"inputs must be alike, not {x1.shape} and {x2.shape}")
    n1, n2 = len(x1), len(x1 if x2 is None else x2)
    leaves, structure = jax.tree.flatten(jax.tree.map(_shape, params))
    found = _sizes(apply, structure, tuple(leaves), jax.ShapeDtypeStruct((1, *x1.shape[1:]), x1.dtype))
    o, size, width = found.outputs, found.parameters, found.layer_sizes.input_size + found.layer_sizes.output_size
    if isinstance(outputs, int) and not 0 <= outputs < o:
        raise BadInput(f"the network has outputs 0 to {o - 1}, and not {outputs}")
    if isinstance(outputs, str) and outputs not in ("all", "trace"):
        raise unknown_name("outputs", outputs, ("all", "trace"))
    seen = 1 if isinstance(outputs, int) else o  # outputs that are differentiated
    pairs = o**2 if outputs == "all" else seen  # and pairs of them that are contracted
    points = n1 if x2 is None else n1 + n2
    # Operations of features and of contraction; numbers held whatever the block, and for each of its points.
    amounts = {
        "jacobian": (points * (1 + 2 * seen) * found.forward, 2.0 * pairs * size, 0, 2 * seen * size),
        "products": (0, seen * (2 + 2 / n1) * found.forward, 3 * size, 8 * seen * width),
        "layers": (
            points * (1 + seen) * found.forward,
            2.0 * (pairs * found.layer_sizes.output_size + found.layer_sizes.input_size),
            size // 2,
            3 * (1 + seen) * width,
        ),
    }
    kept = n1 * n2 * (o**2 if outputs == "all" else 1)
    item = found.itemsize / GIB
    costs = {}
    for name, (flops, contraction, fixed, each) in amounts.items():
        each = 2 * each + 3 * pairs * min(n1, n2)
        block = min(max(n1, n2), int((memory_gib / item - kept - fixed) // each))
        gib = item * (kept + fixed + max(block, 1) * each)
        infeasible = found.layer_sizes.infeasible_reason if name == "layers" else ""
        if not infeasible and block < 1:
            infeasible = f"needs {gib:.3g} GiB even in blocks of one point, more than memory_gib={memory_gib:g}"
        tiles = max(1, min(METHODS[name].tiles, block * (o if outputs == "all" else 1) // MIN_TILE_ROWS, block))
        computed = (1 + block / n1 / tiles) / 2 if x2 is None else 1  # share of the pairs
        costs[name] = MethodCost(flops + n1 * n2 * computed * contraction, gib, max(block, 1), tiles, infeasible)
    possible = {name: cost.flops for name, cost in costs.items() if not cost.infeasible_reason}
    return CostEstimate(costs, min(possible, key=possible.__getitem__) if possible else "")


class NetworkSizes(NamedTuple):
    """What the costs of a network's kernel follow from."""

    outputs: int
    itemsize: int  # bytes of a number
    parameters: int
    forward: float  # operations for one input
    layer_sizes: layerwise.LayerInspection


@lru_cache(maxsize=64)
def _sizes(
    apply: Apply, structure: Any, leaves: tuple[jax.ShapeDtypeStruct, ...], one: jax.ShapeDtypeStruct
) -> NetworkSizes:
    params = jax.tree.unflatten(structure, leaves)
    result = jax.eval_shape(apply, params, one)
    if result.ndim != 2:
        raise BadInput(f"a network must give (n, outputs), not {result.shape} for one input")
    size = sum(leaf.size for leaf in leaves)
    flops = (jax.jit(apply).lower(params, one).cost_analysis() or {}).get("flops", 2.0 * size)
    return NetworkSizes(
        result.shape[1], result.dtype.itemsize, size, flops, layerwise.inspect_layers(apply, params, one)
    )


def _shape(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(array), jnp.result_type(array))


def _compute_in_blocks(
    name: str, cost: MethodCost, apply: Apply, params: Any, x1: jax.Array, x2: jax.Array | None, outputs: Outputs
) -> jax.Array:
    """The kernel from blocks of inputs, of a symmetric one only those on and below the diagonal."""
    method = METHODS[name]

    def part(i: int, j: int) -> jax.Array:
        if x2 is None and i == j:
            return _symmetric(name, cost.tiles, apply, params, right, outputs)
        return method.contract(apply, params, method.features(apply, params, rows[i], outputs), right, outputs)

    rows, columns = (_cut(x, cost.block) for x in (x1, x1 if x2 is None else x2))
    found: list[jax.Array] = []
    for j, two in enumerate(columns):
        right = method.features(apply, params, two, outputs)
        found.append(jnp.concatenate([part(i, j) for i in range(j if x2 is None else 0, len(rows))]))
    return _mirror_triangle(found) if x2 is None and len(found) > 1 else jnp.concatenate(found, 1)


@partial(jax.jit, static_argnames=("name", "tiles", "apply", "outputs"))
def _symmetric(name: str, tiles: int, apply: Apply, params: Any, features: Any, outputs: Outputs) -> jax.Array:
    """The kernel of points with themselves, from tiles on and below the diagonal."""
    n = len(jax.tree.leaves(features)[0])
    cuts = [n * k // tiles for k in range(1, tiles)]
    parts = [
        jax.tree.unflatten(jax.tree.structure(features), part)
        for part in zip(*(jnp.split(leaf, cuts) for leaf in jax.tree.leaves(features)), strict=True)
    ]
    found = [
        jnp.concatenate([METHODS[name].contract(apply, params, left, right, outputs) for left in parts[j:]])
        for j, right in enumerate(parts)
    ]
    return _mirror_triangle(found) if tiles > 1 else found[0]


def _mirror_triangle(columns: list[jax.Array]) -> jax.Array:
    """The symmetric matrix of which `columns` hold what is below the diagonal, each from its first point on."""
    starts = [len(columns[0]) - len(column) for column in columns]

    def above(i: int, j: int) -> jax.Array:  # of Θ(x, x'), points are exchanged, and outputs where there are any
        kernel = columns[i][starts[j] - starts[i] :][: columns[j].shape[1]]
        return kernel.swapaxes(0, 1) if kernel.ndim == 2 else kernel.transpose(1, 0, 3, 2)

    whole = [jnp.concatenate([*(above(i, j) for i in range(j)), column]) for j, column in enumerate(columns)]
    return jnp.concatenate(whole, 1)


def _cut(x: jax.Array, block: int) -> list[jax.Array]:
    return [x[start : start + block] for start in range(0, len(x), block)]


def _select_outputs(apply: Apply, outputs: Outputs) -> Apply:
    """The network reduced to the outputs that are differentiated."""
    if isinstance(outputs, int):
        return lambda params, x: apply(params, x)[:, outputs : outputs + 1]
    return apply


def _reduce_outputs(kernel: jax.Array, outputs: Outputs) -> jax.Array:
    """The shape that was asked for, from (n1, n2, o, o)."""
    if outputs == "all":
        return kernel
    return jnp.trace(kernel, axis1=2, axis2=3) / kernel.shape[-1]


_compiled = partial(jax.jit, static_argnames=("apply", "outputs"))


@_compiled
def _jacobian(apply: Apply, params: Any, x: jax.Array, outputs: Outputs) -> Any:
    """J(x): for every parameter array (n, o, size)."""
    network = _select_outputs(apply, outputs)
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
    network = _select_outputs(apply, outputs)
    with forward_mode():
        _, push = jax.linearize(lambda p: network(p, left), params)

    def columns(one: jax.Array) -> jax.Array:
        # Θ(x, x') e_p = J(x) (J(x')ᵀ e_p) for each output p: (o, n1, o)
        value, pull = jax.vjp(lambda p: network(p, one[None])[0], params)
        return jax.lax.map(lambda e: push(*pull(e)), jnp.eye(len(value), dtype=value.dtype))

    return _reduce_outputs(jax.lax.map(columns, right).transpose(2, 0, 3, 1), outputs)


@_compiled
def _layer_features(apply: Apply, params: Any, x: jax.Array, outputs: Outputs) -> Any:
    return layerwise.layer_features(_select_outputs(apply, outputs), params, x)


@_compiled
def _contract_layers(apply: Apply, params: Any, left: Any, right: Any, outputs: Outputs) -> jax.Array:
    return layerwise.contract_layers(left, right, outputs == "all")


METHODS = {
    "jacobian": KernelMethod(_jacobian, _contract_jacobians, tiles=4),
    "products": KernelMethod(_inputs, _multiply, tiles=2),
    "layers": KernelMethod(_layer_features, _contract_layers, tiles=4),
}
