"""What a graph computes at one point: the input, and how far through a two-layer network it has come."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from certnet.io.assembly import Array, ReadNetwork, assemble, double
from certnet.io.fold import exact_product, powers_of_two
from formulations import InputError
from formulations._validation import FloatArray, IntArray

LARGEST_INPUT = 2**26
"""Most features of an input."""


class Layer(IntEnum):
    """How far a signal has come."""

    INPUT = 0
    HIDDEN = 1
    ACTIVATION = 2
    OUTPUT = 3


@dataclass(frozen=True, eq=False)
class Signal:
    """An elementwise affine function ``gain·(…) + shift`` of the last matrix product, or of the input.

    Attributes:
        layer: how far it has come.
        size: number of entries for each data point, None where it is not known yet.
        rows: True when data points are rows, False when they are columns, None while that is open.
        features: shape of one data point where it is not a vector yet.
        vector: there is one data point, without an axis that counts.
        last: length of the last axis, where the input has two and this one is fixed.
        order: the number of each entry in the input, where axes of the input were permuted.
        gain, shift: scalars or vectors of ``size``.
        before: the input's gain and shift, once a matrix was applied.
        U, hidden_bias, V: once they are known.
        rounded: whether any of these numbers was computed and may have been rounded.
    """

    layer: Layer = Layer.INPUT
    size: int | None = None
    rows: bool | None = None
    features: tuple[int, ...] | None = None
    vector: bool = False
    last: int | None = None
    order: IntArray | None = None
    gain: FloatArray = field(default_factory=lambda: np.ones(()))
    shift: FloatArray = field(default_factory=lambda: np.zeros(()))
    before: tuple[FloatArray, FloatArray] | None = None
    U: FloatArray | None = None
    hidden_bias: FloatArray | None = None
    V: FloatArray | None = None
    rounded: bool = False

    def transposed(self) -> "Signal":
        """Data points become columns instead of rows, or the other way round. Inputs start as rows.

        Raises:
            InputError: a data point has more than one axis.
        """
        if self.features is not None:
            raise InputError("moves the axis that counts data points; permute the others only")
        return self if self.vector else replace(self, rows=self.rows is False)

    def permuted(self, axes: Sequence[int]) -> "Signal":
        """The input with its axes in this order, where each data point has several. The first axis has to stay.

        Raises:
            InputError: axes that do not fit.
        """
        features = self.features
        if features is None or sorted(axes) != list(range(len(features) + 1)) or axes[0] != 0:
            raise InputError(f"puts the axes into the order {list(axes)}; certnet reads orders that keep the first")
        places = np.arange(math.prod(features)).reshape(features).transpose([axis - 1 for axis in axes[1:]])
        index = places.reshape(-1)
        order = index if self.order is None else self.order[index]
        gain, shift = _taken(self.gain, index), _taken(self.shift, index)
        return replace(self, features=places.shape, order=order, gain=gain, shift=shift)

    def affine(self, gain: FloatArray, shift: FloatArray) -> "Signal":
        """``gain·signal + shift``, entry by entry."""
        exact = exact_product(gain, self.gain) and exact_product(gain, self.shift)
        exact = exact and not (self.shift.any() and shift.any())
        return replace(self, gain=gain * self.gain, shift=gain * self.shift + shift, rounded=self.rounded or not exact)

    def aligned(self, constant: Array) -> "tuple[FloatArray, Signal]":
        """A constant as scalar or vector that goes with the entries, and the signal with what this says of it.

        Raises:
            InputError: it does not go with the entries.
        """
        values = double(constant)
        if values.size == 1:
            return values.reshape(()), self
        if self.features is not None:
            return self._aligned_to_features(values), self
        long = [axis for axis, length in enumerate(values.shape) if length != 1]
        behind = values.ndim - 1 - long[-1]
        rows = behind == 0
        fits = len(long) == 1 and behind <= 1 and self.rows in (None, rows) and self.size in (None, values.size)
        if not fits:
            raise InputError(
                f"has a constant of shape {constant.shape}, which does not go with the data point's entries"
            )
        if self.vector and values.ndim == 1:
            return values.reshape(-1), replace(self, size=values.size)
        if self.vector and not rows:
            raise InputError(f"adds an axis with a constant of shape {constant.shape}")
        return values.reshape(-1), replace(self, size=values.size, rows=rows, vector=False)

    def _aligned_to_features(self, values: FloatArray) -> FloatArray:
        assert self.features is not None
        shape = values.shape[1:] if values.ndim == len(self.features) + 1 and values.shape[0] == 1 else values.shape
        try:
            spread: FloatArray = np.broadcast_to(values.reshape(shape), self.features).reshape(-1)
        except ValueError:
            raise InputError(f"has a constant of shape {values.shape} for inputs of shape {self.features}") from None
        return spread

    def times(self, matrix: Array, *, from_left: bool) -> "Signal":
        """The product with a constant matrix: ``signal · matrix``, or from the left ``matrix · signal``.

        Raises:
            InputError: it does not fit, or a two-layer network has no matrix here.
        """
        if matrix.ndim != 2:
            raise InputError(f"has a constant with {matrix.ndim} dimensions where a matrix is expected")
        if self.features is not None and self.features[:-1].count(1) != len(self.features) - 1:
            raise InputError(f"multiplies inputs of shape {self.features}, which are no vectors; flatten them first")
        inner, outer = matrix.shape[::-1] if from_left else matrix.shape
        size = self.last if self.size is None and self.rows is None and not from_left else self.size
        if size not in (None, inner) or self.rows is from_left:
            raise InputError(f"multiplies with a matrix of shape {matrix.shape}, which does not fit what comes in")
        weights = double(matrix.T if from_left else matrix)
        fresh = Signal(
            size=outer, rows=None if self.vector else not from_left, vector=self.vector, rounded=self.rounded
        )
        if self.layer is Layer.INPUT:
            back = np.arange(inner) if self.order is None else np.argsort(self.order)
            gain, shift = _taken(self.gain, back), _taken(self.shift, back)
            return replace(fresh, layer=Layer.HIDDEN, before=(gain, shift), U=weights[back])
        if self.layer is Layer.ACTIVATION:
            gain = np.broadcast_to(self.gain, (inner,))[:, None]
            return replace(
                fresh,
                layer=Layer.OUTPUT,
                before=self.before,
                U=self.U,
                hidden_bias=self.hidden_bias,
                V=(gain * weights).T,
                shift=np.broadcast_to(self.shift, (inner,)) @ weights,
                rounded=self.rounded or bool(self.shift.any()) or not exact_product(gain, weights),
            )
        place = "before the Relu" if self.layer is Layer.HIDDEN else "after the output layer"
        raise InputError(f"is one matrix product too many {place}; certnet reads networks with exactly two")

    def rectified(self) -> "Signal":
        """After the Relu.

        Raises:
            InputError: a two-layer network has no Relu here.
        """
        if self.layer is not Layer.HIDDEN or self.U is None or self.size is None:
            place = {Layer.INPUT: "on the input", Layer.ACTIVATION: "after another Relu"}.get(
                self.layer, "after the output layer"
            )
            raise InputError(f"stands {place}; certnet reads networks with one Relu, between two matrix products")
        bias = np.broadcast_to(self.shift, (self.size,))
        gain = np.broadcast_to(self.gain, (self.size,))[None, :]
        one = np.ones(())
        rounded = self.rounded or not exact_product(self.U, gain)
        U = self.U * gain
        return replace(self, layer=Layer.ACTIVATION, gain=one, shift=0.0 * one, U=U, hidden_bias=bias, rounded=rounded)

    def network(self, source: str) -> ReadNetwork:
        """The network, once the signal has come through the output layer.

        Shifts and positive scales of the input become its standardisation. Other factors are folded into the hidden
        weights, in floating point.

        Raises:
            InputError: shapes that disagree, or numbers that are not finite.
        """
        assert self.U is not None
        assert self.V is not None
        assert self.before is not None
        d, c = self.U.shape[0], self.V.shape[0]
        gain, shift = (np.broadcast_to(part, (d,)) for part in self.before)
        U, bias, offset, scale, untrained = self.U, self.hidden_bias, None, None, None
        rounded = self.rounded or not exact_product(np.broadcast_to(self.gain, (c,))[:, None], self.V)
        with np.errstate(all="ignore"):
            # What is not finite is found when the network is put together.
            if not (gain > 0).all():
                bias = (np.zeros(()) if bias is None else bias) + shift @ U
                rounded = rounded or bool(shift.any()) or not exact_product(gain[:, None], U)
                U = gain[:, None] * U
                untrained = f"{source} multiplies an input by a number that is not positive; fold it into the weights."
            elif not ((gain == 1).all() and (shift == 0).all()):
                offset, scale = -shift / gain, 1.0 / gain
                rounded = rounded or not powers_of_two(gain)
            V = np.broadcast_to(self.gain, (c,))[:, None] * self.V
        read = assemble(
            source,
            U=U,
            V=V,
            hidden_bias=bias if bias is not None and bias.any() else None,
            output_bias=np.broadcast_to(self.shift, (c,)),
            offset=offset,
            scale=scale,
        )
        return replace(read, untrained=untrained, rounded=rounded)


def _taken(values: FloatArray, index: IntArray) -> FloatArray:
    """The entries of a vector in another order; a scalar stays."""
    return values if values.ndim == 0 else values[index]
