"""Repair of a dual whose products are those of groups of generators: the price of its W in time linear in the groups.

The slack of ``h²zᵀEz − ‖W̃ᵀφ‖² − φᵀNφ − Σ t_i α_i β_i``, with ``v`` kept as coordinates instead of the square, is a
sum of forms over ``(β, z, v)`` of each group and of the head (``formulations.groups``). Eliminating what belongs to one
group alone, then the shared generators and v, leaves a matrix K over z, and the least h² has ``h²E + K`` semidefinite.

As in ``making.form_bound`` there is a shift τ of t, which makes the eliminations possible, and a factor ν of N. With a
free hidden bias the null vectors of ``making.quotient`` have to stay: B = N_αβ is balanced, and the shift of a group is

    τ (Σ α_iβ_i − (Σ w_iα_i)(Σ w_iβ_i) / Σ w_i²).

A thin plain shift then makes the slack definite. Floating point throughout; the checker decides.
"""

from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from certificates.making.form_bound import golden
from certificates.making.quotient import Quotient
from formulations import Program
from formulations.arrays import FloatArray
from formulations.groups import GroupedDual, Groups

_SHARES, _NEAR, _SHARE_COUNTS = (-18.0, -0.5), 1.5, (9, 7, 7)
"""Logarithms of the shares of the region that are tried, how far from the best ones so far, and how many at once."""
_THIN = 1e-8
"""The plain shift, relative to that which leaves the null vectors."""
_RANGE, _EDGE = (-21.0, 7.0), 1e-4
"""Where the least shift is looked for, as logarithms in units of the multipliers, and how exactly."""
_DECADES, _STEPS = (-4.0, 2.0), 14
"""Where the best one is, relative to the least and beyond it, and how often the interval shrinks to 0.618."""
_FACTORS = ((1.05, 1.2, 1.5, 2.2), (0.95, 0.8, 0.5))
_HEAD = 2.0
"""How much larger the shift of the head is: each of its generators holds a group. Measured: pima indians (logistic
loss, γ = 10, 12 groups, 8 shared), ratios 1, 4 and 16 prove 115.5, 116.0 and 113.4."""
_BALANCING, _BALANCED = 60, 1e-13
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, eq=False)
class _Forms:
    """Quadratic forms of one kind of clique: over (β, z, v) of m cliques of s generators, (m, s+k+c, s+k+c)."""

    own: FloatArray
    head: FloatArray

    def __add__(self, other: "_Forms") -> "_Forms":
        return _Forms(self.own + other.own, self.head + other.head)

    def __mul__(self, factor: float) -> "_Forms":
        return _Forms(factor * self.own, factor * self.head)


