"""Groups of generators, for a relaxation with products within groups alone: its cost grows with their number.

A few generators of each group are *shared*: together they are one more group, the head, through which the others know
of one another. So the slack is a sum of forms, one for each group over ``(β, z, v)`` of its own generators, and one of
the head. Forms on blocks that overlap so are semidefinite together exactly if some way of sharing out what they have in
common makes each of them semidefinite (Agler, Helton, McCullough, Rodman 1988).

Without shared generators a free hidden bias would cost too much: its null vectors ``(w, 0, ν)`` and ``(0, w, −ν)`` join
all generators, and only the α of a generator tells a group on which side they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from formulations._validation import FloatArray, IntArray
from formulations.errors import InputError
from formulations.program import NO_PRODUCTS, Dual


@dataclass(frozen=True, eq=False)
class Groups:
    """A partition of N generators.

    Attributes:
        rows: (m, s) generators of each group, the shared ones first; N stands where a group has fewer than s.
        shared: r, how many of each group are shared, at least 1.
        neurons: N.
    """

    rows: IntArray
    shared: int
    neurons: int

    @classmethod
    def of(cls, generators: FloatArray, size: int, shared: int) -> "Groups":
        """Groups of at most ``size`` generators (N×k) that point in similar directions.

        Directions are halved across their principal component until the parts are small enough. Shared are the one
        next to the centre and those farthest from the ones before.
        """
        unit = generators / np.linalg.norm(generators, axis=1)[:, None]
        parts = _halved(unit, np.arange(len(unit)), -(-len(unit) // size))
        longest = max(len(part) for part in parts)
        shared = min(shared, *(len(part) for part in parts))
        rows = np.full((len(parts), longest), len(unit))
        for row, part in zip(rows, parts, strict=True):
            row[: len(part)] = part[_spread(unit[part], shared)]
        return cls(rows, shared, len(unit))

    @property
    def head(self) -> IntArray:
        """(m r,) the shared generators, group by group."""
        return self.rows[:, : self.shared].ravel()

    @property
    def labels(self) -> IntArray:
        """(N,) the group of each generator, −1 of shared ones."""
        label = np.empty(self.neurons + 1, dtype=np.int64)
        label[self.rows] = np.arange(len(self.rows))[:, None]
        label[self.head] = -1
        return label[:-1]

    def padded(self, of_generators: FloatArray) -> FloatArray:
        """(m, s, …) what generators have, zero where there is none."""
        nothing = np.zeros((1, *of_generators.shape[1:]))
        return np.asarray(np.concatenate([of_generators, nothing])[self.rows])


@dataclass(frozen=True, eq=False, kw_only=True)
class GroupedDual(Dual):
    """A dual whose products are those of groups; its N is ``NO_PRODUCTS``.

    Attributes:
        blocks: (m, 2s, 2s) N over (α, β) of each group.
        head: (2mr, 2mr) N over (α, β) of the shared generators, besides what the blocks hold.
    """

    groups: Groups
    blocks: FloatArray
    head: FloatArray

    def times(self, factor: float) -> "GroupedDual":
        """W and N times ``factor``."""
        return replace(self, W=factor * self.W, blocks=factor * self.blocks, head=factor * self.head)

    def scaled(self, unit: float, phi: FloatArray) -> "GroupedDual":
        """W times ``unit``, and N as it is for generators that are ``phi`` (N,) times as large."""
        own, shared = self.groups.padded(phi), phi[self.groups.head]
        size = np.concatenate([own, own], axis=1)
        size[size == 0] = 1.0
        both = np.concatenate([shared, shared])
        blocks = unit**2 * self.blocks
        # In place, for blocks are large.
        blocks /= size[:, :, None]
        blocks /= size[:, None, :]
        return replace(self, W=unit * self.W, blocks=blocks, head=unit**2 * self.head / np.outer(both, both))

    @classmethod
    def of_products(
        cls, W: FloatArray, labels: IntArray, pairs: IntArray, multipliers: FloatArray, t: FloatArray
    ) -> "GroupedDual":
        """From ``Groups.labels``, products of φ (n, 2) with their multipliers (n,), and those of α_iβ_i (N,).

        Groups that share different numbers of generators and a pair that joins two groups are refused.
        """
        N, owner = len(labels), _owners(labels, pairs)
        names, number = np.unique(owner, return_inverse=True)
        order = np.lexsort((np.arange(N), labels >= 0, number))
        counts = np.bincount(number)
        place = np.empty(N, dtype=np.int64)
        place[order] = np.arange(N) - np.repeat(np.cumsum(counts) - counts, counts)
        m, s, r = len(names), int(counts.max()), int(np.count_nonzero(labels < 0)) // len(names)
        rows = np.full((m, s), N)
        rows[number, place] = np.arange(N)
        own = np.stack([np.arange(N), N + np.arange(N)], axis=1)
        p, q = np.concatenate([pairs, own]).T
        half = 0.5 * np.concatenate([multipliers, t])
        blocks, head = np.zeros((m, 2 * s, 2 * s)), np.zeros((2 * m * r, 2 * m * r))
        i, j, shared = p % N, q % N, (labels[p % N] < 0) & (labels[q % N] < 0)
        if (number[i] != number[j])[~shared].any():
            raise InputError("a pair of its multipliers joins two groups.")
        in_group = number[i], place[i] + s * (p // N), place[j] + s * (q // N)
        in_row = number * r + place
        in_head = in_row[i] + m * r * (p // N), in_row[j] + m * r * (q // N)
        for into, (*first, one, other), kept in ((blocks, in_group, ~shared), (head, in_head, shared)):
            first, one, other = [at[kept] for at in first], one[kept], other[kept]
            np.add.at(into, (*first, one, other), half[kept])
            np.add.at(into, (*first, other, one), half[kept])
        return cls(W=W, N=NO_PRODUCTS, groups=Groups(rows, r, N), blocks=blocks, head=head)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that ``of_arrays`` needs."""
        groups = self.groups
        size = np.array([groups.shared, groups.neurons])
        return {"rows": groups.rows, "size": size, "W": self.W, "blocks": self.blocks, "head": self.head}

    @classmethod
    def of_arrays(cls, given: Mapping[str, NDArray[Any]]) -> "GroupedDual":
        """From the arrays of a file; InputError where they are none of a dual in groups."""
        try:
            rows, W, blocks, head = (given[name] for name in ("rows", "W", "blocks", "head"))
            shared, neurons = (int(number) for number in given["size"])
            (m, s), present = rows.shape, rows[rows != neurons]
            sound = len(given) == 5 and rows.dtype.kind == "i" and 1 <= shared <= s
            sound = sound and W.ndim == 2 and blocks.shape == (m, 2 * s, 2 * s) and head.shape == (2 * m * shared,) * 2
            sound = sound and all(array.dtype == np.float64 for array in (W, blocks, head))
            sound = sound and np.array_equal(np.sort(present), np.arange(neurons))
            if not (sound and (rows[:, :shared] != neurons).all()):
                raise ValueError
        except (KeyError, ValueError, TypeError):
            raise InputError("its products within groups are damaged.") from None
        groups = Groups(rows.astype(np.int64), shared, neurons)
        return cls(W=W, N=NO_PRODUCTS, groups=groups, blocks=blocks, head=head)


