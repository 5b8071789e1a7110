"""Ranges of outputs and differences of networks, against enumeration of activation patterns."""

import contextlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from certificates import Verdict, check
from certnet.io.folding import stacked
from certnet.jobs import output_range as job
from certnet.jobs.equivalence import difference_range, equivalence
from certnet.jobs.monotonicity import monotonicity
from certnet.jobs.output_range import FunctionRange, output_range
from certnet.jobs.verify import verify
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.properties import keeps_class
from formulations.robustness import InputRegion, UnsafeCase
from tests.verification.mutants import least_on_line, mutate, unstable_network
from tests.verification.problems import SEEDS, exact_least_margin, random_ball, random_box, random_network


def exact_range(network: ReluNetwork, region: InputRegion, c: FloatArray) -> tuple[float, float]:
    least = [exact_least_margin(network, UnsafeCase(region, sign * c[None], np.zeros(1))) for sign in (1.0, -1.0)]
    return least[0], -least[1]


def assert_encloses(found: FunctionRange, exact: tuple[float, float], room: float) -> None:
    least, most = exact
    assert found.minimum.proved < least + 1e-9
    assert least - 1e-6 <= found.minimum.attained <= least + room
    assert found.maximum.proved > most - 1e-9
    assert most + 1e-6 >= found.maximum.attained >= most - room
    assert not found.open


@settings(max_examples=4, deadline=None)
@given(SEEDS)
def test_ranges_are_those_of_all_patterns(seed: int) -> None:
    network = random_network(seed, inputs=2, width=5)
    region = random_box(seed, 2) if seed % 2 else random_ball(seed, 2)
    C = np.array([[1.0, 0.0], [0.5, -2.0]])
    found = output_range(network, region, C, tolerance=1e-3)
    assert found.verdict is Verdict.PROVED
    for c, one in zip(C, found.results, strict=True):
        exact = exact_range(network, region, c)
        assert_encloses(one, exact, 2e-3 * (exact[1] - exact[0]) + 1e-7)
        for end in (one.minimum, one.maximum):
            assert isinstance(end.x, np.ndarray)
            assert region.contains(end.x)
            assert (network(end.x[None])[0] @ c) == pytest.approx(end.attained, abs=1e-12)


def test_the_certificate_says_what_the_bounds_say() -> None:
    network, region = random_network(3, inputs=2, width=5), random_box(3, 2)
    found = output_range(network, region)
    certificate = found.certificate
    assert certificate is not None
    assert check(certificate).verdict is Verdict.PROVED
    stated = [(*case.H[0].tolist(), float(-case.h[0])) for case in certificate.cases]
    (first, second) = found.results
    assert stated == [
        (1.0, 0.0, first.minimum.proved),
        (-1.0, 0.0, -first.maximum.proved),
        (0.0, 1.0, second.minimum.proved),
        (0.0, -1.0, -second.maximum.proved),
    ]


def test_functions_that_do_not_vary() -> None:
    """An output without neurons, and a region that is a point."""
    network = ReluNetwork(np.eye(2), np.zeros(2), np.array([[0.0, 0.0], [1.0, -1.0]]), np.array([0.0, 3.0]))
    (constant, other) = output_range(network, InputRegion.linf(np.array([1.0, 0.5]), 0.0)).results
    assert -1e-300 <= constant.minimum.proved <= 0.0 == constant.minimum.attained
    assert other.minimum.attained == other.maximum.attained == 3.5
    assert other.minimum.proved == pytest.approx(3.5, abs=1e-6)
    assert not constant.open
    assert not other.open


def test_a_minimum_that_attacks_meet_late_has_a_bound() -> None:
    """Here the first threshold is refuted, by an input that the first attack did not meet."""
    network, region = random_network(148, inputs=2, width=6), random_ball(148, 2)
    (found,) = output_range(network, region, np.array([0.0, 1.0]), tolerance=1e-4).results
    exact = exact_range(network, region, np.array([0.0, 1.0]))
    assert_encloses(found, exact, 2e-4 * (exact[1] - exact[0]))


