"""What the rows of the contract share: composed configs, configurations followed by shapes, smoke runs.

Each is made once in a process: a config is composed once per scale, and studies whose smoke runs compute the same with
other numbers have one smoke run between them.
"""

import contextlib
import dataclasses
import importlib.util
import inspect
import math
import os
from collections import Counter
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
from core.errors import Interrupted
from core.lab.keys import replicate_keys
from core.lab.shape_lab import ShapeLab
from core.launch import compose, jobs
from core.papers.config import PaperConfig, StudyConfig, load_config
from core.papers.config_files import all_slugs
from core.papers.contract import load_study
from core.papers.settings import settings_as_dict
from core.paths import project_root
from core.planning import forecasting
from core.running import execute, prepared
from core.running.worker import Worker
from core.runs import identity, measurements
from core.runs.folder import RunFolder
from tests import caches
from tests.programs import watch_programs

PROJECT = Path(__file__).resolve().parents[1]
FOLLOWED = Path(os.environ[caches.VARIABLE]) / "followed"

_compositions: dict[tuple[str, ...], Any] = {}


def config_of(slug: str) -> PaperConfig:
    """The config of a paper, read once."""
    return _read_config(project_root(), slug)


@cache
def _read_config(root: Path, slug: str) -> PaperConfig:
    return load_config(slug)


def entries(kind: str) -> list[tuple[str, str]]:
    """Every study, or claim, of every paper."""
    return [(slug, name) for slug in all_slugs() for name in getattr(config_of(slug), kind)]


def compose_launch(slug: str, *words: str) -> compose.Launch:
    """What a command line composes to; Hydra is asked once for all that differ in settings alone."""
    return compose.compose_launch([f"paper={slug}", "tracking=none", *words], _compositions)


def make_job(slug: str, study: str, scale: str) -> jobs.Job:
    """The job of a study as the config stands."""
    launch = compose.default_launch(config_of(slug), scale, study)
    return jobs.make_job(launch, launch.studies[0])


def maths_test(slug: str) -> ModuleType:
    """The module with a paper's own tests."""
    return _import_file(project_root() / "tests" / "papers" / f"test_{slug}.py")


@cache
def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pinned_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Configurations of any size


@dataclasses.dataclass(frozen=True)
class FollowedTrial:
    """What a trial would measure, found by shapes alone.

    Attributes:
      parameters: values in the state of its largest loop.
      measured: metrics, labels along further axes, and conditions of every call of `lab.measure`.
    """

    parameters: int
    measured: list[tuple[list[str], dict[str, list], dict[str, Any]]]

    def invent_rows(self, replicates: int) -> pd.DataFrame:
        """Measurements of so many replicates with values that are made up."""
        random, rows = np.random.default_rng(0), []
        for metrics, along, conditions in self.measured:
            for metric, replicate, labels in product(metrics, range(replicates), product(*along.values())):
                row = {"replicate": replicate, **conditions, **dict(zip(along, labels, strict=True))}
                rows.append({**row, "metric": metric, "value": float(random.random()) + 0.1})
        return pd.DataFrame(rows)


class NotingLab(ShapeLab):
    """Follows a trial by shapes, and notes what would be measured."""

    def __init__(self) -> None:
        super().__init__(count_flops=False)
        self.calls: list[tuple[list[str], dict[str, list], dict[str, Any]]] = []

    def measure(self, metrics: Any, *, along: Any = None, **conditions: Any) -> None:
        super().measure(metrics, along=along, **conditions)
        labels = {name: np.asarray(each).tolist() for name, each in (along or {}).items()}
        conditions = {**self._scope.conditions, **conditions}
        conditions = {**self._scope.conditions, **conditions}
        self.calls.append((list(metrics), labels, {name: np.asarray(each).item() for name, each in conditions.items()}))


def follow_trial(slug: str, study: str, scale: str) -> FollowedTrial:
    """Follow a trial at any scale; nothing is allocated. What it came to is kept by what makes a run itself."""
    parts = identity.digest([make_job(slug, study, scale).identity.parts, _ways_to_follow()])
    kept = FOLLOWED / f"{slug}-{study}-{parts[:16]}.json"
    with contextlib.suppress(OSError, ValueError):
        return FollowedTrial(**files.read_json(kept))
    lab, before, chosen = NotingLab(), bytes_alive(), config_of(slug).studies[study]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.data.loading.load_data_set", None)
        forecasting.trace_trial(slug, chosen, chosen.build(chosen.values(scale)), lab)
    assert bytes_alive() - before < 1e6
    found = FollowedTrial(lab.cost.parameters, lab.calls)
    with contextlib.suppress(OSError):
        files.write_json(kept, dataclasses.asdict(found))
    return found


