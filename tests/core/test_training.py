"""The forms of a loop and the freezing of what diverges, against plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.lab.loops import LoopState, all_finite, freeze_if_diverged, scan_block


def step(state, key, i, each, shared):
    return {"x": state["x"] * each + shared * i + jax.random.uniform(key), "n": state["n"] + 1}


STATE = {"x": jnp.array([1.0, -2.0]), "n": jnp.int32(0)}
KEY = jax.random.key(3)


def by_hand(state, first, length):
    for i in range(first, first + length):
        state = step(state, jax.random.fold_in(KEY, i), i, 0.5, 0.25)
    return state


def test_a_block_equals_its_steps_one_by_one():
    fresh = LoopState(STATE, jnp.int32(-1))
    found = jax.jit(scan_block(step, 4, 1))(fresh, KEY, 0.5, jnp.int32(7), 0.25)
    expected = by_hand(STATE, 7, 4)
    np.testing.assert_allclose(found.state["x"], expected["x"], rtol=1e-6)
    assert found.state["n"] == 4 and found.diverged_at == -1


def test_a_diverging_block_keeps_the_state_before_it():
    def doubling(state, key, i):
        return jnp.where(i == 2, jnp.nan, state * 2)

    run = jax.jit(scan_block(doubling, 2, 0))
    progress = LoopState(jnp.float32(1), jnp.int32(-1))
    seen = []
    for first in (0, 2, 4):
        progress = run(progress, KEY, jnp.int32(first))
        seen.append((float(progress.state), int(progress.diverged_at)))
    assert seen == [(4.0, -1), (4.0, 4), (4.0, 4)]


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_any_value_that_is_not_finite_is_divergence(value):
    before = LoopState({"a": jnp.zeros(2), "b": jnp.int32(1)}, jnp.int32(-1))
    found = freeze_if_diverged(before, {"a": jnp.array([0.5, value]), "b": jnp.int32(2)}, 30)
    assert found.state["a"].tolist() == [0, 0] and found.state["b"] == 1 and found.diverged_at == 30


def test_finite_means_every_float_and_nothing_else():
    assert all_finite({"a": jnp.ones(2), "n": jnp.array([2**31 - 1]), "k": jax.random.key(0), "b": jnp.array(True)})
    assert all_finite({"n": jnp.int32(1)}) and all_finite(())
    assert not all_finite({"a": jnp.ones(2), "b": jnp.array([1.0, jnp.nan], jnp.bfloat16)})
    assert not all_finite({"c": jnp.array([1 + jnp.inf * 1j])})
