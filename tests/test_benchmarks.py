"""The harness of the benchmarks, and every comparison of ours at a tiny size, without its foreign peers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import forecasts, results, scaling, sweeps, tracking
from benchmarks.harness import Benchmark, Label, Options, compare_rates, run_benchmark
from benchmarks.peers import Work
from benchmarks.results import Result
from benchmarks.timing import fit_exponent, fit_line, ratios, take_turns, time_command
from core.launch.compose import compose_launch
from core.runs.provenance import assert_publishable
from core.sweeps.sweep_command import expand_points
from tests import toy_benchmark

BENCHMARKS = command.find_benchmarks()
TOYS = {each.name: each for each in toy_benchmark.BENCHMARKS}


def run(benchmark: Benchmark, quick: bool = True, sizes: Mapping[str, Any] | None = None, rounds: int = 1) -> Result:
    chosen = command.choose_sizes(benchmark, quick, [])
    vars(chosen).update(sizes or {})
    return run_benchmark(benchmark, Options(chosen, rounds, [0, 0], [], quick))


# --- the harness ------------------------------------------------------------------------------------------------------


def test_sides_in_processes_of_their_own_agree_and_are_timed() -> None:
    result = run(TOYS["sums"], quick=False, rounds=3)
    rates, faster = result.tables["numbers/s"], result.tables["encore is … times as fast as"]
    assert list(rates) == [f"sum: {who}" for who in (
        "encore, pinned", "loop, slow, pinned", "encore, one process", "loop, slow, one process"
    )]  # fmt: skip
    assert all(len(row["rounds"]) == 3 for row in rates.values())
    # Nine numbers in somewhat more than 10 ms: by one process, or by two at the same time.
    assert (
        0
        < rates["sum: loop, slow, one process"]["highest"]
        < 900
        < 2 * 900
        > rates["sum: loop, slow, pinned"]["highest"]
    )
    assert list(faster) == ["sum: loop, slow, pinned", "sum: loop, slow, one process"]
    assert result.agreement == {"sum: encore": 0.0, "sum: loop, slow": 0.0}
    assert result.facts["encore"] == {"threads": 1}
    assert {"python", "numpy"} <= set(result.provenance["versions"])
    low, high = faster["sum: loop, slow, pinned"]["lowest"], faster["sum: loop, slow, pinned"]["highest"]
    assert (
        TOYS["sums"].summary(
            {"encore is … times as fast as": {"sum: loop, slow": {"median": 2, "lowest": 1.5, "highest": 3}}}
        )
        == "2 (1.5 to 3) times as fast as loop"
    )
    assert low <= high


def test_nothing_is_timed_where_results_disagree() -> None:
    with pytest.raises(SystemExit, match=r"not the same work: sum: loop, slow differs by 2.2e-03 of the largest"):
        run(TOYS["sums"], sizes={"error": 0.1})
    assert run(TOYS["sums"], sizes={"error": 1e-5}).agreement["sum: loop, slow"] == pytest.approx(1e-5 / 45)


def test_a_process_that_ends_early_says_why() -> None:
    with pytest.raises(SystemExit, match=r"broken ended early: ValueError: 1 arrays are too few"):
        run(TOYS["broken"], quick=False)


def test_a_peer_without_an_interpreter_is_left_out_and_named() -> None:
    result = run(TOYS["lonely"], quick=True)
    assert result.left_out == ["absent"]
    assert list(result.tables) == ["numbers/s"]


def test_the_best_layout_is_the_reference() -> None:
    rates = {
        Label("a", "encore", "", "pinned"): [1.0, 2.0],
        Label("a", "encore", "", "one process"): [4.0, 6.0],
        Label("a", "encore", "other", "pinned"): [2.0, 2.0],
        Label("a", "torch", "", "pinned"): [2.0, 12.0],
        Label("b", "torch", "", "pinned"): [1.0, 1.0],
    }
    assert compare_rates(rates, "encore") == {"a: encore, other, pinned": [2, 3], "a: torch, pinned": [2, 0.5]}


def test_runs_take_turns_and_each_round_begins_with_another() -> None:
    seen: list[str] = []

    def call(name: str) -> Any:
        return lambda: seen.append(name) or {"order": len(seen)}

    found = take_turns({name: call(name) for name in "abc"}, 3, limits={"b": 1}, pause=0)
    assert "".join(seen) == "abc" + "ca" + "ac"
    assert found == {"order": {"a": [1, 5, 6], "b": [2], "c": [3, 4, 7]}}
    assert ratios([4, 9], [2, 3, 1]) == [2, 3]


def test_lines_and_powers_by_hand() -> None:
    assert fit_line([1, 2, 3], [5, 7, 9]) == pytest.approx({"start": 3, "each": 2, "largest residual": 0}, abs=1e-9)
    assert fit_exponent([1, 10, 100], [2, 200, 20_000]) == pytest.approx(2)


def test_a_command_that_fails_is_shown_with_its_last_line() -> None:
    assert set(time_command(["true"])) == {"clock", "processors"}
    with pytest.raises(SystemExit, match=r"^ls /nowhere/at/all: ls: .*No such file"):
        time_command(["ls", "/nowhere/at/all"])


def test_a_result_is_kept_in_lines_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    result = Result("one", "work", provenance={"load": [1.5, 1.0], "cores": 2})
    result.add("seconds", {"a": [0.123456, 0.3, 0.2], "b": 7})
    text = results.write_result(result).read_text(encoding="utf-8")
    assert '   "a": { "median": 0.2, "lowest": 0.1235, "highest": 0.3, "rounds": [ 0.1235, 0.3, 0.2 ] },\n' in text
    assert results.read_result("one") == result.content()
    assert results.was_busy(result.provenance)
    assert not results.was_busy({"load": [0.5], "cores": 2})


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lenet_step"], "unknown benchmark 'lenet_step': did you mean 'lenet_steps'?"),
        (["tracking", "--size", "iteration=5"], "unknown size of tracking 'iteration': did you mean 'iterations'?"),
        (["tracking", "--size", "iterations=five"], "--size iterations: 'five' is not JSON"),
    ],
)
def test_bad_words_are_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(words) == 2
    assert capsys.readouterr().err == f"benchmarks: {says}\n"


def test_a_quick_result_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(command, "find_benchmarks", lambda: TOYS)
    assert command.main(["alone", "--quick"]) == command.main(["alone", "--size", "count=4"]) == 0
    assert command.main(["lonely"]) == 0
    said = capsys.readouterr().out
    for reason in ("tiny sizes, not comparable", "other sizes", "no --peer-python can import what absent needs"):
        assert f"not kept: {reason}" in said
    assert not list(tmp_path.iterdir())
    assert command.main(["alone"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["alone.json"]


def test_the_table_says_what_the_results_say() -> None:
    text = command.README.read_text(encoding="utf-8")
    assert text == command.with_table(text, command.make_table(BENCHMARKS)), "run `python -m benchmarks --table`"
    assert len(text.splitlines()) <= 60


def test_every_result_belongs_to_a_benchmark_and_names_no_machine() -> None:
    kept = {path.stem: results.read_result(path.stem) for path in results.FOLDER.glob("*.json")}
    assert set(kept) <= set(BENCHMARKS)
    for content in kept.values():
        assert_publishable(content)
        assert content["provenance"]["commit"]


# --- what is measured -------------------------------------------------------------------------------------------------

# One benchmark for each way to build a reference here; others differ from it in their sizes alone.
OURS = {each.peers[0].build: name for name, each in BENCHMARKS.items() if each.peers and not each.peers[0].environment}


@pytest.mark.parametrize("name", OURS.values())
def test_our_side_of_every_comparison_runs_at_a_tiny_size(name: str) -> None:
    result = run(BENCHMARKS[name])
    assert result.left_out == [peer.name for peer in BENCHMARKS[name].peers if peer.foreign]
    assert all(": encore" in row or ": flax" in row for row in next(iter(result.tables.values())))
    assert "{" not in result.work


def test_replicates_and_batches_are_spread_over_devices() -> None:
    works = []
    for devices in (1, 2):
        work = Work(command.choose_sizes(BENCHMARKS["scaling_devices"], True, []))
        scaling.build_devices(devices, work, {})
        works.append(work)
    for key, array in works[0].results.items():
        assert array == pytest.approx(works[1].results[key], rel=1e-5)


def words_of_runs() -> dict[str, list[str]]:
    """The words of all runs that are measured, by what they are for."""
    found = {f"tracking, {name}": tracking.run_words(name, "laptop", 2000) for name in tracking.TRACKERS}
    found |= {f"forecasts {n}": words for n, words in enumerate(forecasts.run_words("lottery_ticket", "lenet"))}
    for name, words in (("nothing", sweeps.NOTHING), ("training", sweeps.TRAINING)):
        found[f"sweeps, {name}"] = list(words)
    return found | {"scaling": [*scaling.RUN, "replicates=8", "workers=1"]}


@pytest.mark.parametrize("name", words_of_runs())
def test_the_words_of_measured_runs_are_understood(name: str) -> None:
    assert compose_launch(words_of_runs()[name]).studies


def test_the_points_of_measured_sweeps_are_understood() -> None:
    words = [*sweeps.NOTHING, sweeps.axis(sweeps.point_values(3))]
    assert [compose_launch(point).studies[0].settings.prune_output for point in expand_points(words)] == [
        0.05,
        0.0501,
        0.0502,
    ]
