"""Safeguarded Anderson acceleration of a fixed-point iteration (type II; Walker, Ni 2011)."""

import numpy as np

from formulations._validation import FloatArray

REGULARISATION = 1e-8
GROWTH = 2.0


class Anderson:
    """Extrapolates ``V ← V + R(V)`` from the last ``memory`` pairs (V, R).

    ``push`` returns the next point. An extrapolation whose residual grew by more than ``GROWTH`` is withdrawn: the
    iteration goes on from the plain step that it had replaced, and the history is forgotten.
    """

    def __init__(self, memory: int, interval: int) -> None:
        self._memory, self._interval = memory, interval
        self.reset()

    def reset(self) -> None:
        """Forget the history, for instance because the map has changed."""
        self._points: list[FloatArray] = []
        self._steps: list[FloatArray] = []
        self._count = 0
        self._plain: FloatArray | None = None
        self._size = np.inf
        self.extrapolated = False

    def push(self, V: FloatArray, R: FloatArray) -> FloatArray:
        """The next point after V with step R; both are kept by reference and must not be changed."""
        size = float(np.linalg.norm(R))
        if self._plain is not None and not (size <= GROWTH * self._size):
            plain = self._plain
            self.reset()
            return plain
        self._plain, self._size, self.extrapolated = None, size, False
        self._points.append(V)
        self._steps.append(R)
        if len(self._points) > self._memory + 1:
            del self._points[0], self._steps[0]
        self._count += 1
        if self._memory == 0 or len(self._points) <= self._memory or self._count % self._interval:
            return V + R
        return self._extrapolate(V, R)

    def _extrapolate(self, V: FloatArray, R: FloatArray) -> FloatArray:
        changes = [R - step for step in self._steps[:-1]]
        gram = np.zeros((len(changes), len(changes)))
        for i, a in enumerate(changes):
            for j, b in enumerate(changes[: i + 1]):
                gram[i, j] = gram[j, i] = float(np.vdot(a, b))
        gram[np.diag_indices(len(gram))] += REGULARISATION * np.trace(gram)
        coefficients = np.linalg.lstsq(gram, np.array([float(np.vdot(a, R)) for a in changes]), rcond=None)[0]
        plain = V + R
        following = plain.copy()
        for coefficient, point, change in zip(coefficients, self._points[:-1], changes, strict=True):
            following -= coefficient * ((V - point) + change)
        self._plain, self.extrapolated = plain, True
        return following
