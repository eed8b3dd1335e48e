"""Time limits that follow the machine, so that a slow test fails, a deaf one ends, and a suite comes to a verdict.

Seconds in tests are those of a quiet machine of the kind that this project is checked on. `machine_seconds` says how
long they take on this machine now, beside whatever else runs on it.

- A test that takes too long fails with its stack, and its process goes on.
- A test that waits in compiled code, where nothing can be raised (a deadlock of virtual devices), ends its process with
  the stacks of all threads. Other processes then finish what they hold, and the session fails.
- A suite that takes too long is interrupted, and shows what it has found until then.
"""

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Generator

import pytest

TEST_SECONDS = 120.0  # of one phase of a test
DEAF_SECONDS = 600.0  # without hearing a signal
SUITE_SECONDS = 90 * 60.0
GRACE_SECONDS = 60.0  # to show what was found
CALIBRATION_SECONDS = 0.035  # of `_fixed_work` on a quiet machine
CALIBRATION_LASTS = 20.0

_calibrations: deque[float] = deque(maxlen=5)  # how many times longer the fixed work took
_calibrated_at = 0.0


def _fixed_work() -> int:
    return sum(number * number for number in range(500_000))


def slowness() -> float:
    """How many times longer than on a quiet machine of the usual kind work takes here now; at least 1.

    The highest of the newest calibrations: in a short one a busy machine can look quiet.
    """
    global _calibrated_at
    stale = time.monotonic() - _calibrated_at > CALIBRATION_LASTS
    while stale or len(_calibrations) < 3:
        started = time.monotonic()
        _fixed_work()
        _calibrated_at, stale = time.monotonic(), False
        _calibrations.append((_calibrated_at - started) / CALIBRATION_SECONDS)
    return max(1.0, *_calibrations)


def machine_seconds(seconds: float) -> float:
    """How long this machine takes now for what takes so many seconds on a quiet one."""
    return seconds * slowness()


def _stacks_beside(this: int) -> str:
    """Where all threads but one are."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"{names.get(number, number)}:\n{''.join(traceback.format_stack(frame))}"
        for number, frame in sys._current_frames().items()
        if number != this
    )


class TestLimits:
    """A plugin of pytest that bounds the phases of every test in this process."""

    def __init__(self) -> None:
        self.errors = os.dup(2)  # the terminal, before pytest captures what tests write

    def pytest_unconfigure(self) -> None:
        """Close what was opened."""
        os.close(self.errors)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Set-up has a limit of its own."""
        with self._limit(item, "setup"):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """The test itself."""
        with self._limit(item, "call"):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """What is cleared away."""
        with self._limit(item, "teardown"):
            return (yield)

    @contextlib.contextmanager
    def _limit(self, item: pytest.Item, when: str) -> Generator[None]:
        used, newest = 0.0, time.monotonic()

        def expire(*_: object) -> None:
            nonlocal used, newest
            self._watch()  # this process hears
            now = time.monotonic()
            used, newest = used + (now - newest) / slowness(), now
            if used > TEST_SECONDS:
                used *= 0.75  # a part again for what a failure clears away
                item.add_report_section(when, "stacks", _stacks_beside(threading.get_ident()))
                pytest.fail(f"it took longer than {TEST_SECONDS:g} s of a quiet machine")

        self._watch()
        before = signal.signal(signal.SIGALRM, expire)
        signal.setitimer(signal.ITIMER_REAL, TEST_SECONDS / 10, TEST_SECONDS / 10)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        faulthandler.dump_traceback_later(machine_seconds(DEAF_SECONDS), exit=True, file=self.errors)


class SuiteLimit:
    """A plugin of pytest for the process that shows the verdict: it interrupts a suite that takes too long."""

    def __init__(self) -> None:
        self.errors = os.dup(2)  # the terminal, before pytest captures what tests write
        self.ended = threading.Event()
        self.counting = threading.Thread(target=self._count, daemon=True)

    def pytest_sessionstart(self) -> None:
        """Begin to count."""
        self.counting.start()

    def pytest_unconfigure(self) -> None:
        """The session is over."""
        self.ended.set()
        if self.counting.is_alive():
            self.counting.join()
        os.close(self.errors)

    def _count(self) -> None:
        """Add up seconds of a quiet machine, then interrupt as Ctrl-C does, and end the process if it does not hear."""
        used, pause = 0.0, min(30.0, SUITE_SECONDS / 10)
        while used < SUITE_SECONDS:
            if self.ended.wait(pause):
                return
            used += pause / slowness()
        os.write(self.errors, f"\nthe suite took longer than {SUITE_SECONDS:g} s of a quiet machine\n".encode())
        os.kill(os.getpid(), signal.SIGINT)
        if not self.ended.wait(machine_seconds(GRACE_SECONDS)):
            faulthandler.dump_traceback(file=self.errors)
            os._exit(2)


def install_limits(config: pytest.Config) -> None:
    """Bound the tests where they run, and the whole suite where its verdict is shown."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SuiteLimit())
        if getattr(config.option, "maxworkerrestart", "given") is None:
            # A new process would take up the very test that ended the first, again and again, and can wait for a second
            # test that never comes: instead the session ends with what the other processes still hold.
            config.option.maxworkerrestart = "0"
    config.pluginmanager.register(TestLimits())
