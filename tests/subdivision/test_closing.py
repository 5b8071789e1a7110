"""Closing the gap with exact pricing: validity, invariances, interruptions."""

import numpy as np
import pytest

from certificates import Certificate, Report, Verdict
from certificates.subdivision import Subdivision
from certnet.search.cone_closing import SubdivisionSearch
from certnet.search.cones import Exploration
from certnet.training import fit
from certnet.training.polish import Network
from formulations import TrainingProgram, presolve
from formulations.arrays import FloatArray
from tests.strategies import networks, rng


def _program(n: int = 8, d: int = 2, c: int = 2, seed: int = 0, gamma: float = 0.2) -> TrainingProgram:
    random = rng(seed)
    return TrainingProgram(random.standard_normal((n, d)), random.standard_normal((n, c)), gamma)


def _search(program: TrainingProgram, network: Network, gap: float = 1e-4, **options: object) -> SubdivisionSearch:
    presolved = presolve(program)
    assert presolved is not None
    defaults = {"max_tests": None, "workers": 1, "scheduler": None, "left": lambda: None, "tell": lambda *_: None}
    return SubdivisionSearch(presolved, network, gap, **{**defaults, **options})


def _zero(program: TrainingProgram) -> Network:
    _, d, c = program.shape
    return np.zeros((d, 0)), np.zeros((c, 0))


def _certified(search: SubdivisionSearch) -> tuple[Certificate, Report]:
    proof = search.certify(*search.network)
    assert proof is not None
    assert proof[1].verdict is Verdict.PROVED, proof[1].reason
    assert isinstance(proof[0].proof, Subdivision)
    return proof


def test_training_from_nothing_ends_at_a_proved_optimum() -> None:
    program = _program()
    search = _search(program, _zero(program), gap=1e-6)
    search.run()
    _, report = _certified(search)
    assert report.gap <= 1e-6
    assert search.summary().complete
    trained = fit(program, tolerance=1e-9)
    assert report.lower_bound <= trained.objective
    assert report.objective <= trained.objective * (1 + 1e-6)
    for U, V in networks(program, 0):
        assert program.objective(U, V) >= report.lower_bound


@pytest.mark.parametrize("seed", range(2))
def test_what_changes_nothing_changes_nothing(seed: int) -> None:
    program = _program(n=6, seed=seed)
    X, Y = program.X, program.Y
    optimum = _optimum(program)
    rotation = np.linalg.qr(rng(seed + 10).standard_normal((2, 2)))[0]
    order = rng(seed + 20).permutation(6)
    assert _optimum(TrainingProgram(X @ rotation, Y, 0.2)) == pytest.approx(optimum, rel=2e-5)
    assert _optimum(TrainingProgram(X[order], Y[order], 0.2)) == pytest.approx(optimum, rel=2e-5)
    # A row κx with target κy counts as κ² copies of (x, y).
    doubled = TrainingProgram(np.vstack([X, X[:1]]), np.vstack([Y, Y[:1]]), 0.2)
    scaled = TrainingProgram(np.vstack([np.sqrt(2.0) * X[:1], X[1:]]), np.vstack([np.sqrt(2.0) * Y[:1], Y[1:]]), 0.2)
    assert _optimum(doubled) == pytest.approx(_optimum(scaled), rel=2e-5)
    # A feature that is always zero costs nothing.
    assert _optimum(TrainingProgram(np.hstack([X, np.zeros((6, 1))]), Y, 0.2)) == pytest.approx(optimum, rel=2e-5)


@pytest.mark.parametrize("affordable", [1.002, 1.05, 1.15])
def test_where_fine_runs_are_too_long_coarser_ones_prove_what_they_can(
    affordable: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs with a smaller ratio of limit and γ end without an answer."""
    program = _program(seed=3)
    first = fit(program, max_rounds=2)
    explored = SubdivisionSearch._explore

    def short(self: SubdivisionSearch, W: FloatArray, limit: float) -> Exploration | None:
        return explored(self, W, limit) if limit >= affordable * program.gamma else None

    monkeypatch.setattr(SubdivisionSearch, "_explore", short)
    search = _search(program, (first.U, first.V), gap=1e-4)
    search.run()
    _, report = _certified(search)
    # A price of rγ leaves about 2(r − 1); the second half is for the steps between the gaps that are tried.
    assert report.gap <= 4.0 * (affordable - 1.0)


def _optimum(program: TrainingProgram) -> float:
    search = _search(program, _zero(program), gap=1e-5)
    search.run()
    _, report = _certified(search)
    assert report.gap <= 1e-5
    return report.lower_bound


def test_without_training_the_price_of_the_network_is_proved() -> None:
    program = _program(gamma=0.5)
    U, V = fit(program).U[:, 1:], fit(program).V[:, 1:]
    search = _search(program, (U, V), train=False)
    search.run()
    certificate, report = _certified(search)
    assert np.array_equal(certificate.U, U)
    assert not search.closed()
    assert search.summary().complete
    assert not search.summary().can_go_on
    # No W that is a multiple of the residual proves more than its largest price allows.
    R = program.dual(U, V)
    directions = rng(0).standard_normal((2, 5000))
    price = (
        np.linalg.norm(R.T @ np.maximum(program.X @ directions, 0.0), axis=0) / np.linalg.norm(directions, axis=0)
    ).max()
    s = min(program.gamma / price, float(np.sum(R * program.Y) / np.sum(R**2)))
    best = s * float(np.sum(R * program.Y)) - 0.5 * s**2 * float(np.sum(R**2))
    assert 0.9 * best <= report.lower_bound <= best * (1 + 1e-3)


def test_limits_leave_what_was_proved() -> None:
    program = _program()
    nothing = _search(program, _zero(program), max_tests=1)
    nothing.run()
    assert nothing.tests == 1
    assert nothing.certify(*nothing.network) is None
    assert nothing.summary().can_go_on
    late = _search(program, _zero(program), left=lambda: 0.0)
    late.run()
    assert late.tests == 0


def test_ctrl_c_keeps_the_last_complete_run() -> None:
    program = _program()

    def tell(tests: int, objective: float, bound: float) -> None:
        if np.isfinite(bound):
            raise KeyboardInterrupt

    search = _search(program, _zero(program), gap=1e-8, tell=tell)
    search.run()
    assert search.summary().interrupted
    _, report = _certified(search)
    assert np.isfinite(report.lower_bound)


def test_bounds_and_objectives_only_improve() -> None:
    seen: list[tuple[float, float]] = []
    program = _program(n=10, seed=4)
    search = _search(program, _zero(program), tell=lambda tests, objective, bound: seen.append((objective, bound)))
    search.run()
    objectives, bounds = np.array(seen).T
    assert (np.diff(objectives) <= 0).all()
    assert (np.diff(bounds[np.isfinite(bounds)]) >= 0).all()
    assert (bounds <= objectives).all()


def test_a_proof_that_is_made_on_the_way_is_offered() -> None:
    """A run that is checked to see how long that takes has a proof, and it stays whatever comes after."""
    taken: list[tuple[Certificate, Report]] = []
    program = _program(seed=3)
    search = _search(program, _zero(program), left=lambda: 1e3, take=taken.append, provenance={"by": "hand"})
    search.run()
    assert taken
    for certificate, report in taken:
        assert report.verdict is Verdict.PROVED
        assert certificate.provenance == {"by": "hand"}
        assert report.lower_bound <= _certified(search)[1].lower_bound * (1 + 1e-9)
