"""The bound on gradients with products of signs: a form program, its solver, and the way back to the network."""

import time
from dataclasses import dataclass

import numpy as np

from certificates.making.repair import repair_form
from certificates.making.tree import LeafProof, build
from certificates.proof import LiftedProof
from certnet.search.lipsdp import Gradients
from certnet.solvers.interface import Progress, SolverOptions
from certnet.solvers.interior_point import InteriorPointSolver
from formulations import Dual, LiftedSpace, Program
from formulations._validation import FloatArray

TOLERANCE = 1e-7
SEVERAL_TOLERANCE = 1e-6
MOST_PRODUCTS = 4000
LARGEST_ORDER = 1500
"""Order N + k beyond which products cost more than they give."""
SECONDS_PER_CUBE = {1: 2e-10, 2: 4e-9}
STEPS = 60
"""Newton steps that improve on LipSDP, and seconds of one by the cube of the order, for one function and several."""
REPAIRS = 3
SECONDS_OF_REPAIR = 4e-8
"""Repairs that a proof needs at least, and seconds of one by the cube of the inputs."""
STARTS = 50
ALTERNATIONS = 100


@dataclass(frozen=True, eq=False)
class SignProducts:
    """A solved program for the gradients of one function or several.

    Attributes:
        program: with generators of unit norm, and numbers of order one.
        size: of the generators, in their order.
        unit: what its constants are multiplied by.
        power: 2 for one function, whose form bounds L², else 1.
        halfspace: e, or (0,).
        dual: the solver's.
    """

    program: Program
    size: FloatArray
    unit: float
    power: int
    halfspace: FloatArray
    dual: Dual

    def proof(self, margin: float) -> tuple[float, LiftedProof]:
        """A constant and its proof, with a relative margin for the checker."""
        repaired = repair_form(self.program, self.dual, margin=margin, scale_multipliers=False)
        scale = self.unit**self.power
        rows = np.concatenate([1.0 / self.size, 1.0 / self.size, np.ones(len(self.program.inequalities))])
        leaf = LeafProof.from_matrix(scale * repaired.N * np.outer(rows, rows), scale * repaired.t / self.size**2)
        proof = build(leaf, len(self.size), rows=len(self.program.inequalities))
        return self.unit * float(max(-repaired.delta, 0.0) ** (1.0 / self.power)), proof


def solve(
    gradients: Gradients, v: FloatArray, unit: float, *, time_limit: float | None, seed: int
) -> SignProducts | None:
    """Solve the program of one function (r = 1) or of several; None where it is too large for the time or the memory.

    Args:
        gradients: with every generator of the certificate.
        v: (N,) weights of one function, some of which may be 0; not used for several.
        unit: about the constant.
        time_limit: seconds, or None.
        seed: of the search for a half-space and of the solver.
    """
    N, d = gradients.U.shape
    r = gradients.B.shape[1]
    order = (N if r == 1 else 2 * N) + d
    if N == 0 or order > LARGEST_ORDER:
        return None
    seconds = STEPS * SECONDS_PER_CUBE[min(r, 2)] * order**3 + REPAIRS * SECONDS_OF_REPAIR * (d + r) ** 3
    if time_limit is not None and seconds > time_limit:
        return None
    if r == 1:
        return _solve_one(gradients, v, unit, time_limit, seed)
    return _solve_several(gradients, unit, time_limit, seed)


def _solve_one(
    gradients: Gradients, v: FloatArray, unit: float, time_limit: float | None, seed: int
) -> SignProducts | None:
    U = gradients.U
    size = np.linalg.norm(U, axis=1)
    space = LiftedSpace(U / size[:, None])
    coefficients = np.concatenate([np.maximum(v, 0.0) * size, np.maximum(-v, 0.0) * size, gradients.J[0]]) / unit
    program = Program.of_form(space, -np.outer(coefficients, coefficients), np.eye(U.shape[1]))
    options = SolverOptions(time_limit=time_limit, tolerance=TOLERANCE, seed=seed)
    dual = InteriorPointSolver(max_products=MOST_PRODUCTS).solve(program, options).uninterrupted().dual
    return None if dual is None else SignProducts(program, size, unit, 2, np.zeros(0), dual)


def _solve_several(gradients: Gradients, unit: float, time_limit: float | None, seed: int) -> SignProducts | None:
    N, d = gradients.U.shape
    r = gradients.B.shape[1]
    u, b = np.linalg.norm(gradients.U, axis=1), np.linalg.norm(gradients.B, axis=1)
    rows = np.zeros((2 * N, d + r))
    rows[:N, :d], rows[N:, d:] = gradients.U / u[:, None], gradients.B / b[:, None]
    space = LiftedSpace(rows)
    form = np.zeros((space.order, space.order))
    i = np.arange(N)
    for first in (0, 2 * N):
        form[first + i, first + N + i] = form[first + N + i, first + i] = -u * b / unit
    form[4 * N + d :, 4 * N : 4 * N + d] = -gradients.J / unit
    form[4 * N : 4 * N + d, 4 * N + d :] = -gradients.J.T / unit
    e = steepest_pair(gradients, seed)
    row = np.concatenate([np.zeros(4 * N), e])[None]
    program = Program.of_form(space, form, np.eye(d + r), row)
    start = time.perf_counter()

    def late(_: Progress) -> bool:
        # The solver's own limit ends a round early where the next is estimated to be too long; this one is exact.
        return time_limit is not None and time.perf_counter() - start > time_limit

    options = SolverOptions(tolerance=SEVERAL_TOLERANCE, seed=seed, callback=late)
    dual = InteriorPointSolver(max_products=MOST_PRODUCTS).solve(program, options).uninterrupted().dual
    return None if dual is None else SignProducts(program, np.concatenate([u, b]), unit, 1, e, dual)


def steepest_pair(gradients: Gradients, seed: int) -> FloatArray:
    """(d + r,) unit e = (δ, p)/√2 where p·Gδ is large for some pattern's gradient G, by alternation from many starts.

    The best δ and p for a pattern are singular vectors, and the best pattern for them has the neurons with
    ``(b_i·p)(u_i·δ) > 0``.
    """
    rng = np.random.default_rng(seed)
    best = -1.0
    found: FloatArray = np.zeros(gradients.U.shape[1] + gradients.B.shape[1])
    starts = rng.standard_normal((STARTS, len(found)))
    for start in starts:
        delta, p = start[: gradients.U.shape[1]], start[gradients.U.shape[1] :]
        last = -1.0
        for _ in range(ALTERNATIONS):
            active = (gradients.U @ delta) * (gradients.B @ p) > 0
            left, values, right = np.linalg.svd(gradients.J + gradients.B[active].T @ gradients.U[active])
            p, delta = left[:, 0], right[0]
            if not values[0] > last * (1.0 + 1e-9):
                break
            last = float(values[0])
        if last > best:
            best, found = last, np.concatenate([delta, p]) / np.sqrt(2.0)
    return found
