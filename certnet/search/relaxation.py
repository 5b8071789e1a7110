"""How far from unsafe a relaxation proves a case to be, without branching: intervals, CROWN, semidefinite, circuits.

The verifier asks for the sign of the margin alone. Here the margin itself is bounded, by the value of the form program
normalised by almost ``t² = 1`` (``formulations.margin``); as ``|y_j| ≤ 1``, the rest's share is at most ``EPSILON``.
"""

from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

import numpy as np

from certificates import Certificate, Report, Robustness, Verdict, check
from certificates.making.circuits import exact_circuits
from certificates.making.repair import repair_form
from certificates.making.tree import LeafProof
from certificates.robustness import preactivation_bounds
from certnet.runtime.clock import Clock
from certnet.search.linear import LinearBounds, finish, nodes_of
from certnet.search.margin_proofs import case_proof, linear_leaf, rounding_size
from certnet.search.margin_rows import linear_bounds
from certnet.solvers.interface import SolverOptions
from certnet.solvers.interior_point import InteriorPointSolver
from formulations import Dual, Primal
from formulations._validation import FloatArray
from formulations.circuits import CircuitSet, planar_circuits, violated_circuits
from formulations.margin import MarginNode, MarginProblem, margin_node, reduce_case
from formulations.network import ReluNetwork
from formulations.robustness import UnsafeCase, require_fitting

EPSILON = 1e-6
"""Relative error of the normalisation."""
TOLERANCE = 1e-6
CONCEDED = (1e-7, 1e-5, 1e-3, 0.1)
"""Parts of the value that are given to the slack; the first that lets the checker prove the rest is taken."""
CIRCUIT_ROUNDS = 4
CIRCUITS_PER_GENERATOR = 2
VIOLATION = 1e-4
"""Violation of a circuit, as in ``violated_circuits``, from which it is used."""


class Relaxation(Enum):
    """From the cheapest to the tightest."""

    INTERVALS = "intervals"
    CROWN = "crown"
    SEMIDEFINITE = "sdp"
    CIRCUITS = "circuits"


@dataclass(frozen=True, eq=False)
class MarginBound:
    """A proved lower bound of ``min over x of max_r (H f(x) + h)_r``.

    Attributes:
        value: the bound; −inf if the checker did not accept its proof.
        certificate: the proof, for the case whose constants are shifted so that its margin is positive.
        report: what the checker found.
    """

    value: float
    certificate: Certificate | None
    report: Report | None


def margin_bound(
    network: ReluNetwork,
    case: UnsafeCase,
    relaxation: Relaxation | str = Relaxation.SEMIDEFINITE,
    *,
    time_limit: float | None = None,
) -> MarginBound:
    """Bound the least margin of a case by one relaxation.

    For several rows the weights μ are those of the linear relaxation, whichever relaxation is asked for.

    Args:
        network, case: what is bounded.
        relaxation: intervals are chords above and 0 below, with no choice of slopes.
        time_limit: seconds for the semidefinite ones, or None; the bound of the last shift is then returned.

    Raises:
        InputError: a case about other numbers of inputs or outputs than the network's.
        ValueError: a relaxation that does not exist.
    """
    relaxation = Relaxation(relaxation)
    require_fitting(network, (case,))
    with np.errstate(all="ignore"):
        problem = reduce_case(network, case, *preactivation_bounds(network, case.region))
        free = np.zeros((1, problem.neurons), dtype=np.int64)
        linear = linear_bounds(problem, free, accurate=True)
        nothing = np.zeros((1, problem.neurons))
        intervals = finish(nodes_of(problem, free, linear.mu), nothing, nothing)
        best = _of_linear(network, problem, intervals)
        if relaxation is Relaxation.INTERVALS:
            return best
        best = max(best, _of_linear(network, problem, linear), key=lambda bound: bound.value)
        if relaxation is Relaxation.CROWN:
            return best
        run = _Run(network, problem, linear.mu[0], float(linear.value[0]), Clock(time_limit, None))
        run.solve(CIRCUIT_ROUNDS if relaxation is Relaxation.CIRCUITS else 0)
        return max(best, run.best, key=lambda bound: bound.value)


def _shifted(problem: MarginProblem, shift: float) -> MarginProblem:
    """The problem with ``shift`` added to the constants of all rows."""
    linear = problem.linear.copy()
    linear[:, -1] += shift
    case = replace(problem.case, h=problem.case.h + shift, stated=None)
    return replace(problem, case=case, linear=linear)


