"""From a checked launch to a verdict: identity, plan, workers, measurements, claims, figures, provenance.

A run is one study at one identity. Replicates that are finished are never computed again; everything after the
measurements is made anew in seconds.
"""

import contextlib
import signal
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files, identity, plan, prepared, provenance, screen
from core.compose import Launch, Selected
from core.data import catalogue, loading
from core.errors import BadInput, EncoreError, Interrupted, OverBudget
from core.identity import Code, Identity
from core.pages import Page, Study
from core.roots import project_root, sheet_path
from core.runs import Run, note_in_ledger
from core.settings import data_sets, plain
from core.workers import Pool, cores, environment, use_accelerator

if TYPE_CHECKING:
    import pandas as pd

CHECKPOINT_SECONDS = 30.0
EXIT_CODES: dict[int, type[EncoreError]] = {cls.exit_code: cls for cls in (EncoreError, *EncoreError.__subclasses__())}


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
        ready = identity.run_identity(
            slug, study.name, "prepared", {**plain(settings.prepared), **form}, own.fingerprint, data, libraries
        ).name
    parts = {**plain(settings), **form, "prepared": ready}
    found = identity.run_identity(slug, study.name, launch.scale, parts, code.fingerprint, data, libraries)
    numbers = tuple(range(launch.first_replicate, launch.first_replicate + chosen.replicates))
    return Job(launch, chosen, found, code, numbers, ready)


def execute(launch: Launch) -> int:
    """Run every selected study, show the verdicts, and return 0; errors are raised with their exit codes."""
    jobs = [job_of(launch, chosen) for chosen in launch.studies]
    say = screen.Screen()
    gflops = plan.calibrate()
    forecasts = [forecast_of(job, gflops) for job in jobs]
    say.header(launch, jobs, forecasts)
    check_budget(launch, forecasts)
    outcomes = [run_job(job, forecast, gflops, say) for job, forecast in zip(jobs, forecasts, strict=True)]
    say.verdicts(outcomes)
    return 0


def workers_for(job: Job, peak_gib: float) -> int:
    """Worker processes: one per core, as long as memory and work last; one when an accelerator is used."""
    if use_accelerator(job.launch.device) or job.study.data.get("alone"):
        return 1
    room = max(1, int(plan.memory_gib() / max(peak_gib, 0.1)))
    wanted = job.launch.workers or min(len(cores()), room)
    return max(1, min(wanted, len(job.missing)))


def forecast_of(job: Job, gflops: float) -> plan.Forecast:
    """What the missing replicates are expected to take."""
    cost = None if job.chosen.overridden else plan.recorded(job.launch.page.slug, job.launch.scale, job.study.name)
    if not job.missing:
        return plan.Forecast(0.0, 0.0, 0, "finished before", 0)
    shapes = None
    if cost is None:
        shapes = plan.shapes_of(job.launch.page.slug, job.study, job.chosen.settings)
        peak = (plan.BYTES_PER_WORKER + shapes["peak_bytes"]) / 2**30
    else:
        peak = cost["peak_gib"]
    return plan.forecast(len(job.missing), workers_for(job, peak), gflops, cost, shapes)


def check_budget(launch: Launch, forecasts: Sequence[plan.Forecast]) -> None:
    """Refuse to start what is forecast to take longer than the budget, or more memory than there is."""
    minutes = sum(forecast.minutes for forecast in forecasts)
    if minutes > launch.budget_minutes:
        raise OverBudget(
            f"forecast {screen.duration(minutes)}, budget {screen.duration(launch.budget_minutes)}: "
            f"raise it with budget.minutes={minutes * 1.2:.0f}, or choose fewer studies or a smaller scale"
        )
    gib = max(forecast.gib for forecast in forecasts)
    if gib > plan.memory_gib():
        raise OverBudget(
            f"forecast {gib:.1f} GiB of memory, {plan.memory_gib():.1f} GiB are free: fewer workers or a smaller scale"
        )


