"""What is proved: certificates and the checker. No solver and no modelling language is imported.

``certificates.making`` makes proofs out of duals; nothing here imports it. What reads and writes files is imported on
first use.
"""

from typing import TYPE_CHECKING

from certificates.certificate import Certificate, Lipschitz, Robustness, Training, fingerprint
from certificates.checker import check as _check
from certificates.report import Report, Verdict
from formulations.arguments import accepts, seconds, text
from formulations.lazy import lazily

if TYPE_CHECKING:
    from certificates.container import read_certificate, write_certificate

__getattr__ = lazily(__name__, {"certificates.container": "read_certificate write_certificate"})
check = accepts(certificate=Certificate, arithmetic=text, time_limit=seconds)(_check)

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
