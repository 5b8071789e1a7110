"""The joint bound: training over a tree of sign splits, with one W for all leaves.

The moment matrix is a sum ``G = Σ G_l`` over the leaves, each on the smaller face of its leaf, coupled through the
loss alone. The dual asks for the best common W such that every leaf's slack is positive semidefinite, with multipliers
of its own. So the value is at least that of any fixed W on the same leaves, and a disjunctive bound on the optimum.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from certificates.failure import Deadline
from certnet.runtime.numerics import FAILURES
from certnet.solvers.dual_loss import DualLoss, narrowed, widened
from certnet.solvers.face_problem import (
    FaceProblem,
    face_problem,
    feasible_multipliers,
    largest,
    node_problem,
    violated,
)
from certnet.solvers.iterate import FaceIterate, Iterate, Measure, mean_mu
from certnet.solvers.linear_algebra import longest_step
from certnet.solvers.rounds import Rounds
from formulations import Part, Program, restrict
from formulations._validation import FloatArray, IntArray
from formulations.part import largest_entry

MAX_ITERATIONS = 120
MAX_ROUNDS = 10
MAX_PRODUCTS = 1 << 20
# What a start adds to S, as a part of the mean eigenvalue over all leaves. Measured: on 20 Gaussian rows (d = 5)
# half of it and twice move the bound of six nodes by −0.1 and +0.15 %.
START_SHIFT = 0.03
SMALL_EIGENVALUE = 1e-6  # Least eigenvalue of a definite slack, in units of γ.
SMALL_MULTIPLIER = 1e-3  # Least multiplier of a product at the start, as a part of μ/z.
LEAST_VIOLATION = 1e-2  # Correlation below which a product of the start counts as violated.


@dataclass(frozen=True)
class Settings:
    """The tuning numbers of this module."""

    interior_shares: tuple[float, ...] = (0.1, 0.25, 0.5)
    """Part that a strictly feasible dual gets in the one where a solve starts: the first that makes all slacks
    definite. The dual of a parent is feasible for its children, but perhaps not without the products that are left
    out. Measured: the single program's start instead loses up to a quarter of the bound on small trees."""

    products_per_order: int = 5
    """Most products with a multiplier that a leaf starts with, by the order of S. Measured: on wine (110 rows, γ = 1)
    16 leaves take 44 CPU seconds with all, 30 with these and 22 with 3; on ionosphere (γ = 3) 8 take 97 with all, 74
    with these, and with 2 they are no better than the root."""
    new_per_order: int = 1
    """Most products besides them that the start violates, by the order of S. Measured: on 80 rows of pima indians
    (γ = 3) 17 CPU seconds leave 6.8 % without any, 4.6 % with these and about the same with 2; on wine as above 4
    leaves leave 1.24 % after 18 with these, and 8 leaves 0.91 % after 20 without any."""


SETTINGS = Settings()


@dataclass(frozen=True, eq=False)
class JointLeaf:
    """What is known of a leaf: a face matrix S of order f+k+c and multipliers N over its inequalities, t at (α_i, β_i).

    N has the sense of ``Dual``, and of ``Part`` where the sign of the output is fixed.
    """

    S: FloatArray
    N: FloatArray


@dataclass(frozen=True, eq=False)
class JointResult:
    """The best W and multipliers of every leaf that are feasible for it.

    Attributes:
        W: (f, c); zero where no dual was feasible.
        leaves: the last S and N of the best dual, in the order that was asked for.
        value: −L*(−W) in the program's own scale, a bound up to rounding; −∞ where no dual was feasible.
        objective: of the last primal iterate, in the program's own scale; near the bound where the solve has converged.
        steps: Newton steps.
        bytes: of the Schur complements of all leaves.
        interrupted, failed: by Ctrl-C, or by a failure of the solve's own.
    """

    W: FloatArray
    leaves: tuple[JointLeaf, ...]
    value: float
    objective: float
    steps: int
    bytes: int
    interrupted: bool = False
    failed: bool = False


