"""The margin of a case as a form program over the lifted cone, at a node of a search that splits neurons.

The inputs are moved and scaled to ``y = (x − middle)/width`` with |y| ≤ 1, the neurons to pre-activations of size one.
The normalisation is ``ε (‖y‖² + w²) + t² = 1``: the sign of the value is that of the margin's relaxation. With ε = 1
its size is not the margin, with ε near 0 it almost is. Inequalities are, in this order: φ of the free neurons, t, the
sides of the box, the triangles of the free neurons, the activations of the fixed ones, and circuits. A ball is an
equality, with a coordinate w for its slack.
"""

from dataclasses import dataclass

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.lifted_space import ACTIVE, FREE, INACTIVE, LiftedSpace
from formulations.program import Dual, Program
from formulations.robustness import BOX_ROWS, InputRegion, MarginProblem

FIXED_INPUT = 1e7
"""Weight of ``−(x_j − lower_j t)²`` for inputs that do not vary, in units of the form."""


@dataclass(frozen=True, eq=False)
class MarginNode:
    """The form program of a node and what is needed to write its duals down for the whole.

    Attributes:
        program: in scaled coordinates; the form is divided by ``scale``.
        scale: what the form was divided by.
        free: (f,) free neurons.
        positions: (2f+r,) position in the whole of each inequality: signs of all neurons, t, box sides, circuits,
            triangles.
        factors: (2f+r,) a row of the program is this factor times that of the whole.
        first: (p, q) products to begin with.
        middle, width: (d,) of the box; ``width`` is half of its side, 0 for inputs that do not vary.
    """

    program: Program
    scale: float
    free: IntArray
    positions: IntArray
    factors: FloatArray
    first: tuple[IntArray, IntArray]
    middle: FloatArray
    width: FloatArray

    def first_dual(self, further: IntArray) -> Dual:
        """A dual whose only meaning is which products a solver should begin with: ``first`` and ``further`` (n, 2)."""
        N = np.zeros((self.program.positions, self.program.positions))
        N[self.first] = N[further[:, 0], further[:, 1]] = 1.0
        return Dual(np.zeros((0, 0)), np.maximum(N, N.T))

    def positions_of(self, problem: MarginProblem, products: IntArray) -> IntArray:
        """Products (n, 2) given by positions of the whole, as positions here; those that vanish are left out."""
        inverse = np.full(problem.positions, -1, dtype=np.int64)
        inverse[self.positions] = np.arange(len(self.positions))
        found = np.sort(inverse[products], axis=1)
        p, q = found.T
        f = len(self.free)
        complementary = (q - p == f) & (q < 2 * f)
        present: IntArray = found[(p >= 0) & (p < q) & ~complementary]
        return present

    def lift(
        self, problem: MarginProblem, N: FloatArray, t: FloatArray, on_equalities: FloatArray
    ) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
        """(pairs, multipliers, complementarity, σ) for the whole, of a symmetric N, t and the ball's multiplier."""
        upper = np.triu(N)
        p, q = np.nonzero(upper > 1e-14 * max(float(upper.max(initial=0.0)), 1e-300))
        value = np.where(p == q, 1.0, 2.0) * upper[p, q] * self.scale * self.factors[p] * self.factors[q]
        pairs = np.sort(np.stack([self.positions[p], self.positions[q]], axis=1), axis=1)
        constant = np.flatnonzero(self.width == 0)
        if len(constant):
            first = 2 * problem.neurons + BOX_ROWS + 2 * constant
            pairs = np.concatenate([pairs, np.stack([first, first + 1], axis=1)])
            columns = np.square(problem.generators[:, constant] * self._size(problem)[:, None]).max(axis=0, initial=0.0)
            value = np.concatenate([value, FIXED_INPUT * self.scale * (1.0 + columns)])
        whole = np.zeros(problem.neurons)
        f = len(self.free)
        whole[self.free] = self.scale * t * self.factors[:f] ** 2
        region = problem.case.region
        sigma = np.zeros(1 if region.has_ball else 0)
        if region.radius is not None and len(on_equalities):
            sigma += self.scale * np.maximum(on_equalities, 0.0) / region.radius**2
        return pairs.astype(np.int64), value, whole, sigma

    @staticmethod
    def _size(problem: MarginProblem) -> FloatArray:
        return 1.0 / np.maximum(-problem.bounds[:, 0], problem.bounds[:, 1])


