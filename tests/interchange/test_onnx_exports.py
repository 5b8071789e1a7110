"""ONNX graphs as exporters write them, against onnxruntime: one network, one verdict, whatever spells it."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certificates import Verdict
from certnet.io import read_network, read_relu_network
from certnet.jobs.verify import verify
from certnet.search.counterexample import exact_outputs
from formulations.network import ReluNetwork
from formulations.properties import keeps_class
from formulations.robustness import region_maker
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


def _skip(graph: Export) -> Export:
    """V (Ux + b)₊ + Wx + c, with the columns of a constant beside them."""
    end(hidden(graph).then("Relu"))
    inner, graph.at = graph.at, "x"
    graph.then("MatMul", single(D, C)).then("Add", B2)
    graph.nodes.append(graph.onnx.helper.make_node("Sub", [inner, graph.at], ["total"]))
    graph.nodes.append(
        graph.onnx.helper.make_node("Concat", [graph.constant(single(1, 2)), "total", inner], ["all"], axis=1)
    )
    graph.at = "all"
    return graph


def _larger(graph: Export) -> Export:
    """max(Ux + b, Wx), entry by entry, less its smaller one."""
    hidden(graph)
    left, graph.at = graph.at, "x"
    graph.then("MatMul", single(D, M))
    for kind in ("Max", "Min"):
        graph.nodes.append(graph.onnx.helper.make_node(kind, [left, graph.at], [kind]))
    graph.nodes.append(graph.onnx.helper.make_node("Sub", ["Max", "Min"], ["total"]))
    graph.at = "total"
    return end(graph)


LARGEST = float(np.finfo(np.float32).max)
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
    "Clip without a bound, as of old": lambda: end(hidden(Export(9)).bound("Clip", min=0.0, max=LARGEST)),
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
    "a skip connection": lambda: _skip(Export()),
    "the larger of two layers": lambda: _larger(Export()),
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
        image(Export()).then("ConvTranspose", single(2, 1, 2, 2), single(1)).then("Flatten").then("Gemm", single(16, M))
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
        .then("Reshape", np.array([1, 6, 1]))
        .then("Squeeze", np.array([2]))
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
    runtime_agrees(GRAPHS[name]().write(tmp_path))


# One network of eighths, which float16 and bfloat16 hold exactly, as twenty exporters would write it.
EIGHTHS = [np.round(8 * part) / 8 for part in (U, B, V, B2)]
PLACE = np.array([0.5, -0.25, 0.75, 0.125])


def _spelt(graph: Export, kind: type = np.float32) -> Export:
    W1, b1, W2, b2 = (part.astype(kind) for part in EIGHTHS)
    return graph.then("Gemm", W1, b1).then("Relu").then("Gemm", W2, b2)


def _as_tensorflow(graph: Export) -> Export:
    """An image with channels last, dense layers as MatMul and Add, and Softmax."""
    W1, b1, W2, b2 = EIGHTHS
    graph.shape = ("unk__6", 2, 1, 2)
    graph.then("Transpose", perm=[0, 3, 1, 2]).then("Transpose", perm=[0, 2, 3, 1]).then("Reshape", np.array([-1, D]))
    graph.then("MatMul", W1).then("Add", b1).then("Relu").then("MatMul", W2).then("Add", b2).then("Softmax")
    return graph


def _as_scripted(graph: Export) -> Export:
    """``x.view(x.size(0), -1)``, and weights as constants that are computed."""
    make, W1 = graph.onnx.helper, graph.constant(EIGHTHS[0].T)
    graph.shape = ("b", 1, 2, 2)
    for kind, inputs, attributes in (
        ("Shape", ["x"], {}),
        ("Gather", ["Shape", graph.constant(np.array(0))], {"axis": 0}),
        ("Unsqueeze", ["Gather", graph.constant(np.array([0]))], {}),
        ("Concat", ["Unsqueeze", graph.constant(np.array([-1]))], {"axis": 0}),
        ("Reshape", ["x", "Concat"], {}),
        ("Transpose", [W1], {"perm": [1, 0]}),
        ("MatMul", ["Reshape", "Transpose"], {}),
    ):
        graph.nodes.append(make.make_node(kind, inputs, [kind], **attributes))
    graph.at = "MatMul"
    return graph.then("Add", EIGHTHS[1]).bound("Clip", 0.0).then("MatMul", EIGHTHS[2]).then("Add", EIGHTHS[3])


def _normalised(graph: Export) -> Export:
    """Batch normalisation with statistics that are exact."""
    W1, b1, W2, b2 = EIGHTHS
    ones = np.ones(M)
    graph.then("MatMul", 2 * W1).then("BatchNormalization", ones, b1, 0 * ones, 4 * ones, epsilon=0.0)
    return graph.bound("Max", 0.0).then("Dropout").then("Gemm", W2, b2)


def _convolved(graph: Export) -> Export:
    """Dense layers as convolutions."""
    W1, b1, W2, b2 = EIGHTHS
    graph.shape = (1, D, 1, 1)
    graph.then("Conv", W1.T[:, :, None, None], b1).then("Relu").then("Conv", W2.T[:, :, None, None], b2)
    return graph.then("Squeeze", np.array([2, 3])) if graph.opset > 12 else graph.then("Squeeze", axes=[2, 3])


def _quarter(bits: str) -> Callable[[], Any]:
    """The model with weights of 16 bits, cast to float32 before they are used."""

    def model() -> Any:
        graph = Export(17)
        for part in EIGHTHS:
            tensor = graph.onnx.helper.make_tensor(
                f"small{len(graph.constants)}", getattr(graph.onnx.TensorProto, bits), part.shape, part.reshape(-1)
            )
            graph.constants.append(tensor)
            graph.nodes.append(graph.onnx.helper.make_node("Cast", [tensor.name], [f"W{len(graph.nodes)}"], to=1))
        for kind, inputs, output in (
            ("Gemm", ["x", "W0", "W1"], "h"),
            ("Relu", ["h"], "r"),
            ("Gemm", ["r", "W2", "W3"], "y"),
        ):
            graph.nodes.append(graph.onnx.helper.make_node(kind, inputs, [output]))
        graph.at = "y"
        return graph.model()

    return model


def _from_sklearn() -> Any:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.neural_network import MLPClassifier

    X = np.random.default_rng(0).normal(size=(30, D)).astype(np.float32)
    model = MLPClassifier((M,), max_iter=1, solver="lbfgs").fit(X, np.arange(30) % C)
    model.coefs_, model.intercepts_ = [EIGHTHS[0], EIGHTHS[2]], [EIGHTHS[1], EIGHTHS[3]]
    return skl2onnx.to_onnx(model, X[:1], target_opset=18)


def _from_torch() -> Any:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(D, M), torch.nn.ReLU(), torch.nn.Linear(M, C), torch.nn.LogSoftmax(1))
    with torch.no_grad():
        for parameter, part in zip(module.parameters(), EIGHTHS, strict=True):
            parameter.copy_(torch.from_numpy(part.T if part.ndim == 2 else part))
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), torch.zeros(1, D), content, dynamo=False)
    return pytest.importorskip("onnx").load_model_from_string(content.getvalue())


EXPORTS: dict[str, Callable[[], Any]] = {
    **{f"opset {version}": lambda version=version: _spelt(Export(version)).model() for version in range(7, 23)},
    "scikit-learn": _from_sklearn,
    "PyTorch": _from_torch,
    "TensorFlow's way": lambda: _as_tensorflow(Export()).model(),
    "dynamic shapes": lambda: _as_scripted(Export()).model(),
    "batch normalisation": lambda: _normalised(Export(15)).model(),
    "convolutions": lambda: _convolved(Export()).model(),
    "convolutions, as of old": lambda: _convolved(Export(8)).model(),
    "float16": _quarter("FLOAT16"),
    "bfloat16": _quarter("BFLOAT16"),
}


@pytest.fixture(scope="module")
def plain() -> Any:
    """The network itself, and the verdicts about it at two radii."""
    W1, b1, W2, b2 = EIGHTHS
    network = ReluNetwork(W1.T, b1, W2.T, b2)
    return network, _verdicts(network, int(network(PLACE[None])[0].argmax()))


def _verdicts(network: ReluNetwork, label: int) -> list[Verdict]:
    make = region_maker("linf")
    return [
        verify(network, keeps_class(network, make(PLACE, radius), label), time_limit=20).verdict
        for radius in (0.01, 1.0)
    ]


@pytest.mark.parametrize(
    "exporter",
    [pytest.param(name, marks=pytest.mark.slow) if name in ("PyTorch", "scikit-learn") else name for name in EXPORTS],
)
def test_one_network_has_one_verdict_whoever_exported_it(exporter: str, plain: Any, tmp_path: Path) -> None:
    network, verdicts = plain
    assert verdicts == [Verdict.PROVED, Verdict.REFUTED]
    (tmp_path / "net.onnx").write_bytes(EXPORTS[exporter]().SerializeToString())
    read = read_relu_network(tmp_path / "net.onnx")
    points = np.random.default_rng(1).normal(size=(3, D))
    assert [exact_outputs(read, x) for x in points] == [exact_outputs(network, x) for x in points]
    assert _verdicts(read, int(network(PLACE[None])[0].argmax())) == verdicts


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_models_and_pipelines_of_scikit_learn(tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn import compose, decomposition, impute, linear_model, neural_network, pipeline, preprocessing

    X = np.random.default_rng(0).normal(size=(60, D)).astype(np.float32)
    classes, number = np.arange(60) % 3, X[:, 0]
    classifier = neural_network.MLPClassifier((M,), max_iter=20)
    regressor = neural_network.MLPRegressor(hidden_layer_sizes=(M,), max_iter=20)
    columns = compose.ColumnTransformer(
        [("scaled", preprocessing.StandardScaler(), [0, 2]), ("plain", "passthrough", [3, 1])]
    )
    scaled = pipeline.make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(3), regressor)
    targets = (np.array(["b", "a", "c"])[classes], classes, classes == 1)
    cases = [(classifier, target, zipped) for target in targets for zipped in (False, True)]
    cases += [(linear_model.LogisticRegression(), target, False) for target in targets]
    steps = (preprocessing.MinMaxScaler(), preprocessing.MaxAbsScaler(), preprocessing.RobustScaler(), columns)
    regressors = [pipeline.make_pipeline(step, regressor) for step in (*steps, impute.SimpleImputer())]
    cases += [(model, number, None) for model in (regressor, linear_model.LinearRegression(), scaled, *regressors)]
    cases.append((regressor, X[:, :2], None))
    for model, target, zipped in cases:
        model.fit(X, target)
        options = None if zipped is None else {"zipmap": zipped}
        onnx_model = skl2onnx.to_onnx(model, X[:1], options=options, target_opset=18)
        (tmp_path / "net.onnx").write_bytes(onnx_model.SerializeToString())
        network = read_network(tmp_path / "net.onnx")
        if zipped is None:
            expected = np.reshape(model.predict(X), (len(X), -1))
            np.testing.assert_allclose(network.predict(X), expected, rtol=1e-4, atol=1e-5)
        else:
            names = model.classes_.astype(int) if model.classes_.dtype == bool else model.classes_
            assert network.classes == tuple(map(str, names))
            assert (network.predict(X).argmax(axis=1) == model.predict_proba(X).argmax(axis=1)).all()
