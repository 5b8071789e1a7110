"""Two-layer networks as ONNX graphs: reading, by following the nodes from the input to the output.

Needs the ``onnx`` package, which only decodes the file: nothing in it is executed, and no other file is opened.

What a node computes of the input is a ``Signal``: the numbers of a vector's entries, laid out as the tensor has them
for one data point. So Reshape, Transpose and Flatten do to these numbers what they would do to the values.
"""

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from certnet.io.chain import Chain
from certnet.io.folding import exact_product, powers_of_two
from certnet.io.network import LARGEST_FILE, TwoLayerNetwork
from certnet.io.packed import Array, read_bytes
from formulations import InputError
from formulations._validation import FloatArray, IntArray
from formulations.rounding import as_double

LARGEST_INPUT = 2**24
"""Most features of an input."""
_EXTERNAL = 1
_CONSTANTS = {"value": "t", "value_float": "f", "value_floats": "floats", "value_int": "i", "value_ints": "ints"}
_FIELDS = {**_CONSTANTS, "alpha": "f", "beta": "f", "perm": "ints"}
"""Where an attribute has its value; others are whole numbers, in ``i``."""


@dataclass(frozen=True, eq=False)
class Signal:
    """A tensor that depends on the input: at each place, the number of an entry of ``chain``; one data point alone."""

    chain: Chain
    places: IntArray


Operand = Array | Signal
Attributes = dict[str, Any]


def read_onnx(path: Path, *, output: str | None = None, shape: tuple[int, ...] | None = None) -> TwoLayerNetwork:
    """Read a graph of Gemm, MatMul, Add, Sub, Mul, Div, Relu, Flatten, Reshape, Transpose, Constant and Identity.

    Shifts and scales of the input become the network's offset and scale, as in ``Chain.network``.

    Args:
        path: the file.
        output: the value that is meant as output, by default the graph's one output.
        shape: that of the input, of which all entries are one data point's; by default the graph says it.
    """
    model = decoded(path)
    if output is not None:
        del model.graph.output[:]
        model.graph.output.add(name=output)
    onnx = importlib.import_module("onnx")
    return _Graph(path.name, model.graph, onnx.numpy_helper.to_array, shape).network()


def decoded(path: Path) -> Any:
    """The ModelProto of a file.

    Raises:
        InputError: it is no ONNX file, or the onnx package is missing.
    """
    try:
        onnx = importlib.import_module("onnx")
        decode_error = importlib.import_module("google.protobuf.message").DecodeError
    except ImportError:
        raise InputError(
            f"Reading {path.name} needs the onnx package; install it with pip install 'certnet[onnx]', or save the "
            "network as .safetensors."
        ) from None
    content = read_bytes(path, LARGEST_FILE)
    try:
        model = onnx.load_model_from_string(content)
    except (decode_error, ValueError, RecursionError):
        raise InputError(f"{path.name} is no ONNX file or was cut off; export the network again.") from None
    if not _names_are_text(model.graph):
        raise InputError(f"{path.name} holds names that are no text; export the network again.")
    if len(model.graph.node) == 0:
        raise InputError(f"{path.name} holds no graph; export the network again.")
    return model


def _names_are_text(graph: Any) -> bool:
    """Whether names are strings; the decoder hands bytes over where they are no UTF-8."""
    names = [value.name for part in (graph.initializer, graph.input, graph.output) for value in part]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [name for entry in node.attribute for name in (entry.name, entry.t.name)]
    return all(isinstance(name, str) for name in names)


