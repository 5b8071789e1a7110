"""Lipschitz constants: sampled ≤ exact over all patterns ≤ products ≤ LipSDP ≤ norms, global and local, with proofs."""

import functools
import itertools
import time
from fractions import Fraction

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Certificate, Verdict, check
from certnet.io import read_relu_network
from certnet.jobs import lipschitz
from certnet.jobs.lipschitz import lipschitz_constant
from certnet.runtime.abandon import OutOfTimeError
from certnet.search import lipsdp
from certnet.search.lipsdp import Gradients, best_weights, rough_norm, spectral_norm
from certnet.search.regions import project
from formulations import InputError
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion
from tests.certificates.altering import replace
from tests.conftest import SHARED
from tests.verification.problems import SEEDS, random_network


def over_patterns(network: ReluNetwork, C: np.ndarray, stable: np.ndarray | None = None) -> float:
    """max over g in {0, 1}^m of ‖C V diag(g) U‖, with the patterns of stable neurons fixed."""
    weights = np.atleast_2d(C) @ network.output
    stable = np.zeros(network.width, dtype=np.int64) if stable is None else stable
    fixed = [{0: (0.0, 1.0), 1: (1.0,), -1: (0.0,)}[sign] for sign in stable.tolist()]
    patterns = np.array(list(itertools.product(*fixed)))
    return float(np.linalg.norm((patterns[:, None, :] * weights) @ network.hidden, 2, axis=(1, 2)).max())


def region_around(point: np.ndarray, kind: str, radius: float) -> InputRegion | None:
    make = {"linf": InputRegion.linf, "l2": InputRegion.l2}.get(kind)
    return None if make is None else make(point, radius)


@settings(max_examples=5, deadline=None)
@given(SEEDS, st.integers(1, 3), st.sampled_from(["everywhere", "linf", "l2"]), st.sampled_from([0.1, 0.5, 2.0]))
def test_the_ordering_of_lower_and_upper_bounds(seed: int, functions: int, kind: str, radius: float) -> None:
    network = random_network(seed, inputs=3, width=6)
    rng = np.random.default_rng(seed)
    C, region = rng.standard_normal((functions, 2)), region_around(rng.standard_normal(3), kind, radius)
    tight, plain = (lipschitz_constant(network, C, region=region, products=products) for products in (True, False))
    exact = over_patterns(network, C, tight.certificate.stable)
    assert tight.report.verdict is Verdict.PROVED
    assert plain.report.verdict is Verdict.PROVED
    assert tight.sampled <= exact * (1 + 1e-12)
    assert exact <= tight.constant
    assert tight.constant <= plain.constant * (1 + 1e-8)
    assert plain.constant <= plain.product * (1 + 1e-6)
    assert (region is None) == (tight.unstable == network.width and tight.certificate.region is None)


@pytest.mark.parametrize("functions", [1, 2])
def test_constants_grow_with_the_region(functions: int) -> None:
    network, C = random_network(5, inputs=3, width=6), np.random.default_rng(0).standard_normal((functions, 2))
    regions = [*(InputRegion.l2(np.zeros(3), radius) for radius in (0.0, 0.1, 0.5)), None]
    found = [lipschitz_constant(network, C, region=region) for region in regions]
    for smaller, larger in itertools.pairwise(found):
        assert smaller.unstable <= larger.unstable
        assert smaller.constant <= larger.constant * (1 + 1e-5)
    assert found[0].constant < 0.9 * found[-1].constant


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(SEEDS)
def test_one_function_among_zeros_is_one_function(seed: int) -> None:
    network, c = random_network(seed, inputs=3, width=6), np.random.default_rng(seed).standard_normal(2)
    one, among = lipschitz_constant(network, c), lipschitz_constant(network, np.vstack([c, np.zeros(2)]))
    exact = over_patterns(network, c)
    assert exact <= min(one.constant, among.constant)
    assert among.constant == pytest.approx(one.constant, rel=1e-3)
    plain = [lipschitz_constant(network, C, products=False).constant for C in (c, np.vstack([c, np.zeros(2)]))]
    assert plain[0] == pytest.approx(plain[1], rel=1e-6)


