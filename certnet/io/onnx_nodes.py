"""What single ONNX nodes do to constants and signals. Complaints go on from "node 'x', Type,"."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from certnet.io.assembly import Array
from certnet.io.fold import exact_product, powers_of_two
from certnet.io.signal import Layer, Signal
from formulations import InputError
from formulations._validation import FloatArray

Operand = Array | Signal
Attributes = dict[str, Any]


def apply(kind: str, operands: Sequence[Operand | None], attributes: Attributes) -> Operand:
    """The result of a node of a known kind.

    Raises:
        InputError: a use that a two-layer network does not have; the words continue a sentence.
    """
    fewest, most, operation = _TABLE[kind]
    given = list(operands)
    while given and given[-1] is None:
        given.pop()
    if not fewest <= len(given) <= most:
        raise InputError(f"has {len(given)} inputs where {fewest} are expected")
    present = [operand for operand in given if operand is not None]
    if len(present) != len(given):
        raise InputError("lacks an input")
    with np.errstate(all="ignore"):
        # What overflows is found when the network is put together.
        return operation(present, attributes)


def _signal_and_constant(operands: Sequence[Operand]) -> tuple[Signal, Array, bool]:
    """(signal, constant, whether the signal is on the left)."""
    left, right = operands[0], operands[1]
    if isinstance(left, Signal) and not isinstance(right, Signal):
        return left, right, True
    if isinstance(right, Signal) and not isinstance(left, Signal):
        return right, left, False
    if isinstance(left, Signal):
        raise InputError("combines two computed values; certnet reads plain chains of layers")
    raise InputError("combines two constants; simplify the graph first, for example with onnxsim")


def _add(operands: Sequence[Operand], _: Attributes) -> Operand:
    signal, constant, _order = _signal_and_constant(operands)
    values, signal = signal.aligned(constant)
    return signal.affine(np.ones(()), values)


def _subtract(operands: Sequence[Operand], _: Attributes) -> Operand:
    signal, constant, signal_first = _signal_and_constant(operands)
    values, signal = signal.aligned(constant)
    sign = np.ones(())
    return signal.affine(sign, -values) if signal_first else signal.affine(-sign, values)


def _multiply(operands: Sequence[Operand], _: Attributes) -> Operand:
    signal, constant, _order = _signal_and_constant(operands)
    values, signal = signal.aligned(constant)
    return signal.affine(values, np.zeros(()))


def _divide(operands: Sequence[Operand], _: Attributes) -> Operand:
    signal, constant, signal_first = _signal_and_constant(operands)
    if not signal_first:
        raise InputError("divides by a computed value, which no ReLU network does")
    values, signal = signal.aligned(constant)
    signal = replace(signal, rounded=signal.rounded or not powers_of_two(values))
    return signal.affine(1.0 / values, np.zeros(()))


def _matmul(operands: Sequence[Operand], _: Attributes) -> Operand:
    signal, matrix, signal_first = _signal_and_constant(operands)
    return signal.times(matrix, from_left=not signal_first)


def _gemm(operands: Sequence[Operand], attributes: Attributes) -> Operand:
    factors: list[Operand] = []
    for operand, name in zip(operands, ("transA", "transB"), strict=False):
        factors.append(_transposed(operand) if attributes.get(name, 0) else operand)
    signal = _matmul(factors, {})
    assert isinstance(signal, Signal)
    signal = signal.affine(np.array(attributes.get("alpha", 1.0)), np.zeros(()))
    if len(operands) < 3:
        return signal
    if isinstance(operands[2], Signal):
        raise InputError("adds a computed value; certnet reads plain chains of layers")
    values, signal = signal.aligned(operands[2])
    beta: FloatArray = np.array(attributes.get("beta", 1.0))
    signal = replace(signal, rounded=signal.rounded or not exact_product(beta, values))
    return signal.affine(np.ones(()), beta * values)


def _transposed(operand: Operand) -> Operand:
    return operand.transposed() if isinstance(operand, Signal) else operand.T


def _transpose(operands: Sequence[Operand], attributes: Attributes) -> Operand:
    operand, order = operands[0], attributes.get("perm")
    if not isinstance(operand, Signal):
        if order is not None and sorted(order) != list(range(operand.ndim)):
            raise InputError(f"has the axes {order}, which do not fit")
        return operand.transpose(order)
    if order is not None and order == list(range(len(order))):
        return operand
    if order is not None and operand.features is not None:
        return operand.permuted(order)
    if order not in (None, [1, 0]):
        raise InputError(f"puts the axes into the order {order}, which does not fit")
    return operand.transposed()


def _relu(operands: Sequence[Operand], _: Attributes) -> Operand:
    if not isinstance(operands[0], Signal):
        raise InputError("acts on a constant; simplify the graph first")
    return operands[0].rectified()


def _identity(operands: Sequence[Operand], _: Attributes) -> Operand:
    return operands[0]


def _constant(_: Sequence[Operand], attributes: Attributes) -> Operand:
    if "value" not in attributes:
        raise InputError("holds no dense numbers")
    value: Array = attributes["value"]
    return value


def _flatten(operands: Sequence[Operand], attributes: Attributes) -> Operand:
    operand, axis = operands[0], attributes.get("axis", 1)
    if not isinstance(operand, Signal):
        if not 0 <= axis <= operand.ndim:
            raise InputError(f"has axis {axis}, which does not fit")
        return operand.reshape(int(np.prod(operand.shape[:axis])), -1) if operand.size else operand
    if axis != 1:
        raise InputError(f"has axis {axis}; data points keep the first dimension with axis 1")
    # Two dimensions stay as they are.
    rows = True if operand.layer is Layer.INPUT and operand.rows is None else operand.rows
    return replace(operand, features=None, rows=rows)


def _reshape(operands: Sequence[Operand], attributes: Attributes) -> Operand:
    operand, shape = operands
    if isinstance(shape, Signal) or shape.ndim != 1 or shape.dtype.kind not in "iu":
        raise InputError("computes its shape; export the network with fixed shapes")
    sizes = [int(entry) for entry in shape]
    if isinstance(operand, Signal):
        return _reshaped(operand, sizes)
    if not attributes.get("allowzero", 0):
        sizes = [operand.shape[k] if entry == 0 and k < operand.ndim else entry for k, entry in enumerate(sizes)]
    try:
        return operand.reshape(sizes)
    except ValueError:
        raise InputError(f"cannot bring a constant of shape {operand.shape} to {sizes}") from None


def _reshaped(signal: Signal, sizes: Sequence[int]) -> Signal:
    """To (points, entries), (entries, 1) or (entries): nothing else keeps data points apart."""
    refused = InputError(f"reshapes data points to {list(sizes)}; certnet reads [-1, entries] only")
    if len(sizes) not in (1, 2):
        raise refused
    size = signal.last if signal.size is None and signal.rows is None else signal.size
    entries, rows = sizes[-1], True
    if len(sizes) == 2 and sizes[1] == 1 and size not in (None, 1) and sizes[0] != -1:
        entries, rows = sizes[0], False
    elif len(sizes) == 2 and sizes[0] not in (-1, 0, 1) and size is None:
        raise refused
    if entries <= 0:
        # The axis is inferred or copied: only where the number of data points is given.
        entries = -1 if size is None else size
        if len(sizes) == 2 and sizes[0] not in (0, 1):
            raise refused
    if (size is not None and entries != size) or (signal.rows is not None and signal.rows is not rows):
        raise refused
    vector = len(sizes) == 1
    known = None if entries < 0 else entries
    return replace(signal, features=None, size=known, rows=None if vector else rows, vector=vector)


_TABLE: dict[str, tuple[int, int, Callable[[Sequence[Operand], Attributes], Operand]]] = {
    "Add": (2, 2, _add),
    "Constant": (0, 0, _constant),
    "Div": (2, 2, _divide),
    "Flatten": (1, 1, _flatten),
    "Gemm": (2, 3, _gemm),
    "Identity": (1, 1, _identity),
    "MatMul": (2, 2, _matmul),
    "Mul": (2, 2, _multiply),
    "Relu": (1, 1, _relu),
    "Reshape": (2, 2, _reshape),
    "Sub": (2, 2, _subtract),
    "Transpose": (1, 1, _transpose),
}
OPERATIONS = frozenset(_TABLE)
"""Kinds of nodes that are read."""
