"""`encore list`: one line per paper."""

import argparse

from rich.table import Table

from core import files, pages, roots
from core.errors import unknown
from core.running.screen import console

MARKS = {"holds": "✓", "fails": "✗", "undecided": "?", "not testable": "–"}


def main(arguments: argparse.Namespace) -> int:
    """Print the table of papers."""
    found = [pages.load_page(slug) for slug in pages.slugs()]
    fields = {field for page in found for field in page.paper["fields"]}
    if arguments.field and arguments.field not in fields:
        raise unknown("field", arguments.field, fields)
    table = Table("paper", "title", "field", "claims", "verdicts at laptop scale", "minutes", box=None, pad_edge=False)
    for page in found:
        if not arguments.field or arguments.field in page.paper["fields"]:
            verdicts, minutes = _published(page)
            fields_shown = ", ".join(page.paper["fields"])
            table.add_row(page.slug, page.paper["title"], fields_shown, str(len(page.claims)), verdicts, minutes)
    console().print(table, soft_wrap=False)
    print("\n✓ holds   ✗ fails   ? undecided   – not testable at laptop scale")
    return 0


def _published(page: pages.Page) -> tuple[str, str]:
    folder = roots.results_folder() / page.slug / "laptop"
    if not (folder / "claims.json").exists():
        return "not published", ""
    verdicts = " ".join(f"{claim['id']}{MARKS[claim['verdict']]}" for claim in files.read_json(folder / "claims.json"))
    studies = files.read_json(folder / "provenance.json")["studies"]
    by_default = [study for name, study in studies.items() if page.data["studies"].get(name, {}).get("default", True)]
    return verdicts, f"{sum(study['seconds'] for study in by_default) / 60:.0f}"
