"""A proved upper bound on the relaxation's value: a solver's solution, made feasible, with its objective rounded up.

The solution is scaled until it is complementary, and true points are added that lift its negative entries. Then it is
mixed with a sum of true points that is positive definite and positive off the complementary positions. In the end the
(β, β) diagonal becomes what complementarity asks for, ``S_ββ,ii = −a_i·S_zβ,i``, as an enclosure of the exact number.
What is left to prove are signs and positive semidefiniteness, with the checker's arithmetic, over the exact generators.
"""

import numpy as np

from certificates import Certificate
from certificates.arithmetic import Enclosure
from certificates.arithmetic.floating import TINY, UNIT, inflate, sum_of_products
from certificates.failure import NO_DEADLINE
from certificates.losses import loss_named, twice_lost
from certificates.training import check_rows
from formulations import LiftedSpace, Presolved, Primal
from formulations._validation import FloatArray

PARTS = tuple(10.0**exponent for exponent in range(-11, -2))
"""What is mixed in, in the order in which it is tried."""

POINTS_PER_COORDINATE = 4  # Random points for each coordinate of S.
OFF_ROW_SPACE = 1e-2  # Relative size of what the points have in null directions of the data.
MOST_PAIRED = 150  # Generators up to which all pairs get points.
LENGTHENING = 1.5  # How much longer points of thin cones are.
ROOM = 1e-11  # Relative size to which entries are lifted, so that rounding in other coordinates does no harm.
INSIDE = 0.9  # How far points fill the region of a free hidden bias.
LARGEST = 500  # Generators beyond which this takes too long.


def relaxation_value(
    presolved: Presolved, certificate: Certificate, primal: Primal, *, random_state: int = 0
) -> float | None:
    """An upper bound on the value of the doubly nonnegative relaxation of a checked certificate's problem, rounded up.

    ``primal`` is a solution of the presolved program with its output block, ``random_state`` the seed of points that
    are mixed in. None without an output block, for large data, or where no mixture was feasible.
    """
    program, c = presolved.program, certificate.shape[2]
    neurons = program.space.neurons
    if primal.outputs != c or neurons > LARGEST or not np.isfinite(primal.S).all():
        return None
    # A certificate may leave out rows whose W is 0; the problem has them.
    rows = presolved.rows.rows
    generators, kappas = check_rows(
        certificate.X, np.ones_like(certificate.W), rows.source, rows.generator, NO_DEADLINE
    )
    K = Enclosure.from_rationals(kappas, (2 * neurons, len(certificate.X)))
    near = _without_negative_entries(program.space, _complementary(program.space, primal.S))
    S = presolved.scaling.undo_primal(Primal(near, c)).S
    inner = _inner(presolved, S, random_state)
    with np.errstate(all="ignore"):
        for part in PARTS:
            mixed = (1.0 - part) * S + part * inner
            value = _value(presolved, certificate, generators, K, 0.5 * (mixed + mixed.T))
            if value is not None:
                return value
    return None


def _inner(presolved: Presolved, S: FloatArray, random_state: int) -> FloatArray:
    """The moment matrix of many true points, about as large as S, with a multiple of I for the outputs."""
    rng = np.random.default_rng(random_state)
    space = presolved.rows.program.space.with_outputs(0)
    N, d = space.neurons, space.dimension
    k = presolved.program.space.dimension
    Z = rng.standard_normal((k, POINTS_PER_COORDINATE * (N + d)))
    if MOST_PAIRED >= N:
        Z = np.hstack([Z, *_pair_points(presolved.program.space.generators)])
    U = presolved.scaling.undo_z(Z)
    U += OFF_ROW_SPACE * float(np.abs(U).mean()) * rng.standard_normal(U.shape)
    ball = presolved.rows.original.ball
    if len(ball):  # inside the region of a free hidden bias
        shift, most = ball[:-1] @ U[:-1], INSIDE * np.sqrt(ball[-1]) * np.linalg.norm(U[:-1], axis=0)
        U[-1] = np.clip(U[-1] + shift, -most, most) - shift
    s = space.face(space.lift(U))
    inner = np.zeros_like(S)
    inner[: N + d, : N + d] = s @ s.T
    inner *= max(float(np.trace(S[: N + d, : N + d])), 1e-300) / float(np.trace(inner))
    inner[N + d :, N + d :] = np.eye(len(S) - N - d) * float(np.trace(S[N + d :, N + d :])) / max(len(S) - N - d, 1)
    return inner


def _pair_points(A: FloatArray) -> list[FloatArray]:
    """Points for all pairs i < j of generators (rows of unit norm) with signs ++, −−, +−, −+, in their plane.

    Random points alone may leave out the thin cone between two generators that are nearly antiparallel; there points
    are the longer, the thinner it is.
    """
    first, second = np.triu_indices(len(A), 1)
    points = []
    for sign in (1.0, -1.0):
        z = A[first] + sign * A[second]
        norm = np.linalg.norm(z, axis=1, keepdims=True)
        z = (z / np.where(norm > 0, norm, 1.0) ** LENGTHENING).T
        points += [z, -z]
    return points


