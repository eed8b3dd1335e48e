"""The only source of seconds: interleaved, warm and blocked timing of alternatives that compute the same thing."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np


def time_interleaved(alternatives: Mapping[str, Callable[[], Any]], rounds: int = 5) -> dict[str, list[float]]:
    """Seconds of every alternative in each of `rounds` rounds, the alternatives taking turns within a round.

    Each is called once first, so that compilation is not timed, and each call is blocked until its result is ready.
    """
    for call in alternatives.values():
        jax.block_until_ready(call())
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(rounds):
        for name, call in alternatives.items():
            started = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - started)
    return seconds


def assert_agreement(outputs: Mapping[str, Any], rtol: float, atol: float = 0.0) -> None:
    """Raise AssertionError unless all outputs, pytrees of arrays, agree with the first one."""
    (first, expected), *others = outputs.items()
    for name, found in others:
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
            np.testing.assert_allclose(np.asarray(b), np.asarray(a), rtol, atol, err_msg=f"{name} differs from {first}")


def median_ratio(seconds: Mapping[str, list[float]], of: str, to: str) -> tuple[float, float, float]:
    """Median, lowest and highest ratio `of`/`to`, formed round by round."""
    ratios = [a / b for a, b in zip(seconds[of], seconds[to], strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)
