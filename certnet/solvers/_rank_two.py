"""Linear maps whose constraint matrices have rank two, and the Schur complement of an interior point over them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from formulations._validation import FloatArray, IntArray

BLOCK_ENTRIES = 1 << 17


@dataclass(frozen=True, eq=False)
class RankTwoMap:
    """The map ``S ↦ (weight_k · rows[first_k]ᵀ S rows[second_k])_k`` on symmetric m×m matrices.

    ``rows`` is R×m; ``first``, ``second`` and ``weight`` have length K. The pairs are distinct as unordered pairs and
    ``first_k ≠ second_k``, so that the adjoint may assign entries instead of adding them up.
    """

    rows: FloatArray
    first: IntArray
    second: IntArray
    weight: FloatArray

    def gram(self, S: FloatArray) -> FloatArray:
        """``rows · S · rowsᵀ`` (R×R), from which every value is an entry."""
        return self.rows @ S @ self.rows.T

    def __call__(self, S: FloatArray) -> FloatArray:
        """Values (K,) at S."""
        values: FloatArray = self.weight * self.gram(S)[self.first, self.second]
        return values

    def adjoint(self, y: FloatArray) -> FloatArray:
        """``Σ_k y_k weight_k ½(r_first r_secondᵀ + r_second r_firstᵀ)``, an m×m matrix."""
        form = np.zeros((len(self.rows), len(self.rows)))
        form[self.first, self.second] = 0.5 * self.weight * y
        form += form.T
        return self.rows.T @ form @ self.rows

    @cached_property
    def _order(self) -> tuple[IntArray, IntArray]:
        return np.ascontiguousarray(self.first), np.ascontiguousarray(self.second)

    def schur_diagonal(self, P: FloatArray, Q: FloatArray) -> FloatArray:
        """Diagonal of ``schur`` without scaling or shift."""
        a, b = self._order
        p, q = np.diag(P), np.diag(Q)
        diagonal: FloatArray = 0.25 * self.weight**2 * (2 * P[a, b] * Q[a, b] + p[a] * q[b] + p[b] * q[a])
        return diagonal

    def schur(self, P: FloatArray, Q: FloatArray, scale: FloatArray) -> FloatArray:
        """Lower triangle (K×K, C order) of ``scale_k ⟨A_k, S A_l M⁻¹⟩ scale_l``.

        ``P`` and ``Q`` are the Gram matrices of S and M⁻¹. Each entry is four products of gathered entries; gathering
        whole rows of R×K tables keeps the memory access in order, and blocks of rows keep temporaries in cache.
        """
        a, b = self._order
        K = len(a)
        factor = self.weight * scale
        Pa, Pb = P[:, a] * factor, P[:, b] * factor
        Qa, Qb = Q[:, a], Q[:, b]
        H = np.zeros((K, K))
        step = max(16, BLOCK_ENTRIES // max(K, 1))
        for start in range(0, K, step):
            stop = min(K, start + step)
            i, j = a[start:stop], b[start:stop]
            block = Pa[j, :stop] * Qb[i, :stop]
            block += Pb[j, :stop] * Qa[i, :stop]
            block += Pa[i, :stop] * Qb[j, :stop]
            block += Pb[i, :stop] * Qa[j, :stop]
            block *= 0.25 * factor[start:stop, None]
            H[start:stop, :stop] = block
        return H
