"""The report in a real browser, opened from disk: it draws, sorts, searches, zooms and prints, fetches nothing, and
axe finds nothing that keeps a reader out."""

import importlib.util
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from selenium.webdriver.common.keys import Keys

from core.files import write_json
from core.report.site import build_site
from tests.browser import CHROMIUM, DRIVER, MISSING, Browser
from tests.results_files import (
    HOSTILE,
    SVG,
    claim,
    config,
    measure,
    publish,
    run_halfway,
    run_locally,
    sweep,
    table,
)

pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING),
    pytest.mark.xdist_group("browser"),  # one browser for all of them
    # selenium leaves its connection to the driver to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything in it: three papers, local and unfinished runs, a sweep, hostile words."""
    root = tmp_path_factory.mktemp("results")
    drawn = SVG.format(n=900, text="accuracy")
    verdicts = [claim("C1"), claim("C2", "undecided"), claim("C3", "fails"), claim("C4", "not testable", clauses=[])]
    measure(publish(root, "a_paper", verdicts, **{"lenet-a": drawn}))
    measure(publish(root, "b_paper", [claim("C1", statement=HOSTILE)]), table(arms=(HOSTILE, "plain")))
    measure(run_locally(root, "a_paper", [claim("C1", "fails")]), table(steps=400))
    run_halfway(root, "a_paper")
    sweep(root, "a_paper")
    claims = ("C1", "C2", "C3", "C4")
    configs = [
        config("a_paper", "Zebras in networks", claims),
        config("b_paper", "Apples and pears", ("C1",), fields=["fruit", "sparsity"]),
        config("c_paper", "Nothing yet", ("C1",), fields=["fruit"]),
    ]
    (root / "half" / "laptop").mkdir(parents=True)
    write_json(root / "half" / "laptop" / "claims.json", [])
    return build_site(root, configs, root / "report").parent


@pytest.fixture(scope="module")
def only_browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(only_browser: Browser) -> Browser:
    """The browser of this module, at its first size, in light colours, with nothing kept."""
    only_browser.driver.get("about:blank")
    only_browser.resize(1280, 900)
    only_browser.scheme("light")
    only_browser.complaints()
    only_browser.requests()
    return only_browser


PAGES = ["index", "together", "a_paper", "b_paper", "c_paper", "sweep-abc123abc123"]


@pytest.mark.parametrize("name", PAGES)
def test_pages_open_from_disk_without_errors_or_requests(browser: Browser, site: Path, name: str) -> None:
    browser.open(site / f"{name}.html")
    assert browser.complaints() == []
    asked = [url.partition(":")[0] for url in browser.requests() if not url.startswith("about:")]
    assert asked
    assert set(asked) <= {"file", "data", "blob"}
    assert browser.run("return [...document.scripts].filter(each => each.textContent.includes('alert(')).length") == (
        1 if name == "b_paper" else 0  # as data, in a block that is not run
    )


