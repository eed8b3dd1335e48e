"""Solvers on kernel matrices: Gaussian processes, kernel ridge regression, kernel principal components.

Everything is computed on the host in float64, whatever the precision of the kernels, because the small eigenvalues
that decide long times and small ridges are lost in float32. Kernels are (n, n), targets (n,) or (n, outputs).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg

from core.errors import BadInput

Array = np.ndarray


def validate_kernel(kernel: Any) -> tuple[Array, float]:
    """The kernel (n, n) in float64, and the relative rounding error that its own precision leaves in eigenvalues.

    Raises:
      BadInput: unless it is square, finite and symmetric up to that error.
    """
    given = np.asarray(kernel)
    if given.ndim != 2 or given.shape[0] != given.shape[1] or not given.size:
        raise BadInput(f"a kernel between training points must be (n, n), not {given.shape}")
    if not np.isfinite(given).all():
        i, j = np.argwhere(~np.isfinite(given))[0]
        raise BadInput(f"the kernel is not finite: entry ({i}, {j}) is {given[i, j]}")
    precision = float(np.finfo(given.dtype).eps) if given.dtype.kind == "f" else float(np.finfo(float).eps)
    tolerance = 10 * len(given) * precision
    kernel64 = given.astype(float)
    if abs(kernel64 - kernel64.T).max() > tolerance * abs(kernel64).max():
        raise BadInput("a kernel between training points must be symmetric")
    return (kernel64 + kernel64.T) / 2, tolerance


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues (n,), ascending and non-negative, and eigenvectors (n, n) of a kernel; `tolerance` is relative."""

    values: Array
    vectors: Array
    tolerance: float

    @property
    def is_singular(self) -> bool:
        """Whether the smallest eigenvalue is nothing but rounding error."""
        return bool(self.values[0] <= self.tolerance * self.values[-1])


def eigendecompose(kernel: Any) -> Spectrum:
    """The eigendecomposition of a kernel (n, n).

    Raises:
      BadInput: for a kernel that `validate_kernel` refuses, or with an eigenvalue below zero by more than rounding.
    """
    kernel, tolerance = validate_kernel(kernel)
    values, vectors = linalg.eigh(kernel)
    if values[0] < -tolerance * values[-1]:
        raise BadInput(f"the kernel is indefinite: its eigenvalues go from {values[0]:.3g} to {values[-1]:.3g}")
    return Spectrum(np.maximum(values, 0), vectors, tolerance)


def cholesky(kernel: Any, ridge: float = 0.0) -> Array:
    """The lower Cholesky factor (n, n) of kernel + ridge I.

    Raises:
      BadInput: for a negative ridge, or a kernel that is singular with this ridge; the line names two points that
        coincide, if any do.
    """
    if not ridge >= 0:
        raise BadInput(f"the ridge must be 0 or more, not {ridge}")
    kernel, tolerance = validate_kernel(kernel)
    try:
        factor = linalg.cholesky(kernel + ridge * np.eye(len(kernel)), lower=True)
    except linalg.LinAlgError:
        factor = np.zeros_like(kernel)
    pivots = factor.diagonal() ** 2
    if pivots.min() <= tolerance * kernel.diagonal().max() / 10:
        raise BadInput(singular_kernel_message(kernel, ridge))
    return factor


def singular_kernel_message(kernel: Array, ridge: float = 0.0) -> str:
    """The error of a kernel that cannot be inverted, with two points that coincide for it, if any do."""
    line = f"the kernel of {len(kernel)} points is singular" + (f" with ridge {ridge:g}" if ridge else "")
    scale = kernel.diagonal()
    apart = scale[:, None] + scale[None] - 2 * kernel + np.diag(np.full(len(kernel), np.inf))
    i, j = np.unravel_index(apart.argmin(), apart.shape)
    if apart[i, j] <= 1e-6 * scale.max():
        line += f": points {min(i, j)} and {max(i, j)} coincide"
    return line + "; add a ridge" + ("" if ridge else f" such as {1e-6 * scale.mean():.2g}") + ", or leave points out"


def kernel_ridge_coefficients(kernel: Any, targets: Any, ridge: float = 0.0) -> Array:
    """α = (K + ridge I)⁻¹ y, so that predictions are K(x, X) α; the shape of the targets."""
    factor = cholesky(kernel, ridge)
    return linalg.cho_solve((factor, True), validate_targets(targets, len(factor)))


