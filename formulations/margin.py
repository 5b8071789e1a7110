"""The margin of a case as a form over the lifted cone, at a node of a search that splits neurons.

The inputs are moved and scaled to ``y = (x − middle)/width`` with |y| ≤ 1, the neurons to pre-activations of size one.
The normalisation is ``ε (‖y‖² + w²) + t² = 1``: the sign of the value is that of the margin's relaxation. With ε = 1
its size is not the margin, with ε near 0 it almost is. Inequalities are, in this order: φ, t, the sides of the box,
circuits, and triangles. A ball is an equality, with a coordinate w for its slack.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.circuits import CircuitSet
from formulations.network import ReluNetwork
from formulations.robustness import BOX_ROWS, UnsafeCase
from formulations.signs import ACTIVE, FREE, INACTIVE

if TYPE_CHECKING:
    from formulations.program import Dual, Program

FIXED_INPUT = 1e7
"""Weight of ``−(x_j − lower_j t)²`` for inputs that do not vary, in units of the form."""
NEGLIGIBLE = 1e-14
"""Multipliers below this part of the largest are left out of a proof."""


@dataclass(frozen=True, eq=False)
class MarginProblem:
    """A case after presolve: stable neurons are gone, N unstable ones are left.

    Attributes:
        case: the case.
        stable: (m,) ACTIVE or INACTIVE for neurons whose sign does not change on the region, else FREE.
        kept: (N,) the unstable neurons.
        generators: (N, d+1) rows [U b] of these.
        bounds: (N, 2) l < 0 < u with l ≤ Ux + b ≤ u on the region.
        weights: (r, N) H V at the unstable neurons.
        linear: (r, d+1) what the active neurons, biases and h contribute, over z = (x, t).
        circuits: further inequalities over these generators, or None.
    """

    case: UnsafeCase
    stable: IntArray
    kept: IntArray
    generators: FloatArray
    bounds: FloatArray
    weights: FloatArray
    linear: FloatArray
    circuits: CircuitSet | None = None

    @property
    def neurons(self) -> int:
        """N."""
        return len(self.kept)

    @cached_property
    def middle(self) -> FloatArray:
        """(d,) of the box."""
        return 0.5 * self.case.region.lower + 0.5 * self.case.region.upper

    @cached_property
    def width(self) -> FloatArray:
        """(d,) half of the box's sides, 0 for inputs that do not vary."""
        return 0.5 * (self.case.region.upper - self.case.region.lower)

    @cached_property
    def size(self) -> FloatArray:
        """(N,) largest absolute value of each pre-activation."""
        return np.maximum(-self.bounds[:, 0], self.bounds[:, 1])

    @property
    def circuit_start(self) -> int:
        """Position of the first circuit among the inequalities: signs, t, box sides, circuits, triangles."""
        return 2 * self.neurons + BOX_ROWS + 2 * self.case.region.inputs

    @property
    def triangle_start(self) -> int:
        """Position of the first triangle."""
        return self.circuit_start + (0 if self.circuits is None else len(self.circuits))

    @property
    def positions(self) -> int:
        """Number of inequalities."""
        return self.triangle_start + self.neurons


def stable_signs(lower: FloatArray, upper: FloatArray) -> IntArray:
    """ACTIVE or INACTIVE where the bounds of a pre-activation have one sign, else FREE."""
    return np.where(lower >= 0, ACTIVE, np.where(upper <= 0, INACTIVE, FREE)).astype(np.int64)


def reduce_cases(
    network: ReluNetwork, cases: Sequence[UnsafeCase], lower: FloatArray, upper: FloatArray
) -> list[MarginProblem]:
    """Take out the neurons whose sign the bounds ``lower``, ``upper`` (m,) fix, for cases of one region."""
    stable = stable_signs(lower, upper)
    kept, active = np.flatnonzero(stable == FREE), stable == ACTIVE
    generators, bounds = network.generators[kept], np.stack([lower[kept], upper[kept]], axis=1)
    rows = network.generators[active]
    problems = []
    for case in cases:
        weights = case.H @ network.output
        linear = weights[:, active] @ rows
        linear[:, -1] += case.H @ network.output_bias + case.h
        problems.append(MarginProblem(case, stable, kept, generators, bounds, weights[:, kept], linear))
    return problems


