"""Intervals of estimates over units, and how many more units would decide.

One function per kind of estimate; each returns an `Interval`. Values may be infinite (a threshold never reached),
never NaN. Where the units are too few for the level, the bounds are infinite: such an interval decides nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats as distributions

FEWEST_FOR_BOOTSTRAP = 10  # below, resampling a handful of units covers far less than it says
MOST_MORE_UNITS = 1000  # beyond, "how many more" is no longer advice


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence bounds; `n` counts the units, the first of two crossed ones."""

    estimate: float
    low: float
    high: float
    level: float
    n: int
    method: str


def mean_interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent units, shape (n,)."""
    values = np.asarray(values, float)
    n = len(values)
    if n < 2 or not np.all(np.isfinite(values)):
        return _unbounded(mean(values), level, n, "t")
    reach = distributions.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n)
    return _around(mean(values), float(reach), level, n, "t")


def crossed_mean_interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """Interval of the mean over two crossed random units, shape (n, m), one value in each cell.

    The variance of the mean is (MS_rows + MS_columns - MS_rest) / (n m), never less than with either unit alone;
    t with the smaller number of degrees of freedom.
    """
    values = np.asarray(values, float)
    n, m = values.shape
    if min(n, m) < 2 or not np.all(np.isfinite(values)):
        return _unbounded(mean(values), level, n, "crossed t")
    rows, columns = values.mean(1), values.mean(0)
    rest = values - rows[:, None] - columns[None, :] + values.mean()
    rows_square = m * rows.var(ddof=1)
    columns_square = n * columns.var(ddof=1)
    rest_square = (rest**2).sum() / ((n - 1) * (m - 1))
    variance = max(rows_square, columns_square, rows_square + columns_square - rest_square) / (n * m)
    reach = distributions.t.ppf((1 + level) / 2, min(n, m) - 1) * math.sqrt(variance)
    return _around(mean(values), float(reach), level, n, "crossed t")


def share_interval(hits: np.ndarray, level: float = 0.95) -> Interval:
    """Exact (Clopper-Pearson) interval of a share; `hits` is boolean, shape (n,)."""
    hits = np.asarray(hits, bool)
    n, count = len(hits), int(hits.sum())
    low, high = _share_bounds(np.array(float(count)), np.array(float(n)), level)
    return Interval(count / n, float(low), float(high), level, n, "exact binomial")


def median_interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """Interval of a median between order statistics (inverted sign test): exact for any distribution, shape (n,).

    It takes the innermost pair of order statistics that covers at least `level`; n = 6 at 95 % is [min, max].
    """
    values = np.sort(np.asarray(values, float))
    n = len(values)
    depths = np.arange(n // 2 + 1)
    covering = depths[1 - 2 * distributions.binom.cdf(depths - 1, n, 0.5) >= level]
    depth = int(covering.max(initial=0))
    if depth == 0:
        return _unbounded(median(values), level, n, "order statistics")
    return Interval(median(values), float(values[depth - 1]), float(values[n - depth]), level, n, "order statistics")


def bootstrap_interval(
    rows: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], level: float = 0.95, seed: int = 0
) -> Interval:
    """Bootstrap interval of any statistic of `rows`, shape (n, k), resampled by row; unbounded below ten rows.

    `statistic` maps samples of shape (samples, n, k) to (samples,). The interval is bias-corrected and accelerated,
    its quantiles widened from the normal's to Student's as small samples need. Deterministic for a given seed.
    """
    rows = np.asarray(rows, float)
    n = len(rows)
    estimate = float(statistic(rows[None])[0]) if np.all(np.isfinite(rows)) else math.inf
    if n < FEWEST_FOR_BOOTSTRAP or not math.isfinite(estimate):
        return _unbounded(estimate, level, n, "bootstrap")
    random = np.random.default_rng(seed)
    resampled = np.concatenate([statistic(rows[random.integers(0, n, (100, n))]) for _ in range(40)])
    pull = np.array([statistic(np.delete(rows, i, 0)[None])[0] for i in range(n)])
    pull = pull.mean() - pull
    spread = (pull**2).sum() ** 1.5
    acceleration = (pull**3).sum() / (6 * spread) if spread > 0 else 0.0
    below = np.mean(resampled < estimate) + np.mean(resampled == estimate) / 2
    bias = distributions.norm.ppf(np.clip(below, 0.5 / len(resampled), 1 - 0.5 / len(resampled)))
    reach = distributions.t.ppf((1 + level) / 2, n - 1) * math.sqrt(n / (n - 1))
    shifted = bias + np.array([-reach, reach])
    at = distributions.norm.cdf(bias + shifted / np.maximum(1 - acceleration * shifted, 1e-3))
    low, high = np.quantile(resampled, at)
    return Interval(estimate, float(low), float(high), level, n, "bootstrap")


def units_needed(interval: Interval, bound: float) -> int | None:
    """Roughly how many more units would put `bound` outside the interval, were estimate and spread to stay.

    None when nothing can be said: a single unit, infinite values, an estimate on the bound, or over a thousand.
    """
    fewest = {"bootstrap": FEWEST_FOR_BOOTSTRAP, "order statistics": math.ceil(1 - math.log2(1 - interval.level))}
    if interval.n < fewest.get(interval.method, 0):
        return fewest[interval.method] - interval.n
    sizes = np.arange(interval.n + 1, interval.n + MOST_MORE_UNITS + 1)
    distance = abs(interval.estimate - bound)
    if interval.method == "exact binomial":
        low, high = _share_bounds(np.round(interval.estimate * sizes), sizes.astype(float), interval.level)
        decided = (low > bound) if interval.estimate > bound else (high < bound)
    else:
        reach = interval.estimate - interval.low if bound < interval.estimate else interval.high - interval.estimate
        if not (math.isfinite(reach) and math.isfinite(distance) and interval.n > 1):
            return None
        of = _median_reach if interval.method == "order statistics" else _mean_reach
        decided = reach * of(sizes, interval.level) / of(np.array([interval.n]), interval.level) < distance
    return int(np.argmax(decided)) + 1 if decided.any() else None


def _mean_reach(sizes: np.ndarray, level: float) -> np.ndarray:
    """Half the length of a t interval of so many units, in their standard deviations."""
    return distributions.t.ppf((1 + level) / 2, sizes - 1) / np.sqrt(sizes)


def _median_reach(sizes: np.ndarray, level: float) -> np.ndarray:
    """How far the order statistics that bound a median lie from it, expected of normal units (Blom's scores)."""
    depths = distributions.binom.ppf((1 - level) / 2, sizes, 0.5)
    return -distributions.norm.ppf((depths - 0.375) / (sizes + 0.25))


def median(values: np.ndarray) -> float:
    """The median, also of infinite values; half-way between -inf and inf is 0."""
    ordered = np.sort(np.asarray(values, float))
    lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return 0.0 if np.isinf(lower) and lower == -upper else float((lower + upper) / 2)


def mean(values: np.ndarray) -> float:
    """The mean, also of infinite values; of -inf together with inf it is 0, which says nothing either way."""
    values = np.asarray(values, float)
    return 0.0 if np.isposinf(values).any() and np.isneginf(values).any() else float(values.mean())


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """first - second, where two equal infinities (neither ever reached it) are tied: 0."""
    tied = np.isinf(first) & (first == second)
    return np.where(tied, 0.0, first) - np.where(tied, 0.0, second)


def slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares slope of y on x along the last axis; 0 where x does not vary."""
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    square = (x**2).sum(-1)
    return (x * y).sum(-1) / np.where(square > 0, square, np.inf)


def rank_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation along the last axis, ties sharing their mean rank; 0 where one does not vary."""
    x, y = distributions.rankdata(x, axis=-1), distributions.rankdata(y, axis=-1)
    spread = np.sqrt(x.var(-1) * y.var(-1))
    together = ((x - x.mean(-1, keepdims=True)) * (y - y.mean(-1, keepdims=True))).mean(-1)
    return together / np.where(spread > 0, spread, np.inf)


def _around(estimate: float, reach: float, level: float, n: int, method: str) -> Interval:
    return Interval(estimate, estimate - reach, estimate + reach, level, n, method)


def _unbounded(estimate: float, level: float, n: int, method: str) -> Interval:
    return Interval(estimate, -math.inf, math.inf, level, n, method)


def _share_bounds(hits: np.ndarray, n: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    tail = (1 - level) / 2
    low = np.where(hits == 0, 0.0, distributions.beta.ppf(tail, np.maximum(hits, 1), n - hits + 1))
    high = np.where(hits == n, 1.0, distributions.beta.ppf(1 - tail, hits + 1, np.maximum(n - hits, 1)))
    return low, high
