"""Pricing: local maximisers of ‖Wᵀ(Xu)₊‖ over hidden directions of length 1, and all of them in the plane.

Without a free hidden bias a direction is a unit vector. With one, z = (u, b) has the length ‖u‖, and ``hidden_bias``
says why only ``|b + u·x̄| ≤ R‖u‖`` matters. In b alone the price ``‖Wᵀ(Xu + b)₊‖`` is convex between data points, so the
best b puts a data point on the kink. Climbing takes place on the sphere of ``(1 − θ)‖u‖² + θ(b + u·x̄)²/R²`` with a θ so
small that its maximisers are those of the true length, nearly; each start is on a kink, and a row on its kink stays.
"""

from dataclasses import dataclass

import numpy as np

from certificates.failure import NO_DEADLINE, Deadline
from certnet.training.climbing import Ascent, distinct_rows
from formulations._validation import FloatArray, as_matrix
from formulations.errors import InputError
from formulations.training import TrainingProgram

SAME_DIRECTION = 1e-9
"""1 − cos up to which two directions are the same."""
BATCH = 2_000_000  # Numbers of a temporary array.
DRAWN = 20_000_000  # Products of rows and directions that drawing may take, unless it needs more for enough starts.
# θ. Measured: prices of Gaussian data (n = 178, d = 13) are 3e-6 too small at 1e-2, 3e-10 at 1e-4, 0 at 1e-6.
SHARE = 1e-6
MOST_KINKS = 400  # Directions that pricing returns for one feature and a free bias.
APART = 1e-4  # 1 − cos from which two starts are worth climbing both.
MOST_LOOKED_AT = 6000  # Points of which the best are climbed from.
MOST_CLIMBED = 500  # How many are climbed from.
CLIMBING_STEPS = 30  # Circles of each of these climbs.
SAME_MAXIMISER = 1e-8  # 1 − cos up to which two climbs have reached the same maximiser.


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


def _scaled(U: FloatArray) -> FloatArray:
    """The nonzero columns of U, scaled to a largest entry of 1."""
    size = np.abs(U).max(axis=0, initial=0.0)
    columns = U[:, (size > 0) & np.isfinite(size)]
    return np.asarray(columns / np.abs(columns).max(axis=0, initial=1e-300))


