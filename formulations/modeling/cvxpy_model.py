"""The relaxation in CVXPY: one positive semidefinite matrix on the face, G an expression in it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.errors import InputError
from formulations.lifted_space import LiftedSpace
from formulations.loss import Loss
from formulations.losses import NUMBERS
from formulations.program import Dual, Primal, Program

MAXIMUM_ENTRIES = 200_000_000  # Coefficients of G in S that are written down; more would need some 10 GB.


@dataclass(frozen=True, eq=False)
class CvxpyHandles:
    """Parts of the CVXPY model that a reader may want to add to or to read.

    Attributes:
        S: variable, the face matrix (N+k+c square); with a basis of your own its expression.
        G: expression, the moment matrix ``J S Jᵀ`` (order × order).
        residual: variable (f×c), ``T − κ∘G[f, v] − a`` with the targets T of losses of numbers, else 0.
        bias: variable (c,), the output bias a, or None.
        loss, complementarity, nonnegativity: the constraints, with their multipliers after a solve; the last has one
            entry for each of the ``pairs`` (p, q) with p ≤ q.
    """

    S: Any
    G: Any
    residual: Any
    bias: Any
    loss: Any
    complementarity: Any
    nonnegativity: Any
    pairs: tuple[IntArray, IntArray]
    outputs: int

    def recover(self) -> tuple[Primal, Dual]:
        """Primal and dual iterates in the conventions of ``Program``; InputError unless the problem has been solved."""
        if self.S.value is None or self.loss.dual_value is None:
            raise InputError("The CVXPY problem holds no solution; call problem.solve(...) first.")
        # CVXPY multiplies "left == right" by (left − right) and "left >= 0" by −left.
        W = np.reshape(-np.asarray(self.loss.dual_value), self.residual.shape)
        free = np.ravel(np.asarray(self.complementarity.dual_value))
        i = np.arange(len(free))
        N = np.zeros((2 * len(i), 2 * len(i)))
        N[self.pairs] = np.ravel(np.asarray(self.nonnegativity.dual_value))
        N[i, i + len(i)] = -free
        return Primal(np.asarray(self.S.value), self.outputs), Dual(W, N + N.T)


def _pairs(space: LiftedSpace) -> tuple[IntArray, IntArray]:
    """The entries of the upper triangle of G_φφ, without the diagonal of G_αβ."""
    p, q = np.triu_indices(2 * space.neurons)
    keep = q - p != space.neurons
    return p[keep], q[keep]


def expression(loss: Loss, shift: Any) -> tuple[Any, Any]:
    """(T, value) with L as a convex expression of ``shift`` = T − f, where f are fitted values with the bias in them.

    T are the targets of losses of numbers, and 0 elsewhere. The losses are written down once more and on their own,
    which checks the table of ``losses``.
    """
    import cvxpy as cp

    y, unit, kind = loss.target, loss.unit, loss.kind
    omega = np.repeat(loss.sample_weight[:, None], y.shape[1], axis=1)
    target = y / unit if kind.targets == NUMBERS else np.zeros_like(y)
    r = unit * shift  # y − f for numbers, −f elsewhere
    match kind.name:
        case "squared":
            # Without weights the square is one of the variable itself, which keeps the conic form small.
            return target, 0.5 * cp.sum_squares(shift if (omega == 1).all() else cp.multiply(np.sqrt(omega), shift))
        case "cross-entropy":
            value = loss.sample_weight @ (cp.log_sum_exp(-r, axis=1) + cp.sum(cp.multiply(y, r), axis=1))
        case "logistic":
            value = cp.sum(cp.multiply(omega, cp.logistic(cp.multiply(y, r))))
        case "hinge":
            value = cp.sum(cp.multiply(omega, cp.pos(1.0 + cp.multiply(y, r))))
        case "squared-hinge":
            value = 0.5 * cp.sum_squares(cp.multiply(np.sqrt(omega), cp.pos(1.0 + cp.multiply(y, r))))
        case "huber":
            value = 0.5 * cp.sum(cp.multiply(omega, cp.huber(r, kind.delta)))  # type: ignore[union-attr]
        case "poisson":
            least = np.sum(omega * (np.where(y > 0, y * np.log(np.maximum(y, 1e-300)), 0.0) - y))
            value = cp.sum(cp.multiply(omega, cp.exp(-r) + cp.multiply(y, r))) + least
        case "absolute" | "quantile":
            low, high = kind.limits(np.zeros((1, 1)))
            value = cp.sum(cp.multiply(omega, high.item() * cp.pos(r) - low.item() * cp.neg(r)))
    return target, value / unit**2


def cvxpy_model(program: Program, basis: FloatArray | None = None) -> tuple[Any, CvxpyHandles]:
    """The DNN relaxation of ``program`` as a ``cvxpy.Problem``, and its parts. Its value is in the program's own scale.

    L(κ∘G[f, v]) + γ/2(⟨E₀, G_zz⟩ + tr G_vv) with G = J S Jᵀ, S ⪰ 0, G_φφ ≥ 0, diag(G_αβ) = 0, ⟨Q, G_zz⟩ ≥ 0.
    A ``basis`` (order × m) in place of J must end in the rows of S: its last N+k+c coordinates are (β, z, v).

    Raises:
        InputError: a program too large to be written down, or a form.
    """
    if program.loss is None:
        raise InputError("only training programs are written down as models; forms have a bound of their own.")
    import cvxpy as cp
    from scipy import sparse

    space = program.space
    if basis is None:
        A, outputs = sparse.csr_array(space.generators), sparse.csr_array((space.neurons, space.outputs))
        alpha = sparse.hstack([sparse.eye_array(space.neurons), A, outputs])
        J = sparse.csr_array(sparse.vstack([alpha, sparse.eye_array(space.face_order)]))
    else:
        J = sparse.csr_array(basis)
    entries = float(J.nnz) ** 2
    if not (entries <= MAXIMUM_ENTRIES):
        raise InputError(
            f"the conic form would need {entries:.1e} matrix entries; use solver 'admm', which never writes them down."
        )
    S = cp.Variable((J.shape[1], J.shape[1]), PSD=True, name="S")
    residual = cp.Variable(program.shape, name="R")

    def G(rows: Any, columns: Any) -> Any:
        # CVXPY writes down each use of an expression anew, so none is larger than it has to be.
        return J[rows] @ S @ J[columns].T

    loss = program.loss
    bias = cp.Variable(program.shape[1], name="a") if loss.has_bias else None
    target, value = expression(loss, residual)
    fitted = cp.multiply(program.weight[:, None], G(program.feature, space.v))
    if bias is not None:
        fitted = fitted + np.ones((len(target), 1)) @ cp.reshape(bias, (1, program.shape[1]), order="C")
        value = value + 0.5 * loss.bias_decay * cp.sum_squares(bias) if loss.bias_decay > 0 else value
    fits = fitted + residual == target
    complementarity = cp.diag(G(space.alpha, space.beta)) == 0
    pairs = _pairs(space)
    nonnegativity = G(space.phi, space.phi)[pairs] >= 0
    z = G(space.z, space.z)
    regulariser = cp.trace(program.cost() @ z) + cp.trace(G(space.v, space.v))
    constraints = [fits, complementarity, nonnegativity]
    if program.region.size:
        constraints.append(cp.trace(program.region @ z) >= 0)
    problem = cp.Problem(cp.Minimize(value + 0.5 * program.gamma * regulariser), constraints)
    everything, own = slice(None), S if basis is None else S[-space.face_order :, -space.face_order :]
    moment = G(everything, everything)
    parts = (own, moment, residual, bias, fits, complementarity, nonnegativity, pairs, space.outputs)
    return problem, CvxpyHandles(*parts)
