"""Linear methods on fixed features: a support vector machine, subspace alignment, the proxy A-distance."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax


def with_bias(x: jax.Array) -> jax.Array:
    """Features (n, d) with a column of ones, whose weight is the bias; like the others it is regularised."""
    return jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], axis=1)


def hinge_objective(w: jax.Array, x: jax.Array, signs: jax.Array, c: jax.Array | float) -> jax.Array:
    """½|w|² + C Σ max(0, 1 - s wᵀx)², what LIBLINEAR minimises (Fan et al. 2008, eq. 3); x holds a column of ones."""
    return 0.5 * jnp.sum(w**2) + c * jnp.sum(jnp.maximum(0.0, 1 - signs * (x @ w)) ** 2)


def minimised(
    w: jax.Array, x: jax.Array, signs: jax.Array, c: jax.Array | float, iterations: int, tolerance: float
) -> jax.Array:
    """The weights by L-BFGS from `w`: until the gradient is `tolerance` of the one at 0, or for so many iterations."""
    scale = c * len(x)

    def objective(w: jax.Array) -> jax.Array:
        return hinge_objective(w, x, signs, c) / scale

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)
    goal = tolerance * jnp.linalg.norm(jax.grad(objective)(jnp.zeros_like(w)))

    def unfinished(carried: tuple) -> jax.Array:
        _, state, i = carried
        gradient = optax.tree.get(state, "grad")
        return (i == 0) | ((i < iterations) & (jnp.linalg.norm(gradient) > goal))

    def improve(carried: tuple) -> tuple:
        w, state, i = carried
        value, gradient = value_and_grad(w, state=state)
        updates, state = solver.update(gradient, state, w, value=value, grad=gradient, value_fn=objective)
        return optax.apply_updates(w, updates), state, i + 1

    return jax.lax.while_loop(unfinished, improve, (w, solver.init(w), jnp.int32(0)))[0]


def svm_path(
    x: jax.Array, signs: jax.Array, costs: Sequence[float], iterations: int = 200, tolerance: float = 1e-3
) -> jax.Array:
    """Two-class linear support vector machines, one for each C of the rising `costs`; each starts from the one before.

    Args:
      x: features (n, d), float32.
      signs: classes (n,) as -1 or 1.
      costs: values of C.
      iterations: of L-BFGS at most, for each C.
      tolerance: of the gradient, relative to the one at 0.

    Returns:
      Weights (costs, d + 1), the bias last.
    """
    x = with_bias(x)

    def one(w: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array]:
        w = minimised(w, x, signs.astype(x.dtype), c, iterations, tolerance)
        return w, w

    return jax.lax.scan(one, jnp.zeros(x.shape[1], x.dtype), jnp.asarray(costs, x.dtype))[1]


def linear_svm(x: jax.Array, labels: jax.Array, classes: int, c: float, iterations: int = 200) -> jax.Array:
    """One support vector machine per class against the others, on features (n, d); weights (classes, d + 1)."""
    signs = jnp.where(labels[None, :] == jnp.arange(classes)[:, None], 1.0, -1.0)
    return jax.lax.map(lambda s: svm_path(x, s, (c,), iterations)[0], signs)


def chosen_class(weights: jax.Array, x: jax.Array) -> jax.Array:
    """The class with the largest score for each of the features (n, d): int32 (n,)."""
    return jnp.argmax(with_bias(x) @ weights.T, axis=1).astype(jnp.int32)


def principal_directions(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean (d,) and principal directions (d, d) of features (n, d), in columns, the largest variance first."""
    mean = x.mean(0)
    _, vectors = jnp.linalg.eigh((x - mean).T @ (x - mean))
    return mean, vectors[:, ::-1]


def aligned(source: jax.Array, target: jax.Array, test: jax.Array, components: int) -> tuple[jax.Array, jax.Array]:
    """Subspace alignment (Fernando et al. 2013, section 3): source (n, k) and test (m, k) features to be compared.

    With the leading k principal directions P_s and P_t of both domains, the source is projected by P_s (P_sᵀ P_t) and
    what lies in the target domain by P_t.
    """
    (source_mean, p_s), (target_mean, p_t) = principal_directions(source), principal_directions(target)
    p_s, p_t = p_s[:, :components], p_t[:, :components]
    return (source - source_mean) @ (p_s @ (p_s.T @ p_t)), (test - target_mean) @ p_t


def proxy_distance(source: jax.Array, target: jax.Array, costs: Sequence[float], iterations: int = 200) -> jax.Array:
    """Proxy A-distance 2 (1 - 2 ε) of two sets of features (n, d) and (m, d) (Ben-David et al. 2007, section 4.2).

    ε is the error of a linear support vector machine that tells the domains apart, trained on the first half of each,
    on the other halves, with the best of the `costs`.
    """
    halves = [(domain[: len(domain) // 2], domain[len(domain) // 2 :]) for domain in (source, target)]
    signs = [jnp.concatenate([-jnp.ones(len(s)), jnp.ones(len(t))]) for s, t in zip(*halves, strict=True)]
    seen, unseen = (jnp.concatenate([s, t]) for s, t in zip(*halves, strict=True))
    weights = svm_path(seen, signs[0], costs, iterations)
    wrong = (with_bias(unseen) @ weights.T) * signs[1][:, None] <= 0
    # An error above one half tells the domains apart as well as its complement does.
    errors = wrong.mean(0)
    return 2 * (1 - 2 * jnp.min(jnp.minimum(errors, 1 - errors)))
