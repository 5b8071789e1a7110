"""Two-block ADMM for the DNN relaxation, for programs of up to about a thousand generators.

One block projects onto the face ``{J S Jᵀ : S ⪰ 0}``, the other solves entrywise for signs, complementarity and the
loss (``splitting``). Over-relaxation and residual balancing follow Boyd et al. 2011, acceleration Anderson. Large
programs begin in float32 and go on in float64 once rounding could be felt. The matrices live on the device that the
options name; duals come back to the host, where bounds are made.
"""

import time
from dataclasses import dataclass, replace
from statistics import median_low

import numpy as np

from certnet.runtime.numerics import FAILURES
from certnet.runtime.version import __version__
from certnet.solvers.arrays import Array, Arrays, arrays
from certnet.solvers.interface import SolverOptions, SolverResult, SolveStatus
from certnet.solvers.iterations import Anderson
from certnet.solvers.orthonormal import FOR_BOUNDS, Units, orthonormal
from certnet.solvers.session import Session
from certnet.solvers.sharpen import sharpen
from certnet.solvers.splitting import Splitting
from formulations import Dual, InputError, Primal, Program
from formulations._validation import FloatArray

MAX_ITERATIONS = 20_000
TIMED_STEPS = 3
"""Steps whose time tells what the next will take."""

REPORT_EVERY = 25  # Steps between two calls of the callback.
FIRST_BALANCE = 25  # Steps before the penalty is balanced first, and the fewest between two times.
BALANCE_GROWTH = 1.5  # It is balanced next after so many times the steps done.
BALANCE_FACTOR = 3.0  # Largest change of the penalty at once.
SMALLEST_PART = 1e-2  # Part of the usual moments against which residuals are measured when the solution is zero.
MEMORY_ENTRIES = 40_000_000  # Numbers that the acceleration may keep; of large programs it remembers less.
# Order of G from which float32 pays: 400 steps of 204 and 385 rows take a fifth less, with the same bounds.
SINGLE_ORDER = 150
# Relative residual below which float32 is left. Measured: after as many steps bounds are those that 1e-4 gives.
SINGLE_RESIDUAL = 3e-5
SHARPEN_LIMIT = 400  # Generators up to which the dual of a form is sharpened whenever it is shown.
SHARPEN_STEPS = 500  # Steps that sharpening the last dual may take as long as.


@dataclass(frozen=True)
class Settings:
    """Numbers of the ADMM that an experiment chose or could move."""

    relaxation: float = 1.8
    """Over-relaxation of a step. Measured: see the first penalty; at 0.9 bounds are up to 5 % lower."""
    first_penalty: float = 1.0
    """ρ at the start, in units of the costs. Measured: after 300 to 400 steps of 30 or 40 rows with three losses bounds
    are up to 0.8 % lower at 0.5 and 0.1 % higher at 2."""
    balance_ratio: float = 1.2
    """Ratio of the residuals' roots that is left alone. Measured: there 2.4 loses up to 1.4 %."""
    memory: int = 10
    """Changes that the acceleration remembers. Measured: there 5 and 20 lose up to 0.5 %."""
    interval: int = 5
    """Steps from one extrapolation to the next. Measured: there 2 and 10 lose up to 0.6 %."""


SETTINGS = Settings()


def admm(program: Program, options: SolverOptions, units: Units = FOR_BOUNDS) -> SolverResult:
    """Solve the DNN relaxation and return the last iterates; N of the dual has exact signs.

    Memory O((2N+k+c)²), one eigendecomposition of order N+k+c for each iteration. The dual of a form has been sharpened
    (``certnet.solvers.sharpen``), unless that would take too long.

    Args:
        program: without inequalities besides its signs, and without equalities.
        options: a warm start goes on from its iterates, as if the solve had not stopped, but for the penalty.
        units: of the coordinates that it works in.

    Raises:
        InputError: the device cannot be used, or the program has such inequalities.
    """
    if program.beyond_signs:
        raise InputError("the ADMM knows no inequalities besides the signs; use solver 'interior-point'.")
    run = Run(program, options, units)
    return run.result(run.session.run(run.solve))


