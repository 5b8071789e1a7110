"""The relaxation of training with circuit inequalities: solve, separate, solve again.

The doubly nonnegative relaxation is solved first. Circuits that its moment matrix violates become inequalities, and the
products of these with each other and with all signs are there for the interior point to take. Each solve starts from
the iterates of the one before, with the violated products among its first. In the plane all circuits are known, and one
separation is enough.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from certificates.making.circuits import exact_circuits
from certnet.solvers.interface import Callback, Progress, SolverOptions, SolverResult, SolveStatus
from certnet.solvers.interior_point import InteriorPointSolver
from certnet.solvers.products import violated
from certnet.solvers.warm_start import WarmStart
from formulations import Dual, Presolved, Primal, Program
from formulations._validation import FloatArray, IntArray
from formulations.circuits import CircuitSet, Supports, planar_circuits, violated_circuits
from formulations.errors import InputError

ROUNDS = 8
"""Default limit on rounds of separation."""
CIRCUITS_PER_GENERATOR = 2
"""Circuits that a round may add, for each generator."""
MOST_PER_GENERATOR = 10
"""Circuits that the relaxation may hold, for each generator."""
FIRST_TOLERANCE, COARSE = 1e-2, 1e-3
"""Tolerances of the first solve, and of others after which circuits are separated."""
VIOLATION = 1e-4
"""Violation from which a circuit is added; see ``formulations.circuits.Violated``."""
PRODUCT_VIOLATION = 1e-3
"""Correlation below which a product of the new circuits is among the first of the next solve."""
PRODUCTS_PER_ORDER = 12
"""How many of these, for each row of the face matrix."""
SEED = 1e-5
"""Multiplier with which they begin, as a part of the largest."""
PATIENCE = 2
"""Solves without a multiplier after which a circuit leaves."""
NEGLIGIBLE = 1e-6
"""Multipliers below this part of the largest count as none."""
LEAST_GAIN = 1e-4
"""Relative gain of the bound over a round below which separation ends."""


@dataclass(frozen=True, eq=False)
class CircuitRound:
    """One solve: how many circuits it had, its bound in original units, and what it took."""

    circuits: int
    lower_bound: float
    iterations: int
    seconds: float


@dataclass(frozen=True, eq=False)
class CircuitResult:
    """The relaxation with circuits, and its solution.

    Attributes:
        presolved: with the circuits as inequalities of both programs.
        circuits: over the generators of ``presolved.rows.program``, in the order of the inequalities.
        result: of the solve with the largest bound, in the coordinates of ``presolved.program``.
        lower_bound: this bound in original units, valid up to rounding.
        rounds: one entry for each solve.
    """

    presolved: Presolved
    circuits: CircuitSet
    result: SolverResult
    lower_bound: float
    rounds: tuple[CircuitRound, ...]

    @property
    def dual(self) -> Dual:
        """Its dual in the coordinates of ``presolved.rows.program``, as ``certificates.certify`` takes it."""
        assert self.result.dual is not None  # the interior point always has one
        return self.presolved.undo_dual(self.result.dual)


def solve_with_circuits(
    presolved: Presolved,
    *,
    rounds: int = ROUNDS,
    tolerance: float = 1e-4,
    time_limit: float | None = None,
    enough: float = np.inf,
    warm_start: WarmStart | None = None,
    callback: Callback | None = None,
    tell: Callable[[CircuitRound], None] | None = None,
) -> CircuitResult:
    """Bound the training objective with circuits.

    Args:
        presolved: of the training program; inequalities it has already are replaced.
        rounds: the most separations; 0 solves without circuits.
        tolerance: of the last solve, relative. The relaxation with circuits often has no interior, and then multipliers
            grow without end: small tolerances cost much and make the certificate harder to prove.
        time_limit: seconds for everything, or None.
        enough: bound in original units at which to stop.
        warm_start: iterates without circuits, in the coordinates of ``presolved.program``.
        callback: called during every solve; a true return value ends everything.
        tell: called after every solve.

    Raises:
        InputError: a negative number of rounds, or more targets than the interior point takes.
    """
    if rounds < 0:
        raise InputError(f"the number of rounds must not be negative, and it is {rounds}.")
    run = _Run(presolved, None, tolerance, time_limit, enough, callback, tell)
    run.solve(rounds, warm_start)
    return run.result()


def price_with_circuits(
    presolved: Presolved,
    W: FloatArray,
    *,
    rounds: int = ROUNDS,
    tolerance: float = 1e-4,
    time_limit: float | None = None,
    enough: float = np.inf,
) -> CircuitResult:
    """Bound the price of one W with circuits; the same rounds for the pricing program.

    Args:
        presolved: of the training program; inequalities it has already are replaced.
        W: (f, c), in the coordinates of ``presolved.program``.
        rounds: the most separations.
        tolerance: of the last solve, relative.
        time_limit: seconds for everything, or None.
        enough: price at which to stop.

    Returns:
        The last solve; its ``lower_bound`` is ``−h̄²``, and its ``dual`` has no meaning here.

    Raises:
        InputError: a negative number of rounds, or W does not fit.
    """
    if rounds < 0:
        raise InputError(f"the number of rounds must not be negative, and it is {rounds}.")
    run = _Run(presolved, W, tolerance, time_limit, -(enough**2) if np.isfinite(enough) else np.inf, None, None)
    run.solve(rounds, None)
    return run.result()


class _Run:
    """State of the rounds."""

    def __init__(
        self,
        presolved: Presolved,
        W: FloatArray | None,
        tolerance: float,
        time_limit: float | None,
        enough: float,
        callback: Callback | None,
        tell: Callable[[CircuitRound], None] | None,
    ) -> None:
        self.neurons = presolved.program.space.neurons
        self.circuits = CircuitSet.none(self.neurons)
        self.presolved = presolved.with_inequalities(self.circuits.rows(presolved.rows.program.space.dimension))
        self.W = W
        self.is_planar = presolved.program.space.dimension == 2
        self.age: IntArray = np.zeros(0, dtype=np.int64)
        self.tolerance, self.enough, self.callback, self.tell = tolerance, enough, callback, tell
        self.deadline = None if time_limit is None else time.perf_counter() + time_limit
        self.stopped = False
        self.rounds: list[CircuitRound] = []
        self.best: tuple[Presolved, CircuitSet, SolverResult] | None = None

    def solve(self, rounds: int, start: WarmStart | None) -> None:
        """Solve, separate and solve again until nothing is gained."""
        for left in range(rounds, -1, -1):
            last = not left or (self.is_planar and len(self.circuits) > 0)
            result = self._solve_once(self._tolerance(last), start)
            if last or self._is_over():
                return
            found = self._separate(result)
            if not found:
                if self._tolerance(last) > self.tolerance:
                    self._solve_once(self.tolerance, (result.primal, result.dual))
                return
            start = self._take(result, found)

    @property
    def program(self) -> Program:
        """What is solved: the training program, or the pricing of one W."""
        return self.presolved.program if self.W is None else self.presolved.program.pricing(self.W)

    def _tolerance(self, last: bool) -> float:
        if last:
            return self.tolerance
        return max(COARSE if self.rounds else FIRST_TOLERANCE, self.tolerance)

    def _solve_once(self, tolerance: float, start: WarmStart | None) -> SolverResult:
        begin, program = time.perf_counter(), self.program
        limit = None if self.deadline is None else max(self.deadline - begin, 1e-3)
        options = SolverOptions(tolerance=tolerance, time_limit=limit, callback=self._watch, warm_start=start)
        result = InteriorPointSolver().solve(program, options)
        bound = program.to_original(result.statistics["dual_value"])
        self.stopped = self.stopped or result.status is SolveStatus.INTERRUPTED
        if self.best is None or bound >= max(entry.lower_bound for entry in self.rounds):
            self.best = self.presolved, self.circuits, result
        entry = CircuitRound(len(self.circuits), bound, result.iterations, time.perf_counter() - begin)
        self.rounds.append(entry)
        if self.tell is not None:
            self.tell(entry)
        return result

    def _watch(self, progress: Progress) -> bool:
        if self.callback is not None and self.callback(progress):
            self.stopped = True
        return self.stopped or progress.lower_bound >= self.enough

    def _is_over(self) -> bool:
        """No more time, asked to stop, or no longer worth it."""
        bounds = [entry.lower_bound for entry in self.rounds]
        late = self.deadline is not None and time.perf_counter() >= self.deadline
        gained = len(bounds) < 3 or bounds[-1] - bounds[-3] > LEAST_GAIN * abs(bounds[-1])
        return self.stopped or late or bounds[-1] >= self.enough or not gained

    def _separate(self, result: SolverResult) -> CircuitSet:
        """New circuits that the last moment matrix violates; all of them in the plane."""
        generators = self.presolved.rows.program.space.generators
        known = set(self.circuits.keys)
        if self.is_planar:
            supports: Supports = planar_circuits(self.presolved.program.space.generators)
        else:
            assert result.primal is not None  # the interior point always has one
            room = MOST_PER_GENERATOR * self.neurons - len(self.circuits)
            supports = violated_circuits(
                self.presolved.program.space.generators,
                self.presolved.program.inequality_moments(result.primal.S),
                tolerance=VIOLATION,
                count=max(min(CIRCUITS_PER_GENERATOR * self.neurons, room), 0),
            ).supports
        return exact_circuits(generators, [key for key in supports if key not in known])

    def _take(self, result: SolverResult, found: CircuitSet) -> WarmStart:
        """Put new circuits in and old ones out; returns a start for the next solve."""
        primal, dual = result.primal, result.dual
        assert primal is not None  # the interior point always has both
        assert dual is not None
        N, first = dual.N, 2 * self.neurons
        largest = max(float(N.max(initial=0.0)), 1e-300)
        used = N[first:].max(axis=1, initial=0.0) > NEGLIGIBLE * largest
        age = np.where(used, 0, self.age + 1)
        kept = np.flatnonzero(age < PATIENCE)
        before = len(kept)
        self.circuits = self.circuits.take(kept).joined(found)
        self.age = np.concatenate([age[kept], np.zeros(len(self.circuits) - before, dtype=np.int64)])
        rows = self.circuits.rows(self.presolved.rows.program.space.dimension)
        self.presolved = self.presolved.with_inequalities(rows)
        places = np.concatenate([np.arange(first), first + kept])
        N = np.pad(N[np.ix_(places, places)], (0, len(self.circuits) - before))
        p, q = self._first_products(primal, N)
        N[p, q] = N[q, p] = np.maximum(N[p, q], SEED * largest)
        return primal, Dual(dual.W, N)

    def _first_products(self, primal: Primal, N: FloatArray) -> tuple[IntArray, IntArray]:
        """Products for the next solve to begin with, besides those that have a multiplier."""
        if self.is_planar:
            # Signs are nonnegative combinations of all circuits there, so products of circuits imply all others.
            p, q = np.triu_indices(len(self.circuits), 1)
            return 2 * self.neurons + p, 2 * self.neurons + q
        p, q = np.nonzero(np.triu(N) >= NEGLIGIBLE * max(float(N.max(initial=0.0)), 1e-300))
        moments, count = self.presolved.program.inequality_moments(primal.S), PRODUCTS_PER_ORDER * len(primal.S)
        return violated(moments, self.neurons, (p, q), tolerance=PRODUCT_VIOLATION, count=count)

    def result(self) -> CircuitResult:
        """The best solve."""
        assert self.best is not None  # there has been a solve
        bound = max(entry.lower_bound for entry in self.rounds)
        return CircuitResult(*self.best, bound, tuple(self.rounds))
