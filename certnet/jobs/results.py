"""Results of jobs about a training problem, the picture that they have, and the tightness of its relaxation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from certificates import Certificate, Report, Verdict
from certificates.findings import figures, strict, weights
from certificates.report import relative_gap
from certnet.runtime.clock import Moment
from certnet.runtime.display import Result
from certnet.runtime.wording import down, up
from certnet.search.price import SearchSummary
from certnet.solvers import SolverResult
from certnet.tightness.complete_positivity import CompletePositivity
from certnet.tightness.rank import Points, Spectrum
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


@dataclass(frozen=True, eq=False, repr=False)
class Tightness(Result):
    """What was found; see ``certnet.jobs.tightness``.

    Attributes:
        objective: of the best network, rounded up.
        lower_bound: the best proved bound on the optimum, by whatever proof.
        relaxation_bound: the best proved bound by a proof that the doubly nonnegative relaxation knows, hence a lower
            bound on the relaxation's value too.
        tolerance: relative difference of objective and bound that counts as none.
        relaxed_objective: value of G in original units, in floating point; None if the solver left no G.
        relaxation_value: a proved upper bound on the relaxation's value, None if there is none.
        relaxation: the result that G was taken from, None if no data row is left to relax.
        infeasibility: relative size of the entries of G_φφ that should not be there, negative or complementary ones.
        spectrum, points, membership: of G without its output block; None without G. ``membership.verdict`` is about
            G alone, and no verdict on the relaxation.
        stages: seconds for each.
    """

    objective: float
    lower_bound: float
    relaxation_bound: float
    tolerance: float
    relaxed_objective: float | None = None
    relaxation_value: float | None = None
    relaxation: SolverResult | None = None
    infeasibility: float | None = None
    spectrum: Spectrum | None = None
    points: Points | None = None
    membership: CompletePositivity | None = None
    stages: Mapping[str, float] = field(default_factory=dict)

    COMMAND = "tightness"

    def to_dict(self) -> dict[str, Any]:
        """A JSON object, as in the report of ``certnet tightness``; what is not finite is null."""
        solved, spectrum, membership = self.relaxation, self.spectrum, self.membership
        found: dict[str, Any] = {
            **figures(self, "verdict", "reason", "objective", "lower_bound", "gap", "tolerance"),
            "relaxation": {
                "lower_bound": self.relaxation_bound,
                "upper_bound": self.relaxation_value,
                "objective": self.relaxed_objective,
                "gap": self.gap_of_relaxation,
                "infeasibility": self.infeasibility,
                "solver": solved and solved.solver,
                "status": solved and solved.status.name.lower(),
                "iterations": solved and int(solved.iterations),
            },
            "spectrum": spectrum
            and {
                **figures(spectrum, "rank", "gap", "tolerance", "values"),
                "widest_gap": dict(zip(("rank", "ratio"), spectrum.widest, strict=True)),
            },
            "points": self.points and {"count": int(self.points.Z.shape[1]), "residual": self.points.residual},
            "complete_positivity": membership
            and {
                **figures(membership, "verdict", "reason", "residual", "distance"),
                "separator": figures(membership.separator, "kind", "positions", "inner_product"),
            },
            "stages": dict(self.stages),
        }
        return {name: strict(value) for name, value in found.items()}

    @property
    def gap(self) -> float:
        """(objective − lower_bound)/objective."""
        return relative_gap(self.objective, self.lower_bound)

    @property
    def gap_of_relaxation(self) -> float:
        """(objective − relaxation_bound)/objective, at least the relaxation's own relative gap."""
        return relative_gap(self.objective, self.relaxation_bound)

    @property
    def verdict(self) -> Verdict:
        """On the statement that the relaxation's value is the optimum.

        PROVED when ``gap_of_relaxation`` is at most the tolerance, REFUTED when the relaxation's value is proved to lie
        below the optimum, else UNKNOWN.
        """
        if self.gap_of_relaxation <= self.tolerance:
            return Verdict.PROVED
        loose = self.relaxation_value is not None and self.relaxation_value < self.lower_bound
        return Verdict.REFUTED if loose else Verdict.UNKNOWN

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        gap, membership = self.gap_of_relaxation, self.membership
        if self.verdict is Verdict.PROVED:
            return (
                f"a network's objective and a proved bound on the relaxation differ by {up(max(gap, 0.0), 2)}, so the "
                "relaxation is exact up to that"
            )
        if self.verdict is Verdict.REFUTED:
            return (
                f"the relaxation's value is at most {up(self.relaxation_value, 10)}, and no network has an objective "
                f"below {down(self.lower_bound, 10)}"
            )
        if membership is None:
            rest = "there is no solution of the relaxation to look at"
        elif membership.verdict is Verdict.REFUTED:
            rest = (
                f"the solution found is no sum of neurons, for {membership.reason}; another solution of the same value "
                "may be one, so this does not show that the relaxation is loose"
            )
        else:
            rest = f"of the solution's (α, β) block: {membership.reason}"
        return f"objective and bound differ by {up(gap, 2)}; {rest}"
