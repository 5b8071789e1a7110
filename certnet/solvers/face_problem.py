"""The DNN relaxation on the face, as the interior point sees it.

One form serves all: training has losses, a bound on a form has the normalisation instead, and the parts of a tree share
the losses of training.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from certnet.solvers.dual_loss import DualLoss
from certnet.solvers.face_map import FaceMap
from certnet.solvers.linear_algebra import is_positive_definite
from formulations import LiftedSpace, Part, Program
from formulations._validation import FloatArray, IntArray
from formulations.signs import FREE

HALVINGS = 60
NONE = np.zeros(0)
SMALL_MOMENT, SMALL_MULTIPLIER = 1e-14, 1e-6


@dataclass(frozen=True, eq=False)
class FaceProblem:
    """minimise ⟨cost, S⟩ over S ⪰ 0 with ⟨Q, G_zz⟩ = rhs, A_t(S) = 0 and products ≥ 0, besides a loss of A_W(S).

    ``map`` has what is always constrained. First come quadratics with right-hand sides ``rhs``; those beyond are
    inequalities ⟨Q, G⟩ ≥ 0. The next constraints carry the entries ``shared`` of a W', which belongs to the loss
    (``DualLoss``) and which several problems may have together. The last N carry the free complementarity multipliers
    t; products (p, q) of inequalities may follow. ``unit`` is what 1 is in the dual, ``moment_unit`` in S.

    ``program`` has the outputs of W' in its space, in the basis (c, c') of that loss. ``output`` is the sign of the
    only output weight v; where it is not 0, ``output·v ≥ 0`` is the last inequality.
    """

    program: Program
    basis: FloatArray
    cost: FloatArray
    map: FaceMap
    rhs: FloatArray
    unit: float
    moment_unit: float
    shared: IntArray
    output: int = FREE

    @property
    def positions(self) -> int:
        """Number of inequalities."""
        return self.program.positions + (self.output != FREE)

    @property
    def order(self) -> int:
        """Order N+k+c of S."""
        return len(self.cost)

    @property
    def neurons(self) -> int:
        """N."""
        return self.program.space.neurons

    @property
    def quadratics(self) -> int:
        """Number of quadratics."""
        return len(self.map.quadratics)

    @property
    def fixed(self) -> int:
        """Number of constraints that are not products."""
        return self.quadratics + len(self.map.first)

    @property
    def entries(self) -> slice:
        """Where in y W' is."""
        return slice(self.quadratics, self.quadratics + len(self.shared))

    def signed(self, products: int) -> IntArray:
        """Where in y the multipliers are nonnegative: those of quadratics beyond ``rhs``, and of so many products."""
        return np.concatenate([np.arange(len(self.rhs), self.quadratics), self.fixed + np.arange(products)])

    def with_products(self, p: IntArray, q: IntArray) -> FaceMap:
        """The constraint map with the products G_pq appended."""
        space, own = self.program.space, self.map
        first = np.concatenate([own.first, _extended(space, p)])
        second = np.concatenate([own.second, _extended(space, q)])
        return replace(own, first=first, second=second, weight=np.append(own.weight, np.ones(len(p))))

    def inequality_moments(self, G: FloatArray) -> FloatArray:
        """``ℓ_pᵀ G ℓ_q`` for all pairs of inequalities, given the constraint map's Gram matrix G."""
        phi = self.program.space.phi
        if not len(self.map.rows):
            return G[phi, phi]
        positions = _extended(self.program.space, np.arange(self.positions))
        return G[np.ix_(positions, positions)]

    def products(self, y: FloatArray, p: IntArray, q: IntArray) -> FloatArray:
        """N of the multipliers y; products that are no constraint have N_pq = 0."""
        neurons, N = self.neurons, np.zeros((self.positions, self.positions))
        neuron = np.arange(neurons)
        N[neuron, neurons + neuron] = y[self.fixed - neurons : self.fixed]
        N[p, q] = y[self.fixed :]
        return N + N.T

    def with_output(self, N: FloatArray, factor: float) -> FloatArray:
        """N with multipliers of the output's inequality in other units, which is ``(κW)ᵀφ/γ`` for the best v."""
        if self.output == FREE:
            return N
        unit = np.append(np.ones(len(N) - 1), factor)
        return np.asarray(unit[:, None] * N * unit)

    def multipliers(self, first: FloatArray, N: FloatArray, p: IntArray, q: IntArray) -> FloatArray:
        """y with these entries of W' or multipliers of the quadratics, and with N's."""
        neuron = np.arange(self.neurons)
        return np.concatenate([first, N[neuron, len(neuron) + neuron], N[p, q]])


def _extended(space: LiftedSpace, position: IntArray) -> IntArray:
    """Positions of inequalities as positions in the extended λ of the constraint map."""
    return np.where(position < space.phi.stop, position, position + space.order - space.phi.stop)


def face_problem(program: Program, loss: DualLoss) -> FaceProblem:
    """Set up cost and fixed constraints of a program.

    Of a form it is ½⟨C, G⟩ with ½⟨E₀, G_zz⟩ = ½, whose multiplier is δ.
    """
    return _problem(program, loss.basis, program.feature, np.arange(len(program.feature)), program.weight)


