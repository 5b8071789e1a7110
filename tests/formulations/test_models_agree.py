"""Independent statements of the relaxation have the same value: CVXPY, PICOS, and the native interior point's."""

import importlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cvxpy as cp
import numpy as np
import pytest

from certnet.solvers import solve
from formulations import InputError, Program
from formulations.modeling import cvxpy_model, picos_model
from formulations.modeling.compiled import Compiled

from .small_programs import plain, presolved

PROGRAMS = [pytest.param(lambda i=i: presolved(i), id=f"presolved{i}") for i in range(3)]
PROGRAMS += [pytest.param(lambda s=s: plain(s, metric=True), id=f"plain{s}") for s in (5, 8)]


@pytest.mark.parametrize("make", PROGRAMS)
def test_three_statements_agree(make) -> None:
    program = make()
    problem, _ = cvxpy_model(program)
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-6, tol_gap_rel=1e-6)
    picos_problem = picos_model(program)
    picos_problem.solve(solver="cvxopt")
    value = solve(program, "interior-point", tolerance=1e-6).objective
    assert value > 0
    assert problem.value == pytest.approx(value, rel=1e-4)
    assert picos_problem.value == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("make", PROGRAMS)
def test_cvxpy_handles_give_primal_and_dual_iterates(make) -> None:
    program = make()
    problem, handles = cvxpy_model(program)
    with pytest.raises(InputError, match="solve"):
        handles.recover()
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-6, tol_gap_rel=1e-6)
    primal, dual = handles.recover()
    assert program.value(program.space.moment(primal.S)) == pytest.approx(problem.value, rel=1e-4)
    assert program.dual_value(dual.W) == pytest.approx(problem.value, rel=1e-4)
    slack = program.slack(dual.W, dual.N)
    assert np.linalg.eigvalsh(slack)[0] >= -1e-6 * max(1.0, float(np.abs(slack).max()))


def network_moment(program: Program, seed: int) -> np.ndarray:
    """Face matrix S of three lifted points: in the feasible set by construction."""
    rng = np.random.default_rng(seed)
    space = program.space
    z, v = rng.standard_normal((space.dimension, 3)), rng.standard_normal((space.outputs, 3))
    s = space.face(space.lift(z, v))
    return s @ s.T


@pytest.mark.parametrize("make", PROGRAMS)
def test_networks_are_feasible_with_the_value_of_the_program(make) -> None:
    program = make()
    problem, handles = cvxpy_model(program)
    S = network_moment(program, 3)
    G = program.space.moment(S)
    handles.S.value = S
    handles.residual.value = (
        program.loss.dual(np.zeros(program.shape)) - program.weight[:, None] * G[program.feature, program.space.v]
    )
    np.testing.assert_allclose(handles.G.value, G, atol=1e-12)
    for constraint in problem.constraints:
        np.testing.assert_allclose(constraint.violation(), 0.0, atol=1e-9)
    assert problem.objective.value == pytest.approx(program.value(G))


def test_a_matrix_that_would_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("formulations.modeling.cvxpy_model"), "MAXIMUM_ENTRIES", 10)
    with pytest.raises(InputError, match="admm"):
        Compiled(presolved(0), "SCS")


def test_programs_compiled_side_by_side_are_the_same_as_one_after_the_other() -> None:
    program = presolved(0)
    expected = Compiled(program, "CLARABEL").data["A"].toarray()
    with ThreadPoolExecutor(4) as pool:
        for compiled in pool.map(lambda _: Compiled(program, "CLARABEL"), range(8)):
            np.testing.assert_array_equal(compiled.data["A"].toarray(), expected)


@pytest.mark.parametrize("make", PROGRAMS)
def test_the_output_block_can_be_minimised_out(make) -> None:
    """γ/2 (tr Z + ⟨E, G_zz⟩) with [γI + ΩG_ffΩ, T; Tᵀ, Z] ⪰ 0 has the same value; its dual holds W."""
    program = make()
    space, (f, c) = program.space.with_outputs(0), program.shape
    S, Z = cp.Variable((space.face_order,) * 2, PSD=True), cp.Variable((c, c), symmetric=True)
    G = space.basis @ S @ space.basis.T
    phi = G[space.phi, space.phi]
    features = cp.multiply(np.outer(program.weight, program.weight), phi[program.feature][:, program.feature])
    block = cp.bmat(
        [
            [program.gamma * np.eye(f) + features, program.loss.dual(np.zeros(program.shape))],
            [program.loss.dual(np.zeros(program.shape)).T, Z],
        ]
    )
    inner = 0.5 * (block + block.T) >> 0
    cost = cp.trace(Z) + cp.trace(program.metric @ G[space.z, space.z])
    signs = [phi >= 0, cp.diag(G[space.alpha, space.beta]) == 0]
    problem = cp.Problem(cp.Minimize(0.5 * program.gamma * cost), [inner, *signs])
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-6, tol_gap_rel=1e-6)
    W = -2.0 * inner.dual_value[:f, f:]
    assert program.dual_value(W) == pytest.approx(problem.value, rel=1e-3)
    assert problem.value == pytest.approx(solve(program, "interior-point", tolerance=1e-6).objective, rel=1e-4)


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
        "import sys, formulations, formulations.modeling.compiled; "
        "sys.exit(any(name in sys.modules for name in ('cvxpy', 'picos', 'clarabel', 'scs')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_picos_its_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picos", None)
    with pytest.raises(InputError, match=r"pip install certnet\[modeling\]"):
        picos_model(plain(0))