class _Slack:
    """The slack of one W (f×c) of a program, as a function of multipliers; generators are of unit size."""

    def __init__(self, program: Program, groups: Groups, W: FloatArray) -> None:
        A, self.c = program.space.generators, W.shape[1]
        self.program, self.groups = program, groups
        self.norm = np.linalg.norm(A, axis=1)
        unit, (self.N, self.k) = A / self.norm[:, None], A.shape
        self.A, self.A_head = groups.padded(unit), unit[groups.head]
        features = program.features_of(W) * np.concatenate([self.norm, self.norm])[:, None]
        P, Q = features[: self.N], features[self.N :]
        (m, s), r, k = groups.rows.shape, groups.shared, self.k
        self.real = (groups.rows < self.N)[:, :, None]
        # The slack has 2 vᵀW̃ᵀφ; what belongs to shared generators is the head's.
        own, head = np.zeros((m, s + k + self.c, s + k + self.c)), np.zeros((m * r + k + self.c,) * 2)
        both, one = groups.padded(P + Q), groups.padded(P)
        both[:, :r] = one[:, :r] = 0.0
        own[:, :s, s + k :], own[:, s : s + k, s + k :] = both, self.A.transpose(0, 2, 1) @ one
        at = groups.head
        head[: m * r, m * r + k :], head[m * r : m * r + k, m * r + k :] = (P + Q)[at], self.A_head.T @ P[at]
        own, head = own + own.transpose(0, 2, 1), head + head.T
        head[m * r + k :, m * r + k :] = np.eye(self.c)
        self.of_W = _Forms(own, head)

    def of_products(self, blocks: FloatArray, head: FloatArray, t: FloatArray) -> _Forms:
        """``−φᵀNφ − Σ t_i α_i β_i`` for multipliers of the groups (m, 2s, 2s) and of the head, and t (N,)."""
        (m, s), r = self.groups.rows.shape, self.groups.shared
        F, F_head = -blocks, -head
        index = np.arange(s)
        members = self.groups.padded(t)
        members[:, :r] = 0.0
        F[:, index, s + index] -= 0.5 * members
        F[:, s + index, index] -= 0.5 * members
        at = np.arange(m * r)
        F_head[at, m * r + at] -= 0.5 * t[self.groups.head]
        F_head[m * r + at, at] -= 0.5 * t[self.groups.head]
        # Products of shared generators of one group are the head's too.
        positions = np.concatenate([np.arange(r), s + np.arange(r)])
        for g, block in enumerate(F):
            where = np.concatenate([g * r + np.arange(r), m * r + g * r + np.arange(r)])
            F_head[np.ix_(where, where)] += block[np.ix_(positions, positions)]
        F[:, positions[:, None], positions] = 0.0
        return _Forms(self._on_face(F, self.A), self._on_face(F_head[None], self.A_head[None])[0])

    def _on_face(self, F: FloatArray, A: FloatArray) -> FloatArray:
        """Forms over (α, β) of m cliques over their (β, z, v), with α = β + Az."""
        m, s, k = A.shape
        out = np.zeros((m, s + k + self.c, s + k + self.c))
        aa, ab, bb = F[:, :s, :s], F[:, :s, s:], F[:, s:, s:]
        slope = aa @ A
        out[:, :s, :s] = aa + ab + ab.transpose(0, 2, 1) + bb
        out[:, :s, s : s + k] = slope + ab.transpose(0, 2, 1) @ A
        out[:, s : s + k, :s] = out[:, :s, s : s + k].transpose(0, 2, 1)
        out[:, s : s + k, s : s + k] = A.transpose(0, 2, 1) @ slope
        return out

    def corner(self, forms: _Forms) -> FloatArray | None:
        """K (k×k) after all eliminations, None where one is impossible."""
        (m, _), r, k, c = self.groups.rows.shape, self.groups.shared, self.k, self.c
        s, own, H = self.groups.rows.shape[1], forms.own, forms.head.copy()
        members, rest = np.arange(r, s), np.concatenate([np.arange(r), np.arange(s, s + k + c)])
        try:
            # What a padded generator has is zero.
            P = own[:, members[:, None], members] + (~self.real[:, r:]) * np.eye(s - r)
            C = own[:, members[:, None], rest]
            root = np.linalg.cholesky(P)
            half = np.linalg.solve(root, C)
            own = own[:, rest[:, None], rest] - half.transpose(0, 2, 1) @ half
            for g, part in enumerate(own[:, :r, :]):
                where = slice(g * r, (g + 1) * r)
                H[where, where] += part[:, :r]
                H[where, m * r :] += part[:, r:]
                H[m * r :, where] += part[:, r:].T
            H[m * r :, m * r :] += own[:, r:, r:].sum(axis=0)
            z = np.arange(m * r, m * r + k)
            others = np.concatenate([np.arange(m * r), np.arange(m * r + k, len(H))])
            root = np.linalg.cholesky(H[np.ix_(others, others)])
            half = np.linalg.solve(root, H[np.ix_(others, z)])
            K: FloatArray = H[np.ix_(z, z)] - half.T @ half
        except np.linalg.LinAlgError:
            return None
        return K if np.isfinite(K).all() else None

    def price(self, K: FloatArray, near: float | None) -> tuple[float, float]:
        """(h², share): the least h² for which ``h²E + K`` is semidefinite, over shares of the region, or those near."""
        if not self.program.region.size:
            return float(self._least(K, np.array([self.program.share]))[0]), self.program.share
        low, high = _SHARES if near is None else (np.log(near) - _NEAR, np.log(near) + _NEAR)
        found = np.inf, 0.5
        for count in _SHARE_COUNTS:
            shares = np.exp(np.linspace(low, min(high, _SHARES[1]), count))
            values = self._least(K, shares)
            at = int(np.argmin(values))
            found = min(found, (float(values[at]), float(shares[at])))
            low, high = np.log(shares[max(at - 1, 0)]), np.log(shares[min(at + 1, count - 1)])
        return found

    def _least(self, K: FloatArray, shares: FloatArray) -> FloatArray:
        """h² for several shares."""
        root = np.linalg.cholesky(np.array([self.program.cost(share) for share in shares]))
        whitened = np.linalg.solve(root, np.linalg.solve(root, -K).transpose(0, 2, 1))
        return np.asarray(np.linalg.eigvalsh(whitened)[:, -1])


