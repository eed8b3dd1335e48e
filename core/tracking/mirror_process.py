"""The mirror process: `python -m core.tracking.mirror_process <run folder>`.

Reads JSON lines from standard input: first `{"tracking": …, "computing": whether replicates are still to come,
  "display_path": the folder as the person knows it}`, at the end `{"verdict": folder or null}`. The end of the input
  means that the run
is gone: what has been mirrored is closed and the process ends. Its only line of output is meant for the person.
"""

import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core import output
from core.runs import live
from core.tracking import rows, trackers
from core.tracking.run_info import RunInfo, VerdictFolder
from core.tracking.trackers import Tracker

POLL_SECONDS = 1.0
MAX_LIVE_ROWS = 20  # of one loop in one poll: what runs is thinned, what is measured is not


class TrackerUpdater:
    """Carries what is new in a run's files over to a tracker; `logged_replicates` are those that it has already."""

    def __init__(self, run: RunInfo, tracker: Tracker, logged_replicates: Iterable[int] = ()) -> None:
        self.run, self.tracker = run, tracker
        self._live = live.LiveReader(run.folder / "live")
        self._logged = set(logged_replicates)
        self._final: list[rows.Row] = []

    def update(self) -> None:
        """Replicates that finished since the last time, and what the running ones show."""
        live_rows = list(self._live.new_rows())
        for replicate in rows.finished_replicates(self.run.folder):
            if replicate in self._logged:
                continue
            self._logged.add(replicate)
            try:
                new = rows.read_replicate_rows(self.run.folder, replicate)
            except (OSError, ValueError, KeyError, TypeError):
                print(f"replicate {replicate} of {self.run.folder.name} cannot be read: left out", file=sys.stderr)
                continue
            self.tracker.log_replicate(replicate, new)
            self._final += [row for row in new if row.get("step") is None]
        running = [row for row in live_rows if row["replicate"] not in self._logged]
        if running:
            self.tracker.log_live_rows(
                rows.tidy_live_rows(rows.thin_live_rows(running, MAX_LIVE_ROWS), self.run.stage_columns)
            )

    def finish(self, verdict: Path | None) -> str:
        """The verdict, if there is one, and the line for the person."""
        if verdict is not None:
            self.tracker.log_verdict(self._final, VerdictFolder(verdict))
        return self.tracker.close(verdict is not None)


def main() -> None:
    """Mirror one run until its verdict or its end; a failure shows in the run's tracking log and nowhere else."""
    os.nice(19)  # what trains on all cores must not notice
    logging.disable(logging.CRITICAL)  # libraries' own logs would hold absolute paths
    messages = _receive_messages()
    output.prepare_output()
    first = messages.get()
    if first is not None:
        print(mirror_run(Path(sys.argv[1]), first, messages), flush=True)


def mirror_run(folder: Path, first_message: Mapping[str, Any], messages: queue.Queue) -> str:
    """Follow the run while it computes, then add its verdict; a run that is mirrored already is left alone."""
    run = RunInfo(folder, first_message["tracking"], first_message["display_path"])
    module = trackers.load_tracker(run.tracking["name"])
    updater, message = None, {}
    if first_message["computing"]:
        updater = TrackerUpdater(run, module.start_tracker(run))
    while message == {}:
        message = _next_message(messages)
        if updater is not None:
            updater.update()
    verdict = Path(message["verdict"]) if message and message["verdict"] else None
    if updater is None:
        if verdict is None:
            return f"{run.tracking['name']}: nothing new to mirror"
        if line := module.current_mirror_line(run, VerdictFolder(verdict)):
            return line
        updater = TrackerUpdater(run, module.start_tracker(run))
        updater.update()
    return updater.finish(verdict)


def _receive_messages() -> queue.Queue:
    """Messages from standard input, read by a thread; None marks its end."""
    messages: queue.Queue = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            messages.put(json.loads(line))
        messages.put(None)

    threading.Thread(target=read, daemon=True).start()
    return messages


def _next_message(messages: queue.Queue) -> dict[str, Any] | None:
    """The next message, None at the end of the input, or an empty one when there is nothing yet."""
    try:
        return messages.get(timeout=POLL_SECONDS)
    except queue.Empty:
        return {}


if __name__ == "__main__":
    main()
