"""Linear methods on fixed features: a support vector machine, subspace alignment, the proxy A-distance."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg


def append_bias_column(x: jax.Array) -> jax.Array:
    """Features (n, d) with a column of ones, whose weight is the bias; like the others it is regularised."""
    return jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], axis=1)


def hinge_objective(w: jax.Array, x: jax.Array, signs: jax.Array, c: jax.Array | float) -> jax.Array:
    """½|w|² + C Σ max(0, 1 - s wᵀx)², what LIBLINEAR minimises (Fan et al. 2008, eq. 3); x holds a column of ones."""
    return 0.5 * jnp.sum(w**2) + c * jnp.sum(jnp.maximum(0.0, 1 - signs * (x @ w)) ** 2)


def minimise_hinge_objective(
    w: jax.Array, x: jax.Array, signs: jax.Array, c: jax.Array | float, iterations: int, tolerance: float
) -> jax.Array:
    """The weights that minimise `hinge_objective`, by Newton's method from `w`.

    It ends when the gradient is `tolerance` of the one at 0, or after so many iterations.
    The objective is quadratic wherever the same examples lie inside the margin; the Newton direction is found by
    conjugate gradients, and along it the best of a few step lengths is taken (Keerthi and DeCoste 2005, section 3).
    """
    lengths = 0.5 ** jnp.arange(10.0)

    def gradient(w: jax.Array) -> tuple[jax.Array, jax.Array]:
        inside = jnp.maximum(0.0, 1 - signs * (x @ w))
        return w - 2 * c * (x.T @ (signs * inside)), inside > 0

    goal = tolerance * jnp.linalg.norm(gradient(jnp.zeros_like(w))[0])

    def unfinished(carried: tuple) -> jax.Array:
        _, size, i = carried
        return (i < iterations) & (size > goal)

    def improve(carried: tuple) -> tuple:
        w, _, i = carried
        g, active = gradient(w)
        direction, _ = cg(lambda v: v + 2 * c * (x.T @ jnp.where(active, x @ v, 0)), -g, tol=0.05, maxiter=100)
        scores, change = x @ w, x @ direction
        values = jax.lax.map(
            lambda t: (
                0.5 * jnp.sum((w + t * direction) ** 2)
                + c * jnp.sum(jnp.maximum(0.0, 1 - signs * (scores + t * change)) ** 2)
            ),
            lengths,
        )
        w = w + lengths[jnp.argmin(values)] * direction
        return w, jnp.linalg.norm(gradient(w)[0]), i + 1

    return jax.lax.while_loop(unfinished, improve, (w, jnp.float32(jnp.inf), jnp.int32(0)))[0]


def fit_svm_path(
    x: jax.Array, signs: jax.Array, costs: Sequence[float] | jax.Array, iterations: int = 50, tolerance: float = 1e-3
) -> jax.Array:
    """Two-class linear support vector machines, one for each C of the rising `costs`; each starts from the one before.

    Args:
      x: features (n, d), float32.
      signs: classes (n,) as -1 or 1, or (costs, n): other ones for each C.
      costs: values of C.
      iterations: of Newton's method at most, for each C.
      tolerance: of the gradient, relative to the one at 0.

    Returns:
      Weights (costs, d + 1), the bias last.
    """
    x = append_bias_column(x)

    def one(w: jax.Array, given: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        w = minimise_hinge_objective(w, x, *given, iterations, tolerance)
        return w, w

    each = jnp.broadcast_to(signs.astype(x.dtype), (len(costs), len(x)))
    return jax.lax.scan(one, jnp.zeros(x.shape[1], x.dtype), (each, jnp.asarray(costs, x.dtype)))[1]


def fit_svm_by_reverse_validation(
    source: tuple[jax.Array, jax.Array],
    target: jax.Array,
    held: tuple[jax.Array, jax.Array],
    costs: Sequence[float],
    tolerance: float = 1e-3,
) -> jax.Array:
    """A two-class machine of the source whose C is chosen without labels of the target (Zhong et al. 2010); (d + 1,).

    For each C a machine is learnt back from the labels that the first one gives to the target, and is judged on the
    source's held-out examples. `source` and `held` are features (n, d) and labels (n,) in {0, 1}; of equally good C the
    smallest is taken.
    """
    weights = fit_svm_path(source[0], 2.0 * source[1] - 1, costs, tolerance=tolerance)
    guessed = jnp.where(append_bias_column(target) @ weights.T > 0, 1.0, -1.0)
    back = fit_svm_path(target, guessed.T, costs, tolerance=tolerance)
    right = (append_bias_column(held[0]) @ back.T > 0) == (held[1][:, None] > 0)
    return weights[jnp.argmax(right.mean(0))]


def fit_linear_svm(x: jax.Array, labels: jax.Array, classes: int, c: float, iterations: int = 50) -> jax.Array:
    """One support vector machine per class against the others, on features (n, d); weights (classes, d + 1)."""
    signs = jnp.where(labels[None, :] == jnp.arange(classes)[:, None], 1.0, -1.0)
    return jax.lax.map(lambda s: fit_svm_path(x, s, (c,), iterations)[0], signs)


def predict_class(weights: jax.Array, x: jax.Array) -> jax.Array:
    """The class with the largest score for each of the features (n, d): int32 (n,)."""
    return jnp.argmax(append_bias_column(x) @ weights.T, axis=1).astype(jnp.int32)


def principal_directions(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean (d,) and principal directions (d, d) of features (n, d), in columns, the largest variance first."""
    mean = x.mean(0)
    _, vectors = jnp.linalg.eigh((x - mean[None]).T @ (x - mean[None]))
    return mean, vectors[:, ::-1]


