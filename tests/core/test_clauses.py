"""The clause algebra by hand, and configs it must refuse."""

import math
import re
from itertools import product

import numpy as np
import pandas as pd
import pytest

from core.errors import BadInput
from core.judging import clause_values
from tests.claims import make_clauses

PLACE = "claim C1, clause 1"


def clause_of(**config):
    [clause] = make_clauses({"metric": "m", "in": [0, math.inf]} | config)
    return clause


def table_of(rows, **fixed):
    return pd.DataFrame([{"study": "main", "replicate": 0, "metric": "m"} | fixed | row for row in rows])


def number_of(rows, *steps, **config):
    """The one number of an exact clause."""
    values = clause_values.clause_values(clause_of(number=list(steps), **config), table_of(rows)).values
    assert values.shape == (1, 1)
    return values[0, 0]


def line(values, column="t", at=None):
    return [{column: a, "value": v} for a, v in zip(at or range(len(values)), values, strict=True)]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"mean": "t"}, 3.0),
        ({"median": "t"}, 2.25),
        ({"sd": "t"}, math.sqrt(24.5 / 3)),
        ({"min": "t"}, 0.5),
        ({"max": "t"}, 7.0),
        ({"slope": "t"}, -1.9),
        ({"rank_correlation": "t"}, -0.8),
        ({"argmin": "t"}, 2.0),
        ({"argmax": "t"}, 0.0),
        ({"crossing": {"along": "t", "below": 3}}, 1.0),
        ({"crossing": {"along": "t", "below": 3.0001}}, 1.0),
        ({"crossing": {"along": "t", "below": 2.9}}, 2.0),
        ({"crossing": {"along": "t", "below": 0.1}}, math.inf),
        ({"crossing": {"along": "t", "above": 7}}, 0.0),
        ({"share": {"along": "t", "above": 1.5}}, 0.5),
        ({"share": {"along": "t", "below": 7}}, 0.75),
        ({"rank": {"t": 1}}, 2.0),
    ],
)
def test_steps_along_a_column(step, expected):
    values = line([7.0, 3.0, 0.5, 1.5])
    assert number_of(values, step) == pytest.approx(expected)
    assert number_of(values[::-1], step) == pytest.approx(number_of(values, step)), "the order of rows counts"


def test_loglog_slope_of_a_power_law():
    assert number_of(line([3.0, 12.0, 48.0], at=[1, 2, 4]), {"loglog_slope": "t"}) == pytest.approx(2.0)


def test_rank_shares_ties():
    assert number_of(line([5.0, 2.0, 5.0], "arm", ["a", "b", "c"]), {"rank": {"arm": "a"}}) == 1.5


def test_contrasts():
    rows = line([8.0, 2.0, 99.0], "arm", ["a", "b", "other"])
    assert number_of(rows, {"minus": {"arm": ["a", "b"]}}) == 6.0
    assert number_of(rows, {"log_ratio": {"arm": ["a", "b"]}}) == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("first", "second", "minus", "log_ratio"),
    [(math.inf, math.inf, 0.0, 0.0), (math.inf, 5.0, math.inf, math.inf), (5.0, math.inf, -math.inf, -math.inf)],
)
def test_contrasts_of_what_was_never_reached(first, second, minus, log_ratio):
    rows = line([first, second], "arm", ["a", "b"])
    assert number_of(rows, {"minus": {"arm": ["a", "b"]}}) == minus
    assert number_of(rows, {"log_ratio": {"arm": ["a", "b"]}}) == log_ratio


def test_contrast_over_several_columns():
    rows: list[dict] = [
        {"arm": "ticket", "density": 13.5, "value": 98.0},
        {"arm": "ticket", "density": 3.6, "value": 90.0},
        {"arm": "dense", "density": 100.0, "value": 97.5},
    ]
    assert number_of(rows, {"minus": {"arm": ["ticket", "dense"], "density": [13.5, 100]}}) == 0.5
    rows[2] = {"arm": "dense", "density": None, "value": 97.5}
    assert number_of(rows, {"minus": {"arm": ["ticket", "dense"], "density": [13.5, None]}}) == 0.5


