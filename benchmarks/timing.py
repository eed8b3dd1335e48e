"""Taking turns, commands by the clock and by their processors, and lines through what they took."""

import os
import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Times = dict[str, dict[str, list[float]]]
PAUSE = 0.1  # seconds between two runs, for idle threads to fall asleep


def take_turns(
    runs: Mapping[str, Callable[[], Mapping[str, float]]],
    rounds: int,
    limits: Mapping[str, int] | None = None,
    pause: float = PAUSE,
) -> Times:
    """What every run measures in every round, by measure and run; each round begins with another run.

    Args:
      runs: each returns what it measured, by name.
      limits: fewer rounds for some runs, the first ones.
    """
    found: Times = {}
    for turn in range(rounds):
        names = [name for name in runs if turn < (limits or {}).get(name, rounds)]
        shift = turn % max(1, len(names))
        for name in [*names[shift:], *names[:shift]]:
            for measure, value in runs[name]().items():
                found.setdefault(measure, {each: [] for each in runs})[name].append(value)
            time.sleep(pause)
    return found


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Quotients, round by round, of the rounds that both took part in."""
    return [a / b for a, b in zip(above, below, strict=False)]


def time_command(*commands: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """Seconds of commands, one after the other: of the clock, and of the processors, on which a busy machine has less
    influence. Processors are counted of all processes that were started and waited for."""
    before, begun = _processor_seconds(), time.perf_counter()
    for words in commands:
        done = subprocess.run(
            words, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=1800, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return {"clock": time.perf_counter() - begun, "processors": _processor_seconds() - before}


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fit_line(counts: Sequence[float], seconds: Sequence[float]) -> dict[str, float]:
    """Least squares: seconds = start + each · count; and the largest residual."""
    each, start = np.polyfit(counts, seconds, 1)
    residual = np.abs(np.polyval([each, start], counts) - seconds).max()
    return {"start": float(start), "each": float(each), "largest residual": float(residual)}


def fit_exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The power p with which seconds grow: log seconds = p · log size + constant, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
