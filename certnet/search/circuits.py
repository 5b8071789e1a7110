"""Circuit inequalities for a relaxation: solve, separate, solve again.

The doubly nonnegative relaxation is solved first. Circuits that its moment matrix violates become inequalities, and the
products of these with each other and with all signs are there for the interior point to take. Each solve starts from
the iterates of the one before, with the violated products among its first. In the plane all circuits are known, and one
separation is enough. Circuits of the whole are circuits of every node of a search: ``restrict`` takes them over.
"""

from dataclasses import dataclass, replace

import numpy as np

from certificates.combination import nonnegative_combination
from certificates.failure import ProofFailure
from certnet.search.best_first import Budget
from certnet.solvers.interface import Progress, SolverOptions, SolverResult, WarmStart
from formulations import Dual, Presolved, Primal, Program
from formulations._validation import FloatArray, IntArray
from formulations.circuits import CircuitSet, Supports, planar_circuits, signed_rows, violated_circuits
from formulations.errors import InputError

ROUNDS = 8
"""Default limit on rounds of separation."""


FIRST_TOLERANCE, COARSE = 1e-2, 1e-3
"""Of the first solve, and of others after which circuits are separated."""
PER_GENERATOR, MOST_PER_GENERATOR, PATIENCE = 2, 10, 2
"""Circuits that a round may add and that the relaxation may hold, for each generator; solves without a multiplier after
which a circuit leaves."""
VIOLATION, PRODUCT_VIOLATION = 1e-4, 1e-3
"""From which a circuit is added (``formulations.circuits.violated_circuits``), and correlation from which a product of
circuits is among the first of the next solve: ``PRODUCTS_PER_ORDER`` for each row of the face matrix."""
PRODUCTS_PER_ORDER, SEED, NEGLIGIBLE = 12, 1e-5, 1e-6
"""They begin with ``SEED`` times the largest multiplier; those below ``NEGLIGIBLE`` times it count as none."""
MOST_PROGRAMS, PROGRAM_WORK = 20_000, 5_000_000
"""Linear programs of a separation, at most, and multiplications of one of their pivots."""
LEAST_GAIN = 1e-4
"""Relative gain of the bound over two rounds below which separation ends."""


@dataclass(frozen=True, eq=False)
class CircuitResult:
    """The relaxation with circuits, and its solution.

    Attributes:
        presolved: with the circuits as inequalities of both programs.
        circuits: over the generators of ``presolved.rows.program``, in the order of the inequalities.
        result: of the solve with the largest bound, in the coordinates of ``presolved.program``.
        lower_bound: this bound in original units, valid up to rounding; of a pricing program it is ``−h̄²``.
        rounds: how many circuits each solve had, and its bound.
    """

    presolved: Presolved
    circuits: CircuitSet
    result: SolverResult
    lower_bound: float
    rounds: tuple[tuple[int, float], ...]

    @property
    def dual(self) -> Dual:
        """The dual of a training program in the coordinates of ``presolved.rows.program``, as ``certify`` takes it."""
        assert self.result.dual is not None  # the interior point always has one
        return self.presolved.undo_dual(self.result.dual)


def solve_with_circuits(
    presolved: Presolved,
    W: FloatArray | None = None,
    *,
    rounds: int = ROUNDS,
    tolerance: float = 1e-4,
    time_limit: float | None = None,
    enough: float = np.inf,
) -> CircuitResult:
    """Bound the training objective with circuits, or the price of one W: solve and separate until nothing is gained.

    Args:
        presolved: of the training program; inequalities it has already are replaced.
        W: (f, c) that is priced, in the coordinates of ``presolved.program``; None for training.
        rounds: the most separations. Circuits of later ones are weaker, and every node of a search pays for them.
        tolerance: of the last solve, relative. The relaxation with circuits often has no interior, and then multipliers
            grow without end: small tolerances cost much and make the certificate harder to prove.
        time_limit: seconds for everything, or None.
        enough: bound in original units at which to stop.

    Raises:
        InputError: a negative number of rounds, W does not fit, or more targets than the interior point takes.
        KeyboardInterrupt: Ctrl-C ended a solve.
    """
    if rounds < 0:
        raise InputError(f"the number of rounds must not be negative, and it is {rounds}.")

    from certnet.solvers.interior_point import interior_point  # imports much, and most boxes do without

    space, merged, budget = presolved.program.space, presolved.rows.program.space, Budget(seconds=time_limit)
    N, circuits, age = space.neurons, CircuitSet.none(space.neurons), np.zeros(0, dtype=np.int64)
    start: WarmStart | None = None
    best: CircuitResult | None = None
    done: list[tuple[int, float]] = []

    def watch(progress: Progress) -> bool:
        return progress.lower_bound >= enough

    while True:
        presolved = presolved.with_inequalities(circuits.rows(merged.dimension))
        program = presolved.program if W is None else presolved.program.pricing(W)
        last = len(done) >= rounds or (space.dimension == 2 and len(circuits) > 0)
        wanted = tolerance if last else max(COARSE if done else FIRST_TOLERANCE, tolerance)
        options = SolverOptions(tolerance=wanted, time_limit=budget.left, callback=watch, warm_start=start)
        result = interior_point(program, options).uninterrupted()
        primal, dual = result.primal, result.dual
        assert primal is not None  # the interior point always has both
        assert dual is not None
        bound = program.to_original(result.dual_value)
        done.append((len(circuits), bound))
        if best is None or bound >= best.lower_bound:
            best = CircuitResult(presolved, circuits, result, bound, ())
        gained = len(done) < 3 or bound - done[-3][1] > LEAST_GAIN * abs(bound)
        if last or not budget.allows(0) or bound >= enough or not gained:
            break
        start, count = (primal, dual), min(PER_GENERATOR * N, MOST_PER_GENERATOR * N - len(circuits))
        found = separate(program, program.inequality_moments(primal.S), merged.generators, circuits, count)
        if len(found):
            used = dual.N[2 * N :].max(axis=1, initial=0.0) > NEGLIGIBLE * max(float(dual.N.max(initial=0.0)), 1e-300)
            age = np.where(used, 0, age + 1)
            kept = np.flatnonzero(age < PATIENCE)
            circuits, age = circuits.take(kept).joined(found), np.append(age[kept], np.zeros(len(found), np.int64))
            start = primal, _first_dual(presolved, primal, dual, kept, circuits)
        elif wanted > tolerance:
            rounds = 0
        else:
            break
    return replace(best, rounds=tuple(done))