@pytest.mark.parametrize("functions", [1, 2])
def test_lipsdp_is_the_published_semidefinite_program(functions: int) -> None:
    network = random_network(functions, inputs=3, width=7)
    C = np.random.default_rng(0).standard_normal((functions, 2))
    weights, d, m = C @ network.output, 3, network.width
    T, square = cp.Variable(m, nonneg=True), cp.Variable()
    # Slopes in [0, 1]: [δ; Δ]ᵀ [ −L² I, UᵀT; TU, −2T + WᵀW ] [δ; Δ] ≤ 0, Fazlyab et al. 2019, theorem 2.
    slack = cp.bmat(
        [
            [square * np.eye(d), -network.hidden.T @ cp.diag(T)],
            [-cp.diag(T) @ network.hidden, 2 * cp.diag(T) - weights.T @ weights],
        ]
    )
    cp.Problem(cp.Minimize(square), [slack >> 0]).solve(solver="CLARABEL")
    assert lipschitz_constant(network, C, products=False).constant == pytest.approx(np.sqrt(square.value), rel=1e-6)


def test_lipsdp_of_many_neurons_is_the_best_bound_and_every_step_has_one() -> None:
    d, m, r, rng = 20, 60, 2, np.random.default_rng(3)
    gradients = Gradients(*(rng.standard_normal(shape) / 4 for shape in ((m, d), (m, r), (r, d))))
    steps: list[np.ndarray] = []
    theta = best_weights(gradients, keep=steps.append)
    # 1/θ as a second variable, above the hyperbola.
    first, second, least = cp.Variable(m), cp.Variable(m), cp.Variable()
    cross = gradients.U.T @ gradients.B + 2 * gradients.J.T
    M = cp.bmat(
        [
            [gradients.U.T @ cp.diag(first) @ gradients.U, cross],
            [cross.T, gradients.B.T @ cp.diag(second) @ gradients.B],
        ]
    )
    above = cp.SOC(first + second, cp.vstack([2 * np.ones(m), first - second]), axis=0)
    cp.Problem(cp.Minimize(least), [2 * least * np.eye(d + r) - M >> 0, above]).solve(solver="CLARABEL")
    assert gradients.bound(theta, 1 / theta) == pytest.approx(least.value, rel=1e-6)
    bounds = [gradients.bound(one, 1 / one) for one in steps]
    assert bounds[-1] < 0.95 * bounds[0]
    assert bounds[-1] <= min(bounds) * (1 + 1e-9)


@pytest.mark.parametrize("functions", [1, 2])
def test_order_and_scale_of_neurons_change_nothing(functions: int) -> None:
    network, rng = random_network(8, inputs=3, width=7), np.random.default_rng(1)
    C, region = rng.standard_normal((functions, 2)), InputRegion.linf(rng.standard_normal(3), 0.7)
    order, size = rng.permutation(7), 10.0 ** rng.uniform(-3, 3, 7)
    other = ReluNetwork(
        (size[:, None] * network.hidden)[order],
        (size * network.hidden_bias)[order],
        (network.output / size)[:, order],
        network.output_bias,
    )
    for products in (True, False):
        first, second = (lipschitz_constant(n, C, region=region, products=products) for n in (network, other))
        assert second.constant == pytest.approx(first.constant, rel=1e-4)
        scaled = lipschitz_constant(replace(network, output=1e-6 * network.output), C, region=region, products=products)
        assert scaled.constant == pytest.approx(1e-6 * first.constant, rel=1e-4)


@settings(max_examples=2, deadline=None)
@given(SEEDS, st.sampled_from(["everywhere", "linf", "l2"]))
def test_differences_of_outputs_stay_below_the_constant(seed: int, kind: str) -> None:
    network, rng = random_network(seed, inputs=4, width=9), np.random.default_rng(seed)
    region = region_around(np.zeros(4), kind, 0.8)
    x, y = 3 * rng.standard_normal((2, 2000, 4))
    if region is not None:
        x, y = project(region, x), project(region, y)
    for C in (np.array([[1.0, -1.0]]), np.eye(2)):
        found = lipschitz_constant(network, C, region=region)
        change = np.linalg.norm((network(x) - network(y)) @ C.T, axis=1)
        assert (change <= found.constant * np.linalg.norm(x - y, axis=1) + 1e-12).all()


