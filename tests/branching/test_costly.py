"""Trees over the rows that cost something: their bound holds for all rows, and both checkers prove it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates import Verdict, check, write_certificate
from certnet.jobs import many_rows, narrowing, relaxing, stages
from certnet.jobs.best import repaired
from certnet.jobs.checkpoint import Checkpoint, program_fingerprint
from certnet.jobs.clock import JobClock
from certnet.jobs.job import begin, closing_of
from certnet.jobs.narrowing import branch_on_costly, costly_rows, prove_known, relax_costly, rows_of
from certnet.training import fit
from formulations import TrainingProgram, merge_rows
from formulations.parallel import ZERO_ROW
from tests.certificates.altering import replace
from tests.strategies import networks, rng


def separable(n: int, d: int, gamma: float) -> TrainingProgram:
    """Two classes that a small network tells apart, most rows with a wide margin."""
    X = rng(3).standard_normal((n, d))
    Y = np.where(X[:, 0] + 0.3 * X[:, 1] ** 2 > 0, 1.0, -1.0)[:, None]
    X[:, 0] += Y[:, 0] * 1.5
    return TrainingProgram(X, Y, gamma, loss="logistic", hidden_bias="free", output_bias="free")


@pytest.fixture(scope="module")
def job():
    program = separable(20, 5, 0.1)
    found = begin(
        JobClock(None, None), program, fit(program, max_rounds=1), closing=closing_of("global", 1e-3, 5, 1, None)
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, number in (("LOST", 0.03), ("FEWER", 1.0), ("LEAST", 0)):
            patch.setattr(narrowing, name, number)
        patch.setattr(type(found), "cuts_cones", False)
        branch_on_costly(found)
    return found


def test_the_bound_holds_for_all_rows(job) -> None:
    program, (certificate, report) = job.program, job.best.proof
    assert report.verdict is Verdict.PROVED
    absent = certificate.generator == ZERO_ROW
    assert 0 < absent.sum() < len(absent)
    assert not certificate.W[absent].any()
    assert certificate.W[~absent].any(axis=1).all()
    lower = report.lower_bound
    assert 0.5 * job.best.network.objective < lower <= job.best.network.objective
    assert all(lower <= program.objective(*network) for network in networks(program, 0))


def test_a_tree_that_has_no_w_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    program = separable(20, 5, 0.1)
    begun = begin(
        JobClock(None, None), program, fit(program, max_rounds=1), closing=closing_of("global", 1e-3, 5, 1, None)
    )
    for name, number in (("LOST", 0.03), ("FEWER", 1.0), ("LEAST", 0)):
        monkeypatch.setattr(narrowing, name, number)
    monkeypatch.setattr(type(begun), "cuts_cones", False)
    monkeypatch.setattr("certnet.search.joint.interior_point", interrupted)
    branch_on_costly(begun)
    assert begun.interrupted
    assert begun.best.proof is None


def test_a_row_is_left_out_only_where_its_dual_is_zero(job) -> None:
    certificate = job.best.proof[0]
    absent = np.flatnonzero(certificate.generator == ZERO_ROW)
    W = certificate.W.copy()
    W[absent[0]] = 1e-9 * program_sign(job.program, absent[0])
    report = check(replace(certificate, W=W))
    assert report.verdict is Verdict.UNKNOWN
    assert "left out" in report.reason or "sum to 0" in report.reason
    present = np.flatnonzero(certificate.generator != ZERO_ROW)
    generator = certificate.generator.copy()
    generator[present[-1]] = ZERO_ROW
    assert check(replace(certificate, generator=generator)).verdict is not Verdict.PROVED


def program_sign(program: TrainingProgram, row: int) -> float:
    return float(program.Y[row, 0])


def test_the_second_checker_proves_it_too(job, tmp_path, minimal_checker) -> None:
    write_certificate(tmp_path / "a.cert", job.best.proof[0])
    assert minimal_checker.check_file(tmp_path / "a.cert")[0] == "PROVED"


@pytest.mark.slow
def test_a_search_goes_on_with_the_same_rows(job) -> None:
    program = job.program
    resume = Checkpoint(
        fingerprint=program_fingerprint(program), stage="", seconds=0.0, solver="admm", search=job.narrowed
    )
    closing = closing_of("global", 1e-3, 15, 1, None)
    again = begin(JobClock(None, None), program, fit(program), closing=closing, resume=resume)
    assert (rows_of(again) == job.best.proof[0].W.any(axis=1)).all()
    branch_on_costly(again)
    assert again.best.proved >= job.best.proved * (1 - 1e-9)


@pytest.mark.slow
def test_the_relaxation_of_costly_rows_bounds_all(monkeypatch: pytest.MonkeyPatch) -> None:
    program = separable(20, 5, 0.1)
    one = begin(JobClock(None, None), program, fit(program), save=lambda stored: None)
    assert not relax_costly(one, 0.0, 1)  # no time for a step
    monkeypatch.setattr(narrowing, "LOST_FOR_STEPS", (0.03,))
    monkeypatch.setattr(narrowing, "FEWER", 1.0)
    assert relax_costly(one, 60.0, 1)
    certificate, report = one.best.proof
    assert report.verdict is Verdict.PROVED
    assert (certificate.generator == ZERO_ROW).any()
    assert 0.5 * one.best.network.objective < report.lower_bound <= one.best.network.objective
    # What a checkpoint keeps of it proves about as much of all rows.
    kept = repaired(one.merged, one.presolved.undo_dual(one.saver.current.dual))
    assert report.lower_bound * 0.99 < kept.lower_bound <= one.best.network.objective
    again = begin(JobClock(None, None), program, fit(program))
    prove_known(again, one.presolved.undo_dual(one.saver.current.dual))
    assert again.best.proved >= report.lower_bound * (1 - 1e-6)


def test_the_relaxation_of_all_rows_goes_on_from_that_of_costly_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    program = separable(40, 5, 1.0)
    job = begin(JobClock(600.0, None), program, fit(program), closing=closing_of("sdp", 1e-3, None, 1, None))
    job.solver = "admm"
    for module, name, value in (
        (narrowing, "LOST_FOR_STEPS", (0.05,)),
        (narrowing, "FEWER", 1.0),
        (narrowing, "NEAR", 0.0),
        (many_rows, "in_groups", lambda job: True),
    ):
        monkeypatch.setattr(module, name, value)
    many_rows.relax_in_groups(job)
    costly = job.best.proved
    assert costly > 0
    assert (job.best.proof[0].generator == ZERO_ROW).any()
    relaxing.price_network(job)
    relaxing.relax(job)
    relaxing.prove(job)
    assert not (job.best.proof[0].generator == ZERO_ROW).any()
    assert costly < job.best.proved <= job.best.network.objective


def test_a_proof_in_groups_does_not_pass_for_one_without_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes much longer; taken for one, it left the next run no time for the relaxation that it goes on with."""
    program = separable(60, 5, 1.0)
    job = begin(JobClock(600.0, None), program, fit(program), save=lambda _: None)
    job.solver, job.tolerance = "admm", 1e-2
    monkeypatch.setattr(many_rows, "in_groups", lambda job: True)
    monkeypatch.setattr(many_rows, "relax_costly", lambda *_: None)
    many_rows.relax_in_groups(job)
    assert job.best.dual.grouped is not None
    again = begin(JobClock(600.0, None), program, resume=job.saver.current)
    stages.first_bound(again)
    assert again.best.proved >= job.best.proved * (1 - 1e-6)
    assert again.clock.proving == 0.0


@given(seed=st.integers(0, 1000), lost=st.floats(0.0, 1.0))
def test_what_is_left_out_costs_no_more_than_was_said(seed: int, lost: float) -> None:
    random = rng(seed)
    X, labels = random.standard_normal((9, 3)), random.integers(0, 3, 9)
    program = TrainingProgram(X, np.eye(3)[labels], 0.5, loss="cross-entropy", output_bias="free")
    U, V = random.standard_normal((3, 4)), random.standard_normal((3, 4))
    kept = costly_rows(program, U, V, lost)
    whole = program.objective(U, V)
    rest = TrainingProgram(X[kept], program.Y[kept], 0.5, loss="cross-entropy", output_bias="free")
    a = program.output(U, V)
    assert program.objective(U, V, a) - rest.objective(U, V, a) <= lost * (1 + 1e-12) + 1e-12
    assert rest.objective(U, V) <= whole * (1 + 1e-12)
    assert set(labels[kept]) == set(labels)
    merged = merge_rows(program, kept)
    W = random.standard_normal(merged.program.shape)
    assert not merged.undo_W(W)[~kept].any()
