"""Small files that describe huge proofs: refused by their sizes or given up in time, in every kind and arithmetic."""

import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

import certificates.combination as combination
import certificates.resources as resources
from certificates import Certificate, Lipschitz, Robustness, Verdict, check, fingerprint
from certificates.arithmetic import MATRICES, Arithmetic, Enclosure, RationalMatrix
from certificates.arithmetic.matrix import timed
from certificates.certificate import CaseProof, LipschitzProof
from certificates.failure import Deadline, ProofFailure
from certificates.proof import Circuits
from certificates.subdivision import Subdivision
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase
from tests.certificates.altering import replace, training_certificate
from tests.certificates.proofs import single
from tests.strategies import SEEDS, rng

PAST = Deadline(0.0)
NO_PAIRS = np.zeros((0, 2), dtype=np.int64)


def training(n: int = 1, d: int = 1, c: int = 1, generators: int = 0, proof: object = None) -> Certificate:
    """About ``generators`` rows of ones, and zero rows besides."""
    X, Y = np.zeros((n, d)), np.ones((n, c))
    X[:generators] = np.arange(1, d + 1)
    X[:generators, 0] = np.arange(1, generators + 1)
    chosen = np.arange(generators)
    generator = np.concatenate([chosen, np.full(n - generators, -1)])
    plain = single(NO_PAIRS, np.zeros(0), np.full(generators, -0.01))
    return training_certificate(
        X, Y, fingerprint(X, Y), 1.0, np.zeros((n, c)), chosen, generator, plain if proof is None else proof,
        np.zeros((d, 0)), np.zeros((c, 0)), 0.0, 1e9,
    )  # fmt: skip


def with_circuits(count: int) -> Certificate:
    """So many times the circuit r_2 = 2 r_0 of three rows on a line, and one multiplier."""
    base = training(n=3, d=1, generators=3)
    X = np.array([[1.0], [1.5], [2.0]])
    circuits = Circuits(np.full(count, 2), np.arange(count + 1), np.zeros(count, dtype=np.int64))
    last = 6 + count - 1
    proof = replace(single(np.array([[last, last]]), np.array([1e-300]), np.full(3, -1.0)), circuits=circuits)
    return replace(base, X=X, data_fingerprint=fingerprint(X, base.Y), proof=proof)


def slope(d: int, r: int, m: int) -> Certificate:
    network = ReluNetwork(np.ones((m, d)), np.zeros(m), np.ones((1, m)), np.zeros(1))
    weights = single(NO_PAIRS, np.zeros(0), np.full(m * min(r, 2), -1.0))
    proof = LipschitzProof(np.zeros(m, dtype=np.int64), weights)
    return Certificate(Lipschitz(network, np.ones((r, 1))), (proof,), {"constant": 1.0})


def with_pair(certificate: Certificate) -> Certificate:
    t = certificate.proof.complementarity[0]
    return replace(certificate, proof=single(np.zeros((1, 2), dtype=np.int64), np.ones(1), t))


def margin(d: int, m: int, leaves: int = 1) -> Certificate:
    network = ReluNetwork(np.ones((m, d)), np.zeros(m), np.ones((1, m)), np.ones(1))
    case = UnsafeCase(InputRegion(-np.ones(d), np.ones(d)), np.ones((1, 1)), np.ones(1))
    proof = single(NO_PAIRS, np.zeros(0), np.zeros(m))
    proof = replace(
        proof, pair_offset=np.zeros(leaves + 1, dtype=np.int64), complementarity=np.zeros((leaves, m)),
        sigma=np.zeros((leaves, 0)),
    )  # fmt: skip
    given_proof = CaseProof(np.zeros(m, dtype=np.int64), np.ones((leaves, 1)), 0.5, proof)
    return Certificate(Robustness(network, (case,)), (given_proof,))


HUGE = {
    "circuits": (lambda: check(with_circuits(20_000))),
    "circuits, exact": (lambda: check(with_circuits(7_000), arithmetic="exact")),
    "circuits, ball": (lambda: check(with_circuits(9_000), arithmetic="ball")),
    "inputs": (lambda: check(slope(9_000, 1, 0))),
    "functions": (lambda: check(slope(1, 9_000, 0))),
    "neurons times functions": (lambda: check(slope(1, 8_000, 3_300))),
    "neurons with a product": (lambda: check(with_pair(slope(1, 1, 9_000)))),
    "twice the neurons with a product": (lambda: check(with_pair(slope(2, 2, 4_000)))),
    "inputs of a region": (lambda: check(margin(9_000, 0))),
    "leaves": (lambda: check(margin(1, 2_000, 300_000))),
}


@pytest.mark.parametrize("name", HUGE)
def test_what_is_too_large_is_refused_by_its_sizes(name: str) -> None:
    report = HUGE[name]()
    assert report.verdict is Verdict.UNKNOWN
    assert ", and this checker stops at " in report.reason
    assert "GiB" in report.reason or "order" in report.reason


def test_each_row_of_the_data_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small limit, since millions of rows would be added up before they are refused."""
    monkeypatch.setattr(resources, "MEMORY_LIMIT", 16 << 20)
    assert check(training(n=15_000)).verdict is Verdict.PROVED
    report = check(training(n=25_000))
    assert (report.verdict, "memory" in report.reason) == (Verdict.UNKNOWN, True)


@pytest.mark.parametrize("how", ["exact", "ball", "float", "auto"])
def test_each_arithmetic_knows_its_memory(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is what decides: the same proof passes without it."""
    certificate = training(n=4, d=2, generators=3, proof=None)
    assert check(certificate, arithmetic=how).verdict is Verdict.PROVED
    monkeypatch.setattr(resources, "MEMORY_LIMIT", 1 << 10)
    report = check(certificate, arithmetic=how)
    assert (report.verdict, "memory" in report.reason) == (Verdict.UNKNOWN, True)


