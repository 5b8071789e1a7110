"""Iterations that are told what to evaluate: L-BFGS, conjugate gradients, and the acceleration of a fixed point."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
from scipy.optimize import minimize

from certificates.failure import NO_DEADLINE, Deadline
from certnet.solvers.arrays import Array, Arrays
from certnet.solvers.loops import loops_for
from formulations._validation import FloatArray

REGULARISATION = 1e-8
GROWTH = 2.0
"""Factor by which the residual of an extrapolation may grow. Not measured, nor is the regularisation."""


class _Enough(Exception):  # noqa: N818 - the end of a descent
    """Out of time, or asked to stop."""


def lbfgs(
    evaluate: Callable[[FloatArray], tuple[float, FloatArray]],
    start: FloatArray,
    *,
    max_iterations: int,
    least_change: float = 1e-15,
    least_slope: float = 1e-12,
    nonnegative: bool = False,
    deadline: Deadline = NO_DEADLINE,
    watch: Callable[[FloatArray], bool] = lambda _: False,
) -> FloatArray:
    """The best point of a descent from ``start`` (of any shape), or the start; never one whose value is not finite.

    Args:
        evaluate: value and gradient at a point; after a ``LinAlgError`` the best point so far counts.
        max_iterations: an iteration may take several evaluations; twice as many are the limit.
        least_change: relative decrease of the value at which it ends.
        least_slope: largest entry of the gradient at which it ends.
        nonnegative: points have no negative entries.
        deadline: no evaluation begins after it but the first.
        watch: sees the best point after every iteration; true stops.
    """
    best, lowest = start, np.inf

    def seen(flat: FloatArray) -> tuple[float, FloatArray]:
        nonlocal best, lowest
        if lowest < np.inf and deadline.passed:
            raise _Enough
        point = flat.reshape(start.shape).copy()
        value, slope = evaluate(point)
        if value < lowest:
            best, lowest = point, value
        return value, slope.ravel()

    def after_iteration(_: FloatArray) -> None:
        if watch(best):
            raise _Enough

    limits = {"maxiter": max_iterations, "maxfun": 2 * max_iterations, "maxcor": 30}
    options = {**limits, "ftol": least_change, "gtol": least_slope}
    bounds = [(0.0, None)] * start.size if nonnegative else None
    with suppress(_Enough, np.linalg.LinAlgError):
        minimize(
            seen, start.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, callback=after_iteration, options=options
        )
    return best


def conjugate_gradients(
    rhs: FloatArray,
    solve: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
    apply: Callable[[FloatArray], FloatArray],
    scale: FloatArray | float = 1.0,
    *,
    steps: int,
    tolerance: float,
    deadline: Deadline = NO_DEADLINE,
) -> FloatArray:
    """Preconditioned conjugate gradients for ``apply(x) = rhs``; the best iterate counts.

    ``solve``, with the factors of a regularised, rounded matrix, is the preconditioner; it also returns the residual
    without what a constraint on x takes of it (Gould, Hribar, Nocedal 2001). Residuals are measured times ``scale``;
    ``tolerance`` is the part of the first that may be left.
    """
    x = np.zeros_like(rhs)
    s, r = solve(rhs)
    d, rs = s.copy(), float(r @ s)
    best, least = x, float(np.linalg.norm(scale * r))
    stop = tolerance * least
    for _ in range(steps):
        image = apply(d)
        curvature = float(d @ image)
        if not (curvature > 0 and rs > 0):
            break
        x = x + rs / curvature * d
        r = r - rs / curvature * image
        size = float(np.linalg.norm(scale * r))
        if size < least:
            best, least = x, size
        if not (size > stop) or deadline.passed:
            break
        s, r = solve(r)
        new = float(r @ s)
        d, rs = s + new / rs * d, new
    return best


class Anderson:
    """Safeguarded Anderson acceleration (type II; Walker, Ni 2011) of a fixed-point iteration.

    It extrapolates ``V ← V + R(V)`` from the last ``memory`` changes of V and R, every ``interval`` steps.
    An extrapolation whose residual grew by more than ``GROWTH`` is withdrawn: the iteration goes on from the plain step
    that it had replaced, and the history is forgotten. Changes are kept in float32: they determine a direction, not the
    fixed point.
    """

    def __init__(self, layer: Arrays, shape: tuple[int, int], memory: int, interval: int) -> None:
        self._layer, self._memory, self._interval = layer, memory, interval
        self._history, self._loops = layer.with_precision(single=True), loops_for(layer, shape[1])
        # Changes of R and of V + R, flat, in a ring.
        self._changes, self._plain = (self._history.empty(memory, shape[0] * shape[1]) for _ in range(2))
        self.reset()

    def reset(self) -> None:
        """Forget the history, for instance because the map has changed."""
        self._known = self._count = 0
        self._last: tuple[Array, Array, float] | None = None
        self.extrapolated = False

    @property
    def plain(self) -> bool:
        """Whether the next point follows from the last one by a plain step."""
        return self._last is not None and not self.extrapolated

    def push(self, V: Array, R: Array, size: float) -> tuple[Array, bool]:
        """The next point after V with step R, of norm ``size``; false if V itself was withdrawn.

        V and R are kept by reference until the next call and must not be changed.
        """
        if self.extrapolated and self._last is not None and not (size <= GROWTH * self._last[2]):
            following = self._last[0] + self._last[1]
            self.reset()
            return following, False
        if self._last is not None and self._memory:
            self._remember(V, R, *self._last[:2])
        self._last, self._count = (V, R, size), self._count + 1
        self.extrapolated = 0 < self._memory <= self._known and self._count % self._interval == 0
        return self._extrapolation(V, R) if self.extrapolated else V + R, True

    def _remember(self, V: Array, R: Array, last_V: Array, last_R: Array) -> None:
        place = self._known % self._memory
        self._known += 1
        flat, change, plain = [a.reshape(-1) for a in (V, R, last_V, last_R)], self._changes[place], self._plain[place]
        if self._loops is not None:
            self._loops.remember(*flat, change, plain)
        else:
            change[...] = flat[1] - flat[3]
            plain[...] = (flat[0] - flat[2]) + change

    def _extrapolation(self, V: Array, R: Array) -> Array:
        m, changes, loops = self._memory, self._changes, self._loops
        gram, right = np.zeros((m, m)), np.zeros(m)
        if loops is not None:
            loops.gram(changes, R.reshape(-1), gram, right)
            gram += np.tril(gram, -1).T
        else:
            gram += self._history.host(changes @ changes.T)
            right += self._history.host(changes @ self._history.cast(R).reshape(-1))
        gram += REGULARISATION * np.trace(gram) * np.eye(m)
        weights = np.linalg.lstsq(gram, right, rcond=None)[0]
        if loops is None:
            return V + R - self._layer.cast(self._history.array(weights) @ self._plain).reshape(R.shape)
        out = self._layer.empty(*R.shape)
        loops.extrapolate(V.reshape(-1), R.reshape(-1), self._plain, weights, out.reshape(-1))
        return out
