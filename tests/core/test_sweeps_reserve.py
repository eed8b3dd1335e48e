"""Cores for points side by side: never shared, given back, and waited for."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.planning.machine import available_cores
from core.sweeps.core_reservation import reserve_cores

HOLD = """
import sys, time
from core.sweeps.core_reservation import reserve_cores
with reserve_cores(1) as mine:
    print(mine, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path))


@pytest.mark.skipif(len(available_cores()) < 2, reason="needs two cores")
def test_processes_get_cores_of_their_own_and_the_next_one_waits() -> None:
    before, command = available_cores(), [sys.executable, "-c", HOLD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as running:
        others = [running.enter_context(subprocess.Popen(command, **pipes)) for _ in before]
        theirs = [json.loads(other.stdout.readline()) for other in others if other.stdout is not None]
        assert sorted(core for mine in theirs for core in mine) == before
        deadline = time.monotonic() + 0.5
        with reserve_cores(1, stopping=lambda: time.monotonic() > deadline) as mine:
            assert mine == [], "a core was shared"
        for other in others[:1]:
            assert other.stdin is not None
            other.stdin.write("\n")
            other.stdin.flush()
        with reserve_cores(1) as mine:
            assert mine == theirs[0] == available_cores(), "the core that was given back"
        assert available_cores() == before
        for other in others[1:]:
            assert other.stdin is not None
            other.stdin.write("\n")


def test_a_process_that_may_use_no_more_takes_what_it_has() -> None:
    before = sorted(os.sched_getaffinity(0))
    with reserve_cores(len(before)) as mine:
        assert mine == before == available_cores()
