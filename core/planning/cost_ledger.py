"""The ledger of what runs took on this machine, and what it says about the next one.

A line is written for every run that computed something: its forecast, and what happened. Forecasts come from the
nearest line there is: the same run, else the published one, else counted operations at the speed that this study, this
paper or all papers reached here, as a share of this machine's matrix products.
"""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.paths import runs_folder
from core.runs import provenance

if TYPE_CHECKING:
    from core.launch.jobs import Job
    from core.planning.forecasting import Forecast


@dataclass(frozen=True)
class CostEntry:
    """What one run took.

    Attributes:
      replicates: computed then; `workers` of them at a time, over all hosts.
      minutes: wall-clock time of computing, from the first worker's start to the last one's end.
      seconds_per_replicate: without compiling, the mean.
      gflops: this machine's speed then, by `core.planning.forecasting.calibrate`.
      flops: counted operations of one replicate; None where nobody counted.
      forecast: minutes foreseen, by the `source` named.
    """

    paper: str
    study: str
    scale: str
    identity: str
    replicates: int
    workers: int
    minutes: float
    seconds_per_replicate: float
    peak_gib: float
    steps: int
    gflops: float
    flops: float | None
    forecast: float
    source: str
    date: str

    @property
    def efficiency(self) -> float | None:
        """Share of a core's matrix-product throughput that was reached."""
        if not self.flops or self.seconds_per_replicate <= 0:
            return None
        return self.flops / (self.seconds_per_replicate * self.gflops * 1e9)

    @property
    def overhead_seconds(self) -> float:
        """Wall-clock time beyond that of the replicates: starting workers, compiling, loading data."""
        rounds = -(-self.replicates // self.workers)
        return max(0.0, 60 * self.minutes - rounds * self.seconds_per_replicate)


def ledger_path() -> Path:
    """Where the lines are."""
    return runs_folder() / "costs.jsonl"


def append_entry(job: "Job", computed: Sequence[int], forecast: "Forecast", minutes: float, gflops: float) -> None:
    """Append a line about the replicates that were computed just now."""
    done = [job.run.read_cost(number) for number in computed]
    seconds = [(each["seconds"] - each["compile_seconds"]) / each["batch"] for each in done]
    entry = CostEntry(
        paper=job.launch.config.slug,
        study=job.study.name,
        scale=job.launch.scale,
        identity=job.identity.name,
        replicates=len(done),
        workers=max(1, forecast.workers) * job.launch.hosts.count,
        minutes=round(minutes, 4),
        seconds_per_replicate=round(statistics.fmean(seconds), 4),
        peak_gib=round(max(each["peak_gib"] for each in done), 3),
        steps=done[0]["steps"],
        gflops=round(gflops, 2),
        flops=forecast.flops,
        forecast=round(forecast.minutes, 4),
        source=forecast.source,
        date=provenance.today(),
    )
    ledger_path().parent.mkdir(parents=True, exist_ok=True)
    with ledger_path().open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(entry)) + "\n")


def read_entries() -> list[CostEntry]:
    """Every line, oldest first; what is not a line of this ledger is left out."""
    try:
        lines = ledger_path().read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    names, found = {each.name for each in fields(CostEntry)}, []
    for line in lines:
        try:
            content = json.loads(line)
        except ValueError:  # half a line of a process that was killed
            continue
        if isinstance(content, dict) and set(content) == names:
            found.append(CostEntry(**content))
    return found


def cost_of_run(identity: str, lines: Iterable[CostEntry]) -> Mapping[str, Any] | None:
    """What the newest line about a run says of its cost, in the words of a published one."""
    own = [line for line in lines if line.identity == identity]
    if not own:
        return None
    return {
        "seconds_per_replicate": own[-1].seconds_per_replicate,
        "calibration_gflops": own[-1].gflops,
        "peak_gib": own[-1].peak_gib,
        "steps": own[-1].steps,
        "overhead_seconds": own[-1].overhead_seconds,
    }


def similar_entries(
    paper: str, study: str, lines: Sequence[CostEntry], flops: float = 0.0
) -> tuple[list[CostEntry], str]:
    """The lines that say how fast `flops` counted operations of a study will be, and in words which they are.

    A line of fewer than a hundredth of them, such as that of a smoke run, says how long small calls take.
    """
    counted = [line for line in lines if line.efficiency is not None and (line.flops or 0.0) >= flops / 100]
    for words, wanted in (
        (f"runs of {study} here", lambda line: (line.paper, line.study) == (paper, study)),
        (f"runs of {paper} here", lambda line: line.paper == paper),
        ("runs here", lambda line: True),
    ):
        if found := [line for line in counted if wanted(line)]:
            return found, words
    return [], ""


def forecast_error_factors(lines: Iterable[CostEntry]) -> list[tuple[CostEntry, float]]:
    """Every line with the factor between what was foreseen and what happened, 1 or more."""
    return [
        (line, max(line.forecast / line.minutes, line.minutes / line.forecast))
        for line in lines
        if line.forecast > 0 and line.minutes > 0
    ]
