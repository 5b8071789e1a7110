"""What is left of a search that comes to no good end: the proof of the last tree that was proved cheaply."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from certificates import Verdict
from certnet.jobs import closing
from certnet.jobs.clock import JobClock
from certnet.jobs.job import begin, closing_of, run
from certnet.search import joint
from certnet.training import fit
from formulations import TrainingProgram, presolve
from tests.strategies import rng

LIMIT = 20.0


@pytest.fixture
def program() -> TrainingProgram:
    random = rng(2)
    return TrainingProgram(random.standard_normal((16, 5)), random.standard_normal((16, 1)), 0.3, loss="squared")


@pytest.mark.slow
def test_a_search_that_is_left_behind_leaves_a_proof(program: TrainingProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    solve, solved, over = joint.solve_joint, [], threading.Event()

    def slow(*args, **options):
        if len(solved) == 3:
            over.wait()  # as a solve that the machine has no time for
            raise TimeoutError
        solved.append(solve(*args, **options))
        return solved[-1]

    monkeypatch.setattr(joint, "solve_joint", slow)
    # A busy machine would end the search before, in good order.
    monkeypatch.setattr(JobClock, "pace", lambda clock, order: lambda leaves: None)
    job = begin(JobClock(LIMIT, None), program, fit(program), closing=closing_of("global", 1e-6, None, 1, None))
    monkeypatch.setattr(type(job), "cuts_cones", False)
    run(job, "branching", closing.branch, share=0.3)
    over.set()
    assert len(solved) == 3
    assert job.search is None  # it did not come back
    assert job.best.proof is not None
    report = job.best.proof[1]
    assert report.verdict is Verdict.PROVED
    values = [job.presolved.program.to_original(found.value) for found in solved]
    assert values[0] * (1 - 1e-3) <= report.lower_bound <= job.best.network.objective
    assert job.clock.proving_leaf > 0


def test_a_tree_that_shows_no_more_is_not_kept(program: TrainingProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    solve, allows, leaves = joint.solve_joint, joint.Budget.allows, []

    def late(*args, **options):
        found = solve(*args, **options)
        leaves.append(len(found.leaves))
        return replace(found, value=-np.inf) if len(leaves) == 3 else found

    monkeypatch.setattr(joint, "solve_joint", late)
    monkeypatch.setattr(joint.Budget, "allows", lambda budget, nodes: len(leaves) < 3 and allows(budget, nodes))
    found = joint.joint_search(presolve(program).program, enough=1e9)
    assert len(leaves) == 3
    assert found.leaves == leaves[1] < leaves[2]
    assert all(leaf.bound is not None for leaf in found.root.leaves)
