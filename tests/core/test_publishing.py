"""Publishing: what is refused, what is merged, that it is all or nothing, and that edits and changes are seen."""

import dataclasses
import functools
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core import files
from core.errors import BadInput, Unfinished
from core.papers.config import PaperConfig, Tuning
from core.publishing.publish import (
    CURRENT,
    EDITED,
    VERDICTS_CHANGED,
    PublishableRun,
    ledger_entries,
    publish,
    published,
    published_states,
    remake_verdicts,
)
from core.runs import measurements
from tests.published_runs import CONFIG, SVG, candidate, contents, published_run, rows, standing, state


def test_a_finished_run_is_published(tmp_path):
    folder = published_run(tmp_path)
    assert folder == tmp_path / "demo" / "laptop"
    assert [path.name for path in folder.parent.iterdir()] == ["laptop"]
    assert set(contents(folder)) == {
        "measurements.csv.gz", "arrays.npz", "claims.json", "provenance.json", "figures/lenet-accuracy.svg",
    }  # fmt: skip
    pd.testing.assert_frame_equal(
        measurements.read_measurements(folder / "measurements.csv.gz"),
        measurements.sort_columns(rows("lenet", 2, density=21.1)),
    )
    assert list(measurements.read_arrays(folder / "arrays.npz")) == ["lenet/mask"]
    assert [claim["id"] for claim in files.read_json(folder / "claims.json")] == ["C1", "C2"]
    about = files.read_json(folder / "provenance.json")
    assert set(about) == {"studies", "files"}
    assert about["files"]["figures/lenet-accuracy.svg"] == files.sha256(SVG)
    study = about["studies"]["lenet"]
    assert (study["replicates"], study["settings"], study["figures"]) == (2, {"rate": 0.1}, ["accuracy"])
    assert study["identity"] == standing().identity.parts
    assert study["commit"] == "ab"
    assert state(tmp_path) == [("lenet", CURRENT, "")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overridden": ["rate", "width"]}, r"settings were overridden \(rate, width\)"),
        ({"dirty": True}, "made from uncommitted code"),
        ({"dirty": None}, "made from uncommitted code"),
    ],
)
def test_a_run_that_was_modified_is_refused(tmp_path, options, message):
    with pytest.raises(BadInput, match=message) as refusal:
        published_run(tmp_path, **options)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("dirty", [True, None])
def test_a_tree_that_is_not_committed_is_refused(tmp_path, dirty):
    with pytest.raises(BadInput, match="commit your changes first"):
        publish("demo", "laptop", [candidate(tmp_path)], CONFIG, tmp_path, dirty)


def test_nothing_to_publish_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no run to publish"):
        publish("demo", "laptop", [], CONFIG, tmp_path, dirty=False)
    absent = PublishableRun("lenet", tmp_path / "runs" / "x", 2, standing())
    with pytest.raises(BadInput, match=r"demo lenet: no run to publish; `encore run paper=demo study=lenet"):
        publish("demo", "laptop", [absent], CONFIG, tmp_path, dirty=False)


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ({"code": "c2"}, r"no longer current \(definition core\.parts\.f changed\)"),
        ({"jax": "1.1"}, r"no longer current \(jax 1\.0 -> 1\.1\)"),
        ({"verdicts": "v2"}, "made by other code"),
        ({"figures": "f2"}, "made by other code"),
    ],
)
def test_a_run_of_other_code_is_refused(tmp_path, now, message):
    stale = dataclasses.replace(candidate(tmp_path), current=standing(**now))
    with pytest.raises(BadInput, match=message):
        publish("demo", "laptop", [stale], CONFIG, tmp_path, dirty=False)


def test_missing_replicates_are_refused(tmp_path):
    short = dataclasses.replace(candidate(tmp_path), replicates=4)
    with pytest.raises(BadInput, match=r"of the 4 planned replicates these are missing: 2, 3;"):
        publish("demo", "laptop", [short], CONFIG, tmp_path, dirty=False)
    for number in (2, 3):
        files.write_json(short.folder / "replicates" / f"{number:06d}" / "done.json", {})
    with pytest.raises(BadInput, match="the run is not finished"):
        publish("demo", "laptop", [short], CONFIG, tmp_path, dirty=False)


