"""What is proved: dual repair, certificates, and the checker. No solver and no modelling language is imported."""

from certificates.certificate import OptimalityCertificate, fingerprint
from certificates.checker import check
from certificates.container import read_certificate, write_certificate
from certificates.optimality import best_repair, certify, residual_dual
from certificates.repair import RepairedDual, repair
from certificates.report import CheckReport
from certificates.verdict import Verdict

__all__ = [
    "CheckReport",
    "OptimalityCertificate",
    "RepairedDual",
    "Verdict",
    "best_repair",
    "certify",
    "check",
    "fingerprint",
    "read_certificate",
    "repair",
    "residual_dual",
    "write_certificate",
]
