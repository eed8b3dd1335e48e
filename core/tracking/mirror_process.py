"""The mirror process: `python -m core.tracking.mirror_process <run folder>`.

Reads JSON lines from standard input: first `{"tracking": …, "computing": whether replicates are still to come, "shown":
the folder as the person knows it}`, at the end `{"verdict": folder or null}`. The end of the input means that the run
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

from core.runs import live
from core.tracking import rows, trackers
from core.tracking.run_info import RunInfo, RunVerdict
from core.tracking.trackers import Tracker

POLL_SECONDS = 1.0
MOST_LOOKS = 20  # of one loop in one poll: what runs is thinned, what is measured is not


class Follower:
    """Carries what is new in a run's files over to a tracker; `measured` are replicates that it holds already."""

    def __init__(self, about: RunInfo, tracker: Tracker, measured: Iterable[int] = ()) -> None:
        self.about, self.tracker = about, tracker
        self._live = live.LiveReader(about.folder / "live")
        self._measured = set(measured)
        self._final: list[rows.Row] = []

    def update(self) -> None:
        """Replicates that finished since the last time, and what the running ones show."""
        looks = list(self._live.new_rows())
        for replicate in rows.finished_replicates(self.about.folder):
            if replicate in self._measured:
                continue
            self._measured.add(replicate)
            try:
                new = rows.read_rows(self.about.folder, replicate)
            except (OSError, ValueError, KeyError, TypeError):
                print(f"replicate {replicate} of {self.about.folder.name} cannot be read: left out", file=sys.stderr)
                continue
            self.tracker.measured(replicate, new)
            self._final += [row for row in new if row.get("step") is None]
        running = [look for look in looks if look["replicate"] not in self._measured]
        if running:
            self.tracker.looked(rows.tidy_curves(rows.thin_rows(running, MOST_LOOKS), self.about.place_of))

    def end(self, verdict: Path | None) -> str:
        """The verdict, if there is one, and the line for the person."""
        if verdict is not None:
            self.tracker.judged(self._final, RunVerdict(verdict))
        return self.tracker.close(verdict is not None)


def main() -> None:
    """Mirror one run until its verdict or its end; a failure shows in the run's tracking log and nowhere else."""
    os.nice(19)  # what trains on all cores must not notice
    logging.disable(logging.CRITICAL)  # libraries' own logs would hold absolute paths
    messages = _listen()
    first = messages.get()
    if first is not None:
        print(mirror(Path(sys.argv[1]), first, messages), flush=True)


def mirror(folder: Path, first: Mapping[str, Any], messages: queue.Queue) -> str:
    """Follow the run while it computes, then add its verdict; a run that is mirrored already is left alone."""
    about = RunInfo(folder, first["tracking"], first["shown"])
    module = trackers.load_tracker(about.tracking["name"])
    follower, message = None, {}
    if first["computing"]:
        follower = Follower(about, module.start(about))
    while message == {}:
        message = _next_message(messages)
        if follower is not None:
            follower.update()
    verdict = Path(message["verdict"]) if message and message["verdict"] else None
    if follower is None:
        if verdict is None:
            return f"{about.tracking['name']}: nothing new to mirror"
        if line := module.mirrored_before(about, RunVerdict(verdict)):
            return line
        follower = Follower(about, module.start(about))
        follower.update()
    return follower.end(verdict)


def _listen() -> queue.Queue:
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