def node_problem(program: Program, node: Part, loss: DualLoss) -> FaceProblem:
    """A part of training where some signs are fixed, which shares W' with the others."""
    own = replace(program, space=node.space, inequalities=node.inequalities)
    weight = program.weight[node.features]
    return _problem(own, loss.basis, node.places, node.features, weight, node.output)


def _problem(
    program: Program, basis: FloatArray, position: IntArray, row: IntArray, weight: FloatArray, sign: int = FREE
) -> FaceProblem:
    """The problem in which these rows of the loss see these inequalities."""
    c, is_form = basis.shape[1], program.loss is None
    program = replace(program, space=program.space.with_outputs(c))
    space = program.space
    N, k = space.neurons, space.dimension
    if is_form:
        cost = 0.5 * space.pull_back(program.form)
    else:
        cost = np.zeros((space.face_order, space.face_order))
        cost[N : N + k, N : N + k] = 0.5 * program.gamma * program.cost()
        cost[N + k :, N + k :] = 0.5 * program.gamma * np.eye(c)
    quadratics = [program.cost()] * is_form + [program.region] * bool(program.region.size)
    neuron, output = np.arange(N), np.arange(c)
    rows = np.hstack([program.inequalities, np.zeros((len(program.inequalities), c))])
    if sign != FREE:
        rows = np.concatenate([rows, np.concatenate([np.zeros(space.v.start), sign * basis[0]])[None]])
    return FaceProblem(
        program=program,
        basis=basis,
        cost=cost,
        map=FaceMap(
            space=space,
            quadratics=0.5 * np.reshape(quadratics, (-1, k, k)),
            rows=rows,
            first=np.concatenate([np.repeat(_extended(space, position), c), neuron]),
            second=np.concatenate([space.v.start + np.tile(output, len(row)), N + neuron]),
            weight=np.concatenate([np.repeat(weight, c), np.ones(N)]),
            repeatable=c * len(row) if len(np.unique(position)) < len(position) else 0,
        ),
        rhs=np.array([0.5]) if is_form else NONE,
        unit=program.dual_size if is_form else program.gamma,
        moment_unit=program.moment_size if is_form else 1.0,
        shared=(c * row[:, None] + output).ravel(),
        output=sign,
    )


def feasible_multipliers(problem: FaceProblem, loss: DualLoss) -> FloatArray:
    """A strictly feasible dual of training without products: ``t_i = −τ`` makes β definite, W' is a small part of that
    of the network without neurons.

    With W = 0 and the program's share of its region the slack is ``γ/2 zᵀEz + τ αᵀβ`` on the face, definite while
    ``τ λ_max(E⁻¹AᵀA) < 2γ``.
    """
    program = problem.program
    A = program.space.generators
    spread = float(np.linalg.eigvalsh(A @ np.linalg.solve(program.metric, A.T))[-1])
    y = np.zeros(problem.fixed)
    y[: problem.quadratics] = program.gamma * program.share
    y[problem.entries.stop :] = -program.gamma / spread
    for halving in range(HALVINGS):
        y[problem.entries] = 0.5**halving * loss.zero_network
        if is_positive_definite(problem.cost - problem.map.adjoint(y)):
            return y
    y[problem.entries] = 0.0
    return y


def _is_product(positions: int, neurons: int) -> NDArray[np.bool_]:
    """Mask of positions p < q that are products: not complementary, and no square (those are ≥ 0 anyway)."""
    mask = np.triu(np.ones((positions, positions), dtype=bool), 1)
    neuron = np.arange(neurons)
    mask[neuron, neurons + neuron] = False
    return mask


def _correlations(moments: FloatArray, neurons: int) -> FloatArray:
    """``G_pq / √(G_pp G_qq)`` of products, 0 elsewhere; a product is judged by it because rows differ in size."""
    size = np.sqrt(np.maximum(np.diag(moments), SMALL_MOMENT))
    return np.where(_is_product(len(moments), neurons), moments / np.outer(size, size), 0.0)


def least_correlation(moments: FloatArray, neurons: int) -> float:
    """The most violated product by its correlation, at most 0; ``moments`` are those of all inequalities."""
    return float(np.min(_correlations(moments, neurons), initial=0.0))


def violated(
    moments: FloatArray, neurons: int, known: tuple[IntArray, IntArray], *, tolerance: float, count: int
) -> tuple[IntArray, IntArray]:
    """At most ``count`` products outside ``known`` whose correlation is below ``-tolerance``, worst first."""
    correlation = _correlations(moments, neurons)
    correlation[known] = 0.0
    p, q = np.nonzero(correlation < -tolerance)
    worst = np.argsort(correlation[p, q], kind="stable")[: max(count, 0)]
    return p[worst], q[worst]


def all_products(positions: int, neurons: int) -> tuple[IntArray, IntArray]:
    """Every product."""
    p, q = np.nonzero(_is_product(positions, neurons))
    return p, q


def largest(N: FloatArray, neurons: int, count: int) -> tuple[IntArray, IntArray]:
    """At most ``count`` products by the size of their multipliers N_pq, largest first, without negligible ones."""
    size = np.where(_is_product(len(N), neurons), N, 0.0)
    p, q = np.nonzero(size > SMALL_MULTIPLIER * max(float(size.max()), 1e-300))
    first = np.argsort(-size[p, q], kind="stable")[: max(count, 0)]
    return p[first], q[first]
