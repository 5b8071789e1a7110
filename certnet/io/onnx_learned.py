"""Operators of ONNX's domain for learned models, as exporters of scikit-learn use them, on signals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from certnet.io.onnx_reference import Node, advice
from certnet.io.onnx_signals import Ending, Operand, Operation, Signal, numbers_of, settled, signal_of
from formulations import InputError

LABELS = "labels"
"""The kind of an ending that leaves names of classes."""
_TRANSFORMS = {"NONE": None, "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}


def _extracted(node: Node, operands: Sequence[Operand]) -> Operand:
    """Columns of values, or the names of classes at positions that ArgMax found."""
    values, positions = operands
    if isinstance(values, Signal):
        columns, rows = numbers_of(positions).astype(np.int64).reshape(-1), np.atleast_2d(values.places)
        if not ((columns >= 0) & (columns < rows.shape[-1])).all():
            raise InputError("takes columns that are not there")
        return settled(values.chain, rows[..., columns], values.ending)
    signal, names = signal_of(positions), np.asarray(values).reshape(-1)
    if signal.ending is None or signal.ending.kind != "ArgMax" or len(names) != signal.places.size:
        raise InputError("chooses among constants by computed values")
    return replace(signal, ending=replace(signal.ending, kind=LABELS, classes=_texts(names.tolist())))


def _named(node: Node, operands: Sequence[Operand]) -> Operand:
    """Scores or probabilities with the names of their classes."""
    signal, found = signal_of(operands[0]), _classes(node)
    if signal.ending is None or signal.ending.is_label or len(found) != signal.places.size:
        raise InputError(f"names {len(found)} classes of {signal.places.size} values, which have to be probabilities")
    return replace(signal, ending=replace(signal.ending, classes=found))


def _classes(node: Node) -> tuple[str, ...]:
    return _texts(next((v for name, v in node.attributes.items() if name.startswith("classlabels_") and v), ()))


def _texts(names: Iterable[object]) -> tuple[str, ...]:
    return tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names)


def _binarised(node: Node, operands: Sequence[Operand]) -> Operand:
    signal = signal_of(operands[0])
    if signal.ending is None or signal.ending.kind != "Sigmoid" or node.attributes["threshold"] != 0.5:
        raise InputError("jumps, which no ReLU network does, or not where a probability is one half")
    return replace(signal, ending=Ending(LABELS, node.label, is_label=True))


def _scaler(node: Node, operands: Sequence[Operand]) -> Operand:
    signal = signal_of(operands[0])
    if signal.places.ndim > 2:
        raise InputError(f"scales the columns of a matrix, not values of shape {signal.places.shape}")
    for name, arguments in (("offset", lambda v: (1.0, -v)), ("scale", lambda v: (v, 0.0))):
        values = np.asarray(node.attributes.get(name, ()), dtype=np.float64)
        if values.size:
            signal, each = signal.beside_constant(values)
            signal = signal.affine(*arguments(each))
    return signal


def _imputer(node: Node, operands: Sequence[Operand]) -> Operand:
    if not math.isnan(node.attributes.get("replaced_value_float", 0.0)):
        raise InputError("replaces numbers, which no ReLU network does; fill in missing values before")
    return operands[0]


def _linear_model(node: Node, operands: Sequence[Operand]) -> list[Operand]:
    """Linear regression, or the label and the scores of a linear classifier."""
    signal, last = signal_of(operands[0]), node.attributes.get("post_transform", "NONE")
    stated, classes = (node.attributes.get(name, ()) for name in ("coefficients", "intercepts")), _classes(node)
    weights, bias = (np.asarray(numbers, dtype=np.float64) for numbers in stated)
    rows = node.attributes.get("targets", 1) if node.kind == "LinearRegressor" else len(classes)
    if last not in _TRANSFORMS or weights.size != rows * signal.places.size or bias.size not in (0, rows) or rows < 1:
        raise InputError("has a last function that certnet does not read, or coefficients that do not fit")
    found = signal.product(weights.reshape(rows, -1).T, (1, rows))
    found, kind = found.affine(1.0, bias) if bias.size else found, _TRANSFORMS[last]
    found = found if kind is None else replace(found, ending=Ending(kind, node.label))
    named = [] if node.kind == "LinearRegressor" else [replace(found, ending=Ending(LABELS, node.label, True, classes))]
    return [*named, found]


def _normalizer(node: Node, operands: Sequence[Operand]) -> Operand:
    """Probabilities that sum up to 1 in one row stay as they are."""
    signal = signal_of(operands[0])
    in_a_row = signal.places.ndim > 0 and signal.places.shape[-1] == signal.places.size
    if signal.ending is None or signal.ending.kind != "Softmax" or node.attributes.get("norm") != "L1" or not in_a_row:
        raise InputError(advice(node.kind))
    return signal


LEARNED: dict[str, Operation] = {
    "ArrayFeatureExtractor": _extracted,
    "Binarizer": _binarised,
    "Imputer": _imputer,
    "LinearClassifier": _linear_model,
    "LinearRegressor": _linear_model,
    "Normalizer": _normalizer,
    "Scaler": _scaler,
    "ZipMap": _named,
}
"""Operators of the domain ai.onnx.ml."""
