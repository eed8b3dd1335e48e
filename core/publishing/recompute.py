"""Published replicates computed again, to confirm many results after a change of code or an upgrade of libraries.

One replicate of each study is computed in a folder of its own below the runs. What is confirmed is current, and not
asked for again; what was interrupted goes on at its newest checkpoint: the command can be given night after night.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import EncoreError, Stopped
from core.launch import compose, jobs
from core.papers.config import PaperConfig
from core.paths import published_folder, results_in, runs_folder
from core.planning import machine
from core.planning.forecasting import OVERHEAD_SECONDS
from core.publishing import confirm
from core.publishing.publish import CurrentIdentities
from core.runs import published
from core.terminal import format_duration

if TYPE_CHECKING:
    import pandas as pd

SHOWN_ROWS = 5


@dataclass(frozen=True)
class ConfirmableStudy:
    """A published study that one replicate can confirm, and what that replicate took when it was published."""

    config: PaperConfig
    scale: str
    study: str
    current: CurrentIdentities
    cost: Mapping[str, Any]

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.config.slug} {self.scale} {self.study}"

    def minutes(self, gflops: float) -> float:
        """Expected time of one replicate on a machine of this speed."""
        seconds = self.cost["seconds_per_replicate"] * self.cost["calibration_gflops"] / gflops
        return (OVERHEAD_SECONDS + seconds) / 60


def confirmable_studies(
    config: PaperConfig, current: Callable[[str, str], CurrentIdentities | None]
) -> list[ConfirmableStudy]:
    """The published studies of a paper whose settings, data and flags are today's, and whose code or libraries are not.

    Seconds are no result that a replicate can confirm: studies that measure them are named and left out.
    """
    found = []
    for folder in sorted(path for path in (published_folder() / config.slug).glob("[!.]*") if path.is_dir()):
        for study, recorded in published.read_provenance(folder).items():
            now = current(folder.name, study)
            if now is None or not confirm.can_confirm(recorded, now):
                continue
            if config.studies[study].form.exclusive:
                print(f"{config.slug} {study}: seconds cannot be confirmed by a replicate; run it again")
                continue
            found.append(ConfirmableStudy(config, folder.name, study, now, recorded["cost"]))
    return found


def confirm_each(found: Sequence[ConfirmableStudy], about: Mapping[str, Any]) -> bool:
    """Compute a replicate of each study again and record the equal ones; the cost of all is said before the first.

    Returns whether one differs or cannot be computed; that stops no other. `about` is recorded with each. Raises
    Stopped at a signal.
    """
    different, gflops = False, machine.measure_gflops() if found else 1.0
    if found:
        total = sum(each.minutes(gflops) for each in found)
        print(f"to confirm {len(found)} studies, one replicate of each is computed again: {format_duration(total)}")
        for each in found:
            print(f"  {each.name}: {format_duration(each.minutes(gflops))}")
        print("stopped at any time, the same command goes on", flush=True)
    for each in found:
        try:
            different |= _confirm(each, about)
        except Stopped:
            raise
        except EncoreError as error:
            print(f"{each.name}: {error}")
            different = True
    return different


def _confirm(each: ConfirmableStudy, about: Mapping[str, Any]) -> bool:
    """Whether the replicate differs. It is kept where it does, so that it need not be computed once more to be seen."""
    folder, results = runs_folder() / "confirm", published_folder()
    with results_in(folder):
        job, table = first_replicate(each.config, each.study, each.scale)
        run = job.run.folder
    lines = confirm.confirm_study(
        results, each.config.slug, each.scale, each.config, each.study, each.current, table, about
    )
    if not lines:
        shutil.rmtree(run, ignore_errors=True)
    return print_differences(each.config.slug, each.study, job.numbers[0], len(table), lines)


def first_replicate(config: PaperConfig, study: str, scale: str) -> tuple[jobs.Job, "pd.DataFrame"]:
    """The measurements of the first published replicate of a study, computed by the present code."""
    from core.running import execute
    from core.runs import measurements

    words = [f"paper={config.slug}", f"study={study}", f"scale={scale}", "replicates=1", "tracking=none"]
    launch = compose.compose_launch(words)
    job = jobs.make_job(launch, launch.studies[0])
    execute.run_launch(launch)
    return job, measurements.collect_measurements(job.run, study, job.numbers)


def print_differences(slug: str, study: str, replicate: int, rows: int, found: Sequence[str]) -> bool:
    """Say in how many rows, and in which of them, a replicate differs from the published one; whether it does."""
    print(f"{slug} {study}: replicate {replicate} computed again, {len(found)} of {rows} rows differ")
    for line in found[:SHOWN_ROWS]:
        print(f"  {line}")
    return bool(found)
