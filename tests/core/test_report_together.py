"""What all published claims say together: which effects can be compared, where they are drawn, shares, reasons."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from core.report import effects, readme_table
from core.report.claims import parse_claims
from core.report.effects import Effect, comparable_effect, effects_svg
from core.report.results import read_all_results
from core.report.site import build_site
from core.report.together import Together, collect_claims, sentences_about
from tests.results_files import HOSTILE, Reader, claim, clause, config, publish, run_locally

PLAIN = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, (0.5, 0.41, 0.28, 0.55)),
        ({"published": -0.5}, (0.5, -0.41, -0.55, -0.28)),  # seen from the printed sign
        ({"published": 2}, (2.0, 0.41, 0.28, 0.55)),
        ({"published": 0}, None),
        ({"published": True}, None),
        ({"published": "large"}, None),
        ({"published": None}, None),
        ({"clauses": []}, None),
        ({"clauses": [clause(estimate=None)]}, None),
        ({"clauses": [clause(unit_of_value="p-value")]}, None),
        ({"clauses": [clause(low=None)]}, (0.5, 0.41, None, 0.55)),
        ({"published": -1.0, "clauses": [clause(low=None)]}, (1.0, -0.41, -0.55, None)),
    ],
)
def test_effects_are_compared_where_both_are_one_number_of_a_unit(changes: dict, found: tuple | None) -> None:
    effect = comparable_effect("a_paper", parse_claims([claim("C1", **changes)])[0])
    shown = None if effect is None else (effect.printed, effect.measured, effect.low, effect.high)
    assert shown == found
    assert effect is None or (effect.name, effect.unit) == ("a paper C1", "percentage points")


def effect(printed: float, measured: float, verdict: str = "holds", name: str = "a C1") -> Effect:
    return Effect(name, "points", verdict, printed, measured, measured / 2, measured * 2)


def test_the_drawing_is_to_scale() -> None:
    drawn = ElementTree.fromstring(effects_svg([effect(0.1, 0.1), effect(10, 10), effect(1, -3.0, "fails")]))
    discs = [(float(disc.get("cx", 0)), float(disc.get("cy", 0))) for disc in drawn.iter(f"{PLAIN}circle")]
    [diagonal] = [line for line in drawn.iter(f"{PLAIN}line") if line.get("class") == "equal"]
    x1, y1, x2, y2 = (float(diagonal.get(name, 0)) for name in ("x1", "y1", "x2", "y2"))
    for x, y in discs:  # what is as large as printed lies on the diagonal
        assert (y - y1) / (x - x1) == pytest.approx((y2 - y1) / (x2 - x1), abs=0.01)
    width = effects.WIDTH - effects.LEFT - effects.RIGHT
    assert discs[1][0] - discs[0][0] == pytest.approx(width / 2, abs=0.2)  # 2 of 4 decades, 0.01 to 100
    [square] = [mark for mark in drawn.iter(f"{PLAIN}rect") if mark.get("height") == "10"]
    assert float(square.get("y", 0)) + 5 == effects.HEIGHT - effects.BOTTOM  # of another sign: at the lower edge


def test_the_drawing_names_few_points_and_says_what_all_are() -> None:
    few = effects_svg([effect(0.1 * 1.2**n, 0.2, name=f"a C{n}") for n in range(5)])
    many = effects_svg([effect(0.1 * 1.2**n, 0.2, name=f"a C{n}") for n in range(effects.MOST_LABELS + 1)])
    assert re.findall(r">(a C\d+)</text>", few) == [f"a C{n}" for n in range(5)]
    assert ">a C1</text>" not in many and many.count("<title>") == effects.MOST_LABELS + 1
    assert "a C1, holds: printed 0.12, measured 0.2 points" in many
    assert HOSTILE not in effects_svg([effect(1, 1, name=HOSTILE)])
    ElementTree.fromstring(effects_svg([], alone=True))


def together(tmp_path: Path) -> Together:
    publish(tmp_path, "a_paper", [claim("C1"), claim("C2", "fails"), claim("C3", "undecided")])
    publish(tmp_path, "a_paper", [claim("C1", "fails")], scale="paper")  # the laptop's verdict is the one that counts
    publish(tmp_path, "b_paper", [claim("C1", "holds"), claim("C2", "not testable", clauses=[], note="too long")])
    run_locally(tmp_path, "c_paper", [claim("C1", "fails")])
    fields = {"b_paper": ["kernels", "sparsity"]}
    configs = [config(slug, claims=("C1", "C2", "C3"), fields=fields.get(slug, ["sparsity"])) for slug in
               ("a_paper", "b_paper", "c_paper")]  # fmt: skip
    return collect_claims(configs, read_all_results(tmp_path, tmp_path, {"a_paper", "b_paper", "c_paper"})[0])


def test_shares_are_of_published_and_decided_claims(tmp_path: Path) -> None:
    found = together(tmp_path)
    assert [(each.slug, each.claim.id, each.claim.verdict) for each in found.claims] == [
        ("a_paper", "C1", "holds"), ("a_paper", "C2", "fails"), ("a_paper", "C3", "undecided"),
        ("b_paper", "C1", "holds"), ("b_paper", "C2", "not testable"),
    ]  # fmt: skip
    assert (found.overall.papers, found.overall.text) == (2, "67 % (2 of 3)")
    assert [(each.name, each.papers, each.text) for each in found.by_field] == [
        ("sparsity", 2, "67 % (2 of 3)"),
        ("kernels", 1, "100 % (1 of 1)"),
    ]
    assert [(each.name, each.decided) for each in found.by_year] == [("2019", 3)]
    assert [each.claim.id for each, _ in found.effects] == ["C1", "C2", "C3", "C1"]


def test_the_page_says_what_failed_and_what_is_open(tmp_path: Path) -> None:
    publish(tmp_path, "a_paper", [claim("C1", "fails", note="found out"), claim("C2", "undecided", note="12 more")])
    run_locally(tmp_path, "b_paper", [claim("C1", "fails", statement="A local one.")])
    build_site(tmp_path, [config("a_paper"), config("b_paper")], tmp_path / "report")
    page = Reader(tmp_path / "report" / "together.html")
    failed, undecided = page.text.split("What these runs cannot decide")
    assert "✗ fails a paper C1 Sentence of C1." in failed and "found out" in failed
    shown = "Here: +0.41 [+0.28, +0.55] percentage points, claimed above 0, matters from 0.17."
    assert f"Paper: 0.5 percentage points. {shown}" in failed
    assert "? undecided a paper C2 Sentence of C2. 12 more" in undecided
    assert "A local one." not in page.text
    build_site(tmp_path / "nothing", [config("a_paper")], tmp_path / "empty")
    assert "Nothing is published yet." in Reader(tmp_path / "empty" / "together.html").text


INSIDE, OUTSIDE, ACROSS = clause(), clause(estimate=-1, low=-2, high=-0.5), clause(low=-0.1)
SMALL = clause(estimate=0.05, low=-0.01, high=0.1)


@pytest.mark.parametrize(
    ("verdict", "clauses", "telling"),
    [
        ("holds", [INSIDE, INSIDE], 0),
        ("fails", [INSIDE, ACROSS, OUTSIDE], 2),
        ("fails", [INSIDE, SMALL], 1),
        ("fails", [INSIDE, clause(n=None, estimate=7.0, low=None, high=None, region=[0, 5], matters=None)], 1),
        ("fails", [INSIDE, clause(estimate=None, low=None, high=None)], 1),  # never reached
        ("undecided", [INSIDE, ACROSS], 1),
        ("undecided", [INSIDE, clause(low=None)], 1),
        ("not testable", [], None),
    ],
)
def test_the_number_shown_is_the_one_that_the_verdict_hangs_on(
    verdict: str, clauses: list[dict], telling: int | None
) -> None:
    [parsed] = parse_claims([claim("C1", verdict, clauses=clauses)])
    assert parsed.telling_clause is (None if telling is None else parsed.clauses[telling])


def test_sentences_about_a_claim_are_found_in_the_notes() -> None:
    notes = "C1 is easy. In C4 and C4b, e.g. at 0.5, it\nfailed. C40 is another. Why C4 fails is not known."
    assert sentences_about("C4", notes) == ["In C4 and C4b, e.g. at 0.5, it failed.", "Why C4 fails is not known."]
    assert sentences_about("C4b", notes) == ["In C4 and C4b, e.g. at 0.5, it failed."]
    assert sentences_about("M1", notes) == []


def test_the_readme_has_the_drawing_that_it_names(tmp_path: Path) -> None:
    readme, drawing = tmp_path / "README.md", tmp_path / "docs" / "effects.svg"
    text = "<!-- papers: begin -->\n<!-- papers: end -->\n"
    readme.write_text(text)
    publish(tmp_path / "results", "a_paper", [claim("C1")])
    assert readme_table.update_readme(readme, [config("a_paper")], tmp_path / "results")
    assert not drawing.exists()
    readme.write_text(readme.read_text() + '<img src="docs/effects.svg">')
    assert not readme_table.is_current(readme, [config("a_paper")], tmp_path / "results")
    assert readme_table.update_readme(readme, [config("a_paper")], tmp_path / "results")
    assert "a paper C1, holds: printed 0.5, measured 0.41" in drawing.read_text()
    ElementTree.parse(drawing)
    assert not readme_table.update_readme(readme, [config("a_paper")], tmp_path / "results")
    publish(tmp_path / "results", "b_paper", [claim("C1", "fails")])
    assert not readme_table.is_current(readme, [config("a_paper"), config("b_paper")], tmp_path / "results")
