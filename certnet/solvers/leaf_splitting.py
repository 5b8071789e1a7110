"""Douglas–Rachford steps for a tree of sign splits: one moment matrix for each leaf, coupled through the loss alone.

The loss sees the sum of the leaves' entries over (φ, v). So its map has a closed form in that of the loss: where q
leaves have an entry and none of them is at a sign, all move by the same λ, and their sum P is the map of the sum of
theirs with a q-th of the penalty. Where the sign of the output is fixed, entries of (φ, v) have that sign; which of
them are at it is found in a few rounds, as by an active-set method. An activation that vanishes on a leaf has zero rows
there.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

import numpy as np

from certnet.runtime.blocks import side_by_side
from certnet.solvers.arrays import Array, Arrays
from certnet.solvers.entrywise import LossTerms
from certnet.solvers.splitting import Sizes, Splitting
from formulations import Dual, Program
from formulations._validation import FloatArray, IntArray
from formulations.part import largest_entry
from formulations.signs import ACTIVE, FREE, INACTIVE

ROUNDS = 8
"""Most rounds for the entries at a sign. The next step goes on where they end."""
ABSENT = 1e-6
"""Leaves that an entry counts as having where all are at their signs: its sum is held at 0."""


class LeafTerms(LossTerms):
    """The loss as one leaf sees it: its entries are given, and those of vanishing activations are zero."""

    def __init__(self, program: Program, layer: Arrays, gone: IntArray) -> None:
        super().__init__(program, layer, in_region=False)
        self.given: Array | None = None
        self._gone = gone

    def columns(self, V: Array, penalty: float) -> Array:
        assert self.given is not None  # set before each step
        return self.given

    def go_on(self) -> None:
        """Nothing: the leaves share the loss's own map."""

    def rows_of_phi(self, V: Array, columns: Array, penalty: float, rows: slice) -> Array:
        Z = super().rows_of_phi(V, columns, penalty, rows)
        Z[:, self._gone] = 0.0
        Z[self._gone[(self._gone >= rows.start) & (self._gone < rows.stop)] - rows.start] = 0.0
        return Z

    def W(self, V: Array, penalty: float) -> FloatArray:
        """None: that of the sum of the leaves counts."""
        return np.zeros(self.program.shape)

    def other_rows(self, V: Array, columns: Array, penalty: float) -> Array:
        Z = super().other_rows(V, columns, penalty)
        Z[:, self._gone] = 0.0
        return Z


