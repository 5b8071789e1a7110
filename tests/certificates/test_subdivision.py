"""Subdivisions: what the checker accepts is true, and what it is told wrongly it refuses with a sentence.

The truth is found apart from all cones. On the face of an activation cell where some rows vanish, ‖Wᵀ(Xu)₊‖²/‖u‖² is a
Rayleigh quotient, so its largest value over R^d is attained at an eigenvector of one of finitely many matrices.
"""

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import null_space

from certificates import Certificate, Verdict, check, fingerprint
from certificates.failure import ProofFailure
from certificates.making.mending import mend
from certificates.subdivision import LEAF, Subdivision, check_subdivision
from certnet.search.cones import Exploration, explore, output_of
from formulations import TrainingProgram, merge_rows
from tests.certificates.altering import replace, training_certificate
from tests.strategies import SEEDS, rng


def largest_price(X: np.ndarray, W: np.ndarray) -> float:
    """The largest ‖Wᵀ(Xu)₊‖/‖u‖: the best of the critical points of all faces of all cells (generic data)."""
    n, d = X.shape
    best = 0.0
    signs = np.array(list(product([0.0, 1.0], repeat=n)))
    for size in range(d):
        for rows in combinations(range(n), size):
            N = null_space(X[list(rows)]) if rows else np.eye(d)
            maps = np.einsum("sn,nc,nk->sck", signs, W, X @ N)
            vectors = np.linalg.eigh(maps.transpose(0, 2, 1) @ maps)[1]
            U = (N @ vectors).transpose(1, 0, 2).reshape(d, -1)
            U = np.hstack([U, -U])
            price = np.linalg.norm(W.T @ np.maximum(X @ U, 0.0), axis=0) / np.linalg.norm(U, axis=0)
            best = max(best, float(price.max(initial=0.0)))
    return best


def claim(X: np.ndarray, W: np.ndarray, gamma: float, proof: Subdivision) -> Certificate:
    """The claim that W is feasible, and hardly any other: the targets vanish."""
    Y = np.zeros_like(W)
    rows = merge_rows(TrainingProgram(X, np.ones_like(W), 1.0)).rows
    return training_certificate(
        X=X,
        Y=Y,
        data_fingerprint=fingerprint(X, Y),
        gamma=gamma,
        W=W,
        source=rows.source,
        generator=rows.generator,
        proof=proof,
        U=np.zeros((X.shape[1], 0)),
        V=np.zeros((W.shape[1], 0)),
        lower_bound=-1e300,
        objective=1.0,
        provenance={},
    )


def verdict(X: np.ndarray, W: np.ndarray, gamma: float, proof: Subdivision) -> Verdict:
    return check(claim(X, W, gamma, proof)).verdict


def search(X: np.ndarray, W: np.ndarray, basis: np.ndarray, limit: float, tests: int = 40000) -> Exploration:
    merged = merge_rows(TrainingProgram(X, np.ones_like(W), 1.0))
    return explore(output_of(merged.program, merged.merge_W(W), basis), limit, max_tests=tests)


