"""Repair of a dual whose products are those of groups of generators: the price of its W in time linear in the groups.

The slack of ``h²zᵀEz − ‖W̃ᵀφ‖² − φᵀNφ − Σ t_i α_i β_i``, with ``v`` kept as coordinates instead of the square, is a
sum of forms over ``(β, z, v)`` of each group and of the head (``formulations.groups``). Eliminating what belongs to one
group alone, then the shared generators and v, leaves a matrix K over z, and the least h² has ``h²E + K`` semidefinite.

As in ``making.form_bound`` there is a shift τ of t, which makes the eliminations possible, and a factor ν of N. With a
free hidden bias the null vectors of ``making.quotient`` have to stay: B = N_αβ is balanced, and the shift of a group is

    τ (Σ α_iβ_i − (Σ w_iα_i)(Σ w_iβ_i) / Σ w_i²).

A thin plain shift then makes the slack definite. Floating point throughout; the checker decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from certificates.making.form_bound import golden
from certificates.making.grouped_multipliers import Multipliers, balanced, projected, shift
from certificates.making.quotient import Quotient
from formulations import Program
from formulations.arrays import FloatArray
from formulations.groups import GroupedDual, Groups

_SHARES, _NEAR, _SHARE_COUNTS = (-18.0, -0.5), 1.5, (9, 7, 7)
"""Logarithms of the shares of the region that are tried, how far from the best ones so far, and how many at once."""
_THIN = 1e-5
"""The plain shift, relative to that which leaves the null vectors. Measured: 2,000 Gaussian rows of 20 features in 32
groups, 7 rows of each shared: the check fails with 1e-8 and passes from 1e-6 on, and up to 1e-4 both prove 125.0692."""
_RANGE, _EDGE = (-21.0, 7.0), 1e-3
"""Where the least shift is looked for, as logarithms in units of the multipliers, and how exactly."""
_DECADES, _STEPS = (-4.0, 2.0), 10
"""Where the best one is, relative to the least and beyond it, and how often the interval shrinks to 0.618. Measured:
with 14 steps and an edge of 1e-4 repairs of 1,500 generated rows and of breast cancer take a quarter longer and prove
0.01 % more at most."""
_FACTORS = ((1.05, 1.2, 1.5, 2.2, 3.5, 6.0, 12.0, 25.0), (0.95, 0.8, 0.5))


@dataclass(frozen=True, eq=False)
class _Forms:
    """Quadratic forms of one kind of clique: over (β, z, v) of m cliques of s generators, (m, s+k+c, s+k+c)."""

    own: FloatArray
    head: FloatArray

    def plus(self, other: "_Forms", factor: float) -> "_Forms":
        """These and ``factor`` times others."""
        return _Forms(self.own + factor * other.own, self.head + factor * other.head)


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

    def of_products(self, given: Multipliers) -> _Forms:
        """``−φᵀNφ − Σ t_i α_i β_i``."""
        (m, s), r = self.groups.rows.shape, self.groups.shared
        members, first, at = self.groups.padded(given.t), np.arange(r), np.arange(m * r)
        members[:, :r] = 0.0
        head = [np.zeros((m * r, m * r)) if N is None else -N[0] for N in given.head.blocks]
        head[0][at, at] -= 0.5 * given.t[self.groups.head]
        own = [None if N is None else -N for N in given.groups.blocks]
        for N, in_head in zip(own, head, strict=True):
            if N is not None:
                # Products of shared generators of one group are the head's.
                in_head.reshape(m, r, m, r)[np.arange(m), :, np.arange(m)] += N[:, :r, :r]
                N[:, first[:, None], first] = 0.0
        assert own[0] is not None
        own[0][:, np.arange(s), np.arange(s)] -= 0.5 * members
        return _Forms(self._on_face(own, self.A), self._on_face([N[None] for N in head], self.A_head[None])[0])

    def _on_face(self, F: Sequence[FloatArray | None], A: FloatArray) -> FloatArray:
        """Forms over (α, β) of m cliques, by their blocks αβ, αα and ββ, over their (β, z, v), with α = β + Az."""
        (m, s, k), (ab, aa, bb) = A.shape, F
        assert ab is not None
        out = np.zeros((m, s + k + self.c, s + k + self.c))
        own, cross = out[:, :s, :s], out[:, :s, s : s + k]
        own += ab
        own += ab.transpose(0, 2, 1)
        np.matmul(ab.transpose(0, 2, 1), A, out=cross)
        if aa is not None:
            slope = aa @ A
            own += aa
            cross += slope
            out[:, s : s + k, s : s + k] = A.transpose(0, 2, 1) @ slope
        if bb is not None:
            own += bb
        out[:, s : s + k, :s] = cross.transpose(0, 2, 1)
        return out

    def price(self, K: FloatArray, near: float | None) -> tuple[float, float]:
        """(h², share): the least h² for which ``h²E + K`` is semidefinite, over shares of the region, or those near."""
        if not self.program.region.size:
            return float(self._least(K, np.array([self.program.share]))[0]), self.program.share
        low, high = _SHARES if near is None else (np.log(near) - _NEAR, np.log(near) + _NEAR)
        found = np.inf, 0.5
        for count in _SHARE_COUNTS:
            shares = np.exp(np.clip(np.linspace(low, high, count), *_SHARES))
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


class _Pencil:
    """K as a function of the shift τ of one pair of forms: one eigendecomposition of every group serves all τ.

    With P + τS of a group's members, ``LLᵀ = S`` and ``L⁻¹PL⁻ᵀ = QΛQᵀ``, and with C + τD of members and the rest,
    ``QᵀL⁻¹(C + τD) = Z + (Λ + τ)Y``. So the Schur complement depends on τ linearly but for ``Zᵀ(Λ + τ)⁻¹Z``.
    """

    def __init__(self, slack: _Slack, fixed: _Forms, shifted: _Forms) -> None:
        """Raises LinAlgError where S is not definite, or something is not finite."""
        r, s, self.k = slack.groups.shared, slack.groups.rows.shape[1], slack.k
        self.r, order = r, fixed.own.shape[1]
        members, rest = np.arange(r, s), np.concatenate([np.arange(r), np.arange(s, order)])
        # What a padded generator has is zero.
        S = shifted.own[:, members[:, None], members] + ~slack.real[:, r:] * np.eye(s - r)
        root = np.linalg.inv(np.linalg.cholesky(S))
        P = root @ fixed.own[:, members[:, None], members] @ root.transpose(0, 2, 1)
        self.values, vectors = np.linalg.eigh(P)
        turned = vectors.transpose(0, 2, 1) @ root
        X, Y = (turned @ forms.own[:, members[:, None], rest] for forms in (fixed, shifted))
        along = self.values[:, :, None] * Y
        self.Z, Y_T = X - along, Y.transpose(0, 2, 1)
        crossed = Y_T @ X
        constant = fixed.own[:, rest[:, None], rest] - crossed - crossed.transpose(0, 2, 1) + Y_T @ along
        self.constant = self._added(fixed.head, constant, constant[:, r:, r:].sum(axis=0))
        slope = shifted.own[:, rest[:, None], rest] - Y_T @ Y
        self.slope = self._added(shifted.head, slope, slope[:, r:, r:].sum(axis=0))
        self.least = -float(self.values.min(initial=np.inf))

    def _added(self, head: FloatArray, own: FloatArray, corner: FloatArray) -> FloatArray:
        """A head with the rows of shared generators (m, r, r+k+c) of all groups, and their sum over (z, v)."""
        H, r, end = head.copy(), self.r, len(own) * self.r
        for g, part in enumerate(own[:, :r]):
            where = slice(g * r, (g + 1) * r)
            H[where, where] += part[:, :r]
            H[where, end:] += part[:, r:]
            H[end:, where] += part[:, r:].T
        H[end:, end:] += corner
        return H

    def corner(self, tau: float) -> FloatArray | None:
        """K (k×k) after all eliminations, None where one is impossible."""
        if not self.least < tau:
            return None
        half = self.Z / np.sqrt(self.values + tau)[:, :, None]
        tail = half[:, :, self.r :].reshape(-1, half.shape[2] - self.r)
        shared = half[:, :, : self.r].transpose(0, 2, 1) @ half
        H = self._added(self.constant + tau * self.slope, -shared, -tail.T @ tail)
        end = len(half) * self.r
        z = np.arange(end, end + self.k)
        others = np.concatenate([np.arange(end), np.arange(end + self.k, len(H))])
        try:
            root = np.linalg.cholesky(H[np.ix_(others, others)])
            solved = np.linalg.solve(root, H[np.ix_(others, z)])
        except np.linalg.LinAlgError:
            return None
        K: FloatArray = H[np.ix_(z, z)] - solved.T @ solved
        return K if np.isfinite(K).all() else None


def best_grouped(
    program: Program, dual: GroupedDual, W: FloatArray, size: float, margin: float
) -> tuple[GroupedDual, FloatArray, float, float]:
    """(N, t, σ, h²) of the least price of W (f×c) that N and t of a dual for ``size`` times W prove; see the module.

    N is that for generators of unit norm, and its complementary entries are t. h² is infinite where nothing is proved.
    """
    slack = _Slack(program, dual.groups, W)
    given = projected(dual, slack.norm, program.gamma / size**2)
    quotient = Quotient.of(program)
    best = _Way(slack, given, shift(dual.groups, None))
    best.improves(1.0)
    if quotient is not None:
        w = quotient.w / slack.norm
        other = _Way(slack, balanced(dual.groups, given, w), shift(dual.groups, w, _THIN))
        other.improves(1.0)
        best = other if other.h_squared < best.h_squared else best
        del other
    del given
    h_squared, share = best.climb()
    h_squared += margin * abs(h_squared)
    blocks, head, t = best.multipliers()
    return replace(dual, W=W, blocks=blocks, head=head), t / slack.norm**2, share * max(h_squared, 0.0), h_squared


class _Way:
    """One kind of shift: the least h² so far, with its share of the region, factor ν and shift τ."""

    def __init__(self, slack: _Slack, N: Multipliers, shift: Multipliers) -> None:
        self._slack, self._N, self._shift = slack, N, shift
        self._products, self._shifted = slack.of_products(N), slack.of_products(shift)
        size = max(float(np.abs(self._products.own).max()), float(np.abs(slack.of_W.own).max()), 1e-300)
        self._range = tuple(np.log(size) + step for step in _RANGE)
        self.h_squared, self.share, self.factor, self.tau = np.inf, slack.program.share, 1.0, 0.0

    def improves(self, factor: float) -> bool:
        """Whether the best shift with this ν proves more."""
        slack, before = self._slack, self.h_squared
        try:
            pencil = _Pencil(slack, slack.of_W.plus(self._products, factor), self._shifted)
        except np.linalg.LinAlgError:
            return False

        def value(tau: float) -> float:
            K = pencil.corner(tau)
            if K is None:
                return np.inf
            h_squared, share = slack.price(K, self.share if np.isfinite(self.h_squared) else None)
            if h_squared < self.h_squared:
                self.h_squared, self.share, self.factor, self.tau = h_squared, share, factor, tau
            return h_squared

        # The best shift is often just beyond the least that makes the eliminations possible.
        low, high = self._range
        if np.isfinite(before):
            low, high = max(low, np.log(self.tau) - _NEAR), min(high, np.log(self.tau) + _NEAR)
        low = max(low, np.log(max(pencil.least, 1e-300)))
        while high - low > _EDGE:
            middle = 0.5 * (low + high)
            possible = pencil.corner(float(np.exp(middle))) is not None
            low, high = (low, middle) if possible else (middle, high)
        least = float(np.exp(high))
        golden(lambda x: value(least * (1.0 + 10.0**x)), *_DECADES, _STEPS)
        return self.h_squared < before

    def climb(self) -> tuple[float, float]:
        """(h², share) for the best factor; as it is where nothing is finite."""
        for ladder in _FACTORS if np.isfinite(self.h_squared) else ():
            if list(takewhile(self.improves, ladder)):
                break
        return self.h_squared, self.share

    def multipliers(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """N of the groups (m, 2s, 2s) and of the head, and t, with the best factor and shift."""
        N, shift = self._N, self._shift
        blocks, head = (
            own.plus(other.ab, self.tau, self.factor) for own, other in ((N.groups, shift.groups), (N.head, shift.head))
        )
        return blocks, head[0], self.factor * N.t + self.tau * shift.t
