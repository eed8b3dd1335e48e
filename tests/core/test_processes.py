"""Helpers that end with whoever started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core import kept
from core.processes import process_start
from tests.limits import machine_seconds

ROOT = Path(__file__).parents[2]
# Starts two helpers that would answer in a minute each.
POOL = "from core.kept import _find_each; from tests.core.test_processes import slow; list(_find_each(slow, 'abcd', 2))"


def slow(key: str) -> int:
    print(os.getpid(), flush=True)
    time.sleep(100)
    return 0


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + machine_seconds(20)
    while any(map(process_start, pids)):
        assert time.monotonic() < deadline, "they live on"
        time.sleep(0.05)


def test_a_process_is_told_from_a_later_one_of_its_number() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process_start(process.pid) == process_start(process.pid) != process_start(os.getpid()) != ""
    process.kill()
    wait_until_gone([process.pid])  # though nobody has asked for its exit code yet
    process.communicate()
    assert process_start(process.pid) == ""


def test_helpers_end_when_the_process_that_asked_them_is_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", POOL], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    helpers = [int(process.stdout.readline()) for _ in range(2)]
    assert all(map(process_start, helpers))
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until_gone(helpers)
    process.stdout.close()


def test_all_keys_are_checked_before_the_first_answer_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path))
    done: list[str] = []

    def check(key: str) -> None:
        done.append(f"check {key}")
        if key == "wrong":
            raise ValueError(key)

    def find(key: str) -> str:
        done.append(f"find {key}")
        return key

    with pytest.raises(ValueError, match="wrong"):
        kept.find_answers("words", {"right": "1", "wrong": "1"}, find, check=check)
    assert done == ["check right", "check wrong"] and not list(tmp_path.rglob("*.json"))
    kept.find_answers("words", {"right": "1"}, find, check=check)
    kept.find_answers("words", {"right": "1"}, find, check=check)
    assert done[2:] == ["check right", "find right"], "a kept answer was checked before"
