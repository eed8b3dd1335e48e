"""Replicates computed again by changed code: what they confirm, and what they do not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core import files
from core.publishing.confirm import can_confirm, confirm_study
from core.publishing.publish import (
    CURRENT,
    compare_replicate,
    published,
)
from tests.published_runs import CONFIG, contents, published_run, rows, standing, state


def test_one_replicate_can_be_compared(tmp_path):
    folder = published_run(tmp_path)
    table = rows("lenet", 2, density=21.1)
    again = table[table["replicate"] == 1]
    assert compare_replicate(folder, "lenet", 1, again) == []
    moved = again.assign(value=again["value"] * (1 + 1e-6))
    assert compare_replicate(folder, "lenet", 1, moved) == [
        f"accuracy arm=ticket density=21.1: 91.1 published, {float(moved['value'].iloc[0])!r} now"
    ]
    assert compare_replicate(folder, "lenet", 1, moved, tolerance=1e-5) == []
    assert compare_replicate(folder, "lenet", 1, moved, ignored=["accuracy"]) == []
    renamed = again.replace({"arm": {"dense": "full"}})
    assert compare_replicate(folder, "lenet", 1, renamed) == [
        "accuracy arm=dense density=21.1: only published",
        "accuracy arm=full density=21.1: not published",
    ]


def confirmed(results: Path, again: pd.DataFrame) -> list[str]:
    about = {"commit": "cd", "date": "2025-03-04"}
    return confirm_study(results, "demo", "laptop", CONFIG, "lenet", standing(code="c2"), again, about)


def test_changed_code_that_computes_a_replicate_bit_by_bit_keeps_a_result_current(tmp_path):
    folder = published_run(tmp_path)
    before = contents(folder)
    table = rows("lenet", 2, density=21.1)
    assert confirmed(tmp_path, table[table["replicate"] == 1]) == []
    assert state(tmp_path, code="c2") == [("lenet", CURRENT, "by replicate 1, computed again on 2025-03-04")]
    assert state(tmp_path) == [("lenet", "renew (3 min)", "definition core.parts.f changed")]
    after = contents(folder)
    assert {name for name in after if after[name] != before[name]} == {"provenance.json"}
    about = files.read_json(folder / "provenance.json")["studies"]["lenet"]
    assert about["commit"] == "ab", "where the numbers come from stays as it was"
    entry = {"commit": "cd", "date": "2025-03-04", "replicate": 1, "rows": 2}
    entry["before"] = {"code": standing().identity.parts["code"]["digest"], "libraries": {"jax": "1.0"}}
    assert about["confirmed"] == [entry]
    assert published.find_edits(folder) == []


def test_a_row_that_differs_in_the_last_bit_confirms_nothing(tmp_path):
    folder = published_run(tmp_path)
    before = contents(folder)
    table = rows("lenet", 2, density=21.1)
    again = table[table["replicate"] == 0].assign(value=lambda found: np.nextafter(found["value"], 0))
    [line, _] = confirmed(tmp_path, again)
    assert line.startswith("accuracy arm=dense density=21.1: inf published, ")
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({"code": "c2"}, True),
        ({"code": "c2", "jax": "2.0"}, True),
        ({"rate": 0.2}, False),
        ({"code": "c2", "flags": {"jax_enable_x64": "true"}}, False),
        ({}, False),
    ],
)
def test_code_and_libraries_can_be_confirmed_but_no_other_settings_or_flags(tmp_path, now, expected):
    folder = published_run(tmp_path)
    assert can_confirm(published.read_provenance(folder)["lenet"], standing(**now)) == expected
    assert not can_confirm(published.read_provenance(folder)["lenet"], None)