def run_job(job: Job, forecast: plan.Forecast, gflops: float, say: "screen.Screen") -> Outcome:
    """Compute what is missing, then judge; the mirror follows the files."""
    busy = f"{job.identity.name} is being computed by another process; the same command shows its result afterwards"
    try:
        with files.held_lock(job.run.folder / "lock", busy):
            files.sweep_temporaries(job.run.folder)
            write_settings(job)
            started, missing = time.perf_counter(), job.missing
            devices: list[str] = []
            with mirrored(job) as mirror:
                if missing:
                    for name in data_sets(job.chosen.settings):
                        loading.fetch(name, say.line)
                    devices = compute(job, missing, forecast, say)
                folder, claims, notes = judge(job, time.perf_counter() - started, devices, gflops, forecast)
                mirror.append(folder)
            return Outcome(job, folder, claims, [*notes, *(note for note in mirror[1:] if note)])
    except OSError as error:
        raise BadInput(f"cannot write results to {job.run.folder.parent}: {error.strerror or error}") from None


def write_settings(job: Job) -> None:
    """Say what the run is before anything is computed; a folder of the same name must say the same."""
    about = {
        "paper": job.launch.page.slug,
        "study": job.study.name,
        "scale": job.launch.scale,
        "settings": plain(job.chosen.settings),
        "overridden": list(job.chosen.overridden),
        "identity": job.identity.parts,
    }
    path = job.run.settings_file
    if path.exists():
        with contextlib.suppress(ValueError):
            if files.read_json(path)["identity"] == about["identity"]:
                return
        raise BadInput(f"{job.run.folder} was written by something else: move it away")
    files.write_json(path, about)


@contextlib.contextmanager
def mirrored(job: Job) -> Generator[list[Any]]:
    """Mirror the run to a dashboard, beside it; the body appends the verdict's folder, a note may follow it."""
    from core.tracking.mirror import Mirror

    replicates = {"first_replicate": job.numbers[0], "replicates": len(job.numbers)}
    mirror = Mirror.start(job.run.folder, job.launch.tracking, replicates)
    said: list[Any] = []
    try:
        yield said
    finally:
        note = mirror.finish(said[0] if said else None)
        if said:
            said.append(note)


def compute(job: Job, missing: Sequence[int], forecast: plan.Forecast, say: "screen.Screen") -> list[str]:
    """Have the workers compute the missing replicates; returns the names of accelerators that took part."""
    accelerator = use_accelerator(job.launch.device)
    count, devices = max(1, forecast.workers), []
    if job.prepared is not None and not prepared.ready(job.prepared):
        with Pool(job.run.logs, accelerator, pinned=False) as pool:
            pool.start(1)
            follow(job, pool, [task(job, "prepare", [0], Run(job.prepared))], say.progress(job, 0, "preparing"))
    tasks = [task(job, "trial", batch, job.run) for batch in plan.batches(missing, accelerator)]
    with Pool(job.run.logs, accelerator, pinned=not accelerator and not job.study.data.get("threads")) as pool:
        pool.start(count)
        with say.progress(job, forecast.steps * len(missing), "training") as progress:
            devices = follow(job, pool, tasks, progress)
    return devices if accelerator else []


def task(job: Job, kind: str, replicates: Sequence[int], run: Run) -> dict[str, Any]:
    """One unit of work as the worker reads it."""
    return {
        "kind": kind,
        "paper": job.launch.page.slug,
        "study": job.study.name,
        "settings": plain(job.chosen.settings),
        "run": run.identity,
        "prepared": job.prepared,
        "replicates": list(replicates),
        "x64": job.study.data.get("x64", False),
        "alone": job.study.data.get("alone", False),
        "axis": job.launch.axis,
        "checkpoint_seconds": CHECKPOINT_SECONDS,
    }


