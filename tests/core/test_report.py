"""The static site and the README's table: every number and verdict shown, nothing executable, nothing from outside."""

import base64
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from core.errors import BadInput
from core.files import sha256, write_json
from core.pages import Page
from core.publishing.identity import digest
from core.report import readme_table, wording
from core.report.claims import Clause, parse_claims
from core.report.site import build

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='{n}' height='9'><text>{text}</text></svg>"


def clause(**changes: Any) -> dict[str, Any]:
    base = {
        "metric": "test_accuracy",
        "unit_of_value": "percentage points",
        "estimate": 0.41,
        "low": 0.28,
        "high": 0.55,
    }
    return base | {"level": 0.95, "region": [0, None], "matters": 0.17, "units": ["replicate"], "n": 6} | changes


def claim(name: str, verdict: str = "holds", **changes: Any) -> dict[str, Any]:
    difference = {"estimate": 0.5, "low": 0.31, "high": 0.69}
    control = {"name": "random_mask", "verdict": "fails", "difference": difference, "passes": True}
    base: dict[str, Any] = {
        "id": name,
        "study": "lenet",
        "kind": "statistical",
        "statement": f"Sentence of {name}.",
        "published": 0.5,
    }
    base |= {"source": "figure 4a", "verdict": verdict, "note": "", "join": "all", "clauses": [clause()]}
    return base | {"deviations": [], "control": control} | changes


def page(slug: str, title: str = "A Paper", claims: tuple[str, ...] = ("C1", "C2"), **about: Any) -> Page:
    paper = {"title": title, "authors": ["A. Author", "B. Author"], "year": 2019, "venue": "ICLR"}
    paper |= {"arxiv": "1803.03635", "fields": ["sparsity"], "idea": "The idea in a sentence."} | about
    deviation = {"what": "training length", "paper": 50000, "laptop": 4000, "bears_on": ["C1"], "why": "time"}
    settings = {"learning_rate": 0.0012, "optimizer": {"name": "adam"}, "hidden": [300, 100]}
    study: dict[str, Any] = {
        "says": "The default study.",
        "arms": {"dense": "the whole network"},
        "deviations": [deviation],
    }
    study |= {"settings": settings, "scales": {"smoke": {"learning_rate": 0.1}, "paper": {"iterations": 50000}}}
    printed = {"value": 0.5, "unit": "percentage points", "where": "figure 4a"}
    listed = {name: {"says": f"Sentence of {name}.", "printed": printed, "study": "lenet"} for name in claims}
    return Page(
        slug, {"paper": paper, "studies": {"lenet": study, "conv": study | {"default": False}}, "claims": listed}
    )


def provenance(date: str = "2026-01-02", seconds: float = 540.0) -> dict[str, Any]:
    return {"commit": "abc123", "dirty": False, "date": date, "seconds": seconds, "device": {"cores": 2}}


def publish(root: Path, slug: str, claims: list[dict[str, Any]], scale: str = "laptop", **figures: str) -> Path:
    folder = root / slug / scale
    write_json(folder / "claims.json", claims)
    (folder / "figures").mkdir()
    for name, content in figures.items():
        (folder / "figures" / f"{name}.svg").write_text(content)
    sums = {path.relative_to(folder).as_posix(): sha256(path.read_bytes()) for path in folder.rglob("*.*")}
    studies = {"lenet": provenance() | {"replicates": 6, "settings": {"learning_rate": 0.0012}}}
    write_json(folder / "provenance.json", {"studies": studies, "files": sums | {"provenance.json": digest(studies)}})
    return folder


def run_locally(root: Path, slug: str, claims: list[dict[str, Any]], scale: str = "laptop", tail: str = "0") -> Path:
    run = root / "runs" / f"{slug}-lenet-{scale}-{tail * 12}"
    settings = {"learning_rate": 0.003}
    about = {"paper": slug, "study": "lenet", "scale": scale, "settings": settings, "overridden": ["learning_rate"]}
    write_json(run / "settings.json", about | {"identity": {}})
    folder = run / "verdict" / "1000-6"
    write_json(folder / "claims.json", claims)
    write_json(folder / "provenance.json", provenance("2026-03-04", 30.0))
    return folder


