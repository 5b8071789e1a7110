"""How a job shares out its time limit. Stages that cannot be cut are estimated from what the first ones took."""

from certnet._clock import Clock
from certnet._saver import Saver
from certnet.training.trainer import FitResult

FIRST_SECONDS = 5.0
FIRST_SHARE = 0.05
"""Most seconds, and share of a time limit, that the first network may take."""
ROUNDING_SHARE = 0.3
"""Share of the time left after the first network that is kept for rounding and polishing."""
RELAXATION_SHARE = 0.1
"""Share of the time left that the relaxation gets even if the stages after it look too long."""
GLOBAL_SHARE = 0.4
SMALLEST_LIMIT = 1e-3
RAW_REPAIR = 16.0
CERTIFICATE = 6.0
"""What repairing a solver's dual takes, and the certificate with its check, in repairs of a residual without
multipliers. Measured at n = 1078: 10 to 16, and 4 to 6."""


class Plan:
    """The limits of the stages; all are None where the job has none.

    Attributes:
        repair_seconds: what one repair of a residual takes.
        overrun: by how many seconds a fit exceeds its limit.
    """

    def __init__(self, clock: Clock, saver: Saver, order: int) -> None:
        self._clock, self._saver, self._order = clock, saver, order
        self.repair_seconds = self.overrun = 0.0

    def first_network(self) -> float:
        """Seconds for the first network; it has a limit of its own, because it only has to be there soon."""
        left = self._clock.left()
        return FIRST_SECONDS if left is None else min(FIRST_SECONDS, FIRST_SHARE * left)

    def global_training(self) -> float | None:
        """Seconds for training without a relaxation: the search for a proof gets as much."""
        left = self._clock.left()
        return None if left is None else GLOBAL_SHARE * left

    def relaxation(self, first: FitResult) -> float | None:
        """What is left without the stages that follow."""
        left = self._clock.left()
        if left is None:
            return None
        rounding = ROUNDING_SHARE * left
        if first.converged:
            # The network is likely to stay as it is.
            rounding = min(rounding, 2.0 * first.seconds)
        return max(left - rounding - self.raw_repair - self._end(), RELAXATION_SHARE * left, SMALLEST_LIMIT)

    def rounding(self) -> float | None:
        """What is left without checkpoint and certificate."""
        left = self._clock.left()
        return None if left is None else max(left - self._end(), 0.0)

    @property
    def raw_repair(self) -> float:
        """Seconds for the repair of a dual with multipliers."""
        return RAW_REPAIR * self.repair_seconds

    def _end(self) -> float:
        return self.overrun + CERTIFICATE * self.repair_seconds + self._saver.reserve(self._order)
