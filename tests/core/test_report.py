"""The static site and the README's table: every number and verdict shown, nothing run but our own, nothing fetched."""

import base64
import hashlib
import html
import json
import re
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from core.errors import BadInput
from core.files import read_json, write_json
from core.report import formatting, readme_table
from core.report.assets import PLOTLY_FILE, plotly_path
from core.report.claims import Clause, parse_claims
from core.report.site import TEMPLATES, build_site
from tests.limits import machine_seconds
from tests.results_files import (
    HOSTILE,
    SVG,
    Reader,
    claim,
    clause,
    config,
    measure,
    publish,
    run_locally,
    sweep,
    table,
)  # fmt: skip

OURS = {path.read_text(encoding="utf-8") for path in TEMPLATES.glob("*.js")}


def test_paper_page_shows_every_part(tmp_path: Path) -> None:
    root = tmp_path / "results"
    claims = [claim("C1"), claim("C2", "not testable", note="too small", clauses=[], control=None)]
    publish(root, "a_paper", claims, **{"lenet-test_accuracy": SVG.format(n=9, text="accuracy")})
    index = build_site(root, [config("a_paper", claims=("C1", "C2", "C3"))], tmp_path / "report")
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
    build_site(tmp_path, [config("a_paper")], tmp_path)
    reader = Reader(tmp_path / "a_paper.html")
    assert reader.all("img")[0]["alt"] == "Up & down"
    assert "Up & down" in reader.text


def test_index_lists_papers_with_verdicts_in_words(tmp_path: Path) -> None:
    root = tmp_path / "results"
    publish(root, "a_paper", [claim("C1"), claim("C2", "undecided")])
    build_site(root, [config("a_paper"), config("b_paper", "Another")], tmp_path)
    reader = Reader(tmp_path / "index.html")
    assert "2 papers, 4 claims: ✓ 1 holds ? 1 undecided · 2 not run" in reader.text
    assert "✓ 1 holds ? 1 undecided 9 min" in reader.text
    assert "sparsity" in reader.text
    assert "9 min" in reader.text
    assert "2026-01-02" in reader.text
    assert {link["href"] for link in reader.all("a")} >= {"a_paper.html", "b_paper.html"}
    [first, second] = [row for row in reader.all("tr") if "data-paper" in row]
    assert (first["data-paper"], first["data-verdicts"], first["data-state"]) == (
        "a_paper", "holds|undecided", "published",
    )  # fmt: skip
    assert (second["data-verdicts"], second["data-state"]) == ("not run", "not run")


def test_published_verdicts_come_before_local_ones(tmp_path: Path) -> None:
    root = tmp_path / "results"
    publish(root, "a_paper", [claim("C1", "holds")])
    run_locally(root, "a_paper", [claim("C1", "fails"), claim("C2", "fails")])
    build_site(root, [config("a_paper")], tmp_path)
    text = Reader(tmp_path / "a_paper.html").text
    assert "C1 ✓ holds C2 ✗ fails" in text
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
    measure(run_locally(root, "a_paper", [hostile]), table(arms=(HOSTILE, "b")).assign(metric=HOSTILE))
    folder = sweep(root, "a_paper", rates=(HOSTILE, "0.1"))
    sum_up = json.loads((folder / "sweep.json").read_text())
    write_json(folder / "sweep.json", sum_up | {"identity": f"../{HOSTILE}"})
    (root / "stranger" / "laptop").mkdir(parents=True)
    hostile_config = config("a_paper", HOSTILE, idea=HOSTILE, fields=[HOSTILE], authors=[HOSTILE], arxiv=HOSTILE)
    build_site(root, [hostile_config], tmp_path / "report")
    for name in ("index.html", "together.html", "a_paper.html", "sweep-abc123abc123.html"):
        reader = Reader(tmp_path / "report" / name)
        assert set(re.findall(r"<script>(.*?)</script>", reader.source, re.DOTALL)) <= OURS
        assert {script.get("type") or script.get("src") for script in reader.all("script")} <= {
            None, "application/json", PLOTLY_FILE,
        }  # fmt: skip
        assert all("onerror" not in attributes for _, attributes in reader.tags)
        pictures = ("data:image/svg+xml;base64,", "figures/a_paper.svg")
        assert all((image["src"] or "").startswith(pictures) for image in reader.all("img"))
        assert "<script>alert('x')</script>" in reader.text


def test_pages_stand_alone_beside_the_library(tmp_path: Path) -> None:
    measure(publish(tmp_path / "results", "a_paper", [claim("C1")], **{"lenet-a": SVG.format(n=1, text="a")}))
    sweep(tmp_path / "results", "a_paper")
    build_site(tmp_path / "results", [config("a_paper")], tmp_path)
    assert (tmp_path / PLOTLY_FILE).read_bytes() == plotly_path().read_bytes()
    for name in ("index.html", "together.html", "a_paper.html", "sweep-abc123abc123.html"):
        reader = Reader(tmp_path / name)
        assert not {"iframe", "object", "base"} & {tag for tag, _ in reader.tags}
        assert [link["href"] for link in reader.all("link")] == ["data:,"]
        fetched = [script["src"] for script in reader.all("script") if "src" in script]
        assert fetched == ([] if name in ("index.html", "together.html") else [PLOTLY_FILE])
        drawn = [image["src"] or "" for image in reader.all("img")]
        assert all(each.startswith("data:") or (tmp_path / each).is_file() for each in drawn)
        assert "url(" not in reader.source
        assert "@import" not in reader.source
        for link in reader.all("a"):
            target = link["href"] or ""
            assert target.startswith("https://arxiv.org/") or (tmp_path / target.split("#")[0]).exists(), target


