"""The linearised network: its first-order Taylor expansion in the parameters (Lee et al. 2019, section 2.2)."""

from collections.abc import Callable
from typing import Any

import jax

from core.models.convolution import forward_mode

Apply = Callable[..., Any]  # (params, x) -> outputs, for instance the `apply` of a flax module


def linearise(apply: Apply, params: Any) -> Apply:
    """f(params', x) = f(params, x) + J(x) (params' - params), J the Jacobian at `params`."""

    def linearised(moved: Any, x: jax.Array) -> jax.Array:
        change = jax.tree.map(lambda new, old: new - old, moved, params)
        with forward_mode():
            value, slope = jax.jvp(lambda p: apply(p, x), (params,), (change,))
        return value + slope

    return linearised
