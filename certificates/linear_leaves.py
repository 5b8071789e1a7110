"""Leaves whose proof is linear, many at a time: what bounds from linear programs and CROWN give.

If every product of a leaf has the factor t, and neither t_i nor σ occurs, then the form is t times a linear function,
and so is everything that is taken off it. What remains,

    t · (ρ·β_free + q·x + κ t),

need not be positive semidefinite as a form in (β, x, t). It is nonnegative on the region if, with the proved bounds
``0 ≤ β_i ≤ b_i t`` and the least value of q·x,

    Σ min(ρ_i, 0) b_i + min_x q·x + κ ≥ 0.

So q may be anything; nothing has to cancel. All is computed as enclosures, for many leaves at once. A leaf whose
enclosure does not tell is computed again in rational numbers; there only the norm of a ball is rounded, upwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from certificates.arithmetic import Enclosure, RationalMatrix
from certificates.arithmetic.matrix import M, timed
from certificates.failure import NO_DEADLINE, Deadline
from certificates.nonnegativity import triangle_rows
from certificates.proof import LiftedProof, Triangles
from formulations.arrays import FloatArray, IntArray
from formulations.signs import ACTIVE, FREE, INACTIVE

if TYPE_CHECKING:
    from formulations.network import ReluNetwork
    from formulations.robustness import UnsafeCase

EXACT_ENTRIES = 1 << 20
"""Entries of the network's first layer up to which a leaf is computed in rational numbers: that takes seconds, and some
300 MB where they spread over all exponents."""
L = TypeVar("L", Enclosure, RationalMatrix)


@dataclass(frozen=True, eq=False)
class OpenCase:
    """A case of robustness without the neurons whose sign is known.

    Attributes:
        network, case: the statement.
        stable: (m,) signs of the neurons, checked; 0 for the unstable ones.
        bounds: (N, 2) proved bounds of the pre-activations of the N unstable neurons.
    """

    network: "ReluNetwork"
    case: "UnsafeCase"
    stable: IntArray
    bounds: FloatArray

    def generators(self, sign: int = FREE) -> FloatArray:
        """Rows of [U b] of the unstable neurons (N×(d+1)), or of those with another sign."""
        chosen = self.stable == sign
        return np.hstack([self.network.hidden[chosen], self.network.hidden_bias[chosen, None]])

    def linear_form(self, mu: FloatArray, margin: float, matrix: type[M]) -> tuple[M, M]:
        """``μᵀ(H f + h) − margin`` for L weights (L×r): coefficients on α of the unstable neurons (L×N) and on z
        (L×(d+1))."""
        network, case, every = self.network, self.case, np.arange(len(mu))
        weighted = matrix.exact(mu)
        rows = weighted @ matrix.exact(case.H)
        weights = rows @ matrix.exact(network.output)
        constants = rows @ matrix.exact(network.output_bias[:, None]) + weighted @ matrix.exact(case.h[:, None])
        constants = constants - matrix.exact(np.full((len(mu), 1), margin))
        z = matrix.block([[matrix.exact(np.zeros((len(mu), network.hidden.shape[1]))), constants]])
        active, unstable = np.flatnonzero(self.stable == ACTIVE), np.flatnonzero(self.stable == FREE)
        if len(active):
            z = weights.take(every, active) @ matrix.exact(self.generators(ACTIVE)) + z
        return weights.take(every, unstable), z


def is_linear(proof: LiftedProof, leaf: int, neurons: int, rows: int) -> bool:
    """Whether each pair of the leaf has the factor t, the region's first row, and nothing else is used.

    Circuits, which come after the region's ``rows``, are not used either.
    """
    pairs, first = proof.products(leaf)[0], 2 * neurons + rows
    with_t = (pairs == 2 * neurons).any(axis=1).all()
    with_circuit = ((pairs >= first) & (pairs < first + len(proof.circuits.target))).any()
    others = proof.complementarity[leaf].any() or proof.sigma[leaf].any()
    return bool(with_t and not with_circuit and not others)


@dataclass(frozen=True, eq=False)
class LinearLeaves:
    """L leaves of a case: what has to be nonnegative on each, and what is taken off it.

    Attributes:
        opened: the case.
        triangles: checked.
        mu: (L, r) weights of the rows.
        margin: δ.
        signs: (L, N) of the leaves.
        weights: (L, positions) multiplier of each inequality, the other factor being t.
    """

    opened: OpenCase
    triangles: Triangles
    mu: FloatArray
    margin: float
    signs: IntArray
    weights: FloatArray

    def remainders(self, *, exactly: bool, deadline: Deadline = NO_DEADLINE) -> Iterator[Fraction | float]:
        """A lower bound of what remains on each leaf in turn, for t = 1; the leaf is proved where that is ≥ 0.

        ``exactly``: compute a leaf again in rational numbers where floating point does not prove it.
        """
        with np.errstate(all="ignore"):
            enclosed = self._remaining(timed(Enclosure, deadline))
        network, case = self.opened.network, self.opened.case
        entries = network.hidden.size + network.output.size + case.H.size
        for leaf, least in enumerate(enclosed):
            deadline.check()
            if exactly and entries <= EXACT_ENTRIES and not (least >= 0):
                rows = {name: getattr(self, name)[[leaf]] for name in ("mu", "signs", "weights")}
                (least,) = replace(self, **rows)._remaining(timed(RationalMatrix, deadline))
            yield least

    def _remaining(self, matrix: type[L]) -> list[Fraction | float]:
        alpha, z = self.opened.linear_form(self.mu, self.margin, matrix)
        return least(self, *self.remainder(alpha, z, matrix), matrix).tolist()  # type: ignore[no-any-return]

    def remainder(self, alpha: M, z: M, matrix: type[M]) -> tuple[M, M]:
        """ρ (L×N) on β, and what is left on z (L×(d+1)), in the coordinates of each leaf's face, of any function on α
        of the unstable neurons (L×N) and on z (L×(d+1))."""

        region, weights, A, exact = self.opened.case.region, self.weights, self.opened.generators(), matrix.exact
        (N, k), first = A.shape, weights.shape[1] - len(self.triangles.neuron)
        on_alpha, on_beta = alpha - exact(weights[:, :N]), weights[:, N : 2 * N]
        sides = weights[:, 2 * N + 1 : 2 * N + 2 * k - 1]
        lower, upper = exact(sides[:, ::2]), exact(sides[:, 1::2])
        corner = upper @ exact(region.upper[:, None]) - lower @ exact(region.lower[:, None])
        z = z - matrix.block([[lower - upper, exact(weights[:, 2 * N : 2 * N + 1]) + corner]])
        used = np.flatnonzero(weights[:, first:].any(axis=0))
        if len(used):
            chosen = Triangles(self.triangles.neuron[used], self.triangles.bounds[used])
            nu, (first_part, second_part) = exact(weights[:, first + used]), triangle_rows(chosen, A, matrix)
            on_alpha, z = on_alpha - nu @ first_part, z - nu @ second_part
        # On the leaf's face: α = β + a·z where free, α = a·z where active, β = −a·z where inactive.
        inactive = self.signs == INACTIVE
        through = on_alpha.times(np.where(inactive, 0.0, 1.0)) + exact(np.where(inactive, on_beta, 0.0))
        return on_alpha - exact(on_beta), z + through @ exact(A)


def leaf_weights(proof: LiftedProof, leaves: IntArray, neurons: int, rows: int) -> FloatArray:
    """(L, positions) multipliers of linear leaves, each that of the pair of t and the inequality."""
    weights = np.zeros((len(leaves), 2 * neurons + rows + len(proof.circuits.target) + len(proof.triangles.neuron)))
    for row, leaf in zip(weights, leaves.tolist(), strict=True):
        pairs, multipliers = proof.products(leaf)
        row[np.where(pairs[:, 0] == 2 * neurons, pairs[:, 1], pairs[:, 0])] = multipliers
    return weights


def least(leaves: LinearLeaves, rho: L, z: L, matrix: type[L]) -> NDArray[Any]:
    """(L,) lower bounds of ``Σ min(ρ_i, 0) b_i + min q·x + κ``, the sum over free neurons. In rational numbers nothing
    is rounded but the norm of a ball."""

    def times(left: L, column: FloatArray) -> L:
        return left @ matrix.exact(column[:, None])

    opened, every, d = leaves.opened, np.arange(z.shape[0]), z.shape[1] - 1
    region, q = opened.case.region, z.take(every, np.arange(d))
    free = rho.times(np.where(leaves.signs == FREE, 1.0, 0.0))
    rest = z.take(every, np.array([d])) - times((-free).positive_part(), np.maximum(-opened.bounds[:, 0], 0.0))
    found = (rest + times(q.positive_part(), region.lower) - times((-q).positive_part(), region.upper)).lower
    if region.centre is not None and region.radius is not None:
        ball = times(q, region.centre) - q.norms().times(region.radius)
        found = np.fmax(found, (rest + ball).lower)
    return found.ravel()
