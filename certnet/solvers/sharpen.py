"""The best complementarity multipliers that go with given products: much of what repair would give away.

Repair adds the same τ to all complementarity multipliers t, and thereby pays for one bad direction of the slack in all
of them. Here every t_i is free, and so is a factor ν ≥ 0 of N:

    maximise δ   subject to   M = λᵀCλ − δ zᵀEz − ν ℓᵀNℓ − Σ t_i α_iβ_i  positive semidefinite on the face.

That semidefinite program has N+2 variables, however many products there are: for the interior point N is one
inequality. It begins at the repaired dual and keeps M definite, so every iterate is a bound.
"""

from contextlib import suppress
from dataclasses import replace

import numpy as np

from certificates.making.repair import project, raw_dual, repair_form
from certnet.runtime.numerics import FAILURES
from certnet.solvers.dual_loss import DualLoss
from certnet.solvers.face_problem import NONE, face_problem
from certnet.solvers.iterate import FaceIterate, Iterate, Measure
from certnet.solvers.orthonormal import Units, orthonormal
from certnet.solvers.rounds import COLD, Rounds
from formulations import Dual, Program
from formulations._validation import FloatArray

UNIT_ROWS = Units(0.0, 1.0)
ACCURACY = 1e-4
STEPS = 40
START = 1e-2
SMALLEST_FACTOR = 1e-3


def sharpen(program: Program, dual: Dual) -> Dual:
    """The dual with the best t and the best multiple of N, or the given one when repair makes more of that.

    Args:
        program: any form; it is scaled here.
        dual: any dual of that program.

    Raises:
        InputError: the dual's shapes do not fit.
    """
    there = orthonormal(program, UNIT_ROWS)
    form, given = there.program, there.apply_dual(dual)
    first = repair_form(form, given)
    if form.space.neurons == 0 or not np.isfinite(first.delta):
        return dual
    _, N, _ = project(form, given)
    total = float(N.sum())
    factor = max(float(first.N.sum()) / total, SMALLEST_FACTOR) if total > 0 else 1.0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        y = _maximise(form, N, np.concatenate([[first.delta, factor], 0.5 * first.t]))
    best = raw_dual(np.zeros(form.shape), y[1] * N, 2.0 * y[2:], gamma=1.0)
    return there.undo_dual(best) if repair_form(form, best).delta > first.delta else dual


def _maximise(form: Program, N: FloatArray, y: FloatArray) -> FloatArray:
    """``y = (δ, ν, t/2)`` of about the largest δ, from a feasible one moved from where M is nearly singular.

    ``t − s`` and a lower δ add a definite matrix of size s to M. Where rounding or a failure ends the path,
    the best y on it counts.
    """
    generators, none, loss, y = form.space.generators, np.zeros(0, dtype=np.int64), DualLoss.of(form), y.copy()
    problem = face_problem(form, loss)
    k, order = form.space.dimension, problem.order
    metric, products = np.zeros((order, order)), form.space.pull_back(form.lift_inequalities(N))
    metric[order - k :, order - k :] = form.metric
    constraints = replace(problem.map, quadratics=0.5 * np.stack([metric, products]))
    problem = replace(problem, map=constraints)
    s = START * float(np.abs(np.diag(problem.cost - constraints.adjoint(y))).mean())
    y[2:] -= s
    y[0] -= 2.0 * s * (1.0 + 0.5 * float(np.linalg.norm(generators, 2)) ** 2)
    S = np.eye(problem.order) / generators.shape[1]
    z = np.maximum(constraints(S)[1:2], 0.5 / problem.order)
    best = y

    def look(_: Rounds, seen: Measure) -> bool:
        nonlocal best
        at = seen.points[0].at
        if seen.is_dual_feasible and at.y[0] > best[0]:
            best = at.y
        return False

    at = FaceIterate(S, problem.cost - constraints.adjoint(y), y, z, none, none)
    with suppress(*FAILURES):
        Rounds(
            [problem],
            loss,
            Iterate(NONE, NONE, [at]),
            look=look,
            late=lambda _: False,
            tolerance=ACCURACY,
            max_iterations=STEPS,
            max_products=0,
            attempt=COLD,
        ).run()
    return best
