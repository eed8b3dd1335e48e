"""Weights & Biases: one wandb run per run, offline or on a server, in `<run folder>/wandb`.

A mirror is made of the run's files alone and takes the place of an earlier one. To a wandb run that a server has seen
wandb could only append, so what is mirrored after that is another wandb run, of the next generation. `mirror.json` says
what the mirror holds and whether a server has it.
"""

import contextlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from core import files
from core.tracking.rows import (
    Row,
    claims_table,
    curve_points,
    final_means,
    final_measurements_table,
    finished_replicates,
)
from core.tracking.run_info import RunInfo, VerdictFolder

PACKAGE = "wandb"
MODES = ("offline", "online")
REACH_SECONDS = 5.0  # to get any answer from the server before a run is opened there
INIT_SECONDS = 15.0  # wandb's own wait; it adds about 11 s of its own
UPLOAD_SECONDS = 45.0  # less than the run waits at its end
UPLOAD_HINT = "upload it with: encore sync"

# Nothing of the person or the machine: no code, diff, remote, arguments, host, user, packages or hardware.
PRIVACY_SETTINGS: dict[str, Any] = {
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
QUIET_SETTINGS: dict[str, Any] = {"quiet": True, "silent": True, "symlink": False}
NO_TELEMETRY = {"WANDB_ERROR_REPORTING": "false"}  # else wandb sends some of its own, even from offline runs


class WandbTracker:
    """A wandb run that is being written."""

    def __init__(self, run: RunInfo, wandb_run: Any, offline_reason: str | None) -> None:
        self.run, self.wandb_run, self.offline_reason = run, wandb_run, offline_reason
        self._curves: set[str] = set()
        self._holds: str | None = None

    def log_live_rows(self, rows: list[Row]) -> None:
        """Curves of running replicates, in a section of their own."""
        self._log(curve_points(row | {"metric": f"live/{row['metric']}"} for row in rows))

    def log_replicate(self, replicate: int, rows: list[Row]) -> None:
        """Curves per metric, arm, conditions and replicate."""
        self._log(curve_points(rows))

    def log_verdict(self, rows: list[Row], verdict: VerdictFolder) -> None:
        """Tables of final measurements and of claims; means and verdicts in the summary; figures, provenance."""
        import wandb

        if rows:
            self._log_table("measurements", *final_measurements_table(rows))
            judged = [row for row in rows if row["replicate"] in verdict.replicates]
            self.wandb_run.summary.update(final_means(judged))
        self._log_table("claims", *claims_table(verdict.claims))
        self.wandb_run.summary.update({f"verdict/{claim['id']}": claim["verdict"] for claim in verdict.claims})
        judged = {"first": verdict.replicates.start, "count": len(verdict.replicates)}
        self.wandb_run.config.update({"replicates": judged, "provenance": verdict.provenance})
        for figure in verdict.figures:
            self.wandb_run.log({f"figures/{figure.stem}": wandb.Html(figure.read_text(encoding="utf-8"), inject=False)})
        self._holds = mirror_digest(self.run, verdict)

    def close(self, complete: bool) -> str:
        """Finish the wandb run within a bounded time; a complete mirror takes the place of earlier ones."""
        place = Path(self.wandb_run.dir).parent
        url = None if self.wandb_run.offline else self.wandb_run.url
        try:
            self.wandb_run.finish(exit_code=0 if complete else 1)
        except TimeoutError:
            url, self.offline_reason = None, "tracking is offline: the server stopped answering"
        if complete:
            import wandb

            wandb.teardown()  # only its end brings everything to the disk
            update_mirror_state(self.run, holds=self._holds, folder=place.name, pushed=url, size=_mirror_size(place))
            for earlier in set(place.parent.glob("*run-*")) - {place}:
                shutil.rmtree(earlier, ignore_errors=True)
        if url:
            return f"wandb: {url}"
        return f"wandb: {self.offline_reason + '; ' if self.offline_reason else ''}offline run, {UPLOAD_HINT}"

    def _log(self, points: list[Row]) -> None:
        for name in sorted({name for point in points for name in point} - {"step"} - self._curves):
            self.wandb_run.define_metric(name, step_metric="step")
            self._curves.add(name)
        for point in points:
            self.wandb_run.log(point)

    def _log_table(self, name: str, columns: list[Any], cells: list[Any]) -> None:
        import wandb

        table = wandb.Table(columns=columns, data=cells, allow_mixed_types=True)
        # Bound beforehand it is written as a file of the run; else wandb makes an artifact that records absolute paths.
        table.bind_to_run(self.wandb_run, name, self.wandb_run.step)
        self.wandb_run.log({name: table})


def start_tracker(run: RunInfo) -> WandbTracker:
    """A wandb run, online if asked and possible, else offline with the reason."""
    os.environ.update(NO_TELEMETRY)
    import wandb

    generation = start_generation(run)
    offline_reason, tracking = None, run.tracking
    keywords: dict[str, Any] = {
        "id": _run_id(run, generation),
        "project": run.project,
        "entity": tracking["entity"],
        "group": run.group,
        "job_type": run.metadata["study"],
        "name": run.label,
        "notes": tracking["notes"],
        "tags": run.tags,
        "config": {"run": run.folder.name, **run.metadata},
    }
    bounds = {"init_timeout": INIT_SECONDS, "finish_timeout": UPLOAD_SECONDS, "login_timeout": INIT_SECONDS}
    settings: dict[str, Any] = {"root_dir": str(run.folder), **PRIVACY_SETTINGS, **QUIET_SETTINGS, **bounds}
    settings["finish_timeout_raises"] = True
    if tracking["mode"] == "online":
        offline_reason = why_unreachable(wandb.setup().settings.base_url)
        if offline_reason is None:
            update_mirror_state(run, touched=True)
            try:
                wandb_run = wandb.init(**keywords, mode="online", settings=wandb.Settings(**settings))
                return WandbTracker(run, wandb_run, None)
            except (wandb.Error, OSError, ValueError) as error:
                offline_reason = f"tracking is offline: {_one_line(error)}"
    wandb_run = wandb.init(**keywords, mode="offline", settings=wandb.Settings(**settings))
    return WandbTracker(run, wandb_run, offline_reason)


def _run_id(run: RunInfo, generation: int) -> str:
    """The run's own identifier, or the one that the agent of a wandb sweep has given this point."""
    if os.environ.get("WANDB_SWEEP_ID") and (given := os.environ.get("WANDB_RUN_ID")):
        return given
    return files.sha256(f"{run.folder.name} {generation}".encode())[:16]


def current_mirror_line(run: RunInfo, verdict: VerdictFolder) -> str | None:
    """A line when the mirror already holds this verdict and is where it shall be."""
    state = read_mirror_state(run.folder)
    if state["holds"] != mirror_digest(run, verdict) or not (run.folder / "wandb" / state["folder"]).is_dir():
        return None
    if state["pushed"]:
        return f"wandb: {state['pushed']}"
    if state["size"] not in (None, _mirror_size(run.folder / "wandb" / state["folder"])):
        return None  # cut short by a full disk or a copy that was broken off
    waits = run.tracking["mode"] == "offline" and not state["touched"]
    return f"wandb: offline run, {UPLOAD_HINT}" if waits else None


def mirror_digest(run: RunInfo, verdict: VerdictFolder) -> str:
    """Names all that a mirror shows: what is finished, what is claimed, and where the mirror goes."""
    where = {name: value for name, value in run.tracking.items() if name != "mode"}
    shown = [where, run.group, run.metadata, finished_replicates(run.folder), verdict.claims]
    return files.sha256(repr([*shown, verdict.folder.name]).encode())


def read_mirror_state(folder: Path) -> dict[str, Any]:
    """What `mirror.json` of a run's folder says; of no mirror where it is absent or damaged.

    `holds` is the digest of what a complete mirror shows, `folder` its name, `size` its bytes, `pushed` where a server
    has it, `touched` whether a server may have seen a part of it, `tracking` how it was asked for.
    """
    state: dict[str, Any] = {"touched": False, "generation": 0} | dict.fromkeys(
        ("holds", "folder", "size", "pushed", "tracking")
    )
    try:
        return state | files.read_json(folder / "wandb" / "mirror.json")
    except (OSError, ValueError, TypeError):
        return state


def _mirror_size(place: Path) -> int:
    """Bytes of what wandb has written of a run in a folder, and would upload."""
    return sum(path.stat().st_size for path in place.glob("*.wandb"))


def update_mirror_state(run: RunInfo, **changes: Any) -> None:
    """Note something about the mirror, and how it is asked for, so that it can be made again."""
    state = read_mirror_state(run.folder) | changes | {"tracking": dict(run.tracking)}
    files.write_json(run.folder / "wandb" / "mirror.json", state)


def start_generation(run: RunInfo) -> int:
    """Begin a mirror: of the same generation as the one before, unless a server may have seen that."""
    before = read_mirror_state(run.folder)
    generation = before["generation"] + before["touched"]
    update_mirror_state(run, generation=generation, touched=False, holds=None, folder=None, pushed=None)
    return generation


def server_address_and_key() -> tuple[str, bool]:
    """The address of the server that is set, and whether there is a key for it."""
    os.environ.update(NO_TELEMETRY)
    import wandb
    from wandb.sdk.lib import wbauth

    address, found = wandb.setup().settings.base_url, None
    with contextlib.suppress(wandb.Error):  # what is there is no key
        found = wbauth.authenticate_session(host=address, source="encore", prompt=False, update_session=False)
    wandb.teardown()
    return address, found is not None


def why_unreachable(base_url: str) -> str | None:
    """Why the server gives no answer at all within a few seconds, or None if it does."""
    try:
        urllib.request.urlopen(base_url, timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError:
        return None  # an answer, whatever it says
    except (OSError, ValueError, http.client.HTTPException):
        return "tracking is offline: server unreachable"
    return None


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:160] if text else type(error).__name__