def test_known_constants() -> None:
    """One neuron has ‖u‖|v|; two that are opposite have the larger; constant and weightless neurons change nothing."""
    u = np.array([3.0, 4.0])
    network = ReluNetwork(
        np.vstack([u, -u, np.zeros(2), [50.0, 0.0]]), np.zeros(4), np.array([[2.0, 1.0, 9.0, 0.0]]), np.zeros(1)
    )
    found = lipschitz_constant(network, np.ones(1))
    assert found.constant == pytest.approx(10.0, rel=1e-5)
    assert found.constant >= 10.0
    assert check(found.certificate, arithmetic="exact").verdict is Verdict.PROVED
    # Around u the first neuron is active and the second is not; around −u it is the other way round.
    for point, exact in ((u, 10.0), (-u, 5.0)):
        local = lipschitz_constant(network, np.ones(1), region=InputRegion.l2(point, 1.0))
        assert exact <= local.constant <= exact * (1 + 1e-6)
        assert local.sampled == pytest.approx(exact, rel=1e-12)
    # |x_1| + |x_2| in two outputs has 1, though each neuron's share is 1 and there are four of them.
    signs = np.vstack([np.eye(2), -np.eye(2)])
    split = ReluNetwork(signs, np.zeros(4), np.hstack([np.eye(2), np.eye(2)]), np.zeros(2))
    assert lipschitz_constant(split, np.eye(2)).constant == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_rounding_of_the_weights_is_charged(seed: int) -> None:
    """One neuron with the weight v = cw has the constant |v|, which is no float64, whichever side the nearest lies."""
    c, w = np.random.default_rng(seed).standard_normal(2).tolist()
    exact = abs(Fraction(c) * Fraction(w))
    network = ReluNetwork(np.ones((1, 1)), np.zeros(1), np.array([[w]]), np.zeros(1))
    honest = lipschitz_constant(network, np.array([c])).certificate
    assert Fraction(honest.constant) > exact != Fraction(float(exact))
    below = float(exact) if Fraction(float(exact)) < exact else float(np.nextafter(float(exact), 0.0))
    for arithmetic in ("float", "ball", "exact"):
        assert check(honest, arithmetic=arithmetic).verdict is Verdict.PROVED
        t = np.array([[-2.0 * below**2]])
        lie = replace(honest, constant=below, proof=replace(honest.proofs[0].proof, complementarity=t))
        assert check(lie, arithmetic=arithmetic).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("functions", [1, 2])
@pytest.mark.parametrize("products", [True, False])
def test_constant_functions_have_the_constant_zero(functions: int, products: bool) -> None:
    network = ReluNetwork(np.eye(2), -np.ones(2), np.ones((functions, 2)), np.ones(functions))
    inactive = InputRegion.linf(np.zeros(2), 0.5)
    for case, region in (
        (network, inactive),
        (replace(network, output=0.0 * network.output), None),
        (replace(network, hidden=0.0 * network.hidden), None),
        (ReluNetwork(np.zeros((0, 2)), np.zeros(0), np.zeros((functions, 0)), np.ones(functions)), inactive),
    ):
        found = lipschitz_constant(case, np.eye(functions), region=region, products=products)
        assert found.report.verdict is Verdict.PROVED
        assert found.sampled == 0.0
        assert found.constant <= 1e-90


def test_a_region_that_fixes_coordinates_counts_only_the_others_among_samples() -> None:
    network = ReluNetwork(np.array([[3.0, 4.0]]), np.ones(1), np.ones((1, 1)), np.zeros(1))
    flat = lipschitz_constant(network, np.ones(1), region=InputRegion(np.zeros(2), np.array([1.0, 0.0])))
    assert flat.sampled == pytest.approx(3.0)
    assert flat.constant == pytest.approx(5.0)
    assert lipschitz_constant(network, np.ones(1), region=InputRegion.l2(np.zeros(2), 0.0)).sampled == 0.0


def test_wide_networks_get_a_bound_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too wide for the checker's proofs with products, and for the search for weights in this time."""
    monkeypatch.setattr(lipschitz, "GRACE", 60.0)  # for a busy machine
    network = random_network(4, inputs=2, width=3100)
    for C in (np.array([1.0, 0.0]), np.eye(2)):
        found = lipschitz_constant(network, C, time_limit=1e-3)
        assert found.report.verdict is Verdict.PROVED
        assert found.sampled <= found.constant <= found.product * (1 + 1e-6)


