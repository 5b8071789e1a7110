"""The best complementarity multipliers that go with given products: much of what repair would give away.

Repair adds the same τ to all complementarity multipliers t, and thereby pays for one bad direction of the slack in all
of them. Here every t_i is free, and so is a factor ν ≥ 0 of N:

    maximise δ   subject to   M = λᵀCλ − δ zᵀEz − ν ℓᵀNℓ − Σ t_i α_iβ_i  positive semidefinite on the face.

That semidefinite program has N+2 variables, however many products there are. An interior point (HKM direction,
Mehrotra's predictor and corrector) begins at the repaired dual and keeps M definite, so every iterate is a bound.
"""

from dataclasses import dataclass

import numpy as np

from certificates.making.repair import project, raw_dual, repair_form
from certnet.solvers.linear_algebra import is_positive_definite, longest_step, symmetric
from certnet.solvers.orthonormal import Units, orthonormal
from formulations import Dual, Program
from formulations._validation import FloatArray

UNIT_ROWS = Units(0.0, 1.0)
ACCURACY = 1e-4
INFEASIBLE = 1e-3
STEPS = 40
STEP_SHARE = 0.95
SHORT_STEP = 1e-3
START = 1e-2
SMALLEST_FACTOR = 1e-3
REGULARISATION = 1e-14


def sharpen(program: Program, dual: Dual) -> Dual:
    """The dual with the best t and the best multiple of N, or the given one when repair makes more of that.

    Args:
        program: any form; it is scaled here.
        dual: any dual of that program.

    Raises:
        InputError: the dual's shapes do not fit.
    """
    there = orthonormal(program, UNIT_ROWS)
    form, given = there.program, there.apply_dual(dual)
    first = repair_form(form, given)
    if form.space.neurons == 0 or not np.isfinite(first.delta):
        return dual
    _, N, _ = project(form, given)
    total = float(N.sum())
    factor = max(float(first.N.sum()) / total, SMALLEST_FACTOR) if total > 0 else 1.0
    products = form.space.pull_back(form.lift_inequalities(N))
    problem = _Problem(form.space.pull_back(form.form), products, form.space.generators)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        y = _maximise(problem, np.concatenate([[first.delta, factor], first.t]))
    best = raw_dual(form.target, y[1] * N, y[2:], gamma=1.0)
    return there.undo_dual(best) if repair_form(form, best).delta > first.delta else dual


@dataclass(frozen=True, eq=False)
class _Problem:
    """``M(y) = base − δ I_zz − ν K − Σ t_i α_iβ_i`` on the face, for ``y = (δ, ν, t)``."""

    base: FloatArray
    products: FloatArray
    generators: FloatArray

    def adjoint(self, y: FloatArray) -> FloatArray:
        """``Σ y_j A_j``, of order N+k."""
        N = len(self.generators)
        out: FloatArray = y[1] * self.products
        beta, z = np.arange(N), np.arange(N, len(out))
        out[z, z] += y[0]
        out[beta, beta] += y[2:]
        half = 0.5 * y[2:, None] * self.generators
        out[:N, N:] += half
        out[N:, :N] += half.T
        return out

    def values(self, S: FloatArray) -> FloatArray:
        """``⟨A_j, S⟩`` for symmetric S."""
        A, N = self.generators, len(self.generators)
        mixed = np.diag(S[:N, :N]) + np.sum(A * S[:N, N:], axis=1)
        return np.concatenate([[np.trace(S[N:, N:]), np.sum(self.products * S)], mixed])

    def schur(self, S: FloatArray, P: FloatArray) -> FloatArray:
        """``⟨A_i, S A_j P⟩``, symmetrised."""
        A, N = self.generators, len(self.generators)
        SK, PK = S @ self.products, P @ self.products
        S_z, P_z = S[:, N:], P[:, N:]
        S_rows, P_rows = S[:N] + A @ S[N:], P[:N] + A @ P[N:]
        # Entries (α_i, β_j) and (α_i, α_j) of J S Jᵀ and J P Jᵀ.
        S_ab, P_ab = S_rows[:, :N], P_rows[:, :N]
        S_aa, P_aa = S_ab + S_rows[:, N:] @ A.T, P_ab + P_rows[:, N:] @ A.T
        SK_rows = SK[:N] + A @ SK[N:]
        H = np.empty((N + 2, N + 2))
        H[0, 0], H[1, 1], H[0, 1] = np.sum(S[N:, N:] * P[N:, N:]), np.sum(SK.T * PK), np.sum(SK[N:] * P_z.T)
        H[0, 2:] = 0.5 * np.sum(S_rows[:, N:] * P_z[:N] + S_z[:N] * P_rows[:, N:], axis=1)
        H[1, 2:] = 0.5 * np.sum(SK_rows * P[:N] + SK[:N] * P_rows, axis=1)
        H[2:, 2:] = 0.25 * (S_ab * P_ab.T + S_ab.T * P_ab + S[:N, :N] * P_aa + S_aa * P[:N, :N])
        H[1, 0], H[2:, :2] = H[0, 1], H[:2, 2:].T
        return H


