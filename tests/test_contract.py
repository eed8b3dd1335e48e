"""What every paper keeps to, whoever wrote it: one row per config, nothing to register.

A paper brings its config, its experiment and `tests/papers/test_<slug>.py`, whose table PARAMETERS pins, for every
study at laptop and paper scale, the number of values in the state of the largest loop.
"""

import contextlib
import json
import math
import shutil
import subprocess
import sys
import typing
from collections import Counter
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core import files
from core.cli.main import main
from core.errors import BadInput
from core.judging import judge, verdicts
from core.judging.synthetic import synthetic_measurements
from core.launch import compose, jobs
from core.papers import contract
from core.papers.claims import SCALES, Claim
from core.papers.config import StudyForm, load_config, settings_classes
from core.papers.config_files import all_slugs
from core.papers.settings import settings_as_dict
from core.paths import project_root
from core.publishing import publish
from core.running import conclude
from core.runs import identity, measurements, published
from core.weights.export import export_networks, networks_of
from core.weights.loading import read_weights, weights_path
from tests.contract_runs import (
    SmokeRun,
    alike,
    compose_launch,
    config_of,
    entries,
    follow_trial,
    make_job,
    maths_test,
    run_smoke,
    smoke_groups,
)
from tests.limits import machine_seconds
from tests.toy import build_root, use_root

ROOT = project_root()
LARGE_SCALES = ("laptop", "paper")
MOST_PROGRAMS = 40  # that a smoke run compiles

each_paper = pytest.mark.parametrize("slug", all_slugs())
each_study = pytest.mark.parametrize(("slug", "study"), entries("studies"))
each_claim = pytest.mark.parametrize(("slug", "claim"), entries("claims"))
each_smoke_run = pytest.mark.parametrize(
    ("slug", "studies"), [pytest.param(slug, group, id=f"{slug}-{'-'.join(group)}") for slug, group in smoke_groups()]
)


# The config


@each_paper
def test_the_config_composes_at_every_scale(slug: str) -> None:
    """By Hydra to what is read without it."""
    for scale in SCALES:
        launch = compose_launch(slug, f"scale={scale}", "study=all")
        plain = [compose.default_launch(config_of(slug), scale, study).studies for study in config_of(slug).studies]
        assert [(chosen.study.name, chosen.settings, chosen.replicates) for chosen in launch.studies] == [
            (chosen.study.name, chosen.settings, chosen.replicates) for [chosen] in plain
        ]
        assert all(chosen.replicates >= 1 and not chosen.overridden for chosen in launch.studies)
    assert compose_launch(slug).studies, "no study is run by default"


@each_study
def test_a_wrong_key_is_refused_in_one_line(slug: str, study: str) -> None:
    name = next(iter(config_of(slug).studies[study].settings_class.model_fields))
    for wrong in (f"settings.{name}x=1", f"studies.{study}.settings.{name}x=1", f"studies.{study}x.settings.{name}=1"):
        with pytest.raises(BadInput, match="did you mean") as refused:
            compose_launch(slug, "scale=laptop", "study=all", wrong)
        assert "\n" not in str(refused.value)


@each_paper
def test_config_settings_and_experiment_list_the_same_studies(slug: str) -> None:
    offered, config = contract.load_experiment(slug).STUDIES, config_of(slug)
    assert set(offered) == set(settings_classes(slug)) == set(config.studies)
    for name, study in config.studies.items():
        assert (offered[name].prepare is not None) == ("prepared" in study.settings_class.model_fields)
        for scale in SCALES:
            values = study.values(scale)
            assert settings_as_dict(study.build(values)) == settings_as_dict(study.build(study.all_values(scale)))


@each_study
def test_identity_leaves_out_launch_and_judgement(slug: str, study: str) -> None:
    job = make_job(slug, study, "laptop")
    outside = ("abstract", "cli", "figures", "judging", "configs", "publishing", "report", "running", "tracking")
    assert {"core.lab.lab", "core.lab.replicas", "core.lab.stages", "core.lab.loops"} <= job.code.modules
    assert not [name for name in job.code.modules if name.split(".")[1:2] and name.split(".")[1] in outside]
    assert set(identity.NUMERICAL) <= set(job.identity.parts["libraries"])


