"""Searches with W free, and both searches in turn: always a proof, never worse for more nodes, and resumable."""

from types import SimpleNamespace

import numpy as np
import pytest

import certnet
from certificates import Verdict, check
from certnet.search import joint, merged
from certnet.search.bounds import branching_scores
from certnet.search.certificate import certify_search
from certnet.search.joint import joint_search
from certnet.search.merged import merged_search
from certnet.search.price import SearchProgress, bound_from_price, search
from certnet.search.tree import Branch, last_moments, share_of_child
from certnet.solvers.rounds import Rounds
from certnet.training import fit
from formulations import InputError, TrainingProgram, presolve
from tests.certificates.altering import replace
from tests.strategies import from_network, networks, rng


@pytest.fixture(scope="module")
def problem() -> tuple:
    random = rng(0)
    program = TrainingProgram(random.standard_normal((8, 5)), random.standard_normal((8, 2)), 0.3)
    network, presolved = fit(program), presolve(program)
    _, dual = from_network(presolved, network.U, network.V)
    return program, network, presolved, dual.W


@pytest.mark.slow
def test_more_leaves_raise_the_bound_and_every_tree_is_proved(problem: tuple) -> None:
    program, network, presolved, _ = problem
    best = min(program.objective(U, V) for U, V in networks(program, 1))
    before = 0.0
    for nodes in (1, 3, 6, 20):
        found = joint_search(presolved.program, enough=network.objective, max_nodes=nodes)
        assert found.nodes <= nodes
        certificate, report = certify_search(presolved, found, network.U, network.V)
        assert report.verdict is Verdict.PROVED
        # Repair may find a better factor of W.
        assert report.lower_bound >= found.lower_bound * (1 - 1e-4)
        assert before < report.lower_bound <= min(best, network.objective)
        before = report.lower_bound
    proof = certificate.proof
    assert proof.leaves > 3
    worse = replace(proof, complementarity=proof.complementarity + np.abs(certificate.W).max() ** 2)
    swapped = replace(proof, children=proof.children[:, ::-1].copy())
    for tampered in (worse, swapped, replace(proof, multipliers=-proof.multipliers - 1.0)):
        assert check(replace(certificate, proof=tampered)).verdict is not Verdict.PROVED
    assert check(replace(certificate, W=1.02 * certificate.W)).verdict is not Verdict.PROVED


