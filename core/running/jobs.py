"""A job: a selected study with its identity and the replicates that are asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data import catalogue
from core.pages import Page, Study
from core.publishing import identity
from core.publishing.identity import Code, Identity
from core.roots import sheet_path
from core.running.compose import Launch, Selected
from core.running.runs import Run
from core.settings import data_sets, plain


@dataclass(frozen=True)
class Job:
    """A selected study, ready to run: its identity and the replicates that are asked for."""

    launch: Launch
    chosen: Selected
    identity: Identity
    code: Code
    numbers: tuple[int, ...]
    prepared: str | None

    @property
    def study(self) -> Study:
        """The study on the page."""
        return self.chosen.study

    @property
    def run(self) -> Run:
        """Where it is kept."""
        return Run(self.identity.name)

    @property
    def missing(self) -> list[int]:
        """Replicates still to be computed."""
        return self.run.missing(self.numbers)


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    job: Job
    folder: Path
    claims: list[dict[str, Any]]
    notes: list[str]


def job_of(launch: Launch, chosen: Selected) -> Job:
    """Give a selected study its identity; nothing is computed or written."""
    study, settings = chosen.study, chosen.settings
    slug, sheet = launch.page.slug, sheet_path(launch.page.slug)
    names = data_sets(settings)
    readers = [catalogue.describe(name).read.__module__ for name in names]
    code = identity.code(sheet, {study.names.settings, study.names.trial}, also=readers)
    libraries = identity.library_versions(code.distributions)
    data = {name: catalogue.checksum(name) for name in names}
    form = {"x64": study.data.get("x64", False)}
    ready = None
    if study.names.prepare is not None:
        own = identity.code(sheet, {study.names.settings, study.names.prepare}, also=readers)
        given = {name: data[name] for name in data_sets(settings.prepared)}
        ready = identity.run_identity(
            slug, study.name, "prepared", {**plain(settings.prepared), **form}, own.fingerprint, given, libraries
        ).name
    parts = {**plain(settings), **form, "prepared": ready}
    found = identity.run_identity(slug, study.name, launch.scale, parts, code.fingerprint, data, libraries)
    numbers = tuple(range(launch.first_replicate, launch.first_replicate + chosen.replicates))
    return Job(launch, chosen, found, code, numbers, ready)


def verdict_identity(page: Page, study: str) -> str:
    """Identity of a study's verdicts: its claims and deviations, and the code that judges them."""
    own = {name: claim for name, claim in page.claims.items() if claim["study"] == study}
    return identity.verdict_identity({"claims": own, "deviations": page.data["studies"][study].get("deviations", [])})
