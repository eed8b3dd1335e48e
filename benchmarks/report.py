"""The report of many papers, and a page behind a million logged points: seconds to build, bytes, seconds to open.

The papers are copies of one published paper, config, experiment and results alike, under names of their own; the report
is built by the command itself. The points are one published result of five arms and four replicates. The pages are
opened from disk by Chromium without a window, each time in a new browser, until the text is there and until the curves
are drawn. Chromium and its driver are needed.
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.harness import Measurement, Options
from benchmarks.peers import ROOT
from benchmarks.results import Result
from benchmarks.timing import take_turns, time_command

PAPER, ARMS, REPLICATES = "lottery_ticket", 5, 4
TIMES = """
  const mark = (entries) => entries[0]?.startTime ?? 0;
  return [mark(performance.getEntriesByType("paint")), mark(performance.getEntriesByName("drawn"))];
"""


def copy_papers(root: Path, papers: Mapping[str, str]) -> None:
    """A project with copies of present papers under names of their own: config, experiment and results alike."""
    ignored = shutil.ignore_patterns("__pycache__", "paper")
    shutil.copytree(ROOT / "configs", root / "configs", ignore=ignored)
    (root / "configs" / "paper").mkdir()
    for name, slug in papers.items():
        shutil.copy(ROOT / "configs" / "paper" / f"{slug}.yaml", root / "configs" / "paper" / f"{name}.yaml")
        shutil.copytree(ROOT / "experiments" / slug, root / "experiments" / name, ignore=ignored)
        for module in (root / "experiments" / name).glob("*.py"):
            text = module.read_text(encoding="utf-8")
            module.write_text(text.replace(f"experiments.{slug}", f"experiments.{name}"), encoding="utf-8")
        if (ROOT / "results" / slug).is_dir():
            shutil.copytree(ROOT / "results" / slug, root / "results" / name)


def write_points(folder: Path, steps: int) -> int:
    """Put curves of so many steps in the place of a published table; returns how many rows they have."""
    import numpy as np
    import pandas as pd

    from core.runs.measurements import write_measurements

    random, step, parts = np.random.default_rng(0), np.arange(1, steps + 1), []
    for arm in range(ARMS):
        for replicate in range(REPLICATES):
            loss = (1 + arm / 5) / np.sqrt(step) + 0.02 * random.standard_normal(steps)
            parts.append(pd.DataFrame({"replicate": replicate, "arm": f"arm_{arm}", "step": step, "value": loss}))
    table = pd.concat(parts, ignore_index=True).assign(study="lenet", metric="loss")
    write_measurements(folder / "measurements.csv.gz", table)
    return len(table)


def build(root: Path) -> dict[str, float]:
    """Seconds of `encore report` over a project, its former pages removed."""
    shutil.rmtree(root / "results" / "report", ignore_errors=True)
    variables = {"ENCORE_ROOT": str(root), "ENCORE_RESULTS": str(root / "results"), "PYTHONPATH": str(ROOT)}
    code = "import sys; from core.cli.main import main; sys.exit(main(['report']))"
    return time_command([sys.executable, "-c", code], environment=variables)


def open_page(page: Path) -> dict[str, float]:
    """Seconds until a new browser shows a page's text and, where it has curves, until they are drawn."""
    from tests.browser import Browser

    with Browser() as browser:
        browser.open(page)
        text, curves = browser.run(TIMES)
    return {"text": text / 1000, "curves": curves / 1000}


def measure_report(options: Options, result: Result) -> None:
    """Build two projects and open their pages, taking turns."""
    from core.report.assets import plotly_path
    from tests.browser import CHROMIUM, DRIVER, MISSING

    if not (CHROMIUM and DRIVER):
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory() as name:
        roots = {f"{options.sizes.papers} papers": Path(name) / "many", "many points": Path(name) / "one"}
        many, one = roots.values()
        copy_papers(many, {f"paper_{number:02d}": PAPER for number in range(options.sizes.papers)})
        copy_papers(one, {"points": PAPER})
        rows = write_points(one / "results" / "points" / "laptop", options.sizes.steps)
        built = take_turns({each: partial(build, root) for each, root in roots.items()}, options.rounds)
        for clock, seconds in built.items():
            result.add(f"seconds to build, {clock}", seconds)
        pages = {"index": many / "results" / "report" / "index.html", "a paper": many / "results/report/paper_00.html"}
        pages["many points"] = one / "results" / "report" / "points.html"
        for until, seconds in take_turns({n: partial(open_page, p) for n, p in pages.items()}, options.rounds).items():
            result.add(f"seconds to open, {until}", seconds)
        sizes = {page: path.stat().st_size for page, path in pages.items()}
        result.add("bytes", {**sizes, "plotly.js": plotly_path().stat().st_size})
        result.add("rows", {"a paper": count_rows(pages["a paper"]), "many points": rows})


def count_rows(page: Path) -> int:
    """The measurements behind the curves of a page, as it says itself."""
    text = page.read_text(encoding="utf-8").partition('id="curves-data">')[2].partition("</script>")[0]
    return int(re.sub(r"\D", "", json.loads(text)[0]["note"].split("mea")[0]))


BENCHMARKS = (
    Measurement(
        name="report",
        question="How long does the report of 57 papers take to build and to open, and a page behind a million points?",
        work="report of {papers} papers; a page behind five arms of four replicates over {steps} steps",
        sizes={"papers": 57, "steps": 50_000},
        quick={"papers": 2, "steps": 100},
        headline=(
            ("seconds to build, clock", "57 papers"), ("bytes", "index"), ("seconds to open, curves", "many points")
        ),
        perform=measure_report,
    ),
)  # fmt: skip
