"""The maths of the studies on prior-data fitted networks, against NumPy by hand and exact posteriors."""

import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes

from core.amortised import bar_distribution, encoder, estimators
from core.amortised.encoder import flatten_params, init_params
from core.amortised.fitting import make_spec
from core.errors import BadInput
from core.kernels.solvers import gaussian_process_posterior
from core.lab.stages import save_tree
from core.papers.config import load_config
from core.paths import project_root
from core.weights.loading import read_weights, weights_path
from core.weights.replicate import FinishedReplicate
from experiments.pfn import bnn, hyper, processes, rivals, tables, weights
from experiments.pfn.figures import mean_losses, points_by_method

CONFIG = load_config("pfn")


def size(features: int, width: int, layers: int, hidden: int, outputs: int) -> int:
    """Weights and biases of an encoder: tokens of x and y, layers with two normalisations, and the decoder."""
    layer = sum(after * (before + 1) for before, after in ((width, 3 * width), (width, width)))
    layer += sum(after * (before + 1) for before, after in pairwise((width, hidden, width))) + 4 * width
    tokens = width * (features + 1) + width * 2
    return tokens + layers * layer + sum(b * (a + 1) for a, b in pairwise((width, 2 * width, outputs)))


def state(*sizes: int) -> int:
    """With both moments of Adam and its count."""
    return 3 * size(*sizes) + 1


PARAMETERS = {
    "gp": {"laptop": state(1, 64, 3, 128, 300), "paper": state(5, 512, 6, 1024, 1000)},
    "tables": {"laptop": state(60, 64, 3, 128, 1), "paper": state(60, 512, 5, 1024, 1)},
    "head_tuning": {"laptop": state(1, 32, 2, 64, 300), "paper": state(5, 512, 6, 1024, 1000)},
    "head": {"laptop": state(1, 32, 2, 64, 300), "paper": state(5, 512, 6, 1024, 1000)},
    "hyper": {"laptop": state(1, 64, 3, 128, 500), "paper": state(1, 512, 6, 1024, 1000)},
    "bnn": {"laptop": state(3, 64, 3, 128, 1), "paper": state(3, 256, 5, 512, 1)},
    "estimator": {"laptop": state(5, 64, 3, 128, 300), "paper": state(5, 512, 6, 1024, 1000)},
}


def settings_of(study: str, scale: str = "smoke", **changes: Any) -> Any:
    """The config's settings of a study, with some changed; dots reach into groups."""
    values = CONFIG.studies[study].values(scale)
    for name, value in changes.items():
        group, _, inner = name.rpartition("__")
        (values[group] if group else values)[inner] = value
    return CONFIG.studies[study].build(values)


def shaken(network: encoder.TransformerEncoder) -> Any:
    """Parameters away from the initial ones, whose branches are 0."""
    flat = flatten_params(init_params(network, jax.random.key(1)))
    return encoder.unflatten_params(network, flat + 0.3 * jax.random.normal(jax.random.key(2), flat.shape))


# --- beside the exact posterior -------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [1, 4])
def test_gap_and_distance_are_those_from_the_exact_posterior_in_double_precision(context: int) -> None:
    settings = settings_of("gp")
    spec = make_spec(settings, processes.rbf_process, settings.bars)
    borders, params = jnp.linspace(-3, 3, settings.bars + 1), shaken(spec.network)
    prior = processes.arguments_of(settings)
    data = processes.draw_data_sets((5, 6, 1), jax.random.key(0), prior)
    found = processes.compare_with_exact((1, 4), spec, params, borders, data, prior)
    for k in range(5):
        x, y = (np.asarray(data[name][k], float) for name in ("x", "y"))
        kernel, n = np.exp(-((x - x.T) ** 2) / (2 * 0.6**2)), context
        truth = gaussian_process_posterior(kernel[:n, :n], kernel[n:, :n], kernel[n:, n:], y[:n], 0.01)
        sd = np.sqrt(truth.covariance.diagonal() + 0.01)
        density = -(((y[n:] - truth.mean) / sd) ** 2) / 2 - np.log(sd * np.sqrt(2 * np.pi))
        outputs = spec.network.apply({"params": params}, data["x"][k : k + 1], data["y"][k : k + 1], n)[0]
        q = np.asarray(bar_distribution.log_density(borders, outputs, data["y"][k, n:]))
        off = np.abs(np.asarray(bar_distribution.mean(borders, outputs)) - truth.mean) / sd
        column = (1, 4).index(n)
        assert float(found["gap"][k, column]) == pytest.approx(np.mean(density - q), abs=5e-3)
        assert float(found["off"][k, column]) == pytest.approx(off.mean(), rel=5e-3)