# Configurations of any size


@each_study
def test_large_configurations_build_without_being_allocated(slug: str, study: str) -> None:
    """They keep their size, and measure what the claims of the study are judged by."""
    config = config_of(slug)
    for scale in LARGE_SCALES:
        followed = follow_trial(slug, study, scale)
        assert followed.parameters == maths_test(slug).PARAMETERS[study][scale]
        assert followed.measured
        if judged := [claim for claim in config.claims_of(study).values() if first_scale(claim) == scale]:
            table = followed.invent_rows(min(3, config.studies[study].replicates(scale)))
            for claim in judged:
                assert_judged(claim, table, scale)


def assert_judged(claim: Claim, table: pd.DataFrame, scale: str) -> None:
    """The claim gets a verdict from what the trial measures."""
    entry = judge.judge_claim(claim, measurements.sort_columns(table.assign(study=claim.study)), scale)
    assert entry["verdict"] in (judge.HOLDS, judge.FAILS, judge.UNDECIDED)
    assert entry["kind"] == "exact" or all(clause["n"] for clause in entry["clauses"])


# The smoke run


@each_smoke_run
def test_a_smoke_run_is_measured_resumed_judged_and_drawn(slug: str, studies: list[str], tmp_path: Path) -> None:
    """Of the first study; the others compute the same with other numbers, and are judged and drawn by its rows."""
    run = run_smoke(slug, studies[0], tmp_path / "unbroken")
    assert_few_programs(run.programs)
    assert_measured(run)
    assert_resumed(run, tmp_path / "interrupted")
    for study in studies:
        assert_drawn(run, study, tmp_path / study)
        assert_exported(run, study, tmp_path)


def assert_few_programs(programs: Counter[str]) -> None:
    """Each costs a test a tenth of a second and more, and a user the same: many of them are `jnp` outside of `jit`."""
    assert programs.total() <= MOST_PROGRAMS, programs.most_common()


def assert_measured(run: SmokeRun) -> None:
    """Values are numbers, of arms that the config explains, each under conditions of its own."""
    study, diverged = run.job.study, run.table["metric"] == "diverged"
    assert_may_diverge(study.form, set(run.table["stage"][diverged]) if diverged.any() else set())
    table = run.table[~diverged]
    assert not table["value"].isna().any() and np.isfinite(table["value"]).any()
    assert set(table["arm"]) <= set(study.form.arms)
    assert sorted(set(table["replicate"])) == list(range(study.replicates("smoke")))
    assert not table.duplicated([column for column in table.columns if column != "value"]).any()


def assert_may_diverge(study: StudyForm, stages: set[str]) -> None:
    """Stages that diverged have in their names an arm of which the config says that it may."""
    arms = set(study.may_diverge)
    assert arms <= set(study.arms)
    assert not [stage for stage in stages if not arms & set(stage.split("/"))]


