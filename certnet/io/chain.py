"""A two-layer network put together from affine maps and a ReLU, one after the other, as readers find them."""

from dataclasses import dataclass, field, replace

import numpy as np

from certnet.io.folding import exact_product, folded, powers_of_two
from certnet.io.network import TwoLayerNetwork, assemble
from formulations import InputError
from formulations._validation import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Chain:
    """An elementwise affine function ``gain·(…) + shift`` of the last matrix product, or of the input.

    Complaints go on from the name of a layer, without a full stop.

    Attributes:
        size: number of entries, None where it is not known yet.
        gain, shift: scalars or vectors of ``size``.
        before: the input's gain and shift, once a matrix was applied.
        U, hidden_bias, V: hidden weights d×m and biases, and output weights c×m, once they are known.
        rounded: whether any of these numbers was computed and may have been rounded.
    """

    size: int | None = None
    gain: FloatArray = field(default_factory=lambda: np.ones(()))
    shift: FloatArray = field(default_factory=lambda: np.zeros(()))
    before: tuple[FloatArray, FloatArray] | None = None
    U: FloatArray | None = None
    hidden_bias: FloatArray | None = None
    V: FloatArray | None = None
    rounded: bool = False

    @property
    def stage(self) -> str:
        """How far it has come: "input", "hidden", "activation" or "output"."""
        if self.hidden_bias is None:
            return "input" if self.U is None else "hidden"
        return "activation" if self.V is None else "output"

    def affine(self, gain: FloatArray | float, shift: FloatArray | float, exact: bool = True) -> "Chain":
        """``gain·(…) + shift``, entry by entry; ``exact`` unless these two were rounded before."""
        gain, shift = np.asarray(gain), np.asarray(shift)
        exact = exact and exact_product(gain, self.gain) and exact_product(gain, self.shift)
        exact = exact and not (self.shift.any() and shift.any())
        return replace(self, gain=gain * self.gain, shift=gain * self.shift + shift, rounded=self.rounded or not exact)

    def times(self, weights: FloatArray) -> "Chain":
        """The product with a matrix, inputs×outputs."""
        inner, outer = weights.shape
        if self.size not in (None, inner):
            raise InputError(f"multiplies with a matrix of shape {weights.shape}, which does not fit what comes in")
        gain, shift = np.broadcast_to(self.gain, (inner,)), np.broadcast_to(self.shift, (inner,))
        fresh = replace(self, size=outer, gain=np.ones(()), shift=np.zeros(()))
        if self.stage == "input":
            return replace(fresh, before=(gain, shift), U=weights)
        if self.stage == "activation":
            weights, shift, computed = folded(weights, np.zeros(outer), gain, shift)
            return replace(fresh, V=weights.T, shift=shift, rounded=self.rounded or computed)
        place = "before the Relu" if self.stage == "hidden" else "after the output layer"
        raise InputError(f"is one matrix product too many {place}; certnet reads networks with exactly two")

    def rectified(self) -> "Chain":
        """After the Relu."""
        if self.U is None or self.size is None or self.stage != "hidden":
            places = {"input": "on the input", "activation": "after another Relu", "output": "after the output layer"}
            raise InputError(
                f"stands {places[self.stage]}; certnet reads networks with one Relu, between two matrix products"
            )
        bias, gain = np.broadcast_to(self.shift, (self.size,)), np.broadcast_to(self.gain, (self.size,))
        rounded = self.rounded or not exact_product(self.U, gain)
        return Chain(size=self.size, before=self.before, U=self.U * gain, hidden_bias=bias, rounded=rounded)

    def network(self, source: str, order: IntArray | None = None) -> TwoLayerNetwork:
        """The network of a chain that has come through the output layer, its outputs in this order.

        Shifts and gains of the input become its standardisation. The sign of a gain goes over to the hidden weights,
        and inputs that are multiplied by 0 into the hidden biases.
        """
        if self.U is None or self.V is None or self.hidden_bias is None or self.before is None:
            raise InputError(f"{source} does not end in an output layer after a Relu; certnet reads x ↦ V (Uᵀx + b)₊.")
        (gain, shift), last = self.before, np.broadcast_to(self.gain, (len(self.V),))[:, None]
        rounded = self.rounded or not exact_product(last, self.V)
        sign, dead = np.where(gain < 0, -1.0, 1.0), gain == 0
        with np.errstate(all="ignore"):
            # What is not finite is found when the network is put together.
            U, bias, computed = folded(sign[:, None] * self.U, self.hidden_bias, 1.0 - dead, np.where(dead, shift, 0.0))
            gain, shift = np.where(dead, 1.0, np.abs(gain)), np.where(dead, 0.0, sign * shift)
            plain = bool((gain == 1).all() and (shift == 0).all())
            rounded = rounded or computed or not powers_of_two(gain)
            V, output_bias = last * self.V, np.broadcast_to(self.shift, (len(self.V),))
            order = np.arange(len(V)) if order is None else order
            return assemble(
                source,
                U=U,
                V=V[order],
                hidden_bias=bias,
                output_bias=output_bias[order],
                offset=None if plain else -shift / gain,
                scale=None if plain else 1.0 / gain,
                rounded=rounded,
            )