class Reader(HTMLParser):
    """Tags, attributes and visible text of a page; checks that tags are balanced."""

    void = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_paper_page_shows_every_part(tmp_path: Path) -> None:
    root = tmp_path / "results"
    claims = [claim("C1"), claim("C2", "not testable", note="too small", clauses=[], control=None)]
    publish(root, "a_paper", claims, **{"lenet-test_accuracy": SVG.format(n=9, text="accuracy")})
    index = build(root, [page("a_paper", claims=("C1", "C2", "C3"))], tmp_path / "report")
    assert index == tmp_path / "report" / "index.html"
    reader = Reader(tmp_path / "report" / "a_paper.html")
    for words in (
        "A Paper", "A. Author, B. Author · ICLR 2019", "The idea in a sentence.", "Sentence of C1.",
        "0.5 percentage points",
        "figure 4a", "+0.41 [+0.28, +0.55] percentage points", "6 replicates", "claimed: above 0, matters from 0.17",
        "holds laptop scale", "not testable laptop scale", "too small", "random mask: ✓ passes", "+0.50 [+0.31, +0.69]",
        "not run yet", "training length 50000 4000 C1 time", "encore run paper=a_paper", "abc123", "the whole network",
        "first_replicate=1000", "study=conv", "6 replicates (0 to 5)", "optimizer.name adam adam adam",
    ):  # fmt: skip
        assert words in reader.text, words
    [image] = reader.all("img")
    prefix, encoded = (image["src"] or "").split(",")
    assert prefix == "data:image/svg+xml;base64"
    assert base64.b64decode(encoded).decode() == SVG.format(n=9, text="accuracy")
    assert image["alt"] == "lenet: test accuracy"


def test_descriptions_of_figures_become_captions(tmp_path: Path) -> None:
    described = SVG.format(n=1, text="a").replace("<text", "<dc:description>Up &amp; down</dc:description><text")
    publish(tmp_path, "a_paper", [claim("C1")], **{"lenet-a": described})
    build(tmp_path, [page("a_paper")], tmp_path)
    reader = Reader(tmp_path / "a_paper.html")
    assert reader.all("img")[0]["alt"] == "Up & down"
    assert "Up & down" in reader.text


def test_index_lists_papers_with_verdicts_in_words(tmp_path: Path) -> None:
    root = tmp_path / "results"
    publish(root, "a_paper", [claim("C1"), claim("C2", "undecided")])
    build(root, [page("a_paper"), page("b_paper", "Another")], tmp_path)
    reader = Reader(tmp_path / "index.html")
    assert "2 papers, 4 claims: 1 holds, 1 undecided, 2 not run yet." in reader.text
    assert "C1 ✓ holds C2 ? undecided" in reader.text
    assert "C1 not run yet C2 not run yet" in reader.text
    assert "sparsity" in reader.text
    assert "9 min" in reader.text
    assert "2026-01-02" in reader.text
    assert {link["href"] for link in reader.all("a")} >= {"a_paper.html", "b_paper.html"}


def test_published_verdicts_come_before_local_ones(tmp_path: Path) -> None:
    root = tmp_path / "results"
    publish(root, "a_paper", [claim("C1", "holds")])
    run_locally(root, "a_paper", [claim("C1", "fails"), claim("C2", "fails")])
    build(root, [page("a_paper")], tmp_path)
    assert "C1 ✓ holds C2 ✗ fails" in Reader(tmp_path / "index.html").text
    text = Reader(tmp_path / "a_paper.html").text
    assert "fails laptop scale, local run" in text
    assert "overridden: learning_rate" in text
    assert "6 replicates (1000 to 1005)" in text


def test_everything_from_files_is_escaped(tmp_path: Path) -> None:
    root = tmp_path / "results"
    hostile = claim("C1", statement=HOSTILE, note=HOSTILE, source=HOSTILE, published=HOSTILE)
    hostile["clauses"] = [clause(metric=HOSTILE, unit_of_value=HOSTILE)]
    hostile["control"]["name"] = HOSTILE
    drawn = SVG.format(n=1, text="<script>alert(2)</script>")
    publish(root, "a_paper", [hostile], **{"lenet-a": drawn})
    run_locally(root, "a_paper", [hostile])
    (root / "stranger" / "laptop").mkdir(parents=True)
    hostile_page = page("a_paper", HOSTILE, idea=HOSTILE, fields=[HOSTILE], authors=[HOSTILE], arxiv=HOSTILE)
    build(root, [hostile_page], tmp_path / "report")
    for name in ("index.html", "a_paper.html"):
        reader = Reader(tmp_path / "report" / name)
        assert reader.all("script") == []
        assert all("onerror" not in attributes for _, attributes in reader.tags)
        assert all((image["src"] or "").startswith("data:image/svg+xml;base64,") for image in reader.all("img"))
        assert "<script>alert('x')</script>" in reader.text


