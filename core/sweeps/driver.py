"""A sweep from its words to its end: check every point, launch what is not finished, come back to what was busy.

Hydra's multirun launches the points; what is known of them is in its folder (`core.runs.sweep_folder`), so that a sweep
can be killed at any moment, started again, and shared by several terminals.
"""

import contextlib
import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from core import files
from core.errors import BadInput, EncoreError, Unfinished
from core.launch.jobs import Job
from core.paths import project_root, runs_folder
from core.planning.machine import available_cores, check_device
from core.running import execute, surroundings, worker_reuse
from core.runs import sweep_folder
from core.runs.sweep_folder import Sweep, SweepPoint
from core.sweeps import objective, pruning, search, sweep_command
from core.sweeps.display import SweepProgress, print_sweep_end
from core.sweeps.objective import Objective
from core.sweeps.run_point import Leader, run_point
from core.sweeps.search import PointSource
from core.sweeps.sweep_command import PointChecker, SweepCommand
from core.terminal import short_path

UNFINISHED_STATES = ("waiting", "running", "interrupted")  # states of points that are not done
MAX_ATTEMPTS = 2  # at a point in one life of a sweep, where it is interrupted and nobody asked for that
BUSY_SECONDS = 2.0
FRESH_REPLICATE_OFFSET = 1000  # the winner is run again on replicates this much further on
LOCATION_VARIABLES = ("ENCORE_ROOT", "ENCORE_RESULTS", "ENCORE_CACHE", "ENCORE_DATA")
IN_PROCESS_LAUNCHERS = ("local", "vectorised")
LAUNCHERS_HERE = (*IN_PROCESS_LAUNCHERS, "joblib", "slurm_local")  # on this machine alone


def run_sweep(words: Sequence[str]) -> int:
    """Check and run a sweep; returns its exit code."""
    command = sweep_command.parse_command(words)
    for name in LOCATION_VARIABLES:  # the processes of a launcher may stand in other working directories
        if os.environ.get(name):
            os.environ[name] = str(Path(os.environ[name]).absolute())
    surroundings.check_results_folder()
    if command.choices["launcher"] in LAUNCHERS_HERE:
        check_device(command.shared_value("device", "auto"))
    driver = make_driver(command)
    try:
        return driver.run()
    except OSError as error:
        raise surroundings.results_error(error) from None


