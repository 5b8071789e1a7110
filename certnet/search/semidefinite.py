"""The semidefinite relaxation at a node, through the interior point that also bounds training.

The first solve has 6 products for each neuron and one for each input (``formulations.margin``), which decides most
nodes. Where it does not, the products of inequalities with the most negative moments are added, in the scaled
coordinates as they are. A child begins with its parent's products.
"""

from dataclasses import dataclass, replace

import numpy as np

from certificates.making.repair import repair_form
from certificates.making.tree import LeafProof
from certnet.search.circuits import PER_GENERATOR, separate
from certnet.search.regions import project
from certnet.solvers.interface import Callback, Progress, SolverOptions, SolverResult
from formulations import Dual, Primal
from formulations._validation import FloatArray, IntArray
from formulations.circuits import CircuitSet
from formulations.margin import MarginNode, MarginProblem, margin_node

NO_PRODUCTS = np.zeros((0, 2), dtype=np.int64)
TOLERANCE, ENOUGH, NEAR = 1e-6, 1e-5, 1e-4
"""Of a solve; relative bound from which a node counts as proved, as what lies above is the checker's room; relative
residuals at which a negative objective means that these products will not do."""
KEPT, USED = 0.5, 1e-6
"""Part of the bound that is claimed, the other makes the slack definite; part of the largest multiplier above which
products are kept."""
LARGEST_ORDER, MOST_INPUTS = 600, 150
"""Order of S and inputs up to which a node is relaxed: a step takes about half a second there, and each repair
decomposes more than a hundred matrices of the order of the inputs."""
ADDED = 600
"""Products added after a solve of a node. Measured: on the safeNLP boxes these raise the bound as far as thousands that
are chosen by their correlation."""


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


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A solved relaxation; ``leaf`` proves that the form is at least ``value`` > 0, or is None."""

    node: MarginNode
    result: SolverResult
    leaf: LeafProof | None
    value: float


def affordable(problem: MarginProblem) -> bool:
    """Whether the relaxation is for this problem, which must not be too large."""
    inputs = problem.case.region.inputs
    return inputs <= MOST_INPUTS and problem.neurons + inputs < LARGEST_ORDER


def relax(
    problem: MarginProblem,
    signs: IntArray,
    mu: FloatArray,
    *,
    time_limit: float | None,
    products: IntArray | None = None,
    callback: Callback | None = None,
    epsilon: float = 1.0,
) -> Relaxed:
    """Solve the relaxation of a node, and repair its dual.

    Args:
        problem, signs, mu: the node.
        time_limit: seconds, or None.
        products: (n, 2) products to begin with, besides the first ones; with them no others are taken.
        callback: as in ``SolverOptions``.
        epsilon: of the normalisation, see ``formulations.margin``.

    Raises:
        KeyboardInterrupt: during the solve.
    """
    from certnet.solvers.interior_point import MAX_PRODUCTS, interior_point  # imports much, and most boxes do without

    node = margin_node(problem, signs, mu, epsilon=epsilon)
    dual = node.first_dual(products)
    options = SolverOptions(time_limit=time_limit, tolerance=TOLERANCE, callback=callback, warm_start=(None, dual))
    most = MAX_PRODUCTS if products is None else int(np.count_nonzero(dual.N)) // 2
    result = interior_point(node.program, options, max_products=most).uninterrupted()
    if result.dual is not None:
        repaired = repair_form(node.program, result.dual, scale_multipliers=False)
        if repaired.delta > 0:
            leaf = LeafProof(*node.lift(repaired.N, repaired.t, repaired.on_equalities))
            return Relaxed(node, result, leaf, node.scale * repaired.delta)
    return Relaxed(node, result, None, -np.inf)


def separated(problem: MarginProblem, found: Relaxed) -> MarginProblem:
    """The problem with the circuits that a relaxation with free signs violates besides its own; itself without any."""
    if found.result.primal is None:
        return problem
    known, program = problem.circuits or CircuitSet.none(problem.neurons), found.node.program
    moments = program.inequality_moments(found.result.primal.S)
    more = separate(program, moments, problem.generators, known, PER_GENERATOR * problem.neurons)
    return replace(problem, circuits=known.joined(more)) if len(more) else problem


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

    def decided(progress: Progress) -> bool:
        near = max(progress.primal_residual, progress.dual_residual) < NEAR
        return progress.lower_bound > ENOUGH or (near and progress.objective < 0)

    products = NO_PRODUCTS if products is None else products
    found = relax(problem, signs, mu, time_limit=time_limit, products=products, callback=decided)
    margin = float("nan") if found.leaf is None else KEPT * found.value
    kept = _worth_keeping(found.node, found.result.primal, found.result.dual)
    x, scores = _moments(problem, found.node, mu, found.result.primal)
    return SemidefiniteBound(found.leaf, margin, found.result.objective, x, scores, found.node.positions[kept])


def _worth_keeping(node: MarginNode, primal: Primal | None, dual: Dual | None) -> IntArray:
    """(n, 2) products of the node: those of the dual beyond the first, and the most violated ones."""
    neurons, index = node.program.space.neurons, np.arange(node.program.space.neurons)
    other = np.triu(np.ones((node.program.positions, node.program.positions), dtype=bool), 1)
    other[node.first] = other[index, neurons + index] = False
    chosen = np.zeros_like(other)
    if dual is not None:
        chosen = other & (USED * max(float(np.triu(dual.N, 1).max(initial=0.0)), 1e-300) < dual.N)
    if primal is not None:
        p, q = np.nonzero(other & ~chosen & ((moments := node.program.inequality_moments(primal.S)) < 0))
        worst = np.argsort(moments[p, q], kind="stable")[:ADDED]
        chosen[p[worst], q[worst]] = True
    return np.argwhere(chosen)


def _moments(
    problem: MarginProblem, node: MarginNode, mu: FloatArray, primal: Primal | None
) -> tuple[FloatArray, FloatArray]:
    """(mean input, scores of all neurons) of a moment matrix."""
    x, scores = problem.middle.copy(), np.zeros(problem.neurons)
    space, f, last = node.program.space, len(node.free), node.program.space.face_order - 1
    if primal is not None and primal.S[last, last] > 0:
        moments = space.expand(primal.S[: last + 1, last] / primal.S[last, last])
        live = np.flatnonzero(problem.width > 0)
        x[live] += problem.width[live] * np.clip(moments[2 * f : 2 * f + len(live)], -1.0, 1.0)
        x = project(problem.case.region, x[None])[0]
        product = problem.generators[node.free] @ np.append(x, 1.0)
        weight = np.abs(mu @ problem.weights[:, node.free])
        scores[node.free] = weight * np.abs(moments[:f] / node.factors[:f] - np.maximum(product, 0.0))
    return x, scores
