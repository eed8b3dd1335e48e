"""A job: a selected study with its identity and the replicates that are asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data import catalogue
from core.launch.compose import Launch, SelectedStudy
from core.papers.config import PaperConfig, StudyConfig
from core.papers.settings import data_sets_of_settings, settings_as_dict
from core.paths import experiment_path
from core.runs import identity
from core.runs.folder import RunFolder
from core.runs.identity import Code, Identity


@dataclass(frozen=True)
class Job:
    """A selected study, ready to run: its identity and the replicates that are asked for."""

    launch: Launch
    chosen: SelectedStudy
    identity: Identity
    code: Code
    numbers: tuple[int, ...]
    prepared: str | None

    @property
    def study(self) -> StudyConfig:
        """The study in the config."""
        return self.chosen.study

    @property
    def run(self) -> RunFolder:
        """Where it is kept."""
        return RunFolder(self.identity.name)

    @property
    def missing(self) -> list[int]:
        """Replicates still to be computed."""
        return self.run.missing_replicates(self.numbers)


@dataclass(frozen=True)
class JobOutcome:
    """What came of a job."""

    job: Job
    folder: Path
    claims: list[dict[str, Any]]
    notes: list[str]


def make_job(launch: Launch, chosen: SelectedStudy) -> Job:
    """Give a selected study its identity; nothing is computed or written."""
    study, settings, slug = chosen.study, chosen.settings, launch.config.slug
    names = data_sets_of_settings(settings)
    readers = [catalogue.find_data_set(name).parse.__module__ for name in names]
    trial, *prepare = identity.study_roots(experiment_path(slug), study.name)
    code = identity.code(experiment_path(slug), {trial}, also=readers)
    libraries = identity.library_versions(code.distributions)
    data = {name: catalogue.data_set_checksum(name) for name in names}
    form = {"x64": study.form.x64}
    ready = None
    if prepare:
        own = identity.code(experiment_path(slug), set(prepare), also=readers)
        values = {**settings_as_dict(settings.prepared), **form}
        given = {name: data[name] for name in data_sets_of_settings(settings.prepared)}
        ready = identity.run_identity(slug, study.name, "prepared", values, own.fingerprint, given, libraries).name
    tune = study.form.tune
    grid = {} if tune is None else {"tune": {"setting": tune.setting, "values": list(tune.values)}}
    parts = {**settings_as_dict(settings), **form, **grid, "prepared": ready}
    found = identity.run_identity(slug, study.name, launch.scale, parts, code.fingerprint, data, libraries)
    numbers = tuple(range(launch.first_replicate, launch.first_replicate + chosen.replicates))
    return Job(launch, chosen, found, code, numbers, ready)


def verdict_identity(config: PaperConfig, study: str) -> str:
    """Identity of a study's verdicts: its claims, their units and deviations, and the code that judges them."""
    claims = {name: form for name, form in config.form.claims.items() if form.study == study}
    said = {
        "claims": {
            name: form.model_dump(mode="json", by_alias=True, exclude_unset=True) for name, form in claims.items()
        },
        "units": {name: [clause.unit for clause in config.claims[name].clauses] for name in claims},
        "deviations": [each.model_dump(mode="json") for each in config.form.studies[study].deviations],
    }
    return identity.verdict_identity(said)


def figures_identity(config: PaperConfig) -> str:
    """Identity of a paper's figures: those that its config declares, and what its `figures.py` reaches."""
    declared = {name: form.model_dump(mode="json") for name, form in config.form.figures.items()}
    return identity.figures_identity(experiment_path(config.slug).with_name("figures.py"), declared)
