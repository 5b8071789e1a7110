"""A rigorous floating-point proof that a symmetric matrix is positive semidefinite.

Rump, *Verification of positive definiteness*, BIT 46 (2006): if floating-point Cholesky of B runs to completion then
``B + Δ ⪰ 0`` for some ‖Δ‖₂ ≤ γ_{n+1}/(1−γ_{n+1}) tr(B) plus underflow. So Cholesky of ``B − δI`` with δ above that
bound and above the norm of the radii proves every matrix in the enclosure PSD. A run that stops proves nothing.
"""

from dataclasses import dataclass

import numpy as np

from certificates.enclosure import TINY, UNIT, Enclosure, gamma_bound, inflate
from formulations._validation import FloatArray


@dataclass(frozen=True)
class PsdProof:
    """Outcome of the test.

    Attributes:
        proved: every symmetric matrix in the enclosure is PSD.
        margin: smallest squared pivot of the factorisation of the matrix scaled to unit diagonal; 0 if it failed.
        reason: empty when proved, else the first obstacle.
    """

    proved: bool
    margin: float
    reason: str


def _failure(reason: str) -> PsdProof:
    return PsdProof(proved=False, margin=0.0, reason=reason)


def _mirror(lower: FloatArray) -> FloatArray:
    """The symmetric matrix with this lower triangle."""
    strict = np.tril(lower, -1)
    mirrored: FloatArray = strict + strict.T
    np.fill_diagonal(mirrored, np.diag(lower))
    return mirrored


def unit_diagonal_scaling(diagonal: FloatArray) -> FloatArray:
    """Powers of two d_i with d_i² · diagonal_i in [1/2, 2)."""
    exponent = np.frexp(diagonal)[1] - 1
    powers: FloatArray = np.ldexp(1.0, -((exponent + 1) // 2))
    return powers


def prove_psd(matrix: Enclosure) -> PsdProof:
    """Prove that every symmetric matrix in the enclosure is PSD. The lower triangle is read; O(n³) time, O(n²) memory.

    Scaling by powers of two makes the diagonal nearly one, so bad units of measurement do no harm.
    """
    n = matrix.mid.shape[0]
    if n == 0:
        return PsdProof(proved=True, margin=1.0, reason="")
    if not matrix.finite:
        return _failure("the slack matrix has entries that are not finite (overflow)")
    diagonal = np.diag(matrix.mid).copy()
    worst = int(np.argmin(diagonal))
    if not (diagonal[worst] > 0):
        return _failure(f"diagonal entry {worst + 1} of the slack matrix is {diagonal[worst]:.3e}, not positive")
    d = unit_diagonal_scaling(diagonal)
    scaled = matrix.scale_by_powers(d, d)
    if not scaled.finite:
        return _failure("the slack matrix spans too many orders of magnitude to be scaled")
    B, radius = _mirror(scaled.mid), _mirror(scaled.rad)
    norm = float(inflate(radius.sum(axis=1), n).max())
    trace = float(inflate(np.diag(B).sum(keepdims=True), n)[0])
    g = gamma_bound(n + 2)
    if not (g < 0.01):
        return _failure(f"order {n} is too large for the floating-point test")
    factorisation = g / (1.0 - g) * (1.0 + 8.0 * UNIT) * trace + 16.0 * n * n * TINY
    shift = (norm + factorisation) * (1.0 + 8.0 * UNIT)
    shifted = B.copy()
    np.fill_diagonal(shifted, np.nextafter(np.diag(B) - shift, -np.inf))
    try:
        L = np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        return _failure(
            f"the slack matrix is not proved positive semidefinite (Cholesky of the unit-diagonal matrix "
            f"shifted by {shift:.1e} breaks down)"
        )
    pivots = np.diag(L)
    if not (np.isfinite(L).all() and (pivots > 0).all()):
        return _failure("the Cholesky factor of the slack matrix is not finite")
    return PsdProof(proved=True, margin=float(pivots.min() ** 2), reason="")