def test_difference_of_differences_per_replicate():
    values = {("a", 3.6): 90.0, ("b", 3.6): 85.0, ("a", 51.3): 98.0, ("b", 51.3): 97.0}
    rows = [
        {"replicate": r, "arm": arm, "density": density, "value": value + (r if arm == "a" and density == 3.6 else 0)}
        for r in range(3)
        for (arm, density), value in values.items()
    ]
    clause = clause_of(
        select={"density": [3.6, 51.3]},
        number=[{"minus": {"arm": ["a", "b"]}}, {"minus": {"density": [3.6, 51.3]}}],
        over="replicate",
    )
    numbers = clause_values.clause_values(clause, table_of(rows).sample(frac=1, random_state=0))
    assert numbers.values[:, 0].tolist() == [4.0, 5.0, 6.0] and numbers.units["replicate"].tolist() == [0, 1, 2]


def lottery_rows(replicates=3, draws=3):
    rows = []
    for replicate in range(replicates):
        rows.append({"replicate": replicate, "arm": "ticket", "density": 21.1, "value": 98.0 + replicate})
        rows += [
            {"replicate": replicate, "arm": "reinit", "density": 21.1, "draw": draw, "value": 97.0 + draw}
            for draw in range(draws)
        ]
    return rows


def test_mean_over_draws_that_only_one_arm_has():
    clause = clause_of(
        select={"density": 21.1}, number=[{"mean": "draw"}, {"minus": {"arm": ["ticket", "reinit"]}}], over="replicate"
    )
    assert clause_values.clause_values(clause, table_of(lottery_rows())).values[:, 0].tolist() == [0.0, 1.0, 2.0]


def test_log_ratio_of_first_crossings_over_draws():
    """The ticket crosses at 200; the re-drawn arms at 400, 800 and never: their median crosses at 800."""
    crossings = {("ticket", None): 200, ("reinit", 0): 400, ("reinit", 1): 800, ("reinit", 2): None}
    rows = [
        {"replicate": r, "arm": arm, "draw": draw, "step": step, "value": 0.05 if at and step >= at else 0.5}
        for r in range(2)
        for (arm, draw), at in crossings.items()
        for step in range(100, 1100, 100)
    ]
    table = table_of(rows).astype({"step": "Int64"})
    table = pd.concat([table, table_of([{"metric": "other", "arm": "ticket", "value": 1.0}])], ignore_index=True)
    steps = [
        {"crossing": {"along": "step", "below": 0.1}},
        {"median": "draw"},
        {"log_ratio": {"arm": ["reinit", "ticket"]}},
    ]
    numbers = clause_values.clause_values(clause_of(number=steps, over="replicate", summary="median"), table)
    assert numbers.values[:, 0] == pytest.approx([math.log(4)] * 2)
    assert (numbers.infinite, numbers.of) == (2, 8)


def test_steps_measured_without_steps_beside_curves():
    """Rows of another metric leave a step column with missing entries; nothing of it may disturb."""
    rows = [{"arm": arm, "replicate": r, "value": float(r)} for arm in "ab" for r in range(2)]
    table = pd.concat([table_of(rows), table_of([{"metric": "loss", "step": 3, "value": 1.0}])], ignore_index=True)
    table = table.astype({"step": "Int64"})
    numbers = clause_values.clause_values(clause_of(number=[{"minus": {"arm": ["a", "b"]}}], over="replicate"), table)
    assert numbers.values[:, 0].tolist() == [0.0, 0.0]


def test_two_crossed_units():
    rows = [
        {"replicate": r, "query": q, "arm": arm, "value": 10.0 * r + q + (arm == "a")}
        for r, q, arm in product(range(2), range(3), "ab")
    ]
    clause = clause_of(number=[{"minus": {"arm": ["a", "b"]}}], over=["replicate", "query"])
    numbers = clause_values.clause_values(clause, table_of(rows))
    found = clause_values.clause_interval(clause, numbers, 0.95)
    assert (found.estimate, found.low, found.high, found.n) == (1.0, 1.0, 1.0, 2)
    with pytest.raises(BadInput, match=r"replicate 1 lacks some query"):
        clause_values.clause_interval(
            clause, clause_values.UnitValues(numbers.units[:5], numbers.values[:5], 0, 0), 0.95
        )


