"""Which value of a tuning's grid is best, from what was measured with each."""

import math
from typing import TYPE_CHECKING, Any

from core.errors import BadInput
from core.papers.claims import values_match
from core.papers.clause_language import to_tuple
from core.papers.config import Tuning

if TYPE_CHECKING:
    import pandas as pd


def find_winners(tuning: Tuning, table: "pd.DataFrame") -> float | dict[str, float]:
    """The value with the best mean over replicates, for every arm or for all together; of equal ones the smallest.

    With `per` every arm has one under each value of these columns: {"ticket/long": value}.

    Of a curve its last step counts, unless `by.at` selects another. An infinite mean never wins. Raises BadInput where
    rows are absent, or where further conditions leave several rows for a replicate.
    """
    column = tuning.setting.rpartition(".")[2]
    rows = _selected(tuning, table)
    of_winner = [*(["arm"] if tuning.per_arm else []), *tuning.per]
    keys = [column, *of_winner]
    if "step" in rows and "step" not in tuning.by.at and rows["step"].notna().any():
        last = rows.groupby(list(tuning.per))["step"].transform("max") if tuning.per else rows["step"].max()
        rows = rows[rows["step"] == last]
    doubled = rows.duplicated([*keys, "replicate"])
    if doubled.any():
        others = [name for name in rows.columns if name not in (*keys, "replicate", "study", "metric", "value")]
        several = [name for name in others if rows[name].nunique(dropna=False) > 1]
        raise BadInput(f"tuning of {tuning.setting}: select one of {', '.join(several) or 'the rows'} under tune.by.at")
    means = rows.groupby(keys)["value"].mean().reset_index()
    if not of_winner:
        return _best(tuning, column, means, "")
    winners = {}
    for named, own in means.groupby(of_winner, sort=False):
        name = "/".join(f"{part:g}" if isinstance(part, float) else str(part) for part in named)
        winners[name] = _best(tuning, column, own, f" of {name}")
    return winners


def _selected(tuning: Tuning, table: "pd.DataFrame") -> "pd.DataFrame":
    rows = table[table["metric"] == tuning.by.metric]
    for column, wanted in tuning.by.at.items():
        held = rows[column].unique() if column in rows else ()
        match = [value for value in held if any(values_match(value, each) for each in to_tuple(wanted))]
        rows = rows[rows[column].isin(match)] if match else rows.head(0)
    if rows.empty:
        raise BadInput(f"tuning of {tuning.setting}: no rows with {tuning.by.metric}, as tune.by selects them")
    return rows


def _best(tuning: Tuning, column: str, means: "pd.DataFrame", whose: str) -> float:
    """The value of the grid, as the config writes it."""
    found: dict[float, Any] = {}
    for value in tuning.values:
        own = [mean for at, mean in zip(means[column], means["value"], strict=True) if values_match(at, value)]
        if not own:
            raise BadInput(f"tuning of {tuning.setting}: no rows{whose} with {column} {value:g}")
        found[value] = own[0] if tuning.by.best == "min" else -own[0]
    best = min(found, key=lambda value: (math.isinf(found[value]), found[value]))
    if math.isinf(found[best]):
        raise BadInput(f"tuning of {tuning.setting}: no value{whose} gives a finite {tuning.by.metric}")
    return best
