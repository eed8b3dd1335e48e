"""NUTS and mean-field inference against quadrature and conjugate models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.bayes import chains, hyperparameters, two_layer_classifier, variational
from core.bayes.gaussian_process import Hyperparameters, log_marginal_likelihood, rbf
from core.errors import BadInput

PRIOR = hyperparameters.HyperparameterPrior(
    hyperparameters.GammaPrior(3.0, 6.0), hyperparameters.GammaPrior(2.0, 2.0), None, noise_floor=0.05
)


def test_draws_of_one_hyper_parameter_agree_with_quadrature():
    random = np.random.default_rng(0)
    x = jnp.asarray(random.uniform(size=(6, 1)), jnp.float32)
    y = jnp.sin(5 * x[:, 0])

    def log_density(u):
        hyper = Hyperparameters(jnp.exp(u), jnp.float32(1), jnp.float32(0.05))
        return log_marginal_likelihood(rbf, hyper, x, y) + PRIOR.lengthscale.log_density_of_log(u)

    grid = jnp.linspace(-4, 2, 2001)
    log_p = jax.vmap(log_density)(grid)
    weights = np.asarray(jnp.exp(log_p - log_p.max()), float)
    weights /= weights.sum()
    mean = (weights * grid).sum()
    sd = np.sqrt((weights * (grid - mean) ** 2).sum())
    keys = jax.random.split(jax.random.key(0), 4)
    run = jax.jit(jax.vmap(lambda key: chains.sample_nuts(log_density, jnp.float32(-1), key, 300, 1000)))
    draws = run(keys)
    assert draws.positions.shape == (4, 1000) and not draws.divergent.any()
    effective = float(chains.effective_sample_size(draws.positions))
    assert effective > 500 and float(chains.potential_scale_reduction(draws.positions)) < 1.02
    error = sd / np.sqrt(effective)
    np.testing.assert_allclose(draws.positions.mean(), mean, atol=5 * error)
    np.testing.assert_allclose(draws.positions.std(), sd, rtol=0.1)
    cumulative = np.cumsum(weights)
    for level in (0.1, 0.5, 0.9):
        at = float(grid[np.searchsorted(cumulative, level)])
        np.testing.assert_allclose((draws.positions < at).mean(), level, atol=0.05)
    # A chain that is told half of the prior's rate must not pass the same test.
    wrong = jax.jit(
        lambda key: chains.sample_nuts(lambda u: log_density(u) - jnp.exp(u) * 6, jnp.float32(-1), key, 300, 1000)
    )
    assert abs(float(wrong(keys[0]).positions.mean()) - mean) > 0.2 * sd


def conjugate() -> tuple:
    """y = X w + N(0, 0.5²), w ~ N(0, 1): log joint, posterior mean and covariance."""
    random = np.random.default_rng(1)
    x = random.normal(size=(20, 3))
    y = x @ np.array([1.0, -2.0, 0.5]) + 0.5 * random.normal(size=20)
    precision = x.T @ x / 0.25 + np.eye(3)
    mean = np.linalg.solve(precision, x.T @ y / 0.25)
    x32, y32 = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)

    def log_joint(w):
        w = jnp.concatenate([w["a"], w["b"]])
        residual = y32 - x32 @ w
        constant = 20 * np.log(2 * np.pi * 0.25) / 2 + 3 * np.log(2 * np.pi) / 2
        return -jnp.sum(residual**2) / 0.5 - jnp.sum(w**2) / 2 - constant

    return log_joint, mean, precision, (x, y)


START = {"a": jnp.zeros(1), "b": jnp.zeros(2)}


def test_draws_agree_with_a_conjugate_model():
    log_joint, mean, precision, _ = conjugate()
    draws = jax.jit(lambda key: chains.sample_nuts(log_joint, START, key, 300, 2000))(jax.random.key(0))
    w = np.concatenate([draws.positions["a"], draws.positions["b"]], axis=1)
    covariance = np.linalg.inv(precision)
    np.testing.assert_allclose(w.mean(0), mean, atol=0.15 * np.sqrt(np.diag(covariance)).max())
    np.testing.assert_allclose(np.cov(w.T), covariance, atol=0.15 * covariance.max())
    assert (draws.leapfrog_steps >= 1).all()


def test_mean_field_finds_the_best_factorised_normal_and_its_bound():
    log_joint, mean, precision, (x, y) = conjugate()
    run = jax.jit(
        lambda key: variational.fit_mean_field(log_joint, START, key, (10, 1000, 3000), learning_rate=0.01, particles=8)
    )
    fields = run(jax.random.key(0))
    last = jax.tree.map(lambda leaf: leaf[-1], fields)
    # The optimum is known: the posterior's mean, and 1/√(diagonal of the precision).
    np.testing.assert_allclose(np.concatenate([last.mean["a"], last.mean["b"]]), mean, atol=0.03)
    best = 1 / np.sqrt(np.diag(precision))
    np.testing.assert_allclose(np.exp(np.concatenate([last.log_scale["a"], last.log_scale["b"]])), best, rtol=0.15)
    # log p(D) - bound = KL(q | posterior) = (log det diag(Λ) - log det Λ)/2 at the optimum
    covariance = x @ x.T + 0.25 * np.eye(20)
    log_evidence_exact = -y @ np.linalg.solve(covariance, y) / 2 - np.linalg.slogdet(2 * np.pi * covariance)[1] / 2
    gap = (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1]) / 2
    bound = variational.evidence_lower_bound(log_joint, last, jax.random.key(1), 4000)
    np.testing.assert_allclose(bound, log_evidence_exact - gap, atol=0.1)
    assert bound < log_evidence_exact
    bounds = [
        variational.evidence_lower_bound(
            log_joint, jax.tree.map(lambda leaf, i=i: leaf[i], fields), jax.random.key(2), 500
        )
        for i in range(3)
    ]
    assert bounds[0] < bounds[1] <= bounds[2] + 0.1


def test_the_first_looks_do_not_depend_on_later_ones():
    log_joint, *_ = conjugate()
    run = jax.jit(
        lambda steps: variational.fit_mean_field(log_joint, START, jax.random.key(0), steps), static_argnums=0
    )
    short, long = run((2, 5)), run((2, 5, 9))
    np.testing.assert_allclose(short.mean["b"], long.mean["b"][:2], rtol=1e-6)
    with pytest.raises(BadInput, match="rising numbers"):
        variational.fit_mean_field(log_joint, START, jax.random.key(0), (5, 2))


def test_a_mixture_is_the_mean_of_densities():
    log_p = jnp.log(jnp.array([[0.1, 0.5], [0.3, 0.7], [0.2, 0.0]]))
    np.testing.assert_allclose(jnp.exp(chains.log_mean_exp(log_p)), [0.2, 0.4], rtol=1e-6)
    np.testing.assert_allclose(jnp.exp(chains.running_log_mean_exp(log_p, (1, 2))), [[0.1, 0.5], [0.2, 0.6]], rtol=1e-6)
    with pytest.raises(BadInput, match="1 draw at least, not 5 and 0"):
        chains.sample_nuts(lambda u: -(u**2), jnp.float32(0), jax.random.key(0), 5, 0)


def test_a_chain_stays_where_the_density_is_finite():
    def log_density(u):
        return jnp.where(u > 0, -u + jnp.log(jnp.maximum(u, 1e-30)), -jnp.inf)

    draws = jax.jit(lambda key: chains.sample_nuts(log_density, jnp.float32(1), key, 200, 500))(jax.random.key(0))
    assert (draws.positions > 0).all()
    np.testing.assert_allclose(draws.positions.mean(), 2, atol=0.5)  # Gamma(2, 1)


def test_the_linear_network_is_what_its_equations_say():
    shape = two_layer_classifier.TwoLayerClassifier(3, 5)
    weights = shape.sample_weights(jax.random.key(0))
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(weights)])
    assert len(flat) == 3 * 5 + 5 + 5 * 2 + 2
    x, y = two_layer_classifier.sample_data_set(shape, jax.random.key(1), 40)
    w = {name: np.asarray(value, float) for name, value in weights.items()}
    scores = (np.asarray(x) @ w["weights_1"] + w["biases_1"]) @ w["weights_2"] + w["biases_2"]
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    expected = np.log(p[np.arange(40), y]).sum() - (flat**2).sum() / 2 - 32 * np.log(2 * np.pi) / 2
    np.testing.assert_allclose(two_layer_classifier.log_joint(weights, x, y), expected, rtol=1e-5)
    mask = jnp.arange(40) < 10
    np.testing.assert_allclose(
        two_layer_classifier.log_joint(weights, x, y, mask),
        two_layer_classifier.log_joint(weights, x[:10], y[:10]),
        1e-5,
    )
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), weights)
    together = two_layer_classifier.predictive_probabilities(two, x)
    np.testing.assert_allclose(together.sum(1), 1, rtol=1e-5)
    found = jnp.exp(chains.log_mean_exp(two_layer_classifier.log_likelihoods_per_draw(two, x, y)))
    np.testing.assert_allclose(found, together[jnp.arange(40), y], rtol=1e-5)


def test_labels_of_the_network_follow_its_probabilities():
    shape = two_layer_classifier.TwoLayerClassifier(2, 3)
    _, y = jax.vmap(lambda key: two_layer_classifier.sample_data_set(shape, key, 50))(
        jax.random.split(jax.random.key(0), 400)
    )
    assert y.dtype == jnp.int32 and set(np.unique(y)) == {0, 1}
    # Exchanging the classes is a symmetry of the prior.
    np.testing.assert_allclose(y.mean(), 0.5, atol=0.05)
    # Within a data set labels agree more often than by chance, as they share their weights.
    share = y.mean(1)
    assert share.std() > 0.2


def test_long_chains_of_the_network_predict_better_than_its_prior_and_than_few_draws():
    shape = two_layer_classifier.TwoLayerClassifier(3, 5)
    keys = jax.random.split(jax.random.key(5), 8)

    def one(key):
        x, y = two_layer_classifier.sample_data_set(shape, key, 60)
        start = shape.sample_weights(jax.random.fold_in(key, 1))
        draws = chains.sample_nuts(lambda w: two_layer_classifier.log_joint(w, x[:40], y[:40]), start, key, 100, 200)
        prior = jax.vmap(shape.sample_weights)(jax.random.split(key, 200))
        log_p = two_layer_classifier.log_likelihoods_per_draw(draws.positions, x[40:], y[40:])
        nll = -chains.running_log_mean_exp(log_p, (1, 200)).mean(1)
        return nll, -chains.log_mean_exp(two_layer_classifier.log_likelihoods_per_draw(prior, x[40:], y[40:])).mean()

    nll, prior = jax.jit(lambda keys: jax.lax.map(one, keys))(keys)
    assert nll[:, 1].mean() < nll[:, 0].mean() < prior.mean() + 0.3
    assert nll[:, 1].mean() < prior.mean() - 0.1