def test_what_complains_is_noticed(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<script>nothing()</script><img src='http://192.0.2.1/x.png'>")
    browser.driver.get((tmp_path / "bad.html").as_uri())
    browser.run("console.error('said')")
    browser.wait("return document.readyState === 'complete'")
    assert any("nothing is not defined" in said for said in browser.complaints())
    assert any(url.startswith("http://192.0.2.1") for url in browser.requests())


def accessibility(browser: Browser) -> list[str]:
    """What axe finds, a line each: rule, how bad, where, why."""
    found = importlib.util.find_spec("axe_core_python")
    assert found is not None
    assert found.submodule_search_locations
    browser.command("Page.setBypassCSP", enabled=True)
    browser.run((Path(found.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8"))
    result = browser.driver.execute_async_script(
        "const [tags, done] = arguments; axe.run(document, {runOnly: tags}).then(done, error => done(String(error)));",
        WCAG,
    )
    assert isinstance(result, dict), result
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['failureSummary']}"
        for rule in result["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "together", "a_paper", "sweep-abc123abc123"])
def test_axe_finds_nothing(browser: Browser, site: Path, name: str, scheme: str) -> None:
    browser.scheme(scheme)
    browser.open(site / f"{name}.html")
    browser.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert accessibility(browser) == []


def test_axe_is_awake(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<html><body><img src='data:,'><p style='color:#ccc'>pale</p></body></html>")
    browser.driver.get((tmp_path / "bad.html").as_uri())
    rules = {line.split(" ")[0] for line in accessibility(browser)}
    assert {"image-alt", "color-contrast", "html-has-lang"} <= rules


def test_arms_are_toggled_by_mouse_and_keyboard(browser: Browser, site: Path) -> None:
    browser.open(site / "a_paper.html")
    assert browser.texts("#curves-arms button") == ["dense", "ticket"]
    lines = "return document.querySelectorAll('#curves-chart .scatterlayer .trace').length"
    assert browser.run(lines) == 4  # two lines, two bands
    assert browser.find("#curves-status").text == "2 of 2 lines shown"
    button = browser.find("#curves-arms button[data-arm=dense]")
    button.click()
    assert (button.get_attribute("aria-pressed"), browser.run(lines)) == ("false", 2)
    assert "dense" not in (browser.find("#curves-chart").get_attribute("aria-label") or "")
    button.send_keys(" ")
    assert (button.get_attribute("aria-pressed"), browser.run(lines)) == ("true", 4)
    browser.find("#curves-bands").click()
    assert browser.run(lines) == 2


def test_the_chart_shows_the_values_of_the_files(browser: Browser, site: Path) -> None:
    browser.open(site / "a_paper.html")
    drawn = browser.run("return document.getElementById('curves-chart').data.filter(each => each.hovertemplate)"
                        ".map(each => [each.name, each.x, each.y])")  # fmt: skip
    wanted = table().query("metric == 'loss'").groupby(["arm", "step"])["value"].mean()
    assert [name for name, _, _ in drawn] == ["dense", "ticket"]
    for name, x, y in drawn:
        assert dict(zip(x, y, strict=True)) == pytest.approx(wanted[name].to_dict(), rel=1e-4)
    browser.find("#curves-panel summary").click()
    assert browser.texts("#curves-values tbody tr") == [
        "dense 200 1.06 1.05 to 1.07 3",
        "ticket 200 0.96 0.95 to 0.97 3",
    ]


def test_the_chart_zooms_by_keys_and_buttons(browser: Browser, site: Path) -> None:
    browser.open(site / "a_paper.html")
    span = "const [low, high] = document.getElementById('curves-chart')._fullLayout.xaxis.range; return high - low"
    whole = browser.run(span)
    browser.find("#curves-chart").send_keys("+")
    assert browser.run(span) == pytest.approx(0.7 * whole)
    browser.find("#curves-in").click()
    assert browser.run(span) == pytest.approx(0.49 * whole)
    browser.find("#curves-reset").click()
    assert browser.run(span) == pytest.approx(whole)


def test_other_sources_and_quantities_are_chosen(browser: Browser, site: Path) -> None:
    browser.open(site / "a_paper.html")
    assert len(browser.texts("#curves-source option")) == 3
    browser.run("const choice = document.getElementById('curves-view'); choice.value = 1;"
                "choice.dispatchEvent(new Event('change'))")  # fmt: skip
    title = "return document.getElementById('curves-chart')._fullLayout.xaxis.title.text"
    assert browser.run(title) == "density"
    browser.run("const choice = document.getElementById('curves-source'); choice.value = 2;"
                "choice.dispatchEvent(new Event('change'))")  # fmt: skip
    assert browser.run(title) == "step"
    assert browser.texts("#curves-arms button") == ["dense"]
    assert browser.complaints() == []


def test_the_table_sorts_and_says_so(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html")
    titles = "#papers tbody th a"
    assert browser.texts(titles) == ["Zebras in networks", "Apples and pears", "Nothing yet"]
    head = browser.find("#papers thead th:nth-child(1)")
    head.find_element("css selector", "button").click()
    assert browser.texts(titles) == ["Apples and pears", "Nothing yet", "Zebras in networks"]
    assert head.get_attribute("aria-sort") == "ascending"
    head.find_element("css selector", "button").send_keys("\n")
    assert browser.texts(titles) == ["Zebras in networks", "Nothing yet", "Apples and pears"]
    assert head.get_attribute("aria-sort") == "descending"
    browser.find("#papers thead th:nth-child(5) button").click()  # minutes: what has none comes last
    assert browser.texts(titles)[-1] == "Nothing yet"


def test_papers_are_found_by_words_and_by_choice(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html")
    browser.find("body").send_keys("/")
    box = browser.driver.switch_to.active_element
    box.send_keys("pears sparsity")
    assert browser.texts("#papers tbody th a") == ["Apples and pears"]
    assert browser.find("form.filter output").text == "1 of 3"
    browser.find("form.filter button[type=reset]").click()
    browser.wait("return document.querySelector('form.filter output').textContent === '3 in all'")
    choose = """const [name, value] = arguments, form = document.forms[0];
        form.reset(); form.elements[name].value = value; form.dispatchEvent(new Event('input'))"""
    for name, value, shown in [("field", "fruit", 2), ("verdict", "fails", 1), ("state", "not run", 1)]:
        browser.run(choose, name, value)
        assert len(browser.texts("#papers tbody th a")) == shown, name


def test_marks_and_figures_follow_the_filter(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html")
    names, groups = ".grid .name", ".grid h3"
    assert (browser.texts(names), browser.texts(groups)) == (["b paper", "c paper", "a paper"], ["fruit", "sparsity"])
    choose = """const [name, value] = arguments, form = document.forms[0];
        form.reset(); form.elements[name].value = value; form.dispatchEvent(new Event('input'))"""
    browser.run(choose, "verdict", "fails")
    assert (browser.texts(names), browser.texts(groups)) == (["a paper"], ["sparsity"])
    dimmed = "return [...document.querySelectorAll('.grid li:not([hidden]) .m')].map(e => getComputedStyle(e).opacity)"
    assert browser.run(dimmed) == ["0.25", "0.25", "1", "0.25"]
    assert len(browser.texts(".gallery li")) == 1
    browser.run(choose, "field", "fruit")
    assert (browser.texts(names), browser.texts(".gallery li")) == (["b paper", "c paper"], [])
    browser.run(choose, "words", "sentence of c3")
    assert browser.texts(names) == ["a paper"]


def test_a_mark_says_what_it_is_by_mouse_and_keyboard(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html")
    mark = browser.find("a.m[href='a_paper.html#claim-C2']")
    browser.run("arguments[0].focus()", mark)
    assert browser.texts(".tip") == ["C2 undecided: Sentence of C2."]
    mark.send_keys(Keys.ESCAPE)
    assert browser.texts(".tip") == []
    browser.run("arguments[0].dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))", mark)
    assert browser.texts(".tip") == ["C2 undecided: Sentence of C2."]
    mark.send_keys(Keys.ENTER)
    browser.wait("return location.hash === '#claim-C2' && document.title.startsWith('Zebras')")


def test_an_arm_of_another_condition_says_so(browser: Browser, tmp_path: Path) -> None:
    rows = [table(("dense", "ticket")).assign(rate=rate) for rate in (1.0, 2.0)]
    rows.append(table(("random",)).assign(rate=3.0))
    measure(publish(tmp_path, "a_paper", [claim("C1")]), pd.concat(rows))
    browser.open(build_site(tmp_path, [config("a_paper")], tmp_path / "report").with_name("a_paper.html"))
    assert browser.texts("#curves-arms button") == ["dense", "ticket", "random (at rate 3)"]
    assert browser.find("#curves-status").text == "3 of 5 lines shown; random exists at rate 3 alone"
    browser.run("const choice = document.querySelector('#curves-conditions select'); choice.value = 'all';"
                "choice.dispatchEvent(new Event('change'))")  # fmt: skip
    assert browser.texts("#curves-arms button") == ["dense", "ticket", "random"]
    assert browser.find("#curves-status").text == "5 of 5 lines shown"


def test_the_theme_follows_the_system_until_it_is_chosen(browser: Browser, site: Path) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    browser.open(site / "a_paper.html")
    light, line = browser.run(colour), "return document.getElementById('curves-chart').data.at(-1).line.color"
    bright = browser.run(line)
    browser.scheme("dark")
    dark = browser.run(colour)
    assert light != dark
    browser.wait(f"return (() => {{ {line} }})() !== '{bright}'")
    button = browser.find("button.theme")
    button.click()
    assert (button.text, browser.run(colour)) == ("Theme: light", light)
    browser.open_until(site / "index.html", f"{colour} === '{light}'")
    browser.find("button.theme").click()
    browser.scheme("light")
    assert (browser.find("button.theme").text, browser.run(colour)) == ("Theme: dark", dark)
    browser.find("button.theme").click()
    assert (browser.find("button.theme").text, browser.run(colour)) == ("Theme: system", light)


def test_a_sweep_is_brushed_and_its_rows_follow(browser: Browser, site: Path) -> None:
    browser.open(site / "sweep-abc123abc123.html")
    assert browser.find("#sweep-status").text == "6 points"
    assert browser.run("return document.querySelectorAll('#sweep-chart .scatterlayer .trace').length") == 6
    assert browser.run("return document.querySelectorAll('#sweep-heat .hm image').length") == 1
    browser.run(
        "document.getElementById('sweep-chart').emit('plotly_selected', {points: [{curveNumber: 4}, {curveNumber: 5}]})"
    )
    assert browser.find("#sweep-status").text == "2 of 6 points chosen"
    assert len(browser.texts("#points tbody tr")) == 2
    browser.find("#sweep-clear").click()
    assert len(browser.texts("#points tbody tr")) == 6
    assert browser.complaints() == []


@pytest.mark.parametrize("name", PAGES)
def test_pages_fit_a_phone(browser: Browser, site: Path, name: str) -> None:
    browser.resize(360, 800, phone=True)
    browser.open(site / f"{name}.html")
    assert browser.run("return document.documentElement.scrollWidth") <= 360


def test_on_a_phone_nothing_hides_behind_the_edge(browser: Browser, site: Path) -> None:
    """Sections and deviations are whole; a wide figure keeps its size, and is moved under the finger."""
    browser.resize(390, 800, phone=True)
    browser.open(site / "a_paper.html")
    edges = "return [...document.querySelectorAll(arguments[0])].map(e => Math.round(e.getBoundingClientRect().right))"
    for selector in (".contents a", ".deviations td", "#provenance ~ table td"):
        found = browser.run(edges, selector)
        assert found and max(found) <= 390, selector
    assert browser.run("return document.querySelector('.deviations td:last-child').offsetHeight") > 0
    browser.run("document.querySelectorAll('img').forEach(each => { each.loading = 'eager'; })")
    browser.wait("return [...document.images].every(each => each.complete && each.naturalWidth)")
    sizes = "const [image] = document.images, box = image.parentElement;"
    assert browser.run(f"{sizes} return [image.naturalWidth, box.scrollWidth > box.clientWidth]") == [900, True]
    assert browser.run(f"{sizes} return image.getBoundingClientRect().width") >= 900


def test_pages_print_and_pictures_show_them(browser: Browser, site: Path) -> None:
    browser.open(site / "a_paper.html")
    small, whole = browser.picture(), browser.picture(whole=True)
    assert struct.unpack(">II", small[16:24]) == (1280, 900)
    assert struct.unpack(">II", whole[16:24])[1] > 900
    assert browser.paper().startswith(b"%PDF")
    assert browser.complaints() == []
    assert browser.run("return document.documentElement.dataset.theme") is None


def test_without_the_library_the_page_says_so(browser: Browser, site: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.html").write_bytes((site / "a_paper.html").read_bytes())
    browser.driver.get((tmp_path / "alone.html").as_uri())
    browser.wait("return document.getElementById('curves-notice').textContent.includes('plotly.min.js')")
    assert "Sentence of C1." in browser.find("#verdicts ~ table").text


def test_a_long_run_opens_quickly_and_is_small(browser: Browser, tmp_path: Path) -> None:
    measure(publish(tmp_path, "a_paper", [claim("C1")]), table(replicates=5, steps=10_000))
    built = build_site(tmp_path, [config("a_paper")], tmp_path / "report").with_name("a_paper.html")
    assert built.stat().st_size < 200_000
    browser.open(built)
    text = built.read_text(encoding="utf-8").split('id="curves-data">')[1].split("</script>")[0]
    assert max(len(line["y"]) for line in json.loads(text)[0]["views"][0]["lines"]) == 400
    assert "each for several steps in a row" in browser.find("#curves-note").text
