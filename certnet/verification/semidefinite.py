"""The semidefinite relaxation at a node, through the interior point that also bounds training."""

from dataclasses import dataclass

import numpy as np

from certificates.repair import repair_form
from certificates.tree import LeafProof
from certnet.solvers.interface import Progress, SolverOptions
from certnet.solvers.interior_point import InteriorPointSolver
from formulations._validation import FloatArray, IntArray
from formulations.margin import margin_node
from formulations.robustness import MarginProblem

ENOUGH = 1e-5
"""Relative bound from which a node counts as proved; what lies above it is the checker's room."""
NEAR = 1e-4
"""Relative residuals at which a negative objective means that these products will not do."""
TOLERANCE = 1e-6
KEPT = 0.5
"""Part of the bound that is claimed; the other part makes the slack definite."""
LARGEST_ORDER = 1000
"""Order of S up to which the interior point is tried; a step takes about a second there."""


@dataclass(frozen=True, eq=False)
class SemidefiniteBound:
    """What the relaxation of a node tells.

    Attributes:
        leaf: its proof, or None if it has none.
        margin: lower bound δ of ``μᵀ(H f + h)`` that the leaf proves; NaN without one.
        x: (d,) mean input of the moment matrix, a start for an attack.
        scores: (N,) by how much the relaxation errs at each neuron.
    """

    leaf: LeafProof | None
    margin: float
    x: FloatArray
    scores: FloatArray


def affordable(problem: MarginProblem) -> bool:
    """Whether the relaxation is for this problem: a box alone, and not too large."""
    return not problem.case.region.has_ball and problem.neurons + problem.case.region.inputs + 1 <= LARGEST_ORDER


def semidefinite_bound(
    problem: MarginProblem, signs: IntArray, mu: FloatArray, *, time_limit: float | None
) -> SemidefiniteBound:
    """Bound ``μᵀ(H f + h)`` where neurons have these signs; ends as soon as the node is proved or clearly not."""
    node = margin_node(problem, signs, mu)

    def callback(progress: Progress) -> bool:
        if progress.lower_bound > ENOUGH:
            return True
        near = max(progress.primal_residual, progress.dual_residual) < NEAR
        return near and progress.objective < 0

    options = SolverOptions(
        time_limit=time_limit, tolerance=TOLERANCE, callback=callback, warm_start=(None, node.first_dual())
    )
    result = InteriorPointSolver().solve(node.program, options)
    leaf, margin = None, float("nan")
    if result.dual is not None:
        repaired = repair_form(node.program, result.dual, scale_multipliers=False)
        if repaired.delta > 0:
            leaf = LeafProof(*node.lift(problem, repaired.N, repaired.t))
            margin = KEPT * node.scale * repaired.delta
    x, scores = node.middle.copy(), np.zeros(problem.neurons)
    if result.primal is not None:
        f = len(node.free)
        column = result.primal.S[: len(node.program.space.generators) + node.program.space.dimension, :][:, f + node.program.space.dimension - 1]
        if column[-1] > 0:
            moments = node.program.space.expand(column[: f + node.program.space.dimension] / column[-1])
            live = np.flatnonzero(node.width > 0)
            share = np.clip(moments[2 * f : -1], -1.0, 1.0)
            x[live] += node.width[live] * share
            w = mu @ problem.weights[:, node.free]
            size = 1.0 / node.factors[:f]
            product = problem.generators[node.free] @ np.append(x, 1.0)
            scores[node.free] = np.abs(w) * np.abs(size * moments[:f] - np.maximum(product, 0.0))
    return SemidefiniteBound(leaf, margin, np.clip(x, problem.case.region.lower, problem.case.region.upper), scores)
