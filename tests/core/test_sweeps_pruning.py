"""Points that stop early, by rules of Optuna's that are checked by hand, and sweeps as files for wandb's controller."""

from pathlib import Path

import pytest
import yaml

from core.cli.main import main
from core.runs import sweep_folder
from core.runs.sweep_folder import SweepPoint
from core.sweeps import pruning, search, sweep_command
from core.sweeps.pruning import running_means, should_prune

SWEEP = ("run", "-m", "paper=toy", "study=fit", "scale=smoke", "tracking=none", "workers=1")
OBJECTIVE = ("objective.metric=loss", "objective.arm=fast", "objective.direction=min")


def point(number: int, *means: float, state: str = "finished") -> SweepPoint:
    return SweepPoint(number, {"settings.rate": f"{number}"}, (), (), (0, 4), state, means=means)


def test_running_means() -> None:
    assert running_means([1.0, 3.0, 8.0], "min") == [1.0, 2.0, 4.0]
    assert running_means([1.0, float("inf")], "min")[1] > 1e300
    assert running_means([1.0, float("inf")], "max")[1] < -1e300, "what is never reached is the worst, not the best"
    assert running_means([], "min") == []


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_median_of_the_others_on_as_many_replicates_decides(direction: str) -> None:
    sign = 1 if direction == "min" else -1
    others = [point(k, *(sign * value for value in (k, k + 0.5, k + 1))) for k in range(1, 6)]  # medians 3, 3.5, 4
    for means, pruned in (([2.9], False), ([3.1], True), ([2.0, 3.4], False), ([3.6, 3.6], True)):
        assert should_prune("median", direction, [sign * mean for mean in means], others) == pruned
    assert not should_prune("median", direction, [99.0 * sign], others[: pruning.WARMUP_POINTS - 1])
    unfinished = [point(9, -9.0 * sign, state="pruned")] * 9
    assert not should_prune("median", direction, [99.0 * sign], unfinished), "pruned ones are no yardstick"


def test_halving_lets_the_better_half_go_on() -> None:
    """After 1, 2 and 4 replicates."""
    others = [point(1, 1.0, 1.0, 1.0, 1.0), point(2, 2.0, 2.0), point(3, 3.0)]
    assert not should_prune("halving", "min", [1.5], others)
    assert should_prune("halving", "min", [2.5], others)
    assert should_prune("halving", "min", [0.5, 1.5], others), "of three that came to 2 replicates the best goes on"
    assert not should_prune("halving", "min", [0.5, 0.9, 9.0], others), "3 replicates are no rung"
    assert not should_prune("halving", "max", [9.0, 9.0], others)


