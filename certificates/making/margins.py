"""Asking the checker's arithmetic beforehand, for those who look for proofs of robustness."""

import numpy as np

from certificates.arithmetic import BallMatrix, Enclosure
from certificates.arithmetic.matrix import timed
from certificates.certificate import CaseProof
from certificates.failure import NO_DEADLINE, Deadline, ProofFailure
from certificates.nonnegativity import Problem, prove_leaf
from certificates.robustness import inequality_table, lifted_region, margin_form, unstable_neurons
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
    region = lifted_region(case.region)
    try:
        with np.errstate(all="ignore"):
            kept, bounds = unstable_neurons(network, case.region, given.stable)
            if in_balls and len(kept) + network.inputs + 1 > BALL_ORDER:
                return False
            generators = np.ascontiguousarray(network.generators[kept])
            statement = Problem(generators, region, Enclosure.exact(np.zeros((0, 0))), bounds)
            matrix = timed(BallMatrix if in_balls else Enclosure, deadline)
            form = margin_form(network, case, given, 0, kept, matrix)
            table = inequality_table(given.proof, statement, matrix)
            prove_leaf(Problem(generators, region, form, bounds), given.proof, 0, signs, table, matrix)
    except ProofFailure:
        return False
    return True
