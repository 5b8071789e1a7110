"""What an audit finds: of each input, and of all."""

from dataclasses import dataclass

import numpy as np

CERTIFIED, ATTACKED, UNDECIDED = "certified", "attacked", "undecided"


@dataclass(frozen=True)
class InputAudit:
    """What is known of one input.

    Attributes:
        row: its number in the data.
        label, predicted: its class, and the network's, as numbers of outputs; decided in exact arithmetic.
        margin: the label's output less the largest other one, in floating point; infinite with one class.
        status: "certified", "attacked" or "undecided" for each radius, ascending; a misclassified input is attacked.
        certified_radius: a proved radius; 0 if there is none. All radii of the audit up to it are certified.
        attacked_radius: a radius within which the class is lost, up to rounding; infinite if none was found.
        reached: whether it was verified to the end before the audit's own time limit.
        seconds: time it took, in the run that found it.
        counterexample: (d,) an input of another class within ``attacked_radius``, where one is known in float64.
        resumed: whether an earlier run found it, and this one has only confirmed it.
    """

    row: int
    label: int
    predicted: int
    margin: float
    status: tuple[str, ...]
    certified_radius: float
    attacked_radius: float
    reached: bool
    seconds: float
    counterexample: tuple[float, ...] | None = None
    resumed: bool = False

    @property
    def correct(self) -> bool:
        """Whether the undisturbed input is classified correctly."""
        return self.predicted == self.label


@dataclass(frozen=True)
class AuditResult:
    """All inputs of an audit: certified ≤ true ≤ attacked accuracy, and certified ≤ clean accuracy.

    Attributes:
        norm: "linf" or "l2".
        radii: ascending.
        inputs: one record for each input, in the order of the rows.
        interrupted: whether Ctrl-C ended it; inputs that were not reached are undecided.
        seconds: wall time.
        failure: why it ended before its time, in a sentence, if it did.
    """

    norm: str
    radii: tuple[float, ...]
    inputs: tuple[InputAudit, ...]
    interrupted: bool
    seconds: float
    failure: str | None = None

    @property
    def clean_accuracy(self) -> float:
        """Share of the undisturbed inputs that are classified correctly."""
        return float(np.mean([entry.correct for entry in self.inputs]))

    def share(self, status: str) -> tuple[float, ...]:
        """Share of the inputs with this status, for each radius."""
        return tuple(
            float(np.mean([entry.status[k] == status for entry in self.inputs])) for k in range(len(self.radii))
        )

    @property
    def certified_accuracy(self) -> tuple[float, ...]:
        """Share proved to keep the right class, for each radius; the checker has accepted every proof in this run."""
        return self.share(CERTIFIED)

    @property
    def attacked_accuracy(self) -> tuple[float, ...]:
        """Share for which no input of another class was found, for each radius."""
        return tuple(
            float(np.mean([entry.status[k] != ATTACKED for entry in self.inputs])) for k in range(len(self.radii))
        )

    @property
    def undecided(self) -> tuple[float, ...]:
        """Share that is neither, for each radius: the distance of the two accuracies."""
        return self.share(UNDECIDED)
