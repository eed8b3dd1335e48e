"""`encore claims`: the claims of a paper with what it prints, what was measured, and the verdicts."""

import argparse

from rich.table import Table

from core import files
from core.papers.config import load_config
from core.paths import published_folder
from core.running.display import claim_cells, format_printed
from core.terminal import console, print_table


def main(arguments: argparse.Namespace) -> int:
    """Print one row per claim; without a published result, what the config says."""
    config, scale = load_config(arguments.paper), arguments.scale
    path = published_folder() / config.slug / scale / "claims.json"
    published = {claim["id"]: claim for claim in files.read_json(path)} if path.exists() else {}
    columns = ("claim", "paper", "here (95 % interval)", f"published verdict at {scale} scale")
    table = Table(*columns, box=None, pad_edge=False, leading=1)
    for name, form in config.form.claims.items():
        if name in published:
            table.add_row(*claim_cells(published[name], form.printed))
        else:
            table.add_row(f"{name} {form.says}", format_printed(form.printed), "", "not published")
    print_table(console(), table)
    return 0