def test_paired_summary_relates_two_metrics():
    rows = [
        {"metric": metric, "item": i, "value": float(value)}
        for i in range(12)
        for metric, value in (("predicted", i), ("observed", 3 * i + 1))
    ]
    config = {"metric": ["predicted", "observed"], "over": "item"}
    slope = clause_of(**config, summary={"slope": {"metric": ["predicted", "observed"]}})
    found = clause_values.clause_interval(slope, clause_values.clause_values(slope, table_of(rows)), 0.95)
    assert (found.estimate, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))
    assert slope.metric == "predicted, observed"


@pytest.mark.parametrize(
    ("summary", "share"), [("share", 0.5), ({"share": {"above": 2}}, 0.25), ({"share": {"below": 2}}, 0.5)]
)
def test_share_summary(summary, share):
    clause = clause_of(over="replicate", summary=summary, **{"in": [0.4, 1]})
    rows = [{"replicate": r, "value": v} for r, v in enumerate([0.0, 2.0, 3.0, -1.0])]
    assert (
        clause_values.clause_interval(clause, clause_values.clause_values(clause, table_of(rows)), 0.95).estimate
        == share
    )


def test_numbers_of_the_config_meet_numbers_of_the_table():
    rows = line([1.0, 2.0], "density", [0.1 + 0.2, 0.5])
    assert number_of(rows, select={"density": 0.3}) == 1.0


MISSING = [
    ({"select": {"density": 3.6}}, lottery_rows(), r"no rows with density 3.6; there are 21.1"),
    ({"metric": "n"}, lottery_rows(), r"no rows with metric 'n'; there are m"),
    ({"number": [{"minus": {"arm": ["ticket", "oneshot"]}}]}, lottery_rows(), r"no rows with arm oneshot"),
    ({"number": [{"mean": "drow"}]}, lottery_rows(), r"unknown column in .* 'drow': did you mean 'draw'"),
    ({"select": {"densty": 3}}, lottery_rows(), r"unknown column in .* 'densty': did you mean 'density'"),
    ({"over": "query"}, lottery_rows(), r"unknown column in .* 'query'"),
    ({"select": {"arm": "reinit"}}, lottery_rows(), r"'draw' still has 3 values \(0, 1, 2\); select one"),
    ({"select": {"task": [0, 1]}}, line([1.0, 2.0], "task"), r"'task' still has 2 values \(0, 1\); select one"),
    (
        {"number": [{"minus": {"arm": ["ticket", "reinit"]}}]},
        lottery_rows(),
        r"minus pairs arm .* at replicate 0.* with nothing of arm .*; select or reduce",
    ),
    (
        {"number": [{"mean": "draw"}, {"minus": {"arm": ["ticket", "reinit"]}}]},
        lottery_rows()[:-1],
        r"no row with replicate 2, arm reinit, density 21.1, draw 2",
    ),
    (
        {"number": [{"mean": "draw"}, {"minus": {"arm": ["ticket", "reinit"]}}]},
        [*lottery_rows(), {"replicate": 3, "metric": "other", "value": 0.0}],
        r"replicate 3 has no rows in the selection",
    ),
    ({"select": {"arm": "ticket"}}, lottery_rows() * 2, r"several rows with replicate 0, arm ticket, density 21.1"),
    (
        {"select": {"arm": "reinit"}, "number": [{"slope": "arm"}]},
        lottery_rows(),
        r"slope needs a number in every row's 'arm'",
    ),
    ({"select": {"arm": "ticket"}, "number": [{"argmin": "draw"}]}, lottery_rows(), r"argmin needs a number in every"),
    ({"select": {"arm": "ticket"}, "number": [{"sd": "draw"}]}, lottery_rows(), r"sd along 'draw' needs at least two"),
]


