"""Leaves that the ADMM bounds together: as the interior point does, and what they prove is true."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from certificates import Verdict, check
from certnet.search.certificate import certify_search
from certnet.search.joint import joint_search
from certnet.search.price import SearchProgress
from certnet.search.tree import Branch
from certnet.solvers import leaf_admm, solve
from certnet.solvers.joint import JointLeaf, solve_joint
from certnet.solvers.leaf_admm import solve_leaves, takes_leaves
from certnet.solvers.splitting import Splitting
from certnet.training import fit
from formulations import Program, TrainingProgram, presolve, restrict
from formulations.prox import Prox

OUTPUT, STEPS = -1, 400
BIASED = {"hidden_bias": "penalised", "output_bias": "free"}
PENALISED = {"hidden_bias": "penalised", "output_bias": "penalised"}


def program_of(
    loss: str, outputs: int, rows: int = 12, seed: int = 0, gamma: float = 0.5, **biases: str
) -> TrainingProgram:
    random = np.random.default_rng(seed)
    X = random.standard_normal((rows, 3))
    Y = random.standard_normal((rows, outputs))
    if loss in ("logistic", "hinge"):
        Y = np.sign(Y)
    elif loss == "cross-entropy":
        Y = np.eye(outputs)[random.integers(outputs, size=rows)]
    return TrainingProgram(X, Y, gamma, loss=loss, **biases)


def leaves_of(program: Program, splits: Sequence[int]) -> tuple[list[np.ndarray], list[JointLeaf]]:
    """Signs of a full tree, and starts of zeros."""
    root, starts = Branch.of(program), []
    for split in splits:
        for leaf in list(root.leaves):
            leaf.split(program.space.neurons if split == OUTPUT else split)
    for leaf in root.leaves:
        node = restrict(program, leaf.signs)
        order = len(node.free) + program.space.dimension + program.space.outputs
        count = len(node.positions) + (node.output != 0)
        starts.append(JointLeaf(np.zeros((order, order)), np.zeros((count, count))))
    return [leaf.signs for leaf in root.leaves], starts


@pytest.mark.parametrize(
    ("loss", "outputs", "splits", "biases"),
    [
        ("logistic", 1, [OUTPUT], BIASED),
        pytest.param("squared", 1, [OUTPUT, 3], {}, marks=pytest.mark.slow),
        pytest.param("hinge", 1, [OUTPUT], PENALISED, marks=pytest.mark.slow),
        pytest.param("cross-entropy", 3, [0, 4], BIASED, marks=pytest.mark.slow),
        ("squared", 2, [1], {}),
    ],
)
def test_the_bound_is_that_of_the_interior_point(
    loss: str, outputs: int, splits: list[int], biases: dict[str, str]
) -> None:
    program = presolve(program_of(loss, outputs, **biases)).program
    signs, starts = leaves_of(program, splits)
    found = solve_leaves(program, signs, np.zeros(program.shape), starts, max_iterations=STEPS)
    exact = solve_joint(program, signs, found.W, found.leaves, tolerance=1e-5, max_rounds=10)
    # Another feasible dual of the same program.
    assert found.value <= exact.objective * (1.0 + 1e-4)
    assert found.value >= exact.value * (1.0 - 0.08)
    # It goes on from where it was, where as many first steps prove far less.
    again = solve_leaves(program, signs, found.W, found.leaves, max_iterations=25)
    first = solve_leaves(program, signs, np.zeros(program.shape), starts, max_iterations=25)
    assert first.value < 0.9 * exact.value < again.value


@pytest.mark.parametrize("how", ["no time", "no steps", "Ctrl-C"])
def test_without_a_step_leaves_are_as_they_began(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = presolve(program_of("squared", 2)).program
    signs, starts = leaves_of(program, [1])
    known = solve_leaves(program, signs, np.zeros(program.shape), starts, max_iterations=25)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    limits = {"no time": {"time_limit": 1e-9}, "no steps": {"max_iterations": 0}, "Ctrl-C": {}}[how]
    with monkeypatch.context() as patch:
        if how == "Ctrl-C":
            patch.setattr(Splitting, "factor", interrupted)
        found = solve_leaves(program, signs, known.W, known.leaves, **limits)
    assert found.interrupted == (how == "Ctrl-C")
    assert found.value == -np.inf
    for own, before in zip(found.leaves, known.leaves, strict=True):
        np.testing.assert_array_equal(own.S, before.S)


@pytest.mark.parametrize("error", [KeyboardInterrupt, np.linalg.LinAlgError])
def test_what_was_repaired_before_stays_where_the_last_repair_does_not_end(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = presolve(program_of("squared", 2)).program
    signs, starts = leaves_of(program, [1])
    repair, calls = leaf_admm._Run._repair, list[None]()

    def repaired(run: leaf_admm._Run) -> float:
        calls.append(None)
        if len(calls) == 3:
            raise error
        return repair(run)

    monkeypatch.setattr(leaf_admm._Run, "_repair", repaired)
    found = solve_leaves(program, signs, np.zeros(program.shape), starts, max_iterations=60)
    assert len(calls) == 3
    assert found.value > 0
    assert (found.interrupted, found.failed) == (error is KeyboardInterrupt, error is not KeyboardInterrupt)


def test_one_leaf_is_the_relaxation() -> None:
    program = presolve(program_of("logistic", 1, **BIASED)).program
    signs, starts = leaves_of(program, [])
    found = solve_leaves(program, signs, np.zeros(program.shape), starts, max_iterations=STEPS)
    relaxed = solve(program, "interior-point", tolerance=1e-6)
    assert found.value == pytest.approx(relaxed.dual_value, rel=0.02)
    assert found.value <= relaxed.dual_value * (1.0 + 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "outputs"), [("logistic", 1), ("squared", 1), ("cross-entropy", 3)])
def test_a_tree_of_large_leaves_proves_more_than_the_relaxation_and_no_more_than_is_true(
    loss: str, outputs: int
) -> None:
    original = program_of(loss, outputs, rows=14, seed=3, gamma=0.3, **BIASED)
    presolved, best = presolve(original), fit(original, random_state=0)
    relaxed = solve(presolved.program, "interior-point", tolerance=1e-6)
    result = joint_search(presolved.program, enough=best.objective, max_nodes=7, large=True)
    certificate, report = certify_search(presolved, result, best.U, best.V)
    assert report.verdict is Verdict.PROVED
    assert check(certificate).lower_bound == report.lower_bound
    assert report.lower_bound <= best.objective
    assert report.lower_bound == pytest.approx(result.lower_bound, rel=1e-4)
    assert report.lower_bound > presolved.program.to_original(relaxed.dual_value) + 1e-3 * best.objective


def test_with_several_outputs_four_leaves_follow_the_whole() -> None:
    original = program_of("cross-entropy", 3, rows=8, seed=3, **BIASED)
    program = presolve(original).program

    def leaves(most: int | None) -> list[int]:
        seen: list[int] = []

        def look(progress: SearchProgress) -> None:
            seen.append(progress.open)
            if progress.open > 1:
                raise KeyboardInterrupt

        assert joint_search(program, enough=np.inf, max_nodes=most, callback=look, large=True).interrupted
        return sorted(set(seen))

    assert leaves(5) == [1, 4]
    # Four do not fit.
    assert leaves(4) == [1, 2]


def test_an_interrupted_solve_keeps_its_bound() -> None:
    original = program_of("logistic", 1, rows=14, **BIASED)
    presolved, looks = presolve(original), threading.Semaphore(0)

    def look(progress: SearchProgress) -> None:
        if progress.between and progress.lower_bound > presolved.program.to_original(0.0):
            looks.release()
            raise KeyboardInterrupt

    result = joint_search(presolved.program, enough=np.inf, callback=look, large=True)
    assert looks.acquire(blocking=False)
    assert result.interrupted
    assert result.leaves == 2
    assert result.lower_bound > presolved.program.to_original(0.0)
    # The state goes on; two leaves are as many as there may be.
    more = joint_search(presolved.program, enough=np.inf, max_nodes=4, resume=result.state, large=True)
    assert more.lower_bound >= result.lower_bound
    assert more.leaves == 2


def test_programs_with_null_vectors_are_left_to_the_interior_point() -> None:
    assert takes_leaves(presolve(program_of("logistic", 1, **BIASED)).program)
    assert not takes_leaves(presolve(program_of("logistic", 1, hidden_bias="free", output_bias="free")).program)


@pytest.mark.parametrize("loss", ["logistic", "squared", "cross-entropy"])
def test_rows_may_have_penalties_of_their_own(loss: str) -> None:
    """The gradient vanishes in P and in the bias."""
    program = program_of(loss, 3 if loss == "cross-entropy" else 1, **BIASED)
    random, (n, c) = np.random.default_rng(1), program.Y.shape
    prox, G = Prox(program.loss, np.arange(n), np.ones(n), n), random.standard_normal((n, c))
    penalty = random.uniform(0.1, 10.0, size=(n, 1))
    P, a = prox(G, penalty)
    pull = program.loss.dual(P, a)
    assert penalty * (P - G) == pytest.approx(pull, abs=1e-5)
    assert pull.sum(axis=0) == pytest.approx(0.0, abs=1e-5)
