"""The independent checker: re-proves a certificate from the numbers of its statement, and trusts nobody.

It imports numpy, python-flint and our own arithmetic; no solver, no modelling language. What has to hold stands in
``certificates.training``, ``certificates.robustness`` and ``certificates.lipschitz``, in the order of
docs/certificate-format.md. A certificate that fails proves nothing: UNKNOWN. A claim that a network disproves is
REFUTED.
"""

import time

import numpy as np

from certificates.arithmetic import Arithmetic
from certificates.arithmetic.machine import MachineFailure, rigorous
from certificates.certificate import PROOFS, Certificate, Lipschitz, Robustness, Training
from certificates.failure import Deadline, ProofFailure, require
from certificates.report import Report, Verdict
from certificates.work import Work

DEFAULT_TIME_LIMIT = 600.0


def check(
    certificate: Certificate,
    *,
    arithmetic: Arithmetic | str = Arithmetic.AUTO,
    time_limit: float | None = DEFAULT_TIME_LIMIT,
) -> Report:
    """Re-prove a certificate. Never raises on its content: what cannot be proved is UNKNOWN with the reason.

    A proof of training with products takes floating point time O(N²(N+d)) a leaf and memory O((2N+d)²) for N generators
    in d dimensions, and one without products O(N(c+d)²) and O(N(c+d)).

    Args:
        certificate: nothing in it is trusted.
        arithmetic: exact, ball, float, or auto: floating point, and stronger arithmetic where that fails and the order
            allows.
        time_limit: seconds after which the proof is given up as UNKNOWN, or None. It is looked at between rows,
            circuits, leaves and elimination steps.

    Raises:
        ValueError: an arithmetic that does not exist.
    """
    start = time.perf_counter()
    work = Work(Arithmetic(arithmetic), Deadline.after(time_limit))
    statement, found = certificate.statement, [type(proof) for proof in certificate.proofs]
    needed = [PROOFS[type(statement)]] * (len(statement.cases) if isinstance(statement, Robustness) else 1)
    try:
        with rigorous(_order(certificate)):
            require(found == needed, f"the certificate has not the {len(needed)} proofs that it needs")
            verdict, reason = _proved(statement, certificate, work)
    except ProofFailure as failure:
        verdict, reason = Verdict.UNKNOWN, str(failure)
        if isinstance(failure, MachineFailure):
            work.figures.clear()
    return Report(verdict, reason, work.used.value, time.perf_counter() - start, **work.figures)


def _proved(statement: Training | Robustness | Lipschitz, certificate: Certificate, work: Work) -> tuple[Verdict, str]:
    """Whether it is proved or refuted, and why in a sentence; figures go into the work. One prover is loaded."""
    if isinstance(statement, Training):
        from certificates.training import prove_training

        return prove_training(statement, certificate, work)
    if isinstance(statement, Robustness):
        from certificates.robustness import prove_robustness

        return prove_robustness(statement, certificate, work)
    from certificates.lipschitz import prove_lipschitz

    return prove_lipschitz(statement, certificate, work)


def _order(certificate: Certificate) -> int:
    """About the order of the largest product of matrices."""
    statement = certificate.statement
    return np.atleast_1d(statement.X).shape[0] if isinstance(statement, Training) else len(statement.network.hidden)
