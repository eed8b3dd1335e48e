"""Intervals against scipy, by brute force, and by simulation of their coverage."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from core.judging import stats


def coverage(intervals, truth):
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


def test_mean_interval_is_students():
    values = np.array([0.4, 1.1, -0.2, 0.7, 0.9])
    expected = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.975)
    found = stats.mean_interval(values, 0.975)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert (found.estimate, found.n, found.level) == (pytest.approx(values.mean()), 5, 0.975)


def test_two_units_are_enough_for_an_interval():
    reach = scipy_stats.t.ppf(0.975, 1) * 1.0  # sd / sqrt(n) of 1 and 3
    found = stats.mean_interval(np.array([1.0, 3.0]))
    assert (found.low, found.high) == pytest.approx((2.0 - reach, 2.0 + reach))
    n = next(n for n in range(3, 99) if scipy_stats.t.ppf(0.975, n - 1) * math.sqrt(2.0 / n) < 1.5)
    assert stats.additional_units(found, 0.5) == n - 2


@pytest.mark.parametrize("values", [[1.0], [1.0, math.inf, 2.0], [-math.inf, math.inf]])
def test_mean_of_one_or_of_infinite_values_is_unbounded(values):
    found = stats.mean_interval(np.array(values))
    assert (found.low, found.high) == (-math.inf, math.inf) and not math.isnan(found.estimate)


def test_mean_interval_covers_and_decides_at_its_level():
    values = np.random.default_rng(0).normal(1.0, 2.0, (4000, 6))
    assert coverage([stats.mean_interval(row) for row in values], 1.0) == pytest.approx(0.95, abs=0.012)


def test_crossed_interval_by_hand():
    values = np.array([[1.0, 2.0], [3.0, 6.0]])  # rows 1.5, 4.5; columns 2, 4; rest +-0.5
    rows_square, columns_square, rest_square = 2 * 4.5, 2 * 2.0, 1.0
    reach = scipy_stats.t.ppf(0.975, 1) * math.sqrt((rows_square + columns_square - rest_square) / 4)
    found = stats.crossed_mean_interval(values)
    assert (found.estimate, found.low, found.high) == pytest.approx((3.0, 3.0 - reach, 3.0 + reach))


def test_crossed_interval_of_three_by_two_units_by_hand():
    values = np.array([[0.5, 3.5], [2.5, 7.5], [6.0, 10.0]])  # rows 2, 5, 8; columns 3, 7; rest +-0.5 in two rows
    rows_square, columns_square, rest_square = 2 * 9.0, 3 * 8.0, 1.0 / 2
    reach = scipy_stats.t.ppf(0.975, 1) * math.sqrt((rows_square + columns_square - rest_square) / 6)
    for table in (values, values.T):
        found = stats.crossed_mean_interval(table)
        assert (found.estimate, found.low, found.high) == pytest.approx((5.0, 5.0 - reach, 5.0 + reach))


@pytest.mark.parametrize(("rows_sd", "columns_sd"), [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_crossed_interval_covers_whatever_varies(rows_sd, columns_sd):
    random = np.random.default_rng(1)
    shape = (1500, 6, 20)
    values = (
        random.normal(0, rows_sd, (1500, 6, 1))
        + random.normal(0, columns_sd, (1500, 1, 20))
        + random.normal(size=shape)
    )
    assert coverage([stats.crossed_mean_interval(table) for table in values], 0.0) > 0.935


def test_items_alone_would_not_cover():
    """Why replicates belong among the units: items as the only unit miss the spread between trainings."""
    random = np.random.default_rng(2)
    values = random.normal(size=(1000, 3, 1)) + random.normal(size=(1000, 3, 50))
    assert coverage([stats.mean_interval(table.mean(0)) for table in values], 0.0) < 0.6


def test_crossed_interval_of_infinite_values_is_unbounded():
    found = stats.crossed_mean_interval(np.array([[1.0, math.inf], [1.0, 2.0]]))
    assert (found.estimate, found.low, found.high) == (math.inf, -math.inf, math.inf)


@pytest.mark.parametrize(("count", "n"), [(0, 6), (3, 7), (7, 7), (40, 100)])
def test_share_interval_is_clopper_pearson(count, n):
    expected = scipy_stats.binomtest(count, n).proportion_ci(0.95, method="exact")
    found = stats.share_interval(np.arange(n) < count)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.estimate == pytest.approx(count / n)


def test_median_interval_of_six_is_their_range():
    found = stats.median_interval(np.array([3.0, 1.0, 2.0, 9.0, 5.0, math.inf]))
    assert (found.estimate, found.low, found.high) == (4.0, 1.0, math.inf)


@pytest.mark.parametrize(("n", "level"), [(5, 0.95), (6, 0.975), (1, 0.95)])
def test_median_of_too_few_units_is_unbounded(n, level):
    found = stats.median_interval(np.arange(n, dtype=float), level)
    assert (found.low, found.high) == (-math.inf, math.inf)


@pytest.mark.parametrize("n", [6, 9, 17, 40])
def test_median_interval_takes_the_innermost_covering_pair(n):
    found = stats.median_interval(np.arange(n, dtype=float))
    depth = int(found.low) + 1
    heads = [math.comb(n, k) / 2**n for k in range(n + 1)]
    assert found.high == n - depth
    assert 1 - 2 * sum(heads[:depth]) >= 0.95 > 1 - 2 * sum(heads[: depth + 1])


def test_median_interval_covers_skewed_values():
    values = np.random.default_rng(3).lognormal(0.0, 2.0, (4000, 11))
    assert coverage([stats.median_interval(row) for row in values], 1.0) > 0.945


def test_median_of_infinities():
    assert stats.median(np.array([-math.inf, math.inf])) == 0.0
    assert stats.median(np.array([1.0, math.inf])) == math.inf
    assert stats.median(np.array([4.0, -math.inf, 1.0, 2.0])) == 1.5


STATISTICS = {
    "sd": (lambda rows: rows[..., 0].std(-1, ddof=1), 1.0),
    "slope": (lambda rows: stats.slopes(rows[..., 0], rows[..., 1]), 0.7),
    "rank": (
        lambda rows: stats.rank_correlations(rows[..., 0], rows[..., 1]),
        6 / math.pi * math.asin(0.7 / 1.2207 / 2),
    ),
}


@pytest.mark.parametrize(("name", "least"), [("sd", 0.86), ("slope", 0.91), ("rank", 0.93)])
def test_bootstrap_interval_covers(name, least):
    """At 12 units; the spread's own interval is the hardest."""
    statistic, truth = STATISTICS[name]
    first, second = np.random.default_rng(4).normal(size=(2, 150, 12))
    samples = np.stack([first, 0.7 * first + second], -1)
    found = coverage([stats.bootstrap_interval(rows, statistic) for rows in samples], truth)
    assert least < found < 0.995


