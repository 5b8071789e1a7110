"""Joint polishing of all weights, and exact rewritings of a network that never raise its objective."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from certificates.failure import NO_DEADLINE, Deadline
from certnet.training.group_lasso import group_lasso
from certnet.training.pricing import HELD, SAME_DIRECTION
from formulations._validation import FloatArray, IntArray
from formulations.training import TrainingProgram

Network = tuple[FloatArray, FloatArray]
"""U (d×m) and V (c×m)."""

NULL_NEURON = 1e-12
RANK_TOLERANCE = 1e-9
EQUAL = 1e-12
"""Relative increase of an objective that rounding may cause."""


@dataclass(frozen=True)
class Settings:
    """Numbers that an experiment could move."""

    near_kink: float = 1e-4
    """Relative distance from a kink at which a neuron is put onto it. Not measured."""
    exchange_steps: int = 100
    """L-BFGS steps after an exchange. Not measured."""
    tolerance_per_gap: float = 1e-4
    """Accuracy of the output weights in an exchange, relative to the gap that is being closed. Not measured."""
    smallest_tolerance: float = 1e-10
    """The least such accuracy. Not measured."""
    largest_tolerance: float = 1e-7
    """The greatest such accuracy. Not measured."""


SETTINGS = Settings()


class _LateError(Exception):
    """The deadline has passed."""


def balance(U: FloatArray, V: FloatArray) -> Network:
    """The same function with ‖u_j‖ = ‖v_j‖, which minimises the regulariser; null neurons leave."""
    hidden, output = np.linalg.norm(U, axis=0), np.linalg.norm(V, axis=0)
    alive = (hidden > 0) & (output > 0)
    ratio = np.sqrt(output[alive] / hidden[alive])
    return U[:, alive] * ratio, V[:, alive] / ratio


def merge(U: FloatArray, V: FloatArray) -> Network:
    """Add up neurons of equal hidden direction (cos > 1 − 1e-9), balanced. Exact up to that tolerance."""
    U, V = balance(U, V)
    size = np.linalg.norm(U, axis=0)
    unit, output = U / size, V * size
    order = np.argsort(-np.linalg.norm(output, axis=0), kind="stable")
    owner: IntArray = np.full(U.shape[1], -1)
    for j in order:
        if owner[j] < 0:
            near = (np.sum((unit - unit[:, j : j + 1]) ** 2, axis=0) < 2 * SAME_DIRECTION) & (owner < 0)
            owner[near] = j
    kept, group = np.unique(owner, return_inverse=True)
    total = np.zeros((V.shape[0], len(kept)))
    np.add.at(total.T, group, output.T)
    return balance(unit[:, kept], total)


def prune(program: TrainingProgram, U: FloatArray, V: FloatArray, *, tolerance: float = NULL_NEURON) -> Network:
    """Drop neurons that are off on all data, and those whose ‖u_j‖‖v_j‖ is below a fraction of the largest."""
    U, V = balance(U, V)
    weight = np.linalg.norm(U, axis=0) * np.linalg.norm(V, axis=0)
    on = np.any(program.X @ U > 0, axis=0)
    alive = on & (weight > tolerance * weight.max(initial=0.0))
    return U[:, alive], V[:, alive]


def refit(
    program: TrainingProgram,
    U: FloatArray,
    V: FloatArray,
    fresh: FloatArray | None = None,
    *,
    tolerance: float = 1e-10,
    deadline: Deadline = NO_DEADLINE,
) -> Network:
    """Best output weights for the directions of U and for fresh ones, by the group lasso; null neurons leave.

    Args:
        program: the training problem.
        U, V: weights, (d, m) and (c, m), where the fit starts.
        fresh: (d, q) unit columns, or None.
        tolerance, deadline: see ``group_lasso``.
    """
    U, V = balance(U, V)
    size = np.linalg.norm(U, axis=0)
    more = np.zeros((U.shape[0], 0)) if fresh is None else fresh
    unit, start = np.hstack([U / size, more]), np.hstack([V * size, np.zeros((V.shape[0], more.shape[1]))])
    H = np.maximum(program.X @ unit, 0.0)
    return balance(unit, group_lasso(H, program.loss, program.gamma, start, tolerance=tolerance, deadline=deadline).V)


def exchange(
    program: TrainingProgram,
    network: Network,
    directions: FloatArray,
    *,
    joint: bool,
    gap: float = 0.0,
    deadline: Deadline = NO_DEADLINE,
) -> Network:
    """One step of the exchange method: directions that pay join the network, and all output weights are fitted anew.

    Args:
        program: the training problem.
        network: U (d×m) and V (c×m); what is returned is never worse, up to rounding.
        directions: (d, q) unit columns.
        joint: descend in all weights afterwards; pays while neurons are few.
        gap: relative gap that is being closed; the weights need not be much more accurate.
        deadline: the weights reached are returned after it.
    """
    s = SETTINGS
    tolerance = min(max(s.tolerance_per_gap * gap, s.smallest_tolerance), s.largest_tolerance)
    fitted = refit(program, *network, directions, tolerance=tolerance, deadline=deadline)
    if joint:
        fitted = polish(program, *fitted, max_iterations=s.exchange_steps, deadline=deadline)
    # At an equal objective the residual of the new fit is the better dual.
    return fitted if program.objective(*fitted) <= (1.0 + EQUAL) * program.objective(*network) else network


def polish(
    program: TrainingProgram,
    U: FloatArray,
    V: FloatArray,
    *,
    max_iterations: int = 300,
    deadline: Deadline = NO_DEADLINE,
) -> Network:
    """Descend in all weights by L-BFGS, then refit, prune and merge. Never worse than the input.

    Data points that a neuron has exactly on its kink (x_iᵀu_j = 0) stay there, so that minimisers on kinks, where
    L-BFGS alone would stall, are reached to full accuracy.

    Args:
        program: the training problem; its X has the bias column, if any.
        U, V: weights, (d, m) and (c, m); m = 0 is allowed.
        max_iterations: of L-BFGS.
        deadline: the current weights are returned after it.
    """

    def descended(U: FloatArray, V: FloatArray) -> Network:
        return descend(program, U, V, max_iterations=max_iterations, deadline=deadline)

    def snapped(U: FloatArray, V: FloatArray) -> Network:
        near = _snap(program.X, U, V)
        return (U, V) if near is None else descended(*near)

    best, lowest = (U, V), program.objective(U, V)
    steps: tuple[Callable[[FloatArray, FloatArray], Network], ...] = (
        balance,
        descended,
        snapped,
        merge,
        lambda U, V: refit(program, U, V, deadline=deadline),
        lambda U, V: prune(program, U, V),
    )
    for improve in steps:
        if improve is not balance and (deadline.passed or best[0].shape[1] == 0):
            break
        candidate = improve(*best)
        value = program.objective(*candidate)
        if value <= lowest:
            best, lowest = candidate, value
    return best


def descend(
    program: TrainingProgram, U: FloatArray, V: FloatArray, *, max_iterations: int, deadline: Deadline = NO_DEADLINE
) -> Network:
    """L-BFGS in coordinates where the loss has a Hessian with unit diagonal blocks, and kinks are held."""
    U, V = balance(U, V)
    if U.shape[1] == 0:
        return U, V
    X, Y, gamma = program.X, program.Y, program.gamma
    # XT is nearly orthonormal; directions that X hardly sees are not blown up.
    eigenvalues, vectors = np.linalg.eigh(X.T @ X)
    T: FloatArray = vectors / np.sqrt(np.maximum(eigenvalues, 1e-10 * max(float(eigenvalues[-1]), 1e-300)))
    XT, metric = X @ T, T.T @ T
    held = _kinks(X, U, HELD)
    project = _projection(XT, held)
    hidden_scale = 1.0 / np.linalg.norm(V, axis=0)
    activation = np.linalg.norm(np.maximum(X @ U, 0.0), axis=0)
    # Neurons that are nearly off would get enormous steps.
    output_scale = 1.0 / np.maximum(activation, max(1e-3 * float(activation.max()), 1e-300))
    Z = np.linalg.solve(T, U) / hidden_scale
    reached: tuple[float, FloatArray] = np.inf, np.zeros(0)

    def weights(point: FloatArray) -> Network:
        return point[: Z.size].reshape(Z.shape) * hidden_scale, point[Z.size :].reshape(V.shape) * output_scale

    def evaluate(point: FloatArray) -> tuple[float, FloatArray]:
        nonlocal reached
        # One iteration may take many evaluations, so the clock is looked at before each.
        if len(reached[1]) and deadline.passed:
            raise _LateError
        hidden, output = weights(point)
        product = XT @ hidden
        product[held] = 0.0
        active = product > 0
        H = product * active
        residual = H @ output.T - Y
        cost = metric @ hidden
        value = 0.5 * float(np.sum(residual**2)) + 0.5 * gamma * float(np.sum(hidden * cost) + np.sum(output**2))
        slope = (XT.T @ ((residual @ output) * active) + gamma * cost) * hidden_scale
        change = (residual.T @ H + gamma * output) * output_scale
        if not value >= reached[0]:
            reached = value, point.copy()
        return value, np.concatenate([project(slope).ravel(), change.ravel()])

    start = np.concatenate([project(Z).ravel(), (V / output_scale).ravel()])
    options = {"maxiter": max_iterations, "maxfun": 2 * max_iterations, "maxcor": 30, "ftol": 1e-15, "gtol": 1e-12}
    try:
        found = minimize(evaluate, start, jac=True, method="L-BFGS-B", options=options).x
    except _LateError:
        found = reached[1]
    if not np.isfinite(found).all():
        return U, V
    hidden, output = weights(found)
    return balance(T @ hidden, output)


def _kinks(X: FloatArray, U: FloatArray, near: float) -> NDArray[np.bool_]:
    """(n, m) True where a nonzero data row is orthogonal to u_j up to ``near``."""
    size = np.outer(np.linalg.norm(X, axis=1), np.linalg.norm(U, axis=0))
    return np.asarray((np.abs(X @ U) <= near * size) & (size > 0))


def _snap(X: FloatArray, U: FloatArray, V: FloatArray) -> Network | None:
    """The network with every neuron put exactly on the kinks that it nearly touches, None if it touches none.

    Where descent runs into a kink it stalls beside it; on the kink it can go on.
    """
    near = _kinks(X, U, SETTINGS.near_kink)
    if (near == _kinks(X, U, HELD)).all():
        return None
    project = _projection(X, near, fewer=True)
    return project(project(U)), V


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


def reduce_width(X: FloatArray, U: FloatArray, V: FloatArray) -> Network:
    """At most nc + 1 neurons (the critical width) with the same outputs on X and no larger regulariser.

    Carathéodory: each neuron is a multiple ‖u_j‖‖v_j‖ ≥ 0 of an atom (Xû_j)₊v̂_jᵀ; a null vector of the atoms, with
    their count as a further row, empties one neuron after the other.
    """
    U, V = balance(U, V)
    unit_U, unit_V = U / np.linalg.norm(U, axis=0), V / np.linalg.norm(V, axis=0)
    weight = np.linalg.norm(U, axis=0) ** 2
    H = np.maximum(X @ unit_U, 0.0)
    atoms = np.vstack([np.einsum("nm,cm->ncm", H, unit_V).reshape(-1, H.shape[1]), np.ones((1, H.shape[1]))])
    alive = np.arange(H.shape[1])
    while len(alive) > len(atoms):
        part = alive[: len(atoms) + 1]
        null = np.linalg.svd(atoms[:, part])[2][-1]
        null = null if null.max() > 0 else -null
        ratio = np.where(null > 0, weight[part] / np.where(null > 0, null, 1.0), np.inf)
        k = int(np.argmin(ratio))
        weight[part] = np.maximum(weight[part] - ratio[k] * null, 0.0)
        weight[part[k]] = 0.0
        alive = alive[weight[alive] > 0]
    root = np.sqrt(weight[alive])
    return unit_U[:, alive] * root, unit_V[:, alive] * root
