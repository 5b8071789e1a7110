"""Joint polishing of all weights, and exact rewritings of a network that never raise its objective."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.optimize import minimize_scalar

from certificates.failure import NO_DEADLINE, Deadline
from certnet.training.descent import Descent, snapped_to_kinks
from certnet.training.group_lasso import GroupLassoResult, group_lasso, spread
from certnet.training.pricing import SAME_DIRECTION, length
from formulations import Dual, MergedRows
from formulations._validation import FloatArray, IntArray
from formulations.losses import smoothed
from formulations.program import NO_PRODUCTS
from formulations.training import TrainingProgram

Network = tuple[FloatArray, FloatArray]
"""U (d×m) and V (c×m)."""

NULL_NEURON = 1e-12
EQUAL = 1e-12
"""Relative increase of an objective that rounding may cause."""

EXCHANGE_STEPS = 100  # L-BFGS steps after an exchange.
TOLERANCE_PER_GAP = 1e-4  # Accuracy of the output weights in an exchange, relative to the gap that is being closed.
SMALLEST_TOLERANCE = 1e-10  # The least such accuracy.
LARGEST_TOLERANCE = 1e-7  # The greatest such accuracy.
CENTRE_TOLERANCE = 1e-4  # Accuracy of the dual about which a loss with kinks is smoothed for a descent.
BEYOND_NEWTON = 10.0  # Multiple of Newton's step up to which neurons that join are tried.
SMOOTHING = 1e-2  # ε of the proximal point step in which a loss with kinks is descended, over the targets' spread.


def balance(program: TrainingProgram, U: FloatArray, V: FloatArray) -> Network:
    """The same function with ‖u_j‖ = ‖v_j‖, which minimises the regulariser; null neurons leave.

    ‖u_j‖ is over the coordinates that cost something. Where it is 0 the neuron is a constant that costs nothing, which
    the output bias holds.
    """
    hidden, output = length(program, U), np.linalg.norm(V, axis=0)
    alive = (hidden > 0) & (output > 0)
    ratio = np.sqrt(output[alive] / hidden[alive])
    return U[:, alive] * ratio, V[:, alive] / ratio


def merge(program: TrainingProgram, U: FloatArray, V: FloatArray) -> Network:
    """Add up neurons of equal hidden direction (cos > 1 − 1e-9), balanced. Exact up to that tolerance."""
    U, V = balance(program, U, V)
    size = length(program, U)
    unit, output = U / size, V * size
    apart = unit
    if len(program.ball):
        apart = np.vstack([unit[:-1], (unit[-1] + program.ball[:-1] @ unit[:-1]) / np.sqrt(program.ball[-1])])
    order = np.argsort(-np.linalg.norm(output, axis=0), kind="stable")
    owner: IntArray = np.full(U.shape[1], -1)
    for j in order:
        if owner[j] < 0:
            near = (np.sum((apart - apart[:, j : j + 1]) ** 2, axis=0) < 2 * SAME_DIRECTION) & (owner < 0)
            owner[near] = j
    kept, group = np.unique(owner, return_inverse=True)
    total = np.zeros((V.shape[0], len(kept)))
    np.add.at(total.T, group, output.T)
    return balance(program, unit[:, kept], total)


def prune(program: TrainingProgram, U: FloatArray, V: FloatArray, *, tolerance: float = NULL_NEURON) -> Network:
    """Drop neurons that are off on all data, and those whose ‖u_j‖‖v_j‖ is below a fraction of the largest."""
    U, V = balance(program, U, V)
    weight = length(program, U) * np.linalg.norm(V, axis=0)
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
    """Best output weights for the directions of U and for fresh ones (d×q) of length 1, by the group lasso from V on.

    Null neurons leave.
    """
    unit, fitted = _outputs(program, U, V, fresh, tolerance=tolerance, deadline=deadline)
    return balance(program, unit, fitted.V)


def network_dual(
    program: TrainingProgram,
    U: FloatArray,
    V: FloatArray,
    more: FloatArray | None = None,
    *,
    tolerance: float = 1e-10,
    deadline: Deadline = NO_DEADLINE,
) -> FloatArray:
    """W (n, c), the dual candidate that a network offers.

    ``program.dual`` where the loss has no kinks. Where it has some, ∇ℓ says nothing at a row on its kink, and this is
    the multiplier of the group lasso over the network's own directions and ``more`` (d, q), of length 1: the more
    directions with a large price are among them, the smaller is the largest.
    """
    if not program.loss.kind.has_kinks:
        return program.dual(U, V)
    return _outputs(program, U, V, more, tolerance=tolerance, deadline=deadline)[1].W


def offered_dual(merged: MergedRows, network: Network, more: FloatArray | None = None) -> Dual:
    """The dual of the merged program that a network offers, without multipliers; see ``network_dual``."""
    return Dual(merged.merge_W(network_dual(merged.original, *network, more)), NO_PRODUCTS)


def _outputs(
    program: TrainingProgram,
    U: FloatArray,
    V: FloatArray,
    fresh: FloatArray | None,
    *,
    tolerance: float = 1e-10,
    deadline: Deadline = NO_DEADLINE,
) -> tuple[FloatArray, GroupLassoResult]:
    """Directions of length 1, those of U before the fresh ones, and the group lasso over them."""
    U, V = balance(program, U, V)
    size = length(program, U)
    more = np.zeros((U.shape[0], 0)) if fresh is None else fresh
    unit, start = np.hstack([U / size, more]), np.hstack([V * size, np.zeros((V.shape[0], more.shape[1]))])
    H = np.maximum(program.X @ unit, 0.0)
    return unit, group_lasso(H, program.loss, program.gamma, start, tolerance=tolerance, deadline=deadline)


def joined(program: TrainingProgram, U: FloatArray, V: FloatArray, fresh: FloatArray) -> Network:
    """The network with neurons of these directions (d×q) of length 1, all as large as is best for the objective.

    Each output weight goes along the direction's own price, Wᵀ(Xu)₊. A first guess for a descent; never worse.
    """
    fitted, H, loss = program.fitted(U, V), np.maximum(program.X @ fresh, 0.0), program.loss
    a = loss.bias(fitted)
    towards = H.T @ loss.dual(fitted, a)
    size = np.linalg.norm(towards, axis=1)
    H, towards, fresh = H[:, size > 0], towards[size > 0] / size[size > 0, None], fresh[:, size > 0]
    change, cost, slope = H @ towards, program.gamma * fresh.shape[1], float(size.sum())
    here = loss.value(fitted, a)

    def value(weight: float) -> float:
        return float(loss.value(fitted + weight * change, a) + cost * weight)

    if not (cost > 0 and here > 0):
        return U, V
    # More than what is lost now no better network costs, nor does it go far beyond Newton's step.
    diagonal, row = loss.curvature(fitted + a)
    bend = float(np.sum(diagonal * change**2) - np.sum(np.sum(row * change, axis=1) ** 2))
    most = min(here / cost, BEYOND_NEWTON * slope / max(bend, 1e-300))
    found = minimize_scalar(value, bounds=(0.0, most), method="bounded", options={"xatol": 1e-3 * most})
    if not found.fun < here:
        return U, V
    root = np.sqrt(found.x)
    return np.hstack([U, root * fresh]), np.hstack([V, root * towards.T])


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

    What is returned is never worse than ``network``, up to rounding.

    Args:
        directions: (d, q) columns of length 1.
        joint: descend in all weights afterwards; pays while neurons are few.
        gap: relative gap that is being closed; the weights need not be much more accurate.
    """
    tolerance = min(max(TOLERANCE_PER_GAP * gap, SMALLEST_TOLERANCE), LARGEST_TOLERANCE)
    fitted = refit(program, *network, directions, tolerance=tolerance, deadline=deadline)
    if joint:
        fitted = polish(program, *fitted, max_iterations=EXCHANGE_STEPS, deadline=deadline)
    # At an equal objective the residual of the new fit is the better dual.
    return fitted if program.objective(*fitted) <= (1.0 + EQUAL) * program.objective(*network) else network


