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
        return self.run.missing(self.numbers)


@dataclass(frozen=True)
class JobOutcome:
    """What came of a job."""

    job: Job
    folder: Path
    claims: list[dict[str, Any]]
    notes: list[str]


def make_job(launch: Launch, chosen: SelectedStudy) -> Job:
    """Give a selected study its identity; nothing is computed or written."""
    study, settings = chosen.study, chosen.settings
    slug, experiment = launch.config.slug, experiment_path(launch.config.slug)
    names, form = data_sets_of_settings(settings), {"x64": study.data.get("x64", False)}
    readers = [identity.definition_of(catalogue.describe(name).read) for name in names]
    code = identity.code_of_trial(experiment, study.name, also=readers)
    libraries = identity.library_versions(code.distributions)
    data, flags = {name: catalogue.content_hashes(name) for name in names}, numeric_flags()
    ready = None
    if study.names.prepare is not None:
        classes = [type(settings.prepared).__name__]
        own = identity.code_of_preparation(experiment, study.name, settings=classes, also=readers)
        ready = identity.run_identity(
            slug,
            study.name,
            "prepared",
            settings=settings_as_dict(settings.prepared) | form,
            code=own,
            data={name: data[name] for name in data_sets_of_settings(settings.prepared)},
            libraries=libraries,
            flags=flags,
        )
    found = identity.run_identity(
        slug,
        study.name,
        launch.scale,
        settings=settings_as_dict(settings) | form,
        code=code,
        data=data,
        libraries=libraries,
        flags=flags,
        prepared=ready,
    )
    numbers = tuple(range(launch.first_replicate, launch.first_replicate + chosen.replicates))
    return Job(launch, chosen, found, code, numbers, ready.name if ready else None)


def verdict_identity(config: PaperConfig, study: str) -> str:
    """Identity of a study's verdicts: its claims and deviations, and the code that judges them."""
    own = {name: claim for name, claim in config.claims.items() if claim["study"] == study}
    return identity.verdict_identity({"claims": own, "deviations": config.data["studies"][study].get("deviations", [])})