def test_pages_stand_alone(tmp_path: Path) -> None:
    publish(tmp_path / "results", "a_paper", [claim("C1")], **{"lenet-a": SVG.format(n=1, text="a")})
    build(tmp_path / "results", [page("a_paper")], tmp_path)
    for name in ("index.html", "a_paper.html"):
        reader = Reader(tmp_path / name)
        assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in reader.tags}
        assert "url(" not in (tmp_path / name).read_text()
        assert "@import" not in (tmp_path / name).read_text()
        for link in reader.all("a"):
            target = link["href"] or ""
            assert target.startswith("https://arxiv.org/") or (tmp_path / target.split("#")[0]).exists()


def test_pages_are_accessible(tmp_path: Path) -> None:
    publish(tmp_path / "results", "a_paper", [claim("C1")], **{"lenet-a": SVG.format(n=1, text="a")})
    build(tmp_path / "results", [page("a_paper")], tmp_path)
    for name in ("index.html", "a_paper.html"):
        reader = Reader(tmp_path / name)
        assert reader.all("html") == [{"lang": "en"}]
        assert len(reader.all("h1")) == len(reader.all("main")) == 1
        assert all(header.get("scope") in ("col", "row") for header in reader.all("th"))
        assert all(image.get("alt") for image in reader.all("img"))
        assert all(plot.get("aria-label") for plot in reader.all("svg"))
        assert reader.all("a")[0]["href"] == "#content"


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_contrast_in_light_and_dark(tmp_path: Path) -> None:
    style = build(tmp_path, [], tmp_path).read_text(encoding="utf-8")
    schemes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(schemes) == 3
    for scheme in schemes:
        colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})\b", scheme))
        for text in ("ink", "soft", "link", "holds", "fails", "undecided", "untestable"):
            for ground in ("paper", "raised", "faint"):
                if text in colours and ground in colours:
                    light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
                    assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_unfit_folders_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    root = tmp_path / "results"
    publish(root, "good", [claim("C1")])
    (publish(root, "half", [claim("C1")]) / "claims.json").unlink()
    (publish(root, "broken", [claim("C1")]) / "claims.json").write_text("{not json")
    publish(root, "odd", [claim("C1", "splendid")])
    publish(root, "number", [claim("C1", clauses=[clause(estimate="1")])])
    publish(root, "stranger", [claim("C1")])
    (root / "runs" / "good-lenet-laptop-aaaaaaaaaaaa" / "replicates").mkdir(parents=True)
    (root / "runs" / "good-lenet-laptop-bbbbbbbbbbbb" / "verdict" / "0-6").mkdir(parents=True)
    (root / "runs" / "ledger.jsonl").write_text("")
    pages = [page(slug) for slug in ("good", "half", "broken", "odd", "number")]
    build(root, pages, tmp_path)
    text = Reader(tmp_path / "index.html").text
    for line in (
        "half/laptop: claims.json is missing; the result is not finished",
        "broken/laptop: claims.json cannot be read",
        "odd/laptop: claims.json: C1 has no verdict that is known",
        "number/laptop: claims.json: C1 has '1' where a number belongs",
        "stranger/laptop: there is no page for this paper",
        "runs/good-lenet-laptop-aaaaaaaaaaaa: no verdict yet",
        "runs/good-lenet-laptop-bbbbbbbbbbbb: settings.json is missing",
    ):
        assert line in text, line
    assert "5 papers, 10 claims: 1 holds, 9 not run yet." in text


def test_edits_by_hand_are_shown(tmp_path: Path) -> None:
    folder = publish(tmp_path, "a_paper", [claim("C1", "fails")])
    build(tmp_path, [page("a_paper")], tmp_path)
    assert "edited by hand" not in Reader(tmp_path / "a_paper.html").text
    write_json(folder / "claims.json", [claim("C1", "holds")])
    build(tmp_path, [page("a_paper")], tmp_path)
    assert "edited by hand: claims.json changed" in Reader(tmp_path / "a_paper.html").text


def test_no_results_at_all(tmp_path: Path) -> None:
    build(tmp_path / "nothing", [page("a_paper")], tmp_path)
    assert "Nothing has been run yet." in Reader(tmp_path / "a_paper.html").text


