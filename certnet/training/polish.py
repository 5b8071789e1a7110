"""Joint polishing of all weights, and exact rewritings of a network that never raise its objective."""

import time
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from certnet.training.group_lasso import group_lasso
from certnet.training.pricing import HELD, SAME_DIRECTION
from formulations._validation import FloatArray, IntArray
from formulations.training import TrainingProgram


class _LateError(Exception):
    """The deadline has passed."""


Network = tuple[FloatArray, FloatArray]
"""U (d×m) and V (c×m)."""

NULL_NEURON = 1e-12
RANK_TOLERANCE = 1e-9
NEAR_KINK = 1e-4
STACKED_ENTRIES = 1 << 22
"""Numbers in a stack of projectors; where there would be more, faces are treated one by one."""


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
    unit = U / size
    output = V * size
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


def refit(program: TrainingProgram, U: FloatArray, V: FloatArray, *, deadline: float | None = None) -> Network:
    """Best output weights for the directions of U, by the group lasso; balanced, null neurons dropped."""
    U, V = balance(U, V)
    size = np.linalg.norm(U, axis=0)
    unit = U / size
    H = np.maximum(program.X @ unit, 0.0)
    return balance(unit, group_lasso(H, program.Y, program.gamma, V * size, deadline=deadline).V)


def polish(
    program: TrainingProgram,
    U: FloatArray,
    V: FloatArray,
    *,
    max_iterations: int = 300,
    deadline: float | None = None,
) -> Network:
    """Descend in all weights by L-BFGS, then refit, prune and merge. Never worse than the input.

    Data points that a neuron has exactly on its kink (x_iᵀu_j = 0) stay there, so that minimisers on kinks, where
    L-BFGS alone would stall, are reached to full accuracy.

    Args:
        program: the training problem; its X has the bias column, if any.
        U, V: weights, (d, m) and (c, m); m = 0 is allowed.
        max_iterations: of L-BFGS.
        deadline: value of ``time.monotonic()`` after which the current weights are returned.
    """
    best = (U, V)
    lowest = program.objective(U, V)

    def keep(candidate: Network) -> None:
        nonlocal best, lowest
        value = program.objective(*candidate)
        if value <= lowest:
            best, lowest = candidate, value

    keep(balance(U, V))
    if best[0].shape[1] == 0:
        return best

    def snapped() -> Network:
        near = _snap(program.X, *best)
        return best if near is None else descend(program, *near, max_iterations=max_iterations, deadline=deadline)

    steps: list[Callable[[], Network]] = [
        lambda: descend(program, *best, max_iterations=max_iterations, deadline=deadline),
        snapped,
        lambda: merge(*best),
        lambda: refit(program, *best, deadline=deadline),
        lambda: prune(program, *best),
    ]
    for improve in steps:
        if deadline is not None and time.monotonic() > deadline:
            break
        keep(improve())
    return best


def descend(
    program: TrainingProgram, U: FloatArray, V: FloatArray, *, max_iterations: int, deadline: float | None
) -> Network:
    """L-BFGS in coordinates where the loss has a Hessian with unit diagonal blocks, and kinks are held."""
    U, V = balance(U, V)
    if U.shape[1] == 0:
        return U, V
    X, Y, gamma = program.X, program.Y, program.gamma
    T = _whitening(X)
    held = _kinks(X, U)
    faces = _faces(X @ T, held)
    hidden_scale = 1.0 / np.linalg.norm(V, axis=0)
    activation = np.linalg.norm(np.maximum(X @ U, 0.0), axis=0)
    # Neurons that are nearly off would get enormous steps.
    output_scale = 1.0 / np.maximum(activation, max(1e-3 * float(activation.max()), 1e-300))
    XT = X @ T
    metric = T.T @ T
    Z = np.linalg.solve(T, U) / hidden_scale
    split = Z.size

    project = _projection(faces, len(Z))
    reached: tuple[float, FloatArray] = np.inf, np.zeros(0)

    def evaluate(point: FloatArray) -> tuple[float, FloatArray]:
        nonlocal reached
        if deadline is not None and len(reached[1]) and time.monotonic() > deadline:
            raise _LateError
        hidden = point[:split].reshape(Z.shape) * hidden_scale
        output = point[split:].reshape(V.shape) * output_scale
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

    start = np.concatenate([project(Z.copy()).ravel(), (V / output_scale).ravel()])
    options = {"maxiter": max_iterations, "maxfun": 2 * max_iterations, "maxcor": 30, "ftol": 1e-15, "gtol": 1e-12}
    try:
        found = minimize(evaluate, start, jac=True, method="L-BFGS-B", options=options).x
    except _LateError:
        # One iteration may take many evaluations, so the clock is looked at before each.
        found = reached[1]
    if not np.isfinite(found).all():
        return U, V
    hidden = T @ (found[:split].reshape(Z.shape) * hidden_scale)
    return balance(hidden, found[split:].reshape(V.shape) * output_scale)