def unit_columns(U: FloatArray) -> FloatArray:
    """The nonzero columns of U, scaled to unit norm."""
    columns = _scaled(U)
    return np.asarray(columns / np.linalg.norm(columns, axis=0))


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
    n, d = X.shape  # A start has some rows of n numbers, and a basis of the rows that it holds.
    block = max(1, BATCH // max(n * (W.shape[1] + 3), d**2))
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
    return unit_columns(np.hstack([vectors, -vectors, sampled, data.T, -data.T]))


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
    pool = unit_columns(np.hstack([gaussian, whitened, rows, -rows]))
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
    if X.shape[1] != 2:
        raise InputError(f"price_planar needs data in the plane, but X has {X.shape[1]} columns; use price.")
    data = X[np.any(X != 0, axis=1)]
    targets = W[np.any(X != 0, axis=1)]
    if len(data) == 0:
        return Pricing(np.zeros((2, 0)), np.zeros(0))
    angle = np.arctan2(data[:, 1], data[:, 0])
    ends = np.mod(np.concatenate([angle - 0.5 * np.pi, angle + 0.5 * np.pi]), 2 * np.pi)
    breaks, place = np.unique(ends, return_inverse=True)
    end = np.append(breaks[1:], breaks[0] + 2 * np.pi)
    # Rows come in at the first of their two angles and go at the second. Which are in is sure in the widest cell.
    terms = (targets[:, :, None] * data[:, None, :]).reshape(len(data), -1)
    changes = np.zeros((len(breaks), terms.shape[1]))
    np.add.at(changes, place.ravel(), np.concatenate([terms, -terms]))
    widest = int(np.argmax(end - breaks))
    middle, sums = 0.5 * (breaks + end)[widest], np.cumsum(changes, axis=0)
    sums += terms[data @ (np.cos(middle), np.sin(middle)) > 0].sum(axis=0) - sums[widest]
    forms = sums.reshape(len(breaks), -1, 2)
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


def length(program: TrainingProgram, U: FloatArray) -> FloatArray:
    """(m,) lengths of the columns of U (d×m), over the coordinates that cost something."""
    return np.asarray(np.linalg.norm(U if program.penalised.all() else program.penalised[:, None] * U, axis=0))


def normalised(program: TrainingProgram, U: FloatArray) -> FloatArray:
    """The columns of U (d×m) that have a length, scaled to length 1 and with their bias moved into the region."""
    if not len(program.ball):
        return unit_columns(U)
    U = _scaled(U)
    size = length(program, U)
    # A bias so large that its neuron is affine on the data leaves no trace of u but at the region's end.
    U = U[:, size > 1e-12] / size[size > 1e-12]
    centre, R = program.ball[:-1], float(np.sqrt(program.ball[-1]))
    shift = centre @ U[:-1]
    return np.vstack([U[:-1], np.clip(U[-1] + shift, -R, R) - shift])


def is_exact(program: TrainingProgram) -> bool:
    """Whether ``largest_prices`` finds all local maximisers: with at most two coordinates."""
    return program.shape[1] <= 2


def largest_prices(
    program: TrainingProgram,
    W: FloatArray,
    starts: FloatArray | None = None,
    *,
    samples: int = 100,
    random_state: int | np.random.Generator = 0,
    max_steps: int = 100,
    deadline: Deadline = NO_DEADLINE,
) -> Pricing:
    """Directions of length 1 with a large price ‖Wᵀ(Xz)₊‖, best first.

    Args:
        program, W: the training problem and its dual (n×c), whose columns sum to 0 where the hidden bias is free.
        starts: (d, s) directions of any length; every one of them is climbed.
        samples: number of further starts.
        max_steps, deadline: see ``pricing.climbed``.
    """
    is_planar, has_region = program.shape[1] == 2, len(program.ball) > 0
    if is_planar and not has_region:
        return price_planar(program.X, W)
    if is_planar:
        feature = program.X[:, 0]  # both directions with every row on its kink
        every = np.vstack([np.repeat([1.0, -1.0], len(feature)), np.concatenate([-feature, feature])])
        value = values(program.X, W, every)
        order = np.argsort(-value, kind="stable")[:MOST_KINKS]
        return ranked(program.X, W, every[:, order])
    given = normalised(program, np.zeros((program.shape[1], 0)) if starts is None else starts)
    pool = [given, drawn(program, W, samples, np.random.default_rng(random_state))]
    if not has_region:
        return climbed(program.X, W, np.hstack(pool), max_steps=max_steps, deadline=deadline)
    begin = np.hstack([best_kink(program, W, part) for part in pool])
    X, into, back = _sphere(program)
    found = climbed(X, W, unit_columns(into @ begin), max_steps=max_steps, deadline=deadline)
    reached = np.hstack([begin, normalised(program, back @ found.directions)])
    return ranked(program.X, W, reached)


def climb(program: TrainingProgram, W: FloatArray, points: FloatArray, *, deadline: Deadline = NO_DEADLINE) -> Pricing:
    """Local maximisers of the price from the best of many points (d×m) of any length, best first."""
    starts = normalised(program, points)
    value = values(program.X, W, starts)
    order = np.argsort(-value, kind="stable")[:MOST_LOOKED_AT]
    apart = distinct(starts[:, order], value[order], tolerance=APART).directions[:, :MOST_CLIMBED]
    reached = largest_prices(program, W, apart, samples=0, max_steps=CLIMBING_STEPS, deadline=deadline)
    return distinct(reached.directions, reached.values, tolerance=SAME_MAXIMISER)


def drawn(program: TrainingProgram, W: FloatArray, samples: int, generator: np.random.Generator) -> FloatArray:
    """Starts for pricing (d×samples), of length 1; see ``pricing.draw_starts``."""
    if not samples:
        return np.zeros((program.shape[1], 0))
    if not len(program.ball):
        return draw_starts(program.X, W, samples, generator)
    centre = program.ball[:-1]
    features = program.X[:, :-1] - centre
    U = np.tile(draw_starts(features, W, samples, generator), 2)
    half = U.shape[1] // 2
    rows = generator.integers(0, len(features), U.shape[1])
    shift = np.where(np.arange(U.shape[1]) < half, 0.0, -np.sum(features[rows].T * U, axis=0))
    Z = np.vstack([U, shift - centre @ U])
    Z[:, :half] = best_kink(program, W, Z[:, :half])
    return best_and_others(program.X, W, Z, samples, generator)


def best_kink(program: TrainingProgram, W: FloatArray, Z: FloatArray) -> FloatArray:
    """The columns of Z (d×m), of length 1, each with the bias of the largest price: one that puts a row on its kink."""
    features, U = program.X[:, :-1], Z[:-1]
    (n, c), m = W.shape, Z.shape[1]
    bias = np.zeros(m)
    width = max(1, BATCH // (n * (c + 3)))
    for part in (slice(k, k + width) for k in range(0, m, width)):
        products = features @ U[:, part]
        order = np.argsort(-products, axis=0, kind="stable")
        p = np.take_along_axis(products, order, 0)
        weights = W[order]
        # With row k on its kink the rows before it are on: Σ (p_i − p_k) W_i.
        sums = np.cumsum(p[:, :, None] * weights, axis=0) - p[:, :, None] * np.cumsum(weights, axis=0)
        best = np.argmax(np.einsum("nmc,nmc->nm", sums, sums), axis=0)
        bias[part] = -p[best, np.arange(p.shape[1])]
    return np.vstack([U, bias])


def _sphere(program: TrainingProgram) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(X', A, A⁻¹) with Xz = X'(Az), where ‖Az‖² is the form of the module's text."""
    theta, d = SHARE, program.shape[1]
    centre, R = program.ball[:-1], float(np.sqrt(program.ball[-1]))
    small, large = np.sqrt(1.0 - theta), np.sqrt(theta) / R
    into, back = np.eye(d), np.eye(d)
    into[:-1] *= small
    into[-1] = np.append(centre, 1.0) * large
    back[:-1] /= small
    back[-1] = np.append(-centre / small, 1.0 / large)
    X = np.hstack([(program.X[:, :-1] - centre) / small, np.full((len(program.X), 1), 1.0 / large)])
    return X, into, back
