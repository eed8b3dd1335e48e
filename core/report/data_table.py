"""docs/data.md: every data set with its size, licence, source and checksums, and the papers that use it."""

from core.data import catalogue
from core.data.dataset import DataSet
from core.papers.claims import SCALES
from core.papers.config import PaperConfig, load_config
from core.papers.config_files import all_slugs
from core.papers.settings import data_sets_of_settings

DATA_FILE = "docs/data.md"
HEADER = """\
# The data sets

`encore fetch --document` writes this page from what the program knows; no data is part of this repository. A data set
is fetched when a run needs it, or by `encore fetch <name>`, from the first of its sources that delivers files with its
SHA-256 sums; each can also be placed by hand in `$ENCORE_DATA/<name>/`. Sizes are those of the uncompressed files.
Where items may not be shown, committed figures show none.

| name | data set | size | licence | items shown | papers |
|---|---|---:|---|---|---|
"""


def render_data_table() -> str:
    """The whole document, in Markdown."""
    users = data_set_users()
    sets = [catalogue.find_data_set(name) for name in catalogue.data_set_names()]
    rows = [_row(data, users.get(data.name, {})) for data in sets]
    return HEADER + "".join(rows) + "".join(map(_sources_and_sums, sets))


def data_set_users() -> dict[str, dict[str, list[str]]]:
    """By data set the papers whose studies use it at some scale, and the names of these studies."""
    found: dict[str, dict[str, list[str]]] = {}
    for slug in all_slugs():
        for study, name in _study_data(load_config(slug)):
            studies = found.setdefault(name, {}).setdefault(slug, [])
            studies += [study] if study not in studies else []
    return found


def _study_data(config: PaperConfig) -> list[tuple[str, str]]:
    """Every study of a paper with every data set of its settings, at whatever scale."""
    found = []
    for study in config.studies.values():
        for values in map(study.values, SCALES):
            if not study.waits_for_winners(values):
                found += [(study.name, name) for name in data_sets_of_settings(study.build(values))]
    return found


def _row(data: DataSet, users: dict[str, list[str]]) -> str:
    papers = "; ".join(f"{slug} ({', '.join(studies)})" for slug, studies in users.items())
    shown = "yes" if data.shareable else "no"
    size = _size(sum(file.bytes for file in data.files))
    return f"| [{data.name}](#{data.name}) | {data.title} | {size} | {data.licence} | {shown} | {papers or 'none'} |\n"


def _sources_and_sums(data: DataSet) -> str:
    """The section of one data set: where it can be had, in the order in which it is tried, and the sum of each file."""
    lines = [f"\n## {data.name}\n\n"]
    lines += [f"- in the installed package {data.package_folder.partition(':')[0]}\n"] if data.package_folder else []
    lines += [f"- {each.description}\n" for each in data.sources]
    lines.append("\n")
    lines += [f"    {file.sha256}  {file.name} ({_size(file.bytes)})\n" for file in data.files]
    return "".join(lines)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
