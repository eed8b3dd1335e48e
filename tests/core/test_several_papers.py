"""One command about several papers, one after the other, whatever becomes of one; and the page of their data."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from core.cli.main import main
from core.data import catalogue
from core.errors import DataMissing, OverBudget, Stopped
from core.launch.paper_words import several_papers, words_by_paper
from core.papers.config_files import all_slugs
from core.paths import project_root
from core.report import data_table
from core.running import execute
from core.running.several_papers import PaperOutcome, worst_code
from tests.toy import CONFIG, EXPERIMENT, SETTINGS, write_paper

ENDS = {"ball": RuntimeError("no ball"), "cup": OverBudget("too long"), "dome": DataMissing("no data")}


@pytest.fixture
def papers(toy_root: Path) -> Path:
    """Four papers: `toy`, and three beside it."""
    for slug in ENDS:
        write_paper(toy_root, slug, CONFIG, SETTINGS, EXPERIMENT)
    return toy_root


@pytest.fixture
def performed(papers: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The papers that were performed; three of them fail, `toy` has two verdicts."""
    found: list[str] = []

    def perform(launch):
        found.append(launch.config.slug)
        if launch.config.slug in ENDS:
            raise ENDS[launch.config.slug]
        return [SimpleNamespace(claims=[{"verdict": "holds"}, {"verdict": "fails"}])]

    monkeypatch.setattr(execute, "perform_and_show", perform)
    return found


def test_what_names_several_papers(papers: Path) -> None:
    assert several_papers(["paper=all", "scale=smoke"]) == all_slugs() == ["ball", "cup", "dome", "toy"]
    assert several_papers(["paper=[toy,cup,toy]"]) == ["toy", "cup"]
    assert several_papers(["paper=toy"]) is None and several_papers(["scale=smoke"]) is None
    assert words_by_paper(["scale=smoke", "paper=all"], ["cup", "toy"]) == {
        "cup": ["paper=cup", "scale=smoke"],
        "toy": ["paper=toy", "scale=smoke"],
    }


def test_a_paper_that_fails_does_not_stop_the_others(performed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "paper=all", "scale=smoke", "tracking=none"]) == 1
    assert performed == ["ball", "cup", "dome", "toy"]
    printed = capsys.readouterr()
    lines = [line.split() for line in printed.out.splitlines()]
    [toy] = [line for line in lines if line[:1] == ["toy"]]
    assert toy[1:5] == ["1", "1", "0", "0"] and toy[-1] == "finished"
    [together] = [line for line in lines if line[:1] == ["together"]]
    assert together[1:5] == ["1", "1", "0", "0"] and together[-4:] == ["1", "of", "4", "finished"]
    for reason in ("RuntimeError: no ball", "too long", "no data"):
        assert reason in printed.out and reason in printed.err


def test_the_worst_code_counts(performed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "paper=[toy,dome,cup]", "tracking=none"]) == 3
    assert main(["run", "paper=[toy]", "tracking=none"]) == 0
    assert worst_code([PaperOutcome("a", code=75), PaperOutcome("b", code=4), PaperOutcome("c")]) == 4
    assert worst_code([]) == 0


def test_a_signal_ends_the_night(
    papers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(launch):
        raise Stopped("stopped with 1 of 4 replicates finished")

    monkeypatch.setattr(execute, "perform_and_show", stop)
    assert main(["run", "paper=all", "tracking=none"]) == 75
    printed = capsys.readouterr().out
    assert printed.count("not begun") == 3 and "1 of 4 replicates" in printed and "the same command goes on" in printed


def test_words_that_some_papers_do_not_take(
    performed: list[str], papers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those papers are refused, and the others performed."""
    settings, config = SETTINGS.replace("rate: float", "pace: float"), CONFIG.replace(" rate:", " pace:")
    write_paper(papers, "egg", config, settings, EXPERIMENT)
    assert main(["run", "paper=[toy,egg]", "settings.rate=0.2", "tracking=none"]) == 2
    assert performed == ["toy"]
    assert "unknown setting 'rate'" in capsys.readouterr().out


def test_two_papers_from_the_command_to_the_summary(papers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Given again, nothing is computed again."""
    words = ["run", "paper=[toy,cup]", "study=ready", "scale=smoke", "replicates=1", "tracking=none", "workers=1"]
    assert main(words) == 0
    assert "2 of 2 finished" in capsys.readouterr().out
    assert main(words) == 0
    assert capsys.readouterr().out.count("finished before, nothing is computed again") == 2


# The page of data


def test_the_page_of_data_is_current() -> None:
    text = (project_root() / data_table.DATA_FILE).read_text(encoding="utf-8")
    assert text == data_table.render_data_table(), "run `encore fetch --document`"


def test_the_page_of_data_says_all_of_every_set() -> None:
    text = data_table.render_data_table()
    for name in catalogue.data_set_names():
        data = catalogue.find_data_set(name)
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        [row] = [line for line in text.splitlines() if line.startswith(f"| [{name}](#{name}) |")]
        assert data.licence in row and data.title in row
        assert [line.split()[0] for line in section.splitlines() if line.startswith("    ")] == [
            file.sha256 for file in data.files
        ]
        assert all(source.description in section for source in data.sources)
    assert data_table.data_set_users()["digits"]["ntk"] == ["components", "wide"]
