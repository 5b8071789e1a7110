"""The output whose size is bounded, in coordinates that suit a search, and its way into a proof."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import null_space

from formulations import Program
from formulations._validation import FloatArray


@dataclass(frozen=True, eq=False)
class Output:
    """``f(u) = Lu + Σ w_i (a_i·u)₊`` in the coordinates u = Bt of a basis, where rows look alike in all directions.

    Attributes:
        basis: (d, d) B.
        rows: (N, d) unit rows, multiples of a_i B.
        weights: (N, c) w_i.
        linear: (c, d) LB.
        metric: (d, d) BᵀB.
    """

    basis: FloatArray
    rows: FloatArray
    weights: FloatArray
    linear: FloatArray
    metric: FloatArray

    @cached_property
    def roots(self) -> FloatArray:
        """The 2^d cones (2^d, d, d) that cover the space; number r has +e_j where bit j of r is set, else −e_j."""
        d = len(self.metric)
        numbers = np.arange(1 << d)[:, None]
        signs = np.where((numbers >> np.arange(d)) & 1, 1.0, -1.0)
        return np.asarray(signs[:, None, :] * np.eye(d))

    def value(self, t: FloatArray) -> FloatArray:
        """‖f(u)‖/‖u‖ at the columns t (d×m)."""
        output = self.linear @ t + self.weights.T @ np.maximum(self.rows @ t, 0.0)
        value: FloatArray = np.linalg.norm(output, axis=0) / np.linalg.norm(self.basis @ t, axis=0)
        return value


def basis_of(transform: FloatArray) -> FloatArray:
    """A basis of R^d from the whitening transform (d×k) and, where k < d, directions that no row sees."""
    rest = null_space(transform.T)
    size = float(np.linalg.norm(transform)) / np.sqrt(transform.shape[1])
    basis: FloatArray = np.hstack([transform, size * rest])
    return basis


def output_of(program: Program, W: FloatArray, basis: FloatArray) -> Output:
    """The output ``(ω∘W)ᵀφ`` of a program with z = u and the identity as metric (``formulations.merge_rows``).

    With ``(−z)₊ = (z)₊ − z`` the opposite activations become a linear part.
    """
    A = program.space.generators
    N = len(A)
    features = np.zeros((2 * N, W.shape[1]))
    features[program.feature] = program.weight[:, None] * W
    rows = A @ basis
    length = np.linalg.norm(rows, axis=1)
    return Output(
        basis=basis,
        rows=rows / length[:, None],
        weights=(features[:N] + features[N:]) * length[:, None],
        linear=-(features[N:].T @ rows),
        metric=basis.T @ basis,
    )
