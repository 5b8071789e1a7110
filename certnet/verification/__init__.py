"""Deciding properties of two-layer ReLU networks: a checked proof, a checked counterexample, or neither."""

from certnet.verification.counterexample import Counterexample
from certnet.verification.verifier import VerificationResult, verify

__all__ = ["Counterexample", "VerificationResult", "verify"]
