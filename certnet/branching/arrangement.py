"""The hyperplanes ``a_i·z = 0`` of all neurons: which sides of some follow from the sides of others.

By Farkas, the signs σ imply ``s a_i·z ≥ 0`` exactly if ``s a_i`` is a nonnegative combination of the rows ``σ_j a_j``.
Nonnegative least squares finds the combination or a point that refutes it; a sign counts as implied only once the
combination has been confirmed in rational arithmetic, so that a certificate can be written for it.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.optimize import nnls

from certificates.combination import positive_dependence
from certificates.failure import ProofFailure
from certificates.tree import ImpliedSign
from formulations import ACTIVE, FREE, INACTIVE
from formulations._validation import FloatArray, IntArray, as_matrix, frozen
from formulations.errors import InputError

TOLERANCE = 1e-9
"""What counts as zero between unit vectors. It only decides what is tried: proofs are exact."""

_RANK = 1e-13
_SMALL = 1e-10
"""Coefficients below this fraction of the largest are left out at first; the exact residual brings back what is
needed."""


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Generators with well-conditioned coordinates for floating-point work.

    Attributes:
        generators: (N, k) rows a_i as the checker sees them, none zero.
        units: (N, r) unit rows in the coordinates w, r = rank; ``a_i·z`` and ``units_i·w`` have the same sign.
        back: (k, r) the linear map from w to z.
    """

    generators: FloatArray
    units: FloatArray
    back: FloatArray

    @classmethod
    def of(cls, generators: FloatArray) -> "Arrangement":
        """Whiten the unit rows, so that badly scaled or correlated columns do not matter.

        Raises:
            InputError: the generators are no finite matrix or have a zero row.
        """
        A = as_matrix("generators", generators)
        size = np.abs(A).max(axis=1, keepdims=True)
        if not size.all():
            raise InputError("generators must not have zero rows; merge the rows of the data first.")
        scaled = A / size
        left, values, right = np.linalg.svd(scaled / np.linalg.norm(scaled, axis=1, keepdims=True), full_matrices=False)
        rank = int(np.count_nonzero(values > _RANK * values[0]))
        units = left[:, :rank] / np.linalg.norm(left[:, :rank], axis=1, keepdims=True)
        back = right[:rank].T / values[:rank]
        for array in (A, units, back):
            frozen(array)
        return cls(A, units, back)

    @property
    def neurons(self) -> int:
        """N."""
        return len(self.generators)

    @property
    def rank(self) -> int:
        """Dimension of the coordinates w."""
        return int(self.units.shape[1])

    def support_of_implied(
        self, signs: IntArray, neuron: int, sign: int, *, among: IntArray | None = None
    ) -> tuple[int, ...] | None:
        """Few fixed neurons whose signs prove ``sign · a_neuron·z ≥ 0``, or None when no exact proof is found.

        Args:
            signs: (N,) +1, −1 or 0 (free); the neuron's own entry is not used.
            neuron: i.
            sign: +1 or −1.
            among: neurons to use, all of them fixed; every fixed one by default.

        Returns:
            Neurons j with ``sign·a_i = Σ c_j σ_j a_j``, c > 0, verified in rational arithmetic; their rows are
            independent.
        """
        _check_sign(sign)
        rows = np.flatnonzero(signs) if among is None else among
        rows = rows[rows != neuron]
        target = sign * self.units[neuron]
        support = np.zeros(0, dtype=np.int64)
        for _ in range(self.rank):
            found = self._combination(signs, support, np.setdiff1d(rows, support), target)
            if found is None or len(found) == 0:
                return None
            support = np.concatenate([support, found])
            if self._verify(signs, support, neuron, sign):
                return tuple(support.tolist())
            # Rounding has moved the neuron's row off the span of the support. The residual, taken exactly, is a new
            # target modulo that span.
            target = self._residual(signs, support, neuron, sign)
        return None

    def implied_signs(self, signs: IntArray) -> tuple[ImpliedSign, ...]:
        """Every free sign that the fixed ones imply, with its support, in any dimension.

        Costs up to one nonnegative least-squares problem for each sign of each free neuron. In few dimensions a
        ``Cone`` is much cheaper.
        """
        fixed = np.flatnonzero(signs)
        possible = np.repeat((signs == FREE)[:, None], 2, axis=1)
        implied = []
        for neuron, column in np.ndindex(self.neurons, 2):
            if len(fixed) == 0 or not possible[neuron, column]:
                continue
            sign = (ACTIVE, INACTIVE)[column]
            solved = _least_squares((signs[:, None] * self.units)[fixed], sign * self.units[neuron])
            if solved is None:
                continue
            point = solved[1]
            if not np.linalg.norm(point) <= TOLERANCE:
                # The point lies in the cone of the node and refutes every sign that it does not have.
                side = self.units @ (point / np.linalg.norm(point))
                possible &= np.stack([side >= -TOLERANCE, side <= TOLERANCE], axis=1)
                continue
            support = self.support_of_implied(signs, neuron, sign)
            if support is not None:
                implied.append(ImpliedSign(neuron, sign, support))
                possible[neuron] = False
        return tuple(implied)

    def _combination(self, signs: IntArray, support: IntArray, rows: IntArray, target: FloatArray) -> IntArray | None:
        """Independent rows, modulo the span of ``support``, in whose cone ``target`` lies up to rounding."""
        table = signs[rows, None] * self.units[rows]
        if len(support):
            basis = np.linalg.qr(self.units[support].T).Q
            table = table - (table @ basis) @ basis.T
            target = target - basis @ (basis.T @ target)
        size = np.linalg.norm(table, axis=1)
        outside, length = size > TOLERANCE, float(np.linalg.norm(target))
        if not (outside.any() and length > 0):
            return None
        solved = _least_squares(table[outside] / size[outside, None], target / length)
        if solved is None or not np.linalg.norm(solved[1]) <= TOLERANCE:
            return None
        coefficients = solved[0]
        used: IntArray = rows[outside][coefficients > _SMALL * coefficients.max()]
        return used

    def _verify(self, signs: IntArray, support: IntArray, neuron: int, sign: int) -> bool:
        """Whether ``sign·a_i`` is a positive combination of the supporting rows, confirmed as the checker does it."""
        rows = np.vstack([signs[support, None] * self.generators[support], -sign * self.generators[neuron]])
        try:
            positive_dependence(rows, f"the sign of neuron {neuron}")
        except ProofFailure:
            return False
        return True

    def _residual(self, signs: IntArray, support: IntArray, neuron: int, sign: int) -> FloatArray:
        """``sign·a_i − Σ c_j σ_j a_j`` for the least-squares c, without cancellation, in the coordinates of units."""
        rows = signs[support, None] * self.generators[support]
        goal = sign * self.generators[neuron]
        # Solved in the whitened coordinates, where it is well conditioned; the difference is formed exactly.
        c = np.linalg.lstsq((rows @ self.back).T, self.back.T @ goal)[0]
        exact = [
            Fraction(g) - sum((Fraction(x) * Fraction(y) for x, y in zip(c.tolist(), column, strict=True)), Fraction(0))
            for g, column in zip(goal.tolist(), rows.T.tolist(), strict=True)
        ]
        residual: FloatArray = np.array([float(x) for x in exact]) @ self.back
        return residual


def _check_sign(sign: int) -> None:
    if sign not in (ACTIVE, INACTIVE):
        raise InputError(f"a sign is +1 or −1, not {sign}.")


def _least_squares(rows: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Coefficients c ≥ 0 with ``Σ c_j rows_j`` nearest to the target, and the point ``Σ c_j rows_j − target``.

    At the optimum the point z has ``rows·z ≥ 0`` and ``target·z = −‖z‖²``. None when the method runs out of iterations.
    """
    try:
        coefficients, _ = nnls(rows.T, target)
    except RuntimeError:
        return None
    return coefficients, rows.T @ coefficients - target
