"""A semidefinite bound of a node whose inputs are eliminated: what is factored has the order of the neurons alone.

Free neurons with a negative weight are what the triangle relaxation errs on. Only they get quadratic terms here; all
others, and the signs of fixed neurons, have linear multipliers as in ``certnet.search.linear``. In inputs x and
activations ``α = u (1 + a)/2`` of the former, with |x_j| ≤ 1 and |a_i| ≤ 1, the margin is, for any τ and any
nonnegative D, θ, ν and κ, at least the least value over all (a, x) of

    linear(a, x) + Σ τ_i α_i (α_i − p_i) + Σ D_i (a_i² − 1) + Σ θ_j (x_j² − 1)
                 − Σ ν_i (chord_i − α_i) − Σ κ_i (α_i − p_i),

p being their pre-activations: ``α (α − p)`` is 0, and what is taken off is nonnegative. That is the relaxation of
Raghunathan, Steinhardt and Liang (2018) with triangles. The matrix of the form is ``[h, −C/2; −Cᵀ/2, θ]`` with diagonal
h and θ, so that its Schur complement ``h − ¼ C θ⁻¹ Cᵀ`` tells whether it is definite. The value is concave in the
multipliers, and its gradient is what their terms are at the minimiser. L-BFGS in the logarithms of the multipliers,
with a barrier, goes up until the value is positive; every iterate is a bound.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpotrf, dpotri, dtrtrs
from scipy.optimize import minimize

from certificates.failure import NO_DEADLINE, Deadline
from certificates.making.tree import LeafProof
from formulations._validation import FloatArray, IntArray
from formulations.margin import FIXED_INPUT, MarginProblem
from formulations.robustness import BOX_ROWS
from formulations.signs import ACTIVE, FREE


@dataclass(frozen=True)
class Settings:
    """The tuning numbers of this module."""

    barriers: tuple[float, ...] = (1e-3, 1e-3, 1e-4, 1e-5)
    """Weights of the barrier, relative to the bound that is to be improved. Not measured."""
    steps: tuple[int, ...] = (60, 100, 150, 150)
    """Steps of L-BFGS with each of them. Not measured."""
    patience: tuple[int, float] = (20, 0.1)
    """A barrier is lowered early when so many steps gain less than this part of what is missing. Not measured."""
    known: int = 1
    """Barriers that are left out where the parent's multipliers are known. Not measured."""
    pairs: int = 30
    """Pairs of vectors that L-BFGS keeps. Not measured."""
    enough: float = 1e-3
    """Part of the size of a linear bound from which a value counts as positive. Not measured."""
    kept: float = 0.5
    """Part of the value that is claimed; the other makes the slack definite. Not measured."""
    definite: float = 1e-6
    """Relative size of the quadratic terms that neurons without any get, for a slack that is definite. Not measured."""


SETTINGS = Settings()
FIRST = (-2.0, -2.0, -0.3, -4.0)
"""Logarithms of τ, D, ν and κ at the beginning, in their units."""


@dataclass(frozen=True, eq=False)
class EliminatedBound:
    """What it tells of a node.

    Attributes:
        leaf: its proof, or None if it has none.
        margin: that the leaf proves; NaN without one.
        value: the bound.
        x: (d,) where the form is least, brought into the box.
        scores: (N,) by how much the relaxation errs at each neuron there, by its complementarity.
        logarithms: of the multipliers, (5, N) and (d,), from which a child may begin; NaN where a neuron has none.
    """

    leaf: LeafProof | None
    margin: float
    value: float
    x: FloatArray
    scores: FloatArray
    logarithms: tuple[FloatArray, FloatArray]


