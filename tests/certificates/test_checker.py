"""Tampered certificates are not proved, each with the condition that fails."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from certificates import Certificate, Verdict, check, fingerprint
from certificates.making.assemble import certify, residual_dual, statement_of
from certificates.training import dual_value, network_objective
from formulations import Dual, TrainingProgram, merge_rows
from tests.certificates.altering import replace, training_certificate
from tests.certificates.proofs import full_tree, simple
from tests.strategies import SEEDS, networks, programs, rng


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    random = rng(5)
    X = random.standard_normal((9, 3))
    X[3], X[4], X[5] = 0.0, -2.0 * X[1], X[0]
    program = TrainingProgram(X, random.standard_normal((9, 2)), 0.3)
    merged = merge_rows(program)
    U, V = min(networks(program, 1), key=lambda network: program.objective(*network))
    W = merged.program.loss.dual(np.zeros(merged.program.shape))
    N = np.abs(random.standard_normal((12, 12))) * 0.01
    honest, report = certify(merged, [residual_dual(merged, U, V), Dual(W, N)], U, V)
    assert report.verdict is Verdict.PROVED
    return honest


def changed(array: np.ndarray, index: int, value: float) -> np.ndarray:
    copy = array.copy()
    copy.flat[index] = value
    return copy


def with_pairs(certificate: Certificate, pairs: np.ndarray, multipliers: np.ndarray) -> Certificate:
    offset = np.array([0, len(pairs)])
    return replace(
        certificate, proof=replace(certificate.proof, pairs=pairs, multipliers=multipliers, pair_offset=offset)
    )


def rebound(certificate: Certificate) -> Certificate:
    """A forger's touch: fingerprint and claimed bound follow the change."""
    claimed = dual_value(certificate.statement, certificate.W)
    return replace(
        certificate,
        data_fingerprint=fingerprint(certificate.X, certificate.Y),
        lower_bound=claimed if np.isfinite(claimed) else 0.0,
    )


def test_changed_data_are_noticed(certificate: Certificate) -> None:
    for name in ("X", "Y"):
        array = getattr(certificate, name)
        report = check(replace(certificate, **{name: changed(array, 1, array.flat[1] * (1 + 2e-16))}))
        assert report.verdict is Verdict.UNKNOWN
        assert "fingerprint" in report.reason


def test_a_negative_multiplier_is_named(certificate: Certificate) -> None:
    pairs, multipliers = np.array([[0, 1]]), np.array([-1e-12])
    report = check(with_pairs(certificate, pairs, multipliers))
    assert report.verdict is Verdict.UNKNOWN
    assert "pair (0, 1)" in report.reason
    assert "negative" in report.reason


@pytest.mark.parametrize(
    ("pairs", "word"),
    [([[1, 0]], "order"), ([[0, 12]], "order"), ([[-1, 0]], "order"), ([[0, 1], [0, 1]], "twice")],
)
def test_odd_pairs_are_refused(certificate: Certificate, pairs: list, word: str) -> None:
    indices = np.array(pairs, dtype=np.int64)
    report = check(with_pairs(certificate, indices, np.ones(len(indices))))
    assert report.verdict is Verdict.UNKNOWN
    assert word in report.reason


