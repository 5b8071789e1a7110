"""The proximal map of a loss over features that its rows may share, with the output bias as a joint unknown.

    minimise  Σ_i ω_i ℓ(κ_i P_{f(i)} + offset_i + a, y_i) + decay/2 ‖a‖² + penalty/2 ‖P − G‖²  over P and a

by damped Newton steps. The system is an arrow: a block for each feature, and the bias as the head. A loss with kinks is
smoothed, and where Newton's method gets stuck between kinks it comes from a smoother loss.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy

from formulations._validation import FloatArray, IntArray
from formulations.losses import Squared, smoothed

if TYPE_CHECKING:
    from formulations.loss import Loss


STEPS = 60  # Most Newton steps.
ACCURACY = 1e-12  # Decrease of the objective, relative, at which they end.
SHRINKAGE = 1e-3  # Part of the predicted decrease that a step has to give.
SMALLEST_STEP = 1e-10  # Of a line search.
LEAST_CURVATURE = 1e-9  # Added to the curvature in the bias, relative, where kinks leave none.
# Decrease that a step has to predict at most, relative to the last one, for its matrix to be used again. Measured: a
# map of 600 rows and 10 classes beside the steps of the ADMM took 15 ms without, 7 ms so.
CONTRACTION = 0.01
STUCK = 1e-9  # Predicted decrease, relative, at which an end that no step leaves is no minimum.
LEAST_SMOOTHING = 1e-9  # Of a loss with kinks, relative to the size of fitted values and targets.
SMOOTHING_RATIO = 0.1  # From one smoother loss to the next.


@dataclass(frozen=True, eq=False)
class _Arrow:
    """Newton's matrix: the inverse blocks, their couplings with the head, and the head; how far the bias may go."""

    inverse: FloatArray
    cross: FloatArray
    head: FloatArray
    couples: bool
    reach: float

    def solve(self, g: FloatArray, g_a: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """(dP, da) for the gradient (g, g_a); without a head g_a is None."""
        da: FloatArray = np.zeros(g.shape[1])
        if not self.couples:
            if g_a is not None:
                da = -(g_a - np.sum(self.cross * g * self.inverse, axis=0)) / self.head
                da = np.clip(da, -self.reach, self.reach)
            return -(g + self.cross * da) * self.inverse, da
        if g_a is not None:
            inner = (self.inverse @ g[:, :, None])[:, :, 0]
            da = -np.asarray(np.linalg.solve(self.head, g_a - np.einsum("mji,mj->i", self.cross, inner)))
        dP: FloatArray = -(self.inverse @ (g + self.cross @ da)[:, :, None])[:, :, 0]
        return dP, da


class Prox:
    """The map of one loss and one assignment of features.

    Args:
        loss: any.
        feature, weight: (n,) f and κ of its rows.
        features: m, the rows of G and P.
    """

    def __init__(self, loss: "Loss", feature: IntArray, weight: FloatArray, features: int) -> None:
        self.loss, self.feature, self.kappa = loss, feature, weight[:, None]
        place = (feature, np.arange(len(feature)))
        self._sum = scipy.sparse.csr_array((weight, place), shape=(features, len(feature)))
        self._sum_of_squares = scipy.sparse.csr_array((weight**2, place), shape=(features, len(feature)))
        self._known: tuple[FloatArray | float, _Arrow] | None = None
        self._kept: tuple[FloatArray | float, _Arrow] | None = None
        self._reach = np.inf

    def __call__(
        self,
        G: FloatArray,
        penalty: FloatArray | float,
        *,
        offset: FloatArray | float = 0.0,
        start: tuple[FloatArray, FloatArray] | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """The minimisers (P, a); ``start`` is where Newton's method begins, G and 0 by default.

        Every row of G may have a penalty (m, 1) of its own.
        """
        zero = np.zeros(G.shape[1])
        if isinstance(self.loss.kind, Squared):
            dP, da, _ = self._newton(G, penalty, offset, G, zero)
            return G + dP, da
        if start is not None and not all(np.isfinite(part).all() for part in start):
            start = None  # A step that failed may have left it.
        P, a = (G, zero) if start is None else start
        if not self.loss.kind.has_kinks:
            self._known = self._kept
            return self._minimise(G, penalty, offset, P, a, goes_on=start is not None)[:2]
        size = self.loss.unit * float(np.abs(self.kappa * G[self.feature] + offset).max(initial=0.0))
        size = max(size, float(np.abs(self.loss.target).max(initial=0.0)), 1e-300)
        # Between kinks the bias has no curvature to stop it.
        self._reach = size / self.loss.unit
        last = max(self.loss.kind.smoothing or 0.0, LEAST_SMOOTHING * size)
        P, a, found = self._smoothed(last)._minimise(G, penalty, offset, P, a)
        if not found:
            # Smoothings from that of a loss without visible kinks down to the last.
            count, P, a = max(int(np.ceil(np.log(size / last) / -np.log(SMOOTHING_RATIO))), 1), G, zero
            for smoothing in np.geomspace(max(size, last), last, count + 1):
                P, a, _ = self._smoothed(smoothing)._minimise(G, penalty, offset, P, a)
        return P, a

    def go_on(self) -> None:
        """Later calls with a start may use the Newton matrix of the last one; what is called between is not kept."""
        self._kept = self._known

    def _smoothed(self, smoothing: float) -> "Prox":
        other = object.__new__(Prox)
        other.__dict__.update(self.__dict__)
        other.loss = replace(self.loss, kind=smoothed(self.loss.kind, smoothing))
        return other

    def _minimise(
        self,
        G: FloatArray,
        penalty: FloatArray | float,
        offset: FloatArray | float,
        P: FloatArray,
        a: FloatArray,
        *,
        goes_on: bool = False,
    ) -> tuple[FloatArray, FloatArray, bool]:
        """Newton's method from (P, a), and whether it came to a minimum.

        Where it ``goes_on`` from the minimum of a similar map, the matrix kept there is used as long as it serves:
        steps are cheaper then, and the end is less accurate.
        """
        loss = self.loss

        def value(P: FloatArray, a: FloatArray) -> float:
            own = loss.value(self.kappa * P[self.feature] + offset, a)
            return own + 0.5 * float(np.sum(penalty * (P - G) ** 2))

        here, decrease = value(P, a), np.inf
        for _ in range(STEPS):
            last, self._known = decrease, self._known if goes_on else None
            dP, da, decrease = self._newton(G, penalty, offset, P, a)
            if goes_on and not decrease <= CONTRACTION * last:
                # The matrix of an earlier point does no longer.
                self._known = None
                dP, da, decrease = self._newton(G, penalty, offset, P, a)
            step = 1.0
            while step > SMALLEST_STEP:
                there = value(P + step * dP, a + step * da)
                if there <= here - SHRINKAGE * step * decrease:
                    break
                step *= 0.5
            size = max(abs(here), 1e-300)
            if not step > SMALLEST_STEP:
                return P, a, decrease <= STUCK * size
            P, a, before, here = P + step * dP, a + step * da, here, there
            if not before - here > ACCURACY * size:
                return P, a, decrease <= STUCK * size
        return P, a, False

    def _newton(
        self, G: FloatArray, penalty: FloatArray | float, offset: FloatArray | float, P: FloatArray, a: FloatArray
    ) -> tuple[FloatArray, FloatArray, float]:
        """(dP, da, predicted decrease) of a Newton step with the matrix known for this penalty, or with a new one."""
        loss = self.loss
        f = self.kappa * P[self.feature] + offset + a
        slope = -loss.dual(f, np.zeros(G.shape[1]))
        g = penalty * (P - G) + self._sum @ slope
        g_a = slope.sum(axis=0) + loss.bias_decay * a if loss.has_bias else None
        if self._known is not None and np.array_equal(self._known[0], penalty):
            arrow = self._known[1]
        else:
            arrow = self._arrow(f, penalty)
            self._known = (penalty, arrow)
        dP, da = arrow.solve(g, g_a)
        return dP, da, -float(np.sum(g * dP)) - (0.0 if g_a is None else float(g_a @ da))

    def _arrow(self, f: FloatArray, penalty: FloatArray | float) -> _Arrow:
        loss, (m, c) = self.loss, (self._sum.shape[0], f.shape[1])
        if not loss.kind.couples:
            h = loss.curvature(f)[0]
            own, cross = penalty + self._sum_of_squares @ h, self._sum @ h
            total = h.sum(axis=0)
            head = total + (loss.bias_decay if loss.has_bias else 0.0) - np.sum(cross**2 / own, axis=0)
            head = np.maximum(head, _least_curvature(loss, total))
            return _Arrow(1.0 / own, cross, head, False, self._reach)
        diagonal, row = loss.curvature(f)
        H = diagonal[:, :, None] * np.eye(c) - row[:, :, None] * row[:, None, :]
        flat = H.reshape(len(H), c * c)
        inverse = np.linalg.inv(
            np.reshape(penalty, (-1, 1, 1)) * np.eye(c) + (self._sum_of_squares @ flat).reshape(m, c, c)
        )
        cross, head = (self._sum @ flat).reshape(m, c, c), np.eye(c)
        if loss.has_bias:
            total = H.sum(axis=0)
            head = total + loss.bias_decay * np.eye(c) - np.einsum("mji,mjk->ik", cross, inverse @ cross)
            # Cross-entropy does not see a bias that is the same for all classes.
            head += _least_curvature(loss, np.trace(total)) * np.eye(c)
        return _Arrow(inverse, cross, head, True, self._reach)


def _least_curvature(loss: "Loss", total: FloatArray) -> FloatArray:
    """What curvature in the bias is at least, by a total of that of the rows and in the unit of their weights."""
    return np.asarray(LEAST_CURVATURE * np.maximum(total, np.mean(loss.sample_weight)))


def best_bias(loss: "Loss", R: FloatArray) -> FloatArray:
    """The best output bias (c,) of a loss without kinks for fitted values R (n×c), by damped Newton steps from 0."""
    a = np.zeros(R.shape[1])
    here = loss.value(R, a)
    for _ in range(STEPS):
        diagonal, row = loss.curvature(R + a)
        total, slope = diagonal.sum(axis=0), loss.bias_decay * a - loss.dual(R, a).sum(axis=0)
        least = _least_curvature(loss, total.sum())
        if loss.kind.couples:
            # Cross-entropy does not see a bias that is the same for all classes.
            step = -np.linalg.solve(np.diag(total + least + loss.bias_decay) - row.T @ row, slope)
        else:
            step = -slope / np.maximum(total + loss.bias_decay, least)
        decrease, length = -float(slope @ step), 1.0
        if not decrease > ACCURACY * max(abs(here), 1e-300):
            return np.asarray(a + step) if np.isfinite(step).all() else a
        there = loss.value(R, a + step)
        while not there <= here - SHRINKAGE * length * decrease and length > SMALLEST_STEP:
            length *= 0.5
            there = loss.value(R, a + length * step)
        if not there < here:
            return a
        a, here = a + length * step, there
    return a
