"""`encore report`: the static site of all results, and the table of papers in the README."""

import argparse
from pathlib import Path

from core import files
from core.errors import BadInput
from core.papers.config import load_config
from core.papers.config_files import all_slugs
from core.paths import project_root, published_folder, report_folder, results_folder
from core.report.freshness_process import FreshnessProcess
from core.terminal import short_path


def main(arguments: argparse.Namespace) -> int:
    """Build the site; with --readme also renew the README's table."""
    out = Path(arguments.out) if arguments.out else report_folder()
    try:
        files.check_can_write(out)
    except OSError as error:
        raise BadInput(f"cannot write to {out} ({error.strerror or error}): --out names another folder") from None
    asked = FreshnessProcess(published_folder())  # at work while this process imports and reads
    from core.report import readme_table, site

    found, left_out = [], []
    for slug in all_slugs():
        try:
            found.append(load_config(slug))
        except BadInput as error:
            left_out.append(str(error))
    print(site.build_site(published_folder(), found, out, left_out, asked.freshness_of, results_folder()))
    for line in left_out:
        print(f"left out: {line}")
    readme = project_root() / "README.md"
    if arguments.readme and readme_table.update_readme(readme, found, published_folder()):
        print(f"{short_path(readme)}: the table of papers was renewed")
    return 0
