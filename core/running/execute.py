"""From a checked launch to a verdict: identity, plan, workers, measurements, claims, figures, provenance.

A run is one study at one identity. Replicates that are finished are never computed again; everything after the
measurements is made anew in seconds.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from core import files, terminal
from core.data import loading
from core.errors import BadInput, DataMissing, EncoreError, OverBudget, Stopped
from core.launch.compose import Launch
from core.launch.hosts import spreads_batches
from core.launch.hydra_queries import hydra_folder
from core.launch.jobs import Job, JobOutcome, make_job
from core.papers.settings import data_sets_of_settings, settings_as_dict
from core.planning import cost_ledger, forecasting, machine
from core.planning.forecasting import forecast_job
from core.planning.machine import available_cores, use_accelerator
from core.running import conclude, display, prepared, surroundings, worker_reuse
from core.running.process_group import ProcessGroup, single_process
from core.running.worker_pool import WorkerPool
from core.runs.folder import RunFolder
from core.terminal import ProgressBar
from core.tracking.mirror import Mirror

CHECKPOINT_SECONDS = 30.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
EXIT_CODES: dict[int, type[EncoreError]] = {cls.exit_code: cls for cls in (*EncoreError.__subclasses__(), EncoreError)}


def run_launch(launch: Launch) -> int:
    """Run every selected study, show the verdicts, and return 0; errors are raised with their exit codes."""
    screen = display.RunDisplay()
    if outcomes := perform_launch(launch, screen):
        screen.print_verdicts(outcomes)
    return 0


def perform_launch(launch: Launch, screen: "display.RunDisplay") -> list[JobOutcome]:
    """Run every selected study; of several processes only the first one has outcomes."""
    with handle_signals(raise_stopped):
        return _execute(launch, screen)


def _execute(launch: Launch, screen: "display.RunDisplay") -> list[JobOutcome]:
    surroundings.check_surroundings(launch)
    jobs = [make_job(launch, chosen) for chosen in launch.studies]
    gflops = worker_reuse.recent_machine_gflops()
    forecasts = [forecast_job(job, gflops) for job in jobs]
    screen.console.quiet = not launch.hosts.leads
    screen.print_header(launch, jobs, forecasts)
    check_budget(launch, forecasts)
    check_measurable(job for job in jobs if job.missing)
    fetch_data([job for job in jobs if job.missing], screen.print_line)
    if not launch.hosts.leads:
        for job, forecast in zip(jobs, forecasts, strict=True):
            compute_own_share(job, forecast, screen)
        return []
    return [run_job(job, forecast, gflops, screen) for job, forecast in zip(jobs, forecasts, strict=True)]


def check_measurable(jobs: Iterable[Job]) -> None:
    """Refuse studies that do not measure what their claims are judged by; a finished run needs no jax to be shown."""
    for job in jobs:
        from core.planning import measurable

        measurable.check_measurable(job)


def compute_own_share(job: Job, forecast: forecasting.Forecast, screen: "display.RunDisplay") -> None:
    """Compute this process's part of the missing replicates; process 0 does the rest of `run_job`."""
    if missing := job.missing:
        compute_replicates(job, missing, forecast, screen)


def fetch_data(jobs: Sequence[Job], notify: Callable[[str], object]) -> None:
    """Fetch and verify the data of all jobs. Raises one DataMissing about everything that is not to be had."""
    names = {name: None for job in jobs for name in data_sets_of_settings(job.chosen.settings)}
    faults = []
    for name in names:
        try:
            loading.fetch_data_set(name, notify)
        except DataMissing as error:
            faults.append(str(error))
    if faults:
        planned = all(job.study.default and job.launch.scale == "laptop" for job in jobs)
        command = f"encore fetch {jobs[0].launch.config.slug}{'' if planned else ' --every-study'}"
        raise DataMissing(f"{'; '.join(faults)}. `{command}` fetches beforehand, for example where there is a network")