def make_driver(command: SweepCommand) -> "SweepDriver":
    """The driver of a sweep, after everything is checked that can be checked before the first point runs.

    Nothing is written.
    """
    workers = int(command.shared_value("workers", "1")) if command.shared_value("workers", "1").isdigit() else 1
    jobs = max(1, len(available_cores()) // workers)
    values = {"workers": workers, "jobs": jobs, "folder": "none", "point": "0"}
    hydra_words = sweep_command.hydra_words(command, values)
    options = sweep_command.compose_sweep([*hydra_words, *sweep_command.override_words(values)])
    sweep_command.check_launcher_ranges(options["hydra"]["launcher"])
    if command.choices["launcher"] in IN_PROCESS_LAUNCHERS:
        checker = PointChecker(command.fixed)
    else:
        checker = PointChecker(
            (*[word for word in command.fixed if not word.startswith("workers=")], f"workers={workers}")
        )
    wanted, pruner = _objective(command, checker), options["sweeper"]["pruner"]
    source = search.make_source(command, checker, wanted, options)
    checked = [checker.check_point(number, values) for number, values in enumerate(source.points_to_check())]
    pruner = pruning.check_pruner(pruner, wanted, command.choices["launcher"], checked)
    if pruner != pruning.NONE:
        sweep_command.check_installed("tpe")  # the pruners are Optuna's, too
    folder = sweep_folder.sweep_path(runs_folder(), source.sweep_identity())
    listed = checked if command.choices["sweeper"] == "grid" else []
    if command.only_points is not None and listed and (beyond := [n for n in command.only_points if n >= len(listed)]):
        raise BadInput(f"points={beyond[0]} is beyond the last point, {len(listed) - 1}")
    return SweepDriver(
        command, checker, source, wanted, listed, folder, [*hydra_words, *sweep_command.override_words(values)], pruner
    )


def _objective(command: SweepCommand, checker: PointChecker) -> Objective | None:
    """What the sweep selects by, checked against the first values of all axes."""
    if not command.objective:
        return None
    first = {key: search.axis_ends(override)[0] for key, override in command.axes.items()}
    papers = search.axis_ends(command.axes["paper"]) if "paper" in command.axes else [None]
    found = None
    for paper in papers:
        values = {**first, "paper": paper} if paper else first
        found = objective.parse_objective(
            command.objective, checker.compose_point([*checker.fixed, *sweep_command.override_words(values)])
        )
    return found


@dataclass
class SweepDriver:
    """A checked sweep at work in this terminal."""

    command: SweepCommand
    checker: PointChecker
    source: PointSource
    objective: Objective | None
    points: list[SweepPoint]
    folder: Path
    hydra_words: list[str]
    pruner: str = pruning.NONE
    attempts: dict[int, int] = field(default_factory=dict)
    failure: str = ""

    def run(self) -> int:
        """Work until every point is finished, has failed, or the sweep is stopped."""
        self._write_sweep()
        self.leader = Leader.this_process(self.folder)
        self.leader.stop_file.unlink(missing_ok=True)
        try:
            with self._in_this_process(), SweepProgress(self.folder) as progress, self._stoppable(progress.print_line):
                while not self.leader.stop_requested() and (numbers := self._next()):
                    self._work_on(numbers, progress)
                if self.command.only_points is None and (line := self.source.end_line(self.folder)):
                    progress.print_line(line)
                if self.objective is not None and not self.leader.stop_requested():
                    self._confirm(progress)
        finally:
            stopped = self.leader.stop_requested()
            self.leader.stop_file.unlink(missing_ok=True)
        sweep = sweep_folder.read_sweep(self.folder)
        sweep_folder.write_sweep(sweep)
        code = print_sweep_end(sweep, stopped, self.command.words, self.command.only_points)
        if code == 0 and self.failure and self._unfinished_numbers(most=math.inf):
            raise EncoreError(self.failure)
        return code

    def _write_sweep(self) -> None:
        """Write what the sweep is. Points of an earlier start keep their numbers, and what today's code finished."""
        known: list[SweepPoint] = []
        with contextlib.suppress(OSError, ValueError):
            known = list(sweep_folder.read_sweep(self.folder).points)
        numbers = {sweep_command.canonical_words(point.words): point.number for point in known}
        listed = []
        for point in self.points or [
            self.checker.check_point(each.number, each.overrides) for each in known if each.runs
        ]:
            number = numbers.get(sweep_command.canonical_words(point.words), point.number)
            before = next((each for each in known if each.number == number), None)
            now = self._refresh_point(before, dataclasses.replace(point, number=number))
            if before is not None and now != before:
                self._rewrite(now)
            listed.append(now)
        sweep = Sweep(
            identity=self.folder.name,
            words=self.command.words,
            sweeper=self.command.choices["sweeper"],
            axes={key: search.axis_description(override) for key, override in self.command.axes.items()},
            objective=self.objective.as_dict() if self.objective else None,
            points=tuple(sorted(listed, key=lambda point: point.number)),
            winner=None,
            folder=self.folder,
            pruner=self.pruner,
        )
        sweep_folder.write_sweep(sweep)

    def _refresh_point(self, before: SweepPoint | None, checked: SweepPoint) -> SweepPoint:
        """A point as this start sees it: finished ones stay so, under today's code and while their runs are there."""
        if before is None or before.runs != checked.runs:
            return checked
        if before.state == "running" or (before.state == "pruned" and self.pruner != pruning.NONE):
            return before
        if before.state != "finished":
            return checked
        jobs = self.checker.point_jobs(checked.words)
        if any(job.missing for job in jobs):
            return checked
        means = before.means or self._means(jobs)
        return dataclasses.replace(before, words=checked.words, objective=self._value(jobs), means=means)

    def _value(self, jobs: Sequence[Job]) -> dict[str, Any] | None:
        if self.objective is None:
            return None
        [job] = [job for job in jobs if job.study.name == self.objective.study]
        return self.objective.mean_interval(job)

    def _means(self, jobs: Sequence[Job]) -> tuple[float, ...]:
        """What a pruner compares of a point that was finished without one."""
        if self.objective is None or self.pruner == pruning.NONE:
            return ()
        [job] = [job for job in jobs if job.study.name == self.objective.study]
        return tuple(pruning.running_means(self.objective.values(job), self.objective.direction))

    def _rewrite(self, point: SweepPoint) -> None:
        """Change what is recorded of a point, unless another terminal has just begun with it."""
        with (
            contextlib.suppress(Unfinished),
            files.try_lock(sweep_folder.point_lock_path(self.folder, point.number), "busy"),
        ):
            sweep_folder.write_point(self.folder, point)

    def _next(self) -> list[int]:
        """The numbers of the points to launch now, after further ones were chosen when all others are done."""
        numbers = self._unfinished_numbers()
        while not numbers and self.command.only_points is None and self.source.add_points(self.folder):
            numbers = self._unfinished_numbers()
        return numbers

    def _unfinished_numbers(self, most: float = MAX_ATTEMPTS) -> list[int]:
        only, found = self.command.only_points, sweep_folder.read_sweep(self.folder).points
        unfinished = [
            point.number
            for point in found
            if point.state in UNFINISHED_STATES and (only is None or point.number in only)
        ]
        return [number for number in unfinished if self.attempts.get(number, 0) < most]

    def _work_on(self, numbers: Sequence[int], progress: SweepProgress) -> None:
        """Launch some points; those that are busy elsewhere are left for the next time."""
        free = [
            number
            for number in numbers
            if not sweep_folder.is_locked(sweep_folder.point_lock_path(self.folder, number))
        ]
        if not free:
            self._wait(len(numbers), progress)
            return
        if self.command.choices["launcher"] == "vectorised":
            from core.sweeps import vectorised

            after = {point.number: point for point in sweep_folder.read_sweep(self.folder).points}
            vectorised.compute_missing_groups(
                self.folder, [after[number] for number in free], self.checker, self.leader, progress.print_line
            )
        failed = False
        try:
            launch_points(self.folder, free, self.leader, self.hydra_words)
        except EncoreError as error:  # a job that was cancelled, say; what became of the points is in their files
            progress.print_line(str(error))
            failed, self.failure = True, str(error)
        after = {point.number: point for point in sweep_folder.read_sweep(self.folder).points}
        for number in free:
            tried = after[number].state == "interrupted" or (failed and after[number].state == "waiting")
            self.attempts[number] = self.attempts.get(number, 0) + tried
        if all(after[number].state in ("waiting", "running") for number in free):
            self._wait(len(free), progress)

    def _wait(self, count: int, progress: SweepProgress) -> None:
        progress.print_waiting(count)
        deadline = time.monotonic() + BUSY_SECONDS
        while time.monotonic() < deadline and not self.leader.stop_requested():
            time.sleep(0.1)

    def _confirm(self, progress: SweepProgress) -> None:
        """Run the best point again on fresh replicates, which had no part in the selection."""
        sweep = sweep_folder.read_sweep(self.folder)
        best = sweep.ranked_points()
        if not best or any(point.state in UNFINISHED_STATES for point in sweep.points):
            return
        first = best[0].replicates[0] + FRESH_REPLICATE_OFFSET
        words = (*(w for w in best[0].words if not w.startswith("first_replicate=")), f"first_replicate={first}")
        jobs = self.checker.point_jobs(words)
        fresh = dataclasses.replace(
            best[0],
            words=words,
            runs=tuple(job.run.identity for job in jobs),
            replicates=(first, best[0].replicates[1]),
        )
        folder = self.folder / "winner"
        before = None
        with contextlib.suppress(OSError, ValueError):
            before = next((p for p in sweep_folder.read_sweep(folder).points if p.words == words), None)
        fresh = self._refresh_point(before, dataclasses.replace(fresh, state="waiting", objective=None))
        sweep_folder.write_sweep(
            dataclasses.replace(sweep, points=(fresh,), winner=None, folder=folder, pruner=pruning.NONE)
        )
        if before is None:  # whatever is there belongs to another winner
            sweep_folder.point_path(folder, fresh.number).unlink(missing_ok=True)
        if fresh.state != "finished":
            progress.print_changes()
            progress.print_line(f"the best point, {fresh.label()}, again on fresh replicates from {first}")
            launch_points(folder, [fresh.number], self.leader, self.hydra_words)
        while (
            sweep_folder.is_locked(sweep_folder.point_lock_path(folder, fresh.number))
            and not self.leader.stop_requested()
        ):
            self._wait(1, progress)
        found = sweep_folder.read_point(folder, fresh.number)[1]
        about = None if found.objective is None else {"first": first, **found.objective}
        sweep_folder.write_sweep(dataclasses.replace(sweep, winner={"number": fresh.number, "fresh": about}))

    @contextlib.contextmanager
    def _in_this_process(self) -> Generator[None]:
        """Points that run here one after the other share their workers."""
        if self.command.choices["launcher"] not in IN_PROCESS_LAUNCHERS:
            yield
            return
        with worker_reuse.reuse_workers(self.folder / "logs"):
            yield

    @contextlib.contextmanager
    def _stoppable(self, say: Callable[[str], None]) -> Generator[None]:
        """The first signal asks the points to stop, the second one leaves them alone and ends the sweep at once."""

        def act() -> None:
            if self.leader.stop_requested():
                raise KeyboardInterrupt
            self.leader.request_stop()
            say("stopping: points in progress keep a checkpoint (once more: leave at once)")

        with execute.handle_signals(act):
            yield


def launch_points(folder: Path, numbers: Sequence[int], leader: Leader, words: Sequence[str]) -> None:
    """Hand points to Hydra's multirun, which returns when all of them have ended."""
    import hydra

    own = {"folder": _quote(folder), "leader": _quote(leader.stop_file), "point": ",".join(map(str, numbers))}
    if "launcher=slurm" not in words:  # a cluster's jobs are its queue's: they go on, and the next start finds them
        own["parent"] = str(os.getpid())
    quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none"]
    words = [*words, *sweep_command.override_words(own), *quiet]
    folder.mkdir(parents=True, exist_ok=True)
    log_file = folder / "launcher.log"
    run = hydra.main(config_path=str(project_root() / "configs"), config_name="sweep", version_base="1.3")(run_point)
    sys.stdout.flush()
    with _argv(["encore", "-m", *words]), log_file.open("a", encoding="utf-8") as log, _redirect_output(log):
        try:
            run()
        except SystemExit:
            raise EncoreError(f"the launcher failed: {short_path(log_file)} says why") from None


@contextlib.contextmanager
def _redirect_output(log: TextIO) -> Generator[None]:
    """Send what launchers say to a file, and what the programs say that they start, such as Slurm's.

    It happens below Python's own files: loggers that are made meanwhile keep the ones they found.
    """
    before = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in before:
            os.dup2(log.fileno(), number)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, descriptor in before.items():
            os.dup2(descriptor, number)
            os.close(descriptor)


@contextlib.contextmanager
def _argv(words: list[str]) -> Generator[None]:
    """Hydra reads the command line."""
    before, sys.argv = sys.argv, words
    try:
        yield
    finally:
        sys.argv = before


def _quote(path: Path) -> str:
    return "'" + str(path).replace("'", "\\'") + "'"