@pytest.mark.parametrize("functions", [1, 3])
def test_a_bound_that_takes_too_long_is_left_behind(monkeypatch: pytest.MonkeyPatch, functions: int) -> None:
    """What is cheap has been proved before, and the result says that it is the weaker bound."""
    network = random_network(4, inputs=4, width=8, outputs=3)
    C = np.eye(3)[0] if functions == 1 else np.eye(3)
    plain = lipschitz_constant(network, C, products=False)
    whole = lipschitz_constant(network, C)
    monkeypatch.setattr("certnet.jobs.lipschitz.solve", out_of_time)
    found = lipschitz_constant(network, C)
    assert found.report.verdict is Verdict.PROVED
    assert found.constant == pytest.approx(plain.constant, rel=1e-6)
    assert found.note is not None
    assert plain.note is None
    assert whole.note is None
    assert whole.constant <= found.constant * (1 + 1e-9)
    monkeypatch.setattr("certnet.jobs.lipschitz.solve", lambda *_, **__: None)
    assert lipschitz_constant(network, C).note is not None


def out_of_time(*_: object, **__: object) -> None:
    raise OutOfTimeError


def test_no_time_at_all_still_gives_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(5, inputs=4, width=8, outputs=3)
    found = lipschitz_constant(network, np.eye(3), time_limit=1e-9)
    assert found.report.verdict is Verdict.PROVED
    assert found.constant <= 1.2 * lipschitz_constant(network, np.eye(3)).product
    assert found.sampled >= 0
    assert found.sampled <= found.product
    monkeypatch.setattr("certnet.jobs.lipschitz._checked", lambda *_: time.sleep(60.0))
    found = lipschitz_constant(network, np.eye(3), time_limit=0.01)
    assert found.report.verdict is Verdict.UNKNOWN
    assert "time limit" in found.report.reason
    assert found.constant == np.inf