def kernel_ridge_path(kernel: Any, targets: Any, ridges: Any) -> Array:
    """α of `kernel_ridge_coefficients` for many ridges by one eigendecomposition: (ridges, *targets.shape)."""
    ridges, decomposition = np.asarray(ridges, float), eigendecompose(kernel)
    targets = validate_targets(targets, len(decomposition.values))
    if not (ridges >= 0).all():
        raise BadInput(f"every ridge must be 0 or more, not {ridges.min()}")
    if decomposition.is_singular and (ridges <= decomposition.tolerance * decomposition.values[-1]).any():
        raise BadInput(singular_kernel_message(validate_kernel(kernel)[0], float(ridges.min())))
    # (K + r I)⁻¹ y = U (Λ + r)⁻¹ Uᵀ y
    along = decomposition.vectors.T @ targets.reshape(len(targets), -1)
    scaled = along[None] / (decomposition.values[None] + ridges[:, None])[..., None]
    return (decomposition.vectors @ scaled).reshape(len(ridges), *targets.shape)


@dataclass(frozen=True)
class GaussianPosterior:
    """Mean (m,) or (m, outputs) and covariance (m, m) of a Gaussian process at test points."""

    mean: Array
    covariance: Array


def gaussian_process_posterior(
    kernel: Any, cross: Any, test: Any, targets: Any, noise: float = 0.0
) -> GaussianPosterior:
    """The posterior of a Gaussian process with mean 0.

    Args:
      kernel: K(X, X), (n, n).
      cross: K(x, X), (m, n).
      test: K(x, x), (m, m).
      targets: y, (n,) or (n, outputs).
      noise: variance of independent noise in the targets, or a small jitter.
    """
    factor = cholesky(kernel, noise)
    cross = validate_cross_kernel(cross, len(factor))
    # mean = K(x,X) (K + noise)⁻¹ y;  cov = K(x,x) - K(x,X) (K + noise)⁻¹ K(X,x)
    half = linalg.solve_triangular(factor, cross.T, lower=True)
    mean = cross @ linalg.cho_solve((factor, True), validate_targets(targets, len(factor)))
    return GaussianPosterior(mean, np.asarray(test, float) - half.T @ half)


def log_marginal_likelihood(kernel: Any, targets: Any, noise: float = 0.0) -> float:
    """log N(y; 0, K + noise I), summed over outputs."""
    factor = cholesky(kernel, noise)
    y = validate_targets(targets, len(factor)).reshape(len(factor), -1)
    # -yᵀ(K + noise)⁻¹y/2 - log det(K + noise)/2 - n log(2π)/2
    whitened = linalg.solve_triangular(factor, y, lower=True)
    constant = np.log(factor.diagonal()).sum() + len(factor) * np.log(2 * np.pi) / 2
    return float(-(whitened**2).sum() / 2 - y.shape[1] * constant)


def kernel_pca(kernel: Any, components: int, centred: bool = False) -> tuple[Array, Array]:
    """The largest kernel principal components on the training points.

    Args:
      kernel: K(X, X), (n, n).
      components: how many.
      centred: whether features have their mean over the points removed; the paper leaves it in.

    Returns:
      Eigenvalues of K/n, descending, (components,); and the components (n, components), each of unit mean square over
      the points and positive where it is largest.
    """
    kernel, _ = validate_kernel(kernel)
    n = len(kernel)
    if not 1 <= components <= n:
        raise BadInput(f"a kernel of {n} points has 1 to {n} components, not {components}")
    if centred:
        means = kernel.mean(0)
        kernel = kernel - means[None] - means[:, None] + means.mean()
    values, vectors = linalg.eigh(kernel / n, subset_by_index=(n - components, n - 1))
    values, vectors = values[::-1], vectors[:, ::-1] * np.sqrt(n)
    largest = np.take_along_axis(vectors, abs(vectors).argmax(0)[None], 0)
    return values, vectors * np.sign(largest)


def validate_targets(targets: Any, n: int) -> Array:
    """Targets in float64, (n,) or (n, outputs); BadInput where there are not n of them."""
    y = np.asarray(targets, float)
    if y.ndim not in (1, 2) or len(y) != n:
        raise BadInput(f"targets must be ({n},) or ({n}, outputs), as the kernel has {n} points, not {y.shape}")
    return y


def validate_cross_kernel(cross: Any, n: int) -> Array:
    """A kernel between test and n training points in float64, (m, n); BadInput for another shape."""
    k = np.asarray(cross, float)
    if k.ndim != 2 or k.shape[1] != n:
        raise BadInput(f"a kernel between test and training points must be (m, {n}), not {k.shape}")
    return k
