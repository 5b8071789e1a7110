"""Lipschitz constants: sampled ≤ exact over all patterns ≤ products ≤ LipSDP ≤ ‖v‖‖U‖, and their certificates."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from certificates.lipschitz import check_lipschitz
from certificates.lipschitz_file import read_lipschitz, write_lipschitz
from certificates.verdict import Verdict
from certnet.interchange import read_relu_network
from certnet.verification.lipschitz import lipschitz_constant
from formulations import InputError
from formulations.robustness import ReluNetwork
from tests.cli.support import caller
from tests.conftest import SHARED
from tests.verification.problems import SEEDS, random_network


def over_all_patterns(network: ReluNetwork, c: np.ndarray) -> float:
    """max over g in {0, 1}^m of ‖Uᵀ diag(g) Vᵀc‖."""
    v = network.output.T @ c
    patterns = np.array(list(itertools.product((0.0, 1.0), repeat=network.width)))
    return float(np.linalg.norm((patterns * v) @ network.hidden, axis=1).max())


@settings(max_examples=6, deadline=None)
@given(SEEDS)
def test_the_ordering_of_lower_and_upper_bounds(seed: int) -> None:
    network = random_network(seed, inputs=3, width=6)
    c = np.random.default_rng(seed).standard_normal(2)
    tight, plain = (lipschitz_constant(network, c, products=products) for products in (True, False))
    exact = over_all_patterns(network, c)
    assert tight.report.verdict is Verdict.PROVED
    assert plain.report.verdict is Verdict.PROVED
    assert tight.sampled <= exact * (1 + 1e-12)
    assert exact <= tight.constant
    assert tight.constant <= plain.constant * (1 + 1e-6)
    assert plain.constant <= plain.product * (1 + 1e-6)


def test_differences_of_outputs_stay_below_the_constant() -> None:
    network = random_network(5, inputs=4, width=9)
    found = lipschitz_constant(network, np.array([1.0, -1.0]))
    rng = np.random.default_rng(0)
    x, y = 3 * rng.standard_normal((2, 3000, 4))
    change = (network(x) - network(y)) @ np.array([1.0, -1.0])
    assert (np.abs(change) <= found.constant * np.linalg.norm(x - y, axis=1)).all()


def test_known_constants() -> None:
    """One neuron has ‖u‖|v|; two that are opposite have the larger; constant and weightless neurons change nothing."""
    u = np.array([3.0, 4.0])
    network = ReluNetwork(
        np.vstack([u, -u, np.zeros(2), [50.0, 0.0]]), np.zeros(4), np.array([[2.0, 1.0, 9.0, 0.0]]), np.zeros(1)
    )
    found = lipschitz_constant(network, np.ones(1))
    assert found.constant == pytest.approx(10.0, rel=1e-5)
    assert found.constant >= 10.0
    assert check_lipschitz(found.certificate, arithmetic="exact").verdict is Verdict.PROVED
    with pytest.raises(InputError, match="does not depend"):
        lipschitz_constant(replace(network, output=np.array([[0.0, 0.0, 1.0, 0.0]])), np.ones(1))


def test_changed_certificates_prove_nothing() -> None:
    network = random_network(2, inputs=3, width=6)
    made = lipschitz_constant(network, np.array([1.0, 0.0])).certificate
    proof = made.proof
    changes = [
        replace(made, constant=0.99 * made.constant),
        replace(made, constant=-made.constant),
        replace(made, constant=np.nan),
        replace(made, c=1.5 * made.c),
        replace(made, c=made.c[:1]),
        replace(made, network=replace(network, hidden=1.01 * network.hidden)),
        replace(made, proof=replace(proof, complementarity=0.5 * proof.complementarity)),
        replace(made, proof=replace(proof, multipliers=-proof.multipliers - 1.0)),
    ]
    assert check_lipschitz(made).verdict is Verdict.PROVED
    for changed in changes:
        report = check_lipschitz(changed)
        assert report.verdict is Verdict.UNKNOWN
        assert report.constant == np.inf


def test_files_and_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certnet = caller(capsys)
    network = random_network(3, inputs=3, width=5)
    made = lipschitz_constant(network, np.array([0.0, 1.0])).certificate
    for name in ("a.cert", "b.cert"):
        write_lipschitz(tmp_path / name, made)
    assert (tmp_path / "a.cert").read_bytes() == (tmp_path / "b.cert").read_bytes()
    assert read_lipschitz(tmp_path / "a.cert").constant == made.constant
    net = tmp_path / "net.npz"
    np.savez(net, W1=network.hidden, b1=network.hidden_bias, W2=network.output, b2=network.output_bias)
    done = certnet("lipschitz", net, "--pair", "0,1", "--certificate", tmp_path / "c.cert", "--json")
    assert done.code == 0
    entry = done.json["results"][0]
    assert entry["sampled"] <= entry["constant"] <= entry["product"]
    checked = certnet("check", tmp_path / "c.cert", "--network", net)
    assert checked.code == 0
    assert "1·y_0 + -1·y_1" in checked.out
    assert certnet("lipschitz", net).out.count("PROVED") == 2
    for words, sentence in (
        (("--output", "2"), "no output 2"),
        (("--pair", "0,0"), "two of the outputs"),
        (("--pair", "x"), "two outputs such as"),
        (("--certificate", "d.cert"), "--output or --pair"),
        (("--output", "0", "--pair", "0,1"), "exclude"),
    ):
        wrong = certnet("lipschitz", net, *words)
        assert wrong.code == 2
        assert sentence in wrong.err


@pytest.mark.slow
def test_the_digits_network() -> None:
    file = SHARED / "lipschitz" / "digits_64_32_10_seed0.npz"
    if not file.is_file():
        pytest.skip("the digits network is not beside this checkout")
    network, c = read_relu_network(file), np.eye(10)[7]
    plain = lipschitz_constant(network, c, products=False)
    tight = lipschitz_constant(network, c)
    assert plain.constant == pytest.approx(5.1097, abs=1e-3)
    assert 4.1054 <= tight.sampled <= tight.constant < plain.constant - 0.02
