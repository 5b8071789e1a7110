"""A network that was read without a note is the graph exactly; one that rounding changed carries a note."""

import math
import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certificates import Certificate, Robustness, Verdict, check
from certificates.certificate import CaseProof
from certificates.making.tree import LeafProof, build
from certnet.cli.agreement import compare_property
from certnet.cli.query import _texts
from certnet.io import network_from_sklearn, read_relu_network
from certnet.io.network import assemble
from certnet.io.query import charged, read_query
from certnet.jobs.verify import verify
from certnet.search.counterexample import exact_outputs
from formulations import InputError
from formulations.robustness import InputRegion, UnsafeCase
from tests.interchange.test_onnx import SPELLINGS, Graph

COMPUTED = ("weights beyond the Relu",)
"""Spellings whose weights are rounded products of those in the file."""


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_plain_spellings_are_not_rounded(spelling: str, tmp_path: Path) -> None:
    assert (read_relu_network(SPELLINGS[spelling]().write(tmp_path)).note is not None) == (spelling in COMPUTED)


NUMBERS = st.sampled_from([0.5, 1.0, 2.0, -4.0, 0.1, 3.0, 1 / 3, -0.7])
STEPS = st.lists(
    st.tuples(st.sampled_from(["Add", "Sub", "Mul", "Div"]), st.lists(NUMBERS, min_size=2, max_size=2)), max_size=2
)
OPERATIONS = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
}


def stepped(graph: Graph, values: list[Fraction], steps: list[Any]) -> tuple[Graph, list[Fraction]]:
    """Elementwise steps in the graph, and in rational numbers."""
    for kind, constant in steps:
        graph = graph.then(kind, np.array(constant))
        values = [OPERATIONS[kind](v, Fraction(c)) for v, c in zip(values, constant, strict=True)]
    return graph, values


def product(values: list[Fraction], matrix: np.ndarray) -> list[Fraction]:
    return [sum((v * Fraction(w) for v, w in zip(values, column, strict=True)), Fraction(0)) for column in matrix.T]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=4, max_size=4), st.lists(NUMBERS, min_size=8, max_size=8))
def test_without_a_note_the_network_is_the_graph(tmp_path: Path, steps: list[Any], weights: list[float]) -> None:
    U, V = np.array(weights).reshape(2, 2, 2)
    x = [Fraction(3, 4), Fraction(-5, 8)]
    graph, values = stepped(Graph(("n", 2)), x, steps[0])
    graph, values = stepped(graph.then("MatMul", U), product(values, U), steps[1])
    graph, values = stepped(graph.then("Relu"), [max(v, Fraction(0)) for v in values], steps[2])
    graph, values = stepped(graph.then("MatMul", V), product(values, V), steps[3])
    network = read_relu_network(graph.write(tmp_path))
    found = exact_outputs(network, point := np.array([0.75, -0.625]))
    assert network.note is not None or found == values
    assert (network.off is None) == (network.note is None)
    # What rounding changed is bounded, and an unsafe row that it makes of a safe one is none.
    unsafe = UnsafeCase(InputRegion(point, point), np.eye(2), -np.array([float(value) for value in values]))
    _, (case,) = charged(network, [unsafe])
    lost = [Fraction(h) - Fraction(lower) for h, lower in zip(unsafe.h.tolist(), case.h.tolist(), strict=True)]
    assert all(abs(a - b) <= most for a, b, most in zip(found, values, lost, strict=True))
    assert max(lost) <= 1e-11 * (1.0 + max(map(abs, values)))
    assert found == pytest.approx([float(v) for v in values], rel=1e-9, abs=1e-9)
    if not any(steps):
        assert network.note is None


@pytest.mark.parametrize("row", ["(>= Y_0 1.0)", "(< Y_0 1.0)"])
def test_what_rounding_would_decide_is_not_decided(tmp_path: Path, row: str) -> None:
    # y = 3 (x/3)₊ is 1 at 1, and less if 1/3 is rounded.
    graph = Graph(("n", 1)).then("Div", np.array(3.0)).then("MatMul", np.ones((1, 1))).then("Relu")
    graph.then("MatMul", np.array([[3.0]])).write(tmp_path)
    bounds = "(assert (>= X_0 1.0))(assert (<= X_0 1.0))"
    (tmp_path / "p.vnnlib").write_text(f"(declare-const X_0 Real)(declare-const Y_0 Real){bounds}(assert {row})")
    query = read_query(tmp_path / "p.vnnlib", str(tmp_path / "net.onnx"))
    assert verify(query.network, query.cases, time_limit=5).verdict is Verdict.UNKNOWN
    assert "is charged" in str(query.network.note)