def test_bad_points_stop_and_say_so(
    toy_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At rates of 0.02 and 0.01 the bowl's loss falls least: these two are known to be worse than the median."""
    monkeypatch.chdir(tmp_path)
    words = [*SWEEP, "settings.rate=0.5,0.4,0.3,0.2,0.02,0.01", "replicates=2", *OBJECTIVE]
    assert main([*words, "sweeper.pruner=median"]) == 0
    [sweep] = sweep_folder.read_sweeps(tmp_path / "results" / "runs")
    assert [each.state for each in sweep.points] == ["finished"] * 4 + ["pruned"] * 2 and sweep.pruner == "median"
    for each in sweep.points:
        done = list((tmp_path / "results" / "runs" / each.runs[0]).glob("replicates/00000?/done.json"))
        assert len(done) == len(each.means) == (2 if each.state == "finished" else 1)
    shown = capfd.readouterr().out
    assert "pruned after 1 of 2 replicates, mean" in shown and "2 pruned, 4 finished" in shown
    assert main(["sweeps", sweep.identity[:4]]) == 0
    shown = capfd.readouterr().out
    assert "bad points pruned by the median rule" in shown and "↓ pruned" in shown
    assert main([*words, "sweeper.pruner=median"]) == 0, "what was pruned stays so"
    assert main(words) == 0, "and is taken up again without a pruner"
    [sweep] = sweep_folder.read_sweeps(tmp_path / "results" / "runs")
    assert sweep.count_points("finished") == 6 and sweep.pruner == "none"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweeper.pruner=medain", *OBJECTIVE], "unknown sweeper.pruner 'medain': did you mean 'median'?"),
        (["sweeper.pruner=median"], "a pruner needs to know what is better"),
        (["sweeper.pruner=median", "launcher=vectorised", *OBJECTIVE], "choose another launcher"),
        (["sweeper.pruner=halving", "replicates=1", *OBJECTIVE], "replicates=2 or more"),
    ],
)
def test_pruners_are_refused_in_one_line(
    toy_root: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SWEEP, "settings.rate=0.1,0.2", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_pruned_point_is_told_to_the_search(toy_root: Path) -> None:
    command = sweep_command.parse_command([*SWEEP[2:], "settings.rate=interval(0.1,2)"])
    space = {key: search._distribution(override) for key, override in command.axes.items()}
    told = search._trial(point(1, 3.0, 2.0, state="pruned"), space)
    assert told.state.name == "PRUNED" and told.intermediate_values == {1: 3.0, 2: 2.0}
    assert search._trial(point(1, state="failed"), space).state.name == "FAIL"


# The file for wandb's controller


def written(tmp_path: Path, *words: str, sweeper: str, objective: dict | None = None, points: int = 3) -> Path:
    folder = sweep_folder.sweep_path(tmp_path / "results" / "runs", "0123456789ab")
    listed = tuple(point(number) for number in range(points))
    sweep_folder.write_sweep(sweep_folder.Sweep("0123456789ab", words, sweeper, {}, objective, listed, None, folder))
    return tmp_path / "sweep.yaml"


def test_a_search_as_a_file_for_wandb(toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axes = (
        "settings.rate=tag(log,interval(0.001,10))",
        "settings.steps=int(interval(5,60))",
        "settings.mode=plain,fancy",
    )
    objective = {"study": "fit", "metric": "loss", "arm": "fast", "select": {"density": 20}, "direction": "min"}
    fixed = ("paper=toy", "study=fit", "scale=smoke", "replicates=2")
    words = (*fixed, "tracking=none", *axes, "sweeper=tpe", "sweeper.trials=3", *OBJECTIVE)
    file = written(tmp_path, *words, sweeper="tpe", objective=objective)
    assert main(["sweeps", "0123", "--wandb", str(file)]) == 0
    assert "wandb sweep" in capsys.readouterr().out
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert found["program"] == "encore" and found["method"] == "bayes" and found["run_cap"] == 3
    assert found["command"] == [
        "encore", "run", *fixed, "tracking=wandb", "tracking.mode=online", "${args_no_hyphens}"
    ]  # fmt: skip
    assert found["metric"] == {"name": "loss/fast, density 20", "goal": "minimize"}
    assert found["parameters"] == {
        "settings.rate": {"distribution": "log_uniform_values", "min": 0.001, "max": 10.0},
        "settings.steps": {"distribution": "int_uniform", "min": 5, "max": 60},
        "settings.mode": {"values": ["plain", "fancy"]},
    }
    point_words = [*fixed, "tracking=none", "settings.rate=0.5", "settings.steps=7", "settings.mode=fancy"]
    assert main(["run", *point_words, "--cfg", "job"]) == 0, "a point as the agent spells it is a run"


def test_what_cannot_be_a_file_for_wandb(toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, "paper=toy", "study=[fit,ready]", "settings.rate=0.1,0.2", sweeper="grid")
    assert main(["sweeps", "0123", "--wandb", str(file)]) == 2 and "follows one study" in capsys.readouterr().err
    assert main(["sweeps", "--wandb", str(file)]) == 2 and "--wandb writes one sweep" in capsys.readouterr().err
    assert not file.exists()
