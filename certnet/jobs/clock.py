"""The clock of a job: how its stages share out the time limit, and what is begun at all.

A stage that cannot end in time must not begin, so what it takes at least is estimated first, from sizes and from a
small eigendecomposition on this machine as busy as it is. Without a time limit nothing is measured and all limits are
None: then equal seeds give equal results.
"""

import time
from collections.abc import Callable
from functools import cached_property

import numpy as np

from certificates.failure import SMALLEST_LIMIT
from certificates.nonnegativity import MAX_ORDER
from certnet.runtime.clock import Clock, Event
from certnet.runtime.machine import available_bytes
from certnet.solvers.rounds import round_seconds
from certnet.training.trainer import FitResult
from formulations import InputError, LiftedSpace, MergedRows

BYTES_PER_ROW, BYTES_PER_NUMBER, BYTES_PER_METRIC, BYTES_PER_ENTRY = 8 * 5000, 8 * 40, 18 * 8, 12 * 8
"""Memory of training and of the cheap bound for each row, for each number of the data and each of the metric, and of
the relaxation for each entry of the lifted matrix."""
LEAST_STEPS, LEAF_PROOF = 30.0, 22.0
"""Steps of a solver before its first dual, and what proving a price takes: in eigendecompositions of the face's
order."""
REPAIR, CHECK, PROOF = (20.0, 60.0), (4.0, 32.0), (25.0, 130.0)
"""What repairing a solver's dual takes, certificate and check, and all that makes a proof of a relaxation's last dual:
in steps of the ADMM as the clock expects them, without and with a region, which needs two repairs, and balls for the
check. Measured at orders of 373, 669 and 1,031 with a region: 60, 38, 34; 32, 27, 32; 156, 171, 112. At 669 and 1,031
without, when steps were expected to take a third more: 20, 14; 3, 3."""
LEAF = 60.0
"""What repairing and checking a leaf takes beyond ``LEAF_SECONDS``, in eigendecompositions of its slack's order."""
PROBE, PROBES = 300, 3
"""Order of the eigendecomposition that is measured, and how often; the quickest counts. Measured: the first takes up to
three times as long as the others."""
STEP, LEAST_STEP, MOST_STEP = 650.0, 0.8, 2.0
"""A step of the ADMM takes so many eigendecompositions, over its order, between these, as they are guessed from that
one. Measured at orders of 195, 373, 669 and 1,031: 2.3, 1.0, 0.55, 0.58, and with the repairs of the first 300 with a
region 3.2, 2.1, 0.92, 0.85."""

ROUNDING_SHARE = 0.3  # Share of the time left after the first network that is kept for rounding and a tree.
SHOR_SHARE = 0.2  # Share of the time left for the bound without products.
LEAF_SECONDS = 0.05  # The least that repairing and checking a leaf takes. Measured: 0.07 at order 67.
SAFETY = 1.3  # How much longer than expected rounds of a search and proofs may take.
LAST_SHARE = 0.02  # Share of the limit that is kept for the last lines of a job.
LAST_SECONDS = 0.2  # The least that is kept for them.
MOST_LAST_SHARE = 0.25  # The most that is kept for them and for the last checkpoint.


