"""The ordering attack ≥ exact ≥ semidefinite ≥ CROWN ≥ intervals of the least margin, on boxes and balls."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Verdict, check
from certnet.search.attack import attack
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase
from tests.certificates.altering import replace
from tests.verification.margin_bounds import MarginBound, Relaxation, margin_bound
from tests.verification.problems import (
    SEEDS,
    exact_least_margin,
    random_ball,
    random_box,
    random_network,
)

TIGHTER = [Relaxation.INTERVALS, Relaxation.CROWN, Relaxation.SEMIDEFINITE]


def random_region(kind: str, seed: int, inputs: int) -> InputRegion:
    return random_box(seed, inputs) if kind == "box" else random_ball(seed, inputs, boxed=kind == "both")


def require_order(network: ReluNetwork, case: UnsafeCase) -> list[MarginBound]:
    """All bounds, after checking their order, their proofs and their distance from an attack and the exact margin."""
    exact, size = exact_least_margin(network, case), 1.0 + float(np.abs(network.output).sum())
    bounds = [margin_bound(network, case, relaxation) for relaxation in TIGHTER]
    for weaker, tighter in pairwise(bounds):
        assert tighter.value >= weaker.value - 1e-5 * size
    assert exact >= max(bound.value for bound in bounds) - 1e-6 * size
    assert attack(network, case).margin >= exact - 1e-6 * size
    for bound in bounds:
        assert bound.certificate is not None
        assert check(bound.certificate).verdict is Verdict.PROVED
    return bounds


@settings(max_examples=6, deadline=None)
@given(SEEDS, st.sampled_from(["box", "ball", "both"]), st.integers(1, 3), st.integers(1, 5))
def test_order(seed: int, kind: str, inputs: int, width: int) -> None:
    case = UnsafeCase(random_region(kind, seed, inputs), np.array([[1.0, -1.0]]), np.zeros(1))
    require_order(random_network(seed, inputs=inputs, width=width), case)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(SEEDS, st.sampled_from(["box", "ball", "both"]), st.integers(1, 4), st.integers(6, 12), st.integers(1, 2))
def test_order_of_wider_networks(seed: int, kind: str, inputs: int, width: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    case = UnsafeCase(random_region(kind, seed, inputs), rng.standard_normal((rows, 2)), rng.standard_normal(rows))
    require_order(random_network(seed, inputs=inputs, width=width), case)


def on_a_ball() -> tuple[ReluNetwork, UnsafeCase]:
    """A case that no relaxation solves exactly."""
    region = InputRegion.l2(np.random.default_rng(4).standard_normal(2), 0.8)
    return random_network(4, inputs=2, width=8), UnsafeCase(region, np.array([[1.0, -1.0]]), np.zeros(1))


def test_each_relaxation_can_be_strictly_tighter() -> None:
    network, case = on_a_ball()
    intervals, crown, semidefinite = (bound.value for bound in require_order(network, case))
    assert intervals < crown - 0.1
    assert crown < semidefinite - 0.1
    assert semidefinite < exact_least_margin(network, case) - 1e-6


def test_a_claim_beyond_the_bound_is_rejected() -> None:
    """The certificate of a ball rests on σ: without it, or with more of it, nothing is proved."""
    network, case = on_a_ball()
    bound = margin_bound(network, case, "sdp")
    assert bound.certificate is not None
    (proof,) = bound.certificate.proofs
    assert (proof.proof.sigma > 0).all()
    for factor in (0.0, 0.5, 2.0, -1.0, np.nan):
        changed = replace(proof, proof=replace(proof.proof, sigma=factor * proof.proof.sigma))
        assert check(replace(bound.certificate, proofs=(changed,))).verdict is Verdict.UNKNOWN
    larger = InputRegion.l2(case.region.centre, 0.808)
    cases = (replace(bound.certificate.cases[0], region=larger),)
    assert check(replace(bound.certificate, cases=cases)).verdict is Verdict.UNKNOWN
    claimed = replace(proof, margin=proof.margin + exact_least_margin(network, case) - bound.value + 1e-6)
    assert check(replace(bound.certificate, proofs=(claimed,))).verdict is Verdict.UNKNOWN


def test_what_does_not_exist() -> None:
    network, case = random_network(0), UnsafeCase(random_box(0), np.array([[1.0, -1.0]]), np.zeros(1))
    with pytest.raises(ValueError, match="cone"):
        margin_bound(network, case, "cone")
