"""A two-layer network put together from affine maps and ReLUs, one after the other, as readers find them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from certnet.io.folding import exact_matmul, exact_product, exact_sum, folded, powers_of_two
from certnet.io.network import TwoLayerNetwork, assemble
from formulations import InputError
from formulations._validation import FloatArray, IntArray

LARGEST_MATRIX = 2**27
"""Most entries of a matrix that is computed."""
Bounds = FloatArray | float
Hinge = tuple[Bounds, float, Bounds]
"""(c, s, t) of c·(s·value − t)₊, s being 1 or −1."""
THROUGH: tuple[Hinge, Hinge] = ((1.0, 1.0, 0.0), (-1.0, -1.0, 0.0))
"""A value as a sum of ReLUs."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Entries ``gain·(Mᵀu) + shift`` that are affine functions of u: of the input, or of neurons over it.

    It holds the numbers that it was given; where it computed with them, in float64, ``rounded`` says whether any result
    may differ from the exact one. Complaints go on from the name of a layer, without a full stop.

    Attributes:
        size: number of entries, None where it is not known yet.
        gain, shift: scalars or vectors of ``size``.
        matrix: M, with a column for each entry; None for the entries of u themselves.
        before: the input's gain and shift, once a matrix was applied.
        hidden: hidden weights d×m and biases of the neurons u, None where u is the input.
        rounded: whether any of these numbers was computed and may have been rounded.
        clipped: what was clipped, and the bounds, where nothing has happened to it since.
        whole: whether all entries of tensors are one data point's; else their first axis counts data points.
    """

    size: int | None = None
    gain: FloatArray = field(default_factory=lambda: np.ones(()))
    shift: FloatArray = field(default_factory=lambda: np.zeros(()))
    matrix: FloatArray | None = None
    before: tuple[FloatArray, FloatArray] | None = None
    hidden: tuple[FloatArray, FloatArray] | None = None
    rounded: bool = False
    clipped: "tuple[Chain, Bounds, Bounds] | None" = None
    whole: bool = False

    def affine(self, gain: Bounds, shift: Bounds, exact: bool = True) -> "Chain":
        """``gain·(…) + shift``, entry by entry; ``exact`` unless these two were rounded before."""
        gain, shift = np.asarray(gain), np.asarray(shift)
        with np.errstate(all="ignore"):
            # What overflows is found when the network is put together.
            moved = gain * self.shift
            exact = exact and exact_product(gain, self.gain) and exact_product(gain, self.shift)
            rounded = self.rounded or not (exact and exact_sum(moved, shift))
            return replace(self, gain=gain * self.gain, shift=moved + shift, rounded=rounded, clipped=None)

    def times(self, weights: FloatArray, exact: bool = True) -> "Chain":
        """The product with a matrix, inputs×outputs; ``exact`` unless that was rounded before."""
        inner, outer = weights.shape
        if self.size not in (None, inner):
            raise InputError(f"multiplies with a matrix of shape {weights.shape}, which does not fit what comes in")
        gain, shift = np.broadcast_to(self.gain, (inner,)), np.broadcast_to(self.shift, (inner,))
        fresh = replace(self, size=outer, gain=np.ones(()), shift=np.zeros(()), clipped=None)
        if self.hidden is None and self.matrix is None:
            return replace(fresh, before=(gain, shift), matrix=weights, rounded=self.rounded or not exact)
        weights, shift, computed = folded(weights, np.zeros(outer), gain, shift)
        if self.matrix is not None:
            _require_size(len(self.matrix), outer)
            weights, plain = exact_matmul(self.matrix, weights)
            computed = computed or not plain
        return replace(fresh, matrix=weights, shift=shift, rounded=self.rounded or computed or not exact)

    def chosen(self, entries: IntArray) -> "Chain":
        """These entries in this order; some may be missing, and some there twice."""
        whole = self.multiplied()
        assert whole.matrix is not None
        columns = whole.matrix.shape[1]
        gain, shift = (np.broadcast_to(part, (columns,))[entries] for part in (whole.gain, whole.shift))
        return replace(whole, size=len(entries), matrix=whole.matrix[:, entries], gain=gain, shift=shift, clipped=None)

    def multiplied(self) -> "Chain":
        """The same entries with a matrix, the identity where there is none."""
        if self.matrix is not None:
            return self
        if self.size is None:
            raise InputError("stands before the first layer; certnet reads networks that begin with one")
        _require_size(self.size, self.size)
        # Gain and shift stay behind it, where nothing is rounded.
        bare = replace(self, gain=np.ones(()), shift=np.zeros(())).times(np.eye(self.size))
        return replace(bare, gain=self.gain, shift=self.shift)

    def bent(self, hinges: Sequence[Hinge], shift: Bounds = 0.0) -> "Chain":
        """``shift + Σ c·(s·value − t)₊``, entry by entry, of scalars or vectors."""
        if self.hidden is not None:
            raise InputError(
                "stands after another layer of ReLUs; certnet proves networks with one hidden layer of them"
            )
        whole = self.multiplied()
        assert whole.matrix is not None
        m = len(whole.matrix.T)
        gain, bias = np.broadcast_to(whole.gain, (m,)), np.broadcast_to(whole.shift, (m,))
        rounded, parts = whole.rounded or not exact_product(whole.matrix, gain), []
        with np.errstate(all="ignore"):
            # What is not finite is found when the network is put together.
            for _, sign, at in hinges:
                rounded = rounded or not exact_sum(sign * bias, -np.asarray(at))
                parts.append((sign * whole.matrix * gain, np.broadcast_to(sign * bias - at, (m,))))
        hidden = np.hstack([U for U, _ in parts]), np.concatenate([b for _, b in parts])
        found = Chain(size=m, before=whole.before, hidden=hidden, rounded=rounded, whole=self.whole)
        if len(hinges) > 1:
            _require_size(len(hinges) * m, m)
            found = replace(found, matrix=np.vstack([np.diag(np.broadcast_to(c, (m,))) for c, _, _ in hinges]))
            return found.affine(1.0, shift)
        return found.affine(hinges[0][0], shift)

    def leaky(self, slope: Bounds) -> "Chain":
        """Each entry where it is positive, else ``slope`` times it."""
        return self.bent([(1.0, 1.0, 0.0), (-slope, -1.0, 0.0)])

    def between(self, low: Bounds, high: Bounds) -> "Chain":
        """Each entry, but at least ``low`` and at most ``high``: first the one, then the other."""
        inner = self
        if self.clipped is not None:
            inner, *bounds = self.clipped
            low, high = (np.minimum(np.maximum(bound, low), high) for bound in bounds)
        low = np.minimum(low, high)
        open_below, open_above = (bool(np.all(side == bound)) for side, bound in ((low, -np.inf), (high, np.inf)))
        if open_below and open_above:
            return self
        if not ((open_below or np.isfinite(low).all()) and (open_above or np.isfinite(high).all())):
            raise InputError("has bounds of which some are infinite; certnet reads finite ones, or none on a side")
        if open_below:
            found = inner.bent([(-1.0, -1.0, -np.asarray(high))], high)
        elif open_above:
            found = inner.bent([(1.0, 1.0, low)], low)
        else:
            found = inner.bent([(1.0, 1.0, low), (-1.0, 1.0, high)], low)
        return replace(found, clipped=(inner, low, high))

    def network(
        self, source: str, order: IntArray | None = None, *, rounded: bool = False, **parts: Any
    ) -> TwoLayerNetwork:
        """The network of these entries in this order; where it has no neurons they pass through pairs of them.

        ``rounded`` where weights were rounded before; ``parts`` go to ``assemble``.

        Shifts and gains of the input become its standardisation. The sign of a gain goes over to the hidden weights,
        and inputs that are multiplied by 0 into the hidden biases.
        """
        if self.size is None or (self.matrix is None and self.hidden is None):
            raise InputError(f"{source} holds no layer; certnet reads x ↦ V (Uᵀx + b)₊ + b₂.")
        whole = (self if self.hidden is not None else self.bent(THROUGH)).multiplied()
        assert whole.matrix is not None
        assert whole.hidden is not None
        assert whole.before is not None
        (gain, shift), (U, bias), m = whole.before, whole.hidden, self.size
        last = np.broadcast_to(whole.gain, (m,))
        rounded = rounded or whole.rounded or not exact_product(whole.matrix, last)
        sign, dead = np.where(gain < 0, -1.0, 1.0), gain == 0
        with np.errstate(all="ignore"):
            # What is not finite is found when the network is put together.
            U, bias, computed = folded(sign[:, None] * U, bias, 1.0 - dead, np.where(dead, shift, 0.0))
            gain, shift = np.where(dead, 1.0, np.abs(gain)), np.where(dead, 0.0, sign * shift)
            plain = bool((gain == 1).all() and (shift == 0).all())
            rounded = rounded or computed or not powers_of_two(gain)
            V, output_bias = (whole.matrix * last).T, np.broadcast_to(whole.shift, (m,))
            order = np.arange(m) if order is None else order
            return assemble(
                source,
                U=U,
                V=V[order],
                hidden_bias=bias,
                output_bias=output_bias[order],
                offset=None if plain else -shift / gain,
                scale=None if plain else 1.0 / gain,
                rounded=rounded,
                **parts,
            )


def beside(chains: Sequence[Chain]) -> Chain:
    """The entries of several chains after one another, over all their neurons."""
    if any(chain.hidden is not None for chain in chains):
        chains = [chain if chain.hidden is not None else chain.bent(THROUGH) for chain in chains]
    chains = [chain.multiplied() for chain in chains]
    if not all(_same(chain.before, chains[0].before) for chain in chains):
        chains = [_of_raw_input(chain) for chain in chains]
    matrices = [chain.matrix for chain in chains if chain.matrix is not None]
    layers = [chain.hidden for chain in chains if chain.hidden is not None]
    neurons = layers[0] if layers else None
    if any(layer is not neurons for layer in layers):
        rows, columns = (np.cumsum([0, *(matrix.shape[axis] for matrix in matrices)]) for axis in (0, 1))
        _require_size(int(rows[-1]), int(columns[-1]))
        matrix = np.zeros((rows[-1], columns[-1]))
        for k, part in enumerate(matrices):
            matrix[rows[k] : rows[k + 1], columns[k] : columns[k + 1]] = part
        neurons = np.hstack([U for U, _ in layers]), np.concatenate([b for _, b in layers])
    else:
        matrix = np.hstack(matrices)
    gain, shift = (
        np.concatenate([np.broadcast_to(part, M.shape[1:]) for M, part in zip(matrices, each, strict=True)])
        for each in ([chain.gain for chain in chains], [chain.shift for chain in chains])
    )
    rounded = any(chain.rounded for chain in chains)
    found = Chain(matrix.shape[1], gain, shift, matrix, chains[0].before, neurons, rounded)
    return replace(found, whole=chains[0].whole)


def _same(a: tuple[FloatArray, FloatArray] | None, b: tuple[FloatArray, FloatArray] | None) -> bool:
    return a is b or (a is not None and b is not None and all(map(np.array_equal, a, b)))


def _of_raw_input(chain: Chain) -> Chain:
    """The same with the input's gain and shift inside its weights."""
    assert chain.before is not None
    assert chain.matrix is not None
    unit = (np.ones(len(chain.before[0])), np.zeros(len(chain.before[0])))
    if chain.hidden is not None:
        U, bias, rounded = folded(*chain.hidden, *chain.before)
        return replace(chain, before=unit, hidden=(U, bias), rounded=chain.rounded or rounded)
    matrix, shift, rounded = folded(chain.matrix, np.zeros(chain.matrix.shape[1]), *chain.before)
    found = replace(
        chain, gain=np.ones(()), shift=shift, matrix=matrix, before=unit, rounded=chain.rounded or rounded, clipped=None
    )
    return found.affine(chain.gain, chain.shift)


def _require_size(*lengths: int) -> None:
    if math.prod(lengths) > LARGEST_MATRIX:
        raise InputError(f"makes a matrix of {' × '.join(map(str, lengths))} numbers, more than certnet computes with")
