"""The loss of a training problem: a kind, targets, weights of the rows, and the output bias.

    L(R) = min over a of  Σ_i ω_i ℓ(R_i + a, y_i) + decay/2 ‖a‖²

for fitted values R (n×c) without the bias. The bias a is thus a part of the loss, and nothing else needs to know of it:
L is convex, ``W = −∇L(R)`` is −ω_i∇ℓ at the best a, and

    −L*(−W) = Σ_i ω_i D(W_i/ω_i) − ‖Wᵀ1‖²/(2 decay),

where a bias without decay asks for ``Wᵀ1 = 0``, and no bias at all (decay = ∞) for nothing.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.losses import Kind, Squared
from formulations.prox import Prox, best_bias

FREE_BIAS, NO_BIAS = 0.0, float("inf")  # Decay of an output bias that costs nothing, and of one that is not there.
_TURNS = 60  # Most of a projection into the domain and onto ``Wᵀ1 = 0``.


def project(kind: Kind, w: FloatArray, y: FloatArray) -> FloatArray:
    """w moved into the domain of D, in floating point: the nearest point, of rows of cross-entropy nearly so."""
    w = np.clip(w, *kind.limits(y))
    if kind.couples:
        p = np.maximum(y - w, 0.0)
        p = np.where(p.any(axis=1, keepdims=True), p, 1.0)
        w = y - p / p.sum(axis=1, keepdims=True)
    return w


@dataclass(frozen=True, eq=False)
class Loss:
    """See the module's text. In units: ``L(unit·R)/unit²``, whose W and a are those of L divided by ``unit``.

    Attributes:
        target: (n, c) y, which ``formulations.training.require_targets`` has seen.
        kind: ℓ.
        sample_weight: (n,) ω > 0; ones by default.
        bias_decay: of the output bias; ``NO_BIAS`` where there is none, ``FREE_BIAS`` where it costs nothing.
        unit: see above.
    """

    target: FloatArray
    kind: Kind = field(default_factory=Squared)
    sample_weight: FloatArray = field(default_factory=lambda: np.zeros(0))
    bias_decay: float = NO_BIAS
    unit: float = 1.0

    def __post_init__(self) -> None:
        if not len(self.sample_weight):
            object.__setattr__(self, "sample_weight", np.ones(len(self.target)))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, c), of fitted values and of W."""
        return self.target.shape[0], self.target.shape[1]

    @property
    def has_bias(self) -> bool:
        """Whether there is an output bias."""
        return self.bias_decay < NO_BIAS

    def take(self, rows: IntArray) -> "Loss":
        """The loss of these rows."""
        return replace(self, target=self.target[rows], sample_weight=self.sample_weight[rows])

    @property
    def _omega(self) -> FloatArray:
        return self.sample_weight[:, None]

    @property
    def limits(self) -> tuple[FloatArray, FloatArray]:
        """(lower, upper), n×c each: the domain of W as a box; see ``Quadratic.limits``."""
        lower, upper = self.kind.limits(self.target)
        return self._omega / self.unit * lower, self._omega / self.unit * upper

    def size(self) -> float:
        """‖W‖ of the network without neurons: about how large numbers are. 1 where that is 0."""
        size = float(np.linalg.norm(self.dual(np.zeros(self.shape))))
        return size if size > 0 else 1.0

    def value(self, R: FloatArray, bias: FloatArray | None = None) -> float:
        """L(R), or the value with this bias (c,) in place of the best one."""
        a = self.bias(R) if bias is None else bias
        return float(np.sum(self.losses(R + a))) + (0.5 * self.bias_decay * float(a @ a) if self.has_bias else 0.0)

    def losses(self, f: FloatArray) -> FloatArray:
        """(n,) of the rows, with their weights; f has the bias in it."""
        return self.sample_weight * self.kind.value(self.unit * f, self.target) / self.unit**2

    def dual(self, R: FloatArray, bias: FloatArray | None = None) -> FloatArray:
        """W = −∇L(R), or that with a bias (c,) that need not be the best."""
        a = self.bias(R) if bias is None else bias
        return self._omega * self.kind.dual(self.unit * (R + a), self.target) / self.unit

    def curvature(self, f: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(d, l) with the Hessian ``diag(d) − l lᵀ`` of a row of ``Σ ω_i ℓ(f_i)``; f has the bias in it."""
        diagonal, row = self.kind.curvature(self.unit * f, self.target)
        return self._omega * diagonal, np.sqrt(self._omega) * row

    def bias(self, R: FloatArray) -> FloatArray:
        """The best output bias (c,) for fitted values R; zeros where there is none."""
        if not self.has_bias:
            return np.zeros(self.shape[1])
        if not self.kind.has_kinks:
            return best_bias(self, R)
        if self.kind.smoothing == 0.0:
            return self._bias_on_kinks(R)
        one = np.zeros(len(R), dtype=np.int64)
        return Prox(self, one, np.zeros(len(R)), 1)(np.zeros((1, self.shape[1])), 1.0, offset=R)[1]

    def _bias_on_kinks(self, R: FloatArray) -> FloatArray:
        """The best bias where ℓ is piecewise linear: by the slopes between the kinks of a column."""
        (lower, upper), kinks, bias = self.limits, self.target / self.unit - R, np.zeros(self.shape[1])
        for p in range(self.shape[1]):
            order = np.argsort(kinks[:, p], kind="stable")
            at = np.concatenate([[-np.inf], kinks[order, p], [np.inf]])
            # Of the k-th interval, which ends at at[k + 1].
            slope = np.cumsum(np.append(-upper[:, p].sum(), (upper - lower)[order, p]))
            rounding = 1e-14 * np.abs(slope[0])
            rises = slope >= -rounding if self.bias_decay == 0 else slope + self.bias_decay * at[1:] >= 0
            k = int(np.argmax(rises))
            inside = -slope[k] / self.bias_decay if self.bias_decay > 0 else -np.inf
            bias[p] = max(at[k], inside) if k or self.bias_decay > 0 else at[1]
        return bias

    def dual_value(self, W: FloatArray) -> float:
        """−L*(−W) for W in the domain, up to rounding; a bias without decay is taken to have ``Wᵀ1 = 0``."""
        w = self.unit * W / self._omega
        value = float(self.sample_weight @ self.kind.earned(w, self.target)) / self.unit**2
        if 0 < self.bias_decay < NO_BIAS:
            value -= float(np.sum(np.sum(W, axis=0) ** 2)) / (2.0 * self.bias_decay)
        return value

    def project(self, W: FloatArray) -> FloatArray:
        """W moved into the domain, in floating point; where the bias is free ``Wᵀ1 = 0`` holds up to rounding."""
        omega = self._omega / self.unit
        for _ in range(_TURNS):
            W = omega * project(self.kind, W / omega, self.target)
            if self.bias_decay > 0:
                return W
            total = W.sum(axis=0)
            if not np.abs(total).max(initial=0.0) > 1e-13 * np.abs(W).sum():
                return W
            # What each row gives of a column's total, in proportion to its room.
            lower, upper = self.limits
            room = np.where(total > 0, W - lower, upper - W)
            room = np.where(np.isfinite(room), room, 1.0 + np.abs(W))
            W = W - room * (total / np.maximum(room.sum(axis=0), 1e-300))
        return omega * project(self.kind, W / omega, self.target)

    def largest_scale(self, W: FloatArray) -> float:
        """The largest s with sW in the domain; at least 1 for a W in it."""
        lower, upper = self.limits
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(W > 0, upper / W, np.where(W < 0, lower / W, np.inf))
        return float(np.min(ratio, initial=np.inf))

    def best_scale(self, W: FloatArray) -> float:
        """The s ≥ 0 of the largest dual value of sW; 0, or NaN, where no positive s is better than 0."""
        limit = self.largest_scale(W)
        if isinstance(self.kind, Squared):
            # The maximiser of a parabola.
            linear, square = float(np.sum(W * self.target)) / self.unit, float(np.sum(W**2 / self._omega))
            if 0 < self.bias_decay < NO_BIAS:
                square += float(np.sum(np.sum(W, axis=0) ** 2)) / self.bias_decay
            return linear / square if square > 0 else 0.0

        def rises(s: float) -> bool:
            # The gradient of the dual value: the fitted values, without the bias, that sW belongs to.
            f = self.kind.fitted(self.unit * (s * W) / self._omega, self.target) / self.unit
            f = f - np.sum(s * W, axis=0) / self.bias_decay if 0 < self.bias_decay < NO_BIAS else f
            with np.errstate(invalid="ignore"):
                return bool(np.nansum(np.where(W != 0, W * f, 0.0)) > 0)

        if not (limit > 0 and W.any() and np.isfinite(W).all() and rises(1e-9 * min(limit, 1.0))):
            return 0.0
        high = min(limit, 1.0)
        while rises(high) and high < limit and high < 1e100:
            high = min(2.0 * high, limit)
        low = 0.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if rises(middle) else (low, middle)
        return low

    def least_scale(self, W: FloatArray, goal: float) -> float | None:
        """The least s with a dual value of sW of at least ``goal``; None where there is none."""
        high = self.best_scale(W)
        if not (high > 0 and self.dual_value(high * W) >= goal):
            return None
        if not goal > 0:
            return 0.0
        low = 0.0
        for _ in range(200):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            low, high = (low, middle) if self.dual_value(middle * W) >= goal else (middle, high)
        return high
