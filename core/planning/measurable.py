"""Whether a study measures what its claims are judged by, found out from shapes alone before anything is computed."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.errors import BadInput
from core.kept import find_answers
from core.lab.shape_lab import ShapeLab
from core.launch.jobs import Job, verdict_identity
from core.papers.claims import Claim
from core.papers.reading import noting_settings, unread_settings
from core.planning.forecasting import trace_trial

if TYPE_CHECKING:
    import pandas as pd

MOST_REPLICATES = 3  # imagined ones: enough for every interval to be formed


@dataclass
class RowLab(ShapeLab):
    """Follows a trial by shapes, and notes under which conditions it measures."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def measure(self, metrics: Any, *, along: Any = None, **conditions: Any) -> None:
        """As `core.lab.lab.Lab.measure`."""
        import numpy as np

        super().measure(metrics, along=along, **conditions)
        labels = {name: np.asarray(each).tolist() for name, each in (along or {}).items()}
        for metric, values in product(metrics, product(*labels.values())):
            own = dict(zip(labels, values, strict=True))
            self.rows.append({**self._scope.conditions, **conditions, **own, "metric": metric})


@dataclass(frozen=True)
class ShapeFindings:
    """What following a study by shapes says of it.

    Attributes:
      fault: why a claim cannot be judged by what it measures, in one line; empty where all of them can.
      unread: settings that its trial does not read.
    """

    fault: str
    unread: tuple[str, ...]


def check_measurable(job: Job) -> None:
    """Refuse a study that does not measure what its claims are judged by, or a changed setting that it does not read.

    Raises BadInput with one line. What was found is kept in the cache under the identities of run and verdicts, so that
    it is looked for once.
    """
    found = cached_shape_findings(job)
    if found.fault:
        raise BadInput(found.fault)
    for name in job.chosen.overridden:
        if any(name == unread or name.startswith(f"{unread}.") for unread in found.unread):
            raise BadInput(f"settings.{name} changes nothing in {job.study.name}: its trial does not read it")


def cached_shape_findings(job: Job) -> ShapeFindings:
    """What following the job's study by shapes says; kept under its identities while this module stays."""
    key = f"{job.identity.name} {verdict_identity(job.launch.config, job.study.name)}"
    stamps = {key: files.sha256_file(Path(__file__))}
    found = find_answers("measurable", stamps, lambda _: dataclasses.asdict(follow_study(job)))[key]
    return ShapeFindings(found["fault"], tuple(found["unread"]))


def follow_study(job: Job) -> ShapeFindings:
    """Follow the trial, and judge the claims by made-up values of what it measures."""
    read: set[str] = set()
    settings, lab = noting_settings(job.chosen.settings, read), RowLab(count_flops=False)
    trace_trial(job.launch.config.slug, job.study, settings, lab)
    count = min(MOST_REPLICATES, job.study.replicates(job.launch.scale))
    numbers = range(job.numbers[0], job.numbers[0] + count)
    place, table = f"{job.launch.config.slug} {job.study.name}", imagined_table(lab.rows, job.study.name, numbers)
    faults = [
        f"{place}: {fault}"
        for claim in job.launch.config.claims_of(job.study.name).values()
        if _is_judged(claim, job.launch.scale) and (fault := _claim_fault(claim, table, job.launch.scale))
    ]
    unread = unread_settings(job.study.settings_class, read)
    # What a host solver reads, nobody sees from here.
    return ShapeFindings(faults[0] if faults else "", () if lab.cost.uncounted else tuple(unread))


def _is_judged(claim: Claim, scale: str) -> bool:
    return scale not in claim.not_testable and (scale != "smoke" or claim.kind == "exact")


def imagined_table(rows: list[dict[str, Any]], study: str, replicates: Iterable[int]) -> "pd.DataFrame":
    """A table of measurements with made-up values, for the replicates with these numbers."""
    import numpy as np
    import pandas as pd

    from core.runs.measurements import sort_columns

    whole = [{**row, "replicate": number, "study": study} for number in replicates for row in rows]
    values = np.random.default_rng(0).random(len(whole)) + 0.1
    return sort_columns(pd.DataFrame(whole).assign(value=values))


def _claim_fault(claim: Claim, table: "pd.DataFrame", scale: str) -> str:
    from core.judging.judge import judge_claim

    try:
        judge_claim(claim, table, scale)
    except BadInput as error:
        return str(error)
    return ""
