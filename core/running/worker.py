"""A worker process: computes replicates that the parent names, one batch after the other.

It is started as `python -m core.running.worker`, reads one JSON document per line from its input and answers with one
JSON event per line. It ends when its input ends, so that it never outlives the parent.
"""

import contextlib
import errno
import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from core.planning.machine import peak_memory_gib
from core.running import program_cache


class EventChannel:
    """The channel to the parent: the process's original output, kept apart from whatever libraries print."""

    def __init__(self) -> None:
        self._file: TextIO = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
        os.dup2(2, 1)
        self._sent = 0.0
        self._steps = 0

    def send(self, event: str, **content: Any) -> None:
        """Write one event; a parent that is gone ends the worker."""
        try:
            self._file.write(json.dumps({"event": event, **content}) + "\n")
        except BrokenPipeError:
            os._exit(1)

    def count_steps(self, steps: int) -> None:
        """Count steps and tell the parent a few times a second."""
        self._steps += steps
        if time.monotonic() - self._sent > 0.2:
            self.flush()

    def flush(self) -> None:
        """Tell the parent of the steps counted since the last time."""
        self.send("steps", count=self._steps)
        self._steps, self._sent = 0, time.monotonic()


class Worker:
    """State that lives as long as the process: compiled functions and loaded data."""

    def __init__(self, events: EventChannel) -> None:
        self.events = events
        self.stop = threading.Event()
        self.compile_seconds = 0.0
        self.run = ""
        self.lifters: dict[Any, Any] = {}

    def count_compile_seconds(self) -> None:
        """Add up the seconds that XLA compiles."""
        import jax.monitoring

        def listen(event: str, duration_secs: float, **_: str | int) -> None:
            if event.endswith("backend_compile_duration"):
                self.compile_seconds += duration_secs

        jax.monitoring.register_event_duration_secs_listener(listen)

    def compute(self, task: dict[str, Any]) -> None:
        """Run the trial of a study for one batch of replicates, and write what it measured."""
        import jax

        from core.lab import keys
        from core.papers.config import load_config
        from core.papers.contract import load_study
        from core.running import debugging

        if task["kind"] == "barrier":
            self._barrier(task["what"])
            return
        with jax.enable_x64(task["x64"]):
            study, config = load_study(task["paper"], task["study"]), load_config(task["paper"]).studies[task["study"]]
            settings = config.build(task["settings"])
            if task["kind"] == "prepare":
                self._prepare(task, study, settings)
                return
            batch = keys.replicate_keys(task["paper"], task["study"], task["replicates"])
            if task["kind"] in ("divergence", "trace"):
                debugging.perform_task(task, study, settings, batch, self._lab)
                self.events.send("finished", replicates=task["replicates"])
            elif task["kind"] == "varied":
                self._run_vectorised(task, study, settings, batch)
            else:
                self._trial(task, study, settings, batch)

    def _barrier(self, what: str) -> None:
        from core.errors import BadInput
        from core.running import distributed

        try:
            distributed.barrier(what)
        except AssertionError:
            raise BadInput("they do not compute the same: check their commands, code and libraries") from None
        self.events.send("finished", replicates=[])

    def _prepare(self, task: dict[str, Any], study: Any, settings: Any) -> None:
        from core.lab import keys
        from core.running import prepared

        key = keys.preparation_key(task["paper"], task["study"])
        lab = self._lab(task, [0])
        if task["silent"]:
            study.prepare(settings.prepared, key, lab)
        else:
            prepared.compute_prepared(study, settings, key, lab)
        self.events.send("finished", replicates=[])

    def _trial(self, task: dict[str, Any], study: Any, settings: Any, batch: Any) -> None:
        from core.runs.folder import RunFolder
        from core.runs.live import LiveWriter

        lab, live = (
            self._lab(task, task["replicates"]),
            LiveWriter(RunFolder(task["run"]).live_folder, task["replicates"][0]),
        )
        lab.on_evaluate = lab.on_evaluate if task["silent"] else live.write
        self._perform(task, study, settings, batch, lab)
        live.remove()

    def _run_vectorised(self, task: dict[str, Any], study: Any, settings: Any, batch: Any) -> None:
        """Replicates of several runs, whose settings differ in some numbers, as one batch."""
        from pathlib import Path

        from core.lab import vectorised
        from core.runs.folder import RunFolder

        lab = self._lab(task, list(range(len(task["replicates"]))), vectorised.VectorisedLab)
        lab.folders = [
            RunFolder(name).replicate_folder(n) for name, n in zip(task["runs"], task["replicates"], strict=True)
        ]
        lab.store.folders, lab.checkpoints = lab.folders, Path(task["checkpoints"])
        lab.numbers = vectorised.stack_numbers(task["vary"])
        self._perform(task, study, vectorised.insert_placeholders(settings, list(task["vary"])), batch, lab)

    def _perform(self, task: dict[str, Any], study: Any, settings: Any, batch: Any, lab: Any) -> None:
        from core.lab.trials import perform_trial
        from core.papers.config import load_config
        from core.running import prepared

        replicates, form = task["replicates"], load_config(task["paper"]).studies[task["study"]].form
        started, compiled = time.perf_counter(), self.compile_seconds
        lab.prepared = prepared.load_prepared(task.get("prepared"))
        perform_trial(study.trial, settings, batch, lab, form.tune, form.arms)
        cost = {
            "seconds": time.perf_counter() - started,
            "compile_seconds": self.compile_seconds - compiled,
            "iterating_seconds": lab.iterating_seconds,
            "steps": lab.steps,
            "batch": len(replicates),
            "peak_gib": peak_memory_gib(),
        }
        if not task["silent"]:
            self._write(lab, cost)
        self.events.flush()
        self.events.send("finished", replicates=replicates)

    def _write(self, lab: Any, cost: dict[str, Any]) -> None:
        from core.lab import stages
        from core.runs import measurements

        for position, folder in enumerate(lab.folders):
            measurements.write_rows(folder / "measurements.jsonl", lab.rows[position])
            if lab.kept:
                stages.save_tree(folder / "arrays.msgpack", {name: array[position] for name, array in lab.kept.items()})
            measurements.files.write_json(folder / "done.json", cost)

    def _lab(self, task: dict[str, Any], replicates: list[int], kind: Any = None) -> Any:
        from core.data import loading
        from core.lab.lab import Lab
        from core.lab.replicas import Lifter, ReplicateAxis
        from core.runs.folder import RunFolder

        run, axis = RunFolder(task["run"]), ReplicateAxis.choose(len(replicates), task["axis"])
        kind, should_stop = kind or Lab, self.stop.is_set
        if task["spread"]:
            from core.running import distributed

            kind, should_stop = (
                (distributed.ReadOnlyLab if task["silent"] else Lab),
                distributed.any_process_stopping(self.stop.is_set),
            )
        if task["run"] != self.run:  # programs are compiled for the settings of a run
            self.run, self.lifters = task["run"], {}
        return kind(
            replicates=replicates,
            folders=[run.replicate_folder(number) for number in replicates],
            checkpoints=run.checkpoints,
            load_data=loading.load_data_set,
            axis=axis,
            exclusive=task["exclusive"],
            on_progress=self.events.count_steps,
            should_stop=should_stop,
            checkpoint_seconds=task["checkpoint_seconds"],
            lifter=self.lifters.setdefault(axis, Lifter(axis)),
        )


