"""Forecasts against what happened: every study of every paper at smoke scale, before and after the ledger knows it.

    python -m benchmarks.forecasts [--papers lottery_ticket] [--minutes 6]

Each study is run three times in a results folder of its own: as nothing is known of it, with twice the replicates, and
with twice the length where a setting says how long it is. From the second run on the ledger of costs calibrates. What
has not started within the minutes is left out, and named; so is a run that ends in an error, with its line. On a
machine that does other work (`load_average`) both the calibration and the runs are slowed, by different amounts.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from core.files import write_json
from core.papers.config import StudyConfig, load_config, slugs
from core.paths import temporary_results_folder
from core.planning import cost_ledger
from core.runs.provenance import collect_provenance

LENGTHS = ("iterations", "steps", "epochs")
RESULT = Path(__file__).parent / "results" / "forecasts.json"


def commands(study: StudyConfig) -> list[list[str]]:
    """The words of the three runs of a study."""
    count, values = study.replicates("smoke"), study.values("smoke")
    first = [f"paper={study.paper}", f"study={study.name}", "scale=smoke", "first_replicate=1000", "tracking=none"]
    found = [first, [*first[:3], "first_replicate=2000", f"replicates={2 * count}", "tracking=none"]]
    lengths = [name for name in LENGTHS if isinstance(values.get(name), int)]
    return found + [[*first, f"settings.{name}={2 * values[name]}"] for name in lengths[:1]]


def run(words: list[str]) -> str:
    """Perform one run; the last line that it wrote if it ended in an error, else nothing."""
    line = [sys.executable, "-m", "experiments", "run", *words]
    done = subprocess.run(line, env=os.environ, capture_output=True, text=True, timeout=600, check=False)
    return f"{' '.join(words)}: {done.stderr.strip().splitlines()[-1]}" if done.returncode else ""


def summary(lines: list[cost_ledger.CostEntry]) -> dict[str, Any]:
    """Factors between forecast and wall-clock time, by what the forecast was made from."""
    factors: dict[str, list[float]] = {"nothing known": [], "calibrated": []}
    for line, factor in cost_ledger.forecast_error_factors(lines):
        known = "this run" in line.source or "here" in line.source
        factors["calibrated" if known else "nothing known"].append(factor)
    return {
        name: {"runs": len(found), "median": round(statistics.median(found), 2), "largest": round(max(found), 2)}
        for name, found in factors.items()
        if found
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Forecasts against what happened.")
    parser.add_argument("--papers", nargs="*", default=slugs())
    parser.add_argument("--minutes", type=float, default=6.0)
    given = parser.parse_args()
    started, before, left_out, ended = time.perf_counter(), os.getloadavg()[0], [], []
    with temporary_results_folder():
        for study in (study for slug in given.papers for study in load_config(slug).studies.values()):
            if time.perf_counter() - started > 60 * given.minutes:
                left_out.append(f"{study.paper}/{study.name}")
                continue
            ended += filter(None, map(run, commands(study)))
        lines = cost_ledger.read_entries()
    provenance = collect_provenance(seconds=time.perf_counter() - started, peak_gib=0.0)
    found = {
        "work": "every study at smoke scale: as nothing is known, with twice the replicates, with twice the length",
        "cpu": provenance["device"]["cpu"],
        "cores": provenance["device"]["cores"],
        "commit": provenance["commit"],
        "date": provenance["date"],
        "load_average": [round(load, 1) for load in (before, os.getloadavg()[0])],
        "factors": summary(lines),
        "left_out": left_out,
        "ended_in_an_error": ended,
        "runs": [
            {
                "study": f"{line.paper}/{line.study}",
                "replicates": line.replicates,
                "steps": line.steps,
                "forecast_seconds": round(60 * line.forecast, 1),
                "took_seconds": round(60 * line.minutes, 1),
                "factor": round(factor, 2),
                "from": line.source,
            }
            for line, factor in cost_ledger.forecast_error_factors(lines)
        ],
    }
    write_json(RESULT, found)
    for each in found["runs"]:
        print(f"{each['study']:32}{each['replicates']:4}{each['forecast_seconds']:9.1f} s{each['took_seconds']:9.1f} s "
              f"{each['factor']:6.2f}  {each['from']}")  # fmt: skip
    print(found["factors"])


if __name__ == "__main__":
    main()
