"""Three independent statements of the relaxation have the same value: conic data, CVXPY, PICOS."""

import subprocess
import sys

import numpy as np
import pytest

from formulations import InputError, LiftedProgram
from formulations.conic import with_outputs
from formulations.modeling import cvxpy_model, picos_model

from .small_programs import clarabel_solve, plain, presolved

PROGRAMS = [pytest.param(lambda i=i: presolved(i), id=f"presolved{i}") for i in range(3)]
PROGRAMS += [pytest.param(lambda s=s: plain(s, metric=True), id=f"plain{s}") for s in (5, 8)]


def conic_value(program: LiftedProgram) -> float:
    data = with_outputs(program)
    return data.value(clarabel_solve(data)[0])


@pytest.mark.parametrize("make", PROGRAMS)
def test_three_statements_agree(make) -> None:
    program = make()
    problem, _ = cvxpy_model(program)
    problem.solve(solver="CLARABEL")
    picos_problem = picos_model(program)
    picos_problem.solve(solver="cvxopt")
    value = conic_value(program)
    assert value > 0
    assert problem.value == pytest.approx(value, rel=1e-4)
    assert picos_problem.value == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("make", PROGRAMS)
def test_cvxpy_handles_give_primal_and_dual_iterates(make) -> None:
    program = make()
    problem, handles = cvxpy_model(program)
    with pytest.raises(InputError, match="solve"):
        handles.recover()
    problem.solve(solver="CLARABEL")
    primal, dual = handles.recover()
    assert program.value(program.space.moment(primal.S)) == pytest.approx(problem.value, rel=1e-4)
    assert program.dual_value(dual.W) == pytest.approx(problem.value, rel=1e-4)
    slack = program.slack(dual.W, dual.N)
    assert np.linalg.eigvalsh(slack)[0] >= -1e-6 * max(1.0, float(np.abs(slack).max()))


def test_picos_blocks_are_the_moment_matrix() -> None:
    program = presolved(1)
    problem = picos_model(program)
    problem.solve(solver="cvxopt")
    value = {name: np.atleast_2d(np.array(problem.variables[name].np)) for name in ("G_zz", "G_zv", "G_vv")}
    k, c = program.space.dimension, program.space.outputs
    G_zv, G_vv = value["G_zv"].reshape(k, c), value["G_vv"].reshape(c, c)
    tail = np.block([[value["G_zz"], G_zv], [G_zv.T, G_vv]])
    assert np.linalg.eigvalsh(tail)[0] >= -1e-7
    # Balanced output and hidden weights: half of the regulariser each at an optimum.
    hidden = np.sum(program.metric * value["G_zz"])
    assert np.trace(G_vv) == pytest.approx(hidden, rel=1e-3)


def test_importing_formulations_imports_no_modelling_language() -> None:
    code = (
        "import sys, formulations, formulations.conic, formulations.modeling; "
        "sys.exit(any(name in sys.modules for name in ('cvxpy', 'picos', 'clarabel', 'scs')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
