"""The README's table of papers with their verdicts, made from configs and published results alone; light."""

import re
from collections.abc import Iterable
from pathlib import Path

from core import files
from core.errors import BadInput
from core.papers.config import PaperConfig
from core.paths import experiment_file
from core.report.claims import MARKS, Claim
from core.report.results import InvalidResult, Result, published_folders, read_published_result, scale_sort_key

BEGIN, END = "<!-- papers: begin -->", "<!-- papers: end -->"


def update_readme(readme: Path, configs: Iterable[PaperConfig], results_root: Path) -> bool:
    """Write the table between the markers of the README; True if that changed it."""
    before = readme.read_text(encoding="utf-8")
    after = _with_table(readme, before, render_table(configs, results_root))
    if after != before:
        files.write_text(readme, after)
    return after != before


def is_current(readme: Path, configs: Iterable[PaperConfig], results_root: Path) -> bool:
    """Whether the README holds the table that `update` would write."""
    before = readme.read_text(encoding="utf-8")
    return before == _with_table(readme, before, render_table(configs, results_root))


def render_table(configs: Iterable[PaperConfig], results_root: Path) -> str:
    """One row per paper: config, experiment, field, verdicts of its claims, minutes of its default studies."""
    lines = ["| paper | field | verdicts | minutes |", "|---|---|---|---:|"]
    for config in sorted(configs, key=lambda config: config.slug):
        results = _published_results(results_root, config.slug)
        by_default = {name for name, study in config.studies.items() if study.default}
        minutes = sum(result.minutes_of_studies(by_default) for result in results if result.scale == "laptop")
        cells = [
            _links(config),
            ", ".join(config.paper.fields),
            _verdicts(config, results),
        ]
        lines.append("| " + " | ".join([*map(_cell, cells), f"{max(1, round(minutes))}" if minutes else ""]) + " |")
    return "\n".join(lines)


def _published_results(root: Path, slug: str) -> list[Result]:
    """What is published of a paper, the laptop scale first; a damaged folder is an error, not an empty cell."""
    scales = [scale for paper, scale in published_folders(root) if paper == slug]
    try:
        return [read_published_result(root, slug, scale) for scale in sorted(scales, key=scale_sort_key)]
    except InvalidResult as error:
        raise BadInput(f"{error}; restore it from git or publish it again") from None


def _verdicts(config: PaperConfig, results: list[Result]) -> str:
    """The config's claims grouped by verdict, as in `✓ C1 C2 · ? C4`, those without one last."""
    known: dict[str, Claim] = {}
    for result in reversed(results):
        known |= {claim.id: claim for claim in result.claims}
    groups = []
    for verdict, mark in MARKS.items():
        names = [name for name in config.claims if name in known and known[name].verdict == verdict]
        if names:
            groups.append(f"{mark} {' '.join(names)}")
    waiting = [name for name in config.claims if name not in known]
    if waiting:
        groups.append(f"not run: {' '.join(waiting)}")
    return " · ".join(groups)


def _links(config: PaperConfig) -> str:
    title = config.paper.title
    safe = re.sub(r"([\\\[\]<>*_`])", r"\\\1", title)
    return f"[{safe}](configs/paper/{config.slug}.yaml) ([experiment]({experiment_file(config.slug)}))"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("|", r"\|")).strip()


def _with_table(readme: Path, text: str, content: str) -> str:
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise BadInput(f"{readme.name} needs the lines {BEGIN} and {END}, once each, around the table of papers")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n{content}\n{END}{after}"
