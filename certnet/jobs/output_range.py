"""The range of functions of the outputs over a region, between bounds that are proved and values that are attained.

That ``c·f > τ`` all over the region is a property of one case, which ``verify`` decides. So a minimum is found as a
radius is: a threshold is proved, refuted by an input with a smaller value, or gone round. The first threshold lies the
tolerance below the least value that an attack met, and mostly this is the last one too.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from certificates import Certificate, Robustness, Verdict
from certificates.failure import Deadline
from certificates.findings import figures, finite
from certificates.robustness import LARGEST
from certnet.jobs.radius import between
from certnet.jobs.verify import verify
from certnet.runtime.clock import Clock, Event
from certnet.runtime.display import Result
from certnet.runtime.public import public
from certnet.runtime.wording import down, up
from certnet.search.attack import attack, attack_all
from certnet.search.counterexample import exact_fields, exact_outputs
from certnet.search.margin_proofs import SAFETY, margin_sizes
from certnet.search.regions import exact_point, pull_inside
from formulations import InputError
from formulations._validation import FloatArray, as_positive
from formulations.arguments import array
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase, require_fitting
from formulations.rounding import above, exact_array

__all__ = ["Extremum", "FunctionRange", "OutputRange", "output_range"]

STEPS = 60  # Thresholds that are tried for one minimum at most.
# Part of the time that is left which one threshold may take; what its search reached is proved by another one that
# takes no longer.
SHARE = 0.4
SIDE = 0.25  # Part of the tolerance to which the search comes near an undecided threshold.
WORTH = 0.05  # Part of what is open by which a bound that was reached must be better, to be proved.
ROOM = 4.0  # What is given away to rounding, in units of what a linear bound gives away.


@dataclass(frozen=True, eq=False)
class Extremum:
    """A minimum lies in ``[proved, attained]``, a maximum in ``[attained, proved]``.

    Attributes:
        proved: infinite without a proof.
        attained: the value at ``x``, from rational arithmetic, rounded away from ``proved``.
        x: (d,) an input of the region, or rational numbers where no float64 vector is it.
    """

    proved: float
    attained: float
    x: FloatArray | tuple[Fraction, ...]

    def to_dict(self) -> dict[str, Any]:
        """What JSON says of it."""
        return {"proved": finite(self.proved), "attained": self.attained, "x": exact_fields(self.x)}


@dataclass(frozen=True, eq=False)
class FunctionRange:
    """Minimum and maximum of one function; ``open`` where one is not known up to the tolerance or rounding."""

    minimum: Extremum
    maximum: Extremum
    open: bool

    @property
    def verdict(self) -> Verdict:
        """PROVED where there are bounds on either side, else UNKNOWN."""
        return Verdict.PROVED if np.isfinite([self.minimum.proved, self.maximum.proved]).all() else Verdict.UNKNOWN

    def to_dict(self) -> dict[str, Any]:
        """What JSON says of it."""
        ends = {"minimum": self.minimum.to_dict(), "maximum": self.maximum.to_dict()}
        return {**figures(self, "verdict", "open"), **ends}

    def __str__(self) -> str:
        low, high = self.minimum, self.maximum
        least, most = f"[{down(low.proved)}, {up(low.attained)}]", f"[{down(high.attained)}, {up(high.proved)}]"
        return f"minimum in {least}, maximum in {most}{'; open' if self.open else ''}"


@dataclass(frozen=True, eq=False, repr=False)
class OutputRange(Result):
    """What is known of functions of the outputs.

    Attributes:
        results: for each function.
        certificate: the checked proof of all bounds; it says of each function that values up to ``minimum.proved`` and
            from ``maximum.proved`` on are impossible. None without a proof.
        seconds: wall time.
    """

    FIELDS = ("verdict", "reason", "seconds")

    results: tuple[FunctionRange, ...]
    certificate: Certificate | None
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """PROVED where all functions have bounds on either side, else UNKNOWN."""
        return Verdict.PROVED if all(one.verdict is Verdict.PROVED for one in self.results) else Verdict.UNKNOWN

    @property
    def reason(self) -> str:
        """One sentence."""
        unknown = sum(one.verdict is Verdict.UNKNOWN for one in self.results)
        return said(len(self.results), unknown, sum(one.open for one in self.results))

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "results": [one.to_dict() for one in self.results]}


@public(C=array)
def output_range(
    network: ReluNetwork,
    region: InputRegion,
    C: ArrayLike | None = None,
    *,
    tolerance: float = 1e-3,
    time_limit: float | None = None,
    random_state: int = 0,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[Event], None] | None = None,
) -> OutputRange:
    """Bound the minimum and the maximum of functions ``c·f(x)`` over a region, from both sides.

    Args:
        network: f(x) = V (Ux + b)₊ + b₂.
        region: a box, a ball or both.
        C: (outputs,) or (r, outputs) the functions; by default each output by itself.
        tolerance: how far proved and attained values may be apart, relative to the function's range.
        time_limit: seconds for all together, or None for as long as it takes to be exact up to the tolerance.
        random_state, provenance, progress: as for ``verify``.

    Raises:
        InputError: functions or a region of other sizes than the network's, a tolerance that is not positive, or a
            region in which no input was found.
    """
    as_positive("tolerance", tolerance)
    rows = np.eye(network.outputs) if C is None else np.atleast_2d(exact_array("C", C, np.ndim(C)))
    signed = [UnsafeCase(region, sign * row[None], np.zeros(1)) for row in rows for sign in (1.0, -1.0)]
    require_fitting(network, signed)
    clock = Clock(time_limit, progress)
    clock.tell("attacks")
    slacks = [max(ROOM * SAFETY * size, math.ulp(0.0)) for size in margin_sizes(network, signed)]
    searches = [Least(network, case, random_state, slack) for case, slack in zip(signed, slacks, strict=True)]
    rng, deadline = np.random.default_rng(random_state), Deadline.after(clock.left())
    for search, found in zip(searches, attack_all(network, signed, rng=rng, deadline=deadline), strict=True):
        search.meet(found.X)
    for _ in range(1 if time_limit is None else 2):
        # What some leave of their time the others have, once.
        waiting = [(number, search) for number, search in enumerate(searches) if search.open]
        for done, (number, search) in enumerate(waiting):
            # Of -c·f the least value is that of c·f with the other sign.
            span = -search.attained - searches[number ^ 1].attained
            gap = max(tolerance * max(span, 0.0), 2.0 * search.slack)
            clock.tell(f"function {number // 2 + 1} of {len(rows)}, {'maximum' if number % 2 else 'minimum'}")
            search.run(gap, Deadline.after(clock.left(1.0 / (len(waiting) - done))))
    pairs = zip(searches[::2], searches[1::2], strict=True)
    results = tuple(FunctionRange(low.extremum(1.0), high.extremum(-1.0), low.open or high.open) for low, high in pairs)
    certificates = [search.certificate for search in searches]
    return OutputRange(results, together(network, certificates, provenance), clock.seconds)


def said(functions: int, unknown: int, wide: int) -> str:
    """What is known of so many functions, of which some have no bounds and some are open."""
    if unknown:
        return f"{unknown} of {functions} functions have no proved bounds"
    return (
        f"all bounds are proved, and {functions - wide} of {functions} ranges are known up to the tolerance or rounding"
    )


def together(
    network: ReluNetwork, certificates: Sequence[Certificate | None], provenance: Mapping[str, Any] | None
) -> Certificate | None:
    """One certificate of what certificates of ``verify`` about a network prove, which were checked one by one."""
    known = [one for one in certificates if one is not None]
    proofs = tuple(proof for one in known for proof in one.proofs)
    statement = Robustness(network, tuple(case for one in known for case in one.cases))
    return Certificate(statement, proofs, provenance=dict(provenance or {})) if known else None


@dataclass(eq=False)
class Least:
    """What is known of the least value of the only row of a case: above ``proved``, and ``attained``.

    Attributes:
        slack: what is given away to rounding.
        x: where it is attained.
        certificate: that no value is ``proved`` or less.
        reached: a threshold that a search came to, in floating point; worth a proof where it lies above ``proved``.
        undecided: the least threshold that was tried in vain.
        open: whether the two values are further apart than was asked for.
    """

    network: ReluNetwork
    case: UnsafeCase
    random_state: int
    slack: float
    proved: float = -math.inf
    attained: float = math.inf
    x: FloatArray | tuple[Fraction, ...] | None = None
    certificate: Certificate | None = None
    reached: float = -math.inf
    undecided: float = math.inf
    open: bool = True

    def extremum(self, sign: float) -> Extremum:
        """Of the function itself, or with sign −1 of the one whose negative this is."""
        if self.x is None:
            raise InputError("no input of the region with values in the range of float64 was found; give another one.")
        return Extremum(sign * self.proved + 0.0, sign * self.attained + 0.0, self.x)

    def meet(self, X: FloatArray) -> None:
        """Take note of the value at the first of the inputs X (n×d), or at one of the region near it."""
        points = (near(self.case.region, x) for x in X[:1] for near in (pull_inside, exact_point))
        for point in (point for point in points if point is not None):
            y = exact_outputs(self.network, point)
            exact = sum((weight * y[j] for j, weight in self.case.rows[0].weights), Fraction(0))
            # Values beyond float64 are none that could be told.
            if abs(exact) < LARGEST and (value := above(exact)) < self.attained:
                self.attained, self.x = value, point

    def run(self, gap: float, deadline: Deadline) -> None:
        """Narrow the two values down to the gap, until the deadline."""
        if not math.isfinite(self.attained - gap):
            return
        before = math.inf
        while self.certificate is None and self.reached == -math.inf and self.attained < before:
            # The cheapest bound first, so that there is one at the end.
            before = self.attained
            self.decide(before - gap, 0.0)
        self.undecided = math.inf
        for _ in range(STEPS):
            threshold, left = self._following(gap), deadline.left
            # A bound that was reached already has all the time to be proved, and the first one is in any case.
            if threshold is None or (left <= 0 and not (threshold <= self.reached and self.proved == -math.inf)):
                break
            share = 1.0 if threshold <= self.reached else SHARE
            self.decide(threshold, share * left if left < math.inf else None)
        self.open = not (self.proved >= self.attained - gap)

    def _following(self, gap: float) -> float | None:
        """The threshold to try next; None where the search has come to its end."""
        best, much = self.attained - gap, self.attained - self.proved
        if self.proved >= best:
            return None
        if self.proved == -math.inf or self.reached - self.proved > WORTH * much:
            return min(self.reached, best) if self.reached > -math.inf else None
        if best < self.undecided:
            return best
        if not self.undecided - self.proved > SIDE * gap:
            return None
        return self.attained - between(self.attained - self.undecided, much, much)

    def decide(self, threshold: float, time_limit: float | None) -> None:
        """Try to prove that the value is above a threshold."""
        case = UnsafeCase(self.case.region, self.case.H, np.array([-threshold]))
        result = verify(self.network, [case], time_limit=time_limit, random_state=self.random_state)
        if result.verdict is Verdict.PROVED:
            self.proved, self.certificate = threshold, result.certificate
        elif result.counterexample is not None:
            found = result.counterexample.x[None]
            self.meet(found)
            # The attack of a verification ends at the first unsafe input.
            self.meet(attack(self.network, self.case, starts=1, first=found).X)
        else:
            self.undecided = min(self.undecided, threshold)
            if threshold <= self.reached:
                # What rounding took was more than was given to it.
                self.slack *= 16.0
                self.reached = threshold - self.slack
            else:
                self.reached = max(self.reached, threshold + result.lower_bound - self.slack)