def test_studies_published_earlier_are_kept(tmp_path):
    published_run(tmp_path, study="conv", claims=["C3"], replicates=3)
    folder = published_run(tmp_path)
    table = measurements.read_measurements(folder / "measurements.csv.gz")
    assert table.groupby("study", sort=False).size().to_dict() == {"lenet": 4, "conv": 6}
    assert set(measurements.read_arrays(folder / "arrays.npz")) == {"lenet/mask", "conv/mask"}
    assert [claim["id"] for claim in files.read_json(folder / "claims.json")] == ["C1", "C2", "C3"]
    assert {path.name for path in (folder / "figures").iterdir()} == {"lenet-accuracy.svg", "conv-accuracy.svg"}
    assert state(tmp_path) == [("lenet", CURRENT, ""), ("conv", CURRENT, "")]
    before = contents(folder)
    published_run(tmp_path)
    assert contents(folder) == before  # publishing again changes nothing


def test_a_study_that_left_the_config_is_dropped(tmp_path):
    published_run(tmp_path, study="conv", claims=["C3"])
    parts = {"studies": {"lenet": CONFIG.form.studies["lenet"]}, "claims": {"C1": CONFIG.form.claims["C1"]}}
    fewer = CONFIG.form.model_copy(update=parts)
    folder = publish("demo", "laptop", [candidate(tmp_path)], PaperConfig("demo", fewer), tmp_path, dirty=False)
    assert set(files.read_json(folder / "provenance.json")["studies"]) == {"lenet"}
    assert [claim["id"] for claim in files.read_json(folder / "claims.json")] == ["C1"]
    assert "figures/conv-accuracy.svg" not in contents(folder)


def tuning_config(**tune: Any) -> PaperConfig:
    """The same, where conv tunes a rate by accuracy."""
    written = {"setting": "learning_rate", "values": (0.1, 0.2, 0.4), "by": {"metric": "accuracy", "best": "max"}}
    study = CONFIG.form.studies["conv"]
    conv = study.model_copy(update={"tune": Tuning.model_validate({**written, **tune})})
    return PaperConfig("demo", CONFIG.form.model_copy(update={"studies": {**CONFIG.form.studies, "conv": conv}}))


def tuning_run(results: Path, accuracies: dict[float, float]) -> PublishableRun:
    run = candidate(results, study="conv", claims=())
    parts = [rows("conv", 2, learning_rate=rate).assign(value=value) for rate, value in accuracies.items()]
    measurements.write_measurements(run.verdict / "measurements.csv.gz", pd.concat(parts, ignore_index=True))
    return run


def test_the_winners_of_a_tuning_are_published_beside_it_and_kept(tmp_path):
    run = tuning_run(tmp_path, {0.1: 1.0, 0.2: 3.0, 0.4: 2.0})
    folder = publish("demo", "laptop", [run], tuning_config(), tmp_path, dirty=False)
    winners = {"conv": {"ticket": 0.2, "dense": 0.2}}
    assert files.read_json(folder / "winners.json") == winners
    assert "winners.json" in files.read_json(folder / "provenance.json")["files"]
    publish("demo", "laptop", [candidate(tmp_path)], tuning_config(), tmp_path, dirty=False)
    assert files.read_json(folder / "winners.json") == winners and state(tmp_path)[0] == ("lenet", CURRENT, "")
    files.write_json(folder / "winners.json", {"conv": {"ticket": 0.4, "dense": 0.2}})
    assert state(tmp_path) == [("*", EDITED, "winners.json changed")]
    assert not (published_run(tmp_path / "other") / "winners.json").exists()


def test_a_winner_at_the_edge_of_its_grid_is_not_published_unless_explained(tmp_path):
    run = tuning_run(tmp_path, {0.1: 1.0, 0.2: 2.0, 0.4: 3.0})
    with pytest.raises(
        BadInput, match=r"the winner of dense in conv, learning_rate=0\.4, lies at the edge of its grid"
    ):
        publish("demo", "laptop", [run], tuning_config(), tmp_path, dirty=False)
    assert not (tmp_path / "demo").exists()
    folder = publish("demo", "laptop", [run], tuning_config(edges={"all": "it diverges"}), tmp_path, dirty=False)
    assert files.read_json(folder / "winners.json") == {"conv": {"ticket": 0.4, "dense": 0.4}}


def test_conditions_of_one_study_do_not_leak_into_another(tmp_path):
    other = candidate(tmp_path, study="conv", claims=["C3"])
    measurements.write_measurements(other.verdict / "measurements.csv.gz", rows("conv", 2, step=100, query="a"))
    folder = publish("demo", "laptop", [candidate(tmp_path), other], CONFIG, tmp_path, dirty=False)
    parts = published.read_published(folder)
    assert list(parts["lenet"].table.columns) == ["study", "replicate", "arm", "density", "metric", "value"]
    assert list(parts["conv"].table.columns) == ["study", "replicate", "arm", "query", "step", "metric", "value"]
    assert parts["conv"].table["step"].tolist() == [100] * 4
    assert parts["conv"].table["value"].tolist() == [90.1, np.inf, 91.1, np.inf]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", range(11))
