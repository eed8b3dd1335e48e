"""The script that holds accelerators against the CPU, tried on two virtual CPU devices."""

import json
import math
import os
from pathlib import Path

import pytest

from benchmarks import accelerators
from core.errors import EncoreError


def test_rows_apart() -> None:
    expected = {"a": 1.0, "b": 100.0, "c": math.inf, "d": 0.0, "e": 5.0}
    assert accelerators.compare_rows(expected, dict(expected)) == ([], 0.0)
    found = {"a": 1.01, "b": 103.0, "c": math.inf, "d": -0.015, "f": 5.0}
    apart, largest = accelerators.compare_rows(expected, found)
    assert apart == ["b", "e", "f"] and largest == pytest.approx(0.015)
    assert accelerators.compare_rows({"a": math.inf}, {"a": 1e9})[0] == ["a"]


def test_vmap_and_pmap_agree_with_the_cpu_on_two_virtual_devices(toy_root: Path) -> None:
    environment = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    about = accelerators.check_study("toy", "fit", environment, "smoke")
    assert about["rows"] > 10
    for axis in ("vmap", "pmap"):
        assert about[axis]["devices"] == 2 and about[axis]["rows_apart"] == 0, about
        assert about[axis]["steps_per_second"] > 0
        assert about[axis]["gib"] > 0
    json.dumps(about)


def test_a_study_that_fails_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoreError, match="nonsense"):
        accelerators.measure_elsewhere(["ntk", "nonsense", "loop", ""], dict(os.environ))


def test_without_an_accelerator_it_says_so() -> None:
    with pytest.raises(EncoreError, match="no accelerator is here"):
        accelerators.main(["ntk"])
