"""The maths of the studies on prior-data fitted networks, against NumPy by hand and exact posteriors."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax.flatten_util import ravel_pytree

from core.amortised import bar_distribution, encoder
from core.bayes.gaussian_process import Hyperparameters, rbf
from core.errors import BadInput
from core.kernels.solvers import gaussian_process_posterior
from core.lab.shape_lab import ShapeLab
from core.papers.config import load_config
from experiments.pfn import bnn, hyper, networks, processes, rivals, tables
from experiments.pfn.figures import by_method, mean_losses

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
    "gp": {"laptop": state(1, 64, 3, 128, 100), "paper": state(5, 512, 6, 1024, 1000)},
    "tables": {"laptop": state(60, 64, 3, 128, 1), "paper": state(60, 512, 5, 1024, 1)},
    "head": {"laptop": state(1, 32, 2, 64, 100), "paper": state(5, 512, 6, 1024, 1000)},
    "hyper": {"laptop": state(1, 64, 3, 128, 100), "paper": state(5, 512, 6, 1024, 1000)},
    "bnn": {"laptop": state(3, 64, 3, 128, 1), "paper": state(3, 256, 5, 512, 1)},
}


def settings_of(study: str, scale: str = "smoke", **changes: Any) -> Any:
    """The config's settings of a study, with some changed."""
    return CONFIG.studies[study].build(CONFIG.studies[study].values(scale)).replace(**changes)


def shaken(network: encoder.TransformerEncoder) -> Any:
    """Parameters away from the initial ones, whose branches are 0."""
    flat, unravel = ravel_pytree(encoder.init_params(network, jax.random.key(1)))
    return unravel(flat + 0.3 * jax.random.normal(jax.random.key(2), flat.shape))


# --- beside the exact posterior -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> dict[str, jax.Array]:
    x, y = processes.rbf_process(jax.random.key(0), (5, 6, 1), jnp.float32(0.6), jnp.float32(0.01))
    return {"x": x, "y": y}


HYPER = Hyperparameters(jnp.float32(0.6), jnp.float32(1), jnp.float32(0.01))


def test_the_exact_posterior_is_that_of_double_precision(data: dict) -> None:
    found = networks.exact(rbf, HYPER, (1, 4), data["x"], data["y"])
    for n in (1, 4):
        for k in range(5):
            x, y = (np.asarray(data[name][k], float) for name in ("x", "y"))
            kernel = np.exp(-((x - x.T) ** 2) / 0.72)
            truth = gaussian_process_posterior(kernel[:n, :n], kernel[n:, :n], kernel[n:, n:], y[:n], 0.01)
            sd = np.sqrt(truth.covariance.diagonal() + 0.01)
            density = -(((y[n:] - truth.mean) / sd) ** 2) / 2 - np.log(sd * np.sqrt(2 * np.pi))
            for name, expected in (("mean", truth.mean), ("sd", sd), ("log_density", density)):
                np.testing.assert_allclose(found[f"n{n}"][name][k], expected, atol=2e-3)


def test_the_gap_is_the_difference_of_mean_log_densities(data: dict) -> None:
    """And a blind network is one without a context."""
    settings = settings_of("gp")
    recipe = networks.recipe_of(settings, processes.rbf_process, settings.bars, sizes=settings.sizes)
    borders = jnp.linspace(-3, 3, settings.bars + 1)
    params = encoder.init_params(recipe.network, jax.random.key(1))
    truth = networks.exact(rbf, HYPER, (1, 4), data["x"], data["y"])
    measured = partial(networks.held_against, recipe, (1, 4), params, borders, data, truth)
    found, blind = measured(jnp.float32(1)), measured(jnp.float32(0))
    assert found["gap"].shape == (5, 2) == found["off"].shape
    for column, n in enumerate((1, 4)):
        outputs = recipe.network.apply({"params": params}, data["x"], data["y"], n)
        q = bar_distribution.log_density(borders, outputs, data["y"][:, n:])
        right = truth[f"n{n}"]
        np.testing.assert_allclose(found["gap"][:, column], (right["log_density"] - q).mean(1), rtol=1e-4)
        off = jnp.abs(bar_distribution.mean(borders, outputs) - right["mean"]) / right["sd"]
        np.testing.assert_allclose(found["off"][:, column], off.mean(1), rtol=1e-4)
    nothing = recipe.network.apply({"params": params}, data["x"][:, 4:], data["y"][:, 4:], 0)
    q = bar_distribution.log_density(borders, nothing, data["y"][:, 4:])
    np.testing.assert_allclose(blind["gap"][:, 1], (truth["n4"]["log_density"] - q).mean(1), rtol=1e-4)


