"""The curvature of a loss, row by row, and the Newton systems that it makes with the columns of a group lasso."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from certificates.failure import Deadline
from certnet.solvers.iterations import conjugate_gradients
from formulations._validation import FloatArray

LARGEST_DIRECT_SYSTEM = 2500  # Order up to which a Newton system is factored; beyond, conjugate gradients.
BLOCK_ENTRIES = 1 << 21
"""Entries of a temporary array, which would otherwise grow with rows times neurons times outputs."""


@dataclass(frozen=True, eq=False)
class Curvature:
    """The positive definite Hessian ``diag(diagonal_i) − row_i row_iᵀ = S_i²`` of each row.

    ``diagonal`` is (n, c), or (n, 1) where it is the same for all outputs; ``row`` is (n, c), or None where outputs do
    not depend on one another.
    """

    diagonal: FloatArray
    row: FloatArray | None

    @property
    def is_uniform(self) -> bool:
        """Whether S is one number for each row."""
        return self.row is None and self.diagonal.shape[1] == 1

    @cached_property
    def _is_identity(self) -> bool:
        return self.is_uniform and bool((self.diagonal == 1.0).all())

    @cached_property
    def _matrices(self) -> tuple[FloatArray, FloatArray]:
        """S_i and its inverse, (n, c, c) each."""
        assert self.row is not None
        unit = np.eye(self.row.shape[1])
        values, vectors = np.linalg.eigh(self.diagonal[:, :, None] * unit - self.row[:, :, None] * self.row[:, None, :])
        roots = np.sqrt(np.maximum(values, 1e-16 * np.maximum(values[:, -1:], 1e-300)))[:, None, :]
        turned = vectors.transpose(0, 2, 1)
        return (vectors * roots) @ turned, (vectors / roots) @ turned

    def root(self, F: FloatArray) -> FloatArray:
        """SF for F (n, c), or for each column of F (n, c, k)."""
        if self._is_identity:
            return F
        if self.row is None:
            return np.asarray(np.sqrt(self.diagonal if F.ndim == 2 else self.diagonal[:, :, None]) * F)
        S = self._matrices[0]
        return np.asarray((S @ F[:, :, None])[:, :, 0] if F.ndim == 2 else S @ F)

    def inverse_root(self, F: FloatArray) -> FloatArray:
        """S⁻¹F for F (n, c)."""
        if self.row is None:
            return np.asarray(F / np.sqrt(self.diagonal))
        return np.asarray((self._matrices[1] @ F[:, :, None])[:, :, 0])

    def lengths(self, H: FloatArray) -> FloatArray:
        """(m,) root mean square over the outputs of the norms of S(h_j e_p), for the columns of H (n, m)."""
        weight = self.diagonal if self.row is None else self.diagonal - self.row**2
        return np.asarray(np.sqrt(np.maximum(weight.mean(axis=1), 0.0) @ H**2))


def compact(diagonal: FloatArray) -> Curvature:
    """The curvature of this diagonal (n, c), which is one number for each row where that is enough."""
    same = bool((diagonal == diagonal[:, :1]).all())
    return Curvature(diagonal[:, :1] if same else diagonal, None)


def newton_step(H: FloatArray, curvature: Curvature, L: FloatArray, G: FloatArray, deadline: Deadline) -> FloatArray:
    """(I + BBᵀ)⁻¹ G (n×c), where B maps w (a×c) to ``S Σ_j h_j (L_j w_j)ᵀ``.

    H is (n, a), and L are symmetric matrices (a, c, c). Conjugate gradients stop at the deadline.
    """
    (n, c), a = G.shape, H.shape[1]
    if a == 0:
        return G
    same = curvature.is_uniform
    if same:
        H = curvature.root(H)

    def up(w: FloatArray) -> FloatArray:
        fitted = H @ (L @ w[:, :, None])[:, :, 0]
        return np.asarray(fitted if same else curvature.root(fitted))

    def down(F: FloatArray) -> FloatArray:
        return np.asarray((L @ (H.T @ (F if same else curvature.root(F)))[:, :, None])[:, :, 0])

    def iterated() -> FloatArray:
        """Without forming the system, to the accuracy that Newton needs."""
        return conjugate_gradients(
            G.ravel(),
            lambda r: (r, r),
            lambda x: x + up(down(x.reshape(n, c))).ravel(),
            steps=300,
            tolerance=1e-10,
            deadline=deadline,
        ).reshape(n, c)

    if min(a, n) * c > LARGEST_DIRECT_SYSTEM:
        return iterated()
    try:
        if a <= n:
            gram = _gram(H, None if same else curvature, L)
            gram[np.diag_indices(a * c)] += 1.0
            weight = cho_solve(cho_factor(gram, lower=True, overwrite_a=True), down(G).ravel()).reshape(a, c)
            return np.asarray(G - up(weight))
        columns = np.einsum("nj,jpq->npjq", H, L).reshape(n, c, a * c)
        columns = (columns if same else curvature.root(columns)).reshape(n * c, a * c)
        matrix = columns @ columns.T
        matrix[np.diag_indices(n * c)] += 1.0
        return np.asarray(cho_solve(cho_factor(matrix, lower=True, overwrite_a=True), G.ravel()).reshape(n, c))
    except LinAlgError:
        return iterated()


def _gram(H: FloatArray, curvature: Curvature | None, L: FloatArray) -> FloatArray:
    """BᵀB of order ac; without a curvature H holds it already."""
    (n, a), c = H.shape, L.shape[1]
    if curvature is None:
        return np.asarray(np.einsum("ij,ipq,jqr->ipjr", H.T @ H, L, L, optimize=True).reshape(a * c, a * c))
    gram = np.zeros((a, c, a, c))
    for p in range(c):
        gram[:, p, :, p] = H.T @ (curvature.diagonal[:, p, None] * H)
    if curvature.row is not None:
        block = max(1, BLOCK_ENTRIES // (a * c))
        for first in range(0, n, block):
            some = slice(first, first + block)
            rows = (H[some, :, None] * curvature.row[some, None, :]).reshape(-1, a * c)
            gram -= (rows.T @ rows).reshape(gram.shape)
    half = (L @ gram.reshape(a, c, a * c)).reshape(a * c, a, c)
    return np.asarray((half.transpose(1, 0, 2) @ L).transpose(1, 0, 2).reshape(a * c, a * c))
