"""What nodes of an ONNX graph do to what is computed of the input: gains, shifts, products and ReLUs of its chain."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from certnet.io.chain import Chain, beside
from certnet.io.folding import LARGEST_MATRIX, ONE, Rounded, block_diagonal, normalised
from certnet.io.onnx_learned import LEARNED
from certnet.io.onnx_reference import ELEMENTS, ENDS, LINEAR, MOVES, Node, advice
from certnet.io.onnx_signals import Ending, Operand, Operation, Signal, linear, moved, numbers_of, settled, signal_of
from formulations import InputError
from formulations._validation import FloatArray

_NO_BOUNDS = (float(np.finfo(np.float32).max), float(np.finfo(np.float64).max), math.inf)
"""Bounds of Clip, up to the sign, that mean none, as exporters write them."""


def apply(node: Node, operands: Sequence[Operand]) -> list[Operand]:
    """What a node computes, of which at least one operand is a signal; complaints go on from its label."""
    ended = next((x.ending for x in operands if isinstance(x, Signal) and x.ending is not None), None)
    if ended is not None and node.kind not in _AFTER_THE_END:
        ended.refuse(node.kind)
    if ended is not None and ended.is_label and node.kind != "ArrayFeatureExtractor":
        if node.kind not in _OF_LABELS:
            ended.refuse(node.kind)
        return [operands[0]]
    operation = (OPERATIONS if node.is_standard else LEARNED).get(node.kind)
    if operation is None:
        raise InputError(advice(node.kind))
    found = operation(node, operands)
    return found if isinstance(found, list) else [found]


def _apart(operands: Sequence[Operand]) -> tuple[Signal, FloatArray, bool]:
    """A signal and a constant, and whether the signal is the first of them."""
    left, right = operands
    if isinstance(left, Signal) and isinstance(right, Signal):
        raise InputError("multiplies or divides computed values, which no ReLU network does")
    on_left = isinstance(left, Signal)
    return signal_of(left if on_left else right), numbers_of(right if on_left else left), on_left


def _product(node: Node, operands: Sequence[Operand]) -> Operand:
    signal, constant, on_left = _apart(operands)
    if node.kind == "Div" and not on_left:
        raise InputError("divides by a computed value, which no ReLU network does")
    signal, values = signal.beside_constant(constant)
    gain = ONE / Rounded(np.asarray(values)) if node.kind == "Div" else values
    return signal.affine(gain, 0.0)


def _sum(node: Node, operands: Sequence[Operand]) -> Operand:
    """Signals and constants; those one by one, so that what they round is noticed."""
    total, *others = (operand for operand in operands if isinstance(operand, Signal))
    for signal in others:
        total = _combined(total, signal, 1.0)
    for operand in operands:
        if not isinstance(operand, Signal):
            total, values = total.beside_constant(numbers_of(operand))
            total = total.affine(1.0, values)
    return total


def _difference(node: Node, operands: Sequence[Operand]) -> Operand:
    left, right = operands
    if isinstance(left, Signal) and isinstance(right, Signal):
        return _combined(left, right, -1.0)
    signal, constant, on_left = _apart(operands)
    signal, values = signal.beside_constant(constant)
    if signal.ending is None:
        return signal.affine(*((1.0, -values) if on_left else (-1.0, values)))
    if on_left or signal.ending.kind != "Sigmoid" or np.any(values != 1):
        signal.ending.refuse(node.kind)
    # 1 − p is the probability of the negated score.
    return signal.affine(-1.0, 0.0)


def _combined(left: Signal, right: Signal, sign: float) -> Signal:
    """left + sign·right."""
    ended = left.ending or right.ending
    if ended is not None:
        ended.refuse("Sub")
    try:
        shape = np.broadcast_shapes(left.places.shape, right.places.shape)
        n = math.prod(shape)
    except ValueError:
        shape, n = (), 0
    if not 0 < 2 * n * n <= LARGEST_MATRIX:
        raise InputError(f"combines values of shapes {left.places.shape} and {right.places.shape}")
    chains = [part.chain.chosen(np.broadcast_to(part.places, shape).reshape(-1)) for part in (left, right)]
    total = beside(chains).times(Rounded(np.vstack([np.eye(n), sign * np.eye(n)])))
    return settled(total, np.arange(n).reshape(shape))


def _matmul(_: Node, operands: Sequence[Operand]) -> Operand:
    """The product with a constant matrix, from either side; the factors are those of a Gemm, or the node's own."""
    signal, matrix, on_left = _apart(operands)
    places = signal.places
    if matrix.ndim != 2:
        raise InputError(f"has a constant with {matrix.ndim} dimensions where a matrix is expected")
    weights = matrix if on_left else matrix.T
    axis = -1 if on_left or places.ndim < 2 else -2
    several = places.ndim > 2 or signal.chain.whole
    if places.ndim == 0 or places.shape[axis] != len(weights) or not (several or places.size == len(weights)):
        raise InputError(
            f"multiplies data points of shape {places.shape} with a matrix of shape {matrix.shape}, which does not fit"
        )
    rows = np.moveaxis(places, axis, -1)
    *lead, inner = rows.shape
    count, outer = math.prod(lead), weights.shape[1]
    if count > 1:
        n, m = count * inner, count * outer
        if n * m > LARGEST_MATRIX:
            raise InputError(f"makes a matrix of {n} × {m} numbers, more than certnet computes with")
        weights = block_diagonal([weights] * count)  # each row is multiplied alone
    found = replace(signal, places=rows).product(weights, (*lead, outer))
    return replace(found, places=np.moveaxis(found.places, -1, axis))


