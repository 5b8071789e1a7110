"""One Newton system of the interior point: HKM direction, Schur complement, step length."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg as sl

from certnet.solvers._lapack import factor_in_place
from certnet.solvers._rank_two import FaceMap
from formulations._validation import FloatArray

REGULARISATION = (1e-13, 1e-10, 1e-7)
REFINEMENTS = 1
CG_STEPS = 8
CG_TOLERANCE = 1e-10


def symmetric(A: FloatArray) -> FloatArray:
    """(A + Aᵀ)/2."""
    half: FloatArray = 0.5 * (A + A.T)
    return half


def is_positive_definite(A: FloatArray) -> bool:
    """True when Cholesky's factorisation of A runs through."""
    try:
        np.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        return False
    return True


def longest_step(X: FloatArray, direction: FloatArray) -> float:
    """Largest a with ``X + a·direction ⪰ 0`` for X ≻ 0."""
    L = np.linalg.cholesky(X)
    half = sl.solve_triangular(L, direction, lower=True, check_finite=False)
    inner = sl.solve_triangular(L, half.T, lower=True, check_finite=False)
    least = float(sl.eigvalsh(symmetric(inner), subset_by_index=[0, 0])[0])
    return np.inf if least >= 0 else -1.0 / least


def longest_positive_step(x: FloatArray, direction: FloatArray) -> float:
    """Largest a with ``x + a·direction ≥ 0`` for x > 0."""
    down = direction < 0
    with np.errstate(over="ignore"):
        return float(np.min(-x[down] / direction[down])) if down.any() else np.inf


def refined(
    rhs: FloatArray,
    solve: Callable[[FloatArray], FloatArray],
    apply: Callable[[FloatArray], FloatArray],
    scale: FloatArray,
) -> FloatArray:
    """Preconditioned conjugate gradients for ``apply(x) = rhs``; the best iterate counts.

    ``solve``, with the factors of a regularised, rounded matrix, is the preconditioner. Residuals are measured times
    ``scale``.
    """
    x, r = np.zeros_like(rhs), rhs.copy()
    s = solve(r)
    d, rs = s.copy(), float(r @ s)
    best, least = x, float(np.linalg.norm(scale * rhs))
    stop = CG_TOLERANCE * least
    for _ in range(CG_STEPS):
        image = apply(d)
        curvature = float(d @ image)
        if not (curvature > 0 and rs > 0):
            break
        x = x + rs / curvature * d
        r = r - rs / curvature * image
        size = float(np.linalg.norm(scale * r))
        if size < least:
            best, least = x, size
        if not (size > stop):
            break
        s = solve(r)
        new = float(r @ s)
        d, rs = s + new / rs * d, new
    return best


@dataclass(frozen=True, eq=False)
class Direction:
    """Changes of (S, M, y, z)."""

    S: FloatArray
    M: FloatArray
    y: FloatArray
    z: FloatArray


class NewtonSystem:
    """Linearised optimality conditions at (S, M, y, z).

    Constraints are ordered W, t, products: ``losses`` entries of W carry an identity (their own square), the entries
    from ``fixed`` on are products with values z and multipliers y.
    """

    def __init__(
        self,
        constraints: FaceMap,
        point: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
        residual: tuple[FloatArray, FloatArray],
        sizes: tuple[int, int],
    ) -> None:
        self._map = constraints
        self._S, self._M, y, self._z = point
        self._rows, self._dual_matrix = residual
        self._losses, self._fixed = sizes
        self._y = y[self._fixed :]
        self._inverse = symmetric(np.asarray(np.linalg.inv(self._M), dtype=np.float64))
        self._diagonal = np.zeros(len(y))
        self._diagonal[: self._losses] = 1.0
        self._diagonal[self._fixed :] = self._z / self._y
        self._drift = symmetric(self._S @ self._dual_matrix @ self._inverse)
        self._factorise()

    def _factorise(self) -> None:
        P, Q = self._map.gram(self._S), self._map.gram(self._inverse)
        diagonal = self._map.schur_diagonal(P, Q) + self._diagonal
        self._scale = 1.0 / np.sqrt(diagonal)
        for shift in REGULARISATION:
            H = self._map.schur(P, Q, self._scale)
            H[np.diag_indices(len(H))] = 1.0 + shift
            try:
                factor_in_place(H)
            except np.linalg.LinAlgError:
                continue
            self._factor = H.T, False
            return
        raise np.linalg.LinAlgError("The Schur complement lost positive definiteness.")

    def _solve(self, rhs: FloatArray) -> FloatArray:
        solution: FloatArray = self._scale * sl.cho_solve(self._factor, self._scale * rhs, check_finite=False)
        return solution

    def direction(self, mu: float, predictor: Direction | None = None) -> Direction:
        """Direction towards the central path at ``mu``, with Mehrotra's second-order term of a predictor."""
        base = mu * self._inverse - self._S
        shift = mu / self._y - self._z
        if predictor is not None:
            base = base - symmetric(predictor.S @ predictor.M @ self._inverse)
            shift = shift - predictor.z * predictor.y[self._fixed :] / self._y
        S, z = base - self._drift, shift
        y = np.zeros_like(self._diagonal)
        M = self._dual_matrix
        for _ in range(1 + REFINEMENTS):
            # Each pass solves for what rounding left of the linear equations; the change is small, and so is its own
            # rounding error.
            error = self._rows - self._map(S) - self._on_losses(y)
            error[self._fixed :] += z
            change = refined(error, self._solve, self._apply, self._scale)
            adjoint = self._map.adjoint(change)
            S = S + symmetric(self._S @ adjoint @ self._inverse)
            M = M - adjoint
            y = y + change
            z = z - self._z / self._y * change[self._fixed :]
        return Direction(S, symmetric(M), y, z)

    def _on_losses(self, y: FloatArray) -> FloatArray:
        out = np.zeros_like(y)
        out[: self._losses] = y[: self._losses]
        return out

    def _apply(self, x: FloatArray) -> FloatArray:
        image: FloatArray = self._map(symmetric(self._S @ self._map.adjoint(x) @ self._inverse)) + self._diagonal * x
        return image

    def step(self, direction: Direction) -> float:
        """Largest common step that keeps S, M, z and the products' multipliers nonnegative.

        Primal and dual share it because W is a primal residual and a dual multiplier at once.
        """
        return min(
            longest_step(self._S, direction.S),
            longest_step(self._M, direction.M),
            longest_positive_step(self._z, direction.z),
            longest_positive_step(self._y, direction.y[self._fixed :]),
        )

    def complementarity(self, direction: Direction, step: float) -> float:
        """⟨S, M⟩ + ⟨z, y⟩ after a step."""
        matrices = float(np.sum((self._S + step * direction.S) * (self._M + step * direction.M)))
        y = self._y + step * direction.y[self._fixed :]
        return matrices + float(y @ (self._z + step * direction.z))
