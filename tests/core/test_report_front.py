"""The front of the report and the opening of its pages: a mark for every claim, a figure a paper, four lines, faults
that a reader would trip over, and pages that are made anew only where something changed."""

import fcntl
import json
import re
import time
from pathlib import Path

import pytest

from core.errors import BadInput
from core.papers.config import PaperConfig, parse_config
from core.paths import report_folder
from core.report import ratios, readme_table
from core.report.claims import parse_claims
from core.report.freshness_process import CURRENT, EDITED, STALE, Freshness
from core.report.opening import leading_row, opening
from core.report.page_inputs import INPUTS_FILE, site_stamp
from core.report.paper_page import PaperPage
from core.report.results import read_all_results
from core.report.site import build_site
from tests.limits import machine_seconds
from tests.results_files import SVG, Reader, claim, clause, config, measure, publish, run_locally, sweep

VERDICTS = ["holds", "fails", "undecided", "not testable"]


def page_of(root: Path, made: PaperConfig) -> PaperPage:
    return PaperPage(made, read_all_results(root, root, {made.slug})[0][made.slug])


def marks(page: Path) -> dict[str, tuple[str, str]]:
    """Where each mark leads, its class and what it says of itself."""
    links = [each for each in Reader(page).all("a") if (each.get("class") or "").startswith("m ")]
    assert len({each["href"] for each in links}) == len(links)
    return {str(each["href"]): (str(each["class"]), str(each["aria-label"])) for each in links}


def test_every_claim_is_a_mark_that_leads_to_it(tmp_path: Path) -> None:
    names = ("C1", "C2", "C3", "C4", "C5")
    verdicts = dict(zip(names, VERDICTS, strict=False))
    publish(tmp_path, "a_paper", [claim(name, verdict) for name, verdict in verdicts.items()])
    configs = [config("a_paper", claims=names), config("b_paper", fields=["kernels", "sparsity"])]
    build_site(tmp_path, configs, tmp_path / "report")
    found = marks(tmp_path / "report" / "index.html")
    wanted = {name: verdicts.get(name, "not run") for name in names}
    for name, verdict in wanted.items():
        shape, said = found[f"a_paper.html#claim-{name}"]
        assert shape == f"m {verdict.replace(' ', '-')}"
        assert said == f"{name} {verdict}: Sentence of {name}."
    assert len(found) == 7
    targets = {each["id"] for each in Reader(tmp_path / "report" / "a_paper.html").all("th") if "id" in each}
    assert {f"claim-{name}" for name in names} <= targets
    text = Reader(tmp_path / "report" / "index.html").text
    assert text.index("kernels b paper") < text.index("sparsity a paper")


def test_a_claim_whose_control_holds_too_is_marked_and_stands_for_no_paper(tmp_path: Path) -> None:
    control = {"name": "other", "verdict": "holds", "difference": None, "passes": False}
    publish(tmp_path, "a_paper", [claim("C1", control=control), claim("C2", "fails", control=control), claim("C3")])
    made = config("a_paper", claims=("C1", "C2", "C3"))
    build_site(tmp_path, [made], tmp_path / "report")
    found = marks(tmp_path / "report" / "index.html")
    assert found["a_paper.html#claim-C1"] == (
        "m holds unproven", "C1 holds, its control does not pass: Sentence of C1.",
    )  # fmt: skip
    assert [found[f"a_paper.html#claim-{name}"][0] for name in ("C2", "C3")] == ["m fails", "m holds"]
    assert "holds, but its control does not pass" in Reader(tmp_path / "report" / "index.html").text
    page = page_of(tmp_path, made)
    lead = leading_row(page)
    assert lead is not None and lead.id != "C1"
    assert "The control of C1 does not pass, so that verdict proves nothing." in opening(page).found
    assert readme_table.render_table([made], tmp_path).count("✓ C1° C3 · ✗ C2") == 1


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([], ""),
        ([Freshness("laptop", "lenet", CURRENT, "")], ""),
        ([Freshness("laptop", "conv", STALE, "renew: code")], ""),
        ([Freshness("paper", "lenet", STALE, "renew: code")], ""),
        ([Freshness("laptop", "lenet", STALE, "renew: code")], "stale: renew"),
        ([Freshness("laptop", "*", EDITED, "claims.json changed")], "edited by hand: claims.json changed"),
    ],
)
def test_a_claim_of_a_stale_study_says_so_in_its_row(tmp_path: Path, states: list[Freshness], said: str) -> None:
    publish(tmp_path, "a_paper", [claim("C1")])
    run_locally(tmp_path, "a_paper", [claim("C2")])
    build_site(tmp_path, [config("a_paper")], tmp_path / "report", freshness=lambda config: states)
    source = (tmp_path / "report" / "a_paper.html").read_text(encoding="utf-8")
    assert re.findall(r'<small class="line stale-line">(.*?)</small>', source) == ([said] if said else [])
    found = marks(tmp_path / "report" / "index.html")
    assert found["a_paper.html#claim-C1"] == (
        ("m holds stale", "C1 holds, stale: Sentence of C1.") if said else ("m holds", "C1 holds: Sentence of C1.")
    )
    assert found["a_paper.html#claim-C2"][0] == "m holds"  # of a local run
    together = Reader(tmp_path / "report" / "together.html").text
    assert ("published by other code, settings" in together) == bool(said)


