"""One command about several papers: `paper=all`, or a list as `study` takes one, `paper=[ntk,pfn]`."""

from collections.abc import Sequence

from core.errors import BadInput, unknown_name
from core.launch.overrides import parse_overrides
from core.papers.config_files import all_slugs

ALL = "all"


def several_papers(words: Sequence[str]) -> list[str] | None:
    """The papers that `paper=all` or `paper=[…]` names, each once; None where the words name one paper, or none.

    Raises BadInput for a paper that does not exist, and for a list without any.
    """
    named = [each for each in parse_overrides(words) if each.key_or_group == "paper" and not each.is_sweep_override()]
    value = named[-1].value() if named and not named[-1].is_delete() else None
    if value == ALL and ALL not in all_slugs():
        return all_slugs()
    if not isinstance(value, list):
        return None
    if not value:
        raise BadInput("paper=[] names no paper; `encore list` shows all of them")
    for slug in value:
        if slug not in all_slugs():
            raise unknown_name("paper", str(slug), all_slugs())
    return list(dict.fromkeys(map(str, value)))


def words_by_paper(words: Sequence[str], slugs: Sequence[str]) -> dict[str, list[str]]:
    """The same words once for each of some papers."""
    others = [word for word in words if word.partition("=")[0] != "paper"]
    return {slug: [f"paper={slug}", *others] for slug in slugs}
