"""The front of the report: every claim as a mark, papers by field, and a gallery with one drawing for each paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.report.opening import leading_row
from core.report.paper_page import ClaimRow, PaperPage
from core.report.results import read_figure

DRAWINGS = "figures"  # the folder of the drawings, beside the pages


@dataclass(frozen=True)
class FieldGroup:
    """The papers of one field."""

    name: str
    papers: tuple[PaperPage, ...]


@dataclass(frozen=True)
class GalleryEntry:
    """The drawing that stands for a paper, and the claim that it is about."""

    slug: str
    title: str
    source: Path
    words: str
    row: ClaimRow | None

    @property
    def file_name(self) -> str:
        """The copy of the drawing beside the pages."""
        return f"{DRAWINGS}/{self.slug}.svg"


def group_by_field(papers: Sequence[PaperPage]) -> list[FieldGroup]:
    """The papers by the first of their fields, in alphabetical order; every paper stands in one group."""
    groups: dict[str, list[PaperPage]] = {}
    for paper in papers:
        groups.setdefault(paper.fields[0], []).append(paper)
    return [FieldGroup(name, tuple(groups[name])) for name in sorted(groups)]


def gallery_entry(paper: PaperPage) -> GalleryEntry | None:
    """What stands for a paper in the gallery; None where nothing is drawn."""
    if paper.front_drawing is None:
        return None
    words = read_figure(paper.front_drawing.path).caption.replace("`", "")
    return GalleryEntry(paper.slug, paper.title, paper.front_drawing.path, words, leading_row(paper))
