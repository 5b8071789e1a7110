"""The loop of the interior point over 1..L faces: rounds of Newton steps, each followed by more products.

Of the products ``G_pq ≥ 0`` only those that an iterate violates become constraints; the others keep the multiplier 0,
so each dual iterate is one of the full relaxation whatever is still missing. The later rounds go on from the first
iterate with a moderate gap, which is well centred: that halves their Newton steps, while later iterates lie too close
to the boundary for new constraints.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from certnet.runtime.blocks import workers
from certnet.solvers.dual_loss import DualLoss
from certnet.solvers.face_problem import FaceProblem, least_correlation, violated
from certnet.solvers.interface import SolveStatus
from certnet.solvers.iterate import Iterate, Measure, cold_start, extended, measure, warm_start
from certnet.solvers.linear_algebra import is_positive_definite
from certnet.solvers.newton import NewtonSystem

FIRST_GAP = 0.01  # Error at which the first round ends. Measured: 0.005 and 0.02 save one of 26 steps at most.
GAP_REDUCTION = 1e-3  # By how much the next one's is smaller.
PRODUCTS_PER_ORDER = 5  # Products added after a round, by the order of S.
SMALL_TRACE = 1e-3  # Faces whose S is below this part of the mean carry nothing; what they violate is noise.
STEP_FRACTION = 0.95  # Part of the way to the boundary that a step goes. Measured: half of it takes twice the steps.
SHORT_STEP = 1e-2  # A step below this is short.
SHORT_STEPS = 4  # So many short steps end a round.
SMALL_ERROR = 1e-3  # Error below which a round that ends early still counts.
DETERIORATION = 20.0  # Growth of a small error that ends a round.
USABLE_ERROR = 0.05  # Error up to which a round's iterate is the result rather than that of the round before.
LATE_SHIFTS = (0.03, 0.01)  # Shifts of a start next to the end of an earlier round; see ``warm_start``.
SLOWEST = 5.0  # How many times longer than guessed more constraints may be expected to take.

ROUND_STEPS = 25  # Newton steps of a round, for a guess of what it takes before there is one to measure.
SECONDS_PER_CUBE = 2e-11
"""Seconds of a step by the cube of the number of constraints: 1e-11 was measured on two cores, 4e-11 on busy ones."""

USUAL, LATE, COLD = 0, 1, 2
"""Attempts at a round: the usual start, one next to the last round's end, and a central one."""


def round_seconds(constraints: int) -> float:
    """Seconds of a round with so many constraints."""
    return ROUND_STEPS * SECONDS_PER_CUBE * float(constraints) ** 3


def affordable_constraints(seconds: float) -> int:
    """Inverse of ``round_seconds``."""
    return int((seconds / (ROUND_STEPS * SECONDS_PER_CUBE)) ** (1 / 3))


