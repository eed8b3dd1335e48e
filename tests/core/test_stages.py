"""Results of stages on disk: what may be kept, what comes back, and what happens to damaged files."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from core.errors import BadInput
from core.lab import stages
from core.lab.stages import Checkpoint, StageStore


def store(folder: Path, *numbers: int) -> StageStore:
    return StageStore([folder / str(number) for number in numbers])


def load(folder: Path, *numbers: int) -> dict[str, Any]:
    found = store(folder, *numbers).load("s")
    assert found is not None
    return found


def tree(*values: float) -> dict[str, Any]:
    column = np.asarray(values, np.float32)
    return {"a": {"w": np.stack([column, -column], 1), "n": column.astype(np.int32)}, "z": column > 1}


def assert_equal(found, expected):
    assert found["z"].tolist() == expected["z"].tolist()
    assert found["a"]["n"].dtype == np.int32 and found["a"]["w"].dtype == np.float32
    assert all(np.array_equal(found["a"][name], expected["a"][name]) for name in ("w", "n"))


def test_what_is_kept_comes_back_for_any_batch(tmp_path):
    store(tmp_path, 0, 1, 2).save("s", tree(0, 1, 2))
    assert_equal(load(tmp_path, 2, 0), tree(2, 0))
    assert store(tmp_path, 2, 3).load("s") is None
    assert store(tmp_path, 0).load("other") is None


def test_small_dtypes_and_empty_arrays_survive(tmp_path):
    kept = {"half": jnp.ones((1, 2), jnp.bfloat16), "none": np.zeros((1, 0, 3)), "byte": np.uint8([[7]]), "empty": {}}
    store(tmp_path, 0).save("s", kept)
    found = load(tmp_path, 0)
    assert found["half"].dtype == jnp.bfloat16 and found["none"].shape == (1, 0, 3) and found["byte"].dtype == np.uint8
    assert found["none"].dtype == np.float64 and found["empty"] == {}


@pytest.mark.parametrize("damage", [b"", b"\x00", b"nonsense", b"\xc1", b"\x81\xa1a"])
def test_a_damaged_file_is_as_good_as_none(tmp_path, damage):
    path = tmp_path / "0" / "stages" / "s.msgpack"
    store(tmp_path, 0).save("s", tree(5))
    path.write_bytes(damage)
    assert store(tmp_path, 0).load("s") is None
    assert not path.exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_file_cut_short_is_as_good_as_none(tmp_path, share):
    path = tmp_path / "0" / "stages" / "s.msgpack"
    store(tmp_path, 0).save("s", tree(5))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert store(tmp_path, 0).load("s") is None


def test_a_file_with_a_changed_byte_is_as_good_as_none(tmp_path):
    path = tmp_path / "0" / "stages" / "s.msgpack"
    store(tmp_path, 0).save("s", tree(5))
    content = bytearray(path.read_bytes())
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 0x10
        path.write_bytes(changed)
        assert store(tmp_path, 0).load("s") is None, position


@pytest.mark.parametrize("name", ["dense", "ticket/15", "low/reinit/3/0", "a.b-c_d"])
def test_names_of_stages(name):
    assert stages.check_stage_name(name) == name


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "../a", "a/../b", "..", "A", "a b", "a\n", "ä"])
def test_names_that_would_leave_the_folder_or_confuse_it(name):
    with pytest.raises(BadInput, match="is not a valid stage name"):
        stages.check_stage_name(name)


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ([np.zeros(2)], "stage 's' must return a dictionary of arrays, not list"),
        (np.zeros(2), "not ndarray"),
        ({"a": [np.zeros(2)]}, "nested dictionaries of arrays only"),
        ({"a": (np.zeros(2), np.zeros(2))}, "nested dictionaries of arrays only"),
        ({1: np.zeros(2)}, "nested dictionaries of arrays only"),
        ({"a": np.zeros(3)}, "lacks the leading axis of 2 replicates"),
        ({"a": {"b": np.float32(1)}}, "['a']['b'] lacks the leading axis"),
        ({"a": 1.0}, "lacks the leading axis"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path, kept, said):
    with pytest.raises(BadInput) as caught:
        store(tmp_path, 0, 1).save("s", kept)
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_brings_back_any_pytree(tmp_path):
    checkpoint = Checkpoint(tmp_path / "c.msgpack", [3, 4])
    state: Any = ({"w": jnp.arange(12.0).reshape(2, 6)}, [jnp.array([1, 2]), None], jnp.ones((2, 1), bool))
    assert checkpoint.load(state) is None
    checkpoint.save(40, state)
    done, found = checkpoint.load(state) or (0, state)
    assert done == 40 and found[1][1] is None
    assert np.array_equal(found[0]["w"], state[0]["w"]) and found[1][0].tolist() == [1, 2]
    found[0]["w"][0] = 0  # can be written to
    checkpoint.remove()
    assert checkpoint.load(state) is None


def test_a_checkpoint_of_other_shapes_replicates_or_damaged_is_none(tmp_path):
    state = {"w": jnp.zeros((2, 3))}
    checkpoint = Checkpoint(tmp_path / "c.msgpack", [0, 2])
    checkpoint.save(10, state)
    assert checkpoint.load({"w": jnp.zeros((2, 4))}) is None
    assert checkpoint.load({"w": jnp.zeros((2, 3)), "b": jnp.zeros(2)}) is None
    assert Checkpoint(tmp_path / "c.msgpack", [0, 3]).load(state) is None
    assert checkpoint.load(state) is not None
    (tmp_path / "c.msgpack").write_bytes(b"\x07")
    assert checkpoint.load(state) is None
