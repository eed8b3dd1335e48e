"""`encore sweeps`: how far every sweep has come and its best point; one sweep's points."""

import argparse
from pathlib import Path

from core import files
from core.cli import documents
from core.errors import BadInput
from core.paths import runs_folder
from core.runs import sweep_folder
from core.sweeps import display
from core.terminal import console, short_path


def main(arguments: argparse.Namespace) -> int:
    """Print all sweeps, or the table of one, or write one as a file for another controller."""
    if arguments.wandb is not None:
        return _write_wandb_file(arguments)
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


def _write_wandb_file(arguments: argparse.Namespace) -> int:
    """Write a sweep as a file for Weights & Biases' controller."""
    if arguments.sweep is None:
        raise BadInput("--wandb writes one sweep: encore sweeps <identity> --wandb FILE")
    from core.sweeps.wandb_file import render_wandb_file

    path = Path(arguments.wandb)
    files.write_text(path, render_wandb_file(sweep_folder.find_sweep(runs_folder(), arguments.sweep)))
    print(f"wandb sweep {short_path(path)}")
    return 0
