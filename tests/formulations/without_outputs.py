"""The relaxation in a third conic form, for comparison: the output block is minimised out in closed form."""

import numpy as np
from scipy import sparse

from formulations import LiftedProgram, RawDual, RawPrimal
from formulations._validation import FloatArray
from formulations.conic import (
    ROOT_TWO,
    ConicData,
    _cone,
    _cost,
    _face_basis,
    _positions,
    _products,
    to_matrix,
    to_triangle,
    triangle_size,
)


def without_outputs(program: LiftedProgram) -> ConicData:
    """The relaxation with its output block minimised out: PSD triangles of order N+k and f+c.

        minimise  γ/2 (tr Z + ⟨E, G_zz⟩)   subject to   [γI + ΩG_ffΩ, T; Tᵀ, Z] ⪰ 0,   S ⪰ 0,  the signs of G_φφ

    x = (triangle of S, triangle of Z). With Q ⪰ 0 the multiplier of the second matrix, stationarity in Z makes
    ``Q_ZZ = γ/2 I`` and ``−2⟨Q_fZ, T⟩`` is the linear part of the dual value, so ``W = −2 Q_fZ``.

    Raises:
        InputError: when the matrix would be too large to write down.
    """
    space = program.space.with_outputs(0)
    J = _face_basis(space)
    cone = _cone(space, J)
    (f, c), N = program.target.shape, space.neurons
    order, second = space.face_order, f + c
    m, z = triangle_size(order), triangle_size(c)
    linear, constant = _loss_matrix(program, J)
    A = sparse.block_array(
        [
            [-cone.complementarity, sparse.csr_array((N, z))],
            [-cone.nonnegativity, None],
            [-sparse.eye_array(m), None],
            [-linear, -_block_entries(f, c)],
        ]
    ).tocsc()
    start = N + len(cone.p) + m

    def recover_primal(x: FloatArray) -> RawPrimal:
        return RawPrimal(to_matrix(x[:m], order), 0)

    def recover_dual(x: FloatArray, y: FloatArray) -> RawDual:
        Q = to_matrix(y[start:], second)
        return RawDual(-2.0 * Q[:f, f:], cone.N(y[:N], y[N : N + len(cone.p)]))

    return ConicData(
        P=sparse.csc_array((m + z, m + z)),
        q=np.concatenate([_cost(program, order, N), to_triangle(0.5 * program.gamma * np.eye(c))]),
        A=A,
        b=np.concatenate([np.zeros(start), constant]),
        constant=0.0,
        zero=N,
        nonnegative=len(cone.p),
        psd=(order, second),
        recover_primal=recover_primal,
        recover_dual=recover_dual,
    )


def _loss_matrix(program: LiftedProgram, J: sparse.csr_array) -> tuple[sparse.csr_array, FloatArray]:
    """The triangle of [γI + ΩG_ffΩ, T; Tᵀ, 0] as (linear in the triangle of S, constant)."""
    f, c = program.target.shape
    row, column = _positions(f)
    factor = program.weight[row] * program.weight[column] * np.where(row == column, 1.0, ROOT_TWO)
    rows = sparse.diags_array(factor) @ _products(J, program.feature[row], program.feature[column])
    # The leading f×f block is the leading part of the triangle, since columns are stacked.
    linear = sparse.vstack([rows, sparse.csr_array((triangle_size(f + c) - len(row), rows.shape[1]))]).tocsr()
    constant = np.zeros((f + c, f + c))
    constant[np.arange(f), np.arange(f)] = program.gamma
    constant[:f, f:] = program.target
    return linear, to_triangle(constant)


def _block_entries(f: int, c: int) -> sparse.csr_array:
    """Puts the triangle of Z (order c) into the last block of a triangle of order f+c."""
    row, column = _positions(c)
    target = (row + f) + (column + f) * (column + f + 1) // 2
    shape = (triangle_size(f + c), triangle_size(c))
    return sparse.coo_array((np.ones(len(row)), (target, np.arange(len(row)))), shape=shape).tocsr()