def test_trainings_branch_off_one_trunk() -> None:
    """Of lengths 8 and 16 with a decay of 1/4: a trunk of 12 steps, and branches of 2 and 4."""
    settings, lab = settings_of("gp", lengths=(8, 16)), ShapeLab(count_flops=False)
    recipe = networks.recipe_of(settings, processes.rbf_process, settings.bars, sizes=settings.sizes)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    borders = jax.ShapeDtypeStruct((1, settings.bars + 1), jnp.float32)
    training = networks.Training(lab, keys, settings, borders)
    found = training.run("a", recipe, processes.prior_of(settings, 0.6), (8, 16))
    assert lab.cost.steps == 12 + 2 + 4 and len(found) == 2
    assert lab.cost.stages == ["a/trunk/6", "a/branch/8", "a/trunk/12", "a/branch/16"]


def test_another_order_moves_only_a_network_that_is_told_places() -> None:
    settings = settings_of("head")
    recipe = networks.recipe_of(
        settings,
        partial(processes.matern_process, processes.hyper_prior(settings)),
        settings.bars,
        sizes=settings.sizes,
    )
    params = shaken(recipe.network)
    borders = jnp.linspace(-5, 5, settings.bars + 1)
    found = processes.nll(recipe, (2, 4), 3, params, borders, jax.random.key(2))
    assert found["moved"][0] < 1e-6 < 1e-4 < found["moved"][1]
    x, y = recipe.prior(jax.random.key(2), (3, settings.points, 1))
    losses = [
        -float(recipe.head(borders, recipe.network.apply({"params": params}, x, y, n), y[:, n:]).mean()) for n in (2, 4)
    ]
    assert found["nll"] == pytest.approx(np.mean(losses), rel=1e-5)


# --- rivals ---------------------------------------------------------------------------------------------------------


def test_time_ratios_take_the_first_budget_that_is_good_enough() -> None:
    """Round by round; within the margin is good enough; in a batch, the faster way counts."""
    losses = {
        "pfn": {0: np.array([[0.4, 0.6]])},
        "svi": {k: np.full((1, 2), v) for k, v in ((1, 0.9), (8, 0.505), (64, 0.3))},
        "nuts": {4: np.ones((1, 2))},
    }
    seconds = {"svi.1": 0.1, "svi.8": 0.8, "svi.64": 6.0, "nuts.4": 3.0}
    seconds |= {name.replace(".", "_batched."): 0.5 * value for name, value in seconds.items()}
    taken = {name: np.array([[value, 2 * value]]) for name, value in seconds.items()}
    taken |= {"pfn": np.array([[0.01, 0.02]]), "again": np.array([[0.01, 0.01]])}
    taken["nuts_batched.4"] *= 10
    taken |= {"pfn_alone": np.array([[0.02, 0.02]]), "alone_again": np.array([[0.02, 0.01]])}
    found = bnn.time_ratios({"svi": (1, 8, 64), "nuts": (4,)}, losses, taken, 0.01)
    np.testing.assert_allclose(found["svi"], [[40, 80]])
    np.testing.assert_allclose(found["svi_batched"], [[40, 40]])
    np.testing.assert_allclose([found["again"], found["alone_again"]], [[[1, 0.5]], [[1, 0.5]]])
    assert np.isinf(found["nuts"]).all() and np.isinf(found["nuts_batched"]).all()
    np.testing.assert_allclose(bnn.time_ratios({"svi": ()}, losses, taken, 0.0)["svi"], [[300, 600]])
    worse = bnn.time_ratios({"nuts": ()}, losses, taken, 0.5)
    np.testing.assert_allclose(worse["nuts"], [[150, 300]])
    np.testing.assert_allclose(worse["nuts_batched"], [[300, 300]])


def test_a_training_pays_after_what_it_saves_in_the_same_style() -> None:
    seconds = {"training": 0.1, "pfn": 0.01, "pfn_alone": 0.5, "again": 0.01, "alone_again": 0.5}
    seconds |= {"mle": 1.0, "mle_batched": 0.06, "svi.2": 0.4}
    found = rivals.pays_after({name: np.array([[v, v, 9.0]]) for name, v in seconds.items()}, 50)
    assert found["mle"] == pytest.approx(10) and found["mle_batched"] == pytest.approx(100)
    assert found.keys() == {"mle", "mle_batched", "svi.2"} and np.isinf(found["svi.2"])


def test_losses_are_means_and_what_is_no_number_costs_twenty_nats_and_is_counted() -> None:
    values = jnp.array([[-1.0, -3.0], [-2.0, -jnp.inf], [jnp.nan, -4.0]])
    found = rivals.losses(values)
    np.testing.assert_allclose(found["nll"], [2, 11, 12])
    assert found["failed"].tolist() == [0, 1, 1]


