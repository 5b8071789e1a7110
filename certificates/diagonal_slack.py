"""Checking a proof without products in time linear in the rows: the slack is a diagonal minus a low rank.

A proof of one leaf without products claims, for W̃ = (P, Q) over φ = (α, β), a linear part J, the complementarity
multipliers t = −τ and γ²‖u‖², or any other quadratic form of u in its place,

    F(β, u) = γ²‖u‖² − ‖Pᵀα + Qᵀβ + Ju‖² + Σ τ_i α_i β_i ≥ 0    for all β, u, with α = β + Au.

Put S = P + Q, 2D = (P − Q)ᵀA + 2J and β = b − ½Au. Then Pᵀα + Qᵀβ + Ju = Sᵀb + Du and α_iβ_i = b_i² − ¼(a_i·u)², so

    F = Σ τ_i b_i² + γ²‖u‖² − ¼ Σ τ_i (a_i·u)² − ‖Sᵀb + Du‖².

Let r_i ≥ 1/τ_i > 0 and let M = [[I − Sᵀdiag(r)S, 2D], [2Dᵀ, 4γ²I − Aᵀdiag(τ)A]] be PSD. For any b, u and y = Sᵀb + Du,
M at (y, −½u) gives  2yᵀDu ≤ ‖y‖² − Σ r_i (S_i·y)² + γ²‖u‖² − ¼ Σ τ_i (a_i·u)², and
2 b_i(S_i·y) ≤ τ_i b_i² + (S_i·y)²/τ_i ≤ τ_i b_i² + r_i (S_i·y)². The sum of all has 2‖y‖² on its left, so F ≥ 0.
(With r_i = 1/τ_i the two are equivalent.) Hence the proof needs a test of order c + d alone, and r_i may be rounded up:
no reciprocal enters the formulas, so exact, ball and floating-point arithmetic evaluate the same sums of products, and
charge their rounding as everywhere else.
"""

import numpy as np

from certificates.arithmetic.floating import TINY
from certificates.arithmetic.matrix import M
from certificates.nonnegativity import MAX_ORDER
from certificates.proof import LiftedProof
from formulations.arrays import FloatArray

FEW_OUTPUTS = 64


def is_plain(proof: LiftedProof) -> bool:
    """Whether a proof, whose structure was not looked at yet, has one leaf and no products; it may have σ."""
    others = (proof.pairs, proof.groups, proof.circuits.target, proof.triangles.neuron)
    return proof.leaves == proof.split.size == 1 and not any(array.size for array in others)


def is_diagonal(proof: LiftedProof, outputs: int) -> bool:
    """Whether the check of this module is about this proof, and no larger than that of the whole slack, which has fewer
    rows where there are many more outputs than generators."""
    return is_plain(proof) and outputs <= max(proof.complementarity.size, FEW_OUTPUTS)


def prove_without_products(
    generators: FloatArray, features: M, J: M | None, square: M, t: FloatArray, matrix: type[M]
) -> str | None:
    """What keeps it from proving ``uᵀ square u − ‖W̃ᵀφ + Ju‖² − Σ t_i α_i β_i ≥ 0``, None if nothing does.

    Time O(N(c + d)²), memory O(N(c + d)).

    Args:
        generators: A (N×d), finite.
        features, J, square: W̃ (2N×c), the linear part (c×d) if there is one, and γ²I or the like, in the arithmetic.
        t: (N,) finite multipliers; none may be nonnegative.
        matrix: class of the arithmetic.
    """
    N, d = generators.shape
    c = features.shape[1]
    if not c + d <= MAX_ORDER:
        return f"the proof has order {c + d}, and this checker stops at {MAX_ORDER}"
    tau = -t[:, None]
    with np.errstate(all="ignore"):
        # The next number above the nearest one to 1/τ is larger than 1/τ, if the division does not underflow.
        reciprocal = np.nextafter(1.0 / tau, np.inf)
    sound = (tau > 0) & (reciprocal > 4.0 * TINY) & (reciprocal < np.inf)
    if not sound.all():
        worst = int(np.flatnonzero(~sound)[0])
        return f"the multiplier t_{worst + 1} is {t[worst]:.3e}, out of range"
    columns = np.arange(c)
    P, Q = features.take(np.arange(N), columns), features.take(np.arange(N, 2 * N), columns)
    S, A = P + Q, matrix.exact(generators)
    gram = S.T @ S.times(reciprocal)
    cross = (P - Q).T @ A
    if J is not None:
        cross = cross + (J + J)
    spread = A.T @ A.times(tau)
    twice = square + square
    reduced = matrix.block([[matrix.exact(np.eye(c)) - gram, cross], [cross.T, twice + twice - spread]])
    return reduced.psd_obstacle()
