"""The folder of a run: which replicates are finished, and the ledger of runs."""

import json

import pytest

from core import files
from core.runs.folder import RunFolder, append_to_ledger


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("ENCORE_RESULTS", str(tmp_path))
    return tmp_path


def test_a_replicate_is_finished_when_it_says_so():
    run = RunFolder("toy-fit-laptop-0")
    files.write_text(run.replicate_folder(0) / "measurements.jsonl", "")
    files.write_json(run.replicate_folder(2) / "done.json", {"seconds": 1.5})
    assert run.missing_replicates(range(4)) == [0, 1, 3] and run.is_finished(2)
    assert run.read_cost(2) == {"seconds": 1.5}


def test_folders_do_not_depend_on_how_many_replicates_there_are(results):
    run = RunFolder("toy-fit-laptop-0")
    assert run.replicate_folder(12) == results / "runs" / "toy-fit-laptop-0" / "replicates" / "000012"
    assert run.verdict_folder(range(1000, 1006)) == results / "runs" / "toy-fit-laptop-0" / "verdict" / "1000-6"


def test_the_ledger_grows_by_lines(results):
    for count in (1, 2):
        append_to_ledger({"identity": "x", "count": count})
    lines = (results / "runs" / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["count"] for line in lines] == [1, 2]
