"""ONNX graphs that are large, wrong or of other kinds: refused in one sentence, with advice, before memory is taken."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certnet.io import onnx_graph, onnx_reference, onnx_signals, read_network
from formulations import InputError
from tests.interchange.test_onnx import B, D, Graph, U, V

M, C = 5, 2


def end(graph: Graph) -> Graph:
    return graph.then("Gemm", U, B).then("Relu").then("Gemm", V.T)


def computed(kind: str, *values: Any, uses: str = "Add", **attributes: Any) -> Graph:
    """A network with a constant that a node makes of others."""
    graph = Graph()
    names = [graph.constant(value) for value in values]
    graph.nodes.append(graph.onnx.helper.make_node(kind, names, ["made"], **attributes))
    graph.nodes.append(graph.onnx.helper.make_node(uses, ["x", "made"], ["start"]))
    graph.at = "start"
    return end(graph)


HUGE = np.array([2**40, 2**20])
LARGE = {
    "Expand": lambda: computed("Expand", np.ones((1, 1)), HUGE),
    "Tile": lambda: computed("Tile", np.ones((1, 1)), HUGE),
    "ConstantOfShape": lambda: computed("ConstantOfShape", HUGE),
    "Range": lambda: computed("Range", np.array(0), np.array(2**60), np.array(1)),
    "Add": lambda: computed("Add", np.ones((2**7, 1)), np.ones((1, 2**7))),
    "Pad": lambda: Graph().then("Pad", np.array([0, 0, 0, 2**45])).then("Gemm", U, B),
    "Expand of values": lambda: Graph().then("Expand", np.array([1, 2**40, D])),
    "Concat again and again": lambda: _doubled(Graph()),
}


def _doubled(graph: Graph) -> Graph:
    for count in range(60):
        graph.nodes.append(graph.onnx.helper.make_node("Concat", [graph.at, graph.at], [f"twice{count}"], axis=1))
        graph.at = f"twice{count}"
    return graph


@pytest.mark.parametrize("kind", LARGE)
def test_large_results_are_refused_before_they_are_made(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_signals, "LARGEST_SIGNAL", 2**12)
    monkeypatch.setattr(onnx_reference, "LARGEST_RESULT", 2**12)
    with pytest.raises(InputError, match="more than|certnet reads from 1 to") as caught:
        LARGE[kind]().read(tmp_path)
    assert kind.split()[0] in str(caught.value)


def test_all_numbers_together_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph((1, 8, 8))
    for _ in range(9):
        graph = graph.then("Tile", np.array([1, 1, 1]))
    monkeypatch.setattr(onnx_graph, "LARGEST_TOTAL", 500)
    with pytest.raises(InputError, match="makes more than 500 numbers"):
        graph.read(tmp_path)


def _two_names(model: Any) -> None:
    model.graph.node[1].output[0] = model.graph.node[0].output[0]


def _constant_and_value(model: Any) -> None:
    model.graph.node[1].output[0] = model.graph.initializer[0].name


def _constants_alike(model: Any) -> None:
    model.graph.initializer[1].name = model.graph.initializer[0].name


def _cycle(model: Any) -> None:
    model.graph.node[0].input[0] = model.graph.node[2].output[0]


def _old(model: Any) -> None:
    model.opset_import[0].version = 6


def _new(model: Any) -> None:
    model.opset_import[0].version = 1000


def _two_versions(model: Any) -> None:
    model.opset_import.add(domain="ai.onnx", version=9)


def _no_version(model: Any) -> None:
    del model.opset_import[:]


def _attribute(model: Any) -> None:
    model.graph.node[1].attribute.add(name="broadcast", i=1, type=2)


def _type_of_attribute(model: Any) -> None:
    model.graph.node[2].attribute.add(name="alpha", i=2, type=2)


def _from_constants(model: Any) -> None:
    del model.graph.output[:]
    model.graph.output.add(name=model.graph.initializer[0].name)


def _attribute_twice(model: Any) -> None:
    for _ in range(2):
        model.graph.node[2].attribute.add(name="alpha", f=1.0, type=1)


def _attribute_of_elsewhere(model: Any) -> None:
    model.graph.node[2].attribute.add(name="alpha", type=1, ref_attr_name="a")


def _attribute_missing(model: Any) -> None:
    model.graph.node[1].op_type = "Cast"


def _own_function(model: Any) -> None:
    model.functions.add(name="Relu")


def _whole_numbers(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 7


WRONG: dict[str, tuple[Callable[[Any], None], str]] = {
    "two nodes of one name": (_two_names, "one name"),
    "a constant named like a value": (_constant_and_value, "one name"),
    "two constants of one name": (_constants_alike, "one name"),
    "a cycle": (_cycle, "nothing computes before"),
    "an opset without NumPy's broadcasting": (_old, "version_converter"),
    "an opset to come": (_new, "version_converter"),
    "two versions": (_two_versions, "two versions"),
    "no version": (_no_version, "opset 0"),
    "an attribute of other opsets": (_attribute, "attribute 'broadcast' that it must not have"),
    "an attribute of another type": (_type_of_attribute, "attribute 'alpha' that it must not have"),
    "an attribute that stands twice": (_attribute_twice, "attribute 'alpha' that it must not have"),
    "an attribute of a function around it": (_attribute_of_elsewhere, "attribute 'alpha' that it must not have"),
    "an attribute that is missing": (_attribute_missing, "lacks the attribute 'to'"),
    "another meaning of Relu": (_own_function, "'value1', Relu, is a function of the file's own"),
    "whole numbers": (_whole_numbers, "takes whole numbers"),
    "an output without the input": (_from_constants, "does not depend on the input"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_graphs_are_refused(case: str, tmp_path: Path) -> None:
    spoil, words = WRONG[case]
    model = end(Graph()).model()
    spoil(model)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=words):
        read_network(tmp_path / "net.onnx")


ADVICE: dict[str, tuple[Callable[[], Graph], str]] = {
    "curved": (lambda: Graph().then("Gemm", U, B).then("Softplus"), "'value1', Softplus, is curved"),
    "recurrent": (lambda: Graph((1, 1, D)).then("LSTM", np.ones((1, 4, D)), np.ones((1, 4, 1)), hidden_size=1), "LSTM"),
    "a maximum": (lambda: Graph((1, 1, 4)).then("MaxPool", kernel_shape=[2]), "replace it by an average"),
    "a norm": (lambda: Graph().then("LpNormalization"), "take a batch normalisation"),
    "a jump": (lambda: Graph().then("Gemm", U, B).then("Greater", np.array(0.0)), "jumps"),
    "whole numbers": (lambda: Graph().then("Cast", to=7), "leave it out"),
    "training": (
        lambda: Graph(("n", D)).then("BatchNormalization", *np.ones((4, D)), training_mode=1),
        "evaluation mode",
    ),
    "statistics of the batch": (
        lambda: _with_more_outputs(Graph(("n", D)).then("BatchNormalization", *np.ones((4, D)))),
        "evaluation mode",
    ),
    "a number off a probability": (lambda: end(Graph()).then("Sigmoid").then("Sub", np.array(0.5)), "followed by Sub"),
    "2 less a probability": (
        lambda: end(Graph()).then("Sigmoid").then("Sub", np.array(2.0), signal_first=False),
        "followed by Sub",
    ),
    "the shape of a label": (lambda: end(Graph()).then("ArgMax", axis=1).then("Shape"), "followed by Shape"),
    "padding as one likes": (
        lambda: Graph((1, 1, D)).then("ConvTranspose", np.ones((1, 1, 2)), strides=[2], auto_pad="SAME_UPPER"),
        "leaves the padding",
    ),
    "a layer before": (lambda: end(end(Graph()).then("Relu").then("MatMul", np.ones((C, D)))), "another layer"),
    "a function within": (lambda: end(Graph().then("Sigmoid")), "is followed by Gemm"),
    "Softmax of parts": (
        lambda: end(Graph()).then("Reshape", np.array([1, 1, C])).then("Softmax", axis=1),
        "all outputs together",
    ),
    "a shape that is computed": (
        lambda: _two_signals(Graph(), "Reshape"),
        "fixed shapes",
    ),
    "a product of values": (lambda: _two_signals(Graph(), "MatMul"), "multiplies or divides computed values"),
    "a part of what Softmax makes": (
        lambda: end(Graph()).then("Softmax").then("Slice", np.array([0]), np.array([1]), np.array([1])),
        "a choice of its outputs",
    ),
    "Softmax twice": (
        lambda: _beside(end(Graph()).then("Softmax")),
        "beside other values after their last function",
    ),
    "a label as a number": (
        lambda: end(Graph()).then("ArgMax", axis=1).then("Gather", np.array([0]), axis=1),
        "is followed by Gather",
    ),
    "labels alone": (lambda: _named(end(Graph()).then("ArgMax", axis=1)), "leaves labels alone"),
    "channels that do not fit": (
        lambda: Graph().then("BatchNormalization", *np.ones((4, D + 1))),
        "for each channel",
    ),
    "each probability over itself": (
        lambda: _column_normalised(end(Graph()).then("Softmax").then("Transpose", perm=[1, 0])),
        "is a step before the network",
    ),
    "another operator": (lambda: Graph().then("Sinh"), "affine nodes, one layer of"),
}


def _with_more_outputs(graph: Graph) -> Graph:
    graph.nodes[-1].output.append("mean")
    return graph


def _beside(graph: Graph) -> Graph:
    graph.nodes.append(graph.onnx.helper.make_node("Concat", [graph.at, graph.at], ["y"], axis=1))
    graph.at = "y"
    return graph


def _named(graph: Graph) -> Graph:
    """The names of classes at the position that was found."""
    return _learned(graph, "ArrayFeatureExtractor", graph.constant(np.array([10, 20])), graph.at)


def _learned(graph: Graph, kind: str, *inputs: str, **attributes: Any) -> Graph:
    """A node of the domain for learned models, whose version the graph needs."""
    graph.nodes.append(graph.onnx.helper.make_node(kind, [*inputs], ["y"], domain="ai.onnx.ml", **attributes))
    graph.at = "y"
    plain = graph.model

    def model() -> Any:
        made = plain()
        made.opset_import.add(domain="ai.onnx.ml", version=1)
        return made

    graph.model = model  # type: ignore[method-assign]
    return graph


def _column_normalised(graph: Graph) -> Graph:
    return _learned(graph, "Normalizer", graph.at, norm="L1")


def _two_signals(graph: Graph, kind: str) -> Graph:
    graph.nodes.append(graph.onnx.helper.make_node(kind, ["x", "x"], ["y"]))
    graph.at = "y"
    return graph


@pytest.mark.parametrize("case", ADVICE)
def test_advice_fits_what_is_not_read(case: str, tmp_path: Path) -> None:
    build, words = ADVICE[case]
    with pytest.raises(InputError) as caught:
        build().read(tmp_path)
    text = str(caught.value)
    assert words in text
    assert text.count("node '") == 1
    assert "\n" not in text
    assert text.endswith(".")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_labels_name_scores_in_their_order_alone(order: tuple[int, int], tmp_path: Path) -> None:
    graph = Graph(("n", 2)).then("Gemm", np.array([[1.0, -1.0], [0.0, 1.0]])).then("Relu").then("MatMul", np.eye(2))
    make, scores = graph.onnx.helper, graph.at
    graph.nodes.append(make.make_node("ArgMax", [scores], ["place"], axis=1, keepdims=0))
    graph.then("Gather", np.array(order), axis=1)
    permuted = graph.at
    _learned(graph, "ArrayFeatureExtractor", graph.constant(np.array(["cat", "dog"])), "place")
    model = graph.model()
    model.graph.output.add(name=permuted)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    if order == (0, 1):
        assert read_network(tmp_path / "net.onnx").classes == ("cat", "dog")
    else:
        with pytest.raises(InputError, match="labels of other values than its scores"):
            read_network(tmp_path / "net.onnx")


def test_a_graph_without_outputs_is_refused(tmp_path: Path) -> None:
    model = Graph().then("Gemm", U).then("Relu").model()
    del model.graph.output[:]
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="has 0 outputs"):
        read_network(tmp_path / "net.onnx")
