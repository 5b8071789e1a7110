"""What is known of a network's distance from the optimum."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from certificates import Certificate, Report
from certnet.search.price import SearchSummary
from certnet.training.trainer import FitResult
from formulations import TrainingProgram
from formulations._validation import FloatArray


@dataclass(frozen=True, eq=False)
class Neuron:
    """A neuron whose addition lowers the objective: ‖Rᵀ(Xu)₊‖ > γ for the residual R of the network.

    With a = (Xu)₊ at ‖u‖ = 1 and g = Rᵀa, the best output weights have the direction of g and the objective falls by
    (‖g‖ − γ)²/(2‖a‖²).

    Attributes:
        u: (d,) hidden weights, balanced with the output weights.
        v: (c,) output weights.
        price_ratio: ‖g‖/γ, more than 1.
        decrease: by how much the objective falls when the neuron is added to the network as it is.
    """

    u: FloatArray
    v: FloatArray
    price_ratio: float
    decrease: float


@dataclass(frozen=True, eq=False)
class OptimalityResult:
    """What is known of a network's distance from the optimum.

    Attributes:
        program: the training problem; the loss is ½·sum of squares.
        U, V: the network that was given, (d×m) and (c×m).
        certificate: about that network; proves ``report.lower_bound``.
        report: what the checker said of it; ``report.gap`` is the proved gap.
        balanced_objective: the objective after neurons are rescaled, which changes no prediction.
        price_ratio: the largest ‖Rᵀ(Xu)₊‖/γ found over unit u, for the residual R of the network; at an optimum it is
            1. It is reached at a direction, so the true maximum is at least as large. None after Ctrl-C.
        neuron: the direction of that price as a neuron, None where it is hardly above 1.
        trained: the best network that certnet found, starting from the given one among others; None without training.
        bounds: the lower bound that each source led to: residuals, relaxation and branching.
        search: the branch and bound, if the gap was not small enough without.
        stages: seconds for each stage.
        interrupted: Ctrl-C cut a stage short.
        notes: sentences that the user should read.
    """

    program: TrainingProgram
    U: FloatArray
    V: FloatArray
    certificate: Certificate
    report: Report
    balanced_objective: float
    price_ratio: float | None
    neuron: Neuron | None
    trained: FitResult | None
    bounds: Mapping[str, float] = field(default_factory=dict)
    search: SearchSummary | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    interrupted: bool = False
    notes: tuple[str, ...] = ()
