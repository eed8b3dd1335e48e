"""What every paper keeps to, whoever wrote it: one row per page, nothing to register.

A paper brings its page, its sheet and `tests/papers/test_<slug>.py`, whose table PARAMETERS pins, for every study at
laptop and paper scale, the number of values in the state of the largest loop.
"""

import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import typing
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

from core import (
    claims,
    compose,
    contract,
    files,
    flow,
    identity,
    jobs,
    pages,
    plan,
    prepared,
    publishing,
    records,
    verdict,
)
from core.abstract import AbstractLab
from core.errors import BadInput, Interrupted
from core.roots import project_root, sheet_path
from core.runs import Run
from core.settings import build, read_studies
from core.synthetic import planted_table
from core.worker import Worker

ROOT = project_root()
SLUGS = pages.slugs()
LARGE_SCALES = ("laptop", "paper")


def entries(kind: str) -> list[Any]:
    """Every study, or claim, of every paper; those of one study share a test process, and with it what it computed."""
    listed = [(slug, name, entry) for slug in SLUGS for name, entry in pages.load_page(slug).data[kind].items()]
    return [
        pytest.param(slug, name, marks=pytest.mark.xdist_group(f"{slug}-{entry.get('study', name)}"))
        for slug, name, entry in listed
    ]


each_paper = pytest.mark.parametrize("slug", SLUGS)
each_study = pytest.mark.parametrize(("slug", "study"), entries("studies"))
each_claim = pytest.mark.parametrize(("slug", "claim"), entries("claims"))


def study_of(slug: str, study: str) -> pages.Study:
    return pages.load_page(slug).studies[study]


def launched(slug: str, *words: str) -> compose.Launch:
    return compose.prepare_launch([f"paper={slug}", "tracking=none", *words])


# The page


@each_paper
def test_the_page_composes_at_every_scale(slug: str) -> None:
    for scale in pages.SCALES:
        launch = launched(slug, f"scale={scale}", "study=all")
        assert [chosen.study.name for chosen in launch.studies] == list(launch.page.studies)
        assert all(chosen.replicates >= 1 and not chosen.overridden for chosen in launch.studies)
    assert launched(slug).studies, "no study is run by default"


@each_study
def test_a_wrong_key_is_refused_in_one_line(slug: str, study: str) -> None:
    name = dataclasses.fields(study_of(slug, study).settings_class)[0].name
    for wrong in (f"settings.{name}x=1", f"studies.{study}.settings.{name}x=1", f"studies.{study}x.settings.{name}=1"):
        with pytest.raises(BadInput, match="did you mean") as refused:
            launched(slug, f"study={study}", wrong)
        assert "\n" not in str(refused.value)


@each_study
def test_settings_read_from_source_are_those_of_the_sheet(slug: str, study: str) -> None:
    sheet, read = contract.studies_of(contract.load_sheet(slug)), study_of(slug, study)
    assert set(sheet) == set(read_studies(sheet_path(slug))) == set(pages.load_page(slug).studies)
    assert described(read.settings_class) == described(sheet[study].settings)
    for scale in pages.SCALES:
        values = read.values(scale)
        assert dataclasses.asdict(read.build(values)) == dataclasses.asdict(build(sheet[study].settings, values))


def described(cls: type) -> dict[str, Any]:
    """What a settings class says, groups opened."""
    hints = typing.get_type_hints(cls)
    return {
        each.name: (
            described(hints[each.name]) if dataclasses.is_dataclass(hints[each.name]) else hints[each.name],
            each.default,
            dict(each.metadata),
        )
        for each in dataclasses.fields(cls)
    }


@each_study
def test_identity_leaves_out_launch_and_judgement(slug: str, study: str) -> None:
    [chosen] = launched(slug, f"study={study}").studies
    job = jobs.job_of(launched(slug), chosen)
    outside = (
        "abstract", "algebra", "claims", "clauses", "cli", "compose", "figures", "flow", "identity", "jobs", "pages",
        "plan", "provenance", "published", "publishing", "report", "runs", "screen", "stats", "synthetic", "tracking",
        "verdict", "worker", "workers",
    )  # fmt: skip
    assert {"core.lab", "core.replicas", "core.stages", "core.training"} <= job.code.modules
    assert not [name for name in job.code.modules if name.split(".")[1:2] and name.split(".")[1] in outside]
    assert set(identity.NUMERICAL) <= set(job.identity.parts["libraries"])


