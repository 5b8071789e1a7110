"""The records of an audit: what is known of each input, and the accuracies that follow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from certificates.findings import finite, strict
from certnet.jobs.results import Pictured

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

    def to_dict(self, classes: Sequence[str] | None = None) -> dict[str, Any]:
        """What JSON says of it, with the names of classes where they have any."""
        left_out = ("status", "counterexample", "resumed")
        entry: dict[str, Any] = strict({name: value for name, value in vars(self).items() if name not in left_out})
        return entry | {name: class_name(entry[name], classes) for name in ("label", "predicted")}


def class_name(label: int, classes: Sequence[str] | None) -> str:
    """The name of an output, or its number."""
    return str(label) if classes is None else classes[label]


@dataclass(frozen=True, repr=False)
class AuditResult(Pictured):
    """All inputs of an audit: certified ≤ true ≤ attacked accuracy, and certified ≤ clean accuracy.

    Attributes:
        norm: "linf" or "l2".
        radii: ascending.
        inputs: one record for each input, in the order of the rows.
        interrupted: whether Ctrl-C ended it; inputs that were not reached are undecided.
        seconds: wall time.
        failure: why it ended before its time, in a sentence, if it did.
    """

    COMMAND, PICTURE = "audit", "accuracy"

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

    def share(self, *statuses: str) -> tuple[float, ...]:
        """Share of the inputs with one of these, for each radius."""
        return tuple(np.mean([[one in statuses for one in entry.status] for entry in self.inputs], axis=0).tolist())

    @property
    def certified_accuracy(self) -> tuple[float, ...]:
        """Share proved to keep the right class, for each radius; the checker has accepted every proof in this run."""
        return self.share(CERTIFIED)

    @property
    def attacked_accuracy(self) -> tuple[float, ...]:
        """Share for which no input of another class was found, for each radius."""
        return self.share(CERTIFIED, UNDECIDED)

    @property
    def undecided(self) -> tuple[float, ...]:
        """Share that is neither, for each radius: the distance of the two accuracies."""
        return self.share(UNDECIDED)

    def to_dict(self, classes: Sequence[str] | None = None) -> dict[str, Any]:
        """The figures as JSON has them, of all inputs and of those of each class that has any.

        ``inputs`` has the two radii of each row, in their order; an attacked radius that is not known is None.
        """
        labels = sorted({entry.label for entry in self.inputs})
        parts = [[entry for entry in self.inputs if entry.label == label] for label in labels]
        return {"norm": self.norm, "interrupted": self.interrupted, **self._figures()} | {
            "inputs": {
                "certified_radius": [entry.certified_radius for entry in self.inputs],
                "attacked_radius": [finite(entry.attacked_radius) for entry in self.inputs],
            },
            "classes": [
                {"class": class_name(label, classes), "n": len(part), **replace(self, inputs=tuple(part))._figures()}
                for label, part in zip(labels, parts, strict=True)
            ],
        }

    def _figures(self) -> dict[str, Any]:
        names = ("certified_accuracy", "attacked_accuracy", "undecided")
        rows = zip(self.radii, *(getattr(self, name) for name in names), strict=True)
        table = [dict(zip(("radius", *names), row, strict=True)) for row in rows]
        return {"clean_accuracy": self.clean_accuracy, "radii": table}
