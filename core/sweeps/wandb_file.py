"""A sweep as the file from which Weights & Biases' own controller chooses points, each computed by `encore run`."""

from collections.abc import Mapping
from typing import Any

import yaml
from hydra.core.override_parser.types import IntervalSweep, Override

from core.errors import BadInput
from core.runs.sweep_folder import Sweep
from core.sweeps import search, sweep_command
from core.tracking.rows import dashboard_series_name

HEADER = """\
# wandb sweep <this file>, then on every machine: wandb agent <the address that it prints>
# Every point is one `encore run`, which logs to the sweep while it computes.
"""


def render_wandb_file(sweep: Sweep) -> str:
    """The file, as YAML. Raises BadInput for a sweep over several studies: the controller could see only one."""
    command = sweep_command.parse_command(sweep.words)
    fixed = [word for word in command.fixed if not word.startswith(("tracking", sweep_command.SEARCH_PATH))]
    study = {word.partition("=")[2] for word in fixed if word.startswith("study=")}
    if len(study) != 1 or study & {"all"} or "[" in "".join(study):
        raise BadInput(f"sweep {sweep.identity}: the controller follows one study: sweep with study=<name>")
    own: dict[str, Any] = {
        "name": f"encore {sweep.identity}",
        "program": "encore",
        "command": ["encore", "run", *fixed, "tracking=wandb", "tracking.mode=online", "${args_no_hyphens}"],
        "method": "bayes" if sweep.sweeper == "tpe" else "grid",
        "parameters": {key: _parameter(override) for key, override in command.axes.items()},
    }
    if sweep.objective is not None:
        own["metric"] = {"name": _metric(sweep.objective), "goal": f"{sweep.objective['direction']}imize"}
    if sweep.sweeper == "tpe":
        own["run_cap"] = len(sweep.points)
    return HEADER + yaml.safe_dump(own, sort_keys=False, width=110)


def _metric(objective: Mapping[str, Any]) -> str:
    """The objective's name in the summary of a mirrored run: its mean over replicates."""
    arm = {} if objective["arm"] is None else {"arm": objective["arm"]}
    return dashboard_series_name({"metric": objective["metric"], **arm, **objective["select"]})


def _parameter(override: Override) -> dict[str, Any]:
    """An axis in the controller's words: values, or a range with its distribution."""
    value = override.value()
    if not isinstance(value, IntervalSweep):
        return {"values": sweep_command.axis_values(override)}
    low, high = value.start, value.end
    whole = isinstance(low, int) and isinstance(high, int)
    if whole and "log" not in value.tags:
        return {"distribution": "int_uniform", "min": low, "max": high}
    if whole:
        return {"distribution": "q_log_uniform_values", "q": 1, "min": low, "max": high}
    kind = "log_uniform_values" if "log" in value.tags else "uniform"
    ends = [float(end) for end in search.axis_ends(override)]
    return {"distribution": kind, "min": ends[0], "max": ends[1]}
