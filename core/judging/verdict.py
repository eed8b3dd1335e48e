"""From measurements to a verdict's folder: table, arrays, claims, figures, provenance; all made anew in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.errors import BadInput
from core.pages import Page
from core.publishing import identity, provenance
from core.roots import project_root, sheet_path
from core.running.jobs import Job, verdict_identity
from core.running.runs import note_in_ledger
from core.running.workers import environment

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Effort:
    """What a run took.

    Attributes:
      computed: replicates computed now; the others had been computed before.
      seconds: wall-clock time.
      workers: processes that computed at a time.
      gflops: single-core throughput of this machine by `core.running.plan.calibrate`.
      accelerators: names of the devices, when the run was not on the CPU.
    """

    computed: int
    seconds: float
    workers: int
    gflops: float
    accelerators: list[str]


def judge(job: Job, effort: Effort) -> tuple[Path, list[dict[str, Any]], list[str]]:
    """Write the verdict's folder for the asked replicates; returns it with its claims and notes for the person."""
    from core.running import records

    folder, run = job.run.verdict(job.numbers), job.run
    table = records.assemble(run, job.study.name, job.numbers)
    arrays = records.assemble_arrays(run, job.numbers)
    records.write_measurements(folder / "measurements.csv.gz", table)
    if arrays:
        records.write_arrays(folder / "arrays.npz", arrays)
    claims = verdicts(job.launch.page, job.study.name, table, job.launch.scale)
    drawn, notes = draw(job.launch.page.slug, job.study.name, table, arrays, folder)
    files.write_json(folder / "claims.json", claims)
    # The provenance comes last: it says by which logic the files beside it were made.
    earlier = None if effort.computed else machine_of(folder / "provenance.json")
    files.write_json(folder / "provenance.json", {**about_run(job, effort), **(earlier or {}), "figures": drawn})
    note_in_ledger(
        {"identity": run.identity, "first": job.numbers[0], "count": len(job.numbers), "date": provenance.today()}
    )
    return folder, claims, notes


def verdicts(page: Page, study: str, table: "pd.DataFrame", scale: str) -> list[dict[str, Any]]:
    """The verdicts of one study's claims.

    A claim that cannot be judged from these rows, because settings were overridden or the scale is too small to
    decide, is "not testable" and says why.
    """
    from core.judging import claims

    parsed = claims.parse_claims(page.claims, page.data["studies"])
    deviations = page.data["studies"][study].get("deviations") or ()
    found = []
    for claim in (claim for claim in parsed.values() if claim.study == study):
        if scale == "smoke" and claim.kind == "statistical":
            claim = replace(claim, not_testable={"smoke": "a smoke run decides nothing"})
        try:
            found.append(claims.judge(claim, table, scale, deviations))
        except BadInput as error:
            claim = replace(claim, not_testable={scale: f"the measurements do not fit: {error}"})
            found.append(claims.judge(claim, table, scale, deviations))
    return found


def draw(
    slug: str, study: str, table: "pd.DataFrame", arrays: Mapping[str, Any], folder: Path
) -> tuple[list[str], list[str]]:
    """Draw the sheet's figures; one that cannot be drawn, as after strange overrides, is a note and not a failure."""
    from core import figures
    from core.contract import load_sheet

    make = getattr(load_sheet(slug), "figures", None)
    if make is None:
        return [], []
    try:
        drawn = figures.draw(make, table, arrays)
    except (KeyError, ValueError, IndexError) as error:
        return [], [f"figures of {study} could not be drawn from these measurements: {error}"]
    figures.save(drawn, folder / "figures")
    return sorted(drawn), []


def machine_of(record: Path) -> dict[str, Any] | None:
    """What an earlier record says of the machine and the cost: judging again on another one does not change it."""
    try:
        found = files.read_json(record)
        return {name: found[name] for name in ("seconds", "peak_gib", "python", "platform", "device", "flags", "cost")}
    except (OSError, ValueError, KeyError):
        return None


def about_run(job: Job, effort: Effort) -> dict[str, Any]:
    """Provenance of a run: where it comes from and what it cost."""
    done = [job.run.done(number) for number in job.numbers]
    own = [each["seconds"] / each["batch"] for each in done]
    compiling = [each["compile_seconds"] / each["batch"] for each in done]
    about = provenance.collect(
        seconds=effort.seconds if effort.computed == len(done) else sum(own) / effort.workers,
        peak_gib=max(each["peak_gib"] for each in done),
        accelerators=effort.accelerators,
        environment=environment(bool(effort.accelerators), single=not effort.accelerators),
        distributions=job.code.distributions,
        repository=project_root(),
    )
    cost = {
        "seconds_per_replicate": round((sum(own) - sum(compiling)) / len(done), 2),
        "compile_seconds": round(sum(compiling), 2),
        "iterating_seconds": round(sum(each["iterating_seconds"] / each["batch"] for each in done), 2),
        "peak_gib": about["peak_gib"],
        "steps": done[0]["steps"],
        "calibration_gflops": round(effort.gflops, 1),
        "workers": effort.workers,
    }
    return {
        **about,
        "run": job.identity.name,
        "verdict_identity": verdict_identity(job.launch.page, job.study.name),
        "figures_identity": identity.figures_identity(sheet_path(job.launch.page.slug)),
        "first_replicate": job.numbers[0],
        "cost": cost,
    }
