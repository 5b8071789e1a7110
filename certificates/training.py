"""Training: what a certificate of optimality proves, and its check.

1. numbers are finite, shapes agree, the data match their fingerprint, and the loss is about such targets;
2. the map from data rows to generators is right (zero rows, exactly parallel rows: rational arithmetic);
3. ``γ²‖u‖² − ‖Wᵀ(Xu)₊‖²`` is nonnegative (``certificates.subdivision``, ``norm_bound``), hence W is dual feasible;
4. W is in the domain of the loss, and ``Σ ω_i D(W_i/ω_i)``, rounded down, is at least the claimed bound;
5. the network's objective, rounded up, is at most the claimed objective.

Why 3 and 4 suffice says docs/mathematics.md (Theorem 1). The output bias makes a·Wᵀ1 of ``⟨W, f⟩``: 0 if ``Wᵀ1 = 0``,
which is asked for where a bias is free, and at most ``γ/2 ‖a‖² + ‖Wᵀ1‖²/(2γ)`` if it is penalised.

With a free hidden bias let z = (u, b), with x_i·u + b the pre-activation of row i, ``‖x_i − x̄‖ ≤ R`` for all rows, and
``q(z) = R²‖u‖² − (b + u·x̄)²``. A proof with ``σ q``, σ ≥ 0, shows ``‖Wᵀ(Xu + b)₊‖ ≤ γ‖u‖`` where q(z) ≥ 0, and by
``Wᵀ1 = 0`` then everywhere (Theorem 3).
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TypeVar

import numpy as np

from certificates.arithmetic import BallMatrix, Enclosure, Matrix
from certificates.arithmetic.floating import TINY, UNIT, inflate, sum_of_products
from certificates.arithmetic.matrix import Entries, M, timed
from certificates.certificate import Certificate, Training, TrainingProof, fingerprint
from certificates.cone_bound import LeafTest
from certificates.failure import NO_DEADLINE, Deadline, ProofFailure, require, require_arrays
from certificates.losses import loss_named, require_domain, require_targets, sums, twice_earned, twice_lost
from certificates.nonnegativity import check_structure
from certificates.norm_bound import norm_bytes, norm_order, parts_of, prove_norm, without
from certificates.proof import Cone
from certificates.report import Verdict
from certificates.resources import require_memory, require_short, row_bytes
from certificates.subdivision import Subdivision, check_subdivision, failing_leaves
from certificates.work import Work
from formulations.arrays import FloatArray, IntArray
from formulations.parallel import ZERO_ROW, are_parallel, scale_rows

E = TypeVar("E", Enclosure, BallMatrix)
NONE, PENALISED, FREE = "none", "penalised", "free"
_BLOCK_ENTRIES = 1 << 22
"""Entries of a temporary matrix; rows are taken in blocks so that a hostile width cannot exhaust memory."""
PROVED_SENTENCE = (
    "the slack rebuilt from the data is positive semidefinite, so W is dual feasible and its value bounds the "
    "objective of every network of every width"
)
CUT_SENTENCE = (
    "on cones that cover the weight space, small matrices rebuilt from the data are copositive, so W is dual feasible "
    "and its value bounds the objective of every network of every width"
)
CLOSE = 1e-13
"""Relative excess of a sum of squares that is let pass."""
LARGEST_WORK = 10_000_000
"""Products up to which outputs are computed in balls, which takes some tenths of a second."""


def prove_training(statement: Training, certificate: Certificate, work: Work) -> tuple[Verdict, str]:
    """Prove or refute the claims; ``lower_bound`` and ``objective`` are left in the work."""
    proof, deadline = certificate.proofs[0], work.deadline
    claimed_bound, claimed_objective = (certificate.claims.get(name, math.nan) for name in ("lower_bound", "objective"))
    _check_numbers(statement, proof, claimed_bound, claimed_objective)
    objective = work.figures["objective"] = network_objective(statement, proof.U, proof.V, proof.output, deadline)
    U, V = (np.zeros((len(part), 0)) for part in (proof.U, proof.V))
    trivial = network_objective(statement, U, V, np.zeros(len(V)), deadline)
    reached, name = min((objective, "the certificate's own network"), (trivial, "the zero network"))
    if claimed_bound > reached:
        what = f"the claimed lower bound {claimed_bound:.10g} exceeds {reached:.10g}"
        return Verdict.REFUTED, f"{what}, the objective of {name}"
    lower_bound = dual_value(statement, proof.W, deadline)
    _prove_feasible(statement, proof, work)
    work.figures["lower_bound"] = lower_bound
    require(
        claimed_bound <= lower_bound,
        f"the claimed lower bound {claimed_bound:.17g} exceeds what is proved, {lower_bound:.17g}",
    )
    require(
        objective <= claimed_objective,
        f"the claimed objective {claimed_objective:.17g} is below the network's objective, {objective:.17g} rounded up",
    )
    return Verdict.PROVED, CUT_SENTENCE if isinstance(proof.proof, Subdivision) else PROVED_SENTENCE


def _check_numbers(s: Training, p: TrainingProof, lower_bound: float, objective: float) -> None:
    require(s.X.ndim == s.Y.ndim == p.U.ndim == 2, "X, Y or U is no matrix")
    (n, d, outputs), width = s.shape, p.U.shape[1]
    require(min(n, d, outputs) > 0, "the data are empty")
    require_short(d + outputs)
    for what, bias in (("hidden", s.hidden_bias), ("output", s.output_bias)):
        require(bias in (NONE, PENALISED, FREE), f"the {what} bias is {bias[:40]!r}, not none, penalised or free")
    require_arrays(s, np.float64, X=(n, d), Y=(n, outputs), sample_weight=(n,))
    require_arrays(p, np.float64, W=(n, outputs), U=(d, width), V=(outputs, width), output=(outputs,))
    require_arrays(p, np.float64, ball=(d,) if s.hidden_bias == FREE else (0,))
    require_arrays(p, np.int64, source=(p.source.size,), generator=(n,))
    require(math.isfinite(s.gamma) and s.gamma > 0, f"gamma is {s.gamma}, not a positive finite number")
    require(math.isfinite(lower_bound), f"the claimed lower bound is {lower_bound}")
    require(math.isfinite(objective), f"the claimed objective is {objective}")
    require(s.hidden_bias == NONE or (s.X[:, -1] == 1).all(), "the last column of X, of the hidden bias, is not all 1")
    require(s.output_bias != NONE or not p.output.any(), "the network has an output bias, the statement none")
    require((s.sample_weight > 0).all(), "a sample weight is not positive")
    require_targets(loss_named(s.loss), s.Y)
    found, made = fingerprint(s.X, s.Y, s.sample_weight), s.data_fingerprint
    require(found == made, f"the data have fingerprint {found[:12]}… but the certificate was made for {made[:12]}…")


def check_rows(
    X: FloatArray, W: FloatArray, source: IntArray, generator: IntArray, deadline: Deadline
) -> tuple[FloatArray, Entries]:
    """(generators N×d, |κ_i| at (position of row i in φ, i)), checked in rational arithmetic."""
    n, count = len(X), len(source)
    require(((source >= 0) & (source < n)).all(), "a generator's source is no data row")
    require(((generator >= ZERO_ROW) & (generator < count)).all(), "a data row's generator does not exist")
    zero, absent = ~X.any(axis=1), generator == ZERO_ROW
    # In Wᵀ(Xu)₊ a row has no part where it is zero, or where its W is.
    wrong = np.flatnonzero(np.where(absent, ~zero & W.any(axis=1), zero))
    require(len(wrong) == 0, f"data row {wrong[0] + 1 if len(wrong) else 0} is wrongly left out, or wrongly not")
    own = generator[source] == np.arange(count)
    require(own.all(), "a generator's source row belongs to another generator")
    generators = scale_rows(X[source])
    kappas: dict[tuple[int, int], Fraction] = {}
    for i in np.flatnonzero(~absent):
        deadline.check()
        g = int(generator[i])
        row = X[source[g]]
        require(
            are_parallel(X[i], row),
            f"data row {i + 1} is not an exact multiple of row {int(source[g]) + 1}, its generator",
        )
        pivot = int(np.argmax(np.abs(row)))
        kappa = Fraction(float(X[i, pivot])) / Fraction(float(generators[g, pivot]))
        kappas[g if kappa > 0 else count + g, int(i)] = abs(kappa)
    return generators, kappas


def cost_and_region(s: Training, p: TrainingProof, matrix: type[M]) -> tuple[M, tuple[M, ...]]:
    """γ²‖u‖² over z as a matrix (d×d), and with a free hidden bias q, see above; neither is rounded unseen."""
    weights = np.full(s.X.shape[1], s.gamma)
    if s.hidden_bias != FREE:
        decay = matrix.exact(np.diag(weights))
        return decay @ decay, ()
    row, size = p.ball[None].copy(), np.full_like(p.ball, p.ball[-1])
    row[0, -1], size[-1], weights[-1] = 1.0, 0.0, 0.0
    decay, product = matrix.exact(np.diag(weights)), matrix.exact(row)
    return decay @ decay, (matrix.exact(np.diag(size)) - product.T @ product,)


def _check_ball(X: FloatArray, ball: FloatArray, deadline: Deadline) -> None:
    """``‖x_i − x̄‖² ≤ R²`` for every row x_i without its 1, in rational numbers where floating point does not tell."""
    rows, centre, square = X[:, :-1], ball[:-1], ball[-1]
    apart = inflate(np.abs(rows - centre), 1)
    for i in np.flatnonzero(~(inflate(np.sum(apart * apart, axis=1), len(ball) + 1) <= square)).tolist():
        deadline.check()
        pairs = zip(rows[i].tolist(), centre.tolist(), strict=True)
        size = sum(((Fraction(x) - Fraction(c)) ** 2 for x, c in pairs), Fraction(0))
        require(size <= Fraction(square), f"data row {i + 1} lies outside the ball of the free hidden bias")


def _prove_feasible(s: Training, p: TrainingProof, work: Work) -> None:
    """Steps 2 and 3."""
    (n, d, c), N, proof, has_region = s.shape, p.source.size, p.proof, s.hidden_bias == FREE
    statement = 700.0 * n + 24.0 * (s.X.size + s.Y.size + p.W.size + p.U.size + p.V.size)
    require_memory(statement, "the proof")
    if isinstance(proof, Subdivision):
        ends, order = check_subdivision(proof, d, int(has_region)), math.inf
    else:
        check_structure(proof, N, d, 0, int(has_region), outputs=c, in_parts=True)
        parts = parts_of(proof, c)
        order = norm_order(proof, parts, d, c)
    if has_region:
        _check_ball(s.X, p.ball, work.deadline)
    generators, kappas = check_rows(s.X, p.W, p.source, p.generator, work.deadline)

    def prove(matrix: type[Matrix]) -> None:
        if isinstance(proof, Subdivision):
            needed = 8.0 * (8.0 * proof.codes.size + 4.0 * N * d + (4.0 * N + 8.0 * d) * c)
            needed += row_bytes(matrix.arithmetic, 2 * N, c)
        else:
            needed = norm_bytes(proof, parts, d, c, matrix.arithmetic)
        require_memory(statement + needed, "the proof")
        square, quadratics = cost_and_region(s, p, matrix)
        # W̃ = κW (2N×c), so that Wᵀ(Xu)₊ = W̃ᵀφ.
        features = matrix.sparse_product(kappas, 2 * N, matrix.exact(p.W))
        if not isinstance(proof, Subdivision):
            J = matrix.exact(np.zeros((c, d)))
            return prove_norm(Cone.everywhere(generators, quadratics), features, J, square, proof, parts, matrix)
        reduced = without(square, quadratics, proof.sigma)
        if not (isinstance(features, Enclosure) and isinstance(reduced, Enclosure)):
            raise ProofFailure("a subdivision is proved in floating point with enclosed errors; choose float or auto")
        test = LeafTest.in_basis(generators, features, reduced, proof.basis)
        for leaf, *_ in failing_leaves(test, proof, ends, work.deadline):
            raise ProofFailure(f"node {leaf} of the subdivision is a leaf that is not shown to be copositive")

    work.proved(prove, order, exactly=True)


def dual_value(s: Training, W: FloatArray, deadline: Deadline = NO_DEADLINE) -> float:
    """``Σ ω_i D(W_i/ω_i) − ‖Wᵀ1‖²/(2γ)``, rounded down, the last term with a penalised output bias; −inf for entries
    beyond reach. W (n×c) has to be in the domain of the loss, and ``Wᵀ1 = 0`` to hold where that is needed."""
    loss, products = loss_named(s.loss), []
    for rows in _blocks(s, 1, deadline):
        given = W[rows], s.Y[rows], s.sample_weight[rows], deadline
        require_domain(loss, *given)
        products += twice_earned(loss, *given)
    if FREE in (s.hidden_bias, s.output_bias):
        require(not sums(W.T, deadline).any(), "a column of W does not sum to 0, which a free bias needs")
    elif s.output_bias == PENALISED:
        total = sums(W.T, deadline)
        size = np.nextafter(np.abs(total[total != 0]), np.inf)
        products.append((-size, np.nextafter(size / s.gamma, np.inf)))
    return sum_of_products(products, upper=False, scale=0.5, deadline=deadline)


def _blocks(s: Training, width: int, deadline: Deadline) -> Iterator[slice]:
    """Blocks of the data rows."""
    rows = max(1, _BLOCK_ENTRIES // max(width, *s.X.shape[1:], *s.Y.shape[1:]))
    for first in range(0, len(s.X), rows):
        deadline.check()
        yield slice(first, first + rows)


def network_objective(
    s: Training, U: FloatArray, V: FloatArray, output: FloatArray, deadline: Deadline = NO_DEADLINE
) -> float:
    """The objective of U (d×m), V (c×m) and the output bias (c,), rounded up; +inf if it overflows. Memory O(n·c),
    whatever the width."""
    loss, products = loss_named(s.loss), []
    for rows in _blocks(s, U.shape[1], deadline):
        X, Y, weight = s.X[rows], s.Y[rows], s.sample_weight[rows, None]
        lower, upper = fitted(X, Y if loss.centred else np.zeros_like(Y), U, V, output, deadline)
        left, right = twice_lost(loss, lower, upper, Y, deadline)
        products.append((np.where(weight == 1, left, inflate(weight * left, 1)), right))
    lost = sum_of_products(products, upper=True, deadline=deadline)
    squares = [U[:-1] if s.hidden_bias == FREE else U, V, output if s.output_bias == PENALISED else output[:0]]
    decay = s.gamma * sum_of_products([(part, part) for part in squares], upper=True, deadline=deadline)
    # Three rounded steps follow the products above; the last term charges their underflow.
    objective = 0.5 * (lost + decay) * (1.0 + 8.0 * UNIT) + 4.0 * TINY
    return math.inf if math.isnan(objective) else objective


def fitted(
    X: FloatArray, centre: FloatArray, U: FloatArray, V: FloatArray, a: FloatArray, deadline: Deadline = NO_DEADLINE
) -> tuple[FloatArray, FloatArray]:
    """Lower and upper bounds (n×c) of ``f − centre`` for the network's outputs f; not finite where they overflow.

    Where terms cancel, as with one row a million times as long as the others, rounding in float64 can exceed what is
    left; small products are computed in balls then.
    """

    def outputs(matrix: type[E]) -> E:
        found = (matrix.exact(X) @ matrix.exact(U)).positive_part() @ matrix.exact(V.T) - matrix.exact(centre)
        return found + matrix.exact(np.broadcast_to(a, centre.shape)) if a.any() else found

    found = outputs(timed(Enclosure, deadline))
    size = np.abs(found.mid) + found.rad
    is_close = np.sum(found.rad * size) <= CLOSE * np.sum(size * size)
    if not is_close and len(X) * U.shape[1] * (len(U) + len(V)) <= LARGEST_WORK:
        found = outputs(timed(BallMatrix, deadline)).enclosure
    return found.lower, found.upper
