"""What a selection of runs would cost: one line per study of every launch, on this machine or on accelerators."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import BadInput
from core.judging import claims
from core.pages import Page
from core.running import flow, jobs, plan
from core.running.accelerators import Fleet
from core.running.compose import Launch, Selected
from core.running.jobs import Job


@dataclass(frozen=True)
class Line:
    """One study of one launch.

    Attributes:
      words: the command that runs it, without `encore run`.
      replicates: still to be computed, `of` so many.
      steps: of one replicate, like `flops` and `stages`.
      minutes: wall-clock time; at least that where `floor`, as some of the work cannot be counted.
      claims: how many claims it can decide.
    """

    job: Job
    words: tuple[str, ...]
    replicates: int
    of: int
    stages: int
    steps: int
    flops: float
    peak_bytes: int
    gib: float
    minutes: float
    floor: bool
    claims: int
    source: str


def lines(chosen: Sequence[tuple[Launch, tuple[str, ...]]], fleet: Fleet | None) -> list[Line]:
    """What every study of the launches would do; nothing is computed."""
    gflops = plan.calibrate() if fleet is None else 0.0
    return [line(launch, words, each, fleet, gflops) for launch, words in chosen for each in launch.studies]


def line(launch: Launch, words: tuple[str, ...], chosen: Selected, fleet: Fleet | None, gflops: float) -> Line:
    """What one study would do."""
    job = jobs.job_of(launch, chosen)
    count, shapes = len(job.missing), plan.shapes_of(launch.page.slug, chosen.study, chosen.settings)
    if fleet is None:
        expected = flow.forecast_of(job, gflops)
        minutes, gib, source, floor = expected.minutes, expected.gib, expected.source, expected.floor
    else:
        minutes, gib = fleet.minutes(count, shapes["flops"], shapes["steps"]), fleet.gib(count, shapes["peak_bytes"])
        source, floor = "operations and published peak", bool(shapes["uncounted"])
    others = (word for word in words if not word.startswith("study="))
    return Line(
        job=job,
        words=(*others, f"study={chosen.study.name}"),
        replicates=count,
        of=chosen.replicates,
        stages=len(shapes["stages"]),
        steps=shapes["steps"],
        flops=shapes["flops"],
        peak_bytes=shapes["peak_bytes"],
        gib=gib,
        minutes=minutes,
        floor=floor,
        claims=decidable(launch.page, chosen.study.name, launch.scale),
        source=source,
    )


def decidable(page: Page, study: str, scale: str) -> int:
    """How many claims a study can decide at a scale."""
    with contextlib.suppress(BadInput):
        parsed = claims.parse_claims(page.claims, page.data["studies"]).values()
        own = [claim for claim in parsed if claim.study == study and scale not in claim.not_testable]
        return sum(scale != "smoke" or claim.kind == "exact" for claim in own)
    return 0
