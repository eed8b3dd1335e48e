"""Timing of alternatives: turns, warm-up, agreement of results, ratios by round."""

import jax.numpy as jnp
import pytest

from core.lab.timing import assert_agreement, median_ratio, time_interleaved


def test_alternatives_take_turns_after_one_call_each():
    calls = []
    seconds = time_interleaved({name: lambda n=name: calls.append(n) or jnp.ones(2) for name in "ab"}, rounds=3)
    assert calls == ["a", "b", *"ab" * 3]
    assert {name: len(found) for name, found in seconds.items()} == {"a": 3, "b": 3}


def test_seconds_are_those_that_pass(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("core.lab.timing.time.perf_counter", lambda: clock[0])

    def takes(seconds):
        clock[0] += seconds

    found = time_interleaved({"slow": lambda: takes(3.0), "fast": lambda: takes(0.5)}, rounds=2)
    assert found == {"slow": [3.0, 3.0], "fast": [0.5, 0.5]}


def test_ratios_are_formed_round_by_round():
    assert median_ratio({"a": [2.0, 9.0, 8.0], "b": [1.0, 3.0, 2.0]}, "a", "b") == (3.0, 2.0, 4.0)


def test_results_must_agree():
    agreeing = {"a": {"x": jnp.ones(3)}, "b": {"x": jnp.ones(3) + 1e-7}}
    assert_agreement(agreeing, rtol=1e-6)
    with pytest.raises(AssertionError, match="b differs from a"):
        assert_agreement({**agreeing, "b": {"x": jnp.ones(3) * 1.01}}, rtol=1e-3)
    with pytest.raises((AssertionError, ValueError)):
        assert_agreement({"a": {"x": jnp.ones(3)}, "b": {"x": jnp.ones(3), "y": jnp.ones(1)}}, rtol=1e-3)
