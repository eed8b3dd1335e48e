"""Fully connected networks in the NTK parametrisation (Jacot et al. 2018, section 2), and their standard twin.

    pre_{l+1} = σ/√n_l W_l a_l + β b_l,  a_{l+1} = s(pre_{l+1}),  f = pre_L,  W and b ~ N(0, 1)

The standard twin draws the same functions: W ~ N(0, σ²/n_l) and b ~ N(0, β²), with no factor in front. Only its
gradients differ. Kernels are stored (outputs, inputs). Parameters take the dtype of the inputs.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp


class NTKDense(nn.Module):
    """An affine map on (batch, inputs) in the NTK parametrisation."""

    features: int
    weight_std: float = 1.0
    bias_std: float = 0.1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pre-activations (batch, features)."""
        normal = nn.initializers.normal(1.0)
        kernel = self.param("kernel", normal, (self.features, x.shape[-1]), x.dtype)
        bias = self.param("bias", normal, (self.features,), x.dtype)
        return jnp.einsum("bi,oi->bo", x * (self.weight_std / x.shape[-1] ** 0.5), kernel) + self.bias_std * bias[None]

    def parameter_derivatives(self, a: jax.Array) -> jax.Array:
        """The derivative of one output by the parameters that feed it: (batch, inputs + 1)."""
        return jnp.concatenate([a * (self.weight_std / a.shape[-1] ** 0.5), jnp.full_like(a[:, :1], self.bias_std)], 1)


class StandardDense(nn.Module):
    """The same affine map at initialisation, its scales in the initial values instead of in the map."""

    features: int
    weight_std: float = 1.0
    bias_std: float = 0.1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pre-activations (batch, features)."""
        weights = nn.initializers.normal(self.weight_std / x.shape[-1] ** 0.5)
        kernel = self.param("kernel", weights, (self.features, x.shape[-1]), x.dtype)
        bias = self.param("bias", nn.initializers.normal(self.bias_std), (self.features,), x.dtype)
        return jnp.einsum("bi,oi->bo", x, kernel) + bias[None]

    def parameter_derivatives(self, a: jax.Array) -> jax.Array:
        """The derivative of one output by the parameters that feed it: (batch, inputs + 1)."""
        return jnp.concatenate([a, jnp.ones_like(a[:, :1])], 1)


class NTKNetwork(nn.Module):
    """len(hidden) + 1 affine maps, which is the paper's depth L, with an activation after all but the last."""

    hidden: Sequence[int]
    outputs: int = 1
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    weight_std: float = 1.0
    bias_std: float = 0.1
    dense: type[nn.Module] = NTKDense

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Outputs (batch, outputs) of inputs (batch, features)."""
        for number, width in enumerate(self.hidden):
            x = self.activation(self._layer(width, f"dense_{number}")(x))
        return self._layer(self.outputs, "output")(x)

    def _layer(self, width: int, name: str) -> nn.Module:
        return self.dense(width, weight_std=self.weight_std, bias_std=self.bias_std, name=name)


class StandardNetwork(NTKNetwork):
    """The same network in the standard parametrisation."""

    dense: type[nn.Module] = StandardDense
