"""The projection of a symmetric matrix onto the positive semidefinite matrices, as a factor of the result.

Which way is cheapest was measured (tests/benchmarks/projection.py). Where the positive part has low rank, as the moment
matrix of a trained network has, only the positive eigenpairs are computed. All ways give the same projection up to
rounding, so the fixed point of an iteration that uses them does not depend on the choice.
"""

from certnet.solvers._arrays import Array, Arrays

PARTIAL_SHARE = 0.12
PARTIAL_SHARE_SINGLE = 0.25
"""Rank, as a share of the order, up to which the positive eigenpairs alone are cheaper than all of them."""


def positive_factor(layer: Arrays, X: Array, expected: int) -> Array:
    """F (n×r) with ``F Fᵀ`` the positive semidefinite matrix nearest to X.

    Args:
        layer: the arrays of X.
        X: (n, n), its upper triangle is read; destroyed.
        expected: a guess of the rank r, which decides how and not what is computed.

    Raises:
        numpy.linalg.LinAlgError: X has an entry that is not finite, or the eigenvalues did not converge.
    """
    share = PARTIAL_SHARE_SINGLE if layer.single else PARTIAL_SHARE
    if layer.partial and expected <= share * X.shape[0]:
        values, vectors = layer.upper_part(X)
    else:
        values, vectors = layer.eigh(X)
        positive = values > 0
        values, vectors = values[positive], vectors[:, positive]
    return vectors * values**0.5
