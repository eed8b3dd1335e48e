"""Winners of a tuning, by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.errors import BadInput
from core.judging.winners import find_winners
from core.papers.config import Tuning

GRID = (0.1, 0.3, 1.0)


def tuning(**changes: Any) -> Tuning:
    written = {"setting": "optimizer.rates", "values": GRID, "by": {"metric": "loss"}}
    return Tuning.model_validate({**written, **changes})


def rows_of(losses: dict[str, list[list[float]]], **conditions: Any) -> list[dict[str, Any]]:
    """Rows of arms: for every value of the grid the losses of the replicates."""
    return [
        {"study": "t", "replicate": r, "arm": arm, "rates": rate, "metric": "loss", "value": value, **conditions}
        for arm, values in losses.items()
        for rate, own in zip(GRID, values, strict=True)
        for r, value in enumerate(own)
    ]


LOSSES = {"ticket": [[1.0, 3.0], [0.9, 2.0], [4.0, 0.0]], "dense": [[5.0, 5.0], [6.0, 6.0], [1.0, 2.0]]}
"""Means of ticket: 2, 1.45, 2; of dense: 5, 6, 1.5."""


def test_every_arm_has_its_winner_by_the_mean_over_replicates() -> None:
    table = pd.DataFrame(rows_of(LOSSES)).sample(frac=1, random_state=0)
    assert find_winners(tuning(), table) == {"ticket": 0.3, "dense": 1.0}
    largest = tuning(by={"metric": "loss", "best": "max"})
    assert find_winners(largest, table) == {"ticket": 0.1, "dense": 0.3}, "of equal ones the first"


def test_one_winner_for_all() -> None:
    table = pd.DataFrame(rows_of({"dense": LOSSES["dense"]}))
    assert find_winners(tuning(per_arm=False), table) == 1.0
    assert find_winners(tuning(per_arm=False, by={"metric": "loss", "at": {"arm": "dense"}}), table) == 1.0


def test_the_last_step_of_a_curve_counts_and_other_metrics_do_not() -> None:
    early = rows_of({arm: values[::-1] for arm, values in LOSSES.items()}, step=10)
    others = [{**row, "metric": "accuracy", "value": -9.0} for row in rows_of(LOSSES, step=20)]
    table = pd.DataFrame([*early, *rows_of(LOSSES, step=20), *others]).astype({"step": "Int64"})
    assert find_winners(tuning(), table) == {"ticket": 0.3, "dense": 1.0}
    first = tuning(by={"metric": "loss", "at": {"step": 10}})
    assert find_winners(first, table) == {"ticket": 0.3, "dense": 0.1}


def test_conditions_are_selected() -> None:
    table = pd.DataFrame([*rows_of(LOSSES, task="a"), *rows_of({a: v[::-1] for a, v in LOSSES.items()}, task="b")])
    assert find_winners(tuning(by={"metric": "loss", "at": {"task": "b"}}), table) == {"ticket": 0.3, "dense": 0.1}
    with pytest.raises(BadInput, match=r"tuning of optimizer\.rates: select one of task under tune\.by\.at"):
        find_winners(tuning(), table)


def test_an_arm_has_a_winner_under_every_condition_that_asks_for_one() -> None:
    """Curves of different lengths among them: the last step of each condition counts."""
    long = rows_of(LOSSES, batch=4.0, step=20)
    early = rows_of({arm: values[::-1] for arm, values in LOSSES.items()}, batch=4.0, step=10)
    short = rows_of({arm: values[::-1] for arm, values in LOSSES.items()}, batch=128.0, step=10)
    found = find_winners(tuning(per=("batch",)), pd.DataFrame([*long, *early, *short]))
    assert found == {"ticket/4": 0.3, "dense/4": 1.0, "ticket/128": 0.3, "dense/128": 0.1}


def test_what_was_never_reached_never_wins() -> None:
    losses = {"ticket": [[np.inf, 1.0], [3.0, 3.0], [np.inf, np.inf]]}
    assert find_winners(tuning(), pd.DataFrame(rows_of(losses))) == {"ticket": 0.3}
    best = tuning(by={"metric": "loss", "best": "max"})
    assert find_winners(best, pd.DataFrame(rows_of(losses))) == {"ticket": 0.3}
    nothing = pd.DataFrame(rows_of({"ticket": [[np.inf]] * 3}))
    with pytest.raises(BadInput, match="no value of ticket gives a finite loss"):
        find_winners(tuning(), nothing)


def test_whole_numbers_stay_whole() -> None:
    table = pd.DataFrame(rows_of({"ticket": LOSSES["ticket"]}))
    table["rates"] = table["rates"].map({0.1: 2.0, 0.3: 4.0, 1.0: 8.0})
    found = find_winners(tuning(values=(2, 4, 8)), table)
    assert found == {"ticket": 4} and type(found["ticket"]) is int  # ty: ignore[not-subscriptable]


def test_absent_rows_are_named() -> None:
    table = pd.DataFrame(rows_of(LOSSES))
    with pytest.raises(BadInput, match=r"no rows with accuracy, as tune\.by selects them"):
        find_winners(tuning(by={"metric": "accuracy"}), table)
    with pytest.raises(BadInput, match=r"no rows with loss, as tune\.by selects them"):
        find_winners(tuning(by={"metric": "loss", "at": {"task": "a"}}), table)
    with pytest.raises(BadInput, match=r"no rows of dense with rates 0\.3"):
        find_winners(tuning(), table[(table["arm"] != "dense") | (table["rates"] != 0.3)])