@dataclass(frozen=True, eq=False)
class _Multipliers:
    """N of the groups and of the head, and t, in units of unit generators."""

    blocks: FloatArray
    head: FloatArray
    t: FloatArray

    def plus(self, other: "_Multipliers", factor: float, own: float = 1.0) -> "_Multipliers":
        return _Multipliers(
            own * self.blocks + factor * other.blocks,
            own * self.head + factor * other.head,
            own * self.t + factor * other.t,
        )


def best_grouped(
    program: Program, dual: GroupedDual, W: FloatArray, margin: float
) -> tuple[GroupedDual, FloatArray, float, float]:
    """(N, t, σ, h²) of the least price of W (f×c) that N and t of a dual prove, repaired as the module's text says.

    Complementary entries of N are t. Nothing is finite where nothing is proved.
    """
    slack = _Slack(program, dual.groups, W)
    given = _projected(slack, dual)
    quotient, plain = Quotient.of(program), _plain_shift(slack)
    h_squared, share, best = np.inf, program.share, given
    if quotient is not None:
        w = quotient.w / slack.norm
        kept = _kept_shift(slack, w).plus(plain, _THIN)
        h_squared, share, best = _best(slack, _balanced(slack, given, w), kept)
    if not np.isfinite(h_squared):
        h_squared, share, best = _best(slack, given, plain)
    h_squared += margin * abs(h_squared)
    size = np.concatenate([dual.groups.padded(slack.norm)] * 2, axis=1)
    size[size == 0] = np.inf
    both = np.tile(slack.norm[dual.groups.head], 2)
    blocks = best.blocks / (size[:, :, None] * size[:, None, :])
    grouped = replace(dual, W=W, blocks=blocks, head=best.head / np.outer(both, both))
    return grouped, best.t / slack.norm**2, share * max(h_squared, 0.0), h_squared


def _best(slack: _Slack, N: _Multipliers, shift: _Multipliers) -> tuple[float, float, _Multipliers]:
    """(h², share, multipliers) for the best factor ν of N and the best shift."""
    products = slack.of_products(N.blocks, N.head, N.t)
    shifted = slack.of_products(shift.blocks, shift.head, shift.t)
    best: tuple[float, float, float, float] = np.inf, slack.program.share, 1.0, 0.0  # h², share, ν, τ
    scale = max(float(np.abs(products.own).max()), float(np.abs(slack.of_W.own).max()), 1e-300)

    def improves(factor: float) -> bool:
        """Whether the best shift with this ν proves more."""
        nonlocal best
        before, fixed = best[0], slack.of_W + products * factor

        def value(tau: float) -> float:
            nonlocal best
            K = slack.corner(fixed + shifted * tau)
            if K is None:
                return np.inf
            h_squared, share = slack.price(K, best[1] if np.isfinite(best[0]) else None)
            if h_squared < best[0]:
                best = h_squared, share, factor, tau
            return h_squared

        # The best shift is often just beyond the least that makes the eliminations possible.
        low, high = (np.log(scale) + step for step in _RANGE)
        if np.isfinite(before):
            low, high = max(low, np.log(best[3]) - _NEAR), min(high, np.log(best[3]) + _NEAR)
        while high - low > _EDGE:
            middle = 0.5 * (low + high)
            low, high = (low, middle) if slack.corner(fixed + shifted * np.exp(middle)) is not None else (middle, high)
        least = float(np.exp(high))
        golden(lambda x: value(least * (1.0 + 10.0**x)), *_DECADES, _STEPS)
        return best[0] < before

    improves(1.0)
    if np.isfinite(best[0]):
        for ladder in _FACTORS:
            if list(takewhile(improves, ladder)):
                break
    h_squared, share, factor, tau = best
    return h_squared, share, N.plus(shift, tau, own=factor)


