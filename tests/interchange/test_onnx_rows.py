"""Networks of tensors with several rows, as VNN-LIB 2.0 declares them: what is read is what onnxruntime computes."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from certnet.io.onnx_graph import read_onnx
from formulations import InputError
from tests.interchange.test_onnx_differential import numbers, outputs
from tests.interchange.test_onnx_exports import Export


def require_the_same(graph: Export, folder: Path, *, points: int = 3) -> None:
    shape = tuple(int(length) for length in graph.shape or ())
    network = read_onnx(graph.write(folder), shapes={"x": shape})
    random = np.random.default_rng(1)
    for _ in range(points):
        x = numbers(random, *shape)
        found = network.predict(x.reshape(1, -1).astype(np.float64))[0]
        np.testing.assert_allclose(found, outputs(graph, x).reshape(-1), rtol=1e-4, atol=1e-5)


def products(rows: int, inner: int, outer: int) -> Iterator[Export]:
    """Gemm with x on either side, turned or not, and with each shape that its sum may have, in turn."""
    random, count = np.random.default_rng(rows), itertools.count()
    for left, turn, turn_constant in itertools.product((0, 1), repeat=3):
        fitting, free = (inner, rows) if left != turn else (rows, inner)
        matrix = numbers(random, *((fitting, outer) if left != turn_constant else (outer, fitting)))
        shape = (free, outer) if left else (outer, free)
        turns = {"transA": turn, "transB": turn_constant} if left else {"transA": turn_constant, "transB": turn}
        for alpha, beta in ((0.5, 2.0), (-2.0, 1.0)):
            sums = [None, shape, (shape[0], 1), (1, shape[1]), shape[1:], (1,), ()][next(count) % 7]
            constants = [] if sums is None else [np.asarray(numbers(random, *sums))]
            graph = Export(13, (rows, inner))
            graph.then("Gemm", matrix, *constants, signal_first=bool(left), alpha=alpha, beta=beta, **turns)
            graph.then("Relu")
            yield graph


@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 3, 3), (2, 3, 4), (3, 2, 1), (2, 1, 2)])
def test_a_gemm_of_several_rows_is_applied_once(sizes: tuple[int, int, int], tmp_path: Path) -> None:
    for graph in products(*sizes):
        require_the_same(graph, tmp_path)


def test_a_gemm_may_add_each_shape_that_fits_and_no_other(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for shape in ((2, 4), (2, 1), (1, 4), (1, 1), (4,), (1,), ()):
        graph = Export(13, (2, 3))
        graph.then("Gemm", numbers(random, 3, 4), np.asarray(numbers(random, *shape)), beta=0.7).then("Relu")
        require_the_same(graph, tmp_path)
    for rows, shape in ((1, (5, 4)), (2, (1, 2, 4))):
        graph = Export(13, (rows, 3))
        graph.then("Gemm", numbers(random, 3, 4), numbers(random, *shape)).then("Relu")
        with pytest.raises(InputError, match="adds a constant of shape"):
            read_onnx(graph.write(tmp_path), shapes={"x": (rows, 3)})


@pytest.mark.parametrize("shape", [(3,), (2, 3), (3, 3), (3, 2), (2, 3, 2), (2, 2, 2), (1, 3, 2)])
def test_a_product_with_a_matrix_from_either_side(shape: tuple[int, ...], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for outer, left in itertools.product((1, 2, 3), (True, False)):
        length = shape[-1] if left else shape[-2:][0]
        graph = Export(13, shape)
        graph.then("MatMul", numbers(random, *((length, outer) if left else (outer, length))), signal_first=left)
        require_the_same(graph.then("Relu"), tmp_path)


def test_a_matrix_for_all_rows_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certnet.io.onnx_nodes.LARGEST_MATRIX", 71)
    graph = Export(13, (3, 2))
    graph.then("Gemm", np.ones((2, 4), dtype=np.float32)).then("Relu")
    with pytest.raises(InputError, match="6 × 12 numbers"):
        read_onnx(graph.write(tmp_path), shapes={"x": (3, 2)})
    # Of a single row it is the layer's own.
    monkeypatch.setattr("certnet.io.onnx_nodes.LARGEST_MATRIX", 1)
    graph = Export(13, (1, 2))
    require_the_same(graph.then("Gemm", np.ones((2, 4), dtype=np.float32)).then("Relu"), tmp_path)


OTHERS = {
    "Conv": ((2, 2, 3, 3), lambda g, r: g.then("Conv", numbers(r, 2, 2, 2, 2), numbers(r, 2))),
    "ConvTranspose": ((2, 2, 2, 2), lambda g, r: g.then("ConvTranspose", numbers(r, 2, 3, 2, 2), numbers(r, 3))),
    "AveragePool": ((2, 1, 3, 3), lambda g, _: g.then("AveragePool", kernel_shape=[2, 2])),
    "BatchNormalization": (
        (2, 3),
        lambda g, r: g.then("BatchNormalization", *np.abs(numbers(r, 4, 3)), epsilon=0.01),
    ),
    "Pad": ((2, 3), lambda g, _: g.then("Pad", np.array([1, 0, 0, 2]))),
    "PRelu": ((2, 3), lambda g, r: g.then("PRelu", numbers(r, 2, 1))),
    "ReduceMean over rows": ((2, 3), lambda g, _: g.then("ReduceMean", axes=[0])),
    "ReduceSum within rows": ((2, 3), lambda g, _: g.then("ReduceSum", np.array([1]), keepdims=0)),
    "Concat": ((2, 3), lambda g, r: g.then("Concat", numbers(r, 2, 2), axis=1, signal_first=False)),
    "Transpose": ((2, 3), lambda g, _: g.then("Transpose")),
    "Flatten": ((2, 3), lambda g, _: g.then("Flatten", axis=0)),
    "Tile": ((2, 3), lambda g, _: g.then("Tile", np.array([2, 1]))),
    "Gather": ((2, 3), lambda g, _: g.then("Gather", np.array([1, 0, 1]), axis=0)),
}
"""Operators that use several constants, or mix rows."""


@pytest.mark.parametrize("kind", OTHERS)
def test_other_operators_of_several_rows(kind: str, tmp_path: Path) -> None:
    shape, build = OTHERS[kind]
    graph = Export(13, shape)
    build(graph, np.random.default_rng(0))
    require_the_same(graph if kind == "PRelu" else graph.then("Relu"), tmp_path)
