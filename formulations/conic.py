"""The DNN relaxation of a ``LiftedProgram`` as plain conic data, in two forms.

    minimise  ½xᵀPx + qᵀx + constant   subject to  Ax + s = b,  s in {0}^z × R₊^l × (triangles of PSD matrices)

``with_outputs`` is the facially reduced program with its output block (order N+k+c), ``unreduced`` is the form of the
paper. The multiplier y of ``Ax + s = b``
enters as ``+yᵀ(Ax + s − b)`` with y in the dual cone, so that at the optimum ``Px + q + Aᵀy = 0``.

A triangle holds a symmetric matrix with its off-diagonal entries times √2, so that inner products are kept. Here it
is the upper triangle, column after column, as Clarabel has it; ``ConicData.lower_order`` gives the rows in the order of
SCS and MOSEK, the lower triangle column after column.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from formulations._validation import FloatArray, IntArray
from formulations.errors import InputError
from formulations.lifted_space import LiftedSpace
from formulations.program import LiftedProgram, RawDual, RawPrimal

MAXIMUM_ENTRIES = 200_000_000
ROOT_TWO = float(np.sqrt(2.0))


@dataclass(frozen=True, eq=False)
class ConicData:
    """minimise ½xᵀPx + qᵀx + constant subject to Ax + s = b, s in the cone (see the module).

    Attributes:
        P: (variables, variables) sparse, positive semidefinite, stored in full.
        q, b: (variables,) and (rows,).
        A: (rows, variables) sparse; its rows are ``zero`` equalities, ``nonnegative`` inequalities, then one triangle
            for each order in ``psd``.
        recover_primal: x to the program's primal iterate.
        recover_dual: (x, y) to the program's dual iterate.
    """

    P: sparse.csc_array
    q: FloatArray
    A: sparse.csc_array
    b: FloatArray
    constant: float
    zero: int
    nonnegative: int
    psd: tuple[int, ...]
    recover_primal: Callable[[FloatArray], RawPrimal]
    recover_dual: Callable[[FloatArray, FloatArray], RawDual]

    def value(self, x: FloatArray) -> float:
        """½xᵀPx + qᵀx + constant."""
        return 0.5 * float(x @ (self.P @ x)) + float(self.q @ x) + self.constant

    def lower_order(self) -> IntArray:
        """Permutation π of the rows: ``A[π], b[π]`` have lower triangles, and ``y[π]`` is their multiplier."""
        start = self.zero + self.nonnegative
        parts = [np.arange(start)]
        for order in self.psd:
            parts.append(start + lower_from_upper(order))
            start += triangle_size(order)
        return np.concatenate(parts)

    def project(self, s: FloatArray) -> FloatArray:
        """The point of the cone next to s (rows in this object's own order)."""
        out = np.maximum(s, 0.0)
        out[: self.zero] = 0.0
        self._project_triangles(s, out)
        return out

    def project_dual(self, y: FloatArray) -> FloatArray:
        """The point of the dual cone next to y: equalities are free, the other parts are self-dual."""
        out = np.maximum(y, 0.0)
        out[: self.zero] = y[: self.zero]
        self._project_triangles(y, out)
        return out

    def _project_triangles(self, source: FloatArray, out: FloatArray) -> None:
        start = self.zero + self.nonnegative
        for order in self.psd:
            part = slice(start, start + triangle_size(order))
            values, vectors = np.linalg.eigh(to_matrix(source[part], order))
            out[part] = to_triangle((vectors * np.maximum(values, 0.0)) @ vectors.T)
            start = part.stop

    def residuals(self, x: FloatArray, y: FloatArray) -> tuple[float, float]:
        """(primal, dual): dist(b − Ax, K)/(1+‖b‖) and (‖Px+q+Aᵀy‖ + dist(y, K*))/(1+‖q‖); infinite if undefined."""
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return float("inf"), float("inf")
        s = self.b - self.A @ x
        primal = float(np.linalg.norm(s - self.project(s))) / (1.0 + float(np.linalg.norm(self.b)))
        stationarity = float(np.linalg.norm(self.P @ x + self.q + self.A.T @ y))
        outside = float(np.linalg.norm(y - self.project_dual(y)))
        return primal, (stationarity + outside) / (1.0 + float(np.linalg.norm(self.q)))


def triangle_size(order: int) -> int:
    """Entries of a triangle of a matrix of this order."""
    return order * (order + 1) // 2


def _positions(order: int) -> tuple[IntArray, IntArray]:
    """(row, column) of each entry of the upper triangle, column after column."""
    column, row = np.tril_indices(order)
    return row, column


def lower_from_upper(order: int) -> IntArray:
    """π with ``lower = upper[π]``, where both triangles are stacked column after column."""
    row, column = np.triu_indices(order)  # the lower triangle by columns is the upper one by rows
    position: IntArray = row + column * (column + 1) // 2
    return position


def to_triangle(matrix: FloatArray) -> FloatArray:
    """Upper triangle of a symmetric matrix, column after column, off-diagonal entries times √2."""
    row, column = _positions(len(matrix))
    triangle: FloatArray = matrix[row, column] * np.where(row == column, 1.0, ROOT_TWO)
    return triangle


def to_matrix(triangle: FloatArray, order: int) -> FloatArray:
    """Inverse of ``to_triangle``."""
    row, column = _positions(order)
    matrix = np.empty((order, order))
    matrix[row, column] = triangle / np.where(row == column, 1.0, ROOT_TWO)
    matrix[column, row] = matrix[row, column]
    return matrix


def _products(J: sparse.csr_array, p: IntArray, q: IntArray) -> sparse.csr_array:
    """Rows ``x ↦ (J S Jᵀ)_pq`` for x the triangle of S; one row for each pair (p, q).

    Row p of J has few entries, so the outer products of the rows are written down entry by entry.
    """
    length = np.diff(J.indptr)
    counts = length[p].astype(np.int64) * length[q]
    total = int(counts.sum())
    if total > MAXIMUM_ENTRIES:
        raise InputError(
            f"the conic form would need {total:.1e} matrix entries; use solver 'admm', which never writes them down."
        )
    row = np.repeat(np.arange(len(p)), counts)
    inside = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    first = J.indptr[p][row] + inside // length[q][row]
    second = J.indptr[q][row] + inside % length[q][row]
    a, b = J.indices[first].astype(np.int64), J.indices[second].astype(np.int64)
    low, high = np.minimum(a, b), np.maximum(a, b)
    entry = J.data[first] * J.data[second] / np.where(a == b, 1.0, ROOT_TWO)
    shape = (len(p), triangle_size(J.shape[1]))
    return sparse.coo_array((entry, (row, low + high * (high + 1) // 2)), shape=shape).tocsr()


def _face_basis(space: LiftedSpace) -> sparse.csr_array:
    """J = [I A 0; I] of the lifted space, sparse."""
    N, k = space.neurons, space.dimension
    top = sparse.hstack([sparse.eye_array(N), sparse.csr_array(space.generators), sparse.csr_array((N, space.outputs))])
    J = sparse.vstack([top, sparse.eye_array(N + k + space.outputs)]).tocsr()
    J.eliminate_zeros()
    return J


@dataclass(frozen=True, eq=False)
class _Cone:
    """Rows of the sign and complementarity conditions on ``G_φφ = (J S Jᵀ)_φφ``, and the way back to N."""

    neurons: int
    p: IntArray
    q: IntArray
    complementarity: sparse.csr_array
    nonnegativity: sparse.csr_array

    def N(self, y_complementarity: FloatArray, y_nonnegativity: FloatArray) -> FloatArray:
        """N with −½⟨N, G_φφ⟩ = −Σ y_pq G_pq: diagonal entries are doubled."""
        matrix = np.zeros((2 * self.neurons, 2 * self.neurons))
        i = np.arange(self.neurons)
        matrix[self.p, self.q] = y_nonnegativity
        matrix[i, i + self.neurons] = y_complementarity
        return matrix + matrix.T


def _cone(space: LiftedSpace, J: sparse.csr_array) -> _Cone:
    p, q = np.triu_indices(2 * space.neurons)
    sign = q - p != space.neurons
    i = np.arange(space.neurons)
    return _Cone(
        neurons=space.neurons,
        p=p[sign],
        q=q[sign],
        complementarity=_products(J, i, i + space.neurons),
        nonnegativity=_products(J, p[sign], q[sign]),
    )


def _fitted(program: LiftedProgram, J: sparse.csr_array) -> sparse.csr_array:
    """Rows ``x ↦ (ω∘G[f, v])`` flattened row by row, (f·c) of them."""
    space = program.space
    v = np.arange(space.order)[space.v]
    rows = _products(J, np.repeat(program.feature, len(v)), np.tile(v, len(program.feature)))
    return (sparse.diags_array(np.repeat(program.weight, len(v))) @ rows).tocsr()


def _cost(program: LiftedProgram, size: int, start: int) -> FloatArray:
    """Triangle of γ/2·[E on z, I on what follows z], where z begins at ``start``."""
    k = program.space.dimension
    cost = np.zeros((size, size))
    cost[start : start + k, start : start + k] = program.metric
    tail = np.arange(start + k, size)
    cost[tail, tail] = 1.0
    return to_triangle(0.5 * program.gamma * cost)


def _with_residuals(program: LiftedProgram, J: sparse.csr_array, extra: sparse.csr_array, start: int) -> ConicData:
    """Conic data over x = (triangle of S, R) with R + ω∘G[f, v] = T, so that P is the identity on R.

    ``extra`` holds further rows that must vanish on the triangle of S; z begins at ``start`` in S.
    """
    space, target = program.space, program.target
    order = J.shape[1]
    m, r = triangle_size(order), target.size
    cone = _cone(space, J)
    N = space.neurons
    A = sparse.block_array(
        [
            [_fitted(program, J), sparse.eye_array(r)],
            [-cone.complementarity, None],
            [extra, None],
            [-cone.nonnegativity, None],
            [-sparse.eye_array(m), None],
        ]
    ).tocsc()
    b = np.zeros(A.shape[0])
    b[:r] = target.ravel()
    zero = r + N + extra.shape[0]
    nonnegative = len(cone.p)

    def recover_primal(x: FloatArray) -> RawPrimal:
        # The unreduced G is cut down to its (β, z, v) part, which is S itself on the face.
        S = to_matrix(x[:m], order)[order - space.face_order :, order - space.face_order :]
        return RawPrimal(np.ascontiguousarray(S), space.outputs)

    def recover_dual(x: FloatArray, y: FloatArray) -> RawDual:
        # R minimises ½‖R‖² + ⟨y, R⟩, and W is the multiplier of T − ω∘G[f, v] − R = 0, so W = −y.
        return RawDual(-y[:r].reshape(target.shape), cone.N(y[r : r + N], y[zero : zero + nonnegative]))

    return ConicData(
        P=sparse.block_diag([sparse.csc_array((m, m)), sparse.eye_array(r)]).tocsc(),
        q=np.concatenate([_cost(program, order, start), np.zeros(r)]),
        A=A,
        b=b,
        constant=0.0,
        zero=zero,
        nonnegative=nonnegative,
        psd=(order,),
        recover_primal=recover_primal,
        recover_dual=recover_dual,
    )


def with_outputs(program: LiftedProgram) -> ConicData:
    """The facially reduced relaxation with its output block: one PSD triangle of order N+k+c.

    x = (triangle of S, R), with the residual R (f×c) as a variable; the loss is ½‖R‖².

    Raises:
        InputError: when the matrix would be too large to write down.
    """
    J = _face_basis(program.space)
    none = sparse.csr_array((0, triangle_size(J.shape[1])))
    return _with_residuals(program, J, none, program.space.neurons)


def unreduced(program: LiftedProgram) -> ConicData:
    """The paper's own form: a PSD triangle of order 2N+k+c with ``tr(MGMᵀ) = 0`` for M = [−I I A 0]. For benchmarks.

    It has no interior point, so solvers are slow and inexact on it; nothing else here uses it. Source: arXiv
    2410.22311. The multiplier of ``tr(MGMᵀ) = 0`` is dropped from the dual: it vanishes on the face. S is the
    (β, z, v) part of G, and exact only so far as G lies on the face.
    """
    space = program.space
    M = np.zeros((space.neurons, space.order))
    i = np.arange(space.neurons)
    M[i, i], M[i, i + space.neurons] = -1.0, 1.0
    M[:, space.z] = space.generators
    face = sparse.csr_array(to_triangle(M.T @ M)[None, :])
    return _with_residuals(program, sparse.eye_array(space.order).tocsr(), face, 2 * space.neurons)


def starting_point(
    program: LiftedProgram, data: ConicData, primal: RawPrimal | None, dual: RawDual | None
) -> tuple[FloatArray, FloatArray]:
    """(x, y) of ``with_outputs(program)`` for iterates of a similar program; what is missing becomes zero.

    The multiplier of S ⪰ 0 follows from stationarity and is projected, and so are the signs of N.

    Raises:
        InputError: shapes that do not fit the program.
    """
    space, target = program.space, program.target
    _check_shapes(program, primal, dual)
    r, N, m = target.size, space.neurons, triangle_size(space.face_order)
    x, y = np.zeros(len(data.q)), np.zeros(len(data.b))
    S = np.zeros((space.face_order, space.face_order))
    if primal is not None:
        part = slice(0, len(primal.S))
        S[part, part] = primal.S
    x[:m] = to_triangle(S)
    x[m:] = data.b[:r] - data.A[:r, :m] @ x[:m]
    if dual is not None:
        i = np.arange(N)
        p, q = np.triu_indices(2 * N)
        keep = q - p != N
        y[:r] = -dual.W.ravel()
        y[r : r + N] = dual.N[i, i + N]
        y[r + N : -m] = (dual.N * np.where(np.eye(2 * N) > 0, 0.5, 1.0))[p[keep], q[keep]]
        y[-m:] = (data.q + data.A.T @ y)[:m]
    return x, data.project_dual(y)


def _check_shapes(program: LiftedProgram, primal: RawPrimal | None, dual: RawDual | None) -> None:
    space = program.space
    phi = 2 * space.neurons
    if primal is not None:
        order = space.neurons + space.dimension + primal.outputs
        if primal.outputs not in (0, space.outputs) or primal.S.shape != (order, order):
            raise InputError(
                "the primal warm start does not fit the program; leave it out or take it from a similar one."
            )
    if dual is not None and (dual.W.shape != program.target.shape or dual.N.shape != (phi, phi)):
        raise InputError("the dual warm start does not fit the program; take one from a program of the same size.")
