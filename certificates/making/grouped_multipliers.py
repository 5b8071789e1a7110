"""Multipliers of products within groups, in units of generators of norm 1: signs, shifts, and balance.

``certificates.making.grouped_bound`` says what shifts and balance are for.
"""

from dataclasses import dataclass

import numpy as np

from certificates.making.shifted import crosswise
from formulations.arrays import FloatArray
from formulations.groups import GroupedDual, Groups

_HEAD = 2.0
"""How much larger the shift of the head is: each of its generators holds a group. Measured: pima indians (logistic
loss, γ = 10, 12 groups, 8 shared), ratios 1, 4 and 16 prove 115.5, 116.0 and 113.4."""
_BALANCING, _BALANCED, _NEARLY = 60, 1e-13, 1e-9
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, eq=False)
class Multipliers:
    """N of the groups and of the head, and t, in units of unit generators."""

    blocks: FloatArray
    head: FloatArray
    t: FloatArray

    def plus(self, other: "Multipliers", factor: float, own: float = 1.0) -> "Multipliers":
        return Multipliers(
            own * self.blocks + factor * other.blocks,
            own * self.head + factor * other.head,
            own * self.t + factor * other.t,
        )


def projected(dual: GroupedDual, norm: FloatArray, gamma: float) -> Multipliers:
    """Those of a dual, for generators divided by their ``norm`` (N,), with signs, symmetry and t apart."""
    groups = dual.groups
    (m, s), r = groups.rows.shape, groups.shared
    size = np.concatenate([groups.padded(norm)] * 2, axis=1)
    both = np.tile(norm[groups.head], 2)
    blocks = gamma * dual.blocks * (size[:, :, None] * size[:, None, :])
    head = gamma * dual.head * np.outer(both, both)
    blocks, head = 0.5 * (blocks + blocks.transpose(0, 2, 1)), 0.5 * (head + head.T)
    blocks, head = np.where(np.isfinite(blocks), blocks, 0.0), np.where(np.isfinite(head), head, 0.0)
    at, index = np.arange(m * r), np.arange(s)
    t = np.zeros(groups.neurons + 1)
    t[groups.rows] = 2.0 * blocks[:, index, s + index]
    t[groups.head] += 2.0 * head[at, m * r + at]
    least = _NEGLIGIBLE * max(float(blocks.max()), float(head.max()))
    blocks, head = np.where(blocks > least, blocks, 0.0), np.where(head > least, head, 0.0)
    blocks[:, index, s + index] = blocks[:, s + index, index] = 0.0
    head[at, m * r + at] = head[m * r + at, at] = 0.0
    return Multipliers(blocks, head, t[:-1])


def plain_shift(groups: Groups) -> Multipliers:
    """``Σ α_iβ_i``, taken off t."""
    (m, s), r = groups.rows.shape, groups.shared
    return Multipliers(np.zeros((m, 2 * s, 2 * s)), np.zeros((2 * m * r, 2 * m * r)), -np.ones(groups.neurons))


def kept_shift(groups: Groups, w: FloatArray) -> Multipliers:
    """The shift of each group and of the head that leaves the null vectors with these w (N,) > 0."""
    t = np.zeros(groups.neurons + 1)
    (m, s), r = groups.rows.shape, groups.shared
    own, head = groups.padded(w), w[groups.head]
    own = own / np.linalg.norm(own, axis=1)[:, None]
    head = head / np.linalg.norm(head)
    np.add.at(t, groups.rows, own**2 - 1.0)
    t[groups.head] += _HEAD * (head**2 - 1.0)
    within = 0.5 * own[:, :, None] * own[:, None, :] * (1.0 - np.eye(s))
    across = 0.5 * _HEAD * np.outer(head, head) * (1.0 - np.eye(m * r))
    return Multipliers(crosswise(within), crosswise(across), t[:-1])


def balanced(groups: Groups, given: Multipliers, w: FloatArray) -> Multipliers:
    """``D B D⁻¹`` with equal sums of rows and columns, of the groups and the head together, and the t of its sums.

    By Newton's method as ``making.quotient.balance``; its matrix is an arrow of the groups' members before the head.
    """
    (m, s), r = groups.rows.shape, groups.shared
    own, shared = groups.padded(w), w[groups.head]
    B = given.blocks[:, :s, s:] * own[:, :, None] * own[:, None, :]
    C = given.head[: m * r, m * r :] * np.outer(shared, shared)
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
        local, at = y[groups.rows], y[groups.head]
        B = B * np.exp(local[:, :, None] - local[:, None, :])
        C = C * np.exp(at[:, None] - at[None, :])
    scale = np.where(own > 0, own, 1.0)
    B = B / (scale[:, :, None] * scale[:, None, :])
    C = C / np.outer(shared, shared)
    return Multipliers(crosswise(B), crosswise(C), -(rows + columns)[:-1] / w**2)


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
