"""Networks for verification: with output bias, from every format, and out again."""

from pathlib import Path

import numpy as np
import pytest

from certnet.io import network_from_sklearn, read_network, read_relu_network, write_onnx
from certnet.io.network import TwoLayerNetwork
from formulations import InputError
from formulations.network import ReluNetwork
from tests.interchange.test_onnx import TRUTH, B, D, Graph, U, V, X

B2 = np.array([0.5, -2.0])

GRAPHS = {
    "Gemm": lambda: Graph().then("Gemm", U, B).then("Relu").then("Gemm", V.T, B2),
    "Gemm with alpha, beta and transB": lambda: (
        Graph()
        .then("Gemm", 2 * U.T, 4 * B, transB=1, alpha=0.5, beta=0.25)
        .then("Relu")
        .then("Gemm", V.T, -B2, beta=-1.0)
    ),
    "MatMul, Add and Sub": lambda: (
        Graph().then("MatMul", U).then("Sub", -B).then("Relu").then("MatMul", V.T).then("Add", B2)
    ),
    "Flatten, Identity and Reshape": lambda: (
        Graph()
        .then("Flatten")
        .then("Gemm", U, B)
        .then("Identity")
        .then("Relu")
        .then("Reshape", np.array([-1, 5]))
        .then("Gemm", V.T)
        .then("Sub", -B2)
    ),
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_an_output_bias_is_read(graph: str, tmp_path: Path) -> None:
    path = GRAPHS[graph]().write(tmp_path)
    assert np.allclose(read_relu_network(path)(X), TRUTH + B2, atol=1e-12)
    assert np.allclose(read_network(path).network.output_bias, B2, atol=1e-12)


def test_onnx_out_and_in_again_changes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    network = ReluNetwork(U.T, B, V, B2)
    write_onnx(tmp_path / "net.onnx", network)
    again = read_relu_network(tmp_path / "net.onnx")
    for name in ("hidden", "hidden_bias", "output", "output_bias"):
        assert np.array_equal(getattr(again, name), getattr(network, name))


def test_npz_with_layers_and_with_an_output_bias(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", W1=U.T, b1=B, W2=V, b2=B2)
    np.savez(tmp_path / "b.npz", U=U, b=B, V=V, output_bias=B2)
    np.savez(tmp_path / "c.npz", W1=U.T, W2=V)
    assert np.allclose(read_relu_network(tmp_path / "a.npz")(X), TRUTH + B2)
    assert np.allclose(read_relu_network(tmp_path / "b.npz")(X), TRUTH + B2)
    assert np.allclose(read_relu_network(tmp_path / "c.npz")(X), np.maximum(X @ U, 0) @ V.T)
    np.savez(tmp_path / "d.npz", W1=U.T, W2=V, b2=np.array([np.nan, 0.0]))
    with pytest.raises(InputError, match="not a finite number"):
        read_relu_network(tmp_path / "d.npz")


def test_offset_scale_and_the_order_of_classes_are_folded(tmp_path: Path) -> None:
    offset, scale = np.arange(D) - 1.0, np.arange(D) + 0.5
    network = TwoLayerNetwork(ReluNetwork(U.T, B, V, B2), offset, scale, classes=("b", "a"))
    network.save(tmp_path / "net.npz")
    read = read_relu_network(tmp_path / "net.npz", classes=("a", "b"))
    assert np.allclose(read(X), network.predict(X)[:, ::-1], atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_outputs_of_scikit_learn_are_those_before_the_last_function() -> None:
    from scipy.special import expit, softmax
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    rng = np.random.default_rng(1)
    data = rng.standard_normal((30, 3))
    settings = {"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0, "solver": "lbfgs"}

    names = np.array(["pear", "apple", "fig"])[np.arange(30) % 3]
    several = MLPClassifier(**settings).fit(data, names)
    outputs = network_from_sklearn(several)(data)
    assert np.allclose(softmax(outputs, axis=1), several.predict_proba(data))
    assert np.array_equal(several.classes_[outputs.argmax(axis=1)], several.predict(data))

    binary = MLPClassifier(**settings).fit(data, names == "fig")
    outputs = network_from_sklearn(binary)(data)
    assert outputs.shape == (30, 2)
    assert np.allclose(expit(outputs[:, 1] - outputs[:, 0]), binary.predict_proba(data)[:, 1])

    labels = np.column_stack([data[:, 0] > 0, data[:, 1] > 0, data[:, 2] > 0]).astype(int)
    at_once = MLPClassifier(**settings).fit(data, labels)
    assert np.array_equal(network_from_sklearn(at_once)(data) > 0, at_once.predict(data))

    number = MLPRegressor(**settings).fit(data, data[:, 0])
    assert np.allclose(network_from_sklearn(number)(data)[:, 0], number.predict(data))
    number.coefs_[0][0, 0] = np.inf
    with pytest.raises(InputError, match="not a finite number"):
        network_from_sklearn(number)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scikit_learn_estimators_predict_the_same() -> None:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    rng = np.random.default_rng(0)
    data, labels = rng.standard_normal((40, 3)), np.arange(40) % 3
    for classes in (labels, labels % 2):
        model = MLPClassifier(hidden_layer_sizes=(6,), max_iter=5, random_state=0, solver="lbfgs").fit(data, classes)
        assert np.array_equal(network_from_sklearn(model)(data).argmax(axis=1), model.predict(data))
    regressor = MLPRegressor(hidden_layer_sizes=(6,), max_iter=5, random_state=0, solver="lbfgs").fit(data, data[:, :2])
    assert np.allclose(network_from_sklearn(regressor)(data), regressor.predict(data))
    for wrong, words in (
        (MLPRegressor(hidden_layer_sizes=(6, 6), max_iter=2, solver="lbfgs").fit(data, data), "2 hidden layers"),
        (MLPRegressor(hidden_layer_sizes=(), max_iter=2, solver="lbfgs").fit(data, data), "0 hidden layers"),
        (MLPRegressor(hidden_layer_sizes=(6,), max_iter=2, solver="lbfgs", activation="tanh").fit(data, data), "tanh"),
        (MLPClassifier(max_iter=2, solver="lbfgs", activation="logistic").fit(data, labels), "logistic"),
        (MLPClassifier(max_iter=2, solver="lbfgs", activation="identity").fit(data, labels), "identity"),
        (object(), "no fitted MLP"),
        (MLPRegressor(), "call fit"),
    ):
        with pytest.raises(InputError, match=words):
            network_from_sklearn(wrong)
