"""The linear-time check of proofs without products: it agrees with the check of the whole slack, and is not fooled."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Certificate, Verdict, check
from certificates.arithmetic import MATRICES, Arithmetic, Enclosure, RationalMatrix
from certificates.failure import ProofFailure
from certificates.making.assemble import certify, residual_dual
from certificates.nonnegativity import prove_nonnegative
from certificates.norm_bound import parts_of, prove_in_parts
from certificates.proof import Cone
from formulations import TrainingProgram, merge_rows
from tests.certificates.altering import replace
from tests.certificates.enclosing import encloses
from tests.certificates.proofs import single
from tests.strategies import SEEDS, rng

ALL = pytest.mark.parametrize("arithmetic", [*MATRICES], ids=str)


def whole_slack_is_psd(A: np.ndarray, features: np.ndarray, gamma: float, t: np.ndarray) -> bool:
    """The same statement, decided in rational arithmetic on the slack of order N + k."""
    k = A.shape[1]
    exact = RationalMatrix.exact
    F, wide = exact(features), exact(np.zeros((len(features), k)))
    decay = exact(gamma * np.eye(k))
    form = RationalMatrix.block([[-(F @ F.T), wide], [wide.T, decay @ decay]])
    proof = single(np.zeros((0, 2), dtype=np.int64), np.zeros(0), t)
    try:
        prove_nonnegative(Cone.everywhere(A), form, proof, RationalMatrix)
    except ProofFailure:
        return False
    return True


def proves(
    A: np.ndarray, features: np.ndarray, gamma: float, t: np.ndarray, matrix, J: np.ndarray | None = None
) -> bool:
    """In parts, each of a single generator."""
    decay = matrix.exact(gamma * np.eye(A.shape[1]))
    linear = matrix.exact(np.zeros((features.shape[1], A.shape[1])) if J is None else J)
    proof = single(np.zeros((0, 2), dtype=np.int64), np.zeros(0), t)
    parts = parts_of(proof, 1)
    assert parts is not None
    try:
        prove_in_parts(A, matrix.exact(features), linear, decay @ decay, proof, parts, matrix)
    except ProofFailure:
        return False
    return True


@settings(max_examples=60)
@given(SEEDS, st.floats(0.3, 3.0))
def test_a_linear_part_agrees_with_the_whole_slack(seed: int, factor: float) -> None:
    """``γ²‖u‖² − ‖W̃ᵀφ + Ju‖²``, as Lipschitz constants have it."""
    A, features, t, critical = random_slack(rng(seed))
    (N, k), c = A.shape, features.shape[1]
    J = rng(seed + 1).standard_normal((c, k)) * critical
    gamma, exact = factor * (critical + np.linalg.norm(J)), RationalMatrix.exact
    F, decay = exact(np.vstack([features, J.T])), exact(gamma * np.eye(k))
    square, wide = decay @ decay, exact(np.zeros((2 * N, k)))
    form = RationalMatrix.block([[exact(np.zeros((2 * N, 2 * N))), wide], [wide.T, square]]) - F @ F.T
    proof = single(np.zeros((0, 2), dtype=np.int64), np.zeros(0), t)
    try:
        prove_nonnegative(Cone.everywhere(A), form, proof, RationalMatrix)
        whole = True
    except ProofFailure:
        whole = False
    assert whole or not proves(A, features, gamma, t, Enclosure, J)
    assert proves(A, features, gamma, t, RationalMatrix, J) == whole or abs(factor - 1) < 1e-9


def random_slack(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Generators, features, t, and the γ at which the slack becomes singular, up to rounding."""
    N, k, c = (int(x) for x in random.integers(1, (7, 4, 4)))
    A, features = random.standard_normal((N, k)), random.standard_normal((2 * N, c))
    features[random.random(2 * N) < 0.2] = 0.0
    A, features = A * 10.0 ** random.uniform(-3, 3, (N, 1)), features * 10.0 ** random.uniform(-3, 3)
    P, Q = features[:N], features[N:]
    S, D = P + Q, 0.5 * (P - Q).T @ A
    tau = 10.0 ** random.uniform(-1, 1, N) / np.sum(A**2, axis=1)
    tau *= 1.01 * np.linalg.eigvalsh(S.T @ (S / tau[:, None]))[-1] + 1e-9
    schur = D.T @ np.linalg.solve(np.eye(c) - S.T @ (S / tau[:, None]), D) + 0.25 * A.T @ (tau[:, None] * A)
    return A, features, -tau, float(np.sqrt(np.linalg.eigvalsh(schur)[-1]))


@ALL
@settings(max_examples=40)
@given(SEEDS, st.sampled_from([0.9, 1 - 1e-6, 1 + 1e-6, 1.5]))
def test_it_agrees_with_the_whole_slack(arithmetic: Arithmetic, seed: int, factor: float) -> None:
    A, features, t, critical = random_slack(rng(seed))
    matrix = MATRICES[arithmetic]
    proved = proves(A, features, factor * critical, t, matrix)
    assert proved == (factor > 1) == whole_slack_is_psd(A, features, factor * critical, t)


@settings(max_examples=120)
@given(SEEDS, st.floats(-1e-13, 1e-13))
def test_floating_point_never_proves_an_indefinite_slack(seed: int, distance: float) -> None:
    A, features, t, critical = random_slack(rng(seed))
    gamma = critical * (1 + distance)
    if proves(A, features, gamma, t, Enclosure):
        assert whole_slack_is_psd(A, features, gamma, t)


