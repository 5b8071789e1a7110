"""Multipliers of products within groups, in units of generators of norm 1: signs, shifts, and balance.

``certificates.making.grouped_bound`` says what shifts and balance are for.
"""

from dataclasses import dataclass

import numpy as np

from formulations.arrays import FloatArray
from formulations.groups import GroupedDual, Groups

_HEAD = 2.0
"""How much larger the shift of the head is: each of its generators holds a group. Measured: pima indians (logistic
loss, γ = 10, 12 groups, 8 shared), ratios 1, 4 and 16 prove 115.5, 116.0 and 113.4."""
_BALANCING, _BALANCED, _NEARLY = 60, 1e-13, 1e-9
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, eq=False)
class Products:
    """Symmetric N over (α, β) of m cliques of s generators, by its blocks (m, s, s); None is a block of zeros."""

    ab: FloatArray
    aa: FloatArray | None = None
    bb: FloatArray | None = None

    @property
    def blocks(self) -> tuple[FloatArray, FloatArray | None, FloatArray | None]:
        """αβ, αα and ββ."""
        return self.ab, self.aa, self.bb

    @classmethod
    def of(cls, N: FloatArray) -> "Products":
        """Views of the blocks of N (m, 2s, 2s)."""
        s = N.shape[1] // 2
        return cls(N[:, :s, s:], N[:, :s, :s], N[:, s:, s:])

    def plus(self, crosswise: FloatArray, factor: float, own: float) -> FloatArray:
        """N (m, 2s, 2s) of ``own`` times this and ``factor`` times a symmetric block (α, β)."""
        m, s, _ = self.ab.shape
        N = np.zeros((m, 2 * s, 2 * s))
        N[:, :s, s:] = own * self.ab + factor * crosswise
        N[:, s:, :s] = N[:, :s, s:].transpose(0, 2, 1)
        for block, where in ((self.aa, slice(s)), (self.bb, slice(s, 2 * s))):
            if block is not None:
                np.multiply(block, own, out=N[:, where, where])
        return N


@dataclass(frozen=True, eq=False)
class Multipliers:
    """N of the groups and of the head, and t, in units of unit generators."""

    groups: Products
    head: Products
    t: FloatArray


def projected(dual: GroupedDual, norm: FloatArray, factor: float) -> Multipliers:
    """``factor`` times those of a dual, for generators divided by their ``norm`` (N,): with signs, symmetry and t
    apart."""
    groups, scaled = dual.groups, dual.scaled(1.0, 1.0 / norm)
    (m, s), r = groups.rows.shape, groups.shared
    at, index = np.arange(m * r), np.arange(s)
    real = np.tile(groups.rows < groups.neurons, 2)
    scaled.blocks[~(real[:, :, None] & real[:, None, :])] = 0.0
    for N in (scaled.blocks, scaled.head):
        N *= 0.5 * factor
        N += N.swapaxes(-1, -2).copy()
        N[~np.isfinite(N)] = 0.0
    blocks, head = scaled.blocks, scaled.head
    t = np.zeros(groups.neurons + 1)
    t[groups.rows] = 2.0 * blocks[:, index, s + index]
    t[groups.head] += 2.0 * head[at, m * r + at]
    least = _NEGLIGIBLE * max(float(blocks.max()), float(head.max()))
    for N in (blocks, head):
        N[~(least < N)] = 0.0
    blocks[:, index, s + index] = blocks[:, s + index, index] = 0.0
    head[at, m * r + at] = head[m * r + at, at] = 0.0
    return Multipliers(Products.of(blocks), Products.of(head[None]), t[:-1])


