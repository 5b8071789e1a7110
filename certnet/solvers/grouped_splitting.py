"""A step of the ADMM for products within groups of rows, block by block.

The moment matrices of the groups, each over ``λ = (α, β, z, v)`` of its own generators, agree in what they share: all
in the block of (z, v), and each with the head in its shared generators (``formulations.groups``). One proximal map
minimises objective and signs over matrices that agree, which is a mean before the entrywise maps of ``splitting``; the
other projects each of them onto its face. What groups share and what the loss sees is small and found first; the rest
of a step is a function of blocks of groups (``_stepped``), which threads or other machines work on.

Null vectors (``making.quotient``) are used as for all products, group by group: a matrix is projected across what a
group sees of them and left as it is along them, and neither the signs of G_αα and G_ββ nor the region are asked for.
Shared generators tell groups of one another's entries along them.
"""

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag

from certificates.making.quotient import Quotient
from certnet.runtime.blocks import side_by_side
from certnet.solvers.loss_map import LossMap
from certnet.solvers.splitting import Sizes
from formulations import Program
from formulations._validation import FloatArray, IntArray
from formulations.groups import GroupedDual, Groups
from formulations.program import NO_PRODUCTS

CHUNK_ENTRIES = 1 << 17
"""Entries of a block of matrices, so that what is made of it stays in fast memory. Measured: a step takes 0.98 ms for
each group of 48 in blocks of 6, 1.05 ms in blocks of 18."""


@dataclass(frozen=True, eq=False)
class Matrices:
    """Symmetric matrices of the groups (m, L, L) and of the head (1, L', L'); they are written to."""

    groups: FloatArray
    head: FloatArray


class _Face(NamedTuple):
    """An orthonormal basis Q (q, 2s+k+c, s+k+c) of the faces of q spaces, in parts, and the null vectors in it.

    ``Q = [[√½ I, B, 0], [√½ I, −B, 0], [0, R⁻¹, 0], [0, 0, I]]`` with ``RᵀR = I + AᵀA/2`` and ``B = AR⁻¹/2``. ``tilt``
    is B (q, s, k), ``inverse`` R⁻¹ (q, k, k), and ``null`` (q, s+k+c, 0 or 2) orthonormal.
    """

    tilt: FloatArray
    inverse: FloatArray
    null: FloatArray

    @classmethod
    def of(cls, generators: FloatArray, outputs: int, w: FloatArray | None, free: FloatArray | None) -> "_Face":
        """Of generators (q, s, k), and the null vectors (w, 0, ν) and (0, w, −ν) for w (q, s) and ν (k,), or none."""
        q, s, k = generators.shape
        R = np.linalg.cholesky(np.eye(k) + 0.5 * generators.transpose(0, 2, 1) @ generators).transpose(0, 2, 1)
        inverse = np.linalg.inv(R)
        face = cls(0.5 * generators @ inverse, inverse, np.zeros((q, s + k + outputs, 0)))
        if w is None or free is None:
            return face
        null = np.zeros((q, 2, 2 * s + k + outputs))
        null[:, 0, :s] = null[:, 1, s : 2 * s] = w
        null[:, :, 2 * s : 2 * s + k] = np.stack([free, -free])
        return face._replace(null=np.linalg.qr(face.onto(null).transpose(0, 2, 1))[0])

    def onto(self, rows: FloatArray) -> FloatArray:
        """``rows @ Q`` of (q, n, 2s+k+c)."""
        s, k = self.tilt.shape[1:]
        alpha, beta, z = rows[..., :s], rows[..., s : 2 * s], rows[..., 2 * s : 2 * s + k]
        tilted = (alpha - beta) @ self.tilt + z @ self.inverse
        return np.concatenate([0.5**0.5 * (alpha + beta), tilted, rows[..., 2 * s + k :]], axis=-1)

    def back(self, rows: FloatArray) -> FloatArray:
        """``rows @ Qᵀ`` of (q, n, s+k+c)."""
        s, k = self.tilt.shape[1:]
        even, z = 0.5**0.5 * rows[..., :s], rows[..., s : s + k]
        tilted, z = z @ self.tilt.transpose(0, 2, 1), z @ self.inverse.transpose(0, 2, 1)
        return np.concatenate([even + tilted, even - tilted, z, rows[..., s + k :]], axis=-1)

    def across(self, T: FloatArray) -> tuple[FloatArray, FloatArray]:
        """``QᵀTQ`` across the null vectors, and the rest of it."""
        S, null = self.onto(self.onto(T).transpose(0, 2, 1)), self.null
        pulled = S @ null
        rest = (pulled - 0.5 * null @ (null.transpose(0, 2, 1) @ pulled)) @ null.transpose(0, 2, 1)
        rest += rest.transpose(0, 2, 1).copy()
        S -= rest
        return S, rest


