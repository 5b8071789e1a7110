"""Pricing: local maximisers of ‖Wᵀ(Xu)₊‖ over the unit sphere, and all of them in the plane."""

from dataclasses import dataclass

import numpy as np

from certificates.failure import NO_DEADLINE, Deadline
from certnet.training.climbing import Ascent, distinct_rows
from formulations._validation import FloatArray, as_matrix
from formulations.errors import InputError

SAME_DIRECTION = 1e-9
"""1 − cos up to which two directions are the same."""
BATCH = 2_000_000  # Numbers of a temporary array.
DRAWN = 20_000_000  # Products of rows and directions that drawing may take, unless it needs more for enough starts.


@dataclass(frozen=True, eq=False)
class Pricing:
    """Distinct maximisers, best first.

    Attributes:
        directions: (d, k) unit vectors u.
        values: (k,) ‖Wᵀ(Xu)₊‖. In the heuristic the first is a lower bound on h(W), in the plane it is h(W).
    """

    directions: FloatArray
    values: FloatArray

    @property
    def best(self) -> float:
        """The largest value, 0 when there is none."""
        return float(self.values.max(initial=0.0))


def values(X: FloatArray, W: FloatArray, U: FloatArray) -> FloatArray:
    """‖Wᵀ(Xu)₊‖ for the columns u of U (d×s), as they are (not normalised)."""
    width = max(1, BATCH // max(len(X), 1))
    parts = [U[:, k : k + width] for k in range(0, U.shape[1], width)]
    sizes = [np.linalg.norm(W.T @ np.maximum(X @ part, 0.0), axis=0) for part in parts]
    return np.concatenate([np.zeros(0), *sizes])


def normalised(U: FloatArray) -> FloatArray:
    """The nonzero columns of U, scaled to unit norm."""
    size = np.abs(U).max(axis=0, initial=0.0)
    columns = U[:, (size > 0) & np.isfinite(size)]
    columns = columns / np.abs(columns).max(axis=0, initial=1e-300)
    unit: FloatArray = columns / np.linalg.norm(columns, axis=0)
    return unit


def distinct(U: FloatArray, value: FloatArray, *, tolerance: float = SAME_DIRECTION) -> Pricing:
    """Unit columns of U, best first, without those that have cos > 1 − tolerance with a better one."""
    order = np.argsort(-value, kind="stable")
    U, value = U[:, order], value[order]
    kept = np.ones(len(value), dtype=bool)
    # ‖u − w‖² = 2(1 − cos) is computed from the difference, because 1 − cos itself would cancel.
    for j in range(len(value)):
        if kept[j]:
            near = np.sum((U[:, j + 1 :] - U[:, j : j + 1]) ** 2, axis=0) < 2 * tolerance
            kept[j + 1 :] &= ~near
    return Pricing(U[:, kept], value[kept])


def climbed(
    X: FloatArray, W: FloatArray, starts: FloatArray, *, max_steps: int = 100, deadline: Deadline = NO_DEADLINE
) -> Pricing:
    """The distinct local maximisers of ‖Wᵀ(Xu)₊‖, ‖u‖ = 1, that climbs reach; none is worse than its start.

    They begin at unit ``starts`` (d×s) and take ``max_steps`` circles each, or what the deadline leaves.
    """
    if len(starts) == 1 or starts.shape[1] == 0:
        return ranked(X, W, starts)
    unit_rows = distinct_rows(X, W)
    block = max(1, BATCH // max(X.shape[0] * (W.shape[1] + 3), 1))
    reached = starts.copy()
    for part in (slice(k, k + block) for k in range(0, starts.shape[1], block)):
        reached[:, part] = Ascent(*unit_rows, starts[:, part].T).run(max_steps=max_steps, deadline=deadline).T
    return ranked(X, W, np.where(values(X, W, reached) >= values(X, W, starts), reached, starts))


def candidates_from_moment(
    G_uu: FloatArray, X: FloatArray, *, samples: int = 200, random_state: int | np.random.Generator = 0
) -> FloatArray:
    """Unit directions (d×k) that the relaxation suggests.

    In this order: the eigenvectors of G_uu with both signs, samples u ~ N(0, G_uu), and the data rows with both signs.

    Negative eigenvalues of ``G_uu`` (d×d), the moment matrix of the hidden weights, count as 0.

    Raises:
        InputError: shapes that disagree or entries that are not finite.
    """
    data = as_matrix("X", X)
    moment = as_matrix("G_uu", G_uu, rows=data.shape[1], columns=data.shape[1])
    eigenvalues, vectors = np.linalg.eigh(0.5 * (moment + moment.T))
    positive = np.flatnonzero(eigenvalues > 1e-12 * max(float(eigenvalues[-1]), 0.0))[::-1]
    vectors, root = vectors[:, positive], vectors[:, positive] * np.sqrt(eigenvalues[positive])
    sampled = root @ np.random.default_rng(random_state).standard_normal((root.shape[1], samples))
    return normalised(np.hstack([vectors, -vectors, sampled, data.T, -data.T]))


def draw_starts(X: FloatArray, W: FloatArray, samples: int, generator: np.random.Generator) -> FloatArray:
    """Starts for pricing (d×samples), of Gaussian directions, whitened ones and ±x_i.

    Half are the best by value of a larger draw, and come first; half are drawn from the rest.
    """
    n, d = X.shape
    draw = max(min(4 * samples, DRAWN // max(n, 1)), samples, 64)
    _, singular, Vt = np.linalg.svd(X, full_matrices=False)
    useful = singular > 1e-9 * singular.max(initial=1e-300)
    gaussian = generator.standard_normal((d, draw))
    whitened = Vt[useful].T @ (generator.standard_normal((int(useful.sum()), draw)) / singular[useful, None])
    rows = X[generator.permutation(n)[:draw]].T
    pool = normalised(np.hstack([gaussian, whitened, rows, -rows]))
    return best_and_others(X, W, pool, samples, generator)


def best_and_others(
    X: FloatArray, W: FloatArray, pool: FloatArray, samples: int, generator: np.random.Generator
) -> FloatArray:
    """So many columns of a pool: half of them the best by value, first, and half drawn from the rest."""
    order = np.argsort(-values(X, W, pool), kind="stable")
    best, rest = order[: (samples + 1) // 2], order[(samples + 1) // 2 :]
    return np.asarray(pool[:, np.concatenate([best, generator.permutation(rest)[: samples // 2]])])


def price_planar(X: FloatArray, W: FloatArray) -> Pricing:
    """All local maximisers in the plane (d = 2), by enumeration of the activation patterns; the first is h(W).

    Raises:
        InputError: X does not have two columns.
    """
    X, W = np.asarray(X, dtype=np.float64), np.asarray(W, dtype=np.float64)
    if X.shape[1] != 2:
        raise InputError(f"price_planar needs data in the plane, but X has {X.shape[1]} columns; use price.")
    data = X[np.any(X != 0, axis=1)]
    targets = W[np.any(X != 0, axis=1)]
    if len(data) == 0:
        return Pricing(np.zeros((2, 0)), np.zeros(0))
    angle = np.arctan2(data[:, 1], data[:, 0])
    breaks = np.unique(np.mod(np.concatenate([angle + 0.5 * np.pi, angle - 0.5 * np.pi]), 2 * np.pi))
    end = np.append(breaks[1:], breaks[0] + 2 * np.pi)
    middle = 0.5 * (breaks + end)
    active = (data @ np.vstack([np.cos(middle), np.sin(middle)]) > 0).astype(np.float64)
    forms = (active.T @ (targets[:, :, None] * data[:, None, :]).reshape(len(data), -1)).reshape(len(breaks), -1, 2)
    a, b, e = (np.einsum("kc,kc->k", forms[..., i], forms[..., j]) for i, j in ((0, 0), (0, 1), (1, 1)))
    # On its cell the square is (a+e)/2 + (a−e)/2 cos 2θ + b sin 2θ, greatest at θ and θ + π.
    peak = 0.5 * np.arctan2(2 * b, a - e)
    inside = peak + np.pi * np.ceil((breaks - peak) / np.pi)
    # A break is a maximiser where the value rises before and falls after it.
    slope = 2 * b * np.cos(2 * breaks) - (a - e) * np.sin(2 * breaks)
    before = 2 * np.roll(b, 1) * np.cos(2 * breaks) - np.roll(a - e, 1) * np.sin(2 * breaks)
    theta = np.concatenate([inside[inside <= end], breaks[(before >= 0) & (slope <= 0)]])
    return ranked(X, W, np.vstack([np.cos(theta), np.sin(theta)]))


def ranked(X: FloatArray, W: FloatArray, U: FloatArray) -> Pricing:
    """The distinct unit columns of U at which the value is positive."""
    value = values(X, W, U)
    return distinct(U[:, value > 0], value[value > 0])