def _failure(error: BaseException) -> dict[str, Any]:
    from core.errors import EncoreError

    if isinstance(error, EncoreError):
        return {"message": str(error), "code": error.exit_code}
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return {"message": "the disk is full: free some space and give the same command again", "code": 75}
    traceback.print_exc()
    return {"message": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", "code": 1}


def main() -> None:
    """Answer tasks until the input ends."""
    events = EventChannel()
    worker = Worker(events)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and says what to do
    for number in (signal.SIGTERM, signal.SIGUSR1):  # launchers also signal every process of a job
        signal.signal(number, lambda *_: worker.stop.set())
    start = json.loads(sys.stdin.readline())
    if start.get("core") is not None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {start["core"]})
    import jax

    program_cache.date_programs()
    program_cache.report_faults(lambda line: events.send("note", line=line))
    if start.get("hosts"):
        from core.running import distributed

        distributed.join_processes(start["hosts"])
    worker.count_compile_seconds()
    events.send("ready", devices=[device.device_kind for device in jax.local_devices()], backend=jax.default_backend())
    tasks: list[dict[str, Any]] = []
    arrived = threading.Condition()
    threading.Thread(target=_receive_tasks, args=(worker, tasks, arrived), daemon=True).start()
    while True:
        with arrived:
            arrived.wait_for(lambda: tasks)
            task = tasks.pop(0)
        if task["kind"] == "end":
            return
        try:
            worker.compute(task)
        except BaseException as error:
            events.flush()
            events.send("failed", task=task["kind"], **_failure(error))


def _receive_tasks(worker: Worker, tasks: list[dict[str, Any]], arrived: threading.Condition) -> None:
    """Take tasks from the parent; when it is gone, stop at once: every finished stage is on disk."""
    for line in sys.stdin:
        message = json.loads(line)
        if message["kind"] == "stop":
            worker.stop.set()
            continue
        with arrived:
            tasks.append(message)
            arrived.notify()
    os._exit(0)


if __name__ == "__main__":
    main()
