"""Points that differ only in numbers, computed as further replicates of one compiled program.

What it leaves behind is what every point computed by itself leaves behind, within rounding: each replicate in the
folder of its own run. Points that cannot run so, because a number decides a shape or a branch, are left as they are.
"""

import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import files
from core.errors import Busy, EncoreError, Stopped
from core.launch.jobs import Job
from core.papers.settings import PerArm, Settings, settings_as_dict
from core.planning import forecasting
from core.planning.machine import available_cores, use_accelerator
from core.running import execute, process_group, worker_reuse
from core.running.display import RunDisplay
from core.runs.identity import digest
from core.runs.sweep_folder import SweepPoint
from core.sweeps.run_point import Leader
from core.sweeps.sweep_command import PointChecker

MAX_REPLICATES = 256  # replicates of all points in one program


@dataclass(frozen=True)
class VectorisedGroup:
    """Runs whose settings differ in the numbers named `varying_settings` only."""

    jobs: tuple[Job, ...]
    varying_settings: tuple[str, ...]

    def missing_replicates(self) -> list[tuple[Job, int]]:
        """Every missing replicate of every run."""
        return [(job, number) for job in self.jobs for number in job.missing]

    def worker_task(self, entries: Sequence[tuple[Job, int]], folder: Path) -> dict[str, Any]:
        """Some of these replicates as a task that a worker reads."""
        first = self.jobs[0]
        runs, replicates = [job.run.identity for job, _ in entries], [number for _, number in entries]
        values = {id(job): dict(numeric_settings(job.chosen.settings)) for job in self.jobs}
        return {
            **execute.worker_task(first, "varied", replicates, first.run),
            "runs": runs,
            "vary": {name: [values[id(job)][name] for job, _ in entries] for name in self.varying_settings},
            "checkpoints": str(folder / "checkpoints" / digest([runs, replicates])[:12]),
        }


def compute_groups(
    folder: Path, points: Sequence[SweepPoint], checker: PointChecker, leader: Leader, notify: Callable[[str], None]
) -> None:
    """Compute what is missing of all points that can share programs; the points' files are not touched."""
    jobs = {job.run.identity: job for point in points for job in checker.point_jobs(point.words) if job.missing}
    for group in group_jobs(jobs.values()):
        first = group.jobs[0]
        title = f"{len(group.jobs)} points of {first.study.name}, different in {', '.join(group.varying_settings)}"
        if (reason := why_not_vectorisable(group)) is not None:
            notify(f"{title}: one by one, as they cannot share a program ({reason})")
            continue
        try:
            with lock_runs(group) as free:
                notify(f"{title}: {len(free.missing_replicates())} replicates in one program")
                _compute(free, folder)
        except Stopped:
            leader.request_stop()
            return
        except EncoreError as error:  # the points run one by one afterwards, and those at fault say so themselves
            notify(f"{title}: one by one, as together they failed ({error})")


def group_jobs(jobs: Iterable[Job]) -> list[VectorisedGroup]:
    """Runs of one study, code and data whose settings differ in nothing but numbers; groups of one are left out."""
    alike: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        settings = {name: None for name, _ in numeric_settings(job.chosen.settings)}
        others = _without(settings_as_dict(job.chosen.settings), settings)
        parts = {name: value for name, value in job.identity.parts.items() if name != "settings"}
        if not job.study.form.exclusive and not job.study.form.threads:
            alike[digest([job.launch.config.slug, job.study.name, job.prepared, parts, others])].append(job)
    found = []
    for members in alike.values():
        values = [dict(numeric_settings(job.chosen.settings)) for job in members]
        names = tuple(name for name in values[0] if len({each[name] for each in values}) > 1)
        if len(members) > 1 and names:
            found.append(VectorisedGroup(tuple(members), names))
    return found


def numeric_settings(settings: Settings | PerArm, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Dotted names and values of the settings that are numbers with a fraction, other than those of prepared work."""
    for name, value in settings.root.items() if isinstance(settings, PerArm) else settings:
        if isinstance(value, float):
            yield prefix + name, value
        elif isinstance(value, Settings | PerArm) and name != "prepared":
            yield from numeric_settings(value, f"{prefix}{name}.")


def _without(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Nested values with those of some dotted names replaced by a mark."""
    made = {name: _without(value, ()) if isinstance(value, dict) else value for name, value in values.items()}
    for name in names:
        *outer, last = name.split(".")
        group = made
        for each in outer:
            group = group[each]
        group[last] = "varies"
    return made


def why_not_vectorisable(group: VectorisedGroup) -> str | None:
    """Why these points need a program each, or None."""
    import jax

    from core.lab import vectorised

    jax.config.update("jax_platforms", "cpu")
    first = group.jobs[0]
    return vectorised.why_not_vectorisable(
        first.launch.config.slug, first.study, first.chosen.settings, group.varying_settings
    )


@contextlib.contextmanager
def lock_runs(group: VectorisedGroup) -> Generator[VectorisedGroup]:
    """The runs of a group that nobody else computes, locked, each with its settings written."""
    with contextlib.ExitStack() as locks:
        free = []
        for job in group.jobs:
            with contextlib.suppress(Busy):
                locks.enter_context(files.try_lock(job.run.folder / "lock", "busy"))
                execute.write_settings(job)
                free.append(job)
        yield dataclasses.replace(group, jobs=tuple(free))


def _compute(group: VectorisedGroup, folder: Path) -> None:
    entries, first, screen = group.missing_replicates(), group.jobs[0], RunDisplay()
    execute.fetch_data([first], screen.print_line)
    accelerator = use_accelerator(first.launch.device)
    if first.prepared is not None:
        execute.compute_prepared_work_here(first, accelerator, screen)
    workers = 1 if accelerator else min(first.launch.workers or len(available_cores()), len(entries))
    most = min(MAX_REPLICATES, -(-len(entries) // workers))
    tasks = [group.worker_task(entries[at : at + most], folder) for at in range(0, len(entries), most)]
    with worker_reuse.acquire_pool(folder / "logs", accelerator, pinned=not accelerator) as pool:
        pool.start_workers(workers)
        steps = forecasting.count_trial_cost(first.launch.config.slug, first.study, first.chosen.settings)["steps"]
        with screen.progress_bar(first, steps * len(entries), "training") as progress:
            execute.follow_tasks(first, process_group.single_process(pool), tasks, progress)
