"""Random float32 graphs of operators and attributes that are read: what is read is what onnxruntime computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certnet.io import read_network
from certnet.io.endings import after_ending
from formulations import InputError
from tests.interchange.test_onnx_exports import Export

Random = np.random.Generator
Step = Callable[[Random, Export, tuple[int, ...]], object]


def numbers(random: Random, *shape: int) -> np.ndarray:
    return random.normal(size=shape).astype(np.float32)


def axis_of(random: Random, shape: tuple[int, ...]) -> int:
    return int(random.integers(1, len(shape))) - int(random.integers(2)) * len(shape)


def _constant(kind: str) -> Step:
    def step(random: Random, graph: Export, shape: tuple[int, ...]) -> None:
        part = [length if random.random() < 0.6 else 1 for length in shape[int(random.integers(len(shape))) :]]
        graph.then(kind, 0.5 + np.abs(numbers(random, *part)), signal_first=kind == "Div" or random.random() < 0.6)

    return step


def _gemm(random: Random, graph: Export, shape: tuple[int, ...]) -> None:
    outer, (turned, left) = int(random.integers(1, 5)), random.integers(2, size=2).tolist()
    weights = numbers(random, shape[-1], outer)
    about: dict[str, Any] = {"alpha": float(random.choice([1.0, -1.5, 0.3]))}
    if left:  # (x Wᵀ)ᵀ = W xᵀ
        graph.then("Gemm", weights if turned else weights.T, numbers(random, outer, 1), signal_first=False,
                   transA=turned, transB=1, **about)  # fmt: skip
        graph.then("Transpose")
    else:
        graph.then("Gemm", weights.T if turned else weights, numbers(random, outer), transB=turned, beta=0.7, **about)


def _slice(random: Random, graph: Export, shape: tuple[int, ...]) -> None:
    axis, step = axis_of(random, shape), int(random.choice([1, 2, -1, -2]))
    ends = (-2, 2**31 - 1) if step > 0 else (-1, -(2**31) + 1)
    graph.then("Slice", *(np.array([value]) for value in (*ends, axis, step)))


def _gather(random: Random, graph: Export, shape: tuple[int, ...]) -> None:
    axis = axis_of(random, shape)
    graph.then("Gather", random.integers(-shape[axis], shape[axis], size=(2,)), axis=axis)


def _convolved(kind: str) -> Step:
    def step(random: Random, graph: Export, shape: tuple[int, ...]) -> None:
        kernel, groups = [int(n) for n in random.integers(1, 3, size=2)], shape[1] if random.random() < 0.4 else 1
        about = {"strides": random.integers(1, 3, size=2).tolist(), "pads": random.integers(2, size=4).tolist()}
        inner = (shape[1], 2) if kind == "ConvTranspose" else (2 * groups, shape[1] // groups)
        biases = numbers(random, 2 * groups)
        graph.then(kind, numbers(random, *inner, *kernel), biases, group=groups, **about)

    return step


def _pooled(random: Random, graph: Export, shape: tuple[int, ...]) -> None:
    about = {"strides": [1, 2], "pads": [0, 1, 1, 0]} if random.random() < 0.5 else {"ceil_mode": 1, "strides": [2, 2]}
    graph.then("AveragePool", kernel_shape=[2, 2], count_include_pad=int(random.integers(2)), **about)


def _normalised(random: Random, graph: Export, shape: tuple[int, ...]) -> None:
    weight, bias, mean, variance = numbers(random, 4, shape[1])
    graph.then("BatchNormalization", weight, bias, mean, np.abs(variance) + np.float32(0.1), epsilon=0.01)


def _reshaped(random: Random, graph: Export, shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    first = int(random.choice([n for n in range(1, size + 1) if size % n == 0]))
    graph.then("Reshape", np.array([[0, first, -1], [1, -1, size // first], [1, size]][int(random.integers(3))]))


MATRIX: list[Step] = [_gemm, lambda r, g, s: g.then("MatMul", numbers(r, s[-1], 3))]
IMAGES: list[Step] = [
    *(_convolved("Conv"), _convolved("ConvTranspose"), _pooled),
    lambda r, g, s: g.then("GlobalAveragePool"),
    lambda r, g, s: g.then("Pad", np.array([0, 0, 1, 0, 0, 1, 0, 1]), mode=str(r.choice(["constant", "edge"]))),
]
ALL: list[Step] = [
    *map(_constant, ("Add", "Sub", "Mul", "Div", "Sum")),
    *(_slice, _gather, _reshaped, _normalised),
    lambda r, g, s: g.then("Flatten", axis=int(r.integers(-len(s), 2))),
    lambda r, g, s: g.then("Transpose", perm=[0, *(1 + r.permutation(len(s) - 1)).tolist()]),
    lambda r, g, s: g.then("Unsqueeze", np.array([int(r.integers(1, len(s) + 1))])),
    lambda r, g, s: g.then("Tile", np.array([1, *r.integers(1, 3, size=len(s) - 1).tolist()])),
    lambda r, g, s: g.then("ReduceMean", axes=[axis_of(r, s)], keepdims=int(r.integers(2))),
    lambda r, g, s: g.then("ReduceSum", np.array([axis_of(r, s)]), keepdims=int(r.integers(2))),
]
BENT: list[Step] = [
    lambda r, g, s: g.then("Relu"),
    lambda r, g, s: g.then("LeakyRelu", alpha=float(r.choice([0.2, -0.5, 2.0]))),
    lambda r, g, s: g.then("PRelu", numbers(r, s[-1])),
    lambda r, g, s: g.bound("Clip", *sorted(r.normal(size=2).tolist())),
    lambda r, g, s: g.then("HardSigmoid", alpha=-0.5),
    _constant("Max"),
    _constant("Min"),
]
ENDS = [None, None, "Softmax", "LogSoftmax", "Sigmoid", "Tanh", "ArgMax"]


def outputs(graph: Export, x: np.ndarray) -> np.ndarray:
    """Those of onnxruntime, with their shape."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = runtime.InferenceSession(graph.model().SerializeToString(), options)
    return np.asarray(session.run(None, {"x": x})[0])


