"""The semidefinite relaxation at a node, through the interior point that also bounds training.

The first solve has 6 products for each neuron and one for each input (``formulations.margin``), which decides most
nodes. Where it does not, the products of inequalities with the most negative moments are added, in the scaled
coordinates as they are: measured on the safeNLP boxes, 600 of them raise the bound as far as thousands chosen by their
correlation. A child begins with its parent's products.
"""

from dataclasses import dataclass

import numpy as np

from certificates.making.repair import repair_form
from certificates.making.tree import LeafProof
from certnet.solvers.interface import Progress, SolverOptions
from certnet.solvers.interior_point import InteriorPointSolver
from formulations import Dual, Primal
from formulations._validation import FloatArray, IntArray
from formulations.margin import MarginNode, MarginProblem, margin_node

ENOUGH = 1e-5
"""Relative bound from which a node counts as proved; what lies above it is the checker's room."""
NEAR = 1e-4
"""Relative residuals at which a negative objective means that these products will not do."""
TOLERANCE = 1e-6
KEPT = 0.5
"""Part of the bound that is claimed; the other part makes the slack definite."""
ADDED = 600
"""Products added after a solve of a node."""
USED = 1e-6
"""Multipliers above this part of the largest keep their products in the children."""
LARGEST_ORDER = 600
"""Order of S up to which the interior point is tried; a step takes about half a second there."""
MOST_INPUTS = 150
"""Inputs up to which it is tried: each repair decomposes more than a hundred matrices of their order."""


@dataclass(frozen=True, eq=False)
class SemidefiniteBound:
    """What the relaxation of a node tells.

    Attributes:
        leaf: its proof, or None if it has none.
        margin: lower bound δ of ``μᵀ(H f + h)`` that the leaf proves; NaN without one.
        value: of the relaxation with these products, about, in its own units: what further ones have to make up for.
        x: (d,) mean input of the moment matrix, a start for an attack.
        scores: (N,) by how much the relaxation errs at each neuron.
        products: (n, 2) products beyond the first ones that are worth keeping, as positions of the whole.
    """

    leaf: LeafProof | None
    margin: float
    value: float
    x: FloatArray
    scores: FloatArray
    products: IntArray


def affordable(problem: MarginProblem) -> bool:
    """Whether the relaxation is for this problem, which must not be too large."""
    inputs = problem.case.region.inputs
    return inputs <= MOST_INPUTS and problem.neurons + inputs < LARGEST_ORDER


def semidefinite_bound(
    problem: MarginProblem,
    signs: IntArray,
    mu: FloatArray,
    *,
    time_limit: float | None,
    products: IntArray | None = None,
) -> SemidefiniteBound:
    """Bound ``μᵀ(H f + h)`` where neurons have these signs; ends as soon as the node is proved or clearly not.

    Args:
        problem, signs, mu: the node.
        time_limit: seconds, or None.
        products: (n, 2) products of the parent, to begin with.
    """
    node = margin_node(problem, signs, mu)

    def callback(progress: Progress) -> bool:
        if progress.lower_bound > ENOUGH:
            return True
        near = max(progress.primal_residual, progress.dual_residual) < NEAR
        return near and progress.objective < 0

    dual = node.first_dual(products)
    options = SolverOptions(time_limit=time_limit, tolerance=TOLERANCE, callback=callback, warm_start=(None, dual))
    result = InteriorPointSolver(max_products=int(np.count_nonzero(dual.N)) // 2).solve(node.program, options)
    result = result.uninterrupted()
    leaf, margin = None, float("nan")
    if result.dual is not None:
        repaired = repair_form(node.program, result.dual, scale_multipliers=False)
        if repaired.delta > 0:
            leaf = LeafProof(*node.lift(repaired.N, repaired.t, repaired.on_equalities))
            margin = KEPT * node.scale * repaired.delta
    kept = _worth_keeping(node, result.primal, result.dual)
    x, scores = _moments(problem, node, mu, result.primal)
    return SemidefiniteBound(leaf, margin, result.objective, x, scores, node.positions[kept])


def _worth_keeping(node: MarginNode, primal: Primal | None, dual: Dual | None) -> IntArray:
    """(n, 2) products of the node: those of the dual beyond the first, and the most violated ones."""
    program = node.program
    neurons, positions = program.space.neurons, program.positions
    known = np.zeros((positions, positions), dtype=bool)
    known[node.first] = True
    index = np.arange(neurons)
    known[index, neurons + index] = True
    chosen = np.zeros((positions, positions), dtype=bool)
    if dual is not None:
        N = np.triu(dual.N, 1)
        chosen |= (USED * max(float(N.max(initial=0.0)), 1e-300) < N) & ~known
    if primal is not None:
        M = program.inequality_moments(primal.S)
        M = np.where(np.triu(np.ones_like(known), 1) & ~known & ~chosen, M, 0.0)
        p, q = np.nonzero(M < 0)
        worst = np.argsort(M[p, q], kind="stable")[:ADDED]
        chosen[p[worst], q[worst]] = True
    return np.argwhere(chosen)


def _moments(
    problem: MarginProblem, node: MarginNode, mu: FloatArray, primal: Primal | None
) -> tuple[FloatArray, FloatArray]:
    """(mean input, scores of all neurons) of a moment matrix."""
    x, scores = problem.middle.copy(), np.zeros(problem.neurons)
    space, region = node.program.space, problem.case.region
    f, last = len(node.free), space.face_order - 1
    if primal is not None and primal.S[last, last] > 0:
        moments = space.expand(primal.S[: last + 1, last] / primal.S[last, last])
        live = np.flatnonzero(problem.width > 0)
        x[live] += problem.width[live] * np.clip(moments[2 * f : 2 * f + len(live)], -1.0, 1.0)
        x = region.project(x[None])[0]
        product = problem.generators[node.free] @ np.append(x, 1.0)
        activation = moments[:f] / node.factors[:f]
        weight = np.abs(mu @ problem.weights[:, node.free])
        scores[node.free] = weight * np.abs(activation - np.maximum(product, 0.0))
    return x, scores
