"""What a selection of runs would cost: one line per study of every launch, on this machine or on accelerators."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.launch import jobs
from core.launch.compose import Launch, SelectedStudy
from core.launch.jobs import Job
from core.papers.config import PaperConfig
from core.planning import forecasting, machine
from core.planning.accelerators import Fleet


@dataclass(frozen=True)
class StudyEstimate:
    """One study of one launch.

    Attributes:
      words: the command that runs it, without `encore run`.
      replicates: still to be computed, `total_replicates` so many.
      steps: of one replicate, like `flops` and `stages`.
      minutes: wall-clock time; at least that where `is_lower_bound`, as some of the work cannot be counted.
      claims: how many claims it can decide.
    """

    job: Job
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


def estimate_launches(chosen: Sequence[tuple[Launch, tuple[str, ...]]], fleet: Fleet | None) -> list[StudyEstimate]:
    """What every study of the launches would do; nothing is computed."""
    gflops = machine.measure_gflops() if fleet is None else 0.0
    return [estimate_study(launch, words, each, fleet, gflops) for launch, words in chosen for each in launch.studies]


def estimate_study(
    launch: Launch, words: tuple[str, ...], chosen: SelectedStudy, fleet: Fleet | None, gflops: float
) -> StudyEstimate:
    """What one study would do."""
    from core.planning.measurable import check_measurable  # here, as it needs the numerical libraries

    job = jobs.make_job(launch, chosen)
    check_measurable(job)
    count, shapes = len(job.missing), forecasting.count_trial_cost(launch.config.slug, chosen.study, chosen.settings)
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
        job=job,
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
    )


def count_decidable_claims(config: PaperConfig, study: str, scale: str) -> int:
    """How many claims a study can decide at a scale."""
    own = [claim for claim in config.claims_of(study).values() if scale not in claim.not_testable]
    return sum(scale != "smoke" or claim.kind == "exact" for claim in own)
