"""`encore sync`: upload finished offline runs to Weights & Biases, each once."""

import argparse
import sys

from core.errors import EncoreError, unknown_name
from core.papers.config_files import all_slugs
from core.paths import runs_folder
from core.tracking import upload


def main(arguments: argparse.Namespace) -> int:
    """Make every mirror that waits whole, then upload it; returns the worst exit code."""
    for paper in arguments.papers:
        if paper not in all_slugs():
            raise unknown_name("paper", paper, all_slugs())
    elsewhere = {name: getattr(arguments, name) for name in ("project", "entity") if getattr(arguments, name)}
    runs = list(upload.pending_uploads(runs_folder(), arguments.papers, arguments.rebuild, elsewhere))
    if not runs:
        print(" nothing waits to be uploaded")
        return 0
    if not arguments.rebuild:
        upload.check_wandb_server()
    whole, codes = [], [0]
    for run in runs:
        try:
            upload.remake_stale_mirror(run, arguments.rebuild)
            whole.append(run)
        except EncoreError as error:
            codes.append(_told(error))
    print(f" {len(whole)} of {len(runs)} mirrors are whole")
    address = upload.check_wandb_server()
    for run in whole:
        try:
            print(f" {run.folder.name}: uploaded to {upload.upload_run(run) or address}", flush=True)
        except EncoreError as error:
            codes.append(_told(error))
    return max(codes)


def _told(error: EncoreError) -> int:
    print(f"encore: {error}", file=sys.stderr)
    return error.exit_code
