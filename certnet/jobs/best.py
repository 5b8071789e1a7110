"""The best network and the best bound of a job, whoever found them and whenever, and the certificate about both.

Every stage offers what it sees here, and the certificate at the end is about the best of all. So a longer run, which
does what a shorter one does and then more, ends no worse. What a stage has offered stays when the stage is left behind.
"""

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from certificates import Certificate, Report, Verdict, check
from certificates.arithmetic import Arithmetic
from certificates.making.assemble import MARGINS, assemble, drop_negligible, quick, replace_network
from certificates.making.assemble import certify as certify_duals
from certificates.making.repair import RepairedDual, project, raw_dual, repair
from certnet.solvers.interface import Repair
from certnet.training.polish import Network, offered_dual
from certnet.training.trainer import FitResult
from formulations import Dual, MergedRows, Presolved, TrainingProgram

Proof = tuple[Certificate, Report]

EQUAL = 1e-12  # Relative difference of objectives that rounding explains.
NOTABLE = 1e-3  # Relative decrease of the objective after which a network's residual is worth another bound.


class Best:
    """The best network, repaired dual, and checked certificate with its report; threads may offer side by side."""

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

    def take_proof(self, certificate: Certificate, report: Report) -> None:
        """Keep a checked certificate, if it proves more than the one before."""
        with self._lock:
            known = None if self.proof is None else self.proof[1]
            if known is None or (
                report.verdict is Verdict.PROVED
                and (known.verdict is not Verdict.PROVED or report.lower_bound > known.lower_bound)
            ):
                self.proof = certificate, report

    def see(self, network: Network, objective: float) -> None:
        """Keep a network on the way, and now and then the bound of its residual, which takes linear time."""
        self.take_network(FitResult(*network, objective))
        if objective < self._bounded * (1.0 - NOTABLE):
            self._bounded = objective
            self.take_dual(repaired(self._merged, offered_dual(self._merged, network)))


def repaired(merged: MergedRows, dual: Dual, *, factors: bool = True) -> RepairedDual:
    """What repair makes of a dual of the merged program, without negligible multipliers."""
    return repair(merged.program, drop_negligible(merged, dual), factors=factors)


def repairing(presolved: Presolved) -> Repair | None:
    """Repair of a solver's duals in the coordinates of the data, where a free hidden bias needs it: there the uniform
    shift costs far less. Measured: of 1,032 rows of digits (γ = 11) it proves 239.6 after 100 steps, and 120.2 in the
    solver's coordinates, where null directions of a free bias are stretched."""
    rows, program = presolved.rows, presolved.program

    def repair_there(dual: Dual, *, factors: bool) -> tuple[Dual, float]:
        found = repaired(rows, presolved.undo_dual(dual), factors=factors)
        feasible = raw_dual(found.W, found.N, found.t, gamma=rows.program.gamma)
        return presolved.apply_dual(feasible), program.to_own(found.lower_bound)

    return repair_there if program.region.size else None


def as_it_stands(merged: MergedRows, dual: Dual) -> RepairedDual:
    """A dual that was repaired in other coordinates: the same form, so it needs no repair, and the check decides."""
    if merged.program.region.size:
        return repaired(merged, dual)  # which finds the region's multiplier
    W, N, t = project(merged.program, drop_negligible(merged, dual))
    bound = merged.program.to_original(merged.program.dual_value(W))
    return RepairedDual(W=W, N=N, t=t, lower_bound=bound, scale=1.0, h_bar=merged.program.gamma)


def certify(merged: MergedRows, dual: RepairedDual, network: Network, provenance: Mapping[str, Any]) -> Proof:
    """Certificate and report for a repaired dual and a network (d×m, c×m).

    On large data a repair takes seconds, so it is repeated, with more margin, only where the check asks for that. A
    dual without products gets more margin by shrinking its W, which keeps its multipliers.
    """
    products, arithmetic = dual.N.size > 0, Arithmetic.FLOAT if quick(merged) else Arithmetic.AUTO
    if arithmetic is Arithmetic.AUTO and dual.grouped is not None:
        arithmetic = Arithmetic.BALL  # which it would end with, after a quarter of the time for floating point
    for margin in (0.0,) if products else (0.0, *MARGINS[1:]):
        certificate = assemble(merged, replace(dual, W=(1.0 - margin) * dual.W), *network, provenance)
        report = check(certificate, arithmetic=arithmetic)
        if report.verdict is Verdict.PROVED:
            return certificate, report
    again = [raw_dual(dual.W, dual.N, dual.t, gamma=merged.program.gamma)] if products else []
    return certify_duals(merged, again, *network, provenance=provenance)


def with_network(proof: Proof, network: Network, program: TrainingProgram) -> Proof:
    """The certificate about another network (d×m, c×m) with its best bias; as it was if that network is no better.

    What the checker proved of W holds for every network. So only the objective is computed anew, with the checker's own
    rounding, unless it would contradict the bound: then the checker looks at the whole.
    """
    certificate, report = proof
    other = replace_network(certificate, *network, program.output(*network))
    objective = other.claims["objective"]
    if not objective < report.objective:
        return proof
    if report.verdict is Verdict.PROVED and report.lower_bound <= objective:
        return other, replace(report, objective=objective)
    found = check(other)
    return (other, found) if found.verdict is report.verdict else proof
