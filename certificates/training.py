"""Training: what a certificate of optimality proves, and its check.

1. numbers are finite, shapes agree, the data match their fingerprint;
2. the map from data rows to generators is right (zero rows, exactly parallel rows: rational arithmetic);
3. the nonnegativity proof holds for ``γ²‖u‖² − ‖Wᵀ(Xu)₊‖²`` (``certificates.nonnegativity``), hence W is dual feasible;
4. ``⟨W,Y⟩ − ½‖W‖²``, rounded down, is at least the claimed bound;
5. the network's objective, rounded up, is at most the claimed objective.
"""

import math
from fractions import Fraction

import numpy as np
from flint import arb, arb_mat, ctx

from certificates.arithmetic import Arithmetic, Enclosure, Matrix
from certificates.arithmetic.exact import PRECISION
from certificates.arithmetic.floating import TINY, UNIT, inflate, sum_of_products
from certificates.arithmetic.matrix import Entries, M, timed
from certificates.certificate import LOSS, Certificate, Training, TrainingProof, fingerprint
from certificates.diagonal_slack import is_diagonal, linear_bytes, prove_without_products
from certificates.failure import NO_DEADLINE, Deadline, require, require_array
from certificates.nonnegativity import MAX_ORDER, Problem, check_structure, leaves_with_signs, prove_nonnegative
from certificates.proof import Region
from certificates.report import Verdict
from certificates.resources import product_bytes, require_memory, row_bytes
from certificates.subdivision import Subdivision, check_subdivision, in_basis, prove_by_subdivision
from certificates.work import Work
from formulations.arrays import FloatArray, IntArray
from formulations.rows import ZERO_ROW, are_parallel, scale_rows

SMALL_ORDER = 400
"""Up to this order a slack that is singular, or nearly so, is looked at as a whole as well."""
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
LARGEST_WORK = 100_000
"""Products up to which a residual is computed in balls, which takes some hundredths of a second."""


def prove_training(statement: Training, certificate: Certificate, work: Work) -> tuple[Verdict, str]:
    """Prove or refute the claims; ``lower_bound``, ``objective`` and ``slack_margin`` are left in the work.

    Raises:
        ProofFailure: the first violated condition.
    """
    require([type(proof) for proof in certificate.proofs] == [TrainingProof], "the certificate has not one proof")
    proof, deadline = certificate.proofs[0], work.deadline
    claimed_bound, claimed_objective = (certificate.claims.get(name, math.nan) for name in ("lower_bound", "objective"))
    _check_numbers(statement, proof, claimed_bound, claimed_objective)
    objective = network_objective(statement.X, statement.Y, statement.gamma, proof.U, proof.V, deadline)
    work.figures["objective"] = objective
    trivial = sum_of_products([(statement.Y, statement.Y)], upper=True, scale=0.5, deadline=deadline)
    reached, name = min((objective, "the certificate's own network"), (trivial, "the zero network"))
    if claimed_bound > reached:
        what = f"the claimed lower bound {claimed_bound:.10g} exceeds {reached:.10g}"
        return Verdict.REFUTED, f"{what}, the objective of {name}"
    work.figures["slack_margin"] = work.proved(
        lambda matrix: _check_dual_feasible(statement, proof, matrix), _order(statement, proof), exactly=True
    )
    lower_bound = work.figures["lower_bound"] = dual_value(proof.W, statement.Y, deadline)
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
    shapes = {"X": (n, d), "Y": (n, outputs), "W": (n, outputs), "U": (d, width), "V": (outputs, width)}
    for name, array in {"X": s.X, "Y": s.Y, "W": p.W, "U": p.U, "V": p.V}.items():
        require_array(name, array, np.float64, shapes[name])
    require_array("source", p.source, np.int64, (p.source.size,))
    require_array("generator", p.generator, np.int64, (n,))
    require(math.isfinite(s.gamma) and s.gamma > 0, f"gamma is {s.gamma}, not a positive finite number")
    require(math.isfinite(lower_bound), f"the claimed lower bound is {lower_bound}")
    require(math.isfinite(objective), f"the claimed objective is {objective}")
    require(s.loss == LOSS, f"the loss {s.loss[:40]!r} is not known to this checker (known: {LOSS})")
    found = fingerprint(s.X, s.Y)
    require(
        found == s.data_fingerprint,
        f"the data have fingerprint {found[:12]}… but the certificate was made for {s.data_fingerprint[:12]}…",
    )