def test_rows_too_long_to_be_compared_in_time_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a row nobody looks at the clock."""

    def too_late(*_: object) -> bool:
        raise AssertionError("two rows are compared")

    monkeypatch.setattr("certificates.training.are_parallel", too_late)
    report = check(training(n=1, d=200_000, generators=1), time_limit=1.0)
    assert (report.verdict, "200001 numbers stand in a row" in report.reason) == (Verdict.UNKNOWN, True)
    report = check(slope(200_000, 1, 1))
    assert (report.verdict, "200001 numbers stand in a row" in report.reason) == (Verdict.UNKNOWN, True)


def test_running_out_of_memory_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    judges = {
        "training": lambda: check(training(generators=1)),
        "lipschitz": lambda: check(slope(1, 1, 1)),
        "robustness": lambda: check(margin(1, 1)),
    }
    for name, judge in judges.items():
        monkeypatch.setattr(f"certificates.{name}.require_memory", full)
        report = judge()
        assert report.verdict is Verdict.UNKNOWN
        assert report.reason == "this machine has not enough memory for the proof"


def test_auto_goes_on_where_floating_point_fails() -> None:
    """The slack is β², which is singular: rational numbers alone prove it."""
    singular = training(n=1, generators=1, proof=single(NO_PAIRS, np.zeros(0), np.full(1, -2.0)))
    singular = replace(singular, W=np.ones((1, 1)))
    assert check(singular, arithmetic="float").verdict is Verdict.UNKNOWN
    found = check(singular)
    assert (found.verdict, found.arithmetic) == (Verdict.PROVED, "exact")


@pytest.mark.parametrize("how", MATRICES)
def test_every_arithmetic_stops_inside_a_product_and_a_factor(how: Arithmetic) -> None:
    A = rng(1).standard_normal((40, 40))
    late = timed(MATRICES[how], PAST)
    plain = MATRICES[how].exact(A)
    with pytest.raises(ProofFailure, match="time limit"):
        late.exact(A) @ plain
    with pytest.raises(ProofFailure, match="time limit"):
        late(**vars(plain)) @ plain
    with pytest.raises(ProofFailure, match="time limit"):
        late(**vars(plain @ plain.T)).psd_obstacle()


def test_products_in_blocks_are_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    A, B = rng(1).standard_normal((37, 30)), rng(2).standard_normal((30, 41))
    left, right = RationalMatrix.exact(A), RationalMatrix.exact(B)
    assert (left @ right).flint == left.flint * right.flint
    monkeypatch.setattr("certificates.arithmetic.floating.PRODUCTS_AT_ONCE", 1 << 12)
    found = Enclosure.exact(A) @ Enclosure(B, 1e-9 * np.abs(B))
    exact = [[sum((Fraction(a) * Fraction(b) for a, b in zip(row, column, strict=True)), Fraction(0)) for column in
              B.T.tolist()] for row in A.tolist()]  # fmt: skip
    for i, row in enumerate(exact):
        for j, value in enumerate(row):
            assert abs(value - Fraction(float(found.mid[i, j]))) <= Fraction(float(found.rad[i, j]))


@settings(deadline=None)
@given(SEEDS)
def test_a_support_is_solved_exactly_or_given_up_beforehand(seed: int) -> None:
    random = rng(seed)
    d = int(random.integers(1, 6))
    rows = random.integers(-3, 4, (int(random.integers(1, d + 2)), d)) * 2.0 ** random.integers(-3, 4, (1, d))
    target = random.integers(0, 3, len(rows)) @ rows if random.random() < 0.8 else random.integers(-3, 4, d) * 1.0
    found = outcome(combination.nonnegative_combination, rows, target.tolist(), "it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combination, "_RATE", 1e-9)
        late = outcome(combination.nonnegative_combination, rows, target.tolist(), "it", Deadline.after(60.0))
    assert not isinstance(late, list)
    if isinstance(found, list):
        for j in range(d):
            total = sum(c * Fraction(float(row[j])) for c, row in zip(found, rows, strict=True))
            assert total == Fraction(float(target[j]))


def outcome(solve, *arguments: object) -> object:
    try:
        return solve(*arguments)
    except ProofFailure as failure:
        return str(failure)


def test_a_long_elimination_stops() -> None:
    """80 rows of as many numbers take seconds; a limit in the past, none."""
    rows = rng(2).standard_normal((80, 80)) * 10.0 ** rng(3).integers(-200, 200, (80, 80))
    with pytest.raises(ProofFailure, match="time limit"):
        combination.nonnegative_combination(rows, rows.sum(axis=0).tolist(), "it", Deadline(time.perf_counter() + 0.05))


def test_subdivisions_stop_and_stay_small_with_many_outputs() -> None:
    """Nothing crosses, so no row counts; the outputs alone fill a block."""
    cuts, d, c = 6, 3, 20_000

    def tree(depth: int) -> list[int]:
        return [-1] if depth == 0 else [1, *tree(depth - 1), *tree(depth - 1)]

    codes = np.array(tree(cuts) * 2**d)
    proof = Subdivision(np.eye(d), codes, np.full(int((codes >= 0).sum()), 0.5))
    X = np.zeros((1, d))
    X[0, 0] = 1.0
    certificate = replace(training(n=1, d=d, c=c, generators=1, proof=proof), X=X)
    certificate = replace(certificate, data_fingerprint=fingerprint(X, certificate.Y), W=np.full((1, c), 1e-9))
    report = check(certificate, time_limit=0.5)
    assert (report.verdict, "time limit" in report.reason) == (Verdict.UNKNOWN, True)
