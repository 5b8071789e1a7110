"""Two-block ADMM for the DNN relaxation, for programs of up to about a thousand generators.

One block projects onto the face ``{J S Jᵀ : S ⪰ 0}``, the other solves entrywise for signs, complementarity and the
loss (``_splitting``). Over-relaxation and residual balancing follow Boyd et al. 2011, acceleration Anderson. Large
programs begin in float32 and go on in float64 once rounding could be felt. The matrices live on the device that the
options name; duals come back to the host, where bounds are made.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from certnet.solvers._admm_state import Point, Schedule, check_state, read_point, read_schedule, write_state
from certnet.solvers._anderson import Anderson
from certnet.solvers._arrays import arrays
from certnet.solvers._session import Session, native_version
from certnet.solvers._splitting import Splitting
from certnet.solvers.interface import SolverOptions, SolverResult, SolveStatus, State
from certnet.solvers.orthonormal import FOR_BOUNDS, Units, orthonormal
from certnet.solvers.sharpen import sharpen
from formulations import Dual, InputError, Primal, Program
from formulations._validation import FloatArray

MAX_ITERATIONS = 20_000
RELAXATION = 1.8
FIRST_PENALTY = 1.0
REPORT_EVERY = 25
FIRST_BALANCE = 25
BALANCE_GROWTH = 1.5
BALANCE_RATIO = 1.2
BALANCE_FACTOR = 3.0
SMALLEST_PART = 1e-2
MEMORY = 10
INTERVAL = 5
MEMORY_ENTRIES = 40_000_000
"""Numbers that the history of the acceleration may hold; its length shrinks with the size of the program."""
SINGLE_ORDER = 400
SINGLE_RESIDUAL = 1e-4
"""Order of G from which float32 pays, and the relative residual below which it is left."""
TIMED_STEPS = 3
SHARPEN_LIMIT, SHARPEN_STEPS = 400, 500
"""Generators up to which the dual of a form is sharpened whenever it is shown, and how many steps that may take."""


@dataclass(frozen=True)
class AdmmSolver:
    """ADMM on the face; memory O((2N+k+c)²), one eigendecomposition of order N+k+c for each iteration.

    ``max_iterations`` counts those before a resumed state too; the time limit begins anew.

    Attributes:
        units: of the coordinates that it works in.
    """

    units: Units = FOR_BOUNDS
    name: str = "admm"

    def unavailable(self) -> str | None:
        """Always None: the solver needs numpy and scipy alone; a GPU is asked for in the options."""
        return None

    def solve(self, program: Program, options: SolverOptions) -> SolverResult:
        """Solve the DNN relaxation and return the last iterates; N of the dual has exact signs.

        The dual of a form has been sharpened (``_sharpen``), unless that would take too long.

        Raises:
            InputError: the device cannot be used, the state to resume does not fit the program, or a form program has
                inequalities besides its signs, or equalities.
        """
        if program.beyond_signs:
            raise InputError(
                "the ADMM knows neither inequalities besides the signs nor equalities; use solver 'interior-point'."
            )
        run = _Run(program, options, self.units)
        return run.result(run.session.run(run.solve), self.name)


class _Run:
    """State of one solve.

    ``at`` is replaced whole and its arrays are not written to, so an interrupt finds it sound.
    """

    at: Point

    def __init__(self, program: Program, options: SolverOptions, units: Units) -> None:
        self.session = Session(program, options)
        self.given, self.options = program, options
        self.device = arrays(options.device)
        self.coordinates = orthonormal(program, units)
        program = self.program = self.coordinates.program
        self.limit = MAX_ITERATIONS if options.max_iterations is None else options.max_iterations
        # When the solution is zero, residuals are measured against a part of what is usual.
        self.smallest = SMALLEST_PART * program.moment_size
        self.iterations, self.balance = 0, FIRST_BALANCE
        self.durations: list[float] = []
        self.stepping = False
        if options.resume is None:
            self._allocate(single=program.space.order >= SINGLE_ORDER)
            self._start()
        else:
            self._resume(options.resume)

    def _allocate(self, *, single: bool) -> None:
        """Everything that depends on the precision."""
        layer = self.layer = self.device.with_precision(single=single)
        order = self.program.space.order
        self.splitting = Splitting(self.program, layer)
        self.points = [layer.zeros(order, order) for _ in range(3)]
        self.steps = [layer.zeros(order, order) for _ in range(2)]
        self.Z = layer.zeros(order, order)
        self.acceleration = Anderson(layer, order, _memory(order), INTERVAL)

    def _start(self) -> None:
        """Zero, or the warm start as far as it fits."""
        space, objective = self.program.space, self.splitting.objective
        penalty = FIRST_PENALTY * objective.size
        V = np.zeros((space.order, space.order))
        F = np.zeros((space.order, 0))
        primal, dual = self.options.warm_start or (None, None)
        order = self.given.space.face_order
        if primal is not None and primal.outputs == space.outputs and primal.S.shape == (order, order):
            F = space.expand(_root(self.coordinates.apply_primal(primal).S))
            V += F @ F.T
        if dual is not None and _fits(dual, self.given):
            V += objective.scaled_multiplier(self.coordinates.apply_dual(dual), penalty)
        self._move(Point(self.layer.array(V), self.steps[0], self.layer.array(F), penalty))

    def _resume(self, state: State) -> None:
        """The very point at which ``_state`` was asked for."""
        space = self.program.space
        check_state(state, self.program, _memory(space.order))
        self._allocate(single=bool(state["single"]))
        point, schedule = read_point(state, self.layer), read_schedule(state)
        self._move(point)
        self.V, R = self.points[1], self.steps[0]
        self.V[...] = self.layer.array(state["V"])
        R[...] = point.R
        self.at = replace(self.at, R=R)
        self.acceleration.restore(state, self.at.V, R)
        self.iterations, self.balance = schedule.iterations, schedule.balance

    def _move(self, at: Point) -> None:
        """Go on from ``at.V`` without a history; Z becomes the entrywise solution there."""
        V = self.points[0]
        V[...] = at.V
        self.at, self.V = replace(at, V=V), V
        self.splitting.entrywise(V, at.penalty, self.Z)
        self.acceleration.reset()

    def solve(self) -> SolveStatus:
        """Iterate until both relative residuals are at most the tolerance."""
        while True:
            if self.at.residual <= self.options.tolerance:
                return SolveStatus.CONVERGED
            # Another step and the result.
            if self._out_of_time(2):
                return SolveStatus.TIME_LIMIT
            if self.iterations >= self.limit:
                return SolveStatus.ITERATION_LIMIT
            self._timed_step()
            if self.iterations % REPORT_EVERY == 0 and self._report():
                return SolveStatus.STOPPED

    def _out_of_time(self, steps: int) -> bool:
        """Whether so many more, each as long as the last steps, would pass the time limit."""
        return self.session.out_of_time(steps * max(self.durations, default=0.0))

    def _timed_step(self) -> None:
        begin = time.perf_counter()
        self.stepping = True
        try:
            self._step()
        except np.linalg.LinAlgError:
            if not self.layer.single:
                raise
            self._double()
        self.iterations += 1
        if self.acceleration.plain:
            self._adapt()
        self.stepping = False
        self.durations = [*self.durations[1 - TIMED_STEPS :], time.perf_counter() - begin]

    def _step(self) -> None:
        """One Douglas–Rachford step V ← V + 1.8 (G − Z), in which L = V − Z is the scaled multiplier."""
        V, last = self.V, self.at
        X, sizes = self.splitting.entrywise(V, last.penalty, self.Z)
        F = self.splitting.factor(X, last.rank)
        R = next(step for step in self.steps if step is not last.R)
        gap = self.splitting.gap(F, self.Z, RELAXATION, R)
        dual_residual = last.dual_residual
        if self.acceleration.plain:
            # After an extrapolation the change of Z measures the jump, not the residual.
            dual_residual = _ratio(sizes.change, sizes.multiplier)
        following = next(point for point in self.points if point is not last.V and point is not V)
        if self.acceleration.push(V, R, RELAXATION * gap, following):
            primal_residual = _ratio(gap, max(sizes.entries, self.smallest))
            self.at = Point(V, R, F, last.penalty, primal_residual, dual_residual)
        self.V = following

    def _adapt(self) -> None:
        """Leave float32 or change the penalty, when it is time."""
        if self.layer.single and self.at.residual <= SINGLE_RESIDUAL:
            self._double()
        if self.iterations >= self.balance:
            self.balance = max(self.iterations + FIRST_BALANCE, int(BALANCE_GROWTH * self.iterations))
            self._balance()

    def _double(self) -> None:
        """Go on in float64 from the last point."""
        at = self.at
        self._allocate(single=False)
        cast = self.layer.cast
        self._move(replace(at, V=cast(at.V), R=self.steps[0], F=cast(at.F)))

    def _balance(self) -> None:
        """Change ρ when one residual is larger than the other; the unscaled multiplier ρL stays."""
        at = self.at
        ratio = np.sqrt(at.primal_residual / max(at.dual_residual, 1e-300))
        if not (1 / BALANCE_RATIO <= ratio <= BALANCE_RATIO):
            factor = float(np.clip(ratio, 1 / BALANCE_FACTOR, BALANCE_FACTOR))
            self.splitting.entrywise(at.V, at.penalty, self.Z)
            self._move(replace(at, V=self.Z + (at.V - self.Z) / factor, penalty=at.penalty * factor))

    def _dual(self) -> Dual:
        return self.coordinates.undo_dual(self.splitting.objective.multipliers(self.at.V, self.at.penalty))

    def _sharpened(self) -> Dual:
        """The dual, for forms with the best complementarity multipliers if that is quick."""
        is_quick = self.given.space.neurons <= SHARPEN_LIMIT
        return sharpen(self.given, self._dual()) if self.given.loss is None and is_quick else self._dual()

    def _last_dual(self, status: SolveStatus) -> Dual:
        """The same for the result, where it may take longer if there is time."""
        if status is SolveStatus.INTERRUPTED:
            return self._dual()
        if self.given.loss is None and not self._out_of_time(SHARPEN_STEPS):
            return sharpen(self.given, self._dual())
        return self._sharpened()

    def _factor(self) -> FloatArray:
        return np.asarray(self.layer.host(self.at.F), dtype=np.float64)

    def _objective(self) -> float:
        F = self._factor()
        return self.coordinates.objective(F @ F.T)

    def _state(self) -> State:
        """See ``Progress.state``. After an interrupt within a step it is the last point, without a history."""
        if self.stepping:
            self._move(self.at)
            self.stepping = False
        schedule = Schedule(self.iterations, self.balance)
        return write_state(self.layer, self.program, self.at, self.V, schedule, self.acceleration.state())

    def _report(self) -> bool:
        at = self.at
        status = self.session.report(
            iteration=self.iterations,
            objective=self._objective(),
            primal_residual=at.primal_residual,
            dual_residual=at.dual_residual,
            rank=at.rank,
            dual=self._sharpened,
            state=self._state,
        )
        return status is not None

    def result(self, status: SolveStatus, name: str) -> SolverResult:
        """The last iterates; S is read off G, which lies on the face."""
        at, space = self.at, self.program.space
        face = space.face(self._factor())
        return SolverResult(
            primal=self.coordinates.undo_primal(Primal(face @ face.T, space.outputs)),
            dual=self._last_dual(status),
            objective=self._objective(),
            status=status,
            message=f"rank {at.rank}, penalty {at.penalty:.2e}.",
            solver=name,
            version=native_version(),
            iterations=self.iterations,
            seconds=self.session.seconds(),
            primal_residual=at.primal_residual,
            dual_residual=at.dual_residual,
            statistics={"rank": float(at.rank), "penalty": at.penalty},
        )


def _memory(order: int) -> int:
    return min(MEMORY, MEMORY_ENTRIES // (2 * order**2))


def _root(S: FloatArray) -> FloatArray:
    """F with ``F Fᵀ`` the positive semidefinite part of S."""
    values, vectors = np.linalg.eigh(0.5 * (S + S.T))
    root: FloatArray = vectors[:, values > 0] * np.sqrt(values[values > 0])
    return root


def _ratio(part: float, whole: float) -> float:
    """part/whole, infinite when that is undefined."""
    return part / whole if whole > 0 else np.inf


def _fits(dual: Dual, program: Program) -> bool:
    return dual.N.shape == (program.positions, program.positions) and dual.W.shape == program.target.shape