def _order(s: Training, p: TrainingProof) -> float:
    """Of the slack, as far as it tells how long a leaf takes; stronger arithmetic than floating point has to fit it."""
    (_, d, c), proof = s.shape, p.proof
    if isinstance(proof, Subdivision):
        return math.inf
    order = c + d if is_diagonal(proof, c) else p.source.size + d + proof.circuits.target.size
    return float(order * max(proof.leaves, 1) ** 0.25)


def _memory(s: Training, p: TrainingProof, chosen: Arithmetic) -> float:
    """Bytes that checking takes at its most, besides the certificate."""
    (n, d, outputs), N = s.shape, p.source.size
    proof, numbers = p.proof, 8.0
    statement = 700.0 * n + 3 * numbers * (s.X.size + s.Y.size + p.W.size + p.U.size + p.V.size)
    if isinstance(proof, Subdivision):
        tree = numbers * (8.0 * proof.codes.size + 4.0 * N * d + (4.0 * N + 8.0 * d) * outputs)
        return statement + row_bytes(chosen, 2 * N, outputs) + tree
    features = row_bytes(chosen, 2 * N, outputs + d)
    if is_diagonal(proof, outputs):
        linear = linear_bytes(chosen, N, d, outputs) + product_bytes(chosen, 0, d + outputs, 0)
        return statement + features + max(linear, product_bytes(chosen, N, d, 0) if N + d <= SMALL_ORDER else 0.0)
    return statement + features + product_bytes(chosen, N, d, proof.circuits.target.size)


def check_rows(X: FloatArray, source: IntArray, generator: IntArray, deadline: Deadline) -> tuple[FloatArray, Entries]:
    """(generators N×d, |κ_i| at (position of row i in φ, i)), checked in rational arithmetic.

    Raises:
        ProofFailure: the map from data rows to generators is wrong.
    """
    n, count = len(X), len(source)
    require(((source >= 0) & (source < n)).all(), "a generator's source is no data row")
    require(((generator >= ZERO_ROW) & (generator < count)).all(), "a data row's generator does not exist")
    zero = ~X.any(axis=1)
    wrong = np.flatnonzero(zero != (generator == ZERO_ROW))
    require(len(wrong) == 0, f"data row {wrong[0] + 1 if len(wrong) else 0} is wrongly marked as zero or nonzero")
    own = generator[source] == np.arange(count)
    require(own.all(), "a generator's source row belongs to another generator")
    generators = scale_rows(X[source])
    kappas: dict[tuple[int, int], Fraction] = {}
    for i in np.flatnonzero(~zero):
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


def training_features(proof: TrainingProof, kappas: Entries, matrix: type[M]) -> M:
    """W̃ = κW (2N×c), so that Wᵀ(Xu)₊ = W̃ᵀφ."""
    return matrix.sparse_product(kappas, 2 * len(proof.source), matrix.exact(proof.W))


def training_form(features: M, square: M, matrix: type[M]) -> M:
    """γ²‖u‖² − ‖W̃ᵀφ‖² over λ = (φ, u), for square = γ²I."""
    wide = matrix.exact(np.zeros((features.shape[0], square.shape[0])))
    return matrix.block([[-(features @ features.T), wide], [wide.T, square]])


