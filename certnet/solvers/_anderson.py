"""Safeguarded Anderson acceleration of a fixed-point iteration (type II; Walker, Ni 2011)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certnet.solvers._arrays import Array, Arrays

REGULARISATION = 1e-8
GROWTH = 2.0


class Anderson:
    """Extrapolates ``V ← V + R(V)`` from the last ``memory`` changes of V and R.

    ``push`` writes the next point. An extrapolation whose residual grew by more than ``GROWTH`` is withdrawn: the
    iteration goes on from the plain step that it had replaced, and the history is forgotten. Changes are kept in
    float32: they determine a direction, not the fixed point.
    """

    def __init__(self, layer: Arrays, order: int, memory: int, interval: int) -> None:
        self._layer, self._memory, self._interval = layer, memory, interval
        self._history = layer.with_precision(single=True)
        self._blocks = layer.blocks(order, order)
        # Changes of R and of V + R, in a ring.
        self._changes = self._history.empty(memory, order, order)
        self._plain = self._history.empty(memory, order, order)
        self._gram = np.zeros((memory, memory))
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

    def push(self, V: Array, R: Array, size: float, out: Array) -> bool:
        """Write the next point after V with step R, of norm ``size``, to ``out``; false if V itself was withdrawn.

        V and R are kept by reference until the next call and must not be changed.
        """
        if self.extrapolated and self._last is not None and not (size <= GROWTH * self._last[2]):
            self._add(*self._last[:2], out)
            self.reset()
            return False
        if self._last is not None and self._memory:
            self._remember(V, R, *self._last[:2])
        self._last, self.extrapolated = (V, R, size), False
        self._count += 1
        if self._memory and self._known >= self._memory and self._count % self._interval == 0:
            self._extrapolate(V, R, out)
        else:
            self._add(V, R, out)
        return True

    def _add(self, V: Array, R: Array, out: Array) -> None:
        for rows in self._blocks:
            out[rows] = V[rows] + R[rows]

    def _remember(self, V: Array, R: Array, last_V: Array, last_R: Array) -> None:
        place = self._known % self._memory
        self._known += 1
        used = min(self._known, self._memory)
        products = np.zeros(used)
        for rows in self._blocks:
            change = R[rows] - last_R[rows]
            self._plain[place, rows] = (V[rows] - last_V[rows]) + change
            self._changes[place, rows] = change
            products += self._products(rows, used, self._changes[place, rows])
        self._gram[place, :used] = self._gram[:used, place] = products

    def _products(self, rows: slice, used: int, block: Array) -> NDArray[np.float64]:
        """Inner products of a block with that of every change."""
        kept = self._changes[:used, rows].reshape(used, -1)
        return self._history.host(kept @ block.reshape(-1)).astype(np.float64)

    def _extrapolate(self, V: Array, R: Array, out: Array) -> None:
        m = self._memory
        right = np.zeros(m)
        for rows in self._blocks:
            right += self._products(rows, m, self._history.cast(R[rows]))
        gram = self._gram + REGULARISATION * np.trace(self._gram) * np.eye(m)
        weights = self._history.array(np.linalg.lstsq(gram, right, rcond=None)[0])
        for rows in self._blocks:
            correction = (weights @ self._plain[:, rows].reshape(m, -1)).reshape(R[rows].shape)
            out[rows] = V[rows] + R[rows] - self._layer.cast(correction)
        self.extrapolated = True

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything but the last V and R, which belong to the caller."""
        used = min(self._known, self._memory)
        size = np.inf if self._last is None else self._last[2]
        return {
            "changes": self._history.host(self._changes[:used]),
            "plain": self._history.host(self._plain[:used]),
            "gram": self._gram.copy(),
            "counts": np.array([self._known, self._count, self.extrapolated, self._last is not None]),
            "size": np.array(size),
        }

    def restore(self, state: Mapping[str, NDArray[Any]], V: Array, R: Array) -> None:
        """Go on from ``state()``, with the V and R of the last push; shapes were checked."""
        known, count, extrapolated, pushed = (int(number) for number in state["counts"])
        used = min(known, self._memory)
        self._changes[:used] = self._history.array(state["changes"])
        self._plain[:used] = self._history.array(state["plain"])
        self._gram = np.array(state["gram"])
        self._known, self._count, self.extrapolated = known, count, bool(extrapolated)
        self._last = (V, R, float(state["size"])) if pushed else None
