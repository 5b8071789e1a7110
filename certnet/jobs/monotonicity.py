"""Whether an output rises, or falls, with an input all over a region.

The slope of output k in x_j is ``S = Σ w_i s_i``, with w_i = V_ki U_ij, where s_i tells whether neuron i is active.
Signs of neurons are split as in a search: with neurons P active and Q inactive, and bounds l_i < 0 < h_i of the others,

    S ≥ Σ_P w_i + Σ_{w_i > 0} w_i (a_i)₊/h_i + Σ_{w_i < 0} w_i (1 − (−a_i)₊/|l_i|),        a = Ux + b,

for (a)₊/h ≤ s ≤ 1 − (−a)₊/|l|. The right-hand side is convex in x and a function of the outputs (a_i)₊ and (−a_i)₊ of a
two-layer network, in which ``(−a_i)₊ ≤ 0`` says that neuron i is active. So each leaf is a case that ``verify`` shows
to be impossible: these signs, and a right-hand side of at most 0. Numbers are rational until they are rounded down.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import linprog

from certificates import Certificate, Verdict
from certificates.failure import Deadline
from certificates.robustness import preactivation_bounds
from certnet.jobs.output_range import together
from certnet.jobs.verify import verify
from certnet.runtime.clock import Clock, Event
from certnet.runtime.display import Result
from certnet.runtime.public import public
from certnet.search.regions import project, pull_inside
from formulations import InputError
from formulations._validation import FloatArray, IntArray
from formulations.arguments import count
from formulations.network import ReluNetwork
from formulations.parallel import ZERO_ROW
from formulations.reduction import reduce_rows
from formulations.robustness import InputRegion, UnsafeCase
from formulations.rounding import below
from formulations.signs import ACTIVE, FREE, INACTIVE

__all__ = ["Monotonicity", "monotonicity"]

SAMPLES = 1000  # Inputs whose slopes are looked at first.


@dataclass(frozen=True, eq=False, repr=False)
class Monotonicity(Result):
    """What is known of an output as a function of one input, the others fixed.

    Attributes:
        verdict: PROVED where it never falls or never rises, REFUTED where it does both, else UNKNOWN.
        direction: "rises" or "falls", not strictly; None where it is neither or unknown.
        reason: one sentence.
        slopes: the least and the largest slope that was met, in floating point.
        rising, falling: (d,) inputs at which the slope is positive and negative, exactly; None unless REFUTED.
        certificate: the proof of the leaves that are not trivial, about the network with outputs (a_i)₊ and (−a_i)₊ of
            the unstable neurons; None where there is none, as where all weights have one sign.
        leaves: how many leaves it took.
        seconds: wall time.
    """

    FIELDS = ("verdict", "reason", "direction", "slopes", "rising", "falling", "leaves", "seconds")

    verdict: Verdict
    direction: str | None
    reason: str
    slopes: tuple[float, float]
    rising: FloatArray | None
    falling: FloatArray | None
    certificate: Certificate | None
    leaves: int
    seconds: float


@public(feature=count, output=count)
def monotonicity(
    network: ReluNetwork,
    region: InputRegion,
    feature: int,
    output: int = 0,
    *,
    time_limit: float | None = None,
    random_state: int = 0,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[Event], None] | None = None,
) -> Monotonicity:
    """Decide whether an output is monotone in one input all over a region.

    Args:
        network: f(x) = V (Ux + b)₊ + b₂.
        region: a box, a ball or both; it is convex, so slopes tell.
        feature, output: numbers of the input and the output.
        time_limit, random_state, provenance, progress: as for ``verify``.

    Raises:
        InputError: an input or output that does not exist, or a region of another size or in which no input was found.
    """
    for name, number, size in (("input", feature, network.inputs), ("output", output, network.outputs)):
        if number >= size:
            raise InputError(f"the network has {name}s 0 to {size - 1}, and there is no {name} {number}.")
    if region.inputs != network.inputs:
        raise InputError(f"the region has {region.inputs} inputs and the network has {network.inputs}; give its kind.")
    clock = Clock(time_limit, progress)
    clock.tell("slopes at samples")
    rng = np.random.default_rng(random_state)
    share = rng.random((SAMPLES, network.inputs))
    share[::2] = np.round(share[::2])
    X = project(region, region.lower + share * (region.upper - region.lower))
    if all(pull_inside(region, x) is None for x in X):
        raise InputError("no input of the region was found; give another one.")
    slopes = (X @ network.hidden.T + network.hidden_bias > 0) @ (network.output[output] * network.hidden[:, feature])
    likely = -1 if slopes.max() <= 0 and slopes.min() < 0 else 1
    met: dict[int, FloatArray | None] = {}
    for sign in (likely, -likely):
        search = _Search(network, region, feature, output, sign, clock, random_state)
        met = met or {one: search.exactly(X[(one * slopes).argmax()], one) for one in (1, -1)}
        if met[-sign] is None:
            met[-sign] = search.run()
        # Else samples had neither sign, and now an input has the less likely one.
        if met[-sign] is None or met[sign] is not None:
            break
    verdict, direction, proof, rising, falling = Verdict.UNKNOWN, None, None, None, None
    if met[1] is not None and met[-1] is not None:
        verdict, reason = Verdict.REFUTED, "the slope is positive at one input and negative at another, exactly"
        rising, falling = met[1], met[-1]
    elif search.proved:
        verdict, (direction, never) = Verdict.PROVED, ("rises", "falls")[:: search.sign]
        reason = f"the output never {never} as the input grows, the others fixed"
        proof = together(search.neurons, search.certificates, provenance)
    elif search.late:
        reason = "the time limit was reached before the sign of all slopes was known"
    else:
        reason = "slopes of either sign are not ruled out where signs of neurons meet"
    ends = (float(slopes.min()), float(slopes.max()))
    return Monotonicity(verdict, direction, reason, ends, rising, falling, proof, search.leaves, clock.seconds)


class _Search:
    """Splits signs of neurons until ``sign·S ≥ 0`` is proved on every leaf, or an input with another slope is found."""

    def __init__(
        self, network: ReluNetwork, region: InputRegion, feature: int, output: int, sign: int, clock: Clock, seed: int
    ) -> None:
        self.network, self.region, self.feature, self.sign, self.clock = network, region, feature, sign, clock
        self.deadline, self.seed, self.certificates = Deadline.after(clock.left()), seed, list[Certificate | None]()
        self.leaves, self.late, self.proved = 0, False, False
        pairs = zip(network.output[output].tolist(), network.hidden[:, feature].tolist(), strict=True)
        self.weights = [sign * Fraction(v) * Fraction(u) for v, u in pairs]
        low, high = preactivation_bounds(network, region, self.deadline)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise InputError("a pre-activation of these inputs overflows; give a smaller region.")
        weighty = np.array([weight != 0 for weight in self.weights], dtype=bool)
        self.base = sum((weight for weight, least in zip(self.weights, low, strict=True) if least >= 0), Fraction(0))
        # Parallel generators change sign together; of opposite ones one neuron is active where the other is not.
        merged = reduce_rows(network.generators, (low < 0) & (high > 0) & weighty)
        total = [Fraction(0)] * len(merged.source)
        for i in np.flatnonzero(merged.generator != ZERO_ROW).tolist():
            opposite = merged.ratio[i] < 0
            self.base += self.weights[i] if opposite else 0
            total[merged.generator[i]] += -self.weights[i] if opposite else self.weights[i]
        kept = {int(i): weight for i, weight in zip(merged.source, total, strict=True) if weight}
        self.free, self.slopes = np.array(list(kept), dtype=np.int64), list(kept.values())
        self.low, self.high = low[self.free], high[self.free]
        self.U, self.b = network.hidden[self.free], network.hidden_bias[self.free]

    @cached_property
    def neurons(self) -> ReluNetwork:
        """The network of outputs (a_i)₊ and (−a_i)₊ of the free neurons."""
        both, k = (np.vstack([self.U, -self.U]), np.append(self.b, -self.b)), len(self.b)
        return ReluNetwork(*both, np.eye(2 * k), np.zeros(2 * k)) if k else self.network

    def run(self) -> FloatArray | None:
        """Search depth first; an input with a slope of the other sign, or None."""
        stack, stuck = [np.full(len(self.free), FREE, dtype=np.int64)], False
        while stack:
            signs = stack.pop()
            if self.least(signs) >= 0:
                self.leaves += 1
                continue
            if self.deadline.passed:
                self.late = True
                return None
            self.clock.tell(f"{self.leaves} leaves are proved, {len(stack) + 1} parts are open")
            case, splits = self.case(signs), (signs == FREE).any()
            value, x = self.relaxed(signs, case)
            if value > 0 or not splits:
                result = verify(self.neurons, [case], time_limit=self.deadline.limit, random_state=self.seed)
                if result.verdict is Verdict.PROVED:
                    self.leaves += 1
                    self.certificates.append(result.certificate)
                    continue
            found = None if x is None else self.exactly(x, -self.sign)
            if found is not None:
                return found
            if not splits:
                # Only where regions of signs meet, or almost.
                stuck = True
                continue
            neuron = np.arange(len(signs)) == self.choose(signs, x)
            stack += [np.where(neuron, side, signs) for side in (ACTIVE, INACTIVE)]
        self.proved = not stuck
        return None

    def least(self, signs: IntArray) -> Fraction:
        """What S is at least, whatever the signs of free neurons are."""
        pairs = zip(self.slopes, signs.tolist(), strict=True)
        return sum((w for w, sign in pairs if sign == ACTIVE or (sign == FREE and w < 0)), self.base)

    def case(self, signs: IntArray) -> UnsafeCase:
        """These signs, and a bound on S that is at most 0."""
        k, constant = len(signs), self.base
        bound, rows = np.zeros(2 * k), []
        for i, (sign, w) in enumerate(zip(signs.tolist(), self.slopes, strict=True)):
            if sign == FREE:
                constant += w if w < 0 else 0
                bound[i if w > 0 else k + i] = below(w / Fraction(float(self.high[i] if w > 0 else self.low[i])))
            else:
                constant += w if sign == ACTIVE else 0
                rows.append(np.arange(2 * k) == (k + i if sign == ACTIVE else i))
        return UnsafeCase(self.region, np.array([bound, *rows]), np.array([below(constant), *np.zeros(len(rows))]))

    def choose(self, signs: IntArray, x: FloatArray | None) -> int:
        """The free neuron whose s the bound misses most at x."""
        w = np.array([float(weight) for weight in self.slopes])
        missed = np.abs(w)
        if x is not None:
            a = self.U @ x + self.b
            assumed = np.where(w > 0, np.maximum(a, 0.0) / self.high, 1.0 - np.maximum(-a, 0.0) / -self.low)
            missed = missed * (1e-6 + np.abs(assumed - (a > 0)))
        return int(np.argmax(np.where(signs == FREE, missed, -1.0)))

    def relaxed(self, signs: IntArray, case: UnsafeCase) -> tuple[float, FloatArray | None]:
        """The least bound on S on the box where neurons have these signs, and a point; infinite where there is none.

        Without a free neuron the bound is the same everywhere, and the point is as far as can be from other signs.
        """
        U, b, k, (cost, *_) = self.U, self.b, len(self.b), case.H
        up, down, fixed = np.flatnonzero(cost[:k] > 0), np.flatnonzero(cost[k:] > 0), np.flatnonzero(signs != FREE)
        hinged, widens = len(up) + len(down), float(len(fixed) == k)
        rows = np.vstack([U[up], -U[down], -signs[fixed, None] * U[fixed]])
        right = np.concatenate([-b[up], b[down], signs[fixed] * b[fixed]])
        room = np.append(np.zeros(hinged), widens * np.linalg.norm(U[fixed], axis=1))
        result = linprog(
            np.concatenate([np.zeros(U.shape[1]), cost[up], cost[k + down], [-widens]]),
            A_ub=np.hstack([rows, -np.eye(len(rows), hinged), room[:, None]]),
            b_ub=right,
            bounds=[*zip(self.region.lower, self.region.upper, strict=True), *[(0.0, None)] * hinged, (0.0, 1.0)],
            method="highs",
            options={"time_limit": self.deadline.left},
        )
        if result.x is None:
            return (math.inf if result.status == 2 else -math.inf), None
        least = float(case.h[0] if widens else result.fun + case.h[0])
        return least, project(self.region, result.x[None, : U.shape[1]])[0]

    def exactly(self, x: FloatArray, sign: int) -> FloatArray | None:
        """A float64 vector of the region near x at which the slope has this sign in rational numbers, or None.

        The slope is that towards the next vector of the region in the input's direction, on either side.
        """
        point = pull_inside(self.region, x)
        if point is None:
            return None
        exact = [Fraction(value) for value in point.tolist()]
        low, high = preactivation_bounds(self.network, InputRegion(point, point), self.deadline)
        for side in (math.inf, -math.inf):
            moved = point.copy()
            moved[self.feature] = np.nextafter(point[self.feature], side)
            if not self.region.contains(moved):
                continue
            slope = Fraction(0)
            for i, w in enumerate(self.weights):
                if low[i] > 0:
                    slope += w
                elif w and not high[i] < 0:
                    row, bias = self.network.hidden[i].tolist(), Fraction(float(self.network.hidden_bias[i]))
                    a = sum((Fraction(u) * value for u, value in zip(row, exact, strict=True)), bias)
                    slope += w if a > 0 or (a == 0 and (row[self.feature] > 0) == (side > 0)) else 0
            if self.sign * sign * slope > 0:
                return point
        return None
