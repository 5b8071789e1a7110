"""The bound of one node: the DNN relaxation of pricing where some signs are fixed."""

from dataclasses import dataclass, replace

import numpy as np

from certificates.making.repair import project
from certnet.solvers.interface import Progress, SolverOptions
from certnet.solvers.interior_point import InteriorPointSolver
from formulations import Dual, LiftedSpace, Part, Primal, Program, restrict
from formulations._validation import FloatArray, IntArray

TOLERANCE = 1e-7
NEAR = 1e-2
"""Relative residual, and violation of what is left out, from which the objective of an iterate tells something."""
EXCESS_SHARE = 0.1
NEGLIGIBLE = 1e-10
"""Multipliers below this part of the largest are dropped before the final repair."""


@dataclass(frozen=True, eq=False)
class Multipliers:
    """N ≥ 0 over all inequalities of the whole, as entries p ≤ q of a symmetric matrix, and t for every generator.

    ``positions`` is their number: 2N signs, then the whole's own inequalities.
    """

    p: IntArray
    q: IntArray
    value: FloatArray
    t: FloatArray
    positions: int

    @classmethod
    def from_matrix(cls, N: FloatArray, t: FloatArray) -> "Multipliers":
        """Read a symmetric N (positions×positions); what is negligible is left out."""
        upper = np.triu(N)
        p, q = np.nonzero(upper > NEGLIGIBLE * upper.max(initial=0.0))
        return cls(p, q, upper[p, q], t, len(N))

    def times(self, factor: float) -> "Multipliers":
        """The multipliers of a form that is ``factor`` times as large."""
        return replace(self, value=factor * self.value, t=factor * self.t)

    def matrix(self) -> FloatArray:
        """N with t/2 at the complementary places (positions×positions)."""
        neuron, m = np.arange(len(self.t)), len(self.t)
        N = np.zeros((self.positions, self.positions))
        N[self.p, self.q] = N[self.q, self.p] = self.value
        N[neuron, m + neuron] = N[m + neuron, neuron] = 0.5 * self.t
        return N


@dataclass(frozen=True, eq=False)
class NodeBound:
    """A proved-up-to-rounding bound on the squared price in a node, and what its children start from.

    Attributes:
        h_squared: ``‖(ω∘W)ᵀφ‖² ≤ h_squared`` on the node's cone with zᵀEz ≤ 1.
        multipliers: the dual that shows it.
        S: (f+k) square, the primal iterate in (β_free, z); where W is free, (f+k+c) with the outputs.
        branch: generator to split, −1 when none is free.
        direction: (k,) a point z to try as a neuron.
        steps: Newton steps.
    """

    h_squared: float
    multipliers: Multipliers
    S: FloatArray
    branch: int
    direction: FloatArray
    steps: int

    def times(self, factor: float) -> "NodeBound":
        """The bound of a form that is ``factor`` times as large; S is the same."""
        return replace(self, h_squared=factor * self.h_squared, multipliers=self.multipliers.times(factor))


@dataclass(frozen=True, eq=False)
class Start:
    """What a child takes over: the dual of its parent, and its primal iterate with the free generators it is about."""

    multipliers: Multipliers
    S: FloatArray
    free: IntArray

    def times(self, factor: float) -> "Start":
        """The same for a form that is ``factor`` times as large."""
        return replace(self, multipliers=self.multipliers.times(factor))

    def primal(self, node: Part) -> Primal | None:
        """The parent's S without the coordinates that the child has not; None if nothing is left."""
        kept = np.flatnonzero(np.isin(self.free, node.free))
        f, k = len(self.free), node.space.dimension
        index = np.concatenate([kept, f + np.arange(k)])
        S = self.S[np.ix_(index, index)]
        size = float(np.sum(node.whole.metric * S[len(kept) :, len(kept) :]))
        return Primal(S / size, 0) if size > 0 else None


