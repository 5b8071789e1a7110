"""Deciding properties of two-layer ReLU networks: a checked proof, a checked counterexample, or neither."""

from certnet.io.vnnlib import Property, read_vnnlib
from certnet.verification.counterexample import Counterexample
from certnet.verification.lipschitz import LipschitzResult, lipschitz_constant
from certnet.verification.radius import CertifiedRadius, certified_radius
from certnet.verification.verifier import VerificationResult, verify

__all__ = [
    "CertifiedRadius",
    "Counterexample",
    "LipschitzResult",
    "Property",
    "VerificationResult",
    "certified_radius",
    "lipschitz_constant",
    "read_vnnlib",
    "verify",
]
