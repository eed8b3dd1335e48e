"""Calibration, ranking and ranks: hand-worked cases, and scikit-learn."""

from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from sklearn import metrics

from core.errors import BadInput
from core.tabular import comparison, scores


def test_calibration_error_by_hand():
    p = [0.1, 0.2, 0.6, 0.9, 0.95]
    hits = [0, 1, 1, 1, 0]
    # Two bins: (0.1, 0.2) has |1 - 0.3|, (0.6, 0.9, 0.95) has |2 - 2.45|; of five.
    assert scores.expected_calibration_error(p, hits, 2) == pytest.approx((0.7 + 0.45) / 5)
    # One bin: |3 - 2.75|.
    assert scores.expected_calibration_error(p, hits, 1) == pytest.approx(0.25 / 5)
    # A border belongs to the bin below it: 0.5 with 0.2, and 0 and 1 are inside.
    assert scores.expected_calibration_error([0.5, 0.2], [1, 0], 2) == pytest.approx((1 - 0.7) / 2)
    assert scores.expected_calibration_error([0.0, 1.0], [0, 1], 10) == 0
    assert scores.expected_calibration_error([0.0, 1.0], [1, 0], 10) == 1


def test_calibration_error_of_true_probabilities_is_small_and_of_shifted_ones_is_the_shift():
    random = np.random.default_rng(0)
    p = random.uniform(0.2, 0.7, 200_000)
    hits = random.uniform(size=len(p)) < p
    assert scores.expected_calibration_error(p, hits, 20) < 0.005
    assert scores.expected_calibration_error(p + 0.1, hits, 20) == pytest.approx(0.1, abs=0.005)


def test_calibration_of_the_chosen_class():
    p = [[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]]
    # Confidences 0.9 (right), 0.7 (right), 0.6 (wrong), one bin: |2 - 2.2| / 3.
    assert scores.top_label_calibration_error(p, [0, 1, 1], 1) == pytest.approx(0.2 / 3)


def test_area_under_the_curve_by_hand_and_by_scikit_learn():
    # Pairs: 0.8 beats 0.3 and 0.8 ties; 0.5 beats 0.3, loses to 0.8: (1 + 0.5 + 1 + 0)/4.
    assert scores.roc_auc([0.8, 0.5, 0.3, 0.8], [1, 1, 0, 0]) == pytest.approx(2.5 / 4)
    random = np.random.default_rng(1)
    for _ in range(20):
        score, hits = np.round(random.normal(size=30), 1), np.append([0, 1], random.integers(0, 2, 28))
        assert scores.roc_auc(score, hits) == pytest.approx(metrics.roc_auc_score(hits, score))
    assert scores.roc_auc([0.4] * 5, [0, 1, 0, 1, 1]) == 0.5


def test_log_loss_equals_that_of_scikit_learn_and_stays_finite():
    p, hits = [0.2, 0.7, 0.4], [0, 1, 1]
    assert scores.log_loss(p, hits) == pytest.approx(metrics.log_loss(hits, p))
    assert scores.log_loss([0.0], [1], 1e-3) == pytest.approx(-np.log(1e-3))


def test_ranks_share_ties():
    table = [[0.9, 0.8, 0.8, 0.1], [0.5, 0.6, 0.7, 0.6]]
    np.testing.assert_array_equal(scores.rank_methods(table), [[1, 2.5, 2.5, 4], [4, 2.5, 1, 2.5]])
    np.testing.assert_array_equal(scores.mean_ranks(table), [2.5, 2.5, 1.75, 3.25])
    np.testing.assert_array_equal(scores.rank_methods(table, False)[0], [4, 2.5, 2.5, 1])
    assert scores.mean_ranks(np.random.default_rng(0).normal(size=(7, 5))).sum() == pytest.approx(15)


def test_wilcoxon_by_hand_and_without_ties():
    # Differences 1, 2, 3, -4 and a tie: ranks for the first 1 + 2 + 3 of 10; P(W ≥ 6) = 7/16.
    found = scores.wilcoxon_test([1, 2, 3, 0, 5], [0, 0, 0, 4, 5])
    assert (found.statistic, found.untied_pairs) == (6, 4)
    assert found.p_value == pytest.approx(7 / 16)
    assert scores.wilcoxon_test([1.0, 2.0], [1.0, 2.0]) == (0.0, 1.0, 0)
    a, b = np.random.default_rng(2).normal(size=(2, 12))
    assert scores.wilcoxon_test(a, b, "two-sided").p_value == pytest.approx(stats.wilcoxon(a, b).pvalue)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: scores.roc_auc([0.1, 0.2], [1, 1]), "needs both classes"),
        (lambda: scores.expected_calibration_error([1.1], [1]), r"must lie in \[0, 1\]"),
        (lambda: scores.expected_calibration_error([0.1], [1], 0), "1 bin or more"),
        (lambda: scores.expected_calibration_error([0.1, np.nan], [1, 0]), "NaN"),
        (lambda: scores.roc_auc([0.1], [1, 0]), "two equal lengths"),
        (lambda: scores.rank_methods([0.1, 0.2]), r"\(tables, methods\)"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, line):
    with pytest.raises(BadInput, match=line):
        call()


def test_the_jackknife_spreads_as_the_bootstrap_over_tables() -> None:
    random = np.random.default_rng(0)
    p = [random.beta(2, 2, 300) for _ in range(20)]
    hits = [random.uniform(size=300) < np.clip(each + random.normal(0, 0.15), 0, 1) for each in p]
    values = scores.pooled_calibration_values(p, hits, 20)
    drawn = random.integers(0, 20, (300, 20))
    resampled = [
        scores.expected_calibration_error(*(np.concatenate([part[t] for t in row]) for part in (p, hits)), 20)
        for row in drawn
    ]
    assert values.std(ddof=1) / np.sqrt(20) == pytest.approx(np.std(resampled), rel=0.35)


def test_the_probability_of_being_better_by_integration_and_over_all_outcomes() -> None:
    """By numerical integration of the posterior, and by going through every outcome of the tasks."""
    right, rival = np.array([1] * 9 + [0] * 4 + [1] * 5, bool), np.array([0] * 9 + [1] * 4 + [1] * 5, bool)
    found = float(comparison.probability_better(jnp.asarray(right), jnp.asarray(rival)))
    likelihood = lambda p: p**9 * (1 - p) ** 4  # noqa: E731
    assert found == pytest.approx(integrate.quad(likelihood, 0.5, 1)[0] / integrate.quad(likelihood, 0, 1)[0], rel=1e-4)
    assert found == pytest.approx(stats.beta(10, 5).sf(0.5), rel=1e-4)
    for tasks in ([0.2, 0.7, 0.9], [0.6, 0.3, 0.8, 0.55]):
        expected = 0.0
        for won in product((0, 1), repeat=len(tasks)):
            probability = np.prod([p if w else 1 - p for p, w in zip(tasks, won, strict=True)])
            expected += probability * {-1: 0.0, 0: 0.5, 1: 1.0}[int(np.sign(2 * sum(won) - len(tasks)))]
        assert float(comparison.probability_on_most(tasks)) == pytest.approx(expected, abs=1e-6)