def _gemm(node: Node, operands: Sequence[Operand]) -> Operand:
    if any((x.places if isinstance(x, Signal) else numbers_of(x)).ndim != 2 for x in operands[:2]):
        raise InputError("multiplies other things than two matrices")
    factors = [
        operand if not node.attributes[turn] or operand is None
        else replace(operand, places=operand.places.T) if isinstance(operand, Signal) else operand.T
        for operand, turn in zip(operands, ("transA", "transB"), strict=False)
    ]  # fmt: skip
    signal = signal_of(_matmul(node, factors)).affine(node.attributes["alpha"], 0.0)
    if len(operands) < 3 or operands[2] is None:
        return signal
    shape, added = signal.places.shape, numbers_of(operands[2])
    signal, values = signal.beside_constant(added)
    if signal.places.shape != shape:
        raise InputError(f"adds a constant of shape {added.shape} to a product of shape {shape}")
    shift = Rounded(np.asarray(node.attributes["beta"])) * Rounded(np.asarray(values))
    return signal.affine(1.0, shift)


def _normalisation(node: Node, operands: Sequence[Operand]) -> Operand:
    # Before version 14, statistics among the outputs meant training.
    if any(node.proto.output[1:]) or node.attributes.get("training_mode", 0) or not node.attributes.get("spatial", 1):
        raise InputError("depends on the batch; export the network in evaluation mode")
    signal, channels = signal_of(operands[0]), [numbers_of(operand) for operand in operands[1:]]
    if len({values.shape for values in channels}) != 1 or channels[0].shape != signal.places.shape[1:2]:
        raise InputError(f"has no number for each channel of {signal.places.shape}")
    axes = max(signal.places.ndim - 2, 0)
    weight, bias, mean, variance = (values.reshape(-1, *[1] * axes) for values in channels)
    gain, shift = (
        Rounded(np.asarray(signal.beside_constant(part.values)[1]), part.off)
        for part in normalised(mean, variance, node.attributes["epsilon"], weight, bias)
    )
    return signal.affine(gain, shift)


def _on_entries(change: Callable[[Node, Chain], Chain]) -> Operation:
    """What acts on each entry, and takes its numbers from the attributes."""
    return lambda node, operands: signal_of(operands[0]).of(change(node, signal_of(operands[0]).chain))


def _prelu(node: Node, operands: Sequence[Operand]) -> Operand:
    signal, slopes = signal_of(operands[0]).beside_constant(numbers_of(operands[1]))
    return signal.of(signal.chain.leaky(slopes))


