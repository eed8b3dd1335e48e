"""Toy points against scikit-learn and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import make_moons

from core.data.synthetic import rotate_points, two_moons


def test_moons_are_scikit_learns_and_turn_counter_clockwise() -> None:
    x, labels = two_moons(jax.random.key(0), 50, 0.0)
    expected, expected_labels = make_moons(50, shuffle=False, noise=None)
    np.testing.assert_allclose(x, expected, atol=1e-6)
    np.testing.assert_array_equal(labels, expected_labels)
    np.testing.assert_allclose(rotate_points(jnp.array([[1.0, 0.0], [0.0, 2.0]]), 90), [[0, 1], [-2, 0]], atol=1e-6)
    noisy = two_moons(jax.random.key(0), 2000, 0.05)[0] - two_moons(jax.random.key(0), 2000, 0.0)[0]
    assert float(noisy.std()) == pytest.approx(0.05, rel=0.05)