@pytest.mark.parametrize(("steps", "time_limit"), [(1, None), (60, 0.0)])
def test_time_that_is_up_leaves_the_first_bound(
    monkeypatch: pytest.MonkeyPatch, steps: int, time_limit: float | None
) -> None:
    network, region = random_network(1, inputs=2, width=6), random_box(1, 2)
    monkeypatch.setattr(job, "STEPS", steps)
    found = output_range(network, region, tolerance=1e-6, time_limit=time_limit)
    exact = [exact_range(network, region, c) for c in np.eye(2)]
    assert found.verdict is Verdict.PROVED
    assert any(one.open for one in found.results)
    for one, (least, most) in zip(found.results, exact, strict=True):
        assert one.minimum.proved < least + 1e-9
        assert most - 1e-9 < one.maximum.proved


def test_how_far_networks_are_apart() -> None:
    """The second network has other output weights and one neuron of its own."""
    first, region = random_network(5, inputs=2, width=4), random_box(5, 2)
    second = ReluNetwork(
        np.vstack([first.hidden, [[0.3, -0.2]]]),
        np.append(first.hidden_bias, 0.1),
        np.hstack([first.output + 0.01, [[0.2], [-0.1]]]),
        first.output_bias,
    )
    found = difference_range(first, second, region, tolerance=1e-3)
    both = stacked([first, second])
    worst = 0.0
    for k, one in enumerate(found.results):
        exact = exact_range(both, region, np.eye(4)[k] - np.eye(4)[2 + k])
        assert_encloses(one, exact, 2e-3 * (exact[1] - exact[0]))
        worst = max(worst, -exact[0], exact[1])
    proved = equivalence(first, second, region, 1.01 * worst)
    assert proved.verdict is Verdict.PROVED
    assert proved.certificate is not None
    assert check(proved.certificate).verdict is Verdict.PROVED
    refuted = equivalence(first, second, region, 0.99 * worst)
    assert refuted.verdict is Verdict.REFUTED
    assert refuted.counterexample is not None
    x = refuted.counterexample.x[None]
    assert np.abs(first(x) - second(x)).max() >= 0.98 * worst


def test_networks_that_cannot_be_compared() -> None:
    network = random_network(0)
    with pytest.raises(InputError, match="one network has 3 inputs and the other 2"):
        difference_range(network, random_network(0, inputs=2), random_box(0))
    with pytest.raises(InputError, match="one network has 2 outputs and the other 3"):
        equivalence(network, random_network(0, outputs=3), random_box(0), 0.1)
    with pytest.raises(InputError, match="about 3 outputs"):
        output_range(network, random_box(0), np.ones(3))


def test_labels_that_count_as_one_class() -> None:
    """f = (x, 1 − x, 0.2): on [0, 1] the largest is the first or the second, and neither of them alone."""
    network = ReluNetwork(np.array([[1.0]]), np.zeros(1), np.array([[1.0], [-1.0], [0.0]]), np.array([0.0, 1.0, 0.2]))
    region = InputRegion(np.zeros(1), np.ones(1))
    assert verify(network, keeps_class(network, region, (0, 1))).verdict is Verdict.PROVED
    for labels in (0, 1, (0, 2), (1, 2)):
        assert verify(network, keeps_class(network, region, labels)).verdict is Verdict.REFUTED
    with pytest.raises(InputError, match="there is no output 3"):
        keeps_class(network, region, (0, 3))


@pytest.mark.slow
def test_changed_certificates_of_questions_prove_nothing_false() -> None:
    """Mutations of ranges, differences and directions on a line, where the truth is exact."""
    region, line = InputRegion(np.array([-1.0]), np.array([1.5])), unstable_network(3, random_box(3, 1))
    other = ReluNetwork(line.hidden, line.hidden_bias, line.output + 0.25, line.output_bias)
    nested = ReluNetwork(np.array([[1.0], [1.0]]), np.array([0.3, -0.3]), np.array([[3.0, -2.9]]), np.zeros(1))
    made = [output_range(line, box).certificate for box in (region, random_box(3, 1), random_ball(3, 1))]
    made += [difference_range(line, other, region).certificate, equivalence(line, other, region, 5.0).certificate]
    made += [monotonicity(nested, region, 0).certificate]
    bases, random, proved = [one for one in made if one is not None], np.random.default_rng(0), 0
    assert len(bases) == len(made)
    for number in range(1_000):
        with contextlib.suppress(InputError):
            mutant = mutate(random, bases[number % len(bases)])
            report = check(mutant)
            if report.verdict is Verdict.PROVED:
                proved += 1
                for case in mutant.cases:
                    least = least_on_line(mutant.network, case)
                    assert least is None or least >= Fraction(report.margin)
    assert 50 < proved < 800
