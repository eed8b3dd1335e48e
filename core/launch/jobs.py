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
from core.runs.numeric_flags import numeric_flags


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
    study, settings, experiment = chosen.study, chosen.settings, experiment_path(launch.config.slug)
    names, tune = data_sets_of_settings(settings), study.form.tune
    readers = [identity.definition_of(catalogue.find_data_set(name).parse) for name in names]
    classes = [identity.definition_of(type(settings))]
    code = identity.code_of_trial(experiment, study.name, settings_classes=classes, extra_definitions=readers)
    form = {"x64": study.form.x64}
    grid = {} if tune is None else {"tune": {"setting": tune.setting, "values": list(tune.values)}}
    libraries, flags = identity.library_versions(code.distributions), numeric_flags()
    data = {name: catalogue.content_hashes(name) for name in names}
    ready = None
    if "prepare" in identity.study_parts(experiment)[study.name]:
        group = settings.prepared
        own = identity.code_of_preparation(experiment, study.name, [identity.definition_of(type(group))], readers)
        given = {name: data[name] for name in data_sets_of_settings(group)}
        ready = identity.run_identity(
            launch.config.slug,
            study.name,
            "prepared",
            settings=settings_as_dict(group) | form,
            code=own,
            data=given,
            libraries=libraries,
            flags=flags,
        )
    found = identity.run_identity(
        launch.config.slug,
        study.name,
        launch.scale,
        settings=settings_as_dict(settings) | form | grid,
        code=code,
        data=data,
        prepared=ready,
        libraries=libraries,
        flags=flags,
    )
    numbers = tuple(range(launch.first_replicate, launch.first_replicate + chosen.replicates))
    return Job(launch, chosen, found, code, numbers, ready.name if ready else None)


def verdict_identity(config: PaperConfig, study: str) -> str:
    """Identity of a study's verdicts: its claims, their units and deviations, and the code that judges them."""
    claims = {name: form for name, form in config.form.claims.items() if form.study == study}
    said = {
        "claims": {
            name: form.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"printed": {"quote"}})
            for name, form in claims.items()
        },
        "units": {name: [clause.unit for clause in config.claims[name].clauses] for name in claims},
        "deviations": [each.model_dump(mode="json") for each in config.form.studies[study].deviations],
    }
    return identity.verdict_identity(said)


def figures_identity(config: PaperConfig) -> str:
    """Identity of a paper's figures: those that its config declares, and what its `figures.py` reaches."""
    declared = {name: form.model_dump(mode="json") for name, form in config.form.figures.items()}
    return identity.figures_identity(experiment_path(config.slug), declared)
