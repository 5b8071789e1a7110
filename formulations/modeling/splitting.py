"""The best splitting of a symmetric matrix into a positive semidefinite and an entrywise nonnegative part."""

import numpy as np

from formulations._validation import FloatArray
from formulations.modeling.compiled import counting, load


def nonnegative_part(M: FloatArray, *, time_limit: float) -> FloatArray | None:
    """The N ≥ 0 with zero diagonal for which the smallest eigenvalue of M − N is (nearly) largest; not to be trusted.

    The diagonal of M should be of order one. None when the solver, Clarabel, gave nothing finite.
    """
    load()
    import cvxpy as cp

    with counting:
        S, t = cp.Variable(M.shape, PSD=True), cp.Variable()
        problem = cp.Problem(cp.Maximize(t), [cp.diag(S) + t == np.diag(M), S + t * np.eye(len(M)) <= M])
        data, chain, inverse = problem.get_problem_data(cp.CLARABEL, solver_opts={})
    answer = chain.solver.solve_via_data(data, False, False, {"time_limit": time_limit, "max_threads": 1})
    solution = chain.invert(answer, inverse)
    if S.id not in solution.primal_vars or not np.isfinite(solution.primal_vars[S.id]).all():
        return None
    N = np.maximum(M - np.asarray(solution.primal_vars[S.id]), 0.0)
    np.fill_diagonal(N, 0.0)
    return np.asarray(0.5 * (N + N.T))
