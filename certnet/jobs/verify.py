"""Deciding a property: CROWN and an attack on all cases of a region at once, then each open case by itself.

A verdict is a checked proof or a checked input. Cases that share a region share its pre-activation bounds, the unstable
neurons and the passes through the network; they differ in weights alone.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from certificates import Certificate, Report, Robustness, Verdict, check
from certificates.certificate import CaseProof
from certificates.robustness import preactivation_bounds
from certnet.search.attack import attack_all
from certnet.search.counterexample import Counterexample, confirm_near
from certnet.search.linear import Nodes, crown
from certnet.search.margin import CaseOutcome, CaseSearch
from certnet.search.margin_proofs import ROUNDING, case_proof, linear_leaf, linear_margins, margin_sizes
from formulations.arguments import accepts, count, json_object, seconds, several
from formulations.lifted_space import FREE
from formulations.margin import MarginProblem, reduce_cases
from formulations.network import ReluNetwork
from formulations.robustness import UnsafeCase, require_fitting

ATTACK_WORK = 8_000_000
"""Multiplications in one evaluation of all starts of an attack."""
STARTS = (6, 48)
CLEAR = 1e-6
"""An attack ends at a margin below minus this part of the margin's size; nearer to 0 exact arithmetic might object."""


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
    certificate: Certificate | None
    report: Report | None
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
    proofs: dict[int, CaseProof] = field(default_factory=dict)
    bounded: int = 0

    def add(self, number: int, outcome: CaseOutcome) -> None:
        if outcome.proof is not None:
            self.proofs[number] = outcome.proof
        self.bounded += 1
        self.attacked = min(self.attacked, outcome.attacked)
        self.lower_bound = min(self.lower_bound, outcome.lower_bound)
        self.nodes = (self.nodes[0] + outcome.nodes[0], self.nodes[1] + outcome.nodes[1])
        self.timed_out = self.timed_out or outcome.timed_out


@accepts(network=ReluNetwork, cases=several(UnsafeCase), time_limit=seconds, random_state=count, provenance=json_object)
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
        time_limit: seconds, or None; the check of a finished proof has a tenth and a second more.
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
    open_: list[tuple[int, MarginProblem, float]] = []
    sizes: dict[int, float] = {}
    for numbers in _by_region(cases):
        if sizes and time.perf_counter() >= deadline:
            seen.timed_out = True
            break
        sizes.update(zip(numbers, margin_sizes(network, [cases[number] for number in numbers]), strict=True))
        left = _crowned(network, cases, numbers, sizes, seen)
        if not left:
            continue
        found = attack_all(
            network,
            [cases[number] for number, _ in left],
            starts=_starts(network, len(left)),
            rng=rng,
            deadline=deadline,
            until=-CLEAR * max(float(np.abs(problem.linear).max(initial=0.0)) for _, problem in left),
        )
        for (number, problem), one in sorted(zip(left, found, strict=True), key=lambda pair: pair[1].margin):
            seen.attacked = min(seen.attacked, one.margin)
            # Rounding may hide on which side of 0 a margin is.
            near = one.margin <= ROUNDING * sizes[number]
            counterexample = confirm_near(network, cases[number], one.X, number) if near else None
            if counterexample is not None:
                return _refuted(counterexample, cases, seen, start)
            open_.append((number, problem, one.margin))
    for number, problem, attacked in sorted(open_, key=lambda item: item[2]):
        search = CaseSearch(network, problem, number, attacked=attacked, size=sizes[number], deadline=deadline, rng=rng)
        outcome = search.run()
        seen.add(number, outcome)
        if outcome.counterexample is not None:
            return _refuted(outcome.counterexample, cases, seen, start)
        if outcome.timed_out:
            break
    checking = None if time_limit is None else start + 1.1 * time_limit + 1.0 - time.perf_counter()
    return _concluded(network, cases, seen, start, checking, provenance)


def _by_region(cases: Sequence[UnsafeCase]) -> list[list[int]]:
    """Numbers of the cases that share a region."""
    groups: dict[int, list[int]] = {}
    for number, case in enumerate(cases):
        groups.setdefault(id(case.region), []).append(number)
    return list(groups.values())


def _crowned(
    network: ReluNetwork,
    cases: Sequence[UnsafeCase],
    numbers: Sequence[int],
    sizes: Mapping[int, float],
    seen: _Progress,
) -> list[tuple[int, MarginProblem]]:
    """Prove what CROWN proves of the cases of one region, all at once; returns the others."""
    lower, upper = preactivation_bounds(network, cases[numbers[0]].region)
    problems = reduce_cases(network, [cases[number] for number in numbers], lower, upper)
    single = [at for at, problem in enumerate(problems) if len(problem.weights) == 1]
    proved: set[int] = set()
    if single:
        first = problems[single[0]]
        free = np.full((len(single), first.neurons), FREE, dtype=np.int64)
        bounds = crown(
            Nodes(
                region=first.case.region,
                generators=first.generators,
                bounds=first.bounds,
                signs=free,
                mu=np.ones((len(single), 1)),
                weights=np.concatenate([problems[at].weights for at in single]),
                linear=np.concatenate([problems[at].linear for at in single]),
            )
        )
        seen.nodes = (seen.nodes[0] + len(single), seen.nodes[1])
        outputs = network(bounds.x)
        for row, at in enumerate(single):
            problem, number = problems[at], numbers[at]
            margin = float(linear_margins(network, problem, free[[row]], bounds.at(row), sizes[number])[0])
            seen.attacked = min(seen.attacked, float(problem.case.margins(outputs[[row]])[0]))
            if margin > 0:
                proof = case_proof(problem, linear_leaf(problem, bounds, row), [bounds.mu[row]], margin)
                seen.proofs[number] = proof
                seen.bounded += 1
                seen.lower_bound = min(seen.lower_bound, margin)
                proved.add(at)
    return [(numbers[at], problem) for at, problem in enumerate(problems) if at not in proved]


def _starts(network: ReluNetwork, cases: int) -> int:
    """Random starts of an attack on so many cases at once."""
    least, most = STARTS
    return int(np.clip(ATTACK_WORK // max(network.width * network.inputs * cases, 1), least, most))


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
    checking: float | None,
    provenance: Mapping[str, Any],
) -> VerificationResult:
    """PROVED if every case has a proof and the checker accepts them, or if there is none; else UNKNOWN."""
    proofs = [seen.proofs[number] for number in sorted(seen.proofs)]
    certificate, report, lower_bound = None, None, seen.lower_bound
    if cases and len(proofs) == len(cases):
        certificate = Certificate(Robustness(network, tuple(cases)), tuple(proofs), provenance=dict(provenance))
        report = check(certificate, time_limit=checking)
    if report is not None and report.verdict is Verdict.PROVED:
        verdict, reason, lower_bound = Verdict.PROVED, report.reason, report.margin
    elif not cases:
        verdict, reason, lower_bound = (
            Verdict.PROVED,
            "the property has no unsafe point, whatever the network is",
            -np.inf,
        )
    else:
        verdict, lower_bound = Verdict.UNKNOWN, lower_bound if seen.bounded == len(cases) else -np.inf
        if report is not None:
            reason = f"the checker did not accept the proof: {report.reason}"
        elif seen.timed_out:
            reason = "the time limit was reached before the property was decided"
        else:
            reason = "a part of the region is not decided: its margin is 0 within rounding, or numbers are too large"
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
