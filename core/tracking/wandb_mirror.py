"""The mirror process for Weights & Biases: `python -m core.tracking.wandb_mirror <run folder>`.

Reads JSON lines from standard input: first `{"tracking": …, "about": …, "shown": the folder as the person knows it}`,
at the end `{"verdict": folder or null}`.
The end of the input means that the run is gone: what has been mirrored is closed and the process ends.
Its only line of output is meant for the person at the terminal.
"""

import http.client
import json
import logging
import os
import queue
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.files import read_json
from core.publishing.provenance import private_findings
from core.tracking import rows

POLL_SECONDS = 1.0
REACH_SECONDS = 5.0  # to get any answer from the server before a run is opened there
INIT_SECONDS = 15.0  # wandb's own wait; it adds about 11 s of its own
UPLOAD_SECONDS = 45.0  # less than the run waits at its end

# Nothing of the person or the machine: no code, diff, remote, arguments, host, user, packages or hardware.
PRIVATE: dict[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "save_code": False,
    "host": "",
    "username": "",
    "email": "",
    "program": "",
    "program_abspath": "",
    "program_relpath": "",
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
SILENT: dict[str, Any] = {"quiet": True, "silent": True, "symlink": False}


def main() -> None:
    """Mirror one run until its verdict or its end; a failure shows in the run's tracking log and nowhere else."""
    os.nice(10)
    os.environ["WANDB_ERROR_REPORTING"] = "false"  # else wandb sends telemetry of its own, even from offline runs
    logging.disable(logging.CRITICAL)  # wandb's own log would hold absolute paths
    folder = Path(sys.argv[1])
    messages = _listen()
    first = messages.get()
    if first is None:
        return
    print(mirror(folder, first, messages), flush=True)


def mirror(folder: Path, first: Mapping[str, Any], messages: queue.Queue) -> str:
    """Copy curves as replicates finish, then tables, figures and verdicts; returns the line for the person."""
    about = first["about"]
    run, trouble = open_run(folder, first["tracking"], about)
    done: list[dict[str, Any]] = []
    missing = list(range(about["first_replicate"], about["first_replicate"] + about["replicates"]))
    message: dict[str, Any] | None = {}
    while message == {}:
        message = _next_message(messages)
        for replicate in rows.finished_replicates(folder, missing):
            missing.remove(replicate)
            new = rows.read_rows(folder, replicate)
            done += new
            _log_curves(run, new)
    verdict = message["verdict"] if message else None
    _log_end(run, done, Path(verdict) if verdict else None)
    url = None if run.offline else run.url
    place = Path(first["shown"]) / "wandb" / Path(run.dir).parent.name
    run.finish(exit_code=0 if verdict else 1)
    if url:
        return f"wandb: {url}"
    return f"wandb: {trouble + '; ' if trouble else ''}offline run, upload it with: wandb sync {place}"


def open_run(folder: Path, tracking: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[Any, str | None]:
    """A wandb run, online if asked and possible, else offline with the reason."""
    import wandb

    trouble = None
    config = without_private(read_json(folder / "settings.json") | dict(about))
    keywords: dict[str, Any] = {
        "project": tracking["project"],
        "entity": tracking["entity"],
        "group": tracking["group"] or config["paper"],
        "job_type": config["study"],
        "name": folder.name,
        "notes": tracking["notes"],
        "tags": [config["paper"], config["study"], config["scale"], *tracking["tags"]],
        "config": config,
    }
    bounds = {"init_timeout": INIT_SECONDS, "finish_timeout": UPLOAD_SECONDS, "login_timeout": INIT_SECONDS}
    settings: dict[str, Any] = {"root_dir": str(folder), **PRIVATE, **SILENT, **bounds}
    if tracking["mode"] == "online":
        trouble = unreachable(wandb.setup().settings.base_url)
        if trouble is None:
            try:
                return wandb.init(**keywords, mode="online", settings=wandb.Settings(**settings)), None
            except (wandb.Error, OSError, ValueError) as error:
                trouble = f"tracking is offline: {_one_line(error)}"
    return wandb.init(**keywords, mode="offline", settings=wandb.Settings(**settings)), trouble


def unreachable(base_url: str) -> str | None:
    """Why the server gives no answer at all within a few seconds, or None if it does."""
    try:
        urllib.request.urlopen(base_url, timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError:
        return None  # an answer, whatever it says
    except (OSError, ValueError, http.client.HTTPException):
        return "tracking is offline: server unreachable"
    return None


def without_private(value: Any) -> Any:
    """The same plain data with every text that tells where or by whom it was made replaced."""
    if isinstance(value, Mapping):
        return {name: without_private(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_private(item) for item in value]
    return "(private)" if any(private_findings(value)) else value


def _log_curves(run: Any, new: Iterable[rows.Row]) -> None:
    points = rows.curve_points(new)
    for name in sorted({name for point in points for name in point} - {"step"}):
        run.define_metric(name, step_metric="step")
    for point in points:
        run.log(point)


def _log_end(run: Any, done: list[rows.Row], verdict: Path | None) -> None:
    import wandb

    if done:
        _log_table(run, "measurements", *rows.final_table(done))
        run.summary.update(rows.final_means(done))
    if verdict is None:
        return
    claims = read_json(verdict / "claims.json")
    _log_table(run, "claims", *rows.claims_table(claims))
    run.summary.update({f"verdict/{claim['id']}": claim["verdict"] for claim in claims})
    run.config.update({"provenance": without_private(read_json(verdict / "provenance.json"))})
    for figure in sorted((verdict / "figures").glob("*.svg")):
        run.log({f"figures/{figure.stem}": wandb.Html(figure.read_text(encoding="utf-8"), inject=False)})


def _log_table(run: Any, name: str, columns: list[Any], cells: list[Any]) -> None:
    import wandb

    table = wandb.Table(columns=columns, data=cells, allow_mixed_types=True)
    # Bound beforehand it is written as a file of the run; else wandb makes an artifact that records absolute paths.
    table.bind_to_run(run, name, run.step)
    run.log({name: table})


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


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:160] if text else type(error).__name__


if __name__ == "__main__":
    main()
