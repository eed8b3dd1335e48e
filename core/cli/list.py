"""`encore list`: one line per paper."""

import argparse
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from core import files, paths
from core.errors import unknown_name
from core.papers.config_files import all_slugs, read_config
from core.terminal import console

MARKS = {"holds": "✓", "fails": "✗", "undecided": "?", "not testable": "–"}


def main(arguments: argparse.Namespace) -> int:
    """Print the table of papers; the configs are read as they are, without being checked."""
    found = {slug: read_config(slug) for slug in all_slugs()}
    fields = {field for written in found.values() for field in written["paper"]["fields"]}
    if arguments.field and arguments.field not in fields:
        raise unknown_name("field", arguments.field, fields)
    table = Table("paper", "title", "field", "claims", "verdicts at laptop scale", "minutes", box=None, pad_edge=False)
    for slug, written in found.items():
        about = written["paper"]
        if not arguments.field or arguments.field in about["fields"]:
            verdicts, minutes = _published(slug, written)
            claims = str(len(written.get("claims", ())))
            table.add_row(slug, about["title"], ", ".join(about["fields"]), claims, verdicts, minutes)
    console().print(table, soft_wrap=False)
    print("\n✓ holds   ✗ fails   ? undecided   – not testable at laptop scale")
    return 0


def _published(slug: str, written: Mapping[str, Any]) -> tuple[str, str]:
    folder = paths.results_folder() / slug / "laptop"
    if not (folder / "claims.json").exists():
        return "not published", ""
    verdicts = " ".join(f"{claim['id']}{MARKS[claim['verdict']]}" for claim in files.read_json(folder / "claims.json"))
    studies = files.read_json(folder / "provenance.json")["studies"]
    by_default = [study for name, study in studies.items() if written["studies"].get(name, {}).get("default", True)]
    return verdicts, f"{sum(study['seconds'] for study in by_default) / 60:.0f}"
