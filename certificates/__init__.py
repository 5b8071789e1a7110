"""What is proved: certificates and the checker. No solver and no modelling language is imported.

``certificates.making`` makes proofs out of duals; nothing here imports it.
"""

from certificates.certificate import Certificate, Lipschitz, Robustness, Training, fingerprint
from certificates.checker import check as _check
from certificates.container import read_certificate, write_certificate
from certificates.report import Report, Verdict
from formulations.arguments import accepts, seconds

check = accepts(certificate=Certificate, time_limit=seconds)(_check)

__all__ = [
    "Certificate",
    "Lipschitz",
    "Report",
    "Robustness",
    "Training",
    "Verdict",
    "check",
    "fingerprint",
    "read_certificate",
    "write_certificate",
]
