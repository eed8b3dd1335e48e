"""Configs: what they may say, what is refused and in which words, `like`, scales, tuning, and the choice of studies."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from yaml import YAMLError

from core import files
from core.errors import BadInput
from core.papers import yaml_reader
from core.papers.config import check_settings, load_config, parse_config
from core.papers.config_files import all_slugs, read_config
from core.papers.groups import merge_values
from core.paths import configs_folder, published_folder

FILE = "configs/paper/toy.yaml: "
DEVIATION = {"what": "length", "paper": 300, "laptop": 30, "bears_on": ["C1"], "why": "time"}
TUNE = {"setting": "rate", "per_arm": False, "values": [0.1, 0.2, 0.3], "by": {"metric": "loss"}}
FIGURE = {"study": "fit", "y": "loss", "caption": "A curve."}
CLAUSE = {"metric": "loss", "number": [{"minus": {"arm": ["slow", "fast"]}}], "over": "replicate", "in": [0, math.inf]}


@pytest.fixture
def data(toy_root: Path) -> dict[str, Any]:
    return copy.deepcopy(read_config("toy"))


def changed(data: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """The data with another value at a place; with nothing there for `...`."""
    *groups, last = place.split("/")
    inner = data
    for key in groups:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return data


def refusal(data: dict[str, Any]) -> str:
    """What is said of a config, without the name of its file."""
    with pytest.raises(BadInput) as caught:
        check_settings(parse_config("toy", data))
    message = str(caught.value)
    assert message.startswith(FILE) and "\n" not in message and message.count("toy.yaml") == 1
    return message.removeprefix(FILE)


KEYS = [
    ("claim", {}, "claim", "claims"),
    ("paper/titel", "x", "paper.titel", "title"),
    ("studies/fit/replicate", 3, "studies.fit.replicate", "replicates"),
    ("studies/fit/scales/papper", {}, "studies.fit.scales.papper", "paper"),
    ("studies/fit/replicates", {"lptop": 3}, "studies.fit.replicates.lptop", "laptop"),
    ("studies/fit/deviations", [DEVIATION, {"waht": "x"}], "studies.fit.deviations[1].waht", "what"),
    ("studies/fit/deviations", [{**DEVIATION, "bears_onn": []}], "studies.fit.deviations[0].bears_onn", "bears_on"),
    ("studies/fit/tune", {**TUNE, "vlues": []}, "studies.fit.tune.vlues", "values"),
    ("studies/fit/tune", {**TUNE, "by": {"metric": "loss", "bst": 1}}, "studies.fit.tune.by.bst", "best"),
    ("figures", {"f": {**FIGURE, "captoin": 3}}, "figures.f.captoin", "caption"),
    ("claims/C1/contrl", {}, "claims.C1.contrl", "control"),
    ("claims/C1/control", {"name": "x", "swp": {}}, "claims.C1.control.swp", "swap"),
    ("claims/C1/printed", {"values": 3}, "claims.C1.printed.values", "value"),
    ("claims/C1/not_testable", {"labtop": "x"}, "claims.C1.not_testable.labtop", "laptop"),
    ("claims/C1/all", [{**CLAUSE, "overr": 1}], "claims.C1.all[0].overr", "over"),
    ("claims/C1/all", [CLAUSE, {"mroe": {}}], "claims.C1.all[1].mroe", "more"),
    ("claims/C1/all", [{"more": {"metrc": "loss"}}], "claims.C1.all[0].more.metrc", "metric"),
    ("claims/C1/all", [{**CLAUSE, "number": [{"man": "t"}]}], "claims.C1.all[0].number[0].man", "mean"),
]


@pytest.mark.parametrize(("place", "value", "key", "nearest"), KEYS, ids=[key for _, _, key, _ in KEYS])
def test_an_unknown_key_anywhere_is_answered_with_the_nearest(data, place, value, key, nearest):
    assert refusal(changed(data, place, value)) == f"unknown key '{key}': did you mean '{nearest}'?"


def test_the_laptop_scale_is_the_settings_themselves(data):
    said = refusal(changed(data, "studies/fit/scales/laptop", {}))
    assert said == "unknown key 'studies.fit.scales.laptop': choose from paper, smoke"


def test_a_text_that_an_unquoted_comma_cut_is_named(toy_root):
    path = configs_folder() / "toy.yaml"
    text = path.read_text()
    path.write_text(text.replace("laptop: 30 steps,", "laptop: 30 steps, or fewer,"))
    with pytest.raises(BadInput, match=r"deviations\[0\]\.or fewer': a text with a comma needs quotes"):
        load_config("toy")
    path.write_text(text.replace("laptop: 30 steps,", "laptop: 30,000 steps,"))
    with pytest.raises(BadInput, match="a text with a comma needs quotes"):
        load_config("toy")
    path.write_text(text.replace("laptop: 30 steps,", "laptop: 30,000,"))
    with pytest.raises(BadInput, match="the key 000 is no text: quote it, or the comma"):
        load_config("toy")


@pytest.mark.parametrize("place", ["paper", "studies", "claims", "paper/idea", "studies/fit/says", "studies/fit/arms"])
def test_missing_parts_are_named(data, place):
    said = refusal(changed(data, place, ...))
    assert said.startswith(f"{place.replace('/', '.')} is missing")


@pytest.mark.parametrize(
    "place",
    [
        *("paper", "studies", "claims", "metrics", "studies/fit", "studies/fit/settings", "studies/fit/scales"),
        *("studies/fit/scales/smoke", "studies/fit/arms", "claims/C1", "claims/C1/control"),
    ],
)
@pytest.mark.parametrize("value", [None, "words", ["a"]])
def test_parts_that_are_no_groups_are_named(data, place, value):
    assert refusal(changed(data, place, value)) == f"{place.replace('/', '.')}={value!r} must be a group of keys"


VALUES = [
    ("studies/fit/replicates", "many", "studies.fit.replicates='many' must be a whole number or a group of keys"),
    ("studies/fit/replicates", True, "studies.fit.replicates=True must be a whole number or a group of keys"),
    ("studies/fit/replicates", 0, "studies.fit.replicates=0 is out of range: it must lie in [1, inf)"),
    ("studies/fit/replicates", {"laptop": 0}, "studies.fit.replicates.laptop=0 is out of range"),
    ("studies/fit/replicates", {"laptop": 2.5}, "studies.fit.replicates.laptop=2.5 must be a whole number"),
    ("studies/fit/like", ["ready"], "studies.fit.like=['ready'] must be a word"),
    ("studies/fit/default", "yes", "studies.fit.default='yes' must be true or false"),
    ("studies/fit/x64", 1, "studies.fit.x64=1 must be true or false"),
    ("studies/fit/deviations", [{**DEVIATION, "bears_on": "C1"}], "deviations[0].bears_on='C1' must be a list"),
    ("studies/fit/deviations", [{"what": "x", "paper": 1, "laptop": 2}], "deviations[0].why is missing"),
    ("studies/fit/tune", {**TUNE, "values": [0.1, 0.2]}, "tune.values=[0.1, 0.2] must have at least 3 items"),
    ("studies/fit/tune", {**TUNE, "values": [0.1, 0.2, 0.2]}, "tune.values=[0.1, 0.2, 0.2] must rise"),
    (
        "figures",
        {"f": {**FIGURE, "kind": "curve"}},
        "figures.f.kind='curve' is not a valid choice: did you mean 'curves'?",
    ),
    ("figures", {"f": {**FIGURE, "log": ["z"]}}, "figures.f.log[0]='z' is not a valid choice: choose from x, y"),
    ("figures", {"f": {**FIGURE, "reduce": {"draw": "avg"}}}, "figures.f.reduce.draw='avg' is not a valid choice"),
    ("paper/year", "2001", "paper.year='2001' must be a whole number"),
    ("paper/authors", [], "paper.authors=[] must have at least 1 item"),
    ("metrics/loss", 3, "metrics.loss=3 must be a word"),
]


@pytest.mark.parametrize(("place", "value", "said"), VALUES, ids=[said for _, _, said in VALUES])
def test_values_of_the_wrong_kind_are_refused(data, place, value, said):
    assert said in refusal(changed(data, place, value))


NAMES = [
    (
        "studies/fit/deviations",
        [{**DEVIATION, "bears_on": ["C1", "C9"]}],
        "claim in studies.fit.deviations[0].bears_on: 'C9'",
    ),
    ("studies/fit/may_diverge", ["fst"], "arm in studies.fit.may_diverge: 'fst': did you mean 'fast'?"),
    ("studies/fit/like", "redy", "study in studies.fit.like: 'redy': did you mean 'ready'?"),
    ("studies/fit/tuned_by", "ready", "tuning study in studies.fit.tuned_by: 'ready': there is none"),
    (
        "studies/fit/tune",
        {**TUNE, "by": {"metric": "lss"}},
        "metric in studies.fit.tune.by: 'lss': did you mean 'loss'?",
    ),
    ("studies/fit/tune", {**TUNE, "edges": {"fst": "x"}}, "arm in studies.fit.tune.edges: 'fst': did you mean 'fast'?"),
    (
        "studies/fit/tune",
        {**TUNE, "setting": "rat"},
        "setting that is tuned in studies.fit: 'rat': did you mean 'rate'?",
    ),
    ("figures", {"f": {**FIGURE, "study": "ft"}}, "study in figures.f: 'ft': did you mean 'fit'?"),
    ("figures", {"f": {**FIGURE, "y": "lss"}}, "metric in figures.f: 'lss': did you mean 'loss'?"),
    (
        "figures",
        {"f": {**FIGURE, "kind": "scatter", "x": "ttal"}},
        "metric in figures.f: 'ttal': did you mean 'total'?",
    ),
    ("figures", {"f": {**FIGURE, "against": "slw"}}, "arm in figures.f: 'slw': did you mean 'slow'?"),
    ("figures", {"f": {**FIGURE, "order": ["fast", "slw"]}}, "arm in figures.f: 'slw': did you mean 'slow'?"),
    ("figures", {"f": {**FIGURE, "at": {"arm": ["slw"]}}}, "arm in figures.f: 'slw': did you mean 'slow'?"),
    ("claims/C1/study", "ft", "study of claim C1, clause 1: 'ft': did you mean 'fit'?"),
    ("claims/C1/control", {"fast": "slw"}, "arm in claim C1, clause 1, control: 'slw': did you mean 'slow'?"),
    ("claims/C1/control", {"fst": "slow"}, "value to swap in claim C1, control: 'fst': did you mean 'fast'?"),
    (
        "claims/C1/all",
        [{**CLAUSE, "metric": "lss"}],
        "metric in claim C1, clause 1: it is not listed under metrics; 'lss'",
    ),
]


@pytest.mark.parametrize(("place", "value", "said"), NAMES, ids=map(str, range(len(NAMES))))
def test_names_of_what_there_is_not_are_answered_with_the_nearest(data, place, value, said):
    assert refusal(changed(data, place, value)).startswith(f"unknown {said}")


def test_a_config_that_is_no_yaml_is_one_line(toy_root):
    config = configs_folder() / "broken.yaml"
    config.write_text("paper: {title: [unclosed\n")
    with pytest.raises(BadInput, match=r"^configs/paper/broken\.yaml cannot be read: [^\n]*$"):
        load_config("broken")
    config.write_text("- a list\n")
    with pytest.raises(BadInput, match=r"configs/paper/broken\.yaml is not a group of keys"):
        load_config("broken")


def test_an_unknown_paper_is_answered_with_the_nearest(toy_root):
    assert all_slugs() == ["toy"]
    with pytest.raises(BadInput, match="unknown paper 'tojy': did you mean 'toy'"):
        load_config("tojy")


def test_a_config_that_was_written_since_is_read_again(toy_root):
    path, before = configs_folder() / "toy.yaml", load_config("toy")
    assert load_config("toy") is before
    path.write_text(path.read_text().replace("A toy,", "Another toy,"))
    assert load_config("toy").paper.title == "Another toy"


def test_a_study_without_settings_is_refused(data):
    data["studies"]["fitt"] = {"like": "fit", "says": "More of it."}
    assert refusal(data) == "unknown study in SETTINGS of experiments/toy/settings.py: 'fitt': did you mean 'fit'?"


def test_a_paper_without_settings_is_refused(toy_root):
    (configs_folder() / "other.yaml").write_text((configs_folder() / "toy.yaml").read_text())
    with pytest.raises(BadInput, match=r"other has no experiments/other/settings\.py with its settings"):
        load_config("other")


# Settings of all studies, at every scale


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("fit/settings/rate", 11.0, "fit, smoke scale: settings.rate=11.0 is out of range: it must lie in (0, 10]"),
        ("fit/settings/stps", 3, "fit, smoke scale: unknown key 'settings.stps': did you mean 'steps'?"),
        ("fit/scales/paper/steps", 5, "fit, paper scale: settings.every=10 must not be larger than settings.steps=5"),
        ("fit/scales/paper/optimizer", {"nme": "adam"}, "fit, paper scale: unknown key 'settings.optimizer.nme'"),
        ("drift/settings/steps", ..., "drift, smoke scale: settings.steps is missing: length"),
        ("ready/scales/smoke/extra", "one", "ready, smoke scale: settings.extra='one' must be a number"),
    ],
)
def test_a_wrong_setting_of_any_study_at_any_scale_is_refused(data, place, value, said):
    assert refusal(changed(data, f"studies/{place}", value)).startswith(f"studies.{said}")


def test_a_scale_is_laid_over_the_settings_group_by_group(toy_root):
    study = load_config("toy").studies["fit"]
    written = read_config("toy")["studies"]["fit"]["settings"]
    assert study.values("laptop") == written
    assert study.values("smoke") == {**written, "steps": 7, "every": 3}
    assert study.values("paper")["optimizer"] == {"name": "adam", "learning_rate": 0.1}
    assert written["optimizer"]["name"] == "sgd"
    assert study.all_values("smoke")["limit"] is None and "limit" not in study.values("smoke")


def test_laying_over_replaces_lists_and_changes_neither_side():
    base, over = {"a": {"b": 1, "c": [1, 2]}, "d": 4}, {"a": {"c": [3]}, "d": {"e": 5}}
    assert merge_values(base, over) == {"a": {"b": 1, "c": [3]}, "d": {"e": 5}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 4} and over == {"a": {"c": [3]}, "d": {"e": 5}}


def test_keys_with_dots_reach_into_groups(data):
    data["studies"]["fit"]["settings"] |= {"optimizer.momentum": 0.5}
    data["studies"]["fit"]["scales"]["smoke"] |= {"optimizer.learning_rate": 0.2, "optimizer.momentum": 0.9}
    study = parse_config("toy", data).studies["fit"]
    assert study.values("laptop")["optimizer"] == {"name": "sgd", "learning_rate": 0.1, "momentum": 0.5}
    assert study.values("smoke")["optimizer"] == {"name": "sgd", "learning_rate": 0.2, "momentum": 0.9}


def test_planned_replicates(data):
    fit, drift = (load_config("toy").studies[name] for name in ("fit", "drift"))
    assert [fit.replicates(scale) for scale in ("smoke", "laptop", "paper")] == [2, 4, 6]
    assert [drift.replicates(scale) for scale in ("smoke", "laptop", "paper")] == [1, 1, 1]
    many = parse_config("toy", changed(data, "studies/fit/replicates", 9)).studies["fit"]
    assert [many.replicates(scale) for scale in ("smoke", "laptop", "paper")] == [2, 9, 9]


# Studies that are like others


def test_a_study_says_only_what_differs_from_the_one_that_it_is_like(data):
    data["studies"]["drift"] = {
        "like": "fit",
        "says": "Leaves the bowl.",
        "settings": {"rate": 3.0, "optimizer.warmup": 5},
        "scales": {"smoke": {"steps": 9}},
    }
    config = parse_config("toy", data)
    check_settings(config)
    fit, drift = config.studies["fit"], config.studies["drift"]
    assert drift.values("laptop") == {
        **fit.values("laptop"),
        "rate": 3.0,
        "optimizer": {"name": "sgd", "learning_rate": 0.1, "warmup": 5},
    }
    assert (drift.values("smoke")["steps"], drift.values("smoke")["every"]) == (9, 3)
    assert drift.values("paper")["optimizer"] == {"name": "adam", "learning_rate": 0.1, "warmup": 5}
    assert (drift.form.arms, drift.form.deviations) == (fit.form.arms, fit.form.deviations)
    assert [drift.replicates(scale) for scale in ("laptop", "paper")] == [4, 6]
    assert "warmup" not in fit.values("laptop")["optimizer"]


def test_sentence_and_default_are_a_study_s_own_and_arms_are_taken_whole(data):
    data["studies"]["ready"]["default"] = False
    data["studies"]["drift"] = {"like": "ready", "says": "Otherwise.", "arms": {"alone": "one arm"}}
    drift = parse_config("toy", data).studies["drift"]
    assert (drift.says, drift.default, drift.form.arms) == ("Otherwise.", True, {"alone": "one arm"})
    del data["studies"]["drift"]["says"]
    assert refusal(data).startswith("studies.drift.says is missing")


def test_likeness_goes_over_several_studies_but_not_in_a_circle(data):
    studies = data["studies"]
    studies["drift"] = {"like": "fit", "says": "b", "settings": {"rate": 0.5}}
    studies["ready"] = {"like": "drift", "says": "c", "arms": studies["ready"]["arms"], "settings": {"steps": 50}}
    values = parse_config("toy", data).studies["ready"].values("laptop")
    assert (values["rate"], values["steps"], values["size"]) == (0.5, 50, 3)
    studies["fit"]["like"] = "ready"
    assert refusal(data) == "studies.drift.like leads back to fit"
    del studies["fit"]["like"]
    studies["drift"]["like"] = "drift"
    assert refusal(data) == "studies.drift.like leads back to drift"


# Tuning: the winners of one study become settings of another


@pytest.fixture
def tuned(data: dict[str, Any]) -> dict[str, Any]:
    """The toy, whose study `fit` takes its rate from the winner of `drift`."""
    data["studies"]["drift"] |= {"tune": TUNE, "settings": {**data["studies"]["fit"]["settings"], "rate": 0.1}}
    data["studies"]["fit"]["tuned_by"] = "drift"
    del data["studies"]["fit"]["settings"]["rate"]
    return data


def publish_winners(**winners: Any) -> None:
    files.write_json(published_folder() / "toy" / "laptop" / "winners.json", winners)


def test_a_study_waits_for_the_winners_of_its_tuning(tuned):
    config = parse_config("toy", tuned)
    check_settings(config)
    fit = config.studies["fit"]
    with pytest.raises(BadInput, match=r"toy fit takes rate from its tuning, .*encore run paper=toy study=drift"):
        fit.build(fit.values("laptop"))
    assert fit.build({**fit.values("laptop"), "rate": 0.7}).rate == 0.7, "unless the user gives a value"
    assert fit.build(fit.values("smoke")).rate == 0.2, "a smoke run takes the middle of the grid"
    publish_winners(drift=0.2)
    assert fit.build(fit.values("laptop")).rate == fit.build(fit.values("paper")).rate == 0.2
    publish_winners(other=0.2)
    with pytest.raises(BadInput, match="not published"):
        fit.build(fit.values("laptop"))


def test_a_scale_and_its_block_win_over_the_winners(tuned):
    tuned["studies"]["fit"]["scales"]["paper"]["rate"] = 0.9
    publish_winners(drift=0.2)
    fit = parse_config("toy", tuned).studies["fit"]
    assert (fit.values("laptop")["rate"], fit.values("paper")["rate"]) == (0.2, 0.9)


@pytest.mark.parametrize("edge", [0.1, 0.3])
def test_a_winner_at_the_edge_of_its_grid_is_refused_unless_explained(tuned, edge):
    publish_winners(drift=edge)
    said = f"the winner of drift, rate={edge:g}, lies at the edge of its grid [0.1, 0.3]: "
    assert refusal(tuned) == f"{said}widen it, or say in edges why not"
    tuned["studies"]["drift"]["tune"] = {**TUNE, "values": [0.01, 0.1, 0.3, 1.0]}
    check_settings(parse_config("toy", tuned))
    tuned["studies"]["drift"]["tune"] = {**TUNE, "edges": {"all": "nothing beyond is stable"}}
    check_settings(parse_config("toy", tuned))


def test_winners_by_arm(tuned):
    (configs_folder().parents[1] / "experiments" / "toy" / "settings.py").write_text(SETTINGS_BY_ARM)
    tuned["studies"]["drift"]["settings"] = {"rate": {"fast": 0.1}, "steps": 3}
    tuned["studies"]["fit"] |= {"settings": {"steps": 3}, "scales": {}}
    tune = {key: value for key, value in TUNE.items() if key != "per_arm"}
    tuned["studies"]["drift"] |= {"tune": tune, "arms": tuned["studies"]["fit"]["arms"]}
    publish_winners(drift={"fast": 0.2, "slow": 0.1, "slow_again": 0.2})
    assert refusal(tuned).startswith("the winner of slow in drift, rate=0.1, lies at the edge of its grid")
    tune["edges"] = {"fast": "not this one"}
    assert refusal(tuned).startswith("the winner of slow in drift, rate=0.1, lies at the edge of its grid")
    tune["edges"] = {"slow": "below it nothing happens"}
    config = parse_config("toy", tuned)
    check_settings(config)
    rates = config.studies["fit"].build(config.studies["fit"].values("laptop")).rate
    assert rates.root == {"fast": 0.2, "slow": 0.1, "slow_again": 0.2}
    smoke = config.studies["fit"].build(config.studies["fit"].values("smoke")).rate
    assert smoke.root == dict.fromkeys(("fast", "slow", "slow_again"), 0.2)
    tune["per_arm"] = False
    assert refusal(tuned) == "studies.fit: rate is a mapping by arm: write per_arm: true"


def test_winners_under_conditions_are_those_of_an_arm(tuned):
    (configs_folder().parents[1] / "experiments" / "toy" / "settings.py").write_text(SETTINGS_BY_ARM)
    tuned["studies"]["drift"]["settings"] = {"rate": {"fast": 0.1}, "steps": 3}
    tuned["studies"]["fit"] |= {"settings": {"steps": 3}, "scales": {}}
    tune = {key: value for key, value in TUNE.items() if key != "per_arm"} | {"per": ["regime"]}
    tuned["studies"]["drift"] |= {"tune": tune, "arms": tuned["studies"]["fit"]["arms"]}
    publish_winners(drift={"fast/long": 0.2, "fast/short": 0.3})
    assert refusal(tuned).startswith("the winner of fast/short in drift, rate=0.3, lies at the edge of its grid")
    tune["edges"] = {"fast": "beyond it diverges"}
    rates = parse_config("toy", tuned).studies["fit"].values("laptop")["rate"]
    assert rates == {"fast/long": 0.2, "fast/short": 0.3}
    tuned["studies"]["drift"]["tune"] = {**TUNE, "per": ["regime"]}
    assert refusal(tuned) == "studies.fit: rate is one value: per names columns beside the arm"


def test_one_value_is_no_mapping_by_arm(tuned):
    tuned["studies"]["drift"]["tune"] = {key: value for key, value in TUNE.items() if key != "per_arm"}
    assert refusal(tuned) == "studies.fit: rate is one value, not one by arm: write per_arm: false"


SETTINGS_BY_ARM = '''
"""Settings of the toy, with a rate for each arm."""

from core.papers.settings import PerArm, PositiveFloat, PositiveInt, Settings, setting


class FitSettings(Settings):
    """A bowl."""

    rate: PerArm[PositiveFloat] = setting("step sizes")
    steps: PositiveInt = setting("length")


class ReadySettings(Settings):
    """A number."""

    prepared: dict[str, int] = setting("shared by all replicates")
    extra: float = setting("added to it")


SETTINGS = {"fit": FitSettings, "ready": ReadySettings, "drift": FitSettings}
'''


# The choice of studies


def test_choosing_studies(toy_root):
    config = load_config("toy")

    def chosen(wanted: Any) -> list[str]:
        return [study.name for study in config.select(wanted)]

    assert chosen(None) == ["fit", "ready"]
    assert chosen("all") == ["fit", "ready", "drift"]
    assert chosen("drift") == ["drift"]
    assert chosen(["ready", "fit"]) == ["ready", "fit"]
    assert chosen(["fit", "fit"]) == ["fit"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("redy", "unknown study of toy 'redy': did you mean 'ready'"),
        (["fit", "redy"], "did you mean 'ready'"),
        (3, "unknown study of toy '3'"),
        ([["fit"]], "unknown study of toy"),
        ([], "names no study"),
        ({"fit": 1}, "study"),
    ],
)
def test_choosing_what_is_no_study(toy_root, wanted, said):
    with pytest.raises(BadInput, match=said):
        load_config("toy").select(wanted)


def test_configs_are_read_as_hydra_reads_them(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "# @package _global_\n"
        "a: &a {x: 1e-3, y: 1.2e-3, z: 1e5, i: 10, u: 1_000, h: 0x1f, n: null, t: yes, f: .inf, g: -.5}\n"
        "b: {<<: *a, x: 6e-4}\n"
        "c: [2001-01-01, '1e-3', 1.5, -2, 3., +1e+2, e5, 1e, .e3]\n"
        "d: >\n  folded\n  text\n"
    )
    assert yaml_reader.read_yaml(path) == OmegaConf.to_container(OmegaConf.load(path))
    for slug in all_slugs():
        config = configs_folder() / f"{slug}.yaml"
        assert yaml_reader.read_yaml(config) == OmegaConf.to_container(OmegaConf.load(config))
    path.write_text("a: 1\na: 2\n")
    with pytest.raises(YAMLError, match="duplicate key a"):
        yaml_reader.read_yaml(path)
    path.write_text("deviation: {laptop: 20,000, why: time}\n")
    with pytest.raises(YAMLError, match="the key 000 is no text: quote it, or the comma"):
        yaml_reader.read_yaml(path)
