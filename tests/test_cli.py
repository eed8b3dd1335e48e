"""The command line: help that is fast and light, one-line refusals that write nothing, sweeps, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from core.cli.main import COMMANDS, main
from core.errors import Stopped
from core.papers.config import load_config
from tests.limits import machine_seconds

SCRIPT = Path(sys.executable).with_name("encore")
PAPER = "paper=lottery_ticket"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with an empty results folder in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENCORE_RESULTS", str(tmp_path / "results"))
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What a command prints to its standard output, which must be all that it prints."""
    assert main(words) == code
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def refusal(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    """The one line with which a command is refused."""
    assert main(words) == code
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert line.startswith("encore: ")
    return line


# Help

LIST_MODULES = """
import sys, time
from core.cli.main import COMMANDS, main
spent = {}
LISTS = [["--help"], ["list"], ["show", "lottery_ticket"], ["claims", "lottery_ticket"]]
for words in [*LISTS, *([command, "--help"] for command in COMMANDS)]:
    started = time.process_time()
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    assert code == 0, words
    spent[time.process_time() - started] = words
heavy = {"jax", "jaxlib", "flax", "optax", "wandb", "trackio", "sklearn", "matplotlib"} & sys.modules.keys()
assert not heavy, heavy
print(max(spent), spent[max(spent)], time.process_time(), file=sys.stderr)
"""


def test_looking_around_is_light_and_quick(here: Path) -> None:
    """Help of every command, list and show, in one process; seconds of processor time, which others cannot take."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES], capture_output=True, text=True, timeout=machine_seconds(60), check=False
    )
    assert done.returncode == 0, done.stderr
    slowest, *_, together = done.stderr.split()
    assert float(slowest) < machine_seconds(1) and float(together) < machine_seconds(5), done.stderr
    for command in COMMANDS:
        assert f"usage: encore {command}" in done.stdout
    assert not list(here.iterdir())


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for words, taught in {
        (): ("run", "list", "show", "publish"),
        ("run", "-h"): ("settings.<name>=", "study=", "first_replicate", "-m", "exit codes", "75"),
        ("plan", "-h"): ("--on",),
        ("fetch", "-h"): ("login node",),
        ("check", "-h"): ("--spot",),
        ("board", "-h"): ("--port", "127.0.0.1", "trackio"),
        ("sync", "-h"): ("--rebuild", "wandb login", "75"),
        ("completion", "-h"): ("eval",),
    }.items():
        if words:
            with pytest.raises(SystemExit) as ended:
                main(words)
            assert ended.value.code == 0
        else:
            assert main(words) == 0
        printed = capsys.readouterr()
        assert not [word for word in taught if word not in printed.out] and not printed.err


def test_the_module_is_the_command(here: Path) -> None:
    """From another working directory, byte for byte."""
    ways = ([str(SCRIPT)], [sys.executable, "-m", "experiments"])
    for words in (["show", "lottery_ticket"], ["show", "lottery"]):
        found = [
            subprocess.run([*way, *words], capture_output=True, timeout=machine_seconds(60), check=False)
            for way in ways
        ]
        assert found[0].returncode == found[1].returncode == (2 if words[-1] == "lottery" else 0)
        assert found[0].stdout == found[1].stdout and found[0].stderr == found[1].stderr
    assert not list(here.iterdir())


# Refusals

REFUSALS = {
    "run": "which paper",
    "run paper=lotery_ticket": "unknown paper 'lotery_ticket': did you mean 'lottery_ticket'?",
    f"run {PAPER} scal=smoke": "unknown key 'scal': did you mean 'scale'?",
    f"run {PAPER} scale=smok": "scale='smok' is not a valid choice: did you mean 'smoke'?",
    f"run {PAPER} study=lene": "unknown study of lottery_ticket 'lene': did you mean 'lenet'?",
    f"run {PAPER} study=[lenet,con]": "did you mean 'conv'?",
    f"run {PAPER} tracking=wandbb": "unknown tracking 'wandbb': did you mean 'wandb'?",
    f"run {PAPER} tracking.mode=ofline": "offline",
    f"run {PAPER} tracking.projekt=x": "project",
    f"run {PAPER} tracking=trackio tracking.mode=online": "choose from offline, disabled",
    f"run {PAPER} device=gpu": "device='gpu' is not a valid choice",
    f"run {PAPER} axis=vmapp": "did you mean 'vmap'?",
    f"run {PAPER} settings.training.iteration=5": "did you mean 'training.iterations'?",
    f"run {PAPER} settings.optimizer.learning_rat=5": "did you mean 'optimizer.learning_rate'?",
    f"run {PAPER} studies.lenett.settings.reinit=[5]": "did you mean 'lenet'?",
    f"run {PAPER} studies.conv.settings.reinit=[5]": "study 'conv' is not selected",
    f"run {PAPER} settings.training.iterations=many": "must be a whole number",
    f"run {PAPER} settings.training.iterations=1.5": "must be a whole number",
    f"run {PAPER} settings.data.augment=1": "must be true or false",
    f"run {PAPER} settings.network.hidden=300": "must be a list",
    f"run {PAPER} settings.optimizer=adam": "must be a group of settings",
    f"run {PAPER} settings.optimizer.name=adamm": "did you mean 'adam'?",
    f"run {PAPER} settings.optimizer.momentum=0.9": "takes no momentum; it belongs to sgd, rmsprop",
    f"run {PAPER} settings.data.name=mnis": "did you mean 'mnist'?",
    f"run {PAPER} settings.pruning.scope=layers": "did you mean 'layer'?",
    f"run {PAPER} settings.pruning.dense=1.0": "must lie in [0, 1)",
    f"run {PAPER} settings.pruning.dense=-0.1": "must lie in [0, 1)",
    f"run {PAPER} studies.ladder.settings.prune=0": "must lie in (0, 1)",
    f"run {PAPER} settings.pruning.dense=nan": "finite",
    f"run {PAPER} settings.pruning.rounds=0": "must lie in (0, inf)",
    f"run {PAPER} settings.pruning.rounds=70": "less than one weight",
    f"run {PAPER} settings.pruning.rounds=3": "settings.pruning.rounds=3 does not go with settings.reinit=",
    f"run {PAPER} settings.data.validation=60000": "leaves too few of the 60000 examples",
    f"run {PAPER} replicates=0": "replicates=0 is out of range: it must lie in [1, 10000]",
    f"run {PAPER} replicates=two": "must be a whole number",
    f"run {PAPER} first_replicate=-1": "first_replicate=-1 is out of range",
    f"run {PAPER} workers=0": "workers=0 is out of range",
    f"run {PAPER} budget.minutes=0": "budget.minutes=0 is out of range",
    f"run {PAPER} settings.training.batch": "is not an override",
    f"run {PAPER} settings.training.batch=": "must be a whole number",
    f"run {PAPER} settings.training.batch=100,200": "add -m",
    f"run {PAPER} ~settings.training.batch": "settings.training.batch is missing: examples in a batch",
    f"run {PAPER} +extra=1": "unknown key 'extra'",
    f"run {PAPER} hydra.run.dir=x": "a run's folder bears its identity",
    f"run {PAPER} hydra.sweep.dir=x": "add -m",
    f"run {PAPER} hydra/launcher=joblib": "add -m",
    f"run {PAPER} --sweep": "unrecognized arguments: --sweep",
    f"run {PAPER} --cfg jobs": "invalid choice: 'jobs'",
    f"run {PAPER} --info defalts": "invalid choice: 'defalts'",
    f"run {PAPER} --resolve": "--resolve and --package belong to --cfg",
    f"run {PAPER} --cfg job --package studies.lene": "did you mean 'studies.lenet'?",
    f"run {PAPER} --config-dir nowhere": "--config-dir nowhere is no folder",
    f"run -m --cfg job {PAPER}": "--cfg",
    "run --info defaults": "which paper?",
    f"run -m {PAPER} settings.pruning.dense=0.2,1.5": "must lie in [0, 1)",
    f"run -m {PAPER} scale=smoke,laptopp": "did you mean 'laptop'?",
    f"run -m {PAPER} settings.pruning.dense=interval(0,1)": "continuous range",
    "show lotery": "did you mean 'lottery_ticket'?",
    "show": "the following arguments are required: paper",
    "list --field sparsty": "did you mean 'sparsity'?",
    "plan paper=lottery": "did you mean 'lottery_ticket'?",
    f"plan {PAPER} scale=paper study=conv --on h10": "h100",
    "fetch lottery": "did you mean 'lottery_ticket'?",
    "check lottery": "did you mean 'lottery_ticket'?",
    "publish lottery": "did you mean 'lottery_ticket'?",
    "publish lottery_ticket --scale smoke": "invalid choice: 'smoke'",
    "publish lottery_ticket --study lene": "did you mean 'lenet'?",
    "board lottery": "did you mean 'lottery_ticket'?",
    "board --port 70000": "is no port",
    "board --port many": "invalid int value: 'many'",
    "sync lottery": "did you mean 'lottery_ticket'?",
    "new lottery_ticket": "has a config already",
    "new Lottery-2": "not a good name",
    "rum": "unknown command 'rum': did you mean 'run'?",
    "--versio": "unrecognized arguments",
}


@pytest.mark.parametrize("line", REFUSALS)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(
    line: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert REFUSALS[line] in refusal(capsys, *line.split())
    assert not list(here.iterdir())


def test_an_error_with_lines_of_a_library_behind_it_is_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(arguments: object) -> int:
        raise Stopped("stopped; the same command goes on from here\n    full_key: hydra\n    object_type=dict")

    monkeypatch.setattr("core.cli.list.main", stopped)
    assert refusal(capsys, "list", code=75) == "encore: stopped; the same command goes on from here"


# Settings


def test_the_final_settings_are_config_then_scale_then_command_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("scale=smoke", "study=[lenet,sparse]", "settings.training.iterations=40")
    own = "studies.sparse.settings.training.batch=7"
    shown = yaml.safe_load(told(capsys, "run", PAPER, *words, own, "replicates=3", "--cfg", "job"))
    config = load_config("lottery_ticket")
    assert shown["scale"] == "smoke" and list(shown["studies"]) == ["lenet", "sparse"]
    for name, changed in (("lenet", {}), ("sparse", {"batch": 7})):
        expected = config.studies[name].all_values("smoke")
        expected["training"] |= {"iterations": 40, **changed}
        assert shown["studies"][name] == {"replicates": 3, "settings": expected}
        assert shown["studies"][name]["replicates"] == 3
    assert not list(here.iterdir())


def test_planning_computes_nothing_and_leaves_devices_alone(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAX_PLATFORMS")
    shown = told(capsys, "plan", PAPER, "study=lenet", "scale=paper", "--on", "h100")
    assert "H100" in shown and "lenet" in shown
    assert f"{5 * 50_000 * 16:,}" in shown, "steps of five replicates of the dense network, 9 tickets, 6 controls"
    assert "JAX_PLATFORMS" not in os.environ
    assert not list(here.iterdir())


def test_completion_knows_papers_studies_and_settings(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line, expected in {
        "encore ru": "run",
        "encore run paper=lot": PAPER,
        f"encore run {PAPER} study=le": "study=lenet",
        f"encore run {PAPER} settings.training.iter": "settings.training.iterations=",
        f"encore run {PAPER} settings.optimizer.learn": "settings.optimizer.learning_rate=",
        f"encore run {PAPER} scale=sm": "scale=smoke",
        f"encore run -m {PAPER} launcher=jo": "launcher=joblib",
        "encore show lot": "lottery_ticket",
        "encore check --sp": "--spot",
    }.items():
        assert told(capsys, "completion", "--line", line).split() == [expected]
    script = told(capsys, "completion")
    typed = 'COMP_LINE="encore run paper=lot"; COMP_POINT=${#COMP_LINE}; COMP_WORDBREAKS="="'
    ask = f'encore() {{ "{SCRIPT}" "$@"; }}\n{script}\n{typed}; _encore; echo "${{COMPREPLY[*]}}"'
    shell = ["bash", "-c", ask]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=machine_seconds(60), check=False)
    assert done.stdout.strip() == "lottery_ticket", done.stderr


# Running


def run_folders(root: Path) -> list[Path]:
    return sorted(path for path in (root / "results" / "runs").glob("toy-*") if path.is_dir())


def test_a_sweep_runs_every_point_once(
    toy_root: Path, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("run", "-m", "paper=toy", "scale=smoke", "study=fit", "tracking=none", "replicates=1")
    assert main([*words, "settings.rate=0.1,0.2", "settings.every=3"]) == 0
    assert len(run_folders(here)) == 2 and capfd.readouterr().out.count("✓") == 2
    before = {path: path.stat().st_mtime_ns for path in here.rglob("done.json")}
    assert main([*words, "settings.rate=0.2,0.1", "settings.every=3"]) == 0
    assert "2 finished before" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in here.rglob("done.json")} == before
    assert {path.name for path in here.iterdir()} == {"results", "root"}
    assert sys.argv[0] != "encore"


def test_the_commands_around_a_run(
    toy_root: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with all that is done with it, each command with its exit code."""
    monkeypatch.setenv("COLUMNS", "150")
    assert main(["run", "paper=toy", "tracking=none", "workers=1"]) == 0
    shown = capsys.readouterr().out
    assert "A higher rate gets further." in shown and shown.count("✓ holds") == 2
    assert [path.name.rsplit("-", 1)[0] for path in run_folders(here)] == [
        "toy-fit-laptop",
        "toy-ready-laptop",
        "toy-ready-prepared",
    ]
    assert "toy" in told(capsys, "list") and "A bowl has a bottom" in told(capsys, "show", "toy")
    assert "index.html" in told(capsys, "report")
    assert "A toy" in (here / "results" / "report" / "index.html").read_text()
    told(capsys, "check")
    assert "no run to publish" in refusal(capsys, "publish", "toy") or "commit" in refusal(capsys, "publish", "toy")
    assert {path.name for path in here.iterdir()} == {"results", "root"}


def test_more_replicates_reuse_those_there_are(toy_root: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("run", "paper=toy", "study=fit", "scale=smoke", "tracking=none", "workers=1")
    assert main([*words, "replicates=2"]) == 0
    [run] = run_folders(here)
    before = {path: path.stat().st_mtime_ns for path in (run / "replicates").rglob("*") if path.is_file()}
    assert main([*words, "replicates=3"]) == 0
    assert run_folders(here) == [run] and "2 of them finished before" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in (run / "replicates").rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert {path.relative_to(run).parts[1] for path in after} == {"000000", "000001", "000002"}
    assert sorted(path.name for path in (run / "verdict").iterdir()) == ["0-2", "0-3"]


def test_a_run_keeps_its_command_where_users_of_hydra_look(
    toy_root: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["paper=toy", "study=fit", "scale=smoke", "tracking=none", "workers=1", "settings.every=${settings.size}"]
    assert main(["run", *words, "replicates=1"]) == 0
    [run] = run_folders(here)
    folder = run / ".hydra"
    kept = {path.name: yaml.safe_load(path.read_text()) for path in folder.iterdir()}
    assert set(kept) == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert kept["overrides.yaml"] == [*words, "replicates=1"]
    assert kept["config.yaml"]["studies"]["fit"]["settings"]["every"] == "${studies.fit.settings.size}"
    assert kept["config.yaml"]["studies"]["fit"]["replicates"] == 1
    assert kept["hydra.yaml"]["hydra"]["job"]["name"] == "encore"
    assert main(["run", *words, "replicates=1", "budget.minutes=7"]) == 0
    assert yaml.safe_load((folder / "overrides.yaml").read_text()) == kept["overrides.yaml"], "nothing was computed"
    assert main(["run", *words, "replicates=2"]) == 0
    assert yaml.safe_load((folder / "overrides.yaml").read_text())[-1] == "replicates=2"
    assert run_folders(here) == [run] and not [path for path in folder.iterdir() if path.suffix == ".tmp"]


def hydra_says(*words: str) -> str:
    """What a command prints in a process of its own, as Hydra sets up logging in the one that asks it."""
    root = Path(__file__).parents[1]
    found = subprocess.run(
        [sys.executable, "-m", "experiments", "run", *words], capture_output=True, text=True, timeout=120, cwd=root,
        check=False,
    )  # fmt: skip
    assert (found.returncode, found.stderr) == (0, ""), found.stderr
    return found.stdout


def test_hydra_answers_its_own_flags(toy_root: Path, here: Path) -> None:
    presets = here / "mine" / "preset"
    presets.mkdir(parents=True)
    (presets / "mine.yaml").write_text("# @package _global_\nscale: smoke\n")
    shown = hydra_says("paper=toy", "+preset=mine", "--config-dir", str(here / "mine"), "--info", "defaults")
    assert "Defaults List" in shown and "preset/mine" in shown and "paper/toy" in shown
    tree = hydra_says("paper=toy", "study=fit", "--info", "defaults-tree")
    assert "Defaults Tree" in tree and "paper: toy" in tree
    rate, deleted = "settings.rate=${settings.optimizer.learning_rate}", ("~settings.limit", "~settings.mode")
    words = (rate, *deleted, "settings={steps: 500}")
    composed = hydra_says("paper=toy", "study=[fit,drift]", *words, "--info", "config")
    assert "rate: ${studies.drift.settings.optimizer.learning_rate}" in composed, "as every study takes it"
    help = hydra_says("--hydra-help")
    assert "== Flags ==" in help and "--config-dir" in help and "hydra/launcher: basic" in help
    assert "Config search path" in hydra_says("paper=toy", "--info", "searchpath")
    assert {path.name for path in here.iterdir()} == {"mine", "root"}


def test_a_plan_is_recorded_nowhere(toy_root: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "fit" in told(capsys, "plan", "paper=toy", "study=all", "scale=paper")
    assert run_folders(here) == []


def test_a_reader_that_leaves_early_is_no_error(here: Path) -> None:
    line = f'"{SCRIPT}" show lottery_ticket | head -n 1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=machine_seconds(60), check=False
    )
    assert done.stdout.splitlines()[-1] == "0" and done.stderr == ""
