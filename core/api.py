"""Encore in Python, for notebooks: the commands `run` and `publish` leave behind, as tables, figures and networks.

    from core.api import load, results, run
    results("<paper>").claims                       # what is published
    run("paper=<paper>", "scale=smoke").claims      # the same of a run, with the words of `encore run`
    load("<paper>/<network>").model                 # a trained network

What is wrong with a name or a word is a `BadInput` of one line, as on the command line.
"""

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from core import files
from core.errors import BadInput, unknown_name
from core.launch import compose
from core.launch.jobs import JobOutcome
from core.papers.claims import SCALES
from core.papers.config import PaperConfig, load_config
from core.papers.config_files import all_slugs
from core.paths import published_folder
from core.running.display import RunDisplay, claim_cells
from core.runs import published
from core.runs.measurements import read_measurements, sort_columns
from core.weights.export import SUFFIX, networks_of
from core.weights.loading import Weights, load_weights, read_weights, weights_path, write_networks

__all__ = ["Figure", "Results", "load", "results", "run"]

NUMBERS = ("estimate", "low", "high")

load = load_weights


@dataclass(frozen=True)
class Figure:
    """A figure of a run; it shows itself in a notebook."""

    path: Path

    @property
    def svg(self) -> str:
        """The drawing."""
        return self.path.read_text(encoding="utf-8")

    def _repr_svg_(self) -> str:
        return self.svg


class Networks(Mapping[str, Weights]):
    """Networks by name, each read when it is asked for."""

    def __init__(self, readers: Mapping[str, Callable[[], Weights]]) -> None:
        self._readers = dict(readers)

    def __getitem__(self, name: str) -> Weights:
        """The network of that name."""
        if name not in self._readers:
            raise unknown_name("network", name, self._readers)
        return self._readers[name]()

    def __contains__(self, name: object) -> bool:
        """Whether there is one."""
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(self._readers)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._readers)

    def __repr__(self) -> str:
        """Their names."""
        return f"<networks: {', '.join(self) or 'none'}>"


@dataclass(frozen=True)
class Results:
    """What came of one paper at one scale, published or run here; a notebook shows it as the table of verdicts.

    Attributes:
      paper, scale: which.
      measurements: tidy rows: study, replicate, arm, conditions, metric, value.
      claims: a row per claim: says, paper (what it prints), here (the numbers with their intervals, in words),
        estimate, low and high of the first clause, verdict, control (whether it passes), study; None: nothing to tell.
      figures: by the study's name and their own, `<study>-<name>`.
      weights: trained networks by name.
      entries: the claims as `claims.json` has them, with every clause.
      provenance: by study: commit, date, machine, seconds, settings.
    """

    paper: str
    scale: str
    measurements: pd.DataFrame
    claims: pd.DataFrame
    figures: Mapping[str, Figure]
    weights: Networks
    entries: Sequence[Mapping[str, Any]] = field(repr=False)
    provenance: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def __repr__(self) -> str:
        """Which, and how its claims came out."""
        verdicts = " ".join(f"{name}: {verdict}" for name, verdict in self.claims["verdict"].items())
        return f"<{self.paper} at {self.scale} scale: {verdicts or 'no claims'}>"

    def _repr_html_(self) -> str:
        title = f"<p><b>{html.escape(self.paper)}</b> at {self.scale} scale</p>"
        shown = self.claims[["says", "paper", "here", "verdict"]]
        return title + shown.to_html().replace("\\n", "<br>")


def results(paper: str, scale: str = "laptop") -> Results:
    """What is published of a paper at a scale. Raises BadInput where nothing is, or where files were edited by hand."""
    if paper not in all_slugs():
        raise unknown_name("paper", paper, all_slugs())
    if scale not in SCALES:
        raise unknown_name("scale", scale, SCALES)
    folder = published_folder() / paper / scale
    if not folder.exists():
        raise BadInput(f"{paper} is not published at {scale} scale: run('paper={paper}', 'scale={scale}') computes it")
    config, parts = load_config(paper), published.read_published(folder)
    names = [name for part in parts.values() for name in part.weights if name.endswith(SUFFIX)]
    return Results(
        paper,
        scale,
        read_measurements(folder / published.TABLE),
        _claims(config, entries := files.read_json(folder / published.CLAIMS)),
        {path.stem: Figure(path) for path in sorted((folder / "figures").glob("*.svg"))},
        Networks(
            {name.removesuffix(SUFFIX): partial(read_weights, folder / published.WEIGHTS / name) for name in names}
        ),
        entries,
        {study: part.provenance for study, part in parts.items()},
    )


def run(*words: str) -> Results:
    """Run a paper as `encore run` does, by the same words, and return what came of it; what is finished is shown.

    Raises an EncoreError of one line where the command line would end with an exit code.
    """
    from core.running.execute import perform_launch

    launch = compose.compose_launch(list(words))
    if not (outcomes := perform_launch(launch, RunDisplay())):
        raise BadInput("only the first of several processes has results")
    return results_of_run(launch, outcomes)


def results_of_run(launch: compose.Launch, outcomes: Sequence[JobOutcome]) -> Results:
    """What came of the studies of a run."""
    config = launch.config
    entries = [claim for outcome in outcomes for claim in outcome.claims]
    tables = [read_measurements(outcome.folder / published.TABLE) for outcome in outcomes]
    return Results(
        config.slug,
        launch.scale,
        sort_columns(pd.concat(tables, ignore_index=True)),
        _claims(config, entries),
        {
            f"{outcome.job.study.name}-{path.stem}": Figure(path)
            for outcome in outcomes
            for path in sorted((outcome.folder / "figures").glob("*.svg"))
        },
        Networks(
            {
                name: partial(_network_of_run, outcome, name)
                for outcome in outcomes
                for name in networks_of(config.slug, outcome.job.study.name)
            }
        ),
        entries,
        {outcome.job.study.name: files.read_json(outcome.folder / published.PROVENANCE) for outcome in outcomes},
    )


def _network_of_run(outcome: JobOutcome, name: str) -> Weights:
    """Collected from what the run left, into the verdict's folder."""
    job = outcome.job
    write_networks(job.launch.config.slug, job.study.name, job.launch.scale, job.run.folder, outcome.folder)
    return read_weights(weights_path(outcome.folder, name))


def _claims(config: PaperConfig, entries: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    rows = {}
    for entry in entries:
        printed = config.form.claims[entry["id"]].printed if entry["id"] in config.form.claims else None
        _, paper, here, _ = claim_cells(entry, printed)
        control = entry["control"] and entry["control"]["passes"]
        first = entry["clauses"][0] if entry["clauses"] else {}
        rows[entry["id"]] = {
            "says": entry["statement"],
            "paper": paper,
            "here": here,
            **{name: first.get(name) for name in NUMBERS},
            "verdict": entry["verdict"],
            "control": control,
            "study": entry["study"],
        }
    columns = ["says", "paper", "here", *NUMBERS, "verdict", "control", "study"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("claim")