def margin_node(problem: MarginProblem, signs: IntArray, mu: FloatArray, *, epsilon: float = 1.0) -> MarginNode:
    """The form program of ``μᵀ(H f + h)`` where neurons have these signs (N,), over the region."""
    region, N, d = problem.case.region, problem.neurons, problem.case.region.inputs
    middle, width = 0.5 * region.lower + 0.5 * region.upper, 0.5 * (region.upper - region.lower)
    live = np.flatnonzero(width > 0)
    ball = _ball(region, middle, width, live)
    size = np.maximum(-problem.bounds[:, 0], problem.bounds[:, 1])
    # A coordinate for the ball's slack lies between the inputs and t.
    A = np.zeros((N, len(live) + len(ball) + 1))
    A[:, : len(live)] = problem.generators[:, live] * width[live]
    A[:, -1] = problem.generators[:, :d] @ middle + problem.generators[:, d]
    A = A / size[:, None]
    w, linear = (mu @ problem.weights) * size, mu @ problem.linear
    z = np.zeros(A.shape[1])
    z[: len(live)], z[-1] = linear[live] * width[live], linear[:d] @ middle + linear[d]
    active, free, fixed = signs == ACTIVE, np.flatnonzero(signs == FREE), np.flatnonzero(signs != FREE)
    z = z + w[active] @ A[active]
    space = LiftedSpace(A[free])
    f, order = len(free), space.order
    row = np.zeros(order)
    row[:f], row[2 * f :] = w[free], z
    form = np.zeros((order, order))
    form[-1] += 0.5 * row
    form[:, -1] += 0.5 * row
    scale = max(float(np.abs(form).max()), 1e-300)
    activations = np.zeros((len(fixed), order))
    activations[:, 2 * f :] = signs[fixed, None] * A[fixed]
    circuits, circuit_factors = _circuit_rows(problem, signs, A, size)
    rows = [
        _box_rows(f, len(live), order),
        _triangle_rows(A[free], problem.bounds[free] / size[free, None]),
        activations,
        circuits,
    ]
    sides = 2 * N + BOX_ROWS + 2 * np.repeat(live, 2) + np.tile([0, 1], len(live))
    alive = np.where(active[fixed], fixed, N + fixed)
    positions = [free, N + free, [2 * N], sides, problem.triangle_start + free, alive]
    raw = problem.bounds[free]
    metric = np.diag(np.append(np.full(A.shape[1] - 1, epsilon), 1.0))
    return MarginNode(
        program=Program.of_form(space, form / scale, metric, np.concatenate(rows), ball),
        scale=scale,
        free=free,
        positions=np.concatenate([*positions, problem.circuit_start + np.arange(len(circuits))]).astype(np.int64),
        factors=np.concatenate(
            [
                np.tile(1.0 / size[free], 2),
                [1.0],
                1.0 / np.repeat(width[live], 2),
                -1.0 / (raw[:, 0] * raw[:, 1]),
                1.0 / size[fixed],
                circuit_factors,
            ]
        ),
        first=_first_products(f, len(live), len(fixed), len(circuits)),
        middle=middle,
        width=width,
    )


def _ball(region: InputRegion, middle: FloatArray, width: FloatArray, live: IntArray) -> FloatArray:
    """(1, k, k) or (0, k, k): ``t² − ‖x − centre t‖²/radius² − w² = 0`` over (y, w, t)."""
    if region.centre is None or region.radius is None or not region.radius > 0:
        return np.zeros((0, len(live) + 1, len(live) + 1))
    Q = np.zeros((len(live) + 2, len(live) + 2))
    apart = (middle - region.centre) / region.radius
    share = width[live] / region.radius
    index = np.arange(len(live))
    Q[index, index], Q[-2, -2] = -(share**2), -1.0
    Q[index, -1] = Q[-1, index] = -share * apart[live]
    Q[-1, -1] = 1.0 - float(apart @ apart)
    return Q[None]


def _box_rows(free: int, inputs: int, order: int) -> FloatArray:
    """t ≥ 0, then ``t ± y_j ≥ 0`` for each input."""
    rows = np.zeros((BOX_ROWS + 2 * inputs, order))
    rows[:, -1] = 1.0
    index = np.arange(inputs)
    rows[BOX_ROWS + 2 * index, 2 * free + index], rows[BOX_ROWS + 1 + 2 * index, 2 * free + index] = 1.0, -1.0
    return rows


def _triangle_rows(A: FloatArray, bounds: FloatArray) -> FloatArray:
    f, k = A.shape
    low, high = bounds.T
    rows = np.zeros((f, 2 * f + k))
    rows[:, 2 * f :] = high[:, None] * A
    rows[:, -1] -= high * low
    rows[np.arange(f), np.arange(f)] -= high - low
    return np.asarray(rows / (-low * high)[:, None])


def _circuit_rows(
    problem: MarginProblem, signs: IntArray, A: FloatArray, size: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(rows over λ of the free neurons, factors to those of the whole) of the problem's circuits."""
    free, N, k = np.flatnonzero(signs == FREE), problem.neurons, A.shape[1]
    if problem.circuits is None:
        return np.zeros((0, 2 * len(free) + k)), np.zeros(0)
    phi = problem.circuits.rows(0) * np.tile(size, 2)
    factor = 1.0 / np.abs(phi).max(axis=1, initial=1e-300)
    phi = factor[:, None] * phi
    # α of an active neuron is a·z, β of an inactive one −a·z, and the other one vanishes.
    fixed_alpha, fixed_beta = np.flatnonzero(signs == ACTIVE), np.flatnonzero(signs == INACTIVE)
    z = phi[:, fixed_alpha] @ A[fixed_alpha] - phi[:, N + fixed_beta] @ A[fixed_beta]
    return np.hstack([phi[:, free], phi[:, N + free], z]), factor


def _first_products(free: int, inputs: int, fixed: int, circuits: int) -> tuple[IntArray, IntArray]:
    """t with everything, each neuron's signs with its triangle (α(u−α) ≥ 0 and β(−l−β) ≥ 0), opposite sides of the box.

    These are 6 for each neuron and 1 for each input; with them alone the relaxation is nearly as tight as with all.
    """
    t, box, triangle = 2 * free, 2 * free + 1, 2 * free + 1 + 2 * inputs
    neuron, side = np.arange(free), box + 2 * np.arange(inputs)
    others = np.concatenate([np.arange(2 * free), triangle + np.arange(free + fixed + circuits)])
    p = np.concatenate([np.minimum(others, t), neuron, free + neuron, side])
    q = np.concatenate([np.maximum(others, t), triangle + neuron, triangle + neuron, side + 1])
    return p.astype(np.int64), q.astype(np.int64)
