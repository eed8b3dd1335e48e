"""`encore sweeps`: how far every sweep has come and its best point; one sweep's points."""

import argparse

from core.cli import documents
from core.paths import runs_folder
from core.runs import sweep_folder
from core.sweeps import display
from core.terminal import console


def main(arguments: argparse.Namespace) -> int:
    """Print all sweeps, or the table of one."""
    if arguments.json:
        wanted = sweep_folder.read_sweeps(runs_folder())
        if arguments.sweep is not None:
            wanted = [sweep_folder.find_sweep(runs_folder(), arguments.sweep)]
        documents.print_json("sweeps", sweeps=[documents.sweep_document(sweep) for sweep in wanted])
    elif arguments.sweep is not None:
        display.print_points(console(), sweep_folder.find_sweep(runs_folder(), arguments.sweep))
    elif sweeps := sweep_folder.read_sweeps(runs_folder()):
        display.print_overview(console(), sweeps)
    else:
        print("no sweep yet: encore run -m paper=<name> settings.<name>=<value>,<value>")
    return 0
