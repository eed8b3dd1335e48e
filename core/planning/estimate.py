"""What a selection of runs would cost: one line per study of every launch, on this machine or on accelerators."""

import dataclasses
import datetime
import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.kept import Entry, code_files, files_below, find_answers, library_stamp, paper_files, shared_config_files
from core.kept import stamp as stamp_files
from core.launch import compose, jobs
from core.launch.compose import Launch, SelectedStudy
from core.launch.jobs import Job
from core.papers.config import PaperConfig
from core.papers.settings import settings_as_dict
from core.paths import published_folder, runs_folder
from core.planning import cost_ledger, forecasting, machine
from core.planning.accelerators import Fleet
from core.runs import published
from core.runs.differences import identity_differences
from core.runs.identity import digest


@dataclass(frozen=True)
class StudyEstimate:
    """One study of one launch.

    Attributes:
      slug: the paper.
      words: the command that runs it, without `encore run`.
      replicates: still to be computed, `total_replicates` so many.
      steps: of one replicate, like `flops` and `stages`.
      minutes: wall-clock time; at least that where `is_lower_bound`, as some of the work cannot be counted.
      claims: how many claims it can decide.
      changes: in what its published result differs from what would be run.
    """

    slug: str
    scale: str
    study: str
    words: tuple[str, ...]
    replicates: int
    total_replicates: int
    stages: int
    steps: int
    flops: float
    peak_bytes: int
    gib: float
    minutes: float
    is_lower_bound: bool
    claims: int
    source: str
    changes: tuple[str, ...]


def estimate_launches(commands: Sequence[Sequence[str]], fleet: Fleet | None) -> list[StudyEstimate]:
    """What every study of some commands would do; nothing is computed.

    An estimate is kept until something it hangs on changes: code, configs, results, runs, or the day, as the speed of
    this machine is part of it.

    Args:
      commands: the words of each, without `encore run`.
      fleet: the accelerators meant; this machine if None.
    """
    about = [stamp_files([*code_files(), *shared_config_files()]), library_stamp(), repr(fleet)]
    about += [str(datetime.date.today()), str(machine.available_cores())]
    stamps = {json.dumps(list(words)): digest([*about, stamp_files(_files_of(words))]) for words in commands}
    find = functools.partial(_estimate_command, fleet=fleet)
    compositions: compose.Compositions = {}
    found = find_answers(
        "estimates",
        stamps,
        find,
        processes=len(machine.available_cores()),
        check=lambda command: compose.compose_launch(json.loads(command), compositions),
    )
    return [_from_entry(each) for entries in found.values() for each in entries]


def _files_of(words: Iterable[str]) -> Iterator[Entry]:
    """What an estimate hangs on beside the code: the paper, its results, its runs and what earlier ones took."""
    yield cost_ledger.ledger_path()
    for slug in (word.removeprefix("paper=") for word in words if word.startswith("paper=")):
        yield from paper_files(slug)
        yield from files_below(published_folder() / slug)
        for run in sorted(runs_folder().glob(f"{slug}-*")):
            yield from sorted(run.glob("replicates/*/done.json"))


def _estimate_command(command: str, fleet: Fleet | None) -> list[dict[str, Any]]:
    words = tuple(json.loads(command))
    launch = compose.compose_launch(words)
    gflops = _measure_gflops() if fleet is None else 0.0
    return [dataclasses.asdict(estimate_study(launch, words, each, fleet, gflops)) for each in launch.studies]


_measure_gflops = functools.cache(machine.measure_gflops)  # once a process, after what may be refused


def _from_entry(entry: dict[str, Any]) -> StudyEstimate:
    lists: dict[str, Any] = {name: tuple(entry[name]) for name in ("words", "changes")}
    return StudyEstimate(**(entry | lists))


def estimate_study(
    launch: Launch, words: tuple[str, ...], chosen: SelectedStudy, fleet: Fleet | None, gflops: float
) -> StudyEstimate:
    """What one study would do."""
    from core.planning.measurable import check_measurable  # here, as it needs the numerical libraries

    job = jobs.make_job(launch, chosen)
    check_measurable(job)
    count, shapes = len(job.missing), forecasting.job_trial_cost(job)
    if fleet is None:
        expected = forecasting.forecast_job(job, gflops)
        minutes, gib, source, floor = expected.minutes, expected.gib, expected.source, expected.is_lower_bound
    else:
        minutes, gib = (
            fleet.study_minutes(count, shapes["flops"], shapes["steps"]),
            fleet.gib_per_device(count, shapes["peak_bytes"]),
        )
        source, floor = "operations and published peak", bool(shapes["uncounted"])
    others = (word for word in words if not word.startswith("study="))
    return StudyEstimate(
        slug=launch.config.slug,
        scale=launch.scale,
        study=chosen.study.name,
        words=(*others, f"study={chosen.study.name}"),
        replicates=count,
        total_replicates=chosen.replicates,
        stages=len(shapes["stages"]),
        steps=shapes["steps"],
        flops=shapes["flops"],
        peak_bytes=shapes["peak_bytes"],
        gib=gib,
        minutes=minutes,
        is_lower_bound=floor,
        claims=count_decidable_claims(launch.config, chosen.study.name, launch.scale),
        source=source,
        changes=tuple(published_changes(job)),
    )


def published_changes(job: Job) -> list[str]:
    """In what the published result of a study differs from what would be run; nothing where settings are overridden."""
    folder = published_folder() / job.launch.config.slug / job.launch.scale
    recorded = published.read_provenance(folder).get(job.study.name, {})
    if job.chosen.overridden or not isinstance(recorded.get("identity"), dict):
        return []
    values = (recorded.get("settings"), settings_as_dict(job.chosen.settings))
    return identity_differences(recorded["identity"], job.identity.parts, values)


def count_decidable_claims(config: PaperConfig, study: str, scale: str) -> int:
    """How many claims a study can decide at a scale."""
    own = [claim for claim in config.claims_of(study).values() if scale not in claim.not_testable]
    return sum(scale != "smoke" or claim.kind == "exact" for claim in own)
