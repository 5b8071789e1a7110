"""Iterates of the interior point, what is measured of them, and how they begin."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certnet.solvers._face_problem import FaceProblem
from certnet.solvers._newton import is_positive_definite, longest_step
from certnet.solvers._rank_two import FaceMap
from formulations import Dual
from formulations._validation import FloatArray, IntArray

PRIMAL_START = 10.0
DUAL_START = 1.0
ADMM_SHIFTS = (0.1, 0.1)
RESET_RESIDUAL = 1e-6
CENTRE_GAP = 0.3
CENTRE_RESIDUAL = 1e-2
NEW_CORRELATION = 0.01
NEW_SHARE = 0.5
SMALL_MOMENT = 1e-14
NONE = np.zeros(0)


@dataclass(frozen=True, eq=False)
class Iterate:
    """S and M ≻ 0, multipliers y = (W, t, N_pq) and values z > 0 of the products (p, q)."""

    S: FloatArray
    M: FloatArray
    y: FloatArray
    z: FloatArray
    p: IntArray
    q: IntArray

    def constraints(self, problem: FaceProblem) -> FaceMap:
        """The constraint map with the products of this iterate."""
        return problem.with_products(self.p, self.q)

    def raw_dual(self, problem: FaceProblem) -> Dual:
        """(W, N) of its multipliers."""
        return problem.raw_dual(self.y, self.p, self.q)

    def state(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Its arrays by name; ``from_state`` is the inverse."""
        return {prefix + name: getattr(self, name).copy() for name in _DIMENSIONS}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]], prefix: str, problem: FaceProblem) -> "Iterate":
        """Read an iterate of ``problem`` back.

        Raises:
            ValueError: an array is missing, has another shape or type, or holds what no iterate can hold.
        """
        arrays = {}
        for name, dimensions in _DIMENSIONS.items():
            array = state.get(prefix + name)
            kind = np.int64 if name in "pq" else np.float64
            if array is None or array.ndim != dimensions or array.dtype != kind or not np.isfinite(array).all():
                raise ValueError(f"{prefix}{name} is missing or malformed.")
            arrays[name] = np.array(array, order="C")
        at = cls(**arrays)
        order, products = (problem.order, problem.order), len(at.p)
        sizes = at.S.shape == at.M.shape == order and len(at.q) == len(at.z) == products
        positions = problem.program.positions
        if not (sizes and len(at.y) == problem.fixed + products):
            raise ValueError(f"the arrays of {prefix!r} do not fit the program.")
        if products and not (at.p.min() >= 0 and bool((at.p < at.q).all()) and at.q.max() < positions):
            raise ValueError(f"{prefix}p or {prefix}q is out of range.")
        return at


_DIMENSIONS = {"S": 2, "M": 2, "y": 1, "z": 1, "p": 1, "q": 1}


@dataclass(frozen=True, eq=False)
class Measure:
    """Residuals, objectives and the moments of the inequalities of an iterate."""

    rows: FloatArray
    dual_matrix: FloatArray
    mu: float
    primal: float
    dual: float
    primal_residual: float
    dual_residual: float
    moments: FloatArray

    @property
    def gap(self) -> float:
        """Relative distance of the two objectives."""
        return abs(self.primal - self.dual) / max(abs(self.primal), abs(self.dual), 1e-300)

    @property
    def error(self) -> float:
        """The largest of both residuals and the gap."""
        return float(np.max([self.primal_residual, self.dual_residual, self.gap]))

    @property
    def is_centre(self) -> bool:
        """True when later rounds may start here."""
        return self.gap <= CENTRE_GAP and max(self.primal_residual, self.dual_residual) <= CENTRE_RESIDUAL

    @property
    def is_dual_feasible(self) -> bool:
        """True when the multipliers are strictly feasible."""
        return self.dual_residual == 0.0


