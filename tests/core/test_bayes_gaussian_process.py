"""Gaussian processes and their hyper-parameters against scikit-learn, finite differences and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

from core.bayes import gaussian_process, hyperparameters
from core.bayes.gaussian_process import Hyperparameters, matern52, rbf
from core.errors import BadInput

HYPER = Hyperparameters(np.float64(0.3), np.float64(1.7), np.float64(0.01))
PRIOR = hyperparameters.HyperparameterPrior(
    hyperparameters.GammaPrior(3.0, 6.0),
    hyperparameters.GammaPrior(2.0, 0.5),
    hyperparameters.GammaPrior(1.1, 10.0),
    noise_floor=1e-3,
)
KERNELS = {"rbf": (rbf, RBF), "matern": (matern52, lambda length, bounds: Matern(length, bounds, nu=2.5))}


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def rows(n: int = 12, d: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.uniform(size=(n, d)), random.normal(size=n), random.uniform(size=(5, d))


def regressor(kind) -> GaussianProcessRegressor:
    kernel = ConstantKernel(1.7, "fixed") * kind(0.3, "fixed") + WhiteKernel(0.01, "fixed")
    return GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None)


@pytest.mark.parametrize("name", KERNELS)
def test_posterior_and_evidence_equal_those_of_scikit_learn(name):
    kernel, kind = KERNELS[name]
    x, y, tests = rows()
    oracle = regressor(kind).fit(x, y)
    found = gaussian_process.predict(kernel, HYPER, x, jnp.asarray(y), tests)
    mean, sd = oracle.predict(tests, return_std=True)  # WhiteKernel: the noise of the targets is in it
    np.testing.assert_allclose(found.mean, mean, rtol=1e-8)
    np.testing.assert_allclose(found.variance, sd**2, rtol=1e-8)
    evidence_found = gaussian_process.log_marginal_likelihood(kernel, HYPER, x, jnp.asarray(y))
    np.testing.assert_allclose(evidence_found, oracle.log_marginal_likelihood_value_, rtol=1e-10)
    at = stats.norm.logpdf(0.3, mean, sd)
    np.testing.assert_allclose(gaussian_process.normal_log_density(found, jnp.full(5, 0.3)), at, rtol=1e-8)


@pytest.mark.parametrize("name", KERNELS)
def test_a_mask_is_the_same_as_leaving_rows_out(name):
    kernel, _ = KERNELS[name]
    x, y, tests = rows()
    mask = jnp.arange(12) % 3 != 1
    part = gaussian_process.predict(kernel, HYPER, x[mask], y[mask], tests)
    # What lies in the masked rows must not matter, nor spoil gradients.
    spoilt = jnp.where(mask, y, 1e6)
    whole = gaussian_process.predict(kernel, HYPER, x, spoilt, tests, mask)
    np.testing.assert_allclose(whole.mean, part.mean, rtol=1e-9)
    np.testing.assert_allclose(whole.variance, part.variance, rtol=1e-9)
    np.testing.assert_allclose(
        gaussian_process.log_marginal_likelihood(kernel, HYPER, x, spoilt, mask),
        gaussian_process.log_marginal_likelihood(kernel, HYPER, x[mask], y[mask]),
        rtol=1e-10,
    )
    nothing = gaussian_process.predict(kernel, HYPER, x, jnp.asarray(y), tests, jnp.zeros(12, bool))
    np.testing.assert_allclose(nothing.mean, 0)
    np.testing.assert_allclose(nothing.variance, 1.7 + 0.01)


def test_many_data_sets_at_once_equal_one_after_another():
    x, y, tests = (np.stack(part) for part in zip(*(rows(seed=seed) for seed in range(3)), strict=True))

    def one(x, y, tests, rows):
        return gaussian_process.predict(rbf, HYPER, x, y, tests, jnp.arange(12) < rows)

    together = jax.jit(jax.vmap(one))(x, y, tests, jnp.array([1, 5, 12]))
    for i, rows_seen in enumerate((1, 5, 12)):
        alone = regressor(RBF).fit(x[i, :rows_seen], y[i, :rows_seen])
        np.testing.assert_allclose(together.mean[i], alone.predict(tests[i]), rtol=1e-7)


@pytest.mark.parametrize("name", KERNELS)
def test_gradients_of_the_evidence_equal_finite_differences(name):
    kernel, _ = KERNELS[name]
    x, y, _ = rows()

    def value(u):
        logs = dict(zip(("lengthscale", "outputscale", "noise"), u, strict=True))
        return hyperparameters.log_joint(logs, PRIOR, kernel, x, jnp.asarray(y))

    u = jnp.array([-0.8, 0.4, -2.0])
    for i, exact in enumerate(jax.grad(value)(u)):
        step = jnp.zeros(3).at[i].set(1e-5)
        np.testing.assert_allclose(exact, (value(u + step) - value(u - step)) / 2e-5, rtol=1e-6, atol=1e-7)


def test_the_prior_is_a_density_of_logarithms_and_is_what_is_sampled():
    gamma = hyperparameters.GammaPrior(2.5, 4.0)
    u = np.linspace(-12, 4, 4001)
    density = np.exp(jax.vmap(gamma.log_density_of_log)(jnp.asarray(u)))
    np.testing.assert_allclose(np.trapezoid(density, u), 1, atol=1e-6)
    drawn = np.exp(gamma.sample_log(jax.random.key(1), (4000,), jnp.float64))
    assert stats.kstest(drawn, stats.gamma(2.5, scale=1 / 4.0).cdf).pvalue > 0.01
    fixed = PRIOR._replace(noise=None)
    logs = fixed.sample(jax.random.key(2))
    assert set(logs) == {"lengthscale", "outputscale"} and fixed.hyperparameters_from_logs(logs).noise == np.float32(
        1e-3
    )


@pytest.mark.parametrize("method", hyperparameters.METHODS)
def test_mle_finds_the_optimum_that_scikit_learn_finds(method):
    random = np.random.default_rng(3)
    x = random.uniform(size=(25, 1))
    y = np.sin(6 * x[:, 0]) + 0.1 * random.normal(size=25)
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * RBF(0.5, (1e-2, 1e2)) + WhiteKernel(0.1, (1e-3, 1e1))
    oracle = GaussianProcessRegressor(kernel, alpha=0.0, n_restarts_optimizer=3, random_state=0).fit(x, y)
    steps = 60 if method == "lbfgs" else 400
    run = jax.jit(lambda key: hyperparameters.fit_hyperparameters(rbf, PRIOR, x, jnp.asarray(y), key, steps, 3, method))
    found = run(jax.random.key(0))
    np.testing.assert_allclose(found.objective, oracle.log_marginal_likelihood_value_, atol=0.02)
    np.testing.assert_allclose(found.hyperparameters.lengthscale, oracle.kernel_.k1.k2.length_scale, rtol=0.1)


def fitted(x, y, key, steps=30, use_prior=False):
    return hyperparameters.fit_hyperparameters(rbf, PRIOR, x, y, key, steps, 2, "adam", use_prior, learning_rate=0.1)


def test_a_penalty_pulls_towards_the_prior_and_never_lowers_its_own_objective():
    x, y, _ = rows(4, 1)
    run = jax.jit(fitted, static_argnames=("steps", "use_prior"))
    arguments = (x, jnp.asarray(y), jax.random.key(0))
    free, held = run(*arguments, steps=200), run(*arguments, steps=200, use_prior=True)

    def objectives(hyper):
        logs = {
            "lengthscale": hyper.lengthscale,
            "outputscale": hyper.outputscale,
            "noise": hyper.noise - PRIOR.noise_floor,
        }
        logs = {name: jnp.log(value) for name, value in logs.items()}
        log_evidence = gaussian_process.log_marginal_likelihood(rbf, hyper, x, jnp.asarray(y))
        # The density of θ itself, by scipy.
        parts = zip(PRIOR.free_priors().values(), logs.values(), strict=True)
        return log_evidence, log_evidence + sum(
            stats.gamma(gamma.shape, scale=1 / gamma.rate).logpdf(np.exp(u)) for gamma, u in parts
        )

    np.testing.assert_allclose(objectives(held.hyperparameters)[1], held.objective, rtol=1e-6)
    np.testing.assert_allclose(objectives(free.hyperparameters)[0], free.objective, rtol=1e-6)
    assert held.objective > objectives(free.hyperparameters)[1] and free.objective > objectives(held.hyperparameters)[0]
    # Fewer steps cannot end higher, as the best point met is kept.
    assert run(*arguments, steps=5).objective <= free.objective + 1e-9


def test_data_sets_fitted_together_equal_those_fitted_alone():
    x, y, _ = (np.stack(part) for part in zip(*(rows(8, 1, seed) for seed in range(3)), strict=True))
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(jax.vmap(fitted))(x, y, keys)
    alone = jax.jit(fitted)
    for i in range(3):
        np.testing.assert_allclose(together.objective[i], alone(x[i], y[i], keys[i]).objective, atol=1e-6)


def test_an_unknown_optimizer_is_refused_with_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'lbfgs'"):
        hyperparameters.fit_hyperparameters(rbf, PRIOR, *rows()[:2], jax.random.key(0), 1, method="bfgs")
