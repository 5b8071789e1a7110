"""MOSEK, a commercial interior-point solver, on the reduced relaxation with its output block.

The quadratic loss becomes a rotated cone, since MOSEK does not mix quadratic objectives with cones:
minimise t + qᵀx with 2·t·1 ≥ Σ P_ii x_i². Everything else is an affine conic constraint ``b − Ax ∈ K``, so that the
multipliers of MOSEK (``doty``) are the y of ``ConicData``. Triangles are lower ones, as for SCS.
"""

import threading
import time
from typing import Any

import numpy as np
from scipy import sparse

from certnet.solvers import _external
from certnet.solvers._external import Outcome
from certnet.solvers.interface import SolverOptions, SolverResult, SolveStatus
from formulations import LiftedProgram
from formulations._validation import FloatArray
from formulations.conic import ConicData, triangle_size, with_outputs

NOT_INSTALLED = "MOSEK is not installed: pip install 'certnet[mosek]'; it also needs a licence file."
NOT_LICENSED = (
    "MOSEK is installed but has no valid licence: get one at https://www.mosek.com and place it as mosek.lic in "
    "a folder mosek below your home folder, or name it in MOSEKLM_LICENSE_FILE."
)


class MosekSolver:
    """Accurate; needs a licence. Warm starts, callbacks and the seed are not used."""

    name = "mosek"

    def unavailable(self) -> str | None:
        """None when the package can be imported and a licence can be checked out."""
        try:
            import mosek
        except ImportError:
            return NOT_INSTALLED
        try:
            with mosek.Env() as environment:
                # Cones need both features.
                environment.checkoutlicense(mosek.feature.pts)
                environment.checkoutlicense(mosek.feature.pton)
        except mosek.Error as error:
            return f"{NOT_LICENSED} ({_describe(error)})"
        return None

    def solve(self, program: LiftedProgram, options: SolverOptions) -> SolverResult:
        """Solve the relaxation; without a licence the result is FAILED and says so.

        Raises:
            InputError: the program is too large to be written as a matrix.
        """
        start = time.perf_counter()
        data = with_outputs(program)
        return _external.solve_in_worker(
            program, data, lambda stop: _run(data, options, stop), solver=self.name, start=start
        )


def _describe(error: Any) -> str:
    return str(getattr(error, "msg", "")) or str(getattr(error, "errno", "")) or type(error).__name__


def _run(data: ConicData, options: SolverOptions, stop: threading.Event) -> Outcome:
    import mosek

    try:
        with mosek.Env() as environment, environment.Task() as task:
            build_task(task, data)
            _set_options(task, options)
            # Called now and then by the solver, also between iterations; a nonzero value ends the solve.
            task.set_Progress(lambda _: 1 if stop.is_set() else 0)
            ended = task.optimize()
            return _read(task, data, ended)
    except mosek.Error as error:
        return _external.failed(f"MOSEK: {_describe(error)}")


def _set_options(task: Any, options: SolverOptions) -> None:
    import mosek

    for name in ("intpnt_co_tol_rel_gap", "intpnt_co_tol_pfeas", "intpnt_co_tol_dfeas"):
        task.putdouparam(getattr(mosek.dparam, name), options.tolerance)
    if options.time_limit is not None:
        task.putdouparam(mosek.dparam.optimizer_max_time, options.time_limit)
    if options.max_iterations is not None:
        task.putintparam(mosek.iparam.intpnt_max_iterations, options.max_iterations)


def build_task(task: Any, data: ConicData) -> None:
    """Fill an empty MOSEK task: variables (x, t), all free, and one conic constraint for each part of the cone."""
    import mosek

    n, rows = len(data.q), len(data.b)
    task.appendvars(n + 1)
    task.putvarboundsliceconst(0, n + 1, mosek.boundkey.fr, 0.0, 0.0)
    task.putclist(np.arange(n + 1, dtype=np.int32), np.append(data.q, 1.0))
    task.putcfix(data.constant)
    task.putobjsense(mosek.objsense.minimize)

    order = data.lower_order()
    loss, loss_constant = _loss_rows(data)
    A = sparse.hstack([-data.A.tocsr()[order], sparse.csr_array((rows, 1))])
    F = sparse.vstack([A, loss]).tocoo()
    g = np.concatenate([data.b[order], loss_constant])
    task.appendafes(len(g))
    task.putafefentrylist(F.row.astype(np.int64), F.col.astype(np.int32), F.data)
    task.putafegslice(0, len(g), g)

    domains = [(task.appendrzerodomain(data.zero), data.zero)]
    domains.append((task.appendrplusdomain(data.nonnegative), data.nonnegative))
    domains += [(task.appendsvecpsdconedomain(triangle_size(k)), triangle_size(k)) for k in data.psd]
    domains.append((task.appendrquadraticconedomain(len(loss_constant)), len(loss_constant)))
    first = 0
    for domain, size in domains:
        task.appendaccseq(domain, first, None)
        first += size


def _loss_rows(data: ConicData) -> tuple[sparse.csr_array, FloatArray]:
    """(t, 1, √P x) as rows over (x, t); P must be diagonal, which it is in every form of ``formulations.conic``."""
    diagonal = data.P.diagonal()
    used = np.flatnonzero(diagonal)
    n, m = len(diagonal), len(used)
    entries = np.concatenate([[1.0], np.sqrt(diagonal[used])])
    row, column = np.concatenate([[0], 2 + np.arange(m)]), np.concatenate([[n], used])
    constant = np.zeros(m + 2)
    constant[1] = 1.0
    return sparse.coo_array((entries, (row, column)), shape=(m + 2, n + 1)).tocsr(), constant


def _read(task: Any, data: ConicData, ended: Any) -> Outcome:
    import mosek

    kind = mosek.soltype.itr
    if not task.solutiondef(kind):
        return _external.failed(f"MOSEK: {ended}, without a solution")
    solution_status = task.getsolsta(kind)
    x = np.array(task.getxx(kind))[: len(data.q)]
    y = np.empty(len(data.b))
    parts = [np.array(task.getaccdoty(kind, i)) for i in range(2 + len(data.psd))]
    y[data.lower_order()] = np.concatenate(parts)
    limits = {
        mosek.rescode.trm_max_time: SolveStatus.TIME_LIMIT,
        mosek.rescode.trm_max_iterations: SolveStatus.ITERATION_LIMIT,
        mosek.rescode.trm_user_callback: SolveStatus.INTERRUPTED,
    }
    if solution_status == mosek.solsta.optimal:
        status = SolveStatus.CONVERGED
    else:
        status = limits.get(ended, SolveStatus.INACCURATE)
    return Outcome(
        x=x,
        y=y,
        status=status,
        message=f"MOSEK: {solution_status}, {ended}",
        iterations=int(task.getintinf(mosek.iinfitem.intpnt_iter)),
        statistics={"solve_seconds": float(task.getdouinf(mosek.dinfitem.optimizer_time))},
    )
