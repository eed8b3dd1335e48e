"""Linear methods against scikit-learn, closed forms and brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.svm import LinearSVC

from core.models.linear import (
    align_subspaces,
    denoising_mapping,
    fit_linear_svm,
    fit_svm_by_reverse_validation,
    fit_svm_path,
    hinge_objective,
    predict_class,
    principal_directions,
    project_to_plane,
    proxy_a_distance,
    stacked_denoising_features,
)

COSTS = (0.01, 0.1, 1.0)


def clouds(seed: int, apart: float = 1.0, n: int = 120, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping clouds of points and their classes -1 and 1."""
    random = np.random.default_rng(seed)
    signs = np.where(np.arange(n) % 2, 1.0, -1.0)
    points = random.normal(size=(n, d)) * random.uniform(0.5, 3, d) + apart * signs[:, None] / d
    return points.astype(np.float32), signs.astype(np.float32)


def test_support_vector_machines_are_those_of_scikit_learn() -> None:
    x, signs = clouds(0)
    found = jax.jit(lambda x, s: fit_svm_path(x, s, COSTS, tolerance=1e-5))(x, signs)
    for cost, weights in zip(COSTS, found, strict=True):
        other = LinearSVC(C=cost, tol=1e-8, max_iter=100_000, random_state=0).fit(x, signs)
        np.testing.assert_allclose(weights[:-1], other.coef_[0], atol=2e-4)
        assert float(weights[-1]) == pytest.approx(other.intercept_[0], abs=2e-4)
    assert np.abs(found[0] - found[2]).max() > 0.01, "the costs make no difference"


@pytest.mark.parametrize("tolerance", [1.0, 0.3, 0.05, 1e-3])
def test_newtons_method_ends_as_soon_as_the_gradient_is_small_enough(tolerance: float) -> None:
    """Measured against the gradient at 0, by differentiation: the step before had not reached it yet."""
    x, signs = clouds(0)
    lifted = jnp.concatenate([x, jnp.ones((len(x), 1))], axis=1)
    gradient = jax.jit(jax.grad(lambda w: hinge_objective(w, lifted, signs, 1.0)))
    first = float(jnp.linalg.norm(gradient(jnp.zeros(x.shape[1] + 1))))
    after = [fit_svm_path(x, signs, (1.0,), iterations=n, tolerance=0.0)[0] for n in range(1, 9)]
    sizes = [float(jnp.linalg.norm(gradient(w))) / first for w in after]
    steps = next(n for n, size in enumerate(sizes) if size <= tolerance)
    assert steps < len(sizes) - 1 and sizes[-1] < sizes[0] / 100
    found = fit_svm_path(x, signs, (1.0,), iterations=50, tolerance=tolerance)[0]
    np.testing.assert_allclose(found, after[steps], rtol=1e-5, atol=1e-6)


def test_several_classes_are_told_apart_as_by_scikit_learn() -> None:
    random = np.random.default_rng(1)
    labels = np.arange(150) % 3
    x = (random.normal(size=(150, 4)) + 1.5 * np.eye(4)[labels]).astype(np.float32)
    weights = jax.jit(lambda x, y: fit_linear_svm(x, y, 3, 0.5))(x, labels)
    other = LinearSVC(C=0.5, tol=1e-8, max_iter=100_000, random_state=0).fit(x, labels)
    np.testing.assert_allclose(weights[:, :-1], other.coef_, atol=2e-3)
    assert (np.asarray(predict_class(weights, x)) == other.predict(x)).mean() > 0.99


def test_a_machine_chosen_by_reverse_validation_is_the_one_that_scikit_learn_would_choose() -> None:
    """Every C learnt there and back by LIBLINEAR; the labels of the target are nowhere given."""
    random = np.random.default_rng(3)
    labels, held_labels = random.integers(0, 2, 80), random.integers(0, 2, 60)
    source, held = (0.8 * each[:, None] + random.normal(size=(len(each), 6)) for each in (labels, held_labels))
    target, costs = random.normal(size=(70, 6)) + 0.5, (1e-4, 1e-2, 1.0)
    scores, machines = [], []
    for c in costs:
        machines.append(LinearSVC(C=c, tol=1e-8, max_iter=100_000).fit(source, labels))
        back = LinearSVC(C=c, tol=1e-8, max_iter=100_000).fit(target, machines[-1].predict(target))
        scores.append(back.score(held, held_labels))
    assert len(set(scores)) == 3 and np.argmax(scores) != 0
    given = [jnp.asarray(x, jnp.float32) for x in (source, target, held)]
    found = fit_svm_by_reverse_validation((given[0], labels), given[1], (given[2], held_labels), costs)
    best = machines[int(np.argmax(scores))]
    np.testing.assert_allclose(found, np.append(best.coef_[0], best.intercept_), atol=2e-3)