def test_reciprocals_are_no_smaller_than_they_are() -> None:
    """τb² − (Sb)² with S² between τ and the inverse of the number nearest to 1/τ: negative, by part of a rounding."""
    random, met = rng(0), 0
    for tau in (1.0 + random.random(300)).tolist():
        for S in [*np.nextafter(np.sqrt(tau), [0.0, 3.0]).tolist(), float(np.sqrt(tau))]:
            square = Fraction(S) ** 2
            if Fraction(tau) < square and square * Fraction(1.0 / tau) <= 1:
                met += 1
                halves = np.array([[0.5 * S], [0.5 * S]])
                assert not proves(np.array([[1e-3]]), halves, 1.0, np.array([-tau]), RationalMatrix)
    assert met > 10


@pytest.mark.parametrize("value", [0.0, 1e-3, np.inf, -np.inf, np.nan, -1e-320, -1e308])
@ALL
def test_multipliers_out_of_range_prove_nothing(arithmetic: Arithmetic, value: float) -> None:
    A, features, t, critical = random_slack(rng(3))
    matrix = MATRICES[arithmetic]
    t[0] = value
    assert not proves(A, features, 2 * critical, t, matrix)


@ALL
@settings(max_examples=60)
@given(SEEDS)
def test_sparse_products_and_scaled_rows_enclose_the_truth(arithmetic: Arithmetic, seed: int) -> None:
    random, matrix = rng(seed), MATRICES[arithmetic]
    height, inner, c = (int(x) for x in random.integers(1, 5, 3))
    factor = random.standard_normal((inner, c)) * 10.0 ** random.uniform(-200, 100, (inner, c))
    entries = {
        (int(random.integers(height)), j): Fraction(int(random.integers(-99, 99)), int(random.integers(1, 99)))
        for j in range(inner)
    }
    product = [[Fraction(0)] * c for _ in range(height)]
    for (i, j), value in entries.items():
        product[i] = [x + value * Fraction(y) for x, y in zip(product[i], factor[j].tolist(), strict=True)]
    assert encloses(matrix.sparse_product(entries, height, matrix.exact(factor)), product)
    scale = random.standard_normal(inner) * 10.0 ** random.uniform(-150, 100, inner)
    scaled = [[Fraction(s) * Fraction(y) for y in row] for s, row in zip(scale.tolist(), factor.tolist(), strict=True)]
    assert encloses(matrix.exact(factor).times(scale[:, None]), scaled)


@pytest.fixture(scope="module")
def honest() -> Certificate:
    """A proof whose slack is too large to be looked at as a whole."""
    random = rng(5)
    X, Y = random.standard_normal((900, 4)), random.standard_normal((900, 2))
    X[5], X[6] = -3.0 * X[4], 0.0
    program = TrainingProgram(X, Y, 20.0)
    U, V = random.standard_normal((4, 3)), 0.1 * random.standard_normal((2, 3))
    merged = merge_rows(program)
    certificate, report = certify(merged, [residual_dual(merged, U, V)], U, V)
    assert report.verdict is Verdict.PROVED
    assert report.lower_bound > merged.program.constant
    assert parts_of(certificate.proof, 2) is not None
    return certificate


@ALL
def test_every_arithmetic_proves_the_honest_one(honest: Certificate, arithmetic: Arithmetic) -> None:
    assert check(honest, arithmetic=arithmetic).verdict is Verdict.PROVED


def with_t(certificate: Certificate, t: np.ndarray) -> Certificate:
    return replace(certificate, proof=replace(certificate.proof, complementarity=t))


@ALL
def test_tampered_proofs_prove_nothing(honest: Certificate, arithmetic: Arithmetic) -> None:
    t = honest.proof.complementarity
    flipped = t.copy()
    flipped[0, 7] *= -1.0
    swapped = t[:, ::-1].copy()
    forged = {
        "a sign": with_t(honest, flipped),
        "the order": with_t(honest, swapped),
        "half": with_t(honest, 0.5 * t),
        "double": with_t(honest, 2.0 * t),
        "W": replace(honest, W=honest.W * (1 + 1e-6)),
        "gamma": replace(honest, gamma=honest.gamma * (1 - 1e-6)),
        "shape": with_t(honest, t[:, :-1]),
        "children": replace(honest, proof=replace(honest.proof, children=np.array([[0, 0]]))),
        "leaf": replace(honest, proof=replace(honest.proof, leaf=np.array([1]))),
        "generator": replace(honest, generator=np.roll(honest.generator, 1)),
    }
    for name, certificate in forged.items():
        assert check(certificate, arithmetic=arithmetic).verdict is Verdict.UNKNOWN, name
    for value in (np.nan, np.inf, -np.inf, 1e308, -1e308, -5e-324, 0.0):
        wrong = t.copy()
        wrong[0, 3] = value
        assert check(with_t(honest, wrong), arithmetic=arithmetic).verdict is Verdict.UNKNOWN, value


def test_memory_is_linear_in_the_rows() -> None:
    """2,500 rows; a single matrix over the signs would take 200 megabytes."""
    random = rng(0)
    program = TrainingProgram(random.standard_normal((2500, 3)), random.standard_normal((2500, 1)), 50.0)
    tracemalloc.start()
    merged = merge_rows(program)
    network = np.zeros((3, 0)), np.zeros((1, 0))
    _, report = certify(merged, [residual_dual(merged, *network)], *network)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.verdict is Verdict.PROVED
    assert report.lower_bound > 0
    assert peak < 2**25
