"""ONNX graphs as exporters write them, against onnxruntime: one network, one verdict, whatever spells it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certnet.io import read_network
from formulations import InputError
from tests.interchange.test_onnx import Graph

D, M, C = 4, 6, 3
RANDOM = np.random.default_rng(3)


def single(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


U, B, V, B2 = single(D, M), single(M), single(M, C), single(C)
"""float32, as nearly all files hold them."""
ENDINGS: dict[str | None, Callable[[np.ndarray], np.ndarray]] = {
    None: lambda y: y,
    "Softmax": lambda y: np.exp(y) / np.exp(y).sum(),
    "LogSoftmax": lambda y: y - np.log(np.exp(y).sum()),
    "Sigmoid": lambda y: 1.0 / (1.0 + np.exp(-y)),
    "Tanh": np.tanh,
}


class Export(Graph):
    """A float32 graph of an opset."""

    def __init__(self, opset: int = 13, shape: tuple[int | str, ...] = (1, D)) -> None:
        super().__init__(shape)
        self.opset = opset

    def model(self, kind: int | None = None) -> Any:
        make, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT if kind is None else kind
        ends = [make.make_tensor_value_info("x", kind, self.shape), make.make_tensor_value_info(self.at, kind, None)]
        graph = make.make_graph(self.nodes, "g", ends[:1], ends[1:], self.constants)
        return make.make_model(graph, opset_imports=[make.make_opsetid("", self.opset)], ir_version=8)

    def bound(self, kind: str, *bounds: float | None, **attributes: float) -> "Export":
        """Clip as it is spelt from opset 11 on, where bounds may be missing, or with attributes before."""
        names = ["" if bound is None else self.constant(np.float32(bound)) for bound in bounds]
        self.nodes.append(
            self.onnx.helper.make_node(kind, [self.at, *names], [f"value{len(self.nodes)}"], **attributes)
        )
        self.at = self.nodes[-1].output[0]
        return self


def runtime_agrees(path: Path, samples: int = 25, tolerance: float = 2e-6) -> None:
    """The network that is read has the outputs of onnxruntime on random inputs, up to float32."""
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    (entry,) = session.get_inputs()
    kind = {"tensor(float)": np.float32, "tensor(double)": np.float64}[entry.type]
    shape = [length if isinstance(length, int) else 1 for length in entry.shape]
    network = read_network(path)
    last, random = ENDINGS[network.network.ending], np.random.default_rng(0)
    for _ in range(samples):
        x = random.normal(size=shape).astype(kind) * 2
        expected = np.asarray(session.run(None, {entry.name: x})[-1]).reshape(-1)
        found = last(network.predict(x.reshape(1, -1).astype(np.float64))[0])
        np.testing.assert_allclose(found, expected, rtol=tolerance * 10, atol=tolerance * 10)


def end(graph: Export) -> Export:
    graph.then("Gemm", V, B2)
    return graph


def hidden(graph: Export) -> Export:
    graph.then("Gemm", U, B)
    return graph


def image(graph: Export) -> Export:
    graph.shape = (1, 2, 3, 3)
    return graph


SLOPES = np.array([0.25, -0.5, 0.0, 2.0, 1.0, 0.1], dtype=np.float32)
WIDE = single(2 * 3 * 3, M)
KERNEL = single(4, 2, 2, 2)

GRAPHS: dict[str, Callable[[], Export]] = {
    "LeakyRelu": lambda: end(hidden(Export()).then("LeakyRelu", alpha=0.2)),
    "PRelu": lambda: end(hidden(Export()).then("PRelu", SLOPES)),
    "Abs": lambda: end(hidden(Export()).then("Abs")),
    "HardSigmoid": lambda: end(hidden(Export()).then("HardSigmoid", alpha=0.25, beta=0.5)),
    "Clip without a bound below": lambda: end(hidden(Export()).bound("Clip", None, 0.5)),
    "Clip without a bound above": lambda: end(hidden(Export()).bound("Clip", 0.0)),
    "Clip with attributes": lambda: end(hidden(Export(9)).bound("Clip", min=0.0, max=6.0)),
    "Clip as exporters write no bound": lambda: end(hidden(Export(9)).bound("Clip", min=0.0, max=3.4028234663852886e38)),
    "Clip between others": lambda: end(hidden(Export()).bound("Clip", -0.3, 0.5)),
    "Clip the wrong way round": lambda: end(hidden(Export()).bound("Clip", 0.5, -0.3)),
    "Relu, then Min": lambda: end(hidden(Export()).then("Relu").then("Min", np.float32(0.75))),
    "Max with a constant": lambda: end(hidden(Export()).then("Max", np.float32(0.0))),
    "Max with one for each neuron, first": lambda: end(hidden(Export()).then("Max", B, signal_first=False)),
    "Relu twice": lambda: end(hidden(Export()).then("Relu").then("Relu")),
    "Relu on the input": lambda: Export().then("Relu").then("MatMul", single(D, C)),
    "Relu at the end": lambda: hidden(Export()).then("Relu"),
    "no Relu": lambda: hidden(Export()),
    "two layers without one between": lambda: end(hidden(Export())).then("Relu").then("Neg"),
    "products after the output": lambda: end(hidden(Export()).then("Relu")).then("MatMul", single(C, C)).then("Neg"),
    "Conv": lambda: end(
        image(Export())
        .then("Conv", KERNEL, single(4), pads=[1, 1, 1, 1], strides=[2, 2], dilations=[1, 1])
        .then("Relu")
        .then("Flatten")
        .then("MatMul", single(16, M))
    ),
    "Conv in groups, after Pad": lambda: end(
        image(Export())
        .then("Pad", np.array([0, 0, 0, 1, 0, 0, 1, 0]))
        .then("Conv", single(4, 1, 2, 2), group=2)
        .then("Relu")
        .then("Reshape", np.array([1, -1]))
        .then("MatMul", single(36, M))
    ),
    "ConvTranspose": lambda: end(
        image(Export()).then("ConvTranspose", single(2, 1, 2, 2), single(1)).then("Flatten").then("Gemm", single(16, M), B)
    ),
    "AveragePool": lambda: end(
        image(Export())
        .then("AveragePool", kernel_shape=[2, 2], pads=[1, 0, 0, 0])
        .then("Flatten")
        .then("Gemm", single(12, M))
        .then("Relu")
    ),
    "means and sums": lambda: end(
        image(Export())
        .then("ReduceMean", axes=[2], keepdims=0)
        .then("ReduceSum", np.array([1]), keepdims=0)
        .then("Gemm", single(3, M), B)
        .then("Relu")
    ),
    "normalised channels": lambda: end(
        image(Export(15))
        .then("BatchNormalization", single(2), single(2), single(2), np.abs(single(2)), epsilon=1e-3)
        .then("Flatten")
        .then("Gemm", WIDE, B)
        .then("Relu")
    ),
    "normalised after the Relu": lambda: end(
        hidden(Export(9)).then("Relu").then("BatchNormalization", single(M), single(M), single(M), np.abs(single(M)))
    ),
    "a sequence of vectors": lambda: end(
        image(Export()).then("MatMul", single(3, 2)).then("Relu").then("Flatten").then("MatMul", single(12, M))
    ),
    "slices, repeats and other orders": lambda: end(
        Export()
        .then("Slice", np.array([3]), np.array([-5]), np.array([1]), np.array([-2]))
        .then("Gather", np.array([0, 0, 1]), axis=1)
        .then("Unsqueeze", np.array([1]))
        .then("Tile", np.array([1, 2, 1]))
        .then("Transpose", perm=[0, 2, 1])
        .then("Squeeze", np.array([0]))
        .then("Reshape", np.array([1, 6]))
        .then("Mul", single(6))
        .then("MatMul", single(6, M))
        .then("Relu")
    ),
    "Cast, Dropout and Identity": lambda: end(
        hidden(Export().then("Cast", to=11).then("Cast", to=1).then("Dropout")).then("Relu").then("Identity")
    ),
    "Softmax": lambda: end(hidden(Export()).then("Relu")).then("Softmax"),
    "Softmax over a matrix": lambda: end(hidden(Export(11)).then("Relu")).then("Softmax"),
    "LogSoftmax": lambda: end(hidden(Export()).then("Relu")).then("LogSoftmax", axis=1),
    "Sigmoid": lambda: end(hidden(Export()).then("Relu")).then("Sigmoid").then("Identity"),
    "the other class": lambda: end(hidden(Export()).then("Relu")).then("Sigmoid").then(
        "Sub", np.float32(1), signal_first=False
    ),
    "Tanh": lambda: end(hidden(Export()).then("Relu")).then("Tanh"),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_the_network_is_what_onnxruntime_computes(name: str, tmp_path: Path) -> None:
    if name == "two layers without one between":
        with pytest.raises(InputError, match="MatMul|Gemm"):
            end(hidden(Export()).then("Relu")).then("Tanh").then("MatMul", np.eye(C)).read(tmp_path)
    runtime_agrees(GRAPHS[name]().write(tmp_path))
