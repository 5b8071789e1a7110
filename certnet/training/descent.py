"""Descent in all weights of a network by L-BFGS, which keeps data rows on the kinks of neurons that hold them."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from certificates.failure import Deadline
from certnet.solvers.iterations import lbfgs
from certnet.training.climbing import HELD
from formulations._validation import FloatArray, IntArray
from formulations.loss import FREE_BIAS, Loss
from formulations.training import TrainingProgram

Kinks = tuple[IntArray, IntArray]
"""Rows and neurons, pair by pair."""

RANK_TOLERANCE = 1e-9
LEAST_EIGENVALUE = 1e-10
SMALLEST_CURVATURE = 1e-3
"""Of a row, relative to the mean, where coordinates are scaled."""

NEAR_KINK = 1e-4  # Relative distance from a kink at which a neuron is put onto it.
# Numbers of a temporary array, rows times neurons. Measured: an evaluation on 10,000 rows with 100 neurons takes 8 ms,
# and 18 ms in one piece.
BLOCK = 50_000


class Descent:
    """The objective over all weights and the output bias from a balanced network, with another loss at an offset.

    Its coordinates are such that the Hessian, decay included, has about unit diagonal blocks; kinks are held.
    """

    def __init__(self, program: TrainingProgram, U: FloatArray, V: FloatArray, loss: Loss, offset: FloatArray) -> None:
        self.loss, self.gamma = loss, program.gamma
        X, parts = program.X, tuple(_blocks(len(program.X), U.shape[1]))
        fitted = np.concatenate([np.maximum(X[part] @ U, 0.0) @ V.T for part in parts]) + offset
        a = loss.bias(fitted)
        curvature = loss.curvature(fitted + a)[0].mean(axis=1)
        curvature = np.maximum(curvature, SMALLEST_CURVATURE * max(float(curvature.mean()), 1e-300))
        rows = np.sqrt(curvature)[:, None]
        # Without the decay, directions that X hardly sees would be blown up until it is all that descent sees.
        eigenvalues, vectors = np.linalg.eigh((rows * X).T @ (rows * X))
        eigenvalues = np.maximum(eigenvalues, LEAST_EIGENVALUE * max(float(eigenvalues[-1]), 1e-300))
        decay = program.gamma * V.shape[1] / max(float(np.sum(V**2)), 1e-300)
        self.T: FloatArray = vectors / np.sqrt(eigenvalues + decay)
        XT, self.metric = X @ self.T, self.T.T @ (program.penalised[:, None] * self.T)
        kinks = _kinks(X, U, HELD)
        self.project = _projection(XT, kinks)
        self.hidden_scale = 1.0 / np.linalg.norm(V, axis=0)
        squares = sum(np.sum((rows[part] * np.maximum(X[part] @ U, 0.0)) ** 2, axis=0) for part in parts)
        activation = np.sqrt(squares)
        # Neurons that are nearly off would get enormous steps.
        self.output_scale = 1.0 / np.maximum(activation, max(1e-3 * float(activation.max()), 1e-300))
        self.bias_scale = 1.0 / np.sqrt(float(curvature.sum())) if loss.has_bias else 0.0
        # The bias is a variable here, so that rows are apart, and its decay counts once.
        free = replace(loss, bias_decay=FREE_BIAS) if loss.has_bias else loss
        self.parts = [(XT[part], offset[part], free.take(part), _held(kinks, part)) for part in parts]
        Z = self.project(np.linalg.solve(self.T, U) / self.hidden_scale)
        self.shapes = Z.shape, V.shape
        scaled_bias = a / self.bias_scale if loss.has_bias else np.zeros(0)
        self.start: FloatArray = np.concatenate([Z.ravel(), (V / self.output_scale).ravel(), scaled_bias])

    def run(self, *, max_iterations: int, deadline: Deadline) -> tuple[FloatArray, FloatArray]:
        """(U, V) that L-BFGS reaches."""
        found = lbfgs(self.evaluate, self.start, max_iterations=max_iterations, deadline=deadline)
        hidden, output, _ = self.weights(found)
        return np.asarray(self.T @ hidden), output

    def weights(self, point: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(T⁻¹U, V, a) of a point."""
        (d, m), (c, _) = self.shapes
        hidden, output, a = np.split(point, [d * m, (d + c) * m])
        a = a * self.bias_scale if len(a) else np.zeros(c)
        return hidden.reshape(d, m) * self.hidden_scale, output.reshape(c, m) * self.output_scale, a

    def evaluate(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient, in blocks of rows."""
        hidden, output, a = self.weights(point)
        cost, decays = self.metric @ hidden, self.loss.has_bias
        value = 0.5 * self.gamma * float(np.sum(hidden * cost) + np.sum(output**2))
        slope, change, total = self.gamma * cost, self.gamma * output, self.loss.bias_decay * a if decays else a
        if decays:
            value += 0.5 * self.loss.bias_decay * float(a @ a)
        for XT, offset, loss, held in self.parts:
            H = XT @ hidden
            H[held] = 0.0
            np.maximum(H, 0.0, out=H)
            fitted = H @ output.T + offset
            W = loss.dual(fitted, a)
            value += loss.value(fitted, a)
            change -= W.T @ H
            total = total - W.sum(axis=0)
            back = W @ output
            back *= H > 0
            slope -= XT.T @ back
        parts = [self.project(slope * self.hidden_scale).ravel(), (change * self.output_scale).ravel()]
        return value, np.concatenate([*parts, total * self.bias_scale] if decays else parts)


def _blocks(n: int, width: int) -> Iterator[IntArray]:
    """The rows, in blocks in which a temporary array of this width is not too large."""
    size = max(1, BLOCK // max(width, 1))
    return (np.arange(k, min(k + size, n)) for k in range(0, n, size))


def _kinks(X: FloatArray, U: FloatArray, near: float) -> Kinks:
    """The nonzero data rows i and the neurons j with x_i orthogonal to u_j up to ``near``."""
    rows, columns, size = [], [], np.linalg.norm(U, axis=0)
    for part in _blocks(len(X), U.shape[1]):
        allowed = np.outer(np.linalg.norm(X[part], axis=1), size)
        i, j = np.nonzero((np.abs(X[part] @ U) <= near * allowed) & (allowed > 0))
        rows.append(part[i])
        columns.append(j)
    return np.concatenate(rows), np.concatenate(columns)


def _held(kinks: Kinks, part: IntArray) -> Kinks:
    """The kinks in a block of rows, which are counted from its first."""
    rows, columns = kinks
    inside = (rows >= part[0]) & (rows <= part[-1])
    return rows[inside] - part[0], columns[inside]


def snapped_to_kinks(X: FloatArray, U: FloatArray) -> FloatArray | None:
    """U with every neuron put exactly on the kinks that it nearly touches, None if it touches none.

    Where descent runs into a kink it stalls beside it; on the kink it can go on.
    """
    near = _kinks(X, U, NEAR_KINK)
    if len(near[0]) == len(_kinks(X, U, HELD)[0]):
        return None
    project = _projection(X, near, fewer=True)
    return project(project(U))


def _projection(
    X: FloatArray, kinks: tuple[IntArray, IntArray], *, fewer: bool = False
) -> Callable[[FloatArray], FloatArray]:
    """A function that moves column j of a matrix (d×m) to the complement of the rows of X that neuron j holds.

    With ``fewer`` neurons stay as they are whose rows span everything.
    """
    columns, bases = [], []
    for j in np.unique(kinks[1]).tolist():
        rows = X[kinks[0][kinks[1] == j]]
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
