"""Iterates of the interior point on one face or several, what is measured of them, and how they begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from certnet.solvers.dual_loss import DualLoss
from certnet.solvers.face_map import FaceMap
from certnet.solvers.face_problem import SMALL_MOMENT, FaceProblem
from certnet.solvers.linear_algebra import is_positive_definite, longest_step
from formulations._validation import FloatArray, IntArray

PRIMAL_START = 10.0  # S of a central start, as a multiple of the identity in the units of a moment.
DUAL_START = 1.0  # M and the products' multipliers there, in the units of the dual.
SHIFTS = (0.1, 0.1)  # What a warm start adds to S and the slack. Measured: see ``warm_start``.
TINY_RESIDUAL = 1e-6  # Relative dual residual up to which a definite slack takes the place of M.
# The same where the slack is at least half of M. Measured: on trees with W free 1e-6 loses up to 7 % of the bound, 1e-3
# does as well.
SMALL_RESIDUAL = 1e-2
CENTRE_GAP = 0.3  # Gap from which later rounds may start at an iterate.
CENTRE_RESIDUAL = 1e-2  # Residuals likewise.
NEW_CORRELATION = 0.01  # Least value of a new product, as a correlation.
NEW_SHARE = 0.5  # Part of the way to the boundary of M that new multipliers may take.


class FaceIterate(NamedTuple):
    """S and M ≻ 0, multipliers y = (W', t, N_pq) and the values z > 0 of inequalities, which are products (p, q)."""

    S: FloatArray
    M: FloatArray
    y: FloatArray
    z: FloatArray
    p: IntArray
    q: IntArray

    def moved(self, step: float, by: "FaceIterate") -> "FaceIterate":
        """So far along a direction."""
        S, M, y, z = (own + step * change for own, change in zip(self[:4], by[:4], strict=True))
        return FaceIterate(S, M, y, z, self.p, self.q)


class Iterate(NamedTuple):
    """W' strictly inside the domain of the loss, the multipliers s > 0 of its limits, and the faces; or a direction."""

    W: FloatArray
    s: FloatArray
    faces: Sequence[FaceIterate]

    @classmethod
    def on(cls, W: FloatArray, loss: DualLoss, faces: Sequence[FaceIterate]) -> "Iterate":
        """The multipliers of the limits that go with W' at the μ of these faces."""
        return cls(W, mean_mu(faces) / loss.gaps(W), faces)

    def moved(self, step: float, by: "Iterate") -> "Iterate":
        """So far along a direction."""
        faces = [own.moved(step, change) for own, change in zip(self.faces, by.faces, strict=True)]
        return Iterate(self.W + step * by.W, self.s + step * by.s, faces)

    def mu(self, problems: Sequence[FaceProblem], loss: DualLoss) -> float:
        """The mean product of what is complementary."""
        gaps = loss.gaps(self.W)
        total, size = float(self.s @ gaps), len(gaps)
        for problem, at in zip(problems, self.faces, strict=True):
            total += float(np.sum(at.S * at.M) + at.y[problem.signed(len(at.p))] @ at.z)
            size += len(at.S) + len(at.z)
        return total / size


@dataclass(frozen=True, eq=False)
class FacePoint:
    """An iterate of a face with its constraint map, residuals and the moments of its inequalities.

    ``rows`` are the residuals of its constraints, zero for the entries of W'; ``dual_matrix`` is slack − M.
    """

    problem: FaceProblem
    at: FaceIterate
    constraints: FaceMap
    rows: FloatArray
    dual_matrix: FloatArray
    moments: FloatArray

    @cached_property
    def signed(self) -> IntArray:
        """Where in y the multipliers are nonnegative."""
        return self.problem.signed(len(self.at.p))


@dataclass(frozen=True, eq=False)
class Measure:
    """An iterate, its points on all faces, the residual ``rows`` of W' and its ``gaps``, and what follows from them."""

    at: Iterate
    points: tuple[FacePoint, ...]
    loss: DualLoss
    rows: FloatArray
    gaps: FloatArray
    mu: float
    primal: float
    dual: float
    primal_residual: float
    dual_residual: float

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


def measure(problems: Sequence[FaceProblem], loss: DualLoss, here: Iterate) -> Measure:
    """Residuals of an iterate. A small dual residual is removed exactly, which makes y strictly feasible."""
    W, points, fitted = here.W, [], np.zeros(loss.size)
    primal = squares = dual_residual = 0.0
    dual = loss.value(W)
    for problem, at in zip(problems, here.faces, strict=True):
        constraints = problem.with_products(at.p, at.q)
        slack = problem.cost - constraints.adjoint(at.y)
        residual = float(np.linalg.norm(slack - at.M)) / max(float(np.linalg.norm(problem.cost)), 1e-300)
        if residual <= TINY_RESIDUAL:
            resets = is_positive_definite(slack)
        else:
            # A slack that is at least half of M takes its place at little cost of the centrality.
            resets = residual <= SMALL_RESIDUAL and longest_step(at.M, slack - at.M) >= 2.0
        if resets:
            at, residual = at._replace(M=slack), 0.0
        gram = constraints.gram(at.S)
        values = constraints.values(gram)
        entries, signed = problem.entries, problem.signed(len(at.p))
        rows = -values
        rows[: len(problem.rhs)] += problem.rhs
        rows[signed] += at.z
        rows[entries] = 0.0
        fitted[problem.shared] += values[entries]
        primal += float(np.sum(problem.cost * at.S))
        dual += float(problem.rhs @ at.y[: len(problem.rhs)])
        squares += float(rows @ rows)
        dual_residual = max(dual_residual, residual)
        points.append(FacePoint(problem, at, constraints, rows, slack - at.M, problem.inequality_moments(gram)))
    here = here._replace(faces=[point.at for point in points])
    rows_of_W = loss.slope(W) + loss.pull(here.s) - fitted
    bias = loss.bias(W, rows_of_W)
    rows_of_W = rows_of_W - loss.repeated(bias)
    return Measure(
        at=here,
        points=tuple(points),
        loss=loss,
        rows=rows_of_W,
        gaps=loss.gaps(W),
        mu=here.mu(problems, loss),
        primal=primal + loss.objective(fitted, bias),
        dual=dual,
        primal_residual=float(np.hypot(np.sqrt(squares), loss.missing(W, rows_of_W))) / (1.0 + loss.norm),
        dual_residual=dual_residual,
    )


def cold_start(
    problems: Sequence[FaceProblem], loss: DualLoss, products: Sequence[tuple[IntArray, IntArray]]
) -> Iterate:
    """Multiples of the identity on all faces, with a W' well inside the domain."""
    faces = []
    for problem, (p, q) in zip(problems, products, strict=True):
        primal, dual = PRIMAL_START * problem.moment_unit, DUAL_START * problem.unit
        identity, y, signed = np.eye(problem.order), np.zeros(problem.fixed + len(p)), problem.signed(len(p))
        y[problem.entries] = loss.centre[problem.shared]
        y[signed] = dual
        faces.append(FaceIterate(primal * identity, dual * identity, y, np.full(len(signed), primal), p, q))
    return Iterate.on(loss.centre, loss, faces)


def warm_start(
    problem: FaceProblem,
    S: FloatArray,
    y: FloatArray,
    p: IntArray,
    q: IntArray,
    shifts: tuple[float, float] = SHIFTS,
) -> FaceIterate | None:
    """Approximate solutions S (a face matrix, S ⪰ 0 up to rounding) and multipliers y, moved into the cones.

    Both are shifted by multiples of the identity: S by a part of its mean eigenvalue, the slack by a part of γ beyond
    its least one. The default is large beside what a first-order method leaves. Measured on subsets of the paper's
    data, it takes between 9 and 23 Newton steps to a gap of 1e-3, and the cold start between 14 and 43; shifts ten
    times as large or as small take more.

    Returns:
        None where rounding leaves nothing inside.
    """
    order, constraints = problem.order, problem.with_products(p, q)
    shift = shifts[0] * float(np.trace(S)) / order
    S = S + shift * np.eye(order)
    slack = problem.cost - constraints.adjoint(y)
    least = float(np.linalg.eigvalsh(slack)[0])
    M = slack + (max(-least, 0.0) + shifts[1] * problem.unit) * np.eye(order)
    signed = problem.signed(len(p))
    z = np.maximum(constraints(S)[signed], shift)
    if not (z.min(initial=np.inf) > 0 and is_positive_definite(S) and is_positive_definite(M)):
        return None
    y, mu, own = y.copy(), float(np.sum(S * M)) / order, len(signed) - len(p)
    # Of a product the multiplier fits the value; of a quadratic the value fits, for its multiplier is well chosen.
    z[:own] = np.maximum(z[:own], mu / np.maximum(y[signed[:own]], 1e-300))
    y[signed] = np.maximum(y[signed], mu / z)
    return FaceIterate(S, M, y, z, p, q)


def mean_mu(faces: Sequence[FaceIterate]) -> float:
    """About the μ of these faces."""
    return sum(float(np.sum(at.S * at.M)) for at in faces) / sum(len(at.S) for at in faces)


def extended(point: FacePoint, mu: float, p: IntArray, q: IntArray) -> FaceIterate:
    """An old iterate with the products beyond its own appended; its dual residual stays as it is."""
    problem, at = point.problem, point.at
    new_p, new_q = p[len(at.p) :], q[len(at.p) :]
    size = np.sqrt(np.maximum(np.diag(point.moments), SMALL_MOMENT))
    z = np.maximum(point.moments[new_p, new_q], NEW_CORRELATION * size[new_p] * size[new_q])
    y = mu / z
    change = problem.with_products(new_p, new_q).adjoint(np.concatenate([np.zeros(problem.fixed), y]))
    share = min(1.0, NEW_SHARE * longest_step(at.M, -change))
    return FaceIterate(at.S, at.M - share * change, np.concatenate([at.y, share * y]), np.concatenate([at.z, z]), p, q)
