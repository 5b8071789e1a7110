"""Lipschitz constants in l2, global and on regions: LipSDP, the stronger bound from products of signs, and samples."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from certificates import Certificate, Lipschitz, Report, Verdict, check
from certificates.arithmetic import Arithmetic
from certificates.certificate import LipschitzProof
from certificates.failure import Deadline
from certificates.findings import figures
from certificates.lipschitz import open_neurons
from certificates.making.tree import LeafProof, build
from certificates.proof import LiftedProof
from certificates.robustness import preactivation_bounds
from certnet.runtime.abandon import OutOfTimeError, abandonable
from certnet.runtime.clock import Clock, Event
from certnet.runtime.display import Result
from certnet.runtime.public import public
from certnet.runtime.wording import down, up
from certnet.search.gradients import SECONDS, largest_gradient
from certnet.search.lipsdp import Gradients, best_weights, rough_norm
from certnet.search.sign_products import solve
from formulations import InputError
from formulations._validation import FloatArray
from formulations.arguments import array
from formulations.margin import stable_signs
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion
from formulations.signs import ACTIVE

__all__ = ["LipschitzResult", "lipschitz_constant"]

LARGEST, SMALLEST = 1e300, 1e-100
"""The smallest is proved for functions that are constant; its square does not underflow."""
_Proof = tuple[Certificate, Report]
T = TypeVar("T")
MARGINS = (1e-9, 1e-7, 1e-5, 1e-3)  # Relative, added to a constant until the checker accepts its proof.
ROOM_PER_CUBE = 3e-17  # Times the cube of the order: what rounding in the check of LipSDP takes at least.
SAMPLING_SHARE = 0.1  # Part of the time that is left for sampled gradients.
PLAIN_SHARE = 0.25  # Part of the time that is left for LipSDP.
GRACE = 1.0  # Seconds that checking the cheap bound may take in any case, and half of it the norms.


@dataclass(frozen=True, eq=False, repr=False)
class LipschitzResult(Result):
    """``sampled ≤ L ≤ constant ≤ product`` up to rounding of the first and the last.

    Attributes:
        constant: the proved constant; infinite if the checker did not accept it.
        sampled: the largest gradient norm that was met, a lower bound of the Lipschitz constant.
        product: the product of norms of the weights of neurons that are not inactive, or of the unstable ones plus the
            norm of the active ones' gradient if that is less; for comparison.
        unstable: how many neurons are neither active nor inactive all over the region.
        certificate, report: the proof and what the checker found.
        note: a sentence where time or memory allowed a weaker bound only, else None.
    """

    FIELDS = ("constant", "sampled", "product", "note", "unstable")

    constant: float
    sampled: float
    product: float
    unstable: int
    certificate: Certificate
    report: Report
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**figures(self.report, "verdict", "reason", "arithmetic"), **super().to_dict()}


@public(C=array)
def lipschitz_constant(
    network: ReluNetwork,
    C: FloatArray,
    *,
    region: InputRegion | None = None,
    products: bool = True,
    time_limit: float | None = None,
    random_state: int = 0,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[Event], None] | None = None,
) -> LipschitzResult:
    """Bound ``‖C(f(x) − f(y))‖₂ / ‖x − y‖₂`` over all inputs x ≠ y, or over those of a region.

    The cheap bounds come first, each with its proof; a better one takes their place if it comes in time.

    Args:
        network: the network.
        C: (outputs,) one function of the outputs: a unit vector, or a difference of two for a pair. Or (r, outputs)
            several, whose change is measured in l2; the identity gives the constant of f itself.
        region: a box, a ball or both, or None for all inputs.
        products: use products of signs; without them the bound is LipSDP.
        time_limit: seconds, or None. LipSDP takes about a quarter. Where products of signs do not end in time the bound
            is LipSDP's; where even its check does not the verdict is UNKNOWN.
        random_state: seed of the sampled gradients.
        provenance, progress: as for ``verify``.

    Raises:
        InputError: C or the region has another length, or C is not finite.
    """
    C = np.atleast_2d(np.array(C, dtype=np.float64))
    if C.ndim != 2 or C.shape[1] != network.outputs or not len(C) or not np.isfinite(C).all():
        raise InputError(f"each function must be {network.outputs} finite numbers, one for each output.")
    if region is not None and region.inputs != network.inputs:
        raise InputError(f"the region has {region.inputs} inputs and the network has {network.inputs}; give its kind.")
    clock = Clock(time_limit, progress)
    left = clock.left
    clock.tell("sampled gradients")
    statement = _Statement(network, C, region, provenance or {}, Deadline.after(left()))
    sampling, gradients = left(SAMPLING_SHARE), statement.gradients
    sampled = largest_gradient(network, C, region, seed=random_state, seconds=SECONDS if sampling is None else sampling)
    met = f"met {down(sampled, 4)}"
    clock.tell("LipSDP", known=met)
    product = _left_behind(statement.norm_product, left(PLAIN_SHARE, least=0.5 * GRACE))
    theta = _weights(gradients, left(PLAIN_SHARE))
    patience = left(least=GRACE)
    best = _left_behind(lambda: _checked(statement.plain(theta), patience), patience) or statement.unchecked()
    note = None
    # Without a neuron that is unstable and has a weight there is one gradient, and nothing to improve.
    if products and len(theta):
        clock.tell("products of signs", known=f"proved {up(best[1].constant, 4)} · {met}")
        better = _left_behind(lambda: statement.with_products(theta, best, left(), random_state), left())
        if better is None:
            note = "time or memory do not suffice for products of signs; the bound is LipSDP's, which is weaker"
        best = better or best
    certificate, report = best
    return LipschitzResult(
        constant=report.constant,
        sampled=sampled,
        product=gradients.norm_product(exactly=False) if product is None else product,
        unstable=int(np.count_nonzero(statement.stable == 0)),
        certificate=certificate,
        report=report,
        note=note if report.verdict is Verdict.PROVED else None,
    )


def _left_behind(work: Callable[[], T], seconds: float | None) -> T | None:
    """What the work returns, None if it does not in time or breaks down; Ctrl-C ends the wait at once."""
    try:
        return abandonable(work, seconds=seconds, patience=0.0)
    except (OutOfTimeError, np.linalg.LinAlgError, ArithmeticError, ValueError):
        # Numbers near the ends of floating point may break a solver; what was proved before stays.
        return None


def _weights(gradients: Gradients, seconds: float | None) -> FloatArray:
    """The best weights that were found in time."""
    found = [np.full(len(gradients.U), rough_norm(gradients.B) / max(rough_norm(gradients.U), 1e-300))]
    _left_behind(lambda: found.append(best_weights(gradients, seconds, found.append)), seconds)
    return found[-1]


@dataclass(eq=False)
class _Statement:
    """What is to be proved, and the certificates that may.

    Neurons that are active or inactive all over the region are stable, proved by its bounds; the others become
    generators, the rows of ``gradients``.
    """

    network: ReluNetwork
    C: FloatArray
    region: InputRegion | None
    provenance: Mapping[str, Any]
    deadline: Deadline

    def __post_init__(self) -> None:
        network, C, self.stable = self.network, self.C, np.zeros(self.network.width, dtype=np.int64)
        if self.region is not None:
            self.stable = stable_signs(*preactivation_bounds(network, self.region, self.deadline))
        try:
            self.kept, self.B, self.lost = open_neurons(network, C, np.flatnonzero(self.stable == 0))
        except OverflowError:
            raise InputError("a weight of these functions of the outputs overflows; scale them down.") from None
        active = self.stable == ACTIVE
        J = C @ network.output[:, active] @ network.hidden[active]
        self.gradients = Gradients(network.hidden[self.kept], self.B, J)

    def norm_product(self) -> float:
        """Of the neurons that are not inactive, or of the unstable ones beside the gradient of the active ones."""
        here, least = self.stable >= 0, self.gradients.norm_product()
        if not (self.stable == ACTIVE).any():
            return least
        B = self.network.output[:, here].T @ self.C.T
        return min(Gradients(self.network.hidden[here], B, np.zeros_like(self.gradients.J)).norm_product(), least)

    def plain(self, theta: FloatArray) -> Iterator[Certificate]:
        """LipSDP with growing margins; large orders lose more to rounding in the check, and each attempt takes long."""
        gradients = self.gradients
        room = ROOM_PER_CUBE * (self.network.inputs + len(self.C)) ** 3
        for margin in MARGINS:
            if margin < room and margin != MARGINS[-1]:
                continue
            # The proof from weights is told in ``certificates.lipschitz``.
            up = 1.0 + margin
            if len(self.C) == 1:
                L = max(up * gradients.bound(theta, 1.0 / theta), SMALLEST)
                t = -2.0 * L * theta
            else:
                L = max(up * gradients.bound(up * theta, up / theta), SMALLEST)
                t = -2.0 * up * np.concatenate([theta, 1.0 / theta])
            yield self._certificate(L, t)

    def unchecked(self) -> _Proof:
        """What is there when time was over before anything was proved."""
        reason = "the time limit was reached before the proof was complete"
        report = Report(Verdict.UNKNOWN, reason, Arithmetic.FLOAT.value, 0.0)
        return self._certificate(LARGEST, np.zeros(len(self.kept))), report

    def with_products(self, theta: FloatArray, best: _Proof, seconds: float | None, seed: int) -> _Proof:
        """A proof by products of signs of a smaller constant than that of ``best``, or ``best``.

        A program that is too large for the time or the memory ends in an OutOfTimeError.
        """
        clock = Clock(seconds)
        bound = max(self.gradients.bound(theta, 1.0 / theta), SMALLEST)
        solved = solve(self.gradients, self.B[:, 0], bound, time_limit=seconds, seed=seed)
        if solved is None:
            raise OutOfTimeError

        def better() -> Iterator[Certificate]:
            for margin in MARGINS:
                certificate = self._certificate(*solved.proof(margin), solved.halfspace)
                if not certificate.constant < best[1].constant:
                    return
                yield certificate

        found = _checked(better(), clock.left())
        return found if found is not None and found[1].verdict is Verdict.PROVED else best

    def _certificate(
        self, constant: float, proof: LiftedProof | FloatArray, halfspace: FloatArray | None = None
    ) -> Certificate:
        """Of a proof, or of one with these complementarity multipliers alone."""
        if not isinstance(proof, LiftedProof):
            proof = build(LeafProof.plain(proof), len(proof))
        constant = float(np.nextafter(constant * (1.0 + 1e-15) + float(self.lost), np.inf))
        proved = LipschitzProof(self.stable, proof, np.zeros(0) if halfspace is None else halfspace)
        statement = Lipschitz(self.network, self.C, self.region)
        return Certificate(statement, (proved,), {"constant": constant}, self.provenance)


def _checked(candidates: Iterator[Certificate], seconds: float | None) -> _Proof | None:
    """The first certificate that the checker accepts, or the last one; None where there is no candidate."""
    deadline, found = Deadline.after(seconds), None
    for certificate in candidates:
        if deadline.passed:
            break
        found = certificate, check(certificate, time_limit=deadline.limit)
        if found[1].verdict is Verdict.PROVED:
            break
    return found
