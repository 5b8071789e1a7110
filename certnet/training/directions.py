"""Hidden directions of a program: their length, where they need not go, and the directions of the largest prices.

Without a free hidden bias a direction is a unit vector. With one, z = (u, b) has the length ‖u‖, and ``hidden_bias``
says why only ``|b + u·x̄| ≤ R‖u‖`` matters. In b alone the price ``‖Wᵀ(Xu + b)₊‖`` is convex between data points, so the
best b puts a data point on the kink. Climbing takes place on the sphere of ``(1 − θ)‖u‖² + θ(b + u·x̄)²/R²`` with a θ so
small that its maximisers are those of the true length, nearly; each start is on a kink, and a row on its kink stays.
"""

import numpy as np

from certificates.failure import NO_DEADLINE, Deadline
from certnet.training.pricing import (
    BATCH,
    Pricing,
    best_and_others,
    climbed,
    distinct,
    draw_starts,
    price_planar,
    ranked,
    values,
)
from certnet.training.pricing import normalised as unit_columns
from formulations._validation import FloatArray
from formulations.training import TrainingProgram

# θ. Measured: prices of Gaussian data (n = 178, d = 13) are 3e-6 too small at 1e-2, 3e-10 at 1e-4, 0 at 1e-6.
SHARE = 1e-6
MOST_KINKS = 400  # Directions that pricing returns for one feature and a free bias.
APART = 1e-4  # 1 − cos from which two starts are worth climbing both.
MOST_LOOKED_AT = 6000  # Points of which the best are climbed from.
MOST_CLIMBED = 500  # How many are climbed from.
CLIMBING_STEPS = 30  # Circles of each of these climbs.
SAME_MAXIMISER = 1e-8  # 1 − cos up to which two climbs have reached the same maximiser.


def length(program: TrainingProgram, U: FloatArray) -> FloatArray:
    """(m,) lengths of the columns of U (d×m), over the coordinates that cost something."""
    return np.asarray(np.linalg.norm(U if program.penalised.all() else program.penalised[:, None] * U, axis=0))


def normalised(program: TrainingProgram, U: FloatArray) -> FloatArray:
    """The columns of U (d×m) that have a length, scaled to length 1 and with their bias moved into the region."""
    if not len(program.ball):
        return unit_columns(U)
    size = np.abs(U).max(axis=0, initial=0.0)
    U = U[:, (size > 0) & np.isfinite(size)]
    U = U / np.abs(U).max(axis=0, initial=1e-300)
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
