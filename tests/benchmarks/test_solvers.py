"""The harness of the solver benchmark on tiny programs: what it reports must be true. No wall time is asserted."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates.making.repair import repair
from formulations import Dual, InputError, TrainingProgram, merge_rows
from tests.benchmarks import _process, solvers
from tests.benchmarks._exponent import curves, seconds_to_loose, seconds_to_tight
from tests.benchmarks._methods import by_time, measure, merge_dual, paper_program
from tests.benchmarks._problems import load_problem
from tests.benchmarks._records import Job, Measurement, Point, failure
from tests.benchmarks._summary import exponent, optimum, ratios, seconds_within

PROBLEM, GAMMA = "gaussian-8", 0.3
COMPARED = ("interior-point", "admm", "scs", "clarabel", "scs-paper")


def job(method: str, *, problem: str = PROBLEM, tolerance: float = 1e-6) -> Job:
    return Job(problem=problem, gamma=GAMMA, method=method, time_limit=60.0, tolerance=tolerance)


@pytest.fixture(scope="module")
def measurements() -> dict[str, Measurement]:
    return {method: measure(job(method)) for method in COMPARED}


def made(method: str, *points: Point, objective: float = math.nan, status: str = "CONVERGED") -> Measurement:
    """A measurement with this trace."""
    last = points[-1]
    return Measurement(
        job=job(method),
        solver=f"{method} 0",
        status=status,
        message="",
        seconds=last.seconds,
        bound=last.bound,
        objective=objective,
        trace=points,
    )


@pytest.mark.slow
def test_bounds_of_all_methods_lie_below_the_optimum_of_the_relaxation(measurements: dict[str, Measurement]) -> None:
    value = measurements["interior-point"].objective
    for method in COMPARED:
        assert 0.0 < measurements[method].bound <= value * (1 + 1e-5), method


@pytest.mark.slow
def test_accurate_methods_agree_on_the_optimum(measurements: dict[str, Measurement]) -> None:
    value = measurements["interior-point"].objective
    for method in ("admm", "scs", "clarabel"):
        assert measurements[method].objective == pytest.approx(value, rel=1e-3), method
        assert measurements[method].bound >= (1 - 1e-2) * value, method
    # Only the tolerance of 1e-4 on a program without an interior.
    assert measurements["scs-paper"].objective == pytest.approx(value, rel=0.1)


@pytest.mark.slow
def test_traces_are_monotone_and_end_at_the_end(measurements: dict[str, Measurement]) -> None:
    for method in COMPARED:
        m = measurements[method]
        assert m.trace, method
        for before, after in pairwise(m.trace):
            assert before.seconds <= after.seconds
            assert before.bound <= after.bound
        assert m.trace[-1].bound <= m.bound * (1 + 1e-6), method
        assert m.trace[-1].seconds <= m.seconds * (1 + 1e-12), method


@pytest.mark.slow
def test_the_bounds_of_a_trace_hold_in_original_coordinates(measurements: dict[str, Measurement]) -> None:
    for method in ("interior-point", "admm"):
        details = dict(measurements[method].details)
        assert details["trace_bound_confirmed"] == pytest.approx(details["trace_bound"], rel=1e-4), method


@pytest.mark.slow
def test_the_lifted_matrix_of_the_paper_is_nearly_positive_semidefinite(measurements: dict[str, Measurement]) -> None:
    assert -1e-2 <= measurements["scs-paper"].smallest_eigenvalue <= 1.0
    assert measurements["scs-paper"].primal_residual <= 1e-2


@pytest.mark.slow
def test_measurements_survive_json(measurements: dict[str, Measurement]) -> None:
    for m in (*measurements.values(), failure(job("admm"), "nothing came of it", 1.0)):
        text = json.dumps(m.to_json(), allow_nan=False)
        back = Measurement.from_json(json.loads(text))
        # NaN is no equal of itself, so texts are compared.
        assert json.dumps(back.to_json()) == text
        assert repr(back) == repr(m)
    assert Job.from_text(job("scs").to_text()) == job("scs")


@pytest.mark.slow
def test_a_fresh_process_measures_the_same(measurements: dict[str, Measurement]) -> None:
    child = _process.run(job("interior-point"))
    here = measurements["interior-point"]
    assert child.objective == pytest.approx(here.objective, rel=1e-6)
    assert child.bound == pytest.approx(here.bound, rel=1e-6)
    assert 0.0 < child.start_mib <= child.peak_mib
    broken = _process.run(job("admm", problem="nothing-of-that-name"))
    assert broken.status == "NOT MEASURED"
    assert "nothing-of-that-name" in broken.message
    assert broken.bound == -math.inf


@given(seed=st.integers(0, 2**32 - 1))
def test_merged_dual_is_the_same_form(seed: int) -> None:
    """φᵀNφ and ‖Wᵀφ_f‖ of the rows as they are equal those of the merged rows at every point of the lifted cone."""
    random = np.random.default_rng(seed)
    base = random.integers(-3, 4, (3, 2)).astype(float)
    X = np.vstack([base, -2.0 * base[:1], 4.0 * base[1:2], np.zeros((1, 2))])
    if not base.any():
        return
    original = TrainingProgram(X, random.standard_normal((len(X), 2)), 0.1)
    merged, paper = merge_rows(original), paper_program(original)
    N = random.standard_normal((2 * len(X), 2 * len(X)))
    dual = Dual(random.standard_normal((len(X), 2)), N + N.T)
    small = merge_dual(merged, dual)
    u = random.standard_normal(2)
    phi, phi_merged = paper.space.lift(u)[paper.space.phi], merged.program.space.lift(u)[merged.program.space.phi]
    assert phi_merged @ small.N @ phi_merged == pytest.approx(phi @ dual.N @ phi, rel=1e-9, abs=1e-9)
    features = merged.program.weight * phi_merged[merged.program.feature]
    np.testing.assert_allclose(small.W.T @ features, dual.W.T @ phi[paper.feature], rtol=1e-9, atol=1e-9)


def test_the_papers_dual_is_repaired_across_zero_and_parallel_rows() -> None:
    """Same data twice over: the residual of the zero network gives the same bound through either route."""
    X = np.array([[1.0, 2.0], [-2.0, -4.0], [0.0, 0.0], [1.0, -1.0]])
    original = TrainingProgram(X, np.array([[1.0], [2.0], [3.0], [-1.0]]), 0.5)
    merged = merge_rows(original)
    raw = Dual(original.Y, np.zeros((8, 8)))
    direct = Dual(merged.merge_W(original.Y), np.zeros((4, 4)))
    bound = repair(merged.program, merge_dual(merged, raw)).lower_bound
    assert bound == pytest.approx(repair(merged.program, direct).lower_bound)
    # The row of zeros costs ½·3² whatever the network does, and the zero network costs ½‖Y‖².
    assert 4.5 < bound <= 7.5


def test_seconds_within_needs_the_bound_and_on_request_the_objective() -> None:
    trace = [Point(1.0, 1, 0.5, 3.0), Point(2.0, 2, 0.95, 2.0), Point(3.0, 3, 0.995, 1.05), Point(4.0, 4, 0.995, 1.0)]
    assert seconds_within(trace, 1.0, 0.1) == 2.0
    assert seconds_within(trace, 1.0, 0.1, with_objective=True) == 3.0
    assert seconds_within(trace, 1.0, 0.01) == 3.0
    assert seconds_within(trace, 1.0, 0.01, with_objective=True) == 4.0
    assert seconds_within(trace, 1.0, 0.001) == math.inf
    assert seconds_within([Point(1.0, 1, math.nan, math.nan)], 1.0, 0.1) == math.inf


def test_optimum_prefers_the_reference_but_no_bound_may_exceed_it() -> None:
    near = made("admm", Point(1.0, 1, 0.9999, 1.0), objective=1.0)
    far = made("interior-point", Point(1.0, 1, 0.9, 1.2), objective=1.2)
    assert optimum([near, far], 1.00005) is not None
    assert optimum([near, far], 1.00005).value == 1.00005  # type: ignore[union-attr]
    assert optimum([near, far], 0.99).value == 0.9999  # type: ignore[union-attr]
    assert optimum([near, far], None).value == 1.0  # type: ignore[union-attr]
    assert optimum([far], None) is None
    assert optimum([made("scs", Point(1.0, 1, 1.0, 1.0), objective=1.0)], None) is None
    assert optimum([], None) is None


def test_ratios_ask_certnet_for_the_accuracy_of_scs() -> None:
    trace = Point(1.0, 1, 0.5, 2.0), Point(2.0, 2, 0.96, 1.04), Point(4.0, 3, 0.9995, 1.0005)
    paper = made("scs-paper", Point(20.0, 9, 0.6, 0.95), objective=0.95)
    (ratio,) = ratios([made("admm", *trace, objective=1.0), paper], 1.0)
    assert ratio.accuracy == pytest.approx(0.05)
    assert (ratio.seconds, ratio.ratio, ratio.capped) == (2.0, 10.0, False)
    assert math.isnan(ratio.seconds_to_a_thousandth)
    # SCS happens to be exact: certnet need not be better than the tolerance of SCS.
    (ratio,) = ratios([made("admm", *trace, objective=1.0), replace(paper, objective=1.0)], 1.0)
    assert (ratio.compared, ratio.ratio, ratio.ratio_to_a_thousandth) == (1e-4, 0.0, 5.0)
    # SCS is stopped with nonsense: certnet must still reach 10 %.
    (ratio,) = ratios([made("admm", *trace, objective=1.0), replace(paper, objective=9.0, status="TIME_LIMIT")], 1.0)
    assert (ratio.compared, ratio.seconds, ratio.capped) == (0.1, 2.0, True)
    assert ratios([made("admm", *trace)], 1.0) == []
    assert ratios([made("admm", *trace), replace(paper, objective=math.nan)], 1.0) == []


@given(slope=st.floats(0.0, 6.0), factor=st.floats(1e-6, 1e3))
def test_exponent_of_a_power_is_its_exponent(slope: float, factor: float) -> None:
    sizes = [50.0, 100.0, 400.0, 1000.0]
    costs = [factor * n**slope for n in sizes]
    assert exponent(sizes, costs) == pytest.approx(slope, abs=1e-8)
    assert exponent([*sizes, 2000.0, 3000.0], [*costs, math.inf, math.nan]) == pytest.approx(slope, abs=1e-8)


def test_exponent_needs_two_sizes() -> None:
    assert math.isnan(exponent([50.0, 50.0], [1.0, 2.0]))
    assert math.isnan(exponent([], []))


def test_points_of_a_ladder_are_ordered_by_time() -> None:
    points = [Point(3.0, 1, 0.5, 1.0), Point(2.0, 2, 0.9, 1.0), Point(4.0, 3, 0.8, 1.0)]
    assert [(p.seconds, p.bound) for p in by_time(points)] == [(2.0, 0.9), (3.0, 0.9), (4.0, 0.9)]


def test_curves_leave_out_what_was_not_reached() -> None:
    def at(n: int, seconds: float, status: str) -> Measurement:
        m = made("admm", Point(seconds, 1, 0.95, 1.0), objective=1.0, status=status)
        return replace(m, job=job("admm", problem=f"gaussian-{n}"))

    rows = [at(200, 8.0, "TIME_LIMIT"), at(100, 4.0, "STOPPED"), at(50, 1.0, "CONVERGED")]
    (curve,) = curves(rows)
    assert curve.sizes == (50, 100, 200)
    assert curve.seconds == (1.0, 4.0, math.inf)
    assert curve.exponent == pytest.approx(2.0)
    assert seconds_to_tight(rows[1]) == math.inf
    # A bound above the objective of an inexact iterate: the larger of the two counts.
    assert seconds_to_loose(made("admm", Point(1.0, 1, 0.9, 0.9), Point(2.0, 2, 1.2, 1.0), objective=1.0)) == 2.0


def test_the_command_skips_with_a_reason_and_writes_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(solvers, "run", lambda job, *, threads: measure(job))
    file = tmp_path / "figures.json"
    methods = ["interior-point", "auto", "scs-paper"]
    arguments = ["--data", "no-such-set", PROBLEM, "--gammas", str(GAMMA), "--only", *methods, "--json", str(file)]
    solvers.main(arguments)
    record = json.loads(file.read_text())
    assert "no-such-set" in record["skipped"]
    (problem,) = record["problems"]
    rows = [Measurement.from_json(row) for row in problem["measurements"]]
    assert [row.job.method for row in rows] == methods
    # Eight points: "auto" means the interior point, which was not run twice.
    assert rows[1].trace == rows[0].trace
    assert [ratio["method"] for ratio in problem["ratios"]] == methods[:2]
    assert problem["optimum"]["value"] >= rows[0].bound
    assert record["machine"]["threads"] == 1
    shown = capsys.readouterr()
    assert "no-such-set" in shown.out
    assert "auto (interior-point)" in shown.out


def test_the_command_fits_exponents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "run", lambda job, *, threads: measure(job))
    file = tmp_path / "figures.json"
    solvers.main(["--exponent", "--sizes", "4", "8", "--gammas", str(GAMMA), "--json", str(file)])
    curves = {(c["family"], c["name"]): c for c in json.loads(file.read_text())["exponent"]["curves"]}
    gaussian = [curve for (family, _), curve in curves.items() if family == "gaussian"]
    assert len(gaussian) == 3
    for curve in gaussian:
        assert curve["sizes"] == [4, 8]


def test_problems_are_nested_and_unknown_ones_are_named() -> None:
    small, large = load_problem("gaussian-5", 0.1).program, load_problem("gaussian-9", 0.1).program
    np.testing.assert_array_equal(small.X, large.X[:5])
    np.testing.assert_array_equal(small.Y, large.Y[:5])
    assert load_problem("spiral", 0.1).reference is not None
    with pytest.raises(InputError, match="gaussian-0 is not measured"):
        load_problem("gaussian-0", 0.1)