def sample(seed: int, n: int, d: int, c: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = rng(seed)
    basis = np.linalg.qr(random.standard_normal((d, d)))[0] * 10.0 ** random.uniform(-2, 2)
    return random.standard_normal((n, d)), random.standard_normal((n, c)), basis


def proved(seed: int = 1, n: int = 5, d: int = 2, c: int = 2) -> tuple[np.ndarray, np.ndarray, float, Subdivision]:
    """Data, W, the largest price, and a subdivision that proves 1.0001 times that price."""
    X, W, basis = sample(seed, n, d, c)
    h = largest_price(X, W)
    found = search(X, W, basis, 1.0001 * h)
    assert found.complete
    return X, W, h, Subdivision(basis, found.codes, found.positions)


def roots_only(basis: np.ndarray) -> Subdivision:
    return Subdivision(basis, np.full(1 << len(basis), LEAF), np.zeros(0))


def leaf_cones(proof: Subdivision) -> Iterator[np.ndarray]:
    """The leaf cones, straight from the definition."""
    d = len(proof.basis)
    codes, positions = iter(proof.codes.tolist()), iter(proof.positions.tolist())

    def below(cone: np.ndarray) -> Iterator[np.ndarray]:
        code = next(codes)
        if code == LEAF:
            yield cone
            return
        (a, b), theta = divmod(code, d), next(positions)
        for k in (a, b):
            child = cone.copy()
            child[:, k] = (1 - theta) * cone[:, a] + theta * cone[:, b]
            yield from below(child)

    for r in range(1 << d):
        yield from below(proof.basis * np.array([1.0 if r >> j & 1 else -1.0 for j in range(d)]))


@pytest.mark.parametrize(("seed", "n", "d", "c"), [(0, 6, 2, 1), (1, 5, 2, 3), (2, 5, 3, 2), (3, 4, 3, 1)])
def test_the_least_limit_is_the_largest_price(seed: int, n: int, d: int, c: int) -> None:
    compare_with_cells(seed, n, d, c)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n", "d", "c"), [(8, 2, 1), (8, 2, 3), (8, 3, 1), (8, 3, 2), (7, 4, 1), (6, 4, 2)])
def test_many_least_limits(seed: int, n: int, d: int, c: int) -> None:
    compare_with_cells(seed, n, d, c, tests=4_000_000)


def compare_with_cells(seed: int, n: int, d: int, c: int, tests: int = 40000) -> None:
    X, W, basis = sample(seed, n, d, c)
    h = largest_price(X, W)
    assert not search(X, W, basis, h * (1 - 1e-9), tests).complete
    found = search(X, W, basis, h * (1 + 1e-6), tests)
    assert found.complete
    # What the search completes, the checker accepts, and it does not accept less than the truth.
    proof = Subdivision(basis, found.codes, found.positions)
    assert verdict(X, W, h * (1 + 1e-6) * (1 + 1e-6), proof) is Verdict.PROVED
    assert verdict(X, W, h * (1 - 1e-9), proof) is Verdict.UNKNOWN


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(2, 3), st.integers(1, 3), st.sampled_from([0.3, 0.9, 1 - 1e-8, 1.01, 2.0]))
def test_what_is_proved_is_true(seed: int, n: int, d: int, c: int, factor: float) -> None:
    X, W, basis = sample(seed, n, d, c)
    h = largest_price(X, W)
    found = search(X, W, basis, 1.02 * h, 4000)
    proof = Subdivision(basis, found.codes, found.positions) if found.complete else roots_only(basis)
    result = verdict(X, W, factor * h, proof)
    assert result is Verdict.UNKNOWN or factor > 1
    assert result is Verdict.PROVED or factor < 1.02 or not found.complete


@pytest.mark.parametrize("power", [-50, 0, 50])
def test_units_of_weights_and_data_do_not_matter(power: int) -> None:
    X, W, h, proof = proved()
    scale = 10.0**power
    for scaled in ((X * scale, W / scale, h), (X, W * scale, h * scale)):
        assert verdict(*scaled[:2], scaled[2] * 1.00011, proof) is Verdict.PROVED
        assert verdict(*scaled[:2], scaled[2] * (1 - 1e-9), proof) is Verdict.UNKNOWN


