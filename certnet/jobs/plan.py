"""How a job shares out its time limit, and what it begins at all.

A stage that cannot end in time must not begin, so what it takes at least is estimated first, from sizes and from one
small eigendecomposition on this machine as busy as it is. Without a time limit nothing is measured and all limits are
None: then equal seeds give equal results.
"""

import time
from functools import cached_property

import numpy as np

from certnet.jobs.saver import Saver
from certnet.runtime.clock import Clock
from certnet.runtime.machine import available_bytes
from certnet.solvers._cost import round_seconds
from certnet.training.trainer import FitResult
from formulations import LiftedSpace

FIRST_ROUNDS = 10
FIRST_SHARE = 0.15
"""Rounds of the first network, and the share of a time limit that cuts them short."""
ROUNDING_SHARE = 0.3
"""Share of the time left after the first network that is kept for rounding and polishing."""
GLOBAL_SHARE, SOON_SHARE, SHOR_SHARE = 0.4, 0.5, 0.2
SMALLEST_LIMIT = 1e-3
LAST_SHARE, LAST_SECONDS, MOST_LAST_SHARE = 0.02, 0.2, 0.25
"""What is kept of a time limit for the last lines of a job, at least and at most."""
PROBE = 300
"""Order of the eigendecomposition that is measured."""
RAW_REPAIR, CHECK = 16.0, 6.0
"""What repairing a solver's dual takes, and certificate and check, in eigendecompositions of the face's order."""
LEAST_STEPS = 30.0
"""Steps of the relaxation's solver before its first dual, in the same unit."""
BYTES_PER_ENTRY = 12 * 8
"""Memory of the relaxation for each entry of the lifted matrix."""


class Plan:
    """The limits of the stages; all are None where the job has none.

    Attributes:
        proving: seconds that the last proof took.
        kept: seconds that the stage that runs has to leave to others.
    """

    def __init__(self, clock: Clock, saver: Saver | None, space: LiftedSpace) -> None:
        self._clock, self._saver, self._space = clock, saver, space
        self.proving = self.kept = 0.0

    def left(self) -> float | None:
        """Seconds until the stages have to be over; what follows is putting the best together."""
        left = self._clock.left()
        if left is None:
            return None
        whole = self._clock.time_limit or 0.0
        saving = 0.0 if self._saver is None else self._saver.reserve(self._space.order)
        ending = max(LAST_SECONDS, LAST_SHARE * whole) + saving
        return max(left - min(ending, MOST_LAST_SHARE * whole) - self.kept, 0.0)

    def share_left(self) -> float:
        """Part of the time limit that is left, 1 without one."""
        left, limit = self.left(), self._clock.time_limit
        return 1.0 if left is None or not limit else left / limit

    def soon(self) -> float | None:
        """Seconds after which the first network is left behind: a bound has to come too."""
        left = self.left()
        return None if left is None else SOON_SHARE * left

    def shor(self) -> float | None:
        """Seconds for the bound without products, 0 where a proof would hardly fit in after it."""
        left = self.left()
        if left is None:
            return None
        return SHOR_SHARE * left if (1.0 - SHOR_SHARE) * left > 2.0 * self.proving else 0.0

    def first_network(self, share: float = FIRST_SHARE) -> float | None:
        """Seconds for the first network; it only has to be there soon."""
        left = self.left()
        return None if left is None else share * left

    def global_training(self) -> float | None:
        """Seconds for training without a relaxation: the search for a proof gets as much."""
        return self.first_network(GLOBAL_SHARE)

    def relaxation(self, first: FitResult) -> float | None:
        """What is left without the stages that follow."""
        left = self.left()
        if left is None:
            return None
        rounding = ROUNDING_SHARE * left
        if first.converged:
            # The network is likely to stay as it is.
            rounding = min(rounding, 2.0 * first.seconds)
        return max(left - rounding - (RAW_REPAIR + CHECK) * self.eigenvalues, SMALLEST_LIMIT)

    def rounding(self, *, relaxed: bool) -> float | None:
        """What is left without a proof, which takes longer for what a relaxation has found."""
        left = self.left()
        return None if left is None else max(left - (CHECK * self.eigenvalues if relaxed else self.proving), 0.0)

    def is_quick(self, seconds: float, cost: float) -> bool:
        """Whether work of ``cost`` eigendecompositions takes at most so many seconds."""
        return cost * self._measured <= seconds

    @property
    def fits(self) -> bool:
        """Whether the matrices of the relaxation fit into memory."""
        return self._space.order**2 * BYTES_PER_ENTRY <= available_bytes()

    def can_relax(self) -> bool:
        """Whether there are memory and time for the relaxation, and for repair and proof of one of its duals."""
        left = self.left()
        least = (LEAST_STEPS + RAW_REPAIR + CHECK) * self.eigenvalues
        return self.fits and (left is None or least <= left)

    def can_branch(self) -> bool:
        """The same for branching on signs, which needs a round of the interior point and a repair for each leaf."""
        left, space = self.left(), self._space
        least = round_seconds(space.neurons + space.face_order) + 2.0 * (RAW_REPAIR + CHECK) * self.eigenvalues
        return self.fits and (left is None or least <= left)

    @property
    def eigenvalues(self) -> float:
        """Seconds of an eigendecomposition of the face's order, 0 where there is no time limit."""
        return 0.0 if self._clock.left() is None else self._measured

    @cached_property
    def _measured(self) -> float:
        order = min(PROBE, self._space.face_order)
        matrix = np.add.outer(np.arange(order), np.arange(order)) % 7.0
        begin = time.perf_counter()
        np.linalg.eigh(matrix)
        return (time.perf_counter() - begin) * (self._space.face_order / max(order, 1)) ** 3
