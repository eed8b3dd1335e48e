"""Networks for others: estimators of small regressions and of small tables with two classes."""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from core.amortised.encoder import unflatten_params
from core.amortised.estimators import AmortisedClassifier, AmortisedRegressor, TrainedNetwork
from core.papers.contract import Network
from experiments.pfn.hyper import estimator_spec
from experiments.pfn.settings import EstimatorSettings, TableSettings
from experiments.pfn.tables import tables_spec

if TYPE_CHECKING:
    from core.weights.replicate import FinishedReplicate

Tree = Any


def regressor_arrays(settings: EstimatorSettings, left: "FinishedReplicate") -> Tree:
    """Parameters, and the borders of the bars (bars + 1,)."""
    kept = left.arrays("")
    params = unflatten_params(estimator_spec(settings).network, jnp.asarray(kept["weights"]))
    return {"params": params, "borders": kept["borders"]}


def classifier_arrays(settings: TableSettings, left: "FinishedReplicate") -> Tree:
    """Parameters."""
    return {"params": unflatten_params(tables_spec(settings).network, jnp.asarray(left.arrays("")["weights"]))}


def regressor(settings: EstimatorSettings, arrays: Tree) -> AmortisedRegressor:
    """An estimator of scikit-learn, to be given a context by `fit`."""
    network, largest = estimator_spec(settings).network, settings.data.largest
    return AmortisedRegressor(
        TrainedNetwork(network, arrays["params"], "regression", largest, arrays["borders"], settings.smallest)
    )


def classifier(settings: TableSettings, arrays: Tree) -> AmortisedClassifier:
    """The same for two classes. All contexts of its training are of one size, so it takes just that."""
    network, size = tables_spec(settings).network, settings.data.largest
    return AmortisedClassifier(TrainedNetwork(network, arrays["params"], "classification", size, None, size))


NETWORKS = {
    "regressor": Network(
        "estimator",
        "A transformer that answers small regressions in one forward pass. `model` is an estimator of scikit-learn: "
        "`model.fit(x, y)` takes few points of few features as the context (`settings.data` "
        "says how many), `predict(x, return_std=True)` and `predict_quantiles(x)` give the posterior of new targets.",
        regressor_arrays,
        regressor,
        lambda settings: [{"metric": "coverage", "arm": "pfn", "level": level} for level in settings.levels],
        kept=("weights", "borders"),
    ),
    "classifier": Network(
        "tables",
        "A transformer that answers small tables of two classes in one forward pass. `model` is an estimator of "
        "scikit-learn: `model.fit(x, y)` takes as many rows as its training had (`settings.data.largest`) as the "
        "context, `predict_proba(x)` gives probabilities.",
        classifier_arrays,
        classifier,
        lambda settings: [{"metric": metric, "arm": "pfn"} for metric in ("auc", "ece")],
        kept=("weights",),
    ),
}