def _owners(labels: IntArray, pairs: IntArray) -> IntArray:
    """Labels (N,) in which shared generators, labelled −1, have the group whose members they stand in pairs with."""
    ends, owner, shared = pairs % len(labels), labels.copy(), labels < 0
    for one, other in ((0, 1), (1, 0)):
        mixed = shared[ends[:, one]] & ~shared[ends[:, other]]
        owner[ends[mixed, one]] = labels[ends[mixed, other]]
    # Of those in no such pair each group has as many as it lacks.
    names = np.unique(labels[~shared])
    having = np.array([np.count_nonzero(shared & (owner == name)) for name in names])
    missing = np.count_nonzero(shared) // max(len(names), 1) - having
    free = np.flatnonzero(owner < 0)
    if missing.min(initial=0) < 0 or missing.sum() != len(free):
        raise InputError("its groups differ in how many generators they share.")
    owner[free] = np.repeat(names, missing)
    return owner


def _halved(unit: FloatArray, part: IntArray, pieces: int) -> list[IntArray]:
    """Parts of nearly equal size."""
    if pieces <= 1:
        return [part]
    centred = unit[part] - unit[part].mean(axis=0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    ordered, left = part[np.argsort(centred @ axis, kind="stable")], pieces // 2
    cut = round(len(part) * left / pieces)
    return _halved(unit, ordered[:cut], left) + _halved(unit, ordered[cut:], pieces - left)


def _spread(unit: FloatArray, count: int) -> IntArray:
    """An order in which the first ``count`` are the one next to the centre and those farthest from the ones before."""
    apart = np.sum((unit - unit.mean(axis=0)) ** 2, axis=1)
    chosen = [int(np.argmin(apart))]
    apart = np.full(len(unit), np.inf)
    while len(chosen) < count:
        apart = np.minimum(apart, np.sum((unit - unit[chosen[-1]]) ** 2, axis=1))
        apart[chosen] = -1.0
        chosen.append(int(np.argmax(apart)))
    return np.concatenate([chosen, np.setdiff1d(np.arange(len(unit)), chosen)])
