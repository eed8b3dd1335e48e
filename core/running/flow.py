"""From a checked launch to a verdict: identity, plan, workers, measurements, claims, figures, provenance.

A run is one study at one identity. Replicates that are finished are never computed again; everything after the
measurements is made anew in seconds.
"""

import contextlib
import errno
import signal
import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from core import files, prepared
from core.data import loading
from core.errors import BadInput, EncoreError, Interrupted, OverBudget, Stopped
from core.judging import verdict
from core.running import costs, crew, plan, screen
from core.running.compose import Launch
from core.running.hosts import Team, alone, spreads
from core.running.jobs import Job, Outcome, job_of
from core.running.runs import Run
from core.running.workers import Pool, cores, use_accelerator
from core.settings import data_sets, plain
from core.tracking.mirror import Mirror

CHECKPOINT_SECONDS = 30.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
EXIT_CODES: dict[int, type[EncoreError]] = {cls.exit_code: cls for cls in (EncoreError, *EncoreError.__subclasses__())}


def execute(launch: Launch) -> int:
    """Run every selected study, show the verdicts, and return 0; errors are raised with their exit codes."""
    with on_signal(stop_at_once):
        return _execute(launch)


def _execute(launch: Launch) -> int:
    jobs = [job_of(launch, chosen) for chosen in launch.studies]
    say = screen.Screen()
    gflops = crew.calibrated()
    forecasts = [forecast_of(job, gflops) for job in jobs]
    say.console.quiet = not launch.hosts.leads
    say.header(launch, jobs, forecasts)
    check_budget(launch, forecasts)
    if not launch.hosts.leads:
        for job, forecast in zip(jobs, forecasts, strict=True):
            assist(job, forecast, say)
        return 0
    say.verdicts([run_job(job, forecast, gflops, say) for job, forecast in zip(jobs, forecasts, strict=True)])
    return 0


def assist(job: Job, forecast: plan.Forecast, say: "screen.Screen") -> None:
    """Compute this process's part of the missing replicates; process 0 does the rest of `run_job`."""
    if missing := job.missing:
        for name in data_sets(job.chosen.settings):
            loading.fetch(name, say.line)
        compute(job, missing, forecast, say)


def workers_for(job: Job, peak_gib: float) -> int:
    """Worker processes: one per core, as long as memory and work last; one when an accelerator is used."""
    if use_accelerator(job.launch.device) or job.study.data.get("alone"):
        return 1
    room = max(1, int(plan.memory_gib() / max(peak_gib, 0.1)))
    wanted = job.launch.workers or min(len(cores()), room)
    return max(1, min(wanted, len(job.missing)))