def test_ctrl_c_is_not_taken_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("certnet.jobs.lipschitz.solve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lipschitz_constant(random_network(6, outputs=2), np.eye(2))


def test_norms_of_large_matrices_are_those_of_all_singular_values(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    gradients = Gradients(rng.standard_normal((30, 20)), rng.standard_normal((30, 3)), rng.standard_normal((3, 20)))
    theta = rng.uniform(0.5, 2.0, 30)
    norm, bound = spectral_norm(gradients.U), gradients.bound(theta, 1.0 / theta)
    assert gradients.norm_product() <= gradients.norm_product(exactly=False)
    monkeypatch.setattr(lipsdp, "DENSE", 1)
    assert spectral_norm(gradients.U) == pytest.approx(norm, rel=1e-9)
    assert gradients.bound(theta, 1.0 / theta) == pytest.approx(bound, rel=1e-9)
    assert spectral_norm(np.zeros((3, 2))) == 0.0
    assert 0.9 * norm <= rough_norm(gradients.U) <= norm * (1 + 1e-12)


@pytest.mark.parametrize("size", [1e-150, 1e-60, 1e60])
def test_sizes_near_the_ends_of_floating_point(size: float) -> None:
    network = random_network(7, outputs=2)
    scaled = ReluNetwork(size * network.hidden, network.hidden_bias, size * network.output, network.output_bias)
    found = lipschitz_constant(scaled, np.eye(2))
    assert found.report.verdict is Verdict.PROVED
    assert found.sampled <= found.constant
    # No constant that is proved is below 1e-100.
    assert found.constant <= max(1.01 * found.sampled, 1.01e-100)


def test_functions_that_do_not_fit_are_refused() -> None:
    network = random_network(1)
    for C in (np.ones(3), np.ones((2, 3)), np.full(2, np.nan), np.zeros((0, 2)), np.ones((1, 1, 2))):
        with pytest.raises(InputError, match="2 finite numbers"):
            lipschitz_constant(network, C)
    with pytest.raises(InputError, match="region has 2 inputs"):
        lipschitz_constant(network, np.eye(2), region=InputRegion.l2(np.zeros(2), 1.0))


@functools.cache
def certificates() -> list[Certificate]:
    """Global and local ones, of one function and of two, with products and without."""
    network, point = random_network(5, inputs=3, width=6), np.zeros(3)
    return [
        lipschitz_constant(network, C, region=region, products=products).certificate
        for C, region, products in itertools.product(
            (np.array([1.0, 0.3]), np.array([[1.0, 0.3], [-0.7, 1.1]])),
            (None, InputRegion.linf(point, 0.1), InputRegion.l2(point, 0.15)),
            (True, False),
        )
    ]


@pytest.mark.slow
def test_changed_certificates_prove_nothing() -> None:
    for made in certificates():
        proof, network, region = made.proof, made.network, made.region
        exact = over_patterns(network, made.C, made.stable)
        changes = [
            replace(made, constant=(1 - 1e-9) * exact),
            replace(made, constant=-made.constant),
            replace(made, constant=np.nan),
            replace(made, constant=np.inf),
            replace(made, C=1.5 * made.C),
            replace(made, C=made.C[:, :1]),
            replace(made, C=made.C[:0]),
            replace(made, C=np.full_like(made.C, np.nan)),
            replace(made, C=np.vstack([made.C, made.C])),
            replace(made, network=replace(network, hidden=1.01 * network.hidden)),
            replace(made, halfspace=np.ones(7)),
            replace(made, halfspace=np.full(5, np.nan)),
            replace(made, stable=made.stable[:-1]),
            replace(made, stable=made.stable.astype(np.float64)),
            replace(made, proof=replace(proof, complementarity=-proof.complementarity)),
            replace(made, proof=replace(proof, complementarity=np.nan * proof.complementarity)),
            replace(made, proof=replace(proof, complementarity=0.5 * proof.complementarity)),
        ]
        if len(proof.pairs):
            changes.append(replace(made, proof=replace(proof, multipliers=-proof.multipliers - 1.0)))
        for i in range(network.width):
            flipped = made.stable.copy()
            flipped[i] = 1 if flipped[i] < 1 else -1
            changes.append(replace(made, stable=flipped))
        if region is not None:
            assert 0 < np.count_nonzero(made.stable) < network.width
            changes += [
                replace(made, region=None),
                replace(made, region=InputRegion.linf(np.zeros(2), 0.1)),
                replace(made, region=InputRegion.linf(np.zeros(3), 10.0)),
                replace(made, region=InputRegion.l2(np.zeros(3), 10.0)),
            ]
        assert check(made).verdict is Verdict.PROVED
        for number, changed in enumerate(changes):
            report = check(changed)
            assert report.verdict is Verdict.UNKNOWN, number
            assert report.constant == np.inf
            assert report.reason


def test_other_half_spaces_never_prove_too_much() -> None:
    made = next(item for item in certificates() if len(item.halfspace))
    exact, rng = over_patterns(made.network, made.C), np.random.default_rng(0)
    for _ in range(20):
        e = rng.standard_normal(made.halfspace.shape)
        assert check(replace(made, halfspace=e, constant=0.9999 * exact)).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("arithmetic", ["exact", "ball", "float"])
def test_all_arithmetics_agree(arithmetic: str) -> None:
    for made in certificates():
        assert check(made, arithmetic=arithmetic).verdict is Verdict.PROVED


@pytest.mark.slow
def test_the_digits_network() -> None:
    file = SHARED / "lipschitz" / "digits_64_32_10_seed0.npz"
    if not file.is_file():
        pytest.skip("the digits network is not beside this checkout")
    network, c = read_relu_network(file), np.eye(10)[7]
    plain = lipschitz_constant(network, c, products=False)
    tight = lipschitz_constant(network, c)
    assert plain.constant == pytest.approx(5.1097, abs=1e-3)
    assert 5.0434 <= tight.sampled <= tight.constant < plain.constant - 0.02
    # 7.858024 is the norm of the gradient of a pattern, though of none that an input was found for.
    plain, tight = (lipschitz_constant(network, np.eye(10), products=products) for products in (False, True))
    assert plain.constant == pytest.approx(7.8815, abs=1e-3)
    assert tight.sampled <= 7.858024 <= tight.constant <= 7.8585
