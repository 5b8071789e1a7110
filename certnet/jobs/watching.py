"""What a job does between the rounds of a search that branches: it tells, keeps the state, proves, and ends in time."""

import time
from collections.abc import Callable

from certnet.jobs.job import Job
from certnet.search.certificate import certify_search
from certnet.search.price import SearchProgress
from certnet.solvers.interface import State
from formulations import Presolved

GAP_SHARE = 0.7  # Part of the gap that a search has to reach; the rest is for rounding and the margins of the check.
TIME_SHARE = 0.85  # Part of the time left that searching may take; the rest is for repair and check of all leaves.
# Part of the time left that the proof of a tree may take while its search goes on. A stage that is left behind keeps
# the last of them.
PROOF_SHARE = 0.05
GAIN = 0.2  # Part of the gap that has to be closed since the last proof.


def search_seconds(job: Job) -> float | None:
    """What a search may take now."""
    seconds = job.clock.share(TIME_SHARE)
    return None if seconds is None else max(seconds, 1e-3)


class Watch:
    """Called by a search for the program of ``presolved`` after each of its rounds; says how many leaves fit into time.

    A proof that takes little of the time left is made at once. It is what stays if the search comes to no good end, and
    it tells what the proof of a leaf takes.

    Args:
        keep: what a checkpoint holds of the search's state; None where it cannot go on.
        proves: whether trees are proved on the way.
    """

    def __init__(
        self,
        job: Job,
        stage: str,
        presolved: Presolved,
        keep: Callable[[State], State] | None,
        *,
        proves: bool = True,
    ) -> None:
        self._job, self._stage, self._presolved, self._keep, self._proves = job, stage, presolved, keep, proves
        self._order = presolved.program.space.face_order
        self._most = job.clock.pace(self._order)

    def __call__(self, progress: SearchProgress) -> float | None:
        job, keep = self._job, self._keep
        job.tell(self._stage, bound=progress.lower_bound, iteration=progress.nodes)
        if progress.between:
            return None
        job.saver.look(dict if keep is None else lambda: {"search": keep(progress.state()), "stage": self._stage})
        if self._proves and self._is_worth_a_proof(progress):
            self._prove(progress)
        return self._most(progress.open)

    def _is_worth_a_proof(self, progress: SearchProgress) -> bool:
        left, objective = self._job.clock.available(), self._job.best.network.objective
        # The root alone is the relaxation. Without a limit nothing is left behind.
        if left is None or progress.open < 2:
            return False
        proved = max(self._job.best.proved, 0.0)
        closes = progress.lower_bound - proved >= GAIN * (objective - proved)
        return closes and progress.open * self._job.clock.leaf(self._order) <= PROOF_SHARE * left

    def _prove(self, progress: SearchProgress) -> None:
        job, begin = self._job, time.perf_counter()
        result, network = progress.result(), job.best.network
        about = job.given or (network.U, network.V)
        job.take_proof(self._stage, certify_search(self._presolved, result, *about, provenance=job.provenance))
        job.clock.proving_leaf = (time.perf_counter() - begin) / result.leaves
