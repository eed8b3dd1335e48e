"""Work left out because nobody needs its result changes nothing: rows of the last layer that are no queries."""

import jax
import numpy as np
import pytest

from core.amortised import encoder


def full_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, context: int) -> np.ndarray:
    """One point after another, in NumPy."""
    found = np.zeros_like(v, float)
    for b, n, h in np.ndindex(q.shape[:3]):
        attended = [*range(context), *([n] if n >= context else [])]
        weights = np.exp(k[b, attended, h] @ q[b, n, h] / np.sqrt(q.shape[-1]))
        found[b, n, h] = weights / weights.sum() @ v[b, attended, h]
    return found


@pytest.mark.parametrize(("context", "size", "first"), [(4, 4, 4), (5, 7, 3), (2, 6, 0), (8, 8, 8)])
def test_attention_of_the_last_points_is_that_of_all_points(context: int, size: int, first: int) -> None:
    q, k, v = (np.asarray(jax.random.normal(key, (2, 9, 2, 4))) for key in jax.random.split(jax.random.key(5), 3))
    expected = full_attention(q, k, v, context)[:, first:]
    np.testing.assert_allclose(encoder.context_attention(q, k, v, context, size, first), expected, atol=2e-6)


@pytest.mark.parametrize("layers", [1, 3])
def test_outputs_at_queries_do_not_depend_on_what_else_is_computed(layers: int) -> None:
    network = encoder.TransformerEncoder(2, 16, layers, 4, 32, 5)
    keys = jax.random.split(jax.random.key(0), 3)
    params = encoder.init_params(network, keys[0])
    # Away from the start, where every branch is 0.
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)
    x, y = jax.random.normal(keys[1], (3, 9, 2)), jax.random.normal(keys[2], (3, 9))
    run = jax.jit(network.apply, static_argnames=("max_context_size", "first_query"))
    whole = run({"params": params}, x, y, 6, max_context_size=7, first_query=0)
    for first in (2, 6):
        found = run({"params": params}, x, y, 6, max_context_size=7, first_query=first)
        assert found.shape == (3, 9 - first, 5)
        np.testing.assert_allclose(found[:, 6 - first :], whole[:, 6:], atol=2e-5)
