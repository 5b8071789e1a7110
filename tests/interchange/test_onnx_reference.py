"""ONNX graphs against the reference evaluation of the onnx package: the network read computes what the graph does."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certnet.io import read_network, read_relu_network, write_onnx
from certnet.io.packed import to_array
from formulations import InputError
from formulations.network import ReluNetwork
from tests.interchange.test_onnx import B, Graph, U, V

B2 = np.array([0.5, -2.0])
D, M, C = 3, 5, 2


def reference(graph: Graph, x: np.ndarray) -> np.ndarray:
    """The outputs of a graph at one input, flat."""
    from onnx.reference import ReferenceEvaluator

    (found,) = ReferenceEvaluator(graph.model()).run(None, {"x": x})
    return np.asarray(found).reshape(-1)


def agrees(graph: Graph, folder: Path, shape: tuple[int, ...] = (1, D), seed: int = 0) -> None:
    """The network that is read computes what the graph does, up to rounding, at inputs of this shape."""
    network = read_relu_network(graph.write(folder))
    random = np.random.default_rng(seed)
    for _ in range(4):
        x = 2.0 * random.normal(size=shape)
        np.testing.assert_allclose(network(x.reshape(1, -1))[0], reference(graph, x), rtol=1e-11, atol=1e-11)


def end(graph: Graph) -> Graph:
    return graph.then("Relu").then("Gemm", V, B2, transB=1)


def first(graph: Graph) -> Graph:
    return graph.then("Gemm", U, B)


IMAGE = (1, 2, 3, 2)
WIDE = np.random.default_rng(5).normal(size=(12, M))
MEAN, SCALE = np.array([1.0, -2.0, 3.0]), np.array([2.0, 4.0, 0.5])

GRAPHS: dict[str, tuple[Callable[[], Graph], tuple[int, ...]]] = {
    "Gemm, both transposed, alpha and beta in both layers": (
        lambda: (
            Graph()
            .then("Transpose", perm=[1, 0])
            .then("Gemm", U.T, B, transA=1, transB=1, alpha=-0.7, beta=1.3)
            .then("Relu")
            .then("Gemm", V, B2, transB=1, alpha=0.3, beta=-2.0)
        ),
        (1, D),
    ),
    "Gemm with a scalar, a row, and without C": (
        lambda: Graph().then("Gemm", U, np.array(0.25)).then("Relu").then("Gemm", V.T, B2[None], beta=0.5),
        (1, D),
    ),
    "Gemm with the weights on the left": (
        lambda: (
            Graph()
            .then("Gemm", U, B[:, None], signal_first=False, transA=1, transB=1, alpha=2.0)
            .then("Relu")
            .then("Gemm", V, B2[:, None], signal_first=False, beta=3.0)
        ),
        (1, D),
    ),
    "MatMul with the weights on either side": (
        lambda: (
            Graph()
            .then("Transpose")
            .then("MatMul", U.T, signal_first=False)
            .then("Transpose")
            .then("Relu")
            .then("MatMul", V.T)
        ),
        (1, D),
    ),
    "a constant less the hidden values": (
        lambda: end(Graph().then("MatMul", U).then("Sub", B, signal_first=False)),
        (1, D),
    ),
    "a constant less the input": (lambda: end(first(Graph().then("Sub", MEAN, signal_first=False))), (1, D)),
    "a constant less the activations and outputs": (
        lambda: (
            first(Graph())
            .then("Relu")
            .then("Sub", np.array(2.0), signal_first=False)
            .then("MatMul", V.T)
            .then("Sub", B2, signal_first=False)
        ),
        (1, D),
    ),
    "Add in both orders": (
        lambda: end(Graph().then("Add", MEAN).then("MatMul", U).then("Add", B[None], signal_first=False)),
        (1, D),
    ),
    "normalisation": (lambda: end(first(Graph().then("Sub", MEAN).then("Div", SCALE))), (1, D)),
    "normalisation by factors, some negative": (
        lambda: end(first(Graph().then("Sub", MEAN).then("Mul", SCALE * [1, -1, 1]))),
        (1, D),
    ),
    "normalisation by one number, twice": (
        lambda: end(first(Graph().then("Div", np.array(255.0)).then("Sub", np.array([0.5])).then("Div", SCALE))),
        (1, D),
    ),
    "normalised channels": (
        lambda: end(
            Graph(("n", 2, 3, 2))
            .then("Sub", np.array([0.1, 0.2]).reshape(1, 2, 1, 1))
            .then("Div", np.array([0.3, 0.7]).reshape(2, 1, 1))
            .then("Flatten")
            .then("Gemm", WIDE, B)
        ),
        IMAGE,
    ),
    "permuted axes": (
        lambda: end(Graph(("n", 2, 3, 2)).then("Transpose", perm=[0, 2, 3, 1]).then("Flatten").then("Gemm", WIDE, B)),
        IMAGE,
    ),
    "permuted axes between normalisations, twice": (
        lambda: end(
            Graph(("n", 2, 3, 2))
            .then("Sub", np.arange(12.0).reshape(1, 2, 3, 2))
            .then("Transpose", perm=[0, 3, 1, 2])
            .then("Mul", np.arange(1.0, 13.0).reshape(2, 2, 3))
            .then("Transpose", perm=[0, 2, 3, 1])
            .then("Reshape", np.array([1, -1]))
            .then("Gemm", WIDE, B)
        ),
        IMAGE,
    ),
    "Identity, Reshape and Flatten everywhere": (
        lambda: (
            Graph()
            .then("Flatten")
            .then("Identity")
            .then("Reshape", np.array([1, D]))
            .then("Gemm", U, B)
            .then("Reshape", np.array([-1, M]))
            .then("Relu")
            .then("Flatten")
            .then("Gemm", V.T, B2)
            .then("Reshape", np.array([1, C]))
            .then("Identity")
        ),
        (1, D),
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_network_is_the_graph(name: str, tmp_path: Path) -> None:
    build, shape = GRAPHS[name]
    agrees(build(), tmp_path, shape)


def _step(draw: Callable[[Any], Any], random: np.random.Generator, graph: Graph, size: int) -> None:
    """One node that keeps the size."""
    kind = draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Identity", "Flatten", "Reshape"]))
    if kind in ("Identity", "Flatten"):
        graph.then(kind)
    elif kind == "Reshape":
        graph.then(kind, np.array([-1, size]))
    else:
        shape = draw(st.sampled_from([(), (1,), (size,), (1, size)]))
        left = kind in ("Add", "Sub", "Mul") and draw(st.booleans())
        graph.then(kind, random.uniform(0.5, 2.0, shape) * random.choice([-1, 1], shape), signal_first=not left)


def _product(draw: Callable[[Any], Any], random: np.random.Generator, graph: Graph, weights: np.ndarray) -> None:
    """A matrix product from the right, as MatMul or Gemm."""
    if draw(st.booleans()):
        graph.then("MatMul", weights)
        return
    turned, on_left = draw(st.booleans()), draw(st.booleans())
    scalars = {name: draw(st.sampled_from([-1.5, 0.25, 1.0])) for name in ("alpha", "beta")}
    bias = [random.normal(size=weights.shape[1])] if draw(st.booleans()) else []
    if on_left:
        graph.then("Gemm", weights if turned else weights.T, *(b[:, None] for b in bias), signal_first=False,
                   transA=int(turned), transB=1, **scalars)  # fmt: skip
        graph.then("Transpose", perm=[1, 0])
    else:
        graph.then("Gemm", weights.T if turned else weights, *bias, transB=int(turned), **scalars)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.integers(0, 2**32 - 1))
def test_random_chains_agree(tmp_path: Path, data: st.DataObject, seed: int) -> None:
    random = np.random.default_rng(seed)
    graph = Graph()
    for _ in range(data.draw(st.integers(0, 3))):
        _step(data.draw, random, graph, D)
    _product(data.draw, random, graph, random.normal(size=(D, M)))
    for _ in range(data.draw(st.integers(0, 2))):
        _step(data.draw, random, graph, M)
    graph.then("Relu")
    for _ in range(data.draw(st.integers(0, 2))):
        _step(data.draw, random, graph, M)
    _product(data.draw, random, graph, random.normal(size=(M, C)))
    for _ in range(data.draw(st.integers(0, 2))):
        _step(data.draw, random, graph, C)
    agrees(graph, tmp_path, seed=seed)


def test_what_certnet_writes_means_the_same(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    network = ReluNetwork(U.T, B, V, B2)
    write_onnx(tmp_path / "net.onnx", network)
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    X = np.random.default_rng(0).normal(size=(7, D))
    (found,) = ReferenceEvaluator(model).run(None, {"x": X})
    np.testing.assert_allclose(found, network(X), rtol=1e-12, atol=1e-12)


def test_signs_and_zeros_among_the_factors_of_the_input_go_over_to_the_weights(tmp_path: Path) -> None:
    factors = np.array([-2.0, 0.5, 0.0, 3.0, -1.0])[np.arange(D) % 5]
    path = end(first(Graph().then("Sub", MEAN).then("Mul", factors))).write(tmp_path)
    network, X = read_network(path), np.random.default_rng(0).normal(size=(9, D))
    assert network.scale is not None
    assert (network.scale > 0).all()
    # The weights keep their sizes, which decay counts, but for those of inputs that are multiplied by 0.
    plain = read_network(end(first(Graph())).write(tmp_path)).network
    expected = plain(np.where(factors == 0, 0.0, (X - MEAN) * factors))
    np.testing.assert_allclose(network.predict(X), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(np.abs(network.network.hidden), np.abs(plain.hidden) * (factors != 0))


REFUSED: dict[str, tuple[Callable[[], Graph], str]] = {
    "the axis of data points": (lambda: Graph(("n", 2, 2)).then("Transpose", perm=[1, 0, 2]), "counts data points"),
    "all axes turned round": (lambda: Graph(("n", 2, 2)).then("Transpose"), "counts data points"),
    "axes that are not there": (lambda: Graph(("n", 2, 2)).then("Transpose", perm=[0, 1, 3]), "cannot act"),
    "axes of a vector": (lambda: Graph().then("Transpose", perm=[0, 2, 1]), "cannot act"),
    "a division by the input": (lambda: Graph().then("Div", MEAN, signal_first=False), "divides by a computed value"),
    "the first of four layers": (
        lambda: end(first(Graph())).then("Relu").then("MatMul", np.eye(C)).then("Softmax"),
        "'value3', Relu, stands after another layer",
    ),
    "Softmax before another layer": (
        lambda: end(first(Graph())).then("Softmax").then("Flatten").then("MatMul", np.eye(C)),
        "'value3', Softmax, is followed by MatMul",
    ),
    "a convolution that does not fit": (lambda: Graph(IMAGE).then("Conv", np.ones((1, 3, 1, 1))), "'value0', Conv, "),
    "alpha without meaning": (lambda: end(Graph().then("Gemm", U, B, alpha=float("nan"))), "finite"),
    "a matrix of no rows": (lambda: Graph().then("MatMul", np.ones((0, 3))), "does not fit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_first_node_that_is_not_read_is_named(name: str, tmp_path: Path) -> None:
    build, words = REFUSED[name]
    with pytest.raises(InputError, match=words) as caught:
        read_relu_network(build().write(tmp_path))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def _missing(model: Any) -> None:
    del model.graph.initializer[0]


def _negative(model: Any) -> None:
    model.graph.initializer[0].dims[0] = -3


def _short(model: Any) -> None:
    model.graph.initializer[0].raw_data = b"\x00" * 5


def _typeless(model: Any) -> None:
    model.graph.initializer[0].data_type = 9999


def _strings(model: Any) -> None:
    model.graph.initializer[0].data_type = 8


def _nan(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.raw_data = np.full(tuple(tensor.dims), np.nan).tobytes()


def _nameless(model: Any) -> None:
    model.graph.node[0].input[0] = ""


def _loop(model: Any) -> None:
    model.graph.node[0].input[0] = model.graph.node[0].output[0]


def _twice(model: Any) -> None:
    model.graph.output.append(model.graph.output[0])


def _no_text(model: Any) -> None:
    model.graph.node[0].output[0] = "value0§"  # spoilt in the bytes below


def _foreign(model: Any) -> None:
    model.graph.node[0].domain = "com.example"


DAMAGE = (_missing, _negative, _short, _typeless, _strings, _nan, _nameless, _loop, _twice, _no_text, _foreign)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_sentence(damage: Callable[[Any], None], tmp_path: Path) -> None:
    model = end(first(Graph())).model()
    damage(model)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString().replace("§".encode(), b"\xff\xff"))
    with pytest.raises(InputError) as caught:
        read_relu_network(tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3))
def test_changed_bytes_never_crash(tmp_path: Path, changes: list[tuple[float, int]]) -> None:
    content = bytearray(end(first(Graph())).model().SerializeToString())
    for place, value in changes:
        content[int(place * len(content))] = value
    (tmp_path / "net.onnx").write_bytes(bytes(content))
    try:
        network = read_relu_network(tmp_path / "net.onnx")
    except InputError:
        return
    assert np.isfinite(network.hidden).all()


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int32", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_numbers_are_those_that_the_package_reads(kind: str, shape: tuple[int, ...]) -> None:
    onnx = pytest.importorskip("onnx")
    values = np.random.default_rng(0).normal(scale=9.0, size=shape).astype(kind)
    code = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    spelled = onnx.helper.make_tensor("a", code, shape, values.ravel().tolist())
    for tensor in (onnx.numpy_helper.from_array(values, "a"), spelled):
        found, theirs = to_array(tensor), onnx.numpy_helper.to_array(tensor)
        assert found.dtype == theirs.dtype
        assert np.array_equal(found, theirs)
    cut = onnx.numpy_helper.from_array(np.ones(3, dtype=kind), "a")
    cut.raw_data = cut.raw_data[:-1]
    with pytest.raises(ValueError):
        to_array(cut) if kind != "bool" else to_array(cut).reshape(3)


def test_parts_of_the_package_are_those_of_all_of_it_in_either_order() -> None:
    pytest.importorskip("onnx")
    program = (
        "{}; from certnet.io.packed import part_of_onnx; "
        "one, two = part_of_onnx('onnx_ml_pb2'), part_of_onnx('onnx_cpp2py_export'); "
        "import onnx, onnx.reference; assert onnx.ModelProto is one.ModelProto; "
        "assert onnx.defs.get_schema is two.defs.get_schema"
    )
    for before in ("pass", "import onnx"):
        subprocess.run([sys.executable, "-c", program.format(before)], check=True, timeout=60)
