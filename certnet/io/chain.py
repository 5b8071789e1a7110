"""A two-layer network put together from affine maps and ReLUs, one after the other, as readers find them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from certnet.io.folding import LARGEST_MATRIX, ONE, ZERO, Rounded, block_diagonal, folded, joined
from certnet.io.network import TwoLayerNetwork, assemble
from formulations import InputError
from formulations._validation import FloatArray, IntArray

Bounds = FloatArray | float
Hinge = tuple[Bounds, float, Bounds]
"""(c, s, t) of c·(s·value − t)₊, s being 1 or −1."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Entries ``gain·(Mᵀu) + shift`` that are affine functions of u: of the input, or of neurons over it.

    It holds the numbers that it was given, or what float64 makes of products and sums of them, with a bound of how far
    that is from the exact ones. Complaints go on from the name of a layer, without a full stop.

    Attributes:
        size: number of entries.
        gain, shift: scalars or vectors of ``size``.
        matrix: M, with a column for each entry; None for the entries of u themselves.
        before: the input's gain and shift, vectors, once a matrix was applied.
        hidden: hidden weights d×m and biases of the neurons u, None where u is the input.
        clipped: what was clipped, and the bounds, where nothing has happened to it since.
        whole: whether all entries of tensors are one data point's; else their first axis counts data points.
    """

    size: int
    gain: Rounded = ONE
    shift: Rounded = ZERO
    matrix: Rounded | None = None
    before: tuple[Rounded, Rounded] | None = None
    hidden: tuple[Rounded, Rounded] | None = None
    clipped: "tuple[Chain, Bounds, Bounds] | None" = None
    whole: bool = False

    def affine(self, gain: Bounds | Rounded, shift: Bounds | Rounded) -> "Chain":
        """``gain·(…) + shift``, entry by entry."""
        gain, shift = (part if isinstance(part, Rounded) else Rounded(np.asarray(part)) for part in (gain, shift))
        return replace(self, gain=gain * self.gain, shift=gain * self.shift + shift, clipped=None)

    def times(self, weights: Rounded) -> "Chain":
        """The product with a matrix, inputs×outputs."""
        inner, outer = weights.values.shape
        if self.size != inner:
            shape = weights.values.shape
            raise InputError(f"multiplies with a matrix of shape {shape}, which does not fit what comes in")
        gain, shift = self.gain.spread(inner), self.shift.spread(inner)
        fresh = replace(self, size=outer, gain=ONE, shift=ZERO, clipped=None)
        if self.hidden is None and self.matrix is None:
            return replace(fresh, before=(gain, shift), matrix=weights)
        weights, shift = folded(weights, Rounded(np.zeros(outer)), gain, shift)
        if self.matrix is not None:
            _require_size(len(self.matrix.values), outer)
            weights = self.matrix @ weights
        return replace(fresh, matrix=weights, shift=shift)

    def chosen(self, entries: IntArray) -> "Chain":
        """These entries in this order; some may be missing, and some there twice."""
        whole = self.multiplied()
        gain, shift = (part.spread(whole.size).changed(lambda a: a[entries]) for part in (whole.gain, whole.shift))
        matrix = whole.weights.changed(lambda M: M[:, entries])
        return replace(whole, size=len(entries), matrix=matrix, gain=gain, shift=shift, clipped=None)

    def multiplied(self) -> "Chain":
        """The same entries with a matrix, the identity where there is none."""
        if self.matrix is not None:
            return self
        _require_size(self.size, self.size)
        # Gain and shift stay behind it, where nothing is rounded.
        bare = replace(self, gain=ONE, shift=ZERO).times(Rounded(np.eye(self.size)))
        return replace(bare, gain=self.gain, shift=self.shift)

    @property
    def weights(self) -> Rounded:
        assert self.matrix is not None
        return self.matrix

    def bent(self, hinges: Sequence[Hinge], shift: Bounds = 0.0) -> "Chain":
        """``shift + Σ c·(s·value − t)₊``, entry by entry, of scalars or vectors."""
        if self.hidden is not None:
            raise InputError(
                "stands after another layer of ReLUs; certnet proves networks with one hidden layer of them"
            )
        whole = self.multiplied()
        m = whole.size
        U, bias = whole.weights * whole.gain.spread(m), whole.shift.spread(m)
        signed = [(U, bias, at) if sign > 0 else (-U, -bias, at) for _, sign, at in hinges]
        hidden = (
            joined(np.hstack, [weights for weights, _, _ in signed]),
            joined(np.concatenate, [own + Rounded(-np.asarray(at)) for _, own, at in signed]),
        )
        found = Chain(size=m, before=whole.before, hidden=hidden, whole=self.whole)
        if len(hinges) > 1:
            _require_size(len(hinges) * m, m)
            last = np.vstack([np.diag(np.broadcast_to(c, (m,))) for c, _, _ in hinges])
            return replace(found, matrix=Rounded(last)).affine(1.0, shift)
        return found.affine(hinges[0][0], shift)

    def leaky(self, slope: Bounds) -> "Chain":
        """Each entry where it is positive, else ``slope`` times it; with slope 1 it stays, as a sum of two ReLUs."""
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

        ``rounded`` where weights were rounded before, nobody knows how much; ``parts`` go to ``assemble``.

        Shifts and gains of the input become its standardisation. The sign of a gain goes over to the hidden weights,
        and inputs that are multiplied by 0 into the hidden biases.
        """
        if self.matrix is None and self.hidden is None:
            raise InputError(f"{source} holds no layer; certnet reads x ↦ V (Uᵀx + b)₊ + b₂.")
        whole = (self if self.hidden is not None else self.leaky(1.0)).multiplied()
        assert whole.hidden is not None
        assert whole.before is not None
        (gain, shift), (U, bias), m = whole.before, whole.hidden, self.size
        order = np.arange(m) if order is None else order
        V, last = (
            part.changed(lambda a: a.T[order]) for part in (whole.weights * whole.gain.spread(m), whole.shift.spread(m))
        )
        sign, dead = Rounded(np.where(gain.values < 0, -1.0, 1.0)), gain.values == 0
        with np.errstate(all="ignore"):
            # What is not finite is found when the network is put together.
            own = folded(U, bias, sign * Rounded(1.0 - dead), shift.changed(lambda t: np.where(dead, t, 0.0)))
            size, moved = np.where(dead, 1.0, np.abs(gain.values)), np.where(dead, 0.0, sign.values * shift.values)
            plain = bool((size == 1).all() and (moved == 0).all())
            scale, offset = Rounded(np.ones(())) / Rounded(size), Rounded(-moved) / Rounded(size)
            raw = own if plain else folded(U, bias, gain, shift)
        computed = gain, shift, *own, V, last, scale, offset
        return assemble(
            source,
            U=own[0].values,
            V=V.values,
            hidden_bias=own[1].values,
            output_bias=last.values,
            offset=None if plain else offset.values,
            scale=None if plain else scale.values,
            rounded=rounded or any(part.off for part in computed),
            raw=None if rounded else (*raw, V, last),
            **parts,
        )