def stepped(random: Random, graph: Export, steps: list[Step], x: np.ndarray) -> None:
    """One of the steps, if onnxruntime evaluates it."""
    kept = graph.nodes[:], graph.constants[:], graph.at
    try:
        steps[int(random.integers(len(steps)))](random, graph, outputs(graph, x).shape if graph.nodes else x.shape)
        done = 0 < outputs(graph, x).size <= 100
    except Exception:  # noqa: BLE001  # Whatever the runtime or NumPy says of what does not fit.
        done = False
    if not done:
        graph.nodes, graph.constants, graph.at = kept


def built(seed: int, x: np.ndarray, random: Random) -> Export:
    graph = Export(int(random.integers(13, 18)), x.shape)
    for _ in range(int(random.integers(1, 4))):
        stepped(random, graph, ALL + MATRIX + (IMAGES * 2 if x.ndim > 2 else []), x)
    stepped(random, graph, BENT, x)
    for _ in range(int(random.integers(1, 3))):
        stepped(random, graph, ALL + MATRIX, x)
    ending = ENDS[seed % len(ENDS)]
    if ending is not None and graph.nodes:
        about: dict[str, Any] = {"axis": 1} if ending == "ArgMax" else {}
        graph.then(ending, **about)
        if ending == "ArgMax":
            graph.then("Cast", to=1)
    return graph


