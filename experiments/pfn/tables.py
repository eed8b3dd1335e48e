"""The study on small real tables: a network trained on random networks' tables, beside methods that learn from each."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from core.amortised import heads
from core.amortised.priors import ArchitectureRanges, sample_network_tables
from core.amortised.training import TrainingSpec
from core.lab.keys import key_for, named_keys
from core.tabular import sampling, scores
from core.tabular.baselines import tune_and_predict
from experiments.pfn.networks import Training, recipe_of

if TYPE_CHECKING:
    from core.lab.lab import Lab
    from experiments.pfn.settings import TableSettings

Tree = Any
METHODS = ("boosted_trees", "logistic_regression", "gaussian_process", "nearest_neighbours")
NETWORKS = ("pfn", "permuted")


def sources(settings: "TableSettings") -> list[tuple[str, str]]:
    """Data set and table, of all tables."""
    named = ((settings.dataset, settings.tables), (settings.other_dataset, settings.other_tables))
    return [(dataset, table) for dataset, tables in named for table in tables]


def tabular_prior(law: ArchitectureRanges, key: jax.Array, shape: tuple[int, int, int]) -> Any:
    """Tables of random networks, see `core.amortised.priors`."""
    return sample_network_tables(key, shape, law)


def problems_of(settings: "TableSettings", lab: "Lab", keys: jax.Array, dataset: str, table: str) -> Tree:
    """Subsets of one table: x (subsets, rows, F) as the network takes it, labels, and p(1) by every other method."""
    arrays, found = lab.data(dataset), []
    features, labels = (np.asarray(arrays[f"{table}_{part}"]) for part in ("features", "labels"))
    for key in keys:
        cut = sampling.sample_problems(
            features, labels, key_for(key, table), settings.subsets, settings.rows, settings.context
        )
        x = np.concatenate([cut.train_x, cut.test_x], 1)
        # unused features are 0, and those in use scaled by F over their number, as in the prior
        padded = np.zeros((*x.shape[:2], settings.features), np.float32)
        padded[:, :, : x.shape[2]] = x * (settings.features / x.shape[2])
        answers = {
            method: np.stack([answer(settings, method, cut, k) for k in range(settings.subsets)]) for method in METHODS
        }
        y = np.concatenate([cut.train_y, cut.test_y], 1).astype(np.float32)
        found.append({"x": padded, "y": y, **answers})
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def answer(settings: "TableSettings", method: str, cut: sampling.ClassificationProblems, k: int) -> np.ndarray:
    """p(1) of the test rows of one subset."""
    train, test = (cut.train_x[k], cut.train_y[k]), cut.test_x[k]
    return tune_and_predict(method, *train, test, settings.folds, settings.configurations).astype(np.float32)


def problem_shapes(settings: "TableSettings") -> Tree:
    """Shapes of `problems_of`, for plans."""
    of = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    rows, asked = settings.rows, settings.rows - settings.context
    each = {method: of((settings.subsets, asked)) for method in METHODS}
    return {"x": of((settings.subsets, rows, settings.features)), "y": of((settings.subsets, rows)), **each}


def answered(recipe: TrainingSpec, context: int, params: Tree, problems: Tree, key: jax.Array) -> dict[str, jax.Array]:
    """p(1) of the test rows by the network, from the context as it is and with its labels dealt out at random."""
    x, y, found = problems["x"], problems["y"], {}
    dealt = jax.vmap(lambda k, row: row.at[:context].set(jax.random.permutation(k, row[:context])))
    for arm, labels in zip(NETWORKS, (y, dealt(jax.random.split(key, len(y)), y)), strict=True):
        outputs = recipe.network.apply({"params": params}, x, labels, context)
        found[arm] = jax.nn.sigmoid(jnp.asarray(outputs)[..., 0])
    return found


def judged(settings: "TableSettings", problems: dict[str, Tree], answers: dict[str, Tree]) -> Tree:
    """AUC (mean over subsets), calibration error (of all answers on a table) and rank of every arm on every table."""
    arms = (*NETWORKS, *METHODS)
    auc, ece = {}, {}
    for arm in arms:
        by_table = [answers[t][arm] if arm in NETWORKS else problems[t][arm] for t in problems]
        hits = [np.asarray(problems[t]["y"])[:, :, settings.context :] > 0.5 for t in problems]
        pairs = [(np.asarray(p, float), hit) for p, hit in zip(by_table, hits, strict=True)]
        replicates = range(len(hits[0]))
        auc[arm] = np.array([[np.mean(list(map(scores.roc_auc, p[r], h[r]))) for p, h in pairs] for r in replicates])
        ece[arm] = np.array(
            [
                [scores.expected_calibration_error(p[r].ravel(), h[r].ravel(), settings.bins) for p, h in pairs]
                for r in replicates
            ]
        )
    found: dict[str, Any] = {"auc": auc, "ece": ece, "rank": {}, "wilcoxon": {}}
    for network in NETWORKS:  # the one with permuted labels is ranked in the place of the other
        compared = (network, *METHODS)
        ranks = np.stack([scores.rank_methods(np.stack([auc[arm][r] for arm in compared], 1)) for r in replicates])
        places = range(len(compared)) if network == "pfn" else (0,)
        found["rank"] |= {compared[place]: ranks[:, :, place] for place in places}
        found["wilcoxon"][network] = np.array(
            [scores.wilcoxon_test(auc[network][r], auc["boosted_trees"][r]).p_value for r in replicates]
        )
    return found


def judged_shapes(tables: int) -> Tree:
    """Shapes of `judged`."""
    of = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    by_table = {arm: of((tables,)) for arm in (*NETWORKS, *METHODS)}
    return {"auc": by_table, "ece": by_table, "rank": by_table, "wilcoxon": dict.fromkeys(NETWORKS, of(()))}


def tables_trial(settings: "TableSettings", keys: jax.Array, lab: "Lab") -> None:
    """Train once on the prior, then answer every table in one forward pass."""
    law = ArchitectureRanges(settings.prior_width, settings.prior_depth, settings.features)
    recipe = recipe_of(settings, partial(tabular_prior, law), 1, heads.bernoulli_log_density, fixed=settings.context)
    none = jnp.zeros((*keys.shape, 1))
    [params] = Training(lab, keys, settings, none).run("pfn", recipe, {}, (settings.steps,))
    drawn, problems, answers = named_keys(lab, keys, "subsets"), {}, {}
    for dataset, table in sources(settings):
        lab.data(dataset)
        problems[table] = lab.stage(
            f"table/{table}", partial(problems_of, settings, lab, drawn, dataset, table), like=problem_shapes(settings)
        )
        function = partial(answered, recipe, settings.context)
        answers[table] = lab.map(function, params, problems[table], named_keys(lab, keys, f"dealt/{table}"))
    like = judged_shapes(len(problems))
    found = lab.stage("scores", partial(judged, settings, problems, answers), like=like)
    along = {"table": list(problems)}
    for arm in (*NETWORKS, *METHODS):
        lab.measure({metric: found[metric][arm] for metric in ("auc", "ece", "rank")}, along=along, arm=arm)
        if arm in NETWORKS:
            lab.measure({"wilcoxon_p": found["wilcoxon"][arm]}, arm=arm)
