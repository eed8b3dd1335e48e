"""Results folders as runs and `encore publish` leave them, made of a few files, and a reader of the pages they give."""

import gzip
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.files import sha256, write_json
from core.papers.config import PaperConfig, parse_config
from core.papers.settings import Settings, setting
from core.runs.identity import digest
from core.runs.measurements import write_measurements

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='{n}' height='9'><text>{text}</text></svg>"


def clause(**changes: Any) -> dict[str, Any]:
    base = {
        "metric": "test_accuracy",
        "unit_of_value": "percentage points",
        "estimate": 0.41,
        "low": 0.28,
        "high": 0.55,
    }
    return base | {"level": 0.95, "region": [0, None], "matters": 0.17, "units": ["replicate"], "n": 6} | changes


def claim(name: str, verdict: str = "holds", **changes: Any) -> dict[str, Any]:
    difference = {"estimate": 0.5, "low": 0.31, "high": 0.69}
    control = {"name": "random_mask", "verdict": "fails", "difference": difference, "passes": True}
    base: dict[str, Any] = {
        "id": name,
        "study": "lenet",
        "kind": "statistical",
        "statement": f"Sentence of {name}.",
        "published": 0.5,
    }
    base |= {"source": "figure 4a", "verdict": verdict, "note": "", "join": "all", "clauses": [clause()]}
    return base | {"deviations": [], "control": control} | changes


class GroupSettings(Settings):
    """A group."""

    name: str = setting("which")


class ResultSettings(Settings):
    """Settings of the studies below."""

    learning_rate: float = setting("step size", gt=0)
    optimizer: GroupSettings = setting("optimizer")
    hidden: tuple[int, ...] = setting("widths")
    iterations: int | None = setting("length", default=None)


SETTINGS = {"learning_rate": 0.0012, "optimizer": {"name": "adam"}, "hidden": [300, 100]}
LENGTHS = {"laptop": None, "paper": 50000}  # iterations, by scale


def config(slug: str, title: str = "A Paper", claims: tuple[str, ...] = ("C1", "C2"), **about: Any) -> PaperConfig:
    paper = {"title": title, "authors": ["A. Author", "B. Author"], "year": 2019, "venue": "ICLR"}
    paper |= {"arxiv": "1803.03635", "fields": ["sparsity"], "idea": "The idea in a sentence."} | about
    deviation = {"what": "training length", "paper": 50000, "laptop": 4000, "bears_on": claims[:1], "why": "time"}
    study: dict[str, Any] = {
        "says": "The default study.",
        "arms": {"dense": "the whole network", "ticket": "a part of it", "reinit": "the same, drawn anew"},
        "deviations": [deviation],
    }
    scales = {"smoke": {"learning_rate": 0.1}, "paper": {"iterations": LENGTHS["paper"]}}
    study |= {"settings": SETTINGS, "scales": scales}
    printed = {"value": 0.5, "unit": "percentage points", "where": "figure 4a"}
    more = {"metric": "test_accuracy", "arms": ["ticket", "dense"], "matters": 0.17}
    control = {"ticket": "reinit"}
    listed = {
        name: {"says": f"Sentence of {name}.", "printed": printed, "study": "lenet", "more": more, "control": control}
        for name in claims
    }
    written = {"paper": paper, "metrics": {"test_accuracy": "percent"}, "claims": listed}
    made = parse_config(slug, written | {"studies": {"lenet": study, "conv": study | {"default": False}}})
    for each in made.studies.values():
        vars(each)["settings_class"] = ResultSettings  # in the place of an experiment's
    return made


def provenance(date: str = "2026-01-02", seconds: float = 540.0) -> dict[str, Any]:
    return {"commit": "abc123", "dirty": False, "date": date, "seconds": seconds, "device": {"cores": 2}}


def publish(root: Path, slug: str, claims: list[dict[str, Any]], scale: str = "laptop", **figures: str) -> Path:
    """A published folder of the study that `config` declares, run with the settings that it has there."""
    folder = root / slug / scale
    write_json(folder / "claims.json", claims)
    (folder / "figures").mkdir()
    for name, content in figures.items():
        (folder / "figures" / f"{name}.svg").write_text(content)
    sums = {path.relative_to(folder).as_posix(): sha256(path.read_bytes()) for path in folder.rglob("*.*")}
    settings = SETTINGS | {"iterations": LENGTHS[scale]}
    studies = {"lenet": provenance() | {"replicates": 6, "settings": settings}}
    write_json(folder / "provenance.json", {"studies": studies, "files": sums | {"provenance.json": digest(studies)}})
    return folder