def test_random_graphs_are_what_onnxruntime_computes(tmp_path: Path) -> None:
    read = 0
    for seed in range(50):
        random = np.random.default_rng(seed)
        x = numbers(random, *[(1, 4), (1, 2, 3), (1, 2, 3, 3)][seed % 3])
        graph = built(seed, x, random)
        try:
            network = read_network(graph.write(tmp_path))
        except InputError:
            continue
        read += 1
        for point in (x, 2.0 * numbers(random, *x.shape)):
            scores: Any = network.predict(point.reshape(1, -1).astype(np.float64))[0]
            expected = outputs(graph, point.astype(np.float32)).reshape(-1)
            found = after_ending(network.network.ending, scores)
            np.testing.assert_allclose(
                found, expected, rtol=1e-3, atol=1e-4 * (1.0 + np.abs(scores).max()), err_msg=str(seed)
            )
    assert read >= 25


def _shape_added(graph: Export) -> None:
    make = graph.onnx.helper.make_node
    graph.nodes += [
        make("Shape", ["x"], ["lengths"], end=-6),
        make("ReduceSum", ["lengths"], ["sum"], keepdims=0),
        make("Cast", ["sum"], ["number"], to=1),
        make("Add", ["x", "number"], ["moved"]),
    ]
    graph.at = "moved"


def _pool(**about: Any) -> Callable[[Export], object]:
    return lambda graph: graph.then("AveragePool", **about)


ROUNDED_UP: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [3, 3], "ceil_mode": 1}
GAPS: dict[str, Any] = {"kernel_shape": [2, 2], "dilations": [2, 1]}
OPEN, OTHER_SIZES = "export it with pads", "computes otherwise"
OTHERWISE: dict[str, tuple[Callable[[Export], object], str]] = {
    # The reference shifts the windows before the one that lies beyond the end.
    "a pool rounded up": (_pool(kernel_shape=[3, 2], strides=[3, 1], ceil_mode=1), OPEN),
    "a pool rounded up without pads": (_pool(kernel_shape=[3, 2], strides=[3, 1], pads=[0] * 4, ceil_mode=1), OPEN),
    "a padded pool rounded up": (_pool(**ROUNDED_UP, count_include_pad=1), OPEN),
    "a pool rounded up by far": (_pool(**ROUNDED_UP, pads=[1] * 4, count_include_pad=1), OPEN),
    # It counts windows without their gaps.
    "a pool with gaps": (_pool(**GAPS, auto_pad="VALID"), OPEN),
    # Nor does it clamp ends of ranges.
    "a shape that ends before it begins": (_shape_added, OTHER_SIZES),
}
ALIKE = {
    "rounded up by one": _pool(kernel_shape=[3, 2], strides=[2, 1], pads=[0] * 4, ceil_mode=1),
    "rounded up into its padding": _pool(**ROUNDED_UP, pads=[0, 0, 1, 0], count_include_pad=1),
    "the same without its padding": _pool(**ROUNDED_UP, pads=[0, 0, 1, 0]),
    "gaps and pads of zero": _pool(**GAPS, pads=[0] * 4),
    "gaps and padding": _pool(**GAPS, pads=[1, 0, 1, 0], count_include_pad=1),
}


def _written(add: Callable[[Export], object], folder: Path) -> tuple[Export, Path]:
    graph = Export(19, (1, 1, 4, 2))
    add(graph)
    graph.then("Flatten").then("Relu")
    return graph, graph.write(folder)


@pytest.mark.parametrize("case", OTHERWISE)
def test_where_the_reference_errs_nothing_is_read(case: str, tmp_path: Path) -> None:
    add, words = OTHERWISE[case]
    _, path = _written(add, tmp_path)
    with pytest.raises(InputError, match=words):
        read_network(path)


@pytest.mark.parametrize("case", ALIKE)
def test_pools_that_are_read_are_what_onnxruntime_computes(case: str, tmp_path: Path) -> None:
    graph, path = _written(ALIKE[case], tmp_path)
    x = numbers(np.random.default_rng(0), 1, 1, 4, 2)
    found: Any = read_network(path).predict(x.reshape(1, -1).astype(np.float64))[0]
    np.testing.assert_allclose(found, outputs(graph, x).reshape(-1), rtol=1e-4, atol=1e-5)