def measure(problem: FaceProblem, at: Iterate, constraints: FaceMap) -> tuple[Iterate, Measure]:
    """Residuals of an iterate. A tiny dual residual is removed exactly, which makes y strictly feasible."""
    losses, fixed = problem.losses, problem.fixed
    slack = problem.cost - constraints.adjoint(at.y)
    dual_residual = float(np.linalg.norm(slack - at.M)) / max(float(np.linalg.norm(problem.cost)), 1e-300)
    if dual_residual <= RESET_RESIDUAL and is_positive_definite(slack):
        at, dual_residual = replace(at, M=slack), 0.0
    gram = constraints.gram(at.S)
    values = constraints.values(gram)
    rows = -values
    rows[: len(problem.rhs)] += problem.rhs
    rows[:losses] += problem.target - at.y[:losses]
    rows[fixed:] += at.z
    complementarity = float(np.sum(at.S * at.M) + at.y[fixed:] @ at.z)
    loss = 0.5 * float(np.sum((problem.target - values[:losses]) ** 2))
    return at, Measure(
        rows=rows,
        dual_matrix=slack - at.M,
        mu=complementarity / (len(at.S) + len(at.z)),
        primal=loss + float(np.sum(problem.cost * at.S)),
        dual=problem.dual_value(at.y),
        primal_residual=float(np.linalg.norm(rows)) / (1.0 + float(np.linalg.norm(problem.target))),
        dual_residual=dual_residual,
        moments=problem.inequality_moments(gram),
    )


def cold_start(problem: FaceProblem, p: IntArray, q: IntArray) -> Iterate:
    """Multiples of the identity."""
    order = problem.order
    primal, dual = PRIMAL_START * problem.moment_unit, DUAL_START * problem.unit
    y = np.zeros(problem.fixed + len(p))
    y[problem.fixed :] = dual
    return Iterate(primal * np.eye(order), dual * np.eye(order), y, np.full(len(p), primal), p, q)


def warm_start(
    problem: FaceProblem,
    S: FloatArray,
    dual: Dual,
    p: IntArray,
    q: IntArray,
    *,
    normalisation: FloatArray = NONE,
    shifts: tuple[float, float] = ADMM_SHIFTS,
) -> Iterate:
    """Approximate solutions S (a face matrix, S ⪰ 0 up to rounding) and ``dual``, moved into the cones.

    ``normalisation`` holds the multipliers of the quadratics, if the problem has any.

    Both are shifted by multiples of the identity: S by a part of its mean eigenvalue, the slack by a part of γ beyond
    its least one. The default is large beside what a first-order method leaves. Measured on subsets of the paper's
    data, it takes between 9 and 23 Newton steps to a gap of 1e-3, and the cold start between 14 and 43; shifts ten
    times as large or as small take more.
    """
    program, order = problem.program, problem.order
    constraints = problem.with_products(p, q)
    mean = float(np.trace(S)) / order
    shift = shifts[0] * mean
    S = S + shift * np.eye(order)
    neuron = np.arange(program.space.neurons)
    y = np.concatenate([normalisation, dual.W.ravel(), dual.N[neuron, len(neuron) + neuron], dual.N[p, q]])
    slack = problem.cost - constraints.adjoint(y)
    least = float(np.linalg.eigvalsh(slack)[0])
    M = slack + (max(-least, 0.0) + shifts[1] * problem.unit) * np.eye(order)
    z = np.maximum(constraints(S)[problem.fixed :], shift)
    if not (z.min(initial=np.inf) > 0 and is_positive_definite(S) and is_positive_definite(M)):
        return cold_start(problem, p, q)
    y[problem.fixed :] = np.maximum(y[problem.fixed :], float(np.sum(S * M)) / order / z)
    return Iterate(S, M, y, z, p, q)


def extended(problem: FaceProblem, at: Iterate, moments: FloatArray, mu: float, p: IntArray, q: IntArray) -> Iterate:
    """An old iterate with the products beyond its own appended; its dual residual stays as it is."""
    fixed, own = problem.fixed, len(at.p)
    new_p, new_q = p[own:], q[own:]
    size = np.sqrt(np.maximum(np.diag(moments), SMALL_MOMENT))
    z = np.maximum(moments[new_p, new_q], NEW_CORRELATION * size[new_p] * size[new_q])
    y = np.concatenate([np.zeros(fixed), mu / z])
    change = problem.with_products(new_p, new_q).adjoint(y)
    share = min(1.0, NEW_SHARE * longest_step(at.M, -change))
    return Iterate(
        S=at.S,
        M=at.M - share * change,
        y=np.concatenate([at.y, share * y[fixed:]]),
        z=np.concatenate([at.z, z]),
        p=p,
        q=q,
    )