def _projected(slack: _Slack, dual: GroupedDual) -> _Multipliers:
    """Signs, symmetry, units, and t apart."""
    groups, gamma = dual.groups, slack.program.gamma
    (m, s), r = groups.rows.shape, groups.shared
    size = np.concatenate([groups.padded(slack.norm)] * 2, axis=1)
    both = np.tile(slack.norm[groups.head], 2)
    blocks = gamma * dual.blocks * (size[:, :, None] * size[:, None, :])
    head = gamma * dual.head * np.outer(both, both)
    blocks, head = 0.5 * (blocks + blocks.transpose(0, 2, 1)), 0.5 * (head + head.T)
    blocks, head = np.where(np.isfinite(blocks), blocks, 0.0), np.where(np.isfinite(head), head, 0.0)
    at, index = np.arange(m * r), np.arange(s)
    t = np.zeros(slack.N + 1)
    t[groups.rows] = 2.0 * blocks[:, index, s + index]
    t[groups.head] += 2.0 * head[at, m * r + at]
    least = _NEGLIGIBLE * max(float(blocks.max()), float(head.max()))
    blocks, head = np.where(blocks > least, blocks, 0.0), np.where(head > least, head, 0.0)
    blocks[:, index, s + index] = blocks[:, s + index, index] = 0.0
    head[at, m * r + at] = head[m * r + at, at] = 0.0
    return _Multipliers(blocks, head, t[:-1])


def _plain_shift(slack: _Slack) -> _Multipliers:
    """``Σ α_iβ_i``, taken off t."""
    (m, s), r = slack.groups.rows.shape, slack.groups.shared
    return _Multipliers(np.zeros((m, 2 * s, 2 * s)), np.zeros((2 * m * r, 2 * m * r)), -np.ones(slack.N))


def _kept_shift(slack: _Slack, w: FloatArray) -> _Multipliers:
    """The shift of each group and of the head that leaves the null vectors with these w (N,) > 0."""
    groups, t = slack.groups, np.zeros(slack.N + 1)
    (m, s), r = groups.rows.shape, groups.shared
    own, head = groups.padded(w), w[groups.head]
    own = own / np.linalg.norm(own, axis=1)[:, None]
    head = head / np.linalg.norm(head)
    crosswise = 0.5 * own[:, :, None] * own[:, None, :]
    index, at = np.arange(s), np.arange(m * r)
    np.add.at(t, groups.rows, own**2 - 1.0)
    t[groups.head] += _HEAD * (head**2 - 1.0)
    crosswise[:, index, index] = 0.0
    across = 0.5 * _HEAD * np.outer(head, head)
    across[at, at] = 0.0
    return _Multipliers(_crosswise(crosswise), _crosswise(across[None])[0], t[:-1])


def _crosswise(B: FloatArray) -> FloatArray:
    """(m, 2s, 2s) with blocks (α, β) and (β, α) from symmetric B (m, s, s)."""
    s = B.shape[1]
    out = np.zeros((len(B), 2 * s, 2 * s))
    out[:, :s, s:], out[:, s:, :s] = B, B.transpose(0, 2, 1)
    return out


def _balanced(slack: _Slack, given: _Multipliers, w: FloatArray) -> _Multipliers:
    """``D B D⁻¹`` with equal sums of rows and columns, of the groups and the head together, and the t of its sums.

    By Newton's method as ``making.quotient.balance``; its matrix is an arrow of the groups' members before the head.
    """
    groups = slack.groups
    (m, s), r = groups.rows.shape, groups.shared
    own, shared = groups.padded(w), w[groups.head]
    B = given.blocks[:, :s, s:] * own[:, :, None] * own[:, None, :]
    C = given.head[: m * r, m * r :] * np.outer(shared, shared)
    rows, columns = np.zeros(slack.N + 1), np.zeros(slack.N + 1)
    for _ in range(_BALANCING):
        rows[:] = columns[:] = 0.0
        np.add.at(rows, groups.rows, B.sum(axis=2))
        np.add.at(rows, groups.head, C.sum(axis=1))
        np.add.at(columns, groups.rows, B.sum(axis=1))
        np.add.at(columns, groups.head, C.sum(axis=0))
        rows[-1] = columns[-1] = 0.0
        largest = float(rows.max(initial=0.0))
        if not np.abs(rows - columns).max() > _BALANCED * largest:
            break
        y = _arrow_solve(groups, B + B.transpose(0, 2, 1), C + C.T, rows + columns, columns - rows)
        y *= min(1.0, 2.0 / max(float(np.abs(y).max()), 1e-300))
        local, at = y[groups.rows], y[groups.head]
        B = B * np.exp(local[:, :, None] - local[:, None, :])
        C = C * np.exp(at[:, None] - at[None, :])
    scale = np.where(own > 0, own, 1.0)
    B = B / (scale[:, :, None] * scale[:, None, :])
    C = C / np.outer(shared, shared)
    return _Multipliers(_crosswise(B), _crosswise(C[None])[0], -(rows + columns)[:-1] / w**2)


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
