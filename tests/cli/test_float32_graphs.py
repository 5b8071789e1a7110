"""Which ONNX graphs float32 semantics are about, and inputs at which float32 rounds nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certnet.io.float32 import rounds_otherwise
from certnet.search.counterexample import exact_outputs
from certnet.search.float32 import evaluated_exactly
from formulations.network import ReluNetwork
from tests.cli.support import Call

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
W, B, S = np.eye(2, dtype=np.float32), np.ones(2, dtype=np.float32), np.array([1e8, 1e8], dtype=np.float32)


class Program:
    """A graph of x (1×2), node by node."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.at = "x"

    def then(self, kind: str, *constants: Any, **attributes: Any) -> "Program":
        names = [f"c{len(self.constants) + k}" for k in range(len(constants))]
        arrays = zip(constants, names, strict=True)
        self.constants += [onnx.numpy_helper.from_array(np.asarray(array), name) for array, name in arrays]
        return self.node(kind, self.at, *names, **attributes)

    def node(self, kind: str, *names: str, **attributes: Any) -> "Program":
        out = f"v{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, list(names), [out], **attributes))
        self.at = out
        return self

    def model(self) -> Any:
        ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("x", self.at)]
        graph = onnx.helper.make_graph(self.nodes, "g", ends[:1], ends[1:], self.constants)
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