def shift(groups: Groups, w: FloatArray | None, thin: float = 1.0) -> Multipliers:
    """``thin Σ α_iβ_i``, taken off t, and the shift of each group and of the head that leaves the null vectors with
    these w (N,) > 0, if there are any."""
    (m, s), r = groups.rows.shape, groups.shared
    t = np.zeros(groups.neurons + 1)
    own, head = np.zeros((m, s)), np.zeros(m * r)
    if w is not None:
        own, head = groups.padded(w), w[groups.head]
        own, head = own / np.linalg.norm(own, axis=1)[:, None], head / np.linalg.norm(head)
        np.add.at(t, groups.rows, own**2 - 1.0)
        t[groups.head] += _HEAD * (head**2 - 1.0)
    crosswise, across = 0.5 * own[:, :, None] * own[:, None, :], 0.5 * _HEAD * np.outer(head, head)
    crosswise[:, np.arange(s), np.arange(s)] = 0.0
    np.fill_diagonal(across, 0.0)
    return Multipliers(Products(crosswise), Products(across[None]), t[:-1] - thin)


def balanced(groups: Groups, given: Multipliers, w: FloatArray) -> Multipliers:
    """``D B D⁻¹`` with equal sums of rows and columns, of the groups and the head together, and the t of its sums.

    By Newton's method as ``making.quotient.balance``; its matrix is an arrow of the groups' members before the head.
    """
    own, shared = groups.padded(w), w[groups.head]
    B = given.groups.ab * own[:, :, None] * own[:, None, :]
    C = given.head.ab[0] * np.outer(shared, shared)
    rows, columns = np.zeros(groups.neurons + 1), np.zeros(groups.neurons + 1)
    apart = np.inf
    for _ in range(_BALANCING):
        rows[:] = columns[:] = 0.0
        np.add.at(rows, groups.rows, B.sum(axis=2))
        np.add.at(rows, groups.head, C.sum(axis=1))
        np.add.at(columns, groups.rows, B.sum(axis=1))
        np.add.at(columns, groups.head, C.sum(axis=0))
        rows[-1] = columns[-1] = 0.0
        largest = float(rows.max(initial=0.0))
        before, apart = apart, float(np.abs(rows - columns).max()) / max(largest, 1e-300)
        # Newton's last steps only move rounding errors about.
        if not apart > _BALANCED or (apart < _NEARLY and not apart < 0.5 * before):
            break
        y = _arrow_solve(groups, B + B.transpose(0, 2, 1), C + C.T, rows + columns, columns - rows)
        y *= min(1.0, 2.0 / max(float(np.abs(y).max()), 1e-300))
        local, at = np.exp(y[groups.rows]), np.exp(y[groups.head])
        B *= local[:, :, None] / local[:, None, :]
        C *= at[:, None] / at[None, :]
    scale = np.where(own > 0, own, 1.0)
    B /= scale[:, :, None] * scale[:, None, :]
    C /= np.outer(shared, shared)
    return Multipliers(Products(B), Products(C[None]), -(rows + columns)[:-1] / w**2)


def _arrow_solve(groups: Groups, B: FloatArray, C: FloatArray, diagonal: FloatArray, right: FloatArray) -> FloatArray:
    """y (N+1,) with ``(diag(diagonal) − B − C) y = right``, a little regularised, for symmetric B and C."""
    (m, s), r = groups.rows.shape, groups.shared
    largest = float(diagonal.max(initial=0.0)) or 1.0
    local = diagonal[groups.rows] + 1e-11 * largest
    local[groups.rows == groups.neurons] = largest
    P = local[:, r:, None] * np.eye(s - r) - B[:, r:, r:]
    cross, given = B[:, r:, :r], right[groups.rows][:, r:, None]
    solved = np.linalg.solve(P, np.concatenate([cross, given], axis=2))
    head = np.diag(diagonal[groups.head] + 1e-11 * largest) - C
    b = right[groups.head].reshape(m, r) + (cross.transpose(0, 2, 1) @ solved[:, :, -1:])[:, :, 0]
    for g in range(m):
        where = slice(g * r, (g + 1) * r)
        head[where, where] -= B[g, :r, :r] + cross[g].T @ solved[g, :, :-1]
    y = np.zeros(groups.neurons + 1)
    at = np.linalg.solve(head + largest / len(head) ** 2 * 1e-3, b.ravel())
    y[groups.head] = at
    members = solved[:, :, -1] + (solved[:, :, :-1] @ at.reshape(m, r, 1))[:, :, 0]
    y[groups.rows[:, r:]] = members
    y[-1] = 0.0
    return y
