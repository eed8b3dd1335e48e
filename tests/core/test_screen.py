"""What a person reads: lengths of time, numbers, claims and controls, progress."""

import io
from typing import Any

import pytest
from rich.console import Console
from rich.table import Column, Table

from core import terminal
from core.launch.compose import compose_launch
from core.launch.jobs import make_job
from core.papers.claims import Printed
from core.planning.forecasting import Forecast
from core.running import display


def clause(**changes: Any) -> dict[str, Any]:
    found = {"estimate": 0.5, "low": 0.25, "high": 0.75, "unit_of_value": "points", "units": ["replicate"]}
    return {**found, **changes}


def claim(**changes: Any) -> dict[str, Any]:
    found = {"id": "C1", "statement": "It is better [a lot].", "published": 0.5, "verdict": "holds", "note": ""}
    return {**found, "clauses": [clause()], **changes}


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(0, "0 s"), (0.5, "30 s"), (1, "1 min"), (11.4, "11 min"), (119, "119 min"), (120, "2.0 h"), (3000, "2.1 days")],
)
def test_lengths_of_time(minutes, said):
    assert terminal.format_duration(minutes) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "+0.5 [+0.25, +0.75] points"),
        ({"high": None}, "+0.5 [+0.25, ∞] points"),
        ({"low": None, "unit_of_value": None}, "+0.5 [-∞, +0.75]"),
        ({"units": None}, "+0.5 points"),
        ({"estimate": None, "low": None, "high": None}, "-"),
        ({"estimate": None, "low": 2.0, "high": None}, "∞ [+2, ∞] points"),
        ({"estimate": -1234.5, "low": -1e-5, "high": 0.0}, "-1,234 [-1e-05, +0] points"),
    ],
)
def test_a_clause_with_its_interval(changes, said):
    assert display.format_clause(clause(**changes)) == said


def test_a_claim_as_a_row():
    printed = Printed(value=0.5, unit="points", where="table 1")
    row = display.claim_cells(claim(note="small", clauses=[clause(), clause(units=None)]), printed)
    assert row == (
        "C1 It is better [a lot].",
        "0.5 points",
        "+0.5 [+0.25, +0.75] points\n+0.5 points",
        "✓ holds\nsmall",
    )


@pytest.mark.parametrize("verdict", ["holds", "fails", "undecided", "not testable"])
def test_every_verdict_has_its_mark(verdict):
    assert display.claim_cells(claim(verdict=verdict), None)[3].endswith(verdict)


@pytest.mark.parametrize(
    ("verdict", "passes", "said"),
    [
        ("fails", True, "passes"),
        ("holds", False, "does NOT pass (holds): the claim proves nothing"),
        ("fails", False, "does NOT pass (fails): its effect cannot be told from the claim's"),
        ("not testable", False, "not testable"),
    ],
)
def test_how_a_control_came_out(verdict, passes, said):
    line = display.format_control(claim(control={"name": "chance", "verdict": verdict, "passes": passes}))
    assert line == f"control of C1 (chance): {said}"


@pytest.mark.parametrize(("studies", "said"), [(1, False), (2, True)])
def test_only_several_studies_are_forecast_together(toy_root, capsys, studies, said):
    launch = compose_launch(["paper=toy", "study=all", "scale=smoke"])
    jobs = [make_job(launch, chosen) for chosen in launch.studies[:studies]]
    display.RunDisplay().print_header(launch, jobs, [Forecast(2.5, 1.0, 1, "", 0)] * studies)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.startswith("toy · smoke scale") and len(lines) == studies + said
    assert all("from 0, forecast" in line for line in lines[:studies])
    assert (lines[-1] == " forecast 5 min together") is said


def test_square_brackets_are_text(capsys):
    display.RunDisplay().print_line("[bold]a[/bold] [link=x]b")
    assert capsys.readouterr().out == " [bold]a[/bold] [link=x]b\n"


def lines(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_progress_off_a_terminal_is_a_line_now_and_then(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("core.terminal.time.monotonic", lambda: clock[0])
    console = lines(terminal=False)
    with terminal.ProgressBar(console, "fit training", 200) as progress:
        for now, steps in ((1.0, 10), (30.0, 40), (31.0, 10), (60.0, 40)):
            clock[0] = now
            progress.advance(steps)
    assert written(console).splitlines() == [
        " fit training: 25 %, 30 s, about 2 min left",
        " fit training: 50 %, 1 min, about 1 min left",
    ]


def test_progress_without_a_known_end(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("core.terminal.time.monotonic", lambda: clock[0])
    console = lines(terminal=False)
    with terminal.ProgressBar(console, "ready preparing", 0) as progress:
        clock[0] = 21.0
        progress.advance(5)
    assert written(console).splitlines() == [" ready preparing: 5 steps, 21 s"]


def test_progress_on_a_terminal_is_a_bar():
    console = lines(terminal=True)
    with terminal.ProgressBar(console, "fit training", 20) as progress:
        progress.advance(20)
    assert "fit training" in written(console) and "20/20" in written(console)


def test_paths_are_shown_from_here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert str(terminal.short_path(tmp_path / "here" / "results" / "x")) == "results/x"
    assert terminal.short_path(tmp_path / "elsewhere") == str(tmp_path / "elsewhere")


# Tables


def shown_table(width: int) -> list[str]:
    table = Table("paper", "title", Column("run", no_wrap=True), "note", box=None, pad_edge=False)
    table.add_row("lottery_ticket", "Finding Sparse, Trainable Neural Networks", "a b", "")
    table.add_row("ntk", "Convergence and Generalization", "c", "odd")
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    terminal.print_table(console, table)
    return [line.rstrip() for line in written(console).splitlines()]


@pytest.mark.parametrize("width", [43, 50, 60, 80, 200])
def test_tables_keep_every_word_whole(width: int) -> None:
    found = shown_table(width)
    assert all(len(line) <= width for line in found)
    assert found[0].split() == ["paper", "title", "run", "note"]
    words = " ".join(found).split()
    assert {"lottery_ticket", "Trainable", "Networks", "Generalization", "odd"} <= set(words)
    assert any("a b" in line for line in found), "a column that may not wrap was wrapped"


@pytest.mark.parametrize("width", [20, 40])
def test_a_narrow_console_gets_a_line_for_each_cell(width: int) -> None:
    found = shown_table(width)
    assert all(len(line) <= width for line in found)
    text = " ".join(" ".join(found).split())
    assert text == (
        "lottery_ticket title: Finding Sparse, Trainable Neural Networks run: a b "
        "ntk title: Convergence and Generalization run: c note: odd"
    )
    assert "note:" not in found[: found.index("")], "an empty cell is left out"


@pytest.mark.parametrize(("columns", "width"), [(None, 120), ("40", 40), ("200", 200), ("wide", 120)])
def test_output_that_is_piped_heeds_the_columns_asked_for(
    monkeypatch: pytest.MonkeyPatch, columns: str | None, width: int
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert terminal.console(io.StringIO()).width == width
