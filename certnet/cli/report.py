"""The JSON objects of the jobs that end in a certificate of optimality."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certnet.cli.output import finite, head
from certnet.runtime.machine import versions

if TYPE_CHECKING:
    from certificates import Certificate
    from certnet.io import Split
    from certnet.jobs.optimality_result import OptimalityResult
    from certnet.jobs.train import TrainingResult
    from certnet.search.price import SearchSummary


def job_report(
    command: str,
    result: "TrainingResult | OptimalityResult",
    split: "Split",
    *,
    files: Mapping[str, Path],
    notes: Sequence[str],
    seconds: float,
) -> dict[str, Any]:
    """The fields of every job that ends in a certificate of optimality."""
    return {
        **head(command, result.report, result.report.reason),
        "interrupted": result.interrupted,
        "data": data_fields(split, result.certificate),
        "gamma": result.program.gamma,
        "bias": result.program.bias,
        "width": int(result.U.shape[1]),
        "branching": branching_fields(result.search),
        "slack_margin": finite(result.report.slack_margin),
        "stages": {name: float(value) for name, value in result.stages.items()},
        "seconds": seconds,
        "files": {name: str(path) for name, path in files.items()},
        "versions": versions(),
        "notes": list(notes),
    }


def training_report(
    result: "TrainingResult",
    split: "Split",
    *,
    scores: Mapping[str, Any],
    files: Mapping[str, Path],
    notes: Sequence[str],
    seconds: float,
    earlier_seconds: float | None = None,
) -> dict[str, Any]:
    """The object that ``certnet train`` writes and prints; ``earlier_seconds`` went into the runs before a resume."""
    return {
        **job_report("train", result, split, files=files, notes=notes, seconds=seconds),
        "rank": result.rank,
        "spectrum": [float(value) for value in result.spectrum],
        "relaxation": _relaxation(result),
        **scores,
        "earlier_seconds": finite(earlier_seconds),
    }


def data_fields(split: "Split", certificate: "Certificate") -> dict[str, Any]:
    """What the data were and where they came from."""
    n, d, c = certificate.shape
    return {
        "name": split.name,
        "source": split.recipe.source,
        "task": split.task,
        "n": n,
        "d": d,
        "c": c,
        "rows": {name: None if X is None else len(X) for name, X, _ in split.parts()},
        "classes": None if split.classes is None else list(split.classes),
        "features": list(split.feature_names),
        "standardised": not split.recipe.raw,
        "seed": split.recipe.seed,
        "fingerprint": certificate.data_fingerprint,
    }


def branching_fields(search: "SearchSummary | None") -> dict[str, Any] | None:
    """The search for a proof of the gap; null where there was none."""
    if search is None:
        return None
    return {
        "kind": search.kind,
        "complete": search.complete,
        "nodes": int(search.nodes),
        "leaves": int(search.leaves),
        "price": finite(search.price),
        "iterations": int(search.steps),
        "seconds": finite(search.seconds),
    }


def _relaxation(training: "TrainingResult") -> dict[str, Any] | None:
    result = training.relaxation
    if result is None:
        return None
    return {
        "solver": result.solver,
        "choice": training.choice,
        "version": result.version,
        "status": result.status.name.lower(),
        "message": result.message,
        "iterations": int(result.iterations),
        "objective": finite(training.relaxed_objective),
        "seconds": finite(result.seconds),
    }
