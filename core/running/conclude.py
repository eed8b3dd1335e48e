"""From measurements to a verdict's folder: table, arrays, claims, figures, provenance; all made anew in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.errors import BadInput
from core.launch.jobs import Job, figures_identity, verdict_identity
from core.papers.config import PaperConfig
from core.papers.contract import load_figures
from core.paths import project_root
from core.running.worker_pool import worker_environment
from core.runs import provenance
from core.runs.folder import append_to_ledger

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunEffort:
    """What a run took.

    Attributes:
      computed: replicates computed now; the others had been computed before.
      seconds: wall-clock time.
      workers: processes that computed at a time.
      gflops: single-core throughput of this machine by `core.planning.forecasting.calibrate`.
      accelerators: names of the devices, when the run was not on the CPU.
    """

    computed: int
    seconds: float
    workers: int
    gflops: float
    accelerators: list[str]


def write_verdict(job: Job, effort: RunEffort) -> tuple[Path, list[dict[str, Any]], list[str]]:
    """Write the verdict's folder for the asked replicates; returns it with its claims and notes for the person.

    Nothing is judged or drawn again where nothing was computed and the same logic has judged and drawn before.
    """
    folder, run = job.run.verdict_folder(job.numbers), job.run
    if not effort.computed and (kept := kept_verdict(job, folder)):
        return folder, *kept

    from core.judging.verdicts import judge_study
    from core.runs import measurements

    table = measurements.collect_measurements(run, job.study.name, job.numbers)
    arrays = measurements.collect_arrays(run, job.numbers)
    measurements.write_measurements(folder / "measurements.csv.gz", table)
    if arrays:
        measurements.write_arrays(folder / "arrays.npz", arrays)
    judge = judge_study(job.launch.config, job.study.name, table, job.launch.scale)
    drawn, notes = draw_figures(job.launch.config, job.study.name, table, arrays, folder)
    files.write_json(folder / "claims.json", judge)
    # The provenance comes last: it says by which logic the files beside it were made.
    earlier = None if effort.computed else recorded_cost(folder / "provenance.json")
    about = {**run_provenance(job, effort), **(earlier or {}), "figures": drawn, "notes": notes}
    files.write_json(folder / "provenance.json", about)
    append_to_ledger(
        {"identity": run.identity, "first": job.numbers[0], "count": len(job.numbers), "date": provenance.today()}
    )
    return folder, judge, notes


def kept_verdict(job: Job, folder: Path) -> tuple[list[dict[str, Any]], list[str]] | None:
    """The claims and notes in a verdict's folder, if today's logic would come to the same."""
    try:
        recorded = files.read_json(folder / "provenance.json")
        logic = verdict_identity(job.launch.config, job.study.name), figures_identity(job.launch.config)
        if (recorded["verdict_identity"], recorded["figures_identity"]) != logic:
            return None
        if not all((folder / "figures" / f"{name}.svg").is_file() for name in recorded["figures"]):
            return None
        return files.read_json(folder / "claims.json"), recorded["notes"]
    except (OSError, ValueError, KeyError):
        return None


def draw_figures(
    config: PaperConfig, study: str, table: "pd.DataFrame", arrays: Mapping[str, Any], folder: Path
) -> tuple[list[str], list[str]]:
    """Draw the declared figures of a study and those of its paper's `figures.py`; returns their names and notes.

    What cannot be drawn, as after strange overrides, is a note and no failure.
    """
    from core.figures import drawing, standard

    drawn, notes = {}, []
    own = load_figures(config.slug)
    for make, given in (
        (standard.standard_figures, (config.form.figures, config.metrics, study, table)),
        (own, (table, arrays)),
    ):
        try:
            drawn |= drawing.call_in_style(make, *given) if make is not None else {}
        except (BadInput, KeyError, ValueError, IndexError) as error:
            notes.append(f"figures of {study} could not be drawn from these measurements: {error}")
    drawing.save_figures(drawn, folder / "figures")
    return sorted(drawn), notes


def recorded_cost(record: Path) -> dict[str, Any] | None:
    """What an earlier record says of the machine and the cost: judging again on another one does not change it."""
    try:
        found = files.read_json(record)
        return {name: found[name] for name in ("seconds", "peak_gib", "python", "platform", "device", "flags", "cost")}
    except (OSError, ValueError, KeyError):
        return None


def run_provenance(job: Job, effort: RunEffort) -> dict[str, Any]:
    """Provenance of a run: where it comes from and what it cost."""
    done = [job.run.read_cost(number) for number in job.numbers]
    own = [each["seconds"] / each["batch"] for each in done]
    compiling = [each["compile_seconds"] / each["batch"] for each in done]
    about = provenance.collect_provenance(
        seconds=effort.seconds if effort.computed == len(done) else sum(own) / effort.workers,
        peak_gib=max(each["peak_gib"] for each in done),
        accelerators=effort.accelerators,
        environment=worker_environment(bool(effort.accelerators), single_threaded=not effort.accelerators),
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
        "verdict_identity": verdict_identity(job.launch.config, job.study.name),
        "figures_identity": figures_identity(job.launch.config),
        "first_replicate": job.numbers[0],
        "cost": cost,
    }
