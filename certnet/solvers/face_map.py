"""The constraint map on the face: forms of rank two and a few dense ones, and the Schur complement over them."""

from dataclasses import dataclass

import numpy as np

from formulations import LiftedSpace
from formulations._validation import FloatArray, IntArray

BLOCK_ENTRIES = 1 << 15


@dataclass(frozen=True, eq=False)
class FaceMap:
    """The map ``S ↦ (⟨Q_i, G_ee⟩)_i, (weight_k · G[first_k, second_k])_k`` on symmetric face matrices S.

    G = J S Jᵀ is extended by ``rows`` (r, order): position order + i means the linear form ``rows[i]·λ``.
    ``quadratics`` is (q, m, m), symmetric, over the last m coordinates e of (β, z). ``first``, ``second`` (positions in
    the extended λ) and ``weight`` have length K, with ``first_k ≠ second_k``. Beyond the first ``repeatable`` pairs
    they are distinct as unordered pairs, so that the adjoint may assign entries instead of adding them up.
    """

    space: LiftedSpace
    quadratics: FloatArray
    rows: FloatArray
    first: IntArray
    second: IntArray
    weight: FloatArray
    repeatable: int = 0

    @property
    def end(self) -> slice:
        """The coordinates of λ that the quadratics are over."""
        return slice(self.space.z.stop - self.quadratics.shape[1], self.space.z.stop)

    def gram(self, S: FloatArray) -> FloatArray:
        """``G = J S Jᵀ`` with the rows, from which the value of every form of rank two is an entry."""
        G = self.space.moment(S)
        if not len(self.rows):
            return G
        n = len(G)
        both = np.empty((n + len(self.rows), n + len(self.rows)))
        both[:n, :n], both[n:, :n] = G, self.rows @ G
        both[:n, n:], both[n:, n:] = both[n:, :n].T, both[n:, :n] @ self.rows.T
        return both

    def values(self, G: FloatArray) -> FloatArray:
        """Values (q+K,) at S, given ``G = gram(S)``."""
        dense = (
            self.quadratics.reshape(len(self.quadratics), self.quadratics.shape[1] ** 2) @ G[self.end, self.end].ravel()
        )
        return np.concatenate([dense, self.weight * G[self.first, self.second]])

    def __call__(self, S: FloatArray) -> FloatArray:
        """Values (q+K,) at S."""
        return self.values(self.gram(S))

    def adjoint(self, y: FloatArray) -> FloatArray:
        """``Σ_k y_k A_k`` as a face matrix."""
        order, q = self.space.order, len(self.quadratics)
        extended = np.zeros((order + len(self.rows), order + len(self.rows)))
        entries, again = 0.5 * self.weight * y[q:], self.repeatable
        extended[self.first[again:], self.second[again:]] = entries[again:]
        np.add.at(extended, (self.first[:again], self.second[:again]), entries[:again])
        extended += extended.T
        form = extended[:order, :order]
        if q:
            form[self.end, self.end] += (y[:q] @ self.quadratics.reshape(q, -1)).reshape(self.quadratics.shape[1:])
        if len(self.rows):
            mixed = extended[:order, order:] @ self.rows
            form = form + mixed + mixed.T + self.rows.T @ extended[order:, order:] @ self.rows
        return self.space.pull_back(form)

    def schur_diagonal(self, P: FloatArray, Q: FloatArray) -> FloatArray:
        """Diagonal of ``schur`` without scaling or shift."""
        a, b = self.first, self.second
        p, q = np.diag(P), np.diag(Q)
        products = 0.25 * self.weight**2 * (2 * P[a, b] * Q[a, b] + p[a] * q[b] + p[b] * q[a])
        e = self.end
        return np.concatenate([[np.sum((F @ P[e, e] @ F) * Q[e, e]) for F in self.quadratics], products])

    def schur(self, P: FloatArray, Q: FloatArray, scale: FloatArray) -> FloatArray:
        """Lower triangle (C order) of ``scale_k ⟨A_k, S A_l M⁻¹⟩ scale_l``, of order q+K.

        ``P`` and ``Q`` are the Gram matrices of S and M⁻¹.
        """
        q = len(self.quadratics)
        products = self._schur_of_products(P, Q, scale[q:])
        if not q:
            return products
        H = np.zeros((len(scale), len(scale)))
        H[q:, q:] = products
        e, a, b = self.end, self.first, self.second
        for i, F in enumerate(self.quadratics):
            left, right = P[:, e] @ F, Q[:, e]
            mixed = np.sum(left[a] * right[b], axis=1) + np.sum(left[b] * right[a], axis=1)
            H[q:, i] = 0.5 * scale[i] * scale[q:] * self.weight * mixed
            both = left[e] @ right[e].T
            H[i, : i + 1] = scale[i] * scale[: i + 1] * np.sum(self.quadratics[: i + 1] * both, axis=(1, 2))
        return H

    def _schur_of_products(self, P: FloatArray, Q: FloatArray, scale: FloatArray) -> FloatArray:
        """The part of forms of rank two: each entry is four products of gathered entries.

        Gathering whole rows of tables with K columns keeps the memory access in order, and blocks of rows keep
        temporaries in cache.
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