@pytest.fixture(scope="module")
def smooth() -> tuple[Any, jax.Array, jax.Array]:
    """The law of hyper-parameters, and 40 points of a smooth function with noise of 0.1, and 4 more."""
    x = jnp.linspace(0, 1, 44)[:, None]
    y = jnp.sin(6 * x[:, 0]) + 0.1 * jax.random.normal(jax.random.key(0), (44,))
    order = jax.random.permutation(jax.random.key(1), 44)
    return processes.hyper_prior(settings_of("hyper").prepared), x[order], y[order]


def test_evidence_and_chains_find_the_exact_posterior_where_much_is_known(smooth: tuple) -> None:
    """Both predict it to within the noise; long chains agree with each other, chains that stand still do not count."""
    prior, x, y = smooth
    target = partial(hyper.hyper_target, prior, 40)
    mle = jax.jit(partial(hyper.by_evidence, prior, 30, 2, 40))(x, y, jax.random.key(2))
    long = jax.jit(partial(rivals.by_long_chains, target, 2, 60))(x, y, jax.random.key(3))
    best = -0.5 - math.log(0.1 * math.sqrt(2 * math.pi))  # expected log density of N(f, 0.1²)
    for found in (mle, long["log_density"]):
        assert found.shape == (4,) and found.mean() == pytest.approx(best, abs=0.8)
    assert long["effective_draws"] > 10 and 0.9 < long["scale_reduction"] < 1.3


def test_chains_that_stand_still_have_no_effective_draws() -> None:
    def nowhere(x: jax.Array, y: jax.Array) -> rivals.Target:
        return rivals.Target(lambda w: -(w**2), lambda key: jnp.float32(0), lambda draws: 0 * draws[:, None])

    found = rivals.by_long_chains(nowhere, 2, 4, jnp.zeros(1), jnp.zeros(1), jax.random.key(0))
    assert found["effective_draws"] == 0 and np.isinf(found["scale_reduction"])


def test_answers_do_not_depend_on_how_many_data_sets_are_asked_at_once(smooth: tuple) -> None:
    """Of MLE-II and of the network; those about other data sets are others."""
    prior, x, y = smooth
    x, y = jnp.stack([x, x[::-1]])[None], jnp.stack([y, y[::-1]])[None]
    arrays = (x, y, jax.random.split(jax.random.key(0), (1, 2)))
    ways = rivals.rival_ways("mle", "", partial(hyper.by_evidence, prior, 3, 2, 40), arrays, 2)
    found = {name: rivals.answers(way) for name, way in ways.items()}
    assert rivals.apart(found["mle"], found["mle_batched"]) < 1e-2 < rivals.apart(found["mle"], found["mle"][::-1])
    recipe = hyper.hyper_recipe(settings_of("hyper").prepared)
    trained = {"params": shaken(recipe.network), "borders": jnp.linspace(-5, 5, 7)}
    trained = jax.tree.map(lambda leaf: leaf[None], trained)
    ways = rivals.network_ways(recipe, 4, trained, x[:, :, :6], y[:, :, :6], 2)
    found = {name: rivals.answers(way) for name, way in ways.items()}
    assert found["pfn"].shape == (2, 2)
    assert rivals.apart(found["pfn"], found["pfn_alone"]) < 1e-5 < 1e-3 < rivals.apart(found["pfn"], found["pfn"][::-1])


def test_timed_calls_go_over_the_same_data_sets_and_leave_none_out() -> None:
    """In both styles; what is infinitely dense would be noticed, what is no number is another matter."""
    arrays = (jnp.arange(10.0).reshape(1, 5, 2), jnp.ones((1, 5)))
    calls = []

    def one(x: jax.Array, y: jax.Array) -> jax.Array:
        jax.debug.callback(lambda x: calls.append(x.tolist()), x, ordered=False)
        return jnp.array([x[0] * y, jnp.nan])

    ways = rivals.rival_ways("svi", 8, one, arrays, 3)
    assert list(ways) == ["svi.8", "svi_batched.8"]
    assert rivals.conditions_of("svi_batched.8") == {"arm": "svi_batched", "budget": 8}
    for way in ways.values():
        calls.clear()
        assert rivals.called(way)() == 1
        jax.effects_barrier()
        assert sorted(calls) == [[0, 1], [2, 3], [4, 5]]
    assert rivals.called(rivals.Way(lambda x: x / 0, lambda: [(jnp.ones(2),)]))() == 0