def polish(
    program: TrainingProgram,
    U: FloatArray,
    V: FloatArray,
    *,
    max_iterations: int = 300,
    tolerance: float = 1e-10,
    deadline: Deadline = NO_DEADLINE,
) -> Network:
    """Descend in all weights by L-BFGS, then refit, prune and merge. Never worse than the input.

    Data points that a neuron has exactly on its kink (x_iᵀu_j = 0) stay there, so that minimisers on kinks, where
    L-BFGS alone would stall, are reached to full accuracy.

    ``tolerance`` is that of the output weights at the end, see ``group_lasso``.
    """

    descended = partial(descend, program, max_iterations=max_iterations, deadline=deadline)

    def snapped(U: FloatArray, V: FloatArray) -> Network:
        near = snapped_to_kinks(program.X, U)
        return (U, V) if near is None else descended(near, V)

    best, lowest = (U, V), program.objective(U, V)
    steps: tuple[Callable[[FloatArray, FloatArray], Network], ...] = (
        partial(balance, program),
        descended,
        snapped,
        partial(merge, program),
        partial(refit, program, tolerance=tolerance, deadline=deadline),
        partial(prune, program),
    )
    for number, improve in enumerate(steps):
        if number and (deadline.passed or best[0].shape[1] == 0):
            break
        candidate = improve(*best)
        value = program.objective(*candidate)
        if value <= lowest:
            best, lowest = candidate, value
    return best


def descend(
    program: TrainingProgram, U: FloatArray, V: FloatArray, *, max_iterations: int, deadline: Deadline = NO_DEADLINE
) -> Network:
    """L-BFGS in all weights and the output bias; see ``descent``.

    A loss with kinks is descended as a proximal point step: smoothed about the dual of the network.
    """
    U, V = balance(program, U, V)
    if U.shape[1] == 0:
        return U, V
    loss, offset = program.loss, np.zeros(program.loss.shape)
    if loss.kind.has_kinks:
        epsilon = SMOOTHING * spread(loss)
        W = network_dual(program, U, V, tolerance=CENTRE_TOLERANCE, deadline=deadline)
        loss, offset = replace(loss, kind=smoothed(loss.kind, epsilon)), -epsilon * W / loss.sample_weight[:, None]
    descent = Descent(program, U, V, loss, offset)
    return balance(program, *descent.run(max_iterations=max_iterations, deadline=deadline))


def reduce_width(program: TrainingProgram, U: FloatArray, V: FloatArray) -> Network:
    """At most nc + 1 neurons (the critical width) with the same outputs on X and no larger regulariser.

    Carathéodory: each neuron is a multiple ‖u_j‖‖v_j‖ ≥ 0 of an atom (Xû_j)₊v̂_jᵀ; a null vector of the atoms, with
    their count as a further row, empties one neuron after the other.
    """
    U, V = balance(program, U, V)
    if U.shape[1] <= program.X.shape[0] * len(V) + 1:
        return U, V
    unit_U, unit_V = U / length(program, U), V / np.linalg.norm(V, axis=0)
    weight = length(program, U) ** 2
    H = np.maximum(program.X @ unit_U, 0.0)
    atoms = np.vstack([np.einsum("nm,cm->ncm", H, unit_V).reshape(len(H) * len(V), -1), np.ones((1, H.shape[1]))])
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
