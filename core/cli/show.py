"""`encore show`: what a config says, and what its settings mean."""

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from core.papers.config import SCALES, PaperConfig, StudyConfig, load_config
from core.papers.settings import flatten_settings
from core.terminal import console


def main(arguments: argparse.Namespace) -> int:
    """Print one config."""
    config = load_config(arguments.paper)
    screen = console()
    _reference(screen, config)
    for study in config.studies.values():
        _study(screen, study)
    _claims(screen, config)
    if config.data.get("notes"):
        screen.print("\nnotes", style="bold")
        screen.print(config.data["notes"].strip())
    return 0


def _reference(screen: Console, config: PaperConfig) -> None:
    paper = config.paper
    screen.print(paper["title"], style="bold")
    screen.print(
        f"{', '.join(paper['authors'])}, {paper.get('venue', '')} {paper['year']}, arXiv {paper.get('arxiv', '-')}"
    )
    screen.print(f"\n{paper['idea'].strip()}")


def _study(screen: Console, study: StudyConfig) -> None:
    mark = "" if study.default else f" (not in the default run: study={study.name})"
    screen.print(f"\nstudy {study.name}{mark}: {study.data['says']}", style="bold")
    for arm, says in study.data["arms"].items():
        screen.print(f"  arm {arm}: {says}")
    table = Table(
        Column("setting", no_wrap=True),
        "smoke",
        "laptop",
        "paper",
        "unit and range",
        "meaning",
        box=None,
        pad_edge=False,
    )
    values = {scale: dict(flatten_settings(study.values(scale))) for scale in SCALES}
    for name, about in _described(study.settings_class):
        shown = [_short(values[scale].get(name, about["default"])) for scale in SCALES]
        table.add_row(name, *shown, " ".join(filter(None, [about["unit"], about["within"]])), about["help"])
    table.add_row("replicates", *[str(study.replicates(scale)) for scale in SCALES], "", "independent repetitions")
    screen.print(table, soft_wrap=False)
    for deviation in study.data.get("deviations", []):
        bears = ", ".join(deviation.get("bears_on", []))
        screen.print(
            f"  deviation: {deviation['what']}: {deviation['laptop']} instead of {deviation['paper']} "
            f"(bears on {bears or 'no claim'}); {deviation['why']}"
        )


def _claims(screen: Console, config: PaperConfig) -> None:
    screen.print("\nclaims", style="bold")
    for name, claim in config.claims.items():
        printed = claim["printed"]
        screen.print(f"  {name} ({claim['study']}): {claim['says']}")
        screen.print(f"     printed: {printed['value']} {printed['unit']} ({printed['where']})")
        if "control" in claim:
            screen.print(f"     control that must not hold: {claim['control']['name']}")


def _described(cls: Any, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for described in dataclasses.fields(cls):
        if isinstance(described.type, type) and dataclasses.is_dataclass(described.type):
            yield from _described(described.type, f"{prefix}{described.name}.")
        else:
            default = None if described.default is dataclasses.MISSING else described.default
            yield prefix + described.name, {**described.metadata, "default": default}


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return str(list(value) if isinstance(value, tuple) else value).replace("'", "")