class JobClock(Clock):
    """The clock of a job, with the limits of its stages; all are None where the job has none.

    Attributes:
        space: the lifted space, whose size decides what is affordable; None before presolving.
        saving: gives the seconds that the last checkpoint will take.
        has_region: whether the program has a region, as with a free hidden bias.
        proving: seconds that the last proof without products took.
        proving_leaf: the same of a leaf of a tree, 0 as long as none was proved.
        kept: seconds that the stage that runs has to leave to others.
    """

    def __init__(
        self, time_limit: float | None, progress: Callable[[Event], None] | None, space: LiftedSpace | None = None
    ) -> None:
        super().__init__(time_limit, progress)
        self.space, self.has_region = space, False
        self.saving: Callable[[], float] = lambda: 0.0
        self.proving = self.proving_leaf = self.kept = 0.0

    def available(self) -> float | None:
        """Seconds until the stages have to be over; what follows is putting the best together."""
        left, limit = self.left(), self.time_limit
        if left is None or limit is None:
            return None
        ending = max(LAST_SECONDS, LAST_SHARE * limit) + self.saving()
        return max(left - min(ending, MOST_LAST_SHARE * limit) - self.kept, 0.0)

    def has_more_than(self, seconds: float) -> bool:
        """Whether more than these seconds are available."""
        left = self.available()
        return left is None or left > seconds

    def share(self, part: float) -> float | None:
        """This part of what is available."""
        left = self.available()
        return None if left is None else part * left

    def shor(self) -> float | None:
        """Seconds for the bound without products, 0 where a proof would hardly fit in after it."""
        rest = self.share(1.0 - SHOR_SHARE)
        return self.share(SHOR_SHARE if rest is None or rest > 2.0 * self.proving else 0.0)

    def relaxation(self, first: FitResult | None, share: float) -> float | None:
        """What is available, without this share for what follows, which has to do for a proof of the last dual.

        Where the fit ``first`` has converged, rounding will take no longer than that, and leaves more.
        """
        left = self.available()
        if left is None:
            return None
        after = share * left
        if first is not None and first.converged:
            after = min(after, 2.0 * first.seconds)
        return max(left - max(after, self.takes(PROOF)), SMALLEST_LIMIT)

    def rounding(self, *, relaxed: bool) -> float | None:
        """What is left without a proof, which takes longer for what a relaxation has found."""
        left = self.available()
        return None if left is None else max(left - (self.takes(CHECK) if relaxed else self.proving), 0.0)

    def takes(self, cost: tuple[float, float]) -> float:
        """Seconds of what takes so many steps of the ADMM over all rows, without and with a region."""
        return self.admm(self._space.face_order, 1) * cost[self.has_region]

    def can_relax(self) -> bool:
        """Whether there are memory and time for the relaxation, and for repair and proof of one of its duals."""
        return self._affords(0.0 if self.time_limit is None else LEAST_STEPS * self.eigenvalues + self.takes(PROOF))

    def step(self, order: int) -> float:
        """Seconds of an eigendecomposition of this order."""
        return self._measured * (order / self._space.face_order) ** 3

    def admm(self, order: int, steps: int = 1) -> float:
        """Seconds of so many steps of the ADMM at this order."""
        return steps * min(max(STEP / order, LEAST_STEP), MOST_STEP) * self.step(order)

    def leaf(self, order: int) -> float:
        """Seconds that repairing and checking a leaf takes, whose slack has this order."""
        return self.proving_leaf or LEAF_SECONDS + LEAF * self.step(order)

    def pace(self, order: int) -> Callable[[int], float | None]:
        """A rule for searches: after a round with so many leaves, how many the next may lead to, so that it and their
        proofs end in time; None where nothing is known. ``order`` is that of their slacks.

        A leaf is expected to take as long as one of the round before did.
        """
        seen: list[tuple[float, int]] = []

        def most(leaves: int) -> float | None:
            left, now = self.available(), time.perf_counter()
            seen.append((now, leaves))
            if left is None or len(seen) < 2 or not leaves > seen[-2][1]:
                return None
            return left / (SAFETY * ((now - seen[-2][0]) / leaves + self.leaf(order)))

        return most

    def can_branch(self) -> bool:
        """The same for branching on signs, which needs a round of the interior point and a repair for each leaf."""
        space = self._space
        one_round = round_seconds(space.neurons + space.face_order)
        return self._affords(one_round + 2.0 * LEAF_PROOF * self.eigenvalues)

    def _affords(self, seconds: float) -> bool:
        left = self.available()
        fits = self._space.order**2 * BYTES_PER_ENTRY <= available_bytes()
        return fits and (left is None or seconds <= left)

    @property
    def _space(self) -> LiftedSpace:
        assert self.space is not None  # what is asked about comes after presolving
        return self.space

    @property
    def eigenvalues(self) -> float:
        """Seconds of an eigendecomposition of the face's order, 0 where there is no time limit."""
        return 0.0 if self.time_limit is None else self._measured

    @cached_property
    def _measured(self) -> float:
        order = min(PROBE, self._space.face_order)
        matrix = np.add.outer(np.arange(order), np.arange(order)) % 7.0
        seconds = []
        for _ in range(PROBES):
            begin = time.perf_counter()
            np.linalg.eigh(matrix)
            seconds.append(time.perf_counter() - begin)
        return min(seconds) * (self._space.face_order / max(order, 1)) ** 3


def require_memory(merged: MergedRows) -> None:
    """Refuse what cannot even be trained on here, or not be proved anywhere, before anything is lost."""
    merged.original.require_size()
    (n, d, c), available = merged.original.shape, available_bytes()
    if not d + c <= MAX_ORDER:
        raise InputError(
            f"{d} features and {c} outputs are {d + c} together, and the checker of certificates stops at {MAX_ORDER}; "
            "use fewer features."
        )
    needed = n * (BYTES_PER_ROW + BYTES_PER_NUMBER * (d + c)) + BYTES_PER_METRIC * d**2
    if not needed <= available:
        raise InputError(
            f"{n} rows of {d} features need about {needed / 2**30:.1f} GiB and this process may take "
            f"{available / 2**30:.1f} GiB more; use fewer rows or features."
        )