def test_the_loss_of_a_head_is_the_mean_over_queries_and_context_sizes() -> None:
    settings = settings_of("head")
    spec = make_spec(settings, processes.rbf_process, settings.bars)
    borders, params = jnp.linspace(-3, 3, 7), shaken(spec.network)
    data = processes.draw_data_sets((3, 6, 1), jax.random.key(0), processes.arguments_of(settings))
    x, y = data["x"], data["y"]
    expected = [
        -float(spec.head(borders, spec.network.apply({"params": params}, x, y, n), y[:, n:]).mean()) for n in (1, 4)
    ]
    found = processes.mean_loss((1, 4), spec, params, borders, data)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


# --- rivals ---------------------------------------------------------------------------------------------------------


def test_time_ratios_take_the_first_budget_that_is_good_enough() -> None:
    """Round by round; within the margin is good enough; in a batch, the faster way counts."""
    losses = {"pfn": np.array([[0.4, 0.6]]), "nuts.4": np.ones((1, 2))}
    losses |= {f"svi.{k}": np.full((1, 2), v) for k, v in ((64, 0.3), (1, 0.9), (8, 0.505))}
    seconds = {"alone:svi.1": 0.1, "alone:svi.8": 0.8, "alone:svi.64": 6.0, "alone:nuts.4": 3.0}
    seconds |= {name.replace("alone", "batch"): 0.5 * value for name, value in seconds.items()}
    taken = {name: np.array([[value, 2 * value]]) for name, value in seconds.items()}
    taken |= {"batch:pfn": np.array([[0.01, 0.02]]), "batch:again": np.array([[0.01, 0.01]])}
    taken["batch:nuts.4"] *= 10
    taken |= {"alone:pfn": np.array([[0.02, 0.02]]), "alone:again": np.array([[0.02, 0.01]])}
    found = bnn.time_ratios(losses, taken, 0.01)
    np.testing.assert_allclose(found["alone:svi"], [[40, 80]])
    np.testing.assert_allclose(found["batch:svi"], [[40, 40]])
    np.testing.assert_allclose([found["batch:again"], found["alone:again"]], [[[1, 0.5]], [[1, 0.5]]])
    assert np.isinf(found["alone:nuts"]).all() and np.isinf(found["batch:nuts"]).all()
    np.testing.assert_allclose(bnn.time_ratios(losses, taken, 0.0)["alone:svi"], [[300, 600]])
    worse = bnn.time_ratios(losses, taken, 0.5)
    np.testing.assert_allclose(worse["alone:nuts"], [[150, 300]])
    np.testing.assert_allclose(worse["batch:nuts"], [[300, 300]])


def test_a_training_pays_after_what_it_saves_in_the_same_style() -> None:
    seconds = {"training": 5.0, "batch:pfn": 0.01, "alone:pfn": 0.5, "alone:map": 1.0, "batch:map": 0.06}
    taken = {name: np.array([[v, v, 9.0]]) for name, v in (seconds | {"alone:svi.2": 0.4}).items()}
    found = [rivals.pays_after(taken, name) for name in ("alone:map", "batch:map", "alone:svi.2")]
    assert found == pytest.approx([10, 100, math.inf])
    assert rivals.conditions_of("batch:svi.8") == {"arm": "svi", "style": "batch", "budget": 8}


def test_losses_are_means_and_what_is_no_number_costs_twenty_nats_and_is_counted() -> None:
    found = rivals.losses(jnp.array([[-1.0, -3.0], [-2.0, -jnp.inf], [jnp.nan, -4.0]]))
    np.testing.assert_allclose(found["nll"], [2, 11, 12])
    assert found["failed"].tolist() == [0, 1, 1]