def run_locally(root: Path, slug: str, claims: list[dict[str, Any]], scale: str = "laptop", tail: str = "0") -> Path:
    run = root / "runs" / f"{slug}-lenet-{scale}-{tail * 12}"
    settings = {"learning_rate": 0.003}
    about = {"paper": slug, "study": "lenet", "scale": scale, "settings": settings, "overridden": ["learning_rate"]}
    write_json(run / "settings.json", about | {"identity": {}})
    folder = run / "verdict" / "1000-6"
    write_json(folder / "claims.json", claims)
    write_json(folder / "provenance.json", provenance("2026-03-04", 30.0))
    return folder


class Reader(HTMLParser):
    """Tags, attributes and visible text of a config; checks that tags are balanced."""

    void = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def table(arms: Sequence[str] = ("dense", "ticket"), replicates: int = 3, steps: int = 20) -> pd.DataFrame:
    """Losses by step, and an accuracy for each of four densities; ticket is better than dense everywhere."""
    rows = []
    for place, arm in enumerate(arms):
        for replicate in range(replicates):
            base = {"study": "lenet", "replicate": replicate, "arm": arm}
            loss = 1 / np.arange(1, steps + 1) - 0.1 * place + 0.01 * replicate + 1
            rows += [base | {"step": 10 * (i + 1), "metric": "loss", "value": v} for i, v in enumerate(loss)]
            accuracies = [
                (density, 90 + place + replicate / 10 - density / 50) for density in (100.0, 50.0, 25.0, 12.5)
            ]
            rows += [base | {"density": d, "metric": "test_accuracy", "value": v} for d, v in accuracies]
    return pd.DataFrame(rows)


def measure(folder: Path, rows: pd.DataFrame | None = None) -> None:
    """Add a table of measurements to a result's folder, in its sums too where it is published."""
    path = folder / "measurements.csv.gz"
    write_measurements(path, table() if rows is None else rows)
    record = json.loads((folder / "provenance.json").read_text())
    if "files" in record:
        record["files"]["measurements.csv.gz"] = sha256(gzip.decompress(path.read_bytes()))
        write_json(folder / "provenance.json", record)


def run_halfway(root: Path, slug: str, evaluations: int = 4) -> Path:
    """A run of two replicates, one finished and one that shows live rows."""
    run = root / "runs" / f"{slug}-lenet-laptop-{'e' * 12}"
    about = {"paper": slug, "study": "lenet", "scale": "laptop", "settings": {}, "overridden": [], "identity": {}}
    write_json(run / "settings.json", about)
    write_json(run / "replicates" / "000000" / "done.json", {"seconds": 1.0})
    rows = [{"replicate": 1, "stage": "dense", "step": 100 * i, "loss": 1 / (i + 1)} for i in range(evaluations)]
    (run / "live").mkdir()
    (run / "live" / "000001.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"repl')
    return run


def sweep(root: Path, slug: str, rates: Sequence[str] = ("0.1", "0.2", "0.4"), identity: str = "abc123abc123") -> Path:
    """The folder of a finished sweep over a rate and an optimizer; the highest rate with sgd is the best."""
    points: list[dict[str, Any]] = []
    for rate in rates:
        for name in ("sgd", "adam"):
            mean = 0.1 * rates.index(rate) + (name == "sgd")
            point: dict[str, Any] = {
                "number": len(points),
                "overrides": {"settings.rate": rate, "settings.optimizer.name": name},
            }
            point |= {"words": [f"paper={slug}"], "runs": [], "replicates": [1000, 2], "state": "finished"}
            points.append(point | {"objective": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 2}})
    folder = root / "runs" / "sweeps" / identity
    objective = {"study": "lenet", "metric": "test_accuracy", "arm": "ticket", "select": {}, "direction": "max"}
    axes = {"settings.rate": list(rates), "settings.optimizer.name": ["sgd", "adam"]}
    words = [f"paper={slug}", f"settings.rate={','.join(rates)}", "settings.optimizer.name=sgd,adam"]
    about = {"identity": identity, "words": words, "sweeper": "grid", "axes": axes, "objective": objective}
    winner = {"number": len(points) - 2, "fresh": {"first": 2000, "mean": 1.3, "low": 1.2, "high": 1.4, "n": 2}}
    write_json(folder / "sweep.json", about | {"points": points, "winner": winner})
    return folder
