"""A two-layer network put together from affine maps and a ReLU, one after the other, as readers find them."""

from dataclasses import dataclass, field, replace

import numpy as np

from certnet.io.network import TwoLayerNetwork, assemble, exact_product, folded, powers_of_two
from formulations import InputError
from formulations._validation import FloatArray


@dataclass(frozen=True, eq=False)
class Chain:
    """An elementwise affine function ``gain·(…) + shift`` of the last matrix product, or of the input.

    Complaints go on from the name of a layer, without a full stop.

    Attributes:
        size: number of entries, None where it is not known yet.
        gain, shift: scalars or vectors of ``size``.
        before: the input's gain and shift, once a matrix was applied.
        U, hidden_bias, V: as of a ``TwoLayerNetwork``, once they are known.
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

    def network(self, source: str, *, training: bool = False) -> TwoLayerNetwork:
        """The network of a chain that has come through the output layer.

        Shifts and positive gains of the input become its standardisation. Other gains are folded into the hidden
        weights, in floating point, which is refused for ``training``: that cannot have led to such weights.
        """
        if self.U is None or self.V is None or self.hidden_bias is None or self.before is None:
            raise InputError(f"{source} does not end in an output layer after a Relu; certnet reads x ↦ V (Uᵀx + b)₊.")
        U, bias, offset, scale = self.U, self.hidden_bias, None, None
        (gain, shift), last = self.before, np.broadcast_to(self.gain, (len(self.V),))[:, None]
        rounded = self.rounded or not exact_product(last, self.V)
        with np.errstate(all="ignore"):
            # What is not finite is found when the network is put together.
            if not (gain > 0).all():
                if training:
                    raise InputError(
                        f"{source} multiplies an input by a number that is not positive; fold it into the weights."
                    )
                U, bias, computed = folded(U, bias, gain, shift)
                rounded = rounded or computed
            elif not ((gain == 1).all() and (shift == 0).all()):
                offset, scale = -shift / gain, 1.0 / gain
                rounded = rounded or not powers_of_two(gain)
            V = last * self.V
        output_bias = np.broadcast_to(self.shift, (len(V),))
        return assemble(
            source,
            U=U,
            V=V,
            hidden_bias=bias if bias.any() else None,
            offset=offset,
            scale=scale,
            output_bias=output_bias if output_bias.any() else None,
            rounded=rounded,
        )