class _Form:
    """The node's form as a function of z, the logarithms of its multipliers."""

    def __init__(self, problem: MarginProblem, signs: IntArray, mu: FloatArray) -> None:
        w, moved = mu @ problem.weights, np.append(problem.middle, 1.0)
        self.problem, self.weights, self.signs = problem, w, signs
        self.rows, self.offset = problem.generators[:, :-1] * problem.width, problem.generators @ moved
        linear = mu @ problem.linear
        self.q, self.constant = linear[:-1] * problem.width, float(linear @ moved)
        free, active = signs == FREE, signs == ACTIVE
        self.bent, self.straight = np.flatnonzero(free & (w < 0)), np.flatnonzero(~free | (w > 0))
        bent, straight = self.bent, self.straight
        self.A, self.b, self.w = self.rows[bent], self.offset[bent], -w[bent]
        self.low, self.high = problem.bounds[bent].T
        # Straight neurons contribute base + direction · multiplier to the coefficient of their pre-activation; those
        # of free ones are at most the weight.
        self.rising = free[straight]
        self.base = np.where(active[straight], w[straight], 0.0)
        self.direction = np.where(active[straight], -1.0, 1.0)
        most = max(float(np.abs(w).max(initial=0.0)), 1e-300)
        self.limit = np.where(self.rising, w[straight], most)
        spread = np.abs(self.q).mean() + 0.5 * np.abs(self.w @ np.abs(self.A)).mean()
        n, d = len(bent), problem.case.region.inputs
        self.units = [self.w / self.high, self.w * self.high, self.w, self.w, np.full(d, max(float(spread), 1e-300))]
        self.cuts = np.cumsum([len(straight), n, n, n, n])
        self.total = float(np.abs(w) @ problem.size) + float(np.abs(self.q).sum())

    def start(self, known: tuple[FloatArray, FloatArray] | None = None) -> FloatArray:
        """Where to begin: as the parent ended, if it is known; θ grows until the form is definite."""
        first = np.where(self.rising, 0.0, -4.0)
        others, inputs = np.tile(FIRST, (len(self.bent), 1)).T, np.zeros(len(self.q))
        if known is not None:
            own, inputs = known
            first = np.where(np.isnan(own[0, self.straight]), first, own[0, self.straight])
            others = np.where(np.isnan(own[1:, self.bent]), others, own[1:, self.bent])
        z = np.concatenate([first, others.ravel(), inputs])
        while self.value(z, 0.0) is None and z[-1] < 40.0:
            z[self.cuts[-1] :] += 0.5
        return z

    def logarithms(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """z by neurons, and of the inputs."""
        own = np.full((5, self.problem.neurons), np.nan)
        own[0, self.straight] = z[: len(self.straight)]
        own[1:, self.bent] = z[len(self.straight) : self.cuts[-1]].reshape(4, -1)
        return own, z[self.cuts[-1] :]

    def multipliers(self, z: FloatArray) -> list[FloatArray]:
        """v of straight neurons, then τ, D, ν, κ of bent ones and θ of the inputs."""
        v, *others = np.split(z, self.cuts)
        own = self.limit * np.where(self.rising, 1.0 / (1.0 + np.exp(-v)), np.exp(np.minimum(v, 40.0)))
        return [own, *(unit * np.exp(np.minimum(one, 40.0)) for unit, one in zip(self.units, others, strict=True))]

    def value(self, z: FloatArray, barrier: float) -> tuple[float, float, FloatArray, FloatArray, FloatArray] | None:
        """(value, value with the barrier, its gradient, a, x); None where the form is not definite."""
        v, tau, D, nu, kappa, theta = self.multipliers(z)
        A, b, w, low, high, straight = self.A, self.b, self.w, self.low, self.high, self.straight
        slope, own = high / (high - low), self.base + self.direction * v
        on_alpha, on_p = -w + nu - kappa - tau * b, kappa - nu * slope
        fixed = self.constant + own @ self.offset[straight] + on_p @ b + nu @ (slope * low)
        fixed += 0.5 * on_alpha @ high + 0.25 * tau @ high**2
        bend = 0.5 * tau * high
        h = 0.5 * bend * high + D
        g_a, g_x = (0.5 * on_alpha + bend) * high, self.q + own @ self.rows[straight] + (on_p - bend) @ A
        C = bend[:, None] * A
        half = C / np.sqrt(theta)
        S = -0.25 * dsyrk(1.0, half.T, trans=True, lower=True)
        S[np.diag_indices(len(S))] += h
        L, failed = dpotrf(S, lower=True, clean=True)
        if failed or not np.isfinite(L).all():
            return None
        y = dtrtrs(L, g_a + 0.5 * half @ (g_x / np.sqrt(theta)), lower=True)[0]
        value = float(fixed - theta.sum() - D.sum() - 0.25 * (g_x @ (g_x / theta) + y @ y))
        a = -0.5 * dtrtrs(L, y, lower=True, trans=1)[0]
        x = 0.5 * (a @ C - g_x) / theta
        alpha, p = 0.5 * high * (1.0 + a), A @ x + b
        on_v = self.direction * (self.rows[straight] @ x + self.offset[straight])
        inverse, ratio = dpotri(L, lower=True)[0], C / theta
        inverse += np.tril(inverse, -1).T
        G, own_inverse = inverse @ ratio, np.diag(inverse) - 1.0 / h
        across = 0.5 * high * np.einsum("ij,ij->i", G, A)
        slopes = [
            on_v * v * np.where(self.rising, 1.0 - v / self.limit, 1.0),
            tau * (alpha * (alpha - p) + barrier * (0.25 * high**2 * own_inverse - 0.5 * across)),
            D * (a**2 - 1.0 + barrier * own_inverse),
            nu * (alpha - slope * (p - low)),
            kappa * (p - alpha),
            theta * (x**2 - 1.0 + 0.25 * barrier * np.einsum("ij,ij->j", ratio, G)),
        ]
        room = 2.0 * float(np.log(np.diag(L)).sum()) - float(np.log(h).sum())
        return value, value + barrier * room, np.concatenate(slopes), a, x

    def leaf(self, z: FloatArray) -> LeafProof:
        """The multipliers for the whole problem."""
        v, tau, D, nu, kappa, theta = self.multipliers(z)
        problem, N, bent, straight = self.problem, self.problem.neurons, self.bent, self.straight
        t, low, high = 2 * N, self.low, self.high
        curved = 4.0 * D / (-low * high**2)
        whole = np.zeros(N)
        whole[bent] = curved * high - tau
        rising = straight[self.rising]
        whole[rising] = -SETTINGS.definite * self.weights[rising] / problem.size[rising]
        triangle = problem.triangle_start + bent
        inputs = np.arange(len(theta))
        side = 2 * N + BOX_ROWS + 2 * inputs
        constant = problem.width == 0
        columns = np.square(problem.generators[:, :-1] / problem.size[:, None]).max(axis=0, initial=0.0)
        on_sides = np.where(constant, FIXED_INPUT * self.total * (1.0 + columns), 0.0)
        on_sides[~constant] = theta[~constant] / problem.width[~constant] ** 2
        fixed = straight[~self.rising]
        at_fixed = np.where(self.signs[fixed] == ACTIVE, fixed, N + fixed)
        p = [bent, np.full(len(bent), t), N + bent, rising, N + rising, at_fixed, side]
        q = [triangle, triangle, *(np.full(len(one), t) for one in p[2:6]), side + 1]
        slope = v[self.rising]
        values = [curved, nu / (high - low), kappa, self.weights[rising] - slope, slope, v[~self.rising], on_sides]
        pairs = np.stack([np.concatenate(p), np.concatenate(q)], axis=1).astype(np.int64)
        multipliers = np.concatenate(values)
        used = multipliers > 0
        return LeafProof(pairs[used], multipliers[used], whole)


def eliminated_bound(
    problem: MarginProblem,
    signs: IntArray,
    mu: FloatArray,
    linear: float,
    *,
    known: tuple[FloatArray, FloatArray] | None = None,
    deadline: Deadline = NO_DEADLINE,
) -> EliminatedBound:
    """Bound ``μᵀ(H f + h)`` where neurons have these signs (N,), over the box of the region.

    Ends as soon as the node is proved, or clearly is not.

    Args:
        problem, signs, mu: the node.
        linear: its linear bound, which is negative.
        known: logarithms of the parent's multipliers, after which less is left to do.
        deadline: when to end.
    """
    with np.errstate(all="ignore"):
        form = _Form(problem, signs, mu)
        if not len(form.bent):
            # The linear relaxation is exact.
            nothing = np.zeros(problem.neurons)
            none = form.logarithms(np.zeros(form.cuts[-1] + len(form.q)))
            return EliminatedBound(None, float("nan"), linear, problem.middle, nothing, none)
        return _ascended(form, abs(linear), known, deadline)


def _ascended(
    form: _Form, size: float, known: tuple[FloatArray, FloatArray] | None, deadline: Deadline
) -> EliminatedBound:
    z, skipped = form.start(known), 0 if known is None else SETTINGS.known
    (patience, share), values = SETTINGS.patience, [-np.inf]
    best, least = (-np.inf, z, np.zeros(len(form.bent)), np.zeros(len(form.q))), -np.inf

    def descent(z: FloatArray, barrier: float) -> tuple[float, FloatArray]:
        nonlocal best
        found = form.value(z, barrier)
        if found is None or not np.isfinite(found[1]):
            return 1e3 * form.total, np.zeros(len(z))
        if found[0] > best[0]:
            best = found[0], z.copy(), found[3], found[4]
        return -found[1], -found[2]

    def look(_: FloatArray) -> None:
        values.append(best[0])
        slow = len(values) > patience and best[0] - values[-patience] < -share * best[0]
        if best[0] > SETTINGS.enough * size or deadline.passed or slow:
            raise StopIteration

    for barrier, steps in zip(SETTINGS.barriers[skipped:], SETTINGS.steps[skipped:], strict=True):
        values.clear()
        options = {"maxiter": steps, "maxcor": SETTINGS.pairs, "maxfun": 3 * steps}
        minimize(descent, best[1], args=(barrier * size,), jac=True, method="L-BFGS-B", options=options, callback=look)
        hopeless = best[0] < 0 and best[0] - least < -best[0]
        if best[0] > SETTINGS.enough * size or deadline.passed or hopeless:
            break
        least = best[0]
    value, z, a, x = best
    problem, bent = form.problem, form.bent
    scores = np.zeros(problem.neurons)
    # At the minimum α (α − p) is about 0 on the mean; what the means lack is a covariance, which a split takes away.
    alpha = 0.5 * form.high * (1.0 + a)
    scores[bent] = form.w * np.abs(alpha * (alpha - form.A @ x - form.b)) / form.high
    region = problem.case.region
    point = np.clip(problem.middle + problem.width * x, region.lower, region.upper)
    if not value > 0:
        return EliminatedBound(None, float("nan"), value, point, scores, form.logarithms(z))
    return EliminatedBound(form.leaf(z), SETTINGS.kept * value, value, point, scores, form.logarithms(z))
