"""The best multipliers of the triangle relaxation at many nodes at once, by an interior point method.

A node asks for the least value over the region of

    c·x + Σ_i ω_i (a_i·x + b_i)₊,

with a term for each free neuron whose weight ω is positive and one for each fixed sign, where ω is a penalty. The dual
variables v in [0, ω] are lower slopes and multipliers. With t_i ≥ 0, y_i = t_i − (a_i·x + b_i) ≥ 0, f = ω − v and the
sides and the ball of the region, the conditions are v y = 0, f t = 0 and alike; Newton steps with Mehrotra's corrector
go to their common value from above (Wright, Primal-Dual Interior-Point Methods, chapter 10). A Newton step is one
system of order min(d, N) for each node. Few steps tell whether the value is positive, which is all that most nodes are
asked.
"""

import time

import numpy as np
import scipy
from numpy.typing import NDArray

from certificates.failure import NO_DEADLINE, Deadline
from certnet.search.linear import LinearBounds, Nodes, crown, finish
from certnet.search.scaled_nodes import Scaled, State
from formulations._validation import FloatArray

STEPS = 40
SHARE = 0.99
"""Part of the way to the boundary that a step goes."""
GAP = 1e-9
"""Difference of both values, relative to the objective, at which a node is solved."""
KNOWN = 0.1
"""Part of a negative value up to which it is computed: such a node has to be split anyway."""
SECONDS_PER_FLOP = 2e-10
"""A guess for the first step; later ones are measured."""


class _System:
    """(D + Σ E_i a_i a_iᵀ + weight · normal normalᵀ) Δ = r for each node."""

    def __init__(
        self, scaled: Scaled, E: FloatArray, D: FloatArray, normal: FloatArray | None, weight: FloatArray
    ) -> None:
        self.scaled, self.D, self.normal = scaled, D, normal
        rows, columns, order = scaled.rows, scaled.columns, scaled.columns.shape[1]
        weights = E if scaled.primal else 1.0 / D
        if scaled.pairs is not None:
            K = (weights @ scaled.pairs).reshape(len(E), order, order)
        else:
            # Lower triangles, at half the cost of products of matrices.
            factors = ((columns * one[:, None]).T for one in np.sqrt(weights))
            K = np.stack([scipy.linalg.blas.dsyrk(1.0, factor, lower=True) for factor in factors])
        if scaled.primal:
            if normal is not None:
                K = K + weight[:, None, None] * normal[:, :, None] * normal[:, None, :]
            K[:, np.arange(order), np.arange(order)] += D
        else:
            # Woodbury in the coordinates √E a_i, where the matrix is the identity plus something.
            self.root = root = np.sqrt(E)
            K = K * root[:, :, None] * root[:, None, :]
            if normal is not None:
                self.weight = np.sqrt(weight)
                mixed = (root * ((normal / D) @ rows.T)) * self.weight[:, None]
                corner = weight * (normal * normal / D).sum(axis=1)
                K = np.block([[K, mixed[:, :, None]], [mixed[:, None, :], corner[:, None, None]]])
                order += 1
            K[:, np.arange(order), np.arange(order)] += 1.0
        self.inverse: FloatArray | None = None
        if scaled.pairs is not None:
            self.inverse = np.asarray(np.linalg.inv(K), dtype=np.float64)
        else:
            self.factors = [scipy.linalg.cho_factor(one, lower=True, check_finite=False) for one in K]

    def _apply(self, r: FloatArray) -> FloatArray:
        if self.inverse is not None:
            return np.asarray((self.inverse @ r[:, :, None])[:, :, 0])
        return np.stack(
            [scipy.linalg.cho_solve(one, row, check_finite=False) for one, row in zip(self.factors, r, strict=True)]
        )

    def solve(self, r: FloatArray) -> FloatArray:
        if self.scaled.primal:
            return self._apply(r)
        first = r / self.D
        inner = self.root * (first @ self.scaled.rows.T)
        if self.normal is not None:
            inner = np.concatenate([inner, (self.weight * (first * self.normal).sum(axis=1))[:, None]], axis=1)
        inner = self._apply(inner)
        back = (self.root * inner[:, : self.scaled.neurons]) @ self.scaled.rows
        if self.normal is not None:
            back = back + (self.weight * inner[:, -1])[:, None] * self.normal
        return np.asarray(first - back / self.D)


