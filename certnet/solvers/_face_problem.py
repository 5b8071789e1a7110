"""The DNN relaxation on the face, as the interior point sees it."""

from dataclasses import dataclass

import numpy as np

from certnet.solvers._newton import is_positive_definite
from certnet.solvers._rank_two import FaceMap
from formulations import LiftedProgram, RawDual
from formulations._validation import FloatArray, IntArray

HALVINGS = 60


@dataclass(frozen=True, eq=False)
class FaceProblem:
    """minimise ½‖target − A_W(S)‖² + ⟨cost, S⟩ over S ⪰ 0 with A_t(S) = 0 and products ≥ 0.

    The first ``losses`` constraints carry W, the following N the free complementarity multipliers t; products (p, q)
    of φ may follow.
    """

    program: LiftedProgram
    cost: FloatArray
    first: IntArray
    second: IntArray
    weight: FloatArray
    target: FloatArray

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
        return len(self.first)

    def with_products(self, p: IntArray, q: IntArray) -> FaceMap:
        """The constraint map with the products G_pq appended."""
        return FaceMap(
            self.program.space,
            np.concatenate([self.first, p]),
            np.concatenate([self.second, q]),
            np.concatenate([self.weight, np.ones(len(p))]),
        )

    def raw_dual(self, y: FloatArray, p: IntArray, q: IntArray) -> RawDual:
        """(W, N) of the multipliers y; products that are no constraint have N_pq = 0."""
        neurons = self.program.space.neurons
        N = np.zeros((2 * neurons, 2 * neurons))
        neuron = np.arange(neurons)
        N[neuron, neurons + neuron] = y[self.losses : self.fixed]
        N[p, q] = y[self.fixed :]
        return RawDual(y[: self.losses].reshape(self.program.target.shape).copy(), N + N.T)


def face_problem(program: LiftedProgram) -> FaceProblem:
    """Set up cost and fixed constraints of a program."""
    space = program.space
    N, k, c = space.neurons, space.dimension, space.outputs
    cost = np.zeros((space.face_order, space.face_order))
    cost[N : N + k, N : N + k] = 0.5 * program.gamma * program.metric
    cost[N + k :, N + k :] = 0.5 * program.gamma * np.eye(c)
    neuron = np.arange(N)
    return FaceProblem(
        program=program,
        cost=cost,
        first=np.concatenate([np.repeat(program.feature, c), neuron]),
        second=np.concatenate([space.v.start + np.tile(np.arange(c), len(program.feature)), N + neuron]),
        weight=np.concatenate([np.repeat(program.weight, c), np.ones(N)]),
        target=program.target.ravel(),
    )


def feasible_multipliers(problem: FaceProblem) -> FloatArray:
    """A strictly feasible dual without products: ``t_i = −τ`` makes β definite, and W is a small multiple of T.

    With W = 0 the slack is ``γ/2 zᵀEz + τ αᵀβ`` on the face, definite while ``τ λ_max(E⁻¹AᵀA) < 2γ``.
    """
    program = problem.program
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
