"""What a sweep selects by: one number per replicate of one study, its mean and interval, and which way is better.

Selection uses validation data only: a metric measured on test data cannot be an objective, since the best of many
points on test data says little about the next network.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from core.errors import BadInput, suggest, unknown_name
from core.launch.compose import Launch
from core.launch.jobs import Job

DIRECTIONS = ("min", "max")
UNSELECTED_COLUMNS = ("replicate", "study", "metric", "value", "step")  # columns that a selection need not name


@dataclass(frozen=True)
class Objective:
    """A measurement to select by.

    Attributes:
      study: the study that measures it.
      metric: its name, e.g. validation_accuracy.
      direction: "min" or "max".
      arm: the arm that is compared, where there are several.
      select: further columns and their values; without a step, the last one counts.
    """

    study: str
    metric: str
    direction: str
    arm: str | None = None
    select: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As plain data, as `sweep.json` keeps it."""
        return asdict(self)

    def conditions(self) -> dict[str, Any]:
        """The columns that rows must agree with."""
        return {**self.select, **({} if self.arm is None else {"arm": self.arm})}

    def mean_interval(self, job: Job) -> dict[str, Any] | None:
        """Mean and 95 % interval over the replicates of a finished job: {"mean", "low", "high", "n"}.

        None when a value is infinite (never reached). Bounds are None for a single replicate.
        """
        import numpy as np

        from core.judging import stats

        interval = stats.mean_interval(np.array(self.values(job)))
        if not math.isfinite(interval.estimate):
            return None
        bounded = math.isfinite(interval.low)
        low, high = (interval.low, interval.high) if bounded else (None, None)
        return {"mean": interval.estimate, "low": low, "high": high, "n": interval.n}

    def values(self, job: Job) -> list[float]:
        """The number of every replicate of a job whose replicates are computed, in their order."""
        from core.runs import measurements

        rows = measurements.collect_measurements(job.run, job.study.name, job.numbers)
        rows = rows[rows["metric"] == self.metric]
        for column, value in self.conditions().items():
            rows = rows[rows[column] == value] if column in rows.columns else rows[:0]
        if "step" in rows.columns and rows["step"].notna().any() and "step" not in self.select:
            rows = rows[rows["step"] == rows["step"].max()]
        if sorted(rows["replicate"]) != sorted(job.numbers):
            raise BadInput(f"{self.metric} under {self.conditions()} is not one number for every replicate")
        return [float(value) for value in rows.sort_values("replicate")["value"]]


def parse_objective(values: Mapping[str, Any], launch: Launch) -> Objective | None:
    """The objective of `objective.` words, checked against what the studies of `launch` measure; None without any."""
    if not values:
        return None
    names = [chosen.study.name for chosen in launch.studies]
    study = values.get("study", names[0] if len(names) == 1 else None)
    if study is None:
        raise BadInput(f"objective.study is missing: {suggest('', names)}")
    if study not in names:
        raise unknown_name("study in objective.study", str(study), names)
    if "metric" not in values:
        raise BadInput("objective.metric is missing, such as objective.metric=validation_loss")
    direction = values.get("direction")
    if direction not in DIRECTIONS:
        raise BadInput(f"objective.direction={direction!r}: choose min or max")
    metric, arm = str(values["metric"]), values.get("arm")
    if "test" in metric.split("_"):
        raise BadInput(f"objective.metric={metric}: points are selected on validation data only, never on test data")
    found = Objective(study, metric, direction, None if arm is None else str(arm), values.get("select", {}))
    _check(found, list_measured_metrics(launch, study))
    return found


def list_measured_metrics(launch: Launch, study: str) -> list[tuple[str, dict[str, Any]]]:
    """Every metric that a study measures with its conditions, from shapes alone."""
    import jax

    from core.lab.shape_lab import ShapeLab
    from core.planning import forecasting

    jax.config.update("jax_platforms", "cpu")
    [chosen] = [chosen for chosen in launch.studies if chosen.study.name == study]
    lab = ShapeLab(count_flops=False)
    forecasting.trace_trial(launch.config.slug, chosen.study, chosen.settings, lab)
    return lab.measured


def _check(objective: Objective, rows: list[tuple[str, dict[str, Any]]]) -> None:
    """Refuse what is not measured, and what is measured under several conditions."""
    metrics = {metric for metric, _ in rows if "test" not in metric.split("_")}
    conditions = [about for metric, about in rows if metric == objective.metric]
    if not conditions:
        raise unknown_name("metric in objective.metric", objective.metric, metrics)
    for column, value in objective.conditions().items():
        if column == "step":
            continue
        columns = {name for about in conditions for name in about}
        if column not in columns:
            raise unknown_name("column in objective.select", column, columns)
        values = {about[column] for about in conditions if column in about}
        conditions = [about for about in conditions if about.get(column) == value]
        if not conditions:
            where = "arm" if column == "arm" else f"select.{column}"
            raise BadInput(f"objective.{where}={value!r}: {suggest(str(value), [f'{each}' for each in values])}")
    for column in sorted(
        {name for about in conditions for name in about} - {*UNSELECTED_COLUMNS, *objective.conditions()}
    ):
        values = sorted({str(about.get(column)) for about in conditions})
        if len(values) > 1:
            where = "arm" if column == "arm" else f"select.{column}"
            raise BadInput(f"{objective.metric} is measured several times: add objective.{where}={'|'.join(values)}")
