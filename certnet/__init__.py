"""certnet: train a two-layer ReLU network through its lifted semidefinite relaxation, and prove how good it is.

This is the one namespace for users. Names are loaded on first use, so that ``import certnet`` stays quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

from certnet.runtime.version import __version__ as __version__
from formulations.lazy import lazily

_HOMES = {
    "certificates": "Certificate Lipschitz Report Robustness Training Verdict check read_certificate write_certificate",
    "certificates.making.repair": "repair",
    "certnet.estimators": "CertifiedMLPClassifier CertifiedMLPRegressor",
    "certnet.io.export": "write_onnx",
    "certnet.io.load_network": "network_from_sklearn network_from_torch read_network read_relu_network",
    "certnet.io.network": "TwoLayerNetwork",
    "certnet.io.objectives": "Given objective_of",
    "certnet.io.runs": "Run read_run read_runs",
    "certnet.io.split_tree": "SplitTree read_split_tree",
    "certnet.io.vnnlib": "read_vnnlib",
    "certnet.jobs.audit": "AuditResult InputAudit audit",
    "certnet.jobs.equivalence": "difference_range equivalence",
    "certnet.jobs.lipschitz": "LipschitzResult lipschitz_constant",
    "certnet.jobs.monotonicity": "Monotonicity monotonicity",
    "certnet.jobs.optimality": "OptimalityResult optimality",
    "certnet.jobs.output_range": "OutputRange output_range",
    "certnet.jobs.path": "PathResult train_path",
    "certnet.jobs.predictions": "PredictionRange prediction_range",
    "certnet.jobs.radius": "CertifiedRadius certified_radius",
    "certnet.jobs.selection": "Selection select_gamma",
    "certnet.jobs.tightness": "Tightness measure_tightness",
    "certnet.jobs.train": "Event TrainingResult train",
    "certnet.jobs.verify": "VerificationResult verify",
    "certnet.search.counterexample": "Counterexample",
    "certnet.solvers": "SolveStatus SolverResult available_solvers solve",
    "certnet.training": "FitResult fit",
    "formulations": "CertnetError Dual InputError LiftedSpace Program TrainingProgram presolve",
    "formulations.network": "ReluNetwork",
    "formulations.properties": "keeps_class",
    "formulations.robustness": "InputRegion UnsafeCase",
}
"""The public names by the module that makes them. For type checkers each of these names its own in ``__all__``."""

_MODULES = ("plots", "report")
"""Public modules besides, loaded on first use too."""

if TYPE_CHECKING:
    from certificates import *
    from certificates.making.repair import repair as repair
    from certnet import plots as plots
    from certnet import report as report
    from certnet.estimators import *
    from certnet.io.export import write_onnx as write_onnx
    from certnet.io.load_network import network_from_sklearn as network_from_sklearn
    from certnet.io.load_network import network_from_torch as network_from_torch
    from certnet.io.load_network import read_network as read_network
    from certnet.io.load_network import read_relu_network as read_relu_network
    from certnet.io.network import *
    from certnet.io.objectives import *
    from certnet.io.runs import *
    from certnet.io.split_tree import *
    from certnet.io.vnnlib import *
    from certnet.jobs.audit import *
    from certnet.jobs.equivalence import *
    from certnet.jobs.lipschitz import *
    from certnet.jobs.monotonicity import *
    from certnet.jobs.optimality import *
    from certnet.jobs.output_range import *
    from certnet.jobs.path import *
    from certnet.jobs.predictions import *
    from certnet.jobs.radius import *
    from certnet.jobs.selection import *
    from certnet.jobs.tightness import *
    from certnet.jobs.train import *
    from certnet.jobs.verify import *
    from certnet.search.counterexample import *
    from certnet.solvers import *
    from certnet.training import *
    from formulations import *
    from formulations.network import *
    from formulations.properties import *
    from formulations.robustness import *
else:
    __all__ = sorted(" ".join(_HOMES.values()).split())

_find = lazily(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    return importlib.import_module(f"certnet.{name}") if name in _MODULES else _find(name)


def __dir__() -> list[str]:
    return [*sorted(" ".join(_HOMES.values()).split()), "__version__"]