def _check_dual_feasible(s: Training, p: TrainingProof, matrix: type[Matrix]) -> float:
    """Steps 2 and 3; returns the margin of the PSD proof, NaN for a subdivision, which has none."""
    (_, d, c), N, proof, deadline = s.shape, len(p.source), p.proof, matrix.deadline
    require_memory(_memory(s, p, matrix.arithmetic), "the proof")
    if isinstance(proof, Subdivision):
        require(
            issubclass(matrix, Enclosure),
            "a subdivision is proved in floating point with enclosed errors alone; choose float or auto",
        )
        ends = check_subdivision(proof, d)
        generators, kappas = check_rows(s.X, p.source, p.generator, deadline)
        output = in_basis(generators, training_features(p, kappas, timed(Enclosure, deadline)), s.gamma, proof.basis)
        prove_by_subdivision(output, proof, ends, deadline)
        return math.nan
    diagonal = is_diagonal(proof, c)
    check_structure(proof, N, Region.everywhere(d), order_limit=None if diagonal else MAX_ORDER)
    generators, kappas = check_rows(s.X, p.source, p.generator, deadline)
    features, decay = training_features(p, kappas, matrix), matrix.exact(s.gamma * np.eye(d))
    square = decay @ decay
    if diagonal:
        list(leaves_with_signs(proof, N))  # one leaf, which must be written down properly
        found = prove_without_products(generators, features, None, square, proof.complementarity[0], matrix)
        if found.proved or N + d > SMALL_ORDER:
            require(found.proved, found.reason)
            return found.margin
    problem = Problem(generators, Region.everywhere(d), training_form(features, square, matrix))
    return prove_nonnegative(problem, proof, matrix)


def dual_value(W: FloatArray, Y: FloatArray, deadline: Deadline = NO_DEADLINE) -> float:
    """⟨W,Y⟩ − ½‖W‖², rounded down; −inf for entries beyond reach."""
    return sum_of_products([(W, Y), (W, Y), (-W, W)], upper=False, scale=0.5, deadline=deadline)


def network_objective(
    X: FloatArray, Y: FloatArray, gamma: float, U: FloatArray, V: FloatArray, deadline: Deadline = NO_DEADLINE
) -> float:
    """½‖(XU)₊Vᵀ − Y‖² + γ/2(‖U‖² + ‖V‖²), rounded up; +inf if it overflows. Memory O(n·c), whatever the width."""
    rows = max(1, _BLOCK_ENTRIES // max(U.shape[1], *X.shape[1:], *Y.shape[1:]))
    sizes = []
    for i in range(0, len(X), rows):
        deadline.check()
        sizes.append(residual_size(X[i : i + rows], Y[i : i + rows], U, V, deadline))
    loss = sum_of_products([(size, size) for size in sizes], upper=True, deadline=deadline)
    decay = gamma * sum_of_products([(U, U), (V, V)], upper=True, deadline=deadline)
    # Three rounded steps follow the products above; the last term charges their underflow.
    objective = 0.5 * (loss + decay) * (1.0 + 8.0 * UNIT) + 4.0 * TINY
    return math.inf if math.isnan(objective) else objective


def residual_size(
    X: FloatArray, Y: FloatArray, U: FloatArray, V: FloatArray, deadline: Deadline = NO_DEADLINE
) -> FloatArray:
    """Upper bounds (n×c) on |(XU)₊Vᵀ − Y|; +inf where it overflows.

    Where terms cancel, as with one row a million times as long as the others, rounding in float64 can exceed what is
    left. Small residuals are then computed in balls.
    """
    hidden = (timed(Enclosure, deadline).exact(X) @ Enclosure.exact(U)).positive_part()
    residual = hidden @ Enclosure.exact(V.T) + Enclosure.exact(-Y)
    size = inflate(np.abs(residual.mid) + residual.rad, 2)
    is_close = np.sum(residual.rad * size) <= CLOSE * np.sum(size * size)
    if not is_close and len(X) * U.shape[1] * (len(U) + len(V)) <= LARGEST_WORK:
        return _in_balls(X, Y, U, V)
    return np.where(np.isfinite(size), size, np.inf)


def _in_balls(X: FloatArray, Y: FloatArray, U: FloatArray, V: FloatArray) -> FloatArray:
    with ctx.workprec(PRECISION):
        zero = arb(0)
        product = arb_mat(*X.shape, X.ravel().tolist()) * arb_mat(*U.shape, U.ravel().tolist())
        hidden = arb_mat(len(X), U.shape[1], [x.max(zero) for row in product.tolist() for x in row])
        fitted = hidden * arb_mat(*V.T.shape, V.T.ravel().tolist())
        residual = fitted - arb_mat(*Y.shape, Y.ravel().tolist())
        upper = [float(x.abs_upper()) for row in residual.tolist() for x in row]
    # The conversion rounds to nearest.
    size: FloatArray = np.nextafter(np.array(upper).reshape(Y.shape), np.inf)
    return size
