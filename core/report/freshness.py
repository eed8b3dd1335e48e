"""Whether published results are what today's code would give, asked of every config without computing anything.

`python -m core.report.freshness <results>` prints the answers about all papers as JSON, for
`core.report.freshness_process`.
"""

import dataclasses
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

from core import kept
from core.errors import BadInput
from core.launch import compose, jobs
from core.papers.config import PaperConfig, load_config
from core.papers.config_files import all_slugs
from core.processes import end_with_process
from core.publishing import publish
from core.report.freshness_process import CURRENT, EDITED, STALE, UNKNOWN, Freshness


def paper_freshness(results: Path, config: PaperConfig) -> list[Freshness]:
    """The state of every published study of a paper; unknown, and why, where its config or experiment cannot say."""

    @functools.cache
    def figures() -> str:
        return jobs.figures_identity(config)

    def now(scale: str, name: str) -> publish.CurrentIdentities | None:
        if name not in config.studies:
            return None
        launch = compose.default_launch(config, scale, name)
        job = jobs.make_job(launch, launch.studies[0])
        return publish.CurrentIdentities(job.identity, jobs.verdict_identity(config, name), figures())

    try:
        return [_describe(status) for status in publish.published_states(results, config.slug, now)]
    except (BadInput, OSError, SyntaxError, KeyError, TypeError, ValueError) as error:
        return [Freshness("", "", UNKNOWN, " ".join(str(error).split()))]


def all_freshness(results: Path) -> dict[str, list[Freshness]]:
    """The same for every paper that has a config which can be read; kept until something it hangs on is written."""
    common = f"{kept.stamp(kept.code_files())}{kept.stamp(kept.shared_config_files())}{kept.library_stamp()}{results}"
    own = {slug: (*kept.paper_files(slug), *kept.files_below(results / slug)) for slug in all_slugs()}
    stamps = {slug: f"{common}{kept.stamp(files)}" for slug, files in own.items()}

    def find(slug: str) -> list[Any] | None:
        try:
            return [dataclasses.astuple(each) for each in paper_freshness(results, load_config(slug))]
        except BadInput:
            return None  # named where configs are read

    answers = kept.find_answers("freshness", stamps, find)
    return {slug: [Freshness(*each) for each in found] for slug, found in answers.items() if found is not None}


def _describe(status: publish.PublishedState) -> Freshness:
    if status.state == publish.EDITED:
        return Freshness(status.scale, status.study, EDITED, status.detail)
    if status.state == publish.CURRENT:
        return Freshness(status.scale, status.study, CURRENT, "")
    return Freshness(status.scale, status.study, STALE, f"{status.state}: {status.detail}")


if __name__ == "__main__":
    end_with_process(os.getppid())
    answers = all_freshness(Path(sys.argv[1]))
    print(json.dumps({slug: [dataclasses.astuple(each) for each in found] for slug, found in answers.items()}))