def test_log_ratios_stand_beside_how_many_times_they_are(tmp_path: Path) -> None:
    logarithm = {"unit_of_value": "log-ratio of iterations", "estimate": 1.06, "low": 0.79, "high": 1.33}
    changes = {"region": [2.303, None], "matters": 0.31}
    [parsed] = parse_claims([claim("C1", published=0.92, clauses=[clause(**logarithm, **changes)])])
    [first] = parsed.clauses
    assert ratios.format_times(first) == "2.9 times [2.2, 3.8]"  # e to the 1.06, 0.79 and 1.33
    assert ratios.format_printed_times(parsed) == "2.5 times"
    assert ratios.format_region_in_times(first) == "10 times"
    publish(tmp_path, "a_paper", [claim("C1", published=0.92, clauses=[clause(**logarithm, **changes)])])
    build_site(tmp_path, [config("a_paper")], tmp_path / "report")
    text = Reader(tmp_path / "report" / "a_paper.html").text
    assert "+1.06 [+0.79, +1.33] log-ratio of iterations 2.9 times [2.2, 3.8]" in text
    assert "0.92 log-ratio of iterations 2.5 times" in text
    assert "claimed: above 2.303 (10 times), matters from 0.31 (1.4 times)" in text


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, ""),  # percentage points
        ({"unit_of_value": "log-ratio of changes", "estimate": -2.568, "low": -2.869, "high": -2.268},
         "0.077 times [0.057, 0.104]"),
        ({"unit_of_value": "log-ratio", "estimate": 0.0, "low": None, "high": 0.5}, "1.0 times [0.0, 1.6]"),
        ({"unit_of_value": "log-ratio", "estimate": 2.0, "low": None, "high": None}, "7.4 times"),
        ({"unit_of_value": "log-ratio", "estimate": None}, ""),
    ],
)  # fmt: skip
def test_only_log_ratios_are_times(changes: dict, shown: str) -> None:
    [parsed] = parse_claims([claim("C1", clauses=[clause(**changes)])])
    assert ratios.format_times(parsed.clauses[0]) == shown


def with_front(made: PaperConfig, **changes: object) -> PaperConfig:
    """The same config with more written in it."""
    written = made.form.model_dump(mode="json", by_alias=True, exclude_unset=True)
    again = parse_config(made.slug, written | changes)
    for name, study in again.studies.items():
        vars(study)["settings_class"] = made.studies[name].settings_class
    return again


def test_literal_words_of_a_paper_stand_in_quotation_marks(tmp_path: Path) -> None:
    made = config("a_paper", claims=("C1", "C2", "C3"))
    claims = made.form.model_dump(mode="json", by_alias=True, exclude_unset=True)["claims"]
    for name, quote in (("C1", True), ("C2", False), ("C3", True)):
        claims[name]["printed"] = {"value": "as good as the whole", "where": "abstract", "quote": quote}
    publish(tmp_path, "a_paper", [claim("C1", published="as good as the whole"), claim("C2", published="worse")])
    build_site(tmp_path, [with_front(made, claims=claims)], tmp_path / "report")
    source = (tmp_path / "report" / "a_paper.html").read_text(encoding="utf-8")
    cells = re.findall(r'data-label="Paper">(.*?)<small', source)
    assert cells[:3] == ["“as good as the whole”", "worse", "“as good as the whole”"]  # C3 was not run
    claims["C1"]["printed"] = {"value": 0.5, "unit": "percentage points", "where": "abstract", "quote": True}
    with pytest.raises(BadInput, match=r"claims\.C1\.printed\.quote is for words, and 0\.5 is a number"):
        with_front(made, claims=claims)


