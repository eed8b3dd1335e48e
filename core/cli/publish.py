"""`encore publish`: copy finished, unmodified runs to the committed results."""

import argparse

from core.cli.new import update_readme_table
from core.errors import BadInput
from core.launch import compose, jobs
from core.papers.config import load_config
from core.papers.settings import settings_as_dict
from core.paths import project_root, published_folder
from core.publishing import publish
from core.runs import provenance
from core.runs.folder import RunFolder
from core.terminal import short_path


def main(arguments: argparse.Namespace) -> int:
    """Publish the finished runs of a paper at one scale."""
    config = load_config(arguments.paper)
    wanted = [study.name for study in config.select(arguments.study)] if arguments.study else list(config.studies)
    found = [candidate(config.slug, study, arguments.scale) for study in wanted]
    if not arguments.study:  # by default what is there, which must be the default studies at least
        found = [each for each in found if each.folder.exists() or config.studies[each.study].default]
    if not found:
        raise BadInput(f"{config.slug} has no finished run at {arguments.scale} scale: encore run paper={config.slug}")
    _, dirty = provenance.git_state(project_root())
    folder = publish.publish(config.slug, arguments.scale, found, config, published_folder(), dirty)
    print(f"published {', '.join(each.study for each in found)} to {short_path(folder)}; commit it")
    update_readme_table()
    return 0


def candidate(slug: str, study: str, scale: str) -> publish.PublishableRun:
    """The run of a study with the config's own settings, and what it would be if it were run now."""
    launch = compose.compose_launch([f"paper={slug}", f"study={study}", f"scale={scale}"])
    job = jobs.make_job(launch, launch.studies[0])
    return publish.PublishableRun(study, RunFolder(job.identity.name).folder, len(job.numbers), standing(job))


def standing(job: jobs.Job) -> publish.CurrentIdentities:
    """The identities that a study has now."""
    config = job.launch.config
    return publish.CurrentIdentities(
        job.identity,
        jobs.verdict_identity(config, job.study.name),
        jobs.figures_identity(config),
        settings_as_dict(job.chosen.settings),
    )
