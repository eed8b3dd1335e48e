"""Trained networks with the conventions of scikit-learn: fitting stores the context, predicting is one forward pass.

    from core.api import load
    model = load("<paper>/regressor").model.fit(X, y)
    mean, spread = model.predict(X_new, return_std=True)

What is refused, by a `ValueError` of one line: no context, NaN, more features, fewer points or more than the network
was trained for, more than two classes, targets whose spread is beyond double precision. What is answered: fewer
features (the others are 0), constant targets (their scale is taken as 1), targets beyond the outermost bars (the tails
have full support), inputs that are given twice.
"""

from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from core.amortised import bar_distribution
from core.amortised.encoder import TransformerEncoder
from core.amortised.weights import TrainedNetwork
from core.errors import BadInput

QUERY_CHUNK = 64  # queries in one pass


class OutsideTrainingRange(BadInput, ValueError):
    """Data that the network was not trained for: too many points or features, the wrong task."""


@partial(jax.jit, static_argnums=(0, 1))
def predict_chunk(
    network: TransformerEncoder, max_context_size: int, params: Any, x: jax.Array, y: jax.Array, context_size: jax.Array
) -> jax.Array:
    """Outputs (chunk, outputs) at the points after the first `max_context_size`, of which `context_size` are given."""
    return network.apply(
        {"params": params},
        x[None],
        y[None],
        context_size,
        max_context_size=max_context_size,
        first_query=max_context_size,
    )[0]