def test_a_control_explains_the_arm_that_it_takes_in(tmp_path: Path) -> None:
    control = claim("C1")["control"]
    publish(tmp_path, "a_paper", [claim("C1", control=control | {"name": "reinit in place of ticket"})])
    build_site(tmp_path, [config("a_paper")], tmp_path / "report")
    source = (tmp_path / "report" / "a_paper.html").read_text(encoding="utf-8")
    [cell] = re.findall(r'data-label="Control">(.*?)</td>', source, re.DOTALL)[:1]
    assert "<b>reinit</b>: the same, drawn anew" in cell and "a part of it" not in cell


def test_a_page_opens_with_four_lines(tmp_path: Path) -> None:
    names = ("C1", "C2", "C3", "C4")
    verdicts = [claim("C1"), claim("C2", "fails"), claim("C3", "not testable", note="too long", clauses=[])]
    publish(tmp_path, "a_paper", verdicts)
    made = with_front(config("a_paper", claims=names), not_shown="nothing of other data")
    lines = opening(page_of(tmp_path, made))
    assert lines.says == "The idea in a sentence."
    assert lines.ran == "The default study. Laptop scale, 6 replicates, 9 min."
    assert lines.found == (
        "Of 4 claims 1 holds, 1 fails (C2). C1: Sentence of C1. Verdict: holds, measured +0.41 [+0.28, +0.55] "
        "percentage points; the paper prints 0.5 percentage points."
    )
    assert lines.not_shown == (
        "Nothing of other data. C3 is not testable here: too long. C4 is not run yet. The setting is not the paper's: "
        "training length (here 4000, in the paper 50000). Verdicts speak about laptop scale alone."
    )
    build_site(tmp_path, [made], tmp_path / "report")
    text = Reader(tmp_path / "report" / "a_paper.html").text
    places = [text.index(words) for words in ("The paper says", lines.says, "Run here", lines.ran, "What came out",
              lines.found, "What it does not show", lines.not_shown, "verdicts")]  # fmt: skip
    assert places == sorted(places)


def test_a_page_without_results_opens_honestly(tmp_path: Path) -> None:
    lines = opening(page_of(tmp_path, config("a_paper")))
    assert (lines.ran, lines.found) == ("Nothing yet.", "No claim has been decided yet.")
    assert lines.not_shown == "C1, C2 are not run yet."


def test_the_gallery_shows_a_figure_a_paper_with_the_claim_it_is_about(tmp_path: Path) -> None:
    figures = {"densities": {"study": "lenet", "x": "density", "y": "test_accuracy", "caption": "Accuracy."}}
    made = config("a_paper")
    drawn = {"conv-other": "o", "lenet-densities": "d", "lenet-curves": "c"}
    first = claim("C1", clauses=[clause(metric="loss")])
    publish(tmp_path, "a_paper", [first, claim("C2")], **{n: SVG.format(n=9, text=t) for n, t in drawn.items()})
    for changes, file, row in [
        ({}, "lenet-curves", "C1"),
        ({"figures": figures}, "lenet-densities", "C2"),  # the first claim about test_accuracy
        ({"front": {"claim": "C1"}, "figures": figures}, "lenet-densities", "C1"),
        ({"front": {"figure": "densities"}, "figures": figures}, "lenet-densities", "C2"),
    ]:
        page = page_of(tmp_path, with_front(made, **changes))
        lead = leading_row(page)
        assert page.front_drawing and lead
        assert (page.front_drawing.path.stem, lead.id) == (file, row), changes
    build_site(tmp_path, [with_front(made, figures=figures), config("b_paper")], tmp_path / "report")
    [image] = Reader(tmp_path / "report" / "index.html").all("img")
    assert image["src"] == "figures/a_paper.svg" and image["alt"]
    assert (tmp_path / "report" / "figures" / "a_paper.svg").read_text() == SVG.format(n=9, text="d")
    with pytest.raises(BadInput, match=r"figure in front: 'nothing'"):
        with_front(made, front={"figure": "nothing"})


