"""`encore check`: which published results are current, need seconds, need minutes, or were edited by hand."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from core import pages, roots
from core.cli.publish import standing
from core.errors import BadInput
from core.judging import verdict
from core.publishing import confirm, provenance, publish, published
from core.roots import project_root, results_folder
from core.running import compose, flow, jobs, records

# Relative difference that other versions of the numerical libraries may make after thousands of steps.
OTHER_LIBRARIES = 0.05


def main(arguments: argparse.Namespace) -> int:
    """Print the state of every published study; exit code 1 when one was edited or is computed differently."""
    bad = 0
    for slug in arguments.papers or pages.slugs():
        page = pages.load_page(slug)
        if arguments.remake:
            _remake(page)
        if arguments.confirm:
            bad |= _confirm(page)
        found = publish.check(results_folder(), slug, lambda scale, study, page=page: now(page, scale, study))
        for status in found or [publish.Status("-", "-", "not published", "")]:
            print(f"{slug:20} {status.scale:8} {status.study:10} {status.state:32} {status.detail}".rstrip())
            bad |= status.state == publish.EDITED
        if arguments.spot and found:
            bad |= _spot(page)
    return int(bad)


def now(page: pages.Page, scale: str, study: str) -> publish.Standing | None:
    """What a study would be if it were run now; None when the page has it no more."""
    if study not in page.studies:
        return None
    launch = compose.prepare_launch([f"paper={page.slug}", f"study={study}", f"scale={scale}"])
    return standing(jobs.job_of(launch, launch.studies[0]))


def _remake(page: pages.Page) -> None:
    for folder in sorted(path for path in (results_folder() / page.slug).glob("[!.]*") if path.is_dir()):
        scale = folder.name
        again = publish.remake(
            results_folder(),
            page.slug,
            scale,
            page.data,
            lambda scale, study: now(page, scale, study),
            lambda study, table, scale=scale: verdict.verdicts(page, study, table, scale),
            lambda study, table, arrays: _drawn(page.slug, study, table, arrays),
        )
        if again:
            print(f"{page.slug} {scale}: verdicts and figures of {', '.join(again)} made again")


def _drawn(slug: str, study: str, table: Any, arrays: Any) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        names, notes = verdict.draw(slug, study, table, arrays, Path(folder))
        if notes:
            raise BadInput(notes[0])
        return {name: (Path(folder) / "figures" / f"{name}.svg").read_bytes() for name in names}


def _spot(page: pages.Page) -> bool:
    """Compute the first replicate of the cheapest published study with data again, away from all runs, and compare."""
    folder = results_folder() / page.slug / "laptop"
    studies = publish.files.read_json(folder / publish.PROVENANCE)["studies"]
    study = min(
        (name for name in studies if studies[name]["cost"]["steps"]), key=lambda n: studies[n]["seconds"], default=None
    )
    study = study or next(iter(studies))
    job, table = _first_replicate(page, study, "laptop")
    same_libraries = studies[study]["identity"]["libraries"] == job.identity.parts["libraries"]
    found = publish.spot(folder, study, job.numbers[0], table, 0.0 if same_libraries else OTHER_LIBRARIES)
    return _differences(page.slug, study, job, table, found)


def _confirm(page: pages.Page) -> bool:
    """Compute the first replicate of each published study with other code or libraries again; record equal ones."""
    commit, dirty = provenance.git_state(project_root())
    if dirty is not False:
        raise BadInput(f"{page.slug}: commit your changes first; only committed code can be confirmed")
    different = False
    for folder in sorted(path for path in (results_folder() / page.slug).glob("[!.]*") if path.is_dir()):
        for study, recorded in published.provenance_of(folder).items():
            standing_now = now(page, folder.name, study)
            if standing_now is None or not confirm.confirmable(recorded, standing_now):
                continue
            if page.studies[study].data.get("alone"):
                print(f"{page.slug} {study}: seconds cannot be confirmed by a replicate; run it again")
                continue
            job, table = _first_replicate(page, study, folder.name)
            about = {"commit": commit, "date": provenance.today()}
            found = confirm.confirm(
                results_folder(), page.slug, folder.name, page.data, study, standing_now, table, about
            )
            different |= _differences(page.slug, study, job, table, found)
    return different


def _first_replicate(page: pages.Page, study: str, scale: str) -> tuple[jobs.Job, Any]:
    """The measurements of the first published replicate of a study, computed again away from all runs."""
    words = [f"paper={page.slug}", f"study={study}", f"scale={scale}", "replicates=1", "tracking=none"]
    launch = compose.prepare_launch(words)
    job = jobs.job_of(launch, launch.studies[0])
    with roots.results_elsewhere():
        flow.execute(launch)
        return job, records.assemble(job.run, study, job.numbers)


def _differences(slug: str, study: str, job: jobs.Job, table: Any, found: list[str]) -> bool:
    print(f"{slug} {study}: replicate {job.numbers[0]} computed again, {len(found)} of {len(table)} rows differ")
    for line in found[:5]:
        print(f"  {line}")
    return bool(found)
