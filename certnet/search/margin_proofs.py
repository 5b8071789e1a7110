"""Writing bounds down: leaves of a proof from linear and semidefinite multipliers, and the certificate of a case."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from certificates.arithmetic import BallMatrix, Enclosure
from certificates.arithmetic.matrix import timed
from certificates.certificate import CaseProof
from certificates.failure import NO_DEADLINE, Deadline, ProofFailure
from certificates.linear_leaves import LinearLeaves, OpenCase
from certificates.making.tree import LeafProof, Node, build
from certificates.nonnegativity import check_triangles, prove_leaf
from certificates.proof import Triangles
from certificates.robustness import inequality_table, lifted_cone, margin_form, open_bounds, preactivation_bounds
from certificates.work import BALL_ORDER
from certnet.search.linear import LinearBounds
from formulations._validation import FloatArray, IntArray
from formulations.margin import MarginProblem
from formulations.network import ReluNetwork
from formulations.robustness import BOX_ROWS, UnsafeCase

SAFETY = 1e-9
"""Part of a bound, relative to the size of the margin's terms, that is given away to rounding."""
ROUNDING = 1e-13
"""What rounding in floating point changes in a margin, relative to the same size, generously."""
CLAIMED = ((1.0, False), (0.2, False), (1e-3, False), (1.0, True))
"""Parts of the margin of a semidefinite leaf that are claimed, one after the other, and whether balls prove them."""
LARGEST = float(np.finfo(np.float64).max)


def _multipliers(bounds: LinearBounds) -> FloatArray:
    """(B, positions) of every inequality; the other factor is t."""
    t = np.zeros((len(bounds.value), BOX_ROWS))
    return np.hstack([bounds.on_alpha, bounds.on_beta, t, bounds.on_sides, bounds.on_triangle])


def linear_leaf(problem: MarginProblem, bounds: LinearBounds, node: int = 0) -> LeafProof:
    """The leaf that the linear bound of one node proves: every pair has the factor t."""
    N = problem.neurons
    values = _multipliers(bounds)[node]
    others = np.flatnonzero(values > 0)
    t = np.full(len(others), 2 * N)
    pairs = np.stack([np.minimum(t, others), np.maximum(t, others)], axis=1).astype(np.int64)
    return LeafProof(pairs, values[others], np.zeros(N))


def margin_sizes(network: ReluNetwork, cases: Sequence[UnsafeCase]) -> list[float]:
    """For cases of one region the largest sum of the sizes of all terms of a row, before any of them cancel."""
    region = cases[0].region
    reach = np.maximum(np.abs(region.lower), np.abs(region.upper))
    hidden = np.abs(network.hidden) @ reach + np.abs(network.hidden_bias)
    outputs = np.abs(network.output) @ hidden + np.abs(network.output_bias)
    return [float((np.abs(case.H) @ outputs + np.abs(case.h)).max()) for case in cases]


def linear_margins(
    network: ReluNetwork, problem: MarginProblem, signs: IntArray, bounds: LinearBounds, size: float
) -> FloatArray:
    """(B,) margins δ that the checker accepts for the leaves of linear bounds; not above 0 where there is none.

    A bound that is clear of rounding gives a small part of itself away. Of others the checker's own arithmetic tells
    what they prove.

    ``size`` is that of the case, from ``margin_sizes``.
    """
    margins = bounds.value - SAFETY * size
    weights = _multipliers(bounds)
    finite = np.isfinite(size) & np.isfinite(weights).all(axis=1) & np.isfinite(bounds.mu).all(axis=1)
    doubtful = np.flatnonzero(finite & ~(margins > 0) & (bounds.value > -ROUNDING * size))
    if len(doubtful):
        opened = OpenCase(network, problem.case, problem.stable, problem.bounds)
        mu, signs, weights = bounds.mu[doubtful], signs[doubtful], weights[doubtful]
        leaves = LinearLeaves(opened, _triangles(problem), mu, 0.0, signs, weights)
        for node, least in zip(doubtful.tolist(), leaves.remainders(exactly=True), strict=True):
            margins[node] = _rounded_down(least)
    return margins


def _rounded_down(value: Fraction | float) -> float:
    nearest = float(min(max(value, -LARGEST), LARGEST))
    return nearest if nearest <= value else float(np.nextafter(nearest, -np.inf))


@np.errstate(all="ignore")
def semidefinite_margin(
    network: ReluNetwork,
    problem: MarginProblem,
    signs: IntArray,
    leaf: LeafProof,
    mu: FloatArray,
    most: float,
    deadline: Deadline = NO_DEADLINE,
) -> float:
    """The largest of some parts of ``most`` that the checker accepts as the margin of a leaf, or NaN.

    The leaf is not linear. What is asked here beforehand is not refused at the end. Balls prove what floating point
    does not, up to an order.
    After the deadline nothing is proved.
    """
    for part, in_balls in CLAIMED:
        matrix, margin = timed(BallMatrix if in_balls else Enclosure, deadline), part * most
        if not margin > 0:
            continue
        given = case_proof(problem, leaf, [mu], margin)
        try:
            bounds = open_bounds(given, *preactivation_bounds(network, problem.case.region))
            opened = OpenCase(network, problem.case, given.stable, bounds)
            cone = lifted_cone(opened)
            if in_balls and sum(cone.generators.shape) > BALL_ORDER:
                continue
            check_triangles(given.proof.triangles, cone.bounds)
            form = margin_form(opened, given.mu, margin, matrix)
            prove_leaf(cone, form, given.proof, 0, signs, inequality_table(given.proof, cone, matrix), matrix)
        except ProofFailure:
            continue
        return margin
    return float("nan")


def case_proof(problem: MarginProblem, root: Node, mu: list[FloatArray], margin: float) -> CaseProof:
    """The proof of a case from its tree; ``mu`` are the weights of the leaves in preorder, active sides first."""
    N, d = problem.neurons, problem.case.region.inputs
    triangles = _triangles(problem)
    quadratics = 1 if problem.case.region.has_ball else 0
    proof = build(root, N, triangles=triangles, rows=1 + 2 * d, quadratics=quadratics)
    return CaseProof(problem.stable, np.stack(mu), margin, proof, problem.case.rounding)


def _triangles(problem: MarginProblem) -> Triangles:
    """Those of all neurons, with the bounds that the checker computes."""
    return Triangles(np.arange(problem.neurons, dtype=np.int64), problem.bounds.copy())
