"""Training in closed form when the kernel stays constant (Jacot et al. 2018, section 5; Lee et al. 2019, section 2.3).

Gradient flow on 1/(2N) Σ (f - y)², so that time is learning rate times steps and rates are eigenvalues of Θ/N. Time
may be infinite. Everything is float64 on the host, as in `core.kernels.solvers`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import BadInput
from core.kernels.infinite import Kernels
from core.kernels.solvers import Array, Posterior, Spectrum, between, checked, matching, singular_line, spectrum


@dataclass(frozen=True)
class Flow:
    """Gradient flow on N training points with the kernel Θ; `Flow.of(ntk)` decomposes it once for all times."""

    kernel: Array
    parts: Spectrum

    @classmethod
    def of(cls, ntk: Any) -> "Flow":
        """The flow of a kernel Θ(X, X), (n, n).

        Raises:
          BadInput: for a kernel that is not square, finite, symmetric and positive semi-definite.
        """
        return cls(checked(ntk)[0], spectrum(ntk))

    @property
    def rates(self) -> Array:
        """Eigenvalues of Θ/N, ascending (n,): the error along the k-th eigenvector decays as exp(-rates[k] t)."""
        return self.parts.values / len(self.kernel)

    def train(self, time: float, targets: Any, start: Any) -> Array:
        """f_t(X), the shape of the targets y; `start` is f_0(X)."""
        y = matching(targets, len(self.kernel))
        # f_t(X) = y + exp(-t Θ/N) (f_0(X) - y)
        decay = np.where(self.rates > 0, np.exp(-self._time(time) * np.where(self.rates > 0, self.rates, 1)), 1)
        return y + self._spectral(decay, matching(start, len(y)) - y)

    def test(self, time: float, targets: Any, start: Any, cross: Any, test_start: Any) -> Array:
        """f_t(x) at m test points, (m,) or (m, outputs).

        Args:
          time: learning rate times steps; may be infinite.
          targets: y, (n,) or (n, outputs).
          start: f_0(X), the shape of the targets.
          cross: Θ(x, X), (m, n).
          test_start: f_0(x), (m,) or (m, outputs).

        Raises:
          BadInput: for infinite time and a singular kernel, as of duplicate points; or for shapes that do not fit.
        """
        y = matching(targets, len(self.kernel))
        # f_t(x) = f_0(x) + Θ(x,X) Θ⁻¹ (I - exp(-t Θ/N)) (y - f_0(X))
        moved = self._spectral(self._gain(time), y - matching(start, len(y)))
        return np.asarray(test_start, float) + between(cross, len(y)) @ moved

    def law(self, time: float, targets: Any, train: Any, cross: Kernels, test: Any) -> Posterior:
        """The law of the trained infinitely wide network at test points, over initialisations.

        Args:
          time: learning rate times steps; may be infinite.
          targets: y, (n,) or (n, outputs).
          train: NNGP kernel S(X, X), (n, n).
          cross: Θ(x, X) and S(x, X), (m, n) each.
          test: NNGP kernel S(x, x), (m, m).
        """
        y, inner = matching(targets, len(self.kernel)), checked(train)[0]
        ntk, nngp = between(cross.ntk, len(y)), between(cross.nngp, len(y))
        # A = Θ(x,X) Θ⁻¹ (I - exp(-t Θ/N));  mean = A y;  cov = S(x,x) - A S(X,x) - (A S(X,x))ᵀ + A S(X,X) Aᵀ
        a = self._spectral(self._gain(time), ntk.T).T
        mixed = a @ nngp.T
        return Posterior(a @ y, np.asarray(test, float) - mixed - mixed.T + a @ inner @ a.T)

    def _time(self, time: float) -> float:
        if not time >= 0:
            raise BadInput(f"time must be 0 or more, not {time}")
        return float(time)

    def _gain(self, time: float) -> Array:
        """(1 - exp(-t λ/N)) / λ for every eigenvalue λ of Θ; t/N at λ = 0."""
        n, time = len(self.kernel), self._time(time)
        if np.isinf(time):
            if self.parts.singular:
                raise BadInput(singular_line(self.kernel))
            return 1 / self.parts.values
        safe = np.where(self.rates > 0, self.rates, 1)
        return np.where(self.rates > 0, -np.expm1(-time * safe) / safe, time) / n

    def _spectral(self, scales: Array, of: Array) -> Array:
        """U diag(scales) Uᵀ applied to `of`, (n,) or (n, k)."""
        along = self.parts.vectors.T @ of
        return self.parts.vectors @ (scales.reshape(-1, *[1] * (along.ndim - 1)) * along)


def largest_learning_rate(ntk: Any) -> float:
    """2 / λ_max(Θ/N), at and beyond which gradient descent on 1/(2N) Σ (f - y)² diverges."""
    kernel, _ = checked(ntk)
    return float(2 * len(kernel) / np.linalg.eigvalsh(kernel)[-1])


def check_learning_rate(learning_rate: float, ntk: Any) -> None:
    """Raise BadInput unless gradient descent with this kernel converges at this learning rate."""
    bound = largest_learning_rate(ntk)
    if not 0 < learning_rate < bound:
        raise BadInput(f"learning rate {learning_rate:g} is outside (0, {bound:.4g}), where gradient descent is stable")
