"""`encore list`: one line per paper."""

import argparse

from rich.table import Table

from core import files, paths
from core.errors import unknown_name
from core.papers.config import PaperConfig, load_config, slugs
from core.terminal import console

MARKS = {"holds": "✓", "fails": "✗", "undecided": "?", "not testable": "–"}


def main(arguments: argparse.Namespace) -> int:
    """Print the table of papers."""
    found = [load_config(slug) for slug in slugs()]
    fields = {field for config in found for field in config.paper["fields"]}
    if arguments.field and arguments.field not in fields:
        raise unknown_name("field", arguments.field, fields)
    table = Table("paper", "title", "field", "claims", "verdicts at laptop scale", "minutes", box=None, pad_edge=False)
    for config in found:
        if not arguments.field or arguments.field in config.paper["fields"]:
            verdicts, minutes = _published(config)
            fields_shown = ", ".join(config.paper["fields"])
            table.add_row(config.slug, config.paper["title"], fields_shown, str(len(config.claims)), verdicts, minutes)
    console().print(table, soft_wrap=False)
    print("\n✓ holds   ✗ fails   ? undecided   – not testable at laptop scale")
    return 0


def _published(config: PaperConfig) -> tuple[str, str]:
    folder = paths.results_folder() / config.slug / "laptop"
    if not (folder / "claims.json").exists():
        return "not published", ""
    verdicts = " ".join(f"{claim['id']}{MARKS[claim['verdict']]}" for claim in files.read_json(folder / "claims.json"))
    studies = files.read_json(folder / "provenance.json")["studies"]
    by_default = [study for name, study in studies.items() if config.data["studies"].get(name, {}).get("default", True)]
    return verdicts, f"{sum(study['seconds'] for study in by_default) / 60:.0f}"