@pytest.mark.parametrize("name", ["X", "Y", "W", "U", "V"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(certificate: Certificate, name: str, bad: float) -> None:
    report = check(rebound(replace(certificate, **{name: changed(getattr(certificate, name), 0, bad)})))
    assert report.verdict is Verdict.UNKNOWN
    assert "finite" in report.reason


@pytest.mark.parametrize("name", ["multipliers", "complementarity"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_multipliers_that_are_not_finite(certificate: Certificate, name: str, bad: float) -> None:
    base = with_pairs(certificate, np.array([[0, 1]]), np.array([0.0])).proof
    report = check(replace(certificate, proof=replace(base, **{name: changed(getattr(base, name), 0, bad)})))
    assert report.verdict is Verdict.UNKNOWN
    assert "finite" in report.reason


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0])
def test_bad_gamma(certificate: Certificate, value: float) -> None:
    report = check(replace(certificate, gamma=value))
    assert report.verdict is Verdict.UNKNOWN
    assert "gamma" in report.reason


def test_smaller_gamma_is_not_proved(certificate: Certificate) -> None:
    assert check(replace(certificate, gamma=0.5 * certificate.gamma)).verdict is Verdict.UNKNOWN


def test_a_stronger_dual_is_not_proved(certificate: Certificate) -> None:
    report = check(rebound(replace(certificate, W=certificate.W * (1 + 1e-4))))
    assert report.verdict is Verdict.UNKNOWN
    assert "semidefinite" in report.reason


def test_a_weaker_dual_may_pass_with_its_weaker_claim(certificate: Certificate) -> None:
    active = certificate.generator >= 0
    W = np.where(active[:, None], 0.9 * certificate.W, certificate.W)
    report = check(rebound(replace(certificate, W=W)))
    assert report.verdict is Verdict.PROVED
    assert report.lower_bound < certificate.lower_bound


def test_a_slightly_larger_claim_is_not_proved(certificate: Certificate) -> None:
    claim = float(np.nextafter(certificate.lower_bound, np.inf))
    report = check(replace(certificate, lower_bound=claim))
    assert report.verdict is Verdict.UNKNOWN
    assert "exceeds what is proved" in report.reason


def test_an_impossible_claim_is_refuted_by_the_network(certificate: Certificate) -> None:
    report = check(replace(certificate, lower_bound=certificate.objective * 1.01))
    assert report.verdict is Verdict.REFUTED
    assert "network" in report.reason


def test_the_zero_network_refutes_too(certificate: Certificate) -> None:
    worse = replace(certificate, U=100.0 * certificate.U, V=100.0 * certificate.V, objective=1e30)
    report = check(replace(worse, lower_bound=float(np.sum(certificate.Y**2))))
    assert report.verdict is Verdict.REFUTED
    assert "zero network" in report.reason


def test_a_flattering_objective_is_not_proved(certificate: Certificate) -> None:
    report = check(replace(certificate, objective=0.999 * certificate.objective))
    assert report.verdict is Verdict.UNKNOWN
    assert "objective" in report.reason


def test_wrong_generator_maps_are_noticed(certificate: Certificate) -> None:
    generator = certificate.generator.copy()
    for row, value, word in [
        (3, 0, "left out"),
        (2, -1, "left out"),
        (4, 0, "multiple"),
        (2, 99, "exist"),
        (0, 1, "another"),
    ]:
        wrong = generator.copy()
        wrong[row] = value
        report = check(replace(certificate, generator=wrong))
        assert report.verdict is Verdict.UNKNOWN
        assert word in report.reason
    assert check(replace(certificate, source=certificate.source[::-1].copy())).verdict is Verdict.UNKNOWN


def test_unknown_loss(certificate: Certificate) -> None:
    assert "loss" in check(replace(certificate, loss="mean")).reason


def test_wrong_types_and_shapes(certificate: Certificate) -> None:
    for name, value in [
        ("W", certificate.W[:-1]),
        ("U", certificate.U.astype(np.float32)),
        ("V", certificate.V[:, :-1]),
        ("source", certificate.source.astype(np.int32)),
        ("proof", replace(certificate.proof, complementarity=certificate.proof.complementarity[:, :-1])),
    ]:
        assert check(replace(certificate, **{name: value})).verdict is Verdict.UNKNOWN


@given(programs(max_n=5), SEEDS)
def test_rounded_objective_and_bound_against_rational_arithmetic(program: TrainingProgram, seed: int) -> None:
    def exact(value: float) -> Fraction:
        return Fraction(float(value))

    U, V = list(networks(program, seed, count=1))[1]
    n, d, c = program.shape
    m = U.shape[1]
    total = Fraction(0)
    for i in range(n):
        hidden = [max(sum(exact(program.X[i, k]) * exact(U[k, j]) for k in range(d)), Fraction(0)) for j in range(m)]
        for o in range(c):
            total += (sum(hidden[j] * exact(V[o, j]) for j in range(m)) - exact(program.Y[i, o])) ** 2
    decay = sum(exact(x) ** 2 for x in [*U.flat, *V.flat])
    objective = total / 2 + exact(program.gamma) / 2 * decay
    statement = statement_of(program)
    rounded = network_objective(statement, U, V, np.zeros(c))
    assert objective <= Fraction(rounded) <= objective * (1 + Fraction(1, 10**9)) + Fraction(1, 10**12)
    W = rng(seed).standard_normal((n, c))
    value = sum(exact(w) * exact(y) - exact(w) ** 2 / 2 for w, y in zip(W.flat, program.Y.flat, strict=True))
    assert Fraction(dual_value(statement, W)) <= value <= Fraction(dual_value(statement, W)) + Fraction(1, 10**10)


def hand_made(X, Y, W, gamma: float, U, V, *, lower_bound: float, objective: float, proof) -> Certificate:
    """One data row, one generator, everything as given."""
    X, Y, W, U, V = (np.array(value, dtype=np.float64) for value in (X, Y, W, U, V))
    one = np.zeros(1, dtype=np.int64)
    return training_certificate(
        X=X, Y=Y, data_fingerprint=fingerprint(X, Y), gamma=gamma, W=W, source=one, generator=one,
        proof=proof, U=U, V=V, lower_bound=lower_bound, objective=objective,
    )  # fmt: skip


@pytest.mark.parametrize("arithmetic", ["exact", "ball", "float"])
def test_a_decay_that_underflows_is_still_charged(arithmetic: str) -> None:
    """γ = 2⁻¹⁰⁷⁴ and ‖U‖ = 1e140: the objective is 2.5e-44, not 0."""
    tiny = 5e-324
    base = hand_made(
        [[-1.0]], [[0.0]], [[0.0]], tiny, [[1e140]], [[0.0]], lower_bound=0.0, objective=1e-300, proof=simple(1)
    )
    assert network_objective(base.statement, base.U, base.V, base.output) >= 2.47e-44
    assert check(base, arithmetic=arithmetic).verdict is Verdict.UNKNOWN
    assert network_objective(base.statement, np.array([[1e200]]), base.V, base.output) == np.inf


@pytest.mark.parametrize("arithmetic", ["exact", "ball", "float"])
def test_a_dual_that_underflows_is_still_charged(arithmetic: str) -> None:
    """W = 2⁻¹⁰⁷⁴: ½‖W‖² is not 0, so the claim ⟨W,Y⟩ is just too large."""
    tiny, claim = 5e-324, 2.0**-610
    empty = np.zeros((1, 0))
    base = hand_made(
        [[1.0]], [[2.0**464]], [[tiny]], tiny, empty, empty, lower_bound=claim, objective=1e300, proof=full_tree(1)[0]
    )
    assert Fraction(dual_value(base.statement, base.W)) < Fraction(claim)
    assert check(base, arithmetic=arithmetic).verdict is Verdict.UNKNOWN


def test_offsets_cannot_wrap_around(certificate: Certificate) -> None:
    top = 2**63 - 1
    offset = np.array([0, 0, 0, top, -top - 1, -1, 0, 0, len(certificate.proof.pairs)])
    leaves = len(offset) - 1
    proof = replace(
        certificate.proof,
        pair_offset=offset,
        complementarity=np.zeros((leaves, len(certificate.source))),
        sigma=np.zeros((leaves, 0)),
    )
    report = check(replace(certificate, proof=proof))
    assert report.verdict is Verdict.UNKNOWN
    assert "pair_offset" in report.reason


@pytest.mark.slow
def test_wide_networks_are_evaluated_in_blocks() -> None:
    """6,000 points and 6,000 neurons: the hidden layer alone would take 288 MB."""
    n = 6_000
    X, U = np.zeros((n, 1)), np.zeros((1, n))
    statement = statement_of(TrainingProgram(X, np.ones((n, 1)), 1.0))
    tracemalloc.start()
    assert network_objective(statement, U, U, np.zeros(1)) == pytest.approx(0.5 * n, rel=1e-9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**27


def test_the_time_limit_is_kept(certificate: Certificate) -> None:
    report = check(certificate, time_limit=0.0)
    assert report.verdict is Verdict.UNKNOWN
    assert "time limit" in report.reason
    with pytest.raises(ValueError, match="nonsense"):
        check(certificate, arithmetic="nonsense")
