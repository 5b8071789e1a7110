"""What a leaf of a subdivision needs: ``‖f(u)‖² ≤ uᵀPu`` on a simplicial cone, for ``f(u) = Σ_i w_i (a_i·u)₊ + Lu``.

There u = Σ t_j v_j with t ≥ 0. By Theorem 6 (docs/mathematics.md) the leaf holds if for some unit vector p and some η >
0 the d×d matrix ``M = VᵀPV − xxᵀ − (1+η)QᵀQ − (1+1/η)yyᵀ`` is copositive, where x and y bound f along p and across it.
p, η, x, q and y are chosen here, from the data.

Rounding: the values z_ij = a_i·v_j are computed in floating point. As f is a sum of 1-Lipschitz functions of them, an
error in z, in w and in the sums changes f(u) by at most ``D Σ t_j``, with one number D for leaves of a depth, and D is
added to x and y. Copositivity only needs lower bounds of the entries of M, so every rounding error is subtracted there.
``LeafTest`` lists all sources of error.
"""

from collections.abc import Iterator
from typing import Self

import numpy as np

from certificates.arithmetic.floating import TINY, UNIT, Enclosure
from certificates.copositivity import are_copositive
from certificates.failure import Deadline, require
from formulations.arrays import FloatArray, IntArray

CHUNK_ENTRIES = 1 << 21
"""Entries of a temporary array; fewer leaves are taken at a time where many rows cross."""