def most_programs(dimension: int) -> int:
    """How many linear programs a search for circuits in so many dimensions may solve."""
    return min(MOST_PROGRAMS, PROGRAM_WORK // dimension**3)


def separate(
    program: Program, moments: FloatArray, generators: FloatArray, known: CircuitSet, count: int
) -> CircuitSet:
    """At most ``count`` new circuits that a moment matrix violates, none the mirror image of another; in the plane all.

    ``moments`` are those of all inequalities of the program (``Program.inequality_moments``), and ``generators`` its
    own, as a certificate names them; ``known`` circuits are left out.
    """
    # The coordinate of a ball's slack is in no row.
    rows = program.space.generators[:, program.space.generators.any(axis=0)]
    supports: Supports = []
    if rows.shape[1] == 2:
        supports = planar_circuits(rows)
    elif len(rows) > 2:
        norm, size = np.linalg.norm(rows, axis=1), np.ones(len(moments))
        size[: 2 * len(rows)] = 1.0 / np.tile(norm, 2)
        unit, scaled = rows / norm[:, None], moments * np.outer(size, size)
        most = most_programs(rows.shape[1])
        found = violated_circuits(unit, scaled, tolerance=VIOLATION, count=max(count, 0), most_programs=most)
        # A circuit and its mirror image, with α and β exchanged, are one inequality on the face.
        seen, half = {*known.keys, *(_mirrored(key, len(rows)) for key in known.keys)}, []
        for key in found:
            if key not in seen:
                half.append(key)
                seen |= {key, _mirrored(key, len(rows))}
        supports = half
    keys = set(known.keys)
    return exact_circuits(generators, [key for key in supports if key not in keys])


def exact_circuits(generators: FloatArray, supports: Supports) -> CircuitSet:
    """The circuits of these supports that hold exactly over the float64 rows, coefficients rounded to nearest.

    Supports that do not determine nonnegative coefficients are left out: so it can be where rows are dependent up to
    rounding only. The ``generators`` (N×d) are the rows that the certificate will name.
    """
    rows = signed_rows(generators)
    targets, coefficients = [], []
    for target, support in supports:
        try:
            c = nonnegative_combination(rows[list(support)], rows[target].tolist(), "the circuit")
            values = [float(value) for value in c]
        except (ProofFailure, OverflowError):
            continue
        full = np.zeros(len(rows))
        full[list(support)] = values
        targets.append(target)
        coefficients.append(full)
    return CircuitSet(np.array(targets, dtype=np.int64), np.array(coefficients).reshape(len(targets), len(rows)))


def _mirrored(key: tuple[int, tuple[int, ...]], neurons: int) -> tuple[int, tuple[int, ...]]:
    target, *support = ((position + neurons) % (2 * neurons) for position in (key[0], *key[1]))
    return target, tuple(sorted(support))


def _first_dual(presolved: Presolved, primal: Primal, dual: Dual, kept: IntArray, circuits: CircuitSet) -> Dual:
    """The dual without circuits that are not kept, and with a small multiplier for violated products of the others."""
    from certnet.solvers.face_problem import violated  # imports much, and most boxes do without

    space = presolved.program.space
    N, largest = space.neurons, max(float(dual.N.max(initial=0.0)), 1e-300)
    places = np.concatenate([np.arange(2 * N), 2 * N + kept])
    start = np.pad(dual.N[np.ix_(places, places)], (0, len(circuits) - len(kept)))
    if space.dimension == 2:
        # Signs are nonnegative combinations of all circuits there, so products of circuits imply all others.
        p, q = 2 * N + np.stack(np.triu_indices(len(circuits), 1))
    else:
        known = np.nonzero(np.triu(start) >= NEGLIGIBLE * max(float(start.max(initial=0.0)), 1e-300))
        program = presolved.with_inequalities(circuits.rows(presolved.rows.program.space.dimension)).program
        moments, count = program.inequality_moments(primal.S), PRODUCTS_PER_ORDER * len(primal.S)
        p, q = violated(moments, N, (known[0], known[1]), tolerance=PRODUCT_VIOLATION, count=count)
    start[p, q] = start[q, p] = np.maximum(start[p, q], SEED * largest)
    return Dual(dual.W, start)