def test_a_free_w_is_better_than_the_residual_on_the_same_leaves(
    problem: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With all products, as the search with a fixed W has them.
    monkeypatch.setattr(joint, "SETTINGS", replace(joint.SETTINGS, solve_rounds=10))
    _, network, presolved, W = problem
    program = presolved.program
    found = joint_search(program, enough=network.objective, max_nodes=5)
    leaves = sum(1 for _ in found.root.leaves)
    fixed = search(program, W, enough=program.gamma, tree=found.root, max_nodes=leaves)
    assert sum(1 for _ in fixed.root.leaves) == leaves
    assert bound_from_price(program, W, fixed.h_bar) < found.lower_bound


@pytest.mark.parametrize("seed", range(3))
def test_children_share_their_parents_matrix(seed: int) -> None:
    """S of lifted points, with outputs: each child gets the points on its side, and both together all of it."""
    random = rng(seed)
    A = random.standard_normal((5, 3))
    z, v = random.standard_normal((3, 2)), random.standard_normal((2, 2))
    z[:, 1] *= -np.sign((A[1] @ z[:, 0]) * (A[1] @ z[:, 1]))
    points = np.concatenate([np.maximum(-A @ z, 0.0), z, v])
    parent = Branch(np.zeros(5, dtype=np.int64))
    children = parent.split(1)
    kept = np.delete(np.arange(10), 1)
    shares = [share_of_child(points @ points.T, A, parent, child) for child in children]
    np.testing.assert_allclose(sum(shares), (points @ points.T)[np.ix_(kept, kept)], atol=1e-12)
    for share, child in zip(shares, children, strict=True):
        own = points[:, child.signs[1] * (A[1] @ z) > 0][kept]
        np.testing.assert_allclose(share, own @ own.T, atol=1e-10)


def test_grandchildren_share_what_was_bounded_last() -> None:
    """Two splits at once: the four shares are S again where their faces meet."""
    random = rng(4)
    A, root = random.standard_normal((5, 3)), Branch(np.zeros(5, dtype=np.int64))
    points = random.standard_normal((10, 4))
    root.bound = SimpleNamespace(S=points @ points.T)
    for child in root.split(1):
        child.split(3)
    shares = [last_moments(leaf, A) for leaf in root.leaves]
    assert all(source is root for _, source in shares)
    kept = np.delete(np.arange(10), [1, 3])
    np.testing.assert_allclose(sum(share for share, _ in shares), (points @ points.T)[np.ix_(kept, kept)], atol=1e-10)
    assert all(np.linalg.eigvalsh(share)[0] > -1e-10 for share, _ in shares)


def test_a_search_with_a_free_w_goes_on(problem: tuple) -> None:
    _, network, presolved, _ = problem
    program = presolved.program
    whole = joint_search(program, enough=network.objective, max_nodes=9)
    part = joint_search(program, enough=network.objective, max_nodes=4)
    rest = joint_search(program, enough=network.objective, max_nodes=9, resume=part.state)
    assert part.lower_bound < rest.lower_bound == pytest.approx(whole.lower_bound, rel=1e-9)
    assert rest.nodes == whole.nodes
    np.testing.assert_array_equal(rest.W, whole.W)
    for name, array in part.state.items():
        with pytest.raises(InputError, match="start anew"):
            joint_search(program, enough=1.0, resume={**part.state, name: array.astype(np.complex128)})


def test_interruptions_leave_a_proof(problem: tuple) -> None:
    _, network, presolved, _ = problem
    shown: list[float] = []

    def interrupt(progress: SearchProgress) -> None:
        shown.append(progress.lower_bound)
        if progress.open > 2:
            raise KeyboardInterrupt

    found = joint_search(presolved.program, enough=network.objective, callback=interrupt)
    assert shown == sorted(shown)
    early = joint_search(presolved.program, enough=network.objective, time_limit=1e-6)
    stopped = joint_search(presolved.program, enough=network.objective, callback=lambda progress: progress.open)
    for result in (found, early, stopped):
        _, report = certify_search(presolved, result, network.U, network.V)
        assert report.verdict is Verdict.PROVED
        assert report.lower_bound <= network.objective


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("steps", [0, 3])
def test_a_solve_that_is_cut_short_ends_the_search_with_what_it_has(
    problem: tuple, steps: int, error: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a better dual the tree is the one before."""
    _, network, presolved, _ = problem
    root, step, left = joint_search(presolved.program, enough=network.objective, max_nodes=1), Rounds._step, [0] * steps

    def few(rounds: Rounds, seen: object) -> float:
        if len(rounds.problems) > 1:
            if not left:
                raise error
            left.pop()
        return step(rounds, seen)

    monkeypatch.setattr(Rounds, "_step", few)
    found = joint_search(presolved.program, enough=network.objective)
    assert found.interrupted is (error is KeyboardInterrupt)
    assert found.can_go_on
    assert found.leaves == (2 if steps else 1)
    assert (found.lower_bound > root.lower_bound) is (steps > 0)
    _, report = certify_search(presolved, found, network.U, network.V)
    assert report.verdict is Verdict.PROVED


def test_as_many_leaves_are_split_as_there_may_be(problem: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    _, network, presolved, _ = problem
    seen: list[int] = []

    def three(progress: SearchProgress) -> float:
        seen.append(progress.open)
        return 3.9

    found = joint_search(presolved.program, enough=network.objective, callback=three)
    assert sorted(set(seen)) == [1, 2, 3]
    assert found.leaves == 3
    assert found.can_go_on
    # The leaf of the larger score is the one that was split.
    split, other = sorted(found.root.children or (), key=lambda child: child.children is None)
    two = joint_search(presolved.program, enough=network.objective, callback=lambda progress: 2)
    scores = {
        tuple(leaf.signs): branching_scores(presolved.program, two.W, leaf.free, leaf.bound.S).max()
        for leaf in two.root.leaves
        if leaf.bound is not None
    }
    assert scores[tuple(split.signs)] >= scores[tuple(other.signs)]
    # Memory likewise.
    assert two.state is not None
    monkeypatch.setattr(joint, "MOST_BYTES", 1.6 * two.state["joint"][0])
    full = joint_search(presolved.program, enough=network.objective)
    assert full.leaves >= 3
    assert not full.can_go_on


@pytest.mark.slow
def test_both_in_turn_close_the_gap(problem: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    _, network, presolved, W = problem
    bounds: list[float] = []

    def look(progress: SearchProgress) -> None:
        bounds.append(progress.lower_bound)

    monkeypatch.setattr(merged, "SWITCH", 0.05)
    options = {"objective": network.objective, "gap": 5e-3}
    found, free = merged_search(presolved, W, **options, callback=look)
    assert free is not None
    assert free.lower_bound < network.objective * (1 - 5e-3)
    assert found.complete
    assert bounds == sorted(bounds)
    certificate, report = certify_search(presolved, found, network.U, network.V)
    assert report.verdict is Verdict.PROVED
    assert report.gap <= 5.5e-3
    assert certificate.proof.leaves >= sum(1 for _ in free.root.leaves)
    few, _ = merged_search(presolved, W, **options, max_nodes=free.nodes)
    assert few.can_go_on
    rest, _ = merged_search(presolved, W, **options, resume=few.state)
    assert rest.complete
    other, _ = merged_search(presolved, W, **options, resume={**few.state, "W": 2.0 * W})
    assert other.complete


def test_a_large_program_keeps_w_fixed(problem: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    _, network, presolved, W = problem
    monkeypatch.setattr(merged, "LARGEST", 1)
    found, free = merged_search(presolved, W, objective=network.objective, gap=1e-3, max_nodes=3)
    assert free is None
    assert found.nodes == 3
    np.testing.assert_array_equal(found.W, W)


@pytest.mark.slow
def test_a_job_uses_both(problem: tuple) -> None:
    program, network, *_ = problem
    result = certnet.train(program, method="global", gap=1e-3)
    assert result.report.verdict is Verdict.PROVED
    assert result.report.gap <= 1e-3
    assert result.report.objective == pytest.approx(network.objective, rel=1e-3)
