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
from core.tracking.rows import Row, claims_table, curve_points, final_means, final_table, finished_replicates
from core.tracking.run_info import RunInfo, RunVerdict

PACKAGE = "wandb"
MODES = ("offline", "online")
REACH_SECONDS = 5.0  # to get any answer from the server before a run is opened there
INIT_SECONDS = 15.0  # wandb's own wait; it adds about 11 s of its own
UPLOAD_SECONDS = 45.0  # less than the run waits at its end
HOW = "upload it with: encore sync"

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
NO_TELEMETRY = {"WANDB_ERROR_REPORTING": "false"}  # else wandb sends some of its own, even from offline runs


class WandbTracker:
    """A wandb run that is being written."""

    def __init__(self, about: RunInfo, run: Any, trouble: str | None) -> None:
        self.about, self.run, self.trouble = about, run, trouble
        self._curves: set[str] = set()
        self._holds: str | None = None

    def looked(self, rows: list[Row]) -> None:
        """Curves of running replicates, in a section of their own."""
        self._log(curve_points(row | {"metric": f"live/{row['metric']}"} for row in rows))

    def measured(self, replicate: int, rows: list[Row]) -> None:
        """Curves per metric, arm, conditions and replicate."""
        self._log(curve_points(rows))

    def judged(self, rows: list[Row], verdict: RunVerdict) -> None:
        """Tables of final measurements and of claims; means and verdicts in the summary; figures, provenance."""
        import wandb

        if rows:
            self._log_table("measurements", *final_table(rows))
            judged = [row for row in rows if row["replicate"] in verdict.replicates]
            self.run.summary.update(final_means(judged))
        self._log_table("claims", *claims_table(verdict.claims))
        self.run.summary.update({f"verdict/{claim['id']}": claim["verdict"] for claim in verdict.claims})
        judged = {"first": verdict.replicates.start, "count": len(verdict.replicates)}
        self.run.config.update({"replicates": judged, "provenance": verdict.provenance})
        for figure in verdict.figures:
            self.run.log({f"figures/{figure.stem}": wandb.Html(figure.read_text(encoding="utf-8"), inject=False)})
        self._holds = digest(self.about, verdict)

    def close(self, complete: bool) -> str:
        """Finish the wandb run within a bounded time; a complete mirror takes the place of earlier ones."""
        place = Path(self.run.dir).parent
        url = None if self.run.offline else self.run.url
        try:
            self.run.finish(exit_code=0 if complete else 1)
        except TimeoutError:
            url, self.trouble = None, "tracking is offline: the server stopped answering"
        if complete:
            change_state(self.about, holds=self._holds, folder=place.name, pushed=url)
            for earlier in set(place.parent.glob("*run-*")) - {place}:
                shutil.rmtree(earlier, ignore_errors=True)
        if url:
            return f"wandb: {url}"
        return f"wandb: {self.trouble + '; ' if self.trouble else ''}offline run, {HOW}"

    def _log(self, points: list[Row]) -> None:
        for name in sorted({name for point in points for name in point} - {"step"} - self._curves):
            self.run.define_metric(name, step_metric="step")
            self._curves.add(name)
        for point in points:
            self.run.log(point)

    def _log_table(self, name: str, columns: list[Any], cells: list[Any]) -> None:
        import wandb

        table = wandb.Table(columns=columns, data=cells, allow_mixed_types=True)
        # Bound beforehand it is written as a file of the run; else wandb makes an artifact that records absolute paths.
        table.bind_to_run(self.run, name, self.run.step)
        self.run.log({name: table})


def start(about: RunInfo) -> WandbTracker:
    """A wandb run, online if asked and possible, else offline with the reason."""
    os.environ.update(NO_TELEMETRY)
    import wandb

    generation = next_generation(about)
    trouble, tracking = None, about.tracking
    keywords: dict[str, Any] = {
        "id": files.sha256(f"{about.folder.name} {generation}".encode())[:16],
        "project": about.project,
        "entity": tracking["entity"],
        "group": about.group,
        "job_type": about.config["study"],
        "name": about.label,
        "notes": tracking["notes"],
        "tags": about.tags,
        "config": {"run": about.folder.name, **about.config},
    }
    bounds = {"init_timeout": INIT_SECONDS, "finish_timeout": UPLOAD_SECONDS, "login_timeout": INIT_SECONDS}
    settings: dict[str, Any] = {"root_dir": str(about.folder), **PRIVATE, **SILENT, **bounds}
    settings["finish_timeout_raises"] = True
    if tracking["mode"] == "online":
        trouble = unreachable(wandb.setup().settings.base_url)
        if trouble is None:
            change_state(about, touched=True)
            try:
                run = wandb.init(**keywords, mode="online", settings=wandb.Settings(**settings))
                return WandbTracker(about, run, None)
            except (wandb.Error, OSError, ValueError) as error:
                trouble = f"tracking is offline: {_one_line(error)}"
    run = wandb.init(**keywords, mode="offline", settings=wandb.Settings(**settings))
    return WandbTracker(about, run, trouble)


def mirrored_before(about: RunInfo, verdict: RunVerdict) -> str | None:
    """A line when the mirror already holds this verdict and is where it shall be."""
    state = read_state(about.folder)
    if state["holds"] != digest(about, verdict) or not (about.folder / "wandb" / state["folder"]).is_dir():
        return None
    if state["pushed"]:
        return f"wandb: {state['pushed']}"
    waits = about.tracking["mode"] == "offline" and not state["touched"]
    return f"wandb: offline run, {HOW}" if waits else None


def digest(about: RunInfo, verdict: RunVerdict) -> str:
    """Names all that a mirror shows: what is finished, what is claimed, and where the mirror goes."""
    where = {name: value for name, value in about.tracking.items() if name != "mode"}
    shown = [where, about.group, about.config, finished_replicates(about.folder), verdict.claims]
    return files.sha256(repr([*shown, verdict.folder.name]).encode())


def read_state(folder: Path) -> dict[str, Any]:
    """What `mirror.json` of a run's folder says; of no mirror where it is absent or damaged.

    `holds` is the digest of what a complete mirror shows, `folder` its name, `pushed` where a server has it, `touched`
    whether a server may have seen a part of it, `tracking` how it was asked for.
    """
    state: dict[str, Any] = {"touched": False, "generation": 0} | dict.fromkeys(
        ("holds", "folder", "pushed", "tracking")
    )
    try:
        return state | files.read_json(folder / "wandb" / "mirror.json")
    except (OSError, ValueError, TypeError):
        return state


def change_state(about: RunInfo, **changes: Any) -> None:
    """Note something about the mirror, and how it is asked for, so that it can be made again."""
    state = read_state(about.folder) | changes | {"tracking": dict(about.tracking)}
    files.write_json(about.folder / "wandb" / "mirror.json", state)


def next_generation(about: RunInfo) -> int:
    """Begin a mirror: of the same generation as the one before, unless a server may have seen that."""
    before = read_state(about.folder)
    generation = before["generation"] + before["touched"]
    change_state(about, generation=generation, touched=False, holds=None, folder=None, pushed=None)
    return generation


def account() -> tuple[str, bool]:
    """The address of the server that is set, and whether there is a key for it."""
    os.environ.update(NO_TELEMETRY)
    import wandb
    from wandb.sdk.lib import wbauth

    address, found = wandb.setup().settings.base_url, None
    with contextlib.suppress(wandb.Error):  # what is there is no key
        found = wbauth.authenticate_session(host=address, source="encore", prompt=False, update_session=False)
    wandb.teardown()
    return address, found is not None


def unreachable(base_url: str) -> str | None:
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
