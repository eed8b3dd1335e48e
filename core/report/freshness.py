"""Whether published results are what today's code would give, asked of every page without computing anything.

`python -m core.report.freshness <results>` prints the answers about all papers as JSON, for `core.report.asked`.
"""

import dataclasses
import json
import sys
from pathlib import Path

from core.cli.publish import standing
from core.errors import BadInput
from core.pages import Page, load_page, slugs
from core.publishing import publish
from core.report.asked import CURRENT, EDITED, STALE, UNKNOWN, Freshness
from core.running import compose, jobs


def of_paper(results: Path, page: Page) -> list[Freshness]:
    """The state of every published study of a paper; unknown, and why, where the page or its sheet cannot say."""

    def now(scale: str, name: str) -> publish.Standing | None:
        if name not in page.studies:
            return None
        launch = compose.as_written(page, scale, name)
        return standing(jobs.job_of(launch, launch.studies[0]))

    try:
        return [_worded(status) for status in publish.check(results, page.slug, now)]
    except (BadInput, OSError, SyntaxError, KeyError, TypeError, ValueError) as error:
        return [Freshness("", "", UNKNOWN, " ".join(str(error).split()))]


def of_all(results: Path) -> dict[str, list[Freshness]]:
    """The same for every paper that has a page which can be read."""
    found = {}
    for slug in slugs():
        try:
            found[slug] = of_paper(results, load_page(slug))
        except BadInput:
            continue  # named where pages are read
    return found


def _worded(status: publish.Status) -> Freshness:
    if status.state == publish.EDITED:
        return Freshness(status.scale, status.study, EDITED, status.detail)
    if status.state == publish.CURRENT:
        return Freshness(status.scale, status.study, CURRENT, "")
    return Freshness(status.scale, status.study, STALE, f"{status.state}: {status.detail}")


if __name__ == "__main__":
    answers = of_all(Path(sys.argv[1]))
    print(json.dumps({slug: [dataclasses.astuple(each) for each in found] for slug, found in answers.items()}))
