"""Safeguarded Anderson acceleration of a fixed-point iteration (type II; Walker, Ni 2011)."""

import numpy as np

from certnet.solvers.arrays import Array, Arrays

REGULARISATION = 1e-8
GROWTH = 2.0
"""Factor by which the residual of an extrapolation may grow. Not measured, nor is the regularisation."""


class Anderson:
    """Extrapolates ``V ← V + R(V)`` from the last ``memory`` changes of V and R, every ``interval`` steps.

    An extrapolation whose residual grew by more than ``GROWTH`` is withdrawn: the iteration goes on from the plain step
    that it had replaced, and the history is forgotten. Changes are kept in float32: they determine a direction, not the
    fixed point.
    """

    def __init__(self, layer: Arrays, shape: tuple[int, int], memory: int, interval: int) -> None:
        self._layer, self._memory, self._interval = layer, memory, interval
        self._history = layer.with_precision(single=True)
        self._blocks = layer.blocks(*shape)
        # Changes of R and of V + R, in a ring.
        self._changes, self._plain = (self._history.empty(memory, *shape) for _ in range(2))
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
        for rows in self._blocks:
            change = R[rows] - last_R[rows]
            self._plain[place, rows] = (V[rows] - last_V[rows]) + change
            self._changes[place, rows] = change

    def _extrapolation(self, V: Array, R: Array) -> Array:
        m, out = self._memory, V + R
        gram, right = np.zeros((m, m)), np.zeros(m)
        for rows in self._blocks:
            changes = self._changes[:, rows].reshape(m, -1)
            gram += self._history.host(changes @ changes.T)
            right += self._history.host(changes @ self._history.cast(R[rows]).reshape(-1))
        gram += REGULARISATION * np.trace(gram) * np.eye(m)
        weights = self._history.array(np.linalg.lstsq(gram, right, rcond=None)[0])
        for rows in self._blocks:
            correction = (weights @ self._plain[:, rows].reshape(m, -1)).reshape(R[rows].shape)
            out[rows] -= self._layer.cast(correction)
        return out
