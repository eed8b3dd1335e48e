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
from core.report import unfinished, wording
from core.report.assets import LIBRARY, Assets, library
from core.report.claims import MARKS, MEANINGS, Control
from core.report.freshness_process import Freshness
from core.report.papers import SHOWN_SCALES, Paper, Row, Source, row_of
from core.report.results import InvalidResult, Result, place, read_all, run_folders
from core.report.sweeps import SweepPage
from core.report.unfinished import Unfinished
from core.runs import sweep_folder

TEMPLATES = Path(__file__).parent / "templates"


Fresh = Callable[[PaperConfig], Sequence[Freshness]]


def build(
    results_root: Path,
    pages: Iterable[PaperConfig],
    out: Path,
    left_out: Sequence[str] = (),
    fresh: Fresh = lambda page: (),
) -> Path:
    """Write `index.html`, a page per paper and per sweep into `out`; returns the index.

    Results that cannot be shown are left out and named on the index, after the lines of `left_out`. `fresh` tells how
    fresh a paper's published results are, and is asked late. Raises BadInput where `out` cannot be written.
    """
    listed = sorted(pages, key=lambda page: page.slug)
    slugs = {page.slug for page in listed}
    found, skipped = read_all(results_root, slugs)
    runs, unfit = _unfinished(results_root, slugs)
    skipped = [*left_out, *dict.fromkeys([*skipped, *unfit])]
    papers = [Paper(page, found[page.slug], runs[page.slug]) for page in listed]
    try:
        site = Site(out, skipped)
        sweeps = [sweep for sweep in _sweeps(results_root, skipped) if site.sweep(sweep, slugs)]
        for paper in papers:
            site.measurements(paper)
        for page, paper in zip(listed, papers, strict=True):
            paper.fresh = fresh(page)
        papers = [paper for paper in papers if site.paper(paper, [each for each in sweeps if each.paper == paper.slug])]
        site.write("index.html", "index.html.j2", papers=papers, sweeps=sweeps, skipped=skipped, tally=tally(papers))
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
    skipped += [f"{place(path, root)}: sweep.json cannot be read" for path in folders if path not in known]
    return [SweepPage(sweep) for sweep in found]


class Site:
    """Renders templates into the files of one folder."""

    def __init__(self, out: Path, skipped: list[str]) -> None:
        """Lay the plotting library beside the pages, unless it is there; `skipped` gets what cannot be shown."""
        self.out, self.skipped = out, skipped
        self.sources: dict[str, list[Source]] = {}
        self.environment = _environment()
        source, copy = library(), out / LIBRARY
        if not copy.exists() or copy.stat().st_size != source.stat().st_size:
            files.write_bytes(copy, source.read_bytes())

    def measurements(self, paper: Paper) -> None:
        """Read what the page of a paper shows of its measurements; a line where they hold what no page can show."""
        self._tried(paper.slug, lambda: self.sources.__setitem__(paper.slug, paper.sources(self.out)))

    def paper(self, paper: Paper, sweeps: Sequence[SweepPage]) -> bool:
        """Write the page of a paper; False, and a line, where its files hold what no page can show."""
        about = {"paper": paper, "sweeps": sweeps, "sources": self.sources.get(paper.slug, [])}
        return self._tried(paper.slug, lambda: self.write(f"{paper.slug}.html", "paper.html.j2", **about))

    def sweep(self, sweep: SweepPage, slugs: set[str]) -> bool:
        """Write the page of a sweep; False, and a line, where its files hold what no page can show."""
        name = f"runs/{sweep_folder.SWEEPS_FOLDER}/{sweep.sweep.folder.name}"
        return self._tried(name, lambda: self.write(sweep.file, "sweep.html.j2", page=sweep, slugs=slugs))

    def _tried(self, name: str, write: Callable[[], None]) -> bool:
        try:
            write()
        except (TypeError, ValueError, AttributeError, LookupError, jinja2.TemplateError) as error:
            self.skipped.append(f"{name}: holds what cannot be shown ({' '.join(str(error).split())})")
            return False
        return True

    def write(self, name: str, template: str, **about: Any) -> None:
        """Render one page."""
        files.write_text(self.out / name, self.environment.get_template(template).render(**about))


def _unfinished(root: Path, slugs: set[str]) -> tuple[dict[str, list[Unfinished]], list[str]]:
    """Runs without a verdict by paper, and a line per folder that is none or has no page."""
    found: dict[str, list[Unfinished]] = {slug: [] for slug in slugs}
    skipped = []
    for folder in run_folders(root):
        try:
            run = unfinished.read(root, folder)
        except (InvalidResult, OSError) as error:
            skipped.append(str(error))
            continue
        if run is not None and run.slug in found:
            found[run.slug].append(run)
        elif run is not None:
            skipped.append(f"{run.place}: there is no page for '{run.slug}'")
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
        "assets": Assets(TEMPLATES),
        "css": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        "difference": _difference,
        "flat": _flat,
        "library": LIBRARY,
        "marks": MARKS,
        "meanings": MEANINGS,
        "rows_of": _rows_of,
        "scales": SHOWN_SCALES,
    }
    for function in (
        "forest",
        "listed",
        "plain",
        "printed",
        "region",
        "setting",
        "with_interval",
        "measured",
        "duration",
    ):
        shown[function] = getattr(wording, function)
    environment.globals.update(shown)
    return environment


def _rows_of(paper: Paper, result: Result) -> list[Row]:
    """The claims of one result."""
    return [row_of(claim.id, paper.claims.get(claim.id) or {}, [result]) for claim in result.claims]


def _difference(control: Control) -> str:
    assert control.difference is not None
    decimals = wording.decimals_for(*control.difference)
    estimate, low, high = control.difference
    return f"{wording.number(estimate, decimals, True)} {wording.interval(low, high, decimals, True)}"


def _flat(settings: Mapping[str, Any], skip: tuple[str, ...] = ()) -> dict[str, str]:
    return wording.flat({name: value for name, value in settings.items() if name not in skip})


def tally(papers: Sequence[Paper]) -> dict[str, int]:
    """How many claims have which verdict, and how many have none."""
    claims = [row.claim for paper in papers for row in paper.rows]
    verdicts = [claim.verdict if claim else "not run" for claim in claims]
    return {name: verdicts.count(name) for name in [*MARKS, "not run"]}