@pytest.mark.parametrize(("config", "rows", "message"), MISSING)
def test_absent_rows_are_named(config, rows, message):
    clause = clause_of(**({"over": "replicate"} | config))
    with pytest.raises(BadInput, match=message) as error:
        clause_values.clause_values(clause, table_of(rows))
    assert PLACE in str(error.value) and "\n" not in str(error.value)


def test_an_exact_clause_is_the_worst_of_all_replicates():
    """Whatever their numbers are."""
    values = [0.02, -0.5, 0.3, 0.05]
    for first in (0, 5000):
        table = table_of([{"replicate": first + r, "value": value} for r, value in enumerate(values)])
        for region, worst in (([-1, 0.1], 0.3), ([-0.4, 1], -0.5), ([-3, 1], 0.3), ([0, math.inf], -0.5)):
            found = clause_values.clause_values(clause_of(**{"in": region}), table)
            assert (found.values.tolist(), len(found.units.columns)) == ([[worst]], 0)


def test_an_exact_clause_with_what_was_never_reached():
    table = table_of([{"replicate": r, "value": value} for r, value in enumerate([5.0, math.inf, 7.0])])
    assert clause_values.clause_values(clause_of(**{"in": [6, math.inf]}), table).values.tolist() == [[5.0]]
    assert clause_values.clause_values(clause_of(**{"in": [0, 6]}), table).values.tolist() == [[math.inf]]


def test_an_exact_clause_leaves_no_other_column():
    with pytest.raises(BadInput, match="'draw' still has 3 values"):
        clause_values.clause_values(clause_of(select={"arm": "reinit"}), table_of(lottery_rows()))


@pytest.mark.parametrize("step", [{"log_ratio": {"t": [0, 1]}}, {"loglog_slope": "t"}])
def test_logarithms_of_negative_values_are_refused(step):
    with pytest.raises(BadInput, match=r"negative|not positive"):
        number_of(line([-1.0, 2.0], at=[0, 1]), step)