def _positive(S: FloatArray) -> FloatArray:
    """The positive parts of matrices (q, n, n); LinAlgError where an eigenvalue is not finite."""
    values, vectors = np.linalg.eigh(S)
    if not np.isfinite(values).all():
        raise np.linalg.LinAlgError("an eigenvalue is not finite")
    vectors *= np.sqrt(np.maximum(values, 0.0))[:, None, :]
    return np.asarray(vectors @ vectors.transpose(0, 2, 1))


class _Known(NamedTuple):
    """Entries of a block of matrices that are known before its step: where they are in the flat block, and what."""

    at: IntArray
    values: FloatArray

    def put(self, V: FloatArray) -> FloatArray:
        """A copy of V with these entries."""
        out = V.copy()
        out.reshape(-1)[self.at] = self.values
        return out


def _signed(matrices: FloatArray, rest: int, *, crosswise: bool) -> FloatArray:
    """Matrices moved to the signs, in place; ``crosswise`` to those of G_αβ alone. ``rest`` is k + c."""
    half = (matrices.shape[1] - rest) // 2
    one, two = np.arange(half), half + np.arange(half)
    columns = (slice(half, 2 * half), slice(half)) if crosswise else (slice(2 * half),) * 2
    for rows, partners in zip((slice(half), slice(half, 2 * half)), columns, strict=True):
        signed = matrices[:, rows, partners]
        np.maximum(signed, 0.0, out=signed)
    matrices[:, one, two] = matrices[:, two, one] = 0.0
    return matrices


def _pulled(V: FloatArray, known: _Known, face: _Face, rest: int) -> FloatArray:
    """Of which ``_stepped`` needs the positive part."""
    new = _signed(known.put(V), rest, crosswise=bool(face.null.shape[2]))
    return face.across(2.0 * new - V)[0]


