"""Random keys by name: stable across additions, batches and processes."""

import subprocess
import sys

import jax
import numpy as np

from core.lab.keys import key_for, named_keys, replicate_keys
from core.lab.lab import Lab
from core.lab.replicas import ReplicateAxis
from tests.limits import machine_seconds

PRINTED = """
import jax
from core.lab.keys import key_for, replicate_keys
print(jax.random.key_data(key_for(replicate_keys("toy", "fit", [3])[0], "init")).tolist())
"""


def data(keys: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(keys))


def lab(numbers, folder) -> Lab:
    folders = [folder / str(number) for number in numbers]
    return Lab(numbers, folders, folder / "checkpoints", lambda name: {}, ReplicateAxis(len(numbers), "loop"))


def test_a_key_depends_on_paper_study_and_number_alone():
    together = data(replicate_keys("toy", "fit", [0, 1, 5]))
    assert np.array_equal(together[2], data(replicate_keys("toy", "fit", [5]))[0])
    others = [("toy", "fit", 1), ("toy", "fix", 0), ("toe", "fit", 0), ("toy", "fit", 1000)]
    assert all(not np.array_equal(together[0], data(replicate_keys(p, s, [n]))[0]) for p, s, n in others)


def test_keys_are_typed_with_one_axis():
    keys = replicate_keys("toy", "fit", [4, 2])
    assert keys.shape == (2,) and jax.numpy.issubdtype(keys.dtype, jax.dtypes.prng_key)


def test_another_draw_shifts_nothing():
    def draws(names):
        key = replicate_keys("toy", "fit", [0])[0]
        return {name: float(jax.random.normal(key_for(key, name))) for name in names}

    few, more = draws(["init", "order"]), draws(["new", "init", "newer", "order"])
    assert all(few[name] == more[name] for name in few)
    assert len(set(more.values())) == 4


def test_keys_by_name_over_a_batch_are_those_of_single_replicates(tmp_path):
    keys = replicate_keys("toy", "fit", [0, 1, 2])
    batched = data(named_keys(lab([0, 1, 2], tmp_path), keys, "init"))
    assert np.array_equal(batched, np.stack([data(key_for(key, "init")) for key in keys]))


def test_keys_are_equal_in_another_process():
    run = subprocess.run(
        [sys.executable, "-c", PRINTED], capture_output=True, text=True, check=True, timeout=machine_seconds(100)
    )
    assert run.stdout.strip() == str(data(key_for(replicate_keys("toy", "fit", [3])[0], "init")).tolist())


def test_keys_are_pinned():
    """Published results depend on them."""
    found = data(key_for(replicate_keys("lottery_ticket", "lenet", [0])[0], "init")).tolist()
    assert found == [3648558139, 1729123789]