def written(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.html")}


def test_pages_whose_inputs_stand_are_not_made_anew(tmp_path: Path) -> None:
    out, states = tmp_path / "report", [Freshness("laptop", "lenet", CURRENT, "")]
    folders = {slug: publish(tmp_path, slug, [claim("C1")]) for slug in ("a_paper", "b_paper")}
    for folder in folders.values():
        measure(folder)

    def changed(title: str = "A Paper") -> set[str]:
        """The papers whose pages are made anew when the site is built."""
        before = written(out)
        build_site(tmp_path, [config("a_paper", title), config("b_paper")], out, freshness=lambda config: states)
        return {name.partition(".")[0] for name, at in written(out).items() if before.get(name) != at} & set(folders)

    assert changed() == {"a_paper", "b_paper"}
    assert changed() == set()
    assert changed("Another title") == {"a_paper"}
    measure(folders["b_paper"])  # written again: the page is made anew
    assert changed("Another title") == {"b_paper"}
    run_locally(tmp_path, "a_paper", [claim("C2")])
    assert changed("Another title") == {"a_paper"}
    (out / "b_paper.html").write_text("edited")
    assert changed("Another title") == {"b_paper"}
    sweep(tmp_path, "a_paper")
    assert changed("Another title") == {"a_paper", "b_paper"}
    states[:] = [Freshness("laptop", "lenet", STALE, "code")]
    assert changed("Another title") == {"a_paper", "b_paper"}
    assert changed("Another title") == set()
    (out / INPUTS_FILE).write_text("[torn")
    assert changed("Another title") == {"a_paper", "b_paper"}


def test_a_lock_that_is_let_go_makes_pages_anew(tmp_path: Path) -> None:
    publish(tmp_path, "a_paper", [claim("C1")])
    lock = tmp_path / "runs" / "sweeps" / "abc123abc123" / "points" / "000000.lock"
    sweep(tmp_path, "a_paper")
    lock.parent.mkdir(exist_ok=True)
    lock.touch()

    def stamp() -> str:
        return site_stamp(tmp_path, tmp_path, tmp_path / "report")

    free = stamp()
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert stamp() != free
    assert stamp() == free


def test_an_unchanged_site_is_left_alone(toy_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from core.cli.main import main

    out = report_folder()
    assert main(["report"]) == 0
    before = written(out)
    capsys.readouterr()
    assert main(["report"]) == 0
    assert Path(capsys.readouterr().out.strip()) == out / "index.html"
    assert written(out) == before
    (out / "index.html").unlink()
    assert main(["report"]) == 0
    assert (out / "index.html").is_file()
    config_file = toy_root / "configs" / "paper" / "toy.yaml"
    config_file.write_text(config_file.read_text() + "\nnot_shown: A sentence that was not there.\n")
    assert main(["report"]) == 0
    assert "A sentence that was not there." in (out / "toy.html").read_text()


def test_the_front_of_57_papers_is_small(tmp_path: Path) -> None:
    names = tuple(f"C{number}" for number in range(1, 16))
    long = "A sentence as long as the sentences of claims are in the papers that are there, about a hundred letters."
    claims = [claim(name, VERDICTS[number % 4], statement=long) for number, name in enumerate(names)]
    title = "A title of a paper that is neither short nor longer than others"
    slugs = [f"paper_{number:02d}" for number in range(57)]
    for slug in slugs:
        publish(tmp_path, slug, claims, **{"lenet-a": SVG.format(n=9, text="a")})
    configs = [config(slug, title, claims=names) for slug in slugs]
    build_site(tmp_path, configs, tmp_path / "report")
    assert (tmp_path / "report" / "index.html").stat().st_size < 400_000
    assert len(marks(tmp_path / "report" / "index.html")) == 57 * 15
    started = time.process_time()
    build_site(tmp_path, configs, tmp_path / "report")
    assert time.process_time() - started < machine_seconds(3)
    kept = json.loads((tmp_path / "report" / INPUTS_FILE).read_text())
    assert {f"{slug}.html" for slug in slugs} <= set(kept)
