"""The board: Trackio's dashboard on this machine, with every local run, kept up to date while it is open."""

import contextlib
import io
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from core.errors import BadInput
from core.runs.sweep_folder import is_locked
from core.tracking.mirror_process import TrackerUpdater
from core.tracking.run_info import RunInfo, VerdictFolder, newest_verdict_folder
from core.tracking.trackers import load_tracker, trackio

HOST = "127.0.0.1"
POLL_SECONDS = 2.0
VIEW_OPTIONS = "smoothing=0&hide_empty_tabs=true"  # curves as measured: smoothed, those of few points would look flat


class BoardUpdater:
    """Carries what is new in the folders of runs over to Trackio's databases.

    `papers` are the papers to show, all where there are none; `left_out` names the folders that cannot be read.
    """

    def __init__(self, runs: Path, papers: Sequence[str] = ()) -> None:
        self.runs, self.papers = runs, tuple(papers)
        self.left_out: set[str] = set()
        self._followed: dict[Path, TrackerUpdater] = {}
        self._running: dict[Path, bool] = {}
        self._verdicts: dict[Path, float] = {}

    def update(self) -> int:
        """Bring every run up to date once; returns how many there are."""
        for settings in sorted(self.runs.glob("*/settings.json")):
            folder = settings.parent
            try:
                self._update(folder)
            except sqlite3.Error:
                continue  # another process is writing: its turn comes again
            except (OSError, ValueError, KeyError, TypeError):
                self.left_out.add(folder.name)
            else:
                self.left_out.discard(folder.name)
        return len(self._followed)

    def _update(self, folder: Path) -> None:
        about = (
            self._followed[folder].run
            if folder in self._followed
            else RunInfo(folder, trackio.read_tracking_settings(folder), "")
        )
        paper = about.metadata["paper"]
        if self.papers and paper not in self.papers:
            return
        running = is_locked(folder / "lock")
        if folder not in self._followed or self._running[folder] != running:  # what is unfinished gets another name
            tracker = trackio.TrackioTracker(about, running)
            tracker.forget_live_rows()
            self._followed[folder] = TrackerUpdater(about, tracker, tracker.logged_replicates())
            self._running[folder] = running
        self._followed[folder].update()
        verdict = newest_verdict_folder(folder)
        changed = (verdict / "claims.json").stat().st_mtime if verdict else 0.0
        if verdict and self._verdicts.get(folder) != changed:
            self._followed[folder].tracker.log_verdict([], VerdictFolder(verdict))
            self._verdicts[folder] = changed


@contextlib.contextmanager
def serve_board(runs: Path, port: int, papers: Sequence[str] = ()) -> Generator[tuple[str, BoardUpdater, str | None]]:
    """Serve the board on loopback; gives its address, the board to be updated, and a note for the person or None.

    Raises BadInput when Trackio is not installed or the port is in use.
    """
    load_tracker("trackio")
    check_port(port)
    with open_database_folder(runs) as (folder, note):
        trackio.configure_trackio(folder)
        board = BoardUpdater(runs, papers)
        board.update()
        server, address = _serve(port)
        try:
            chosen = f"&project={papers[0]}" if len(papers) == 1 else ""
            yield f"{address}?{VIEW_OPTIONS}{chosen}", board, note
        finally:
            with contextlib.redirect_stdout(io.StringIO()):
                server.close()


def update_board_until(updater: BoardUpdater, stop: threading.Event) -> None:
    """Update the board every few seconds until `stop` is set."""
    while not stop.wait(POLL_SECONDS):
        updater.update()


@contextlib.contextmanager
def open_database_folder(runs: Path) -> Generator[tuple[Path, str | None]]:
    """Where the databases are: beside the runs, or for a while elsewhere when nothing can be written there."""
    folder = runs / trackio.FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        with tempfile.TemporaryDirectory() as elsewhere:
            yield Path(elsewhere), "results cannot be written: what the board shows is kept only while it is open"
    else:
        yield folder, None


def check_port(port: int) -> None:
    """Raise BadInput, with the next port that is free, when something else listens on this one."""
    if not 0 < port < 65536:
        raise BadInput(f"--port {port} is no port: choose one from 1024 to 65535")
    if not _free(port):
        other = next((each for each in range(port + 1, min(port + 100, 65536)) if _free(each)), None)
        raise BadInput(f"port {port} is in use" + (f": add --port {other}" if other else ""))


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _serve(port: int) -> tuple[Any, str]:
    """Trackio's server in a thread, without its right to delete, its tunnel and its words; with its address."""
    import trackio as package

    options: dict[str, Any] = {"open_browser": False, "block_thread": False, "share": False, "mcp_server": False}
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            server, address, _, _ = package.show(host=HOST, server_port=port, **options)
        except (OSError, RuntimeError) as error:
            raise BadInput(f"the board cannot be served on port {port}: {error}") from None
    return server, address