def beside(chains: Sequence[Chain]) -> Chain:
    """The entries of several chains after one another, over all their neurons."""
    if any(chain.hidden is not None for chain in chains):
        chains = [chain if chain.hidden is not None else chain.leaky(1.0) for chain in chains]
    chains = [chain.multiplied() for chain in chains]
    if not all(_same(chain.before, chains[0].before) for chain in chains):
        chains = [_of_raw_input(chain) for chain in chains]
    matrices = [chain.weights for chain in chains]
    layers = [chain.hidden for chain in chains if chain.hidden is not None]
    neurons = layers[0] if layers else None
    if any(layer is not neurons for layer in layers):
        _require_size(sum(len(part.values) for part in matrices), sum(chain.size for chain in chains))
        matrix = joined(block_diagonal, matrices)
        neurons = joined(np.hstack, [U for U, _ in layers]), joined(np.concatenate, [b for _, b in layers])
    else:
        matrix = joined(np.hstack, matrices)
    gain = joined(np.concatenate, [chain.gain.spread(chain.size) for chain in chains])
    shift = joined(np.concatenate, [chain.shift.spread(chain.size) for chain in chains])
    size = sum(chain.size for chain in chains)
    return Chain(size, gain, shift, matrix, chains[0].before, neurons, whole=chains[0].whole)


Affine = tuple[Rounded, Rounded]


def _same(a: Affine | None, b: Affine | None) -> bool:
    if a is b or a is None or b is None:
        return a is b
    return all(x.off == y.off == 0 and np.array_equal(x.values, y.values) for x, y in zip(a, b, strict=True))


def _of_raw_input(chain: Chain) -> Chain:
    """The same with the input's gain and shift inside its weights."""
    assert chain.before is not None
    d = len(chain.before[0].values)
    unit = Rounded(np.ones(d)), Rounded(np.zeros(d))
    if chain.hidden is not None:
        return replace(chain, before=unit, hidden=folded(*chain.hidden, *chain.before))
    matrix, shift = folded(chain.weights, Rounded(np.zeros(chain.size)), *chain.before)
    found = replace(chain, gain=ONE, shift=shift, matrix=matrix, before=unit, clipped=None)
    return found.affine(chain.gain, chain.shift)


def _require_size(*lengths: int) -> None:
    if math.prod(lengths) > LARGEST_MATRIX:
        raise InputError(f"makes a matrix of {' × '.join(map(str, lengths))} numbers, more than certnet computes with")