class Rounds:
    """State of a solve. Measures are replaced whole, so an interrupt finds them consistent.

    ``measure`` is the best of this round, ``settled`` the end of the last one, and ``centre`` where later rounds start.
    """

    def __init__(
        self,
        problems: Sequence[FaceProblem],
        loss: DualLoss,
        start: Iterate,
        *,
        look: Callable[["Rounds", Measure], bool],
        late: Callable[[float], bool],
        tolerance: float,
        max_iterations: int,
        max_products: int,
        max_rounds: float = np.inf,
        attempt: int = USUAL,
        feasible: bool = False,
    ) -> None:
        """``look`` sees each measure and may end the solve, ``late`` tells whether so many more seconds are too many.
        A round goes on until its multipliers are strictly ``feasible`` for a caller who does not repair them."""
        self.problems, self.loss, self.look, self.late = problems, loss, look, late
        self.tolerance, self.max_iterations = tolerance, max_iterations
        self.max_products, self.max_rounds = max_products, max_rounds
        self.iterations, self.rounds, self.feasible = 0, 0, feasible
        self.target = max(FIRST_GAP, tolerance)
        self.settled: Measure | None = None
        self.centre: Measure | None = None
        self.last_step = 0.0, 0.0
        self._begin(start, attempt)
        self.measure = measure(problems, loss, start)

    def _begin(self, at: Iterate, attempt: int) -> None:
        self.at, self.attempt = at, attempt
        self.short, self.least = 0, np.inf

    @property
    def reached(self) -> Measure:
        """The best of this round, or while that is far away the end of the round before."""
        return self.measure if self.settled is None or self.least <= USABLE_ERROR else self.settled

    def run(self) -> SolveStatus:
        """Each round ends at its own tolerance and is followed by more products."""
        while True:
            status = self._round()
            if status not in (SolveStatus.CONVERGED, SolveStatus.INACCURATE):
                return status
            if status is SolveStatus.INACCURATE and self.attempt < COLD and not (self.least <= SMALL_ERROR):
                self._try_again()
                continue
            self.rounds += 1
            self.settled = self.measure
            if self.rounds >= self.max_rounds:
                return status
            added = self._add_products()
            if not added and self.target <= self.tolerance:
                least = min(least_correlation(at.moments, at.problem.neurons) for at in self.measure.points)
                return status if least >= -max(self.tolerance, 1e-7) else SolveStatus.INACCURATE
            if not added and status is SolveStatus.INACCURATE:
                return status
            self.target = max(self.target * GAP_REDUCTION, self.tolerance)

    def _round(self) -> SolveStatus:
        """Newton steps until ``target`` is met. INACCURATE when no further progress is possible."""
        while True:
            seen = measure(self.problems, self.loss, self.at)
            self.at = seen.at
            if seen.error < self.least:
                self.measure, self.least = seen, seen.error
            if self.centre is None and seen.is_centre:
                self.centre = seen
            if self.look(self, seen):
                return SolveStatus.STOPPED
            if seen.error <= self.target and (seen.is_dual_feasible or not self.feasible):
                return SolveStatus.CONVERGED
            if self.late(self._expected_seconds()):
                return SolveStatus.TIME_LIMIT
            if self.iterations >= self.max_iterations:
                return SolveStatus.ITERATION_LIMIT
            worse = self.least < SMALL_ERROR and not (seen.error <= DETERIORATION * self.least)
            if self.short >= SHORT_STEPS or worse:
                return SolveStatus.INACCURATE
            begin = time.perf_counter()
            try:
                step = self._step(seen)
            except (np.linalg.LinAlgError, ValueError):
                # scipy raises ValueError for entries that are not finite; the iterate before it is kept.
                return SolveStatus.INACCURATE
            self.last_step = time.perf_counter() - begin, self._guess()
            self.iterations += 1
            self.short = 0 if step > SHORT_STEP else self.short + 1

    def _guess(self) -> float:
        return sum(round_seconds(len(at.y)) for at in self.at.faces) / ROUND_STEPS

    def _expected_seconds(self) -> float:
        """What a Newton step may take: the last one's time, more if there are more constraints."""
        seconds, before = self.last_step
        if not before:
            return self._guess()
        # A short step is mostly overhead, which does not grow with the cube; hence the limit on the rate.
        return seconds + min(seconds / before, SLOWEST) * max(self._guess() - before, 0.0)

    def _step(self, seen: Measure) -> float:
        """Go on to the next iterate; returns how far the way was."""
        with workers(len(self.problems)) as executor:
            system = NewtonSystem(seen, executor)
            direction = system.corrected()
            step = min(1.0, STEP_FRACTION * system.longest(direction))
        at = self.at.moved(step, direction)
        inside = self.loss.gaps(at.W).min(initial=np.inf) > 0
        if not (inside and all(is_positive_definite(face.S) and is_positive_definite(face.M) for face in at.faces)):
            raise np.linalg.LinAlgError("The step left the cone by rounding.")
        self.at = at
        return step

    def _try_again(self) -> None:
        """The start of this round failed: a safer one, next to the last round's end, and at last a central one."""
        known = [(at.p, at.q) for at in self.at.faces]
        self.centre = None
        if self.attempt == USUAL and self.settled is not None:
            # Products that are not the settled iterate's own have the multiplier 0 there.
            starts = [
                warm_start(at.problem, at.at.S, np.pad(at.at.y, (0, len(p) - len(at.at.p))), p, q, LATE_SHIFTS)
                for at, (p, q) in zip(self.settled.points, known, strict=True)
            ]
            faces = [at for at in starts if at is not None]
            if len(faces) == len(starts):
                return self._begin(Iterate.on(self.settled.at.W, self.loss, faces), LATE)
        self._begin(cold_start(self.problems, self.loss, known), COLD)

    def _add_products(self) -> int:
        """Begin the next round with the most violated products of every face that carries something."""
        points = self.measure.points
        mean = sum(float(np.trace(point.at.S)) for point in points) / len(points)
        room, products = self.max_products - sum(len(point.at.p) for point in points), []
        added = 0
        for point in points:
            at, problem = point.at, point.problem
            p, q = at.p, at.q
            if float(np.trace(at.S)) > SMALL_TRACE * mean:
                count = min(max(PRODUCTS_PER_ORDER * problem.order, len(p)), room - added)
                new_p, new_q = violated(point.moments, problem.neurons, (p, q), tolerance=self.tolerance, count=count)
                p, q, added = np.concatenate([p, new_p]), np.concatenate([q, new_q]), added + len(new_p)
            products.append((p, q))
        if not added:
            self._begin(self.at, USUAL if self.centre else COLD)
        elif self.centre is None:
            self._begin(cold_start(self.problems, self.loss, products), COLD)
        else:
            centre = self.centre
            faces = [extended(point, centre.mu, *known) for point, known in zip(centre.points, products, strict=True)]
            self._begin(centre.at._replace(faces=faces), USUAL)
        return added