class _AmortisedEstimator(BaseEstimator):
    """What both estimators share.

    Args:
      weights: a `TrainedNetwork`.
      rescale: whether inputs and targets are brought to the scale of the prior by the context's own: regression inputs
        to [0, 1] and targets to mean 0 and standard deviation 1, classification inputs to mean 0 and deviation 1.
    """

    task = ""

    def __init__(self, weights: TrainedNetwork | None = None, rescale: bool = True) -> None:
        self.weights = weights
        self.rescale = rescale

    def _load_network(self) -> TrainedNetwork:
        if self.weights is None:
            raise OutsideTrainingRange("weights is None: give a trained network")
        trained = self.weights
        if trained.task != self.task:
            raise OutsideTrainingRange(f"the weights are for {trained.task}, this estimator is for {self.task}")
        return trained

    def _store_context(self, x: np.ndarray, y: np.ndarray) -> None:
        """Keep the context, padded to the largest size."""
        trained = self._load_network()
        if x.shape[1] > trained.network.features:
            raise OutsideTrainingRange(
                f"X has {x.shape[1]} features, the network was trained for {trained.network.features}"
            )
        if not trained.min_context_size <= len(x) <= trained.max_context_size:
            counted = f"{len(x)} sample{'s' * (len(x) > 1)}" if len(x) < 2 else f"{len(x)} points"
            raise OutsideTrainingRange(
                f"the context has {counted}, the network was trained for {trained.min_context_size} to "
                f"{trained.max_context_size}"
            )
        self.trained_ = trained
        self._shift, self._scale = self._shift_and_scale(x)
        self._x = np.zeros((trained.max_context_size, trained.network.features), np.float32)
        self._x[: len(x)] = self._rescale_inputs(x)
        self._y = np.zeros(trained.max_context_size + QUERY_CHUNK, np.float32)
        self._y[: len(y)] = y
        self._points = len(x)

    def _shift_and_scale(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def _rescale_inputs(self, x: np.ndarray) -> np.ndarray:
        """In the scale of the prior, features that are not in use 0."""
        found = np.zeros((len(x), self.trained_.network.features), np.float32)
        found[:, : x.shape[1]] = (x - self._shift) / self._scale
        return found

    def _predict_outputs(self, x: Any) -> jax.Array:
        check_is_fitted(self)
        x = self._rescale_inputs(validate_data(self, x, reset=False, dtype=np.float64))
        trained, found = self.trained_, []
        for start in range(0, len(x), QUERY_CHUNK):
            asked = np.zeros((QUERY_CHUNK, x.shape[1]), np.float32)
            rows = x[start : start + QUERY_CHUNK]
            asked[: len(rows)] = rows
            every = np.concatenate([self._x, asked])
            outputs = predict_chunk(
                trained.network, trained.max_context_size, trained.params, every, self._y, np.int32(self._points)
            )
            found.append(outputs[: len(rows)])
        return jnp.concatenate(found)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = False
        return tags


class AmortisedRegressor(RegressorMixin, _AmortisedEstimator):
    """Regression by bars."""

    task = "regression"

    def fit(self, X: Any, y: Any) -> Self:
        """Take (n, features) and (n,) as the context."""
        x, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        y = np.asarray(y, np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, spread = float(np.mean(y)), float(np.std(y))
        if not np.isfinite([mean, spread]).all():
            raise OutsideTrainingRange(
                f"targets reach from {y.min():.4g} to {y.max():.4g}: too far for double precision"
            )
        self._mean = mean if self.rescale else 0.0
        self._spread = spread if self.rescale and spread > 1e-12 * abs(mean) else 1.0
        self._store_context(x, (y - self._mean) / self._spread)
        return self

    def _shift_and_scale(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.rescale:
            return np.zeros(x.shape[1]), np.ones(x.shape[1])
        reach = np.ptp(x, 0)
        return x.min(0), np.where(reach > 0, reach, 1.0)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Posterior mean (n,), and with `return_std` the standard deviation of a new target."""
        logits = self._predict_outputs(X)
        borders = jnp.asarray(self.trained_.borders)
        mean = np.asarray(bar_distribution.mean(borders, logits), float) * self._spread + self._mean
        if not return_std:
            return mean
        return mean, np.sqrt(np.asarray(bar_distribution.variance(borders, logits), float)) * self._spread

    def predict_quantiles(self, X: Any, levels: tuple[float, ...] = (0.05, 0.5, 0.95)) -> np.ndarray:
        """Quantiles of a new target, (n, levels)."""
        if not all(0 < level < 1 for level in levels):
            raise OutsideTrainingRange(f"levels {list(levels)} must lie between 0 and 1")
        logits, borders = self._predict_outputs(X), jnp.asarray(self.trained_.borders)
        found = np.stack([np.asarray(bar_distribution.quantile(borders, logits, level), float) for level in levels], 1)
        return found * self._spread + self._mean

    def log_density(self, X: Any, y: Any) -> np.ndarray:
        """log p of new targets, (n,), finite for every finite target."""
        scaled = np.clip((np.asarray(y, float) - self._mean) / self._spread, -1e15, 1e15)  # squares stay finite
        found = bar_distribution.log_density(
            jnp.asarray(self.trained_.borders), self._predict_outputs(X), jnp.asarray(scaled, jnp.float32)
        )
        return np.asarray(found, float) - np.log(self._spread)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # how well it predicts is a matter of the prior, not of the context
        return tags


class AmortisedClassifier(ClassifierMixin, _AmortisedEstimator):
    """Classification into two classes."""

    task = "classification"

    def fit(self, X: Any, y: Any) -> Self:
        """Take (n, features) and the labels (n,), of one or two kinds, as the context."""
        x, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) > 2:
            raise OutsideTrainingRange(
                f"Only binary classification is supported. The labels are of {len(self.classes_)} kinds"
            )
        self._store_context(x, labels)
        return self

    def _shift_and_scale(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.rescale:
            return np.zeros(x.shape[1]), np.ones(x.shape[1])
        mean, spread = x.mean(0), x.std(0)
        varies = spread > 1e-12 * np.maximum(1.0, np.abs(mean))  # a column that is constant up to rounding stays small
        return mean, np.where(varies, spread, 1.0)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (n, classes)."""
        one = np.asarray(jax.nn.sigmoid(self._predict_outputs(X)[:, 0]), float)
        return np.stack([1 - one, one], 1) if len(self.classes_) == 2 else np.ones((len(one), 1))

    def predict(self, X: Any) -> np.ndarray:
        """The more probable label, (n,)."""
        likely = self.predict_proba(X).argmax(1)
        return self.classes_[likely]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.poor_score = True
        return tags
