"""Where things are: published results in the checkout, own runs and the report where the user wants them; whatever is
printed says so."""

import re
from pathlib import Path
from typing import Any

import pytest

from core import files, paths
from core.cli.main import main
from core.running import display

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_published_results_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    root, own = tmp_path / "root", tmp_path / "own"
    monkeypatch.setenv("ENCORE_ROOT", str(root))
    monkeypatch.setenv("ENCORE_RESULTS", str(own) if elsewhere else "")
    assert paths.published_folder() == root / "results"
    assert paths.runs_folder() == (own if elsewhere else root / "results") / "runs"
    assert paths.report_folder() == (own if elsewhere else root / "results") / "report"
    assert paths.result_name(root / "results" / "toy" / "laptop") == "results/toy/laptop"
    assert paths.result_name(paths.runs_folder() / "x") == ("$ENCORE_RESULTS/runs/x" if elsewhere else "results/runs/x")


def publish_toy(root: Path) -> None:
    claim: dict[str, Any] = {"id": "C1", "statement": "A higher rate gets further.", "verdict": "fails"}
    claim |= {"note": "below what matters"}
    claim |= {"clauses": [{"estimate": 1.5, "low": 1.25, "high": 2.0, "units": ["replicate"], "unit_of_value": "nats"}]}
    files.write_json(root / "results" / "toy" / "laptop" / "claims.json", [claim])
    files.write_json(root / "results" / "toy" / "laptop" / "provenance.json", {"studies": {"fit": {"seconds": 240.0}}})


def test_lists_show_what_is_published_wherever_own_results_go(
    toy_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["list"]) == 0 and main(["claims", "toy"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("not published") == 3 and "C2 The extra is added." in shown and "8 apples" in shown
    publish_toy(toy_root)
    assert paths.results_folder() != paths.published_folder()
    assert main(["list"]) == 0 and main(["claims", "toy"]) == 0
    listed, claims = capsys.readouterr().out.split("minutes: what the default studies took")
    assert re.search(r"A toy +toys +2 +C1✗ +4 *\n", listed)
    assert re.search(r"C1 A higher rate gets further. +1.0 nats +\+1.5 \[\+1.25, \+2\] nats +✗ fails", claims)
    assert "below what matters" in claims and claims.count("not published") == 1


def test_the_report_is_where_the_run_says(
    toy_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    monkeypatch.setenv("ENCORE_RESULTS", str(own))
    monkeypatch.chdir(tmp_path)
    assert main(["run", "paper=toy", "study=ready", "scale=smoke", "tracking=none", "workers=1"]) == 0
    shown = capfd.readouterr().out
    assert shown.endswith(" encore report makes pages of it: own/report/index.html\n")
    [verdict] = re.findall(r"ready: (\S+)\n", shown)
    assert (tmp_path / verdict / "claims.json").is_file()
    assert main(["report"]) == 0
    assert Path(capfd.readouterr().out.strip()) == own / "report" / "index.html"
    page = (own / "report" / "toy.html").read_text()
    assert f"$ENCORE_RESULTS/{Path(verdict).relative_to('own')}" in page and str(own) not in page


def test_new_files_are_named_from_here(
    toy_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "another"]) == 0
    named = [line for line in capfd.readouterr().out.splitlines() if line.endswith((".py", ".yaml"))]
    assert len(named) == 5 and all((tmp_path / name).is_file() for name in named)


def test_every_variable_is_documented() -> None:
    read = {
        name
        for path in (PROJECT / "core").rglob("*.py")
        for name in re.findall(r"environ\.get\(\"(ENCORE_\w+)\"", path.read_text(encoding="utf-8"))
    }
    table = re.findall(r"^\| `(ENCORE_\w+)` \|", (PROJECT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(table) == sorted(read) == ["ENCORE_CACHE", "ENCORE_DATA", "ENCORE_RESULTS", "ENCORE_ROOT"]


def test_controls_and_smoke_runs_have_one_wording() -> None:
    places = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md"), *(PROJECT / "core").rglob("*.py")]
    places += [*(PROJECT / "core").rglob("*.j2"), *(PROJECT / "configs").glob("*.yaml")]
    other = re.compile(
        r"fails? as (it|they) must|NOT separate|control (that )?must fail|smoke\W+seconds|seconds; decides"
    )
    found = {path.name: other.findall(path.read_text(encoding="utf-8")) for path in places}
    assert {name: words for name, words in found.items() if words} == {}
    assert "passes" in display.format_control(
        {"id": "C1", "control": {"name": "c", "verdict": "fails", "passes": True}}
    )


def test_a_paper_is_shown_by_its_claims_and_settings_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "lottery_ticket"]) == 0
    shown = capsys.readouterr().out
    assert 0 < shown.index("\nclaims\n") < shown.index("\nstudies (") and "learning_rate" not in shown
    assert main(["show", "lottery_ticket", "lenet"]) == 0
    assert "optimizer.learning_rate" in capsys.readouterr().out


def test_durations_come_from_clocks_that_never_go_back() -> None:
    """The wall clock may jump during a run: it is asked for dates, and for the age of sources, which are read anew when
    it went back."""
    wall = re.compile(r"time\.time\(|time_ns\(|datetime\.(?:now|today|utcnow)\(")
    asked = {
        path.relative_to(PROJECT).as_posix()
        for path in (PROJECT / "core").rglob("*.py")
        if wall.search(path.read_text(encoding="utf-8"))
    }
    assert asked == {"core/runs/provenance.py", "core/runs/source_cache.py", "core/tracking/trackers/trackio.py"}
