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
from core.data import loading
from core.errors import Busy, EncoreError, Stopped
from core.publishing.identity import digest
from core.running import crew, flow, hosts, plan
from core.running.jobs import Job
from core.running.screen import Screen
from core.running.workers import cores, use_accelerator
from core.settings import data_sets, plain
from core.sweeps.book import Point
from core.sweeps.point import Leader
from core.sweeps.points import Checker

MOST = 256  # replicates of all points in one program


@dataclass(frozen=True)
class Group:
    """Runs whose settings differ in the numbers `names` only."""

    jobs: tuple[Job, ...]
    names: tuple[str, ...]

    def entries(self) -> list[tuple[Job, int]]:
        """Every missing replicate of every run."""
        return [(job, number) for job in self.jobs for number in job.missing]

    def task(self, entries: Sequence[tuple[Job, int]], folder: Path) -> dict[str, Any]:
        """Some of them as the worker reads it."""
        first = self.jobs[0]
        runs, replicates = [job.run.identity for job, _ in entries], [number for _, number in entries]
        values = {id(job): dict(numbers(job.chosen.settings)) for job in self.jobs}
        return {
            **flow.task(first, "varied", replicates, first.run),
            "runs": runs,
            "vary": {name: [values[id(job)][name] for job, _ in entries] for name in self.names},
            "checkpoints": str(folder / "checkpoints" / digest([runs, replicates])[:12]),
        }


def compute(
    folder: Path, points: Sequence[Point], checker: Checker, leader: Leader, say: Callable[[str], None]
) -> None:
    """Compute what is missing of all points that can share programs; the book is not touched."""
    jobs = {job.run.identity: job for point in points for job in checker.jobs(point.words) if job.missing}
    for group in groups(jobs.values()):
        first = group.jobs[0]
        title = f"{len(group.jobs)} points of {first.study.name}, different in {', '.join(group.names)}"
        if (reason := cannot_share(group)) is not None:
            say(f"{title}: one by one, as they cannot share a program ({reason})")
            continue
        try:
            with held(group) as free:
                say(f"{title}: {len(free.entries())} replicates in one program")
                _compute(free, folder)
        except Stopped:
            leader.stop()
            return
        except EncoreError as error:  # the points run one by one afterwards, and those at fault say so themselves
            say(f"{title}: one by one, as together they failed ({error})")


def groups(jobs: Iterable[Job]) -> list[Group]:
    """Runs of one study, code and data whose settings differ in nothing but numbers; groups of one are left out."""
    alike: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        settings = {name: None for name, _ in numbers(job.chosen.settings)}
        others = _without(plain(job.chosen.settings), settings)
        parts = {name: value for name, value in job.identity.parts.items() if name != "settings"}
        if not job.study.data.get("alone") and not job.study.data.get("threads"):
            alike[digest([job.launch.page.slug, job.study.name, job.prepared, parts, others])].append(job)
    found = []
    for members in alike.values():
        values = [dict(numbers(job.chosen.settings)) for job in members]
        names = tuple(name for name in values[0] if len({each[name] for each in values}) > 1)
        if len(members) > 1 and names:
            found.append(Group(tuple(members), names))
    return found


def numbers(settings: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Dotted names and values of the settings that are numbers with a fraction, other than those of prepared work."""
    for described in dataclasses.fields(settings):
        value = getattr(settings, described.name)
        if isinstance(value, float):
            yield prefix + described.name, value
        elif dataclasses.is_dataclass(value) and described.name != "prepared":
            yield from numbers(value, f"{prefix}{described.name}.")


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


def cannot_share(group: Group) -> str | None:
    """Why these points need a program each, or None."""
    import jax

    from core.running import varied

    jax.config.update("jax_platforms", "cpu")
    first = group.jobs[0]
    return varied.follow(first.launch.page.slug, first.study, first.chosen.settings, group.names)


@contextlib.contextmanager
def held(group: Group) -> Generator[Group]:
    """The runs of a group that nobody else computes, locked, each with its settings written."""
    with contextlib.ExitStack() as locks:
        free = []
        for job in group.jobs:
            with contextlib.suppress(Busy):
                locks.enter_context(files.held_lock(job.run.folder / "lock", "busy"))
                flow.write_settings(job)
                free.append(job)
        yield dataclasses.replace(group, jobs=tuple(free))


def _compute(group: Group, folder: Path) -> None:
    entries, first, say = group.entries(), group.jobs[0], Screen()
    for name in data_sets(first.chosen.settings):
        loading.fetch(name, say.line)
    accelerator = use_accelerator(first.launch.device)
    if first.prepared is not None:
        flow.prepare_alone(first, accelerator, say)
    workers = 1 if accelerator else min(first.launch.workers or len(cores()), len(entries))
    most = min(MOST, -(-len(entries) // workers))
    tasks = [group.task(entries[at : at + most], folder) for at in range(0, len(entries), most)]
    with crew.pool(folder / "logs", accelerator, pinned=not accelerator) as pool:
        pool.start(workers)
        steps = plan.shapes_of(first.launch.page.slug, first.study, first.chosen.settings)["steps"]
        with say.progress(first, steps * len(entries), "training") as progress:
            flow.follow(first, hosts.alone(pool), tasks, progress)
