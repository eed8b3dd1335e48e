"""What the README shows of all papers, made from configs and published results alone: a table with their verdicts, and
the drawing of printed against measured effects where it names one; light."""

import re
from collections.abc import Iterable
from pathlib import Path

from core import files
from core.errors import BadInput
from core.papers.config import PaperConfig
from core.papers.settings import settings_as_dict
from core.paths import experiment_file
from core.report.claims import MARKS, Claim
from core.report.effects import effects_svg
from core.report.results import (
    InvalidResult,
    Result,
    StudyOrigin,
    publishable_folders,
    read_published_result,
    scale_sort_key,
)
from core.report.together import collect_claims

DRAWING = "docs/effects.svg"
BEGIN, END = "<!-- papers: begin -->", "<!-- papers: end -->"


def update_readme(readme: Path, configs: Iterable[PaperConfig], results_root: Path) -> bool:
    """Write the table between the markers of the README, and its drawing beside it; True if that changed one."""
    made = _render(readme, list(configs), results_root)
    changed = {path: text for path, text in made.items() if _read(path) != text}
    for path, text in changed.items():
        files.write_text(path, text)
    return bool(changed)


def is_current(readme: Path, configs: Iterable[PaperConfig], results_root: Path) -> bool:
    """Whether README and drawing are what `update_readme` would write."""
    return all(_read(path) == text for path, text in _render(readme, list(configs), results_root).items())


def _render(readme: Path, configs: list[PaperConfig], results_root: Path) -> dict[Path, str]:
    """What the README's file should hold, and that of its drawing where it names one."""
    before = readme.read_text(encoding="utf-8")
    made = {readme: _with_table(readme, before, render_table(configs, results_root))}
    if DRAWING in before:
        published = {config.slug: _published_results(results_root, config.slug) for config in configs}
        together = collect_claims(sorted(configs, key=lambda config: config.slug), published)
        made[readme.parent / DRAWING] = effects_svg([effect for _, effect in together.effects], alone=True)
    return made


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


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
    scales = [scale for paper, scale in publishable_folders(root) if paper == slug]
    try:
        return [read_published_result(root, slug, scale) for scale in sorted(scales, key=scale_sort_key)]
    except InvalidResult as error:
        raise BadInput(f"{error}; restore it from git or publish it again") from None


def _verdicts(config: PaperConfig, results: list[Result]) -> str:
    """The config's claims grouped by verdict, as in `✓ C1 C2° · ? C4`, those without one last.

    A ° marks one that holds though its control does not pass. Claims whose study was published with other settings than
    today's are named, without a verdict: it was about something else.
    """
    known: dict[str, Claim] = {}
    earlier: set[str] = set()
    for result in reversed(results):
        found = {claim.id: claim for claim in result.claims}
        changed = {origin.name for origin in result.studies if not _has_todays_settings(config, result.scale, origin)}
        earlier = (earlier - found.keys()) | {name for name, claim in found.items() if claim.study in changed}
        known |= found
    groups = []
    for verdict, mark in MARKS.items():
        names = [name for name in config.claims if name in known and known[name].verdict == verdict]
        if now := [name + "°" * known[name].proves_nothing for name in names if name not in earlier]:
            groups.append(f"{mark} {' '.join(now)}")
    for title, names in (("to be renewed", earlier), ("not run", config.claims.keys() - known.keys())):
        if listed := [name for name in config.claims if name in names]:
            groups.append(f"{title}: {' '.join(listed)}")
    return " · ".join(groups)


def _has_todays_settings(config: PaperConfig, scale: str, origin: StudyOrigin) -> bool:
    """Whether a published study was run with the settings that the config has now."""
    study = config.studies.get(origin.name)
    if study is None or study.waits_for_winners(values := study.values(scale)):
        return False
    return origin.settings == settings_as_dict(study.build(values))


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
