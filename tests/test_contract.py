"""What every paper keeps to, whoever wrote it: one row per config, nothing to register.

A paper brings its config, its experiment and `tests/papers/test_<slug>.py`, whose table PARAMETERS pins, for every
study at laptop and paper scale, the number of values in the state of the largest loop.
"""

import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

from core import files
from core.errors import BadInput, Interrupted
from core.judging import judge, verdicts
from core.judging.synthetic import synthetic_measurements
from core.lab.shape_lab import ShapeLab
from core.launch import compose, jobs
from core.papers import contract
from core.papers.claims import SCALES, Claim
from core.papers.config import StudyConfig, load_config, settings_classes
from core.papers.config_files import all_slugs
from core.papers.settings import settings_as_dict
from core.paths import project_root
from core.planning import forecasting
from core.publishing import publish
from core.running import conclude, execute, prepared
from core.running.worker import Worker
from core.runs import identity, measurements, published
from core.runs.folder import RunFolder

ROOT = project_root()
SLUGS = all_slugs()
LARGE_SCALES = ("laptop", "paper")


def entries(kind: str) -> list[tuple[str, str]]:
    """Every study, or claim, of every paper."""
    return [(slug, name) for slug in SLUGS for name in getattr(load_config(slug), kind)]


each_paper = pytest.mark.parametrize("slug", SLUGS)
each_study = pytest.mark.parametrize(("slug", "study"), entries("studies"))
each_claim = pytest.mark.parametrize(("slug", "claim"), entries("claims"))


def study_of(slug: str, study: str) -> StudyConfig:
    return load_config(slug).studies[study]


def launched(slug: str, *words: str) -> compose.Launch:
    return compose.compose_launch([f"paper={slug}", "tracking=none", *words])


# The config


@each_paper
def test_the_page_composes_at_every_scale(slug: str) -> None:
    for scale in SCALES:
        launch = launched(slug, f"scale={scale}", "study=all")
        assert [chosen.study.name for chosen in launch.studies] == list(launch.config.studies)
        assert all(chosen.replicates >= 1 and not chosen.overridden for chosen in launch.studies)
    assert launched(slug).studies, "no study is run by default"


@each_study
def test_a_wrong_key_is_refused_in_one_line(slug: str, study: str) -> None:
    name = next(iter(study_of(slug, study).settings_class.model_fields))
    for wrong in (f"settings.{name}x=1", f"studies.{study}.settings.{name}x=1", f"studies.{study}x.settings.{name}=1"):
        with pytest.raises(BadInput, match="did you mean") as refused:
            launched(slug, f"study={study}", wrong)
        assert "\n" not in str(refused.value)


@each_paper
def test_config_settings_and_experiment_list_the_same_studies(slug: str) -> None:
    offered, config = contract.load_experiment(slug).STUDIES, load_config(slug)
    assert set(offered) == set(settings_classes(slug)) == set(config.studies)
    for name, study in config.studies.items():
        assert (offered[name].prepare is not None) == ("prepared" in study.settings_class.model_fields)
        for scale in SCALES:
            values = study.values(scale)
            assert settings_as_dict(study.build(values)) == settings_as_dict(study.build(study.all_values(scale)))


@each_study
def test_identity_leaves_out_launch_and_judgement(slug: str, study: str) -> None:
    [chosen] = launched(slug, f"study={study}").studies
    job = jobs.make_job(launched(slug), chosen)
    outside = ("abstract", "cli", "figures", "judging", "configs", "publishing", "report", "running", "tracking")
    assert {"core.lab.lab", "core.lab.replicas", "core.lab.stages", "core.lab.loops"} <= job.code.modules
    assert not [name for name in job.code.modules if name.split(".")[1:2] and name.split(".")[1] in outside]
    assert set(identity.NUMERICAL) <= set(job.identity.parts["libraries"])


# Configurations of any size


class Imagined(ShapeLab):
    """Follows a trial by shapes, and makes up a value for whatever would be measured in some replicates."""

    def __init__(self, replicates: int) -> None:
        super().__init__(count_flops=False)
        self.replicates = replicates
        self.rows: list[dict[str, Any]] = []
        self.random = np.random.default_rng(0)

    def measure(self, metrics: Any, *, along: Any = None, **conditions: Any) -> None:
        super().measure(metrics, along=along, **conditions)
        along = {name: np.asarray(labels).tolist() for name, labels in (along or {}).items()}
        for metric, replicate, labels in product(metrics, range(self.replicates), product(*along.values())):
            row = {"replicate": replicate, **conditions, **dict(zip(along, labels, strict=True))}
            self.rows.append({**row, "metric": metric, "value": float(self.random.random()) + 0.1})