def test_a_killed_publication_leaves_the_old_one_or_the_new_one(tmp_path, monkeypatch, step):
    folder = published_run(tmp_path)
    old = contents(folder)
    run = candidate(tmp_path, code="c2")
    calls = iter(range(100))

    def dying(original):
        def call(*args, **kwargs):
            if next(calls) == step:
                raise Killed
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", dying(files.write_bytes))
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(published.shutil, "rmtree", dying(published.shutil.rmtree))
        killed = False
        try:
            publish("demo", "laptop", [run], CONFIG, tmp_path, dirty=False)
        except Killed:
            killed = True
    assert killed == (step < 10)  # two removals before, five files, two renames, one removal after
    published.recover_interrupted_write(folder)
    recorded = files.read_json(folder / "provenance.json")["studies"]["lenet"]["identity"]
    is_new = recorded == standing(code="c2").identity.parts
    assert is_new == (step >= 9)
    assert is_new or contents(folder) == old
    assert not published.find_edits(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["laptop"]


def test_one_publication_at_a_time(tmp_path):
    run = candidate(tmp_path)
    lock = tmp_path / "runs" / ".demo-laptop.publishing"
    with files.try_lock(lock, ""), pytest.raises(Unfinished, match="being published by another process"):
        publish("demo", "laptop", [run], CONFIG, tmp_path, dirty=False)


@pytest.mark.parametrize("name", ["claims.json", "arrays.npz", "figures/lenet-accuracy.svg", "measurements.csv.gz"])
def test_an_edit_by_hand_is_seen(tmp_path, name):
    folder = published_run(tmp_path)
    (folder / name).write_bytes((folder / name).read_bytes()[:-1] + b"?")
    assert state(tmp_path) == [("*", EDITED, f"{name} changed")]
    (folder / name).unlink()
    assert state(tmp_path) == [("*", EDITED, f"{name} is missing")]


def test_edits_of_names_numbers_and_provenance_are_seen(tmp_path):
    folder = published_run(tmp_path)
    table = folder / "measurements.csv.gz"
    text = gzip.decompress(table.read_bytes())
    table.write_bytes(gzip.compress(text, compresslevel=1, mtime=7))
    assert state(tmp_path) == [("lenet", CURRENT, "")]  # compressed again, the same numbers
    table.write_bytes(gzip.compress(text.replace(b"90.1", b"95.1")))
    (folder / "figures" / "extra.svg").write_bytes(SVG)
    assert state(tmp_path) == [("*", EDITED, "measurements.csv.gz changed; figures/extra.svg was added")]
    about = folder / "provenance.json"
    about.write_text(about.read_text().replace('"seconds": 130.0', '"seconds": 13.0'))
    assert "provenance.json changed" in state(tmp_path)[0][2]
    about.write_text("{")
    assert state(tmp_path) == [("*", EDITED, "provenance.json is missing or damaged")]


def test_what_was_edited_is_not_published_again_as_sound(tmp_path):
    folder = published_run(tmp_path, study="conv", claims=["C3"])
    (folder / "claims.json").write_text("[]")
    with pytest.raises(BadInput, match=r"demo/laptop was edited by hand \(claims.json changed\)"):
        published_run(tmp_path)
    assert (folder / "claims.json").read_text() == "[]"
    published_run(tmp_path, study="conv", claims=["C3"])  # replaces all that is there
    assert state(tmp_path) == [("conv", CURRENT, "")]


@pytest.mark.parametrize(
    ("now", "expected", "detail"),
    [
        ({"verdicts": "v2"}, VERDICTS_CHANGED, "verdicts"),
        ({"verdicts": "v2", "figures": "f2"}, VERDICTS_CHANGED, "verdicts, figures"),
        ({"code": "c2", "verdicts": "v2"}, "renew (3 min)", "definition core.parts.f changed"),
        ({"jax": "1.1"}, "renew (3 min)", "jax 1.0 -> 1.1"),
    ],
)
def test_the_check_says_what_changed(tmp_path, now, expected, detail):
    published_run(tmp_path)
    assert state(tmp_path, **now) == [("lenet", expected, detail)]


def test_the_check_of_a_study_that_left_the_config(tmp_path):
    published_run(tmp_path)
    (status,) = published_states(tmp_path, "demo", lambda scale, study: None)
    assert status == ("laptop", "lenet", "renew (3 min)", "the config has no such study", [])
    assert published_states(tmp_path, "other", lambda scale, study: None) == []


def test_runs_on_the_published_replicates_are_counted_once(tmp_path):
    first, second = standing().identity.name, standing(code="c2").identity.name
    lines = [
        {"identity": first, "first": 0, "count": 2, "date": "2025-01-01"},
        {"identity": first, "first": 0, "count": 2, "date": "2025-01-01"},  # the same again
        {"identity": second, "first": 1, "count": 1, "date": "2025-01-01"},
        {"identity": second, "first": 1000, "count": 2, "date": "2025-01-01"},  # fresh replicates
        {"identity": standing("conv").identity.name, "first": 0, "count": 2, "date": "2025-01-01"},
        {"identity": first.replace("demo-", "demo-lenet-"), "first": 0, "count": 2, "date": "2025-01-01"},
    ]
    ledger = tmp_path / "runs" / "ledger.jsonl"
    ledger.parent.mkdir()
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"identity": "demo')
    assert ledger_entries(ledger, "demo", "lenet", "laptop", 2) == sorted(
        [lines[0], lines[2]], key=lambda line: line["identity"]
    )
    folder = published_run(tmp_path)
    assert files.read_json(folder / "provenance.json")["studies"]["lenet"]["times_run"] == 2
    ledger.unlink()  # another machine: what the earlier publication knew is carried on
    published_run(tmp_path, code="c3")
    carried = files.read_json(folder / "provenance.json")["studies"]["lenet"]
    assert carried["times_run"] == 3
    assert [entry["date"] for entry in carried["ledger"]] == ["2025-01-01", "2025-01-01", "2025-01-02"]


def test_private_content_is_not_published(tmp_path):
    run = candidate(tmp_path)
    files.write_bytes(run.verdict / "figures" / "accuracy.svg", b"<text>/home/someone/x</text>")
    with pytest.raises(BadInput, match="figure accuracy of lenet holds an absolute path"):
        publish("demo", "laptop", [run], CONFIG, tmp_path, dirty=False)
    files.write_json(run.verdict / "claims.json", [{"id": "C1", "study": "lenet", "note": "see /srv/a/b"}])
    with pytest.raises(BadInput, match=r"claims\.json\[0\]\.note holds an absolute path"):
        publish("demo", "laptop", [run], CONFIG, tmp_path, dirty=False)
    assert not (tmp_path / "demo" / "laptop").exists()


def test_verdicts_and_figures_are_made_again_from_published_measurements(tmp_path):
    published_run(tmp_path, study="conv", claims=["C3"])
    folder = published_run(tmp_path)
    before = contents(folder)

    def now(scale, study):
        return standing(study, verdicts="v2" if study == "lenet" else "v1")

    def judge(study, table):
        assert set(table["study"]) == {"lenet"}
        return [{"id": "C2", "study": study, "verdict": "fails", "n": len(table)}]

    def draw(study, table, arrays):
        assert list(arrays) == ["mask"]
        return {"other": SVG}

    assert remake_verdicts(tmp_path, "demo", "laptop", CONFIG, now, judge, draw) == ["lenet"]
    after = contents(folder)
    assert [claim["id"] for claim in json.loads(after["claims.json"])] == ["C2", "C3"]
    assert json.loads(after["claims.json"])[0]["n"] == 4
    assert {name for name in after if name.startswith("figures")} == {
        "figures/lenet-other.svg",
        "figures/conv-accuracy.svg",
    }
    assert after["measurements.csv.gz"] == before["measurements.csv.gz"]
    assert after["arrays.npz"] == before["arrays.npz"]
    assert [status.state for status in published_states(tmp_path, "demo", now)] == [CURRENT, CURRENT]
    assert remake_verdicts(tmp_path, "demo", "laptop", CONFIG, now, judge, draw) == []
    assert contents(folder) == after


def test_rows_of_other_settings_are_not_judged_by_todays_claims(tmp_path):
    before = contents(folder := published_run(tmp_path))

    def refuse(*_):
        raise AssertionError("nothing is to be judged or drawn")

    for other in ({"rate": 0.2}, {"flags": {"jax_enable_x64": "true"}}):
        now = functools.partial(lambda scale, study, other: standing(study, verdicts="v2", **other), other=other)
        assert remake_verdicts(tmp_path, "demo", "laptop", CONFIG, now, refuse, refuse) == []
    assert contents(folder) == before