def test_only_our_scripts_may_run(tmp_path: Path) -> None:
    measure(publish(tmp_path / "results", "a_paper", [claim("C1")]))
    build_site(tmp_path / "results", [config("a_paper")], tmp_path)
    source = (tmp_path / "a_paper.html").read_text(encoding="utf-8")
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="(.*?)">', source)
    inline = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inline]
    assert len(sums) == 4
    assert all(f"sha256-{each}" in html.unescape(policy) for each in sums)
    assert "unsafe-inline" not in policy.split("script-src")[1]
    assert "unsafe-eval" not in policy


def test_pages_are_accessible(tmp_path: Path) -> None:
    publish(tmp_path / "results", "a_paper", [claim("C1")], **{"lenet-a": SVG.format(n=1, text="a")})
    build_site(tmp_path / "results", [config("a_paper")], tmp_path)
    for name in ("index.html", "together.html", "a_paper.html"):
        reader = Reader(tmp_path / name)
        assert reader.all("html") == [{"lang": "en"}]
        assert len(reader.all("h1")) == len(reader.all("main")) == 1
        assert all(header.get("scope") in ("col", "row") for header in reader.all("th"))
        assert all(image.get("alt") for image in reader.all("img"))
        assert all(plot.get("aria-label") or plot.get("aria-hidden") for plot in reader.all("svg"))
        assert reader.all("a")[0]["href"] == "#content"


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_contrast_in_light_and_dark() -> None:
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}, #[0-9a-f]{6})\)", style))
    words = {"ink", "soft", "link", "accent", "holds", "fails", "undecided", "untestable"}
    lines = {f"line-{number}" for number in range(8)}
    for name, least in [*((word, 4.5) for word in words), *((line, 3.0) for line in lines)]:
        for ground in ("paper", "raised", "faint"):
            for text, below in zip(colours[name].split(", "), colours[ground].split(", "), strict=True):
                light, dark = sorted((luminance(text), luminance(below)), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= least, (name, ground)


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
    (root / "runs" / "foreign").mkdir()
    (root / "runs" / f"good-lenet-prepared-{'c' * 12}" / "replicates").mkdir(parents=True)
    (root / "runs" / "sweeps" / "torn").mkdir(parents=True)
    (root / "runs" / "sweeps" / "torn" / "sweep.json").write_text('{"identity": ')
    odd = sweep(root, "good", identity="odd") / "sweep.json"
    write_json(odd, json.loads(odd.read_text()) | {"axes": 5})
    configs = [config(slug) for slug in ("good", "half", "broken", "odd", "number")]
    build_site(root, configs, tmp_path)
    text = Reader(tmp_path / "index.html").text
    for line in (
        "half/laptop: claims.json is missing; the result is not finished",
        "broken/laptop: claims.json cannot be read",
        "odd/laptop: claims.json: C1 has no verdict that is known",
        "number/laptop: claims.json: C1 has '1' where a number belongs",
        "stranger/laptop: there is no config for this paper",
        "runs/good-lenet-laptop-aaaaaaaaaaaa: settings.json is missing",
        "runs/foreign: not a run",
        "runs/sweeps/torn: sweep.json cannot be read",
        "runs/sweeps/odd: holds what cannot be shown",
        "runs/good-lenet-laptop-bbbbbbbbbbbb: settings.json is missing",
    ):
        assert line in text, line
    assert "5 papers, 10 claims: ✓ 1 holds · 9 not run" in text
    assert "prepared" not in text
    assert text.count("bbbbbbbbbbbb") == 1


def test_edits_by_hand_are_shown(tmp_path: Path) -> None:
    folder = publish(tmp_path, "a_paper", [claim("C1", "fails")])
    build_site(tmp_path, [config("a_paper")], tmp_path)
    assert "edited by hand" not in Reader(tmp_path / "a_paper.html").text
    write_json(folder / "claims.json", [claim("C1", "holds")])
    build_site(tmp_path, [config("a_paper")], tmp_path)
    assert "edited by hand: claims.json changed" in Reader(tmp_path / "a_paper.html").text


def test_no_results_at_all(tmp_path: Path) -> None:
    build_site(tmp_path / "nothing", [config("a_paper")], tmp_path)
    assert "Nothing has been run yet." in Reader(tmp_path / "a_paper.html").text


def test_many_papers_are_quick(tmp_path: Path) -> None:
    names = tuple(f"C{number}" for number in range(1, 9))
    drawing = SVG.format(n=5, text="x" * 30_000)
    slugs = [f"paper_{number:02d}" for number in range(57)]
    for slug in slugs:
        publish(tmp_path, slug, [claim(name) for name in names], **{"lenet-a": drawing, "lenet-b": drawing})
    started = time.process_time()
    build_site(tmp_path, [config(slug, claims=names) for slug in slugs], tmp_path / "report")
    assert time.process_time() - started < machine_seconds(5)
    assert len(list((tmp_path / "report").glob("*.html"))) == 59


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
    assert formatting.format_estimate(parsed.clauses[0]) == shown


@pytest.mark.parametrize(
    ("bounds", "shown"),
    [([0, None], "above 0"), ([None, -0.5], "below −0.5"), ([1, 1], "exactly 1"), ([-1, 1], "between −1 and 1")],
)
def test_regions_as_words(bounds: list[float | None], shown: str) -> None:
    [parsed] = parse_claims([claim("C1", clauses=[clause(region=bounds)])])
    assert formatting.format_region(parsed.clauses[0]) == shown


def test_small_plot_is_to_scale() -> None:
    [parsed] = parse_claims([claim("C1", clauses=[clause(estimate=0.5, low=0.25, high=1.0)])])
    drawn: Clause = parsed.clauses[0]
    plot = formatting.forest_plot(drawn, parsed)
    assert plot is not None
    zero, width = formatting.FOREST_MARGIN, formatting.FOREST_WIDTH - 2 * formatting.FOREST_MARGIN
    assert plot.zero == zero
    assert plot.interval == pytest.approx((zero + width / 4, zero + width))
    assert plot.estimate == plot.printed == pytest.approx(zero + width / 2)
    assert plot.region == (zero, formatting.FOREST_WIDTH)  # an open region goes to the edge


def test_small_plots_are_well_formed(tmp_path: Path) -> None:
    clauses = [clause(), clause(low=None, region=[None, 0], matters=None), clause(estimate=0.0, low=0.0, high=0.0)]
    publish(tmp_path, "a_paper", [claim("C1", clauses=clauses)])
    build_site(tmp_path, [config("a_paper")], tmp_path)
    plots = re.findall(
        r'<svg class="forest".*?</svg>', (tmp_path / "a_paper.html").read_text(encoding="utf-8"), re.DOTALL
    )
    assert [len(ElementTree.fromstring(plot).findall("circle")) for plot in plots] == [1, 1, 1]


README = "# Title\n\n<!-- papers: begin -->\nold\n<!-- papers: end -->\n\nafter\n"


def test_readme_table_is_made_from_published_results_alone(tmp_path: Path) -> None:
    root, readme = tmp_path / "results", tmp_path / "README.md"
    readme.write_text(README)
    publish(root, "a_paper", [claim("C1"), claim("C2", "undecided")])
    publish(root, "a_paper", [claim("C1", "fails"), claim("C3", "fails")], scale="paper")
    run_locally(root, "b_paper", [claim("C1")])
    configs = [config("b_paper", "A | B [c]"), config("a_paper", claims=("C1", "C2", "C3", "C4"))]
    assert not readme_table.is_current(readme, configs, root)
    assert readme_table.update_readme(readme, configs, root)
    assert readme.read_text() == README.replace(
        "old",
        "| paper | field | verdicts | minutes |\n|---|---|---|---:|\n"
        "| [A Paper](configs/paper/a_paper.yaml) ([experiment](experiments/a_paper/experiment.py)) | sparsity "
        "| ✓ C1 · ✗ C3 · ? C2 · not run: C4 | 9 |\n"
        "| [A \\| B \\[c\\]](configs/paper/b_paper.yaml) ([experiment](experiments/b_paper/experiment.py)) | sparsity "
        "| not run: C1 C2 |  |",
    )
    assert readme_table.is_current(readme, configs, root)
    assert not readme_table.update_readme(readme, configs, root)


def test_claims_of_other_settings_have_no_verdict_in_the_readme(tmp_path: Path) -> None:
    publish(tmp_path, "a_paper", [claim("C1"), claim("C2", "not testable", study="conv")], scale="laptop")
    made = config("a_paper", claims=("C1", "C2", "C3"))
    assert "| ✓ C1 · – C2 · not run: C3 |" in readme_table.render_table([made], tmp_path)
    record = read_json(tmp_path / "a_paper" / "laptop" / "provenance.json")
    record["studies"]["lenet"]["settings"]["hidden"] = [300, 99]
    write_json(tmp_path / "a_paper" / "laptop" / "provenance.json", record)
    assert "| – C2 · to be renewed: C1 · not run: C3 |" in readme_table.render_table([made], tmp_path)


def test_readme_without_markers_and_damaged_results_are_errors(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n")
    with pytest.raises(BadInput, match="papers: begin"):
        readme_table.update_readme(readme, [config("a_paper")], tmp_path)
    readme.write_text(README)
    (publish(tmp_path, "a_paper", [claim("C1")]) / "claims.json").write_text(json.dumps({}))
    with pytest.raises(BadInput, match=r"a_paper/laptop: claims\.json: not a list of claims; restore it"):
        readme_table.update_readme(readme, [config("a_paper")], tmp_path)
    assert readme.read_text() == README