@dataclass(frozen=True, eq=False)
class Point:
    """V where both maps were evaluated, the factor F of G there, and the penalty ρ."""

    V: Array
    F: Array
    penalty: float
    primal_residual: float = np.inf
    dual_residual: float = np.inf

    @property
    def residual(self) -> float:
        """The larger residual."""
        return max(self.primal_residual, self.dual_residual)


class Run:
    """State of one solve: ``at`` is the last point, ``V`` the next.

    Both are replaced whole and their arrays are not written to, so an interrupt finds them sound.
    """

    def __init__(self, program: Program, options: SolverOptions, units: Units) -> None:
        self.session = Session(program, options)
        self.given, self.options = program, options
        self.layer = arrays(options.device)
        self.coordinates = orthonormal(program, units)
        self.program = self.coordinates.program
        self.limit = MAX_ITERATIONS if options.max_iterations is None else options.max_iterations
        self.smallest = SMALLEST_PART * self.program.moment_size
        self.iterations, self.balance = 0, FIRST_BALANCE
        self.durations: list[float] = []
        self._use(single=self.program.space.order >= SINGLE_ORDER)
        self._go_on(self._start())

    def _use(self, *, single: bool) -> None:
        """Everything that depends on the precision."""
        self.layer = Arrays(self.layer.device, single=single)
        self.splitting = self._split()
        rows, columns = self.splitting.shape
        self.Z = self.layer.zeros(rows, columns)
        memory = min(SETTINGS.memory, MEMORY_ENTRIES // (2 * rows * columns))
        self.acceleration = Anderson(self.layer, (rows, columns), memory, SETTINGS.interval)

    def _split(self) -> Splitting:
        return Splitting(self.program, self.layer)

    def _start(self) -> Point:
        """Zero, or the warm start."""
        space = self.program.space
        penalty = SETTINGS.first_penalty * self.splitting.size
        V, F = np.zeros((space.order, space.order)), np.zeros((space.order, 0))
        primal, dual = self.options.warm_start or (None, None)
        if primal is not None:
            S = self.coordinates.apply_primal(primal).S
            F = space.expand(Arrays().positive_factor(0.5 * (S + S.T), len(S)))
            V += F @ F.T
        if dual is not None:
            V += self.splitting.pulls(self.coordinates.apply_dual(dual)) / (2 * penalty)
        return Point(self.layer.array(V), self.layer.array(F), penalty)

    def _go_on(self, at: Point) -> None:
        """From this point without a history; Z becomes the entrywise solution there."""
        self.at, self.V = at, at.V
        self.splitting.entrywise(at.V, at.penalty, self.Z)
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
            begin, is_plain = time.perf_counter(), False
            try:
                is_plain = self._step()
            except FAILURES:
                if not self.layer.single:
                    raise
                self._double()
            self.iterations += 1
            if is_plain:
                self._adapt()
            self.durations = [*self.durations[1 - TIMED_STEPS :], time.perf_counter() - begin]
            if self.iterations % REPORT_EVERY == 0 and self._report():
                return SolveStatus.STOPPED

    def _out_of_time(self, steps: int) -> bool:
        """Whether so many more, each as long as the last steps, would pass the time limit.

        One of these may have waited for a compiler, so it is their median.
        """
        return self.session.out_of_time(steps * median_low(self.durations or [0.0]))

    def _step(self) -> bool:
        """One Douglas–Rachford step V ← V + 1.8 (G − Z), in which L = V − Z is the scaled multiplier; whether V follows
        from the last point by a plain step."""
        V, last, relaxation = self.V, self.at, SETTINGS.relaxation
        X, sizes = self.splitting.entrywise(V, last.penalty, self.Z)
        F = self.splitting.factor(X, last.F.shape[1])
        R, gap = self.splitting.gap(F, self.Z, relaxation)
        # After an extrapolation the change of Z measures the jump, not the residual.
        is_plain = self.acceleration.plain
        dual_residual = ratio(sizes.change, sizes.multiplier) if is_plain else last.dual_residual
        self.V, accepted = self.acceleration.push(V, R, relaxation * gap)
        if accepted:
            primal_residual = ratio(gap, max(sizes.entries, self.smallest))
            self.at = Point(V, F, last.penalty, primal_residual, dual_residual)
        return self.acceleration.plain

    def _adapt(self) -> None:
        """Leave float32 or change the penalty, when it is time."""
        at = self.at
        if self.layer.single and at.residual <= SINGLE_RESIDUAL:
            self._double()
        if self.iterations >= self.balance:
            self.balance = max(self.iterations + FIRST_BALANCE, int(BALANCE_GROWTH * self.iterations))
            unbalanced = np.sqrt(at.primal_residual / max(at.dual_residual, 1e-300))
            if not (1 / SETTINGS.balance_ratio <= unbalanced <= SETTINGS.balance_ratio):
                self._rescale(float(np.clip(unbalanced, 1 / BALANCE_FACTOR, BALANCE_FACTOR)))

    def _double(self) -> None:
        """Go on in float64 from the last point."""
        self._use(single=False)
        self._go_on(replace(self.at, V=self.layer.cast(self.at.V), F=self.layer.cast(self.at.F)))

    def _rescale(self, factor: float) -> None:
        """Make ρ so many times as large; the unscaled multiplier ρL stays."""
        at = self.at
        self.splitting.entrywise(at.V, at.penalty, self.Z)
        self._go_on(replace(at, V=self.Z + (at.V - self.Z) / factor, penalty=at.penalty * factor))

    def _primal(self) -> Primal:
        """S is read off G, which lies on the face."""
        face = self.program.space.face(self._factor())
        return self.coordinates.undo_primal(Primal(face @ face.T, self.program.space.outputs))

    def _dual(self) -> Dual:
        return self.coordinates.undo_dual(self.splitting.multipliers(self.at.V, self.at.penalty))

    def _sharpened(self, *, last: bool = False) -> Dual:
        """The dual, for forms with the best complementarity multipliers if that is quick, or at last if it fits."""
        fits = self.given.space.neurons <= SHARPEN_LIMIT
        fits = fits or (last and not self._out_of_time(SHARPEN_STEPS))
        return sharpen(self.given, self._dual()) if self.given.loss is None and fits else self._dual()

    def _factor(self) -> FloatArray:
        return self.splitting.on_face(np.asarray(self.layer.host(self.at.F), dtype=np.float64))

    def _objective(self) -> float:
        F = self._factor()
        return self.coordinates.objective(F @ F.T)

    def _report(self) -> bool:
        return self.session.report(
            iteration=self.iterations,
            objective=self._objective(),
            primal_residual=self.at.primal_residual,
            dual_residual=self.at.dual_residual,
            rank=self.at.F.shape[1],
            dual=self._sharpened,
            iterate=lambda: (self._primal(), self._dual()),
        )

    def result(self, status: SolveStatus) -> SolverResult:
        """The last iterates; Ctrl-C while the dual is sharpened leaves it as it was."""
        at = self.at
        try:
            dual = self._dual() if status is SolveStatus.INTERRUPTED else self._sharpened(last=True)
        except KeyboardInterrupt:
            status, dual = SolveStatus.INTERRUPTED, self._dual()
        return SolverResult(
            primal=self._primal(),
            dual=dual,
            objective=self._objective(),
            status=status,
            message=f"rank {at.F.shape[1]}, penalty {at.penalty:.2e}.",
            solver="admm",
            version=__version__,
            iterations=self.iterations,
            seconds=self.session.seconds(),
            primal_residual=at.primal_residual,
            dual_residual=at.dual_residual,
        )


def ratio(part: float, whole: float) -> float:
    """part/whole, infinite when that is undefined."""
    return part / whole if whole > 0 else np.inf
