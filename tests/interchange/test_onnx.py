"""ONNX graphs: every supported spelling of a two-layer network gives the same function; anything else is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certnet.io import read_network
from certnet.io.network import TwoLayerNetwork
from formulations import InputError

D, M, C = 3, 5, 2
RANDOM = np.random.default_rng(0)
U, V, B = RANDOM.normal(size=(D, M)), RANDOM.normal(size=(C, M)), RANDOM.normal(size=M)
X = RANDOM.normal(size=(9, D))
TRUTH = np.maximum(X @ U + B, 0.0) @ V.T


def test_without_the_package_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"certnet\[onnx\]"):
        read_network(tmp_path / "net.onnx")


class Graph:
    """Nodes one after another, with constants as initializers."""

    def __init__(self, shape: tuple[int | str, ...] | None = ("n", D)) -> None:
        self.onnx = pytest.importorskip("onnx")
        self.shape, self.nodes, self.constants, self.at = shape, [], [], "x"

    def constant(self, value: Any) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def then(self, kind: str, *constants: Any, signal_first: bool = True, **attributes: Any) -> "Graph":
        names = [self.constant(value) for value in constants]
        names = [self.at, *names] if signal_first else [*names[:1], self.at, *names[1:]]
        self.at = f"value{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, names, [self.at], **attributes))
        return self

    def model(self) -> Any:
        make = self.onnx.helper
        double = self.onnx.TensorProto.DOUBLE
        ends = [
            make.make_tensor_value_info("x", double, self.shape),
            make.make_tensor_value_info(self.at, double, None),
        ]
        return make.make_model(make.make_graph(self.nodes, "g", ends[:1], ends[1:], self.constants))

    def write(self, folder: Path) -> Path:
        path = folder / "net.onnx"
        path.write_bytes(self.model().SerializeToString())
        return path

    def read(self, folder: Path) -> TwoLayerNetwork:
        return read_network(self.write(folder))


def _end(graph: Graph) -> Graph:
    return graph.then("Relu").then("Gemm", V, transB=1)


def _gemm() -> Graph:
    return _end(Graph().then("Gemm", U.T, B, transB=1))


SPELLINGS = {
    "Gemm": _gemm,
    "Gemm without a transposition": lambda: Graph().then("Gemm", U, B).then("Relu").then("Gemm", V.T),
    "Gemm with alpha and beta": lambda: (
        Graph()
        .then("Gemm", U / 2, B / 4, alpha=2.0, beta=4.0)
        .then("Relu")
        .then("Gemm", 4 * V.T, np.zeros(C), alpha=0.25)
    ),
    "MatMul and Add": lambda: Graph().then("MatMul", U).then("Add", B).then("Relu").then("MatMul", V.T),
    "Add from the left, a row as constant": lambda: _end(
        Graph().then("MatMul", U).then("Add", B[None], signal_first=False)
    ),
    "Sub of the negated bias": lambda: _end(Graph().then("MatMul", U).then("Sub", -B)),
    "Sub from the bias": lambda: _end(Graph().then("MatMul", -U).then("Sub", B, signal_first=False)),
    "columns": lambda: (
        Graph((D, 1))
        .then("MatMul", U.T, signal_first=False)
        .then("Add", B[:, None])
        .then("Relu")
        .then("MatMul", V, signal_first=False)
    ),
    "columns after a transposition": lambda: (
        Graph()
        .then("Transpose", perm=[1, 0])
        .then("Gemm", U.T, B[:, None], signal_first=False)
        .then("Relu")
        .then("MatMul", V, signal_first=False)
        .then("Transpose", perm=[1, 0])
    ),
    "transposed by Gemm": lambda: _end(Graph().then("Transpose", perm=[1, 0]).then("Gemm", U, B, transA=1)),
    "a vector": lambda: (
        Graph((D,))
        .then("MatMul", U.T, signal_first=False)
        .then("Add", B)
        .then("Relu")
        .then("MatMul", V, signal_first=False)
    ),
    "images": lambda: _end(Graph(("n", 1, D, 1)).then("Flatten").then("Gemm", U, B)),
    "a reshaped input": lambda: _end(Graph((1, 1, 1, D)).then("Reshape", np.array([-1, D])).then("Gemm", U, B)),
    "a data point reshaped to a vector": lambda: (
        Graph((1, D))
        .then("Reshape", np.array([-1]))
        .then("MatMul", U.T, signal_first=False)
        .then("Add", B)
        .then("Relu")
        .then("MatMul", V, signal_first=False)
        .then("Reshape", np.array([1, -1]))
    ),
    "Identity": lambda: _end(Graph().then("Identity").then("Gemm", U, B)).then("Identity"),
    "weights beyond the Relu": lambda: (
        Graph()
        .then("Gemm", U, B)
        .then("Relu")
        .then("Mul", np.arange(1.0, M + 1))
        .then("MatMul", V.T / np.arange(1.0, M + 1)[:, None])
    ),
    "an output bias that cancels": lambda: _gemm().then("Add", np.ones(C)).then("Sub", np.ones(C)),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_the_same_function(spelling: str, tmp_path: Path) -> None:
    network = SPELLINGS[spelling]().read(tmp_path)
    np.testing.assert_allclose(network.predict(X), TRUTH, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [None, ("n", "d"), (7, D), (1, "d"), ("d", "n"), (D, 1)])
@pytest.mark.parametrize("columns", [False, True])
def test_where_the_shape_leaves_it_open_the_weights_decide(shape: Any, columns: bool, tmp_path: Path) -> None:
    if columns:
        graph = Graph(shape).then("MatMul", U.T, signal_first=False).then("Add", B[:, None]).then("Relu")
        graph = graph.then("MatMul", V, signal_first=False)
    else:
        graph = _end(Graph(shape).then("Sub", np.array(0.0)).then("Gemm", U, B))
    contradicted = shape in [(7, D), (1, "d")] if columns else shape == (D, 1)
    if contradicted:
        with pytest.raises(InputError, match="does not fit"):
            graph.read(tmp_path)
    else:
        np.testing.assert_allclose(graph.read(tmp_path).predict(X), TRUTH, rtol=1e-12, atol=1e-12)


def test_a_row_is_not_read_as_data_points_of_one_feature(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another layer"):
        _end(Graph((1, D)).then("Abs").then("Gemm", U, B)).read(tmp_path)


def test_a_length_that_several_fit_is_asked_for(tmp_path: Path) -> None:
    graph = _end(Graph(("n", "d")).then("Slice", np.array([0]), np.array([D]), np.array([1])).then("Gemm", U, B))
    with pytest.raises(InputError, match="fix all but the first"):
        graph.read(tmp_path)


def test_outputs_keep_the_order_that_the_graph_gives_them(tmp_path: Path) -> None:
    wide = RANDOM.normal(size=(6, M))
    graph = Graph().then("Gemm", U, B).then("Relu").then("MatMul", wide.T).then("Reshape", np.array([-1, 2, 3]))
    graph = graph.then("Transpose", perm=[0, 2, 1]).then("Flatten")
    order = np.arange(6).reshape(2, 3).T.reshape(-1)
    np.testing.assert_array_equal(graph.read(tmp_path).network.output, wide[order])


def test_weights_are_taken_as_they_are(tmp_path: Path) -> None:
    # The objective depends on the weights, not on the function alone.
    network = _gemm().read(tmp_path)
    np.testing.assert_array_equal(network.network.hidden.T, U)
    np.testing.assert_array_equal(network.network.output, V)
    np.testing.assert_array_equal(network.network.hidden_bias, B)
    assert network.offset is None


@pytest.mark.parametrize("image", [False, True])
def test_shifts_and_scales_of_the_input_become_its_standardisation(image: bool, tmp_path: Path) -> None:
    offset, scale = np.array([1.0, -2.0, 3.0]), np.array([2.0, 4.0, 0.5])
    graph = Graph(("n", D, 1, 1)) if image else Graph()
    shape = (1, D, 1, 1) if image else (D,)
    graph.then("Sub", offset.reshape(shape)).then("Div", scale.reshape(shape))
    graph = _end((graph.then("Flatten") if image else graph).then("Gemm", U, B))
    network = graph.read(tmp_path)
    np.testing.assert_array_equal(network.network.hidden.T, U)
    np.testing.assert_allclose(network.offset, offset, rtol=1e-15)
    np.testing.assert_allclose(network.scale, scale, rtol=1e-15)
    np.testing.assert_allclose(network.predict(X * scale + offset), TRUTH, rtol=1e-12)


def test_constant_nodes_are_read(tmp_path: Path) -> None:
    graph = Graph()
    numpy_helper, make = graph.onnx.numpy_helper, graph.onnx.helper
    graph.nodes = [
        make.make_node("Constant", [], ["u"], value=numpy_helper.from_array(U.T)),
        make.make_node("Transpose", ["u"], ["ut"]),
        make.make_node("MatMul", ["x", "ut"], ["h"]),
        make.make_node("Constant", [], ["b"], value_floats=[0.5] * M),
        make.make_node("Add", ["h", "b"], ["hb"]),
    ]
    graph.at = "hb"
    network = _end(graph).read(tmp_path)
    np.testing.assert_array_equal(network.network.hidden.T, U)
    np.testing.assert_array_equal(network.network.hidden_bias, np.full(M, 0.5))


REFUSED = {
    "the first of several": (lambda: _gemm().then("Sigmoid").then("Softmax"), "Sigmoid"),
    "another activation": (lambda: Graph().then("Gemm", U, B).then("Elu").then("Gemm", V.T), "is curved"),
    "an activation for ends": (lambda: Graph().then("Gemm", U, B).then("Tanh").then("Gemm", V.T), "followed by Gemm"),
    "three layers": (lambda: _gemm().then("Relu").then("MatMul", np.eye(C)), "after another layer"),
    "no layer": (lambda: Graph().then("Identity"), "holds no layer"),
    "a matrix that does not fit": (lambda: Graph().then("Gemm", U, B).then("Relu").then("MatMul", np.eye(2)), "fit"),
    "a bias that does not fit": (lambda: Graph().then("MatMul", U).then("Add", np.ones(4)), "does not go"),
    "a column for rows": (lambda: Graph().then("MatMul", U).then("Add", B[:, None]), "does not go"),
    "split data points": (lambda: Graph(("n", 2 * D)).then("Reshape", np.array([-1, D])), "counts data points"),
    "NaN": (lambda: _end(Graph().then("Gemm", np.full((D, M), np.nan))), "finite"),
    "complex weights": (lambda: Graph().then("MatMul", U * 1j), "complex"),
    "a division by zero": (lambda: _end(Graph().then("Gemm", U, B).then("Div", np.zeros(M))), "finite"),
    "an unknown size": (lambda: Graph(("n", "c", D)).then("Flatten"), "fix all but the first"),
    "a huge size": (lambda: Graph((1, 2**40, 2**40)).then("Add", np.ones((1, 2))), "fix all but the first"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_graphs_are_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    build, words = REFUSED[case]
    path = build().write(tmp_path)
    with pytest.raises(InputError) as caught:
        read_network(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_products_of_values_and_more_inputs_are_refused(tmp_path: Path) -> None:
    graph = Graph()
    make = graph.onnx.helper
    graph.nodes = [make.make_node("Mul", ["x", "x"], ["y"])]
    graph.at = "y"
    with pytest.raises(InputError, match="multiplies or divides computed values"):
        graph.read(tmp_path)
    model = _gemm().model()
    model.graph.input.append(make.make_tensor_value_info("x2", graph.onnx.TensorProto.DOUBLE, (1, D)))
    (tmp_path / "two.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="2 inputs"):
        read_network(tmp_path / "two.onnx")


def external(graph: Graph, **entries: Any) -> Any:
    """The model whose first constant names another file for its numbers."""
    model = graph.model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = graph.onnx.TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return model


def test_weights_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "net.data").write_bytes(b"\0" * 16 + U.T.tobytes())
    model = external(_gemm(), location="net.data", offset=16, length=U.nbytes)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(read_network(folder / "net.onnx").network.hidden.T, U)


ELSEWHERE: dict[str, tuple[dict[str, Any], str]] = {
    "above": ({"location": "../net.data"}, "single file"),
    "absolute": ({"location": "/etc/passwd"}, "single file"),
    "through a link": ({"location": "link"}, "single file"),
    "nowhere": ({}, "single file"),
    "missing": ({"location": "other.data"}, "missing or does not lie beside"),
    "too long": ({"location": "net.data", "length": 10**9}, "damaged"),
    "of another length": ({"location": "net.data", "length": 8}, "damaged"),
    "before its beginning": ({"location": "net.data", "offset": -8, "length": 8}, "damaged"),
    "no number": ({"location": "net.data", "offset": "x"}, "damaged"),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_no_other_file_is_opened(case: str, tmp_path: Path) -> None:
    entries, words = ELSEWHERE[case]
    folder = tmp_path / "model"
    folder.mkdir()
    for place in (folder, tmp_path):
        (place / "net.data").write_bytes(U.T.tobytes())
    (folder / "link").symlink_to(tmp_path / "net.data")
    (folder / "net.onnx").write_bytes(external(_gemm(), **entries).SerializeToString())
    with pytest.raises(InputError, match=words):
        read_network(folder / "net.onnx")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = _gemm().write(tmp_path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_network(path)
    path.write_bytes(b"\x00\xff" * 40)
    with pytest.raises(InputError):
        read_network(path)
    model = _gemm().model()
    model.graph.initializer[0].dims[:] = [2**40, 2**40]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="damaged"):
        read_network(path)
    model = _gemm().model()
    del model.graph.node[0]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="nothing computes before"):
        read_network(path)
