"""Splitting a symmetric matrix into a positive semidefinite and an entrywise nonnegative part.

The best splitting is a small semidefinite program; Clarabel solves it, and nothing of its answer is trusted: the
nonnegative part is projected and what is left is proved positive semidefinite.
"""

import clarabel
import numpy as np
from scipy import sparse

from formulations._validation import FloatArray

LARGEST_ORDER = 60
"""Beyond it the semidefinite program takes minutes."""


def nonnegative_part(M: FloatArray, *, time_limit: float) -> FloatArray | None:
    """The N ≥ 0 with zero diagonal for which the smallest eigenvalue of M − N is (nearly) largest.

    Args:
        M: (n, n) symmetric; its diagonal should be of order one.
        time_limit: seconds.

    Returns:
        None when the solver gave nothing finite.
    """
    n = len(M)
    row, column = np.triu_indices(n)
    order = np.lexsort((row, column))
    row, column = row[order], column[order]
    count = len(row)
    # Variables: the upper triangle of S by columns, off-diagonal entries times √2, then t. Maximise t with
    # S ⪰ 0 and S + tI ≤ M, with equality on the diagonal.
    scale = np.where(row == column, 1.0, np.sqrt(2.0))
    diagonal = np.flatnonzero(row == column)
    off = np.flatnonzero(row != column)
    equality = sparse.csc_matrix(
        (np.ones(2 * n), (np.tile(np.arange(n), 2), np.concatenate([diagonal, np.full(n, count)]))), (n, count + 1)
    )
    inequality = sparse.csc_matrix((1.0 / scale[off], (np.arange(len(off)), off)), (len(off), count + 1))
    cone = sparse.hstack([-sparse.identity(count), sparse.csc_matrix((count, 1))])
    A = sparse.vstack([equality, inequality, cone]).tocsc()
    b = np.concatenate([M[row[diagonal], column[diagonal]], M[row[off], column[off]], np.zeros(count)])
    q = np.zeros(count + 1)
    q[-1] = -1.0
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.time_limit = time_limit
    cones = [clarabel.ZeroConeT(n), clarabel.NonnegativeConeT(len(off)), clarabel.PSDTriangleConeT(n)]
    empty = sparse.csc_matrix((count + 1, count + 1))
    x = np.array(clarabel.DefaultSolver(empty, q, A, b, cones, settings).solve().x)
    if not np.isfinite(x).all():
        return None
    S = np.zeros((n, n))
    S[row, column] = S[column, row] = x[:-1] / scale
    N = np.maximum(M - S, 0.0)
    np.fill_diagonal(N, 0.0)
    return 0.5 * (N + N.T)
