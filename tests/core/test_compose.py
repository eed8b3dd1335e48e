"""Composition: who wins over whom, and every kind of bad word refused in one line, with nothing written."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from core.errors import BadInput
from core.launch.compose import Launch, compose_launch, default_launch
from core.launch.jobs import make_job
from core.optim.settings import OptimizerSettings
from core.papers.config import load_config


@pytest.fixture(autouse=True)
def root(toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, so that anything written shows."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return toy_root


def launch(*words: str) -> Launch:
    return compose_launch(["paper=toy", *words])


def settings(*words: str, study: str = "fit") -> Any:
    (found,) = [chosen.settings for chosen in launch(*words).studies if chosen.study.name == study]
    return found


def refusal(*words: str) -> str:
    with pytest.raises(BadInput) as caught:
        compose_launch(words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults():
    found = launch()
    assert found.config.slug == "toy" and found.scale == "laptop" and found.first_replicate == 0
    assert [(chosen.study.name, chosen.replicates, chosen.overridden) for chosen in found.studies] == [
        ("fit", 4, ()),
        ("ready", 2, ()),
    ]
    assert (found.device, found.workers, found.axis, found.budget_minutes) == ("auto", None, "auto", 120.0)
    assert found.tracking["mode"] == "offline"


def test_the_scale_wins_over_the_config_and_the_command_line_over_both():
    assert (settings().steps, settings().every) == (30, 10)
    assert (settings("scale=smoke").steps, settings("scale=smoke").every) == (7, 3)
    assert settings("scale=smoke", "settings.steps=5").steps == 5
    assert settings("settings.steps=5", "scale=smoke").steps == 5
    assert settings("scale=smoke", "settings.steps=5").every == 3
    assert settings("scale=paper", "settings.optimizer.learning_rate=3").optimizer == OptimizerSettings("adam", 3.0)


def test_a_setting_speaks_to_every_study_that_has_it():
    words = ("study=[fit,drift,ready]", "settings.rate=0.25", "settings.extra=1.5")
    chosen = {each.study.name: each for each in launch(*words).studies}
    assert [chosen[name].settings.rate for name in ("fit", "drift")] == [0.25, 0.25]
    assert chosen["ready"].settings.extra == 1.5
    assert chosen["fit"].overridden == ("rate",) and chosen["ready"].overridden == ("extra",)


def test_a_setting_of_one_study():
    words = ("study=[fit,drift]", "settings.rate=0.25", "studies.drift.settings.rate=0.5")
    chosen = {each.study.name: each for each in launch(*words).studies}
    assert [chosen[name].settings.rate for name in ("fit", "drift")] == [0.25, 0.5]
    assert settings("studies.fit.settings.optimizer.momentum=0.9").optimizer.momentum == 0.9


def test_the_last_of_two_equal_words_wins():
    assert launch("scale=paper", "scale=smoke").scale == "smoke"
    assert settings("settings.rate=1", "settings.rate=2").rate == 2.0
    assert launch("tracking=none", "tracking=wandb").tracking["mode"] == "offline"


def test_whole_groups_lists_and_nulls():
    given = settings("settings.optimizer={name: adam, b1: 0.5}", "settings.widths=[]", "settings.limit=null")
    assert given.optimizer == OptimizerSettings("adam", 0.1, b1=0.5)
    assert given.widths == () and given.limit is None
    assert settings("settings.widths=[3,4]", "+settings.quiet=true").widths == (3, 4)


def test_numbers_and_strings_are_told_apart():
    assert settings("settings.rate=1").rate == 1.0
    assert settings("settings.rate=1e-3").rate == 0.001
    assert "settings.rate='0.1' must be a number" in refusal("paper=toy", "settings.rate='0.1'")
    assert "settings.steps=1000.0 must be a whole number" in refusal("paper=toy", "settings.steps=1e3")
    assert "settings.mode=5 must be a word" in refusal("paper=toy", "settings.mode=5")
    assert "settings.quiet='yes'" in refusal("paper=toy", "settings.quiet=yes")


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("study=all", ["fit", "ready", "drift"]),
        ("study=drift", ["drift"]),
        ("study=[drift,fit]", ["drift", "fit"]),
        ("study=[fit]", ["fit"]),
    ],
)
def test_studies(wanted, names):
    assert [chosen.study.name for chosen in launch(wanted).studies] == names


def test_the_words_of_a_run():
    found = launch("replicates=3", "first_replicate=1000", "workers=1", "axis=vmap", "device=cpu", "budget.minutes=0.5")
    assert [chosen.replicates for chosen in found.studies] == [3, 3]
    assert (found.first_replicate, found.workers, found.axis, found.device) == (1000, 1, "vmap", "cpu")
    assert found.budget_minutes == 0.5


def test_tracking():
    assert launch("tracking=none").tracking["mode"] == "disabled"
    assert launch("tracking=trackio").tracking["name"] == "trackio"
    found = launch("tracking.mode=online", "tracking.project=mine", "tracking.tags=[a,b]").tracking
    assert (found["mode"], found["project"], list(found["tags"])) == ("online", "mine", ["a", "b"])


BAD = [
    ([], "paper=<name>"),
    (["paper=tojy"], "unknown paper 'tojy': did you mean 'toy'?"),
    (["paper=[toy,toy]"], "unknown paper"),
    (["paper=null"], "unknown paper"),
    (["~paper"], "paper"),
    (["nonsense"], "'nonsense' is not an override: write key=value"),
    (["settings.rate="], "must be a number"),
    (["settings.rate=[1"], "is not an override"),
    (["=3"], "unknown key ''"),
    (["settings..rate=3"], "is not an override"),
    (["--scale=smoke"], "is not an override"),
    (["scal=smoke"], "unknown key 'scal': did you mean 'scale'?"),
    (["replicate=3"], "did you mean 'replicates'?"),
    (["setting.rate=3"], "did you mean 'settings.'?"),
    (["studies.fit.rate=3"], "write studies.<study>.settings.<name>=<value>"),
    (["studies.fit.replicates=3"], "unknown key 'studies.fit.replicates'"),
    (["budget=3"], "did you mean 'budget.minutes'?"),
    (["claims.C1.study=ready"], "unknown key 'claims.C1.study'"),
    (["paper.title=x"], "unknown key 'paper.title'"),
    (["+new=3"], "keys of a run cannot be added or removed"),
    (["~budget"], "keys of a run cannot be added or removed"),
    (["~scale"], "keys of a run cannot be added or removed"),
    (["~replicates"], "keys of a run cannot be added or removed"),
    (["~tracking"], "keys of a run cannot be added or removed"),
    (["~tracking.mode"], "keys of a run cannot be added or removed"),
    (["~settings.rate"], "a setting cannot be removed"),
    (["~studies.fit.settings.rate"], "a setting cannot be removed"),
    (["scale=smok"], "unknown scale 'smok': did you mean 'smoke'?"),
    (["scale=null"], "unknown scale"),
    (["scale=[smoke]"], "unknown scale"),
    (["study=redy"], "unknown study of toy 'redy': did you mean 'ready'?"),
    (["study=[fit,redy]"], "did you mean 'ready'?"),
    (["study=[]"], "study"),
    (["study=3"], "unknown study of toy '3'"),
    (["study=[[fit]]"], "unknown study of toy"),
    (["study={fit: 1}"], "study"),
    (["replicates=0"], "replicates=0 must be a whole number from 1 on"),
    (["replicates=2.0"], "replicates=2.0"),
    (["replicates=true"], "replicates=True"),
    (["replicates='3'"], "replicates='3'"),
    (["first_replicate=-1"], "first_replicate=-1 must be a whole number from 0 on"),
    (["first_replicate=null"], "first_replicate=None"),
    (["workers=0"], "workers=0 must be a whole number from 1 on"),
    (["axis=pmapp"], "unknown axis 'pmapp': did you mean 'pmap'?"),
    (["device=gpu"], "unknown device 'gpu'"),
    (["budget.minutes=0"], "budget.minutes=0 must be a positive number"),
    (["budget.minutes=nan"], "budget.minutes=nan must be a positive number"),
    (["budget.minutes=long"], "budget.minutes='long' must be a positive number"),
    (["budget.minutes=true"], "budget.minutes=True must be a positive number"),
    (["tracking=nope"], "unknown tracking 'nope': did you mean 'none'?"),
    (["tracking=null"], "unknown tracking"),
    (["tracking=[none,wandb]"], "unknown tracking"),
    (["tracking.mode=disabld"], "did you mean 'disabled'?"),
    (["tracking.mode=ofline"], "unknown tracking mode 'ofline': did you mean 'offline'?"),
    (["tracking.mode=null"], "unknown tracking mode"),
    (["tracking.project=a/b"], "tracking.project must be a name"),
    (["tracking.group=3"], "tracking.group=3 must be text"),
    (["tracking.tags=mine"], "tracking.tags must be a list of words"),
    (["tracking=trackio", "tracking.mode=online"], "tracking=trackio has no mode 'online'"),
    (["tracking=none", "tracking.mode=online"], "tracking=none has no mode 'online'"),
    (["tracking.projekt=x"], "unknown key 'tracking.projekt': did you mean 'tracking.project'?"),
    (["+tracking.projekt=x"], "keys of a run cannot be added or removed"),
    (["++tracking.projekt=x"], "keys of a run cannot be added or removed"),
    (["settings.rat=1"], "unknown setting 'rat': did you mean 'rate'?"),
    (["settings.=1"], "is not an override"),
    (["settings.rate.deep=1"], "unknown setting 'rate.deep'"),
    (["settings.optimizer.nam=adam"], "did you mean 'optimizer.name'?"),
    (["settings.optimizer=adam"], "must be a group of settings"),
    (["settings.optimizer.name=adagrad"], "is not a valid choice"),
    (["settings.optimizer.momentum=1.0"], "[0, 1)"),
    (["settings.optimizer.b1=0.5"], "optimizer sgd takes no b1"),
    (["settings.rate=0"], "settings.rate=0.0 is out of range"),
    (["settings.rate=nan"], "settings.rate=nan"),
    (["settings.rate=fast"], "settings.rate='fast' must be a number"),
    (["settings.widths=3"], "must be a list"),
    (["settings.widths=[3,10]"], "settings.widths=10 is out of range"),
    (["settings.every=31"], "settings.every=31 is longer than steps=30"),
    (["study=fit", "settings.extra=1"], "unknown setting 'extra'"),
    (["studies.fitt.settings.rate=1"], "unknown study of toy 'fitt': did you mean 'fit'?"),
    (["studies.drift.settings.rate=1"], "study 'drift' is not selected: add study=drift"),
    (["studies.fit.settings.rat=1"], "did you mean 'rate'?"),
    (["settings.rate=0.1,0.2"], "add -m to sweep over them, or write [a,b] for a list"),
    (["study=fit,ready"], "add -m"),
    (["settings.rate=range(1,3)"], "add -m"),
    (["settings.rate=choice(1,3)"], "add -m"),
    (["paper=toy,other"], "add -m"),
    (["paper=toy", "paper=other"], "paper"),
    (["hydra/launcher=nope"], "hydra"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_words_are_refused_in_one_line_and_write_nothing(words, said, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    own = any(word.lstrip("~").startswith("paper=") or word == "~paper" for word in words)
    message = refusal(*([] if own or not words else ["paper=toy"]), *words)
    assert said in message
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_group_is_named():
    assert "trackin" in refusal("paper=toy", "trackin=none")


def test_final_settings_are_printed_as_yaml_that_says_it_all():
    text = launch("scale=smoke", "settings.widths=[7]", "replicates=1").printable()
    shown = yaml.safe_load(text)
    fit = shown["studies"]["fit"]
    assert (shown["paper"], shown["scale"], fit["replicates"]) == ("toy", "smoke", 1)
    assert (fit["settings"]["steps"], fit["settings"]["widths"], fit["settings"]["optimizer"]["name"]) == (
        7,
        [7],
        "sgd",
    )
    assert shown["studies"]["ready"]["settings"] == {"prepared": {"count": 4}, "extra": 1.0}


def test_a_config_with_a_wrong_value_is_refused_like_a_wrong_word(root):
    config = root / "configs" / "paper" / "toy.yaml"
    config.write_text(config.read_text().replace("rate: 0.1, widths", "rate: 11.0, widths"))
    assert "settings.rate=11.0 is out of range" in refusal("paper=toy")
    assert settings("settings.rate=1").rate == 1.0


def test_a_broken_config_is_one_line(root):
    (root / "configs" / "paper" / "toy.yaml").write_text("# @package _global_\npaper: {title: [unclosed\n")
    assert "toy.yaml" in refusal("paper=toy")


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_what_a_config_says_alone_is_what_composing_it_gives(scale: str) -> None:
    for name in ("fit", "ready", "drift"):
        composed, written = launch(f"study={name}", f"scale={scale}"), default_launch(load_config("toy"), scale, name)
        one, other = make_job(composed, composed.studies[0]), make_job(written, written.studies[0])
        assert (one.identity, one.numbers) == (other.identity, other.numbers)
