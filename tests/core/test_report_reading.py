"""What a stranger reads on the pages: whose date, how many digits, which minutes, numbers on axes, code as code."""

import json
import re
from pathlib import Path

import pytest

from core.files import write_json
from core.report import formatting
from core.report.claims import parse_claims
from core.report.paper_page import PaperPage
from core.report.results import read_all_results
from core.report.site import build_site
from core.running import display
from tests.results_files import SVG, Reader, claim, clause, config, provenance, publish, run_locally


def page_of(root: Path) -> PaperPage:
    found, skipped = read_all_results(root, root, {"a_paper"})
    assert skipped == []
    return PaperPage(config("a_paper"), found["a_paper"])


def test_a_local_run_gives_its_date_only_where_its_verdicts_are_shown(tmp_path: Path) -> None:
    run_locally(tmp_path, "a_paper", [claim("C1", "fails"), claim("C2", "fails")], scale="smoke")
    assert page_of(tmp_path).last_run == "2026-03-04"
    publish(tmp_path, "a_paper", [claim("C1"), claim("C2")])
    assert page_of(tmp_path).last_run == "2026-01-02"


def republish(folder: Path, **seconds: float | None) -> None:
    """Give the studies of a published folder other costs; None for one that says nothing of it."""
    record = json.loads((folder / "provenance.json").read_text())
    record["studies"] = {name: provenance() | {"seconds": own, "replicates": 2} for name, own in seconds.items()}
    write_json(folder / "provenance.json", record)


def test_minutes_are_those_of_the_default_studies(tmp_path: Path) -> None:
    republish(publish(tmp_path, "a_paper", [claim("C1")]), conv=6000.0, lenet=600.0)
    page = page_of(tmp_path)
    assert (page.minutes, page.duration_text) == (10.0, "10 min")
    assert page.caption == "lenet: 2 replicates (0 to 1); conv: 2 replicates (0 to 1)"


@pytest.mark.parametrize(
    ("minutes", "shown"),
    [(None, ""), (0.0, "under 1 s"), (0.01, "under 1 s"), (0.05, "3 s"), (0.99, "59 s"), (1.2, "1 min"), (89, "89 min"),
     (120, "2.0 h")],
)  # fmt: skip
def test_studies_of_seconds_have_their_seconds(minutes: float | None, shown: str) -> None:
    assert formatting.format_minutes(minutes) == shown


def test_the_table_of_costs_has_an_entry_for_seconds_and_none_for_the_unknown(tmp_path: Path) -> None:
    republish(publish(tmp_path, "a_paper", [claim("C1")]), lenet=0.0, conv=None)
    build_site(tmp_path, [config("a_paper")], tmp_path / "out")
    source = (tmp_path / "out" / "a_paper.html").read_text(encoding="utf-8")
    assert re.findall(r'data-label="Took" class="number">(.*?)</td>', source) == ["under 1 s", ""]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0487603, "0.04876"), (51.28, "51.28"), (0.5, "0.5"), (20000.0, "20\u202f000"), (12345.678, "12\u202f346"),
     (-3.14159265, "−3.142"), (1.2e-7, "1.2e−07"), (0, "0"), (True, "True"), ("about 3", "about 3"),
     (None, "never reached")],
)  # fmt: skip
def test_values_have_four_digits_at_most(value: object, shown: str) -> None:
    assert formatting.format_value(value) == shown


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-2.3, 3.4, [-2.0, 0.0, 2.0]),
        (0.0, 0.73, [0.0, 0.2, 0.4, 0.6]),
        (1180.0, 5020.0, [2000.0, 3000.0, 4000.0, 5000.0]),
        (-3e-5, 1e-5, [-3e-5, -2e-5, -1e-5, 0.0, 1e-5]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert formatting.axis_ticks(low, high) == pytest.approx(ticks)


def test_small_plots_have_numbers_where_they_belong(tmp_path: Path) -> None:
    drawn = clause(estimate=0.5, low=0.25, high=1.0)
    [parsed] = parse_claims([claim("C1", clauses=[drawn])])
    plot = formatting.forest_plot(parsed.clauses[0], parsed)
    assert plot is not None
    left, width = formatting.FOREST_MARGIN, formatting.FOREST_WIDTH - 2 * formatting.FOREST_MARGIN
    assert [label for _, label in plot.ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [x for x, _ in plot.ticks] == pytest.approx([left + width * part / 5 for part in range(6)], abs=0.06)
    publish(tmp_path, "a_paper", [claim("C1", clauses=[drawn])])
    build_site(tmp_path, [config("a_paper")], tmp_path / "out")
    source = (tmp_path / "out" / "a_paper.html").read_text(encoding="utf-8")
    labels = re.findall(r'<text x="[\d.]+" y="41" aria-hidden="true">(.*?)</text>', source)
    assert labels == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


@pytest.mark.parametrize(
    ("n", "units", "said"),
    [
        (6, ["replicate"], "6 replicates"),
        (2, ["replicate"], "only 2 replicates, of which an interval says little"),
        (3, ["query"], "only 3 queries, of which an interval says little"),
        (4, ["replicate", "table"], "4 replicate × table"),
        (None, [], ""),
    ],
)
def test_few_units_are_said_to_be_few(n: int | None, units: list[str], said: str) -> None:
    [parsed] = parse_claims([claim("C1", clauses=[clause(n=n, units=units)])])
    assert formatting.format_units(parsed.clauses[0]) == said
    shown = display.format_clause(clause(n=n, units=units))
    assert shown.endswith(f" (only {n})") if said.startswith("only") else "only" not in shown


def test_code_is_set_as_code_and_nothing_else_gets_through(tmp_path: Path) -> None:
    assert formatting.format_prose("`a<b` & c, a lone ` sign") == "<code>a&lt;b</code> &amp; c, a lone ` sign"
    written = "run `settings.rate=1` <b>"
    publish(tmp_path, "a_paper", [claim("C1", statement=written, note=written)])
    build_site(tmp_path, [config("a_paper", idea=written)], tmp_path / "out")
    page = Reader(tmp_path / "out" / "a_paper.html")
    assert page.source.count("<code>settings.rate=1</code> &lt;b&gt;") >= 3 and "`settings" not in page.text


def test_figures_follow_the_config_default_studies_first(tmp_path: Path) -> None:
    drawn = {name: SVG.format(n=9, text=name) for name in ("conv-b", "lenet-z", "lenet-a", "gone-x")}
    publish(tmp_path, "a_paper", [claim("C1")], **drawn)
    page = page_of(tmp_path)
    assert [figure.name for figure in page.figures] == ["lenet: a", "lenet: z", "conv: b", "gone: x"]
    page = page_of(tmp_path)
    page.declared_figures = ["z", "a"]
    assert [figure.name for figure in page.figures][:2] == ["lenet: z", "lenet: a"]


def test_deviations_are_cards_on_a_phone_and_name_their_claims(tmp_path: Path) -> None:
    publish(tmp_path, "a_paper", [claim("C1")])
    build_site(tmp_path, [config("a_paper", claims=("C1",))], tmp_path / "out")
    source = (tmp_path / "out" / "a_paper.html").read_text(encoding="utf-8")
    assert '<table class="cards plain deviations"' in source and '<td role="cell" data-label="Why">time</td>' in source
