"""The static site: one index and one page per paper, self-contained, opened from disk with no network."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from core import files
from core.pages import Page
from core.report import wording
from core.report.claims import MARKS, MEANINGS, Claim, Control
from core.report.results import Figure, Result, read_all
from core.roots import sheet_name

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_SCALES = ("laptop", "smoke", "paper")


@dataclass(frozen=True)
class Row:
    """One claim of a page with the verdict to show for it, if there is one."""

    id: str
    says: str
    printed: str
    source: str
    claim: Claim | None
    result: Result | None


@dataclass(frozen=True)
class Study:
    """One study as its page describes it; settings by name at each of the shown scales."""

    name: str
    says: str
    default: bool
    arms: Mapping[str, str]
    deviations: list[Mapping[str, Any]]
    settings: Mapping[str, list[str]]


class Paper:
    """What the site says about one paper."""

    def __init__(self, page: Page, results: list[Result]) -> None:
        about = page.data.get("paper") or {}
        self.slug = page.slug
        self.sheet = sheet_name(page.slug)
        self.results = results
        self.title = str(about.get("title") or page.slug)
        self.byline = _byline(about)
        self.arxiv = str(about.get("arxiv") or "")
        self.fields = wording.listed(about.get("fields"))
        self.idea = str(about.get("idea") or "")
        self.notes = str(page.data.get("notes") or "")
        self.studies = [_study(name, data or {}) for name, data in (page.data.get("studies") or {}).items()]
        self.claims: Mapping[str, Any] = page.data.get("claims") or {}
        self.rows = [_row(name, says or {}, results) for name, says in self.claims.items()]

    @property
    def used(self) -> list[Result]:
        """Results that give the verdicts shown first."""
        return [result for result in self.results if any(row.result is result for row in self.rows)]

    @property
    def local_only(self) -> bool:
        """Whether every verdict shown comes from a local run."""
        return bool(self.used) and not any(result.published for result in self.used)

    @property
    def takes(self) -> str:
        """Wall time of the published laptop run, or of what is shown in its place."""
        published = [result for result in self.results if result.published and result.scale == "laptop"]
        return wording.duration(sum(result.minutes for result in published or self.used))

    @property
    def last_run(self) -> str:
        """Day of the latest result."""
        return max((result.date for result in self.results), default="")

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing the numbers."""
        return [f"results/{result.place}: {warning}" for result in self.used for warning in result.warnings]

    @property
    def figures(self) -> list[Figure]:
        """The drawings of the results shown."""
        return [figure for result in self.used for figure in result.figures()]

    @property
    def has_plots(self) -> bool:
        """Whether any clause has an interval to draw."""
        claims = [row.claim for row in self.rows if row.claim]
        return any(wording.forest(clause, claim) for claim in claims for clause in claim.clauses)

    @property
    def caption(self) -> str:
        """What stands above the table of verdicts."""
        shown = {f"{study.name}: {study.replicates}" for result in self.used for study in result.studies}
        return "; ".join(sorted(shown)) or "Nothing has been run yet."

    @property
    def commands(self) -> list[str]:
        """Commands that repeat the result, on the same and on fresh replicates, and the studies run on request."""
        run = f"encore run paper={self.slug}"
        on_request = [f"{run} study={study.name}" for study in self.studies if not study.default]
        return [run, f"{run} first_replicate=1000    # fresh replicates", *on_request]


def build(results_root: Path, pages: Iterable[Page], out: Path) -> Path:
    """Write `index.html` and one page per paper into `out`; returns the index.

    Results that cannot be shown are left out and named on the index.
    """
    listed = sorted(pages, key=lambda page: page.slug)
    found, skipped = read_all(results_root, {page.slug for page in listed})
    papers = [Paper(page, found[page.slug]) for page in listed]
    environment = _environment()
    for paper in papers:
        content = environment.get_template("paper.html.j2").render(paper=paper, result_rows=_rows_of(paper))
        files.write_text(out / f"{paper.slug}.html", content)
    content = environment.get_template("index.html.j2").render(papers=papers, skipped=skipped, counts=_counts(papers))
    files.write_text(out / "index.html", content)
    return out / "index.html"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown: dict[str, Any] = {
        "css": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        "difference": _difference,
        "flat": _flat,
        "marks": MARKS,
        "meanings": MEANINGS,
        "scales": SHOWN_SCALES,
    }
    for function in ("forest", "listed", "plain", "printed", "region", "setting", "with_interval"):
        shown[function] = getattr(wording, function)
    environment.globals.update(shown)
    return environment


def _row(name: str, page: Mapping[str, Any], results: list[Result]) -> Row:
    """A claim with the verdict of the first result that has it: published before local, newest before older."""
    printed = page.get("printed") or {}
    for result in results:
        for claim in result.claims:
            if claim.id == name:
                source = claim.source or str(printed.get("where") or "")
                return Row(name, claim.statement, wording.printed(claim), source, claim, result)
    says = str(page.get("says") or "")
    return Row(
        name,
        says,
        wording.with_unit(printed.get("value"), str(printed.get("unit") or "")),
        str(printed.get("where") or ""),
        None,
        None,
    )


def _rows_of(paper: Paper) -> Any:
    def rows(result: Result) -> list[Row]:
        return [_row(claim.id, paper.claims.get(claim.id) or {}, [result]) for claim in result.claims]

    return rows


def _study(name: str, data: Mapping[str, Any]) -> Study:
    blocks = data.get("scales") or {}
    base = wording.flat(data.get("settings") or {})
    columns = [base | wording.flat(blocks.get(scale) or {}) for scale in SHOWN_SCALES]
    names = list(dict.fromkeys(name for column in columns for name in column))
    return Study(
        name=name,
        says=str(data.get("says") or ""),
        default=bool(data.get("default", True)),
        arms={arm: str(says or "") for arm, says in (data.get("arms") or {}).items()},
        deviations=list(data.get("deviations") or ()),
        settings={name: [column.get(name, "") for column in columns] for name in names},
    )


def _byline(about: Mapping[str, Any]) -> str:
    authors = wording.listed(about.get("authors"))
    shown = ", ".join(authors) if len(authors) <= 6 else f"{authors[0]} et al."
    venue = " ".join(str(part) for part in (about.get("venue"), about.get("year")) if part)
    return " · ".join(part for part in (shown, venue) if part)


def _difference(control: Control) -> str:
    assert control.difference is not None
    decimals = wording.decimals_for(*control.difference)
    estimate, low, high = control.difference
    return f"{wording.number(estimate, decimals, True)} {wording.interval(low, high, decimals, True)}"


def _flat(settings: Mapping[str, Any], skip: tuple[str, ...] = ()) -> dict[str, str]:
    return wording.flat({name: value for name, value in settings.items() if name not in skip})


def _counts(papers: list[Paper]) -> str:
    claims = [row.claim for paper in papers for row in paper.rows]
    verdicts = [claim.verdict for claim in claims if claim]
    shown = [f"{verdicts.count(name)} {name}" for name in MARKS if name in verdicts]
    waiting = claims.count(None)
    if waiting:
        shown.append(f"{waiting} not run yet")
    many = "paper" if len(papers) == 1 else "papers"
    return f"{len(papers)} {many}, {len(claims)} claims" + (f": {', '.join(shown)}." if shown else ".")
