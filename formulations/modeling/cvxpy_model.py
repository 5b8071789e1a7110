"""The relaxation in CVXPY: one positive semidefinite matrix on the face, G an expression in it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from formulations.errors import InputError
from formulations.program import LiftedProgram, RawDual, RawPrimal


@dataclass(frozen=True, eq=False)
class CvxpyHandles:
    """Parts of the CVXPY model that a reader may want to add to or to read.

    Attributes:
        S: variable, the face matrix (N+k+c square).
        G: expression, the moment matrix ``J S Jᵀ`` (order × order).
        residual: variable (f×c), ``T − ω∘G[f, v]``.
        loss, nonnegativity, complementarity: the constraints, with their multipliers after a solve.
    """

    S: Any
    G: Any
    residual: Any
    loss: Any
    nonnegativity: Any
    complementarity: Any
    outputs: int

    def recover(self) -> tuple[RawPrimal, RawDual]:
        """Primal and dual iterates of the solved problem in the conventions of ``LiftedProgram``.

        Raises:
            InputError: the problem has not been solved.
        """
        if self.S.value is None or self.loss.dual_value is None:
            raise InputError("The CVXPY problem holds no solution; call problem.solve(...) first.")
        # CVXPY multiplies "left == right" by (left − right) and "left >= 0" by −left.
        W = np.reshape(-np.asarray(self.loss.dual_value), self.residual.shape)
        multiplier = np.asarray(self.nonnegativity.dual_value)
        N = multiplier + multiplier.T
        i = np.arange(len(N) // 2)
        free = np.ravel(np.asarray(self.complementarity.dual_value))
        N[i, i + len(i)] = N[i + len(i), i] = N[i, i + len(i)] - free
        return RawPrimal(np.asarray(self.S.value), self.outputs), RawDual(W, N)


def cvxpy_model(program: LiftedProgram) -> tuple[Any, CvxpyHandles]:
    """The DNN relaxation of ``program`` as a ``cvxpy.Problem``, and its parts. Its value is in the program's own scale.

    ½‖R‖² + γ/2(⟨E, G_zz⟩ + tr G_vv) with R = T − ω∘G[f, v], G = J S Jᵀ, S ⪰ 0, G_φφ ≥ 0, diag(G_αβ) = 0.
    """
    import cvxpy as cp

    space = program.space
    S = cp.Variable((space.face_order, space.face_order), PSD=True, name="S")
    G = space.basis @ S @ space.basis.T
    residual = cp.Variable(program.target.shape, name="R")
    fitted = cp.multiply(program.weight[:, None], G[program.feature, space.v])
    loss = fitted + residual == program.target
    nonnegativity = G[space.phi, space.phi] >= 0
    complementarity = cp.diag(G[space.alpha, space.beta]) == 0
    regulariser = cp.trace(program.metric @ G[space.z, space.z]) + cp.trace(G[space.v, space.v])
    problem = cp.Problem(
        cp.Minimize(0.5 * cp.sum_squares(residual) + 0.5 * program.gamma * regulariser),
        [loss, nonnegativity, complementarity],
    )
    return problem, CvxpyHandles(S, G, residual, loss, nonnegativity, complementarity, space.outputs)
