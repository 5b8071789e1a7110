"""What a search is made of between two batches, as named arrays, and the way back.

Nothing that is read is trusted: what is proved in the end is repaired and checked anew from the data.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certnet.search.bounds import Multipliers, NodeBound
from certnet.search.vertex import Branch
from certnet.solvers.interface import State
from formulations import FREE, InputError
from formulations._validation import FloatArray

VERSION = 2
LEAF = -1


def write_tree(root: Branch, positions: int, dimension: int) -> dict[str, NDArray[Any]]:
    """The tree below ``root``, for a program with so many inequalities, in k = ``dimension``."""
    neurons, bounds, squares = [], [], []
    stack = [root]
    while stack:
        at = stack.pop()
        if at.active is not None and at.inactive is not None:
            neurons.append(at.neuron)
            stack += [at.inactive, at.active]
            continue
        neurons.append(LEAF)
        squares.append(at.h_squared)
        bounds.append(at.bound)
    known = [bound for bound in bounds if bound is not None]
    m = len(root.signs)
    return {
        "version": np.array([VERSION, m, positions], dtype=np.int64),
        "neuron": np.array(neurons, dtype=np.int64),
        "h_squared": np.array(squares, dtype=np.float64),
        "is_bounded": np.array([bound is not None for bound in bounds], dtype=bool),
        "branch": np.array([bound.branch for bound in known], dtype=np.int64),
        "direction": np.array([bound.direction for bound in known]).reshape(len(known), dimension),
        **_write("leaf_", [bound.multipliers for bound in known], m),
        "S_order": np.array([len(bound.S) for bound in known], dtype=np.int64),
        "S": np.concatenate([np.zeros(0), *(bound.S.ravel() for bound in known)]),
    }


def _write(prefix: str, items: list[Multipliers], neurons: int) -> dict[str, NDArray[Any]]:
    none = np.zeros(0, dtype=np.int64)
    return {
        prefix + "count": np.array([len(item.p) for item in items], dtype=np.int64),
        prefix + "p": np.concatenate([none, *(item.p for item in items)]),
        prefix + "q": np.concatenate([none, *(item.q for item in items)]),
        prefix + "value": np.concatenate([np.zeros(0), *(item.value for item in items)]),
        prefix + "t": np.array([item.t for item in items], dtype=np.float64).reshape(len(items), neurons),
    }


def _read(state: State, prefix: str, neurons: int, positions: int) -> list[Multipliers]:
    p, q = integers(state, prefix + "p"), integers(state, prefix + "q")
    value, t, count = floats(state, prefix + "value"), floats(state, prefix + "t"), integers(state, prefix + "count")
    ends = np.cumsum(count)
    sound = (count >= 0).all() and len(p) == len(q) == len(value) == (ends[-1] if len(ends) else 0)
    if not (sound and t.shape == (len(count), neurons) and (value >= 0).all()):
        raise ValueError(f"the multipliers of {prefix!r} do not fit")
    if len(p) and not (min(p.min(), q.min()) >= 0 and max(p.max(), q.max()) < positions):
        raise ValueError(f"a multiplier of {prefix!r} is out of range")
    parts = [slice(end - size, end) for end, size in zip(ends.tolist(), count.tolist(), strict=True)]
    return [Multipliers(p[part], q[part], value[part], t[i], positions) for i, part in enumerate(parts)]


class TreeReader:
    """Reads a stored tree, vertex by vertex in the order in which they were written.

    The iterates of its leaves have ``outputs`` coordinates besides β and z.

    Raises:
        InputError: arrays that ``write_tree`` cannot have written for so many neurons and inequalities.
    """

    def __init__(
        self, state: Mapping[str, NDArray[Any]], neurons: int, positions: int, dimension: int, outputs: int = 0
    ) -> None:
        self._outputs = outputs
        try:
            version = integers(state, "version").tolist()
            if version != [VERSION, neurons, positions]:
                raise ValueError("it is about other data or of another version")
            self._neuron = integers(state, "neuron")
            self._h_squared = floats(state, "h_squared")
            self._bounds = self._read_bounds(state, neurons, positions, dimension, outputs)
            if len(self._h_squared) != len(self._bounds):
                raise ValueError("its parts do not fit together")
        except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
            raise InputError(f"The search to resume is damaged ({error}); start anew without it.") from None
        self._vertex = self._leaf = 0

    @staticmethod
    def _read_bounds(
        state: State, neurons: int, positions: int, dimension: int, outputs: int
    ) -> list[NodeBound | None]:
        is_bounded = np.asarray(state["is_bounded"])
        if is_bounded.dtype != np.bool_ or is_bounded.ndim != 1:
            raise ValueError("is_bounded has another type")
        h_squared = floats(state, "h_squared")[is_bounded]
        branch, direction = integers(state, "branch"), floats(state, "direction")
        multipliers = _read(state, "leaf_", neurons, positions)
        order, S = integers(state, "S_order"), floats(state, "S")
        ends = np.cumsum(order**2)
        count = int(is_bounded.sum())
        sizes = len(branch) == len(multipliers) == len(order) == count and direction.shape[0] == count
        if not (sizes and (order >= dimension).all() and (order <= neurons + dimension + outputs).all()):
            raise ValueError("its leaves do not fit together")
        if len(S) != (ends[-1] if count else 0) or (count and direction.shape[1] != dimension):
            raise ValueError("its iterates do not fit")
        found = iter(
            NodeBound(float(h), item, S[end - n * n : end].reshape(n, n), int(b), z, 0)
            for h, item, end, n, b, z in zip(
                h_squared, multipliers, ends.tolist(), order.tolist(), branch, direction, strict=True
            )
        )
        return [next(found) if known else None for known in is_bounded]

    def leaves(self, root: Branch) -> Iterator[tuple[Branch, NodeBound | None, float]]:
        """Grow the tree from its root; gives each leaf with its bound and squared price."""
        stack = [root]
        while stack:
            branch = stack.pop()
            neuron = self._split()
            if neuron == LEAF:
                yield branch, *self._next_leaf(branch.signs)
            elif 0 <= neuron < len(branch.signs) and branch.signs[neuron] == FREE:
                stack += branch.split(neuron)[::-1]
            else:
                raise InputError("The search to resume splits where it cannot; start anew without it.")

    def _split(self) -> int:
        """The neuron on which the next vertex is split, or ``LEAF``."""
        if self._vertex >= len(self._neuron):
            raise InputError("The search to resume ends too early; start anew without it.")
        self._vertex += 1
        return int(self._neuron[self._vertex - 1])

    def _next_leaf(self, signs: NDArray[np.int64]) -> tuple[NodeBound | None, float]:
        """Bound and squared price of the next leaf, whose signs these are."""
        if self._leaf >= len(self._bounds):
            raise InputError("The search to resume has too few leaves; start anew without it.")
        bound, square = self._bounds[self._leaf], float(self._h_squared[self._leaf])
        self._leaf += 1
        if bound is not None:
            free = np.flatnonzero(signs == FREE)
            fits = len(bound.S) == len(free) + len(bound.direction) + self._outputs and bound.branch in {
                -1,
                *free.tolist(),
            }
            if not fits or (bound.branch < 0) != (len(free) == 0):
                raise InputError("A leaf of the search to resume does not fit its signs; start anew without it.")
        return bound, square


def integers(state: State, name: str) -> NDArray[np.int64]:
    """The vector of integers of this name; ValueError if it is none."""
    array = np.asarray(state[name])
    if array.dtype != np.int64 or array.ndim != 1:
        raise ValueError(f"{name} has another type")
    return array


def floats(state: State, name: str) -> FloatArray:
    """The array of float64 numbers of this name; ValueError if it is none."""
    array = np.asarray(state[name])
    if array.dtype != np.float64 or np.isnan(array).any():
        raise ValueError(f"{name} holds what is no number")
    return array
