"""`encore report`: the static site of all results, and the table of papers in the README."""

import argparse
from pathlib import Path

from core import pages
from core.errors import BadInput
from core.report import readme_table, site
from core.roots import project_root, results_folder


def main(arguments: argparse.Namespace) -> int:
    """Build the site; with --readme also renew the README's table."""
    found, left_out = [], []
    for slug in pages.slugs():
        try:
            found.append(pages.load_page(slug))
        except BadInput as error:
            left_out.append(str(error))
    out = Path(arguments.out) if arguments.out else results_folder() / "report"
    print(site.build(results_folder(), found, out, left_out))
    for line in left_out:
        print(f"left out: {line}")
    if arguments.readme and readme_table.update(project_root() / "README.md", found, results_folder()):
        print("README.md: the table of papers was renewed")
    return 0