def _proved(
    network: ReluNetwork, original: UnsafeCase, problem: MarginProblem, leaf: LeafProof, mu: FloatArray, margin: float
) -> MarginBound:
    """What the checker makes of a leaf for a shifted problem, in terms of the original one; −inf if nothing."""
    proof = case_proof(problem, leaf, [mu], margin)
    certificate = Certificate(Robustness(network, (problem.case,)), (proof,))
    report = check(certificate)
    if report.verdict is not Verdict.PROVED:
        return MarginBound(-np.inf, None, report)
    shifts = zip(problem.case.h.tolist(), original.h.tolist(), strict=True)
    exact = Fraction(report.margin) - max(Fraction(new) - Fraction(old) for new, old in shifts)
    return MarginBound(float(np.nextafter(float(exact), -np.inf)), certificate, report)


def _of_linear(network: ReluNetwork, problem: MarginProblem, bound: LinearBounds) -> MarginBound:
    room = rounding_size(problem)
    shifted = _shifted(problem, -float(bound.value[0]) + 2.0 * room)
    return _proved(network, problem.case, shifted, linear_leaf(problem, bound), bound.mu[0], room)


class _Run:
    """A solve, a claim, violated circuits, and again; ``best`` is what has been proved so far."""

    def __init__(
        self, network: ReluNetwork, problem: MarginProblem, mu: FloatArray, least: float, clock: Clock
    ) -> None:
        self.network, self.original, self.problem, self.mu = network, problem.case, problem, mu
        self.least, self.clock = least, clock
        self.best = MarginBound(-np.inf, None, None)

    def solve(self, rounds: int) -> None:
        """Until the rounds or the time are over, or no circuit is violated."""
        free = np.zeros(self.problem.neurons, dtype=np.int64)
        # The linear bound plus the size of the form: the value is then positive, and not small.
        shift = margin_node(self.problem, free, self.mu).scale - self.least
        for left in range(rounds, -1, -1):
            problem = _shifted(self.problem, shift)
            node = margin_node(problem, free, self.mu, epsilon=EPSILON / self.problem.case.region.inputs)
            start = node.first_dual()
            options = SolverOptions(time_limit=self.clock.left(), tolerance=TOLERANCE, warm_start=(None, start))
            result = InteriorPointSolver().solve(node.program, options).uninterrupted()
            if result.dual is not None:
                self._claim(node, result.dual)
            if not left or self.clock.left() == 0.0 or not self._add_circuits(node, result.primal):
                return

    def _claim(self, node: MarginNode, dual: Dual) -> None:
        """Prove as much of the value as the checker allows."""
        repaired = repair_form(node.program, dual, scale_multipliers=False)
        leaf = LeafProof(*node.lift(repaired.N, repaired.t, repaired.on_equalities))
        for conceded in CONCEDED:
            margin = (1.0 - conceded) * node.scale * repaired.delta
            if not (margin > 0):
                return
            bound = _proved(self.network, self.original, node.problem, leaf, self.mu, margin)
            self.best = max(self.best, bound, key=lambda found: found.value)
            if bound.certificate is not None:
                return

    def _add_circuits(self, node: MarginNode, primal: Primal | None) -> bool:
        """Whether violated circuits were found and added."""
        space, N = node.program.space, self.problem.neurons
        own = self.problem.circuits or CircuitSet.none(N)
        # The coordinate of a ball's slack is in no row.
        rows = space.generators[:, space.generators.any(axis=0)]
        if N < 3 or primal is None:
            return False
        if rows.shape[1] == 2:
            supports = planar_circuits(rows)
        else:
            norm = np.linalg.norm(rows, axis=1)
            size = np.ones(node.program.positions)
            size[: 2 * N] = 1.0 / np.tile(norm, 2)
            moments = node.program.inequality_moments(primal.S) * np.outer(size, size)
            count = CIRCUITS_PER_GENERATOR * N
            supports = violated_circuits(rows / norm[:, None], moments, tolerance=VIOLATION, count=count).supports
        found = own.joined(exact_circuits(self.problem.generators, supports))
        more = len(found) > len(own)
        self.problem = replace(self.problem, circuits=found)
        return more
