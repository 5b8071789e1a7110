"""The interior point on form programs: bounds are valid, and tight where theory says so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.making.repair import repair_form
from certnet.solvers import solve
from certnet.solvers.interface import SolverOptions, SolverResult
from certnet.solvers.interior_point import interior_point
from formulations import Dual, InputError, LiftedSpace, Program, TrainingProgram, merge_rows, presolve
from tests.strategies import SEEDS, programs, rng

TOLERANCE = 1e-6


def _interior_point(program: Program, **options: object) -> SolverResult:
    return interior_point(program, SolverOptions(tolerance=TOLERANCE, **options))


def _gaussian(n: int, d: int, c: int, seed: int = 0) -> Program:
    random = rng(seed)
    program = presolve(TrainingProgram(random.standard_normal((n, d)), random.standard_normal((n, c)), 0.3)).program
    return program.pricing(program.loss.target)


def _values(program: Program, Z: np.ndarray) -> np.ndarray:
    """The form at the lifted columns of Z, normalised."""
    lam = program.space.lift(Z)
    size = np.sum(Z * (program.metric @ Z), axis=0)
    return np.sum(lam * (program.form @ lam), axis=0) / size


def _circle(program: Program, count: int = 4000) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)])


@pytest.mark.parametrize("c", [1, 3])
def test_in_the_plane_the_price_is_nearly_that_of_the_best_direction(c: int) -> None:
    program = _gaussian(8, 2, c)
    result = _interior_point(program)
    least = float(_values(program, _circle(program)).min())
    delta = repair_form(program, result.dual).delta
    assert delta <= least + 1e-9
    assert delta >= 1.0001 * least
    assert delta == pytest.approx(program.to_original(result.objective), rel=1e-4)


def test_one_generator_has_a_known_price() -> None:
    # ‖W (a·u)₊‖² over the unit ball is ‖W‖²‖a‖².
    a, W = np.array([[0.6, 0.8, 0.0]]), np.array([[1.0, 2.0]])
    form = np.zeros((5, 5))
    form[0, 0] = -np.sum(W**2)
    program = Program.of_form(LiftedSpace(a), form, np.eye(3))
    assert repair_form(program, _interior_point(program).dual).delta == pytest.approx(-5.0, rel=1e-5)


def test_inequalities_restrict_the_cone() -> None:
    # min −(u₁)₊² − 2 u₂² over u₂ ≤ 0 ≤ u₁ alone, and without the generator's sign known.
    space = LiftedSpace(np.array([[1.0, 0.0]]))
    form = np.zeros((4, 4))
    form[0, 0], form[2, 3], form[3, 2] = -1.0, -1.0, -1.0
    rows = np.array([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, -1.0]])
    free = Program.of_form(space, form, np.eye(2))
    cut = Program.of_form(space, form, np.eye(2), rows)
    whole, part = (repair_form(program, _interior_point(program).dual).delta for program in (free, cut))
    circle = _circle(free)
    inside = (rows[:, 2:] @ circle >= -1e-12).all(axis=0)
    assert whole == pytest.approx(float(_values(free, circle).min()), rel=1e-3)
    assert part == pytest.approx(float(_values(free, circle[:, inside]).min()), rel=1e-3)
    assert part > whole + 0.1


def test_without_generators_it_is_an_eigenvalue_over_a_cone() -> None:
    # z₁z₂ over the nonnegative orthant: 0, where the whole plane gives −½.
    form = np.array([[0.0, 0.5], [0.5, 0.0]])
    space = LiftedSpace(np.zeros((0, 2)))
    assert repair_form(
        Program.of_form(space, form, np.eye(2)), Dual(np.zeros((0, 0)), np.zeros((0, 0)))
    ).delta == pytest.approx(-0.5)
    cut = Program.of_form(space, form, np.eye(2), np.eye(2))
    assert repair_form(cut, _interior_point(cut).dual).delta == pytest.approx(0.0, abs=1e-5)


@pytest.mark.slow
@settings(max_examples=100)
@given(programs(), SEEDS, st.integers(-3, 3))
def test_any_multipliers_give_a_valid_bound(program: TrainingProgram, seed: int, exponent: int) -> None:
    lifted, random = merge_rows(program).program, rng(seed)
    if lifted.space.neurons == 0:
        return
    W = random.standard_normal(lifted.shape)
    form = lifted.pricing(W)
    N = random.standard_normal((form.positions, form.positions)) * 10.0**exponent
    Z = np.hstack([random.standard_normal((lifted.space.dimension, 50)), lifted.space.generators.T])
    size = float(np.abs(form.form).max())
    repaired = repair_form(form, Dual(np.zeros(form.shape), N))
    assert repaired.delta <= float(_values(form, Z).min()) + 1e-9 * size
    slack = form.slack(repaired.delta, _with_complementarity(repaired.N, repaired.t))
    assert np.linalg.eigvalsh(slack)[0] >= -1e-7 * np.abs(slack).max()


def _with_complementarity(N: np.ndarray, t: np.ndarray) -> np.ndarray:
    N, neuron = N.copy(), np.arange(len(t))
    N[neuron, len(t) + neuron] = N[len(t) + neuron, neuron] = 0.5 * t
    return N


def test_permutation_and_row_scaling_leave_the_price() -> None:
    random = rng(3)
    A, W = random.standard_normal((7, 3)), random.standard_normal((7, 2))
    order, scale = random.permutation(7), random.uniform(0.5, 2.0, 7)

    def price(A: np.ndarray, W: np.ndarray) -> float:
        form = np.zeros((17, 17))
        form[:7, :7] = -W @ W.T
        program = Program.of_form(LiftedSpace(A), form, np.eye(3))
        return repair_form(program, _interior_point(program).dual).delta

    reference = price(A, W)
    assert price(A[order], W[order]) == pytest.approx(reference, rel=1e-4)
    assert price(scale[:, None] * A, W / scale[:, None]) == pytest.approx(reference, rel=1e-4)


def test_progress_shows_bounds_that_only_improve() -> None:
    program = _gaussian(8, 2, 2)
    seen: list[float] = []
    result = _interior_point(program, callback=lambda progress: seen.append(progress.lower_bound))
    assert seen == sorted(seen)
    assert seen[-1] <= float(_values(program, _circle(program)).min()) + 1e-9
    assert repair_form(program, result.dual).delta >= seen[-1] - 1e-6 * abs(seen[-1])


def test_a_warm_start_is_taken_and_costs_fewer_steps() -> None:
    program = _gaussian(12, 3, 2)
    first = _interior_point(program)
    again = solve(program, "interior-point", tolerance=TOLERANCE, warm_start=(first.primal, first.dual))
    assert again.iterations < first.iterations
    assert again.objective == pytest.approx(first.objective, rel=1e-4)


@pytest.mark.parametrize(
    "parts",
    [
        {"form": np.zeros((3, 3))},
        {"metric": np.eye(3)},
        {"inequalities": np.ones((2, 3))},
        {"form": np.full((6, 6), np.nan)},
        {"space": LiftedSpace(np.eye(2), 1)},
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict) -> None:
    good = {"space": LiftedSpace(np.eye(2)), "form": np.zeros((6, 6)), "metric": np.eye(2)}
    Program.of_form(**good)
    with pytest.raises(InputError):
        Program.of_form(**{**good, **parts})


def test_external_solvers_refuse_forms() -> None:
    with pytest.raises(InputError, match="interior-point"):
        solve(_gaussian(4, 2, 1), "scs")
