"""What lists say of every paper, taken from configs that were found sound."""

from dataclasses import dataclass
from typing import Any

from core.kept import code_files, find_answers, paper_files, stamp
from core.papers.config_files import all_slugs


@dataclass(frozen=True)
class PaperOverview:
    """One paper in a list.

    Attributes:
      default_studies: those that `encore run` takes when no study is named.
    """

    title: str
    fields: tuple[str, ...]
    claims: int
    default_studies: tuple[str, ...]


def paper_overviews() -> dict[str, PaperOverview]:
    """Every paper by its name; configs are read and checked where something they hang on has changed.

    Raises BadInput with one line for the first config that is refused.
    """
    code = stamp(code_files())
    stamps = {slug: f"{code}{stamp(paper_files(slug))}" for slug in all_slugs()}
    found = find_answers("overviews", stamps, _overview)
    return {
        slug: PaperOverview(about["title"], tuple(about["fields"]), about["claims"], tuple(about["default_studies"]))
        for slug, about in found.items()
    }


def _overview(slug: str) -> dict[str, Any]:
    from core.papers.config import load_config

    config = load_config(slug)
    return {
        "title": config.paper.title,
        "fields": list(config.paper.fields),
        "claims": len(config.form.claims),
        "default_studies": [study.name for study in config.studies.values() if study.default],
    }
