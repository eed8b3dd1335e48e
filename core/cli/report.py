"""`encore report`: the static site of all results, and what of it stands in the README."""

import argparse
from pathlib import Path

from core import files
from core.errors import BadInput
from core.papers.config import PaperConfig, load_config
from core.papers.config_files import all_slugs
from core.paths import project_root, published_folder, report_folder, results_folder
from core.terminal import short_path


def main(arguments: argparse.Namespace) -> int:
    """Build the site, unless it stands; with --readme also renew the README's table of papers and its figure."""
    out = Path(arguments.out) if arguments.out else report_folder()
    try:
        files.check_can_write(out)
    except OSError as error:
        raise BadInput(f"cannot write to {out} ({error.strerror or error}): --out names another folder") from None
    if arguments.readme or not _stands(out):
        _build(out, arguments.readme)
    else:
        print(out / "index.html")
    return 0


def _stands(out: Path) -> bool:
    """Whether nothing that any page hangs on was written since the site was made."""
    from core.report.page_inputs import PageInputs, site_stamp

    return PageInputs(out).site_stands(site_stamp(published_folder(), results_folder(), out))


def _build(out: Path, renew_readme: bool) -> None:
    from core.report.freshness_process import FreshnessProcess

    asked = FreshnessProcess(published_folder())  # at work while this process imports and reads
    from core.report import site

    found, left_out = [], []
    for slug in all_slugs():
        try:
            found.append(load_config(slug))
        except BadInput as error:
            left_out.append(str(error))
    print(site.build_site(published_folder(), found, out, left_out, asked.freshness_of, results_folder()))
    for line in left_out:
        print(f"left out: {line}")
    if renew_readme:
        _renew_readme(found)


def _renew_readme(configs: list[PaperConfig]) -> None:
    from core.report import readme_table

    readme = project_root() / "README.md"
    if readme_table.update_readme(readme, configs, published_folder()):
        print(f"{short_path(readme)}: the table of papers and the drawing of effects were renewed")
