"""The constraint map on the face, whose forms have rank two, and the Schur complement over them."""

from dataclasses import dataclass

import numpy as np

from formulations import LiftedSpace
from formulations._validation import FloatArray, IntArray

BLOCK_ENTRIES = 1 << 15


@dataclass(frozen=True, eq=False)
class FaceMap:
    """The map ``S ↦ (weight_k · G[first_k, second_k])_k`` with ``G = J S Jᵀ``, on symmetric face matrices S.

    ``first``, ``second`` (positions in λ) and ``weight`` have length K. The pairs are distinct as unordered pairs and
    ``first_k ≠ second_k``, so that the adjoint may assign entries instead of adding them up.
    """

    space: LiftedSpace
    first: IntArray
    second: IntArray
    weight: FloatArray

    def gram(self, S: FloatArray) -> FloatArray:
        """``G = J S Jᵀ``, from which the value of every form of rank two is an entry."""
        return self.space.moment(S)

    def values(self, G: FloatArray) -> FloatArray:
        """Values (K,) at S, given ``G = gram(S)``."""
        values: FloatArray = self.weight * G[self.first, self.second]
        return values

    def __call__(self, S: FloatArray) -> FloatArray:
        """Values (K,) at S."""
        return self.values(self.gram(S))

    def adjoint(self, y: FloatArray) -> FloatArray:
        """``Σ_k y_k A_k`` as a face matrix."""
        form = np.zeros((self.space.order, self.space.order))
        form[self.first, self.second] = 0.5 * self.weight * y
        form += form.T
        return self.space.pull_back(form)

    def schur_diagonal(self, P: FloatArray, Q: FloatArray) -> FloatArray:
        """Diagonal of ``schur`` without scaling or shift."""
        a, b = self.first, self.second
        p, q = np.diag(P), np.diag(Q)
        diagonal: FloatArray = 0.25 * self.weight**2 * (2 * P[a, b] * Q[a, b] + p[a] * q[b] + p[b] * q[a])
        return diagonal

    def schur(self, P: FloatArray, Q: FloatArray, scale: FloatArray) -> FloatArray:
        """Lower triangle (K×K, C order) of ``scale_k ⟨A_k, S A_l M⁻¹⟩ scale_l``.

        ``P`` and ``Q`` are the Gram matrices of S and M⁻¹. Each entry is four products of gathered entries; gathering
        whole rows of tables with K columns keeps the memory access in order, and blocks of rows keep temporaries in
        cache.
        """
        a, b = self.first, self.second
        K = len(a)
        factor = self.weight * scale
        H = np.zeros((K, K))
        step = max(4, BLOCK_ENTRIES // max(K, 1))
        buffers = np.empty((2, step * K))
        for start in range(0, K, step):
            stop = min(K, start + step)
            block = H[start:stop, :stop]
            left, right = buffers[:, : block.size].reshape(2, *block.shape)
            for i, j in ((a, b), (b, a)):
                P_i, Q_j = P[i[start:stop]], Q[j[start:stop]]
                for over, under in ((a, b), (b, a)):
                    x = np.take(P_i, over[:stop], axis=1, out=left, mode="clip")
                    y = np.take(Q_j, under[:stop], axis=1, out=right, mode="clip")
                    x *= y
                    block += x
            block *= 0.25 * factor[start:stop, None]
            block *= factor[:stop]
        return H
