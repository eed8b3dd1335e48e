"""`encore fetch`: fill the data cache, for machines whose compute nodes have no network."""

import argparse

from core import pages
from core.data import loading
from core.settings import data_sets


def main(arguments: argparse.Namespace) -> int:
    """Fetch and verify the data sets of some papers."""
    slugs = pages.slugs() if arguments.papers == ["all"] else arguments.papers
    scales = pages.SCALES if arguments.every_study else ("laptop",)
    for slug in slugs:
        page = pages.load_page(slug)
        studies = page.select("all" if arguments.every_study else None)
        wanted = {name for study in studies for scale in scales for name in data_sets(study.build(study.values(scale)))}
        for name in sorted(wanted):
            loading.fetch(name)
        if not wanted:
            print(f"{slug}: needs no data")
    return 0
