"""Descent in all weights of a network by L-BFGS, which keeps data rows on the kinks of neurons that hold them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from certificates.failure import Deadline
from certnet.training.pricing import HELD
from formulations._validation import FloatArray
from formulations.loss import Loss
from formulations.training import TrainingProgram

RANK_TOLERANCE = 1e-9
SMALLEST_CURVATURE = 1e-3
"""Of a row, relative to the mean, where coordinates are scaled."""


@dataclass(frozen=True)
class Settings:
    """Numbers that an experiment could move."""

    near_kink: float = 1e-4
    """Relative distance from a kink at which a neuron is put onto it. Not measured."""


SETTINGS = Settings()


class _LateError(Exception):
    """The deadline has passed."""


class Descent:
    """The objective over all weights and the output bias from a balanced network, with another loss at an offset.

    Its coordinates are such that the loss has a Hessian with unit diagonal blocks; kinks are held.
    """

    def __init__(self, program: TrainingProgram, U: FloatArray, V: FloatArray, loss: Loss, offset: FloatArray) -> None:
        self.loss, self.offset, self.gamma = loss, offset, program.gamma
        X = program.X
        H = np.maximum(X @ U, 0.0)
        a = loss.bias(H @ V.T + offset)
        curvature = loss.curvature(H @ V.T + offset + a)[0].mean(axis=1)
        curvature = np.maximum(curvature, SMALLEST_CURVATURE * max(float(curvature.mean()), 1e-300))
        rows = np.sqrt(curvature)[:, None]
        # rows·XT is nearly orthonormal; directions that X hardly sees are not blown up.
        eigenvalues, vectors = np.linalg.eigh((rows * X).T @ (rows * X))
        self.T: FloatArray = vectors / np.sqrt(np.maximum(eigenvalues, 1e-10 * max(float(eigenvalues[-1]), 1e-300)))
        self.XT, self.metric = X @ self.T, self.T.T @ (program.penalised[:, None] * self.T)
        self.held = _kinks(X, U, HELD)
        self.project = _projection(self.XT, self.held)
        self.hidden_scale = 1.0 / np.linalg.norm(V, axis=0)
        activation = np.linalg.norm(rows * H, axis=0)
        # Neurons that are nearly off would get enormous steps.
        self.output_scale = 1.0 / np.maximum(activation, max(1e-3 * float(activation.max()), 1e-300))
        self.bias_scale = 1.0 / np.sqrt(float(curvature.sum())) if loss.has_bias else 0.0
        Z = self.project(np.linalg.solve(self.T, U) / self.hidden_scale)
        self.shapes = Z.shape, V.shape
        scaled_bias = a / self.bias_scale if loss.has_bias else np.zeros(0)
        self.start: FloatArray = np.concatenate([Z.ravel(), (V / self.output_scale).ravel(), scaled_bias])

    def run(self, *, max_iterations: int, deadline: Deadline) -> tuple[FloatArray, FloatArray]:
        """(U, V) that L-BFGS reaches."""
        best: tuple[float, FloatArray] = np.inf, np.zeros(0)

        def evaluate(point: FloatArray) -> tuple[float, FloatArray]:
            nonlocal best
            # One iteration may take many evaluations, so the clock is looked at before each.
            if len(best[1]) and deadline.passed:
                raise _LateError
            value, slope = self.evaluate(point)
            if not value >= best[0]:
                best = value, point.copy()
            return value, slope

        options = {"maxiter": max_iterations, "maxfun": 2 * max_iterations, "maxcor": 30, "ftol": 1e-15, "gtol": 1e-12}
        try:
            found = minimize(evaluate, self.start, jac=True, method="L-BFGS-B", options=options).x
        except _LateError:
            found = best[1]
        hidden, output, _ = self.weights(found if np.isfinite(found).all() else self.start)
        return np.asarray(self.T @ hidden), output

    def weights(self, point: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(T⁻¹U, V, a) of a point."""
        (d, m), (c, _) = self.shapes
        hidden, output, a = np.split(point, [d * m, (d + c) * m])
        a = a * self.bias_scale if len(a) else np.zeros(c)
        return hidden.reshape(d, m) * self.hidden_scale, output.reshape(c, m) * self.output_scale, a

    def evaluate(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient."""
        hidden, output, a = self.weights(point)
        product = self.XT @ hidden
        product[self.held] = 0.0
        active = product > 0
        H = product * active
        fitted = H @ output.T + self.offset
        W = self.loss.dual(fitted, a)
        cost = self.metric @ hidden
        decay = 0.5 * self.gamma * float(np.sum(hidden * cost) + np.sum(output**2))
        slope = (self.gamma * cost - self.XT.T @ ((W @ output) * active)) * self.hidden_scale
        change = (self.gamma * output - W.T @ H) * self.output_scale
        parts = [self.project(slope).ravel(), change.ravel()]
        if self.loss.has_bias:
            parts.append((self.loss.bias_decay * a - W.sum(axis=0)) * self.bias_scale)
        return self.loss.value(fitted, a) + decay, np.concatenate(parts)


def _kinks(X: FloatArray, U: FloatArray, near: float) -> NDArray[np.bool_]:
    """(n, m) True where a nonzero data row is orthogonal to u_j up to ``near``."""
    size = np.outer(np.linalg.norm(X, axis=1), np.linalg.norm(U, axis=0))
    return np.asarray((np.abs(X @ U) <= near * size) & (size > 0))


def snapped_to_kinks(X: FloatArray, U: FloatArray) -> FloatArray | None:
    """U with every neuron put exactly on the kinks that it nearly touches, None if it touches none.

    Where descent runs into a kink it stalls beside it; on the kink it can go on.
    """
    near = _kinks(X, U, SETTINGS.near_kink)
    if (near == _kinks(X, U, HELD)).all():
        return None
    project = _projection(X, near, fewer=True)
    return project(project(U))


def _projection(X: FloatArray, held: NDArray[np.bool_], *, fewer: bool = False) -> Callable[[FloatArray], FloatArray]:
    """A function that moves column j of a matrix (d×m) to the complement of the rows of X that neuron j holds.

    With ``fewer`` neurons stay as they are whose rows span everything.
    """
    columns, bases = [], []
    for j in np.flatnonzero(held.any(axis=0)).tolist():
        rows = X[held[:, j]]
        rows = rows / np.linalg.norm(rows, axis=1)[:, None]
        _, singular, Vt = np.linalg.svd(rows, full_matrices=False)
        basis = Vt[singular > RANK_TOLERANCE * singular[0]].T
        if not (fewer and basis.shape[1] == X.shape[1]):
            columns.append(j)
            bases.append(basis)
    stacked = np.zeros((len(bases), X.shape[1], max((basis.shape[1] for basis in bases), default=0)))
    for stack, basis in zip(stacked, bases, strict=True):
        stack[:, : basis.shape[1]] = basis
    transposed = stacked.transpose(0, 2, 1)

    def project(Z: FloatArray) -> FloatArray:
        if not columns:
            return Z
        Z = Z.copy()
        Z[:, columns] -= (stacked @ (transposed @ Z[:, columns].T[:, :, None]))[:, :, 0].T
        return Z

    return project
