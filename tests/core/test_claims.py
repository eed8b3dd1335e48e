"""Verdicts by hand and by simulation, controls, and configs that must be refused."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import BadInput
from core.judging import judge, stats, verdicts
from core.judging.synthetic import synthetic_measurements
from core.papers.config import parse_config
from core.papers.yaml_reader import read_yaml
from tests.claims import make_claim, make_clauses

WRITTEN = read_yaml(Path(__file__).with_name("claims_config.yaml"))
CLAIMS = parse_config("usual", WRITTEN).claims


CLAUSE = {"metric": "m", "over": "replicate", "in": [0, 1]}


def simple(number_of_clauses=1, join="all", **changes):
    """A claim that arm a beats arm b by what matters, 1."""
    clause = {
        "metric": "m",
        "number": [{"minus": {"arm": ["a", "b"]}}],
        "over": "replicate",
        "in": [0, math.inf],
        "matters": 1,
    }
    listed = [clause | {"select": {"task": i}} for i in range(number_of_clauses)]
    return {"says": "a beats b", "study": "main", join: listed, "control": {"a": "other"}} | changes


def rows_of(effects, task=0, **arms):
    """One row per replicate: arm a is 10 + effect, arms b and other are 10, further arms are 10 + their own."""
    arms = {"a": effects, "b": np.zeros(len(effects)), "other": np.zeros(len(effects))} | arms
    return pd.DataFrame(
        [
            {"study": "main", "replicate": r, "arm": arm, "task": task, "metric": "m", "value": 10.0 + value}
            for arm, values in arms.items()
            for r, value in enumerate(values)
        ]
    )


def judged(effects, scale="laptop", table=None, **changes):
    claim = make_claim("T1", simple(**changes))
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
    (0.4, 0.5, "fails", "below what matters (1 points)"),
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
    found = judge.judge_claim(make_claim("T1", config), rows_of(-effects_of(mean, half_width)), "laptop")
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
    found = judge.judge_claim(make_claim("T1", config), rows_of(effects_of(mean, half_width)), "laptop")
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
    [clause] = make_clauses({"metric": "m", "over": "replicate", "in": region, "matters": matters})
    interval = stats.Interval(estimate, low, high, 0.95, 6, "t")
    more = judge.more_units_needed(clause, interval)
    assert more == stats.additional_units(interval, cleared) and more is not None


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
    found = judge.judge_claim(make_claim("T1", config), table, "laptop")
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
    [clause] = make_clauses({"metric": "m", "over": "replicate", "in": [0, math.inf], "matters": 0.1})
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


def test_a_control_that_equals_its_claim_does_not_pass():
    """Also where both fail: a difference that is 0 tells nothing apart."""
    found = judged(effects_of(-3.0, 1.0), control={"b": "other"})
    assert (found["verdict"], found["control"]["verdict"], found["control"]["passes"]) == ("fails", "fails", False)
    assert found["control"]["difference"] == {"estimate": 0.0, "low": 0.0, "high": 0.0}


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
    claim = make_claim("S0", config, {"m": "percent"})
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
    found = judge.judge_claim(make_claim("T1", config | {"note": "see figure 4"}), table, "laptop")
    assert found["note"] == "never reached in 4 of 12; 1 of 6 replicates diverged; see figure 4"
    assert (found["verdict"], found["clauses"][0]["estimate"], found["clauses"][0]["high"]) == ("holds", None, None)
    json.dumps(found, allow_nan=False)


def test_infinite_values_under_a_mean_decide_nothing():
    found = judged(np.array([5.0, 6.0, math.inf, math.inf, 5.0, 5.0]))
    assert found["verdict"] == "undecided"
    assert found["note"].startswith(
        "no number of further replicates can be named that would decide; never reached in 2"
    )


@pytest.mark.parametrize("first", [0, 5000])
def test_an_exact_claim_holds_in_every_replicate_whatever_their_numbers(first):
    written = {
        "says": "small",
        "study": "main",
        "exact": {"metric": "m", "at": {"arm": "a"}, "in": [0, 0.05]},
        "control": {"a": "b"},
    }
    claim = make_claim("S0", written)

    def found(a, b):
        rows = [
            {"study": "main", "replicate": first + r, "arm": arm, "metric": "m", "value": value}
            for arm, values in (("a", a), ("b", b))
            for r, value in enumerate(values)
        ]
        return judge.judge_claim(claim, pd.DataFrame(rows), "laptop")

    good = found([0.01, 0.04, 0.0], [0.02, 0.3, 0.01])
    assert (good["verdict"], good["control"]["verdict"], good["control"]["passes"]) == ("holds", "fails", True)
    assert good["clauses"][0]["estimate"] == 0.0, "the one nearest to the border"
    assert good["control"]["difference"]["estimate"] == pytest.approx(0.0 - 0.3)
    bad = found([0.01, 0.06, 0.0], [0.01, 0.04, 0.0])
    assert (bad["verdict"], bad["clauses"][0]["estimate"], bad["control"]["passes"]) == ("fails", 0.06, False)
    assert "the control holds too" in bad["note"]


def config_of(claims, **main):
    """A config of two studies with these claims."""
    arms = {"a": "one", "b": "another", "other": "one more"}
    studies = {"main": {"says": "s", "arms": arms, **main}, "deep": {"says": "s", "arms": arms}}
    return parse_config("judged", WRITTEN | {"metrics": {"m": "points"}, "studies": studies, "claims": claims})


def test_a_study_is_judged_by_its_claims_and_the_deviations_that_bear_on_them():
    deviation = {"paper": 1, "laptop": 2, "why": "time"}
    deviations = [{"what": "length", "bears_on": ["T2"], **deviation}, {"what": "data", **deviation}]
    config = config_of({"T1": simple(), "T2": simple(), "T3": simple(study="deep")}, deviations=deviations)
    found = verdicts.judge_study(config, "main", rows_of(effects_of(3.0, 1.0)), "laptop")
    assert [(one["id"], one["verdict"], [each["what"] for each in one["deviations"]]) for one in found] == [
        ("T1", "holds", ["data"]),
        ("T2", "holds", ["length", "data"]),
    ]
    assert found[1]["deviations"][0] == {"what": "length", "bears_on": ["T2"], **deviation}


def test_a_study_that_cannot_be_judged_says_why():
    config = config_of({"T1": simple(), "S1": exact_claim()})
    smoke = verdicts.judge_study(config, "main", rows_of(effects_of(3.0, 1.0)), "smoke")
    assert [(one["verdict"], one["note"]) for one in smoke] == [
        ("not testable", "a smoke run decides nothing"),
        ("holds", ""),
    ]
    odd = verdicts.judge_study(config, "main", rows_of(effects_of(3.0, 1.0), task=1), "laptop")
    assert [one["verdict"] for one in odd] == ["not testable", "holds"]
    assert odd[0]["note"].startswith("the measurements do not fit: claim T1, clause 1: no rows with task 0")


def exact_claim():
    clause = {"metric": "m", "at": {"arm": "a"}, "in": [10.5, 20]}
    return {"says": "s", "study": "main", "exact": clause, "control": {"a": "other"}}


def test_the_names_of_a_verdict_are_those_that_other_tools_read():
    found = judge.judge_claim(CLAIMS["C1"], synthetic_measurements(CLAIMS["C1"], "planted"), "laptop")
    assert [*found] == [
        *("id", "study", "kind", "statement", "published", "source", "verdict", "note", "join"),
        *("clauses", "deviations", "control"),
    ]
    assert list(found["control"]) == ["name", "verdict", "difference", "passes"]
    names = ["metric", "unit_of_value", "estimate", "low", "high", "level", "region", "matters", "units", "n"]
    assert [sorted(clause) for clause in found["clauses"]] == [sorted(names)] * 2
    assert (found["published"], found["source"]) == (0.5, "section 2, figure 4a")


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("effect", ["planted", "none", "swapped"])
def test_claims_tell_an_effect_from_none(name, effect):
    claim = CLAIMS[name]
    found = judge.judge_claim(claim, synthetic_measurements(claim, effect), "laptop")
    json.dumps(found, allow_nan=False)
    assert (found["verdict"] == "holds") == (effect != "none")
    if effect != "none":
        assert found["control"]["passes"] is (effect == "planted")
        assert ("proves nothing" in found["note"]) == (effect == "swapped")


@pytest.mark.parametrize("name", ["rank", "share step"])
def test_synthetic_rows_that_cannot_be_made_are_refused(name):
    step = {"rank": {"rank": {"arm": "a"}}, "share step": {"share": {"along": "t", "above": 0}}}[name]
    clause = {"metric": "m", "number": [step], "over": "replicate", "in": [0, 1]}
    config = {"says": "s", "study": "main", "all": [clause], "control": {"select": {"task": 1}}}
    with pytest.raises(NotImplementedError, match="no synthetic rows for the step"):
        synthetic_measurements(make_claim("T1", config), "planted")


def test_synthetic_rows_that_contradict_each_other_are_refused():
    config = simple(2)
    config["all"][1] |= {"select": {"task": 0}, "number": [{"minus": {"arm": ["b", "a"]}}]}
    with pytest.raises(NotImplementedError, match="cannot meet all of them"):
        synthetic_measurements(make_claim("T1", config), "planted")


BAD = [
    ({"claim": "x"}, "unknown key 'claim': choose from"),
    ({"any": [CLAUSE]}, "give its clauses once, not under all and any"),
    ({"all": []}, "all=[] must have at least 1 item"),
    ({"all": CLAUSE}, "all must be a list"),
    ({"printed": {"values": 3}}, "unknown key 'printed.values': did you mean 'value'?"),
    ({"printed": {"value": 3, "unit": "points"}}, "printed.where is missing"),
    ({"not_testable": {"labtop": "x"}}, "unknown key 'not_testable.labtop': did you mean 'laptop'?"),
    ({"extension": 0}, "extension=0 is out of range"),
    ({"extension": 7.5}, "extension=7.5 must be a whole number"),
    ({"study": "man"}, "unknown study of claim T1, clause 1: 'man': did you mean 'main'?"),
    ({"control": {}}, "control: say what it exchanges"),
    ({"control": {"name": "x"}}, "control: say what it exchanges"),
    ({"control": "other"}, "control='other' must be a group of keys"),
    ({"control": {"a": ["other"]}}, "control.a=['other'] must be a word, a number"),
    ({"control": {"swap": {"aa": "other"}}}, "unknown value to swap in claim T1, control: 'aa': did you mean 'a'?"),
    ({"control": {"name": "x", "swap": {"a": "b"}}}, "claim T1, clause 1, control: contrasts b with itself"),
    ({"control": {"a": "a"}}, "claim T1, control: it leaves the first clause as it is"),
    ({"control": {"select": {"task": 0}}}, "claim T1, control: it leaves the first clause as it is"),
    ({"control": {"a": "dens"}}, "unknown arm in claim T1, clause 1, control: 'dens': did you mean 'dense'?"),
    ({"control": {"select": {"replicate": 3}}}, "clause 1, control: name no replicate by its number"),
    ({"control": {"select": {"study": "depp"}}}, "unknown study of claim T1, clause 1, control: 'depp'"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=map(str, range(len(BAD))))
def test_wrong_claims_are_refused(changes, message):
    with pytest.raises(BadInput, match=re.escape(message)) as error:
        make_claim("T1", simple(**changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("control", "control is missing: {arm: other arm}: the same claim, which must not hold then"),
        ("says", "says is missing: the sentence"),
        ("study", "study is missing"),
        ("all", "give its clauses under one of all, any, at_least, more, less"),
    ],
)
def test_what_a_claim_lacks_is_named(key, message):
    written = simple()
    del written[key]
    with pytest.raises(BadInput, match=re.escape(message)):
        make_claim("T1", written)


def test_at_least_more_than_there_are_is_refused():
    written = {**simple(), "at_least": {"k": 2, "of": simple()["all"]}}
    del written["all"]
    with pytest.raises(BadInput, match="claim T1: at_least 2 of 1 clauses can never hold"):
        make_claim("T1", written)


def test_a_printed_number_is_in_the_unit_of_the_first_clause():
    percent, nats = {"m": "percent"}, {"m": "nats"}
    for metrics, unit in ((percent, "percentage points"), (nats, "nats")):
        assert make_claim("T1", simple(printed={"value": 3, "unit": unit, "where": "table 1"}), metrics).published == 3
    for metrics, unit in ((percent, "percent"), (nats, "")):
        with pytest.raises(BadInput, match=f"claim T1: the printed number is in '{unit}', its clause in '"):
            make_claim("T1", simple(printed={"value": 3.5, "unit": unit, "where": "table 1"}), metrics)
    words = {"value": "better", "unit": "in all tables", "where": "abstract"}
    assert make_claim("T1", simple(printed=words)).published == "better"


def test_a_control_bears_its_exchange_as_its_name():
    def control_of(written):
        return make_claim("T1", simple(control=written)).control

    assert control_of({"a": "other"}).name == "other in place of a"
    assert control_of({"name": "a re-draw", "swap": {"a": "other"}}).name == "a re-draw"
    both = control_of({"swap": {"a": "other", "b": "c"}, "select": {"task": [1, 2]}})
    assert both.name == "other in place of a; c in place of b; task 1, 2"
    [clause] = both.clauses
    assert clause.number[0].sides == (("other",), ("c",)) and clause.select["task"] == (1, 2)
    assert clause.place == "claim T1, clause 1, control"


def test_a_control_exchanges_conditions_that_are_numbers():
    """A key in YAML is text; the condition is a number."""
    claim = make_claim("T1", simple(2, control={"0": 7, "1": 8.5}))
    assert [clause.select["task"] for clause in claim.control.clauses] == [(7,), (8.5,)]
    with pytest.raises(BadInput, match="unknown value to swap in claim T1, control: '3'"):
        make_claim("T1", simple(control={"3": 7}))
