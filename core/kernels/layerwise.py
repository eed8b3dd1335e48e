"""Layer-wise contraction of the tangent kernel, for networks whose parameters all sit in dense layers.

A dense layer maps a_i (n, inputs) to pre_io = Σ_k φ_ik(a) θ_ok, φ its input features: the scaled inputs, and a constant
where it has a bias. Hence ∂f_p(x)/∂θ_ok = δ_po(x) φ_k(x) with δ = ∂f/∂pre, and the layer's part of the kernel is
(δ_p(x)·δ_q(x')) (φ(x)·φ(x')): no Jacobian is ever formed. The layers are found by running the network under a flax
interceptor. Dense are `flax.linen.Dense`, `flax.linen.Einsum` as "bi,oi->bo" or "bi,io->bo", and every module that has
a method `parameter_derivatives(a)`, all on inputs of two axes, the first that of the batch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.kernels.linearisation import Apply

Calls = dict[str, list[tuple[jax.Array, jax.Array]]]  # by path of the layer: for each call δ (n, o, w) and φ (n, i)


class LayerInspection(NamedTuple):
    """Whether a network can be contracted layer by layer, and its size in numbers per input."""

    infeasible_reason: str  # why not; empty where it can
    input_size: int  # Σ over calls of the width of φ
    output_size: int  # Σ over calls of the width of pre


def layer_features(apply: Apply, params: Any, x: jax.Array) -> Calls:
    """δ by one pass back for each output, and φ, of every call of every dense layer."""

    def run(shifts: dict[str, list[jax.Array]]) -> tuple[jax.Array, dict[str, list[jax.Array]]]:
        seen: dict[str, list[jax.Array]] = {}

        def visit(layer: nn.Module, out: Callable[[], jax.Array], a: jax.Array) -> jax.Array:
            calls = seen.setdefault("/".join(layer.path), [])
            calls.append(_parameter_derivatives(layer, a))
            return out() + shifts["/".join(layer.path)][len(calls) - 1]

        return _intercept_dense_layers(apply, params, x, visit), seen

    zeros = jax.tree.map(
        lambda pre: jnp.zeros(pre.shape, pre.dtype), jax.eval_shape(partial(_outputs, apply), params, x)
    )
    value, pull, phi = jax.vjp(run, zeros, has_aux=True)
    units = jnp.eye(value.shape[1], dtype=value.dtype)
    (delta,) = jax.vmap(lambda unit: pull(jnp.broadcast_to(unit[None], value.shape)), out_axes=1)(units)
    return {path: list(zip(delta[path], phi[path], strict=True)) for path in phi}


def contract_layers(left: Calls, right: Calls, all_output_pairs: bool) -> jax.Array:
    """Θ from the features of both sides: (n1, n2, o, o) for `all_output_pairs`, else (n1, n2), the mean of Θ_oo."""
    total = jnp.zeros(())
    for path, calls in left.items():
        for delta1, phi1 in calls:
            for delta2, phi2 in right[path]:
                # Θ += (δ(x)·δ(x')) (φ(x)·φ(x')), also between two calls of one layer
                gram = phi1 @ phi2.T
                if all_output_pairs:
                    total += jnp.einsum("now,mpw->nomp", delta1, delta2) * gram[:, None, :, None]
                else:
                    total += jnp.einsum("now,mow->nm", delta1, delta2) / delta1.shape[1] * gram
    return total.transpose(0, 2, 1, 3) if all_output_pairs else total


def inspect_layers(apply: Apply, params: Any, single_input: jax.ShapeDtypeStruct) -> LayerInspection:
    """Whether every parameter sits in a dense layer, and how large these are, from shapes alone.

    `single_input` has the shape (1, ...).
    """
    batch = jax.ShapeDtypeStruct((3, *single_input.shape[1:]), single_input.dtype)  # an axis of 3 is told from others
    sizes = [0, 0]
    frozen = False

    def visit(layer: nn.Module, out: Callable[[], jax.Array], a: jax.Array) -> jax.Array:
        nonlocal frozen
        if frozen:
            return out()
        frozen = True
        value = jnp.asarray(layer.clone(parent=None, name=None).apply(jax.lax.stop_gradient(layer.variables), a))
        frozen = False
        sizes[0] += _parameter_derivatives(layer, a).shape[1]
        sizes[1] += value.shape[1]
        return value

    def tangent(p: Any, change: Any, x: jax.Array) -> jax.Array:
        return jax.jvp(lambda q: _intercept_dense_layers(apply, q, x, visit), (p,), (change,))[1]

    # With the parameters of dense layers held constant, a parameter whose change still enters acts elsewhere as well.
    jaxpr = jax.make_jaxpr(tangent)(params, params, batch).jaxpr
    used = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
    used |= {id(variable) for variable in jaxpr.outvars}
    paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(params)]
    changes = jaxpr.invars[len(paths) : 2 * len(paths)]
    outside = [path for path, variable in zip(paths, changes, strict=True) if id(variable) in used]
    infeasible = f"'{outside[0]}' acts outside dense layers on (batch, features)" if outside else ""
    return LayerInspection(infeasible, *sizes)


def _intercept_dense_layers(apply: Apply, params: Any, x: jax.Array, visit: Callable) -> jax.Array:
    """The network with every call of a dense layer replaced by what `visit(layer, call, inputs)` returns."""

    def interceptor(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        layer = context.module
        if context.method_name != "__call__" or not (args and _is_dense(layer) and args[0].shape[:-1] == x.shape[:1]):
            return call(*args, **kwargs)
        return visit(layer, lambda: call(*args, **kwargs), args[0])

    with nn.intercept_methods(interceptor):
        return apply(params, x)


def _outputs(apply: Apply, params: Any, x: jax.Array) -> dict[str, list[jax.Array]]:
    """The outputs of every call of every dense layer."""
    seen: dict[str, list[jax.Array]] = {}

    def visit(layer: nn.Module, out: Callable[[], jax.Array], a: jax.Array) -> jax.Array:
        seen.setdefault("/".join(layer.path), []).append(out())
        return seen["/".join(layer.path)][-1]

    _intercept_dense_layers(apply, params, x, visit)
    return seen


def _is_dense(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Einsum):
        return layer.einsum_str in ("bi,oi->bo", "bi,io->bo")
    return isinstance(layer, nn.Dense) or hasattr(layer, "parameter_derivatives")


def _parameter_derivatives(layer: Any, a: jax.Array) -> jax.Array:
    """φ(a): the derivative of one output by the parameters that feed it."""
    if not isinstance(layer, nn.Dense | nn.Einsum):
        return layer.parameter_derivatives(a)
    return jnp.concatenate([a, jnp.ones_like(a[:, :1])], 1) if layer.use_bias else a