@dataclass(frozen=True, eq=False)
class MarginNode:
    """The form program of a node and what is needed to write its duals down for the whole.

    Attributes:
        problem: the whole.
        program: in scaled coordinates; the form is divided by ``scale``.
        scale: what the form was divided by.
        free: (f,) free neurons.
        positions: (2f+r,) position in the whole of each inequality; those of fixed neurons are activations.
        factors: (2f+r,) a row of the program is this factor times that of the whole.
        first: (p, q) products to begin with.
    """

    problem: MarginProblem
    program: "Program"
    scale: float
    free: IntArray
    positions: IntArray
    factors: FloatArray
    first: tuple[IntArray, IntArray]

    def first_dual(self, products: IntArray | None = None) -> "Dual":
        """A dual whose only meaning is which products a solver should begin with.

        These are ``first`` and ``products`` (n, 2), given by positions of the whole; of the latter those that vanish
        here are left out.
        """
        from formulations.program import NO_PRODUCTS, Dual

        N, f = np.zeros((self.program.positions, self.program.positions)), len(self.free)
        N[self.first] = 1.0
        if products is not None:
            inverse = np.full(self.problem.positions, -1, dtype=np.int64)
            inverse[self.positions] = np.arange(len(self.positions))
            p, q = np.sort(inverse[products], axis=1).T
            present = (p >= 0) & (p < q) & ~((q - p == f) & (q < 2 * f))
            N[p[present], q[present]] = 1.0
        return Dual(NO_PRODUCTS, np.maximum(N, N.T))

    def lift(
        self, N: FloatArray, t: FloatArray, on_equalities: FloatArray
    ) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
        """(pairs, multipliers, complementarity, σ) for the whole, of a symmetric N, t and the ball's multiplier."""
        problem, f = self.problem, len(self.free)
        upper = np.triu(N)
        p, q = np.nonzero(upper > NEGLIGIBLE * max(float(upper.max(initial=0.0)), 1e-300))
        value = np.where(p == q, 1.0, 2.0) * upper[p, q] * self.scale * self.factors[p] * self.factors[q]
        pairs = np.sort(np.stack([self.positions[p], self.positions[q]], axis=1), axis=1)
        constant = np.flatnonzero(problem.width == 0)
        if len(constant):
            first = 2 * problem.neurons + BOX_ROWS + 2 * constant
            pairs = np.concatenate([pairs, np.stack([first, first + 1], axis=1)])
            columns = np.square(problem.generators[:, constant] / problem.size[:, None]).max(axis=0, initial=0.0)
            value = np.concatenate([value, FIXED_INPUT * self.scale * (1.0 + columns)])
        whole = np.zeros(problem.neurons)
        whole[self.free] = self.scale * t * self.factors[:f] ** 2
        region = problem.case.region
        sigma = np.zeros(1 if region.has_ball else 0)
        if region.radius is not None and len(on_equalities):
            sigma += self.scale * np.maximum(on_equalities, 0.0) / region.radius**2
        return pairs.astype(np.int64), value, whole, sigma


def margin_node(problem: MarginProblem, signs: IntArray, mu: FloatArray, *, epsilon: float = 1.0) -> MarginNode:
    """The form program of ``μᵀ(H f + h)`` where neurons have these signs (N,), over the region."""
    from formulations.lifted_space import LiftedSpace
    from formulations.part import restrict
    from formulations.program import Program  # losses come along, which bounds do without

    N, width, size = problem.neurons, problem.width, problem.size
    live = np.flatnonzero(width > 0)
    ball = _ball(problem, live)
    k, order = ball.shape[1], 2 * N + ball.shape[1]
    moved = np.append(problem.middle, 1.0)
    # A coordinate for the ball's slack lies between the inputs and t.
    A, cost = np.zeros((N, k)), np.zeros(order)
    A[:, : len(live)], A[:, -1] = problem.generators[:, live] * width[live], problem.generators @ moved
    A = A / size[:, None]
    linear = mu @ problem.linear
    cost[:N], cost[-1] = (mu @ problem.weights) * size, linear @ moved
    cost[2 * N : 2 * N + len(live)] = linear[live] * width[live]
    form = np.zeros((order, order))
    form[-1] += 0.5 * cost
    form[:, -1] += 0.5 * cost
    rows, positions, factors = _inequalities(problem, A, live)
    metric = np.diag(np.append(np.full(k - 1, epsilon), 1.0))
    free = np.flatnonzero(signs == FREE)
    # The triangle of a fixed neuron says what its bounds say.
    kept = np.concatenate([np.arange(len(rows) - N), len(rows) - N + free])
    part = restrict(Program.of_form(LiftedSpace(A), form, metric, rows, ball), signs, kept)
    program = part.pricing()
    scale = max(float(np.abs(program.form).max()), 1e-300)
    return MarginNode(
        problem=problem,
        program=replace(program, form=program.form / scale),
        scale=scale,
        free=free,
        positions=positions[part.positions],
        factors=factors[part.positions],
        first=_first_products(len(free), N - len(free), len(live), len(rows) - N - BOX_ROWS - 2 * len(live)),
    )


