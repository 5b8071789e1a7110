"""Robustness certificates that were changed: what is not true any more is not proved."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Certificate, Robustness, Verdict, check
from certificates.failure import NO_DEADLINE
from certificates.robustness import preactivation_bounds
from certnet.search.eliminated import eliminated_bound
from certnet.search.margin import CaseSearch
from certnet.search.margin_proofs import case_proof, linear_leaf, margin_sizes
from certnet.search.margin_rows import linear_bounds
from formulations.robustness import InputRegion, UnsafeCase
from tests.certificates.altering import replace
from tests.verification.margin_bounds import reduce_case, rounding_size
from tests.verification.problems import SEEDS, exact_least_margin, random_box, random_network


@cache
def certificate(kind: str) -> Certificate:
    """A proved certificate with linear leaves or with one semidefinite leaf, of a case with the least margin 0.4."""
    network, region = random_network(6, width=8), random_box(6)
    case = UnsafeCase(region, np.array([[1.0, -1.0]]), np.zeros(1))
    case = UnsafeCase(region, case.H, np.array([0.4 - exact_least_margin(network, case)]))
    problem = reduce_case(network, case, *preactivation_bounds(network, region))
    free = np.zeros(problem.neurons, dtype=np.int64)
    if kind == "semidefinite":
        found = eliminated_bound(problem, free, np.ones(1), -1.0)
        assert found.leaf is not None
        proof = case_proof(problem, found.leaf, [np.ones(1)], found.margin)
    else:
        (size,), random = margin_sizes(network, [case]), np.random.default_rng(0)
        search = CaseSearch(network, problem, 0, attacked=0.4, deadline=NO_DEADLINE, rng=random, size=size)
        search.run()
        proof = search.prove()
        assert proof is not None
        assert proof.proof.leaves > 1
    made = Certificate(Robustness(network, (case,)), (proof,))
    assert check(made).verdict is Verdict.PROVED
    return made


def with_proof(base: Certificate, **changes) -> Certificate:
    return replace(base, proofs=(replace(base.proofs[0], **changes),))


def with_lifted(base: Certificate, **changes) -> Certificate:
    return with_proof(base, proof=replace(base.proofs[0].proof, **changes))


def widened(base: Certificate) -> Certificate:
    region = base.cases[0].region
    return replace(base, cases=(replace(base.cases[0], region=InputRegion(region.lower - 1, region.upper + 1)),))


def tighter(base: Certificate) -> Certificate:
    triangles = base.proofs[0].proof.triangles
    return with_lifted(base, triangles=replace(triangles, bounds=0.9 * triangles.bounds))


def flipped(base: Certificate) -> Certificate:
    stable = base.proofs[0].stable.copy()
    stable[np.flatnonzero(stable == 0)[0]] = 1
    return with_proof(base, stable=stable)


CHANGES = {
    "a larger margin": lambda c: with_proof(c, margin=0.5),
    "a margin of zero": lambda c: with_proof(c, margin=0.0),
    "a margin that is no number": lambda c: with_proof(c, margin=float("nan")),
    "negative weights": lambda c: with_proof(c, mu=-c.proofs[0].mu),
    "no weights": lambda c: with_proof(c, mu=0.0 * c.proofs[0].mu),
    "weights of another shape": lambda c: with_proof(c, mu=c.proofs[0].mu[:, :0]),
    "a neuron called stable": flipped,
    "a wider box": widened,
    "tighter triangles": tighter,
    "another row": lambda c: replace(c, cases=(replace(c.cases[0], H=-c.cases[0].H),)),
    "another constant": lambda c: replace(c, cases=(replace(c.cases[0], h=c.cases[0].h - 0.5),)),
    "another output weight": lambda c: replace(c, network=replace(c.network, output=-c.network.output)),
    "another hidden bias": lambda c: replace(c, network=replace(c.network, hidden_bias=c.network.hidden_bias + 3.0)),
    "no multipliers": lambda c: with_lifted(c, multipliers=0.0 * c.proofs[0].proof.multipliers),
    "negative multipliers": lambda c: with_lifted(c, multipliers=-c.proofs[0].proof.multipliers),
    "multipliers that are no numbers": lambda c: with_lifted(c, multipliers=np.nan * c.proofs[0].proof.multipliers),
    "a case without proof": lambda c: replace(c, proofs=()),
    "no case": lambda c: replace(c, cases=(), proofs=()),
}


@pytest.mark.parametrize("kind", ["linear", "semidefinite"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_certificate_proves_nothing(kind: str, change: str) -> None:
    report = check(CHANGES[change](certificate(kind)))
    assert report.verdict is Verdict.UNKNOWN
    assert report.margin == -np.inf
    assert report.reason


def test_a_leaf_that_is_missing_from_the_tree_is_noticed() -> None:
    base = certificate("linear")
    proof = base.proofs[0].proof
    inner = int(np.flatnonzero(proof.split >= 0)[0])
    children = proof.children.copy()
    children[inner, 1] = children[inner, 0]
    assert check(with_lifted(base, children=children)).verdict is Verdict.UNKNOWN


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([1e-12, 1e-6, 1e-2, 1.0, 1e3]), st.booleans())
def test_any_multipliers_that_pass_tell_the_truth(seed: int, size: float, semidefinite: bool) -> None:
    base = certificate("semidefinite" if semidefinite else "linear")
    rng = np.random.default_rng(seed)
    proof = base.proofs[0].proof
    noise = np.abs(proof.multipliers * (1.0 + size * rng.standard_normal(proof.multipliers.shape)))
    margin = base.proofs[0].margin * float(rng.uniform(0.5, 3.0))
    changed = with_proof(base, margin=margin, proof=replace(proof, multipliers=noise))
    report = check(changed)
    if report.verdict is Verdict.PROVED:
        assert report.margin <= 0.4


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_linear_bounds_pass_up_to_rounding_and_not_beyond(seed: int) -> None:
    network, region = random_network(seed, width=6), random_box(seed)
    case = UnsafeCase(region, np.array([[1.0, -1.0]]), np.array([30.0]))
    problem = reduce_case(network, case, *preactivation_bounds(network, region))
    bound = linear_bounds(problem, np.zeros((1, problem.neurons), dtype=np.int64))
    if not bound.value[0] > 0:
        return
    room = rounding_size(problem)
    for margin, verdict in ((bound.value[0] - room, Verdict.PROVED), (bound.value[0] + room, Verdict.UNKNOWN)):
        proof = case_proof(problem, linear_leaf(problem, bound), [bound.mu[0]], margin)
        assert check(Certificate(Robustness(network, (case,)), (proof,))).verdict is verdict
