"""What a config's text alone decides is refused by every command, in one line, quickly, and without jax or flax."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.cli.main import main
from core.errors import BadInput
from core.papers.config import StudyConfig, load_config
from core.papers.config_files import all_slugs
from core.papers.groups import merge_values, open_dotted_keys
from core.papers.overview import paper_overviews
from core.papers.settings import LARGEST, flatten_settings
from core.paths import cache_folder

COMMANDS = {
    "list": ["list"],
    "show": ["show", "toy"],
    "show a study": ["show", "toy", "fit"],
    "--cfg": ["run", "paper=toy", "--cfg", "job"],
    "plan": ["plan", "paper=toy"],
    "run": ["run", "paper=toy", "scale=smoke", "tracking=none"],
    "a sweep": ["run", "-m", "paper=toy", "settings.rate=0.1,0.2"],
}
# A text of the config, what stands in its place, and what is said of it.
FAULTS = {
    "no control": (
        "    control: {name: a low rate from elsewhere, swap: {fast: slow_again}}\n",
        "",
        "claims.C1.control is missing: {arm: other arm}: the same claim, which must not hold then",
    ),
    "nothing exchanged": (
        "swap: {fast: slow_again}",
        "swap: {}",
        "claims.C1.control: say what it exchanges: {arm: other arm}, or select: {column: value}",
    ),
    "unknown key": (
        "bears_on:",
        "bears_onn:",
        "unknown key 'studies.fit.deviations[0].bears_onn': did you mean 'bears_on'?",
    ),
    "cut text": (
        "30 steps,",
        "30 steps, or so,",
        "unknown key 'studies.fit.deviations[0].or so': a text with a comma needs quotes",
    ),
    "unknown arm": ("[slow, fast]", "[slwo, fast]", "unknown arm in claim C1, clause 1: 'slwo': did you mean 'slow'?"),
    "another unit": (
        "unit: nats",
        "unit: percent",
        "claim C1: the printed number is in 'percent', its clause in 'nats'",
    ),
    "out of range": (
        "every: 10, rate: 0.1",
        "every: 10, rate: 11.0",
        "studies.fit, smoke scale: settings.rate=11.0 is out of range: it must lie in (0, 10]",
    ),
    "contradiction": (
        "smoke: {steps: 7, every: 3}",
        "smoke: {steps: 7}",
        "studies.fit, smoke scale: settings.every=10 must not be larger than settings.steps=7: at most 7",
    ),
}


@pytest.fixture
def here(toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def spoil(root: Path, fault: str) -> str:
    """Put a fault into the toy's config and return what is to be said of it."""
    path, (text, other, said) = root / "configs" / "paper" / "toy.yaml", FAULTS[fault]
    assert path.read_text().count(text) == 1
    path.write_text(path.read_text().replace(text, other))
    return f"encore: configs/paper/toy.yaml: {said}\n"


