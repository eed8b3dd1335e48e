"""`encore sweeps`: how far every sweep has come and its best point; one sweep's points."""

import argparse

from core.roots import runs_folder
from core.running.screen import console
from core.sweeps import book, show


def main(arguments: argparse.Namespace) -> int:
    """Print all sweeps, or the table of one."""
    if arguments.sweep is not None:
        show.table_of(console(), book.read_one(runs_folder(), arguments.sweep))
        return 0
    if sweeps := book.read_all(runs_folder()):
        show.overview(console(), sweeps)
    else:
        print("no sweep yet: encore run -m paper=<name> settings.<name>=<value>,<value>")
    return 0
