"""Both proximal maps for products within groups of rows, as ``splitting`` has them for all products.

The moment matrices of the groups, each over ``λ = (α, β, z, v)`` of its own generators, agree in what they share: all
in the block of (z, v), and each with the head in its shared generators (``formulations.groups``). One map projects each
of them onto its face; the other minimises objective and signs over matrices that agree, which is a mean before the same
entrywise maps.

Null vectors (``making.quotient``) are used as for all products, group by group: a matrix is projected across what a
group sees of them and left as it is along them, and neither the signs of G_αα and G_ββ nor the region are asked for.
Shared generators tell groups of one another's entries along them.
"""

import numpy as np
from scipy.linalg import block_diag

from certificates.making.quotient import Quotient
from certnet.runtime.numerics import side_by_side
from certnet.solvers.arrays import Array, Arrays
from certnet.solvers.splitting import SETTINGS, Sizes, without_kinks
from formulations import Program
from formulations._validation import FloatArray
from formulations.groups import GroupedDual, Groups
from formulations.program import NO_PRODUCTS
from formulations.prox import Prox

CHUNK_ENTRIES = 1 << 17
"""Entries of the matrices that are projected at once, so that they stay in fast memory. Not measured."""
LEAST_ENTRIES = 1 << 20
"""Below this many of all matrices threads take longer to start than they save. Not measured."""