def project_to_plane(*features: jax.Array) -> jax.Array:
    """Several sets of features (n_i, d), one after the other, in the plane of their two largest principal directions:
    (n, 2)."""
    x = jnp.concatenate(features)
    mean, directions = principal_directions(x)
    return (x - mean[None]) @ directions[:, :2]


def align_subspaces(
    source: jax.Array, target: jax.Array, test: jax.Array, directions: jax.Array | int
) -> tuple[jax.Array, jax.Array]:
    """Subspace alignment (Fernando et al. 2013, section 3): source (n, d) and test (m, d) features to be compared.

    With the leading principal directions P_s and P_t of both domains, as many as `directions` (traced or not), the
    source is projected by P_s (P_sᵀ P_t) and what lies in the target domain by P_t; further columns are 0.
    """
    (source_mean, p_s), (target_mean, p_t) = principal_directions(source), principal_directions(target)
    leading = jnp.arange(source.shape[1])[None] < directions
    p_s, p_t = jnp.where(leading, p_s, 0), jnp.where(leading, p_t, 0)
    return (source - source_mean[None]) @ (p_s @ (p_s.T @ p_t)), (test - target_mean[None]) @ p_t


def proxy_a_distance(source: jax.Array, target: jax.Array, costs: Sequence[float], iterations: int = 50) -> jax.Array:
    """Proxy A-distance 2 (1 - 2 ε) of two sets of features (n, d) and (m, d) (Ben-David et al. 2007, section 4.2).

    ε is the error of a linear support vector machine that tells the domains apart, trained on the first half of each,
    on the other halves, with the best of the `costs`.
    """
    halves = [(domain[: len(domain) // 2], domain[len(domain) // 2 :]) for domain in (source, target)]
    signs = [jnp.concatenate([-jnp.ones(len(s)), jnp.ones(len(t))]) for s, t in zip(*halves, strict=True)]
    seen, unseen = (jnp.concatenate([s, t]) for s, t in zip(*halves, strict=True))
    weights = fit_svm_path(seen, signs[0], costs, iterations)
    wrong = (append_bias_column(unseen) @ weights.T) * signs[1][:, None] <= 0
    # An error above one half tells the domains apart as well as its complement does.
    errors = wrong.mean(0)
    return 2 * (1 - 2 * jnp.min(jnp.minimum(errors, 1 - errors)))


def stacked_denoising_features(
    feature_sets: Sequence[jax.Array], layers: int, training_sets: int, corruption: float = 0.5, ridge: float = 1e-5
) -> list[jax.Array]:
    """Marginalised stacked denoising autoencoders (Chen et al. 2012, section 4, algorithm 1), in closed form.

    Args:
      feature_sets: features (n_i, d) of several sets.
      layers: how many are stacked.
      training_sets: the layers are learnt from the first so many of the sets.
      corruption: the probability with which every feature is set to 0.
      ridge: added to the diagonal before solving.

    Returns:
      For each set its features beside the outputs of all layers, (n_i, d (layers + 1)), float32.
    """
    outputs = [[part.astype(jnp.float32)] for part in feature_sets]
    for _ in range(layers):
        learnt_from = jnp.concatenate([stack[-1] for stack in outputs[:training_sets]])
        mapping = denoising_mapping(learnt_from, corruption, ridge)
        for stack in outputs:
            stack.append(jnp.tanh(append_bias_column(stack[-1]) @ mapping.T))
    return [jnp.concatenate(stack, axis=1) for stack in outputs]


def denoising_mapping(x: jax.Array, corruption: float, ridge: float) -> jax.Array:
    """W (d, d + 1) that best restores features (n, d) from corrupted ones in expectation; the last column is a bias."""
    x = append_bias_column(x)
    survival = jnp.full(x.shape[1], 1 - corruption).at[-1].set(1.0)  # q: the bias is never corrupted
    scatter = x.T @ x  # S
    # Q_ij = S_ij q_i q_j, and S_ii q_i on the diagonal; P_ij = S_ij q_j; W = P Q⁻¹
    q = scatter * survival[:, None] * survival[None, :]
    q = jnp.fill_diagonal(q, jnp.diag(scatter) * survival, inplace=False)
    p = scatter[:-1] * survival[None, :]
    return jnp.linalg.solve(q + ridge * jnp.eye(len(q)), p.T).T
