"""The best multipliers of the triangle relaxation at many nodes at once, by an interior point method.

A node asks for the least value over the region of

    c·x + Σ_i ω_i (a_i·x + b_i)₊,

with a term for each free neuron whose weight ω is positive and one for each fixed sign, where ω is a penalty. The dual
variables v in [0, ω] are lower slopes and multipliers. With t_i ≥ 0, y_i = t_i − (a_i·x + b_i) ≥ 0, f = ω − v and the
sides and the ball of the region, the conditions are v y = 0, f t = 0 and alike; Newton steps with Mehrotra's corrector
go to their common value from above (Wright, Primal-Dual Interior-Point Methods, chapter 10). A Newton step is one
system of order min(d, N) for each node. Few steps tell whether the value is positive, which is all that most nodes are
asked. Inputs are scaled to [−1, 1], pre-activations and the objective to size 1.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from certificates.failure import NO_DEADLINE, Deadline
from certnet.search.linear import LinearBounds, Nodes, crown, finish
from certnet.search.regions import project
from formulations._validation import FloatArray
from formulations.robustness import InputRegion
from formulations.signs import FREE

PENALTY = 100.0
"""Largest sum of the multipliers of fixed signs, in units of what the neurons contribute to the margin."""
STEPS = 40
SHARE = 0.99
"""Part of the way to the boundary that a step goes."""
GAP = 1e-9
"""Difference of both values, relative to the objective, at which a node is solved."""
KNOWN = 0.1
"""Part of a negative value up to which it is computed: such a node has to be split anyway."""
PRODUCTS = 1 << 21
"""Numbers up to which the products of all pairs of columns are kept."""
SECONDS_PER_FLOP = 2e-10
"""A guess for the first step; later ones are measured."""
SMALL = 120
"""Order up to which systems of all nodes are inverted together where ``pairs`` are kept."""


@dataclass(eq=False)
class _State:
    """Iterates of n nodes; everything is (n, ·)."""

    x: FloatArray
    v: FloatArray
    f: FloatArray
    t: FloatArray
    y: FloatArray
    below: FloatArray
    above: FloatArray
    eta: FloatArray

    def take(self, index: NDArray[np.bool_]) -> "_State":
        return _State(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})


class _Scaled:
    """The nodes in scaled coordinates, with the neurons that have a term at one of them at least.

    Those without, free ones whose weight is negative, are about half of all; ``kept`` (M,) are the others.
    """

    def __init__(self, nodes: Nodes) -> None:
        region, A = nodes.region, nodes.generators
        low, high = nodes.bounds.T
        size = np.maximum(-low, high)
        self.middle, self.half = 0.5 * region.lower + 0.5 * region.upper, 0.5 * (region.upper - region.lower)
        total = np.maximum((np.abs(nodes.weights) * size).sum(axis=1), 1e-300)
        nu = nodes.falling / (high - low)
        base = nodes.linear + (np.where(nodes.signs > 0, nodes.weights, 0.0) - nu * high) @ A
        constant = base[:, -1] + nu @ (high * low) + base[:, :-1] @ self.middle
        slope = base[:, :-1] * self.half
        self.unit = np.maximum(total + np.abs(slope).sum(axis=1), 1e-300)
        self.c, self.constant = slope / self.unit[:, None], constant / self.unit
        omega = np.where(nodes.signs == FREE, nodes.rising * size, PENALTY * total[:, None]) / self.unit[:, None]
        self.kept = np.flatnonzero((omega > 0).any(axis=0))
        A, self.size, signs, self.omega = A[self.kept], size[self.kept], nodes.signs[:, self.kept], omega[:, self.kept]
        self.used = self.omega > 0
        # Violation of a fixed sign is −σ a·x.
        self.turn = np.where(signs == FREE, 1.0, -signs.astype(np.float64))
        self.rows = A[:, :-1] * (self.half / self.size[:, None])
        self.offset = (A[:, :-1] @ self.middle + A[:, -1]) / self.size
        self.inputs, self.neurons = region.inputs, len(A)
        self.ball = region.has_ball
        if region.centre is not None and region.radius is not None:
            radius = max(region.radius, 1e-300)
            self.stretch, self.shift = self.half / radius, (self.middle - region.centre) / radius
        self.primal = min(self.inputs, self.neurons) == self.inputs
        self.pairs: FloatArray | None = None
        order, other = (self.inputs, self.neurons) if self.primal else (self.neurons, self.inputs)
        if order * order * other <= PRODUCTS:
            columns = self.rows if self.primal else self.rows.T
            self.pairs = (columns[:, :, None] * columns[:, None, :]).reshape(other, order * order)

    def take(self, index: NDArray[np.bool_]) -> None:
        """Go on with these nodes alone."""
        for name in ("unit", "c", "constant", "omega", "used", "turn"):
            setattr(self, name, getattr(self, name)[index])

    def start(self, region: InputRegion) -> _State:
        """Interior points near the centre of the region, where all products are alike."""
        n = len(self.c)
        x = np.zeros(self.inputs)
        if region.centre is not None and region.radius is not None:
            anchor = np.clip(region.centre, region.lower, region.upper)
            edge = project(region, self.middle[None])[0]
            x = np.where(self.half > 0, (0.5 * anchor + 0.5 * edge - self.middle) / np.maximum(self.half, 1e-300), 0.0)
            x = np.clip(x, -0.999, 0.999)
        x = np.repeat(x[None], n, axis=0)
        p = self.turn * (x @ self.rows.T + self.offset)
        mu = 1.0 / (self.inputs + self.neurons)
        omega = np.where(self.used, self.omega, 1.0)
        root = np.sqrt((omega * p) ** 2 + 4.0 * mu * mu)
        # ω t (t − p) = μ (2 t − p), solved without cancellation.
        small = mu / omega * (1.0 + 2.0 * mu / (root + omega * np.abs(p)))
        t, y = small + np.maximum(p, 0.0), small + np.maximum(-p, 0.0)
        v, f = mu / y, mu / t
        scale = omega / (v + f)
        v, f = np.where(self.used, v * scale, 1.0), np.where(self.used, f * scale, 1.0)
        t, y = np.where(self.used, t, 1.0), np.where(self.used, y, 1.0)
        q = self.slope(v)
        root = np.sqrt(0.25 * q * q + mu * mu)
        below, above = 0.5 * q + root, root - 0.5 * q
        eta = np.full(n, mu if self.ball else 0.0)
        return _State(x, v, f, t, y, below, above, eta)

    def slope(self, v: FloatArray) -> FloatArray:
        """(n, d) of the linear functions whose least value over the region is the dual value."""
        return np.asarray(self.c + np.where(self.used, self.turn * v, 0.0) @ self.rows)

    def room(self, x: FloatArray) -> FloatArray:
        """(n,) 1 − ‖x − centre‖²/radius²."""
        return np.asarray(1.0 - np.square(self.stretch * x + self.shift).sum(axis=1))

    def values(self, s: _State) -> tuple[FloatArray, FloatArray]:
        """(primal values, dual values)."""
        p = self.turn * (s.x @ self.rows.T + self.offset)
        above = self.constant + np.einsum("nd,nd->n", self.c, s.x)
        above = above + np.where(self.used, self.omega * np.maximum(p, 0.0), 0.0).sum(axis=1)
        q = self.slope(s.v)
        lower = self.constant + np.where(self.used, self.turn * s.v * self.offset, 0.0).sum(axis=1)
        if not self.ball:
            return above, lower - np.abs(q).sum(axis=1)
        # rest = stretch · g, so that the ball has centre −shift and radius 1 in g's coordinates.
        rest = np.where(self.stretch > 0, (q - s.below + s.above) / np.maximum(self.stretch, 1e-300), 0.0)
        ball = -rest @ self.shift - np.linalg.norm(rest, axis=1)
        return above, lower + ball - (s.below + s.above).sum(axis=1)


def _grams(factors: Iterable[FloatArray], *, trans: bool = False) -> FloatArray:
    """(n, order, order) lower triangles of F Fᵀ, or of Fᵀ F, at half the cost of products of matrices."""
    return np.stack([scipy.linalg.blas.dsyrk(1.0, one, trans=trans, lower=True) for one in factors])


class _System:
    """(D + Σ E_i a_i a_iᵀ + weight · normal normalᵀ) Δ = r for each node."""

    def __init__(
        self, scaled: _Scaled, E: FloatArray, D: FloatArray, normal: FloatArray | None, weight: FloatArray
    ) -> None:
        self.scaled, self.D, self.E = scaled, D, E
        rows, n = scaled.rows, len(E)
        if scaled.primal:
            order = scaled.inputs
            if scaled.pairs is not None:
                K = (E @ scaled.pairs).reshape(n, order, order)
            else:
                K = _grams((rows * one[:, None]).T for one in np.sqrt(E))
            if normal is not None:
                K = K + weight[:, None, None] * normal[:, :, None] * normal[:, None, :]
            K[:, np.arange(order), np.arange(order)] += D
        else:
            # Woodbury in the coordinates √E a_i, where the matrix is the identity plus something.
            order = scaled.neurons
            root = np.sqrt(E)
            self.root = root
            if scaled.pairs is not None:
                K = ((1.0 / D) @ scaled.pairs).reshape(n, order, order)
            else:
                K = _grams(((rows * one).T for one in 1.0 / np.sqrt(D)), trans=True)
            K = K * root[:, :, None] * root[:, None, :]
            if normal is not None:
                self.normal, self.weight = normal, np.sqrt(weight)
                mixed = (root * ((normal / D) @ rows.T)) * self.weight[:, None]
                corner = weight * (normal * normal / D).sum(axis=1)
                K = np.concatenate(
                    [
                        np.concatenate([K, mixed[:, :, None]], axis=2),
                        np.concatenate([mixed, corner[:, None]], axis=1)[:, None, :],
                    ],
                    axis=1,
                )
                order += 1
            K[:, np.arange(order), np.arange(order)] += 1.0
        self.with_normal = normal is not None
        self.inverse: FloatArray | None = None
        if scaled.pairs is not None and order <= SMALL:
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
        if self.with_normal:
            inner = np.concatenate([inner, (self.weight * (first * self.normal).sum(axis=1))[:, None]], axis=1)
        inner = self._apply(inner)
        back = (self.root * inner[:, : self.scaled.neurons]) @ self.scaled.rows
        if self.with_normal:
            back = back + (self.weight * inner[:, -1])[:, None] * self.normal
        return np.asarray(first - back / self.D)


def optimised(nodes: Nodes, *, accurate: bool = False, deadline: Deadline = NO_DEADLINE) -> LinearBounds:
    """The relaxation's bounds, at least those of CROWN.

    A node is left as soon as its bound is known to be positive or clearly negative.

    Args:
        nodes: B nodes.
        accurate: whether to go on until primal and dual value agree.
        deadline: no step is begun that would probably end after it.
    """
    with np.errstate(all="ignore"):
        # What is no number ends the node's ascent; ``finish`` decides what was reached.
        return _ascended(nodes, accurate=accurate, deadline=deadline)


def _ascended(nodes: Nodes, *, accurate: bool, deadline: Deadline) -> LinearBounds:
    first = crown(nodes)
    n, N, d = len(nodes), len(nodes.generators), nodes.region.inputs
    order, other = sorted((d, N))
    step_seconds, begun = SECONDS_PER_FLOP * n * (2.0 * order**2 * other + order**3), time.perf_counter()
    if not n or not N or step_seconds >= deadline.left:
        return first
    scaled = _Scaled(nodes)
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
        best[at], v[np.ix_(at, scaled.kept)] = lower[kept], state.v[kept] * (scaled.unit[kept, None] / scaled.size)
        if ball:
            both = np.stack([state.below[kept], state.above[kept]], axis=2).reshape(len(at), 2 * d)
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
        good = np.asarray(np.isfinite(moved.x).all(axis=1) & np.isfinite(moved.v).all(axis=1))
        if not good.all():
            scaled.take(good)
            moved, open_ = moved.take(good), open_[good]
        if not len(open_):
            break
        state = moved
    free = nodes.signs == FREE
    last = finish(nodes, np.where(free, v, 0.0), np.where(free, 0.0, v), sides if ball else None, x)
    return last.better(first)


def _newton_step(scaled: _Scaled, s: _State) -> _State:
    """One predictor and corrector."""
    used, turn = scaled.used, scaled.turn
    left, right = 1.0 + s.x, 1.0 - s.x
    count = 2.0 * used.sum(axis=1) + 2.0 * scaled.inputs + (1.0 if scaled.ball else 0.0)
    residual = s.below - s.above - scaled.slope(s.v)
    E = np.where(used, 1.0 / (s.t / s.f + s.y / s.v), 0.0)
    D = s.below / left + s.above / right
    normal, weight, room = None, np.zeros(len(s.x)), np.ones(len(s.x))
    if scaled.ball:
        room = scaled.room(s.x)
        normal = scaled.stretch * (scaled.stretch * s.x + scaled.shift)
        residual = residual - 2.0 * s.eta[:, None] * normal
        D = D + 2.0 * s.eta[:, None] * scaled.stretch**2
        weight = 4.0 * s.eta / room
    system = _System(scaled, E, D, normal, weight)

    def direction(r1: FloatArray, r2: FloatArray, r3: FloatArray, r4: FloatArray, r5: FloatArray) -> _State:
        rho = np.where(used, r2 / s.f - r1 / s.v, 0.0)
        right_side = residual + (turn * E * rho) @ scaled.rows + r3 / left - r4 / right
        if normal is not None:
            right_side = right_side - 2.0 * normal * (r5 / room)[:, None]
        dx = system.solve(right_side)
        ax = turn * (dx @ scaled.rows.T)
        dv = E * (ax - rho)
        dt = np.where(used, (r2 + s.t * dv) / s.f, 0.0)
        dy = np.where(used, (r1 - s.y * dv) / s.v, 0.0)
        deta = np.zeros(len(dx))
        if normal is not None:
            deta = (r5 + 2.0 * s.eta * (normal * dx).sum(axis=1)) / room
        return _State(dx, dv, -dv, dt, dy, (r3 - s.below * dx) / left, (r4 + s.above * dx) / right, deta)

    def complementarity(s: _State) -> FloatArray:
        total = np.where(used, s.v * s.y + s.f * s.t, 0.0).sum(axis=1)
        total = total + (s.below * (1.0 + s.x) + s.above * (1.0 - s.x)).sum(axis=1)
        return np.asarray(total + (s.eta * scaled.room(s.x) if scaled.ball else 0.0))

    def products(target: FloatArray, d: _State | None) -> _State:
        m = target[:, None]
        r1, r2 = m - s.v * s.y, m - s.f * s.t
        r3, r4, r5 = m - s.below * left, m - s.above * right, target - s.eta * room
        if d is not None:
            r1, r2 = r1 - d.v * d.y, r2 - d.f * d.t
            r3, r4 = r3 - d.below * d.x, r4 + d.above * d.x
            if scaled.ball:
                square = np.square(scaled.stretch * d.x).sum(axis=1)
                assert normal is not None
                r5 = r5 + 2.0 * d.eta * (normal * d.x).sum(axis=1) + s.eta * square
        return direction(r1, r2, r3, r4, r5)

    mu = complementarity(s) / count
    plain = products(np.zeros(len(mu)), None)
    trial = _moved(scaled, s, plain, 1.0)
    ratio = np.clip(complementarity(trial) / count / np.maximum(mu, 1e-300), 0.0, 1.0)
    step = products(mu * ratio**3, plain)
    return _moved(scaled, s, step, SHARE)


def _moved(scaled: _Scaled, s: _State, d: _State, share: float) -> _State:
    """As far along d as all stay positive, times ``share``; primal and dual apart unless there is a ball."""

    def longest(*pairs: tuple[FloatArray, FloatArray]) -> FloatArray:
        most = np.full(len(s.x), 1.0 / share)
        for value, change in pairs:
            reach = np.where(change < 0, -value / change, np.inf)
            most = np.minimum(most, reach.min(axis=1, initial=np.inf))
        return np.minimum(share * most, 1.0)

    primal = longest((s.t, d.t), (s.y, d.y), (1.0 + s.x, d.x), (1.0 - s.x, -d.x))
    dual = longest((s.v, d.v), (s.f, d.f), (s.below, d.below), (s.above, d.above), (s.eta[:, None], d.eta[:, None]))
    if scaled.ball:
        u, w = scaled.stretch * s.x + scaled.shift, scaled.stretch * d.x
        a, b, c = (w * w).sum(axis=1), (u * w).sum(axis=1), 1.0 - (u * u).sum(axis=1)
        reach = np.where(a > 0, c / (b + np.sqrt(b * b + a * c)), np.inf)
        primal = np.minimum(primal, share * np.where(reach > 0, reach, np.inf))
        primal = dual = np.minimum(primal, dual)
    h, k = primal[:, None], dual[:, None]
    return _State(
        s.x + h * d.x,
        s.v + k * d.v,
        s.f + k * d.f,
        s.t + h * d.t,
        s.y + h * d.y,
        s.below + k * d.below,
        s.above + k * d.above,
        s.eta + dual * d.eta,
    )
