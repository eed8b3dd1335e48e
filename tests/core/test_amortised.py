"""Amortised inference against independent oracles: NumPy by hand, quadrature, chance, scikit-learn's own checks."""

import dataclasses
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator

from core.amortised import bar_distribution, encoder, estimators, heads, priors, training, weights
from core.amortised.settings import NetworkTableSettings
from core.bayes import gaussian_process
from core.bayes.gaussian_process import Hyperparameters
from core.bayes.hyperparameters import GammaPrior, HyperparameterPrior
from core.bayes.two_layer_classifier import TwoLayerClassifier
from core.errors import BadInput
from core.lab.loops import LoopState, scan_block

BORDERS = np.array([-2.0, -1.1, -0.3, 0.4, 0.5, 1.7], np.float32)


@pytest.fixture(scope="module")
def logits() -> jax.Array:
    return jax.random.normal(jax.random.key(3), (5,))


def density(logits: Any, y: Any) -> np.ndarray:
    return np.exp(
        np.asarray(bar_distribution.log_density(jnp.asarray(BORDERS), jnp.asarray(logits), jnp.asarray(y)), float)
    )


# --- bars -----------------------------------------------------------------------------------------------------------


def by_hand(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The density written down anew: bars inside, half-normals outside, half of their mass in the bar they replace."""
    widths = np.diff(BORDERS.astype(float))
    found = np.zeros_like(y)
    for k in range(1, 4):
        found[(y >= BORDERS[k]) & (y < BORDERS[k + 1])] = p[k] / widths[k]
    for k, border, inside in ((0, BORDERS[1], y < BORDERS[1]), (4, BORDERS[4], y >= BORDERS[4])):
        scale = widths[k] / (np.sqrt(2) * special.erfinv(0.5))
        z = (y[inside] - float(border)) / scale
        found[inside] = p[k] * np.sqrt(2 / np.pi) / scale * np.exp(-(z**2) / 2)
    return found


def test_the_density_is_the_one_that_is_said_and_integrates_to_one(logits: jax.Array) -> None:
    y = np.linspace(-8, 9, 4001)
    expected = by_hand(np.asarray(jax.nn.softmax(logits), float), y)
    np.testing.assert_allclose(density(jnp.tile(logits, (4001, 1)), y.astype(np.float32)), expected, rtol=2e-4)
    p = np.asarray(jax.nn.softmax(logits), float)
    pieces = [(-40, -2), *pairwise(BORDERS), (1.7, 40)]
    total = [sum(integrate.quad(lambda v, k=k: v**k * by_hand(p, np.array([v]))[0], *ab)[0] for ab in pieces)
             for k in range(3)]  # fmt: skip
    assert total[0] == pytest.approx(1, abs=1e-6)
    assert float(bar_distribution.mean(jnp.asarray(BORDERS), logits)) == pytest.approx(total[1], abs=1e-5)
    assert float(bar_distribution.variance(jnp.asarray(BORDERS), logits)) == pytest.approx(
        total[2] - total[1] ** 2, rel=1e-4
    )


def test_the_quantile_inverts_the_cdf_which_integrates_the_density(logits: jax.Array) -> None:
    borders = jnp.asarray(BORDERS)
    p = np.asarray(jax.nn.softmax(logits), float)
    for y in (-4.0, -1.5, 0.0, 0.45, 1.2, 3.0):
        pieces = np.unique(np.clip([-40, *BORDERS, y], -40, y))
        expected = sum(integrate.quad(lambda v: by_hand(p, np.array([v]))[0], a, b)[0]
                       for a, b in pairwise(pieces))  # fmt: skip
        assert float(bar_distribution.cdf(borders, logits, jnp.float32(y))) == pytest.approx(expected, abs=1e-5)
    for level in (0.001, 0.05, 0.3, 0.5, 0.77, 0.95, 0.999):
        y = bar_distribution.quantile(borders, logits, level)
        assert float(bar_distribution.cdf(borders, logits, y)) == pytest.approx(level, abs=1e-5)


def test_expected_improvement_is_what_chance_says(logits: jax.Array) -> None:
    borders, levels = jnp.asarray(BORDERS), (np.arange(200_000) + 0.5) / 200_000
    # draws by inverting the distribution function at evenly spread levels
    drawn = np.asarray(
        jax.vmap(lambda u: bar_distribution.quantile(borders, logits, u))(jnp.asarray(levels, jnp.float32)), float
    )
    for best in (-5.0, -1.5, -0.7, 0.0, 0.45, 1.0, 2.5):
        expected = np.maximum(drawn - best, 0).mean()
        assert float(bar_distribution.expected_improvement(borders, logits, jnp.float32(best))) == pytest.approx(
            expected, abs=2e-3
        )


def test_borders_are_quantiles_and_must_grow() -> None:
    drawn = np.random.default_rng(0).normal(size=40_000)
    borders = bar_distribution.borders_from_samples(drawn, 10)
    shares = np.histogram(drawn, np.concatenate([[-np.inf], borders[1:-1], [np.inf]]))[0] / len(drawn)
    np.testing.assert_allclose(shares, 0.1, atol=1e-3)
    inside = np.asarray(bar_distribution.borders_from_samples_jit(jnp.asarray(drawn, jnp.float32), 10))
    np.testing.assert_allclose(inside, borders, atol=1e-4)
    assert len(bar_distribution.borders_from_samples(np.repeat([0.0, 1.0, 2.0, 3.0], 100), 10)) == 5
    assert (np.diff(np.asarray(bar_distribution.borders_from_samples_jit(jnp.zeros(50), 4))) > 0).all()
    for wrong in ([0, 1, 2], [0, 1, 1, 2], [0, 1, np.nan, 2], [[0, 1, 2, 3]]):
        with pytest.raises(BadInput, match="four or more finite numbers"):
            bar_distribution.validate_borders(wrong)
    with pytest.raises(BadInput, match="finite targets"):
        bar_distribution.borders_from_samples([1.0, np.nan], 10)


def test_heads_are_the_densities_of_their_names() -> None:
    y = jnp.array([[0.3, 1.0]])
    outputs = jnp.array([[[0.1, 0.5], [2.0, -1.0]]])
    sd = 1e-3 + np.log1p(np.exp([0.5, -1.0]))
    expected = -(((np.array([0.3, 1.0]) - [0.1, 2.0]) / sd) ** 2) / 2 - np.log(sd * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(heads.gaussian_log_density(jnp.zeros(1), outputs, y)[0], expected, rtol=1e-5)
    labels = jnp.array([[1.0, 0.0]])
    p = 1 / (1 + np.exp(-np.array([0.1, 2.0])))
    expected = np.log([p[0], 1 - p[1]])
    np.testing.assert_allclose(
        heads.bernoulli_log_density(jnp.zeros(1), outputs[..., :1], labels)[0], expected, rtol=1e-5
    )


# --- the encoder ----------------------------------------------------------------------------------------------------

NET = encoder.TransformerEncoder(features=2, width=16, layers=2, heads=2, hidden=24, outputs=5)


@pytest.fixture(scope="module")
def params() -> Any:
    """Parameters away from the initial ones, whose branches are 0."""
    start = jax.jit(partial(encoder.init_params, NET))(jax.random.key(0))
    keys = iter(jax.random.split(jax.random.key(1), 100))
    return jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), start)


@pytest.fixture(scope="module")
def data() -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(2))
    return jax.random.normal(keys[0], (3, 9, 2)), jax.random.normal(keys[1], (3, 9))


def full_attention(q: Any, k: Any, v: Any, context: int) -> np.ndarray:
    """Masked attention over all N keys in NumPy: columns of the context, and the diagonal for queries."""
    q, k, v = (np.asarray(a, float) for a in (q, k, v))
    points = q.shape[1]
    allowed = (np.arange(points) < context)[None, :] | ((np.eye(points) > 0) & (np.arange(points) >= context)[:, None])
    found = np.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(q.shape[-1])
    found = np.exp(np.where(allowed, found, -np.inf))
    return np.einsum("bhnm,bmhd->bnhd", found / found.sum(-1, keepdims=True), v)


@pytest.mark.parametrize(("context", "size"), [(4, 4), (4, 7), (1, 9), (8, 8)])
def test_sliced_attention_equals_full_masked_attention(context: int, size: int) -> None:
    q, k, v = (jax.random.normal(key, (2, 9, 2, 4)) * 2 for key in jax.random.split(jax.random.key(5), 3))
    np.testing.assert_allclose(
        encoder.context_attention(q, k, v, context, size), full_attention(q, k, v, context), atol=2e-6
    )


def test_without_context_a_query_sees_itself_alone() -> None:
    q, k, v = (jax.random.normal(key, (2, 5, 2, 4)) for key in jax.random.split(jax.random.key(5), 3))
    np.testing.assert_allclose(encoder.context_attention(q, k, v, 0, 0), v, atol=1e-6)
    np.testing.assert_allclose(encoder.context_attention(q, k, v, 0, 3), v, atol=1e-6)


def test_outputs_depend_on_the_context_alone_and_not_on_its_order(params: Any, data: tuple) -> None:
    x, y = data
    run = jax.jit(partial(NET.apply, context_size=5, max_context_size=5, first_query=5))
    found = run({"params": params}, x, y)
    assert found.shape == (3, 4, 5)
    order = jnp.array([3, 0, 4, 1, 2, 5, 6, 7, 8])
    np.testing.assert_allclose(run({"params": params}, x[:, order], y[:, order]), found, atol=1e-5)
    blind = run({"params": params}, x.at[:, 7].set(9.0), y.at[:, 5:].set(100.0))
    np.testing.assert_array_equal(blind[:, [0, 1, 3]], found[:, [0, 1, 3]])
    assert np.abs(run({"params": params}, x, y.at[:, 2].add(1.0)) - found).max() > 1e-3
    wider = NET.apply({"params": params}, x, y, jnp.int32(5), max_context_size=8, first_query=3)
    np.testing.assert_allclose(wider[:, 2:], found, atol=1e-5)
    ordered = NET.clone(positions=True)
    swapped = [np.asarray(ordered.apply({"params": params}, a, b, 5)) for a, b in ((x, y), (x[:, order], y[:, order]))]
    assert np.abs(swapped[0] - swapped[1]).max() > 1e-2


def test_layers_start_as_normalisation_alone(data: tuple) -> None:
    x, y = data
    start = jax.jit(partial(encoder.init_params, NET))(jax.random.key(0))
    tokens = (np.asarray(x) @ np.asarray(start["x"]["kernel"]))[:, 4:]
    for _ in range(4):  # two layers with two normalisations each
        tokens = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-6)
    inner = jax.nn.gelu(tokens @ start["decoder_1"]["kernel"], approximate=True)
    np.testing.assert_allclose(NET.apply({"params": start}, x, y, 4), inner @ start["decoder_2"]["kernel"], atol=1e-4)


# --- priors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_a_process_has_the_covariance_of_its_kernel(kernel: str) -> None:
    """Products of targets by distance, over many data sets, against the kernel written down anew."""
    shape = (30_000, 3, 2)
    x, y = priors.sample_gaussian_process(
        jax.random.key(0), shape, getattr(gaussian_process, kernel), Hyperparameters(0.5, 2.0, 0.3)
    )
    x, y = np.asarray(x, float), np.asarray(y, float)
    assert 0 <= x.min() < 0.01 and 0.99 < x.max() <= 1
    assert (y**2).mean() == pytest.approx(2.3, rel=0.02)
    r = np.linalg.norm(x[:, 0] - x[:, 1], axis=1) / 0.5
    k = np.exp(-(r**2) / 2) if kernel == "rbf" else (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r)
    for low in (0, 0.4, 0.8, 1.4):
        near = (r >= low) & (r < low + 0.4)
        product = y[near, 0] * y[near, 1] - 2 * k[near]
        assert abs(product.mean()) < 4 * product.std() / np.sqrt(near.sum())


def test_hyper_parameters_are_drawn_for_every_data_set() -> None:
    laws = HyperparameterPrior(GammaPrior(3.0, 6.0), GammaPrior(2.0, 0.5), GammaPrior(1.0, 10.0), 0.01)
    _, y = priors.sample_hierarchical_gaussian_process(
        jax.random.key(0), (20_000, 2, 1), gaussian_process.matern52, laws
    )
    # E y² = E s² + floor + E σ², and the scale differs between data sets
    assert float((y**2).mean()) == pytest.approx(4 + 0.01 + 0.1, rel=0.05)
    assert float((y**4).mean() / (y**2).mean() ** 2) > 4


def test_the_linear_network_gives_labels_by_its_softmax() -> None:
    """How strongly labels follow the inputs, beside the same model simulated in NumPy."""
    x, y = priors.sample_linear_classifiers(jax.random.key(0), (20_000, 40, 3), TwoLayerClassifier(3, 5))
    assert set(np.unique(y)) == {0.0, 1.0} and float(y.mean()) == pytest.approx(0.5, abs=0.01)
    random = np.random.default_rng(0)
    other = random.normal(size=(20_000, 40, 3))
    hidden = other @ random.normal(size=(20_000, 3, 5)) + random.normal(size=(20_000, 1, 5))
    logits = hidden @ random.normal(size=(20_000, 5, 2)) + random.normal(size=(20_000, 1, 2))
    labels = random.uniform(size=logits.shape[:2]) < np.exp(logits[..., 1]) / np.exp(logits).sum(-1)

    def strength(x: Any, y: Any) -> float:
        return float((np.einsum("bnf,bn->bf", np.asarray(x), np.asarray(y) - 0.5) ** 2).sum(1).mean())

    assert strength(x, y) == pytest.approx(strength(other, labels), rel=0.02)


def test_tabular_networks_make_balanced_tables_that_can_be_learnt() -> None:
    law = NetworkTableSettings(
        features=(1.0, 1.6), width=(2.0, 4.0), max_width=16, layers=3, weights=(3.6, 0.2), noise=(1.9, 0.01), shared=4
    )
    x, y = (np.asarray(part) for part in priors.sample_network_tables(jax.random.key(0), (400, 60, 6), law))
    np.testing.assert_array_equal(y[:, ::2], np.repeat(y[:, :1], 30, 1))
    np.testing.assert_array_equal(y[:, 1::2], 1 - y[:, ::2])
    used = (x != 0).any(1)
    counts = used.sum(1)
    np.testing.assert_array_equal(counts.reshape(-1, 4), np.repeat(counts[::4, None], 4, 1))  # one network for four
    np.testing.assert_allclose(x.mean(1)[used], 0, atol=1e-5)
    np.testing.assert_allclose(x.std(1)[used], 1, rtol=1e-3)
    law_of_counts = np.random.default_rng(0).beta(1.0, 1.6, 50_000)
    expected = 2 + np.round(law_of_counts * 5 - 0.5)
    assert counts.min() == 2 and counts.max() <= 6 and abs(counts.mean() - expected.mean()) < 0.35
    nearest = [np.argsort(((t[:, None] - t[None]) ** 2).sum(-1) + 1e9 * np.eye(60), 1)[:, :5] for t in x]
    guess = np.array([labels[near].mean(1) > 0.5 for labels, near in zip(y, nearest, strict=True)])
    assert (guess == y).mean() > 0.65
    with pytest.raises(BadInput, match="must divide and be even"):
        priors.sample_network_tables(jax.random.key(0), (4, 5, 6), law)


# --- training -------------------------------------------------------------------------------------------------------


def test_the_context_law_evens_out_the_query_losses() -> None:
    law = training.context_size_probabilities(6)
    np.testing.assert_allclose(law * (6 - np.arange(6)), law[0] * 6)
    assert law.sum() == pytest.approx(1) and law[5] == pytest.approx(6 * law[0])
    drawn = jax.random.choice(jax.random.key(0), 6, (60_000,), p=jnp.asarray(law))
    np.testing.assert_allclose(np.bincount(drawn, minlength=6) / 60_000, law, atol=0.01)


def process(key: jax.Array, shape: Any, lengthscale: Any) -> Any:
    return priors.sample_gaussian_process(key, shape, gaussian_process.rbf, Hyperparameters(lengthscale, 1.0, 0.01))


def small_recipe(**changes: Any) -> training.TrainingSpec:
    settings = {"points": 8, "batch_size": 16, "compiled_context_sizes": (3, 7)} | changes
    return training.TrainingSpec(
        encoder.TransformerEncoder(1, 16, 1, 2, 16, 20), process, heads.bar_log_density, **settings
    )


def given(recipe: training.TrainingSpec, **changes: Any) -> tuple[Any, dict[str, Any]]:
    borders = bar_distribution.borders_from_samples(
        training.sample_prior_targets(recipe, 200, jax.random.key(9), {"lengthscale": 0.3}), 20
    )
    plan = training.learning_rate_plan(0, 100, 1, 3e-3, False)
    have: dict[str, Any] = {"plan": plan, "prior": {"lengthscale": np.float32(0.3)}}
    have.update(changes)
    return borders, have


def test_every_branch_has_the_loss_of_the_full_computation() -> None:
    """Whatever size is compiled, the loss is the mean over the queries of a plain forward pass."""
    recipe = small_recipe()
    state, (borders, _) = training.init_state(recipe, jax.random.key(0)), given(recipe)
    x, y = recipe.prior(jax.random.key(1), recipe.input_shape, lengthscale=0.3)
    for context, branch in ((0, 0), (3, 0), (4, 1), (7, 1)):
        n = jnp.int32(context)
        value, _ = training.gradient_branches(recipe)[branch](state["params"], borders, x, y, n)
        plain = training.query_log_densities(recipe, state["params"], borders, x, y, context)
        assert float(value) == pytest.approx(-float(plain.mean()), rel=1e-5)


def test_training_lowers_the_loss_and_uses_the_context() -> None:
    recipe = small_recipe()
    x, y = recipe.prior(jax.random.key(77), (400, 8, 1), lengthscale=0.3)
    (borders, have), state = given(recipe), training.init_state(recipe, jax.random.key(0))
    advance = scan_block(partial(training.training_step, recipe), 400, 1)
    state = jax.jit(advance)(LoopState(state, jnp.int32(-1)), jax.random.key(1), borders, 0, have).state
    found = training.query_log_densities(recipe, state["params"], borders, x, y, 7, max_context_size=7, first_query=7)
    entropy = 0.5 * np.log(2 * np.pi * np.e * 1.01)  # of a target of which nothing is known
    assert -float(found.mean()) < entropy - 0.2


def test_targets_are_standardised_by_their_context_alone() -> None:
    y = np.random.default_rng(0).normal(3, 2, (4, 6)).astype(np.float32)
    for n in (2, 5):
        context = y[:, :n].astype(float)
        expected = (y - context.mean(1, keepdims=True)) / context.std(1, keepdims=True)
        np.testing.assert_allclose(training.standardise_targets(y, jnp.int32(n)), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(training.standardise_targets(y, 1), y - y[:, :1], atol=1e-6)
    recipe = small_recipe(standardise=True, smallest_context_size=3)
    sizes, _, drawn = jax.vmap(lambda key: recipe.draw(key, {"lengthscale": 0.3}))(
        jax.random.split(jax.random.key(0), 99)
    )
    assert set(np.asarray(sizes)) == {3, 4, 5, 6, 7}
    for n, batch in zip(np.asarray(sizes), np.asarray(drawn), strict=True):
        np.testing.assert_allclose(batch[:, :n].std(1), 1, rtol=1e-3)


def test_learning_rates_rise_and_fall() -> None:
    rise = training.learning_rate_plan(0, 0, 10, 2.0, False)
    assert [float(training.learning_rate_at(rise, i)) for i in (0, 4, 9, 5000)] == pytest.approx([0.2, 1.0, 2.0, 2.0])
    fall = training.learning_rate_plan(80, 100, 10, 2.0, True)
    assert [float(training.learning_rate_at(fall, i)) for i in (0, 10, 19, 20)] == pytest.approx([2.0, 1.0, 0.1, 0.0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compiled_context_sizes": (3, 6)}, "the largest context 7"),
        ({"compiled_context_sizes": (7, 3)}, "grow"),
        ({"fixed_context_size": 5}, "5"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        small_recipe(**changes)


# --- weights and estimators -----------------------------------------------------------------------------------------


def regressor_weights(features: int = 12, points: int = 300) -> weights.TrainedNetwork:
    network = encoder.TransformerEncoder(features, 8, 1, 2, 8, 5)
    return weights.TrainedNetwork(
        network, encoder.init_params(network, jax.random.key(0)), "regression", points, BORDERS
    )


def classifier_weights(features: int = 12, points: int = 300) -> weights.TrainedNetwork:
    network = encoder.TransformerEncoder(features, 8, 1, 2, 8, 1)
    return weights.TrainedNetwork(network, encoder.init_params(network, jax.random.key(0)), "classification", points)


def test_borders_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInput, match="does not fit its borders"):
        weights.TrainedNetwork(NET, {}, "classification", 5, BORDERS)


@pytest.mark.parametrize("make", [regressor_weights, classifier_weights])
def test_the_estimators_keep_the_conventions_of_scikit_learn(make: Any) -> None:
    kind = estimators.AmortisedRegressor if make is regressor_weights else estimators.AmortisedClassifier
    found = check_estimator(kind(make()), on_fail=None, on_skip=None)
    assert len(found) > 30
    assert [(each["check_name"], each["exception"]) for each in found if each["status"] == "failed"] == []


def test_the_regressor_is_the_forward_pass_in_the_scale_of_the_prior() -> None:
    trained = regressor_weights(features=2, points=10)
    random = np.random.default_rng(0)
    x, y, new = random.normal(size=(6, 2)), 5 + 3 * random.normal(size=6), random.normal(size=(70, 2))
    model = estimators.AmortisedRegressor(trained).fit(x, y)
    low, reach = x.min(0), np.ptp(x, 0)
    every = np.concatenate([(x - low) / reach, (new - low) / reach]).astype(np.float32)[None]
    targets = np.concatenate([(y - y.mean()) / y.std(), np.zeros(70)]).astype(np.float32)[None]
    outputs = trained.network.apply({"params": trained.params}, every, targets, 6)[0]
    mean, sd = model.predict(new, return_std=True)
    np.testing.assert_allclose(
        mean, y.mean() + y.std() * np.asarray(bar_distribution.mean(BORDERS, outputs)), atol=1e-4
    )
    np.testing.assert_allclose(
        sd, y.std() * np.sqrt(np.asarray(bar_distribution.variance(BORDERS, outputs))), rtol=1e-4
    )
    levels = model.predict_quantiles(new, (0.1, 0.9))
    assert (levels[:, 0] < mean).all() and (levels[:, 1] > mean).all()
    y_new = np.linspace(-20, 30, 70)
    expected = bar_distribution.log_density(BORDERS, outputs, jnp.asarray((y_new - y.mean()) / y.std(), jnp.float32))
    np.testing.assert_allclose(model.log_density(new, y_new), np.asarray(expected) - np.log(y.std()), atol=1e-3)


def test_bad_data_are_refused_and_odd_ones_answered() -> None:
    model = estimators.AmortisedRegressor(regressor_weights(features=2, points=8))
    x, y = np.random.default_rng(0).normal(size=(5, 2)), np.arange(5.0)
    with pytest.raises(NotFittedError):
        model.predict(x)
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        model.fit(x[:0], y[:0])
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.where(x > 1, np.nan, x), np.full(5, np.nan))
    with pytest.raises(ValueError, match="X has 3 features, the network was trained for 2"):
        model.fit(np.ones((5, 3)), y)
    with pytest.raises(ValueError, match="the context has 9 points, the network was trained for 1 to 8"):
        model.fit(np.ones((9, 2)), np.ones(9))
    with pytest.raises(ValueError, match=r"targets reach from -1e\+308 to 1e\+308"):
        model.fit(x, np.array([-1e308, 0, 0, 0, 1e308]))
    few = estimators.AmortisedRegressor(
        dataclasses.replace(regressor_weights(features=2, points=8), min_context_size=4)
    )
    with pytest.raises(ValueError, match="the context has 3 points, the network was trained for 4 to 8"):
        few.fit(x[:3], y[:3])
    with pytest.raises(ValueError, match="is for classification"):
        estimators.AmortisedClassifier(regressor_weights()).fit(x, y > 2)
    with pytest.raises(ValueError, match="weights is None"):
        estimators.AmortisedRegressor().fit(x, y)
    with pytest.raises(ValueError, match="levels"):
        model.fit(x, y).predict_quantiles(x, (0.0,))
    # constant, far outside of the bars, and out of reach of float32
    for targets in (np.full(5, 7.0), np.array([0, 0, 0, 0, 1e6]), np.float32(1e30) * y, 1e-30 * y):
        fitted = model.fit(x, targets)
        assert np.isfinite(fitted.predict(x, return_std=True)).all()
        assert np.isfinite(fitted.predict(x)).all() and np.isfinite(fitted.log_density(x, targets)).all()
    assert np.isfinite(model.fit(x, np.full(5, 7.0)).log_density(x, np.full(5, 900.0))).all()
    twice = model.fit(np.repeat(x[:1], 5, 0), y).predict(x)
    assert np.isfinite(twice).all()
    assert np.isfinite(model.fit(x[:, :1], y).predict(x[:, :1])).all()
    with pytest.raises(ValueError, match="binary"):
        estimators.AmortisedClassifier(classifier_weights()).fit(np.ones((3, 2)), [0, 1, 2])


def test_a_feature_that_is_constant_up_to_rounding_is_not_blown_up() -> None:
    """The mean of three times 0.1 is not 0.1, so that the deviation is 1e-17 and not 0."""
    x = np.stack([np.full(3, 0.1), np.array([0.0, 1.0, 2.0])], 1)
    assert 0 < x.std(0)[0] < 1e-15
    model = estimators.AmortisedClassifier(classifier_weights()).fit(x, [0, 1, 1])
    asked = model._rescale_inputs(np.array([[0.3, 1.0]]))
    assert np.abs(asked).max() < 10 and np.isfinite(model.predict_proba(np.array([[0.3, 1.0]]))).all()
