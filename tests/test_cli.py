"""The command line: help that is fast and light, one-line refusals that write nothing, sweeps, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from core.cli.main import COMMANDS, main
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

LOOK_AROUND = """
import sys, time
from core.cli.main import COMMANDS, main
spent = {}
for words in [["--help"], ["list"], ["show", "lottery_ticket"], *([command, "--help"] for command in COMMANDS)]:
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
        [sys.executable, "-c", LOOK_AROUND], capture_output=True, text=True, timeout=machine_seconds(60), check=False
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
    f"run {PAPER} scale=smok": "unknown scale 'smok': did you mean 'smoke'?",
    f"run {PAPER} study=lene": "unknown study of lottery_ticket 'lene': did you mean 'lenet'?",
    f"run {PAPER} study=[lenet,con]": "did you mean 'conv'?",
    f"run {PAPER} tracking=wandbb": "wandb",
    f"run {PAPER} tracking.mode=ofline": "offline",
    f"run {PAPER} tracking.projekt=x": "project",
    f"run {PAPER} tracking=trackio tracking.mode=online": "choose from offline, disabled",
    f"run {PAPER} device=gpu": "unknown device 'gpu'",
    f"run {PAPER} axis=vmapp": "did you mean 'vmap'?",
    f"run {PAPER} settings.iteration=5": "did you mean 'iterations'?",
    f"run {PAPER} settings.optimizer.learning_rat=5": "did you mean 'optimizer.learning_rate'?",
    f"run {PAPER} studies.lenett.settings.rounds=5": "did you mean 'lenet'?",
    f"run {PAPER} studies.conv.settings.rounds=5": "study 'conv' is not selected",
    f"run {PAPER} settings.iterations=many": "must be a whole number",
    f"run {PAPER} settings.iterations=1.5": "must be a whole number",
    f"run {PAPER} settings.augment=1": "must be true or false",
    f"run {PAPER} settings.hidden=300": "must be a list",
    f"run {PAPER} settings.optimizer=adam": "must be a group of settings",
    f"run {PAPER} settings.optimizer.name=adamm": "did you mean 'adam'?",
    f"run {PAPER} settings.optimizer.momentum=0.9": "adam takes no momentum; it belongs to sgd, rmsprop",
    f"run {PAPER} settings.dataset=mnis": "did you mean 'mnist'?",
    f"run {PAPER} settings.scope=layers": "did you mean 'layer'?",
    f"run {PAPER} settings.prune_dense=1.0": "must lie in [0, 1)",
    f"run {PAPER} settings.prune_dense=-0.1": "must lie in [0, 1)",
    f"run {PAPER} studies.ladder.settings.prune=0": "must lie in (0, 1)",
    f"run {PAPER} settings.prune_dense=nan": "finite",
    f"run {PAPER} studies.lenet.settings.rounds=0": "must lie in [1, inf)",
    f"run {PAPER} studies.lenet.settings.rounds=70": "less than one weight",
    f"run {PAPER} studies.lenet.settings.rounds=3": "beyond rounds=3",
    f"run {PAPER} settings.validation=59999": "less than one batch",
    f"run {PAPER} replicates=0": "replicates=0 must be a whole number from 1 on",
    f"run {PAPER} replicates=two": "must be a whole number",
    f"run {PAPER} first_replicate=-1": "from 0 on",
    f"run {PAPER} workers=0": "from 1 on",
    f"run {PAPER} budget.minutes=0": "positive number",
    f"run {PAPER} settings.iterations": "is not an override",
    f"run {PAPER} settings.iterations=": "must be a whole number",
    f"run {PAPER} settings.iterations=100,200": "add -m",
    f"run {PAPER} ~settings.iterations": "cannot be removed",
    f"run {PAPER} +extra=1": "cannot be added",
    f"run {PAPER} hydra.run.dir=x": "add -m",
    f"run {PAPER} --sweep": "unrecognized arguments: --sweep",
    f"run {PAPER} --cfg jobs": "invalid choice: 'jobs'",
    f"run -m --cfg job {PAPER}": "--cfg",
    f"run -m {PAPER} settings.prune_dense=0.2,1.5": "must lie in [0, 1)",
    f"run -m {PAPER} scale=smoke,laptopp": "did you mean 'laptop'?",
    f"run -m {PAPER} settings.prune_dense=interval(0,1)": "continuous range",
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


# Settings


def test_the_final_settings_are_page_then_scale_then_command_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("scale=smoke", "study=[lenet,tuning]", "settings.iterations=40", "studies.tuning.settings.batch=7")
    shown = yaml.safe_load(told(capsys, "run", PAPER, *words, "replicates=3", "--cfg", "job"))
    config = load_config("lottery_ticket")
    assert shown["scale"] == "smoke" and list(shown["studies"]) == ["lenet", "tuning"]
    for name, changed in (("lenet", {}), ("tuning", {"batch": 7})):
        smoke = config.studies[name].build(config.studies[name].values("smoke"))
        expected = {each: getattr(smoke, each) for each in smoke.__dataclass_fields__}
        expected |= {"iterations": 40, **changed}
        found = shown["studies"][name]["settings"]
        for each, value in expected.items():
            if each != "optimizer":
                assert found[each] == (list(value) if isinstance(value, tuple) else value)
        assert found["optimizer"]["learning_rate"] == smoke.optimizer.learning_rate
        assert shown["studies"][name]["replicates"] == 3
    assert not list(here.iterdir())


def test_planning_computes_nothing_and_leaves_devices_alone(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAX_PLATFORMS")
    shown = told(capsys, "plan", PAPER, "study=lenet", "scale=paper", "--on", "h100")
    assert "H100" in shown and "lenet" in shown
    assert f"{5 * 50_000 * 51:,}" in shown, "steps of five replicates of the dense network, 25 tickets, 25 controls"
    assert "JAX_PLATFORMS" not in os.environ
    assert not list(here.iterdir())


def test_completion_knows_papers_studies_and_settings(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line, expected in {
        "encore ru": "run",
        "encore run paper=lot": PAPER,
        f"encore run {PAPER} study=le": "study=lenet",
        f"encore run {PAPER} settings.iter": "settings.iterations=",
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
    assert main([*words, "settings.rate=0.1,0.2", "settings.widths=[3]"]) == 0
    assert len(run_folders(here)) == 2 and capfd.readouterr().out.count("✓") == 2
    before = {path: path.stat().st_mtime_ns for path in here.rglob("done.json")}
    assert main([*words, "settings.rate=0.2,0.1", "settings.widths=[3]"]) == 0
    assert "2 finished before" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in here.rglob("done.json")} == before
    assert {path.name for path in here.iterdir()} == {"results", "root"}
    assert sys.argv[0] != "encore"


def test_the_commands_around_a_run(toy_root: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run with all that is done with it, each command with its exit code."""
    assert main(["run", "paper=toy", "tracking=none", "workers=1"]) == 0
    shown = capsys.readouterr().out
    assert "C1 A higher rate gets further." in shown and shown.count("✓ holds") == 2
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


def test_a_plan_is_recorded_nowhere(toy_root: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "fit" in told(capsys, "plan", "paper=toy", "study=all", "scale=paper")
    assert run_folders(here) == []


def test_a_reader_that_leaves_early_is_no_error(here: Path) -> None:
    line = f'"{SCRIPT}" show lottery_ticket | head -n 1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=machine_seconds(60), check=False
    )
    assert done.stdout.splitlines()[-1] == "0" and done.stderr == ""
