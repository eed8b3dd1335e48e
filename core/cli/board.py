"""`encore board`: curves of running and finished runs in a browser, served to this machine alone."""

import argparse
import signal
import sys
import threading
import webbrowser

from core.errors import unknown_name
from core.papers.config_files import all_slugs
from core.paths import runs_folder
from core.tracking import board


def main(arguments: argparse.Namespace) -> int:
    """Serve the board until it is stopped by Ctrl-C."""
    for paper in arguments.papers:
        if paper not in all_slugs():
            raise unknown_name("paper", paper, all_slugs())
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with board.serve_board(runs_folder(), arguments.port, arguments.papers) as (address, shown, note):
        if note:
            print(f" {note}")
        for name in sorted(shown.left_out):
            print(f" {name} cannot be read: left out", file=sys.stderr)
        print(f" board: {address}   (Ctrl-C ends it)", flush=True)
        if not arguments.no_browser:
            webbrowser.open(address)
        board.update_board_until(shown, stop)
    return 0