class GroupedSplitting:
    """Both maps of a step, as those of ``Splitting``, on columns of all entries: group by group, then the head.

    Attributes:
        entries: their number.
        size: of the costs.
    """

    def __init__(self, program: Program, groups: Groups, layer: Arrays) -> None:
        assert program.loss is not None
        self.program, self.groups, self.layer = program, groups, layer
        self.size = float(program.gamma)
        (m, s), r, k, c = groups.rows.shape, groups.shared, program.space.dimension, program.space.outputs
        A = program.space.generators
        self._faces = [_faces(part, c) for part in (groups.padded(A), A[groups.head][None])]
        self._quotient = Quotient.of(program)
        if self._quotient is not None:
            w = self._quotient.w
            parts = zip(self._faces, (groups.padded(w), w[groups.head][None]), strict=True)
            self._faces = [_split(Q, own, self._quotient.free, c) for Q, own in parts]
        self._free = 0 if self._quotient is None else 2
        self._shapes = [(len(Q), Q.shape[1], Q.shape[1]) for Q in self._faces]
        self.entries = sum(int(np.prod(shape)) for shape in self._shapes)
        # Where the shared generators, z and v are: in the matrix of a group, and of each group in that of the head.
        first, tail = np.arange(r), np.arange(k + c)
        own = np.concatenate([first, s + first, 2 * s + tail])
        self._own = own[:, None], own
        at = np.arange(m)[:, None] * r + first
        head = np.hstack([at, m * r + at, np.broadcast_to(2 * m * r + tail, (m, k + c))])
        self._head = head[:, :, None], head[:, None, :]
        # Where the loss is: group and row of each of its features, all of them columns of v.
        features, place = np.unique(program.feature, return_inverse=True)
        self._place, group_of, row_of = place.ravel(), np.empty(len(A) + 1, int), np.empty(len(A) + 1, int)
        group_of[groups.rows], row_of[groups.rows] = np.arange(m)[:, None], np.arange(s)
        generator = features % len(A)
        row = row_of[generator] + np.where(features < len(A), 0, s)
        self._seen = group_of[generator][:, None], row[:, None], 2 * s + k + np.arange(c)
        self._seen_too = self._seen[0], self._seen[2][None], self._seen[1]
        copies = np.where(row_of[generator] < r, 2.0, 1.0)
        self._root = np.sqrt(copies)[:, None]
        self.loss = without_kinks(program.loss, SETTINGS.kinks)
        # An entry in two matrices counts twice: in units of its root the penalty is the same for all.
        self._prox = Prox(self.loss, self._place, program.weight / self._root[self._place, 0], len(features))
        self._begin: tuple[FloatArray, FloatArray] | None = None
        self._last: tuple[FloatArray, FloatArray] | None = None

    def _views(self, column: Array) -> tuple[Array, Array]:
        """(m, L, L) of the groups and (L', L') of the head."""
        (m, L, _), (_, order, _) = self._shapes
        flat = column[:, 0]
        return flat[: m * L * L].reshape(m, L, L), flat[m * L * L :].reshape(order, order)

    def _agreed(self, V: Array) -> Array:
        """A copy in which entries of several matrices have their mean."""
        out = V.copy()
        blocks, head = self._views(out)
        k_c, count = self.program.space.dimension + self.program.space.outputs, len(blocks) + 1
        mean = 0.5 * (blocks[:, *self._own] + head[self._head])
        mean[:, -k_c:, -k_c:] = (blocks[:, -k_c:, -k_c:].sum(axis=0) + head[-k_c:, -k_c:]) / count
        blocks[:, *self._own] = mean
        head[self._head] = mean
        return out

    def _fitted(self, joined: Array, penalty: float) -> tuple[FloatArray, FloatArray]:
        """The entries that the loss sees in units of their roots, and the output bias."""
        seen = self._views(joined)[0][self._seen] * self._root
        return self._prox(seen, 2.0 * penalty, start=self._begin)

    def _unsigned(self, V: Array, penalty: float) -> Array:
        """The entrywise minimiser before the signs."""
        space, program, count = self.program.space, self.program, len(self.groups.rows) + 1
        out = self._agreed(V)
        blocks, head = self._views(out)
        self._last = self._fitted(out, penalty)
        P = self._last[0] / self._root
        blocks[self._seen] = P
        blocks[self._seen_too] = P
        k_c, k = space.dimension + space.outputs, space.dimension
        tail = head[-k_c:, -k_c:].copy()
        z, v = tail[:k, :k], np.einsum("ii->i", tail[k:, k:])
        z -= 0.5 * program.gamma * program.cost() / (penalty * count)
        if program.region.size and not self._free:
            missing = float(np.vdot(program.region, z)) / float(np.vdot(program.region, program.region))
            z -= min(missing, 0.0) * program.region
        v -= 0.5 * program.gamma / (penalty * count)
        blocks[:, -k_c:, -k_c:] = tail
        head[self._head] = blocks[:, *self._own]
        return out

    def _sign(self, V: Array) -> None:
        """Move V to the signs, in place."""
        k_c, (blocks, head) = self.program.space.dimension + self.program.space.outputs, self._views(V)
        for matrices in (blocks, head[None]):
            half = (matrices.shape[1] - k_c) // 2
            one, two = np.arange(half), half + np.arange(half)
            columns = (slice(half, 2 * half), slice(half)) if self._free else (slice(2 * half),) * 2
            for rows, partners in zip((slice(half), slice(half, 2 * half)), columns, strict=True):
                signed = matrices[:, rows, partners]
                np.maximum(signed, 0.0, out=signed)
            matrices[:, one, two] = matrices[:, two, one] = 0.0

    def entrywise(self, V: Array, penalty: float, Z: Array) -> tuple[Array, Sizes]:
        """Write the minimiser of loss, cost, signs and the distance from V to Z, whose content is the last one.

        Returns the column 2Z − V, and the sizes of what was written.
        """
        new, square = self._unsigned(V, penalty), self.layer.square
        self._sign(new)
        L = V - new
        Z -= new
        sizes = Sizes(*(float(np.sqrt(square(a))) for a in (new, L, Z)))
        Z[...] = new
        self._begin = self._last
        self._prox.go_on()
        new -= L
        return new, sizes

    def factor(self, reflected: Array, expected_rank: int) -> Array:
        """The column of ``Q X₊ Qᵀ``, where ``X = QᵀTQ`` for every matrix T of this one, in which X is not changed along
        null vectors. Groups are independent, and go to several threads where that pays."""
        out = self.layer.empty(self.entries, 1)
        (blocks, head), (targets, last) = self._views(reflected), self._views(out)
        work = [(head[None], self._faces[1], last[None], self._free)]
        size = max(1, CHUNK_ENTRIES // blocks[0].size)
        for start in range(0, len(blocks), size):
            part = slice(start, start + size)
            work.append((blocks[part], self._faces[0][part], targets[part], self._free))
        if self.entries < LEAST_ENTRIES:
            for one in work:
                _project(*one)
        else:
            side_by_side(_project, *zip(*work, strict=True))
        return out

    def gap(self, G: Array, Z: Array, scale: float) -> tuple[Array, float]:
        """``scale (G − Z)``, written to G, of which nothing else is needed, and the norm of G − Z."""
        G -= Z
        size = float(np.sqrt(self.layer.square(G)))
        G *= scale
        return G, size

    def multipliers(self, V: Array, penalty: float) -> GroupedDual:
        """The dual of a point V, with exact signs, in float64."""
        before = self._unsigned(V, penalty)
        after = before.copy()
        self._sign(after)
        assert self._last is not None
        P, bias = self._last[0] / self._root, self._last[1]
        W = self.loss.project(self.loss.dual(self.program.weight[:, None] * P[self._place], bias))
        N = 2.0 * penalty * (after - before)
        blocks, head = self._views(N)
        r, s = self.groups.shared, self.groups.rows.shape[1]
        own = np.concatenate([np.arange(r), s + np.arange(r)])
        blocks[:, own[:, None], own] *= 2.0
        k_c = self.program.space.dimension + self.program.space.outputs
        in_group = self._head[0][:, : 2 * r], self._head[1][:, :, : 2 * r]
        head[in_group] = 0.0
        return GroupedDual(
            W=W,
            N=NO_PRODUCTS,
            groups=self.groups,
            blocks=blocks[:, :-k_c, :-k_c].copy(),
            head=head[:-k_c, :-k_c].copy(),
        )

    def start(self, z: FloatArray, v: FloatArray, penalty: float, dual: GroupedDual | None = None) -> FloatArray:
        """V of a network: its moments, and the multipliers of its loss and of the costs, or those of a dual."""
        program, N, k = self.program, self.program.space.neurons, self.program.space.dimension
        lifted = program.space.lift(z, v)
        fitted = program.weight[:, None] * (lifted[program.feature] @ v.T)
        W = self.loss.project(self.loss.dual(fitted) if dual is None else dual.W)
        pull, count = program.features_of(W), len(self.groups.rows) + 1
        # In every copy an equal part.
        pull[np.concatenate([self.groups.head, N + self.groups.head])] *= 0.5
        pull = np.concatenate([pull, np.zeros((k + len(v), len(v)))])
        costs = block_diag(program.cost(), np.eye(len(v))) * program.gamma / count
        out = np.zeros((self.entries, 1))
        blocks, head = self._views(out)
        for matrix, rows in zip((*blocks, head), (*self.groups.rows, self.groups.head), strict=True):
            real = np.flatnonzero(rows < N)
            where = np.concatenate([real, len(rows) + real, 2 * len(rows) + np.arange(k + len(v))])
            taken = np.concatenate([rows[real], N + rows[real], 2 * N + np.arange(k + len(v))])
            own = lifted[taken] @ lifted[taken].T
            slope = -pull[taken] / (2.0 * penalty)
            own[:, -len(v) :] += slope
            own[-len(v) :] += slope.T
            own[-k - len(v) :, -k - len(v) :] += costs / (2.0 * penalty)
            matrix[np.ix_(where, where)] = own
        if dual is not None:
            self._pull(blocks, head, dual, 0.5 / penalty)
        return out

    def _pull(self, blocks: Array, head: Array, dual: GroupedDual, factor: float) -> None:
        """Take the multipliers of signs off V; what stands in two matrices is shared out evenly."""
        (m, s), r = self.groups.rows.shape, self.groups.shared
        first = np.concatenate([np.arange(r), s + np.arange(r)])
        N, in_head = dual.blocks.copy(), dual.head.copy()
        in_group = self._head[0][:, : 2 * r], self._head[1][:, :, : 2 * r]
        both = 0.5 * (N[:, first[:, None], first] + in_head[in_group])
        N[:, first[:, None], first] = both
        in_head[in_group] = both
        blocks[:, : 2 * s, : 2 * s] -= factor * N
        head[: 2 * m * r, : 2 * m * r] -= factor * in_head


def _project(T: FloatArray, Q: FloatArray, target: FloatArray, free: int) -> None:
    """Write ``Q X' Qᵀ`` of some matrices to the target: X = QᵀTQ with the positive part of all but the first ``free``
    rows and columns.

    Raises:
        LinAlgError: an eigenvalue is not finite.
    """
    along, across = Q[:, :, :free], Q[:, :, free:]
    values, vectors = np.linalg.eigh(across.transpose(0, 2, 1) @ T @ across)
    if not np.isfinite(values).all():
        raise np.linalg.LinAlgError("an eigenvalue is not finite")
    F = across @ (vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :])
    np.matmul(F, F.transpose(0, 2, 1), out=target)
    if free:
        pulled = T @ along
        kept = across @ (across.transpose(0, 2, 1) @ pulled) + along @ (0.5 * (along.transpose(0, 2, 1) @ pulled))
        joined = kept @ along.transpose(0, 2, 1)
        target += joined
        target += joined.transpose(0, 2, 1)