def kinks(tiny: float, other: float) -> tuple[np.ndarray, np.ndarray]:
    """One output that vanishes, but for two tiny terms, at all axes of the plane, and has the price 0.976 off them."""
    X = np.array([[1.0, -1.5], [1.0, -64.0], [0.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    return X, np.array([[1.0], [-1.0], [62.5], [tiny], [other]])


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_direction_whose_square_underflows_has_unit_length(outputs: int) -> None:
    """The square of the tiny terms is a subnormal number that is far off; p was 0.7 long, and the bound too low."""
    for tiny in np.linspace(0.2e-162, 3e-162, 15):
        X, w = kinks(tiny, 2 * tiny)
        W = np.hstack([np.zeros((5, outputs - 1)), w])
        for gamma in (0.72, 0.85, 0.95):
            assert verdict(X, W, gamma, roots_only(np.eye(2))) is Verdict.UNKNOWN
        assert verdict(X, W, 1.02, roots_only(np.eye(2))) is Verdict.PROVED


def test_weights_whose_squares_underflow_have_a_length() -> None:
    """What lies across p was taken for zero, and any price was proved."""
    X, w = kinks(0.0, 0.0)
    W = np.hstack([np.zeros((5, 1)), w])
    for factor in (0.01, 0.5, 0.9):
        gamma = factor * 2.0**-546
        assert verdict(X * 2.0**-500, W * 2.0**-46, gamma, roots_only(2.0**300 * np.eye(2))) is Verdict.UNKNOWN


def test_immense_weights_are_not_proved() -> None:
    X, W, _ = sample(3, 4, 2, 2)
    for size in (1e150, 1e200, 1e300):
        assert verdict(X, size * W, 1.0, roots_only(np.eye(2))) is Verdict.UNKNOWN
        assert verdict(X, size * W[:, :1], 1e-3, roots_only(np.eye(2))) is Verdict.UNKNOWN


def test_zero_rows_alone() -> None:
    assert verdict(np.zeros((2, 2)), np.ones((2, 3)), 1.0, roots_only(np.eye(2))) is Verdict.PROVED


def test_one_dimension() -> None:
    X, W = np.array([[2.0], [-1.0]]), np.array([[0.5], [0.9]])
    for gamma, expected in ((1.0001, Verdict.PROVED), (0.9999, Verdict.UNKNOWN)):
        assert verdict(X, W, gamma, roots_only(np.array([[3.0]]))) is expected


def test_leaves_cover_the_space() -> None:
    _, _, _, proof = proved(2, 5, 3, 2)
    points = rng(0).standard_normal((3, 300))
    covered = np.zeros(300, dtype=bool)
    for cone in leaf_cones(proof):
        covered |= (np.linalg.solve(cone, points) >= -1e-9).all(axis=0)
    assert covered.all()


def test_a_leaf_without_its_cuts_fails() -> None:
    X, W, h, proof = proved()
    assert len(proof.positions) > 1
    assert verdict(X, W, 1.00011 * h, roots_only(proof.basis)) is Verdict.UNKNOWN


def test_a_leaf_that_fails_is_cut_until_it_passes() -> None:
    """Any two leaves of one cut become one leaf again. Where that does not pass, it does after mending."""
    X, W, h, proof = proved(5, 6, 3, 2)
    mended = 0
    for cut, node in enumerate(np.flatnonzero(proof.codes != LEAF).tolist()):
        if (proof.codes[node + 1 : node + 3] != LEAF).any():
            continue
        codes = np.delete(proof.codes, [node + 1, node + 2])
        codes[node] = LEAF
        pruned = Subdivision(proof.basis, codes, np.delete(proof.positions, cut))
        certificate = claim(X, W, 1.00011 * h, pruned)
        better = mend(certificate)
        if check(certificate).verdict is Verdict.PROVED:
            assert better is None
        else:
            assert better is not None
            assert check(better).verdict is Verdict.PROVED
            mended += 1
    assert mended > 3


def test_what_is_false_is_not_mended() -> None:
    X, W, h, proof = proved(5, 6, 3, 2)
    assert mend(claim(X, W, 0.5 * h, proof)) is None
    for below in (0.999, 1 - 1e-6):
        better = mend(claim(X, W, below * h, proof))
        assert better is None or check(better).verdict is Verdict.UNKNOWN


def test_what_is_wrong_in_itself_is_not_mended() -> None:
    X, W, h, proof = proved()
    wrong = (
        replace(proof, codes=proof.codes[:-1]),
        replace(proof, positions=proof.positions + 1.0),
        replace(proof, basis=np.zeros_like(proof.basis)),
        replace(proof, basis=1e300 * proof.basis),
        replace(proof, sigma=np.ones(1)),
    )
    assert [mend(claim(X, W, 1.00011 * h, tree)) for tree in wrong] == [None] * len(wrong)
    line = np.array([[2.0], [-1.0]])
    assert mend(claim(line, np.array([[0.5], [0.9]]), 0.5, roots_only(np.array([[3.0]])))) is None


def test_mutants_prove_nothing_false() -> None:
    """Claims about W a little too large, with trees whose cuts are moved, swapped and exchanged."""
    X, W, h, proof = proved()
    random = rng(4)
    accepted = 0
    for k in range(40):
        codes, positions, basis = proof.codes.copy(), proof.positions.copy(), proof.basis.copy()
        cut = int(random.integers(len(positions)))
        at = int(np.flatnonzero(codes != LEAF)[cut])
        match k % 4:
            case 0:
                positions[cut] = random.choice([5e-324, 1e-17, 1e-3, 0.5, 1 - 2.0**-53, random.random()])
            case 1:
                codes[at] = {1: 2, 2: 1}[int(codes[at])]
            case 2:
                basis = basis + 0.01 * random.standard_normal(basis.shape) * np.abs(basis).max()
            case _:
                positions *= 1 + 1e-6 * random.standard_normal(len(positions))
        mutant = Subdivision(basis, codes, positions)
        for factor in (0.999, 1 - 1e-6, 1 - 1e-9):
            assert verdict(X, W, factor * h, mutant) is Verdict.UNKNOWN
        accepted += verdict(X, W, 1.01 * h, mutant) is Verdict.PROVED
    assert accepted > 2


NONE = np.zeros(0)
STRUCTURE = [
    (Subdivision(np.eye(2), np.array(LEAF), NONE), "codes has 0 dimensions"),
    (Subdivision(np.eye(2), np.array([LEAF] * 3), NONE), "complete trees"),
    (Subdivision(np.eye(2), np.array([LEAF] * 5), NONE), "complete trees"),
    (Subdivision(np.eye(2), np.array([LEAF] * 4 + [1]), np.array([0.5])), "complete trees"),
    (Subdivision(np.eye(2), np.array([1] + [LEAF] * 5), NONE), "positions has shape"),
    (Subdivision(np.eye(2), np.array([3] + [LEAF] * 5), np.array([0.5])), "joins a vertex with itself"),
    (Subdivision(np.eye(2), np.array([4] + [LEAF] * 5), np.array([0.5])), "out of range"),
    (Subdivision(np.eye(2), np.array([-2] + [LEAF] * 5), np.array([0.5])), "out of range"),
    (Subdivision(np.eye(2), np.array([2**62] + [LEAF] * 5), np.array([0.5])), "out of range"),
    *(
        (
            Subdivision(np.eye(2), np.array([1] + [LEAF] * 5), np.array([theta])),
            "inside its edge" if np.isfinite(theta) else "not finite",
        )
        for theta in (0.0, 1.0, -0.5, np.nan, np.inf)
    ),
    (Subdivision(np.ones((2, 2)), np.array([LEAF] * 4), NONE), "not linearly independent"),
    (Subdivision(np.array([[np.nan, 0.0], [0.0, 1.0]]), np.array([LEAF] * 4), NONE), "not finite"),
    (Subdivision(np.eye(3), np.array([LEAF] * 4), NONE), "basis has shape"),
    (Subdivision(np.eye(2), np.array([LEAF] * 4, dtype=np.int32), NONE), "codes has type"),
    (Subdivision(np.eye(2), np.array([LEAF] * 20000), NONE), "complete trees"),
]


@pytest.mark.parametrize("number", range(len(STRUCTURE)))
def test_improper_structure_is_refused(number: int) -> None:
    proof, sentence = STRUCTURE[number]
    with pytest.raises(ProofFailure, match=sentence):
        check_subdivision(proof, 2, 0)
    X, W, _ = sample(0, 4, 2, 1)
    report = check(claim(X, W, 100.0, proof))
    assert report.verdict is Verdict.UNKNOWN
    assert sentence in report.reason


def test_a_ninth_dimension_is_refused() -> None:
    with pytest.raises(ProofFailure, match="beyond 8"):
        check_subdivision(replace(roots_only(np.eye(2)), basis=np.eye(9)), 9, 0)


@pytest.mark.parametrize(("cuts", "expected"), [(60, Verdict.PROVED), (800, Verdict.PROVED), (6000, Verdict.UNKNOWN)])
def test_chains(cuts: int, expected: Verdict) -> None:
    """A chain of cuts at one vertex: the drift of its vertices is charged, and beyond a depth it is refused."""
    X, W, _ = sample(5, 3, 2, 1)
    codes = np.array([1] * cuts + [LEAF] * (cuts + 4))
    proof = Subdivision(np.eye(2), codes, np.full(cuts, 0.01))
    assert verdict(X, W, 3.0 * float(np.abs(W).sum() * np.abs(X).sum()), proof) is expected
    assert verdict(X, W, largest_price(X, W) * (1 - 1e-9), proof) is Verdict.UNKNOWN
