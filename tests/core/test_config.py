"""Configs: which keys they may have, scales laid over settings, and the choice of studies."""

import copy
from typing import Any

import pytest
from omegaconf import OmegaConf
from yaml import YAMLError

from core.errors import BadInput
from core.papers import yaml_reader
from core.papers.config import load_config, merge_values, parse_config, slugs
from core.paths import configs_folder


@pytest.fixture
def data(toy_root) -> dict[str, Any]:
    return copy.deepcopy(dict(load_config("toy").data))


def refusal(data: dict[str, Any]) -> str:
    with pytest.raises(BadInput) as caught:
        parse_config("toy", data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_keys_are_answered_with_the_nearest(data):
    assert "unknown key 'claim': did you mean 'claims'?" in refusal({**data, "claim": {}})
    data["paper"]["titel"] = "x"
    assert "toy: paper has an unknown key 'titel': did you mean 'title'?" in refusal(data)
    del data["paper"]["titel"]
    data["studies"]["fit"]["replicate"] = 3
    assert "toy: studies.fit has an unknown key 'replicate': did you mean 'replicates'?" in refusal(data)
    del data["studies"]["fit"]["replicate"]
    data["studies"]["fit"]["scales"]["papper"] = {}
    assert "toy: studies.fit.scales has an unknown key 'papper': did you mean 'paper'?" in refusal(data)


def test_the_laptop_scale_is_the_settings_themselves(data):
    data["studies"]["fit"]["scales"]["laptop"] = {}
    assert "studies.fit.scales has an unknown key 'laptop'" in refusal(data)


@pytest.mark.parametrize("key", ["paper", "studies", "claims"])
def test_missing_parts_are_named(data, key):
    del data[key]
    assert refusal(data) == f"configs/paper/toy.yaml lacks {key}"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("paper",), "toy: paper must be a group of keys"),
        (("studies",), "toy: studies must be a group of keys"),
        (("claims",), "toy: claims must be a group of keys"),
        (("studies", "fit"), "toy: studies.fit must be a group of keys"),
        (("studies", "fit", "settings"), "toy: studies.fit.settings must be a group of keys"),
        (("studies", "fit", "scales"), "toy: studies.fit.scales must be a group of keys"),
        (("studies", "fit", "scales", "smoke"), "toy: studies.fit.scales.smoke must be a group of keys"),
    ],
)
@pytest.mark.parametrize("value", [None, "words", ["a"]])
def test_parts_that_are_no_groups_are_named(data, place, said, value):
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert refusal(data) == said


def test_a_config_that_is_no_yaml_is_one_line(toy_root):
    config = toy_root / "configs" / "paper" / "broken.yaml"
    config.write_text("paper: {title: [unclosed\n")
    with pytest.raises(BadInput, match=r"configs/paper/broken\.yaml"):
        load_config("broken")
    config.write_text("- a list\n")
    with pytest.raises(BadInput, match=r"configs/paper/broken\.yaml is not a config"):
        load_config("broken")


def test_an_unknown_paper_is_answered_with_the_nearest(toy_root):
    assert slugs() == ["toy"]
    with pytest.raises(BadInput, match="unknown paper 'tojy': did you mean 'toy'"):
        load_config("tojy")


def test_a_study_without_code_is_refused(data):
    data["studies"]["fitt"] = data["studies"].pop("fit")
    with pytest.raises(BadInput, match="the experiment has no study 'fitt' in STUDIES; did you mean 'fit'"):
        parse_config("toy", data).studies  # noqa: B018


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


def test_a_scale_is_laid_over_the_settings_group_by_group(toy_root):
    study = load_config("toy").studies["fit"]
    assert study.values("laptop") == study.data["settings"]
    assert study.values("smoke") == {**study.data["settings"], "steps": 7, "every": 3}
    assert study.values("paper")["optimizer"] == {"name": "adam", "learning_rate": 0.1}
    assert study.data["settings"]["optimizer"]["name"] == "sgd"


def test_laying_over_replaces_lists_and_changes_neither_side():
    base, over = {"a": {"b": 1, "c": [1, 2]}, "d": 4}, {"a": {"c": [3]}, "d": {"e": 5}}
    assert merge_values(base, over) == {"a": {"b": 1, "c": [3]}, "d": {"e": 5}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 4} and over == {"a": {"c": [3]}, "d": {"e": 5}}


def test_planned_replicates(toy_root):
    studies = load_config("toy").studies
    fit, drift = studies["fit"], studies["drift"]
    assert [fit.replicates(scale) for scale in ("smoke", "laptop", "paper")] == [2, 4, 6]
    assert [drift.replicates(scale) for scale in ("smoke", "laptop", "paper")] == [1, 1, 1]


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
    for slug in slugs():
        config = configs_folder() / f"{slug}.yaml"
        assert yaml_reader.read_yaml(config) == OmegaConf.to_container(OmegaConf.load(config))
    path.write_text("a: 1\na: 2\n")
    with pytest.raises(YAMLError, match="duplicate key a"):
        yaml_reader.read_yaml(path)
    path.write_text("deviation: {laptop: 20,000, why: time}\n")
    with pytest.raises(YAMLError, match="the key 000 is no text: quote it, or the comma"):
        yaml_reader.read_yaml(path)
