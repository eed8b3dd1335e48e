"""Finished runs of a demonstration paper as files, and what is published of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core import files
from core.publishing.publish import (
    CurrentIdentities,
    PublishableRun,
    publish,
    published_states,
)
from core.runs import measurements
from core.runs.identity import Code, run_identity
from tests.results_files import config

COST = {"seconds_per_replicate": 30.0, "calibration_gflops": 50.0}
CONFIG = config("demo", claims=("C1", "C2", "C3"))
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M 0 0"/></svg>'


def standing(
    study="lenet", verdicts="v1", figures="f1", code="c1", jax="1.0", rate=0.1, flags: dict | None = None
) -> CurrentIdentities:
    found = run_identity(
        "demo",
        study,
        "laptop",
        settings={"rate": rate},
        code=Code({"core.parts": {"f": code}}),
        data={"digits": {"images": "aa"}},
        libraries={"jax": jax},
        flags=flags or {},
    )
    return CurrentIdentities(found, verdicts, figures)


def rows(study: str, replicates: int, **conditions: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {"study": study, "replicate": number, "arm": arm, **conditions, "metric": "accuracy", "value": value + number}
        for number in range(replicates)
        for arm, value in (("ticket", 90.1), ("dense", np.inf))
    )


def candidate(
    results: Path,
    study="lenet",
    replicates=2,
    claims=("C2", "C1"),
    overridden=(),
    dirty: bool | None = False,
    **now: str,
) -> PublishableRun:
    """A finished run in the runs folder."""
    current = standing(study, **now)
    folder = results / "runs" / current.identity.name
    settings = {"paper": "demo", "study": study, "scale": "laptop", "settings": {"rate": 0.1}}
    files.write_json(
        folder / "settings.json", {**settings, "overridden": list(overridden), "identity": current.identity.parts}
    )
    for number in range(replicates):
        files.write_json(folder / "replicates" / f"{number:06d}" / "done.json", {"seconds": 1.0})
    verdict = folder / "verdict" / f"0-{replicates}"
    measurements.write_measurements(verdict / "measurements.csv.gz", rows(study, replicates, density=21.1))
    measurements.write_arrays(verdict / "arrays.npz", {"mask": np.arange(3.0)})
    files.write_json(verdict / "claims.json", [{"id": name, "study": study, "verdict": "holds"} for name in claims])
    files.write_bytes(verdict / "figures" / "accuracy.svg", SVG)
    files.write_bytes(verdict / "figures" / "former.svg", SVG)  # left by an earlier version of the experiment
    logic = {"figures": ["accuracy"], "verdict_identity": current.verdicts, "figures_identity": current.figures}
    about = {"dirty": dirty, "date": "2025-01-02", "seconds": 130.0, "commit": "ab", "cost": COST}
    files.write_json(verdict / "provenance.json", {**about, **logic})
    return PublishableRun(study, folder, replicates, current)


def published_run(results: Path, **options: Any) -> Path:
    return publish("demo", "laptop", [candidate(results, **options)], CONFIG, results, dirty=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def state(results: Path, **now: str) -> list[tuple[str, str, str]]:
    return [
        tuple(status[1:4]) for status in published_states(results, "demo", lambda scale, study: standing(study, **now))
    ]
