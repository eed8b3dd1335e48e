"""The study on small real tables: a network trained on random networks' tables, beside methods that learn from each."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from core.amortised import heads
from core.amortised.encoder import flatten_params
from core.amortised.fitting import Fitting, make_spec
from core.amortised.priors import sample_network_tables
from core.amortised.settings import NetworkTableSettings
from core.amortised.training import TrainingSpec
from core.lab.keys import key_for, named_keys
from core.tabular import sampling, scores
from core.tabular.baselines import tune_and_predict

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.pfn.settings import TableSettings

Tree = Any
METHODS = ("boosted_trees", "logistic_regression", "gaussian_process", "nearest_neighbours")
NETWORKS = ("pfn", "sharpened")


def network_tables(law: NetworkTableSettings, key: jax.Array, shape: tuple[int, int, int]) -> Any:
    """Tables of random networks, see `core.amortised.priors`."""
    return sample_network_tables(key, shape, law)


def tables_spec(settings: "TableSettings") -> TrainingSpec:
    """The network that is trained: one logit for each query."""
    return make_spec(settings, partial(network_tables, settings.prior), 1, heads.bernoulli_log_density)


def tables_trial(settings: "TableSettings", keys: jax.Array, lab: "Lab") -> None:
    """Train once on the prior, then answer every table in one forward pass."""
    spec = tables_spec(settings)
    fitting = Fitting(lab, keys, spec, settings)
    params = fitting.fit("pfn", fitting.borders())
    drawn, problems, answers = named_keys(lab, keys, "subsets"), {}, {}
    for dataset, tables in settings.sources():
        lab.data(dataset)
        for table in tables:
            solve = partial(solve_problems, settings, lab, drawn, dataset, table)
            problems[table] = lab.stage(f"table/{table}", solve, like=problem_shapes(settings))
            function = partial(answer_by_network, spec, settings.data.largest)
            answers[table] = lab.map(function, params, problems[table])
    found = lab.stage("scores", partial(score, settings, problems, answers), like=score_shapes(len(problems)))
    along = {"table": list(problems)}
    for metric, by_arm in found.items():
        for arm, values in by_arm.items():
            lab.measure({metric: values}, along={} if metric == "wilcoxon_p" else along, arm=arm)
    lab.keep("weights", lab.map(flatten_params, params))


def solve_problems(settings: "TableSettings", lab: "Lab", keys: jax.Array, dataset: str, table: str) -> Tree:
    """Subsets of one table: x (subsets, rows, F) as the network takes it, labels, and p(1) by every other method."""
    arrays, found = lab.data(dataset), []
    features, labels = (np.asarray(arrays[f"{table}_{part}"]) for part in ("features", "labels"))
    context = settings.data.largest
    for key in keys:
        cut = sampling.sample_problems(features, labels, key_for(key, table), settings.subsets, settings.rows, context)
        x = np.concatenate([cut.train_x, cut.test_x], 1)
        padded = np.pad(x, ((0, 0), (0, 0), (0, settings.data.features - x.shape[2])))
        each = zip(cut.train_x, cut.train_y, cut.test_x, strict=True)
        tuned = [
            [tune_and_predict(method, *problem, settings.folds, settings.configurations) for method in METHODS]
            for problem in each
        ]
        answers = dict(zip(METHODS, np.asarray(tuned, np.float32).swapaxes(0, 1), strict=True))
        y = np.concatenate([cut.train_y, cut.test_y], 1).astype(np.float32)
        found.append({"x": padded.astype(np.float32), "y": y, **answers})
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def problem_shapes(settings: "TableSettings") -> Tree:
    """Shapes of `solve_problems`, for plans."""
    of = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    subsets, rows = settings.subsets, settings.rows
    each = dict.fromkeys(METHODS, of((subsets, rows - settings.data.largest)))
    return {"x": of((subsets, rows, settings.data.features)), "y": of((subsets, rows)), **each}


def answer_by_network(spec: TrainingSpec, context: int, params: Tree, problems: Tree) -> dict[str, jax.Array]:
    """p(1) of the test rows by the network, as it is and with its logits doubled."""
    logits = jnp.asarray(spec.network.apply({"params": params}, problems["x"], problems["y"], context))[..., 0]
    return {"pfn": jax.nn.sigmoid(logits), "sharpened": jax.nn.sigmoid(2 * logits)}


def score(settings: "TableSettings", problems: dict[str, Tree], answers: dict[str, Tree]) -> Tree:
    """By arm and table (replicates, tables): the area under the ROC curve (mean over subsets), ranks, calibration.

    The calibration error is that of all tables' answers together, by the jackknife's pseudo-value of every table.
    Besides, (replicates,), the p-value of Wilcoxon's test against boosted trees.
    """
    compared, first = ("pfn", *METHODS), settings.data.largest
    hits = [np.asarray(each["y"])[:, :, first:] > 0.5 for each in problems.values()]
    replicates, found = range(len(hits[0])), {name: {} for name in ("auc", "ece", "rank", "wilcoxon_p")}
    for arm in (*NETWORKS, *METHODS):
        p = [np.asarray((answers if arm in NETWORKS else problems)[table][arm], float) for table in problems]
        pooled = [([each[r] for each in p], [each[r] for each in hits]) for r in replicates]
        found["ece"][arm] = np.array([scores.pooled_calibration_values(*pair, settings.bins) for pair in pooled])
        if arm in compared:
            found["auc"][arm] = np.array([list(map(mean_area, *pair)) for pair in pooled])
    auc = found["auc"]
    ranks = np.stack([scores.rank_methods(np.stack([auc[arm][r] for arm in compared], 1)) for r in replicates])
    found["rank"] = {arm: ranks[:, :, place] for place, arm in enumerate(compared)}
    for arm in compared:
        if arm != "boosted_trees":
            pairs = zip(auc[arm], auc["boosted_trees"], strict=True)
            found["wilcoxon_p"][arm] = np.array([scores.wilcoxon_test(*pair).p_value for pair in pairs])
    return found


def mean_area(p: np.ndarray, hits: np.ndarray) -> float:
    """The area under the ROC curve, mean over the subsets of a table, from (subsets, rows) each."""
    return float(np.mean(list(map(scores.roc_auc, p, hits))))


def score_shapes(tables: int) -> Tree:
    """Shapes of `score`."""
    of = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    ranked = dict.fromkeys(("pfn", *METHODS), of((tables,)))
    tested = {arm: of(()) for arm in ranked if arm != "boosted_trees"}
    return {"auc": ranked, "ece": ranked | {"sharpened": of((tables,))}, "rank": ranked, "wilcoxon_p": tested}
