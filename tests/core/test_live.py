"""Live rows: written while a replicate runs, read piece by piece, never in the way of a run."""

import json
from pathlib import Path

import numpy as np
import pytest

from core.runs.live import LiveReader, LiveWriter


def test_rows_are_read_once_as_they_come(tmp_path: Path) -> None:
    writer, reader = LiveWriter(tmp_path / "live", 2), LiveReader(tmp_path / "live")
    assert list(reader.new_rows()) == []
    writer.write("dense", 10, [2], {"loss": np.float32(0.5), "norm": np.float32(2.0)})
    assert list(reader.new_rows()) == [{"replicate": 2, "stage": "dense", "step": 10, "loss": 0.5, "norm": 2.0}]
    writer.write("dense", 20, [2], {"loss": np.float32(np.inf)})
    writer.write("ticket/1", 5, [2], {})
    assert list(reader.new_rows()) == [{"replicate": 2, "stage": "dense", "step": 20, "loss": np.inf}]
    assert list(reader.new_rows()) == []
    assert writer.path.name == "000002.jsonl"
    for line in writer.path.read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    writer.remove()
    assert not writer.path.exists() and list(reader.new_rows()) == []


def test_a_batch_is_a_line_per_replicate(tmp_path: Path) -> None:
    LiveWriter(tmp_path, 4).write("s", 1, [4, 9], {"loss": np.array([1.0, np.nan], np.float32)})
    one, other = LiveReader(tmp_path).new_rows()
    assert one == {"replicate": 4, "stage": "s", "step": 1, "loss": 1.0}
    assert other["replicate"] == 9 and np.isnan(other["loss"])


def test_half_a_line_of_a_killed_process_harms_no_other(tmp_path: Path) -> None:
    reader = LiveReader(tmp_path)
    LiveWriter(tmp_path, 0).write("s", 1, [0], {"loss": np.float32(1)})
    with (tmp_path / "000000.jsonl").open("a") as file:
        file.write('{"replicate": 0, "st')
    assert [row["step"] for row in reader.new_rows()] == [1]
    LiveWriter(tmp_path, 0).write("s", 2, [0], {"loss": np.float32(2)})
    (tmp_path / "foreign.jsonl").write_text(
        '[]\n{"replicate": 1}\n{"replicate": 0, "stage": "s", "step": 1, "x": {}}\n'
    )
    assert [row["step"] for row in reader.new_rows()] == [2]


def test_a_run_goes_on_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "live").write_text("a file where the folder should be")
    writer = LiveWriter(tmp_path / "live", 0)
    for step in range(2):
        writer.write("s", step, [0], {"loss": np.float32(1)})
    writer.remove()
