"""Deciding a property: CROWN and an attack on all cases of a region at once, then each open case by itself.

A verdict is a checked proof or a checked input. Cases that share a region share its pre-activation bounds, the unstable
neurons and the passes through the network; they differ in weights alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from certificates import Certificate, Robustness, Verdict, check
from certificates.certificate import FLOAT32, REAL, CaseProof
from certificates.failure import Deadline
from certificates.robustness import preactivation_bounds
from certnet.io.split_tree import SplitTree
from certnet.jobs.verification_result import VerificationResult
from certnet.runtime.clock import Clock, Event
from certnet.runtime.public import public
from certnet.runtime.wording import down, up
from certnet.search.attack import attack_all
from certnet.search.counterexample import Counterexample, confirm_near, decided_classes
from certnet.search.float32 import Bounds, in_float32
from certnet.search.linear import Nodes, crown
from certnet.search.margin_proofs import ROUNDING, case_proof, linear_leaf, linear_margins, margin_sizes
from formulations import InputError
from formulations._validation import FloatArray, shown
from formulations.arguments import several
from formulations.margin import MarginProblem, reduce_cases
from formulations.network import ReluNetwork
from formulations.properties import keeps_class
from formulations.robustness import InputRegion, UnsafeCase, require_fitting
from formulations.signs import FREE

__all__ = ["VerificationResult", "verify"]

ATTACK_WORK = 8_000_000  # Multiplications in one evaluation of all starts of an attack.
STARTS = (6, 48)  # Least and largest number of an attack's starts.
# An attack ends at a margin below minus this part of the margin's size; nearer to 0 exact arithmetic might object.
CLEAR = 1e-6
OpenCase = tuple[int, MarginProblem, float]
"""Number of a case, what is left of it, and the least margin that was met."""
UNSAFE = {
    REAL: "in exact arithmetic: its margin is",
    FLOAT32: "however it is evaluated in float32: its margin is at most",
}
"""What is said of a counterexample, before its margin."""


@public(cases=several(UnsafeCase))
def verify(
    network: ReluNetwork,
    cases: Sequence[UnsafeCase],
    *,
    semantics: str = REAL,
    time_limit: float | None = None,
    random_state: int = 0,
    tree: SplitTree | None = None,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[Event], None] | None = None,
) -> VerificationResult:
    """Decide whether any case is unsafe at any input.

    Args:
        network: f(x) = V (Ux + b)₊ + b₂.
        cases: a disjunction; PROVED means that none happens, REFUTED that one does.
        semantics: "real"; or "float32" to decide for all float32 inputs and all their evaluations in float32, in any
            order of summation, with or without fused multiply-add. Then what lies within rounding is UNKNOWN.
        time_limit: seconds, or None; the check of a finished proof has a tenth and a second more.
        random_state: seed of the attack.
        tree: splits that another verifier found, with which the search of a case begins where bounds of the whole
            region do not decide it. Leaves that have no proof are split further.
        provenance: JSON object that travels with the certificate.
        progress: called with an ``Event`` now and then.

    Raises:
        InputError: a case about other numbers of inputs or outputs than the network's, a tree that splits other neurons
            or has other cases, other semantics, or weights that are no float32 numbers.
    """
    clock = Clock(time_limit, progress)
    require_fitting(network, cases)
    if tree is not None:
        tree.require_fitting(network.width, len(cases))
    if semantics not in (REAL, FLOAT32):
        raise InputError(f"the semantics must be {REAL} or {FLOAT32}, not {shown(semantics)}.")
    # Overflow ends as a bound that is no number, which decides nothing.
    return _Verification(network, cases, clock, semantics, random_state, tree, provenance or {}).run()


@dataclass(eq=False)
class _Verification:
    """A property at work: what has been seen of its cases so far."""

    network: ReluNetwork
    stated: Sequence[UnsafeCase]
    clock: Clock
    semantics: str
    seed: int
    tree: SplitTree | None
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.deadline = Deadline.after(self.clock.left())
        self._preactivations: dict[int, Bounds] = {}
        self.cases = self.stated if self.semantics == REAL else in_float32(self.network, self.stated, self._bounds)
        errors = [case.rounding for case in self.cases if case.rounding is not None]
        self.rounding = max((float(error.max()) for error in errors), default=0.0)
        self.attacked = math.inf
        self.nodes = np.zeros(2, dtype=np.int64)
        self.timed_out = False
        self.proofs: dict[int, CaseProof] = {}
        self.lower: dict[int, float] = {}
        self.sizes: dict[int, float] = {}

    @cached_property
    def rng(self) -> "np.random.Generator":
        """Made where something is left to attack, as NumPy's random numbers are imported for it."""
        return np.random.default_rng(self.seed)

    def run(self) -> VerificationResult:
        """All regions first, with CROWN and an attack; then the open cases, the one nearest to being unsafe first."""
        open_ = list[OpenCase]()
        regions: dict[int, list[int]] = {}
        for number, case in enumerate(self.cases):
            regions.setdefault(id(case.region), []).append(number)
        for numbers in regions.values():
            if self.sizes and self.deadline.passed:
                self.timed_out = True
                break
            self._tell("bounds and attacks")
            left = self._crowned(numbers)
            if not left:
                continue
            starts = np.clip(ATTACK_WORK // max(self.network.hidden.size * len(left), 1), *STARTS)
            size = max(float(np.abs(problem.linear).max(initial=0.0)) for _, problem in left)
            until = -CLEAR * size - 3.0 * self.rounding
            asked = [self.cases[number] for number, _ in left]
            found = attack_all(
                self.network, asked, starts=int(starts), rng=self.rng, deadline=self.deadline, until=until
            )
            for (number, problem), one in sorted(zip(left, found, strict=True), key=lambda pair: pair[1].margin):
                self.attacked = min(self.attacked, one.margin)
                # Rounding may hide on which side of 0 a margin is.
                near = one.margin <= ROUNDING * self.sizes[number]
                counterexample = confirm_near(self.network, self.cases[number], one.X, number) if near else None
                if counterexample is not None:
                    return self._refuted(counterexample)
                open_.append((number, problem, one.margin))
        open_.sort(key=lambda item: item[2])
        result = self._searched(open_)
        if result.verdict is Verdict.UNKNOWN and result.report is not None and not self.deadline.passed:
            # The checker has refused a leaf: once more, with each asked about at once.
            result = self._searched(open_, asks=True)
        return result

    def _searched(self, open_: Sequence[OpenCase], *, asks: bool = False) -> VerificationResult:
        """Search the cases that are left, with the least margins that were met, and conclude."""
        if open_:
            from certnet.search.margin import CaseSearch  # brings the semidefinite bound, which most boxes do without
        for number, problem, attacked in open_:
            outcome = CaseSearch(
                self.network,
                problem,
                number,
                attacked=attacked,
                size=self.sizes[number],
                deadline=self.deadline,
                rng=self.rng,
                splits=None if self.tree is None else self.tree.of(number),
                asks=asks,
                watch=lambda waiting, worst: self._tell(f"{waiting} parts are open", worst),
            ).run()
            self.lower[number] = outcome.lower_bound
            if outcome.proof is not None:
                self.proofs[number] = outcome.proof
            self.attacked = min(self.attacked, outcome.attacked)
            self.nodes += outcome.nodes
            self.timed_out = self.timed_out or outcome.timed_out
            if outcome.counterexample is not None:
                return self._refuted(outcome.counterexample)
            if outcome.timed_out:
                break
        return self._concluded()

    def _bounds(self, region: InputRegion) -> Bounds:
        """Of the pre-activations on the region of some cases."""
        found = self._preactivations.get(id(region)) or preactivation_bounds(self.network, region, self.deadline)
        if self.semantics == FLOAT32:  # they are asked for twice there
            self._preactivations[id(region)] = found
        return found

    def _tell(self, stage: str, worst: float = math.nan) -> None:
        """Say what is known so far; the bound of the parts that are open is of the margin."""
        known = [] if len(self.cases) == 1 else [f"{len(self.proofs)} of {len(self.cases)} cases"]
        known += [f"margin >= {down(worst, 3)}"] if math.isfinite(worst) else []
        known += [f"met {up(self.attacked, 3)}"] if math.isfinite(self.attacked) else []
        self.clock.tell(stage, known=" · ".join(known) or None)

    def _crowned(self, numbers: Sequence[int]) -> list[tuple[int, MarginProblem]]:
        """Prove what CROWN proves of the cases of one region, all at once; returns the others."""
        network, cases = self.network, [self.cases[number] for number in numbers]
        self.sizes.update(zip(numbers, margin_sizes(network, cases), strict=True))
        problems = dict(zip(numbers, reduce_cases(network, cases, *self._bounds(cases[0].region)), strict=True))
        single = [number for number, problem in problems.items() if len(problem.weights) == 1]
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
                    weights=np.concatenate([problems[number].weights for number in single]),
                    linear=np.concatenate([problems[number].linear for number in single]),
                )
            )
            self.nodes += (len(single), 0)
            outputs = network(bounds.x)
            for row, number in enumerate(single):
                problem = problems[number]
                margin = float(linear_margins(network, problem, free[[row]], bounds.at(row), self.sizes[number])[0])
                self.attacked = min(self.attacked, float(problem.case.margins(outputs[[row]])[0]))
                if margin > 0:
                    self.lower[number], leaf = margin, linear_leaf(problem, bounds, row)
                    self.proofs[number] = case_proof(problem, leaf, [bounds.mu[row]], margin)
        return [(number, problem) for number, problem in problems.items() if number not in self.proofs]

    def _refuted(self, counterexample: Counterexample) -> VerificationResult:
        which = "" if len(self.cases) == 1 else f" of case {counterexample.case}"
        self.attacked = min(self.attacked, counterexample.margin)
        return self._result(
            Verdict.REFUTED,
            f"an input{which} is unsafe, {UNSAFE[self.semantics]} {counterexample.margin:.6g}"
            + ("" if counterexample.is_single else "; no vector of float32 numbers near it is known to be"),
            min(self.lower.values(), default=-math.inf),
            counterexample=counterexample,
        )

    def _concluded(self) -> VerificationResult:
        """PROVED if every case has a proof and the checker accepts them, or if there is none; else UNKNOWN."""
        if not self.cases:
            reason = "the property has no unsafe point, whatever the network is"
            return self._result(Verdict.PROVED, reason, -math.inf)
        if self.timed_out:
            reason = "the time limit was reached before the property was decided"
        else:
            within = "rounding" if self.semantics == REAL else f"what float32 may change, {up(self.rounding)}"
            reason = f"a part of the region is not decided: its margin is 0 within {within}, or numbers are too large"
        report = None
        if len(self.proofs) == len(self.cases):
            proofs = tuple(proof for _, proof in sorted(self.proofs.items()))
            statement = Robustness(self.network, tuple(self.stated), self.semantics)
            certificate = Certificate(statement, proofs, provenance=self.provenance)
            limit = self.clock.time_limit
            left = Deadline.after(None if limit is None else 1.1 * limit + 1.0 - self.clock.seconds)
            report = check(certificate, time_limit=left.limit)
            if report.verdict is Verdict.PROVED:
                found = {"certificate": certificate, "report": report}
                return self._result(Verdict.PROVED, report.reason, report.margin, **found)
            reason = f"the checker did not accept the proof: {report.reason}"
        bound = min(self.lower.values()) if len(self.lower) == len(self.cases) else -math.inf
        timed_out = self.timed_out or self.deadline.passed  # perhaps the check's
        return self._result(Verdict.UNKNOWN, reason, bound, report=report, timed_out=timed_out)

    def _result(self, verdict: Verdict, reason: str, lower_bound: float, **found: Any) -> VerificationResult:
        linear, semidefinite = self.nodes.tolist()
        known = lower_bound, self.attacked, (linear, semidefinite), self.clock.seconds
        return VerificationResult(verdict, reason, *known, semantics=self.semantics, rounding=self.rounding, **found)


def misclassified(network: ReluNetwork, x: FloatArray, label: int, semantics: str) -> bool:
    """Whether an input is of another class, in exact arithmetic; or, rounded to float32, in every evaluation there."""
    if semantics == REAL:
        return not decided_classes(network, x[None], np.array([label]))[1][0]
    point = x.astype(np.float32).astype(np.float64)
    cases = keeps_class(network, InputRegion(point, point), label)
    return verify(network, cases, semantics=semantics).verdict is Verdict.REFUTED
