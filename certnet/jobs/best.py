"""The best network and the best bound of a job, whoever found them and whenever.

Every stage offers what it sees here, and the certificate at the end is about the best of all. So a longer run, which
does what a shorter one does and then more, ends no worse. What a stage has offered stays when the stage is left behind.
"""

import threading
from collections.abc import Callable

import numpy as np

from certificates import Certificate, Report, Verdict
from certificates.making import residual_dual
from certificates.making.repair import RepairedDual
from certnet.jobs.certify import repaired
from certnet.training.polish import Network
from certnet.training.trainer import FitResult
from formulations import MergedRows

Proof = tuple[Certificate, Report]

EQUAL = 1e-12
"""Relative difference of objectives that rounding explains."""
NOTABLE = 1e-3
"""Relative decrease of the objective after which a network's residual is worth another bound."""


class Best:
    """What a job has at hand; threads may offer side by side.

    Attributes:
        network: the best one.
        dual: the repaired dual of the best bound, None before the first.
        proof: the best certificate that was checked with its report, None before the first.
    """

    def __init__(self, merged: MergedRows, network: FitResult) -> None:
        self._merged, self._lock = merged, threading.Lock()
        self.network = network
        self.dual: RepairedDual | None = None
        self.proof: Proof | None = None
        self._bounded = np.inf

    @property
    def proved(self) -> float:
        """The proved bound, −∞ before the first."""
        return -np.inf if self.proof is None else self.proof[1].lower_bound

    @property
    def lower_bound(self) -> float:
        """The best bound, in original units, up to rounding."""
        return max(self.proved, -np.inf if self.dual is None else self.dual.lower_bound)

    @property
    def gap(self) -> float:
        """Relative distance of the best network from the best bound; 0 for an objective of 0."""
        objective = self.network.objective
        return (objective - self.lower_bound) / objective if objective > 0 else 0.0

    def take_network(self, network: FitResult) -> bool:
        """Keep a network that is better, or no wider and as good but for rounding; True if it was.

        Of equal ones the later is kept, because the end of a fit says whether it has converged.
        """
        with self._lock:
            equal = network.objective <= self.network.objective * (1.0 + EQUAL)
            wider = network.U.shape[1] > self.network.U.shape[1]
            better = network.objective < self.network.objective or (equal and not wider)
            if better:
                self.network = network
        return better

    def take_dual(self, dual: RepairedDual) -> None:
        """Keep a repaired dual of the merged program, if its bound is the best so far."""
        with self._lock:
            if dual.lower_bound > self.lower_bound or (self.dual is None and self.proof is None):
                self.dual = dual

    def take_proof(self, certificate: Certificate, report: Report) -> bool:
        """Keep a checked certificate, if it proves more than the one before; True if it does."""
        with self._lock:
            known = self.proof
            better = known is None or (
                report.verdict is Verdict.PROVED
                and (known[1].verdict is not Verdict.PROVED or report.lower_bound > known[1].lower_bound)
            )
            if better:
                self.proof = certificate, report
        return better

    def see(self, network: Network, objective: float) -> None:
        """Keep a network on the way, and now and then the bound of its residual, which takes linear time."""
        U, V = network
        self.take_network(FitResult(U=U, V=V, objective=objective))
        if objective < self._bounded * (1.0 - NOTABLE):
            self._bounded = objective
            self.take_residual(U, V)

    def take_residual(self, U: np.ndarray, V: np.ndarray) -> None:
        """The bound of a network's residual."""
        self.take_dual(repaired(self._merged, residual_dual(self._merged, U, V)))

    def prove(self, certify: Callable[[RepairedDual], Proof]) -> None:
        """Have the best dual checked, if it promises more than what is proved."""
        dual = self.dual
        if dual is not None and not dual.lower_bound <= self.proved:
            self.take_proof(*certify(dual))