def follow(job: Job, pool: Pool, tasks: Sequence[Mapping[str, Any]], progress: "screen.Progress") -> list[str]:
    """Follow the workers until all tasks are done; a signal stops them at a point to go on from."""
    failures, devices = [], []
    with signals_stop(pool):
        for event in pool.run([dict(each) for each in tasks]):
            match event["event"]:
                case "ready":
                    devices = event["devices"]
                case "steps":
                    progress.advance(event["count"])
                case "failed":
                    failures.append(event)
    if pool.stopped_at is not None:
        done = len(job.numbers) - len(job.missing)
        raise Interrupted(
            f"stopped with {done} of {len(job.numbers)} replicates finished; the same command goes on from here"
        )
    if failures:
        worst = min(failures, key=lambda event: event["code"])
        error = EXIT_CODES.get(worst["code"], EncoreError)
        raise error(f"{job.study.name}: {worst['message']}")
    return devices


@contextlib.contextmanager
def signals_stop(pool: Pool) -> Generator[None]:
    """Turn Ctrl-C and SIGTERM into an orderly stop."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: pool.stop())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def judge(
    job: Job, seconds: float, devices: list[str], gflops: float, forecast: plan.Forecast
) -> tuple[Path, list[dict[str, Any]], list[str]]:
    """Measurements, arrays, claims, figures and provenance of the asked replicates, written to the verdict's folder."""
    from core import records

    folder, run = job.run.verdict(job.numbers), job.run
    table = records.assemble(run, job.study.name, job.numbers)
    arrays = records.assemble_arrays(run, job.numbers)
    records.write_measurements(folder / "measurements.csv.gz", table)
    if arrays:
        records.write_arrays(folder / "arrays.npz", arrays)
    claims = verdicts(job.launch.page, job.study.name, table, job.launch.scale)
    drawn, notes = draw(job.launch.page.slug, job.study.name, table, arrays, folder)
    before = folder / "provenance.json"
    spent = files.read_json(before)["seconds"] if before.exists() and not forecast.workers else 0.0
    files.write_json(folder / "claims.json", claims)
    # The provenance comes last: it says by which logic the files beside it were made.
    files.write_json(before, {**about_run(job, seconds + spent, devices, gflops, forecast), "figures": drawn})
    note_in_ledger(
        {"identity": run.identity, "first": job.numbers[0], "count": len(job.numbers), "date": provenance.today()}
    )
    return folder, claims, notes


def verdicts(page: Page, study: str, table: "pd.DataFrame", scale: str) -> list[dict[str, Any]]:
    """The verdicts of one study's claims.

    A claim that cannot be judged from these rows, because settings were overridden or the scale is too small to
    decide, is "not testable" and says why.
    """
    from core import claims

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


def about_run(job: Job, seconds: float, devices: list[str], gflops: float, forecast: plan.Forecast) -> dict[str, Any]:
    """Provenance of a run: where it comes from and what it cost."""
    done = [job.run.done(number) for number in job.numbers]
    flags = environment(bool(devices), single=not devices)
    about = provenance.collect(
        seconds=seconds,
        peak_gib=max(each["peak_gib"] for each in done),
        accelerators=devices,
        environment=flags,
        distributions=job.code.distributions,
        repository=project_root(),
    )
    sheet = sheet_path(job.launch.page.slug)
    computed = [each["seconds"] - each["compile_seconds"] for each in done]
    cost = {
        "seconds_per_replicate": round(sum(computed) / len(computed), 2),
        "compile_seconds": round(sum(each["compile_seconds"] for each in done), 2),
        "iterating_seconds": round(sum(each["iterating_seconds"] for each in done), 2),
        "peak_gib": about["peak_gib"],
        "steps": done[0]["steps"],
        "calibration_gflops": round(gflops, 1),
        "workers": forecast.workers,
    }
    return {
        **about,
        "run": job.identity.name,
        "verdict_identity": verdict_identity(job.launch.page, job.study.name),
        "figures_identity": identity.figures_identity(sheet),
        "first_replicate": job.numbers[0],
        "cost": cost,
    }


def verdict_identity(page: Page, study: str) -> str:
    """Identity of a study's verdicts: its claims and deviations, and the code that judges them."""
    own = {name: claim for name, claim in page.claims.items() if claim["study"] == study}
    return identity.verdict_identity({"claims": own, "deviations": page.data["studies"][study].get("deviations", [])})
