"""`encore fetch`: fill the data cache, for machines whose compute nodes have no network."""

import argparse

from core.data import loading
from core.papers.claims import SCALES
from core.papers.config import load_config
from core.papers.config_files import all_slugs
from core.papers.settings import data_sets_of_settings


def main(arguments: argparse.Namespace) -> int:
    """Fetch and verify the data sets of some papers."""
    papers = all_slugs() if arguments.papers == ["all"] else arguments.papers
    scales = SCALES if arguments.every_study else ("laptop",)
    for slug in papers:
        config = load_config(slug)
        studies = config.select("all" if arguments.every_study else None)
        values = [(study, study.values(scale)) for study in studies for scale in scales]
        built = [study.build(each) for study, each in values if not study.waits_for_winners(each)]
        wanted = {name for settings in built for name in data_sets_of_settings(settings)}
        for name in sorted(wanted):
            loading.fetch_data_set(name)
        if not wanted:
            print(f"{slug}: needs no data")
    return 0
