"""`encore list`: one line per paper."""

import argparse

from rich.table import Table

from core import files, paths
from core.errors import unknown_name
from core.papers.overview import PaperOverview, paper_overviews
from core.terminal import console, print_table

MARKS = {"holds": "✓", "fails": "✗", "undecided": "?", "not testable": "–"}


def main(arguments: argparse.Namespace) -> int:
    """Print the table of papers. A config that contradicts itself is refused here, too."""
    found = paper_overviews()
    fields = {field for about in found.values() for field in about.fields}
    if arguments.field and arguments.field not in fields:
        raise unknown_name("field", arguments.field, fields)
    table = Table("paper", "title", "field", "claims", "verdicts at laptop scale", "minutes", box=None, pad_edge=False)
    for slug, about in found.items():
        if not arguments.field or arguments.field in about.fields:
            verdicts, minutes = _published(slug, about)
            table.add_row(slug, about.title, ", ".join(about.fields), str(about.claims), verdicts, minutes)
    screen = console()
    print_table(screen, table)
    screen.print("\n✓ holds   ✗ fails   ? undecided   – not testable at laptop scale")
    screen.print("minutes: what the default studies took when they were published")
    return 0


def _published(slug: str, about: PaperOverview) -> tuple[str, str]:
    folder = paths.published_folder() / slug / "laptop"
    if not (folder / "claims.json").exists():
        return "not published", ""
    verdicts = " ".join(f"{claim['id']}{MARKS[claim['verdict']]}" for claim in files.read_json(folder / "claims.json"))
    studies = files.read_json(folder / "provenance.json")["studies"]
    seconds = sum(study["seconds"] for name, study in studies.items() if name in about.default_studies)
    return verdicts, f"{seconds / 60:.0f}"
