"""Lipschitz proofs without products, that is LipSDP, checked at order d + r whatever the width.

Without products the slack is an arrow: the pre-activations' absolute values meet only their own partners, so they can
be eliminated by hand. With T = −t ≥ 0 and ``4 α_i β_i = |a_i·z|² − (a_i·z)²`` in ``certificates.lipschitz``'s forms:

* one function:  ``[ L² − ¼ UᵀTU, −w; −wᵀ, 1 − Σ v_i²/T_i ] ⪰ 0`` with ``w = J + ½ Σ v_i U_i``; T_i = 0 needs v_i = 0;
* several:       ``[ L − ¼ UᵀTU, −(J + ½ BᵀU)ᵀ; −(J + ½ BᵀU), L − ¼ BᵀT'B ] ⪰ 0`` and ``T_i T'_i ≥ 4`` for every i.

Both are equivalent to the slack's being positive semidefinite, up to where the form of one function has
``1 = Σ v_i²/T_i``.
"""

from fractions import Fraction

import numpy as np

from certificates.failure import Deadline, require
from certificates.nonnegativity import M, check_structure, leaves_with_signs
from certificates.proof import LiftedProof, Region
from formulations._validation import FloatArray

PART = 256
"""Rows that are weighted at once."""


def rests_on_weights(proof: LiftedProof) -> bool:
    """Whether a proof has one leaf and nothing but complementarity multipliers."""
    sizes = (proof.pairs, proof.empty_support, proof.circuits.target, proof.triangles.neuron)
    return proof.split.shape == (1,) and all(array.size == 0 for array in sizes)


def prove_weights(
    proof: LiftedProof,
    L: Fraction,
    U: FloatArray,
    B: FloatArray | list[Fraction],
    J: M,
    matrix: type[M],
    deadline: Deadline,
) -> None:
    """Check a proof for which ``rests_on_weights`` holds.

    Args:
        proof: nothing in it is trusted.
        L: the constant.
        U: (N, d) rows of the generators.
        B: N exact weights of one function, or (N, r) those of several.
        J: (r, d) fixed part of the gradients.
        matrix: class of the arithmetic.
        deadline: when to give up.

    Raises:
        ProofFailure: the first violated condition.
    """
    N, d = U.shape
    one = isinstance(B, list)
    check_structure(proof, N if one else 2 * N, Region.everywhere(d), order_limit=None)
    for _ in leaves_with_signs(proof, N if one else 2 * N):
        pass
    T = -proof.complementarity[0]
    require((T >= 0).all(), "a complementarity multiplier is positive, and no product makes up for it")
    corner = multiple_of_identity(L * L if one else L, d, matrix) - _quarter_gram(U, T[:N], matrix, deadline)
    if isinstance(B, list):
        weightless = [i for i, (v, t) in enumerate(zip(B, T.tolist(), strict=True)) if v and not t]
        require(not weightless, f"generator {weightless[:1]} has no multiplier")
        shares = {(0, i): v * v / Fraction(t) for i, (v, t) in enumerate(zip(B, T.tolist(), strict=True)) if v}
        ones = matrix.exact(np.ones((N, 1)))
        last = matrix.exact(np.ones((1, 1))) - matrix.from_rationals(shares, (1, N)) @ ones
        cross = matrix.from_rationals({(0, i): v / 2 for i, v in enumerate(B) if v}, (1, N)) @ matrix.exact(U) + J
    else:
        pairs = zip(T[:N].tolist(), T[N:].tolist(), strict=True)
        require(
            all(Fraction(t) * Fraction(other) >= 4 for t, other in pairs),
            "the multipliers of a neuron's two generators have a product below 4",
        )
        r = B.shape[1]
        last = multiple_of_identity(L, r, matrix) - _quarter_gram(B, T[N:], matrix, deadline)
        halves = multiple_of_identity(Fraction(1, 2), r, matrix)
        cross = halves @ (matrix.exact(np.ascontiguousarray(B.T)) @ matrix.exact(U)) + J
    deadline.check()
    outcome = matrix.block([[corner, -cross.T], [-cross, last]]).prove_psd(deadline)
    require(outcome.proved, outcome.reason)


def _quarter_gram(rows: FloatArray, T: FloatArray, matrix: type[M], deadline: Deadline) -> M:
    """``¼ Σ T_i r_i r_iᵀ``, a part of the rows after the other."""
    total = matrix.exact(np.zeros((rows.shape[1], rows.shape[1])))
    for first in range(0, len(rows), PART):
        deadline.check()
        part = np.ascontiguousarray(rows[first : first + PART])
        weighted = matrix.exact(np.diag(T[first : first + PART])) @ matrix.exact(part)
        total = total + matrix.exact(np.ascontiguousarray(part.T)) @ weighted
    return multiple_of_identity(Fraction(1, 4), rows.shape[1], matrix) @ total


def multiple_of_identity(value: Fraction, order: int, matrix: type[M]) -> M:
    """A rational number times the identity."""
    return matrix.from_rationals({(j, j): value for j in range(order)}, (order, order))