def forecast_of(job: Job, gflops: float) -> plan.Forecast:
    """What the missing replicates are expected to take: by the same run earlier, the published one, or by counting."""
    if not job.missing:
        return plan.Forecast(0.0, 0.0, 0, "finished before", 0)
    slug, study, lines = job.launch.page.slug, job.study, costs.read()
    count = -(-len(job.missing) // (1 if spreads(job.chosen.settings) else job.launch.hosts.count))
    cost, source = costs.of_run(job.identity.name, lines), "this run before"
    if cost is None and not job.chosen.overridden:
        cost, source = plan.recorded(slug, job.launch.scale, study.name), "the published run"
    if cost is not None:
        workers = workers_for(job, cost["peak_gib"])
        return plan.forecast(count, workers, gflops, cost, None, source)
    shapes = plan.shapes_of(slug, study, job.chosen.settings)
    workers = workers_for(job, (plan.BYTES_PER_WORKER + shapes["peak_bytes"]) / 2**30)
    near, words = costs.nearest(slug, study.name, lines, shapes["flops"])
    source, efficiency, overhead = "counted operations", plan.TYPICAL_EFFICIENCY, plan.OVERHEAD_SECONDS
    if near:
        source = f"operations, {words}"
        efficiency = statistics.median(line.efficiency or efficiency for line in near)
        overhead = statistics.median(line.overhead_seconds for line in near)
    elif published := plan.published_efficiency(slug, study):
        source, efficiency = "operations, the published run", published
    return plan.forecast(count, workers, gflops, None, shapes, source, efficiency, overhead)


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
            return computed_and_judged(job, forecast, gflops, say)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise Interrupted("the disk is full: free some space and give the same command again") from None
        where = screen.shown(job.run.folder.parent)
        raise BadInput(f"cannot write results to {where}: {error.strerror or error}") from None


def computed_and_judged(job: Job, forecast: plan.Forecast, gflops: float, say: "screen.Screen") -> Outcome:
    """The replicates that are missing, then the verdict on all that are asked for."""
    started, missing, devices, folder = time.perf_counter(), job.missing, [], None
    mirror = Mirror.start(job.run.folder, job.launch.tracking, computing=bool(missing))
    try:
        if missing:
            for name in data_sets(job.chosen.settings):
                loading.fetch(name, say.line)
            devices = compute(job, missing, forecast, say)
            costs.note(job, missing, forecast, (time.perf_counter() - started) / 60, gflops)
        effort = verdict.Effort(
            computed=len(missing),
            seconds=time.perf_counter() - started,
            workers=forecast.workers or min(len(cores()), len(job.numbers)),
            gflops=gflops,
            accelerators=devices,
        )
        folder, claims, notes = verdict.judge(job, effort)
    finally:
        note = mirror.finish(folder)
    return Outcome(job, folder, claims, [*notes, *filter(None, [note])])


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
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if files.read_json(path)["identity"] == about["identity"]:
                return
        raise BadInput(f"{job.run.folder} was written by something else: move it away")
    files.write_json(path, about)


def compute(job: Job, missing: Sequence[int], forecast: plan.Forecast, say: "screen.Screen") -> list[str]:
    """Have the workers compute the missing replicates; returns the names of accelerators that took part."""
    accelerator, hosts = use_accelerator(job.launch.device), job.launch.hosts
    together = hosts.several and spreads(job.chosen.settings)
    pinned = not accelerator and not together and not job.study.data.get("threads")
    found = Pool if hosts.several else crew.pool  # workers that joined other processes serve one run only
    with found(logs_of(job), accelerator, pinned) as pool, Team(hosts, pool, together) as team:
        team.join(f"{job.identity.name} {job.numbers} {missing}")
        if job.prepared is not None and not prepared.ready(job.prepared):
            prepare(job, team, say)
        own = team.share(missing)
        tasks = [task(job, "trial", batch, job.run, together) for batch in plan.batches(own, accelerator)]
        pool.start(1 if together else max(1, min(forecast.workers, len(own))))
        with say.progress(job, forecast.steps * len(own), "training") as progress:
            follow(job, team, tasks, progress)
        team.wait(lambda: not job.missing)
        team.meet("computed")
        return pool.devices if accelerator else []


def logs_of(job: Job) -> Path:
    """Where the workers of this process write what they say."""
    return job.run.logs / f"process-{job.launch.hosts.index}" if job.launch.hosts.several else job.run.logs


def prepare(job: Job, team: Team, say: "screen.Screen") -> None:
    """Compute what all replicates share: process 0 does, or all of them at once where batches are spread."""
    assert job.prepared is not None
    if team.together:
        work = task(job, "prepare", [0], Run(job.prepared), together=True)
        follow(job, team, [work], say.progress(job, 0, "preparing"))
    elif team.hosts.leads:
        prepare_alone(job, team.pool.accelerator, say)
    team.wait(partial(prepared.ready, job.prepared))


def prepare_alone(job: Job, accelerator: bool, say: "screen.Screen") -> None:
    """Compute what all replicates share in this process; runs that share it too wait for it here."""
    assert job.prepared is not None
    run = Run(job.prepared)
    with files.awaited_lock(run.folder / "lock", lambda: say.line(f"waiting for {run.identity}, which others prepare")):
        if not prepared.ready(run.identity):
            with Pool(logs_of(job), accelerator, pinned=False) as pool:
                pool.start(1)
                follow(job, alone(pool), [task(job, "prepare", [0], run)], say.progress(job, 0, "preparing"))


def task(job: Job, kind: str, replicates: Sequence[int], run: Run, together: bool = False) -> dict[str, Any]:
    """One unit of work as the worker reads it; `together` all processes work on it, all but the first in silence."""
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
        "axis": "loop" if together and job.launch.axis == "auto" else job.launch.axis,
        "together": together,
        "silent": together and not job.launch.hosts.leads,
        "checkpoint_seconds": CHECKPOINT_SECONDS,
    }


def follow(job: Job, team: Team, tasks: Sequence[Mapping[str, Any]], progress: "screen.Progress") -> None:
    """Follow the workers until all tasks are done; a signal stops them at a point to go on from."""
    failures, pool = [], team.pool
    with on_signal(pool.stop):
        for event in team.run([dict(each) for each in tasks]):
            match event["event"]:
                case "steps":
                    progress.advance(event["count"])
                case "failed":
                    failures.append(event)
    team.check()
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
def on_signal(act: Callable[[], object]) -> Generator[None]:
    """Let Ctrl-C, SIGTERM and a launcher's early warning call `act` instead of ending the process."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in before:
        signal.signal(number, lambda *_: act())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_at_once() -> None:
    """What a signal does while no worker computes; files are written whole or not at all."""
    raise Stopped("stopped; the same command goes on from here")