def test_bootstrap_is_deterministic_and_unbounded_below_ten():
    rows = np.random.default_rng(5).normal(size=(10, 1))
    statistic = STATISTICS["sd"][0]
    assert stats.bootstrap_interval(rows, statistic) == stats.bootstrap_interval(rows, statistic)
    few = stats.bootstrap_interval(rows[:9], statistic)
    assert few.estimate == pytest.approx(rows[:9].std(ddof=1)) and (few.low, few.high) == (-math.inf, math.inf)
    endless = stats.bootstrap_interval(np.append(rows, [[math.inf]], 0), statistic)
    assert (endless.low, endless.high) == (-math.inf, math.inf)


def test_bootstrap_of_a_constant_is_a_point():
    found = stats.bootstrap_interval(np.ones((12, 1)), STATISTICS["sd"][0])
    assert (found.low, found.high) == (0.0, 0.0)


@pytest.mark.parametrize("level", [0.5, 0.6, 0.8, 0.9])
def test_a_bootstrap_that_meets_its_estimate_again_is_not_biased_by_that(level):
    """Means of as many 1 as -1 lie as often above as below their own mean, and are equal to it one time in five."""
    found = stats.bootstrap_interval(np.array([[-1.0], [1.0]] * 8), lambda rows: rows[..., 0].mean(-1), level)
    assert found.low == -found.high < 0


def test_slopes_and_rank_correlations_against_scipy():
    x, y = np.random.default_rng(6).normal(size=(2, 30)).round(1)
    assert stats.slopes(x, y) == pytest.approx(scipy_stats.linregress(x, y).slope)
    assert stats.rank_correlations(x, y) == pytest.approx(scipy_stats.spearmanr(x, y).statistic)
    assert stats.slopes(np.ones(4), np.arange(4.0)) == 0 and stats.rank_correlations(np.ones(4), np.arange(4.0)) == 0


def test_difference_ties_what_was_never_reached():
    endless = np.array([math.inf, math.inf, 1.0, -math.inf])
    assert stats.difference(endless, np.array([math.inf, 1.0, math.inf, -math.inf])).tolist() == [
        0,
        math.inf,
        -math.inf,
        0,
    ]


def test_units_needed_for_a_mean_by_search():
    values = np.array([0.5, -0.6, 1.4, 0.9, -0.2, 0.7])
    found = stats.mean_interval(values)
    assert found.low < 0
    n = next(
        n for n in range(7, 200) if scipy_stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n) < values.mean()
    )
    assert stats.additional_units(found, 0.0) == n - 6


def test_units_needed_for_a_share_by_search():
    hits = np.arange(10) < 9
    n = next(
        n for n in range(11, 200) if scipy_stats.binomtest(round(0.9 * n), n).proportion_ci(method="exact").low > 0.7
    )
    assert stats.additional_units(stats.share_interval(hits), 0.7) == n - 10


def test_units_needed_for_a_median_by_search():
    """Among samples that look normal; 7 and 8 units have their extremes as bounds, which lie further out than 6's."""

    def sample(n: int) -> np.ndarray:
        return 0.7 + scipy_stats.norm.ppf((np.arange(1, n + 1) - 0.375) / (n + 0.25))

    n = next(n for n in range(7, 200) if stats.median_interval(sample(n)).low > 0)
    assert stats.median_interval(sample(8)).low < stats.median_interval(sample(6)).low < 0
    assert stats.additional_units(stats.median_interval(sample(6)), 0.0) == n - 6


def test_units_needed_where_the_interval_is_unbounded():
    assert stats.additional_units(stats.median_interval(np.arange(4.0)), 0.0) == 2
    assert stats.additional_units(stats.median_interval(np.arange(6.0), 0.975), 0.0) == 1
    assert stats.additional_units(stats.bootstrap_interval(np.ones((4, 1)), STATISTICS["sd"][0]), 0.0) == 6
    assert stats.additional_units(stats.mean_interval(np.array([1.0])), 0.0) is None
    assert stats.additional_units(stats.mean_interval(np.array([1.0, math.inf, 2.0])), 0.0) is None
    assert stats.additional_units(stats.mean_interval(np.array([-1.0, 1.0, -2.0, 2.0])), 0.0) is None