WRONG = [
    ({"overr": "replicate"}, "unknown key 'all[0].overr': did you mean 'over'?"),
    ({"in": 3}, "all[0].in=3 must be a list"),
    ({"in": [0, 1, 2]}, "all[0].in=[0, 1, 2] must have at most 2 items"),
    ({"in": [0]}, "all[0].in is too short: it lacks its item 2"),
    ({"in": [0, "wide"]}, "all[0].in[1]='wide' must be a number"),
    ({"in": [0, True]}, "all[0].in[1]=true must be a number"),
    ({"in": [0, math.nan]}, "region [0, nan] must run upwards"),
    ({"in": [2, 1]}, "region [2, 1] must run upwards"),
    ({"in": ["-inf", "inf"]}, "region [-inf, inf] must run upwards and leave something out"),
    ({"metric": "mm"}, "unknown metric in claim C1, clause 1: it is not listed under metrics; 'mm': did you mean 'm'?"),
    ({"number": {"mean": "draw"}}, "all[0].number must be a list"),
    ({"number": [{"man": "draw"}]}, "unknown key 'all[0].number[0].man': did you mean 'mean'?"),
    ({"number": [{"mean": "draw", "max": "t"}]}, "all[0].number[0]: a step has one name, not 2"),
    ({"number": ["mean"]}, "all[0].number[0]='mean' must be a group of keys"),
    ({"number": [{"mean": ["draw"]}]}, "all[0].number[0].mean=['draw'] must be a word"),
    ({"number": [{"minus": {"arm": ["a"]}}]}, "all[0].number[0].minus.arm is too short: it lacks its item 2"),
    ({"number": [{"minus": {"arm": ["a", "a"]}}]}, "claim C1, clause 1, step 1: contrasts a with itself"),
    ({"number": [{"minus": {"arm": ["a", "bb"]}}]}, "unknown arm in claim C1, clause 1: 'bb': did you mean 'b'?"),
    ({"number": [{"crossing": {"along": "step"}}]}, "number[0].crossing: takes one bound, below or above"),
    ({"number": [{"crossing": {"along": "step", "bellow": 1}}]}, "crossing.bellow': did you mean 'below'?"),
    ({"number": [{"share": {"along": "t", "below": 1, "above": 2}}]}, "number[0].share: takes one bound"),
    ({"number": [{"rank": {"arm": "a", "t": 1}}]}, "clause 1, step 1: rank takes one column and a value"),
    ({"over": "arm", "number": [{"minus": {"arm": ["a", "b"]}}]}, "clause 1: 'arm' is both a unit (over) and removed"),
    ({"over": ["a", "b", "c"]}, "clause 1: over is one column or two different ones"),
    ({"over": ["a", "a"]}, "clause 1: over is one column or two different ones"),
    ({"over": ["a", "b"], "summary": "median"}, "clause 1: over two crossed units only a mean has an interval"),
    ({"over": "replicate", "summary": "average"}, "must be one of mean, median, share, sd or a group of keys"),
    ({"over": "replicate", "summary": "slope"}, "must be one of mean, median, share, sd or a group of keys"),
    ({"over": "replicate", "summary": {"share": {}}}, "all[0].summary.share: takes one bound, below or above"),
    ({"over": "replicate", "summary": {"mean": "t"}}, "'all[0].summary.mean': choose from rank_correlation, share"),
    ({"summary": "median"}, "clause 1: summary and matters need units: say over which column"),
    ({"matters": 1}, "clause 1: summary and matters need units: say over which column"),
    ({"over": "replicate", "matters": 1, "in": [-1, math.inf]}, "for a region [0, inf] or [-inf, 0]"),
    ({"over": "replicate", "matters": 0}, "clause 1: matters is a finite effect other than 0"),
    ({"select": ["density"]}, "all[0].select=['density'] must be a group of keys"),
    ({"select": {"t": {"a": 1}}}, "all[0].select.t must be a word, a number, true or false or a list"),
    ({"each": {"t": []}}, "all[0].each.t=[] must have at least 1 item"),
    *(
        (named, "claim C1, clause 1: name no replicate by its number; exact claims hold in every one")
        for named in (
            {"select": {"replicate": 0}},
            {"select": {"replicate": [0, 1]}},
            {"each": {"replicate": [0]}},
            {"number": [{"minus": {"replicate": [0, 1]}}]},
            {"number": [{"rank": {"replicate": 0}}]},
        )
    ),
]


@pytest.mark.parametrize(("config", "message"), WRONG, ids=map(str, range(len(WRONG))))
def test_wrong_clauses_are_refused(config, message):
    with pytest.raises(BadInput, match=re.escape(message)) as error:
        clause_of(**config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["in", "metric"])
def test_what_a_clause_lacks_is_named(key):
    written = {"metric": "m", "in": [0, 1]}
    del written[key]
    with pytest.raises(BadInput, match=rf"^all\[0\]\.{key} is missing: "):
        make_clauses(written)


def test_infinity_may_be_written_as_a_word_or_as_yaml():
    assert clause_of(**{"in": ["-inf", 0]}).region == clause_of(**{"in": [-math.inf, 0.0]}).region == (-math.inf, 0.0)


def test_paired_interval_of_a_resampled_summary():
    """Twice the spread: the difference of spreads is that of the first, and resampling keeps the pairs together."""
    values = np.random.default_rng(0).normal(size=40)
    clause = clause_of(over="replicate", summary="sd")
    effect, control = (
        clause_values.clause_values(clause, table_of([{"replicate": r, "value": k * v} for r, v in enumerate(values)]))
        for k in (2, 1)
    )
    found = clause_values.paired_clause_interval(clause, effect, control, 0.95)
    alone = clause_values.clause_interval(clause, control, 0.95)
    assert (found.estimate, found.low, found.high) == pytest.approx((alone.estimate, alone.low, alone.high))
    fewer = clause_values.UnitValues(control.units[1:], control.values[1:], 0, 0)
    with pytest.raises(BadInput, match="not measured on the same replicates"):
        clause_values.paired_clause_interval(clause, effect, fewer, 0.95)
