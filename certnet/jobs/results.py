"""What results of jobs have in common: the picture, and what every job about a training problem says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from certificates import Certificate, Report
from certificates.findings import figures, strict, weights
from certnet.runtime.clock import Moment
from certnet.runtime.display import Result
from certnet.search.price import SearchSummary
from formulations import TrainingProgram
from formulations._validation import FloatArray
from formulations.losses import name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Pictured(Result):
    """A result with a picture, the function ``PICTURE`` of ``certnet.plots``."""

    PICTURE: ClassVar[str]

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw what ``certnet.plots`` has for this, into ``ax`` or a new figure."""
        from certnet import plots

        drawn: Axes = getattr(plots, self.PICTURE)(self, ax)
        return drawn


@dataclass(frozen=True, eq=False, repr=False)
class Certified(Pictured):
    """What a job about a training problem ends with.

    Attributes:
        program: the training problem; the loss is a sum over rows.
        certificate: proves ``report.lower_bound``, and holds a network.
        report: what the independent checker said of the certificate.
        search: the branch and bound, if a gap was asked for and it was needed.
        stages: seconds for each stage.
        history: when objective and bound became better, at most some hundred moments.
        interrupted: Ctrl-C cut a stage short.
        notes: sentences that the user should read.
    """

    PICTURE = "history"

    program: TrainingProgram
    certificate: Certificate
    report: Report
    search: SearchSummary | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    history: tuple[Moment, ...] = ()
    interrupted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def U(self) -> FloatArray:
        """Hidden weights (d×m); with a bias its row is the last one. There is no network but the certificate's."""
        return self.certificate.proofs[0].U  # type: ignore[no-any-return]

    @property
    def V(self) -> FloatArray:
        """Output weights (c×m)."""
        return self.certificate.proofs[0].V  # type: ignore[no-any-return]

    def to_dict(self) -> dict[str, Any]:
        """What ``report.json`` says of it, but for the data and the files."""
        n, d, c = self.certificate.shape
        branching = figures(self.search, "kind", "complete", "nodes", "leaves", "price", "steps", "seconds")
        if branching is not None:
            branching["iterations"] = branching.pop("steps")
        return {
            **strict(figures(self.report, "verdict", "reason", "objective", "lower_bound", "gap")),
            "interrupted": self.interrupted,
            "data": {"n": n, "d": d, "c": c, "fingerprint": self.certificate.data_fingerprint},
            "gamma": self.program.gamma,
            "loss": name_of(self.program.loss.kind),
            **figures(self.program, "hidden_bias", "output_bias"),
            "weights": weights(self.certificate.sample_weight),
            "width": int(self.U.shape[1]),
            "branching": branching,
            "stages": dict(self.stages),
            "history": [moment.to_dict() for moment in self.history],
            "notes": list(self.notes),
        }