@cache
def _ways_to_follow() -> list[str]:
    """The code that follows trials, and says which shapes data have: neither is a part of a run."""
    sources = [PROJECT / "core" / "lab" / "shape_lab.py", *sorted((PROJECT / "core" / "data").glob("*.py"))]
    ours = [inspect.getsource(each) for each in (NotingLab, FollowedTrial, follow_trial, forecasting.trace_trial)]
    return [*ours, *(path.read_text(encoding="utf-8") for path in sources)]


def bytes_alive() -> int:
    """Bytes of all arrays of jax."""
    return sum(array.nbytes for array in jax.live_arrays())


# Smoke runs


def smoke_groups() -> list[tuple[str, list[str]]]:
    """For every paper its studies in groups that one smoke run serves: that of the first."""
    found: list[tuple[str, list[str]]] = []
    for slug in all_slugs():
        groups: list[list[str]] = []
        for name, study in config_of(slug).studies.items():
            same = [group for group in groups if computealike(config_of(slug).studies[group[0]], study)]
            same[0].append(name) if same else groups.append([name])
        found += [(slug, group) for group in groups]
    return found


def computealike(one: StudyConfig, other: StudyConfig) -> bool:
    """Whether the smoke runs of two studies are the same computation with other numbers.

    The same trial under the same class of settings, whose values are equal where programs can depend on them: numbers
    with a fraction may differ, but not in being 0 or infinite.
    """
    flags = ("x64", "exclusive", "threads", "replicates", "may_diverge", "tune")
    slug = one.slug
    if one.settings_class is not other.settings_class or load_study(slug, one.name) != load_study(slug, other.name):
        return False
    if any(getattr(one.form, flag) != getattr(other.form, flag) for flag in flags):
        return False
    return alike(*(settings_as_dict(study.build(study.values("smoke"))) for study in (one, other)))


def alike(one: Any, other: Any) -> bool:
    """Whether two values of settings, or groups of them, lead to equal programs but for numbers with a fraction."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float):
        return one == other or all(value != 0 and math.isfinite(value) for value in (one, other))
    return one == other


class Listener:
    """Hears what a worker says, and tells it to stop after some blocks of steps."""

    def __init__(self, stop_after: int | None) -> None:
        self.worker, self.stop_after, self.blocks = Worker(self), stop_after, 0

    def send(self, event: str, **content: Any) -> None:
        pass

    def flush(self) -> None:
        pass

    def count_steps(self, steps: int) -> None:
        self.blocks += 1
        if self.blocks == self.stop_after:
            self.worker.stop.set()


@dataclasses.dataclass(frozen=True)
class SmokeRun:
    """A study at smoke scale, computed in this process in a results folder of its own.

    Attributes:
      compiled: its compiled functions by kind of task, for another run of the same study.
      programs: how often a program of each name was compiled, by the whole process.
    """

    job: jobs.Job
    compiled: dict[str, dict]
    programs: Counter[str]
    blocks: int
    table: pd.DataFrame
    arrays: dict[str, np.ndarray]
    files: dict[str, bytes]


def run_smoke(
    slug: str, study: str, results: Path, stops: tuple[int, ...] = (), compiled: dict[str, dict] | None = None
) -> SmokeRun:
    """Compute the study, interrupted and taken up again after each of the given numbers of blocks.

    Without functions that an earlier run `compiled`, everything is compiled anew, as in a process of its own.
    """
    if compiled is None:
        jax.clear_caches()
        replicate_keys(slug, study, [0])  # whose program is that of all studies
    compiled = {} if compiled is None else compiled
    with pytest.MonkeyPatch.context() as patch, watch_programs() as programs:
        patch.setenv("ENCORE_RESULTS", str(results))
        patch.setattr("core.lab.timing.time_interleaved", equal_seconds)
        job, blocks = make_job(slug, study, "smoke"), 0
        for stop in (*stops, None):
            listener = Listener(stop)
            if stop is None:
                compute(listener.worker, job, compiled)
                blocks = listener.blocks
            else:
                with pytest.raises(Interrupted):
                    compute(listener.worker, job, compiled)
        kept = [path for path in job.run.folder.rglob("*") if path.is_file() and path.name != "done.json"]
        return SmokeRun(
            job,
            compiled,
            Counter(programs),
            blocks,
            measurements.collect_measurements(job.run, study, job.numbers),
            measurements.collect_arrays(job.run, job.numbers),
            {path.relative_to(job.run.folder).as_posix(): path.read_bytes() for path in kept},
        )


def equal_seconds(alternatives: Any, rounds: int = 5) -> dict[str, list[float]]:
    """In place of a clock, which would say something else every time: each takes half a second."""
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
