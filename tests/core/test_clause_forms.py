"""Short forms and the whole clauses that they stand for, by hand; units of every kind of number."""

import math
import re
from typing import Any

import pytest

from core.errors import BadInput
from core.papers.claims import clause_unit
from core.papers.clause_language import SHORT_FORMS
from tests.claims import make_claim, make_clauses

INF = math.inf
AB = {"metric": "m", "arms": ["a", "b"]}
MINUS_AB: dict[str, Any] = {"minus": {"arm": ["a", "b"]}}
CROSSING: dict[str, Any] = {"crossing": {"along": "step", "below": 1}}
MINUS_BA: dict[str, Any] = {"minus": {"arm": ["b", "a"]}}


def whole(number: list[Any], region: list[float], **rest: Any) -> dict[str, Any]:
    return {"metric": "m", "number": number, "over": "replicate", "in": region, **rest}


PAIRS = {
    "more": ({"more": {**AB, "matters": 0.2}}, [whole([MINUS_AB], [0, INF], matters=0.2)]),
    "more by": ({"more": {**AB, "by": 5}}, [whole([MINUS_AB], [5, INF])]),
    "less": ({"less": {**AB, "matters": 0.2}}, [whole([MINUS_BA], [0, INF], matters=0.2)]),
    "less by": ({"less": {**AB, "by": 5}}, [whole([MINUS_BA], [5, INF])]),
    "not_less": ({"not_less": {**AB, "margin": 0.2}}, [whole([MINUS_AB], [-0.2, INF])]),
    "not_more": ({"not_more": {**AB, "margin": 0.2}}, [whole([MINUS_BA], [-0.2, INF])]),
    "equal": ({"equal": {**AB, "within": 0.5}}, [whole([MINUS_AB], [-0.5, 0.5])]),
    "sooner": (
        {"sooner": {**AB, "below": 0.1, "matters": 0.3}},
        [
            whole(
                [{"crossing": {"along": "step", "below": 0.1}}, {"log_ratio": {"arm": ["b", "a"]}}],
                [0, INF],
                summary="median",
                matters=0.3,
            )
        ],
    ),
    "sooner above, along another column, of several draws": (
        {"sooner": {**AB, "along": "epoch", "above": 90, "matters": 0.3, "reduce": {"draw": "median"}}},
        [
            whole(
                [
                    {"crossing": {"along": "epoch", "above": 90}},
                    {"median": "draw"},
                    {"log_ratio": {"arm": ["b", "a"]}},
                ],
                [0, INF],
                summary="median",
                matters=0.3,
            )
        ],
    ),
    "times": ({"times": {**AB, "at_least": 10}}, [whole([{"log_ratio": {"arm": ["a", "b"]}}], [math.log(10), INF])]),
    "times at most": (
        {"times": {**AB, "at_most": 2}},
        [whole([{"log_ratio": {"arm": ["a", "b"]}}], [-INF, math.log(2)])],
    ),
    "times between": (
        {"times": {**AB, "at_least": 2, "at_most": 4}},
        [whole([{"log_ratio": {"arm": ["a", "b"]}}], [math.log(2), math.log(4)])],
    ),
    "trend": (
        {"trend": {"metric": "m", "at": {"arm": "a"}, "along": "width", "in": [-0.6, -0.4]}},
        [whole([{"loglog_slope": "width"}], [-0.6, -0.4], select={"arm": "a"})],
    ),
    "trend of values": (
        {"trend": {"metric": "m", "along": "width", "log": False, "in": [0, INF]}},
        [whole([{"slope": "width"}], [0, INF])],
    ),
    "exact": (
        {"exact": {"metric": "m", "at": {"arm": "a"}, "in": [0, 1e-6]}},
        [{"metric": "m", "select": {"arm": "a"}, "in": [0, 1e-6]}],
    ),
    "exact of a mean": (
        {"exact": {"metric": "m", "reduce": {"draw": "mean"}, "in": [0, 1]}},
        [{"metric": "m", "number": [{"mean": "draw"}], "in": [0, 1]}],
    ),
    "at": ({"more": {**AB, "by": 5, "at": {"t": [1, 2]}}}, [whole([MINUS_AB], [5, INF], select={"t": [1, 2]})]),
    "reduce comes first, in its order": (
        {"more": {**AB, "by": 5, "reduce": {"draw": "mean", "step": "max"}}},
        [whole([{"mean": "draw"}, {"max": "step"}, MINUS_AB], [5, INF])],
    ),
    "sides beside the arms": (
        {"not_less": {**AB, "sides": {"density": [13.5, 100]}, "margin": 0.2}},
        [whole([{"minus": {"arm": ["a", "b"], "density": [13.5, 100]}}], [-0.2, INF])],
    ),
    "sides alone, turned": (
        {"less": {"metric": "m", "sides": {"density": [13.5, 100]}, "by": 1}},
        [whole([{"minus": {"density": [100, 13.5]}}], [1, INF])],
    ),
    "more_at": (
        {"more": {**AB, "matters": 0.2, "more_at": {"density": [3.6, 51.3]}}},
        [whole([MINUS_AB, {"minus": {"density": [3.6, 51.3]}}], [0, INF], matters=0.2)],
    ),
    "more_at is not turned": (
        {"less": {**AB, "matters": 0.2, "more_at": {"density": [3.6, 51.3]}}},
        [whole([MINUS_BA, {"minus": {"density": [3.6, 51.3]}}], [0, INF], matters=0.2)],
    ),
    "over two units": (
        {"equal": {**AB, "within": 1, "over": ["replicate", "query"]}},
        [whole([MINUS_AB], [-1, 1], over=["replicate", "query"])],
    ),
    "each": (
        {"more": {**AB, "by": 1, "at": {"t": 3}, "each": {"density": [7.0, 21.1]}}},
        [whole([MINUS_AB], [1, INF], select={"t": 3, "density": d}) for d in (7.0, 21.1)],
    ),
    "each of two columns: every combination": (
        {"exact": {"metric": "m", "in": [0, 1], "each": {"x": [1, 2], "y": ["p", "q"]}}},
        [{"metric": "m", "select": {"x": x, "y": y}, "in": [0, 1]} for x in (1, 2) for y in ("p", "q")],
    ),
    "each of a whole clause": (
        whole([MINUS_AB], [1, INF], each={"x": [1, 2]}),
        [whole([MINUS_AB], [1, INF], select={"x": x}) for x in (1, 2)],
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_short_form_is_exactly_the_clauses_that_it_stands_for(name: str) -> None:
    short, clauses = PAIRS[name]
    expected = make_clauses(*clauses)
    assert make_clauses(short) == expected
    claim = {"says": "s", "study": "main", "control": {"select": {"nothing": 0}}}
    if set(short) & set(SHORT_FORMS):
        found = make_claim("C1", claim | short)
        assert (found.clauses, found.join, found.needed) == (expected, "all", len(expected))


def test_every_short_form_has_its_pair() -> None:
    assert {key for short, _ in PAIRS.values() for key in short if key in SHORT_FORMS} == set(SHORT_FORMS)


def test_short_and_whole_forms_stand_side_by_side() -> None:
    more, clause = {"more": {**AB, "by": 1, "each": {"t": [1, 2]}}}, whole([MINUS_AB], [0, 1])
    written = {"says": "s", "study": "main", "control": {"a": "c"}}
    found = make_claim("C1", written | {"any": [more, clause]})
    assert (found.join, found.needed, len(found.clauses)) == ("any", 1, 3)
    assert [one.place for one in found.clauses] == [f"claim C1, clause {i}" for i in (1, 2, 3)]
    assert found.clauses[1].select["t"] == (2,) and found.clauses[2].region == (0, 1)
    found = make_claim("C1", written | {"at_least": {"k": 2, "of": [more, clause]}})
    assert (found.join, found.needed, len(found.clauses)) == ("at_least", 2, 3)


WRONG = [
    ({"more": AB}, "more: takes either matters, the smallest difference worth the claim, or by"),
    ({"more": {**AB, "matters": 1, "by": 1}}, "more: takes either matters"),
    ({"more": {**AB, "matters": 0}}, "more.matters=0 is out of range: it must lie in (0, inf)"),
    ({"more": {"metric": "m", "by": 1}}, "more: needs two arms, or sides"),
    ({"more": {**AB, "arms": ["a"], "by": 1}}, "more.arms is too short: it lacks its item 2"),
    ({"more": {**AB, "arms": ["a", "aa"], "by": 1}}, "unknown arm in claim C1, clause 1: 'aa': did you mean 'a'?"),
    ({"more": {**AB, "arms": ["a", "a"], "by": 1}}, "clause 1, step 1: contrasts a with itself"),
    ({"more": {**AB, "by": INF}}, "more.by=inf must be a finite number"),
    ({"more": {**AB, "metrc": 1, "by": 1}}, "unknown key 'more.metrc': did you mean 'metric'?"),
    ({"more": {**AB, "by": 1, "reduce": {"draw": "avg"}}}, "more.reduce.draw='avg' is not a valid choice"),
    ({"more": {**AB, "by": 1, "reduce": {"replicate": "mean"}}}, "'replicate' is both a unit (over) and removed"),
    ({"more": {**AB, "by": 1, "each": {"t": 1}}}, "more.each.t=1 must be a list"),
    ({"more": {**AB, "by": 1, "metric": "mm"}}, "unknown metric in claim C1, clause 1"),
    ({"not_less": AB}, "not_less.margin is missing: by which it may be worse"),
    ({"not_less": {**AB, "margin": -1}}, "not_less.margin=-1 is out of range"),
    ({"equal": {**AB, "within": 0}}, "equal.within=0 is out of range"),
    ({"equal": {**AB, "within": INF}}, "equal.within=inf must be a finite number"),
    ({"sooner": {**AB, "matters": 1}}, "sooner: takes one level, below or above"),
    ({"sooner": {**AB, "matters": 1, "below": 1, "above": 2}}, "sooner: takes one level, below or above"),
    ({"times": AB}, "times: takes at_least or at_most, or both"),
    ({"times": {**AB, "at_least": 4, "at_most": 2}}, "times: at_least 4 is above at_most 2"),
    ({"times": {**AB, "at_least": 0}}, "times.at_least=0 is out of range"),
    ({"trend": {"metric": "m", "in": [0, 1]}}, "trend.along is missing"),
    ({"trend": {"metric": "m", "along": "w", "in": [1, 0]}}, "trend.in=[1, 0]: region [1, 0] must run upwards"),
    ({"exact": {"metric": "m"}}, "exact.in is missing"),
    ({"exact": {"metric": "m", "in": [1, 0]}}, "exact.in=[1, 0]: region [1, 0] must run upwards"),
    ({"exact": {"metric": "m", "arms": ["a", "b"], "in": [0, 1]}}, "unknown key 'exact.arms'"),
    ({"mroe": AB}, "unknown key 'mroe': did you mean 'more'?"),
]


@pytest.mark.parametrize(("short", "message"), WRONG, ids=map(str, range(len(WRONG))))
def test_wrong_short_forms_are_refused(short: dict[str, Any], message: str) -> None:
    written = {"says": "s", "study": "main", "control": {"select": {"t": 9}}}
    for claim, place in ((written | short, ""), (written | {"all": [short]}, "all[0].")):
        with pytest.raises(BadInput) as caught:
            make_claim("C1", claim)
        told = str(caught.value)
        assert told.replace(place, "").startswith(message) or f": {message}" in told or message in told
        assert "\n" not in told


def test_keys_of_both_forms_do_not_mix() -> None:
    written = {"says": "s", "study": "main", "control": {"a": "c"}}
    more = {"more": {**AB, "by": 1}}
    with pytest.raises(BadInput, match=re.escape("'all[0].metric' does not go with the keys beside it")):
        make_claim("C1", written | {"all": [more | {"metric": "m"}]})
    with pytest.raises(BadInput, match=re.escape("all[0]: one of more, less")):
        make_claim("C1", written | {"all": [more | {"less": {**AB, "by": 1}}]})
    with pytest.raises(BadInput, match="give its clauses once, not under more and less"):
        make_claim("C1", written | more | {"less": {**AB, "by": 1}})


# Units


def unit(metric_unit: str, *number: Any, **rest: Any) -> str:
    form = {"metric": "x", "number": list(number), "in": [0, 1], **rest}
    [clause] = make_clauses(form, metrics={"x": metric_unit, "y": "seconds"})
    return clause.unit


@pytest.mark.parametrize("step", ["mean", "median", "sd", "min", "max"])
def test_values_along_a_column_keep_their_unit(step: str) -> None:
    assert unit("percent", {step: "draw"}) == "percent"


@pytest.mark.parametrize(
    ("metric_unit", "number", "expected"),
    [
        ("percent", [], "percent"),
        ("percent", [MINUS_AB], "percentage points"),
        ("nats", [MINUS_AB], "nats"),
        ("percent", [MINUS_AB, {"minus": {"t": [1, 2]}}], "percentage points"),
        ("percent", [{"mean": "draw"}, MINUS_AB], "percentage points"),
        ("seconds", [{"log_ratio": {"arm": ["a", "b"]}}], "log-ratio of seconds"),
        ("nats", [CROSSING], "steps"),
        ("nats", [CROSSING, MINUS_AB], "steps"),
        ("nats", [CROSSING, {"log_ratio": {"arm": ["a", "b"]}}], "log-ratio of steps"),
        ("nats", [{"argmin": "step"}], "steps"),
        ("nats", [{"argmax": "epoch"}], "epochs"),
        ("percent", [{"slope": "width"}], "percent per width"),
        ("percent", [{"loglog_slope": "width"}], "slope of logarithms over width"),
        ("percent", [{"rank_correlation": "width"}], "rank correlation"),
        ("percent", [{"share": {"along": "t", "above": 0}}], "share"),
        ("percent", [{"rank": {"arm": "a"}}], "rank"),
    ],
)  # fmt: skip
def test_the_unit_of_a_number_follows_from_its_steps(metric_unit: str, number: list[Any], expected: str) -> None:
    assert unit(metric_unit, *number) == expected


def test_the_unit_of_a_summary() -> None:
    assert unit("percent", MINUS_AB, over="replicate", summary="share") == "share"
    assert unit("percent", MINUS_AB, over="replicate", summary={"share": {"above": 2}}) == "share"
    assert unit("percent", MINUS_AB, over="replicate", summary="sd") == "percentage points"
    pair = {"metric": ["x", "y"]}
    correlation = {"rank_correlation": {"metric": ["x", "y"]}}
    assert unit("percent", **pair, over="item", summary=correlation) == "rank correlation"
    assert unit("percent", **pair, over="item", summary={"slope": {"metric": ["x", "y"]}}) == "slope"


def test_several_metrics_of_one_unit_have_it() -> None:
    metrics = {"x": "nats", "y": "nats", "z": "seconds"}
    several = {"metric": ["x", "y"], "number": [{"minus": {"metric": ["x", "y"]}}], "in": [0, 1]}
    [same] = make_clauses(several, metrics=metrics)
    assert (same.unit, same.metric) == ("nats", "x, y")
    [mixed] = make_clauses({"metric": ["x", "z"], "number": [{"mean": "metric"}], "in": [0, 1]}, metrics=metrics)
    assert mixed.unit == "nats, seconds"
    assert clause_unit(["nats"], [], same.summary) == "nats"


@pytest.mark.parametrize("name", ["sooner", "times"])
def test_short_forms_of_ratios_have_the_unit_of_a_log_ratio(name: str) -> None:
    [clause] = make_clauses(PAIRS[name][0], metrics={"m": "seconds"})
    assert clause.unit == {"sooner": "log-ratio of steps", "times": "log-ratio of seconds"}[name]