def assert_resumed(run: SmokeRun, results: Path) -> None:
    """Unfinished twice, in another results folder, it comes to the same bytes and leaves no checkpoint."""
    stops, lifted = (1, run.blocks // 2) if run.blocks > 3 else (), lifted_functions(run)
    again = run_smoke(run.job.launch.config.slug, run.job.study.name, results, stops, run.compiled)
    assert lifted_functions(again) == lifted, "functions that are not equal to themselves are compiled per replicate"
    assert again.files.keys() == run.files.keys()
    assert [name for name, content in again.files.items() if content != run.files[name]] == []
    assert not [name for name in again.files if name.startswith("checkpoints/")]


def lifted_functions(run: SmokeRun) -> set[typing.Hashable]:
    """The functions of one replicate that a study has compiled."""
    return {
        (kind, axis, name)
        for kind, lifters in run.compiled.items()
        for axis, lifter in lifters.items()
        for name in lifter.compiled
    }


def assert_drawn(run: SmokeRun, study: str, folder: Path) -> None:
    """Its claims get entries in strict JSON, and its figures are drawn, from the measurements as they are read back."""
    config, table = run.job.launch.config, run.table.assign(study=study)
    found = verdicts.judge_study(config, study, table, "smoke")
    assert [entry["id"] for entry in found] == list(config.claims_of(study))
    json.dumps(found, allow_nan=False)
    measurements.write_measurements(folder / "measurements.csv.gz", table)
    read = measurements.read_measurements(folder / "measurements.csv.gz")
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    drawn, notes = conclude.draw_figures(config, study, read, run.arrays, folder)
    assert notes == []
    assert sorted(path.stem for path in (folder / "figures").glob("*.svg")) == drawn


def assert_exported(run: SmokeRun, study: str, results: Path) -> None:
    """The networks that it trains for others are collected from what it left, have a card, and come back for use."""
    config, about = run.job.launch.config, {"first_replicate": 0, "run": "a-run", "commit": "ab", "date": "2020-01-01"}
    values = settings_as_dict(run.job.chosen.settings)
    folder = results / "unbroken" / "runs" / run.job.identity.name
    found = export_networks(config, study, "smoke", folder, values, run.table, about)
    assert set(found) == {
        f"{name}{ending}" for name in networks_of(config.slug, study) for ending in (".safetensors", ".md")
    }
    for name, content in found.items():
        files.write_bytes(results / "weights" / name, content)
    for name in networks_of(config.slug, study):
        weights = read_weights(weights_path(results, name))
        assert weights.params and weights.model is not None
        assert f'load("{config.slug}/{name}", scale="smoke")' in weights.card and "nan" not in weights.card
        assert len(weights.card) < 10_000


# The claims


def parsed(slug: str, claim: str) -> Claim:
    return config_of(slug).claims[claim]


def first_scale(claim: Claim) -> str:
    """The first scale at which a claim can be tested."""
    return next(scale for scale in LARGE_SCALES if scale not in claim.not_testable)


@each_claim
def test_a_claim_holds_with_its_effect_alone(slug: str, claim: str) -> None:
    """On made-up rows: a planted effect holds and its control passes; no effect does not hold."""
    found = parsed(slug, claim)
    planted = judge.judge_claim(found, synthetic_measurements(found, "planted"), first_scale(found))
    assert planted["verdict"] == judge.HOLDS
    assert planted["control"]["passes"] and planted["control"]["verdict"] != judge.HOLDS
    assert judge.judge_claim(found, synthetic_measurements(found, "none"), first_scale(found))["verdict"] != judge.HOLDS


@each_claim
def test_a_control_that_shows_the_effect_does_not_pass(slug: str, claim: str) -> None:
    found = parsed(slug, claim)
    entry = judge.judge_claim(found, synthetic_measurements(found, "swapped"), first_scale(found))
    assert entry["control"]["verdict"] == judge.HOLDS and not entry["control"]["passes"]
    assert "the claim proves nothing" in entry["note"]


@each_claim
def test_a_claim_names_no_replicate(slug: str, claim: str) -> None:
    """The same rows of replicates with other numbers, as `first_replicate=5000` has them, lead to the same verdict."""
    found = parsed(slug, claim)
    for effect in ("planted", "none"):
        table = synthetic_measurements(found, effect)
        moved = table.assign(replicate=table["replicate"] + 5000)
        here, there = (judge.judge_claim(found, each, first_scale(found)) for each in (table, moved))
        assert_alike(there, here, claim)


# The published result


@each_paper
def test_published_verdicts_follow_from_published_measurements(slug: str) -> None:
    """Nothing is edited by hand; whatever this code judged it judges so again, and what holds has its control."""
    folders = [path for path in (ROOT / "results" / slug).glob("*") if path.is_dir()]
    if not folders:
        pytest.skip(f"nothing is published of {slug} yet")
    config, now = config_of(slug), jobs.verdict_identity
    for folder in folders:
        assert published.find_edits(folder) == []
        table = measurements.read_measurements(folder / "measurements.csv.gz")
        provenance = files.read_json(folder / "provenance.json")["studies"]
        committed = {entry["id"]: entry for entry in files.read_json(folder / "claims.json")}
        gone = provenance.keys() - config.studies.keys()
        stale = {name for name in provenance.keys() - gone if provenance[name]["verdict_identity"] != now(config, name)}
        again = [] if stale | gone else publish.claims_without_rows(config, folder.name, list(provenance))
        for study in provenance.keys() - stale - gone:
            again += verdicts.judge_study(config, study, part(table, study), folder.name)
        for entry in again:
            assert_alike(entry, committed[entry["id"]], entry["id"])
        for entry in committed.values():
            if entry["verdict"] == judge.HOLDS and not entry["control"]["passes"]:
                assert entry["note"].startswith(("the control holds too", "the control does not hold, but"))


def part(table: pd.DataFrame, study: str) -> pd.DataFrame:
    return table[table["study"] == study].dropna(axis="columns", how="all").reset_index(drop=True)


def assert_alike(found: Any, expected: Any, where: str = "") -> None:
    """Equal, numbers up to what another processor may round differently."""
    if isinstance(expected, dict):
        assert isinstance(found, dict) and found.keys() == expected.keys(), where
        for key in expected:
            assert_alike(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected), where
        for number, pair in enumerate(zip(found, expected, strict=True)):
            assert_alike(*pair, f"{where}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6), where
    else:
        assert found == expected, where


# What the contract refuses, and accepts


def test_an_arm_diverges_only_where_the_config_says_so(toy_root: Path, tmp_path: Path) -> None:
    study = load_config("toy").studies["drift"].form
    assert study.may_diverge == ("fast",)
    assert_may_diverge(study, {"fast"})
    config = toy_root / "configs" / "paper" / "toy.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("    may_diverge: [fast]\n", ""), encoding="utf-8")
    run = run_smoke("toy", "drift", tmp_path / "runs")
    with pytest.raises(AssertionError):
        assert_may_diverge(run.job.study.form, set(run.table["stage"][run.table["metric"] == "diverged"]))


def test_studies_share_a_smoke_run_only_where_they_compute_the_same() -> None:
    groups: dict[str, list[str]] = {slug: [] for slug in all_slugs()}
    for slug, group in smoke_groups():
        groups[slug] += group
    assert {slug: sorted(group) for slug, group in groups.items()} == {
        slug: sorted(config_of(slug).studies) for slug in all_slugs()
    }
    one = {"rate": 0.1, "steps": 3, "widths": (1, 2), "optimizer": {"name": "sgd", "momentum": 0.0}}
    assert alike(one, one | {"rate": 0.2})
    for other in (
        {"rate": 0.0},
        {"rate": math.inf},
        {"rate": None},
        {"rate": 1},
        {"steps": 4},
        {"steps": True},
        {"widths": (1, 2, 3)},
        {"optimizer": {"name": "adam", "momentum": 0.0}},
        {"optimizer": {"name": "sgd", "momentum": 0.9}},
    ):
        assert not alike(one, one | other) and not alike(one | other, one)


# A new paper


@pytest.mark.parametrize("options", [[], ["--supervised"]], ids=["plain", "supervised"])
def test_a_new_paper_keeps_the_contract_at_once(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row of this file, and its own test, in a root where the new paper is the only one."""
    root, slug = build_root(tmp_path / "root"), "_".join(["my_paper", *(word.strip("-") for word in options)])
    use_root(root, monkeypatch)
    assert main(["new", slug, *options]) == 0
    shutil.copy(ROOT / "pyproject.toml", root)
    ours = ["--no-cache", "--config", "lint.isort.known-first-party = ['core']"]  # which is not below this root
    for words in (["check", *ours], ["format", "--check", *ours]):
        line = [sys.executable, "-m", "ruff", *words]
        subprocess.run(line, cwd=root, check=True, timeout=machine_seconds(60))
    [study], [claim] = config_of(slug).studies, config_of(slug).claims
    assert smoke_groups() == [(slug, [study])]
    known = {"slug": slug, "study": study, "studies": [study], "claim": claim, "tmp_path": tmp_path}
    rows = [row for name, row in globals().items() if name.startswith("test_") and "slug" in signature(row).parameters]
    assert len(rows) >= 9
    for row in (*rows, *(test for name, test in vars(maths_test(slug)).items() if name.startswith("test_"))):
        with contextlib.suppress(pytest.skip.Exception):  # nothing is published of it yet
            row(**{name: known[name] for name in signature(row).parameters})
