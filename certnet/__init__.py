"""certnet: train a two-layer ReLU network through its lifted semidefinite relaxation, and prove how good it is.

This is the one namespace for users. Names are loaded on first use, so that ``import certnet`` stays quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from certificates import (
        Certificate,
        Lipschitz,
        Report,
        Robustness,
        Training,
        Verdict,
        check,
        read_certificate,
        write_certificate,
    )
    from certificates.making import repair
    from certnet.io import (
        network_from_sklearn,
        network_from_torch,
        read_network,
        read_relu_network,
        write_onnx,
    )
    from certnet.io.network import TwoLayerNetwork
    from certnet.io.vnnlib import read_vnnlib
    from certnet.jobs.audit import audit
    from certnet.jobs.audit_result import AuditResult, InputAudit
    from certnet.jobs.lipschitz import LipschitzResult, lipschitz_constant
    from certnet.jobs.optimality import OptimalityResult, optimality
    from certnet.jobs.path import PathResult, train_path
    from certnet.jobs.radius import CertifiedRadius, certified_radius
    from certnet.jobs.train import Event, TrainingResult, train
    from certnet.jobs.verify import VerificationResult, verify
    from certnet.search.counterexample import Counterexample
    from certnet.solvers import SolverResult, SolveStatus, available_solvers, solve
    from certnet.training import FitResult, fit
    from formulations import CertnetError, Dual, InputError, LiftedSpace, Program, TrainingProgram, presolve
    from formulations.network import ReluNetwork
    from formulations.robustness import InputRegion, UnsafeCase, keeps_class

_HOMES = {
    "certificates": (
        "Certificate",
        "Lipschitz",
        "Report",
        "Robustness",
        "Training",
        "Verdict",
        "check",
        "read_certificate",
        "write_certificate",
    ),
    "certificates.making": ("repair",),
    "certnet.jobs.audit": ("audit",),
    "certnet.jobs.audit_result": ("AuditResult", "InputAudit"),
    "certnet.jobs.optimality": ("OptimalityResult", "optimality"),
    "certnet.io": (
        "network_from_sklearn",
        "network_from_torch",
        "read_network",
        "read_relu_network",
        "write_onnx",
    ),
    "certnet.jobs.train": ("Event", "TrainingResult", "train"),
    "certnet.io.network": ("TwoLayerNetwork",),
    "certnet.jobs.path": ("PathResult", "train_path"),
    "certnet.solvers": ("SolveStatus", "SolverResult", "available_solvers", "solve"),
    "certnet.training": ("FitResult", "fit"),
    "certnet.search.counterexample": ("Counterexample",),
    "certnet.jobs.verify": ("VerificationResult", "verify"),
    "certnet.jobs.radius": ("CertifiedRadius", "certified_radius"),
    "certnet.jobs.lipschitz": ("LipschitzResult", "lipschitz_constant"),
    "certnet.io.vnnlib": ("read_vnnlib",),
    "formulations.network": ("ReluNetwork",),
    "formulations.robustness": ("InputRegion", "UnsafeCase", "keeps_class"),
    "formulations": (
        "CertnetError",
        "InputError",
        "Program",
        "LiftedSpace",
        "Dual",
        "TrainingProgram",
        "presolve",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__version__ = "0.1.0"

__all__ = [
    "AuditResult",
    "Certificate",
    "CertifiedRadius",
    "CertnetError",
    "Counterexample",
    "Dual",
    "Event",
    "FitResult",
    "InputAudit",
    "InputError",
    "InputRegion",
    "LiftedSpace",
    "Lipschitz",
    "LipschitzResult",
    "OptimalityResult",
    "PathResult",
    "Program",
    "ReluNetwork",
    "Report",
    "Robustness",
    "SolveStatus",
    "SolverResult",
    "Training",
    "TrainingProgram",
    "TrainingResult",
    "TwoLayerNetwork",
    "UnsafeCase",
    "Verdict",
    "VerificationResult",
    "audit",
    "available_solvers",
    "certified_radius",
    "check",
    "fit",
    "keeps_class",
    "lipschitz_constant",
    "network_from_sklearn",
    "network_from_torch",
    "optimality",
    "presolve",
    "read_certificate",
    "read_network",
    "read_relu_network",
    "read_vnnlib",
    "repair",
    "solve",
    "train",
    "train_path",
    "verify",
    "write_certificate",
    "write_onnx",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'certnet' has no attribute {name!r}; it offers {', '.join(__all__)}.")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