def _complementary(space: LiftedSpace, S: FloatArray) -> FloatArray:
    """S with each β_i scaled so that ``S_ββ,ii + a_i·S_zβ,i = 0`` up to rounding; a congruence keeps it definite."""
    N, k = space.neurons, space.dimension
    diagonal = np.diag(S)[:N]
    wanted = -np.sum(space.generators * S[:N, N : N + k], axis=1)
    usable = (diagonal > 0) & (wanted > 0)
    d = np.ones(len(S))
    d[:N][usable] = wanted[usable] / diagonal[usable]
    scaled: FloatArray = d[:, None] * S * d
    return scaled


def _without_negative_entries(space: LiftedSpace, S: FloatArray) -> FloatArray:
    """S plus, for each negative entry of its φ block, so much of a true point between the two that it becomes positive.

    Generators are unit vectors; beyond ``MOST_PAIRED`` of them S stays.
    """
    N, k = space.neurons, space.dimension
    if MOST_PAIRED < N:
        return S
    plain = space.with_outputs(0)
    P = plain.moment(S[: N + k, : N + k])[plain.phi, plain.phi]
    first, second = np.triu_indices(N, 1)
    lifted = S.copy()
    room = ROOM * float(np.abs(P).max())
    for Z, (p, q) in zip(_pair_points(space.generators), ((0, 0), (N, N), (0, N), (N, 0)), strict=True):
        missing = room - P[first + p, second + q]
        lam = plain.lift(Z)
        size = lam[first + p, np.arange(len(first))] * lam[second + q, np.arange(len(first))]
        short = np.flatnonzero((missing > 0) & (size > 0))
        s = plain.face(lam)[:, short] * np.sqrt(missing[short] / size[short])
        lifted[: N + k, : N + k] += s @ s.T
    return lifted


def _value(
    presolved: Presolved, certificate: Certificate, generators: FloatArray, K: Enclosure, S: FloatArray
) -> float | None:
    """The objective of S, rounded up, if S with the diagonal that complementarity asks for is feasible."""
    N, d = len(generators), certificate.shape[1]
    b, u, v = slice(0, N), slice(N, N + d), slice(N + d, None)
    A = Enclosure.exact(generators)
    across = A @ Enclosure.exact(S[u, b])
    mid, rad = S.copy(), np.zeros_like(S)
    index = np.arange(N)
    mid[index, index], rad[index, index] = -np.diag(across.mid), np.diag(across.rad)
    if Enclosure(mid, rad).psd_obstacle() is not None:
        return None
    S_bb = Enclosure(mid[b, b], rad[b, b])
    mixed = S_bb + across
    active = mixed + (across.T + (A @ Enclosure.exact(S[u, u])) @ A.T)
    for block, skip_diagonal in ((S_bb, False), (active, False), (mixed, True)):
        lowest = block.mid - block.rad
        if skip_diagonal:
            np.fill_diagonal(lowest, 0.0)
        if not (lowest >= 0).all():
            return None
    ball = certificate.proofs[0].ball
    if len(ball) and not _in_region(S[u, u], ball):
        return None
    features = Enclosure.block([[Enclosure.exact(S[b, v]) + A @ Enclosure.exact(S[u, v])], [Enclosure.exact(S[b, v])]])
    fitted = K.T @ features
    a, Y, weight = presolved.rows.original.loss.bias(fitted.mid), certificate.Y, certificate.sample_weight[:, None]
    loss = loss_named(certificate.loss)
    found = fitted + Enclosure.exact(np.broadcast_to(a, Y.shape).copy())
    found = found + Enclosure.exact(-Y) if loss.centred else found
    left, right = twice_lost(loss, found.lower, found.upper, Y)
    lost = sum_of_products([(np.where(weight == 1, left, inflate(weight * left, 1)), right)], upper=True)
    counted = np.diag(S[u, u])[: d - 1 if certificate.hidden_bias == "free" else d]
    traces = np.concatenate([counted, np.diag(S[v, v])])
    squares = a if certificate.output_bias == "penalised" else a[:0]
    products = [(np.ones(len(traces)), traces), (squares, squares)]
    decay = certificate.gamma * sum_of_products(products, upper=True)
    value = 0.5 * (lost + decay) * (1.0 + 8.0 * UNIT) + 4.0 * TINY
    return value if np.isfinite(value) else None


def _in_region(G: FloatArray, ball: FloatArray) -> bool:
    """Whether ``R² tr G_uu ≥ ⟨(x̄, 1)(x̄, 1)ᵀ, G⟩`` is proved for the moments G of hidden weights and bias."""
    row = Enclosure.exact(np.append(ball[:-1], 1.0)[None])
    needed = ((row @ Enclosure.exact(G)) @ row.T).upper[0, 0]
    size = np.diag(G)[:-1]
    return bool(needed <= sum_of_products([(np.full(len(size), ball[-1]), size)], upper=False))
