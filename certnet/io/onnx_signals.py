"""What is computed of an ONNX graph's input, and what moves or mixes it linearly.

That is a ``Signal``: a tensor for one data point, laid out as the graph has it, which says of each place which entry of
a ``Chain`` stands there. So whatever only moves numbers, such as Reshape, Slice or Concat, is evaluated on the numbers
of the entries. Other linear maps are evaluated at 0 and the unit vectors; as they add nothing but zeros there, this
gives their weights exactly, or for means (1/n) rounded, which is noted.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from certnet.io.chain import Bounds, Chain, beside
from certnet.io.folding import LARGEST_MATRIX, ONE, Rounded
from certnet.io.onnx_reference import LARGEST_RESULT, MEANS, READ, Node
from certnet.io.packed import Array
from formulations import InputError
from formulations._validation import FloatArray, IntArray
from formulations.rounding import as_double

LARGEST_SIGNAL = 2**24  # Most values that a node computes of one data point, or that it has as input.
_BATCH = 2**22  # Entries of the unit vectors that are evaluated at a time.


class OtherNodeError(InputError):
    """A complaint that names the node that it is about, which is another one than that which was being read."""


@dataclass(frozen=True)
class Ending:
    """A function after the outputs: its kind, the node's label, and whether labels alone are left of it."""

    kind: str
    label: str
    is_label: bool = False
    classes: tuple[str, ...] | None = None

    @property
    def is_joint(self) -> bool:
        """Whether each value depends on all outputs."""
        return self.is_label or self.kind in ("Softmax", "LogSoftmax")

    def refuse(self, following: str) -> None:
        """Complain of it as no end, where this node follows."""
        raise OtherNodeError(
            f"{self.label} is followed by {following}; certnet reads it at the end of a network only, and proves "
            f"networks whose hidden layer has {READ}."
        )


@dataclass(frozen=True, eq=False)
class Signal:
    """``places`` has the number of an entry of the chain at each place, each once.

    ``ending`` is the function that was applied last and that certnet reads at the end of a network only, or None.
    """

    chain: Chain
    places: IntArray
    ending: Ending | None = None

    def of(self, chain: Chain) -> "Signal":
        """The same places in another chain."""
        return replace(self, chain=chain)

    def affine(self, gain: Bounds | Rounded, shift: Bounds | Rounded) -> "Signal":
        return self.of(self.chain.affine(gain, shift))

    def beside_constant(self, constant: FloatArray) -> tuple["Signal", Bounds]:
        """The signal as wide as both are together, and the constant for each of its entries."""
        said = f"has a constant of shape {constant.shape}, which does not go with the data point's entries"
        try:
            shape = np.broadcast_shapes(self.places.shape, constant.shape)
        except ValueError:
            raise InputError(said) from None
        rows = math.prod(shape) != self.places.size and len(shape) > 1 and shape[0] != 1 and not self.chain.whole
        if math.prod(shape) > LARGEST_RESULT or constant.size == 0 or rows:
            raise InputError(said)
        signal = settled(self.chain, np.broadcast_to(self.places, shape), self.ending)
        if constant.size == 1:
            return signal, constant.reshape(-1)[0]
        values = np.empty(signal.places.size)
        values[signal.places] = np.broadcast_to(constant, shape)
        return signal, values

    def product(self, weights: FloatArray, shape: Sequence[int], off: float = 0.0) -> "Signal":
        """A matrix product, of weights with a row for each place of the signal, which are ``off`` by that at most."""
        rows = np.empty_like(weights)
        rows[self.places.reshape(-1)] = weights
        return settled(self.chain.times(Rounded(rows, off)), np.arange(weights.shape[1]).reshape(shape))


Operand = Array | Signal | None
Operation = Callable[[Node, Sequence[Operand]], Operand | list[Operand]]


def signal_of(operand: Operand) -> Signal:
    if not isinstance(operand, Signal):
        raise InputError("acts on a constant where a computed value is expected")
    return operand


def constants(operands: Sequence[Operand]) -> list[Array | None]:
    if any(isinstance(operand, Signal) for operand in operands):
        raise InputError(
            "takes several computed values; certnet reads affine layers of constant weights and fixed shapes"
        )
    return [operand for operand in operands if not isinstance(operand, Signal)]


def numbers_of(operand: Operand) -> FloatArray:
    numbers = None if operand is None or isinstance(operand, Signal) else np.asarray(operand)
    numbers = None if numbers is None or numbers.dtype.kind not in "biuf" else as_double(numbers)
    if numbers is None:
        raise InputError("has a constant that is no number which float64 holds exactly; save it as float64")
    return numbers


def settled(chain: Chain, places: IntArray, ending: Ending | None = None) -> Signal:
    """The signal of these places, for one data point; entries that are missing or repeated get a chain of their own."""
    if not 0 < places.size <= LARGEST_SIGNAL:
        raise InputError(f"makes {places.size} values; certnet reads from 1 to {LARGEST_SIGNAL}")
    column = places.ndim > 1 and places.size == places.shape[0]
    if places.ndim > 1 and places.shape[0] != 1 and not column and not chain.whole:
        raise InputError(
            f"gives one data point the shape {places.shape}; the first axis counts data points and has to stay 1"
        )
    counts = np.bincount(places.reshape(-1), minlength=chain.size)
    if (counts == 1).all():
        return Signal(chain, places, ending)
    if ending is not None and ending.is_joint:
        raise OtherNodeError(
            f"{ending.label} is followed by a choice of its outputs; export the network with all of them."
        )
    return Signal(chain.chosen(places.reshape(-1)), np.arange(places.size).reshape(places.shape), ending)


