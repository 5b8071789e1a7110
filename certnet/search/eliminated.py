"""A semidefinite bound of a node with eliminated inputs (``certnet.search.eliminated_form``).

L-BFGS in the logarithms of the multipliers goes up, with a barrier that is lowered, until the value is positive; every
iterate is a bound. Where that is hopeless the form gets further products once, and then it is left to branching.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from certificates.failure import NO_DEADLINE, Deadline
from certificates.making.tree import LeafProof
from certnet.search.eliminated_form import Form, Known
from certnet.search.regions import project
from formulations._validation import FloatArray, IntArray
from formulations.margin import MarginProblem

KNOWN = 3  # Barriers that are left out where the parent's multipliers are known.
AHEAD = 0.5  # A bound is hopeless if it is negative and would be after a gain of this part of that of the last barrier.
ENOUGH = 1e-3  # Part of the size of a linear bound from which a value counts as positive.
KEPT = 0.5  # Part of the value that is claimed; the other makes the slack definite.


@dataclass(frozen=True)
class Settings:
    """The tuning numbers of this module."""

    barriers: tuple[float, ...] = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
    """Weights of the barrier, relative to the bound that is to be improved. Measured: at the root of the hardest
    784-500-10 box 1.1 CPU s to −0.57, where beginning with 1e-3 it was 2.8 to −0.60."""
    steps: tuple[int, ...] = (20, 20, 20, 40, 60, 80, 100)
    """Steps of L-BFGS with each of them. Measured: at the roots of three random boxes (5 to 8 inputs, 20 to 40 neurons)
    half of them lose 6 to 11 % of the bound, twice as many gain nothing."""
    patience: tuple[int, float] = (20, 0.1)
    """A barrier is lowered early when so many steps gain less than this part of what is missing. Measured: there half
    of both loses 3 to 8 %."""
    pairs: int = 30
    """Pairs of vectors that L-BFGS keeps. Measured: there 15 loses about 1 % twice, and 60 gains nothing."""


SETTINGS = Settings()


@dataclass(frozen=True, eq=False)
class EliminatedBound:
    """What a bound, ``value``, and its multipliers, ``known``, tell of a node.

    Attributes:
        leaf, margin: its proof and what that proves; None and NaN if it has none.
        x: (d,) where the form is least, brought into the region.
        scores: (N,) by how much the relaxation errs at each neuron there, by its complementarity.
    """

    leaf: LeafProof | None
    margin: float
    value: float
    x: FloatArray
    scores: FloatArray
    known: Known


@np.errstate(all="ignore")
def eliminated_bound(
    problem: MarginProblem,
    signs: IntArray,
    mu: FloatArray,
    linear: float,
    *,
    known: Known | None = None,
    deadline: Deadline = NO_DEADLINE,
) -> EliminatedBound:
    """Bound ``μᵀ(H f + h)`` where neurons have these signs (N,), over the region, until it is proved or clearly is not.

    ``linear`` is the linear bound of the node, which is negative; ``known`` are multipliers of its parent.
    """
    form, size = Form(problem, signs, mu), abs(linear)
    bent = form.bent
    if not len(bent):
        # The linear relaxation is exact.
        none = form.known(np.zeros(form.cuts[-1] + form.balls))
        return EliminatedBound(None, float("nan"), linear, problem.middle, np.zeros(problem.neurons), none)
    skipped, (patience, share) = 0 if known is None else KNOWN, SETTINGS.patience
    z, values = form.start(known), [-np.inf]
    extended = len(form.products) > 0
    best, before = (-np.inf, z, np.zeros(len(bent)), np.zeros(len(form.q))), -np.inf
    last = form.total

    def descent(z: FloatArray, barrier: float) -> tuple[float, FloatArray]:
        nonlocal best, last
        found = form.at(z, barrier)
        if found is None or not np.isfinite(found.raised):
            # A little worse than where the line search is, so that its interpolation does not end next to that.
            return last + size, np.zeros(len(z))
        last = -found.raised
        if found.value > best[0]:
            best = found.value, z.copy(), found.a, found.x
        return -found.raised, -found.slopes

    def look(_: FloatArray) -> None:
        values.append(best[0])
        slow = len(values) > patience and best[0] - values[-patience] < -share * best[0]
        if best[0] > ENOUGH * size or deadline.passed or slow:
            raise StopIteration

    for barrier, steps in zip(SETTINGS.barriers[skipped:], SETTINGS.steps[skipped:], strict=True):
        values.clear()
        options = {"maxiter": steps, "maxcor": SETTINGS.pairs, "maxfun": 3 * steps}
        found = minimize(
            descent, z, args=(barrier * size,), jac=True, method="L-BFGS-B", options=options, callback=look
        )
        z = best[1] if len(best[1]) == len(found.x) else found.x
        if best[0] > ENOUGH * size or deadline.passed:
            break
        if best[0] + AHEAD * (best[0] - before) < 0:
            if extended:
                break
            z, extended = form.extended(z, barrier * size), True
            best = -np.inf, z, best[2], best[3]
        before = best[0]
    value, z, a, x = best
    if value > 0 and len(form.products):
        z, value = form.pruned(z, KEPT * value)
    scores = np.zeros(problem.neurons)
    # At the minimum α (α − p) is about 0 on the mean; what the means lack is a covariance, which a split takes away.
    alpha = 0.5 * form.high * (1.0 + a)
    scores[bent] = form.w * np.abs(alpha * (alpha - form.A @ x - form.b)) / form.high
    point = project(problem.case.region, (problem.middle + problem.width * x)[None])[0]
    leaf, margin = (form.leaf(z), KEPT * value) if value > 0 else (None, float("nan"))
    return EliminatedBound(leaf, margin, value, point, scores, form.known(z))
