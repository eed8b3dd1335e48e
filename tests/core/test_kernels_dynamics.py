"""Training in closed form against an integrated differential equation, sampled networks and gradient descent."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from core.errors import BadInput
from core.kernels.dynamics import GradientFlow, check_learning_rate, max_stable_learning_rate
from core.kernels.infinite import KernelPair
from core.kernels.solvers import gaussian_process_posterior

RNG = np.random.default_rng(0)
POINTS = np.sort(RNG.uniform(-2, 2, 9))


def squared_exponential(width):
    return np.exp(-((POINTS[:, None] - POINTS[None]) ** 2) / (2 * width**2))


NTK, NNGP = squared_exponential(0.5), 0.7 * squared_exponential(0.9)
N = 6  # of the nine points, the first six are training points
FLOW = GradientFlow.from_kernel(NTK[:N, :N])
Y, START = RNG.normal(size=(N, 2)), RNG.normal(size=(9, 2))


@pytest.mark.parametrize("time", [0.5, 20.0, 300.0])
def test_the_flow_solves_its_differential_equation(time) -> None:
    def slope(_, flat):  # df(x)/dt = -Θ(x, X) (f(X) - y) / N
        return (-NTK[:, :N] @ (flat.reshape(9, 2)[:N] - Y) / N).ravel()

    end = solve_ivp(slope, (0, time), START.ravel(), "DOP853", rtol=1e-11, atol=1e-12).y[:, -1].reshape(9, 2)
    np.testing.assert_allclose(FLOW.predict_train(time, Y, START[:N]), end[:N], atol=1e-8)
    np.testing.assert_allclose(FLOW.predict_test(time, Y, START[:N], NTK[N:, :N], START[N:]), end[N:], atol=1e-8)


def test_one_output_may_have_no_axis() -> None:
    both = FLOW.predict_test(3.0, Y, START[:N], NTK[N:, :N], START[N:])[:, 0]
    np.testing.assert_allclose(FLOW.predict_test(3.0, Y[:, 0], START[:N, 0], NTK[N:, :N], START[N:, 0]), both)


def test_the_ends_of_time() -> None:
    np.testing.assert_array_equal(FLOW.predict_test(0.0, Y, START[:N], NTK[N:, :N], START[N:]), START[N:])
    np.testing.assert_allclose(FLOW.predict_train(np.inf, Y, START[:N]), Y)
    at_the_points = FLOW.predict_test(np.inf, Y, START[:N], NTK[:N, :N], START[:N])
    np.testing.assert_allclose(at_the_points, Y, atol=1e-9)  # it interpolates
    late = FLOW.predict_test(1e9, Y, START[:N], NTK[N:, :N], START[N:])
    np.testing.assert_allclose(late, FLOW.predict_test(np.inf, Y, START[:N], NTK[N:, :N], START[N:]), atol=1e-9)


def test_short_times_are_not_rounded_away() -> None:
    time = 1e-12
    moved = FLOW.predictive_distribution(
        time, Y, NNGP[:N, :N], KernelPair(NNGP[N:, :N], NTK[N:, :N]), NNGP[N:, N:]
    ).mean
    np.testing.assert_allclose(moved, time / N * NTK[N:, :N] @ Y, rtol=1e-10)


@pytest.mark.parametrize("time", [0.0, 5.0, np.inf])
def test_the_law_is_that_of_trained_random_functions(time) -> None:
    draws = 100_000
    start = np.linalg.cholesky(NNGP + 1e-10 * np.eye(9)) @ RNG.normal(size=(9, draws))
    y = np.broadcast_to(Y[:, :1], (N, draws))
    ends = FLOW.predict_test(time, y, start[:N], NTK[N:, :N], start[N:])
    law = FLOW.predictive_distribution(time, Y[:, 0], NNGP[:N, :N], KernelPair(NNGP[N:, :N], NTK[N:, :N]), NNGP[N:, N:])
    scale = np.sqrt(law.covariance.diagonal())
    assert (abs(ends.mean(1) - law.mean) < 4.5 * scale / np.sqrt(draws)).all()
    np.testing.assert_allclose(np.cov(ends), law.covariance, atol=0.02 * scale.max() ** 2)


def test_training_the_last_layer_alone_gives_the_posterior() -> None:
    law = FLOW.predictive_distribution(np.inf, Y, NTK[:N, :N], KernelPair(NTK[N:, :N], NTK[N:, :N]), NTK[N:, N:])
    posterior = gaussian_process_posterior(NTK[:N, :N], NTK[N:, :N], NTK[N:, N:], Y)
    np.testing.assert_allclose(law.mean, posterior.mean, rtol=1e-8)
    np.testing.assert_allclose(law.covariance, posterior.covariance, atol=1e-9)


def test_eigenvectors_decay_at_their_rates() -> None:
    for rate, vector in zip(FLOW.decay_rates, FLOW.spectrum.vectors.T, strict=True):
        np.testing.assert_allclose(FLOW.predict_train(7.0, 0 * vector, vector), np.exp(-7 * rate) * vector, atol=1e-12)


def test_duplicates_end_an_infinite_flow_only() -> None:
    twice = np.ix_([0, 1, 2, 1], [0, 1, 2, 1])
    for precision in (np.float32, np.float64):
        flow = GradientFlow.from_kernel(NTK[twice].astype(precision))
        arguments = (np.ones(4), np.zeros(4), NTK[N:, [0, 1, 2, 1]], np.zeros(3))
        with pytest.raises(BadInput, match="singular: points 1 and 3 coincide"):
            flow.predict_test(np.inf, *arguments)
        finite = flow.predict_test(1e6, *arguments)
        assert np.isfinite(finite).all()
    single = GradientFlow.from_kernel(NTK[:3, :3]).predict_test(
        np.inf, np.ones(3), np.zeros(3), NTK[N:, :3], np.zeros(3)
    )
    np.testing.assert_allclose(finite, single, atol=1e-6)  # consistent targets lead to the same function


def test_the_bound_of_the_learning_rate_is_sharp() -> None:
    bound = max_stable_learning_rate(NTK[:N, :N])

    def after_steps(learning_rate):
        error = np.ones(N)
        for _ in range(2000):
            error = error - learning_rate * NTK[:N, :N] @ error / N
        return abs(error).max()

    assert after_steps(0.99 * bound) < 1 < 1e6 < after_steps(1.01 * bound)
    check_learning_rate(0.99 * bound, NTK[:N, :N])
    for wrong in (1.01 * bound, 0.0, -1.0, np.nan):
        with pytest.raises(BadInput, match=r"is outside \(0, 4.371\), where gradient descent is stable"):
            check_learning_rate(wrong, NTK[:N, :N])


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: FLOW.predict_train(-1.0, Y, Y), "time must be 0 or more, not -1.0"),
        (lambda: FLOW.predict_train(np.nan, Y, Y), "time must be 0 or more, not nan"),
        (lambda: FLOW.predict_train(1.0, Y[:3], Y), r"targets must be \(6,\) or \(6, outputs\), .* not \(3, 2\)"),
        (lambda: FLOW.predict_test(1.0, Y, Y, NTK[:N, N:], Y), r"must be \(m, 6\), not \(6, 3\)"),
        (lambda: GradientFlow.from_kernel(NTK[:N]), r"must be \(n, n\), not \(6, 9\)"),
        (lambda: GradientFlow.from_kernel(np.diag([1.0, -1e-3])), "indefinite: its eigenvalues go from -0.001 to 1"),
        (
            lambda: GradientFlow.from_kernel(np.array([[1.0, np.nan], [np.nan, 1.0]])),
            r"not finite: entry \(0, 1\) is nan",
        ),
    ],
)
def test_bad_input_is_refused(call, line) -> None:
    with pytest.raises(BadInput, match=line):
        call()
