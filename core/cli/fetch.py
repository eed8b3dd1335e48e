"""`encore fetch`: fill the data cache, for machines whose compute nodes have no network."""

import argparse

from core import files
from core.data import catalogue, loading
from core.errors import BadInput, DataMissing, unknown_name
from core.papers.claims import SCALES
from core.papers.config import load_config
from core.papers.config_files import all_slugs
from core.papers.settings import data_sets_of_settings
from core.paths import project_root
from core.report import data_table
from core.terminal import short_path


def main(arguments: argparse.Namespace) -> int:
    """Fetch and verify data sets, those of papers or those that are named; what cannot be had is said at last."""
    if arguments.document:
        return _document()
    if not arguments.names:
        raise BadInput("which data? name papers or data sets, or all")
    wanted: dict[str, None] = {}
    for name in all_slugs() if arguments.names == ["all"] else arguments.names:
        wanted |= dict.fromkeys(_data_sets(name, arguments.every_study))
    faults = []
    for name in wanted:
        try:
            loading.fetch_data_set(name)
        except DataMissing as error:
            faults.append(str(error))
    if faults:
        raise DataMissing("; ".join(faults))
    return 0


def _document() -> int:
    """Write docs/data.md anew."""
    path = project_root() / data_table.DATA_FILE
    files.write_text(path, data_table.render_data_table())
    print(short_path(path))
    return 0


def _data_sets(name: str, every_study: bool) -> list[str]:
    """The data sets that a paper needs, or the one of that name. Raises BadInput for a name of neither."""
    if name not in all_slugs():
        if name == "all":
            raise BadInput("all stands for every paper: write it alone")
        if name not in catalogue.data_set_names():
            raise unknown_name("paper or data set", name, [*all_slugs(), *catalogue.data_set_names(), "all"])
        return [name]
    config = load_config(name)
    values = [
        (study, study.values(scale))
        for study in config.select("all" if every_study else None)
        for scale in (SCALES if every_study else ("laptop",))
    ]
    built = [study.build(each) for study, each in values if not study.waits_for_winners(each)]
    found = sorted({each for settings in built for each in data_sets_of_settings(settings)})
    if not found:
        print(f"{name}: needs no data")
    return found
