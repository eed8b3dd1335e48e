"""The config of layer normalisation: its learning rates and target losses are what the tuning studies say."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core import paths
from core.papers.config import load_config
from core.runs import measurements

CONFIG = load_config("layer_norm")


def tuned(study: str) -> pd.DataFrame:
    """The published rows of a tuning study."""
    folder = paths.project_root() / "results" / "layer_norm" / "laptop"
    table = measurements.read_measurements(folder / "measurements.csv.gz") if folder.exists() else None
    if table is None or study not in set(table["study"]):
        pytest.skip(f"no study {study} is published in results/layer_norm/laptop yet")
    rows = table[table["study"] == study]
    assert rows["replicate"].nunique() == CONFIG.studies[study].replicates("laptop")
    return rows


def winners(rows: pd.DataFrame, metric: str) -> dict[str, float]:
    """For every arm the learning rate with the lowest mean over replicates of its last value."""
    last = rows[(rows["metric"] == metric) & (rows["step"] == rows["step"].max())]
    means = last.groupby(["arm", "rate"])["value"].mean().unstack("rate")
    return {str(arm): float(rate) for arm, rate in means.idxmin(axis=1).items()}


def rates_of(group: dict[str, Any]) -> dict[str, float]:
    return {arm: float(rate) for arm, rate in group.items() if rate is not None}


def target_of(claim: str) -> float:
    [target] = [
        step["crossing"]["below"]
        for clause in CONFIG.claims[claim]["all"]
        for step in clause.get("number", [])
        if "crossing" in step
    ]
    return target


def up_to(value: float, unit: float) -> float:
    """Rounded up to the next multiple."""
    return math.ceil(value / unit - 1e-9) * unit


def lowest(rows: pd.DataFrame, arm: str, rate: float) -> float:
    """The largest, over replicates, of an arm's lowest validation loss within the first half of its training."""
    own = rows[(rows["arm"] == arm) & np.isclose(rows["rate"], rate) & (rows["metric"] == "validation_loss")]
    own = own[own["step"] <= own["step"].max() / 2]
    return float(own.groupby("replicate")["value"].min().max())


@pytest.mark.parametrize("task", ["chars", "rows"])
def test_rates_and_target_of_readers_are_what_the_tuning_study_says(task: str) -> None:
    rows = tuned("tuning")
    rows, rates = rows[rows["task"] == task], rates_of(CONFIG.studies[task].values("laptop")["rates"])
    assert winners(rows, "validation_loss") == rates
    target = target_of({"chars": "C3", "rows": "C3b"}[task])
    assert target == pytest.approx(up_to(lowest(rows, "plain", rates["plain"]), 0.01))


def test_rates_and_target_of_perceptrons_are_what_the_tuning_study_says() -> None:
    rows, values = tuned("tuning"), CONFIG.studies["mlp"].values("laptop")
    rows = rows[rows["task"] == "mlp"]
    for group, batch in (("large_rates", 128), ("small_rates", 4)):
        own = rows[rows["batch"] == batch]
        assert winners(own[own["step"].notna()], "validation_loss") == rates_of(values[group])
    own = rows[(rows["batch"] == 4) & (rows["arm"] == "batch_norm") & (rows["metric"] == "train_loss")]
    own = own[np.isclose(own["rate"], values["small_rates"]["batch_norm"])]
    half = own[own["step"] == own["step"][own["step"] >= own["step"].max() / 2].min()]
    assert target_of("C2") == pytest.approx(up_to(half["value"].mean(), 0.01))


@pytest.mark.parametrize("task", ["long", "short", "draw"])
def test_rates_and_targets_of_the_longer_studies_are_what_their_tuning_says(task: str) -> None:
    rows = tuned("long_tuning")
    rows = rows[rows["task"] == task]
    values = CONFIG.studies["draw" if task == "draw" else "pixels"].values("laptop")
    rates = rates_of((values if task == "draw" else values[task])["rates"])
    assert winners(rows, "validation_loss") == rates
    unit, target = (1.0, target_of("C3c")) if task == "draw" else (0.01, values.get(f"{task}_target"))
    assert target == pytest.approx(up_to(lowest(rows, "plain", rates["plain"]), unit))
