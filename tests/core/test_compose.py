"""Composition: who wins over whom, and every kind of bad word refused in one line, with nothing written."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from core.errors import BadInput
from core.launch.compose import Launch, compose_launch, default_launch
from core.launch.hydra_queries import hydra_folder, printed_config, search_path_words
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
    rate = settings("scale=paper", "settings.optimizer.learning_rate=3").optimizer
    assert rate == OptimizerSettings(name="adam", learning_rate=3.0)


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
    assert given.optimizer == OptimizerSettings(name="adam", learning_rate=0.1, b1=0.5)
    assert given.widths == () and given.limit is None
    assert settings("settings.widths=[3,4]", "+settings.quiet=true").widths == (3, 4)


def test_numbers_and_strings_are_told_apart():
    assert settings("settings.rate=1").rate == 1.0
    assert settings("settings.rate=1e-3").rate == 0.001
    assert "settings.rate='0.1' must be a number" in refusal("paper=toy", "settings.rate='0.1'")
    assert "settings.steps=1000.0 must be a whole number" in refusal("paper=toy", "settings.steps=1e3")
    assert "settings.mode=5 is not a valid choice" in refusal("paper=toy", "settings.mode=5")
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


def test_replicates_of_one_study_win_over_those_of_all():
    for words in (("replicates=3", "studies.fit.replicates=5"), ("studies.fit.replicates=5", "replicates=3")):
        found = launch(*words)
        assert [chosen.replicates for chosen in found.studies] == [5, 3]
        assert found.job is not None and found.job.studies.ready.replicates == 3, "what is shown is what runs"


def test_tracking():
    assert launch("tracking=none").tracking["mode"] == "disabled"
    assert launch("tracking=trackio").tracking["name"] == "trackio"
    found = launch("tracking.mode=online", "tracking.project=mine", "tracking.tags=[a,b]").tracking
    assert (found["mode"], found["project"], list(found["tags"])) == ("online", "mine", ["a", "b"])


BAD = [
    ([], "paper=<name>"),
    (["paper=tojy"], "unknown paper 'tojy': did you mean 'toy'?"),
    (["paper=[toy,toy]"], "unknown paper"),
    (["paper=null"], "which paper? write paper=<name>"),
    (["~paper"], "which paper? write paper=<name>"),
    (["paper=toy", "paper=other"], "unknown paper 'other'"),
    (["nonsense"], "'nonsense' is not an override: write key=value"),
    (["settings.rate="], "must be a number"),
    (["settings.rate=[1"], "is not an override"),
    (["=3"], "'=3' is not an override"),
    (["settings..rate=3"], "is not an override"),
    (["--scale=smoke"], "is not an override"),
    (["scal=smoke"], "unknown key 'scal': did you mean 'scale'?"),
    (["replicate=3"], "unknown key 'replicate': did you mean 'replicates'?"),
    (["setting.rate=3"], "unknown key 'setting.rate': did you mean 'settings.'?"),
    (["studies.fit.rate=3"], "unknown key 'studies.fit.rate': write studies.fit.settings.<name>=<value>"),
    (["studies.fit.replicates=0"], "replicates=0 must be a whole number from 1 to"),
    (["studies.fit.replicates=2.0"], "replicates=2.0 must be a whole number"),
    (["budget=3"], "budget=3 must be a group of keys"),
    (["budget.minuts=3"], "unknown key 'budget.minuts': did you mean 'budget.minutes'?"),
    (["claims.C1.study=ready"], "unknown key 'claims.C1.study'"),
    (["paper.title=x"], "unknown key 'paper.title'"),
    (["+new=3"], "unknown key 'new'"),
    (["+preset=mine"], "unknown key 'preset'"),
    (["~budget"], "budget is missing"),
    (["~scale"], "scale is missing: smoke, laptop or paper"),
    (["~replicates"], "replicates"),
    (["~tracking"], "tracking is missing"),
    (["~tracking.mode"], "tracking.mode is missing"),
    (["~settings.rate"], "settings.rate is missing: step size"),
    (["~studies.fit.settings.rate"], "settings.rate is missing: step size"),
    (["~settings.rat"], "unknown setting 'rat': did you mean 'rate'?"),
    (["settings=3"], "settings is a group: write settings.<name>=<value>"),
    (["settings={rat: 1}"], "unknown setting 'rat': did you mean 'rate'?"),
    (["scale=smok"], "scale='smok' is not a valid choice: did you mean 'smoke'?"),
    (["scale=null"], "scale=null is not a valid choice: choose from laptop, paper, smoke"),
    (["scale=[smoke]"], "scale=['smoke'] is not a valid choice"),
    (["study=redy"], "unknown study of toy 'redy': did you mean 'ready'?"),
    (["study=[fit,redy]"], "did you mean 'ready'?"),
    (["study=[]"], "study=[] names no study of toy"),
    (["study=3"], "study=3 must be a word or a list"),
    (["study=[[fit]]"], "study[0]=['fit'] must be a word"),
    (["study={fit: 1}"], "study must be a word or a list"),
    (["replicates=0"], "replicates=0 is out of range: it must lie in [1, 10000]"),
    (["replicates=2.0"], "replicates=2.0 must be a whole number"),
    (["replicates=true"], "replicates=true must be a whole number"),
    (["replicates='3'"], "replicates='3' must be a whole number"),
    (["first_replicate=-1"], "first_replicate=-1 is out of range: it must lie in [0, 2147473647]"),
    (["first_replicate=null"], "first_replicate=null must be a whole number"),
    (["workers=0"], "workers=0 is out of range: it must lie in [1, 1024]"),
    (["axis=pmapp"], "axis='pmapp' is not a valid choice: did you mean 'pmap'?"),
    (["device=gpu"], "device='gpu' is not a valid choice: did you mean 'cpu'?"),
    (["budget.minutes=0"], "budget.minutes=0 is out of range"),
    (["budget.minutes=nan"], "budget.minutes=nan must be a finite number"),
    (["budget.minutes=long"], "budget.minutes='long' must be a number"),
    (["budget.minutes=true"], "budget.minutes=true must be a number"),
    (["hosts.patience=0"], "hosts.patience=0 is out of range"),
    (["hosts.cuont=2"], "unknown key 'hosts.cuont': did you mean 'hosts.count'?"),
    (["tracking=nope"], "unknown tracking 'nope': did you mean 'none'?"),
    (["tracking=null"], "Config group override must be a string or a list"),
    (["tracking.mode=disabld"], "did you mean 'disabled'?"),
    (["tracking.mode=ofline"], "unknown tracking mode 'ofline': did you mean 'offline'?"),
    (["tracking.mode=null"], "tracking.mode=null must be a word"),
    (["tracking.project=a/b"], "tracking.project must be a name"),
    (["tracking.group=3"], "tracking.group=3 must be a word"),
    (["tracking.tags=mine"], "tracking.tags='mine' must be a list"),
    (["tracking.tags=[a,3]"], "tracking.tags[1]=3 must be a word"),
    (["tracking=trackio", "tracking.mode=online"], "tracking=trackio has no mode 'online'"),
    (["tracking=none", "tracking.mode=online"], "tracking=none has no mode 'online'"),
    (["tracking.projekt=x"], "unknown key 'tracking.projekt': did you mean 'tracking.project'?"),
    (["+tracking.projekt=x"], "unknown key 'tracking.projekt': did you mean 'project'?"),
    (["++tracking.projekt=x"], "unknown key 'tracking.projekt': did you mean 'project'?"),
    (["settings.rat=1"], "unknown setting 'rat': did you mean 'rate'?"),
    (["+settings.rat=1"], "unknown setting 'rat': did you mean 'rate'?"),
    (["++settings.optimizer.nam=adam"], "unknown setting 'optimizer.nam': did you mean 'optimizer.name'?"),
    (["settings.=1"], "is not an override"),
    (["settings.rate.deep=1"], "unknown setting 'rate.deep'"),
    (["settings.optimizer.nam=adam"], "did you mean 'optimizer.name'?"),
    (
        ["settings.optimizer=adam"],
        "settings.optimizer='adam' must be a group of settings, such as settings.optimizer.name",
    ),
    (["settings.optimizer.name=adamm"], "is not a valid choice: did you mean 'adam'?"),
    (["settings.optimizer.momentum=1.0"], "[0, 1)"),
    (["settings.optimizer.b1=0.5"], "settings.optimizer.b1=0.5 does not go with settings.optimizer.name='sgd'"),
    (["settings.optimizer={b1: 0.5}"], "settings.optimizer.b1=0.5 does not go with settings.optimizer.name='sgd'"),
    (["settings.rate=0"], "settings.rate=0 is out of range: it must lie in (0, 10]"),
    (["settings.rate=nan"], "settings.rate=nan must be a finite number"),
    (["settings.rate=fast"], "settings.rate='fast' must be a number"),
    (["settings.rate=null"], "settings.rate=null must be a number"),
    (["settings.widths=3"], "settings.widths=3 must be a list, such as settings.widths=[…]"),
    (["settings.widths=[3,10]"], "settings.widths[1]=10 is out of range: it must lie in [1, 9]"),
    (["settings.every=31"], "settings.every=31 must not be larger than settings.steps=30: at most 30"),
    (["settings.steps=9"], "settings.steps=9 does not go with settings.every=10"),
    (["study=fit", "settings.extra=1"], "unknown setting 'extra': study=ready has it"),
    (["studies.fitt.settings.rate=1"], "unknown study of toy 'fitt': did you mean 'fit'?"),
    (["studies.drift.settings.rate=1"], "study 'drift' is not selected: add study=drift"),
    (["studies.fit.settings.rat=1"], "unknown setting 'rat': did you mean 'rate'?"),
    (["settings.steps=${settings.stps}"], "Interpolation key 'studies.fit.settings.stps' not found"),
    (["settings.steps=${settings.rate}"], "settings.steps=0.1 must be a whole number"),
    (["settings.rate=${settings.rate}"], "Recursive interpolation"),
    (["settings.rate=0.1,0.2"], "add -m to sweep over them, or write [a,b] for a list"),
    (["study=fit,ready"], "add -m"),
    (["settings.rate=range(1,3)"], "add -m"),
    (["settings.rate=choice(1,3)"], "add -m"),
    (["paper=toy,other"], "add -m"),
    (["hydra/launcher=nope"], "unknown hydra/launcher 'nope'"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_words_are_refused_in_one_line_and_write_nothing(words, said, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    own = any(word.lstrip("~").startswith("paper=") or word == "~paper" for word in words)
    message = refusal(*([] if own or not words else ["paper=toy"]), *words)
    assert said in message
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_group_is_named():
    assert refusal("paper=toy", "trackin=none") == "unknown key 'trackin': did you mean 'tracking'?"


def test_a_config_with_a_wrong_value_is_refused_whatever_is_said(root):
    config = root / "configs" / "paper" / "toy.yaml"
    config.write_text(config.read_text().replace("rate: 0.1, widths", "rate: 11.0, widths"))
    said = "configs/paper/toy.yaml: studies.fit, smoke scale: settings.rate=11.0 is out of range"
    assert refusal("paper=toy").startswith(said) and refusal("paper=toy", "settings.rate=1").startswith(said)


def test_a_broken_config_is_one_line(root):
    (root / "configs" / "paper" / "toy.yaml").write_text("# @package _global_\npaper: {title: [unclosed\n")
    assert "toy.yaml" in refusal("paper=toy")


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_what_a_config_says_alone_is_what_composing_it_gives(scale: str) -> None:
    for name in ("fit", "ready", "drift"):
        composed, written = launch(f"study={name}", f"scale={scale}"), default_launch(load_config("toy"), scale, name)
        one, other = make_job(composed, composed.studies[0]), make_job(written, written.studies[0])
        assert (one.identity, one.numbers) == (other.identity, other.numbers)


# What Hydra's users are used to


def printed(*words: str, what: str = "job", package: str | None = None, resolve: bool = False) -> Any:
    return yaml.safe_load(printed_config(launch(*words), what, package, resolve))


def test_the_composition_is_printed_as_yaml_that_says_it_all():
    shown = printed("scale=smoke", "settings.widths=[7]", "replicates=1")
    fit = shown["studies"]["fit"]
    assert (shown["paper"], shown["scale"], shown["tracking"]["name"], fit["replicates"]) == (
        "toy",
        "smoke",
        "wandb",
        1,
    )
    assert (fit["settings"]["steps"], fit["settings"]["widths"], fit["settings"]["limit"]) == (7, [7], None)
    assert fit["settings"]["optimizer"]["name"] == "sgd"
    assert shown["studies"]["ready"]["settings"] == {"prepared": {"count": 4}, "extra": 1.0}
    assert set(shown) == {
        *("paper", "scale", "study", "studies", "replicates", "first_replicate", "device", "workers", "axis"),
        *("budget", "debug", "hosts", "tracking"),
    }


def test_hydra_s_own_part_is_printed_too():
    words = ("settings.rate=0.3", "hydra.verbose=true")
    everything = printed(*words, what="all")
    assert set(everything) == {*printed(*words), "hydra"}
    own = printed(*words, what="hydra")["hydra"]
    assert own["overrides"]["task"] == ["paper=toy", "settings.rate=0.3", "hydra.verbose=true"]
    assert (own["runtime"]["choices"]["paper"], own["job"]["name"], own["verbose"]) == ("toy", "encore", True)


def test_a_part_is_printed_by_its_name():
    text = printed_config(launch(), "job", "studies.fit.settings.optimizer", resolve=False)
    assert text.startswith("# @package studies.fit.settings.optimizer\nname: sgd\n")
    assert printed(package="studies.fit.settings.rate") == 0.1
    assert printed(package="studies.fit.settings.limit") is None
    assert printed(what="hydra", package="hydra.job.name") == "encore"
    for package, nearest in {
        "stdies": "did you mean 'studies'?",
        "studies.fit.settings.rat": "did you mean 'studies.fit.settings.rate'?",
        "scale.more": "there is none",
        "hydra": "choose from",
    }.items():
        with pytest.raises(BadInput, match=f"^unknown --package {package}: ") as caught:
            printed_config(launch(), "job", package, resolve=False)
        assert nearest in str(caught.value)


def test_a_setting_refers_to_another_of_its_own_study():
    words = ("study=[fit,drift]", "settings.optimizer.learning_rate=${settings.rate}")
    found = {each.study.name: each.settings for each in launch(*words).studies}
    assert [found[name].optimizer.learning_rate for name in ("fit", "drift")] == [0.1, 3.0]
    unresolved = printed(*words)["studies"]["drift"]["settings"]["optimizer"]["learning_rate"]
    assert unresolved == "${studies.drift.settings.rate}"
    resolved = printed(*words, resolve=True)["studies"]
    assert [resolved[name]["settings"]["optimizer"]["learning_rate"] for name in ("fit", "drift")] == [0.1, 3.0]
    assert settings("settings.every=${.size}").every == 3, "relative to its own group"
    assert settings("settings.widths=[${settings.size},4]").widths == (3, 4)
    assert settings("settings.optimizer={learning_rate: ${settings.rate}}").optimizer.learning_rate == 0.1
    across = launch("settings.extra=${studies.fit.settings.steps}").studies[1].settings
    assert across.extra == 30.0


def test_the_environment_is_read_where_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("TOY_RATE", "0.7")
    assert settings("settings.rate='${oc.decode:${oc.env:TOY_RATE}}'").rate == 0.7
    assert "TOY_PACE" in refusal("paper=toy", "settings.rate=${oc.env:TOY_PACE}")


def test_values_follow_hydra_s_grammar():
    found = launch("tracking.notes='one, two: \"three\"'", "tracking.tags=[a,'b, c']", 'settings.mode="fancy"')
    assert (found.tracking["notes"], found.tracking["tags"]) == ('one, two: "three"', ["a", "b, c"])
    assert found.studies[0].settings.mode == "fancy"
    assert settings("settings.widths=[ 1 , 2 ]", "settings.limit=1e-3").widths == (1, 2)
    assert refusal("paper=toy", "settings.mode='fan,cy'") == (
        "settings.mode='fan,cy' is not a valid choice: did you mean 'fancy'?"
    )


def test_settings_are_added_forced_and_taken_out():
    for word in ("settings.limit=0.5", "+settings.limit=0.5", "++settings.limit=0.5"):
        assert settings(word).limit == 0.5
    assert settings("settings.limit=0.5", "~settings.limit").limit is None, "its default holds again"
    assert settings("settings.mode=fancy", "~studies.fit.settings.mode").mode == "plain"
    assert "limit" not in printed("~settings.limit")["studies"]["fit"]["settings"]
    assert settings("settings={rate: 0.5, optimizer: {momentum: 0.9}}").optimizer.momentum == 0.9
    assert settings("+studies.fit.settings.optimizer.warmup=3").optimizer.warmup == 3


def test_a_further_arm_is_added_to_a_mapping_by_arm(root):
    module = root / "experiments" / "toy" / "settings.py"
    text = module.read_text().replace(
        '    rate: float = setting("step size", gt=0, le=10)', "    rate: PerArm[float] = RATE"
    )
    text = text.replace("import PositiveInt, Settings, setting", "import PerArm, PositiveInt, Settings, setting")
    module.write_text(text.replace("class FitSettings", 'RATE = setting("step sizes")\n\n\nclass FitSettings'))
    config = root / "configs" / "paper" / "toy.yaml"
    text = config.read_text().replace("rate: 0.1, widths", "rate: {fast: 0.1}, widths")
    config.write_text(text.replace("rate: 3.0", "rate: {fast: 3.0, slow: 0.3}"))
    assert settings("settings.rate.fast=0.2").rate.root == {"fast": 0.2}
    assert settings("+settings.rate.slow=0.3").rate.root == {"fast": 0.1, "slow": 0.3}
    assert launch("+settings.rate.slow=0.3").studies[0].overridden == ("rate.slow",)
    assert refusal("paper=toy", "settings.rate.fst=0.3") == "unknown setting 'rate.fst': did you mean 'rate.fast'?"
    assert "settings.rate.slow='x' must be a number" in refusal("paper=toy", "+settings.rate.slow=x")
    both = launch("study=[fit,drift]", "settings.rate.slow=0.7").studies
    assert [each.settings.rate.root for each in both] == [{"fast": 0.1}, {"fast": 3.0, "slow": 0.7}]


# Presets of one's own


@pytest.fixture
def presets(tmp_path: Path) -> Path:
    (tmp_path / "mine" / "preset").mkdir(parents=True)
    return tmp_path / "mine"


def preset(folder: Path, text: str, *words: str, name: str = "mine") -> Launch:
    (folder / "preset" / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    return launch(f"+preset={name}", *words, *search_path_words(str(folder)))


def test_config_scale_preset_and_command_line_win_in_this_order(presets):
    text = "scale: smoke\nsettings: {rate: 0.5}\nstudies: {fit: {settings: {steps: 9, size: 2}}}\n"
    found = preset(presets, text)
    fit = found.studies[0].settings
    assert (found.scale, fit.every) == ("smoke", 3), "the scale that the preset says, and its block"
    assert (fit.rate, fit.steps, fit.size, fit.widths) == (0.5, 9, 2, (1, 2))
    assert found.studies[0].overridden == ("rate", "size", "steps") and found.studies[0].replicates == 2
    given = preset(presets, text, "settings.rate=0.7", "studies.fit.settings.size=4").studies[0].settings
    assert (given.rate, given.steps, given.size) == (0.7, 9, 4)
    laptop = preset(presets, text, "scale=laptop", "settings.every=4")
    assert (laptop.scale, laptop.studies[0].settings.steps, laptop.studies[1].settings.extra) == ("laptop", 9, 2.0)


def test_a_preset_speaks_of_studies_tracking_and_replicates(presets):
    text = "study: [fit, drift]\nreplicates: 3\ntracking: {mode: disabled}\nsettings: {every: '${settings.size}'}\n"
    found = preset(presets, text, "studies.drift.replicates=5")
    assert [(each.study.name, each.replicates, each.settings.every) for each in found.studies] == [
        ("fit", 3, 3),
        ("drift", 5, 3),
    ]
    assert found.tracking["mode"] == "disabled"
    assert preset(presets, text, "study=fit", "replicates=2").studies[0].replicates == 2


def test_presets_that_are_wrong_are_refused(presets):
    def refused(text: str, *words: str) -> str:
        with pytest.raises(BadInput) as caught:
            preset(presets, text, *words)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert refused("settings: {rat: 1}\n") == "unknown setting 'rat': did you mean 'rate'?"
    assert refused("settings: 3\n") == "settings=3 must be a group of keys"
    assert refused("studies: {fitt: {replicates: 3}}\n") == "unknown study of toy 'fitt': did you mean 'fit'?"
    assert refused("studies: {fit: {settings: {rat: 3}}}\n") == "unknown key 'settings.rat': did you mean 'rate'?"
    assert refused("studies: {fit: {replicates: many}}\n").startswith("replicates='many' must be a whole number")
    assert refused("scale: smok\n") == "scale='smok' is not a valid choice: did you mean 'smoke'?"
    assert refused("scal: smoke\n") == "unknown key 'scal': did you mean 'scale'?"
    assert refused("scale: [\n").startswith("mine.yaml, line 3: ")
    folder = search_path_words(str(presets))
    (presets / "preset" / "bare.yaml").write_text("scale: smoke\n")
    assert (
        refusal("paper=toy", "+preset=bare", *folder)
        == "preset/bare.yaml must begin with the line '# @package _global_'"
    )
    assert refusal("paper=toy", "+preset=mien", *folder) == "unknown preset 'mien': did you mean 'mine'?"
    assert "--config-dir names the folder" in refusal("paper=toy", "+preset=mine")
    with pytest.raises(BadInput, match=r"^--config-dir .*nowhere is no folder$"):
        search_path_words(str(presets / "nowhere"))


def test_what_hydra_keeps_of_a_run():
    words = ("study=fit", "scale=smoke", "settings.every=${settings.size}")
    kept = {name: yaml.safe_load(text) for name, text in hydra_folder(launch(*words)).items()}
    assert set(kept) == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert kept["config.yaml"] == printed(*words) and list(kept["config.yaml"]["studies"]) == ["fit"]
    assert kept["config.yaml"]["studies"]["fit"]["settings"]["every"] == "${studies.fit.settings.size}"
    assert kept["overrides.yaml"] == ["paper=toy", *words]
    assert kept["hydra.yaml"]["hydra"]["overrides"]["task"] == ["paper=toy", *words]
