"""The report of 57 papers, and a page behind a million logged points: seconds to build, bytes, seconds to open.

    python -m benchmarks.report [--rounds 5] [--keep FOLDER]

The 57 papers are copies of one published paper, config, experiment and results alike, under names of their own; the
report is built by the command itself, from the start of the process to its end. The million points are one published
result of five arms and four replicates over 50,000 steps. The pages are opened from disk by Chromium without a window,
each time in a new browser, until the text is there and until the curves are drawn. The load average before all of it is
kept with the result: on a machine that others use, the seconds of processors say more than those of the clock. Chromium
and its driver are needed.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core import files
from core.report.assets import plotly_path
from core.runs.measurements import write_measurements
from core.runs.provenance import collect_provenance
from tests.browser import CHROMIUM, DRIVER, MISSING, Browser

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "report.json"
PAPER, PAPERS = "lottery_ticket", 57
TIMES = """
  const mark = (entries) => entries[0]?.startTime ?? 0;
  return [mark(performance.getEntriesByType("paint")), mark(performance.getEntriesByName("drawn"))];
"""
ARMS, REPLICATES, STEPS = 5, 4, 50_000


def copies(root: Path, names: Sequence[str]) -> None:
    """A project with copies of one paper under several names."""
    for name in names:
        (root / "configs" / "paper").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "configs" / "paper" / f"{PAPER}.yaml", root / "configs" / "paper" / f"{name}.yaml")
        shutil.copytree(ROOT / "experiments" / PAPER, root / "experiments" / name)
        for module in (root / "experiments" / name).glob("*.py"):
            text = module.read_text(encoding="utf-8")
            module.write_text(text.replace(f"experiments.{PAPER}", f"experiments.{name}"), encoding="utf-8")
        shutil.copytree(ROOT / "results" / PAPER, root / "results" / name)


def million(folder: Path) -> int:
    """Put a million logged points in the place of a published table; returns how many rows it has."""
    random = np.random.default_rng(0)
    steps = np.arange(1, STEPS + 1)
    parts = []
    for arm in range(ARMS):
        for replicate in range(REPLICATES):
            loss = (1 + arm / 5) / np.sqrt(steps) + 0.02 * random.standard_normal(STEPS)
            parts.append(pd.DataFrame({"replicate": replicate, "arm": f"arm_{arm}", "step": steps, "value": loss}))
    table = pd.concat(parts, ignore_index=True).assign(study="lenet", metric="loss")
    write_measurements(folder / "measurements.csv.gz", table)
    return len(table)


def build(root: Path) -> dict[str, float]:
    """Seconds of `encore report` over a project, its former pages removed: wall clock, and of all its processors."""
    shutil.rmtree(root / "results" / "report", ignore_errors=True)
    surroundings = os.environ | {"ENCORE_ROOT": str(root), "ENCORE_RESULTS": str(root / "results")}
    code = "import sys; from core.cli.main import main; sys.exit(main(['report']))"
    before, started = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code], env=surroundings, cwd=ROOT, check=True, capture_output=True, timeout=300
    )
    wall, after = time.perf_counter() - started, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall": wall, "processors": used}


def opened(page: Path) -> dict[str, float]:
    """Seconds until a new browser shows a page's text and, where it has curves, until they are drawn."""
    with Browser() as browser:
        browser.open(page)
        text, curves = browser.run(TIMES)
    return {"text": text / 1000, "curves": curves / 1000}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest over the rounds."""
    found = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def rounds_of(count: int, once: Callable[[], dict[str, float]]) -> dict[str, dict[str, float]]:
    """The spread of every number that `once` returns."""
    found = [once() for _ in range(count)]
    return {name: spread([each[name] for each in found]) for name in found[0]}


def measured(root: Path, rounds: int) -> dict[str, Any]:
    """Everything that is measured, in two projects below `root`."""
    names = [f"paper_{number:02d}" for number in range(PAPERS)]
    copies(root / "many", names)
    copies(root / "one", ["million"])
    rows = million(root / "one" / "results" / "million" / "laptop")
    found: dict[str, Any] = {
        "build_57": rounds_of(rounds, lambda: build(root / "many")),
        "build_million": rounds_of(rounds, lambda: build(root / "one")),
    }
    many, one = root / "many" / "results" / "report", root / "one" / "results" / "report"
    pages = {"index_57": many / "index.html", "paper": many / f"{names[0]}.html", "million": one / "million.html"}
    for name, page in pages.items():
        found[f"open_{name}"] = {"bytes": page.stat().st_size, **rounds_of(rounds, lambda page=page: opened(page))}
    return found | {"rows_of_a_paper": _rows(pages["paper"]), "rows_of_the_million": rows}


def _rows(page: Path) -> int:
    text = page.read_text(encoding="utf-8").partition('id="curves-data">')[2].partition("</script>")[0]
    return int("".join(character for character in json.loads(text)[0]["note"].split("mea")[0] if character.isdigit()))


def print_table(found: dict[str, Any]) -> None:
    """The same for people."""
    print(f"{found['work']}\n{'':44}{'median':>9}{'lowest':>9}{'highest':>9}")
    for name, about in found.items():
        if isinstance(about, dict):
            for part, values in about.items():
                if isinstance(values, dict):
                    print(f"{f'{name}, {part} (s)':44}" + "".join(f"{value:9.2f}" for value in values.values()))
                elif part == "bytes":
                    print(f"{f'{name}, size (MB)':44}{values / 1e6:9.2f}")


def main() -> None:
    """Measure, print a table, and keep it as JSON."""
    parser = argparse.ArgumentParser(description="The report: seconds to build and to open.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="make the projects there, and leave them")
    given = parser.parse_args()
    if not (CHROMIUM and DRIVER):
        raise SystemExit(MISSING)
    started, load = time.perf_counter(), round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as name:
        found = measured(given.keep or Path(name), given.rounds)
    provenance = collect_provenance(seconds=time.perf_counter() - started, peak_gib=0.0)
    found = {
        "work": f"report of {PAPERS} papers; a page behind a million points; {given.rounds} rounds",
        "cpu": provenance["device"]["cpu"],
        "cores": provenance["device"]["cores"],
        "commit": provenance["commit"],
        "load_before": load,
        "library_bytes": plotly_path().stat().st_size,
        **found,
    }
    files.write_json(RESULT, found)
    print_table(found)


if __name__ == "__main__":
    main()
