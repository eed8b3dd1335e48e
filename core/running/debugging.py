"""`debug.nan` and `debug.trace`: what is looked into after, or before, a run; in a worker, as the run itself.

Nothing of it reaches a run's identity or its measurements; what was seen lies in `debug/` of the run's folder.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core import files
from core.launch.jobs import Job
from core.papers.settings import settings_as_dict
from core.runs.folder import RunFolder
from core.terminal import short_path

MOST_DIVERGED = 3  # stages of a study that are looked into
LONG_SHARE = 10  # a loop of at least a tenth of a trial's steps is one to trace


def diverged_stages(run: RunFolder, numbers: Sequence[int]) -> list[tuple[int, str, int]]:
    """Replicate, stage, and the steps by which it was found to have diverged, of all kept stages that did."""
    from core.lab.stages import SUFFIX, load_tree

    found = []
    for number in numbers:
        folder = run.replicate_folder(number) / "stages"
        for path in sorted(folder.rglob(f"*{SUFFIX}")):
            tree = load_tree(path)
            if tree is not None and int(tree.get("diverged_at", -1)) >= 0:
                name = path.relative_to(folder).as_posix().removesuffix(SUFFIX)
                found.append((number, name, int(tree["diverged_at"])))
    return found


def divergence_tasks(job: Job) -> list[dict[str, Any]]:
    """A task for the worker for each of the first stages that diverged."""
    found = diverged_stages(job.run, job.numbers)[:MOST_DIVERGED]
    return [
        _task(job, "divergence", [number], f"nan-{number:06d}-{name.replace('/', '-')}.txt")
        | {"stage": name, "diverged_at": at}
        for number, name, at in found
    ]


def trace_task(job: Job, replicates: Sequence[int], steps: int) -> dict[str, Any]:
    """The task that traces a loop of a trial of so many steps in all."""
    return _task(job, "trace", replicates, "trace.txt") | {"least_steps": -(-steps // LONG_SHARE)}


def _task(job: Job, kind: str, replicates: Sequence[int], file: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "paper": job.launch.config.slug,
        "study": job.study.name,
        "settings": settings_as_dict(job.chosen.settings),
        "run": job.run.identity,
        "prepared": job.prepared,
        "replicates": list(replicates),
        "x64": job.study.form.x64,
        "exclusive": job.study.form.exclusive,
        "axis": job.launch.axis if kind == "trace" else "loop",
        "spread": False,
        "silent": True,
        "checkpoint_seconds": float("inf"),
        "file": str(job.run.folder / "debug" / file),
    }


def printed_lines(tasks: Sequence[dict[str, Any]]) -> list[str]:
    """What the worker has seen, with where it lies."""
    lines = []
    for task in tasks:
        path = Path(task["file"])
        head, *rest = path.read_text(encoding="utf-8").splitlines() if path.exists() else ["nothing was seen"]
        lines += [f"{task['study']} replicate {task['replicates'][0]}, {head}", *(f"  {line}" for line in rest)]
        if task["kind"] == "trace" and path.exists():
            lines += _how_to_open(path.parent / "trace")
    return lines


def _how_to_open(folder: Path) -> list[str]:
    """How a trace is looked at."""
    newest = max(folder.rglob("perfetto_trace.json.gz"), key=lambda path: path.stat().st_mtime, default=None)
    lines = [
        f"  kept in {short_path(folder)}: tensorboard --logdir {short_path(folder)} (with tensorboard-plugin-profile)"
    ]
    if newest is not None:
        lines.append(f"  or open https://ui.perfetto.dev and drop {short_path(newest)} on it; nothing is uploaded")
    return lines


def perform_task(task: dict[str, Any], study: Any, settings: Any, keys: Any, make_lab: Callable[..., Any]) -> None:
    """The worker's part: perform the trial in a lab that looks into it, and write what it saw."""
    from core.lab import debugging
    from core.lab.trials import perform_trial
    from core.papers.config import load_config
    from core.running import prepared

    kind: Any = debugging.DivergenceLab if task["kind"] == "divergence" else debugging.TraceLab
    lab, path = make_lab(task, task["replicates"], kind), Path(task["file"])
    lab.prepared = prepared.load_prepared(task["prepared"])
    if task["kind"] == "divergence":
        lab.stage_name, lab.diverged_at, lab.store.hidden = task["stage"], task["diverged_at"], task["stage"]
    else:
        lab.trace_folder, lab.least_steps = path.parent / "trace", task["least_steps"]
    form = load_config(task["paper"]).studies[task["study"]].form
    with tempfile.TemporaryDirectory() as folder:
        lab.checkpoints = Path(folder)
        try:
            perform_trial(study.trial, settings, keys, lab, form.tune, form.arms)
        except debugging.Seen as seen:
            files.write_text(path, "\n".join(seen.lines) + "\n")