class LeafSplitting:
    """The two maps over leaves with these signs; their matrices stand one below the other.

    ``executor`` has threads that work on leaves side by side; None: one leaf after the other.

    Attributes:
        size: of the costs.
    """

    def __init__(self, program: Program, layer: Arrays, signs: Sequence[IntArray], executor: Executor | None) -> None:
        assert not program.region.size  # null vectors of a leaf have one side; those of ``Quotient`` have two
        N, count = program.space.neurons, program.shape[1]
        self.program, self.layer = program, layer
        self._each = partial(side_by_side, executor=executor)
        self.outputs = np.array([int(item[N:].sum()) for item in signs])
        self.gone = [
            np.concatenate([np.flatnonzero(item[:N] == INACTIVE), N + np.flatnonzero(item[:N] == ACTIVE)])
            for item in signs
        ]
        self.terms = [LeafTerms(program, layer, gone) for gone in self.gone]
        self.leaves = [Splitting(program, layer, terms) for terms in self.terms]
        self._loss = LossTerms(program, layer, in_region=False)
        self.size = self._loss.size
        present = np.array([~np.isin(self._loss.features, gone) for gone in self.gone])
        self._present = np.repeat(present[:, :, None], count, axis=2)
        self._free = self._present

    def of(self, stacked: Array) -> Array:
        """The leaves' matrices."""
        count = len(self.gone)
        return stacked.reshape(count, len(stacked) // count, stacked.shape[1])

    def _signed(self, entries: FloatArray) -> FloatArray:
        """Entries over v (leaves first) moved to the signs of the outputs."""
        sign = self.outputs[:, None, None]
        return np.asarray(np.where(sign == FREE, entries, sign * np.maximum(sign * entries, 0.0)))

    def fitted(self, V: Array, penalty: float) -> tuple[FloatArray, FloatArray]:
        """Sums of the leaves' entries that the loss sees, and the output bias; gives each leaf its own."""
        space, loss = self.program.space, self._loss
        own = self.of(V)[:, space.phi, space.v].astype(np.float64)
        seen, free, start = own[:, loss.features], self._free, loss.start
        for _ in range(ROUNDS):
            # With several outputs the number of leaves is that of the row, which its map needs to be one.
            count = np.maximum(free.sum(axis=0), ABSENT)
            P, a = loss.prox((free * seen).sum(axis=0), 2.0 * penalty / count[:, :1], start=start)
            moved = seen + (P - (free * seen).sum(axis=0)) / count
            sign, before, start = self.outputs[:, None, None], free, None
            free = self._present & ((sign == FREE) | (sign * moved > 0))
            if np.array_equal(free, before):
                break
        self._next = free, (P, a)
        own[:, loss.features] = np.where(self._present, moved, 0.0)
        own = self._signed(own)
        for terms, gone, entries in zip(self.terms, self.gone, own, strict=True):
            entries[gone] = 0.0
            terms.given = self.layer.array(entries)
        return P, a

    def entrywise(self, V: Array, penalty: float, Z: Array) -> tuple[list[Array], Sizes]:
        """That of ``Splitting`` for all leaves."""
        self.fitted(V, penalty)
        self._free, self._loss.start = self._next
        self._loss.prox.go_on()
        found = list(
            self._each(lambda leaf, own, new: leaf.entrywise(own, penalty, new), self.leaves, self.of(V), self.of(Z))
        )
        return [X for X, _ in found], Sizes(*np.linalg.norm([sizes for _, sizes in found], axis=0).tolist())

    def factor(self, X: list[Array], expected_rank: int) -> Array:
        """The leaves' factors one below the other, of the largest of their ranks."""
        parts = list(self._each(lambda leaf, own: leaf.factor(own, expected_rank), self.leaves, X))
        out = self.layer.zeros(sum(len(part) for part in parts), max(part.shape[1] for part in parts))
        for target, part in zip(self.of(out), parts, strict=True):
            target[:, : part.shape[1]] = part
        return out

    def gap(self, F: Array, Z: Array, scale: float) -> tuple[Array, float]:
        """That of ``Splitting`` for all leaves."""
        out, sizes = self.layer.empty(*Z.shape), []
        found = self._each(lambda leaf, *of: leaf.gap(*of, scale), self.leaves, self.of(F), self.of(Z))
        for own, (difference, size) in zip(self.of(out), found, strict=True):
            own[...] = difference
            sizes.append(size)
        return out, float(np.linalg.norm(sizes))

    def W(self, V: Array, penalty: float) -> FloatArray:
        """−∇L at the sums, in the domain."""
        P, bias = self.fitted(V, penalty)
        loss = self._loss
        return loss.loss.project(loss.loss.dual(self.program.weight[:, None] * P[loss.place], bias))

    def multipliers(self, V: Array, penalty: float) -> tuple[FloatArray, list[FloatArray]]:
        """(W, N of each leaf over φ and an output in the sense of ``Part``), with exact signs, in float64."""
        W, space = self.W(V, penalty), self.program.space
        pull, unit, out = self.program.features_of(W), largest_entry(W) / self.program.gamma, []
        for leaf, terms, sign, own in zip(self.leaves, self.terms, self.outputs, self.of(V), strict=True):
            N = np.pad(leaf.multipliers(own, penalty).N, (0, 1))
            if sign != FREE:
                assert terms.given is not None
                slope = -2.0 * penalty * (own[space.phi, space.v] - terms.given).astype(np.float64)
                N[:-1, -1] = N[-1, :-1] = unit * np.maximum(sign * (slope - pull)[:, 0], 0.0)
            out.append(N)
        return W, out

    def start(self, W: FloatArray, S: Sequence[FloatArray], N: Sequence[FloatArray], penalty: float) -> FloatArray:
        """V of these iterates over the whole face, N as ``multipliers`` gives it."""
        space, unit, parts = self.program.space, self.program.gamma / largest_entry(W), []
        for terms, sign, own, multipliers in zip(self.terms, self.outputs, S, N, strict=True):
            V = terms.pulls(Dual(W, multipliers[:-1, :-1]))
            if sign != FREE:
                V[space.phi, space.v] -= sign * unit * multipliers[:-1, -1:]
                V[space.v, space.phi] = V[space.phi, space.v].T
            F = space.expand(Arrays().positive_factor(0.5 * (own + own.T), len(own)))
            parts.append(V / (2.0 * penalty) + F @ F.T)
        return np.concatenate(parts)