def test_points_of_the_figure_join_budgets_of_one_style() -> None:
    taken = {"pfn": 0.1, "pfn_alone": 2.0, "nuts_8": 3.0, "nuts_32": 9.0, "again": 0.1, "nuts_8_batched": 1.0}
    rows = pd.DataFrame([{"arm": arm, "value": v} for arm, value in taken.items() for v in (value, value, 99.0)])
    mean = {("pfn", 0): 0.5, ("nuts_8", 0): 0.9, ("nuts_32", 0): 0.6}
    assert by_method(rows, mean, "alone") == {"pfn": [(2.0, 0.5)], "nuts": [(3.0, 0.9), (9.0, 0.6)]}
    assert by_method(rows, mean, "batched") == {"pfn": [(0.1, 0.5)], "nuts": [(1.0, 0.9)]}
    rows = pd.DataFrame({"arm": ["pfn", "svi"], "budget": [np.nan, 8], "value": [1.0, 2.0]})
    assert by_method(rows, {("svi", 8): 0.7}, "alone") == {"svi": [(2.0, 0.7)]}


def test_losses_of_the_figure_are_those_on_the_data_sets_of_the_long_chains() -> None:
    rows = [("pfn", 5, 0, 9.0), ("pfn", 9, 0, 1.0), ("pfn", 9, 1, 8.0), ("long", 9, 0, 0.5)]
    frame = pd.DataFrame(rows, columns=["arm", "context", "dataset", "value"]).assign(metric="nll")
    assert mean_losses(frame) == ({("pfn", 0): 1.0, ("long", 0): 0.5}, 0.5)


# --- tables ---------------------------------------------------------------------------------------------------------


def test_answers_are_scored_and_ranked_by_table() -> None:
    """Two tables with one subset of four asked rows each."""
    settings = settings_of("tables", context=2, rows=6, bins=2)
    y = np.array([[[0, 1, 0, 0, 1, 1]]], np.float32)
    right, wrong, flat = (np.array([[p]], np.float32) for p in ([0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1], [0.5] * 4))
    problems = {t: {"y": y} | dict.fromkeys(tables.METHODS, flat) for t in ("a", "b")}
    answers = {"a": {"pfn": right, "permuted": wrong}, "b": {"pfn": flat, "permuted": wrong}}
    found = tables.judged(settings, problems, answers)
    np.testing.assert_allclose(found["auc"]["pfn"], [[1, 0.5]])
    np.testing.assert_allclose(found["auc"]["permuted"], [[0, 0]])
    np.testing.assert_allclose(found["rank"]["pfn"], [[1, 3]])
    np.testing.assert_allclose(found["rank"]["boosted_trees"], [[3.5, 3]])
    np.testing.assert_allclose(found["rank"]["permuted"], [[5, 5]])
    # halves of the unit interval: |0 - 0.15| and |1 - 0.85|, half of the rows each
    np.testing.assert_allclose(found["ece"]["pfn"], [[0.15, 0]], atol=1e-6)
    shapes = jax.tree.map(
        lambda shape: (1, *shape.shape), tables.judged_shapes(2), is_leaf=lambda v: hasattr(v, "dtype")
    )
    assert jax.tree.map(np.shape, found, is_leaf=lambda v: isinstance(v, np.ndarray)) == shapes


def test_permuted_labels_are_the_same_labels_in_another_order() -> None:
    settings = settings_of("tables", rows=12, context=8)
    law = tables.ArchitectureRanges(4, 1, 3)
    recipe = networks.recipe_of(
        settings, partial(tables.tabular_prior, law), 1, tables.heads.bernoulli_log_density, fixed=8
    )
    x, y = recipe.prior(jax.random.key(0), (5, 12, settings.features))
    params = shaken(recipe.network)
    found = tables.answered(recipe, 8, params, {"x": x, "y": y}, jax.random.key(2))
    logits = recipe.network.apply({"params": params}, x, y, 8)
    np.testing.assert_allclose(found["pfn"], jax.nn.sigmoid(logits[..., 0]), rtol=1e-5)
    assert found["permuted"].shape == (5, 4) and np.abs(found["permuted"] - found["pfn"]).max() > 1e-4


# --- settings -------------------------------------------------------------------------------------------------------

CONTRADICTIONS = [
    ("gp", {"heads": 3}, "must divide"),
    ("gp", {"sizes": (3,)}, "end with 5"),
    ("gp", {"sizes": (5, 3)}, "must grow"),
    ("gp", {"contexts": (1, 6)}, "below settings.points=6"),
    ("gp", {"lengths": (4, 2)}, "must grow"),
    ("head", {"noise": (1.0,)}, "the shape and the rate"),
    ("hyper", {"contexts": (6,)}, "below settings.prepared.points=6"),
    ("hyper", {"timed_sets": 5}, "at most settings.sets=4"),
    ("bnn", {"long_sets": 4}, "at most settings.sets=3"),
    ("tables", {"tables": ("breast_cancr",)}, "did you mean 'breast_cancer'"),
    ("tables", {"features": 20}, "has 30 features"),
]


@pytest.mark.parametrize(("study", "changes", "words"), CONTRADICTIONS)
def test_contradictory_settings_are_refused(study: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        settings_of(study, **changes)
    assert "\n" not in str(refused.value)
