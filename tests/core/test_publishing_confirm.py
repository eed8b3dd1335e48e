"""Replicates computed again by changed code: what they confirm, and what they do not."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core import files
from core.cli import check
from core.cli.main import main
from core.errors import DataMissing, Stopped
from core.paths import runs_folder
from core.publishing import recompute
from core.publishing.confirm import can_confirm, confirm_study
from core.publishing.publish import CURRENT, CurrentIdentities, compare_replicate, publish, published, published_states
from tests.published_runs import CONFIG, candidate, contents, published_run, rows, standing, state


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


def test_why_names_everything_on_lines_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published_run(tmp_path)

    def states(slugs: Any) -> dict[str, Any]:
        now = dataclasses.replace(standing(rate=0.2, code="c2"), settings={"rate": 0.2})
        return {"demo": published_states(tmp_path, "demo", lambda *_: now)}

    monkeypatch.setattr(check, "published_states", states)
    assert main(["check"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.endswith("renew (3 min)                    definition core.parts.f changed, setting rate 0.1 -> 0.2")
    assert main(["check", "--why"]) == 0
    line, *why = capsys.readouterr().out.splitlines()
    assert line.endswith("renew (3 min)")
    assert why == ["    definition core.parts.f changed", "    setting rate 0.1 -> 0.2"]


@pytest.fixture
def two_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two published studies whose code changed; the names of those of which a replicate was computed again."""
    monkeypatch.setenv("ENCORE_ROOT", str(tmp_path))
    monkeypatch.setenv("ENCORE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr("core.planning.machine.measure_gflops", lambda: 25.0)
    results = tmp_path / "results"
    computed: list[str] = []
    runs = [candidate(results, claims=("C1",)), candidate(results, study="conv", claims=("C2",))]
    publish("demo", "laptop", runs, CONFIG, results, dirty=False)

    def compute(config: Any, study: str, scale: str) -> tuple[Any, pd.DataFrame]:
        computed.append(study)
        assert runs_folder() == results / "runs" / "confirm" / "runs", "away from all runs"
        table = rows(study, 1, density=21.1)
        wrong = study == "lenet" and computed.count("lenet") == 1
        folder = runs_folder() / study
        files.write_json(folder / "done.json", {})
        about = SimpleNamespace(run=SimpleNamespace(folder=folder), numbers=(0,))
        return about, table.assign(value=table["value"] + 1) if wrong else table

    monkeypatch.setattr(recompute, "first_replicate", compute)
    return computed


def confirm_all() -> bool:
    def now(scale: str, study: str) -> CurrentIdentities:
        return standing(study, code="c2")

    return recompute.confirm_each(recompute.confirmable_studies(CONFIG, now), {"commit": "cd", "date": "2025-03-04"})


def test_the_cost_is_said_first_and_what_is_confirmed_is_not_computed_again(
    two_studies: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """60 seconds of one replicate on a machine half as fast, and 5 to start it; one differs, which stops no other."""
    assert confirm_all() is True
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "to confirm 2 studies, one replicate of each is computed again: 2 min"
    assert lines[:2] == ["  demo laptop lenet: 1 min", "  demo laptop conv: 1 min"]
    assert "demo lenet: replicate 0 computed again, 1 of 2 rows differ" in lines
    assert "demo conv: replicate 0 computed again, 0 of 2 rows differ" in lines
    kept = tmp_path / "results" / "runs" / "confirm" / "runs"
    assert [path.name for path in kept.iterdir()] == ["lenet"], "what differs is not computed once more to be seen"
    assert confirm_all() is False
    assert two_studies == ["lenet", "conv", "lenet"]
    assert confirm_all() is False and len(two_studies) == 3
    assert capsys.readouterr().out.count("to confirm") == 1


def test_a_signal_stops_and_other_faults_do_not(
    two_studies: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faults: list[Exception] = [DataMissing("no data"), Stopped("stopped; the same command goes on from here")]

    def fail(*_: Any) -> Any:
        raise faults.pop(0)

    monkeypatch.setattr(recompute, "first_replicate", fail)
    with pytest.raises(Stopped):
        confirm_all()
    assert "demo laptop lenet: no data" in capsys.readouterr().out


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
