"""Small two-class problems cut from tables, as small-data comparisons want them: balanced, shuffled, standardised."""

from typing import Any, NamedTuple

import jax
import numpy as np

from core.errors import BadInput


class ClassificationProblems(NamedTuple):
    """`count` two-class problems of one table.

    Attributes:
      train_x: float32 (count, context, d), standardised by the context alone.
      train_y: int32 (count, context), 0 or 1.
      test_x: float32 (count, rest, d), by the same mean and standard deviation.
      test_y: int32 (count, rest).
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def two_most_frequent_classes(labels: Any) -> np.ndarray:
    """Of labels (n,), bool (2, n): rows of the two most frequent classes (of equal ones the lower), and of the second.

    The two classes are in the order of their labels.
    """
    y = np.asarray(labels)
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2:
        raise BadInput("a table with one class has nothing to tell apart")
    pair = np.sort(classes[np.argsort(-counts, kind="stable")[:2]])
    return np.stack([np.isin(y, pair), y == pair[1]])


def sample_problems(
    features: Any, labels: Any, key: jax.Array, count: int = 20, rows: int = 100, context: int = 30
) -> ClassificationProblems:
    """Balanced subsets of a table, each drawn anew without replacement and shuffled (Müller et al. 2022, section 7).

    Both classes have half of the rows and half of the context in every problem, as in the published code, where they
    alternate; here their order is random, so that no method can count on it. Rows of different problems overlap.

    Args:
      features: (n, d), without missing values.
      labels: (n,), classes; the two most frequent are used.
      key: typed key of the draws.
      count: how many problems.
      rows: of each, even.
      context: of them to learn from, even.

    Raises:
      BadInput: where a class has fewer than rows/2 rows, or a value is missing.
    """
    x, (kept, second) = np.asarray(features, np.float64), two_most_frequent_classes(labels)
    if not 0 < context < rows or rows % 2 or context % 2:
        raise BadInput(f"a context of {context} in {rows} rows: both must be even, and the context the smaller")
    if not np.isfinite(x[kept]).all():
        raise BadInput("the table has missing or infinite values")
    groups = [np.flatnonzero(kept & ~second), np.flatnonzero(kept & second)]
    if min(map(len, groups)) < rows // 2:
        raise BadInput(f"{rows // 2} rows of each class are needed, not {len(groups[0])} and {len(groups[1])}")
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    parts = [_one(x, groups, random, rows // 2, context // 2) for _ in range(count)]
    return ClassificationProblems(*(np.stack(part) for part in zip(*parts, strict=True)))


def _one(x: np.ndarray, groups: list[np.ndarray], random: np.random.Generator, half: int, seen: int) -> tuple:
    drawn = np.stack([random.permutation(group)[:half] for group in groups])
    found = []
    for columns in (slice(seen), slice(seen, None)):
        numbers = drawn[:, columns]
        order = random.permutation(numbers.size)
        found.append((numbers.ravel()[order], np.repeat([0, 1], numbers.shape[1])[order].astype(np.int32)))
    (train, train_y), (test, test_y) = found
    train_x, test_x = standardise(x[train], x[test])
    return train_x, train_y, test_x, test_y


def standardise(train: np.ndarray, test: np.ndarray, clip: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    """Both in units of the training rows' mean and standard deviation, float32; a column constant there becomes 0.

    Test values are kept within `clip` standard deviations.
    """
    mean, spread = train.mean(0), train.std(0)
    varies = spread > 1e-9 * (np.abs(mean) + 1)
    scale = np.where(varies, spread, 1)
    found = [np.clip(np.where(varies, (part - mean) / scale, 0), -clip, clip) for part in (train, test)]
    return found[0].astype(np.float32), found[1].astype(np.float32)
