"""certnet: train a two-layer ReLU network through its lifted semidefinite relaxation, and prove how good it is.

This is the one namespace for users. Names are loaded on first use, so that ``import certnet`` stays quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from certificates import (
        CheckReport,
        OptimalityCertificate,
        Verdict,
        check,
        read_certificate,
        repair,
        write_certificate,
    )
    from certnet._optimality import OptimalityResult, optimality
    from certnet.interchange import read_network
    from certnet.job import Event, TrainingResult, train
    from certnet.network import TwoLayerNetwork
    from certnet.path import PathResult, train_path
    from certnet.solvers import SolverResult, SolveStatus, available_solvers, solve
    from certnet.training import FitResult, fit
    from formulations import CertnetError, InputError, LiftedProgram, LiftedSpace, RawDual, TrainingProgram, presolve

_HOMES = {
    "certificates": (
        "CheckReport",
        "OptimalityCertificate",
        "Verdict",
        "check",
        "read_certificate",
        "repair",
        "write_certificate",
    ),
    "certnet._optimality": ("OptimalityResult", "optimality"),
    "certnet.interchange": ("read_network",),
    "certnet.job": ("Event", "TrainingResult", "train"),
    "certnet.network": ("TwoLayerNetwork",),
    "certnet.path": ("PathResult", "train_path"),
    "certnet.solvers": ("SolveStatus", "SolverResult", "available_solvers", "solve"),
    "certnet.training": ("FitResult", "fit"),
    "formulations": (
        "CertnetError",
        "InputError",
        "LiftedProgram",
        "LiftedSpace",
        "RawDual",
        "TrainingProgram",
        "presolve",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__version__ = "0.1.0"

__all__ = [
    "CertnetError",
    "CheckReport",
    "Event",
    "FitResult",
    "InputError",
    "LiftedProgram",
    "LiftedSpace",
    "OptimalityCertificate",
    "OptimalityResult",
    "PathResult",
    "RawDual",
    "SolveStatus",
    "SolverResult",
    "TrainingProgram",
    "TrainingResult",
    "TwoLayerNetwork",
    "Verdict",
    "available_solvers",
    "check",
    "fit",
    "optimality",
    "presolve",
    "read_certificate",
    "read_network",
    "repair",
    "solve",
    "train",
    "train_path",
    "write_certificate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'certnet' has no attribute {name!r}; it offers {', '.join(__all__)}.")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
