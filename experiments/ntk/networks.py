"""Networks in the NTK parametrisation, their tangent kernels, and descent on the square error."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from core.kernels import duals
from core.kernels.dynamics import check_learning_rate
from core.kernels.empirical import empirical_ntk
from core.kernels.infinite import fully_connected_kernels
from core.models.ntk import NTKNetwork

if TYPE_CHECKING:
    from experiments.ntk.settings import NetworkSettings

Tree = Any


class MeanFieldNetwork(NTKNetwork):
    """The network divided by √n. At n times the learning rate it moves as fast, but its hidden layers learn, too."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Outputs (batch, outputs) of inputs (batch, features)."""
        return NTKNetwork.__call__(self, x) / self.hidden[-1] ** 0.5


def network(settings: "NetworkSettings", width: int, kind: type[NTKNetwork] = NTKNetwork) -> NTKNetwork:
    """f(x; θ) with L affine maps, hidden layers of one width and one output."""
    return kind((width,) * (settings.depth - 1), bias_std=settings.bias)


def tangent(net: NTKNetwork, params: Tree, x: jax.Array) -> jax.Array:
    """Θ(x, x') = Σ_p ∂_p f(x) ∂_p f(x'), shape (n, n), contracted layer by layer."""
    apply: Any = net.apply
    return empirical_ntk(apply, params, x, method="layers", outputs=0)


def limit(
    settings: "NetworkSettings", x: jax.Array, dual: duals.DualActivation = duals.relu, depth: int = 0
) -> jax.Array:
    """Θ∞(x, x'), shape (n, n); of another depth where one is given."""
    kernels = fully_connected_kernels(x, depth=depth or settings.depth, activation=dual, bias_variance=settings.bias**2)
    return kernels.ntk


def value(net: NTKNetwork, params: Tree, x: jax.Array) -> jax.Array:
    """f(x), shape (n,)."""
    output: Any = net.apply(params, x)
    return output[:, 0]


def circle(angles: Any) -> jax.Array:
    """(cos γ, sin γ) at these angles, shape (count, 2); for a number, at as many from 0 on at equal distances."""
    angles = 2 * np.pi * np.arange(angles) / angles if isinstance(angles, int) else np.array(angles)
    return jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], 1), jnp.float32)


def descend(net: NTKNetwork, rate: float, params: Tree, x: jax.Array, y: jax.Array) -> Tree:
    """One step of gradient descent on the whole training set."""
    # L(θ) = 1/2N Σ (f(x) - y)²;  θ ← θ - η ∇L(θ)
    gradient = jax.grad(lambda p: 0.5 * jnp.mean((value(net, p, x) - y) ** 2))(params)
    return jax.tree.map(lambda p, g: p - rate * g, params, gradient)


def begin(net: NTKNetwork, key: jax.Array, x: jax.Array) -> tuple[Tree, jax.Array]:
    """A network at its start, its outputs f_0 and its tangent kernel Θ_0 at some points."""
    params = net.init(key, x)
    return {"params": params, "linear": value(net, params, x)}, tangent(net, params, x)


def train(
    net: NTKNetwork, rate: float, state: Tree, key: jax.Array, i: Any, x: Any, y: Any, kernel: Any, *further: Tree
) -> Tree:
    """One step of a network, and the same step of the linear equation that it is said to follow, first on X."""
    n, f = len(x), state["linear"]
    # f(·) ← f(·) - η/N Θ_0(·, X) (f(X) - y)
    linear = f - rate / n * kernel[:, :n] @ (f[:n] - y)
    return {"params": descend(net, rate, state["params"], x, y), "linear": linear}


def check_rate(rate: float, kernels: Any) -> None:
    """Refuse a learning rate at which descent with one of these kernels (n, N, N) diverges; shapes alone pass."""
    if not isinstance(kernels, jax.ShapeDtypeStruct):
        for kernel in np.asarray(kernels):
            check_learning_rate(rate, kernel)
