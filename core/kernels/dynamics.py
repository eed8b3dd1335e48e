"""Training in closed form when the kernel stays constant (Jacot et al. 2018, section 5; Lee et al. 2019, section 2.3).

Gradient flow on 1/(2N) Σ (f - y)², so that time is learning rate times steps and rates are eigenvalues of Θ/N. Time
may be infinite. Everything is float64 on the host, as in `core.kernels.solvers`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import BadInput
from core.kernels.infinite import KernelPair
from core.kernels.solvers import (
    Array,
    GaussianPosterior,
    Spectrum,
    eigendecompose,
    singular_kernel_message,
    validate_cross_kernel,
    validate_kernel,
    validate_targets,
)


@dataclass(frozen=True)
class GradientFlow:
    """Gradient flow on N training points with the kernel Θ; `from_kernel(ntk)` decomposes it once for all times."""

    kernel: Array
    spectrum: Spectrum

    @classmethod
    def from_kernel(cls, ntk: Any) -> "GradientFlow":
        """Gradient flow with a kernel Θ(X, X), (n, n).

        Raises:
          BadInput: for a kernel that is not square, finite, symmetric and positive semi-definite.
        """
        return cls(validate_kernel(ntk)[0], eigendecompose(ntk))

    @property
    def decay_rates(self) -> Array:
        """Eigenvalues of Θ/N, ascending (n,): the error along the k-th eigenvector decays as exp(-rates[k] t)."""
        return self.spectrum.values / len(self.kernel)

    def predict_train(self, time: float, targets: Any, initial_outputs: Any) -> Array:
        """Outputs f_t(X) at the training points, the shape of the targets y; `initial_outputs` are f_0(X)."""
        y = validate_targets(targets, len(self.kernel))
        # f_t(X) = y + exp(-t Θ/N) (f_0(X) - y)
        decay = np.where(
            self.decay_rates > 0,
            np.exp(-self._check_time(time) * np.where(self.decay_rates > 0, self.decay_rates, 1)),
            1,
        )
        return y + self._apply_in_eigenbasis(decay, validate_targets(initial_outputs, len(y)) - y)

    def predict_test(self, time: float, targets: Any, initial_train: Any, cross_ntk: Any, initial_test: Any) -> Array:
        """Outputs f_t(x) at m test points, (m,) or (m, outputs).

        Args:
          time: learning rate times steps; may be infinite.
          targets: y, (n,) or (n, outputs).
          initial_train: f_0(X), the shape of the targets.
          cross_ntk: Θ(x, X), (m, n).
          initial_test: f_0(x), (m,) or (m, outputs).

        Raises:
          BadInput: for infinite time and a singular kernel, as of duplicate points; or for shapes that do not fit.
        """
        y = validate_targets(targets, len(self.kernel))
        # f_t(x) = f_0(x) + Θ(x,X) Θ⁻¹ (I - exp(-t Θ/N)) (y - f_0(X))
        moved = self._apply_in_eigenbasis(self._gain(time), y - validate_targets(initial_train, len(y)))
        return np.asarray(initial_test, float) + validate_cross_kernel(cross_ntk, len(y)) @ moved

    def predictive_distribution(
        self, time: float, targets: Any, train_nngp: Any, cross: KernelPair, test_nngp: Any
    ) -> GaussianPosterior:
        """The Gaussian distribution, over initialisations, of the trained infinitely wide network at test points.

        Args:
          time: learning rate times steps; may be infinite.
          targets: y, (n,) or (n, outputs).
          train_nngp: NNGP kernel S(X, X), (n, n).
          cross: Θ(x, X) and S(x, X), (m, n) each.
          test_nngp: NNGP kernel S(x, x), (m, m).
        """
        y, inner = validate_targets(targets, len(self.kernel)), validate_kernel(train_nngp)[0]
        ntk, nngp = validate_cross_kernel(cross.ntk, len(y)), validate_cross_kernel(cross.nngp, len(y))
        # A = Θ(x,X) Θ⁻¹ (I - exp(-t Θ/N));  mean = A y;  cov = S(x,x) - A S(X,x) - (A S(X,x))ᵀ + A S(X,X) Aᵀ
        a = self._apply_in_eigenbasis(self._gain(time), ntk.T).T
        mixed = a @ nngp.T
        return GaussianPosterior(a @ y, np.asarray(test_nngp, float) - mixed - mixed.T + a @ inner @ a.T)

    def _check_time(self, time: float) -> float:
        if not time >= 0:
            raise BadInput(f"time must be 0 or more, not {time}")
        return float(time)

    def _gain(self, time: float) -> Array:
        """(1 - exp(-t λ/N)) / λ for every eigenvalue λ of Θ; t/N at λ = 0."""
        n, time = len(self.kernel), self._check_time(time)
        if np.isinf(time):
            if self.spectrum.is_singular:
                raise BadInput(singular_kernel_message(self.kernel))
            return 1 / self.spectrum.values
        safe = np.where(self.decay_rates > 0, self.decay_rates, 1)
        return np.where(self.decay_rates > 0, -np.expm1(-time * safe) / safe, time) / n

    def _apply_in_eigenbasis(self, scales: Array, values: Array) -> Array:
        """U diag(scales) Uᵀ applied to `values`, (n,) or (n, k)."""
        along = self.spectrum.vectors.T @ values
        return self.spectrum.vectors @ (scales.reshape(-1, *[1] * (along.ndim - 1)) * along)


def max_stable_learning_rate(ntk: Any) -> float:
    """2 / λ_max(Θ/N), at and beyond which gradient descent on 1/(2N) Σ (f - y)² diverges."""
    kernel, _ = validate_kernel(ntk)
    return float(2 * len(kernel) / np.linalg.eigvalsh(kernel)[-1])


def check_learning_rate(learning_rate: float, ntk: Any) -> None:
    """Raise BadInput unless gradient descent with this kernel converges at this learning rate."""
    bound = max_stable_learning_rate(ntk)
    if not 0 < learning_rate < bound:
        raise BadInput(f"learning rate {learning_rate:g} is outside (0, {bound:.4g}), where gradient descent is stable")