@pytest.mark.parametrize("fault", FAULTS)
def test_every_command_refuses_it_and_writes_nothing(
    fault: str, toy_root: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, before = spoil(toy_root, fault), sorted(here.rglob("*"))
    for command, words in COMMANDS.items():
        assert main(words) == 2, command
        printed = capsys.readouterr()
        assert (printed.err, printed.out) == (expected, ""), command
    assert sorted(here.rglob("*")) == before


def test_a_winner_at_the_edge_of_its_grid_is_refused_too(
    toy_root: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_root / "configs" / "paper" / "toy.yaml"
    tune = "tune: {setting: rate, per_arm: false, values: [0.1, 0.2, 0.3], by: {metric: loss}}"
    text = path.read_text().replace("    may_diverge: [fast]\n", f"    {tune}\n")
    path.write_text(text.replace("  fit:\n", "  fit:\n    tuned_by: drift\n", 1))
    main(["list"])
    assert capsys.readouterr().err == ""
    winners = toy_root / "results" / "toy" / "laptop" / "winners.json"
    winners.parent.mkdir(parents=True)
    winners.write_text(json.dumps({"drift": 0.3}))
    said = "the winner of drift, rate=0.3, lies at the edge of its grid [0.1, 0.3]: widen it, or say in edges why not"
    for words in COMMANDS.values():
        assert main(words) == 2
        assert said in capsys.readouterr().err


LIGHT = """
import sys, time
from core.cli.main import main
code = main(sys.argv[1:])
heavy = sorted({"jax", "jaxlib", "flax", "optax", "numpy", "pandas", "matplotlib", "wandb"} & sys.modules.keys())
print(code, heavy, time.process_time())
"""


def slowness() -> float:
    """How much slower than a quiet core of today a core is now; 1 at least."""
    started = time.process_time()
    sum(i * i for i in range(1_000_000))
    return max(1.0, (time.process_time() - started) / 0.08)


@pytest.mark.parametrize("command", ["list", "show", "--cfg", "plan"])
def test_it_takes_less_than_two_seconds_and_neither_jax_nor_flax(command: str, toy_root: Path, here: Path) -> None:
    """Seconds of the processor, as others may be at work beside the test."""
    expected, slow = spoil(toy_root, "no control"), slowness()
    words = [sys.executable, "-c", LIGHT, *COMMANDS[command]]
    root = Path(__file__).parents[2]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=root)
    assert done.stderr == expected
    code, heavy, seconds = done.stdout.split(" ", 1)[0], *done.stdout.split(" ", 1)[1].rsplit(" ", 1)
    assert (code, heavy) == ("2", "[]") and float(seconds) < 2 * slow, (seconds, slow)


# Settings of the papers


@pytest.mark.parametrize("slug", all_slugs())
def test_a_refused_setting_of_a_paper_is_named(slug: str) -> None:
    """Each whole number of each study alone, as small and as large as can be: the line says which one was given."""
    found = 0
    for study in load_config(slug).studies.values():
        values = study.values("smoke")
        for name, value in flatten_settings(study.all_values("smoke")):
            if isinstance(value, bool) or not isinstance(value, int):
                continue
            for other in (1, LARGEST, LARGEST + 1):
                changed = merge_values(values, open_dotted_keys({name: other}))
                if said := refusal(study, changed, name):
                    found += 1
                    assert f"settings.{name}={other}" in said, said
    assert found


def refusal(study: StudyConfig, values: dict, name: str) -> str:
    """What is said of values of which the user gave one; empty where they are accepted."""
    try:
        study.build(values, [name])
    except BadInput as error:
        return str(error)
    return ""


# What `encore list` keeps


def test_overviews_are_kept_until_something_they_hang_on_changes(
    toy_root: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.papers import config

    read: list[str] = []
    load = config.load_config
    monkeypatch.setattr(config, "load_config", lambda slug: (read.append(slug), load(slug))[1])
    found = paper_overviews()
    about = found["toy"]
    assert (about.title, about.fields, about.claims, about.default_studies) == ("A toy", ("toys",), 2, ("fit", "ready"))
    assert paper_overviews() == found and read == ["toy"]

    path, folder = toy_root / "configs" / "paper" / "toy.yaml", toy_root / "experiments" / "toy"
    path.write_text(path.read_text().replace("A toy,", "Another,"))
    assert paper_overviews()["toy"].title == "Another"
    (folder / "settings.py").write_text((folder / "settings.py").read_text() + "\n")
    (folder / "further.py").write_text("")
    paper_overviews()
    (folder / "further.py").unlink()
    paper_overviews()
    winners = toy_root / "results" / "toy" / "laptop" / "winners.json"
    winners.parent.mkdir(parents=True)
    winners.write_text("{}")
    paper_overviews()
    assert len(read) == 5
    path.unlink()
    assert paper_overviews() == {}


def test_a_cache_that_is_damaged_or_cannot_be_written_is_no_fault(
    toy_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    found = paper_overviews()
    [kept] = (cache_folder() / "overviews").iterdir()
    for damage in ("", "[]", '{"stamp": "x"}'):
        kept.write_text(damage)
        assert paper_overviews() == found
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "file"))
    assert paper_overviews() == found
