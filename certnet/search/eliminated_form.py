"""The form of a semidefinite bound with eliminated inputs: what is factored has the order of the neurons alone.

Free neurons with a negative weight are what the triangle relaxation errs on. Only they get quadratic terms here; all
others, and the signs of fixed neurons, have linear multipliers as in ``certnet.search.linear``. In inputs x and
activations ``α = u (1 + a)/2`` of the former, with |x_j| ≤ 1 and |a_i| ≤ 1, the margin is, for any τ and any
nonnegative D, θ, ν, κ, ψ and σ, at least the least value over all (a, x) of

    linear(a, x) + Σ τ_i α_i (α_i − p_i) + Σ D_i (a_i² − 1) + Σ θ_j (x_j² − 1) − Σ ν_i (chord_i − α_i)
                 − Σ κ_i (α_i − p_i) − Σ ψ_ij α_i (1 ± x_j) + σ (‖s x + m‖² − 1),

p being their pre-activations, s x + m the offset from a ball's centre in radii: ``α (α − p)`` is 0, and what is taken
off is nonnegative. That is the relaxation of Raghunathan, Steinhardt and Liang (2018) with triangles, and products of
activations and sides of the box, of which those are there that the minimiser violates most. The matrix of the form is
``[h, −C/2; −Cᵀ/2, Θ]`` with diagonal h and Θ, so that its Schur complement ``h − ¼ C Θ⁻¹ Cᵀ`` tells whether it is
definite. The value is concave in the multipliers, and its gradient is what their terms are at the minimiser.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpotrf, dpotri, dtrtrs

from certificates.making.tree import LeafProof
from formulations._validation import FloatArray, IntArray
from formulations.margin import FIXED_INPUT, MarginProblem
from formulations.robustness import BOX_ROWS
from formulations.signs import ACTIVE, FREE

ADDED = 10_000  # Products of activations and sides that a hopeless bound gets at most.
# Sum of ψ of the new products of a neuron at the beginning, in units of its weight. Measured: at the roots of three
# random boxes half of it loses up to 0.6 % of the bound, and gains 5 % once; twice as much loses 1 to 16 %.
FIRST_SUM = 0.5
# Logarithms of ψ, in units of the neuron's weight, below which products are left out of a proof, if it stays one.
PRUNED = (0.0, -1.0, -2.0, -3.0, -4.0, -6.0)
VIOLATION = 1e-3  # Part of the largest value of such a product below which it must be, negative, to be added.
DEFINITE = 1e-6  # Relative size of the quadratic terms that neurons without any get, for a slack that is definite.
FIRST = (-2.0, -2.0, -0.3, -4.0)
"""Logarithms of τ, D, ν and κ at the beginning, in their units."""
FIRST_SIDE = -4.0
"""And of θ where there is a ball, whose σ has what θ has else."""


@dataclass(frozen=True, eq=False)
class Known:
    """Logarithms of a node's multipliers, from which a child may begin.

    Attributes:
        own: (5, N) of neurons; NaN where one has none.
        region: (d,) of the inputs, and (d + 1,) with a ball.
        products, on_products: (K, 3) neuron, input and 0 or 1 for its lower or upper side; and (K,).
    """

    own: FloatArray
    region: FloatArray
    products: IntArray
    on_products: FloatArray


@dataclass(frozen=True, eq=False)
class Point:
    """The form at some multipliers: the bound, without and with the barrier, the latter's gradient, and the minimiser.

    ``spread`` (n, d) is what the barrier, divided by its weight, adds to the means of α_i x_j.
    """

    value: float
    raised: float
    slopes: FloatArray
    a: FloatArray
    x: FloatArray
    spread: FloatArray


class Form:
    """The node's form as a function of z, the logarithms of its multipliers v, τ, D, ν, κ, ψ, θ and σ."""

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
        self.unit = max(float(spread), 1e-300)
        self.total = float(np.abs(w) @ problem.size) + float(np.abs(self.q).sum())
        region, d = problem.case.region, len(self.q)
        # Offsets from the centre of a ball, in radii.
        self.share, self.apart, self.balls = np.zeros(d), np.zeros(d), 0
        if region.centre is not None and region.radius is not None and region.radius > 0:
            self.share, self.apart, self.balls = problem.width / region.radius, problem.middle - region.centre, 1
            self.apart = self.apart / region.radius
        self.take(np.zeros((0, 3), dtype=np.int64))

    def take(self, products: IntArray) -> None:
        """Have these products (K, 3): places in ``bent``, inputs, and 0 or 1 for lower or upper sides."""
        n, d, w = len(self.bent), len(self.q), self.w
        self.products = products
        self.i, self.j, self.side = products[:, 0], products[:, 1], 1.0 - 2.0 * products[:, 2]
        units = [w / self.high, w * self.high, w, w, w[self.i], np.full(d, self.unit), np.full(self.balls, self.unit)]
        self.units = [*units[:6], float(d) * units[6]]
        self.cuts = np.cumsum([len(self.straight), n, n, n, n, len(products), d])

    def start(self, known: Known | None = None) -> FloatArray:
        """Where to begin: as the parent ended, if it is known; θ and σ grow until the form is definite."""
        first = np.where(self.rising, 0.0, -4.0)
        others, region = np.tile(FIRST, (len(self.bent), 1)).T, np.zeros(len(self.q) + self.balls)
        if self.balls:
            region[:-1] = FIRST_SIDE
        on_products = np.zeros(0)
        if known is not None:
            own, region = known.own, known.region
            first = np.where(np.isnan(own[0, self.straight]), first, own[0, self.straight])
            others = np.where(np.isnan(own[1:, self.bent]), others, own[1:, self.bent])
            still = np.isin(known.products[:, 0], self.bent)
            products = known.products[still]
            products[:, 0] = np.searchsorted(self.bent, products[:, 0])
            self.take(products)
            on_products = known.on_products[still]
        return self.definite(np.concatenate([first, others.ravel(), on_products, region]))

    def definite(self, z: FloatArray) -> FloatArray:
        """z with θ and σ grown until the form is definite, and once more: the barrier is steep near the boundary."""
        inside = self.at(z, 0.0) is not None
        while not inside and z[-1] < 40.0:
            z[self.cuts[5] :] += 0.5
            inside = self.at(z, 0.0) is not None
            z[self.cuts[5] :] += 0.5 if inside else 0.0
        return z

    def known(self, z: FloatArray) -> Known:
        """z by neurons, inputs and products."""
        own = np.full((5, self.problem.neurons), np.nan)
        own[0, self.straight] = z[: len(self.straight)]
        own[1:, self.bent] = z[len(self.straight) : self.cuts[4]].reshape(4, -1)
        products = np.column_stack([self.bent[self.i], self.products[:, 1:]])
        return Known(own, z[self.cuts[5] :], products, z[self.cuts[4] : self.cuts[5]])

    def extended(self, z: FloatArray, barrier: float) -> FloatArray:
        """z with further products: those that are most negative on the mean."""
        point = self.at(z, barrier)
        assert point is not None
        alpha = 0.5 * self.high * (1.0 + point.a)
        on_x = np.outer(alpha, point.x) + barrier * point.spread
        means = np.stack([alpha[:, None] + on_x, alpha[:, None] - on_x], axis=2) / self.high[:, None, None]
        means[:, self.problem.width == 0] = 0.0
        means[tuple(self.products.T)] = 0.0
        worst = np.argsort(means, axis=None, kind="stable")[:ADDED]
        worst = worst[means.ravel()[worst] < -VIOLATION]
        new = np.column_stack(np.unravel_index(worst, means.shape)).astype(np.int64)
        parts = np.split(z, self.cuts[4:6])
        first = np.log(FIRST_SUM / np.bincount(new[:, 0], minlength=len(self.bent)))[new[:, 0]]
        self.take(np.concatenate([self.products, new]))
        return self.definite(np.concatenate([parts[0], parts[1], first, parts[2]]))

    def pruned(self, z: FloatArray, least: float) -> tuple[FloatArray, float]:
        """z without products of small multipliers, as many as leave a value of ``least``, and its value: every product
        costs the checker something."""
        products, (before, on_products, after) = self.products, np.split(z, self.cuts[4:6])
        for smallest in (*PRUNED, -np.inf):
            kept = on_products > smallest
            self.take(products[kept])
            fewer = np.concatenate([before, on_products[kept], after])
            point = self.at(fewer, 0.0)
            if point is not None and point.value >= least:
                break
        return fewer, least if point is None else point.value

    def multipliers(self, z: FloatArray) -> list[FloatArray]:
        """v of straight neurons, then τ, D, ν, κ of bent ones, ψ of products, θ of the inputs, and σ."""
        v, *others = np.split(z, self.cuts)
        own = self.limit * np.where(self.rising, 1.0 / (1.0 + np.exp(-v)), np.exp(np.minimum(v, 40.0)))
        return [own, *(unit * np.exp(np.minimum(one, 40.0)) for unit, one in zip(self.units, others, strict=True))]

    def at(self, z: FloatArray, barrier: float) -> Point | None:
        """The form at these multipliers; None where it is not definite."""
        v, tau, D, nu, kappa, psi, theta, sigma = self.multipliers(z)
        A, b, w, low, high, straight = self.A, self.b, self.w, self.low, self.high, self.straight
        ball, half = float(sigma.sum()), 0.5 * high
        slope, own = high / (high - low), self.base + self.direction * v
        on_alpha, on_p = -w + nu - kappa - tau * b - np.bincount(self.i, psi, len(w)), kappa - nu * slope
        fixed = self.constant + own @ self.offset[straight] + on_p @ b + nu @ (slope * low)
        fixed += on_alpha @ half + tau @ half**2 + ball * (self.apart @ self.apart - 1.0)
        bend = tau * half
        h = bend * half + D
        g_a, g_x = on_alpha * half + bend * high, self.q + own @ self.rows[straight] + (on_p - bend) @ A
        g_x = g_x + 2.0 * ball * self.share * self.apart
        C, moved = bend[:, None] * A, half[self.i] * self.side * psi
        if len(psi):
            np.add.at(C, (self.i, self.j), moved)
            g_x = g_x - np.bincount(self.j, moved, len(g_x))
        whole = theta + ball * self.share**2
        scaled = C / np.sqrt(whole)
        S = -0.25 * dsyrk(1.0, scaled.T, trans=True, lower=True)
        S[np.diag_indices(len(S))] += h
        L, failed = dpotrf(S, lower=True, clean=True)
        if failed or not np.isfinite(L).all():
            return None
        y = dtrtrs(L, g_a + 0.5 * scaled @ (g_x / np.sqrt(whole)), lower=True)[0]
        value = float(fixed - theta.sum() - D.sum() - 0.25 * (g_x @ (g_x / whole) + y @ y))
        a = -0.5 * dtrtrs(L, y, lower=True, trans=1)[0]
        x = 0.5 * (a @ C - g_x) / whole
        alpha, p = half * (1.0 + a), A @ x + b
        on_v = self.direction * (self.rows[straight] @ x + self.offset[straight])
        inverse, ratio = dpotri(L, lower=True)[0], C / whole
        inverse += np.tril(inverse, -1).T
        G, own_inverse = inverse @ ratio, np.diag(inverse) - 1.0 / h
        spread, varied = 0.5 * half[:, None] * G, 0.25 * np.einsum("ij,ij->j", ratio, G)
        slopes = [
            on_v * v * np.where(self.rising, 1.0 - v / self.limit, 1.0),
            tau * (alpha * (alpha - p) + barrier * (half**2 * own_inverse - np.einsum("ij,ij->i", spread, A))),
            D * (a**2 - 1.0 + barrier * own_inverse),
            nu * (alpha - slope * (p - low)),
            kappa * (p - alpha),
            -psi * (alpha[self.i] * (1.0 + self.side * x[self.j]) + barrier * self.side * spread[self.i, self.j]),
            theta * (x**2 - 1.0 + barrier * varied),
            sigma * (np.sum((self.share * x + self.apart) ** 2) - 1.0 + barrier * (self.share**2 @ varied)),
        ]
        room = 2.0 * float(np.log(np.diag(L)).sum()) - float(np.log(h).sum())
        return Point(value, value + barrier * room, np.concatenate(slopes), a, x, spread)

    def leaf(self, z: FloatArray) -> LeafProof:
        """The multipliers for the whole problem."""
        v, tau, D, nu, kappa, psi, theta, sigma = self.multipliers(z)
        problem, N, bent, straight = self.problem, self.problem.neurons, self.bent, self.straight
        t, low, high = 2 * N, self.low, self.high
        curved = 4.0 * D / (-low * high**2)
        whole = np.zeros(N)
        whole[bent] = curved * high - tau
        rising = straight[self.rising]
        whole[rising] = -DEFINITE * self.weights[rising] / problem.size[rising]
        triangle = 2 * problem.neurons + BOX_ROWS + 2 * problem.case.region.inputs + bent
        side = 2 * N + BOX_ROWS + 2 * np.arange(len(theta))
        constant = problem.width == 0
        columns = np.square(problem.generators[:, :-1] / problem.size[:, None]).max(axis=0, initial=0.0)
        on_sides = np.where(constant, FIXED_INPUT * self.total * (1.0 + columns), 0.0)
        on_sides[~constant] = theta[~constant] / problem.width[~constant] ** 2
        fixed = straight[~self.rising]
        at_fixed = np.where(self.signs[fixed] == ACTIVE, fixed, N + fixed)
        p = [bent, np.full(len(bent), t), N + bent, rising, N + rising, at_fixed, side, bent[self.i]]
        q = [triangle, triangle, *(np.full(len(one), t) for one in p[2:6]), side + 1]
        q.append(side[self.j] + self.products[:, 2])
        slope, rest = v[self.rising], v[~self.rising]
        values = [curved, nu / (high - low), kappa, self.weights[rising] - slope, slope, rest, on_sides]
        values.append(psi / problem.width[self.j])
        pairs = np.stack([np.concatenate(p), np.concatenate(q)], axis=1).astype(np.int64)
        multipliers = np.concatenate(values)
        used, radius = multipliers > 0, problem.case.region.radius
        ball = np.zeros(0) if radius is None else np.append(sigma, np.zeros(1))[:1] / max(radius, 1e-300) ** 2
        return LeafProof(pairs[used], multipliers[used], whole, ball)