@pytest.fixture(scope="module")
def smooth() -> tuple[Any, jax.Array, jax.Array]:
    """The law of hyper-parameters, and 40 points of a smooth function with noise of 0.1, and 4 more."""
    x = jnp.linspace(0, 1, 44)[:, None]
    y = jnp.sin(6 * x[:, 0]) + 0.1 * jax.random.normal(jax.random.key(0), (44,))
    order = jax.random.permutation(jax.random.key(1), 44)
    return hyper.hyper_prior(settings_of("hyper")), x[order], y[order]


def test_map_and_chains_find_the_exact_posterior_where_much_is_known(smooth: tuple) -> None:
    """Both predict it to within the noise, and long chains agree with each other."""
    prior, x, y = smooth
    target = partial(hyper.hyper_target, prior, 40)
    by_map = jax.jit(partial(hyper.by_map, prior, 30, 2, 40))(x, y, jax.random.key(2))
    long = jax.jit(partial(rivals.by_long_chains, target, 2, 60))(x, y, jax.random.key(3))
    best = -0.5 - math.log(0.1 * math.sqrt(2 * math.pi))  # expected log density of N(f, 0.1²)
    for found in (by_map, long["log_density"]):
        assert found.shape == (4,) and found.mean() == pytest.approx(best, abs=0.8)
    assert long["effective_draws"] > 10 and 0.9 < long["scale_reduction"] < 1.3


def test_the_figure_joins_budgets_of_one_style_on_the_data_sets_of_the_long_chains() -> None:
    taken = [("pfn", "batch", 0.1), ("pfn", "alone", 2.0), ("nuts_32", "alone", 9.0), ("nuts_8", "alone", 3.0)]
    taken += [("again", "batch", 0.1), ("nuts_8", "batch", 1.0)]
    every = [(arm, style, value) for arm, style, middle in taken for value in (middle, middle, 99.0)]
    rows = pd.DataFrame(every, columns=["arm", "style", "value"])
    mean = {("pfn", 0): 0.5, ("nuts_8", 0): 0.9, ("nuts_32", 0): 0.6}
    assert points_by_method(rows, mean, "alone") == {"pfn": [(2.0, 0.5)], "nuts": [(3.0, 0.9), (9.0, 0.6)]}
    assert points_by_method(rows, mean, "batch") == {"pfn": [(0.1, 0.5)], "nuts": [(1.0, 0.9)]}
    rows = [("pfn", 5, 0, 9.0), ("pfn", 9, 0, 1.0), ("pfn", 9, 1, 8.0), ("long", 9, 0, 0.5)]
    frame = pd.DataFrame(rows, columns=["arm", "context", "dataset", "value"]).assign(metric="nll")
    assert mean_losses(frame) == ({("pfn", 0): 1.0, ("long", 0): 0.5}, 0.5)


# --- tables and networks for use ------------------------------------------------------------------------------------


def test_answers_are_scored_and_ranked_by_table() -> None:
    """Two tables with one subset of four asked rows each."""
    settings = settings_of("tables", data__context=2, rows=6, bins=2)
    y = np.array([[[0, 1, 0, 0, 1, 1]]], np.float32)
    right, flat = (np.array([[p]], np.float32) for p in ([0.1, 0.2, 0.8, 0.9], [0.5] * 4))
    problems = {t: {"y": y} | dict.fromkeys(tables.METHODS, flat) for t in ("a", "b")}
    answers = {"a": {"pfn": right, "sharpened": right}, "b": {"pfn": flat, "sharpened": flat}}
    found = tables.score(settings, problems, answers)
    np.testing.assert_allclose(found["auc"]["pfn"], [[1, 0.5]])
    np.testing.assert_allclose(found["rank"]["pfn"], [[1, 3]])
    np.testing.assert_allclose(found["rank"]["boosted_trees"], [[3.5, 3]])
    # all eight answers: |0.1 + 0.2 - 0 + 4 · 0.5 - 2| and |0.8 + 0.9 - 2|, by 8; alone 0 of b and (0.3 + 0.3)/4 of a
    assert found["ece"]["pfn"] == pytest.approx(np.array([[2 * 0.075 - 0.0, 2 * 0.075 - 0.15]]), abs=1e-6)
    shapes = jax.tree.map(lambda shape: (1, *shape.shape), tables.score_shapes(2))
    assert jax.tree.map(np.shape, found) == shapes


