"""Two-block ADMM for the DNN relaxation, for programs of up to about a thousand generators.

One block projects onto ``{J S Jᵀ : S ⪰ 0}``, the other solves entrywise for signs, complementarity and the loss. The
range of J has an orthonormal basis in closed form: with ``σ = (α+β)/√2`` and ``RᵀR = I + AᵀA/2`` it is

    α = σ/√2 + B ζ,   β = σ/√2 − B ζ,   z = R⁻¹ ζ,   B = A R⁻¹/2,

so a projection costs one eigendecomposition of order N+k+c and O(N²k) besides. Over-relaxation and residual balancing
follow Boyd et al. 2011, acceleration Anderson. The scaled multiplier is zero outside the positions of φ, loss and cost,
and its signs are exact.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg as sl

from certnet.solvers._anderson import Anderson
from certnet.solvers._orthonormal import orthonormal
from certnet.solvers._session import Session, native_version
from certnet.solvers.interface import SolverOptions, SolverResult, SolveStatus
from formulations import LiftedProgram, RawDual, RawPrimal
from formulations._validation import FloatArray

MAX_ITERATIONS = 20_000
RELAXATION = 1.6
FIRST_PENALTY = 3.0
REPORT_EVERY = 25
FIRST_BALANCE = 50
BALANCE_GROWTH = 1.5
BALANCE_RATIO = 1.2
BALANCE_FACTOR = 3.0
SMALLEST_PART = 1e-2
MEMORY = 10
INTERVAL = 5
MEMORY_ENTRIES = 30_000_000
"""Numbers that the history of the acceleration may hold; its length shrinks with the size of the program."""


class _Face:
    """Orthonormal coordinates (σ, ζ, v) of the range of J."""

    def __init__(self, program: LiftedProgram) -> None:
        space = program.space
        self.neurons, self.dimension = space.neurons, space.dimension
        A = space.generators
        R = np.linalg.cholesky(np.eye(self.dimension) + 0.5 * A.T @ A).T
        self.inverse = sl.solve_triangular(R, np.eye(self.dimension))
        self.B = 0.5 * A @ self.inverse

    def expand(self, y: FloatArray) -> FloatArray:
        """λ = Q y for the columns of y."""
        N, k = self.neurons, self.dimension
        half, tilt = y[:N] / np.sqrt(2.0), self.B @ y[N : N + k]
        return np.concatenate([half + tilt, half - tilt, self.inverse @ y[N : N + k], y[N + k :]])

    def contract(self, lam: FloatArray) -> FloatArray:
        """Qᵀ λ for the columns of λ."""
        N, k = self.neurons, self.dimension
        alpha, beta = lam[:N], lam[N : 2 * N]
        zeta = self.B.T @ (alpha - beta) + self.inverse.T @ lam[2 * N : 2 * N + k]
        return np.concatenate([(alpha + beta) / np.sqrt(2.0), zeta, lam[2 * N + k :]])

    def project(self, V: FloatArray) -> tuple[FloatArray, int]:
        """The nearest matrix Q X Qᵀ with X ⪰ 0 to a symmetric V, and the rank of X."""
        X = self.contract(self.contract(V).T)
        values, vectors = sl.eigh(0.5 * (X + X.T), overwrite_a=True, check_finite=False, driver="evd")
        positive = values > 0
        F = self.expand(vectors[:, positive] * np.sqrt(values[positive]))
        return F @ F.T, int(positive.sum())


@dataclass(frozen=True, eq=False)
class _Iterate:
    """G on the face, Z with exact signs, the scaled multiplier L = V − Z, and the penalty ρ."""

    G: FloatArray
    Z: FloatArray
    L: FloatArray
    penalty: float
    rank: int
    primal_residual: float = np.inf
    dual_residual: float = np.inf


@dataclass(frozen=True)
class AdmmSolver:
    """ADMM on the face; memory O((2N+k+c)²), one eigendecomposition of order N+k+c for each iteration."""

    name: str = "admm"

    def unavailable(self) -> str | None:
        """Always None: the solver needs numpy and scipy alone."""
        return None

    def solve(self, program: LiftedProgram, options: SolverOptions) -> SolverResult:
        """Solve the DNN relaxation and return the last iterates; N of the dual has exact signs."""
        run = _Run(program, options)
        try:
            status = run.solve()
        except KeyboardInterrupt:
            status = SolveStatus.INTERRUPTED
        except (np.linalg.LinAlgError, ValueError):
            # LAPACK gave up or an entry overflowed; the last complete iterate is kept.
            status = SolveStatus.FAILED
        return run.result(status, self.name)


class _Run:
    """State of one solve; ``iterate`` is replaced whole, so an interrupt finds it consistent."""

    def __init__(self, program: LiftedProgram, options: SolverOptions) -> None:
        self.session = Session(options)
        self.given, self.options = program, options
        self.coordinates = orthonormal(program)
        program = self.program = self.coordinates.program
        self.face = _Face(program)
        self.limit = MAX_ITERATIONS if options.max_iterations is None else options.max_iterations
        self.iterations = 0
        # A moment matrix that fits the targets has about the size ‖T‖/‖ω‖; when the solution is zero, residuals are
        # measured against a part of it.
        fit = float(np.linalg.norm(program.target)) / float(np.linalg.norm(program.weight))
        self.smallest = SMALLEST_PART * fit
        self.iterate = self._start()
        self.V = self.iterate.Z + self.iterate.L
        self.acceleration = Anderson(min(MEMORY, MEMORY_ENTRIES // (2 * self.V.size)), INTERVAL)

    def _start(self) -> _Iterate:
        program, space = self.program, self.program.space
        penalty = FIRST_PENALTY * program.gamma
        zero = np.zeros((space.order, space.order))
        primal, dual = self.options.warm_start or (None, None)
        G, L = zero, zero.copy()
        order = self.given.space.face_order
        if primal is not None and primal.outputs == space.outputs and primal.S.shape == (order, order):
            G = space.moment(self.coordinates.apply_primal(primal).S)
        if dual is not None and _fits(dual, self.given):
            dual = self.coordinates.apply_dual(dual)
            L[space.phi, space.phi] = -dual.N / (2 * penalty)
            self._set_features(L, -program.weight[:, None] * dual.W / (2 * penalty))
            L[space.z, space.z] = program.gamma / (2 * penalty) * program.metric
            L[space.v, space.v] = program.gamma / (2 * penalty) * np.eye(space.outputs)
        return _Iterate(G, G.copy(), L, penalty, 0)

    def _set_features(self, matrix: FloatArray, values: FloatArray) -> None:
        v = self.program.space.v
        matrix[self.program.feature, v] = values
        matrix[v, self.program.feature] = values.T

    def solve(self) -> SolveStatus:
        """Iterate until both relative residuals are at most the tolerance."""
        balance = FIRST_BALANCE
        while True:
            if self.session.out_of_time():
                return SolveStatus.TIME_LIMIT
            if self.iterations >= self.limit:
                return SolveStatus.ITERATION_LIMIT
            self._step()
            self.iterations += 1
            if self.iterations % REPORT_EVERY == 0 and self._report():
                return SolveStatus.STOPPED
            if max(self.iterate.primal_residual, self.iterate.dual_residual) <= self.options.tolerance:
                return SolveStatus.CONVERGED
            if self.iterations >= balance and not self.acceleration.extrapolated:
                balance = max(self.iterations + FIRST_BALANCE, int(BALANCE_GROWTH * self.iterations))
                self._balance()

    def _step(self) -> None:
        """One Douglas–Rachford step V ← V + 1.6 (G − Z), in which L = V − Z is the scaled multiplier."""
        V, last = self.V, self.iterate
        Z = self._entrywise(V, last.penalty)
        L = V - Z
        G, rank = self.face.project(Z - L)
        gap = G - Z
        dual_residual = last.dual_residual
        if not self.acceleration.extrapolated:
            # After an extrapolation the change of Z measures the jump, not the residual.
            dual_residual = _ratio(Z - last.Z, L)
        self.iterate = _Iterate(G, Z, L, last.penalty, rank, _ratio(gap, Z, self.smallest), dual_residual)
        self.V = self.acceleration.push(V, RELAXATION * gap)

    def _entrywise(self, V: FloatArray, penalty: float) -> FloatArray:
        """The minimiser over Z of loss, cost, signs and ρ/2 ‖Z − V‖²; each off-diagonal entry counts twice."""
        program, space = self.program, self.program.space
        neuron = np.arange(space.neurons)
        Z = V.copy()
        phi = np.maximum(V[space.phi, space.phi], 0.0)
        phi[neuron, space.neurons + neuron] = 0.0
        phi[space.neurons + neuron, neuron] = 0.0
        Z[space.phi, space.phi] = phi
        Z[space.z, space.z] -= program.gamma / (2 * penalty) * program.metric
        Z[space.v, space.v] -= program.gamma / (2 * penalty) * np.eye(space.outputs)
        weight = program.weight[:, None]
        fitted = weight * program.target + 2 * penalty * V[program.feature, space.v]
        self._set_features(Z, fitted / (weight**2 + 2 * penalty))
        return Z

    def _balance(self) -> None:
        """Change ρ when one residual is larger than the other; the unscaled multiplier ρL stays."""
        at = self.iterate
        ratio = np.sqrt(at.primal_residual / max(at.dual_residual, 1e-300))
        if not (1 / BALANCE_RATIO <= ratio <= BALANCE_RATIO):
            factor = float(np.clip(ratio, 1 / BALANCE_FACTOR, BALANCE_FACTOR))
            self.iterate = replace(at, L=at.L / factor, penalty=at.penalty * factor)
            self.V = at.Z + at.L / factor
            self.acceleration.reset()

    def _dual(self, at: _Iterate) -> RawDual:
        """W = T − ω∘Z[f, v] and N = −2ρL_φφ, which is ≥ 0 off the complementary positions by construction."""
        program, space = self.program, self.program.space
        W = program.target - program.weight[:, None] * at.Z[program.feature, space.v]
        N = -2 * at.penalty * at.L[space.phi, space.phi]
        return self.coordinates.undo_dual(RawDual(W, 0.5 * (N + N.T)))

    def _objective(self, G: FloatArray) -> float:
        return self.program.to_original(self.program.value(G))

    def _report(self) -> bool:
        at = self.iterate
        status = self.session.report(
            iteration=self.iterations,
            objective=self._objective(at.Z),
            primal_residual=at.primal_residual,
            dual_residual=at.dual_residual,
            rank=at.rank,
            dual=lambda: self._dual(at),
        )
        return status is not None

    def result(self, status: SolveStatus, name: str) -> SolverResult:
        """The last iterates; S is read off G, which lies on the face."""
        space = self.program.space
        S = space.face(space.face(self.iterate.G).T)
        return SolverResult(
            primal=self.coordinates.undo_primal(RawPrimal(S, space.outputs)),
            dual=self._dual(self.iterate),
            objective=self._objective(self.iterate.G),
            status=status,
            message=f"rank {self.iterate.rank}, penalty {self.iterate.penalty:.2e}.",
            solver=name,
            version=native_version(),
            iterations=self.iterations,
            seconds=self.session.seconds(),
            primal_residual=self.iterate.primal_residual,
            dual_residual=self.iterate.dual_residual,
            statistics={"rank": float(self.iterate.rank), "penalty": self.iterate.penalty},
        )


def _ratio(part: FloatArray, whole: FloatArray, floor: float = 0.0) -> float:
    """‖part‖/max(‖whole‖, floor), infinite when that is zero."""
    size = max(float(np.linalg.norm(whole)), floor)
    return float(np.linalg.norm(part)) / size if size > 0 else np.inf


def _fits(dual: RawDual, program: LiftedProgram) -> bool:
    order = 2 * program.space.neurons
    return dual.N.shape == (order, order) and dual.W.shape == program.target.shape
