"""How far from unsafe a relaxation proves a case to be, without branching: intervals, CROWN, semidefinite."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

import numpy as np

from certificates import Certificate, Report, Robustness, Verdict
from certificates.making.assemble import prove
from certificates.making.tree import LeafProof
from certificates.robustness import preactivation_bounds
from certnet.search.attack import attack
from certnet.search.eliminated import eliminated_bound
from certnet.search.linear import LinearBounds, finish, nodes_of
from certnet.search.margin_proofs import SAFETY, case_proof, linear_leaf
from certnet.search.margin_rows import linear_bounds
from formulations._validation import FloatArray
from formulations.margin import MarginProblem, reduce_cases
from formulations.network import ReluNetwork
from formulations.robustness import UnsafeCase, require_fitting

CONCEDED = (1e-2, 0.1, 0.5)
"""Parts of the room under a semidefinite bound that are given to the slack; the first that the checker accepts is
taken."""


class Relaxation(Enum):
    """From the cheapest to the tightest."""

    INTERVALS = "intervals"
    CROWN = "crown"
    SEMIDEFINITE = "sdp"


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
) -> MarginBound:
    """Bound the least margin of a case by one relaxation.

    For several rows the weights μ are those of the linear relaxation, whichever relaxation is asked for.

    Args:
        network, case: what is bounded.
        relaxation: intervals are chords above and 0 below, with no choice of slopes.

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
        bounds = [_of_linear(network, problem, finish(nodes_of(problem, free, linear.mu), nothing))]
        if relaxation is not Relaxation.INTERVALS:
            bounds.append(_of_linear(network, problem, linear))
        if relaxation is Relaxation.SEMIDEFINITE:
            bounds += _semidefinite(network, problem, linear)
        return max(bounds, key=lambda bound: bound.value)


def _of_linear(network: ReluNetwork, problem: MarginProblem, bound: LinearBounds) -> MarginBound:
    room = rounding_size(problem)
    shifted = _shifted(problem, -float(bound.value[0]) + 2.0 * room)
    return _proved(network, problem.case, shifted, linear_leaf(problem, bound), bound.mu[0], [room])


def _semidefinite(network: ReluNetwork, problem: MarginProblem, linear: LinearBounds) -> Iterator[MarginBound]:
    """Ascend where the least margin is negative, so not until something is proved; then prove a little less."""
    free, mu, case = np.zeros(problem.neurons, dtype=np.int64), linear.mu[0], problem.case
    size = 1e-3 + attack(network, case).margin - float(linear.value[0])
    below = -attack(network, case).margin - 1e-3 * size
    found = eliminated_bound(_shifted(problem, below), free, mu, -size)
    room = 0.01 * size
    shifted = _shifted(problem, below - found.value + room)
    again = eliminated_bound(shifted, free, mu, -size, known=found.known)
    if again.leaf is not None:
        yield _proved(network, case, shifted, again.leaf, mu, [(1.0 - part) * again.value for part in CONCEDED])


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
