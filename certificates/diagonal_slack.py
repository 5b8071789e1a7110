"""Checking a proof without products in time linear in the rows: the slack is a diagonal minus a low rank.

A proof of one leaf whose only multipliers are the complementarity t = −τ claims, for W̃ = (P, Q) over φ = (α, β),

    F(β, u) = γ²‖u‖² − ‖Pᵀα + Qᵀβ‖² + Σ τ_i α_i β_i ≥ 0    for all β, u, with α = β + Au.

Put S = P + Q, 2D = (P − Q)ᵀA and β = b − ½Au. Then Pᵀα + Qᵀβ = Sᵀb + Du and α_iβ_i = b_i² − ¼(a_i·u)², so

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
from certificates.arithmetic.matrix import Arithmetic, PsdProof
from certificates.failure import NO_DEADLINE, Deadline
from certificates.nonnegativity import MAX_ORDER, M
from certificates.proof import LiftedProof
from formulations._validation import FloatArray

_SECONDS = {Arithmetic.EXACT: 2e-7, Arithmetic.BALL: 1e-7, Arithmetic.FLOAT: 2e-8}
"""Measured: seconds for each product of two numbers."""
_BYTES = {Arithmetic.EXACT: 400, Arithmetic.BALL: 400, Arithmetic.FLOAT: 100}
"""Measured: bytes for each entry of the data and the dual."""


def needed(arithmetic: Arithmetic, generators: int, d: int, c: int) -> tuple[float, float]:
    """About the (seconds, bytes) that ``prove_without_products`` takes before the test of order c + d."""
    seconds = _SECONDS[arithmetic] * generators * (c + d + 8) ** 2
    return seconds, _BYTES[arithmetic] * generators * (c + d + 8)


def is_diagonal(proof: LiftedProof, outputs: int) -> bool:
    """Whether the checks of this module are about this proof, whose structure was not looked at yet, and are cheaper:
    with more outputs than generators the whole slack is smaller."""
    others = (proof.pairs, proof.empty_support, proof.circuits.target, proof.triangles.neuron, proof.sigma)
    plain = proof.leaves == len(proof.split) == 1 and not any(array.size for array in others)
    return plain and outputs <= proof.complementarity.size


def prove_without_products(
    generators: FloatArray,
    features: M,
    gamma: float,
    t: FloatArray,
    matrix: type[M],
    deadline: Deadline = NO_DEADLINE,
) -> PsdProof:
    """Try to prove ``γ²‖u‖² − ‖W̃ᵀφ‖² − Σ t_i α_i β_i ≥ 0``; time O(N(c + d)²), memory O(N(c + d)).

    Args:
        generators: A (N×d), finite.
        features: W̃ (2N×c) in the arithmetic.
        gamma: γ.
        t: (N,) finite multipliers; none may be nonnegative.
        matrix: class of the arithmetic.
        deadline: when to give up.
    """
    N, d = generators.shape
    c = features.shape[1]
    if not c + d <= MAX_ORDER:
        return PsdProof.failure(f"the proof has order {c + d}, and this checker stops at {MAX_ORDER}")
    tau = -t
    with np.errstate(all="ignore"):
        # The next number above the nearest one to 1/τ is larger than 1/τ, if the division does not underflow.
        reciprocal = np.nextafter(1.0 / tau, np.inf)
    sound = (tau > 0) & (reciprocal > 4.0 * TINY) & (reciprocal < np.inf)
    if not sound.all():
        worst = int(np.flatnonzero(~sound)[0])
        return PsdProof.failure(f"the multiplier t_{worst + 1} is {t[worst]:.3e}, out of range")
    columns = np.arange(c)
    P, Q = features.take(np.arange(N), columns), features.take(np.arange(N, 2 * N), columns)
    S, A = P + Q, matrix.exact(generators)
    gram = S.T @ S.scale_rows(reciprocal)
    deadline.check()
    cross = (P - Q).T @ A
    deadline.check()
    spread = A.T @ A.scale_rows(tau)
    deadline.check()
    decay = matrix.exact(gamma * np.eye(d))
    decay = decay + decay
    reduced = matrix.block([[matrix.exact(np.eye(c)) - gram, cross], [cross.T, decay @ decay - spread]])
    return reduced.prove_psd(deadline)
