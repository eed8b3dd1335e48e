"""`encore publish`: copy finished, unmodified runs to the committed results."""

import argparse

from core import pages
from core.errors import BadInput
from core.publishing import identity, provenance, publish
from core.roots import project_root, results_folder, sheet_path
from core.running import compose, jobs
from core.running.runs import Run


def main(arguments: argparse.Namespace) -> int:
    """Publish the finished runs of a paper at one scale."""
    page = pages.load_page(arguments.paper)
    wanted = [study.name for study in page.select(arguments.study)] if arguments.study else list(page.studies)
    found = [candidate(page.slug, study, arguments.scale) for study in wanted]
    if not arguments.study:  # by default what is there, which must be the default studies at least
        found = [each for each in found if each.folder.exists() or page.studies[each.study].default]
    if not found:
        raise BadInput(f"{page.slug} has no finished run at {arguments.scale} scale: encore run paper={page.slug}")
    _, dirty = provenance.git_state(project_root())
    folder = publish.publish(page.slug, arguments.scale, found, page.data, results_folder(), dirty)
    print(f"published {', '.join(each.study for each in found)} to {folder}; commit it, then `encore report --readme`")
    return 0


def candidate(slug: str, study: str, scale: str) -> publish.Candidate:
    """The run of a study with the page's own settings, and what it would be if it were run now."""
    launch = compose.prepare_launch([f"paper={slug}", f"study={study}", f"scale={scale}"])
    job = jobs.job_of(launch, launch.studies[0])
    return publish.Candidate(study, Run(job.identity.name).folder, len(job.numbers), standing(job))


def standing(job: jobs.Job) -> publish.Standing:
    """The identities that a study has now."""
    page = job.launch.page
    return publish.Standing(
        job.identity, jobs.verdict_identity(page, job.study.name), identity.figures_identity(sheet_path(page.slug))
    )