def moved(node: Node, operands: Sequence[Operand]) -> list[Operand]:
    """The operators that only move entries, evaluated on their numbers."""
    if node.kind == "Concat":
        return _concatenated(node, operands)
    first = signal_of(operands[0])
    results = node.run([first.places, *constants(operands[1:])])
    return [settled(first.chain, result, first.ending) for result in results]


def _concatenated(node: Node, operands: Sequence[Operand]) -> list[Operand]:
    signals = [operand for operand in operands if isinstance(operand, Signal)]
    endings = {signal.ending and signal.ending.kind for signal in signals}
    joint = any(signal.ending is not None and signal.ending.is_joint for signal in signals)
    if len(endings) > 1 or (endings != {None} and len(signals) < len(operands)) or (joint and len(signals) > 1):
        raise InputError("puts outputs beside other values after their last function; export the scores alone")
    parts, offset = [], 0
    for operand in operands:
        part = operand if isinstance(operand, Signal) else _as_signal(numbers_of(operand), signals[0].chain)
        parts.append((part.chain, part.places + offset))
        offset += part.places.size
    (result,) = node.run([places for _, places in parts])
    return [settled(beside([chain for chain, _ in parts]), result, signals[0].ending)]


def _as_signal(values: FloatArray, like: Chain) -> Signal:
    """Constants as entries beside those of a chain."""
    whole = like.multiplied()
    if whole.size * values.size > LARGEST_MATRIX:
        raise InputError("puts too many constants beside computed values")
    chain = whole.times(Rounded(np.zeros((whole.size, values.size)))).affine(1.0, values.reshape(-1))
    return Signal(chain, np.arange(values.size).reshape(values.shape))


def linear(node: Node, operands: Sequence[Operand]) -> Operand:
    """A linear map of the first operand, by its values at the unit vectors; a bias is added afterwards."""
    signal, rest = signal_of(operands[0]), constants(operands[1:])
    turned, pooled = node.kind == "ConvTranspose", node.kind == "AveragePool"
    padded = node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    open_ = pooled and (padded or _overhangs(node, signal.places.shape[2:]))
    if (turned and (padded or node.attributes.get("output_shape"))) or open_:
        raise InputError("leaves the padding to whatever evaluates it; export it with pads")
    bias = rest.pop() if node.kind in ("Conv", "ConvTranspose") and len(rest) > 1 else None
    shape, n, whole = signal.places.shape, signal.places.size, signal.chain.whole
    (zero,) = node.run([np.zeros(shape), *rest])[:1]
    if (not whole and (shape[:1] != (1,) or zero.shape[:1] != (1,))) or zero.any():
        raise InputError(f"maps {shape} to {zero.shape}, which is not linear in one data point alone")
    if n * zero.size > LARGEST_MATRIX:
        raise InputError(f"makes a matrix of {n} × {zero.size} numbers, more than certnet computes with")
    weights, step = np.empty((n, zero.size)), max(1, _BATCH // max(n, zero.size))
    for start in range(0, n, step):
        units = np.zeros((min(step, n - start), n))
        units[np.arange(len(units)), start + np.arange(len(units))] = 1.0
        if whole:
            values = np.stack([node.run([unit.reshape(shape), *rest])[0] for unit in units])
        else:
            (values,) = node.run([units.reshape(-1, *shape[1:]), *rest])[:1]
            if values.shape != (len(units), *zero.shape[1:]):
                raise InputError("mixes data points")
        weights[start : start + step] = values.reshape(len(units), -1)
    # Means have weights 1/n, rounded once.
    inverse = ONE / Rounded(weights[weights != 0]) if node.kind in MEANS else ONE
    found = signal.product(weights, zero.shape, 2.0**-52 * np.abs(weights).max() if inverse.off else 0.0)
    if bias is None:
        return found
    found, biases = found.beside_constant(numbers_of(bias).reshape(-1, *[1] * (zero.ndim - 2)))
    return found.affine(1.0, biases)


def _overhangs(node: Node, shape: Sequence[int]) -> bool:
    """Whether the last window of a pool lies beyond the padding by more than one entry on some axis.

    The reference shifts all windows by half of that then, and runtimes do not. Nor has it gaps in windows that are
    VALID.
    """
    if not node.attributes.get("ceil_mode", 0):
        return node.attributes.get("auto_pad") == "VALID" and max(node.attributes.get("dilations") or [1]) > 1
    pads, kernel = node.attributes.get("pads") or [0] * 2 * len(shape), node.attributes["kernel_shape"]
    strides, dilations = (node.attributes.get(name) or [1] * len(shape) for name in ("strides", "dilations"))
    sides = zip(shape, pads, pads[len(shape) :], kernel, strides, dilations, strict=False)
    return any(-(n + p + q - 1 - spread * (k - 1)) % step > 1 for n, p, q, k, step, spread in sides)
