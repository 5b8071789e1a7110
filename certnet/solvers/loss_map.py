"""The loss's own part of a step of the ADMM, over the entries that it sees."""

from dataclasses import replace

import numpy as np

from formulations import Program
from formulations._validation import FloatArray
from formulations.loss import Loss
from formulations.losses import smoothed
from formulations.prox import Prox

KINKS = 2e-4  # What smoothing may take from a loss with kinks, as a part of that of the network without neurons.


class LossMap:
    """A loss's own map over the m ``features`` that it sees, on the host in float64; it begins where a step ended last.

    ``found`` are its last entries (m, c), and the output bias.
    """

    def __init__(self, program: Program) -> None:
        self.loss, self._weight = _without_kinks(program), program.weight[:, None]
        self.features, place = np.unique(program.feature, return_inverse=True)
        self._place = place.ravel()
        self._prox = Prox(self.loss, self._place, program.weight, len(self.features))
        self.start: tuple[FloatArray, FloatArray] | None = None

    def __call__(
        self, seen: FloatArray, penalty: FloatArray | float, start: tuple[FloatArray, FloatArray] | None
    ) -> FloatArray:
        """Entries (m, c) of the solution, given those that it sees; ``penalty`` may be (m, 1)."""
        self.found = self._prox(seen, penalty, start=start)
        return self.found[0]

    def go_on(self) -> None:
        """A step ends: the next one begins at what it found. A mere look changes nothing."""
        self.start = self.found
        self._prox.go_on()

    def W(self) -> FloatArray:
        """−∇L at the entries that were found, in the domain."""
        P, bias = self.found
        return self.loss.project(self.loss.dual(self._weight * P[self._place], bias))


def _without_kinks(program: Program) -> Loss:
    """Its loss; kinks, if any, are smoothed so little that the share ``KINKS`` of its value is not lost."""
    loss = program.loss
    assert loss is not None
    if not loss.kind.has_kinks:
        return loss
    # An envelope is below the loss by at most ε/2 w² for each entry, and |w| ≤ 1 for all losses with kinks.
    value = loss.unit**2 * loss.value(np.zeros(loss.shape))
    entries = loss.shape[1] * float(np.sum(loss.sample_weight))
    return replace(loss, kind=smoothed(loss.kind, max(2.0 * KINKS * value / entries, 1e-12)))
