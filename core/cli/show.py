"""`encore show`: what a config says; with a study, its settings, arms and deviations."""

import argparse
from collections.abc import Iterator

from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Column, Table

from core.cli import documents
from core.errors import unknown_name
from core.papers.claims import SCALES
from core.papers.config import PaperConfig, StudyConfig, load_config
from core.papers.settings import PerArm, Settings, flatten_settings, range_of, unit_of
from core.papers.validation import group_of
from core.terminal import console, print_table


def main(arguments: argparse.Namespace) -> int:
    """Print one config, or one of its studies."""
    config = load_config(arguments.paper)
    screen = console()
    if arguments.study is not None:
        if arguments.study not in config.studies:
            raise unknown_name(f"study of {config.slug}", arguments.study, config.studies)
        study = config.studies[arguments.study]
        if arguments.json:
            documents.print_json("show", **documents.study_document(study, dict(_fields(study.settings_class))))
        else:
            _study(screen, study)
        return 0
    if arguments.json:
        documents.print_json("show", **documents.paper_document(config))
        return 0
    _reference(screen, config)
    _claims(screen, config)
    _studies(screen, config)
    if config.notes:
        screen.print("\nnotes", style="bold")
        screen.print(config.notes.strip())
    return 0


def _reference(screen: Console, config: PaperConfig) -> None:
    paper = config.paper
    screen.print(paper.title, style="bold")
    place = " ".join(filter(None, [paper.venue, str(paper.year)]))
    screen.print(", ".join(filter(None, [*paper.authors, place, paper.arxiv and f"arXiv {paper.arxiv}", paper.doi])))
    screen.print(f"\n{paper.idea.strip()}")


def _claims(screen: Console, config: PaperConfig) -> None:
    screen.print("\nclaims", style="bold")
    for name, claim in config.claims.items():
        printed = config.form.claims[name].printed
        screen.print(f"  {name} ({claim.study}): {claim.says}")
        if printed is not None:
            screen.print(f"     printed: {' '.join(filter(None, [printed.text, printed.unit]))} ({printed.where})")
        screen.print(f"     control that must not hold: {claim.control.name}")


def _studies(screen: Console, config: PaperConfig) -> None:
    screen.print(f"\nstudies (encore show {config.slug} <study>: settings, arms, deviations)", style="bold")
    for study in config.studies.values():
        mark = "" if study.default else f" (on request: study={study.name})"
        screen.print(f"  {study.name}{mark}: {study.says}")


def _study(screen: Console, study: StudyConfig) -> None:
    screen.print(f"{study.slug} {study.name}: {study.says}", style="bold")
    for arm, says in study.form.arms.items():
        screen.print(f"  arm {arm}: {says}")
    table = Table(
        Column("setting", no_wrap=True), *SCALES, "unit and range", "meaning", box=None, pad_edge=False
    )  # fmt: skip
    values = [dict(flatten_settings(study.all_values(scale))) for scale in SCALES]
    fields = dict(_fields(study.settings_class))
    for name in dict.fromkeys(name for column in values for name in column):
        field = fields.get(name) or fields.get(name.rpartition(".")[0])
        shown = [_short(column.get(name)) for column in values]
        about = " ".join(filter(None, [unit_of(field), range_of(field)])) if field else ""
        table.add_row(name, *shown, about, (field.description or "") if field else "")
    replicates = [str(study.replicates(scale)) for scale in SCALES]
    table.add_row("replicates", *replicates, "", "independent repetitions")
    print_table(screen, table)
    for deviation in study.form.deviations:
        screen.print(
            f"  deviation: {deviation.what}: {deviation.laptop} instead of {deviation.paper} "
            f"(bears on {', '.join(deviation.bears_on) or 'all claims'}); {deviation.why}"
        )


def _fields(cls: type[Settings], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted names of the fields of a settings class, groups opened."""
    for name, field in cls.model_fields.items():
        group = group_of(field)
        yield prefix + name, field
        if group is not None and issubclass(group, Settings) and not issubclass(group, PerArm):
            yield from _fields(group, f"{prefix}{name}.")


def _short(value: object) -> str:
    return "-" if value is None else str(value).replace("'", "")