def imagined(study: StudyConfig, scale: str) -> Imagined:
    lab = Imagined(min(3, study.replicates(scale)))
    forecasting.trace_trial(study.slug, study, study.build(study.values(scale)), lab)
    return lab


def bytes_alive() -> int:
    return sum(array.nbytes for array in jax.live_arrays())


@each_study
def test_large_configurations_build_without_being_allocated(
    slug: str, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They keep their size, and measure what the claims of the study are judged by."""
    monkeypatch.setattr("core.data.loading.load_data_set", None)
    page_study, followed = study_of(slug, study), {}
    for scale in LARGE_SCALES:
        before, values = bytes_alive(), repr(page_study.values(scale))
        lab = followed[values] = followed.get(values) or imagined(page_study, scale)
        assert bytes_alive() - before < 1e6
        assert lab.cost.parameters == maths_test(slug).PARAMETERS[study][scale]
        assert lab.measured
        for claim in load_config(slug).claims.values():
            if claim.study == study and first_scale(claim) == scale:
                assert_judged(claim, lab, scale)


def assert_judged(claim: Claim, lab: Imagined, scale: str) -> None:
    """The claim gets a verdict from what the trial measures."""
    table = pd.DataFrame(lab.rows).assign(study=claim.study)
    entry = judge.judge_claim(claim, measurements.sort_columns(table), scale)
    assert entry["verdict"] in (judge.HOLDS, judge.FAILS, judge.UNDECIDED)
    assert entry["kind"] == "exact" or all(clause["n"] for clause in entry["clauses"])


@cache
def maths_test(slug: str) -> ModuleType:
    path = ROOT / "tests" / "papers" / f"test_{slug}.py"
    spec = importlib.util.spec_from_file_location(f"pinned_{slug}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The smoke run


class Listener:
    """Hears what a worker says, and tells it to stop after some blocks of steps."""

    def __init__(self, stop_after: int | None) -> None:
        self.worker, self.stop_after, self.blocks = Worker(self), stop_after, 0

    def send(self, event: str, **content: Any) -> None:
        pass

    def flush(self) -> None:
        pass

    def on_progress(self, steps: int) -> None:
        self.blocks += 1
        if self.blocks == self.stop_after:
            self.worker.stop.set()


@dataclasses.dataclass(frozen=True)
class SmokeRun:
    """A study at smoke scale, computed in this process in a results folder of its own.

    Attributes:
      compiled: its compiled functions by kind of task, for another run of the same study.
    """

    job: jobs.Job
    compiled: dict[str, dict]
    blocks: int
    table: pd.DataFrame
    arrays: dict[str, np.ndarray]
    files: dict[str, bytes]


def smoke_run(
    slug: str, study: str, results: Path, stops: tuple[int, ...] = (), compiled: dict[str, dict] | None = None
) -> SmokeRun:
    """Compute the study, interrupted and taken up again after each of the given numbers of blocks."""
    compiled = {} if compiled is None else compiled
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCORE_RESULTS", str(results))
        patch.setattr("core.lab.timing.time_interleaved", equal_seconds)
        launch = launched(slug, f"study={study}", "scale=smoke")
        [job] = [jobs.make_job(launch, chosen) for chosen in launch.studies]
        blocks = 0
        for stop in (*stops, None):
            listener = Listener(stop)
            if stop is None:
                compute(listener.worker, job, compiled)
                blocks = listener.blocks
            else:
                with pytest.raises(Interrupted):
                    compute(listener.worker, job, compiled)
        table, arrays = (
            measurements.collect_measurements(job.run, study, job.numbers),
            measurements.collect_arrays(job.run, job.numbers),
        )
        kept = [path for path in job.run.folder.rglob("*") if path.is_file() and path.name != "done.json"]
        files = {path.relative_to(job.run.folder).as_posix(): path.read_bytes() for path in kept}
        return SmokeRun(job, compiled, blocks, table, arrays, files)


def equal_seconds(alternatives: Any, rounds: int = 5) -> dict[str, list[float]]:
    """In place of a clock, which would say something else every time: each is called, and takes half a second."""
    for call in alternatives.values():
        jax.block_until_ready(call())
    return {name: [0.5] * rounds for name in alternatives}


def compute(worker: Worker, job: jobs.Job, compiled: dict[str, dict]) -> None:
    """What the parent of a run would have the worker do."""
    tasks = [
        execute.worker_task(job, "trial", batch, job.run)
        for batch in forecasting.replicate_batches(job.missing, accelerator=False)
    ]
    if job.prepared is not None and not prepared.is_prepared(job.prepared):
        tasks.insert(0, execute.worker_task(job, "prepare", [0], RunFolder(job.prepared)))
    for task in tasks:
        worker.run, worker.lifters = task["run"], compiled.setdefault(task["kind"], {})
        worker.compute(task)


@each_study
def test_a_smoke_run_is_measured_resumed_judged_and_drawn(slug: str, study: str, tmp_path: Path) -> None:
    run = smoke_run(slug, study, tmp_path / "unbroken")
    assert_measured(run)
    assert_resumed(run, tmp_path / "interrupted")
    assert_drawn(run, tmp_path)


def assert_measured(run: SmokeRun) -> None:
    """Values are numbers, of arms that the config explains, each under conditions of its own."""
    table, study = run.table, run.job.study
    assert not table["value"].isna().any() and np.isfinite(table["value"]).any()
    assert "diverged" not in set(table["metric"])
    assert set(table["arm"]) <= set(study.form.arms)
    assert sorted(set(table["replicate"])) == list(range(study.replicates("smoke")))
    assert not table.duplicated([column for column in table.columns if column != "value"]).any()


def assert_resumed(run: SmokeRun, results: Path) -> None:
    """Interrupted twice, in another results folder, it comes to the same bytes and leaves no checkpoint."""
    stops = (1, run.blocks // 2) if run.blocks > 3 else ()
    again = smoke_run(run.job.launch.config.slug, run.job.study.name, results, stops, run.compiled)
    assert again.files.keys() == run.files.keys()
    assert [name for name, content in again.files.items() if content != run.files[name]] == []
    assert not [name for name in again.files if name.startswith("checkpoints/")]


def assert_drawn(run: SmokeRun, folder: Path) -> None:
    """Its claims get entries in strict JSON, and its figures are drawn, from the measurements as they are read back."""
    config, study = run.job.launch.config, run.job.study.name
    found = verdicts.judge_study(config, study, run.table, "smoke")
    assert [entry["id"] for entry in found] == list(config.claims_of(study))
    json.dumps(found, allow_nan=False)
    measurements.write_measurements(folder / "measurements.csv.gz", run.table)
    read = measurements.read_measurements(folder / "measurements.csv.gz")
    pd.testing.assert_frame_equal(read, run.table, check_dtype=False)
    drawn, notes = conclude.draw_figures(config, study, read, run.arrays, folder)
    assert notes == []
    assert sorted(path.stem for path in (folder / "figures").glob("*.svg")) == drawn


# The claims


def parsed(slug: str, claim: str) -> Claim:
    return load_config(slug).claims[claim]


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


# The published result


@each_paper
def test_published_verdicts_follow_from_published_measurements(slug: str) -> None:
    """Nothing is edited by hand; whatever this code judged it judges so again, and what holds has its control."""
    folders = [path for path in (ROOT / "results" / slug).glob("*") if path.is_dir()]
    if not folders:
        pytest.skip(f"nothing is published of {slug} yet")
    config = load_config(slug)
    for folder in folders:
        assert published.find_edits(folder) == []
        table = measurements.read_measurements(folder / "measurements.csv.gz")
        provenance = files.read_json(folder / "provenance.json")["studies"]
        committed = {entry["id"]: entry for entry in files.read_json(folder / "claims.json")}
        again = publish.claims_without_rows(config, folder.name, list(provenance))
        for study, recorded in provenance.items():
            if recorded["verdict_identity"] == jobs.verdict_identity(config, study):
                again += verdicts.judge_study(config, study, part(table, study), folder.name)
        for entry in again:
            assert_alike(entry, committed[entry["id"]], entry["id"])
        holding = [entry for entry in committed.values() if entry["verdict"] == judge.HOLDS]
        assert not [entry["id"] for entry in holding if not entry["control"]["passes"]]


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


# A new paper


def test_a_new_paper_keeps_the_contract_at_once(tmp_path: Path) -> None:
    """In a copy of the project, where the new paper is the only one."""
    for folder in ("core", "configs", "experiments"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "lottery_ticket*")
        )
    for config in (tmp_path / "configs" / "paper").glob("*.yaml"):
        config.unlink()
    (tmp_path / "tests").mkdir()
    for name in ("conftest.py", "toy.py", "test_contract.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ENCORE_", "PYTEST_"))}
    environment["PYTHONPATH"] = str(tmp_path)

    def python(*words: str) -> str:
        line = [sys.executable, "-m", *words]
        done = subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    written = python("experiments", "new", "my_paper")
    for name in ("configs/paper/my_paper.yaml", "experiments/my_paper.py", "tests/papers/test_my_paper.py"):
        assert name in written and (tmp_path / name).is_file()
    python("ruff", "check", "experiments", "tests/papers")
    python("ruff", "format", "--check", "experiments", "tests/papers")
    told = python(
        "pytest", "-q", "-p", "no:cacheprovider", "tests", "--deselect", f"tests/{Path(__file__).name}::{NEW}"
    )
    assert " passed" in told and "1 skipped" in told


NEW = test_a_new_paper_keeps_the_contract_at_once.__name__
