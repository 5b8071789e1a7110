"""Many nodes at once: each as alone, none above the truth, box and ball together; and the exact line search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Certificate, Report, Robustness, Verdict, check
from certificates.robustness import preactivation_bounds
from certnet.jobs.verify import verify
from certnet.search import eliminated_form
from certnet.search.attack import attack, attack_all, line_search
from certnet.search.eliminated import eliminated_bound
from certnet.search.linear import crown, finish, nodes_of
from certnet.search.margin_proofs import case_proof, linear_leaf, semidefinite_margin
from certnet.search.margin_rows import linear_bounds
from certnet.search.regions import project
from formulations.margin import MarginProblem
from formulations.network import ReluNetwork
from formulations.properties import keeps_class
from formulations.robustness import InputRegion, UnsafeCase
from formulations.signs import FREE
from tests.certificates.altering import replace
from tests.verification.margin_bounds import reduce_case, rounding_size
from tests.verification.problems import SEEDS, box_cases, exact_least_margin, random_box, random_network

KINDS = st.sampled_from(["box", "ball", "both"])


def region_of(kind: str, seed: int, inputs: int) -> InputRegion:
    """For "both" neither contains the other, and the middle of the box lies outside the ball."""
    box = random_box(seed, inputs)
    if kind == "box":
        return box
    middle, half = 0.5 * (box.lower + box.upper), 0.5 * (box.upper - box.lower)
    if kind == "ball":
        return InputRegion.l2(middle, 0.8)
    return InputRegion(box.lower, box.upper, middle + 0.9 * half, 0.8 * float(np.linalg.norm(half)))


def problem_of(network: ReluNetwork, case: UnsafeCase) -> MarginProblem:
    return reduce_case(network, case, *preactivation_bounds(network, case.region))


def samples(region: InputRegion, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return project(region, rng.uniform(region.lower, region.upper, (2000, region.inputs)))


def random_signs(problem: MarginProblem, seed: int, count: int = 6) -> np.ndarray:
    signs = np.random.default_rng(seed + 3).choice([0, 0, 1, -1], (count, problem.neurons)).astype(np.int64)
    signs[0] = 0
    return signs


@settings(max_examples=12, deadline=None)
@given(SEEDS, KINDS, st.integers(1, 6), st.integers(2, 12))
def test_together_as_alone_and_below_every_sample(seed: int, kind: str, inputs: int, width: int) -> None:
    network = random_network(seed, inputs=inputs, width=width)
    case = UnsafeCase(region_of(kind, seed, inputs), np.array([[1.0, -1.0]]), np.zeros(1))
    problem = problem_of(network, case)
    signs = random_signs(problem, seed)
    together = linear_bounds(problem, signs, accurate=True)
    alone = np.array([linear_bounds(problem, one[None], accurate=True).value[0] for one in signs])
    size = rounding_size(problem) / 1e-9
    # Empty nodes have bounds of any size, so they are compared relative to it.
    assert np.allclose(together.value, alone, rtol=1e-3, atol=1e-6 * size)
    quick = linear_bounds(problem, signs)
    assert (quick.value >= crown(nodes_of(problem, signs)).value).all()
    X = samples(case.region, seed)
    margins = case.margins(network(X))
    product = X @ problem.generators[:, :-1].T + problem.generators[:, -1]
    for bounds in (together, quick):
        for one, value in zip(signs, bounds.value, strict=True):
            inside = (product * one >= 0).all(axis=1)
            assert value <= margins[inside].min(initial=np.inf) + 1e-9 * size


@settings(max_examples=20, deadline=None)
@given(box_cases(width=5))
def test_leaves_with_all_signs_are_exact_on_a_box(drawn) -> None:
    """The least bound over all patterns is the least margin: without free neurons nothing is relaxed."""
    network, case, exact = drawn
    problem = problem_of(network, case)
    N = problem.neurons
    patterns = 2 * ((np.arange(2**N)[:, None] >> np.arange(N)) & 1) - 1
    bounds = linear_bounds(problem, patterns.astype(np.int64), accurate=True)
    size = rounding_size(problem) / 1e-9
    assert bounds.value.min() == pytest.approx(exact, abs=1e-6 * size)


@settings(max_examples=40, deadline=None)
@given(SEEDS, KINDS)
def test_any_multipliers_give_a_bound(seed: int, kind: str) -> None:
    network = random_network(seed, inputs=4, width=8)
    case = UnsafeCase(region_of(kind, seed, 4), np.array([[1.0, -1.0]]), np.zeros(1))
    problem = problem_of(network, case)
    rng = np.random.default_rng(seed)
    signs = random_signs(problem, seed)
    v = rng.standard_normal(signs.shape) * np.where(signs == FREE, 2.0, 1.0)
    bounds = finish(nodes_of(problem, signs), v, rng.standard_normal((len(signs), 8)))
    X = samples(case.region, seed)
    margins = case.margins(network(X))
    product = X @ problem.generators[:, :-1].T + problem.generators[:, -1]
    for one, value in zip(signs, bounds.value, strict=True):
        assert value <= margins[(product * one >= 0).all(axis=1)].min(initial=np.inf) + rounding_size(problem)


def test_the_sides_of_the_box_help_the_ball_and_the_checker_follows() -> None:
    """The chord of (x₁ − x₂)₊ is (x₁ − x₂)/2 + 1/√2: at most √2 on the unit ball, 1/2 + 1/√2 where also x ≥ 0."""
    d = 5
    row = np.eye(d)[0] - np.eye(d)[1]
    network = ReluNetwork(row[None], np.zeros(1), -np.ones((1, 1)), np.zeros(1))
    both = InputRegion(np.zeros(d), 3.0 * np.ones(d), np.zeros(d), 1.0)
    found = []
    for region in (InputRegion.l2(np.zeros(d), 1.0), both):
        case = UnsafeCase(region, np.ones((1, 1)), np.array([1.25]))
        problem = problem_of(network, case)
        bounds = linear_bounds(problem, np.zeros((1, 1), dtype=np.int64), accurate=True)
        found.append(bounds.value[0])
    assert found == pytest.approx([1.25 - np.sqrt(2.0), 0.75 - np.sqrt(0.5)], abs=1e-6)
    assert bounds.on_sides.any()
    margin = float(bounds.value[0]) - rounding_size(problem)
    proof = case_proof(problem, linear_leaf(problem, bounds), [bounds.mu[0]], margin)
    assert check(Certificate(Robustness(network, (case,)), (proof,))).verdict is Verdict.PROVED


@settings(max_examples=8, deadline=None)
@given(SEEDS, st.sampled_from(["ball", "both"]), st.sampled_from([0.02, 0.3]))
def test_balls_are_decided(seed: int, kind: str, near: float) -> None:
    network = random_network(seed, inputs=3, width=8)
    case = UnsafeCase(region_of(kind, seed, 3), np.array([[1.0, -1.0]]), np.zeros(1))
    least = attack(network, case).margin
    for sign in (1, -1):
        result = verify(network, [replace(case, h=np.array([sign * near - least]))], time_limit=20.0)
        # An attack may miss the minimum, so only its own side is known.
        assert result.verdict is not Verdict.UNKNOWN, result.reason
        if sign < 0:
            assert result.verdict is Verdict.REFUTED


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(1, 12), st.integers(1, 3))
def test_line_search_against_dense_samples(seed: int, width: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    product, along = rng.standard_normal((2, 7, width))
    product[0], along[1] = 0.0, 0.0
    weights, constants = rng.standard_normal((7, rows, width)), rng.standard_normal((7, rows))

    def at(s: np.ndarray) -> np.ndarray:
        active = np.maximum(product + s[:, None] * along, 0.0)
        return (np.einsum("nrm,nm->nr", weights, active) + constants).max(axis=1)

    length, value = line_search(product, along, weights, constants)
    assert ((length >= 0) & (length <= 1)).all()
    assert np.allclose(at(length), value, atol=1e-10)
    dense = np.stack([at(np.full(7, s)) for s in np.linspace(0.0, 1.0, 2001)])
    if rows == 1:
        assert (value <= dense.min(axis=0) + 1e-10).all()
    # With several rows no breakpoint is better.
    with np.errstate(divide="ignore", invalid="ignore"):
        breaks = np.nan_to_num(-product / along)
    for s in [np.zeros(7), np.ones(7), *np.clip(breaks, 0.0, 1.0).T]:
        assert (value <= at(s) + 1e-10).all()


def test_two_rows_are_least_where_they_cross() -> None:
    product, along = np.array([[1.0, 1.0]]), np.array([[1.0, -0.5]])
    weights, constants = np.array([[[1.0, 0.0], [0.0, 4.0]]]), np.zeros((1, 2))
    length, value = line_search(product, along, weights, constants)
    assert length[0] == pytest.approx(1.0)
    weights[0, 1, 1] = 2.5
    length, value = line_search(product, along, weights, constants)
    assert length[0] == pytest.approx(1.5 / 2.25)
    assert value[0] == pytest.approx(1.0 + 1.5 / 2.25)


def test_cases_attacked_together_lose_nothing_and_repeat() -> None:
    network, region = random_network(3, inputs=6, width=20, outputs=4), random_box(3, 6)
    cases = keeps_class(network, region, 1)
    first = attack_all(network, cases, starts=20, rng=np.random.default_rng(1))
    again = attack_all(network, cases, starts=20, rng=np.random.default_rng(1))
    for case, one, two in zip(cases, first, again, strict=True):
        assert np.array_equal(one.X, two.X)
        assert one.margin == pytest.approx(case.margins(network(one.X))[0], abs=1e-12)
        alone = attack(network, case, starts=20, rng=np.random.default_rng(1)).margin
        assert one.margin == pytest.approx(alone, abs=1e-9)


def test_a_search_with_many_nodes_repeats(tmp_path) -> None:
    network, region = random_network(6, width=9), random_box(6)
    case = UnsafeCase(region, np.array([[1.0, -1.0]]), np.zeros(1))
    case = UnsafeCase(region, case.H, np.array([0.05 - exact_least_margin(network, case)]))
    found = [verify(network, [case], random_state=5) for _ in range(2)]
    for result in found:
        assert result.verdict is Verdict.PROVED
        assert result.certificate is not None
    first, second = (result.certificate.proofs[0] for result in found)  # type: ignore[union-attr]
    assert found[0].nodes == found[1].nodes
    assert found[0].nodes[0] > 2
    assert np.array_equal(first.proof.multipliers, second.proof.multipliers)
    assert np.array_equal(first.proof.split, second.proof.split)


@settings(max_examples=8, deadline=None)
@given(SEEDS, KINDS, st.integers(2, 6), st.integers(6, 12))
def test_eliminated_inputs_give_a_bound_that_the_checker_proves(seed: int, kind: str, inputs: int, width: int) -> None:
    """At a node below every sample, at least about the linear bound, and with a leaf for a case with a margin."""
    network, region = random_network(seed, inputs=inputs, width=width), region_of(kind, seed, inputs)
    case = UnsafeCase(region, np.array([[1.0, -1.0]]), np.zeros(1))
    problem = problem_of(network, case)
    signs = random_signs(problem, seed, count=2)
    X = samples(region, seed)
    product = X @ problem.generators[:, :-1].T + problem.generators[:, -1]
    known = None
    for one, linear in zip(signs, linear_bounds(problem, signs, accurate=True).value, strict=True):
        least = case.margins(network(X))[(product * one >= 0).all(axis=1)].min(initial=np.inf)
        bent = (one == FREE) & (problem.weights[0] < 0)
        if not (np.isfinite(least) and bent.any()):
            continue
        shift = 1.0 - float(linear)
        moved = replace(problem, case=replace(case, h=case.h + shift), linear=problem.linear.copy())
        moved.linear[:, -1] += shift
        proved = eliminated_bound(moved, one, np.ones(1), 1.0, known=known)
        assert proved.leaf is not None
        assert proved.value <= least + shift + 1e-9
        margin = semidefinite_margin(network, moved, one, proved.leaf, np.ones(1), proved.margin)
        assert 0 < margin <= proved.value
        known = proved.known


def test_eliminated_inputs_prove_what_linear_bounds_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hidden layer is wide for the inputs triangles, each for itself, are far off, and products help."""
    network = random_network(5, inputs=6, width=24)
    case = UnsafeCase(random_box(5, 6), np.array([[1.0, -1.0]]), np.zeros(1))
    met = float(case.margins(network(samples(case.region, 0))).min())
    problem = problem_of(network, case)
    signs = np.zeros((1, problem.neurons), dtype=np.int64)
    linear = float(linear_bounds(problem, signs, accurate=True).value[0])
    found = eliminated_bound(problem, signs[0], np.ones(1), linear)
    assert len(found.known.products) > 0
    assert linear < found.value < met
    monkeypatch.setattr(eliminated_form, "ADDED", 0)
    plain = eliminated_bound(problem, signs[0], np.ones(1), linear)
    assert linear < plain.value < found.value


def test_what_the_checker_refuses_is_searched_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Semidefinite leaves are not shown to the checker one by one, unless it has refused the whole."""
    network = random_network(5, inputs=6, width=24)
    case = UnsafeCase(random_box(5, 6), np.array([[1.0, -1.0]]), np.zeros(1))
    met = float(case.margins(network(samples(case.region, 0))).min())
    moved, asked = replace(case, h=case.h - met + 1.0), []

    def refusing(certificate: Certificate, **options) -> Report:
        asked.append(certificate)
        return (
            replace(check(certificate, **options), verdict=Verdict.UNKNOWN) if len(asked) == 1 else check(certificate)
        )

    monkeypatch.setattr("certnet.jobs.verify.check", refusing)
    monkeypatch.setattr("certnet.search.margin.LINEAR_NODES", 1)
    result = verify(network, [moved])
    assert result.verdict is Verdict.PROVED
    assert result.report is not None
    assert result.report.semidefinite_leaves > 0
    assert len(asked) == 2
