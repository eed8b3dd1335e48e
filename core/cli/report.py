"""`encore report`: the static site of all results, and the table of papers in the README."""

import argparse

from core import pages
from core.report import readme_table, site
from core.roots import project_root, results_folder


def main(arguments: argparse.Namespace) -> int:
    """Build the site; with --readme also renew the README's table."""
    found = [pages.load_page(slug) for slug in pages.slugs()]
    index = site.build(results_folder(), found, results_folder() / "report")
    print(index)
    if arguments.readme and readme_table.update(project_root() / "README.md", found, results_folder()):
        print("README.md: the table of papers was renewed")
    return 0