def _whitening(X: FloatArray) -> FloatArray:
    """T (d×d) with XT nearly orthonormal; directions that X hardly sees are not blown up."""
    eigenvalues, vectors = np.linalg.eigh(X.T @ X)
    largest = max(float(eigenvalues[-1]), 1e-300)
    whitening: FloatArray = vectors / np.sqrt(np.maximum(eigenvalues, 1e-10 * largest))
    return whitening


def _kinks(X: FloatArray, U: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(n, m) True where a nonzero data row is orthogonal to u_j up to rounding."""
    size = np.outer(np.linalg.norm(X, axis=1), np.linalg.norm(U, axis=0))
    return (np.abs(X @ U) <= HELD * size) & (size > 0)


def _snap(X: FloatArray, U: FloatArray, V: FloatArray) -> Network | None:
    """The network with every neuron put exactly on the kinks that it nearly touches, None if it touches none.

    Where descent runs into a kink it stalls beside it; on the kink it can go on.
    """
    size = np.outer(np.linalg.norm(X, axis=1), np.linalg.norm(U, axis=0))
    distance = np.abs(X @ U)
    near = (distance <= NEAR_KINK * size) & (size > 0)
    if not (near & (distance > HELD * size)).any():
        return None
    U = U.copy()
    for j, basis in _faces(X, near):
        if basis.shape[1] < len(U):
            for _ in range(2):
                U[:, j] -= basis @ (basis.T @ U[:, j])
    return U, V


def _faces(X: FloatArray, held: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> list[tuple[int, FloatArray]]:
    """For each neuron with held rows, an orthonormal basis (d×r) of their span."""
    faces = []
    for j in np.flatnonzero(held.any(axis=0)):
        rows = X[held[:, j]]
        rows = rows / np.linalg.norm(rows, axis=1)[:, None]
        _, singular, Vt = np.linalg.svd(rows, full_matrices=False)
        faces.append((int(j), Vt[singular > RANK_TOLERANCE * singular[0]].T))
    return faces


def _projection(faces: list[tuple[int, FloatArray]], d: int) -> Callable[[FloatArray], FloatArray]:
    """A function that moves column j of a matrix (d×m), in place, to the complement of its face, for all faces."""
    if len(faces) * d * d > STACKED_ENTRIES:

        def one_by_one(Z: FloatArray) -> FloatArray:
            for j, basis in faces:
                Z[:, j] -= basis @ (basis.T @ Z[:, j])
            return Z

        return one_by_one
    columns = np.array([j for j, _ in faces], dtype=np.int64)
    projectors = np.array([basis @ basis.T for _, basis in faces]).reshape(-1, d, d)

    def at_once(Z: FloatArray) -> FloatArray:
        Z[:, columns] -= (projectors @ Z[:, columns].T[:, :, None])[:, :, 0].T
        return Z

    return at_once


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
        null = np.linalg.svd(atoms[:, alive[: len(atoms) + 1]])[2][-1]
        null = null if null.max() > 0 else -null
        part = alive[: len(atoms) + 1]
        ratio = np.where(null > 0, weight[part] / np.where(null > 0, null, 1.0), np.inf)
        k = int(np.argmin(ratio))
        weight[part] = np.maximum(weight[part] - ratio[k] * null, 0.0)
        weight[part[k]] = 0.0
        alive = alive[weight[alive] > 0]
    root = np.sqrt(weight[alive])
    return unit_U[:, alive] * root, unit_V[:, alive] * root
