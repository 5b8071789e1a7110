"""The DNN relaxation on the face, as the interior point sees it.

One form serves both kinds of programs: training has losses, a bound on a form has the normalisation instead.
"""

from dataclasses import dataclass, replace

import numpy as np

from certnet.solvers._newton import is_positive_definite
from certnet.solvers._rank_two import FaceMap
from formulations import Dual, Part, Program, SquaredLoss
from formulations._validation import FloatArray, IntArray

HALVINGS = 60


@dataclass(frozen=True, eq=False)
class FaceProblem:
    """minimise ½‖target − A_W(S)‖² + ⟨cost, S⟩ over S ⪰ 0 with ⟨Q, G_zz⟩ = rhs, A_t(S) = 0 and products ≥ 0.

    The first ``losses`` constraints carry W, or the first ones the ``quadratics`` Q (q, k, k) with right-hand sides
    ``rhs`` (q,): no program has both. The following N carry the free complementarity multipliers t; products (p, q) of
    inequalities may follow. ``unit`` is what 1 is in the dual, ``moment_unit`` in S.
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

    @property
    def order(self) -> int:
        """Order N+k+c of S."""
        return len(self.cost)

    @property
    def losses(self) -> int:
        """Number of entries of W."""
        return len(self.target)

    @property
    def fixed(self) -> int:
        """Number of constraints that are not products."""
        return len(self.rhs) + len(self.first)

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
        """The dual objective, in the program's own scale."""
        W = y[: self.losses]
        return float(self.rhs @ y[: len(self.rhs)] + W @ self.target - 0.5 * np.sum(W**2))

    def raw_dual(self, y: FloatArray, p: IntArray, q: IntArray) -> Dual:
        """(W, N) of the multipliers y; products that are no constraint have N_pq = 0."""
        neurons = self.program.space.neurons
        N = np.zeros((self.program.positions, self.program.positions))
        neuron = np.arange(neurons)
        N[neuron, neurons + neuron] = y[self.fixed - neurons : self.fixed]
        N[p, q] = y[self.fixed :]
        W = y[: self.losses].reshape(self.program.target.shape).copy()
        return Dual(W, N + N.T, y[1 : len(self.rhs)].copy())


def face_problem(program: Program) -> FaceProblem:
    """Set up cost and fixed constraints of a program."""
    return _of_form(program) if program.loss is None else _of_training(program)


def node_problem(program: Program, node: Part) -> FaceProblem:
    """A part of training where some signs are fixed; its targets are those of the features that it has.

    The losses belong to all parts of a tree together, so ``dual_value`` and ``raw_dual`` mean nothing here.
    """
    c = program.space.outputs
    loss = SquaredLoss(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, c)))
    inner = Program(node.space, program.metric, loss, inequalities=node.inequalities, gamma=program.gamma)
    problem = _of_training(inner)
    place = np.repeat(problem.extended(node.places), c)
    v = node.space.v.start + np.tile(np.arange(c), len(node.places))
    return replace(
        problem,
        first=np.concatenate([place, problem.first]),
        second=np.concatenate([v, problem.second]),
        weight=np.concatenate([np.repeat(program.weight[node.features], c), problem.weight]),
        target=program.target[node.features].ravel(),
    )


def _of_form(program: Program) -> FaceProblem:
    """½⟨C, G⟩ with ½⟨E, G_zz⟩ = ½ and ½⟨Q, G_zz⟩ = 0: the first multiplier is δ, and the next are those of Q."""
    neuron = np.arange(program.space.neurons)
    return FaceProblem(
        program=program,
        cost=0.5 * program.space.pull_back(program.form),
        quadratics=0.5 * np.concatenate([program.metric[None], program.equalities]),
        rhs=np.append(0.5, np.zeros(len(program.equalities))),
        rows=program.inequalities,
        first=neuron,
        second=len(neuron) + neuron,
        weight=np.ones(len(neuron)),
        target=np.zeros(0),
        unit=program.dual_size,
        moment_unit=program.moment_size,
    )


def _of_training(program: Program) -> FaceProblem:
    space = program.space
    N, k, c = space.neurons, space.dimension, space.outputs
    cost = np.zeros((space.face_order, space.face_order))
    cost[N : N + k, N : N + k] = 0.5 * program.gamma * program.metric
    cost[N + k :, N + k :] = 0.5 * program.gamma * np.eye(c)
    neuron = np.arange(N)
    return FaceProblem(
        program=program,
        cost=cost,
        quadratics=np.zeros((0, k, k)),
        rhs=np.zeros(0),
        rows=np.hstack([program.inequalities, np.zeros((len(program.inequalities), c))]),
        first=np.concatenate([np.repeat(program.feature, c), neuron]),
        second=np.concatenate([space.v.start + np.tile(np.arange(c), len(program.feature)), N + neuron]),
        weight=np.concatenate([np.repeat(program.weight, c), np.ones(N)]),
        target=program.target.ravel(),
        unit=program.gamma,
        moment_unit=1.0,
    )


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
