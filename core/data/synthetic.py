"""Made-up points of two dimensions, by keys: the toy problems of many papers."""

import math

import jax
import jax.numpy as jnp


def two_moons(key: jax.Array, points: int, noise: float) -> tuple[jax.Array, jax.Array]:
    """Two half circles that reach into each other, with Gaussian noise: points (n, 2) and labels (n,), n even."""
    angle = jnp.linspace(0, jnp.pi, points // 2)
    outer = jnp.stack([jnp.cos(angle), jnp.sin(angle)], 1)
    inner = jnp.stack([1 - jnp.cos(angle), 0.5 - jnp.sin(angle)], 1)
    x = jnp.concatenate([outer, inner])
    return x + noise * jax.random.normal(key, x.shape), jnp.repeat(jnp.arange(2), points // 2)


def rotate_points(x: jax.Array, degrees: float) -> jax.Array:
    """Points (n, 2) turned counter-clockwise about the origin."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return x @ jnp.array([[c, s], [-s, c]])