def _clip(node: Node, operands: Sequence[Operand]) -> Operand:
    bounds = []
    for number, name, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        stated = operands[number] if len(operands) > number else node.attributes.get(name)
        values = default if stated is None else numbers_of(np.asarray(stated) if np.isscalar(stated) else stated)
        if np.size(values) != 1:
            raise InputError("has bounds that are no single numbers")
        value = float(np.ravel(values)[0])
        bounds.append(default if abs(value) in _NO_BOUNDS and value * default > 0 else value)
    signal = signal_of(operands[0])
    return signal.of(signal.chain.between(*bounds))


def _extreme(sign: float, node: Node, operands: Sequence[Operand]) -> Operand:
    """The largest operand, or with sign −1 the smallest."""
    found, *others = (operand for operand in operands if isinstance(operand, Signal))
    for other in others:
        # max(a, b) = (a − b)₊ + b, and min(a, b) = a − (a − b)₊.
        difference = _combined(found, other, -1.0)
        above = difference.of(difference.chain.between(0.0, np.inf))
        found = _combined(above, other, 1.0) if sign > 0 else _combined(found, above, -1.0)
    for operand in operands:
        if not isinstance(operand, Signal):
            found, bound = found.beside_constant(numbers_of(operand))
            found = found.of(found.chain.between(*((bound, np.inf) if sign > 0 else (-np.inf, bound))))
    return found


def _cast(node: Node, operands: Sequence[Operand]) -> Operand:
    signal = signal_of(operands[0])
    if node.attributes.get("to") not in ELEMENTS:
        raise InputError("makes other numbers than floating-point ones of computed values; leave it out")
    return signal


def _dropout(node: Node, operands: Sequence[Operand]) -> Operand:
    if len(operands) > 2 and operands[2] is not None and np.any(numbers_of(operands[2])):
        raise InputError("is in training mode; export the network in evaluation mode")
    return operands[0]


def _end(node: Node, operands: Sequence[Operand]) -> Operand:
    """A function of all outputs, or of each, that keeps their order."""
    signal = signal_of(operands[0])
    axis, ndim = node.attributes.get("axis"), signal.places.ndim
    if axis is not None:
        coerced = node.version < 13 and node.kind != "ArgMax"
        shape = signal.places.shape
        over = math.prod(shape[axis:]) if coerced else shape[axis] if -ndim <= axis < ndim else 0
        if over != signal.places.size or node.attributes.get("select_last_index", 0):
            raise InputError("does not act on all outputs together; certnet reads it where it does")
    if signal.ending is not None and (node.kind != "ArgMax" or signal.ending.is_label):
        signal.ending.refuse(node.kind)
    places = signal.places.reshape(1, -1) if node.kind == "ArgMax" else signal.places
    return Signal(signal.chain, places, Ending(node.kind, node.label, node.kind == "ArgMax"))


OPERATIONS: dict[str, Operation] = {
    **dict.fromkeys(MOVES, moved),
    **dict.fromkeys(LINEAR, linear),
    **dict.fromkeys(ENDS, _end),
    "Abs": _on_entries(lambda _, chain: chain.leaky(-1.0)),
    "Add": _sum,
    "BatchNormalization": _normalisation,
    "Cast": _cast,
    "Clip": _clip,
    "Div": _product,
    "Dropout": _dropout,
    "Gemm": _gemm,
    "HardSigmoid": _on_entries(
        lambda node, chain: chain.affine(node.attributes["alpha"], node.attributes["beta"]).between(0.0, 1.0)
    ),
    "LeakyRelu": _on_entries(lambda node, chain: chain.leaky(node.attributes["alpha"])),
    "MatMul": _matmul,
    "Max": partial(_extreme, 1.0),
    "Min": partial(_extreme, -1.0),
    "Mul": _product,
    "Neg": _on_entries(lambda _, chain: chain.affine(-1.0, 0.0)),
    "PRelu": _prelu,
    "Relu": _on_entries(lambda _, chain: chain.between(0.0, np.inf)),
    "Sub": _difference,
    "Sum": _sum,
}
"""Operators of ONNX on signals."""
_AFTER_THE_END = {*MOVES, "Cast", "ArgMax", "Sub", "ArrayFeatureExtractor", "Binarizer", "Normalizer", "ZipMap"}
_OF_LABELS = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
"""What may happen to labels, of which there is one for each data point."""