def _stepped(
    V: FloatArray, Z: FloatArray, known: _Known, face: _Face, X: FloatArray | None, rest: int, relaxation: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A block's V + relaxation (G − Z), its new Z, and the squares of ``Sizes``; Z is the last one.

    G is the projection ``QXQᵀ``: X is positive across the null vectors, of which part it may be given, and as it was
    along them.
    """
    new = _signed(known.put(V), rest, crosswise=bool(face.null.shape[2]))
    multiplier = V - new
    S, kept = face.across(new - multiplier)
    kept += _positive(S) if X is None else X
    gap = face.back(face.back(kept).transpose(0, 2, 1))
    gap -= new
    squares = np.array([np.vdot(a, a) for a in (new, multiplier, new - Z, gap)])
    gap *= relaxation
    gap += V
    return gap, new, squares


class GroupedSplitting:
    """Steps for the groups of a program; ``size`` is that of the costs."""

    def __init__(self, program: Program, groups: Groups, executor: Executor | None = None) -> None:
        self.program, self.groups, self._executor = program, groups, executor
        self.size = float(program.gamma)
        (m, s), r, k, c = groups.rows.shape, groups.shared, program.space.dimension, program.space.outputs
        self._rest, self._orders = k + c, (2 * s + k + c, 2 * m * r + k + c)
        size = max(1, CHUNK_ENTRIES // self._orders[0] ** 2)
        self._blocks = [slice(start, min(start + size, m)) for start in range(0, m, size)]
        quotient = Quotient.of(program)
        self._crosswise, free = quotient is not None, None if quotient is None else quotient.free
        parts = self._of_parts(program.space.generators)
        ws = [None] * len(parts) if quotient is None else self._of_parts(quotient.w)
        self._faces = [_Face.of(A, c, w, free) for A, w in zip(parts, ws, strict=True)]
        # Where the shared generators, z and v are: in the matrix of a group, and of each group in that of the head.
        first, tail = np.arange(r), np.arange(k + c)
        own = np.concatenate([first, s + first, 2 * s + tail])
        self._own = own[:, None], own
        at = np.arange(m)[:, None] * r + first
        head = np.hstack([at, m * r + at, np.broadcast_to(2 * m * r + tail, (m, k + c))])
        self._head = head[:, :, None], head[:, None, :]
        self._loss = LossMap(program)
        self._place_features()

    def _of_parts(self, of_generators: FloatArray) -> list[FloatArray]:
        """What generators have (N, …), of the head (1, mr, …) and of each block of groups (q, s, …)."""
        padded = self.groups.padded(of_generators)
        return [of_generators[self.groups.head][None], *(padded[block] for block in self._blocks)]

    def _parts(self, matrices: Matrices) -> list[FloatArray]:
        """Views of the same parts. The head is larger than any block, and begins first."""
        return [matrices.head, *(matrices.groups[block] for block in self._blocks)]

    def _place_features(self) -> None:
        """Where the loss is: group and row of each of its features, all of them columns of v."""
        program, groups, N, order = self.program, self.groups, self.program.space.neurons, self._orders[0]
        (m, s), r = groups.rows.shape, groups.shared
        features, (group_of, row_of) = self._loss.features, np.empty((2, N + 1), int)
        group_of[groups.rows], row_of[groups.rows] = np.arange(m)[:, None], np.arange(s)
        self._group, row, side = group_of[features % N], row_of[features % N], features // N
        self._row, self._shared = row + s * side, row < r
        self._shared_at = self._group[self._shared], (row + r * side)[self._shared]
        # An entry in two matrices counts twice.
        self._copies = np.where(self._shared, 2.0, 1.0)[:, None]
        self._columns = np.arange(order - program.space.outputs, order)
        # Entries of each part that are known before its step: those that groups share, and those of the loss.
        seen = np.flatnonzero(~self._shared)
        seen = seen[np.argsort(self._group[seen], kind="stable")]
        shared = (self._own[0] * order + self._own[1]).ravel()
        self._seen = [seen[:0]]
        self._known_at = [(self._head[0] * self._orders[1] + self._head[1]).ravel()]
        for block in self._blocks:
            low, high = np.searchsorted(self._group[seen], [block.start, block.stop])
            these = seen[low:high]
            start, row = (self._group[these, None] - block.start) * order**2, self._row[these, None]
            one, other = start + row * order + self._columns, start + self._columns * order + row
            own = np.arange(block.stop - block.start)[:, None] * order**2 + shared
            self._seen.append(these)
            self._known_at.append(np.concatenate([own.ravel(), one.ravel(), other.ravel()]))

    def zeros(self) -> Matrices:
        """Matrices of zeros."""
        own, head = self._orders
        return Matrices(np.zeros((len(self.groups.rows), own, own)), np.zeros((1, head, head)))

    def _known(self, V: Matrices, penalty: float) -> list[_Known]:
        """What is known of each part before its step."""
        program, rest, k, c = self.program, self._rest, self.program.space.dimension, self.program.space.outputs
        head, count = V.head[0], len(self.groups.rows) + 1
        mean = 0.5 * (V.groups[:, *self._own] + head[self._head])
        tail = (V.groups[:, -rest:, -rest:].sum(axis=0) + head[-rest:, -rest:]) / count
        seen = V.groups[self._group[:, None], self._row[:, None], self._columns]
        group, row = self._shared_at
        seen[self._shared] = mean[group, row, -c:]
        P = self._loss(seen, 2.0 * penalty * self._copies, self._loss.start)
        z, v = tail[:k, :k], np.einsum("ii->i", tail[k:, k:])
        z -= 0.5 * program.gamma * program.cost() / (penalty * count)
        if program.region.size and not self._crosswise:
            missing = float(np.vdot(program.region, z)) / float(np.vdot(program.region, program.region))
            z -= min(missing, 0.0) * program.region
        v -= 0.5 * program.gamma / (penalty * count)
        mean[group, row, -c:] = mean[group, -c:, row] = P[self._shared]
        mean[:, -rest:, -rest:] = tail
        values = [mean, *(mean[block] for block in self._blocks)]
        parts = zip(self._known_at, values, self._seen, strict=True)
        return [_Known(at, np.concatenate([own, P[of], P[of]], axis=None)) for at, own, of in parts]

    def step(self, V: Matrices, Z: Matrices, penalty: float, relaxation: float) -> Sizes:
        """Move V by ``relaxation (G − Z)``, and Z from that of the last step to that of this one, in place."""
        known, total = self._known(V, penalty), np.zeros(4)
        parts, last = self._parts(V), self._parts(Z)
        rests, factors = [self._rest] * len(parts), [relaxation] * len(parts)
        X: Iterable[FloatArray | None] = repeat(None, len(parts))
        if self._executor is not None:
            # To other machines goes what takes longest for its size.
            X = side_by_side(
                _positive, side_by_side(_pulled, parts, known, self._faces, rests), executor=self._executor
            )
        steps = side_by_side(_stepped, parts, last, known, self._faces, X, rests, factors)
        for V_part, Z_part, found in zip(parts, last, steps, strict=True):
            V_part[...], Z_part[...], squares = found
            total += squares
        self._loss.go_on()
        return Sizes(*np.sqrt(total).tolist())

    def rescale(self, V: Matrices, penalty: float, factor: float) -> None:
        """V for a penalty ``factor`` times as large and the same Z and multiplier, in place: V − Z is divided by it."""
        for part, known in zip(self._parts(V), self._known(V, penalty), strict=True):
            part -= (1.0 - 1.0 / factor) * (part - _signed(known.put(part), self._rest, crosswise=self._crosswise))

    def multipliers(self, V: Matrices, penalty: float) -> GroupedDual:
        """The dual of a point V, with exact signs."""
        (m, s), r, rest = self.groups.rows.shape, self.groups.shared, self._rest
        out = Matrices(np.empty((m, 2 * s, 2 * s)), np.empty((1, 2 * m * r, 2 * m * r)))
        for part, known, target in zip(self._parts(V), self._known(V, penalty), self._parts(out), strict=True):
            before = known.put(part)
            after = _signed(before.copy(), rest, crosswise=self._crosswise)
            target[...] = 2.0 * penalty * (after - before)[:, :-rest, :-rest]
        own, in_head = self._pairs
        out.groups[:, *own] *= 2.0
        out.head[0][in_head] = 0.0
        return GroupedDual(W=self._loss.W(), N=NO_PRODUCTS, groups=self.groups, blocks=out.groups, head=out.head[0])

    @property
    def _pairs(self) -> tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]]:
        """Where groups, and where the head, have the pairs of shared generators of one group."""
        (rows, columns), (in_rows, in_columns), pairs = self._own, self._head, 2 * self.groups.shared
        return (rows[:pairs], columns[:pairs]), (in_rows[:, :pairs], in_columns[:, :, :pairs])

    def start(self, z: FloatArray, v: FloatArray, penalty: float, dual: GroupedDual | None = None) -> Matrices:
        """V of a network: its moments, and the multipliers of its loss and of the costs, or those of a dual."""
        program, groups, loss, rest, c = self.program, self.groups, self._loss.loss, self._rest, len(v)
        A = program.space.generators
        if dual is None:
            parts = [[side @ v.T for side in _sides(part, z)] for part in np.array_split(A, len(self._blocks))]
            seen = np.concatenate([part for side in zip(*parts, strict=True) for part in side])
            W = loss.project(loss.dual(program.weight[:, None] * seen[program.feature]))
        else:
            W = loss.project(dual.W)
        pull = np.stack(np.split(program.features_of(W), 2), axis=1) / (-2.0 * penalty)
        # In every copy an equal part.
        pull[groups.head] *= 0.5
        costs = block_diag(program.cost(), np.eye(c)) * program.gamma / (2.0 * penalty * (len(groups.rows) + 1))
        out, tail = self.zeros(), np.concatenate([z, v])
        for target, own, pulled in zip(self._parts(out), self._of_parts(A), self._of_parts(pull), strict=True):
            lifted = np.concatenate([*_sides(own, z), np.broadcast_to(tail, (len(own), *tail.shape))], axis=1)
            np.matmul(lifted, lifted.transpose(0, 2, 1), out=target)
            slope = np.concatenate([pulled[:, :, 0], pulled[:, :, 1]], axis=1)
            target[:, :-rest, -c:] += slope
            target[:, -c:, :-rest] += slope.transpose(0, 2, 1)
            target[:, -rest:, -rest:] += costs
        if dual is not None:
            self._pull(out, dual, 0.5 / penalty)
        return out

    def _pull(self, V: Matrices, dual: GroupedDual, factor: float) -> None:
        """Take the multipliers of signs off V; what stands in two matrices is shared out evenly."""
        own, in_head = self._pairs
        head, pairs = dual.head.copy(), dual.blocks[:, *own]
        half = 0.5 * (pairs + head[in_head])
        head[in_head] = half
        rest = self._rest
        V.groups[:, :-rest, :-rest] -= factor * dual.blocks
        V.groups[:, *own] += factor * (pairs - half)
        V.head[0, :-rest, :-rest] -= factor * head


def _sides(generators: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(α, β) of generators (…, k) at points z (k, p)."""
    product = generators @ z
    return np.maximum(product, 0.0), np.maximum(-product, 0.0)
