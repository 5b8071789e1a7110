"""Rank of the lifted moment matrix, and the points whose lifts it is a sum of.

A solution ``G = Σ_j λ(z_j)λ(z_j)ᵀ`` is a network, and the relaxation is exact. Its rank is at most the number of
points; a rank that a wide gap in the spectrum separates from noise tells how many to look for. An interior point ends
in the middle of the optimal face, so a high rank alone speaks for nothing.
"""

import math
from dataclasses import dataclass

import numpy as np

from certificates.failure import Deadline
from certnet.tightness.factorisation import alternate, improve_points, relative_residual, square_root
from formulations import InputError, LiftedSpace
from formulations._validation import FloatArray, as_matrix

RANK_TOLERANCE = 1e-5
"""Relative size below which an eigenvalue counts as zero."""

SAME_DIRECTION = 1e-7  # Points whose unit vectors are nearer than this are one.
NEGLIGIBLE = 1e-8  # Points below this fraction of the longest are dropped, where that does not hurt.
LARGEST_COUNT = 120  # Points at most that are looked for.
GOOD_ENOUGH = 1e-9  # Residual from which no more points are tried.


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a moment matrix.

    Attributes:
        values: the leading eigenvalues over the largest, in descending order.
        rank: how many exceed ``tolerance`` times the largest.
        gap: the last of those over the next one; inf if there is no next one or it is not positive.
        widest: (position, ratio) of the widest gap among eigenvalues above the square of ``tolerance``: the rank that
            the spectrum itself suggests.
        tolerance: relative size below which an eigenvalue counts as zero.
    """

    values: tuple[float, ...]
    rank: int
    gap: float
    widest: tuple[int, float]
    tolerance: float


def spectrum(G: FloatArray, *, tolerance: float = RANK_TOLERANCE, length: int = 20) -> Spectrum:
    """Numerical rank of a symmetric matrix with its spectrum and the gaps in it; zero has rank 0.

    ``length`` is the number of eigenvalues that are kept.
    """
    G = as_matrix("G", G)
    values = np.linalg.eigvalsh(0.5 * (G + G.T))[::-1]
    if not (values[0] > 0):
        return Spectrum((), 0, math.inf, (0, math.inf), tolerance)
    relative = values / values[0]
    rank = int(np.sum(relative > tolerance))
    floor = np.maximum(relative, tolerance**2)
    ratios = floor[:-1] / floor[1:]
    widest = int(np.argmax(ratios)) if len(ratios) else 0
    after = float(relative[rank]) if rank < len(relative) else 0.0
    return Spectrum(
        values=tuple(float(value) for value in relative[:length]),
        rank=rank,
        gap=float(relative[rank - 1]) / after if after > 0 else math.inf,
        widest=(widest + 1, float(ratios[widest]) if len(ratios) else math.inf),
        tolerance=tolerance,
    )


@dataclass(frozen=True, eq=False)
class Points:
    """Points whose lifts (nearly) sum to a moment matrix.

    Attributes:
        Z: (k, m) points z_j.
        residual: ‖Σ φ(z_j)φ(z_j)ᵀ − G_φφ‖_F/‖G_φφ‖_F, rounded up.
        phi: (2N, m) their activations (α, β), nonnegative.
    """

    Z: FloatArray
    residual: float
    phi: FloatArray


def extract_points(
    space: LiftedSpace,
    G: FloatArray,
    *,
    start: FloatArray | None = None,
    time_limit: float = 10.0,
    random_state: int = 0,
) -> Points:
    """Look for points z_j with ``G_φφ = Σ φ(z_j)φ(z_j)ᵀ``; where that succeeds the relaxation is exact.

    Alternating projections between the factors RQ of G, Q orthogonal, and matrices whose columns are true λ's, then
    descent in the points themselves. Whatever comes out, the residual says what it is worth.

    Args:
        space: lifted space without outputs, of generators A.
        G: (order, order) moment matrix over λ = (φ, z); InputError if it has another order than the space.
        start: (k, m) points to begin with, such as the neurons of a network.
        time_limit, random_state: seconds, about, and seed.
    """
    G = as_matrix("G", G)
    if G.shape != (space.order, space.order) or space.outputs:
        raise InputError(f"G has shape {G.shape}, but the space without outputs has order {space.order}.")
    G = 0.5 * (G + G.T)
    P, A = G[space.phi, space.phi], space.generators
    deadline, rng = Deadline.after(time_limit), np.random.default_rng(random_state)

    def better(Z: FloatArray, factor: float = 1.0) -> Points:
        phi = space.lift(Z)[space.phi]
        found = Points(Z, relative_residual(P, phi), phi)
        return found if found.residual <= factor * best.residual else best

    nothing = np.zeros((space.dimension, 0))
    best = Points(nothing, math.inf, nothing)
    best = better(nothing)
    if start is not None and start.shape[1]:
        best = better(improve_points(A, P, start, deadline=deadline))
    R = square_root(G)
    size = np.sum(R**2, axis=0)
    R = R[:, size > RANK_TOLERANCE * size.max(initial=0.0)]
    rank = R.shape[1]
    for count in sorted({rank, rank + 1, rank + 3, 2 * rank}) if rank else ():
        if best.residual <= GOOD_ENOUGH or deadline.passed or count > LARGEST_COUNT:
            break
        found = alternate(R, count, nearest=lambda columns: space.lift(columns[space.z]), rng=rng, deadline=deadline)
        best = better(improve_points(A, P, found[space.z], deadline=deadline))
    return better(_merged(best.Z), factor=2.0)


def infeasibility(space: LiftedSpace, P: FloatArray) -> float:
    """‖negative and complementary entries of P‖_F/‖P‖_F, for P over φ."""
    crossed = np.eye(len(P), k=space.neurons) + np.eye(len(P), k=-space.neurons) > 0
    wrong = np.where(crossed, P, np.minimum(P, 0.0))
    size = float(np.linalg.norm(P))
    return float(np.linalg.norm(wrong)) / size if size > 0 else 0.0


def _merged(Z: FloatArray) -> FloatArray:
    """Points of one direction as one of the same moment; negligible points are dropped."""
    size = np.linalg.norm(Z, axis=0)
    kept: list[FloatArray] = []
    for j in np.argsort(-size, kind="stable"):
        if not size[j] > NEGLIGIBLE * size.max():
            continue
        for i, z in enumerate(kept):
            length = float(np.linalg.norm(z))
            if np.linalg.norm(z / length - Z[:, j] / size[j]) <= SAME_DIRECTION:
                kept[i] = z / length * math.hypot(length, float(size[j]))
                break
        else:
            kept.append(Z[:, j])
    return np.column_stack(kept) if kept else Z[:, :0]
