"""How good probabilities are (calibration, ranking), and how methods compare over many tables; on the host, float64."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats as distributions

from core.errors import BadInput


def expected_calibration_error(probabilities: Any, outcomes: Any, bins: int = 100) -> float:
    """Expected calibration error (Naeini et al. 2015): Σ_b n_b/n |mean outcome in b - mean probability in b|.

    Args:
      probabilities: (n,) in [0, 1]: of the event itself (two classes), or the confidence in the class chosen.
      outcomes: bool (n,): whether the event happened, or the chosen class was right.
      bins: of equal width; the upper border belongs to a bin, as in the published code, and 0 to the first.
    """
    p, hit = _pair(probabilities, outcomes)
    if bins < 1:
        raise BadInput(f"there must be 1 bin or more, not {bins}")
    if ((p < 0) | (p > 1)).any():
        raise BadInput(f"probabilities must lie in [0, 1], not from {p.min():g} to {p.max():g}")
    place = np.clip(np.searchsorted(np.linspace(0, 1, bins + 1), p, side="left") - 1, 0, bins - 1)
    # n_b |mean outcome - mean p| = |Σ (hit - p)| within a bin
    gaps = np.bincount(place, weights=hit - p, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def pooled_calibration_values(probabilities: Sequence[Any], outcomes: Sequence[Any], bins: int = 100) -> np.ndarray:
    """The jackknife's pseudo-values of the calibration error of all tables' answers together: (tables,).

    A table alone has too few answers for its error to mean much (280 of a perfect classifier give about 0.17 in 100
    bins). With θ that of all T tables, the pseudo-value of t is T θ - (T - 1) θ_{without t}: their mean is θ up to its
    bias, and their spread gives an interval over tables (Tukey 1958).
    """
    every = [_pair(np.ravel(p), np.ravel(hit)) for p, hit in zip(probabilities, outcomes, strict=True)]
    count = len(every)
    if count < 2:
        raise BadInput(f"the jackknife needs two tables or more, not {count}")

    def error(tables: list[tuple[np.ndarray, np.ndarray]]) -> float:
        return expected_calibration_error(*(np.concatenate(part) for part in zip(*tables, strict=True)), bins)

    rest = np.array([error(every[:t] + every[t + 1 :]) for t in range(count)])
    return count * error(every) - (count - 1) * rest


def top_label_calibration_error(probabilities: Any, labels: Any, bins: int = 100) -> float:
    """`expected_calibration_error` of the confidence in the most probable class, from (n, classes) and labels (n,)."""
    p = np.asarray(probabilities, float)
    return expected_calibration_error(p.max(1), p.argmax(1) == np.asarray(labels), bins)


def roc_auc(scores: Any, outcomes: Any) -> float:
    """Area under the ROC curve: the probability that a positive scores above a negative, ties counting one half.

    Args:
      scores: (n,), any real numbers.
      outcomes: bool (n,), True for positives.

    Raises:
      BadInput: where one of the two classes is missing.
    """
    score, hit = _pair(scores, outcomes)
    positives, negatives = int(hit.sum()), int(len(hit) - hit.sum())
    if not positives or not negatives:
        raise BadInput("the area under the ROC curve needs both classes")
    # U = Σ ranks of positives - p (p + 1)/2; AUC = U/(p n)
    ranks = distributions.rankdata(score)
    return float((ranks[hit > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(probabilities: Any, outcomes: Any, clip: float = 1e-7) -> float:
    """Mean negative log probability of what happened, nats; probabilities are kept `clip` away from 0 and 1."""
    p, hit = _pair(probabilities, outcomes)
    p = np.clip(p, clip, 1 - clip)
    return float(-np.mean(hit * np.log(p) + (1 - hit) * np.log1p(-p)))


def rank_methods(scores: Any, higher_is_better: bool = True) -> np.ndarray:
    """Ranks of methods on each table, 1 the best, ties sharing their mean rank: (tables, methods) -> the same shape."""
    values = np.asarray(scores, float)
    if values.ndim != 2 or np.isnan(values).any():
        raise BadInput(f"scores must be (tables, methods) without NaN, not {values.shape}")
    return distributions.rankdata(-values if higher_is_better else values, axis=1)


def mean_ranks(scores: Any, higher_is_better: bool = True) -> np.ndarray:
    """Mean of `rank_methods` over tables: (methods,)."""
    return rank_methods(scores, higher_is_better).mean(0)


class WilcoxonResult(NamedTuple):
    """Signed-rank test: the sum of ranks in favour of the first, the p-value, and how many pairs were not tied."""

    statistic: float
    p_value: float
    untied_pairs: int


def wilcoxon_test(first: Any, second: Any, alternative: str = "greater") -> WilcoxonResult:
    """Wilcoxon's signed-rank test of paired scores (n,); ties are dropped, all tied gives p = 1.

    Args:
      first: scores of one method on n tables.
      second: scores of the other.
      alternative: "greater" (the first is larger), "less" or "two-sided".
    """
    a, b = _pair(first, second)
    apart = a - b
    untied = int((apart != 0).sum())
    if untied == 0:
        return WilcoxonResult(0.0, 1.0, 0)
    found = distributions.wilcoxon(apart[apart != 0], alternative=alternative)
    return WilcoxonResult(float(found.statistic), float(found.pvalue), untied)


def _pair(first: Any, second: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise BadInput(f"two equal lengths are needed, not {a.shape} and {b.shape}")
    if np.isnan(a).any() or np.isnan(b).any():
        raise BadInput("scores must not hold NaN")
    return a, b
