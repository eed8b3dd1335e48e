"""Whether published results are what today's code would give, asked of every page without computing anything."""

from dataclasses import dataclass
from pathlib import Path

from core.cli.publish import standing
from core.errors import BadInput
from core.pages import Page
from core.publishing import publish
from core.running import compose, jobs

CURRENT, STALE, EDITED, UNKNOWN = "current", "stale", "edited by hand", "unknown"


@dataclass(frozen=True)
class Freshness:
    """The state of one published study, one of the words above, and what it comes from."""

    scale: str
    study: str
    state: str
    why: str


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


def _worded(status: publish.Status) -> Freshness:
    if status.state == publish.EDITED:
        return Freshness(status.scale, status.study, EDITED, status.detail)
    if status.state == publish.CURRENT:
        return Freshness(status.scale, status.study, CURRENT, "")
    return Freshness(status.scale, status.study, STALE, f"{status.state}: {status.detail}")