def solve_joint(
    program: Program,
    signs: Sequence[IntArray],
    W: FloatArray,
    starts: Sequence[JointLeaf],
    *,
    enough: float = np.inf,
    tolerance: float = 1e-3,
    max_rounds: int = MAX_ROUNDS,
    max_iterations: int = MAX_ITERATIONS,
    time_limit: float | None = None,
) -> JointResult:
    """Maximise the common bound over W and the multipliers of all leaves. Ctrl-C or a failure leaves the best so far.

    Args:
        program: presolved training program.
        signs: (N,) fixed signs of each leaf, or (N+1,) with that of the output; together they cover the cone.
        W: (f, c) where to start.
        starts: one for each leaf.
        enough: value in the program's own scale at which the solve ends.
        tolerance: relative gap.
        max_rounds: limit on solves with ever more products. A search goes on with what this solve has found, so
            two are enough for it.
        max_iterations: Newton steps.
        time_limit: seconds.
    """
    deadline = Deadline.after(time_limit)
    nodes = [restrict(program, item) for item in signs]
    loss = DualLoss.of(program)
    problems = [node_problem(program, node, loss) for node in nodes]
    best: Measure | None = None
    starts = [
        replace(start, N=problem.with_output(start.N, program.gamma / largest_entry(W)))
        for problem, start in zip(problems, starts, strict=True)
    ]

    def look(_: Rounds, seen: Measure) -> bool:
        nonlocal best
        if seen.is_dual_feasible and (best is None or seen.dual > best.dual):
            best = seen
        return best is not None and best.dual >= enough

    rounds = Rounds(
        problems,
        loss,
        _start(program, problems, nodes, loss, W, starts),
        look=look,
        late=lambda ahead: not deadline.left > ahead,
        tolerance=tolerance,
        max_iterations=max_iterations,
        max_products=MAX_PRODUCTS,
        max_rounds=max_rounds,
        feasible=True,
    )
    interrupted = failed = False
    try:
        rounds.run()
    except KeyboardInterrupt:
        interrupted = True
    except FAILURES:
        failed = True
    seen = rounds.reached
    W = np.zeros(program.shape) if best is None else loss.W(best.at.W)
    leaves = []
    for number, (problem, point) in enumerate(zip(problems, seen.points, strict=True)):
        N = np.zeros((problem.positions,) * 2)
        if best is not None:
            at = best.points[number].at
            N = problem.with_output(problem.products(at.y, at.p, at.q), largest_entry(W) / program.gamma)
        leaves.append(JointLeaf(widened(point.at.S, loss.basis), N))
    return JointResult(
        W=W,
        leaves=tuple(leaves),
        value=-np.inf if best is None else best.dual,
        objective=seen.primal,
        steps=rounds.iterations,
        bytes=sum(8 * len(at.y) ** 2 for at in rounds.at.faces),
        interrupted=interrupted,
        failed=failed,
    )


def _start(
    program: Program,
    problems: Sequence[FaceProblem],
    nodes: Sequence[Part],
    loss: DualLoss,
    W: FloatArray,
    starts: Sequence[JointLeaf],
) -> Iterate:
    """Approximate solutions moved into the cones: the dual towards a strictly feasible one, S by the identity."""
    whole = face_problem(program.with_inequalities(program.inequalities[:0]), loss)
    inner = feasible_multipliers(whole, loss)
    inner_W, inner_t = inner[whole.entries], inner[whole.entries.stop :]
    outer_W = loss.inside(W, 0.0)
    products = [_products(problem, start) for problem, start in zip(problems, starts, strict=True)]
    for share in SETTINGS.interior_shares:
        mixed = (1.0 - share) * outer_W + share * inner_W
        ys, slacks, least = [], [], np.inf
        for problem, node, start, (p, q) in zip(problems, nodes, starts, products, strict=True):
            first = np.concatenate([inner[: problem.entries.start], mixed[problem.shared]])
            y = problem.multipliers(first, (1.0 - share) * start.N, p, q)
            y[problem.entries.stop : problem.fixed] += share * inner_t[node.free]
            slack = problem.cost - problem.with_products(p, q).adjoint(y)
            least = min(least, float(np.linalg.eigvalsh(slack)[0]))
            ys.append(y)
            slacks.append(slack)
        if least >= SMALL_EIGENVALUE * program.gamma:
            break
    orders = sum(problem.order for problem in problems)
    shift = START_SHIFT * max(sum(float(np.trace(start.S)) for start in starts) / orders, 1e-12)
    faces = []
    for problem, start, y, M, (p, q) in zip(problems, starts, ys, slacks, products, strict=True):
        identity = np.eye(problem.order)
        S = narrowed(0.5 * (start.S + start.S.T), loss.basis)
        S = S + (shift + max(-float(np.linalg.eigvalsh(S)[0]), 0.0)) * identity
        own = float(np.linalg.eigvalsh(M)[0])
        if not own >= SMALL_EIGENVALUE * problem.unit:
            M = M + (SETTINGS.interior_shares[0] * problem.unit - own) * identity
        z = np.maximum(problem.with_products(p, q)(S)[problem.signed(len(p))], shift)
        faces.append(FaceIterate(S, M, y, z, p, q))
    mu = mean_mu(faces)
    lifted = [_lifted(problem, at, mu) for problem, at in zip(problems, faces, strict=True)]
    return Iterate.on(mixed, loss, faces)._replace(faces=lifted)


def _products(problem: FaceProblem, start: JointLeaf) -> tuple[IntArray, IntArray]:
    """Those with the largest multipliers, and those that the start violates most."""
    neurons, count = problem.neurons, SETTINGS.new_per_order * problem.order
    p, q = largest(start.N, neurons, SETTINGS.products_per_order * problem.order)
    moments = problem.inequality_moments(problem.map.gram(narrowed(start.S, problem.basis)))
    new_p, new_q = violated(moments, neurons, (p, q), tolerance=LEAST_VIOLATION, count=count)
    return np.concatenate([p, new_p]), np.concatenate([q, new_q])


def _lifted(problem: FaceProblem, at: FaceIterate, mu: float) -> FaceIterate:
    """The multipliers of products raised towards ``mu/z``, as far as M stays well inside."""
    signed = problem.signed(len(at.p))
    own, more = at.y[signed], np.zeros_like(at.y)
    more[signed] = np.maximum(mu / at.z - own, 0.0)
    change = problem.with_products(at.p, at.q).adjoint(more)
    share = min(1.0, 0.5 * longest_step(at.M, -change))
    y = at.y.copy()
    y[signed] = np.maximum(own + share * more[signed], SMALL_MULTIPLIER * mu / at.z)
    return at._replace(M=at.M - share * change, y=y)