@np.errstate(all="ignore")  # what is no number ends the node's ascent; ``finish`` decides what was reached
def optimised(nodes: Nodes, *, accurate: bool = False, deadline: Deadline = NO_DEADLINE) -> LinearBounds:
    """The relaxation's bounds, at least those of CROWN.

    Unless they are to be ``accurate``, a node is left as soon as its bound is known to be positive or clearly negative.
    No step is begun that would probably end after the deadline.
    """
    first = crown(nodes)
    n, N, d = len(nodes), len(nodes.generators), nodes.region.inputs
    order, other = sorted((d, N))
    step_seconds, begun = SECONDS_PER_FLOP * n * (2.0 * order**2 * other + order**3), time.perf_counter()
    if not n or not N or step_seconds >= deadline.left:
        return first
    scaled = Scaled(nodes)
    ball = scaled.ball
    state = scaled.start(nodes.region)
    best = first.value / scaled.unit
    v = np.zeros((n, N))
    x, sides = first.x.copy(), np.zeros((n, 2 * d if ball else 0))
    open_ = np.arange(n)
    for step in range(STEPS + 1):
        above, lower = scaled.values(state)
        kept = lower > best[open_]
        at = open_[kept]
        own, _, *of_sides = scaled.parts(state.dual[kept])
        best[at], v[np.ix_(at, scaled.kept)] = lower[kept], own * (scaled.unit[kept, None] / scaled.size)
        if ball:
            both = np.stack(of_sides, axis=2).reshape(len(at), 2 * d)
            sides[at] = both * (scaled.unit[kept, None] / np.repeat(np.maximum(scaled.half, 1e-300), 2))
        x[at] = scaled.middle + scaled.half * state.x[kept]
        gap = above - best[open_]
        done: NDArray[np.bool_] = np.asarray(~(gap > GAP))
        if not accurate:
            done |= best[open_] > GAP
            done |= (above < 0) & (gap < KNOWN * -best[open_])
        now = time.perf_counter()
        step_seconds, begun = (now - begun if step else step_seconds), now
        if step == STEPS or done.all() or step_seconds >= deadline.left:
            break
        if done.any():
            left = np.asarray(~done)
            scaled.take(left)
            state, open_ = state.take(left), open_[left]
        try:
            moved = _newton_step(scaled, state)
        except np.linalg.LinAlgError:
            break
        good = np.asarray(np.isfinite(moved.x).all(axis=1) & np.isfinite(moved.dual).all(axis=1))
        if not good.all():
            scaled.take(good)
            moved, open_ = moved.take(good), open_[good]
        if not len(open_):
            break
        state = moved
    return finish(nodes, v, sides if ball else None, x).better(first)


def _newton_step(scaled: Scaled, s: State) -> State:
    """One predictor and corrector."""
    used, turn = scaled.used, scaled.turn
    (v, f, below, above), (y, t, left, right) = scaled.parts(s.dual), scaled.parts(s.slack)
    count = 2.0 * used.sum(axis=1) + 2.0 * scaled.inputs + (1.0 if scaled.ball else 0.0)
    residual = below - above - scaled.slope(v)
    E = np.where(used, 1.0 / (t / f + y / v), 0.0)
    D = below / left + above / right
    normal, weight, room = None, np.zeros(len(s.x)), np.ones(len(s.x))
    if scaled.ball:
        room = scaled.room(s.x)
        normal = scaled.stretch * (scaled.stretch * s.x + scaled.shift)
        residual = residual - 2.0 * s.eta[:, None] * normal
        D = D + 2.0 * s.eta[:, None] * scaled.stretch**2
        weight = 4.0 * s.eta / room
    system = _System(scaled, E, D, normal, weight)

    def direction(change: FloatArray, on_ball: FloatArray) -> State:
        """The step that changes the products of ``dual`` and ``slack``, and η times the room, by so much."""
        r1, r2, r3, r4 = scaled.parts(change)
        rho = np.where(used, r2 / f - r1 / v, 0.0)
        right_side = residual + (turn * E * rho) @ scaled.rows + r3 / left - r4 / right
        if normal is not None:
            right_side = right_side - 2.0 * normal * (on_ball / room)[:, None]
        dx = system.solve(right_side)
        dv = E * (turn * (dx @ scaled.rows.T) - rho)
        dt, dy = np.where(used, (r2 + t * dv) / f, 0.0), np.where(used, (r1 - y * dv) / v, 0.0)
        dual = np.hstack([dv, -dv, (r3 - below * dx) / left, (r4 + above * dx) / right])
        deta = np.zeros(len(dx)) if normal is None else (on_ball + 2.0 * s.eta * (normal * dx).sum(axis=1)) / room
        return State(dx, dual, np.hstack([dy, dt, dx, -dx]), deta)

    def complementarity(s: State) -> FloatArray:
        total = (s.dual * s.slack).sum(axis=1)
        return np.asarray(total + s.eta * scaled.room(s.x) if scaled.ball else total)

    mu = complementarity(s) / count
    plain = direction(-s.dual * s.slack, -s.eta * room)
    trial = _moved(scaled, s, plain, 1.0)
    target = mu * np.clip(complementarity(trial) / count / np.maximum(mu, 1e-300), 0.0, 1.0) ** 3
    on_ball = target - s.eta * room
    if normal is not None:
        square = np.square(scaled.stretch * plain.x).sum(axis=1)
        on_ball = on_ball + 2.0 * plain.eta * (normal * plain.x).sum(axis=1) + s.eta * square
    step = direction(target[:, None] - s.dual * s.slack - plain.dual * plain.slack, on_ball)
    return _moved(scaled, s, step, SHARE)


def _moved(scaled: Scaled, s: State, d: State, share: float) -> State:
    """As far along d as all stay positive, times ``share``; primal and dual apart unless there is a ball."""

    def longest(value: FloatArray, change: FloatArray) -> FloatArray:
        reach = np.where(change < 0, -value / change, np.inf)
        return np.asarray(np.minimum(share * reach.min(axis=1, initial=np.inf), 1.0))

    primal = longest(s.slack, d.slack)
    dual = np.minimum(longest(s.dual, d.dual), longest(s.eta[:, None], d.eta[:, None]))
    if scaled.ball:
        u, w = scaled.stretch * s.x + scaled.shift, scaled.stretch * d.x
        a, b, c = (w * w).sum(axis=1), (u * w).sum(axis=1), 1.0 - (u * u).sum(axis=1)
        reach = np.where(a > 0, c / (b + np.sqrt(b * b + a * c)), np.inf)
        primal = np.minimum(primal, share * np.where(reach > 0, reach, np.inf))
        primal = dual = np.minimum(primal, dual)
    h, k = primal[:, None], dual[:, None]
    return State(s.x + h * d.x, s.dual + k * d.dual, s.slack + h * d.slack, s.eta + dual * d.eta)
