"""certified ≤ true ≤ attacked, in both norms."""

import numpy as np
import pytest

from certificates import Verdict, check
from certnet.jobs import radius
from certnet.jobs.radius import certified_radius
from certnet.jobs.verify import VerificationResult, verify
from formulations import InputError
from formulations.network import ReluNetwork
from formulations.robustness import UnsafeCase
from tests.certificates.altering import replace
from tests.verification.problems import random_network


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_radii_of_a_linear_classifier_are_known(norm: str) -> None:
    """f = (q·x + 1, 0) while q·x stays in the linear part: the radius is 1 over the dual norm of q."""
    q = np.array([3.0, -4.0])
    network = ReluNetwork(np.vstack([q, -q]), np.array([1.0, -1.0]), np.array([[1.0, -1.0], [0.0, 0.0]]), np.zeros(2))
    true = 1.0 / (7.0 if norm == "linf" else 5.0)
    found = certified_radius(network, np.zeros(2), 0, norm=norm, largest=3.0, tolerance=1e-6)
    assert found.certified <= true * (1 + 1e-9)
    assert found.attacked >= true * (1 - 1e-9)
    assert found.attacked - found.certified <= 1e-5 * true
    assert found.certificate is not None
    assert check(found.certificate).verdict is Verdict.PROVED
    assert not found.open


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_certified_lies_below_attacked(norm: str) -> None:
    for seed in range(4):
        network = random_network(seed, inputs=4, width=8, outputs=3)
        x = np.random.default_rng(seed).standard_normal(4)
        label = int(network(x[None])[0].argmax())
        found = certified_radius(network, x, label, norm=norm, largest=10.0, time_limit=20.0)
        assert found.certified <= found.attacked
        assert found.certified > 0
        if found.counterexample is not None:
            apart = found.counterexample.x - x
            size = np.abs(apart).max() if norm == "linf" else np.linalg.norm(apart)
            assert size <= found.attacked
            assert network(found.counterexample.x[None])[0].argmax() != label or np.ptp(network(x[None])[0]) < 1e-9


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    ("first", "last", "closed"),
    [(0.0, 0.0, True), (0.09996, 0.10004, True), (0.4999, 0.5001, True), (0.0, 0.0999, True), (0.09, 0.11, False)],
)
def test_undecided_radii_are_gone_round(
    monkeypatch: pytest.MonkeyPatch, norm: str, first: float, last: float, closed: bool
) -> None:
    """The true radius is 0.1. Where the radii of a range are not decided the search closes in on it from both sides."""
    network = ReluNetwork(np.array([[2.0], [-2.0]]), np.zeros(2), np.array([[1.0, -1.0], [0.0, 0.0]]), [0.2, 0.0])
    asked = []

    def sometimes(network: ReluNetwork, cases: tuple[UnsafeCase, ...], **options: object) -> VerificationResult:
        size = float(cases[0].region.upper[0])
        asked.append(size)
        result = verify(network, cases)
        hidden = replace(result, verdict=Verdict.UNKNOWN, certificate=None, counterexample=None)
        return hidden if first <= size <= last else result

    monkeypatch.setattr(radius, "verify", sometimes)
    found = certified_radius(network, np.zeros(1), 0, norm=norm, largest=1.0, tolerance=1e-3)
    assert found.open is not closed
    assert len(asked) < 60
    assert found.certified <= 0.1 <= found.attacked
    if closed:
        assert found.attacked - found.certified <= 1e-3 * found.attacked
    elif first > 0:
        assert found.certified >= 0.99 * first
        assert found.attacked <= 1.01 * last


def test_a_hard_radius_leaves_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def never(*_: object, time_limit: float, **__: object) -> VerificationResult:
        limits.append(time_limit)
        return replace(decided, verdict=Verdict.UNKNOWN, certificate=None, counterexample=None)

    network = random_network(1)
    decided = verify(network, ())
    monkeypatch.setattr(radius, "verify", never)
    found = certified_radius(network, np.zeros(3), 0, norm="l2", largest=1.0, time_limit=10.0)
    assert found.open
    assert len(limits) > 1
    assert max(limits) <= 5.0


def test_another_class_has_radius_zero() -> None:
    network = random_network(1)
    x = np.zeros(3)
    label = 1 - int(network(x[None])[0].argmax())
    found = certified_radius(network, x, label, norm="l2", largest=1.0)
    assert (found.certified, found.attacked) == (0.0, 0.0)
    for options, words in (
        ({"norm": "l1", "largest": 1.0}, "linf or l2"),
        ({"norm": "l2", "largest": -1.0}, "positive"),
    ):
        with pytest.raises(InputError, match=words):
            certified_radius(network, x, 0, **options)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("true", "largest"), [(1e-80, 1.0), (1e-3, 1e300), (1e5, 1e300), (0.15, 1e12)])
def test_no_scale_is_too_far_away(norm: str, true: float, largest: float) -> None:
    """The true radius is found from a largest one that is many powers of ten away, even where that is undecided."""
    hidden = np.array([[1.0, 0.0], [-1.0, 0.0]])
    network = ReluNetwork(hidden, np.zeros(2), np.array([[-1.0, -1.0], [0.0, 0.0]]), np.array([true, 0.0]))
    found = certified_radius(network, np.zeros(2), 0, norm=norm, largest=largest)
    assert found.certified <= true <= found.attacked <= 1.001 * found.certified
    assert not found.open


def test_distances_of_tiny_vectors_do_not_vanish() -> None:
    """Their squares do, and an input of another class would then be reported at distance 0."""
    step = np.array([3e-200, -4e-200])
    assert 5e-200 <= radius.distance(step, np.zeros(2), "l2") <= 5.0001e-200
    assert 4e-200 <= radius.distance(np.zeros(2), step, "linf") <= 4.0001e-200
    assert radius.distance(step, step, "l2") == 0.0
