"""Verdicts by hand and by simulation, controls, and configs that must be refused."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from core.errors import BadInput
from core.judging import judge, stats
from core.judging.clauses import parse_clause
from core.judging.synthetic import synthetic_measurements

CONFIG = yaml.safe_load(Path(__file__).with_name("claims_config.yaml").read_text(encoding="utf-8"))
IDS = list(CONFIG["claims"])


def claim_of(name, **changes):
    return judge.parse_claim(name, copy.deepcopy(CONFIG["claims"][name]) | changes)


def simple(number_of_clauses=1, join="all", **changes):
    """A claim that arm a beats arm b by what matters, 1."""
    clause = {
        "metric": "m",
        "number": [{"minus": {"arm": ["a", "b"]}}],
        "over": "replicate",
        "in": [0, "inf"],
        "matters": 1,
    }
    listed = [clause | {"select": {"task": i}} for i in range(number_of_clauses)]
    return {"says": "a beats b", "study": "main", join: listed} | changes


def rows_of(effects, task=0, **arms):
    """One row per replicate: arm a is 10 + effect, arm b is 10, further arms are 10 + their own."""
    arms = {"a": effects, "b": np.zeros(len(effects))} | arms
    return pd.DataFrame(
        [
            {"study": "main", "replicate": r, "arm": arm, "task": task, "metric": "m", "value": 10.0 + value}
            for arm, values in arms.items()
            for r, value in enumerate(values)
        ]
    )


def judged(effects, scale="laptop", table=None, **changes):
    claim = judge.parse_claim("T1", simple(**changes))
    found = judge.judge_claim(claim, rows_of(effects) if table is None else table, scale)
    json.dumps(found, allow_nan=False)
    return found


def effects_of(mean, half_width, n=6, level=0.95):
    """Numbers whose t interval is mean +- half_width."""
    shape = np.array([-1.0, 1.0] * (n // 2))
    reach = stats.mean_interval(shape, level).high
    return mean + shape * half_width / reach


DECISIONS = [
    (3.0, 1.0, "holds", ""),
    (0.5, 0.4, "holds", "small: below what matters"),
    (0.4, 0.5, "fails", ""),
    (-3.0, 1.0, "fails", ""),
    (0.9, 1.0, "undecided", "about 1 more replicate"),
    (0.0, 0.0, "fails", ""),
]


@pytest.mark.parametrize(("mean", "half_width", "verdict", "note"), DECISIONS)
def test_superiority(mean, half_width, verdict, note):
    found = judged(effects_of(mean, half_width))
    assert (found["verdict"], found["note"]) == (verdict, note)
    (clause,) = found["clauses"]
    assert [clause["estimate"], clause["low"], clause["high"]] == pytest.approx(
        [mean, mean - half_width, mean + half_width], abs=1e-9
    )


@pytest.mark.parametrize(("mean", "half_width", "verdict", "note"), DECISIONS)
@pytest.mark.parametrize("matters", [1, -1])
def test_superiority_downwards_is_its_mirror(mean, half_width, verdict, note, matters):
    config = simple()
    config["all"][0] |= {"in": ["-inf", 0], "matters": matters}
    found = judge.judge_claim(judge.parse_claim("T1", config), rows_of(-effects_of(mean, half_width)), "laptop")
    assert (found["verdict"], found["note"]) == (verdict, note)


REGIONS = [
    ([-0.2, "inf"], 0.1, 0.25, "holds"),
    ([-0.2, "inf"], 0.1, 0.35, "undecided"),
    ([-0.2, "inf"], -0.6, 0.35, "fails"),
    ([-1, 1], 0.5, 0.45, "holds"),
    ([-1, 1], 0.0, 1.2, "undecided"),
    ([-1, 1], 2.0, 0.9, "fails"),
    ([-1, 1], 2.0, 1.1, "undecided"),
]


@pytest.mark.parametrize(("region", "mean", "half_width", "verdict"), REGIONS)
def test_regions(region, mean, half_width, verdict):
    config = simple()
    del config["all"][0]["matters"]
    config["all"][0]["in"] = region
    found = judge.judge_claim(judge.parse_claim("T1", config), rows_of(effects_of(mean, half_width)), "laptop")
    assert found["verdict"] == verdict
    assert ("more replicate" in found["note"]) == (verdict == "undecided")


@pytest.mark.parametrize(
    ("region", "matters", "estimate", "low", "high", "cleared"),
    [
        ((-1, 1), None, 0.5, -1.5, 2.5, 1),  # both borders in the interval: the nearer one takes most units
        ((-1, 1), None, 3.0, -2.0, 8.0, 1),  # outside: clearing the nearer border decides
        ((0, math.inf), 2.0, 1.7, -1.0, 4.4, 0),
        ((0, math.inf), 2.0, 0.3, -2.4, 3.0, 2.0),
        ((-math.inf, 0), 2.0, -0.3, -3.0, 2.4, -2.0),
    ],
)
def test_how_many_more(region, matters, estimate, low, high, cleared):
    clause = parse_clause({"metric": "m", "over": "replicate", "in": region, "matters": matters}, "clause", "main")
    interval = stats.Interval(estimate, low, high, 0.95, 6, "t")
    more = judge.more_units_needed(clause, interval)
    assert more == stats.units_needed(interval, cleared) and more is not None


@pytest.mark.parametrize(
    ("join", "verdicts", "expected"),
    [
        ("all", "hh", "holds"),
        ("all", "hu", "undecided"),
        ("all", "uf", "fails"),
        ("any", "fh", "holds"),
        ("any", "fu", "undecided"),
        ("any", "ff", "fails"),
        ("two", "hfh", "holds"),
        ("two", "hfu", "undecided"),
        ("two", "hff", "fails"),
        ("two", "uff", "fails"),
    ],
)
def test_joins(join, verdicts, expected):
    wanted = {"h": (5.0, 1.0), "f": (-5.0, 1.0), "u": (0.5, 3.0)}
    table = pd.concat([rows_of(effects_of(*wanted[verdict]), task=i) for i, verdict in enumerate(verdicts)])
    config = simple(len(verdicts), "all")
    if join != "all":
        listed = config.pop("all")
        config |= {"any": listed} if join == "any" else {"at_least": {"k": 2, "of": listed}}
    found = judge.judge_claim(judge.parse_claim("T1", config), table, "laptop")
    assert found["verdict"] == expected
    level = 0.95 if join == "all" else 1 - 0.05 / len(verdicts)
    assert [clause["level"] for clause in found["clauses"]] == pytest.approx([level] * len(verdicts))
    assert ("at least 2 of 3" in found["note"]) == (join == "two")


def test_a_planned_extension_splits_the_level():
    found = judged(effects_of(0.9, 1.5), extension=12)
    assert found["clauses"][0]["level"] == 0.975
    assert "one extension to 12 replicates is planned" in found["note"]
    assert "extension" not in judged(effects_of(0.9, 1.5, n=12), extension=12)["note"]


def test_false_holds_and_power():
    """2.5 % false "holds" without an effect; about 83 % "holds" at 1.5 standard deviations and 6 replicates."""
    clause = parse_clause({"metric": "m", "over": "replicate", "in": [0, "inf"], "matters": 0.1}, "clause", "main")
    noise = np.random.default_rng(0).normal(size=(5000, 6))
    share = {
        effect: np.mean([judge.decide_clause(clause, stats.mean_interval(row + effect))[0] == "holds" for row in noise])
        for effect in (0.0, 1.5)
    }
    assert share[0.0] == pytest.approx(0.025, abs=0.007) and share[1.5] == pytest.approx(0.83, abs=0.02)


def control_table(control_effect):
    return rows_of(effects_of(3.0, 0.5), c=effects_of(control_effect, 0.5))


@pytest.mark.parametrize(
    ("control_effect", "verdict", "passes"), [(0.0, "fails", True), (-2.0, "fails", True), (2.9, "holds", False)]
)
def test_control(control_effect, verdict, passes):
    found = judged([], table=control_table(control_effect), control={"name": "other", "swap": {"a": "c"}})
    control = found["control"]
    assert (control["name"], control["verdict"], control["passes"]) == ("other", verdict, passes)
    assert control["difference"]["estimate"] == pytest.approx(3.0 - control_effect)
    assert ("proves nothing" in found["note"]) == (not passes)


def test_a_control_that_merely_misses_does_not_pass():
    """It does not hold, but it does not differ from the effect either."""
    table = rows_of(effects_of(1.2, 1.0), c=effects_of(0.9, 1.3)[::-1])
    found = judged([], table=table, control={"name": "other", "swap": {"a": "c"}})
    assert (found["verdict"], found["control"]["verdict"], found["control"]["passes"]) == ("holds", "undecided", False)
    assert "cannot be told from" in found["note"]


def test_control_difference_is_paired():
    shared = np.array([-5.0, 3.0, 1.0, -2.0, 4.0, -1.0])
    table = rows_of(20 + shared, c=shared + 19 + np.array([0.01, -0.01] * 3))
    difference = judged([], table=table, control={"name": "other", "swap": {"a": "c"}})["control"]["difference"]
    assert 0.98 < difference["low"] < 1.0 < difference["high"] < 1.02


def test_control_by_selection():
    table = pd.concat([rows_of(effects_of(3.0, 0.5), task=0), rows_of(effects_of(0.0, 0.5), task=1)])
    control = {"name": "other task", "select": {"task": 1}}
    assert judged([], table=table, control=control)["control"]["passes"] is True


def test_exact_claim_and_its_control():
    config = {
        "says": "the ladder is the printed one",
        "study": "main",
        "printed": {"value": 51.3, "unit": "percent", "where": "table 1"},
        "all": [{"metric": "m", "select": {"arm": "a"}, "in": [0, 0.05]}],
        "control": {"name": "broken", "swap": {"a": "b"}},
    }
    claim = judge.parse_claim("S0", config)
    table = pd.DataFrame({"study": "main", "replicate": 0, "arm": ["a", "b"], "metric": "m", "value": [0.05, 0.3]})
    found = judge.judge_claim(claim, table, "laptop")
    assert (found["kind"], found["verdict"], found["note"]) == ("exact", "holds", "")
    assert found["clauses"] == [
        {"metric": "m", "unit_of_value": "percent", "estimate": 0.05, "low": None, "high": None, "level": None}
        | {"region": [0.0, 0.05], "matters": None, "units": [], "n": None}
    ]
    assert found["control"] == {
        "name": "broken",
        "verdict": "fails",
        "difference": {"estimate": -0.25, "low": None, "high": None},
        "passes": True,
    }
    table["value"] = [0.051, 0.01]
    found = judge.judge_claim(claim, table, "laptop")
    assert (found["verdict"], found["control"]["passes"]) == ("fails", False)


def test_not_testable_needs_no_rows():
    found = judged([], table=rows_of([]), not_testable={"laptop": "too deep"}, note="known since 2019")
    assert (found["verdict"], found["note"]) == ("not testable", "too deep")
    (clause,) = found["clauses"]
    assert clause["estimate"] is None and clause["region"] == [0.0, None] and clause["units"] == ["replicate"]
    assert judged(effects_of(3.0, 1.0), scale="paper", not_testable={"laptop": "too deep"})["verdict"] == "holds"


def test_notes_on_what_was_never_reached_and_on_divergence():
    config = simple()
    config["all"][0] |= {"summary": "median", "number": [{"log_ratio": {"arm": ["a", "b"]}}]}
    table = rows_of(np.array([5.0, 6.0, math.inf, math.inf, math.inf, math.inf]))
    flag = {"study": "main", "replicate": 4, "stage": "train a", "metric": "diverged", "value": 0.0}
    table = pd.concat([table, pd.DataFrame([flag])], ignore_index=True)
    found = judge.judge_claim(judge.parse_claim("T1", config | {"note": "see figure 4"}), table, "laptop")
    assert found["note"] == "never reached in 4 of 12; 1 of 6 replicates diverged; see figure 4"
    assert (found["verdict"], found["clauses"][0]["estimate"], found["clauses"][0]["high"]) == ("holds", None, None)
    json.dumps(found, allow_nan=False)


def test_infinite_values_under_a_mean_decide_nothing():
    found = judged(np.array([5.0, 6.0, math.inf, math.inf, 5.0, 5.0]))
    assert found["verdict"] == "undecided"
    assert found["note"].startswith(
        "no number of further replicates can be named that would decide; never reached in 2"
    )


def test_judge_all_takes_measured_studies_and_the_deviations_that_bear_on_a_claim():
    deviations = [{"what": "length", "bears_on": ["T2"]}, {"what": "data"}]
    studies = {"main": {"arms": {"a": "", "b": ""}, "deviations": deviations}, "deep": {"arms": {"a": "", "b": ""}}}
    config = {"T1": simple(), "T2": simple(), "T3": simple(study="deep")}
    found = judge.judge_claims(config, rows_of(effects_of(3.0, 1.0)), "laptop", studies)
    assert [(one["id"], [each["what"] for each in one["deviations"]]) for one in found] == [
        ("T1", ["data"]),
        ("T2", ["length", "data"]),
    ]


def test_the_names_of_a_verdict_are_those_that_other_tools_read():
    found = judge.judge_claim(claim_of("C1"), synthetic_measurements(claim_of("C1"), "planted"), "laptop")
    assert [*found] == [
        *("id", "study", "kind", "statement", "published", "source", "verdict", "note", "join"),
        *("clauses", "deviations", "control"),
    ]
    assert list(found["control"]) == ["name", "verdict", "difference", "passes"]
    names = ["metric", "unit_of_value", "estimate", "low", "high", "level", "region", "matters", "units", "n"]
    assert [sorted(clause) for clause in found["clauses"]] == [sorted(names)] * 2
    assert (found["published"], found["source"]) == (0.5, "section 2, figure 4a")


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("effect", ["planted", "none", "swapped"])
def test_claims_tell_an_effect_from_none(name, effect):
    claim = claim_of(name)
    found = judge.judge_claim(claim, synthetic_measurements(claim, effect), "laptop")
    json.dumps(found, allow_nan=False)
    assert (found["verdict"] == "holds") == (effect != "none")
    if claim.control and effect != "none":
        assert found["control"]["passes"] is (effect == "planted")
        assert ("proves nothing" in found["note"]) == (effect == "swapped")


@pytest.mark.parametrize("name", ["rank", "share step"])
def test_synthetic_rows_that_cannot_be_made_are_refused(name):
    step = {"rank": {"rank": {"arm": "a"}}, "share step": {"share": {"along": "t", "above": 0}}}[name]
    config = {
        "says": "s",
        "study": "main",
        "all": [{"metric": "m", "number": [step], "over": "replicate", "in": [0, 1]}],
    }
    with pytest.raises(NotImplementedError, match="no synthetic rows for the step"):
        synthetic_measurements(judge.parse_claim("T1", config), "planted")


def test_synthetic_rows_that_contradict_each_other_are_refused():
    config = simple(2)
    config["all"][1] |= {"select": {"task": 0}, "number": [{"minus": {"arm": ["b", "a"]}}]}
    with pytest.raises(NotImplementedError, match="cannot meet all of them"):
        synthetic_measurements(judge.parse_claim("T1", config), "planted")


WRONG = [
    ({"claim": "x"}, r"unknown key of claim T1 'claim'"),
    ({"says": None}, r"claim T1: 'says' is missing"),
    ({"any": []}, r"one of all, any, at_least, not 2"),
    ({"all": []}, r"all takes a list of clauses"),
    ({"all": {"metric": "m"}}, r"all takes a list of clauses"),
    ({"printed": {"values": 3}}, r"unknown key of claim T1, printed 'values': did you mean 'value'"),
    ({"not_testable": {"labtop": "x"}}, r"unknown key of claim T1, not_testable 'labtop': did you mean 'laptop'"),
    ({"extension": 0}, r"extension: 0 is not a whole number"),
    ({"extension": 7.5}, r"extension: 7.5 is not a whole number"),
    ({"control": {"name": "x"}}, r"say what it exchanges"),
    ({"control": {"swap": {"a": "c"}}}, r"'name' is missing"),
    ({"control": {"name": "x", "swap": {"aa": "c"}}}, r"unknown value to swap in .* 'aa': did you mean 'a'"),
    ({"control": {"name": "x", "swap": {"a": "b"}}}, r"contrasts b with itself"),
    ({"control": {"name": "x", "swap": {"a": "a"}}}, r"leaves the first clause as it is"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_wrong_claims_are_refused(changes, message):
    with pytest.raises(BadInput, match=message) as error:
        judge.parse_claim("T1", simple(**changes))
    assert "\n" not in str(error.value)


def test_at_least_more_than_there_are_is_refused():
    config = simple()
    config = {"says": "x", "study": "main", "at_least": {"k": 2, "of": config["all"]}}
    with pytest.raises(BadInput, match="at_least 2 of 1 clauses can never hold"):
        judge.parse_claim("T1", config)


def test_names_are_held_against_the_studies():
    arms = {"arms": {"a": "", "b": "", "dense": ""}}
    with pytest.raises(BadInput, match=r"unknown study of claim T1, clause 1: 'main': did you mean 'mainly'"):
        judge.parse_claims({"T1": simple()}, {"mainly": arms})
    control = {"name": "x", "swap": {"a": "dens"}}
    with pytest.raises(BadInput, match=r"unknown arm in claim T1, clause 1, control: 'dens': did you mean 'dense'"):
        judge.parse_claims({"T1": simple(control=control)}, {"main": arms})
    with pytest.raises(BadInput, match=r"unknown claim in the deviations of study main: 'T9'"):
        judge.parse_claims({"T1": simple()}, {"main": arms | {"deviations": [{"what": "x", "bears_on": ["T9"]}]}})
