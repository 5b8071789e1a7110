"""How far from unsafe a relaxation proves a case to be, without branching: intervals, CROWN, semidefinite, circuits.

The verifier asks for the sign of the margin alone. Here the margin itself is bounded, by the value of the form program
normalised by almost ``t² = 1`` (``formulations.margin``); as ``|y_j| ≤ 1``, the rest's share is at most ``EPSILON``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

import numpy as np

from certificates import Certificate, Report, Robustness, Verdict
from certificates.making.assemble import prove
from certificates.making.tree import LeafProof
from certificates.robustness import preactivation_bounds
from certnet.runtime.clock import Clock
from certnet.search.linear import LinearBounds, finish, nodes_of
from certnet.search.margin_proofs import SAFETY, case_proof, linear_leaf
from certnet.search.margin_rows import linear_bounds
from certnet.search.semidefinite import relax, separated
from formulations._validation import FloatArray
from formulations.margin import MarginProblem, margin_node, reduce_cases
from formulations.network import ReluNetwork
from formulations.robustness import UnsafeCase, require_fitting

EPSILON = 1e-6
"""Relative error of the normalisation."""
CONCEDED = (1e-7, 1e-5, 1e-3, 0.1)
"""Parts of the value that are given to the slack; the first that lets the checker prove the rest is taken."""
CIRCUIT_ROUNDS = 4


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


def reduce_case(network: ReluNetwork, case: UnsafeCase, lower: FloatArray, upper: FloatArray) -> MarginProblem:
    """``reduce_cases`` for one case."""
    return reduce_cases(network, (case,), lower, upper)[0]


def rounding_size(problem: MarginProblem) -> float:
    """What rounding in a linear bound can be at most, generously."""
    region = problem.case.region
    reach = np.append(np.maximum(np.abs(region.lower), np.abs(region.upper)), 1.0)
    neurons = np.abs(problem.weights) @ (np.abs(problem.generators) @ reach)
    return SAFETY * float((np.abs(problem.linear) @ reach + neurons).max())


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
        bounds = [_of_linear(network, problem, finish(nodes_of(problem, free, linear.mu), nothing, nothing))]
        if relaxation is not Relaxation.INTERVALS:
            bounds.append(_of_linear(network, problem, linear))
        if relaxation in (Relaxation.SEMIDEFINITE, Relaxation.CIRCUITS):
            rounds = CIRCUIT_ROUNDS if relaxation is Relaxation.CIRCUITS else 0
            bounds += _semidefinite(network, problem, linear, rounds, Clock(time_limit, None))
        return max(bounds, key=lambda bound: bound.value)


def _of_linear(network: ReluNetwork, problem: MarginProblem, bound: LinearBounds) -> MarginBound:
    room = rounding_size(problem)
    shifted = _shifted(problem, -float(bound.value[0]) + 2.0 * room)
    return _proved(network, problem.case, shifted, linear_leaf(problem, bound), bound.mu[0], [room])


def _semidefinite(
    network: ReluNetwork, problem: MarginProblem, linear: LinearBounds, rounds: int, clock: Clock
) -> Iterator[MarginBound]:
    """Solve, claim, add violated circuits, and again until the rounds or the time are over, or none is violated."""
    free, mu, case = np.zeros(problem.neurons, dtype=np.int64), linear.mu[0], problem.case
    # The linear bound plus the size of the form: the value is then positive, and not small.
    shift = margin_node(problem, free, mu).scale - float(linear.value[0])
    for left in range(rounds, -1, -1):
        shifted = _shifted(problem, shift)
        found = relax(shifted, free, mu, time_limit=clock.left(), epsilon=EPSILON / case.region.inputs)
        if found.leaf is not None:
            yield _proved(network, case, shifted, found.leaf, mu, [(1.0 - part) * found.value for part in CONCEDED])
        before, problem = problem, separated(problem, found) if left and clock.left() != 0.0 else problem
        if problem is before:
            return


def _shifted(problem: MarginProblem, shift: float) -> MarginProblem:
    """The problem with ``shift`` added to the constants of all rows."""
    linear = problem.linear.copy()
    linear[:, -1] += shift
    case = replace(problem.case, h=problem.case.h + shift, stated=None)
    return replace(problem, case=case, linear=linear)


def _proved(
    network: ReluNetwork,
    original: UnsafeCase,
    problem: MarginProblem,
    leaf: LeafProof,
    mu: FloatArray,
    margins: Sequence[float],
) -> MarginBound:
    """What the checker makes of a leaf for a shifted problem, in terms of the original one; −inf if nothing."""
    certificate, report = prove(
        Certificate(Robustness(network, (problem.case,)), (case_proof(problem, leaf, [mu], margin),))
        for margin in margins
    )
    if report.verdict is not Verdict.PROVED:
        return MarginBound(-np.inf, None, report)
    shifts = zip(problem.case.h.tolist(), original.h.tolist(), strict=True)
    exact = Fraction(report.margin) - max(Fraction(new) - Fraction(old) for new, old in shifts)
    return MarginBound(float(np.nextafter(float(exact), -np.inf)), certificate, report)
