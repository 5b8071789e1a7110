"""The DNN relaxation on the face, as the interior point sees it.

One form serves all: training has losses, a bound on a form has the normalisation instead, and the parts of a tree share
the losses of training.
"""

from dataclasses import dataclass, replace

import numpy as np

from certnet.solvers.dual_loss import DualLoss
from certnet.solvers.face_map import FaceMap
from certnet.solvers.linear_algebra import is_positive_definite
from formulations import Part, Program
from formulations._validation import FloatArray, IntArray
from formulations.signs import FREE

HALVINGS = 60
NONE = np.zeros(0)
NO_ROWS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class FaceProblem:
    """minimise ⟨cost, S⟩ over S ⪰ 0 with ⟨Q, G_zz⟩ = rhs, A_t(S) = 0 and products ≥ 0, besides a loss of A_W(S).

    First come the ``quadratics`` Q (see ``FaceMap``) with right-hand sides ``rhs``; those beyond are inequalities
    ⟨Q, G⟩ ≥ 0. The next constraints carry the entries ``shared`` of a W', which belongs to the loss (``DualLoss``) and
    which several problems may have together. The following N carry the free complementarity multipliers t; products
    (p, q) of inequalities may follow. ``unit`` is what 1 is in the dual, ``moment_unit`` in S.

    ``program`` has the outputs of W' in its space, in the basis (c, c') of that loss; ``repeatable`` is as in FaceMap.
    ``output`` is the sign of the only output weight v; where it is not 0, ``output·v ≥ 0`` is the last inequality.
    """

    program: Program
    basis: FloatArray
    cost: FloatArray
    quadratics: FloatArray
    rhs: FloatArray
    rows: FloatArray
    first: IntArray
    second: IntArray
    weight: FloatArray
    unit: float
    moment_unit: float
    shared: IntArray
    repeatable: int
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
    def fixed(self) -> int:
        """Number of constraints that are not products."""
        return len(self.quadratics) + len(self.first)

    @property
    def entries(self) -> slice:
        """Where in y W' is."""
        return slice(len(self.quadratics), len(self.quadratics) + len(self.shared))

    def signed(self, products: int) -> IntArray:
        """Where in y the multipliers are nonnegative: those of quadratics beyond ``rhs``, and of so many products."""
        return np.concatenate([np.arange(len(self.rhs), len(self.quadratics)), self.fixed + np.arange(products)])

    def with_products(self, p: IntArray, q: IntArray) -> FaceMap:
        """The constraint map with the products G_pq appended."""
        return FaceMap(
            self.program.space,
            self.quadratics,
            self.rows,
            np.concatenate([self.first, self.extended(p)]),
            np.concatenate([self.second, self.extended(q)]),
            np.concatenate([self.weight, np.ones(len(p))]),
            self.repeatable,
        )

    def extended(self, position: IntArray) -> IntArray:
        """Positions of inequalities as positions in the extended λ of the constraint map."""
        space = self.program.space
        return np.where(position < space.phi.stop, position, position + space.order - space.phi.stop)

    def inequality_moments(self, G: FloatArray) -> FloatArray:
        """``ℓ_pᵀ G ℓ_q`` for all pairs of inequalities, given the constraint map's Gram matrix G."""
        phi = self.program.space.phi
        if not len(self.rows):
            return G[phi, phi]
        positions = self.extended(np.arange(self.positions))
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


def face_problem(program: Program, loss: DualLoss) -> FaceProblem:
    """Set up cost and fixed constraints of a program.

    Of a form it is ½⟨C, G⟩ with ½⟨E₀, G_zz⟩ = ½, whose multiplier is δ.
    """
    if program.loss is None:
        return replace(
            _problem(program, loss.basis, NO_ROWS, NO_ROWS, NONE),
            rhs=np.array([0.5]),
            unit=program.dual_size,
            moment_unit=program.moment_size,
        )
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
    c = basis.shape[1]
    program = replace(program, space=program.space.with_outputs(c))
    space = program.space
    N, k = space.neurons, space.dimension
    if program.loss is None:
        cost = 0.5 * space.pull_back(program.form)
        quadratics = program.cost()[None]
    else:
        cost = np.zeros((space.face_order, space.face_order))
        cost[N : N + k, N : N + k] = 0.5 * program.gamma * program.cost()
        cost[N + k :, N + k :] = 0.5 * program.gamma * np.eye(c)
        quadratics = np.zeros((0, k, k))
    if program.region.size:
        quadratics = np.concatenate([quadratics, program.region[None]])
    neuron, output = np.arange(N), np.arange(c)
    rows = np.hstack([program.inequalities, np.zeros((len(program.inequalities), c))])
    if sign != FREE:
        rows = np.concatenate([rows, np.concatenate([np.zeros(space.v.start), sign * basis[0]])[None]])
    problem = FaceProblem(
        program=program,
        basis=basis,
        cost=cost,
        quadratics=0.5 * quadratics,
        rhs=NONE,
        rows=rows,
        first=neuron,
        second=N + neuron,
        weight=np.ones(N),
        unit=program.gamma,
        moment_unit=1.0,
        shared=(c * row[:, None] + output).ravel(),
        repeatable=c * len(row) if len(np.unique(position)) < len(position) else 0,
        output=sign,
    )
    return replace(
        problem,
        first=np.concatenate([np.repeat(problem.extended(position), c), problem.first]),
        second=np.concatenate([space.v.start + np.tile(output, len(row)), problem.second]),
        weight=np.concatenate([np.repeat(weight, c), problem.weight]),
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
    y[: len(problem.quadratics)] = program.gamma * program.share
    y[problem.entries.stop :] = -program.gamma / spread
    empty = np.zeros(0, dtype=np.int64)
    constraints = problem.with_products(empty, empty)
    for halving in range(HALVINGS):
        y[problem.entries] = 0.5**halving * loss.zero_network
        if is_positive_definite(problem.cost - constraints.adjoint(y)):
            return y
    y[problem.entries] = 0.0
    return y
