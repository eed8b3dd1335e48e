"""The README's table of papers with their verdicts, made from pages and published results alone; light."""

import re
from collections.abc import Iterable
from pathlib import Path

from core import files
from core.errors import BadInput
from core.pages import Page
from core.report import wording
from core.report.claims import MARKS, Claim
from core.report.results import Result, Unfit, published_folders, read_published, scale_order
from core.roots import sheet_name

BEGIN, END = "<!-- papers: begin -->", "<!-- papers: end -->"


def update(readme: Path, pages: Iterable[Page], results_root: Path) -> bool:
    """Write the table between the markers of the README; True if that changed it."""
    before = readme.read_text(encoding="utf-8")
    after = _with_table(readme, before, table(pages, results_root))
    if after != before:
        files.write_text(readme, after)
    return after != before


def current(readme: Path, pages: Iterable[Page], results_root: Path) -> bool:
    """Whether the README holds the table that `update` would write."""
    before = readme.read_text(encoding="utf-8")
    return before == _with_table(readme, before, table(pages, results_root))


def table(pages: Iterable[Page], results_root: Path) -> str:
    """One row per paper: page and sheet, field, verdicts of its claims, minutes of its default studies on a laptop."""
    lines = ["| paper | field | verdicts | minutes |", "|---|---|---|---:|"]
    for page in sorted(pages, key=lambda page: page.slug):
        results = _published(results_root, page.slug)
        by_default = {name for name, study in page.data["studies"].items() if study.get("default", True)}
        minutes = sum(result.minutes_of(by_default) for result in results if result.scale == "laptop")
        cells = [_links(page), ", ".join(wording.listed(page.data["paper"].get("fields"))), _verdicts(page, results)]
        lines.append("| " + " | ".join([*map(_cell, cells), f"{max(1, round(minutes))}" if minutes else ""]) + " |")
    return "\n".join(lines)


def _published(root: Path, slug: str) -> list[Result]:
    """What is published of a paper, the laptop scale first; a damaged folder is an error, not an empty cell."""
    scales = [scale for paper, scale in published_folders(root) if paper == slug]
    try:
        return [read_published(root, slug, scale) for scale in sorted(scales, key=scale_order)]
    except Unfit as error:
        raise BadInput(f"results/{error}; restore it from git or publish it again") from None


def _verdicts(page: Page, results: list[Result]) -> str:
    """The page's claims grouped by verdict, as in `✓ C1 C2 · ? C4`, those without one last."""
    known: dict[str, Claim] = {}
    for result in reversed(results):
        known |= {claim.id: claim for claim in result.claims}
    groups = []
    for verdict, mark in MARKS.items():
        names = [name for name in page.claims if name in known and known[name].verdict == verdict]
        if names:
            groups.append(f"{mark} {' '.join(names)}")
    waiting = [name for name in page.claims if name not in known]
    if waiting:
        groups.append(f"not run: {' '.join(waiting)}")
    return " · ".join(groups)


def _links(page: Page) -> str:
    title = str(page.data["paper"].get("title") or page.slug)
    safe = re.sub(r"([\\\[\]<>*_`])", r"\\\1", title)
    return f"[{safe}](configs/paper/{page.slug}.yaml) ([sheet]({sheet_name(page.slug)}))"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("|", r"\|")).strip()


def _with_table(readme: Path, text: str, content: str) -> str:
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise BadInput(f"{readme.name} needs the lines {BEGIN} and {END}, once each, around the table of papers")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n{content}\n{END}{after}"