def test_many_papers_are_quick(tmp_path: Path) -> None:
    names = tuple(f"C{number}" for number in range(1, 9))
    drawing = SVG.format(n=5, text="x" * 30_000)
    slugs = [f"paper_{number:02d}" for number in range(57)]
    for slug in slugs:
        publish(tmp_path, slug, [claim(name) for name in names], **{"lenet-a": drawing, "lenet-b": drawing})
    started = time.perf_counter()
    build(tmp_path, [page(slug, claims=names) for slug in slugs], tmp_path / "report")
    assert time.perf_counter() - started < 5
    assert len(list((tmp_path / "report").glob("*.html"))) == 58


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "+0.41 [+0.28, +0.55]"),
        ({"low": None}, "+0.41 [−∞, +0.55]"),
        ({"estimate": -1.234, "low": -1.5, "high": -1.0}, "−1.23 [−1.50, −1.00]"),
        ({"estimate": None}, "never reached [+0.28, +0.55]"),
        ({"estimate": 97.123, "low": 96.0, "high": 98.2, "region": [95, None], "matters": None}, "97.1 [96.0, 98.2]"),
        ({"estimate": 51.28, "low": None, "high": None, "n": None}, "51.28"),
        ({"estimate": 12345.6, "low": 11000.0, "high": 13700.0, "region": None, "matters": None},
         "12\u202f346 [11\u202f000, 13\u202f700]"),
    ],
)  # fmt: skip
def test_numbers_as_words(changes: dict[str, Any], shown: str) -> None:
    [parsed] = parse_claims([claim("C1", clauses=[clause(**changes)])])
    assert wording.with_interval(parsed.clauses[0]) == shown


@pytest.mark.parametrize(
    ("bounds", "shown"),
    [([0, None], "above 0"), ([None, -0.5], "below −0.5"), ([1, 1], "exactly 1"), ([-1, 1], "between −1 and 1")],
)
def test_regions_as_words(bounds: list[float | None], shown: str) -> None:
    [parsed] = parse_claims([claim("C1", clauses=[clause(region=bounds)])])
    assert wording.region(parsed.clauses[0]) == shown


def test_small_plot_is_to_scale() -> None:
    [parsed] = parse_claims([claim("C1", clauses=[clause(estimate=0.5, low=0.25, high=1.0)])])
    drawn: Clause = parsed.clauses[0]
    plot = wording.forest(drawn, parsed)
    assert plot is not None
    zero, width = wording.FOREST_MARGIN, wording.FOREST_WIDTH - 2 * wording.FOREST_MARGIN
    assert plot.zero == zero
    assert plot.interval == pytest.approx((zero + width / 4, zero + width))
    assert plot.estimate == plot.printed == pytest.approx(zero + width / 2)
    assert plot.region == (zero, wording.FOREST_WIDTH)  # an open region goes to the edge


def test_small_plots_are_well_formed(tmp_path: Path) -> None:
    clauses = [clause(), clause(low=None, region=[None, 0], matters=None), clause(estimate=0.0, low=0.0, high=0.0)]
    publish(tmp_path, "a_paper", [claim("C1", clauses=clauses)])
    build(tmp_path, [page("a_paper")], tmp_path)
    plots = re.findall(r"<svg.*?</svg>", (tmp_path / "a_paper.html").read_text(encoding="utf-8"), re.DOTALL)
    assert [len(ElementTree.fromstring(plot).findall("circle")) for plot in plots] == [1, 1, 1]


README = "# Title\n\n<!-- papers: begin -->\nold\n<!-- papers: end -->\n\nafter\n"


def test_readme_table_is_made_from_published_results_alone(tmp_path: Path) -> None:
    root, readme = tmp_path / "results", tmp_path / "README.md"
    readme.write_text(README)
    publish(root, "a_paper", [claim("C1"), claim("C2", "undecided")])
    publish(root, "a_paper", [claim("C1", "fails"), claim("C3", "fails")], scale="paper")
    run_locally(root, "b_paper", [claim("C1")])
    pages = [page("b_paper", "A | B [c]"), page("a_paper", claims=("C1", "C2", "C3", "C4"))]
    assert not readme_table.current(readme, pages, root)
    assert readme_table.update(readme, pages, root)
    assert readme.read_text() == README.replace(
        "old",
        "| paper | field | verdicts | minutes |\n|---|---|---|---:|\n"
        "| [A Paper](configs/paper/a_paper.yaml) ([sheet](experiments/a_paper.py)) | sparsity "
        "| ✓ C1 · ✗ C3 · ? C2 · not run: C4 | 9 |\n"
        "| [A \\| B \\[c\\]](configs/paper/b_paper.yaml) ([sheet](experiments/b_paper.py)) | sparsity "
        "| not run: C1 C2 |  |",
    )
    assert readme_table.current(readme, pages, root)
    assert not readme_table.update(readme, pages, root)


def test_readme_without_markers_and_damaged_results_are_errors(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n")
    with pytest.raises(BadInput, match="papers: begin"):
        readme_table.update(readme, [page("a_paper")], tmp_path)
    readme.write_text(README)
    (publish(tmp_path, "a_paper", [claim("C1")]) / "claims.json").write_text(json.dumps({}))
    with pytest.raises(BadInput, match=r"a_paper/laptop: claims\.json: not a list of claims; restore it"):
        readme_table.update(readme, [page("a_paper")], tmp_path)
    assert readme.read_text() == README
