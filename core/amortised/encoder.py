"""A Transformer encoder over the points of a data set, in which everything attends to the context alone.

Arrays are float32; B data sets of N points with F features. A context point is the token Wx + Vy, a query Wx: there is
no positional encoding, so the outputs do not depend on the order of the context. Source: Müller et al., "Transformers
Can Do Bayesian Inference" (2022), section 4 and appendix; zero-initialised branches as in its published code.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from core.errors import BadInput

MASKED_LOGIT = -1e30  # a logit that gets no attention; finite, so that no row turns into NaN


def context_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, context_size: jax.Array | int, max_context_size: int, first_query: int = 0
) -> jax.Array:
    """Attention of the points from `first_query` on to the context, and of those outside the context to themselves too.

    Args:
      q: queries (B, N, H, D); k, v: keys and values of the same shape.
      context_size: how many points are context, at most `max_context_size`; may be traced.
      max_context_size: how many keys and values are read; static, so that the others cost nothing.
      first_query: the first point that attends; static, so that those before it cost nothing.

    Returns:
      Values (B, N - first_query, H, D).
    """
    # heads before points, so that products are of whole matrices
    q, k, v = (jnp.swapaxes(part, 1, 2) for part in (q[:, first_query:] * q.shape[-1] ** -0.5, k, v))
    seen, given = jnp.arange(max_context_size) < context_size, jnp.arange(first_query, k.shape[2]) < context_size
    # logits: q·k/√D of the context, and in one further column of the point itself, unless it is context
    apart = jnp.where(seen[None, None, None], q @ jnp.swapaxes(k[:, :, :max_context_size], 2, 3), MASKED_LOGIT)
    self_ = jnp.where(given[None, None], MASKED_LOGIT, jnp.sum(q * k[:, :, first_query:], -1))
    top = jax.lax.stop_gradient(jnp.maximum(self_, apart.max(-1, initial=MASKED_LOGIT)))
    weights, weight = jnp.exp(apart - top[..., None]), jnp.exp(self_ - top)
    mixed = weights @ v[:, :, :max_context_size] + weight[..., None] * v[:, :, first_query:]
    return jnp.swapaxes(mixed / (weights.sum(-1) + weight)[..., None], 1, 2)


class EncoderLayer(nn.Module):
    """Attention and two affine maps, each added to its input and then normalised (post-LN); branches start at 0."""

    width: int
    heads: int
    hidden: int

    @nn.compact
    def __call__(
        self, h: jax.Array, context_size: jax.Array | int, max_context_size: int, first_query: int = 0
    ) -> jax.Array:
        """Tokens (B, N - first_query, width) from tokens (B, N, width)."""
        zero, batch = nn.initializers.zeros, len(h)
        split = (*h.shape[:2], 3, self.heads, self.width // self.heads)
        # affine maps of a matrix have gradients that are up to three times as fast
        qkv = nn.Dense(3 * self.width, name="qkv")(h.reshape(-1, self.width)).reshape(split)
        mixed = context_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], context_size, max_context_size, first_query)
        h, mixed = h[:, first_query:].reshape(-1, self.width), mixed.reshape(-1, self.width)
        h = nn.LayerNorm(name="norm_1")(h + nn.Dense(self.width, kernel_init=zero, name="out")(mixed))
        inner = nn.gelu(nn.Dense(self.hidden, name="up")(h), approximate=True)
        h = nn.LayerNorm(name="norm_2")(h + nn.Dense(self.width, kernel_init=zero, name="down")(inner))
        return h.reshape(batch, -1, self.width)


class TransformerEncoder(nn.Module):
    """The network: tokens, unrolled layers, and a decoder of two affine maps at the queries.

    Attributes:
      features: F of its inputs.
      width, layers, heads, hidden: sizes; `heads` divides `width`.
      outputs: numbers for each query.
      positions: adds a fixed encoding of the place of every point, which breaks the symmetry; a control.
    """

    features: int
    width: int
    layers: int
    heads: int
    hidden: int
    outputs: int
    positions: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        y: jax.Array,
        context_size: jax.Array | int,
        max_context_size: int | None = None,
        first_query: int | None = None,
    ) -> jax.Array:
        """Outputs (B, N - first, outputs) at the points from `first_query` on.

        Args:
          x: inputs (B, N, F).
          y: targets (B, N); those from `context_size` on are never read.
          context_size: how many points are context; may be traced if `max_context_size` and `first_query` are given.
          max_context_size: an upper bound of it, static; by default `context_size`.
          first_query: a lower bound of it, static: outputs at context points mean nothing; by default `context_size`.
        """
        max_context_size = int(context_size) if max_context_size is None else max_context_size
        first_query = int(context_size) if first_query is None else first_query
        given = jnp.arange(x.shape[1]) < context_size
        # tokens: Wx + w + [context] (Vy + v)
        h = nn.Dense(self.width, name="x")(x)
        h = h + jnp.where(given[None, :, None], nn.Dense(self.width, name="y")(y[..., None]), 0.0)
        if self.positions:
            h = h + jnp.sin(jnp.arange(x.shape[1])[:, None] / 10.0 ** jnp.linspace(0, 2, self.width)[None])[None]
        for number in range(self.layers):
            # of the last layer, only tokens of queries are needed
            start = first_query if number == self.layers - 1 else 0
            h = EncoderLayer(self.width, self.heads, self.hidden, name=f"layer_{number}")(
                h, context_size, max_context_size, start
            )
        asked = (h if self.layers else h[:, first_query:]).reshape(-1, self.width)
        asked = nn.gelu(nn.Dense(2 * self.width, name="decoder_1")(asked), approximate=True)
        return nn.Dense(self.outputs, name="decoder_2")(asked).reshape(len(x), -1, self.outputs)


def init_params(network: TransformerEncoder, key: jax.Array) -> dict:
    """Initial parameters, a nested dictionary: weights N(0, 1/inputs), those that end a branch 0, as all biases.

    They are cut from one draw, which compiles several times as fast as a draw for every layer.
    """
    x = jnp.zeros((1, 2, network.features))
    shapes = jax.eval_shape(lambda k: network.init(k, x, x[..., 0], 1)["params"], key)
    drawn = jax.random.normal(key, (sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)),))
    used = 0

    def one(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        nonlocal used
        *_, layer, part = (step.key for step in path)
        start, used = used, used + math.prod(leaf.shape)
        if part == "kernel" and layer not in ("out", "down"):
            return drawn[start:used].reshape(leaf.shape) * leaf.shape[0] ** -0.5
        return jnp.full(leaf.shape, 1.0 if part == "scale" else 0.0)

    return jax.tree_util.tree_map_with_path(one, shapes)


def flatten_params(params: dict) -> jax.Array:
    """All parameters in one row, (parameters,)."""
    return ravel_pytree(params)[0]


def unflatten_params(network: TransformerEncoder, row: jax.Array) -> dict:
    """The parameters of a network from one row; `BadInput` where their number is another."""
    flat, unravel = ravel_pytree(init_params(network, jax.random.key(0)))
    if row.shape != flat.shape:
        raise BadInput(f"the network has {flat.size} parameters, not {row.size}")
    return unravel(row)
