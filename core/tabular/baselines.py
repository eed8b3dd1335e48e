"""Classical two-class methods for small tables, each as one function on the host: train x, train y, test x -> p(1).

Every method has the same number of configurations, chosen among by the log loss in the same stratified folds of the
training rows; the chosen one is fitted to all of them. Test rows have no part in the choice.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from core.errors import BadInput, unknown_name
from core.tabular.scores import log_loss

GRID_SIZE = 8  # of every method
MIN_PROBABILITY = 1e-3  # probabilities nearer to 0 or 1 are no better for the choice


def logistic_regression_grid(features: int) -> list[Any]:
    """Logistic regression with an l2 penalty, C from 1e-3 to 30."""
    from sklearn.linear_model import LogisticRegression

    return [LogisticRegression(C=c, solver="newton-cholesky", max_iter=200) for c in np.geomspace(1e-3, 30, GRID_SIZE)]


def nearest_neighbours_grid(features: int) -> list[Any]:
    """k nearest neighbours, k from 1 to 15."""
    from sklearn.neighbors import KNeighborsClassifier

    return [KNeighborsClassifier(k) for k in (1, 2, 3, 4, 5, 7, 10, 15)]


def gaussian_process_grid(features: int) -> list[Any]:
    """Gaussian-process classification (Laplace), RBF kernels with four lengthscales in units of √d and two scales."""
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    return [
        GaussianProcessClassifier(ConstantKernel(scale) * RBF(length * features**0.5), optimizer=None)
        for scale in (1.0, 10.0)
        for length in (0.25, 0.5, 1.0, 2.0)
    ]


def boosted_trees_grid(features: int) -> list[Any]:
    """Gradient-boosted trees: 100 of depth 1 or 2, the grid of the published XGBoost baseline without its child weight.

    scikit-learn's exact trees stand in for XGBoost: learning rate 0.02 or 0.2, subsample 0.5 or 0.8, 80 % of columns.
    """
    from sklearn.ensemble import GradientBoostingClassifier

    return [
        GradientBoostingClassifier(
            learning_rate=rate, subsample=share, max_depth=depth, max_features=0.8, n_estimators=100, random_state=0
        )
        for rate in (0.02, 0.2)
        for share in (0.5, 0.8)
        for depth in (1, 2)
    ]


def histogram_trees_grid(features: int) -> list[Any]:
    """Histogram gradient boosting (as LightGBM): 100 trees, leaves of 2 rows or more instead of 20."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return [
        HistGradientBoostingClassifier(
            learning_rate=rate,
            max_depth=depth,
            l2_regularization=penalty,
            min_samples_leaf=2,
            early_stopping=False,
            random_state=0,
        )
        for rate in (0.02, 0.2)
        for depth in (1, 3)
        for penalty in (0.0, 1.0)
    ]


GRIDS: Mapping[str, Callable[[int], list[Any]]] = {
    "logistic_regression": logistic_regression_grid,
    "nearest_neighbours": nearest_neighbours_grid,
    "gaussian_process": gaussian_process_grid,
    "boosted_trees": boosted_trees_grid,
    "histogram_trees": histogram_trees_grid,
}


def tune_and_predict(
    method: str, train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, folds: int = 5, configurations: int = 8
) -> np.ndarray:
    """p(class 1) of test rows by the configuration of one of the `GRIDS` that cross-validation chooses.

    Args:
      method: its name.
      train_x: (n, d), finite.
      train_y: (n,), 0 or 1.
      test_x: (m, d).
      folds: of the choice of a configuration; fewer where a class has fewer rows.
      configurations: the first so many are tried; with 1 there is no choice.

    Returns:
      Float64 (m,). Training rows of one class give that class the probability 1.
    """
    if method not in GRIDS:
        raise unknown_name("method", method, GRIDS)
    x, y, tests = np.asarray(train_x, float), np.asarray(train_y), np.asarray(test_x, float)
    if x.ndim != 2 or tests.ndim != 2 or x.shape[1] != tests.shape[1] or len(x) != len(y) or not len(x):
        raise BadInput(f"rows of one width are needed, with a class for each: {x.shape}, {y.shape}, {tests.shape}")
    if not (np.isfinite(x).all() and np.isfinite(tests).all()):
        raise BadInput("features must be finite")
    smaller = min(int((y == 0).sum()), int((y == 1).sum()))
    if smaller == 0:
        return np.full(len(tests), float(y[0]))
    models = GRIDS[method](x.shape[1])[:configurations]
    chosen = 0
    with threadpool_limits(1):  # for so few rows, handing out work to threads takes longer than the work
        if len(models) > 1 and smaller > 1:
            chosen = int(np.argmin(cross_validation_losses(models, x, y, min(folds, smaller))))
        return _fit_and_predict(models[chosen], x, y, tests)


def cross_validation_losses(models: list[Any], x: np.ndarray, y: np.ndarray, folds: int) -> np.ndarray:
    """Log loss of each configuration over all held-out rows of stratified folds: (configurations,)."""
    fold = assign_stratified_folds(y, folds)
    losses = []
    for model in models:
        p = np.empty(len(y))
        for number in range(folds):
            held = fold == number
            p[held] = _fit_and_predict(model, x[~held], y[~held], x[held])
        losses.append(log_loss(p, y, MIN_PROBABILITY))
    return np.array(losses)


def assign_stratified_folds(y: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each row: the rows of each class dealt out in turn, int (n,)."""
    fold = np.empty(len(y), int)
    for label in (0, 1):
        rows = np.flatnonzero(y == label)
        fold[rows] = np.arange(len(rows)) % folds
    return fold


def _fit_and_predict(model: Any, x: np.ndarray, y: np.ndarray, tests: np.ndarray) -> np.ndarray:
    if hasattr(model, "n_neighbors") and model.n_neighbors > len(x):
        model = type(model)(len(x))
    return model.fit(x, y).predict_proba(tests)[:, 1]
