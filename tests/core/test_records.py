"""Measurements and arrays in files: nothing is lost, and equal content gives equal bytes."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from core.lab import stages
from core.runs import measurements
from core.runs.folder import RunFolder

AWKWARD = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 100.0, 1e22, 2**-1074 * 3, np.inf, -np.inf]


def table(**columns) -> pd.DataFrame:
    return pd.DataFrame({"study": "s", "replicate": 0, "metric": "m", "value": 1.0, **columns})


def test_columns_stand_in_their_order(tmp_path):
    frame = table(step=[5], zeta=["z"], arm=["a"], alpha=[1.5])
    measurements.write_measurements(tmp_path / "m.csv.gz", frame)
    header = gzip.decompress((tmp_path / "m.csv.gz").read_bytes()).decode().splitlines()[0]
    assert header == "study,replicate,arm,alpha,zeta,step,metric,value"


def test_a_table_comes_back_as_it_was(tmp_path):
    frame = measurements.sort_columns(
        table(
            value=AWKWARD,
            arm=["a", "b"] * 5,
            density=[21.1, np.nan] * 5,
            draw=[0, 1] * 5,
            step=pd.array([10, None] * 5, "Int64"),
        )
    )
    measurements.write_measurements(tmp_path / "m.csv.gz", frame)
    back = measurements.read_measurements(tmp_path / "m.csv.gz")
    pd.testing.assert_frame_equal(back, frame, check_exact=True, check_dtype=False)
    assert np.signbit(back["value"][4]) and back["value"].dtype == np.float64 and back["step"].dtype == "Int64"


def test_every_double_survives(tmp_path):
    random = np.random.default_rng(0)
    values = random.standard_normal(5000) * 10.0 ** random.integers(-200, 200, 5000)
    measurements.write_measurements(tmp_path / "m.csv.gz", table(value=values))
    assert np.array_equal(measurements.read_measurements(tmp_path / "m.csv.gz")["value"], values)


@pytest.mark.parametrize("word", ["null", "nan", "NA", "None", "n/a", "inf", "a,b", 'a"b', "ünï", "x y"])
def test_words_stay_words(tmp_path, word):
    frame = table(arm=[word, "plain"], value=[1.0, 2.0])
    measurements.write_measurements(tmp_path / "m.csv.gz", frame)
    assert list(measurements.read_measurements(tmp_path / "m.csv.gz")["arm"]) == [word, "plain"]


def test_a_missing_word_is_missing(tmp_path):
    measurements.write_measurements(tmp_path / "m.csv.gz", table(arm=["a", None], value=[1.0, 2.0]))
    back = measurements.read_measurements(tmp_path / "m.csv.gz")
    assert back["arm"].isna().tolist() == [False, True]


def test_equal_tables_give_equal_bytes(tmp_path):
    first, second, third = (tmp_path / name for name in "abc")
    frame = table(value=AWKWARD, arm="a", draw=[0.0, np.nan] * 5, step=pd.array([1, None] * 5, "Int64"))
    measurements.write_measurements(first, frame)
    measurements.write_measurements(second, frame[list(reversed(frame.columns))])
    measurements.write_measurements(third, measurements.read_measurements(first))
    assert first.read_bytes() == second.read_bytes() == third.read_bytes()
    assert first.read_bytes()[4:8] == bytes(4), "the header holds no time"


def test_rows_come_back_with_infinite_values(tmp_path):
    rows = [
        {"arm": "a", "step": 3, "metric": "m", "value": 0.1},
        {"metric": "m", "value": float("inf")},
        {"metric": "m", "value": float("-inf")},
    ]
    measurements.write_rows(tmp_path / "rows.jsonl", rows)
    assert measurements.read_rows(tmp_path / "rows.jsonl") == rows
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["value"] for line in lines] == [0.1, "inf", "-inf"]


def test_the_rows_of_several_replicates_become_one_table(tmp_path, monkeypatch):
    monkeypatch.setenv("ENCORE_RESULTS", str(tmp_path))
    run = RunFolder("toy-fit-laptop-0")
    for number in (4, 5):
        row = {"arm": "a", "step": 7, "metric": "m", "value": number / 2}
        measurements.write_rows(
            run.replicate_folder(number) / "measurements.jsonl", [row, {"metric": "m", "value": float("inf")}]
        )
    found = measurements.collect_measurements(run, "fit", [5, 4])
    assert list(found.columns) == ["study", "replicate", "arm", "step", "metric", "value"]
    assert found["replicate"].tolist() == [5, 5, 4, 4] and found["value"].tolist() == [2.5, np.inf, 2.0, np.inf]
    assert found["step"].isna().tolist() == [False, True, False, True]


def test_arrays_come_back_and_give_equal_bytes(tmp_path):
    arrays = {"b": np.arange(6.0).reshape(2, 3), "a": np.array([True, False]), "c": np.float32(3.5)}
    measurements.write_arrays(tmp_path / "1.npz", arrays)
    measurements.write_arrays(tmp_path / "2.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    back = measurements.read_arrays(tmp_path / "1.npz")
    assert set(back) == set(arrays)
    assert all(np.array_equal(back[name], arrays[name]) and back[name].dtype == arrays[name].dtype for name in arrays)


def test_absent_arrays_are_none(tmp_path):
    assert measurements.read_arrays(tmp_path / "none.npz") == {}


def test_pickled_objects_are_neither_written_nor_read(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        measurements.write_arrays(tmp_path / "a.npz", {"a": np.array([{}], dtype=object)})
    np.savez(tmp_path / "b.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        measurements.read_arrays(tmp_path / "b.npz")


def test_kept_arrays_of_several_replicates_are_stacked(tmp_path, monkeypatch):
    monkeypatch.setenv("ENCORE_RESULTS", str(tmp_path))
    run = RunFolder("toy-fit-laptop-0")
    for number in (0, 1):
        stages.save_tree(run.replicate_folder(number) / "arrays.msgpack", {"end": np.full(3, number, np.float32)})
    found = measurements.collect_arrays(run, [1, 0])
    assert np.array_equal(found["end"], [[1, 1, 1], [0, 0, 0]])
    assert measurements.collect_arrays(run, [7]) == {}
