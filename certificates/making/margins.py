"""Asking the checker's arithmetic beforehand, for those who look for proofs of robustness."""

import numpy as np

from certificates.arithmetic import BallMatrix, Enclosure
from certificates.arithmetic.matrix import timed
from certificates.certificate import CaseProof
from certificates.failure import NO_DEADLINE, Deadline, ProofFailure
from certificates.linear_leaves import OpenCase
from certificates.nonnegativity import check_triangles, prove_leaf
from certificates.robustness import inequality_table, lifted_cone, margin_form, unstable_bounds
from certificates.work import BALL_ORDER
from formulations.arrays import IntArray
from formulations.network import ReluNetwork
from formulations.robustness import UnsafeCase


def leaf_is_proved(
    network: ReluNetwork,
    case: UnsafeCase,
    given: CaseProof,
    signs: IntArray,
    *,
    in_balls: bool = False,
    deadline: Deadline = NO_DEADLINE,
) -> bool:
    """Whether the checker would accept a proof's first leaf, which is not linear, where neurons have these signs (N,).

    For those who look for proofs: what is asked here beforehand is not refused at the end. ``in_balls`` asks for the
    arithmetic in which a proof is checked again that floating point does not accept, if its order allows. After the
    deadline nothing is proved.
    """
    matrix = timed(BallMatrix if in_balls else Enclosure, deadline)
    try:
        with np.errstate(all="ignore"):
            opened = OpenCase(network, case, given.stable, unstable_bounds(network, case.region, given))
            cone = lifted_cone(opened)
            if in_balls and sum(cone.generators.shape) > BALL_ORDER:
                return False
            check_triangles(given.proof.triangles, cone.bounds)
            form = margin_form(opened, given.mu, given.margin, matrix)
            prove_leaf(cone, form, given.proof, 0, signs, inequality_table(given.proof, cone, matrix), matrix)
    except ProofFailure:
        return False
    return True