class _Graph:
    """A GraphProto, how its tensors are decoded, its input's shape if that is known, and the file's name."""

    def __init__(
        self, source: str, graph: Any, to_array: Callable[[Any], Array], shape: tuple[int, ...] | None = None
    ) -> None:
        self.source, self.graph, self._to_array, self._shape = source, graph, to_array, shape

    def network(self) -> TwoLayerNetwork:
        """The network; errors as ``read_onnx``."""
        constants: dict[str, Operand] = {tensor.name: self._array(tensor) for tensor in self.graph.initializer}
        inputs = [value for value in self.graph.input if value.name not in constants]
        if len(inputs) != 1 or len(self.graph.output) != 1 or len(self.graph.sparse_initializer):
            raise InputError(
                f"{self.source} has {len(inputs)} inputs and {len(self.graph.output)} outputs; a two-layer network has "
                "one of each, and dense weights."
            )
        failures = []
        for shape in self._shapes(inputs[0]):
            size = math.prod(shape)
            known = {**constants, inputs[0].name: Signal(Chain(size=size), np.arange(size).reshape(shape))}
            try:
                for node in self.graph.node:
                    known[node.output[0]] = self._result(node, known)
                found = known.get(self.graph.output[0].name)
                signal = found if isinstance(found, Signal) else Signal(Chain(), np.arange(0))
                return signal.chain.network(self.source, signal.places.reshape(-1))
            except InputError as error:
                failures.append((len(known), error))
        raise max(failures, key=lambda failure: failure[0])[1] if failures else self._shapeless([])

    def _shapes(self, value: Any) -> Iterator[tuple[int, ...]]:
        """The input's shapes for one data point: of a matrix the rows or the columns may be such; weights decide.

        Lengths that are not fixed are among those of the constants.
        """
        dimensions = [int(entry.dim_value) for entry in value.type.tensor_type.shape.dim]
        if self._shape is not None:
            yield self._shape
            return
        if len(dimensions) > 2:
            if min(dimensions[1:]) <= 0 or math.prod(dimensions[1:]) > LARGEST_INPUT:
                raise self._shapeless(dimensions)
            yield (1, *dimensions[1:])
            return
        tensors = [*self.graph.initializer, *(entry.t for node in self.graph.node for entry in node.attribute)]
        constant = dict.fromkeys(length for tensor in tensors for length in tensor.dims if 0 < length <= LARGEST_INPUT)
        lengths = [[length] if 0 < length <= LARGEST_INPUT else list(constant) for length in dimensions or (0, 0)]
        if len(lengths) == 1:
            yield from ((length,) for length in lengths[0])
        else:
            yield from ((1, length) for length in lengths[1])
            yield from ((length, 1) for length in lengths[0])

    def _shapeless(self, dimensions: Sequence[int]) -> InputError:
        return InputError(f"{self.source} takes inputs of shape {tuple(dimensions)}; fix all but the first dimension.")

    def _array(self, tensor: Any) -> Array:
        if tensor.data_location == _EXTERNAL:
            raise InputError(f"{self.source} keeps its weights in another file; export it as a single file.")
        try:
            if any(length < 0 for length in tensor.dims):
                raise ValueError(tensor.dims)
            array = np.asarray(self._to_array(tensor))
        except (ValueError, TypeError, KeyError, OverflowError, MemoryError, NotImplementedError):
            raise InputError(
                f"{self.source}: the tensor {tensor.name!r} is damaged; export the network again."
            ) from None
        if array.dtype.kind not in "biuf":
            raise InputError(
                f"{self.source}: the tensor {tensor.name!r} has type {array.dtype}; export float32 weights."
            )
        return array

    def _result(self, node: Any, known: dict[str, Operand]) -> Operand:
        """What a node computes of the values that are known."""
        label = f"{self.source}: node {node.name or ', '.join(node.output)!r}, {node.op_type},"
        if node.op_type not in OPERATIONS or node.domain not in ("", "ai.onnx"):
            raise InputError(
                f"{label} is not supported; certnet reads {', '.join(OPERATIONS)}, so export the network up to its "
                "linear output layer."
            )
        names = list(node.input)
        while names and not names[-1]:
            names.pop()
        absent = next((name for name in names if not name or name not in known), None)
        if absent is not None:
            raise InputError(f"{label} uses {absent!r}, which nothing computes before; export the network again.")
        fewest, most, operation = OPERATIONS[node.op_type]
        if not fewest <= len(names) <= most:
            raise InputError(f"{label} has {len(names)} inputs where {fewest} are expected.")
        if len(node.output) != 1:
            raise InputError(f"{label} has {len(node.output)} outputs where one is expected; export the network again.")
        attributes = {entry.name: getattr(entry, _FIELDS.get(entry.name, "i")) for entry in node.attribute}
        if "value" in attributes:
            attributes["value"] = self._array(attributes["value"])
        try:
            with np.errstate(all="ignore"):
                # What overflows is found when the network is put together.
                return operation([known[name] for name in names], attributes)
        except InputError as error:
            raise InputError(f"{label} {error}.") from None