GOOD: dict[str, Callable[[], Program]] = {
    "two layers": lambda: Program().then("Gemm", W, B).then("Relu").then("Gemm", W, B),
    "products and sums": lambda: Program().then("MatMul", W).then("Add", B).then("Relu").then("MatMul", W),
    "no bias, then the other way round": lambda: Program().then("MatMul", W).then("Relu").then("Sub", B),
    "moves": lambda: Program().then("Flatten").then("Gemm", W).then("Relu").then("Transpose", perm=[1, 0]),
    "taking nothing away": lambda: Program().then("Sub", 0 * B).then("Gemm", W, B).then("Relu").then("Gemm", W, B),
    "entry by entry": lambda: Program().then("Mul", B).then("Add", B).then("Relu"),
}
OTHER: dict[str, tuple[Callable[[], Program], str]] = {
    "sums that cancel": (lambda: Program().then("Add", S).then("Sub", S).then("Relu"), "Sub"),
    "a product after a sum": (lambda: Program().then("Add", S).then("Gemm", W, -S).then("Relu"), "Gemm"),
    "two products": (lambda: Program().then("MatMul", W).then("MatMul", W).then("Relu"), "MatMul"),
    "factors": (lambda: Program().then("Gemm", W, B, alpha=0.5).then("Relu"), "Gemm"),
    "copies that are added": (
        lambda: Program().node("Concat", "x", "x", axis=1).then("MatMul", np.vstack([S * W, -S * W])).then("Relu"),
        "MatMul",
    ),
    "products that cancel": (
        lambda: Program().then("Mul", S).node("Sub", "v0", "x").then("Relu"), "Sub"
    ),
    "bounds": (lambda: Program().then("Add", S).then("Clip", S[0], S[0] + 8), "Clip"),
    "taking nothing away from copies": (
        lambda: Program().then("Sub", np.zeros((2, 1), dtype=np.float32)).then("MatMul", W), "MatMul"
    ),
    "another type between": (lambda: Program().then("Cast", to=10).then("Cast", to=1).then("Gemm", W, B), "Cast"),
    "a normalisation": (lambda: Program().then("BatchNormalization", B, B, B, B).then("Relu"), "BatchNormalization"),
    "constants that are computed": (
        lambda: Program().node("Identity", "x").then("Add", S).node("Neg", "c0").node("Add", "c0", "c0"), "Add"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_graphs_that_add_as_two_layers_do(name: str) -> None:
    assert rounds_otherwise(GOOD[name]().model().graph) is None


@pytest.mark.parametrize("name", OTHER)
def test_graphs_that_round_in_more_places_are_named(name: str) -> None:
    program, kind = OTHER[name]
    found = rounds_otherwise(program().model().graph)
    assert found is not None
    assert found.split()[0] == kind


QUERY = """(vnnlib-version <2.0>)
(declare-network N (declare-input X {0} [1,2]) (declare-output Y {0} [1,2]))
(assert (and (>= X[0,0] 0.0) (<= X[0,0] 1.0) (>= X[0,1] 0.0) (<= X[0,1] 1.0)))
(assert {1})
"""


def test_what_float32_loses_is_no_proof_and_no_counterexample(certnet: Call, folder: Path) -> None:
    pytest.importorskip("vnnlib", reason="the vnnlib package is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    trap = Program().then("Add", S).then("Relu").then("Sub", S)
    onnx.save(trap.model(), "trap.onnx")
    # In real numbers y is x; float32 keeps no digit of it.
    session = runtime.InferenceSession("trap.onnx", providers=["CPUExecutionProvider"])
    assert (session.run(None, {"x": np.full((1, 2), 0.75, dtype=np.float32)})[0] == 0).all()
    answers = {}
    for element in ("real", "float32"):
        for row in ("(<= (+ Y[0,0] Y[0,1]) -0.5)", "(>= Y[0,0] 0.5)"):
            Path("q.vnnlib").write_text(QUERY.format(element, row))
            answers[element, row[1]] = certnet("verify", "q.vnnlib", "--network", "N=trap.onnx").out.split("\n")[0]
    assert answers == {
        ("real", "<"): "unsat",
        ("real", ">"): "sat",
        ("float32", "<"): "unknown",
        ("float32", ">"): "unknown",
    }
    Path("q.vnnlib").write_text(QUERY.format("float32", "(>= Y[0,0] 0.5)"))
    onnx.save(OTHER["sums that cancel"][0]().model(), "other.onnx")
    refused = certnet("verify", "q.vnnlib", "--network", "N=other.onnx")
    assert (refused.code, refused.out) == (2, "")
    assert "holds Sub" in refused.err


def test_a_type_that_is_not_the_files_is_an_error(certnet: Call, folder: Path) -> None:
    pytest.importorskip("vnnlib", reason="the vnnlib package is not installed")
    model = GOOD["two layers"]().model()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    onnx.save(model, "double.onnx")
    Path("q.vnnlib").write_text(QUERY.format("float32", "(>= Y[0,0] 0.5)"))
    done = certnet("verify", "q.vnnlib", "--network", "N=double.onnx")
    assert (done.code, done.out) == (2, "")
    assert "X is declared float32, but in double.onnx" in done.err


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 26))
def test_where_nothing_is_rounded_every_order_gives_the_exact_outputs(seed: int, digits: int) -> None:
    random = np.random.default_rng(seed)
    scale = 2.0 ** random.integers(-20, 20)

    def numbers(*shape: int) -> np.ndarray:
        drawn = random.integers(-(2 ** (digits // 2)), 2 ** (digits // 2) + 1, shape) * scale
        return (drawn * (random.random(shape) < 0.7)).astype(np.float32).astype(np.float64)

    network, x = ReluNetwork(numbers(4, 3), numbers(4) * scale, numbers(2, 4), numbers(2) * scale), numbers(3)
    exact, found = exact_outputs(network, x), evaluated_exactly(network, x)
    if digits < 4:
        assert found.all() or abs(np.log2(scale)) > 15
    for _ in range(5):
        inner, outer = random.permutation(4), random.permutation(5)
        terms = np.hstack([network.hidden * x, network.hidden_bias[:, None]]).astype(np.float32)
        z = np.zeros(4, dtype=np.float32)
        for k in inner:
            z = z + terms[:, k]
        values = np.append(np.maximum(z, np.float32(0.0)), np.float32(1.0))
        y = np.zeros(2, dtype=np.float32)
        for k in outer:
            y = y + np.hstack([network.output, network.output_bias[:, None]]).astype(np.float32)[:, k] * values[k]
        assert all(not sure or float(own) == value for sure, own, value in zip(found, y, exact, strict=True))
