"""Deciding properties of two-layer ReLU networks: a checked proof, a checked counterexample, or neither."""

from certnet.verification.counterexample import Counterexample
from certnet.verification.lipschitz import LipschitzResult, lipschitz_constant
from certnet.verification.radius import CertifiedRadius, certified_radius
from certnet.verification.relaxation import MarginBound, Relaxation, margin_bound
from certnet.verification.verifier import VerificationResult, verify
from certnet.verification.vnnlib import Property, read_vnnlib

__all__ = [
    "CertifiedRadius",
    "Counterexample",
    "LipschitzResult",
    "MarginBound",
    "Property",
    "Relaxation",
    "VerificationResult",
    "certified_radius",
    "lipschitz_constant",
    "margin_bound",
    "read_vnnlib",
    "verify",
]