# Configurations of any size


class Imagined(AbstractLab):
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


@cache
def imagined(slug: str, study: str, scale: str) -> Imagined:
    """The study at a scale, followed by shapes; scales with equal settings are followed once."""
    page_study = study_of(slug, study)
    if scale == "paper" and page_study.values("paper") == page_study.values("laptop"):
        return imagined(slug, study, "laptop")
    lab = Imagined(min(3, page_study.replicates(scale)))
    plan.follow(slug, page_study, page_study.build(page_study.values(scale)), lab)
    return lab


def bytes_alive() -> int:
    return sum(array.nbytes for array in jax.live_arrays())


@each_study
def test_configurations_build_without_being_allocated_and_keep_their_size(
    slug: str, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.data.loading.load", None)
    pinned = maths_test(slug).PARAMETERS[study]
    for scale in LARGE_SCALES:
        before = bytes_alive()
        lab = imagined(slug, study, scale)
        assert bytes_alive() - before < 1e6
        assert lab.cost.parameters == pinned[scale]
        assert lab.measured


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

    def advanced(self, steps: int) -> None:
        self.blocks += 1
        if self.blocks == self.stop_after:
            self.worker.stop.set()


COMPILED: dict[Any, Any] = {}  # functions that the runs of this process share


@dataclasses.dataclass(frozen=True)
class SmokeRun:
    """A study at smoke scale, computed in this process in a results folder of its own."""

    job: jobs.Job
    blocks: int
    table: pd.DataFrame
    arrays: dict[str, np.ndarray]
    files: dict[str, bytes]


def smoke_run(slug: str, study: str, results: Path, stops: tuple[int, ...] = ()) -> SmokeRun:
    """Compute the study, interrupted and taken up again after each of the given numbers of blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCORE_RESULTS", str(results))
        launch = launched(slug, f"study={study}", "scale=smoke")
        [job] = [jobs.job_of(launch, chosen) for chosen in launch.studies]
        blocks = 0
        for stop in (*stops, None):
            listener = Listener(stop)
            listener.worker.lifters = COMPILED
            if stop is None:
                compute(listener.worker, job)
                blocks = listener.blocks
            else:
                with pytest.raises(Interrupted):
                    compute(listener.worker, job)
        table, arrays = records.assemble(job.run, study, job.numbers), records.assemble_arrays(job.run, job.numbers)
        kept = [path for path in job.run.folder.rglob("*") if path.is_file() and path.name != "done.json"]
        files = {path.relative_to(job.run.folder).as_posix(): path.read_bytes() for path in kept}
        return SmokeRun(job, blocks, table, arrays, files)


def compute(worker: Worker, job: jobs.Job) -> None:
    """What the parent of a run would have the worker do."""
    if job.prepared is not None and not prepared.ready(job.prepared):
        worker.compute(flow.task(job, "prepare", [0], Run(job.prepared)))
    for batch in plan.batches(job.missing, accelerator=False):
        worker.compute(flow.task(job, "trial", batch, job.run))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], SmokeRun]:
    return cache(lambda slug, study: smoke_run(slug, study, tmp_path_factory.mktemp("smoke")))


@each_study
def test_a_smoke_run_measures_finite_values_of_known_arms(slug: str, study: str, smoke: Callable) -> None:
    table = smoke(slug, study).table
    assert not table["value"].isna().any() and np.isfinite(table["value"]).any()
    assert "diverged" not in set(table["metric"])
    assert set(table["arm"]) <= set(study_of(slug, study).data["arms"])
    assert sorted(set(table["replicate"])) == list(range(study_of(slug, study).replicates("smoke")))
    conditions = [column for column in table.columns if column != "value"]
    assert not table.duplicated(conditions).any(), "two measurements under the same conditions"
    assert not table.groupby(conditions[:-1], dropna=False)["metric"].size().empty


@each_study
def test_interrupted_runs_come_to_the_same_bytes(slug: str, study: str, smoke: Callable, tmp_path: Path) -> None:
    """In another results folder: what is measured and kept depends on no path, and a resume leaves no trace."""
    unbroken = smoke(slug, study)
    stops = (1, unbroken.blocks // 2) if unbroken.blocks > 3 else ()
    again = smoke_run(slug, study, tmp_path, stops)
    assert again.files.keys() == unbroken.files.keys()
    assert [name for name, content in again.files.items() if content != unbroken.files[name]] == []
    assert not [name for name in again.files if name.startswith("checkpoints/")]


@each_study
def test_a_smoke_run_is_judged_and_drawn(slug: str, study: str, smoke: Callable, tmp_path: Path) -> None:
    run = smoke(slug, study)
    found = verdict.verdicts(pages.load_page(slug), study, run.table, "smoke")
    assert [entry["id"] for entry in found] == [
        name for name, claim in pages.load_page(slug).claims.items() if claim["study"] == study
    ]
    json.dumps(found, allow_nan=False)
    records.write_measurements(tmp_path / "measurements.csv.gz", run.table)
    read = records.read_measurements(tmp_path / "measurements.csv.gz")
    pd.testing.assert_frame_equal(read, run.table, check_dtype=False)
    drawn, notes = verdict.draw(slug, study, read, run.arrays, tmp_path)
    assert notes == []
    assert sorted(path.stem for path in (tmp_path / "figures").glob("*.svg")) == drawn


# The claims


def parsed(slug: str, claim: str) -> tuple[claims.Claim, str]:
    """A claim, and the first scale at which it can be tested."""
    page = pages.load_page(slug)
    found = claims.parse_claims(page.claims, page.data["studies"])[claim]
    return found, next(scale for scale in LARGE_SCALES if scale not in found.not_testable)


@each_claim
def test_a_claim_can_be_judged_from_what_the_trial_measures(slug: str, claim: str) -> None:
    found, scale = parsed(slug, claim)
    table = pd.DataFrame(imagined(slug, found.study, scale).rows).assign(study=found.study)
    entry = claims.judge(found, records.ordered(table), scale)
    assert entry["verdict"] in (claims.HOLDS, claims.FAILS, claims.UNDECIDED)
    assert all(clause["n"] for clause in entry["clauses"]) or entry["kind"] == "exact"


@each_claim
def test_a_planted_effect_holds_and_no_effect_does_not(slug: str, claim: str) -> None:
    found, scale = parsed(slug, claim)
    planted = claims.judge(found, planted_table(found, "planted"), scale)
    assert planted["verdict"] == claims.HOLDS
    assert found.control is not None, "a claim without a control proves nothing"
    assert planted["control"]["passes"] and planted["control"]["verdict"] != claims.HOLDS
    assert claims.judge(found, planted_table(found, "none"), scale)["verdict"] != claims.HOLDS


@each_claim
def test_a_control_that_shows_the_effect_does_not_pass(slug: str, claim: str) -> None:
    found, scale = parsed(slug, claim)
    entry = claims.judge(found, planted_table(found, "swapped"), scale)
    assert entry["control"]["verdict"] == claims.HOLDS and not entry["control"]["passes"]
    assert "the claim proves nothing" in entry["note"]


# The published result


@each_paper
def test_published_verdicts_follow_from_published_measurements(slug: str) -> None:
    """Nothing is edited by hand; whatever this code judged it judges so again, and what holds has its control."""
    folders = [path for path in (ROOT / "results" / slug).glob("*") if path.is_dir()]
    if not folders:
        pytest.skip(f"nothing is published of {slug} yet")
    page = pages.load_page(slug)
    for folder in folders:
        assert publishing.edited(folder) == []
        table = records.read_measurements(folder / "measurements.csv.gz")
        provenance = files.read_json(folder / "provenance.json")["studies"]
        committed = {entry["id"]: entry for entry in files.read_json(folder / "claims.json")}
        again = publishing.untested(page.data, folder.name, list(provenance))
        for study, recorded in provenance.items():
            if recorded["verdict_identity"] == jobs.verdict_identity(page, study):
                again += verdict.verdicts(page, study, part(table, study), folder.name)
        for entry in again:
            assert_alike(entry, committed[entry["id"]], entry["id"])
        holding = [entry for entry in committed.values() if entry["verdict"] == claims.HOLDS]
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
    for page in (tmp_path / "configs" / "paper").glob("*.yaml"):
        page.unlink()
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
