"""The static site: an index, a page over all claims, one per paper and per sweep, opened from disk with no network.

Text, data, style and the few scripts are in each page; beside the pages lie one copy of plotly.js, for the curves, and
the drawings of the index. A page whose inputs stand is not made anew.
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
from core.report import effects, formatting, front, opening, page_inputs, ratios, unfinished
from core.report.assets import PLOTLY_FILE, ScriptAssets, plotly_path
from core.report.claims import MARKS, MEANINGS, Control
from core.report.freshness_process import UNKNOWN, Freshness
from core.report.page_inputs import PageInputs
from core.report.paper_page import SHOWN_SCALES, ClaimRow, PaperPage, ResultMeasurements, claim_row
from core.report.results import InvalidResult, Result, read_all_results, run_folders
from core.report.sweep_page import SweepPage
from core.report.together import collect_claims
from core.report.unfinished import UnfinishedRun
from core.runs import sweep_folder

TEMPLATES = Path(__file__).parent / "templates"
INDEX, TOGETHER = "index.html", "together.html"

FreshnessLookup = Callable[[PaperConfig], Sequence[Freshness]]


def build_site(
    results_root: Path,
    configs: Iterable[PaperConfig],
    out: Path,
    left_out: Sequence[str] = (),
    freshness: FreshnessLookup = lambda config: (),
    local_root: Path | None = None,
) -> Path:
    """Write `index.html`, `together.html`, a page per paper and per sweep into `out`; returns the index.

    Published results lie in `results_root`, local runs and sweeps in `local_root`, by default the same.

    Results that cannot be shown are left out and named on the index, after the lines of `left_out`. `freshness` tells
    how fresh a paper's published results are, and is asked late. Raises BadInput where `out` cannot be written.
    """
    listed = sorted(configs, key=lambda config: config.slug)
    slugs = {config.slug for config in listed}
    local_root = local_root or results_root
    stamp = page_inputs.site_stamp(results_root, local_root, out)
    found, skipped = read_all_results(results_root, local_root, slugs)
    runs, unfit = _read_unfinished_runs(local_root, slugs)
    skipped = [*left_out, *dict.fromkeys([*skipped, *unfit])]
    papers = [PaperPage(config, found[config.slug], runs[config.slug]) for config in listed]
    try:
        site = SiteWriter(out, skipped, (results_root, local_root))
        sweeps = [sweep for sweep in _sweeps(local_root, skipped) if site.write_sweep_page(sweep, slugs)]
        for paper in papers:
            site.load_measurements(paper)
        for config, paper in zip(listed, papers, strict=True):
            paper.freshness = freshness(config)
            paper.shown = site.write_paper_page(config, paper, [each for each in sweeps if each.paper == paper.slug])
        papers = [paper for paper in papers if paper.shown]
        gallery = [entry for paper in papers if (entry := site.write_drawing(paper))]
        stale = {f"{paper.slug}.html#claim-{row.id}" for paper in papers for row in paper.rows if paper.staleness(row)}
        site.write_page(TOGETHER, "together.html.j2", together=collect_claims(listed, found), stale=stale)
        tally = opening.verdict_counts(row for paper in papers for row in paper.rows)
        about: dict[str, Any] = {"papers": papers, "sweeps": sweeps, "skipped": skipped, "tally": tally}
        about |= {"gallery": gallery, "fields": front.group_by_field(papers)}
        site.write_page(INDEX, "index.html.j2", **about)
        unknown = any(each.state == UNKNOWN for paper in papers for each in paper.freshness)
        site.inputs.save("" if skipped or unknown else stamp)
    except OSError as error:
        raise BadInput(
            f"cannot write the report to {out}: {error.strerror or error}; name another place with --out"
        ) from None
    return out / INDEX


def _sweeps(root: Path, skipped: list[str]) -> list[SweepPage]:
    """Every sweep with a `sweep.json`; the folders whose file cannot be read are named in `skipped`."""
    found = sweep_folder.read_sweeps(root / "runs")
    known = {sweep.folder for sweep in found}
    folders = sorted(path.parent for path in (root / "runs" / sweep_folder.SWEEPS_FOLDER).glob("*/sweep.json"))
    skipped += [f"{result_name(path)}: sweep.json cannot be read" for path in folders if path not in known]
    return [SweepPage(sweep) for sweep in found]


class SiteWriter:
    """Renders templates into the files of one folder."""

    def __init__(self, out: Path, skipped: list[str], roots: tuple[Path, Path]) -> None:
        """Lay the plotting library beside the pages, unless it is there; `skipped` gets what cannot be shown.

        `roots` are the folders of published results and of local ones.
        """
        self.out, self.skipped, self.roots = out, skipped, roots
        self.sources: dict[str, list[ResultMeasurements]] = {}
        self.inputs, self.code = PageInputs(out), page_inputs.code_stamp()
        self.environment = _environment()
        _copy(plotly_path(), out / PLOTLY_FILE)

    def load_measurements(self, paper: PaperPage) -> None:
        """Read what a page shows of its measurements where it is sure to be written, while others ask for freshness."""
        if self.inputs.is_new(f"{paper.slug}.html"):
            self._try_write(paper.slug, lambda: self._read_measurements(paper))

    def _read_measurements(self, paper: PaperPage) -> None:
        self.sources[paper.slug] = paper.measurement_sources(self.out)

    def write_paper_page(self, config: PaperConfig, paper: PaperPage, sweeps: Sequence[SweepPage]) -> bool:
        """Write the page of a paper, unless it stands; False, and a line, where its files hold what none can show."""
        name, places = f"{paper.slug}.html", (*self.roots, self.out)
        stamp = page_inputs.page_stamp(self.code, config, places, paper.freshness)
        if self.inputs.stands(name, stamp):
            return True

        def write() -> None:
            if paper.slug not in self.sources:
                self._read_measurements(paper)
            about: dict[str, Any] = {"paper": paper, "sweeps": sweeps, "sources": self.sources[paper.slug]}
            self.write_page(name, "paper.html.j2", stamp, **about)

        return self._try_write(paper.slug, write)

    def write_sweep_page(self, sweep: SweepPage, slugs: set[str]) -> bool:
        """Write the page of a sweep; False, and a line, where its files hold what no page can show."""
        name = result_name(sweep.sweep.folder)
        return self._try_write(name, lambda: self.write_page(sweep.file_name, "sweep.html.j2", page=sweep, slugs=slugs))

    def write_drawing(self, paper: PaperPage) -> front.GalleryEntry | None:
        """Lay the drawing that stands for a paper beside the pages; None where it has none."""
        entry = front.gallery_entry(paper)
        if entry is not None:
            _copy(entry.source, self.out / entry.file_name)
        return entry

    def _try_write(self, name: str, write: Callable[[], None]) -> bool:
        try:
            write()
        except (TypeError, ValueError, AttributeError, LookupError, jinja2.TemplateError) as error:
            self.skipped.append(f"{name}: holds what cannot be shown ({' '.join(str(error).split())})")
            return False
        return True

    def write_page(self, name: str, template: str, inputs: str = "", **about: Any) -> None:
        """Render one page; `inputs` is the stamp of what it was made from, where that is kept."""
        files.write_text(self.out / name, self.environment.get_template(template).render(page_name=name, **about))
        self.inputs.add(name, inputs)


def _copy(source: Path, copy: Path) -> None:
    """Copy a file, unless its copy is as long and not older."""
    wanted = source.stat()
    if copy.exists():
        there = copy.stat()
        if there.st_size == wanted.st_size and there.st_mtime_ns >= wanted.st_mtime_ns:
            return
    files.write_bytes(copy, source.read_bytes())


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
        "opening": opening.opening,
        "verdict_counts": opening.verdict_counts,
        "effects_svg": effects.effects_svg,
        "format_times": ratios.format_times,
        "format_region_in_times": ratios.format_region_in_times,
        "bound_in_times": ratios.bound_in_times,
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