def check_budget(launch: Launch, forecasts: Sequence[forecasting.Forecast]) -> None:
    """Refuse to start what is forecast to take longer than the budget, or more memory than there is."""
    minutes = sum(forecast.minutes for forecast in forecasts)
    if minutes > launch.budget_minutes:
        raise OverBudget(
            f"forecast {terminal.format_duration(minutes)}, budget {terminal.format_duration(launch.budget_minutes)}: "
            f"raise it with budget.minutes={minutes * 1.2:.0f}, or choose fewer studies or a smaller scale"
        )
    gib = max(forecast.gib for forecast in forecasts)
    if gib > machine.free_memory_gib():
        raise OverBudget(
            f"forecast {gib:.1f} GiB of memory, {machine.free_memory_gib():.1f} GiB are free: "
            "fewer workers or a smaller scale"
        )


def run_job(job: Job, forecast: forecasting.Forecast, gflops: float, screen: "display.RunDisplay") -> JobOutcome:
    """Compute what is missing, then judge; the mirror follows the files."""
    busy = f"{job.identity.name} is being computed by another process; the same command shows its result afterwards"
    try:
        with files.try_lock(job.run.folder / "lock", busy):
            files.remove_temporaries(job.run.folder)
            write_settings(job)
            return compute_and_judge(job, forecast, gflops, screen)
    except OSError as error:
        raise surroundings.results_error(error) from None


def compute_and_judge(
    job: Job, forecast: forecasting.Forecast, gflops: float, screen: "display.RunDisplay"
) -> JobOutcome:
    """The replicates that are missing, then the verdict on all that are asked for."""
    started, missing, devices, folder = time.perf_counter(), job.missing, [], None
    mirror = Mirror.start(job.run.folder, job.launch.tracking, computing=bool(missing))
    try:
        if missing:
            devices = compute_replicates(job, missing, forecast, screen)
            cost_ledger.append_entry(job, missing, forecast, (time.perf_counter() - started) / 60, gflops)
        effort = conclude.RunEffort(
            computed=len(missing),
            seconds=time.perf_counter() - started,
            workers=forecast.workers or min(len(available_cores()), len(job.numbers)),
            gflops=gflops,
            accelerators=devices,
        )
        folder, claims, notes = conclude.write_verdict(job, effort)
    finally:
        note = mirror.finish(folder)
    return JobOutcome(job, folder, claims, [*notes, *filter(None, [note])])


def write_settings(job: Job) -> None:
    """Say what the run is before anything is computed; a folder of the same name must say the same."""
    about = {
        "paper": job.launch.config.slug,
        "study": job.study.name,
        "scale": job.launch.scale,
        "settings": settings_as_dict(job.chosen.settings),
        "overridden": list(job.chosen.overridden),
        "identity": job.identity.parts,
    }
    path = job.run.settings_file
    if path.exists():
        found = None
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found = files.read_json(path)["identity"]
        if found != about["identity"]:
            raise BadInput(f"{job.run.folder} was written by something else: move it away")
    else:
        files.write_json(path, about)
    write_command(job)


def write_command(job: Job) -> None:
    """Keep the command that computes a run where Hydra's users look for it; one that computes nothing is not kept."""
    folder = job.run.folder / ".hydra"
    if job.launch.job is not None and (job.missing or not folder.exists()):
        for name, text in hydra_folder(job.launch).items():
            files.write_text(folder / name, text)


def compute_replicates(
    job: Job, missing: Sequence[int], forecast: forecasting.Forecast, screen: "display.RunDisplay"
) -> list[str]:
    """Have the workers compute the missing replicates; returns the names of accelerators that took part."""
    accelerator, hosts = use_accelerator(job.launch.device), job.launch.hosts
    spread = hosts.several and spreads_batches(job.chosen.settings)
    pinned = not accelerator and not spread and not job.study.form.threads
    found = (
        WorkerPool if hosts.several else worker_reuse.acquire_pool
    )  # workers that joined other processes serve one run only
    with found(worker_logs_folder(job), accelerator, pinned) as pool, ProcessGroup(hosts, pool, spread) as group:
        group.connect(f"{job.identity.name} {job.numbers} {missing}")
        if job.prepared is not None and not prepared.is_prepared(job.prepared):
            compute_prepared_work(job, group, screen)
        own = group.own_share(missing)
        tasks = [
            worker_task(job, "trial", batch, job.run, spread)
            for batch in forecasting.replicate_batches(own, accelerator)
        ]
        pool.start_workers(1 if spread else max(1, min(forecast.workers, len(own))))
        with screen.progress_bar(job, forecast.steps * len(own), "training") as progress:
            follow_tasks(job, group, tasks, progress)
        group.wait_until(lambda: not job.missing)
        group.barrier("computed")
        return pool.devices if accelerator else []


