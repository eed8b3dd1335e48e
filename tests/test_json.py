"""What `--json` prints is what docs/json.md shows: every example there is made again and compared, name by name."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.cli import documents
from core.cli.main import main
from core.paths import project_root, runs_folder
from core.publishing.publish import EDITED, VERDICTS_CHANGED, PublishedState
from core.runs.sweep_folder import Sweep, SweepPoint, sweep_path, write_sweep

TEXT = (project_root() / "docs" / "json.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```\nencore ([^\n|]+)\n```\n\n```json\n(.*?)```", TEXT, re.DOTALL))
# Whose names are not those of the document: claims, arms, scales, keys of a sweep.
FREE = {"verdicts", "arms", "axes", "overrides", "select", "values"}
# Numbers or words, as the paper has them.
EITHER = {"value", "published"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with one sweep in it."""
    monkeypatch.setenv("ENCORE_RESULTS", str(tmp_path / "results"))
    objective = {"mean": 71.5, "low": 64.2, "high": 78.8, "n": 2}
    point = SweepPoint(0, {"settings.rate": "0.1"}, ("paper=toy",), ("toy-fit",), (0, 2), "finished", None, objective)
    wanted = {"study": "fit", "metric": "validation_loss", "arm": "fast", "select": {}, "direction": "min"}
    folder, axes = sweep_path(runs_folder(), "3fa2c1d09b7e"), {"settings.rate": ["0.1"]}
    write_sweep(Sweep("3fa2c1d09b7e", ("paper=toy",), "grid", axes, wanted, (point,), None, folder))
    return tmp_path


def differences(shown: Any, found: Any, place: str = "") -> Iterator[str]:
    """Where a document has other names or other kinds of values than an example; what is null fits every kind."""
    name = place.rpartition(".")[2]
    if shown is None or found is None or name in EITHER:
        return
    kinds = [float if type(each) is int else type(each) for each in (shown, found)]
    if kinds[0] is not kinds[1]:
        yield f"{place}: {kinds[0].__name__} shown, {kinds[1].__name__} found"
    elif isinstance(shown, dict) and name not in FREE:
        yield from (f"{place}.{each}" for each in shown.keys() ^ found.keys())
        for each in shown.keys() & found.keys():
            yield from differences(shown[each], found[each], f"{place}.{each}")
    elif isinstance(shown, list) and shown and found:
        yield from differences(shown[0], found[0], f"{place}[]")


def test_the_comparison_sees_names_and_kinds() -> None:
    shown = {"a": 1, "b": [{"c": "x"}], "verdicts": {"C1": "holds"}, "d": None}
    assert not list(differences(shown, {"a": 1.5, "b": [{"c": "y"}, {}], "verdicts": {}, "d": 3}))
    assert list(differences(shown, {"a": "1", "b": [{"e": "y"}], "verdicts": {}})) != []
    assert list(differences({"a": {"b": 1}}, {"a": {"b": "1"}})) == [".a.b: float shown, str found"]


def test_every_command_has_an_example() -> None:
    assert {words.split()[0] for words in EXAMPLES} == {"list", "show", "plan", "check", "sweeps", "run"}
    assert len(EXAMPLES) == 7 and all(words.endswith("--json") for words in EXAMPLES)


@pytest.mark.parametrize("words", EXAMPLES)
def test_a_command_prints_what_its_example_shows(words: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracking = ["tracking=none"] if words.startswith("run") else []
    assert main([*words.split(), *tracking]) == 0
    printed = capsys.readouterr()
    found, shown = json.loads(printed.out), json.loads(EXAMPLES[words])
    assert (found["version"], found["command"]) == (1, words.split()[0])
    assert not list(differences(shown, found))
    assert bool(printed.err) == words.startswith("run"), "a run tells its progress there, others are silent"


def test_numbers_that_json_lacks_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    documents.print_json("sweeps", values=(1.5, float("inf"), {"low": float("nan")}), sign="✓")
    printed = capsys.readouterr().out
    expected = {"version": 1, "command": "sweeps", "values": [1.5, None, {"low": None}], "sign": "✓"}
    assert json.loads(printed) == expected and printed.isascii()


def test_a_sweep_that_is_named_comes_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweeps", "3fa2", "--json"]) == 0
    [sweep] = json.loads(capsys.readouterr().out)["sweeps"]
    assert sweep["ranked"] == [0] and sweep["states"]["finished"] == 1


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (PublishedState("laptop", "fit", "renew (12 min)", "rate"), ("fit", "renew", 12, "rate")),
        (PublishedState("laptop", "fit", VERDICTS_CHANGED, ""), ("fit", "verdict logic changed", None, "")),
        (PublishedState("laptop", "*", EDITED, "x changed"), (None, "edited by hand", None, "x changed")),
    ],
)
def test_states_are_words_and_minutes(state: PublishedState, expected: tuple) -> None:
    [paper] = documents.check_document({"toy": [state]})["papers"]
    assert tuple(paper["results"][0][name] for name in ("study", "state", "minutes", "detail")) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("show lottery_tiket --json", "unknown paper 'lottery_tiket': did you mean 'lottery_ticket'?"),
        ("check --json --spot", "--json says how results stand and changes nothing: leave --spot out"),
        ("plan --check --json", "--json speaks of what runs would cost: leave --check and --document out"),
        ("run --json -m paper=lottery_ticket", "--json speaks of one finished run: leave -m, --cfg,"),
        ("sweeps 77 --json", "unknown sweep '77': choose from 3fa2c1d09b7e"),
    ],
)
def test_an_error_stays_one_line_and_prints_no_document(
    words: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(f"encore: {message}")
    assert len(printed.err.splitlines()) == 1
