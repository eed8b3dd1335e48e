"""The static site: an index, a page per paper and per sweep, opened from disk with no network.

Text, data, style and the few scripts are in each page; beside the pages lies one copy of plotly.js, for the curves.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from core import files
from core.errors import BadInput
from core.papers.config import PaperConfig
from core.paths import result_name
from core.report import formatting, unfinished
from core.report.assets import PLOTLY_FILE, ScriptAssets, plotly_path
from core.report.claims import MARKS, MEANINGS, Control
from core.report.freshness_process import Freshness
from core.report.paper_page import SHOWN_SCALES, ClaimRow, MeasurementSource, PaperPage, claim_row
from core.report.results import InvalidResult, Result, read_all_results, run_folders
from core.report.sweep_page import SweepPage
from core.report.unfinished import UnfinishedRun
from core.runs import sweep_folder

TEMPLATES = Path(__file__).parent / "templates"


FreshnessLookup = Callable[[PaperConfig], Sequence[Freshness]]


def build_site(
    results_root: Path,
    configs: Iterable[PaperConfig],
    out: Path,
    left_out: Sequence[str] = (),
    freshness: FreshnessLookup = lambda config: (),
    local_root: Path | None = None,
) -> Path:
    """Write `index.html`, a page per paper and per sweep into `out`; returns the index.

    Published results lie in `results_root`, local runs and sweeps in `local_root`, by default the same.

    Results that cannot be shown are left out and named on the index, after the lines of `left_out`. `freshness` tells
    how fresh a paper's published results are, and is asked late. Raises BadInput where `out` cannot be written.
    """
    listed = sorted(configs, key=lambda config: config.slug)
    slugs = {config.slug for config in listed}
    local_root = local_root or results_root
    found, skipped = read_all_results(results_root, local_root, slugs)
    runs, unfit = _read_unfinished_runs(local_root, slugs)
    skipped = [*left_out, *dict.fromkeys([*skipped, *unfit])]
    papers = [PaperPage(config, found[config.slug], runs[config.slug]) for config in listed]
    try:
        site = SiteWriter(out, skipped)
        sweeps = [sweep for sweep in _sweeps(local_root, skipped) if site.write_sweep_page(sweep, slugs)]
        for paper in papers:
            site.load_measurements(paper)
        for config, paper in zip(listed, papers, strict=True):
            paper.freshness = freshness(config)
        papers = [
            paper
            for paper in papers
            if site.write_paper_page(paper, [each for each in sweeps if each.paper == paper.slug])
        ]
        site.write_page(
            "index.html", "index.html.j2", papers=papers, sweeps=sweeps, skipped=skipped, tally=count_verdicts(papers)
        )
    except OSError as error:
        raise BadInput(
            f"cannot write the report to {out}: {error.strerror or error}; name another place with --out"
        ) from None
    return out / "index.html"


def _sweeps(root: Path, skipped: list[str]) -> list[SweepPage]:
    """Every sweep with a `sweep.json`; the folders whose file cannot be read are named in `skipped`."""
    found = sweep_folder.read_sweeps(root / "runs")
    known = {sweep.folder for sweep in found}
    folders = sorted(path.parent for path in (root / "runs" / sweep_folder.SWEEPS_FOLDER).glob("*/sweep.json"))
    skipped += [f"{result_name(path)}: sweep.json cannot be read" for path in folders if path not in known]
    return [SweepPage(sweep) for sweep in found]


class SiteWriter:
    """Renders templates into the files of one folder."""

    def __init__(self, out: Path, skipped: list[str]) -> None:
        """Lay the plotting library beside the pages, unless it is there; `skipped` gets what cannot be shown."""
        self.out, self.skipped = out, skipped
        self.sources: dict[str, list[MeasurementSource]] = {}
        self.environment = _environment()
        source, copy = plotly_path(), out / PLOTLY_FILE
        if not copy.exists() or copy.stat().st_size != source.stat().st_size:
            files.write_bytes(copy, source.read_bytes())

    def load_measurements(self, paper: PaperPage) -> None:
        """Read what the page of a paper shows of its measurements; a line where they hold what no page can show."""
        self._try_write(paper.slug, lambda: self.sources.__setitem__(paper.slug, paper.measurement_sources(self.out)))

    def write_paper_page(self, paper: PaperPage, sweeps: Sequence[SweepPage]) -> bool:
        """Write the page of a paper; False, and a line, where its files hold what no page can show."""
        about = {"paper": paper, "sweeps": sweeps, "sources": self.sources.get(paper.slug, [])}
        return self._try_write(paper.slug, lambda: self.write_page(f"{paper.slug}.html", "paper.html.j2", **about))

    def write_sweep_page(self, sweep: SweepPage, slugs: set[str]) -> bool:
        """Write the page of a sweep; False, and a line, where its files hold what no page can show."""
        name = result_name(sweep.sweep.folder)
        return self._try_write(name, lambda: self.write_page(sweep.file_name, "sweep.html.j2", page=sweep, slugs=slugs))

    def _try_write(self, name: str, write: Callable[[], None]) -> bool:
        try:
            write()
        except (TypeError, ValueError, AttributeError, LookupError, jinja2.TemplateError) as error:
            self.skipped.append(f"{name}: holds what cannot be shown ({' '.join(str(error).split())})")
            return False
        return True

    def write_page(self, name: str, template: str, **about: Any) -> None:
        """Render one page."""
        files.write_text(self.out / name, self.environment.get_template(template).render(**about))


def _read_unfinished_runs(root: Path, slugs: set[str]) -> tuple[dict[str, list[UnfinishedRun]], list[str]]:
    """Runs without a verdict by paper, and a line per folder that is none or has no config."""
    found: dict[str, list[UnfinishedRun]] = {slug: [] for slug in slugs}
    skipped = []
    for folder in run_folders(root):
        try:
            run = unfinished.read_unfinished_run(folder)
        except (InvalidResult, OSError) as error:
            skipped.append(str(error))
            continue
        if run is not None and run.slug in found:
            found[run.slug].append(run)
        elif run is not None:
            skipped.append(f"{run.path}: there is no config for '{run.slug}'")
    return found, skipped


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown: dict[str, Any] = {
        "assets": ScriptAssets(TEMPLATES),
        "css": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        "difference": _difference,
        "format_settings": _format_settings,
        "library": PLOTLY_FILE,
        "marks": MARKS,
        "meanings": MEANINGS,
        "claim_rows": _claim_rows,
        "scales": SHOWN_SCALES,
    }
    for function in (
        "forest_plot",
        "format_estimate",
        "format_mean_and_range",
        "format_minutes",
        "format_printed_number",
        "format_prose",
        "format_region",
        "format_setting",
        "format_units",
        "format_value",
        "text_list",
    ):
        shown[function] = getattr(formatting, function)
    environment.globals.update(shown)
    return environment


def _claim_rows(paper: PaperPage, result: Result) -> list[ClaimRow]:
    """The claims of one result."""
    return [claim_row(claim.id, paper.forms.get(claim.id), [result]) for claim in result.claims]


def _difference(control: Control) -> str:
    assert control.difference is not None
    decimals = formatting.significant_decimals(*control.difference)
    estimate, low, high = control.difference
    return (
        f"{formatting.format_number(estimate, decimals, True)} {formatting.format_interval(low, high, decimals, True)}"
    )


def _format_settings(settings: Mapping[str, Any], skip: tuple[str, ...] = ()) -> dict[str, str]:
    return formatting.format_settings({name: value for name, value in settings.items() if name not in skip})


def count_verdicts(papers: Sequence[PaperPage]) -> dict[str, int]:
    """How many claims have which verdict, and how many have none."""
    claims = [row.claim for paper in papers for row in paper.rows]
    verdicts = [claim.verdict if claim else "not run" for claim in claims]
    return {name: verdicts.count(name) for name in [*MARKS, "not run"]}