def _signal_and_constant(operands: Sequence[Operand]) -> tuple[Signal, FloatArray, bool]:
    """(signal, constant, whether the signal is on the left)."""
    left, right = operands[0], operands[1]
    if isinstance(left, Signal) and isinstance(right, Signal):
        raise InputError("combines two computed values; certnet reads plain chains of layers")
    for signal, constant in ((left, right), (right, left)):
        if isinstance(signal, Signal) and not isinstance(constant, Signal):
            numbers = as_double(constant)
            if numbers is None:
                raise InputError("has numbers that float64 cannot hold exactly; save it as float64")
            return signal, numbers, signal is left
    raise InputError("combines two constants; simplify the graph first, for example with onnxsim")


Combination = Callable[[FloatArray, bool], tuple[FloatArray | float, FloatArray | float, bool]]
"""The arguments of ``Chain.affine``, of a constant and whether the signal is on the left of it."""


def _elementwise(combined: Combination, operands: Sequence[Operand], _: Attributes) -> Operand:
    signal, constant, on_left = _signal_and_constant(operands)
    refused = InputError(f"has a constant of shape {constant.shape}, which does not go with the data point's entries")
    try:
        shape = np.broadcast_shapes(signal.places.shape, constant.shape)
    except ValueError:
        raise refused from None
    if math.prod(shape) != signal.places.size:
        raise refused
    places, values = signal.places.reshape(shape), constant.reshape(-1)[0]
    if constant.size > 1:
        values = np.empty(places.size)
        values[places] = np.broadcast_to(constant, shape)
    return Signal(signal.chain.affine(*combined(values, on_left)), places)


def _quotient(values: FloatArray, on_left: bool) -> tuple[FloatArray, float, bool]:
    if not on_left:
        raise InputError("divides by a computed value, which no ReLU network does")
    return 1.0 / values, 0.0, powers_of_two(values)


def _matmul(operands: Sequence[Operand], _: Attributes) -> Operand:
    signal, matrix, on_left = _signal_and_constant(operands)
    if matrix.ndim != 2:
        raise InputError(f"has a constant with {matrix.ndim} dimensions where a matrix is expected")
    weights, places = matrix if on_left else matrix.T, signal.places
    axis = -1 if on_left or places.ndim < 2 else -2
    if places.ndim == 0 or not (places.shape[axis] == places.size == len(weights)):
        raise InputError(
            f"multiplies data points of shape {places.shape} with a matrix of shape {matrix.shape}, which does not fit"
        )
    rows, shape = np.empty_like(weights), list(places.shape)
    rows[places.reshape(-1)] = weights
    shape[axis] = weights.shape[1]
    return Signal(signal.chain.times(rows), np.arange(weights.shape[1]).reshape(shape))


def _gemm(operands: Sequence[Operand], attributes: Attributes) -> Operand:
    turned = [attributes.get(name, 0) for name in ("transA", "transB")]
    factors = [_moved(_transpose, [a], {}) if turn else a for a, turn in zip(operands, turned, strict=False)]
    signal = _matmul(factors, {})
    assert isinstance(signal, Signal)
    signal = replace(signal, chain=signal.chain.affine(attributes.get("alpha", 1.0), 0.0))
    beta: FloatArray = np.array(attributes.get("beta", 1.0))
    if len(operands) < 3:
        return signal
    return _elementwise(lambda c, _: (1.0, beta * c, exact_product(beta, c)), [signal, operands[2]], {})