def bound_node(
    program: Program,
    W: FloatArray,
    signs: IntArray,
    *,
    start: Start | None = None,
    enough: float = 0.0,
    tolerance: float = TOLERANCE,
    time_limit: float | None = None,
) -> NodeBound:
    """Bound the price in one node with the interior point, warm-started from its parent.

    Args:
        program: the presolved program.
        W: the dual that is priced, in its coordinates.
        signs: (N,) fixed signs.
        start: of the parent.
        enough: the solve ends as soon as h² is at most this, or as it is clear that it cannot be.
        tolerance: of the solve, relative.
        time_limit: seconds.
    """
    node = restrict(program, signs)
    form = node.pricing(W)
    if not form.form.any():
        return _of_nothing(program, node)

    def callback(progress: Progress) -> bool:
        bound, value = -progress.lower_bound, -progress.objective
        if bound <= enough:
            return True
        # A relaxation whose own value is too large has to be split; how much too large need not be known exactly.
        is_near = progress.primal_residual <= NEAR and progress.dual_residual <= NEAR
        is_near = is_near and len(node.free) > 0
        return is_near and abs(bound - value) <= EXCESS_SHARE * (bound - enough) and progress.violation() <= NEAR

    warm = None
    if start is not None:
        warm = (start.primal(node), Dual(form.target, node.restrict(start.multipliers.matrix())))
    options = SolverOptions(tolerance=tolerance, callback=callback, warm_start=warm, time_limit=time_limit)
    result = InteriorPointSolver().solve(form, options).uninterrupted()
    assert result.primal is not None  # the interior point always has both
    assert result.dual is not None
    # The interior point's dual is feasible up to rounding, which the final repair charges.
    _, N, own_t = project(form, result.dual)
    t = np.zeros(len(signs))
    t[node.free] = own_t
    S = result.primal.S
    return NodeBound(
        h_squared=-form.to_original(result.statistics["dual_value"]),
        multipliers=Multipliers.from_matrix(node.lift(N), t),
        S=S,
        branch=_branch(program, W, node, S),
        direction=_direction(form, S),
        steps=result.iterations,
    )


def _of_nothing(program: Program, node: Part) -> NodeBound:
    """The bound of a node where every feature vanishes."""
    none, k = np.zeros(0, dtype=np.int64), program.space.dimension
    multipliers = Multipliers(none, none, np.zeros(0), np.zeros(program.space.neurons), program.positions)
    order = node.space.with_outputs(0).face_order
    branch = int(node.free[0]) if len(node.free) else -1
    return NodeBound(0.0, multipliers, np.eye(order), branch, np.eye(k)[0], 0)


def generator_weight(program: Program, W: FloatArray) -> FloatArray:
    """How much each generator (N,) counts in the loss: ``ω‖W_i‖``, summed over its two activations."""
    weight = np.zeros(2 * program.space.neurons)
    weight[program.feature] = program.weight * np.linalg.norm(W, axis=1)
    m = program.space.neurons
    total: FloatArray = weight[:m] + weight[m : 2 * m]
    return total


def branching_scores(program: Program, W: FloatArray, free: IntArray, S: FloatArray) -> FloatArray:
    """(f,) For each free generator the smaller of its two activations in S, measured in the loss.

    S has the coordinates β of the free generators, then z; what follows does not matter.
    """
    f, k = len(free), program.space.dimension
    size = np.maximum(np.diag(LiftedSpace(program.space.generators[free]).moment(S[: f + k, : f + k]))[: 2 * f], 0.0)
    scores: FloatArray = np.minimum(size[:f], size[f:]) * generator_weight(program, W)[free]
    return scores


def _branch(program: Program, W: FloatArray, node: Part, S: FloatArray) -> int:
    """The free generator whose two activations are both large."""
    return int(node.free[np.argmax(branching_scores(program, W, node.free, S))]) if len(node.free) else -1


def _direction(form: Program, S: FloatArray) -> FloatArray:
    """The leading direction of S_zz."""
    z = slice(form.space.neurons, form.space.face_order)
    _, vectors = np.linalg.eigh(0.5 * (S[z, z] + S[z, z].T))
    return np.asarray(vectors[:, -1])
