"""Limits of time, and what is kept between test runs: in sessions of their own, with seconds for minutes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import caches, limits

CONFTEST = """
from tests import limits

limits.TEST_SECONDS, limits.DEAF_SECONDS, limits.SUITE_SECONDS, limits.GRACE_SECONDS = {seconds}
limits.CALIBRATION_SECONDS = 1e9  # however busy this machine is, it counts as a quiet one
pytest_configure = limits.install_limits
"""

TESTS = """
import signal
import threading
import time

import pytest

def wait():
    time.sleep(600)

def deafen():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # as in compiled code, where signals are not looked at

@pytest.fixture
def slow():
    wait()

@pytest.mark.parametrize("number", range(4))
def test_before(number):
    pass

def test_slow():
    threading.Thread(target=time.sleep, args=[600], name="helper", daemon=True).start()
    wait()

def test_slow_fixture(slow):
    pass

def test_caught():
    try:
        wait()
    except Exception:
        pass

def test_deaf():
    deafen()
    wait()

def test_endless():
    deafen()
    wait()

@pytest.mark.parametrize("number", range(4))
def test_after(number):
    pass
"""


def run_session(folder: Path, *words: str, seconds: tuple[float, ...]) -> tuple[int, str]:
    """A session of pytest on the tests above: its exit code, and what it shows."""
    (folder / "conftest.py").write_text(CONFTEST.format(seconds=seconds), encoding="utf-8")
    (folder / "test_them.py").write_text(TESTS, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    unset = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_CURRENT_TEST", "PYTEST_ADDOPTS")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limits.machine_seconds(100),
        check=False,
    )
    return done.returncode, done.stdout


def test_a_slow_test_fails_with_its_stack_and_the_others_go_on(tmp_path: Path) -> None:
    words = ("-n", "2", "-k", "not deaf and not endless")
    code, shown = run_session(tmp_path, *words, seconds=(0.5, 300.0, 300.0, 60.0))
    assert code == 1
    assert "2 failed, 8 passed, 1 error" in shown
    assert shown.count("Failed: it took longer than 0.5 s of a quiet machine") >= 3
    assert "time.sleep(600)" in shown and "helper:" in shown
    assert "crashed" not in shown


def test_a_deaf_test_ends_its_process_with_its_stack_and_the_session_fails(tmp_path: Path) -> None:
    code, shown = run_session(tmp_path, "-n", "2", "-k", "before or after or deaf", seconds=(300.0, 4.0, 300.0, 60.0))
    assert code == 1
    assert "crashed while running 'test_them.py::test_deaf'" in shown and "worker restarting disabled" in shown
    assert "Timeout (0:00:04)!" in shown and "in test_deaf" in shown


@pytest.mark.parametrize("words", [("-n", "2"), ()])
def test_a_suite_that_takes_too_long_is_interrupted_and_shows_what_it_found(tmp_path: Path, words: tuple) -> None:
    some = limits.machine_seconds(4)
    code, shown = run_session(tmp_path, *words, "-k", "before or endless", seconds=(300.0, 300.0, some, 60.0))
    assert code == 2
    assert "\nthe suite took longer than" in shown and "4 passed" in shown


def test_seconds_follow_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The highest of the newest calibrations counts, and a machine is never quicker than a quiet one."""
    factors, clock = iter([1.0, 4.0, 2.0, *[1.0] * 5, *[0.5] * 5]), [1000.0]

    def work() -> int:
        clock[0] += next(factors) * limits.CALIBRATION_SECONDS
        return 0

    monkeypatch.setattr(limits, "_calibrations", type(limits._calibrations)(maxlen=5))
    monkeypatch.setattr(limits, "_fixed_work", work)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    found = []
    for _ in range(8):
        found.append(round(limits.machine_seconds(10), 3))
        clock[0] += limits.CALIBRATION_LASTS / 2
        assert round(limits.machine_seconds(10), 3) == found[-1], "the calibration is new"
        clock[0] += limits.CALIBRATION_LASTS
    assert found == [40, 40, 40, 40, 20, 10, 10, 10]


# What is kept


def test_the_cache_is_the_first_folder_that_can_be_written_to(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(caches.VARIABLE)
    checkout, scratch, shared = tmp_path / "checkout", tmp_path / "scratch", tmp_path / "home" / "encore-tests"
    assert caches.choose_cache(checkout, scratch) == checkout / ".cache" and not shared.exists()
    shared.mkdir(parents=True)
    assert caches.choose_cache(checkout, scratch) == shared
    monkeypatch.setenv(caches.VARIABLE, str(tmp_path / "named"))
    assert caches.choose_cache(checkout, scratch) == tmp_path / "named"
    monkeypatch.setenv(caches.VARIABLE, "/dev/null/named")
    assert caches.choose_cache(checkout, scratch) == checkout / ".cache"
    (tmp_path / "file").touch()
    assert caches.choose_cache(tmp_path / "file", scratch) == scratch / "test-cache"


def test_what_is_kept_is_bounded_and_the_newest_stays(tmp_path: Path) -> None:
    for number in range(10):
        path = tmp_path / f"{number % 2}" / f"{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (1000 + number, 500))
    caches.bound_cache(tmp_path, 1000)
    assert len(list(tmp_path.glob("*/*"))) == 10
    caches.bound_cache(tmp_path, 999)
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["5", "6", "7", "8", "9"][1:]
