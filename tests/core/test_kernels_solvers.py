"""Solvers against scikit-learn, which computes the same from points or kernels."""

import numpy as np
import pytest
from sklearn.decomposition import KernelPCA
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge

from core.errors import BadInput
from core.kernels.solvers import (
    cholesky,
    eigendecompose,
    gaussian_process_posterior,
    kernel_pca,
    kernel_ridge_coefficients,
    kernel_ridge_path,
    log_marginal_likelihood,
)

RNG = np.random.default_rng(0)
X, TEST = RNG.normal(size=(30, 3)), RNG.normal(size=(7, 3))
Y = RNG.normal(size=(30, 2))
RBF_KERNEL = RBF(1.3)
K, CROSS = RBF_KERNEL(X), RBF_KERNEL(TEST, X)


def test_the_posterior_is_that_of_scikit_learn() -> None:
    for y in (Y, Y[:, 0]):
        oracle = GaussianProcessRegressor(RBF_KERNEL, alpha=0.1, optimizer=None).fit(X, y)
        mean, covariance = oracle.predict(TEST, return_cov=True)
        found = gaussian_process_posterior(K, CROSS, RBF_KERNEL(TEST), y, noise=0.1)
        np.testing.assert_allclose(found.mean, mean, rtol=1e-9)
        np.testing.assert_allclose(found.covariance, covariance if y.ndim == 1 else covariance[..., 0], atol=1e-10)
        likelihood = oracle.log_marginal_likelihood(oracle.kernel_.theta)
        np.testing.assert_allclose(log_marginal_likelihood(K, y, 0.1), likelihood, rtol=1e-10)


def test_ridge_regression_is_that_of_scikit_learn() -> None:
    ridges = [1e-3, 0.1, 10.0]
    for y in (Y, Y[:, 0]):
        path = kernel_ridge_path(K, y, ridges)
        assert path.shape == (3, *y.shape)
        for ridge, found in zip(ridges, path, strict=True):
            oracle = KernelRidge(alpha=ridge, kernel="precomputed").fit(K, y)
            np.testing.assert_allclose(found, oracle.dual_coef_, rtol=1e-7)
            np.testing.assert_allclose(kernel_ridge_coefficients(K, y, ridge), oracle.dual_coef_, rtol=1e-7)
            np.testing.assert_allclose(CROSS @ found, oracle.predict(CROSS), rtol=1e-7)


def test_without_a_ridge_one_interpolates() -> None:
    kernel = RBF(0.3)(X)
    np.testing.assert_allclose(kernel @ kernel_ridge_coefficients(kernel, Y), Y, atol=1e-9)
    np.testing.assert_allclose(kernel @ kernel_ridge_path(kernel, Y, [0.0])[0], Y, atol=1e-9)


def test_centred_components_are_those_of_scikit_learn() -> None:
    oracle = KernelPCA(4, kernel="precomputed").fit(K)
    values, components = kernel_pca(K, 4, centred=True)
    np.testing.assert_allclose(values * 30, oracle.eigenvalues_, rtol=1e-9)
    aligned = components / oracle.transform(K) * np.sqrt(values)  # up to a sign, transform has mean square λ
    np.testing.assert_allclose(abs(aligned), 1, rtol=1e-6)


def test_components_are_eigenfunctions_of_unit_mean_square() -> None:
    values, components = kernel_pca(K, 5)
    np.testing.assert_allclose(K @ components / 30, values[None] * components, atol=1e-12)
    np.testing.assert_allclose(components.T @ components / 30, np.eye(5), atol=1e-12)
    assert (np.diff(values) < 0).all() and (components.max(0) == abs(components).max(0)).all()
    np.testing.assert_allclose(values, eigendecompose(K).values[::-1][:5] / 30, rtol=1e-9)


def test_cholesky_adds_the_ridge() -> None:
    factor = cholesky(K, 0.5)
    np.testing.assert_allclose(factor @ factor.T, K + 0.5 * np.eye(30), atol=1e-12)


@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("solve", [kernel_ridge_coefficients, lambda k, y: kernel_ridge_path(k, y, [0.0, 1.0])])
def test_duplicates_need_a_ridge(solve, precision) -> None:
    order = [*range(10), 4]
    doubled = RBF(0.3)(X[order]).astype(precision)
    with pytest.raises(BadInput, match=r"11 points is singular: points 4 and 10 coincide; add a ridge such as 1e-06"):
        solve(doubled, Y[order])
    kernel_ridge_coefficients(doubled, Y[order], 1e-3)
    kernel_ridge_path(doubled, Y[order], [1e-3])


def test_a_kernel_of_low_rank_is_singular_without_duplicates() -> None:
    with pytest.raises(BadInput, match=r"30 points is singular; add a ridge"):
        kernel_ridge_coefficients(X @ X.T, Y)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: kernel_ridge_coefficients(K[:5], Y), r"must be \(n, n\), not \(5, 30\)"),
        (lambda: kernel_ridge_coefficients(np.zeros((0, 0)), Y[:0]), r"must be \(n, n\), not \(0, 0\)"),
        (lambda: kernel_ridge_coefficients(K, Y[:5], 1.0), r"must be \(30,\) or \(30, outputs\), .* not \(5, 2\)"),
        (lambda: kernel_ridge_coefficients(K, Y, -1.0), "the ridge must be 0 or more, not -1.0"),
        (lambda: kernel_ridge_path(K, Y, [1.0, np.nan]), "every ridge must be 0 or more"),
        (lambda: kernel_ridge_coefficients(np.where(np.eye(30) > 0, np.inf, K), Y), r"entry \(0, 0\) is inf"),
        (lambda: kernel_ridge_coefficients(K + np.triu(K), Y), "must be symmetric"),
        (lambda: gaussian_process_posterior(K, CROSS.T, K, Y, 1.0), r"must be \(m, 30\), not \(30, 7\)"),
        (lambda: kernel_pca(K, 31), "1 to 30 components, not 31"),
        (lambda: eigendecompose(-K), "the kernel is indefinite"),
    ],
)
def test_bad_input_is_refused(call, line) -> None:
    with pytest.raises(BadInput, match=line):
        call()
