"""The DNN relaxation on the face, as the interior point sees it.

One form serves all: training has losses, a bound on a form has the normalisation instead, and the parts of a tree share
the losses of training.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from certnet.solvers.face_map import FaceMap
from certnet.solvers.linear_algebra import is_positive_definite
from formulations import Dual, Loss, Part, Program
from formulations._validation import FloatArray, IntArray

HALVINGS = 60
NONE = np.zeros(0)


@dataclass(frozen=True, eq=False)
class FaceProblem:
    """minimise ½‖target − A_W(S)‖² + ⟨cost, S⟩ over S ⪰ 0 with ⟨Q, G_zz⟩ = rhs, A_t(S) = 0 and products ≥ 0.

    The first ``losses`` constraints carry W, or the first ones the ``quadratics`` Q (see ``FaceMap``) with right-hand
    sides ``rhs`` (those beyond are inequalities ⟨Q, G⟩ ≥ 0), or the first ones carry the entries ``shared`` of a W that
    several problems have together: no program has two of these. The following N carry the free complementarity
    multipliers t; products (p, q) of inequalities may follow. ``unit`` is what 1 is in the dual, ``moment_unit`` in S.
    """

    program: Program
    cost: FloatArray
    quadratics: FloatArray
    rhs: FloatArray
    rows: FloatArray
    first: IntArray
    second: IntArray
    weight: FloatArray
    target: FloatArray
    unit: float
    moment_unit: float
    shared: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def order(self) -> int:
        """Order N+k+c of S."""
        return len(self.cost)

    @property
    def neurons(self) -> int:
        """N."""
        return self.program.space.neurons

    @property
    def losses(self) -> int:
        """Number of entries of its own W."""
        return len(self.target)

    @property
    def fixed(self) -> int:
        """Number of constraints that are not products."""
        return len(self.quadratics) + len(self.first)

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
        positions = self.extended(np.arange(self.program.positions))
        return G[np.ix_(positions, positions)]

    def dual_value(self, y: FloatArray) -> float:
        """The dual objective without a shared W, in the program's own scale."""
        W = y[: self.losses]
        return float(self.rhs @ y[: len(self.rhs)] + W @ self.target - 0.5 * np.sum(W**2))

    def raw_dual(self, y: FloatArray, p: IntArray, q: IntArray) -> Dual:
        """(W, N) of the multipliers y; products that are no constraint have N_pq = 0."""
        neurons, positions = self.neurons, self.program.positions
        N = np.zeros((positions, positions))
        neuron = np.arange(neurons)
        N[neuron, neurons + neuron] = y[self.fixed - neurons : self.fixed]
        N[p, q] = y[self.fixed :]
        W = y[: self.losses].reshape(self.program.shape).copy()
        return Dual(W, N + N.T, y[1 : len(self.rhs)].copy())

    def multipliers(self, first: FloatArray, N: FloatArray, p: IntArray, q: IntArray) -> FloatArray:
        """y with these multipliers of W or of the quadratics, and with N's."""
        neuron = np.arange(self.neurons)
        return np.concatenate([first, N[neuron, len(neuron) + neuron], N[p, q]])


def face_problem(program: Program) -> FaceProblem:
    """Set up cost and fixed constraints of a program.

    Of a form it is ½⟨C, G⟩ with ½⟨E, G_zz⟩ = ½ and ½⟨Q, G_zz⟩ = 0: the first multiplier is δ, the next those of Q.
    """
    space = program.space
    N, k, c = space.neurons, space.dimension, space.outputs
    if program.loss is None:
        cost = 0.5 * space.pull_back(program.form)
        quadratics = 0.5 * np.concatenate([program.metric[None], program.equalities])
        rhs = np.append(0.5, np.zeros(len(program.equalities)))
    else:
        cost = np.zeros((space.face_order, space.face_order))
        cost[N : N + k, N : N + k] = 0.5 * program.gamma * program.metric
        cost[N + k :, N + k :] = 0.5 * program.gamma * np.eye(c)
        quadratics, rhs = np.zeros((0, k, k)), NONE
    neuron = np.arange(N)
    return FaceProblem(
        program=program,
        cost=cost,
        quadratics=quadratics,
        rhs=rhs,
        rows=np.hstack([program.inequalities, np.zeros((len(program.inequalities), c))]),
        first=np.concatenate([np.repeat(program.feature, c), neuron]),
        second=np.concatenate([space.v.start + np.tile(np.arange(c), len(program.feature)), N + neuron]),
        weight=np.concatenate([np.repeat(program.weight, c), np.ones(N)]),
        target=zero_network_dual(program).ravel(),
        unit=program.dual_size if len(rhs) else program.gamma,
        moment_unit=program.moment_size if len(rhs) else 1.0,
    )


def node_problem(program: Program, node: Part) -> FaceProblem:
    """A part of training where some signs are fixed, which shares W with the others."""
    c, entries = program.space.outputs, np.arange(program.shape[0] * program.shape[1]).reshape(program.shape)
    loss = Loss(np.zeros((0, c)))  # what is in the loss is shared
    problem = face_problem(
        Program(node.space, program.metric, loss, inequalities=node.inequalities, gamma=program.gamma)
    )
    v = node.space.v.start + np.tile(np.arange(c), len(node.places))
    return replace(
        problem,
        first=np.concatenate([np.repeat(problem.extended(node.places), c), problem.first]),
        second=np.concatenate([v, problem.second]),
        weight=np.concatenate([np.repeat(program.weight[node.features], c), problem.weight]),
        shared=entries[node.features].ravel(),
    )


def zero_network_dual(program: Program) -> FloatArray:
    """The W of the network without neurons: the targets of the squared loss; 0×0 in pricing."""
    return np.zeros((0, 0)) if program.loss is None else program.loss.dual(np.zeros(program.shape))


def feasible_multipliers(problem: FaceProblem, program: Program) -> FloatArray:
    """A strictly feasible dual of training without products: ``t_i = −τ`` makes β definite, W is a small part of T.

    With W = 0 the slack is ``γ/2 zᵀEz + τ αᵀβ`` on the face, definite while ``τ λ_max(E⁻¹AᵀA) < 2γ``.
    """
    A = program.space.generators
    spread = float(np.linalg.eigvalsh(A @ np.linalg.solve(program.metric, A.T))[-1])
    y = np.zeros(problem.fixed)
    y[problem.losses :] = -program.gamma / spread
    empty = np.zeros(0, dtype=np.int64)
    constraints = problem.with_products(empty, empty)
    for halving in range(HALVINGS):
        y[: problem.losses] = 0.5**halving * problem.target
        if is_positive_definite(problem.cost - constraints.adjoint(y)):
            return y
    y[: problem.losses] = 0.0
    return y
