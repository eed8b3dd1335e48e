"""Networks in the NTK parametrisation, their tangent kernels, and descent on the square error."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from core.kernels import duals
from core.kernels.dynamics import check_learning_rate
from core.kernels.empirical import empirical_ntk
from core.kernels.infinite import fully_connected_kernels
from core.models.ntk import NTKNetwork, StandardNetwork

if TYPE_CHECKING:
    from experiments.ntk.settings import NetworkSettings

Tree = Any


def network(settings: "NetworkSettings", width: int) -> NTKNetwork:
    """f(x; θ) with L affine maps, hidden layers of one width and one output."""
    return NTKNetwork((width,) * (settings.depth - 1), bias_std=settings.bias)


def standard_network(settings: "NetworkSettings", width: int) -> NTKNetwork:
    """The same functions in the standard parametrisation: W ~ N(0, 1/n_l), b ~ N(0, β²), and no factors."""
    return StandardNetwork((width,) * (settings.depth - 1), bias_std=settings.bias)


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


def circle(count: int) -> jax.Array:
    """(cos γ, sin γ) at equal distances from γ = 0 on, shape (count, 2)."""
    angles = 2 * np.pi * np.arange(count) / count
    return jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], 1), jnp.float32)


def product(x: jax.Array) -> jax.Array:
    """f*(x) = x1 x2, shape (n,)."""
    return x[:, 0] * x[:, 1]


def descend(net: NTKNetwork, rate: float, params: Tree, x: jax.Array, y: jax.Array) -> Tree:
    """One step of gradient descent on the whole training set."""
    # L(θ) = 1/2N Σ (f(x) - y)²;  θ ← θ - η ∇L(θ)
    gradient = jax.grad(lambda p: 0.5 * jnp.mean((value(net, p, x) - y) ** 2))(params)
    return jax.tree.map(lambda p, g: p - rate * g, params, gradient)


def check_rate(settings: Any, kernels: Any) -> None:
    """Refuse a learning rate at which descent with one of these kernels (n, N, N) diverges; shapes alone pass."""
    if not isinstance(kernels, jax.ShapeDtypeStruct):
        for kernel in np.asarray(kernels):
            check_learning_rate(settings.learning_rate, kernel)


def frobenius(kernel: jax.Array) -> jax.Array:
    """√Σ Θ², over the last two axes."""
    return jnp.sqrt(jnp.sum(kernel**2, (-2, -1)))