def _start(problem: _Problem, y: FloatArray) -> FloatArray:
    """y, moved from where M is nearly singular: ``t − s`` and a lower δ add a definite matrix of size s to M."""
    y = y.copy()
    s = START * float(np.abs(np.diag(problem.base - problem.adjoint(y))).mean())
    y[2:] -= s
    y[0] -= s * (1.0 + 0.5 * float(np.linalg.norm(problem.generators, 2)) ** 2)
    return y


@dataclass(frozen=True, eq=False)
class _Point:
    """M(y) and ν on the dual side; S and the moment s = ⟨K, S⟩ of the products on the primal side."""

    y: FloatArray
    M: FloatArray
    S: FloatArray
    s: float

    @property
    def gap(self) -> float:
        """``⟨S, M⟩ + s ν``."""
        return float(np.sum(self.S * self.M)) + self.s * float(self.y[1])

    def moved(self, by: "_Point", primal: float, dual: float) -> "_Point":
        """This point and shares of a direction."""
        S = symmetric(self.S + primal * by.S)
        return _Point(self.y + dual * by.y, self.M + dual * by.M, S, self.s + primal * by.s)

    def lengths(self, by: "_Point") -> tuple[float, float]:
        """Primal and dual shares, at most 1, that keep everything positive."""
        primal = min(longest_step(self.S, by.S), -self.s / by.s if by.s < 0 else np.inf)
        dual = min(longest_step(self.M, by.M), -float(self.y[1] / by.y[1]) if by.y[1] < 0 else np.inf)
        return min(1.0, STEP_SHARE * primal), min(1.0, STEP_SHARE * dual)


class _Newton:
    """Linearised optimality conditions at a point; without products ν stays."""

    def __init__(self, problem: _Problem, at: _Point) -> None:
        self._problem, self._at = problem, at
        inverse: FloatArray = np.linalg.inv(at.M).astype(np.float64)
        self.P = symmetric(inverse)
        H = problem.schur(at.S, self.P)
        H[1, 1] += at.s / at.y[1]
        self._free = np.ones(len(H), dtype=bool)
        self._free[1] = problem.products.any()
        diagonal = np.diag(H)[self._free]
        if not (diagonal.min() > 0):
            raise np.linalg.LinAlgError("rounding has made the Schur complement indefinite")
        self._root = np.sqrt(diagonal)
        scaled = H[np.ix_(self._free, self._free)] / np.outer(self._root, self._root)
        self._inverse = np.linalg.inv(scaled + REGULARISATION * np.eye(len(scaled)))
        self._barrier = problem.values(self.P)

    def direction(self, mu: float, second: FloatArray, second_s: float) -> _Point:
        """Towards μ, with the second-order terms of S and s."""
        at, problem, P = self._at, self._problem, self.P
        nu = float(at.y[1])
        right = problem.values(second) - mu * self._barrier
        right[0] += 1.0
        right[1] += (mu - second_s) / nu
        y = np.zeros(len(right))
        y[self._free] = self._inverse @ (right[self._free] / self._root) / self._root
        M = -problem.adjoint(y)
        S = mu * P - at.S - symmetric(at.S @ M @ P) - second
        return _Point(y, M, S, (mu - second_s - at.s * float(y[1])) / nu - at.s)

    def infeasibility(self, at: _Point) -> float:
        """How far S is from its constraints."""
        rows = self._problem.values(at.S)
        rows[0] -= 1.0
        rows[1] -= at.s
        return float(np.linalg.norm(rows[self._free]))


def _maximise(problem: _Problem, y: FloatArray) -> FloatArray:
    """y of about the largest δ, from a feasible one; where rounding ends the path, the best y on it."""
    y, order = _start(problem, y), len(problem.base)
    S = np.eye(order) / problem.generators.shape[1]
    s = max(float(np.sum(problem.products * S)), 1.0 / order)
    at = _Point(y, problem.base - problem.adjoint(y), S, s)
    best = at
    for _ in range(STEPS):
        try:
            at, is_optimal = _step(problem, at)
        except (np.linalg.LinAlgError, ValueError):
            # scipy raises ValueError for entries that are not finite.
            break
        best = max(best, at, key=lambda point: float(point.y[0]))
        if is_optimal:
            break
    return best.y


def _step(problem: _Problem, at: _Point) -> tuple[_Point, bool]:
    """Predictor and corrector; and whether the path ends here."""
    newton, cones = _Newton(problem, at), len(problem.base) + 1
    mu = at.gap / cones
    predictor = newton.direction(0.0, np.zeros_like(at.S), 0.0)
    ahead = at.moved(predictor, *at.lengths(predictor)).gap / cones
    centring = min(1.0, max(ahead / mu, SMALLEST_FACTOR)) ** 2
    second = symmetric(predictor.S @ predictor.M @ newton.P)
    corrector = newton.direction(centring * mu, second, predictor.s * float(predictor.y[1]))
    lengths = at.lengths(corrector)
    following = at.moved(corrector, *lengths)
    if not (np.isfinite(following.gap) and is_positive_definite(following.M)):
        raise np.linalg.LinAlgError("the step has left the cone")
    is_optimal = following.gap <= ACCURACY * abs(following.y[0]) and newton.infeasibility(following) <= INFEASIBLE
    return following, bool(is_optimal or not (max(lengths) >= SHORT_STEP))
