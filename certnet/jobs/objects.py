"""What JSON says of results of training, in Python and in reports alike."""

from typing import TYPE_CHECKING, Any

from certificates.findings import figures, finite, weights
from formulations.losses import name_of

if TYPE_CHECKING:
    from certnet.jobs.optimality import OptimalityResult
    from certnet.jobs.train import TrainingResult


def training_object(result: "TrainingResult | OptimalityResult") -> dict[str, Any]:
    """The fields of every job that ends in a certificate of optimality."""
    n, d, c = result.certificate.shape
    branching = figures(result.search, "kind", "complete", "nodes", "leaves", "price", "steps", "seconds")
    if branching is not None:
        branching["iterations"] = branching.pop("steps")
    report = result.report
    return {
        "verdict": str(report.verdict),
        "reason": report.reason,
        **{name: finite(getattr(report, name)) for name in ("objective", "lower_bound", "gap")},
        "interrupted": result.interrupted,
        "data": {"n": n, "d": d, "c": c, "fingerprint": result.certificate.data_fingerprint},
        "gamma": result.program.gamma,
        "loss": name_of(result.program.loss.kind),
        **figures(result.program, "hidden_bias", "output_bias"),
        "weights": weights(result.certificate.sample_weight),
        "width": int(result.U.shape[1]),
        "branching": branching,
        "slack_margin": finite(report.slack_margin),
        "stages": dict(result.stages),
        "history": [moment.to_dict() for moment in result.history],
        "notes": list(result.notes),
    }
