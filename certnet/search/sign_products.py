"""The bound on gradients with products of signs: a form program, its solver, and the way back to the network."""

from dataclasses import dataclass

import numpy as np

from certificates.failure import Deadline
from certificates.making.repair import repair_form
from certificates.making.tree import LeafProof, build
from certificates.proof import LiftedProof
from certnet.search.lipsdp import Gradients
from certnet.solvers.interface import SolverOptions
from certnet.solvers.interior_point import interior_point
from formulations import Dual, LiftedSpace, Program
from formulations._validation import FloatArray

TOLERANCE = {1: 1e-7, 2: 1e-4}
"""Of a solve for one function and for several. Measured: on all outputs of a 64-32-10 network 1e-6 takes 12.4 CPU s and
1e-4 8.8, for a constant that is 1.5e-5 larger; LipSDP's is 3e-3 larger."""
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
        program, dual: with generators of unit norm, and numbers of order one; and the solver's.
        size: of the generators, in their order.
        unit, power: what its constants are multiplied by; 2 for one function, whose form bounds L², else 1.
        halfspace: e, or (0,).
    """

    program: Program
    size: FloatArray
    unit: float
    power: int
    halfspace: FloatArray
    dual: Dual

    def proof(self, margin: float) -> tuple[float, LiftedProof]:
        """A constant and its proof, with a relative margin for the checker."""
        repaired = repair_form(self.program, self.dual, margin=margin, factors=False)
        scale = self.unit**self.power
        rows = np.concatenate([1.0 / self.size, 1.0 / self.size, np.ones(len(self.program.inequalities))])
        leaf = LeafProof.from_matrix(scale * repaired.N * np.outer(rows, rows), scale * repaired.t / self.size**2)
        proof = build(leaf, len(self.size), rows=len(self.program.inequalities))
        return self.unit * float(max(-repaired.delta, 0.0) ** (1.0 / self.power)), proof


def solve(
    gradients: Gradients, v: FloatArray, unit: float, *, time_limit: float | None, seed: int
) -> SignProducts | None:
    """Solve the program of one function (r = 1) or of several; None where it is too large for the time or the memory.

    ``gradients`` have every generator of the certificate; v (N,) are the weights of one function, some of which may be
    0, and not used for several. ``unit`` is about the constant, and ``seed`` that of the search for a half-space.
    """
    (N, d), r = gradients.U.shape, gradients.B.shape[1]
    order = (N if r == 1 else 2 * N) + d
    seconds = STEPS * SECONDS_PER_CUBE[min(r, 2)] * order**3 + REPAIRS * SECONDS_OF_REPAIR * (d + r) ** 3
    if N == 0 or order > LARGEST_ORDER or (time_limit is not None and seconds > time_limit):
        return None
    u, deadline = np.linalg.norm(gradients.U, axis=1), Deadline.after(time_limit)
    if r == 1:
        row = np.concatenate([np.maximum(v, 0.0) * u, np.maximum(-v, 0.0) * u, gradients.J[0]]) / unit
        program = Program.of_form(LiftedSpace(gradients.U / u[:, None]), -np.outer(row, row), np.eye(d))
        size, power, e = u, 2, np.zeros(0)
    else:
        b, e = np.linalg.norm(gradients.B, axis=1), steepest_pair(gradients, seed)
        size, power = np.concatenate([u, b]), 1
        rows = np.block([[gradients.U, np.zeros((N, r))], [np.zeros((N, d)), gradients.B]]) / size[:, None]
        form, i = np.zeros((4 * N + d + r, 4 * N + d + r)), np.arange(N)
        for first in (0, 2 * N):
            form[first + i, first + N + i] = -u * b / unit
        form[4 * N + d :, 4 * N : 4 * N + d] = -gradients.J / unit
        halfspace = np.concatenate([np.zeros(4 * N), e])[None]
        program = Program.of_form(LiftedSpace(rows), form + form.T, np.eye(d + r), halfspace)

    # The solver's own limit ends a round early where the next is estimated to be too long; this one is exact.
    options = SolverOptions(tolerance=TOLERANCE[min(r, 2)], callback=lambda _: deadline.passed)
    dual = interior_point(program, options, max_products=MOST_PRODUCTS).uninterrupted().dual
    return None if dual is None else SignProducts(program, size, unit, power, e, dual)


def steepest_pair(gradients: Gradients, seed: int) -> FloatArray:
    """(d + r,) unit e = (δ, p)/√2 where p·Gδ is large for some pattern's gradient G, by alternation from many starts.

    The best δ and p for a pattern are singular vectors, and the best pattern for them has the neurons with
    ``(b_i·p)(u_i·δ) > 0``.
    """
    d, best = gradients.U.shape[1], -1.0
    found: FloatArray = np.zeros(d + gradients.B.shape[1])
    for start in np.random.default_rng(seed).standard_normal((STARTS, len(found))):
        delta, p, last = start[:d], start[d:], -1.0
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