@pytest.mark.parametrize("name", ["regressor", "classifier"])
def test_a_kept_network_comes_back_for_use(name: str, tmp_path: Path) -> None:
    declared = weights.NETWORKS[name]
    settings = settings_of(declared.study)
    spec = hyper.estimator_spec(settings) if name == "regressor" else tables.tables_spec(settings)
    params = shaken(spec.network)
    save_tree(tmp_path / "arrays.msgpack", {"weights": flatten_params(params), "borders": jnp.linspace(-3, 3, 7)})
    arrays = declared.collect(settings, FinishedReplicate("pfn", declared.study, 0, tmp_path))
    jax.tree.map(np.testing.assert_array_equal, arrays["params"], params)
    model = declared.model(settings, arrays)
    sizes = (model.weights.min_context_size, model.weights.max_context_size)
    assert sizes == ((5, 7) if name == "regressor" else (10, 10))
    x = np.random.default_rng(0).normal(size=(sizes[1], 2))
    assert np.isfinite(model.fit(x, np.arange(sizes[1]) % 2).predict(x)).all()
    save_tree(tmp_path / "arrays.msgpack", {"weights": np.ones(3)})
    with pytest.raises(BadInput, match="parameters, not 3"):
        weights.NETWORKS["classifier"].collect(settings_of("tables"), FinishedReplicate("pfn", "tables", 0, tmp_path))


def test_intervals_of_the_published_regressor_hold_their_share() -> None:
    """Of fresh draws of its prior, and of the progress of diabetes by each of the five measurements that tell most."""
    path = weights_path(project_root() / "results" / "pfn" / "laptop", "regressor")
    if not path.exists():
        pytest.skip("no regressor is published yet")
    settings = settings_of("estimator", "laptop", sets=100)
    trained = read_weights(path).model.weights
    x, y = hyper.narrow_process(hyper.hyper_prior(settings), jax.random.key(5), (100, 51, 5))
    table = load_diabetes()
    order = np.random.default_rng(0).permutation(len(table.target))
    cases = [(np.asarray(x[k]), np.asarray(y[k]), 20) for k in range(100)]
    cases += [
        (table.data[order[k : k + 51]][:, [2, 3, 6, 7, 8]], table.target[order[k : k + 51]], 30)
        for k in range(0, 400, 51)
    ]
    held: dict[int, list[float]] = {20: [], 30: []}
    for inputs, targets, n in cases:
        model = estimators.AmortisedRegressor(trained).fit(inputs[:n], targets[:n])
        low, high = model.predict_quantiles(inputs[n:], (0.05, 0.95)).T
        held[n].append(np.mean((targets[n:] > low) & (targets[n:] < high)))
    assert 0.85 < np.mean(held[20]) < 0.95 and 0.8 < np.mean(held[30]) < 0.98


# --- settings -------------------------------------------------------------------------------------------------------

CONTRADICTIONS = [
    ("gp", {"network__heads": 3}, "must divide"),
    ("gp", {"data__sizes": (3,)}, "must end with 5"),
    ("gp", {"data__sizes": (5, 3)}, "must rise"),
    ("gp", {"contexts": (1, 6)}, "must be below"),
    ("gp", {"lengths": (4,)}, "must be shorter"),
    ("gp", {"training__warmup": 3}, "is longer than the first"),
    ("head", {"coarse_bars": 7}, "must not be larger than"),
    ("hyper", {"noise": (1.0,)}, "lacks its item 2"),
    ("bnn", {"data__context": 8}, "leaves no query"),
    ("tables", {"tables": ("breast_cancr",)}, "did you mean 'breast_cancer'"),
    ("tables", {"data__features": 20}, "has 30 features"),
]


@pytest.mark.parametrize(("study", "changes", "words"), CONTRADICTIONS)
def test_contradictory_settings_are_refused(study: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        settings_of(study, **changes)
    assert "\n" not in str(refused.value)
