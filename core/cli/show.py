"""`encore show`: what a page says, and what its settings mean."""

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from core import pages
from core.pages import Page, Study


def main(arguments: argparse.Namespace) -> int:
    """Print one page."""
    page = pages.load_page(arguments.paper)
    console = Console(highlight=False)
    _reference(console, page)
    for study in page.studies.values():
        _study(console, study)
    _claims(console, page)
    if page.data.get("notes"):
        console.print(f"\n[bold]notes[/bold]\n{page.data['notes'].strip()}")
    return 0


def _reference(console: Console, page: Page) -> None:
    paper = page.paper
    console.print(f"[bold]{paper['title']}[/bold]")
    console.print(
        f"{', '.join(paper['authors'])}, {paper.get('venue', '')} {paper['year']}, arXiv {paper.get('arxiv', '-')}"
    )
    console.print(f"\n{paper['idea'].strip()}")


def _study(console: Console, study: Study) -> None:
    mark = "" if study.default else f" (not in the default run: study={study.name})"
    console.print(f"\n[bold]study {study.name}[/bold]{mark}: {study.data['says']}")
    for arm, says in study.data["arms"].items():
        console.print(f"  arm {arm}: {says}")
    table = Table("setting", "smoke", "laptop", "paper", "unit", "meaning", box=None, pad_edge=False)
    values = {scale: dict(_flat(study.values(scale))) for scale in pages.SCALES}
    for name, about in _described(study.settings_class):
        shown = [_short(values[scale].get(name, about["default"])) for scale in pages.SCALES]
        table.add_row(name, *shown, about["unit"] or about["within"], about["help"])
    table.add_row(
        "replicates", *[str(study.replicates(scale)) for scale in pages.SCALES], "", "independent repetitions"
    )
    console.print(table)
    for deviation in study.data.get("deviations", []):
        bears = ", ".join(deviation.get("bears_on", []))
        console.print(
            f"  deviation: {deviation['what']}: {deviation['laptop']} instead of {deviation['paper']} "
            f"(bears on {bears or 'no claim'}); {deviation['why']}"
        )


def _claims(console: Console, page: Page) -> None:
    console.print("\n[bold]claims[/bold]")
    for name, claim in page.claims.items():
        printed = claim["printed"]
        console.print(f"  {name} ({claim['study']}): {claim['says']}")
        console.print(f"     printed: {printed['value']} {printed['unit']} ({printed['where']})")
        if "control" in claim:
            console.print(f"     control that must not hold: {claim['control']['name']}")


def _described(cls: Any, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for described in dataclasses.fields(cls):
        if isinstance(described.type, type) and dataclasses.is_dataclass(described.type):
            yield from _described(described.type, f"{prefix}{described.name}.")
        else:
            default = None if described.default is dataclasses.MISSING else described.default
            yield prefix + described.name, {**described.metadata, "default": default}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _short(value: Any) -> str:
    return "-" if value is None else str(value).replace("'", "")
