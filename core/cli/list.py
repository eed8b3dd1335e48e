"""`encore list`: one line per paper."""

import argparse

from rich.table import Table

from core.cli import documents
from core.errors import unknown_name
from core.papers.overview import paper_overviews
from core.terminal import console, print_table

MARKS = {"holds": "✓", "fails": "✗", "undecided": "?", "not testable": "–"}


def main(arguments: argparse.Namespace) -> int:
    """Print the table of papers. A config that contradicts itself is refused here, too."""
    found = paper_overviews()
    fields = {field for about in found.values() for field in about.fields}
    if arguments.field and arguments.field not in fields:
        raise unknown_name("field", arguments.field, fields)
    found = {slug: about for slug, about in found.items() if not arguments.field or arguments.field in about.fields}
    if arguments.json:
        documents.print_json("list", **documents.list_document(found))
        return 0
    table = Table("paper", "title", "field", "claims", "verdicts at laptop scale", "minutes", box=None, pad_edge=False)
    for slug, about in found.items():
        shown = documents.overview_document(slug, about)
        verdicts = " ".join(
            f"{name}{MARKS[verdict]}{'°' * (name in shown['unproven'])}" for name, verdict in shown["verdicts"].items()
        )
        minutes = "" if shown["minutes"] is None else f"{shown['minutes']:.0f}"
        fields = ", ".join(about.fields)
        table.add_row(slug, about.title, fields, str(about.claims), verdicts or "not published", minutes)
    screen = console()
    print_table(screen, table)
    screen.print("\n✓ holds   ✗ fails   ? undecided   – not testable at laptop scale   ° its control does not pass")
    screen.print("minutes: what the default studies took when they were published")
    return 0
