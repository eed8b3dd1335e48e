"""Forecasts against what happened: every study at smoke scale, in a results folder of its own.

Each study is run three times: as nothing is known of it, with twice the replicates, and with twice the length where a
setting says how long it is. From the second run on the ledger of costs calibrates. What has not started within the
minutes is left out and named; so is a run that ends in an error. On a machine that does other work both the
calibration and the runs are slowed, by different amounts.
"""

import sys
import time

from benchmarks.harness import Measurement, Options
from benchmarks.results import Result
from benchmarks.timing import time_command

LENGTHS = ("training.iterations", "iterations", "steps", "epochs")


def run_words(paper: str, study: str) -> list[list[str]]:
    """The words of the three runs of a study."""
    from core.papers.config import load_config
    from core.papers.settings import flatten_settings

    config = load_config(paper).studies[study]
    count, values = config.replicates("smoke"), dict(flatten_settings(config.values("smoke")))
    study_words = [f"paper={paper}", f"study={study}", "scale=smoke", "tracking=none"]
    first = [*study_words, "first_replicate=1000"]
    lengths = [name for name in LENGTHS if isinstance(values.get(name), int)]
    longer = [[*first, f"settings.{name}={2 * values[name]}"] for name in lengths[:1]]
    return [first, [*study_words, "first_replicate=2000", f"replicates={2 * count}"], *longer]


def run_studies(options: Options, result: Result) -> None:
    """Perform all runs, and hold the ledger's forecasts against what they took."""
    from core.papers.config import load_config
    from core.papers.config_files import all_slugs
    from core.paths import temporary_results_folder
    from core.planning import cost_ledger

    begun, left_out, failed = time.perf_counter(), [], []
    with temporary_results_folder():
        pairs = [
            (paper, study) for paper in options.sizes.papers or all_slugs() for study in load_config(paper).studies
        ]
        for paper, study in pairs:
            if time.perf_counter() - begun > 60 * options.sizes.minutes:
                left_out.append(f"{paper}/{study}")
                continue
            for words in run_words(paper, study):
                try:
                    time_command([sys.executable, "-m", "experiments", "run", *words])
                except SystemExit as error:
                    failed.append(str(error).partition(" run ")[2])
        errors = cost_ledger.forecast_errors(cost_ledger.read_entries())
    factors: dict[str, list[float]] = {}
    for entry, factor in errors:
        known = "this run" in entry.source or "here" in entry.source
        factors.setdefault("calibrated" if known else "nothing known", []).append(factor)
    result.add("times off", factors)
    result.facts |= {"left out": left_out, "ended in an error": failed}
    result.facts["runs"] = [
        {
            "study": f"{entry.paper}/{entry.study}",
            "replicates": entry.replicates,
            "steps": entry.steps,
            "forecast_seconds": 60 * entry.forecast,
            "took_seconds": 60 * entry.minutes,
            "factor": factor,
            "from": entry.source,
        }
        for entry, factor in errors
    ]


BENCHMARKS = (
    Measurement(
        name="forecasts",
        question="By what factor are forecasts of runs off, before and after the ledger of costs knows them?",
        work="every study at smoke scale: as nothing is known, with twice the replicates, with twice the length",
        sizes={"papers": [], "minutes": 6.0},
        quick={"papers": ["lottery_ticket"], "minutes": 0.1},
        rounds=1,
        headline=(("times off", "nothing known"), ("times off", "calibrated")),
        perform=run_studies,
    ),
)