def _inequalities(problem: MarginProblem, A: FloatArray, live: IntArray) -> tuple[FloatArray, IntArray, FloatArray]:
    """(rows over λ, position in the whole, factor to the row there), with φ in the last two."""
    N, d, size, width = problem.neurons, len(live), problem.size, problem.width[live]
    C = 0 if problem.circuits is None else len(problem.circuits)
    box, circuits, triangles = np.arange(d), slice(BOX_ROWS + 2 * d, BOX_ROWS + 2 * d + C), np.arange(N)
    rows = np.zeros((BOX_ROWS + 2 * d + C + N, 2 * N + A.shape[1]))
    # t ≥ 0, then t ± y_j ≥ 0 for each input.
    rows[: BOX_ROWS + 2 * d, -1] = 1.0
    rows[BOX_ROWS + 2 * box, 2 * N + box], rows[BOX_ROWS + 1 + 2 * box, 2 * N + box] = 1.0, -1.0
    circuit_factors = np.zeros(0)
    if problem.circuits is not None:
        phi = problem.circuits.rows(0) * np.tile(size, 2)
        circuit_factors = 1.0 / np.abs(phi).max(axis=1, initial=1e-300)
        rows[circuits, : 2 * N] = circuit_factors[:, None] * phi
    low, high = (problem.bounds / size[:, None]).T
    last = rows[circuits.stop :]
    last[:, 2 * N :] = high[:, None] * A
    last[:, -1] -= high * low
    last[triangles, triangles] -= high - low
    last /= (-low * high)[:, None]
    sides = 2 * N + BOX_ROWS + 2 * np.repeat(live, 2) + np.tile([0, 1], d)
    start = problem.circuit_start, problem.triangle_start
    positions = [np.arange(2 * N + BOX_ROWS), sides, start[0] + np.arange(C), start[1] + triangles]
    factors = [np.tile(1.0 / size, 2), np.ones(BOX_ROWS), 1.0 / np.repeat(width, 2), circuit_factors]
    factors.append(-1.0 / np.prod(problem.bounds, axis=1))
    return rows, np.concatenate(positions).astype(np.int64), np.concatenate(factors)


def _ball(problem: MarginProblem, live: IntArray) -> FloatArray:
    """(1, k, k) or (0, k, k): ``t² − ‖x − centre t‖²/radius² − w² = 0`` over (y, w, t)."""
    region = problem.case.region
    if region.centre is None or region.radius is None or not region.radius > 0:
        return np.zeros((0, len(live) + 1, len(live) + 1))
    Q = np.zeros((len(live) + 2, len(live) + 2))
    apart, share = (problem.middle - region.centre) / region.radius, problem.width[live] / region.radius
    index = np.arange(len(live))
    Q[index, index], Q[-2, -2] = -(share**2), -1.0
    Q[index, -1] = Q[-1, index] = -share * apart[live]
    Q[-1, -1] = 1.0 - float(apart @ apart)
    return Q[None]


def _first_products(free: int, fixed: int, inputs: int, circuits: int) -> tuple[IntArray, IntArray]:
    """t with everything, each neuron's signs with its triangle (α(u−α) ≥ 0 and β(−l−β) ≥ 0), opposite sides of the box.

    These are 6 for each neuron and 1 for each input; with them alone the relaxation is nearly as tight as with all.
    """
    t = 2 * free + fixed
    side, circuit, neuron = t + BOX_ROWS + 2 * np.arange(inputs), t + BOX_ROWS + 2 * inputs, np.arange(free)
    triangle = circuit + circuits + neuron
    others = np.concatenate([np.arange(t), circuit + np.arange(circuits + free)])
    p = np.concatenate([np.minimum(others, t), neuron, free + neuron, side])
    q = np.concatenate([np.maximum(others, t), triangle, triangle, side + 1])
    return p.astype(np.int64), q.astype(np.int64)
