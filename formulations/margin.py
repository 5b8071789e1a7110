"""The margin of a case as a form program over the lifted cone, at a node of a search that splits neurons.

The inputs are moved and scaled to ``y = (x − middle)/width`` with |y| ≤ 1, the neurons to pre-activations of size one.
The normalisation is ``‖y‖² + t² = 1``: the sign of the value is that of the margin's relaxation, and its size is not
the margin. Inequalities are, in this order: φ of the free neurons, t, the sides of the box, the triangles of the free
neurons, and the activations of the fixed ones.
"""

from dataclasses import dataclass

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.forms import FormProgram
from formulations.lifted_space import LiftedSpace
from formulations.nodes import ACTIVE, FREE
from formulations.program import RawDual
from formulations.robustness import BOX_ROWS, MarginProblem

FIXED_INPUT = 1e7
"""Weight of ``−(x_j − lower_j t)²`` for inputs that do not vary, in units of the form."""


@dataclass(frozen=True, eq=False)
class MarginNode:
    """The form program of a node and what is needed to write its duals down for the whole.

    Attributes:
        program: in scaled coordinates; the form is divided by ``scale``.
        scale: what the form was divided by.
        free: (f,) free neurons.
        positions: (2f+r,) position in the whole of each inequality: signs of all neurons, t, box sides, triangles.
        factors: (2f+r,) a row of the program is this factor times that of the whole.
        first: (p, q) products to begin with.
        middle, width: (d,) of the box; ``width`` is half of its side, 0 for inputs that do not vary.
    """

    program: FormProgram
    scale: float
    free: IntArray
    positions: IntArray
    factors: FloatArray
    first: tuple[IntArray, IntArray]
    middle: FloatArray
    width: FloatArray

    def first_dual(self, further: IntArray) -> RawDual:
        """A dual whose only meaning is which products a solver should begin with: ``first`` and ``further`` (n, 2)."""
        N = np.zeros((self.program.positions, self.program.positions))
        N[self.first] = N[further[:, 0], further[:, 1]] = 1.0
        return RawDual(np.zeros((0, 0)), np.maximum(N, N.T))

    def positions_of(self, problem: MarginProblem, products: IntArray) -> IntArray:
        """Products (n, 2) given by positions of the whole, as positions here; those that vanish are left out."""
        inverse = np.full(problem.triangle_start + problem.neurons, -1, dtype=np.int64)
        inverse[self.positions] = np.arange(len(self.positions))
        found = np.sort(inverse[products], axis=1)
        p, q = found.T
        f = len(self.free)
        complementary = (q - p == f) & (q < 2 * f)
        present: IntArray = found[(p >= 0) & (p < q) & ~complementary]
        return present

    def lift(self, problem: MarginProblem, N: FloatArray, t: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
        """(pairs, multipliers, complementarity of all neurons) of a symmetric N and t of the program, for the whole."""
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
        return pairs.astype(np.int64), value, whole

    @staticmethod
    def _size(problem: MarginProblem) -> FloatArray:
        return 1.0 / np.maximum(-problem.bounds[:, 0], problem.bounds[:, 1])


def margin_node(problem: MarginProblem, signs: IntArray, mu: FloatArray) -> MarginNode:
    """The form program of ``μᵀ(H f + h)`` where neurons have these signs (N,), over the box of the region."""
    region = problem.case.region
    N, d = problem.neurons, region.inputs
    middle, width = 0.5 * region.lower + 0.5 * region.upper, 0.5 * (region.upper - region.lower)
    live = np.flatnonzero(width > 0)
    size = np.maximum(-problem.bounds[:, 0], problem.bounds[:, 1])
    A = np.hstack([problem.generators[:, live] * width[live], problem.generators[:, :d] @ middle[:, None]])
    A[:, -1] += problem.generators[:, d]
    A = A / size[:, None]
    bounds, w = problem.bounds / size[:, None], (mu @ problem.weights) * size
    linear = mu @ problem.linear
    z = np.append(linear[live] * width[live], linear[:d] @ middle + linear[d])
    active, free = signs == ACTIVE, np.flatnonzero(signs == FREE)
    fixed = np.flatnonzero(signs != FREE)
    z = z + w[active] @ A[active]
    space = LiftedSpace(A[free])
    f, k, order = len(free), len(live) + 1, space.order
    row = np.zeros(order)
    row[:f], row[2 * f :] = w[free], z
    form = np.zeros((order, order))
    form[-1] += 0.5 * row
    form[:, -1] += 0.5 * row
    scale = max(float(np.abs(form).max()), 1e-300)
    t = np.zeros((1, order))
    t[0, -1] = 1.0
    box = np.repeat(t, 2 * len(live), axis=0)
    index = np.arange(len(live))
    box[2 * index, 2 * f + index], box[2 * index + 1, 2 * f + index] = 1.0, -1.0
    triangles, low, high = np.zeros((f, order)), bounds[free, 0], bounds[free, 1]
    triangles[:, 2 * f :] = high[:, None] * A[free]
    triangles[:, -1] -= high * low
    triangles[np.arange(f), np.arange(f)] -= high - low
    triangles /= (-low * high)[:, None]
    activations = np.zeros((len(fixed), order))
    activations[:, 2 * f :] = signs[fixed, None] * A[fixed]
    rows = np.concatenate([t, box, triangles, activations])
    sides = 2 * N + BOX_ROWS + 2 * np.repeat(live, 2) + np.tile([0, 1], len(live))
    raw = problem.bounds[free]
    start = problem.triangle_start
    alive = np.where(active[fixed], fixed, N + fixed)
    return MarginNode(
        program=FormProgram(space, form / scale, np.eye(k), rows),
        scale=scale,
        free=free,
        positions=np.concatenate([free, N + free, [2 * N], sides, start + free, alive]).astype(np.int64),
        factors=np.concatenate(
            [
                np.tile(1.0 / size[free], 2),
                [1.0],
                1.0 / np.repeat(width[live], 2),
                -1.0 / (raw[:, 0] * raw[:, 1]),
                1.0 / size[fixed],
            ]
        ),
        first=_first_products(f, len(live), len(fixed)),
        middle=middle,
        width=width,
    )


def _first_products(free: int, inputs: int, fixed: int) -> tuple[IntArray, IntArray]:
    """t with everything, each neuron's signs with its triangle (α(u−α) ≥ 0 and β(−l−β) ≥ 0), opposite sides of the box.

    These are 6 for each neuron and 1 for each input; with them alone the relaxation is nearly as tight as with all.
    """
    t, box, triangle = 2 * free, 2 * free + 1, 2 * free + 1 + 2 * inputs
    neuron, side = np.arange(free), box + 2 * np.arange(inputs)
    others = np.concatenate([np.arange(2 * free), triangle + np.arange(free + fixed)])
    p = np.concatenate([np.minimum(others, t), neuron, free + neuron, side])
    q = np.concatenate([np.maximum(others, t), triangle + neuron, triangle + neuron, side + 1])
    return p.astype(np.int64), q.astype(np.int64)