def _split(Q: FloatArray, w: FloatArray, free: FloatArray, outputs: int) -> FloatArray:
    """The same bases (m, 2s+k+c, s+k+c) with the null vectors for w (m, s) and ν (k,) first."""
    (m, s), k = w.shape, len(free)
    null = np.zeros((m, 2 * s + k + outputs, 2))
    null[:, :s, 0] = null[:, s : 2 * s, 1] = w
    null[:, 2 * s : 2 * s + k] = np.stack([free, -free], axis=1)
    return np.asarray(Q @ np.linalg.qr(Q.transpose(0, 2, 1) @ null, mode="complete")[0])


def _faces(generators: FloatArray, outputs: int) -> FloatArray:
    """(m, 2s+k+c, s+k+c) orthonormal bases of the faces of m spaces with generators (m, s, k)."""
    m, s, k = generators.shape
    R = np.linalg.cholesky(np.eye(k) + 0.5 * generators.transpose(0, 2, 1) @ generators).transpose(0, 2, 1)
    inverse = np.linalg.inv(R)
    B, half = 0.5 * generators @ inverse, 0.5**0.5 * np.eye(s)
    Q = np.zeros((m, 2 * s + k + outputs, s + k + outputs))
    Q[:, :s, :s] = Q[:, s : 2 * s, :s] = half
    Q[:, :s, s : s + k], Q[:, s : 2 * s, s : s + k] = B, -B
    Q[:, 2 * s : 2 * s + k, s : s + k] = inverse
    Q[:, 2 * s + k :, s + k :] = np.eye(outputs)
    return Q
