"""Cutting those leaves of a subdivision further that the checker does not accept.

A leaf's matrix may be strictly copositive and yet nearly singular. Then rounding decides whether elimination shows it,
and a search in plain floating point may see it shown where the checker does not. More room does not help: elimination
takes its variables in another order when entries grow. The halves of such a leaf do pass, because the matrix of a small
cone is nearly one positive number.
"""

from dataclasses import replace

import numpy as np

from certificates.arithmetic import Enclosure
from certificates.certificate import Certificate, Training
from certificates.cone_bound import LeafTest
from certificates.failure import NO_DEADLINE, ProofFailure
from certificates.norm_bound import without
from certificates.subdivision import LEAF, Subdivision, check_subdivision, cut, failing_leaves
from certificates.training import check_rows, cost_and_region
from formulations.arrays import FloatArray, IntArray

FAILING_SHARE = 1e-3
"""Part of the leaves up to which they are cut; where more fail, the price that is claimed is too low."""
MOST_CUTS = 8
"""Below a leaf that fails, one after the other."""


@np.errstate(all="ignore")
def mend(certificate: Certificate) -> Certificate | None:
    """A training certificate by subdivision with its failing leaves cut until they pass; None if none fails, too many
    do, there is nothing to cut in one dimension, or it is wrong in itself."""
    statement, training = certificate.statement, certificate.proofs[0]
    proof = training.proof
    assert isinstance(statement, Training)
    assert isinstance(proof, Subdivision)
    failing, most = dict[int, list[int]](), max(int(FAILING_SHARE * proof.leaves), 1)
    try:
        square, quadratics = cost_and_region(statement, training, Enclosure)
        ends = check_subdivision(proof, statement.X.shape[1], len(quadratics))
        generators, kappas = check_rows(statement.X, training.W, training.source, training.generator, NO_DEADLINE)
        features = Enclosure.sparse_product(kappas, 2 * len(generators), Enclosure.exact(training.W))
        test = LeafTest.in_basis(generators, features, without(square, quadratics, proof.sigma), proof.basis)
        for leaf, cone, depth in failing_leaves(test, proof, ends, NO_DEADLINE):
            if len(failing) == most or len(cone) == 1:
                return None
            failing[leaf] = halves(test, cone, depth, MOST_CUTS)
    except ProofFailure:
        return None
    return replace(certificate, proofs=(replace(training, proof=_instead(proof, failing)),)) if failing else None


def halves(test: LeafTest, cone: FloatArray, depth: int, cuts: int) -> list[int]:
    """Codes, in preorder, of a leaf (d, d) that is cut in the middle of its longest edge, and so on where a half fails.

    The longest edge is that between the two columns that are the farthest apart in direction.
    """
    directions = cone / np.linalg.norm(cone, axis=0)
    code = int(np.argmin(directions.T @ directions + 4.0 * np.tri(len(cone))))
    a, b = divmod(code, len(cone))
    codes = [code]
    for half in cut(cone[None], np.array([a]), np.array([b]), np.array([0.5])):
        fails = cuts > 1 and any(True for _ in test.failures(half[0], half, depth + 1, NO_DEADLINE))
        codes += halves(test, half[0], depth + 1, cuts - 1) if fails else [LEAF]
    return codes


def _instead(proof: Subdivision, subtrees: dict[int, list[int]]) -> Subdivision:
    """The subdivision with subtrees whose edges are cut in the middle in place of some leaves, given by node."""
    old, codes, theta = np.full(len(proof.codes), 0.5), list[IntArray](), list[FloatArray]()
    old[proof.codes != LEAF] = proof.positions
    at = 0
    for node in sorted(subtrees):
        subtree = np.array(subtrees[node])
        codes += [proof.codes[at:node], subtree]
        theta += [old[at:node], np.full(len(subtree), 0.5)]
        at = node + 1
    joined = np.concatenate([*codes, proof.codes[at:]])
    return replace(proof, codes=joined, positions=np.concatenate([*theta, old[at:]])[joined != LEAF])