class LeafTest:
    """The test of leaves for one function ``f(u) = Σ w_i (a_i·u)₊ + Lu`` and E = P in the coordinates of a basis, with
    the constants that its rounding errors need.

    Let u = 2^−53, S = Σ_i ‖w_i‖₁‖a_i‖₁ + ‖L‖₁ (``size``), G = Σ|E_jk| (``metric_size``), m the depth of the leaf, and
    R = 4(N + 8d + 8c + 64) + 24m (``rounding``). D = 1.01 (enclosed + R u S) is added to x and 2D to y. Everything
    exact is about the true rows, weights and vertices; ``|v_j| ≤ 1`` in all entries. All bounds are per unit of t_j.

    ===================================  ===================================  ==========================================
    source                               what it changes at most              term that covers it
    ===================================  ===================================  ==========================================
    radii of a_i, w_i, L                 f by Σ‖w‖ δa + δw(‖a‖+δa) + δL        ``enclosed`` in D: once in x, twice in y
    radii of E                           v_iᵀEv_j by Σ δE                      ``metric_error``
    vertices: 3u a cut in each entry     f by 4mu S, v_iᵀEv_j by 8mu G         24m in D and in ``lost``
    a_i·v_j, at the root and here, and   f, (p·w)σ and ‖w−(p·w)p‖σ by du S      32d in D
    signs and σ that follow from it      each
    L + Σ w_i a_iᵀ over active rows      f by (N+1)u S                         4N in D, 8N in y
    P = Lv + Σ w_i (a_i·v)₊              P by (N+d+1)u S                       the same, and 32d
    p·w_i, p·P                           x by 2cu S                            32c in D
    ‖p‖ ≠ 1, by (c/2+3)u                 x by (c+6)u S, q and y by as much     32c in D, 64c in y
    sums over i in x and y               (N+2)u S                              4N in D, 8N in y
    w_i − (p·w_i)p and its length        y by (c+4)u S, also if it cancels     64c in y
    q = P − (p·P)p                       ‖Σ t_j q_j‖ by (c+4)u S Σ t_j         y, into which it may be counted
    v_iᵀEv_j                             2du G                                 32d in ``lost``
    x_i x_j, q_i·q_j, y_i y_j, 1+η, 1/    (c+15)u of the sum of their sizes    32(c+4)u times that sum
    and the sums that make M
    underflow in x, y, P                 2^−1075 Nc, hence M by less than       D where S > 2^−1000, else the 2^−1022
                                         2^−2000                               in the radii of E
    underflow in products that make M    2^−1075 (c+8), times up to 1.01e8      the radii of E; 1e9 (c+8) 2^−1022
    D, S and G themselves                a factor 1 ± (N+c+d)u                  1.01
    ===================================  ===================================  ==========================================

    So N is needed at most three times of four in x, d five times of 32, c four times of 32. p, η and the choice between
    the two bounds on s need no error terms: any will do.
    """

    def __init__(self, rows: Enclosure, weights: Enclosure, linear: Enclosure, metric: Enclosure) -> None:
        """Of a_i (N×d), w_i (N×c), L (c×d) and E (d×d)."""
        self.rows, self.weights, self.linear, self.metric = rows.mid, weights.mid, linear.mid, metric.mid
        (N, d), c = rows.shape, weights.shape[1]
        row_size, row_error = np.abs(self.rows).sum(axis=1), rows.rad.sum(axis=1)
        weight_size, weight_error = np.abs(self.weights).sum(axis=1), weights.rad.sum(axis=1)
        # Vertices have entries in [−1, 1], up to rounding that the factors 1.01 cover.
        self.size = 1.01 * float(weight_size @ row_size + np.abs(self.linear).sum())
        self.enclosed = 1.01 * float(weight_size @ row_error + weight_error @ (row_size + row_error) + linear.rad.sum())
        self.metric_size = 1.01 * float(np.abs(self.metric).sum())
        self.metric_error = 1.01 * float(metric.rad.sum())
        self.operations = 4 * (N + 8 * d + 8 * c + 64)

    @classmethod
    def in_basis(cls, generators: FloatArray, features: Enclosure, square: Enclosure, basis: FloatArray) -> Self:
        """Of ``Σ_i W_i (a_i·u)₊ + W_{N+i} (−a_i·u)₊`` for features W (2N×c), with (−z)₊ = (z)₊ − z, and P (d×d)."""
        N, outputs, B = len(generators), np.arange(features.shape[1]), Enclosure.exact(basis)
        rows, below = Enclosure.exact(generators) @ B, features.take(np.arange(N, 2 * N), outputs)
        parts = rows, features.take(np.arange(N), outputs) + below, -(below.T @ rows), B.T @ (square @ B)
        require(all(part.finite for part in parts), "numbers overflow in the coordinates of the basis")
        return cls(*parts)

    def failures(self, root: FloatArray, cones: FloatArray, depth: int, deadline: Deadline) -> Iterator[int]:
        """The numbers of those of these cones (m, d, d), all within a root (d, d), for which the test fails."""
        at_root = self.rows @ root
        crossing = np.flatnonzero((at_root > 0).any(axis=1) & (at_root < 0).any(axis=1))
        active = (at_root >= 0).all(axis=1)
        linear = self.linear + self.weights[active].T @ self.rows[active]
        d, outputs = len(root), self.weights.shape[1]
        step = max(1, CHUNK_ENTRIES // (len(crossing) * (d + outputs) + d * (d + outputs)))
        for begin in range(0, len(cones), step):
            deadline.check()
            M = self._matrices(linear, crossing, cones[begin : begin + step], depth)
            yield from (begin + np.flatnonzero(~are_copositive(M, deadline))).tolist()

    def _matrices(self, linear: FloatArray, crossing: IntArray, cones: FloatArray, depth: int) -> FloatArray:
        """Lower bounds (m, d, d) of the entries of M."""
        w = self.weights[crossing]
        z = self.rows[crossing] @ cones
        above, below = np.maximum(z, 0.0), np.maximum(-z, 0.0)
        P = linear @ cones + w.T @ above
        gram = cones.transpose(0, 2, 1) @ self.metric @ cones
        norm = np.sqrt(np.maximum(np.einsum("mjj->mj", gram), 1e-300))
        p = _unit(np.sum(P / norm[:, None, :], axis=2))
        # Of the two bounds on s, the one with the smaller sum; their difference is z.
        nearer = self.rows[crossing] @ cones.sum(axis=2)[:, :, None] < 0
        slack = np.where(nearer, above, below)
        share = p @ w.T
        rounding = self.operations + 24 * depth
        D = 1.01 * (self.enclosed + rounding * UNIT * self.size)
        middle = np.einsum("mc,mcj->mj", p, P)
        x = middle + np.einsum("mi,mij->mj", np.maximum(-share, 0.0), slack)
        x = np.maximum(x, -(middle - np.einsum("mi,mij->mj", np.maximum(share, 0.0), slack)))
        x = np.maximum(x, 0.0) + D
        lost = rounding * UNIT * self.metric_size + self.metric_error
        outer = x[:, :, None] * x[:, None, :]
        M = gram - outer
        size = np.abs(gram) + outer
        if w.shape[1] > 1:
            length, scaled = _by_largest(np.stack([w[:, q] - share * p[:, q, None] for q in range(w.shape[1])]))
            aside = np.sqrt(np.sum(scaled * scaled, axis=0)) * length
            y = np.einsum("mi,mij->mj", aside, slack) + 2.0 * D
            Q = P - p[:, :, None] * middle[:, None, :]
            first = np.sum((Q / norm[:, None, :]) ** 2, axis=(1, 2))
            second = np.sum((y / norm) ** 2, axis=1)
            eta = _balance(second, first)[:, None, None]
            square = Q.transpose(0, 2, 1) @ Q
            outer = y[:, :, None] * y[:, None, :]
            M = M - (1.0 + eta) * square - (1.0 + 1.0 / eta) * outer
            length = np.linalg.norm(Q, axis=1)
            size = size + (1.0 + eta) * length[:, :, None] * length[:, None, :] + (1.0 + 1.0 / eta) * outer
            # Products that underflow are multiplied by 1 + η or 1 + 1/η, at most 1.01e8.
            lost += 1e9 * (w.shape[1] + 8.0) * TINY
        lower: FloatArray = M - (lost + 32.0 * (w.shape[1] + 4) * UNIT * size)
        return lower


def _balance(second: FloatArray, first: FloatArray) -> FloatArray:
    """η for each leaf; NaN where a sum is NaN, and any other positive number would do."""
    eta: FloatArray = np.clip(np.sqrt(second / np.maximum(first, 1e-300)), 1e-8, 1e4)
    return eta


def _by_largest(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The largest size in each vector, along the first axis, and the vectors over it.

    Squares of the quotients neither overflow nor underflow in sum. Lengths that did were no lengths, and false claims
    passed with them.
    """
    size = np.abs(vectors).max(axis=0)
    return size, vectors / np.where(size > 0, size, 1.0)


def _unit(vectors: FloatArray) -> FloatArray:
    """Rows of unit length, up to rounding; e_1 for zero rows, NaN where an entry is not finite."""
    size, scaled = _by_largest(vectors.T)
    scaled[0, size == 0] = 1.0
    unit: FloatArray = (scaled / np.sqrt(np.sum(scaled * scaled, axis=0))).T
    return unit
