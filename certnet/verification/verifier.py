"""Deciding a property: attack first, then bounds, then branching. A verdict is a checked proof or a checked input."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from certificates.robustness import RobustnessCertificate, preactivation_bounds
from certificates.robustness_checker import RobustnessReport, check_robustness
from certificates.verdict import Verdict
from certnet.verification.attack import AttackResult, attack
from certnet.verification.counterexample import Counterexample, confirm
from certnet.verification.search import CaseOutcome, CaseSearch
from formulations._validation import FloatArray
from formulations.robustness import InputRegion, ReluNetwork, UnsafeCase, reduce_case, require_fitting

ATTACK_WORK = 8_000_000
"""Multiplications in one evaluation of all starts of an attack."""
STARTS = (6, 48)


@dataclass(frozen=True, eq=False)
class VerificationResult:
    """What is known about a property.

    Attributes:
        verdict: PROVED (no unsafe input), REFUTED (an unsafe input), or UNKNOWN.
        reason: one sentence.
        certificate, report: the proof and what the checker found, where PROVED.
        counterexample: the unsafe input, where REFUTED.
        lower_bound: the least bound on ``max_r (H f(x) + h)_r`` over all cases; proved where PROVED, else in floating
            point, and −inf where none was computed.
        attacked: the least such value at an input that was met, in floating point.
        nodes: linear and semidefinite bounds computed.
        timed_out: whether the time limit ended the search.
        seconds: wall time.
    """

    verdict: Verdict
    reason: str
    certificate: RobustnessCertificate | None
    report: RobustnessReport | None
    counterexample: Counterexample | None
    lower_bound: float
    attacked: float
    nodes: tuple[int, int]
    timed_out: bool
    seconds: float


@dataclass
class _Progress:
    """What has been seen so far."""

    attacked: float = np.inf
    lower_bound: float = np.inf
    nodes: tuple[int, int] = (0, 0)
    timed_out: bool = False
    outcomes: list[CaseOutcome] = field(default_factory=list)

    def add(self, outcome: CaseOutcome) -> None:
        self.outcomes.append(outcome)
        self.attacked = min(self.attacked, outcome.attacked)
        self.lower_bound = min(self.lower_bound, outcome.lower_bound)
        self.nodes = (self.nodes[0] + outcome.nodes[0], self.nodes[1] + outcome.nodes[1])
        self.timed_out = self.timed_out or outcome.timed_out


def verify(
    network: ReluNetwork,
    cases: Sequence[UnsafeCase],
    *,
    time_limit: float | None = None,
    random_state: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> VerificationResult:
    """Decide whether any case is unsafe at any input.

    Args:
        network: f(x) = V (Ux + b)₊ + b₂.
        cases: a disjunction; PROVED means that none happens, REFUTED that one does.
        time_limit: seconds, or None. The check of a finished proof is not limited by it.
        random_state: seed of the attack.
        provenance: JSON object that travels with the certificate.

    Raises:
        InputError: a case about other numbers of inputs or outputs than the network's.
    """
    start = time.perf_counter()
    require_fitting(network, cases)
    with np.errstate(all="ignore"):
        # Overflow ends as a bound that is no number, which decides nothing.
        return _decided(network, cases, start, time_limit, random_state, provenance or {})


def _decided(
    network: ReluNetwork,
    cases: Sequence[UnsafeCase],
    start: float,
    time_limit: float | None,
    random_state: int,
    provenance: Mapping[str, Any],
) -> VerificationResult:
    deadline = np.inf if time_limit is None else start + time_limit
    rng = np.random.default_rng(random_state)
    seen = _Progress()
    attacks = []
    for number, case in enumerate(cases):
        found, counterexample = _attack(network, case, number, rng)
        attacks.append(found)
        seen.attacked = min(seen.attacked, found.margin)
        if counterexample is not None:
            return _refuted(counterexample, cases, seen, start)
    bounds = _shared_bounds(network, cases)
    for number, (case, found) in enumerate(zip(cases, attacks, strict=True)):
        problem = reduce_case(network, case, *bounds[id(case.region)])
        search = CaseSearch(network, problem, number, attacked=found.margin, deadline=deadline, rng=rng)
        outcome = search.run()
        seen.add(outcome)
        if outcome.counterexample is not None:
            return _refuted(outcome.counterexample, cases, seen, start)
        if outcome.timed_out:
            break
    return _concluded(network, cases, seen, start, provenance)


def _attack(
    network: ReluNetwork, case: UnsafeCase, number: int, rng: np.random.Generator
) -> tuple[AttackResult, Counterexample | None]:
    least, most = STARTS
    starts = int(np.clip(ATTACK_WORK // max(7 * network.width * network.inputs, 1), least, most))
    found = attack(network, case, starts=starts, rng=rng)
    return found, confirm(network, case, found.x, number) if found.margin <= 0 else None


def _shared_bounds(network: ReluNetwork, cases: Sequence[UnsafeCase]) -> dict[int, tuple[FloatArray, FloatArray]]:
    """Pre-activation bounds of each region, computed once for all cases that share it."""
    regions: dict[int, InputRegion] = {id(case.region): case.region for case in cases}
    return {key: preactivation_bounds(network, region) for key, region in regions.items()}


def _refuted(
    counterexample: Counterexample, cases: Sequence[UnsafeCase], seen: _Progress, start: float
) -> VerificationResult:
    which = "" if len(cases) == 1 else f" of case {counterexample.case}"
    return VerificationResult(
        verdict=Verdict.REFUTED,
        reason=f"an input{which} is unsafe, in exact arithmetic: its margin is {counterexample.margin:.6g}",
        certificate=None,
        report=None,
        counterexample=counterexample,
        lower_bound=-np.inf if not np.isfinite(seen.lower_bound) else seen.lower_bound,
        attacked=min(seen.attacked, counterexample.margin),
        nodes=seen.nodes,
        timed_out=False,
        seconds=time.perf_counter() - start,
    )


def _concluded(
    network: ReluNetwork,
    cases: Sequence[UnsafeCase],
    seen: _Progress,
    start: float,
    provenance: Mapping[str, Any],
) -> VerificationResult:
    """PROVED if every case has a proof and the checker accepts them; else UNKNOWN."""
    proofs = [outcome.proof for outcome in seen.outcomes if outcome.proof is not None]
    certificate, report, lower_bound = None, None, seen.lower_bound
    if len(proofs) == len(cases):
        certificate = RobustnessCertificate(network, tuple(cases), tuple(proofs), dict(provenance))
        report = check_robustness(certificate)
    if report is not None and report.verdict is Verdict.PROVED:
        verdict, reason, lower_bound = Verdict.PROVED, report.reason, report.margin
    else:
        verdict, lower_bound = Verdict.UNKNOWN, lower_bound if len(seen.outcomes) == len(cases) else -np.inf
        if report is not None:
            reason = f"the checker did not accept the proof: {report.reason}"
        elif seen.timed_out:
            reason = "the time limit was reached before the property was decided"
        else:
            reason = "a part of the region is not decided in floating point: margins are too small or numbers too large"
        certificate = None
    return VerificationResult(
        verdict=verdict,
        reason=reason,
        certificate=certificate,
        report=report,
        counterexample=None,
        lower_bound=lower_bound,
        attacked=seen.attacked,
        nodes=seen.nodes,
        timed_out=seen.timed_out and verdict is Verdict.UNKNOWN,
        seconds=time.perf_counter() - start,
    )