def test_principal_directions_are_those_of_scikit_learn() -> None:
    x, _ = clouds(2)
    mean, directions = principal_directions(jnp.asarray(x))
    other = PCA().fit(x)
    np.testing.assert_allclose(mean, other.mean_, atol=1e-5)
    found = np.asarray(directions)
    signs = np.sign((found * other.components_.T).sum(0))
    np.testing.assert_allclose(found * signs, other.components_.T, atol=2e-4)
    plane = np.asarray(project_to_plane(jnp.asarray(x[:10]), jnp.asarray(x[10:])))
    np.testing.assert_allclose(np.abs(plane), np.abs(PCA(2).fit_transform(x)), atol=2e-3)


def test_subspace_alignment_by_hand() -> None:
    """Fernando et al.: source X_s P_s (P_sᵀ P_t), target X_t P_t, on centred features."""
    source, target = clouds(3)[0], clouds(4)[0] @ np.diag([3, 1, 0.1, 2, 1, 1]).astype(np.float32)
    test, k = clouds(5)[0], 2
    found, found_test = align_subspaces(jnp.asarray(source), jnp.asarray(target), jnp.asarray(test), k)
    p_s, p_t = (PCA(k).fit(x).components_.T for x in (source, target))
    np.testing.assert_allclose(np.abs(found_test[:, :k]), np.abs((test - target.mean(0)) @ p_t), atol=1e-3)
    expected = (source - source.mean(0)) @ p_s @ (p_s.T @ p_t)
    np.testing.assert_allclose(np.abs(found[:, :k]), np.abs(expected), atol=1e-3)
    assert not np.any(found[:, k:]) and not np.any(found_test[:, k:])


def test_a_domain_aligned_with_itself_is_only_turned() -> None:
    x = clouds(6)[0]
    found, tested = align_subspaces(*[jnp.asarray(x)] * 3, x.shape[1])
    np.testing.assert_allclose(found, tested, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(x - x.mean(0), axis=1), rtol=1e-3)


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.0, 0.5), (40.0, 2.0, 2.0)])
def test_the_proxy_distance_of_equal_and_of_distant_domains(shift: float, low: float, high: float) -> None:
    random = np.random.default_rng(7)
    source, target = (random.normal(size=(200, 5)).astype(np.float32) for _ in range(2))
    found = float(proxy_a_distance(jnp.asarray(source), jnp.asarray(target + np.float32(shift)), COSTS))
    assert low <= found <= high


def test_the_proxy_distance_is_that_of_scikit_learns_machines() -> None:
    x, signs = clouds(8, apart=3.0, n=400)
    source, target = x[signs < 0], x[signs > 0]
    errors = []
    for cost in COSTS:
        seen = np.concatenate([source[:100], target[:100]]), np.repeat([-1, 1], 100)
        other = LinearSVC(C=cost, tol=1e-8, max_iter=100_000, random_state=0).fit(*seen)
        wrong = other.predict(np.concatenate([source[100:], target[100:]])) != np.repeat([-1, 1], 100)
        errors.append(min(wrong.mean(), 1 - wrong.mean()))
    assert 0.05 < min(errors) < 0.45, "too easy or too hard to compare anything"
    found = float(proxy_a_distance(jnp.asarray(source), jnp.asarray(target), COSTS))
    assert found == pytest.approx(2 * (1 - 2 * min(errors)), abs=0.021)  # one point of 200 on the other side


def test_denoising_restores_best_among_many_corruptions() -> None:
    """The closed form is the least squares solution over many corrupted copies, up to their finite number."""
    random = np.random.default_rng(9)
    x = random.poisson(1.0, (40, 3)).astype(np.float32) @ np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]], np.float32)
    mapping = np.asarray(denoising_mapping(jnp.asarray(x), 0.5, 1e-6))
    copies = np.tile(x, (4000, 1))
    corrupted = np.c_[copies * (random.random(copies.shape) < 0.5), np.ones(len(copies))]
    expected = np.linalg.lstsq(corrupted, copies, rcond=None)[0].T
    np.testing.assert_allclose(mapping, expected, atol=0.02)
    assert np.abs(expected).max() > 0.3


def test_denoised_layers_stand_beside_the_features_and_learn_from_the_seen_parts_alone() -> None:
    x, other = jnp.asarray(clouds(10)[0]), jnp.asarray(clouds(11)[0])
    found, told = stacked_denoising_features([x, other], layers=2, training_sets=1)
    assert found.shape == (120, 18) and told.shape == (120, 18)
    np.testing.assert_array_equal(found[:, :6], x)
    changed = stacked_denoising_features([x, 5 * other], layers=2, training_sets=1)[0]
    np.testing.assert_array_equal(found, changed)
    assert np.abs(found[:, 6:]).max() <= 1
