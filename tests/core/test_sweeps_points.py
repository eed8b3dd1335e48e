"""From words to points: what a sweep is before anything runs, its identity, its objective, and every refusal."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats as oracle

from core.cli.main import main
from core.errors import BadInput, Stopped, Unfinished
from core.launch import compose, jobs
from core.launch.hydra_queries import search_path_words
from core.runs import measurements
from core.runs.sweep_folder import Sweep, SweepPoint
from core.sweeps import objective, run_point, search, sweep_command
from core.sweeps.objective import Objective
from tests.toy import CONFIG, EXPERIMENT, SETTINGS, write_paper

WORDS = ("paper=toy", "study=fit", "scale=smoke")


@pytest.fixture(autouse=True)
def here(toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, so that anything written shows."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def identity(*words: str) -> str:
    return sweep_command.grid_identity(sweep_command.parse_command(words))


def test_the_last_of_the_words_that_all_points_share_counts():
    command = sweep_command.parse_command([*WORDS, "workers=1", "workers=3", "settings.rate=0.1,0.2"])
    assert (command.shared_value("workers", "2"), command.shared_value("device", "auto")) == ("3", "auto")


def test_a_grid_is_every_combination_once():
    words = ("paper=toy", "settings.rate=0.1,0.2,0.1", "settings.steps=range(7,10)", "settings.widths=[1],[2,3]")
    found = sweep_command.expand_sweep(words)
    assert len(found) == len({tuple(point) for point in found}) == 2 * 3 * 2
    assert found[0] == ["paper=toy", "settings.rate=0.1", "settings.steps=7", "settings.widths=[1]"]
    assert found[1][-1] == "settings.widths=[2,3]"
    assert sweep_command.expand_sweep(["paper=toy"]) == [["paper=toy"]]


def test_an_identity_is_that_of_the_set_of_points():
    same = identity(*WORDS, "settings.rate=0.1,0.2", "settings.steps=7,8")
    assert len(same) == 12 and int(same, 16) >= 0
    assert same == identity("settings.steps=8,7", *WORDS, "settings.rate=0.2,0.1")
    assert same == identity(*WORDS, "settings.rate=0.1,0.2", "settings.steps=7,8", "workers=1", "tracking=none")
    assert same == identity(*WORDS, "launcher=joblib", "settings.rate=0.1,0.2", "settings.steps=range(7,9)", "points=0")
    assert same != identity(*WORDS, "settings.rate=0.1,0.3", "settings.steps=7,8")
    assert same != identity(*WORDS, "settings.rate=0.1,0.2", "settings.steps=7,8", "replicates=2")


def test_a_point_knows_its_runs():
    checker = sweep_command.PointChecker(WORDS)
    found = checker.check_point(3, {"settings.rate": "0.25", "replicates": "5"})
    launch = compose.compose_launch([*WORDS, "settings.rate=0.25", "replicates=5"])
    assert found.runs == (jobs.make_job(launch, launch.studies[0]).run.identity,)
    assert (found.number, found.replicates, found.label()) == (3, (0, 5), "settings.rate=0.25 replicates=5")
    assert len(checker.compositions) == 1
    checker.check_point(4, {"settings.rate": "0.5", "replicates": "5"})
    assert len(checker.compositions) == 1, "settings are no part of what Hydra composes"


def test_several_papers_are_checked_one_by_one(toy_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def paced(text: str) -> str:
        return text.replace("rate:", "pace:").replace(".rate", ".pace").replace("learning_pace", "learning_rate")

    write_paper(toy_root, "other", *(paced(text) for text in (CONFIG, SETTINGS, EXPERIMENT)))
    checker = sweep_command.PointChecker(["study=fit", "scale=smoke"])
    found = [
        checker.check_point(n, {"paper": paper, "settings.steps": "9"}) for n, paper in enumerate(("toy", "other"))
    ]
    assert [point.runs[0].split("-")[0] for point in found] == ["toy", "other"] and len(checker.compositions) == 2
    assert main(["run", "-m", "paper=toy,other", "study=fit", "settings.rate=0.1,0.2"]) == 2
    assert "unknown setting 'rate': choose from every" in capsys.readouterr().err


def test_presets_and_further_arms_can_be_axes(here: Path) -> None:
    folder = here / "mine" / "preset"
    folder.mkdir(parents=True)
    for name, rate in (("gentle", 0.2), ("brisk", 0.9)):
        (folder / f"{name}.yaml").write_text(f"# @package _global_\nsettings: {{rate: {rate}}}\n")
    words = (*WORDS, "+preset=gentle,brisk", *search_path_words(str(here / "mine")))
    found = sweep_command.expand_sweep(words)
    assert [point[-1] for point in found] == ["+preset=gentle", "+preset=brisk"]
    launches = [compose.compose_launch(point) for point in found]
    assert [launch.studies[0].settings.rate for launch in launches] == [0.2, 0.9]
    checker = sweep_command.PointChecker(sweep_command.parse_command(words).fixed)
    alone = compose.compose_launch([*WORDS, "settings.rate=0.9"])
    assert checker.check_point(1, {"+preset": "brisk"}).runs == (jobs.make_job(alone, alone.studies[0]).run.identity,)
    other = sweep_command.parse_command((*WORDS, "+preset=gentle,brisk"))
    assert identity(*words) == sweep_command.grid_identity(other), "wherever the presets are"


@pytest.mark.parametrize(
    ("error", "leads", "stops"), [(Stopped, True, True), (Stopped, False, False), (Unfinished, True, False)]
)
def test_only_a_signal_to_the_process_that_leads_stops_the_whole_sweep(
    error: type[Unfinished], leads: bool, stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(words: tuple[str, ...]) -> None:
        raise error("cut short")

    monkeypatch.setattr(run_point.compose, "compose_launch", interrupted)
    asked: list[str] = []
    leader = SimpleNamespace(is_this_process=leads, request_stop=lambda: asked.append("stop"))
    sweep = Sweep("0123", WORDS, "grid", {}, None, (), None, Path())
    found = run_point.compute_point(sweep, SweepPoint(0, {}, WORDS, (), (0, 1)), leader)
    assert found == {"state": "interrupted", "message": "cut short", "code": 75} and asked == ["stop"] * stops


# Objectives


def test_an_objective_is_the_mean_over_replicates_with_its_t_interval():
    launch = compose.compose_launch([*WORDS, "replicates=4"])
    job = jobs.make_job(launch, launch.studies[0])
    values = np.array([[3.0, 1.0], [4.0, 2.5], [2.0, 2.0], [9.0, 1.5]])
    for number, (early, late) in enumerate(values):
        rows = [
            {"arm": arm, "step": step, "metric": "loss_curve", "value": value + (arm == "slow")}
            for arm in ("fast", "slow")
            for step, value in ((3, early), (7, late))
        ]
        measurements.write_rows(job.run.replicate_folder(number) / "measurements.jsonl", rows)
    for select, column in ({}, 1), ({"step": 3}, 0):
        found = Objective("fit", "loss_curve", "min", "fast", select).mean_interval(job)
        low, high = oracle.t.interval(0.95, 3, values[:, column].mean(), values[:, column].std(ddof=1) / 2)
        assert found is not None and found["n"] == 4
        assert np.allclose([found["mean"], found["low"], found["high"]], [values[:, column].mean(), low, high])
    with pytest.raises(BadInput, match="not one number"):
        Objective("fit", "loss_curve", "min", None, {}).mean_interval(job)


def test_an_objective_of_one_replicate_has_no_interval_and_an_infinite_one_is_none():
    launch = compose.compose_launch([*WORDS, "replicates=1"])
    job = jobs.make_job(launch, launch.studies[0])
    path = job.run.replicate_folder(0) / "measurements.jsonl"
    measurements.write_rows(path, [{"arm": "fast", "metric": "loss", "value": 2.0}])
    assert Objective("fit", "loss", "min", "fast").mean_interval(job) == {
        "mean": 2.0,
        "low": None,
        "high": None,
        "n": 1,
    }
    measurements.write_rows(path, [{"arm": "fast", "metric": "loss", "value": float("inf")}])
    assert Objective("fit", "loss", "min", "fast").mean_interval(job) is None


def test_what_is_measured_is_known_from_shapes():
    found = objective.list_measured_metrics(compose.compose_launch(["paper=toy"]), "fit")
    assert {metric for metric, _ in found} == {"loss", "loss_curve"}
    assert {about["arm"] for _, about in found} == {"fast", "slow", "slow_again"}


# Refusals

RATES = "settings.rate=0.1,0.2"
BETTER = "objective.metric=loss objective.arm=fast objective.direction=min"
REFUSALS = {
    "settings.rate=0.1,20": "settings.rate=20",
    "study=fit,redy": "did you mean 'ready'?",
    "paper=toy,tyo": "did you mean 'toy'?",
    "settings.rate=interval(0,1)": "sweeper=tpe",
    f"{RATES} launcher=joblb": "did you mean 'joblib'?",
    f"{RATES} launcher=joblib,ray": "launcher is one for the whole sweep",
    f"{RATES} launcher=joblib launcher.n_jbs=1": "did you mean 'launcher.n_jobs'?",
    f"{RATES} launcher=joblib launcher.n_jobs=many": "n_jobs",
    f"{RATES} launcher=slurm launcher.partitio=x": "did you mean 'launcher.partition'?",
    f"{RATES} sweeper=tpee": "did you mean 'tpe'?",
    f"{RATES} sweeper.trials=3": "add sweeper=tpe",
    f"{RATES} sweeper=tpe": "objective.metric",
    f"{RATES} sweeper=tpe {BETTER} sweeper.trials=0": "from 1 to 2000",
    f"{RATES} sweeper=tpe {BETTER} sweeper.trals=3": "did you mean 'sweeper.trials'?",
    f"sweeper=tpe {BETTER}": "something to vary",
    f"sweeper=tpe {BETTER} settings.rate=interval(0.1,20)": "settings.rate=20",
    f"sweeper=tpe {BETTER} settings.rate=interval(1,0.1)": "its ends must rise",
    f"sweeper=tpe {BETTER} settings.rate=tag(log,interval(0,1))": "positive on a logarithmic scale",
    f"{RATES} workers=1,2": "workers is one for the whole sweep",
    f"{RATES} points=[0,2]": "beyond the last point, 1",
    f"{RATES} points=all": "numbers of points",
    f"{RATES} points={sweep_command.MOST_POINTS}": "numbers of points",
    f"{RATES} objective.metrik=loss": "did you mean 'metric'?",
    f"{RATES} objective.direction=min": "objective.metric is missing",
    f"{RATES} objective.metric=loss objective.direction=low": "choose min or max",
    f"{RATES} objective.metric=los objective.direction=min": "did you mean 'loss'?",
    f"{RATES} objective.metric=loss objective.direction=min": "add objective.arm=fast|slow|slow_again",
    f"{RATES} objective.metric=loss objective.direction=min objective.arm=fats": "did you mean 'fast'?",
    f"{RATES} {BETTER} objective.study=redy": "unknown study in objective.study",
    f"{RATES} {BETTER} objective.select.density=3": "unknown column",
    f"{RATES} {BETTER} objective.select=3": "must name a column",
    f"{RATES} objective.metric=test_loss objective.direction=min": "never on test data",
    f"{RATES} objective.metric=final_test_accuracy objective.direction=max": "never on test data",
}


@pytest.mark.parametrize("line", REFUSALS)
def test_bad_sweeps_are_refused_in_one_line_and_nothing_is_written(
    line: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [word for word in WORDS if not any(other.startswith(word.partition("=")[0] + "=") for other in line.split())]
    assert main(["run", "-m", *own, *line.split()]) == 2
    printed = capsys.readouterr()
    [said] = printed.err.splitlines()
    assert said.startswith("encore: ") and REFUSALS[line] in said and printed.out == ""
    assert not (here / "results").exists() and not list((here / "here").iterdir())


def test_words_of_a_sweep_need_the_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("launcher=joblib", "sweeper=tpe", "objective.metric=loss", "points=[1]"):
        assert main(["run", *WORDS, word]) == 2
        assert "add -m" in capsys.readouterr().err


def test_a_launcher_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sweep_command.REQUIRED_EXTRAS, "ray", ("hydra_plugins.absent", "ray"))
    command = sweep_command.parse_command([*WORDS, RATES, "launcher=ray"])
    with pytest.raises(BadInput, match=r"encore-papers\[ray\]"):
        sweep_command.hydra_words(command, {"folder": "x", "point": 0, "jobs": 1})


@pytest.mark.parametrize("launcher", ["local", "vectorised", "joblib", "slurm", "slurm_local", "ray"])
def test_every_launcher_composes_and_takes_its_own_words(launcher: str) -> None:
    own = {"slurm": "launcher.additional_parameters.reservation=mine", "ray": "launcher.ray.init.namespace=mine"}
    command = sweep_command.parse_command([*WORDS, RATES, f"launcher={launcher}", *filter(None, [own.get(launcher)])])
    values = {"folder": "x", "point": 0, "jobs": 3, "workers": 2}
    words = [*sweep_command.hydra_words(command, values), *sweep_command.override_words(values)]
    found = sweep_command.compose_sweep(words)
    assert found["at_once"] == {"local": 1, "vectorised": 1, "slurm": 16}.get(launcher, 3)
    if launcher == "slurm":
        assert found["hydra"]["launcher"]["additional_parameters"] == {"reservation": "mine"}
        assert found["hydra"]["launcher"]["cpus_per_task"] == 2
    if launcher == "ray":
        assert found["hydra"]["launcher"]["ray"]["init"]["namespace"] == "mine"


def test_axes_are_shown_as_values_or_as_the_words_of_a_range():
    command = sweep_command.parse_command(
        [*WORDS, "settings.rate=tag(log,interval(0.1,1))", "settings.steps=range(7,10)"]
    )
    assert {key: search.axis_description(override) for key, override in command.axes.items()} == {
        "settings.rate": "tag(log,interval(0.1,1))",
        "settings.steps": ["7", "8", "9"],
    }