def test_printed_inputs_are_unsafe_for_the_numbers_of_the_file(tmp_path: Path) -> None:
    # y = (x − 0.3)₊/10 is t at x, and less than t at what its shortest digits mean; with 1/10 rounded up it is t there.
    start, x = Fraction(0.3), 0.3
    while not start < Fraction(repr(x)) < Fraction(x):
        x = math.nextafter(x, 1.0)
    read = Fraction(repr(x))
    t = (read - start) * Fraction(0.1)
    assert (read - start) / 10 < t < (Fraction(x) - start) / 10
    graph = Graph(("n", 1)).then("Gemm", np.ones((1, 1)), np.array([-0.3])).then("Relu")
    graph.then("MatMul", np.ones((1, 1))).then("Div", np.array(10.0)).write(tmp_path)
    rows = [
        f"(assert ({sign} {name} (/ {value.numerator} {value.denominator})))"
        for sign, name, value in ((">=", "X_0", read), ("<=", "X_0", Fraction(x)), (">=", "Y_0", t))
    ]
    (tmp_path / "p.vnnlib").write_text(f"(declare-const X_0 Real)(declare-const Y_0 Real){''.join(rows)}")
    query = read_query(tmp_path / "p.vnnlib", str(tmp_path / "net.onnx"))
    found = verify(query.network, query.cases, time_limit=5).counterexample
    assert found is not None
    (text,) = _texts(query, found.as_declared(query))
    assert (Fraction(text) - start) / 10 >= t


@pytest.mark.parametrize("charges", [True, False])
def test_a_certificate_without_the_charge_is_about_another_property(charges: bool, tmp_path: Path) -> None:
    # y = 3 (x/3)₊ is 1 at 1, but less than that with 1/3 as float64 rounds it.
    graph = Graph(("n", 1)).then("Div", np.array(3.0)).then("MatMul", np.ones((1, 1))).then("Relu")
    files = [str(graph.then("MatMul", np.array([[3.0]])).write(tmp_path))]
    path, row = tmp_path / "p.vnnlib", "1.1" if charges else "1"
    bounds = "(assert (>= X_0 1))(assert (<= X_0 1))"
    path.write_text(f"(declare-const X_0 Real)(declare-const Y_0 Real){bounds}(assert (>= Y_0 {row}))")
    query = read_query(path, files[0])
    (case,) = query.cases
    case = case if charges else UnsafeCase(case.region, -np.ones((1, 1)), np.ones(1))
    proof = replace(build(LeafProof.plain(np.zeros(0)), 0), sigma=np.zeros((1, 0)))
    given = CaseProof(np.ones(1, dtype=np.int64), np.ones((1, 1)), 1e-17, proof)
    certificate = Certificate(Robustness(query.network, (case,)), (given,))
    assert check(certificate, arithmetic="exact").verdict is Verdict.PROVED
    if charges:
        assert compare_property(certificate, str(path), files)[0] == 1
    else:
        with pytest.raises(InputError, match="another property"):
            compare_property(certificate, str(path), files)


@pytest.mark.parametrize("kind", ["int64", "uint64", "longdouble"])
def test_numbers_that_float64_cannot_hold_are_refused(kind: str) -> None:
    large = np.array([[2**53 + 1]], dtype=kind)
    if kind == "longdouble" and large[0, 0] == 2**53:
        pytest.skip("longdouble is float64 here")
    with pytest.raises(InputError, match="U has a number that float64 cannot hold"):
        assemble("a.npz", U=large, V=np.ones((1, 1)))
    assert assemble("a.npz", U=large - 1, V=np.ones((1, 1))).network.hidden[0, 0] == 2.0**53


def test_output_activations_that_change_the_function_are_refused() -> None:
    neural_network = pytest.importorskip("sklearn.neural_network")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 2))
    model = neural_network.MLPRegressor(hidden_layer_sizes=(3,), max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, X[:, 0])
    assert network_from_sklearn(model).outputs == 1
    for last in ("exp", "tanh", "relu"):
        model.out_activation_ = last
        with pytest.raises(InputError, match=f"output activation is '{last}'"):
            network_from_sklearn(model)