def worker_logs_folder(job: Job) -> Path:
    """Where the workers of this process write their output."""
    return (
        job.run.logs_folder / f"process-{job.launch.hosts.index}" if job.launch.hosts.several else job.run.logs_folder
    )


def compute_prepared_work(job: Job, group: ProcessGroup, screen: "display.RunDisplay") -> None:
    """Compute what all replicates share: process 0 does, or all of them at once where batches are spread."""
    assert job.prepared is not None
    if group.spread:
        work = worker_task(job, "prepare", [0], RunFolder(job.prepared), spread=True)
        follow_tasks(job, group, [work], screen.progress_bar(job, 0, "preparing"))
    elif group.hosts.leads:
        compute_prepared_work_here(job, group.pool.accelerator, screen)
    group.wait_until(partial(prepared.is_prepared, job.prepared))


def compute_prepared_work_here(job: Job, accelerator: bool, screen: "display.RunDisplay") -> None:
    """Compute what all replicates share in this process; runs that share it too wait for it here."""
    assert job.prepared is not None
    run = RunFolder(job.prepared)
    with files.wait_for_lock(
        run.folder / "lock", lambda: screen.print_line(f"waiting for {run.identity}, which others prepare")
    ):
        if not prepared.is_prepared(run.identity):
            with WorkerPool(worker_logs_folder(job), accelerator, pinned=False) as pool:
                pool.start_workers(1)
                follow_tasks(
                    job,
                    single_process(pool),
                    [worker_task(job, "prepare", [0], run)],
                    screen.progress_bar(job, 0, "preparing"),
                )


def worker_task(job: Job, kind: str, replicates: Sequence[int], run: RunFolder, spread: bool = False) -> dict[str, Any]:
    """One unit of work as the worker reads it; `spread` all processes work on it, all but the first in silence."""
    return {
        "kind": kind,
        "paper": job.launch.config.slug,
        "study": job.study.name,
        "settings": settings_as_dict(job.chosen.settings),
        "run": run.identity,
        "prepared": job.prepared,
        "replicates": list(replicates),
        "x64": job.study.form.x64,
        "exclusive": job.study.form.exclusive,
        "axis": "loop" if spread and job.launch.axis == "auto" else job.launch.axis,
        "spread": spread,
        "silent": spread and not job.launch.hosts.leads,
        "checkpoint_seconds": CHECKPOINT_SECONDS,
    }


def follow_tasks(job: Job, group: ProcessGroup, tasks: Sequence[Mapping[str, Any]], progress: "ProgressBar") -> None:
    """Follow the workers until all tasks are done; a signal stops them at a point to go on from."""
    failures, pool = [], group.pool
    with handle_signals(pool.request_stop):
        for event in group.run_tasks([dict(each) for each in tasks]):
            match event["event"]:
                case "steps":
                    progress.advance(event["count"])
                case "note":
                    progress.print_once(event["line"])
                case "failed":
                    failures.append(event)
    group.raise_if_peer_lost()
    if pool.stopped_at is not None:
        done = len(job.numbers) - len(job.missing)
        raise Stopped(
            f"stopped with {done} of {len(job.numbers)} replicates finished; the same command goes on from here"
        )
    if failures:
        worst = min(failures, key=lambda event: event["code"])
        error = EXIT_CODES.get(worst["code"], EncoreError)
        hint = "; the same command goes on from here" if worst["message"] == "stopped" else ""
        raise error(f"{job.study.name}: {worst['message']}{hint}")


@contextlib.contextmanager
def handle_signals(action: Callable[[], object]) -> Generator[None]:
    """Let Ctrl-C, SIGTERM and a launcher's early warning call `action` instead of ending the process."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in before:
        signal.signal(number, lambda *_: action())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_stopped() -> None:
    """What a signal does while no worker computes; files are written whole or not at all."""
    raise Stopped("stopped; the same command goes on from here")