def _moved(move: Callable[..., Array], operands: Sequence[Operand], attributes: Attributes) -> Operand:
    """The same for a constant and for a signal, whose first axis counts data points and has to stay."""
    operand = operands[0]
    if isinstance(operand, Signal):
        return replace(operand, places=move(operand.places, attributes, *operands[1:], is_signal=True))
    return move(operand, attributes, *operands[1:], is_signal=False)


def _transpose(array: Array, attributes: Attributes, *, is_signal: bool) -> Array:
    order = list(attributes.get("perm", range(array.ndim)[::-1]))
    if sorted(order) != list(range(array.ndim)) or (is_signal and array.ndim > 2 and order[0] != 0):
        raise InputError(f"puts the axes into the order {order}; the first one counts data points and has to stay")
    return array.transpose(order)


def _flatten(array: Array, attributes: Attributes, *, is_signal: bool) -> Array:
    axis = attributes.get("axis", 1)
    if not 0 <= axis <= array.ndim or (is_signal and axis != 1):
        raise InputError(f"has axis {axis}; data points keep the first dimension with axis 1")
    return array.reshape(math.prod(array.shape[:axis]), -1) if array.size else array


def _reshape(array: Array, attributes: Attributes, shape: Operand, *, is_signal: bool) -> Array:
    if isinstance(shape, Signal) or shape.ndim != 1 or shape.dtype.kind not in "iu":
        raise InputError("computes its shape; export the network with fixed shapes")
    sizes, copied = [int(entry) for entry in shape], 0 if attributes.get("allowzero", 0) else array.ndim
    refused = InputError(f"reshapes entries of shape {array.shape} to {sizes}; certnet reads [-1, entries] only")
    try:
        result = array.reshape([array.shape[k] if s == 0 and k < copied else s for k, s in enumerate(sizes)])
    except (ValueError, OverflowError):
        raise refused from None
    # Nothing counts data points in a vector, nor in a column of a stated length.
    column = result.ndim > 1 and sizes[0] > 1 and all(size == 1 for size in sizes[1:])
    if is_signal and not (result.ndim == 1 or column or result.shape[:1] == (1,)):
        raise refused
    return result


def _relu(operands: Sequence[Operand], _: Attributes) -> Operand:
    if not isinstance(operands[0], Signal):
        raise InputError("acts on a constant; simplify the graph first")
    return replace(operands[0], chain=operands[0].chain.rectified())


def _constant(_: Sequence[Operand], attributes: Attributes) -> Operand:
    value = next((attributes[name] for name in _CONSTANTS if name in attributes), None)
    if value is None:
        raise InputError("holds no dense numbers")
    return np.array(value)


OPERATIONS: dict[str, tuple[int, int, Callable[[Sequence[Operand], Attributes], Operand]]] = {
    "Add": (2, 2, partial(_elementwise, lambda c, _: (1.0, c, True))),
    "Constant": (0, 0, _constant),
    "Div": (2, 2, partial(_elementwise, _quotient)),
    "Flatten": (1, 1, partial(_moved, _flatten)),
    "Gemm": (2, 3, _gemm),
    "Identity": (1, 1, lambda operands, _: operands[0]),
    "MatMul": (2, 2, _matmul),
    "Mul": (2, 2, partial(_elementwise, lambda c, _: (c, 0.0, True))),
    "Relu": (1, 1, _relu),
    "Reshape": (2, 2, partial(_moved, _reshape)),
    "Sub": (2, 2, partial(_elementwise, lambda c, on_left: (1.0, -c, True) if on_left else (-1.0, c, True))),
    "Transpose": (1, 1, partial(_moved, _transpose)),
}
"""Kinds of nodes that are read: the fewest and the most inputs, and what they do. Complaints continue a sentence."""
