"""The card of a network: what it is, what it was trained on, how good it is, and under which licence it stands."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from flax.traverse_util import flatten_dict

from core.data.catalogue import find_data_set
from core.papers.config import PaperConfig, settings_classes
from core.papers.contract import Network
from core.papers.settings import build_settings, data_sets_of_settings, flatten_settings

if TYPE_CHECKING:
    import pandas as pd


def render_card(
    config: PaperConfig, network: Network, about: Mapping[str, Any], arrays: Any, table: "pd.DataFrame"
) -> str:
    """The card in Markdown.

    Args:
      config: of the paper.
      network: as the experiment declares it.
      about: what the file's header says.
      arrays: of the file, nested dictionaries.
      table: measurements of the study.
    """
    paper, study = config.paper, config.form.studies[about["study"]]
    place = " ".join(filter(None, [paper.venue, str(paper.year)]))
    claims = [name for name, form in config.form.claims.items() if form.study == about["study"]]
    lines = [f"# {about['paper']}/{about['network']}", "", network.says.strip(), ""]
    given = "" if about["scale"] == "laptop" else f', scale="{about["scale"]}"'
    name = f"{about['paper']}/{about['network']}"
    lines += ["```python", "from core.api import load", "", f'weights = load("{name}"{given})', "```", ""]
    lines += [
        f"From the study `{about['study']}` of *{paper.title}* ({', '.join(paper.authors)}; {place}),",
        f"performed again at {about['scale']} scale: {study.says}",
        f"It is replicate {about['replicate']}, the first one, which nobody chose.",
        f"Run `{about['run']}`, commit {about['commit']}, {about['date']}.",
        "",
        "## How good it is",
        "",
        *_metrics(config, network, about, table),
        "",
        f"Claims judged on this study: {', '.join(claims) or 'none'}; for their verdicts see `../claims.json`.",
    ]
    if study.deviations and about["scale"] == "laptop":  # that is what they speak of
        lines += ["", "## What differs from the paper", ""]
        lines += [f"- {each.what}: {each.laptop} (the paper: {each.paper})" for each in study.deviations]
    lines += ["", "## Trained on", "", *_data(about)]
    values = [f"- `{name}`: {value}" for name, value in flatten_settings(about["settings"]) if value is not None]
    lines += ["", "## Settings", "", *values]
    lines += ["", "## Arrays", "", "| array | shape | type |", "|---|---|---|"]
    lines += [f"| `{name}` | {_shape(leaf)} | {leaf.dtype} |" for name, leaf in flatten_dict(arrays, sep="/").items()]
    lines += ["", f"Weights: {about['licence']}, as this project."]
    return "\n".join(lines) + "\n"


def _metrics(config: PaperConfig, network: Network, about: Mapping[str, Any], table: "pd.DataFrame") -> list[str]:
    """A table of its metrics: of this very network, and the mean over all replicates with its interval."""
    from core.judging.stats import mean_interval

    settings = _settings(about)
    lines = ["| metric | this network | mean of all replicates (95 % interval) | replicates |", "|---|---:|---:|---:|"]
    for wanted in network.measured(settings):
        rows = table
        for column, value in wanted.items():
            rows = rows[rows[column] == value]
        each = rows.groupby("replicate")["value"].mean()
        found = mean_interval(np.asarray(each))
        interval = f" [{found.low:.4g}, {found.high:.4g}]" if np.isfinite(found.low) else ""
        where = ", ".join(f"{column} {value}" for column, value in wanted.items() if column != "metric")
        unit = config.metrics.get(wanted["metric"], "")
        name = f"{wanted['metric']} ({', '.join(filter(None, [unit, where]))})"
        lines.append(f"| {name} | {each[about['replicate']]:.4g} | {found.estimate:.4g}{interval} | {found.n} |")
    return lines


def _data(about: Mapping[str, Any]) -> list[str]:
    sets = [find_data_set(name) for name in data_sets_of_settings(_settings(about))]
    return [f"- {data.title} (licence: {data.licence})" for data in sets] or ["- data drawn by the experiment itself"]


def _settings(about: Mapping[str, Any]) -> Any:
    return build_settings(settings_classes(about["paper"])[about["study"]], about["settings"])


def _shape(leaf: Any) -> str:
    return " × ".join(map(str, leaf.shape)) or "one number"
