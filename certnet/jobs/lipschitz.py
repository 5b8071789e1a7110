"""Lipschitz constants in l2, global and on regions: LipSDP, the stronger bound from products of signs, and samples."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from certificates import Certificate, Lipschitz, Report, Verdict, check
from certificates.arithmetic import Arithmetic
from certificates.certificate import LipschitzProof
from certificates.lipschitz import Neurons, open_neurons
from certificates.proof import LiftedProof
from certificates.robustness import preactivation_bounds
from certnet.runtime.abandon import OutOfTimeError, abandonable
from certnet.search.gradients import SECONDS, largest_gradient
from certnet.search.lipsdp import Gradients, best_weights, rough_norm
from certnet.search.sign_products import solve
from formulations import InputError
from formulations._validation import FloatArray, IntArray
from formulations.arguments import accepts, array, count, json_object, seconds
from formulations.lifted_space import ACTIVE
from formulations.margin import stable_signs
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion

MARGINS = (1e-9, 1e-7, 1e-5, 1e-3)
SAMPLING_SHARE = 0.1
PLAIN_SHARE = 0.25
"""Parts of the time that is left for sampled gradients and for LipSDP."""
GRACE = 1.0
"""Seconds that checking the cheap bound may take in any case, and half of it the norms."""
CHEAPER = "time or memory do not suffice for products of signs; the bound is LipSDP's, which is weaker"
LARGEST = 1e300
_Proof = tuple[Certificate, Report]
T = TypeVar("T")
ROOM_PER_CUBE = 3e-17
SMALLEST = 1e-100
"""Proved for functions that are constant; its square does not underflow."""


@dataclass(frozen=True, eq=False)
class LipschitzResult:
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

    constant: float
    sampled: float
    product: float
    unstable: int
    certificate: Certificate
    report: Report
    note: str | None = None


@np.errstate(all="ignore")
@accepts(
    network=ReluNetwork, C=array, region=InputRegion, time_limit=seconds, random_state=count, provenance=json_object
)
def lipschitz_constant(
    network: ReluNetwork,
    C: FloatArray,
    *,
    region: InputRegion | None = None,
    products: bool = True,
    time_limit: float | None = None,
    random_state: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> LipschitzResult:
    """Bound ``‖C(f(x) − f(y))‖₂ / ‖x − y‖₂`` over all inputs x ≠ y, or over those of a region.

    Args:
        network: the network.
        C: (outputs,) one function of the outputs: a unit vector, or a difference of two for a pair. Or (r, outputs)
            several, whose change is measured in l2; the identity gives the constant of f itself.
        region: a box, a ball or both, or None for all inputs.
        products: use products of signs; without them the bound is LipSDP.
        time_limit: seconds, or None. LipSDP takes about a quarter. Where products of signs do not end in time the bound
            is LipSDP's; where even its check does not the verdict is UNKNOWN.
        random_state: seed of the sampled gradients.
        provenance: JSON object for the certificate.

    Raises:
        InputError: C or the region has another length, or C is not finite.
    """
    C = _functions(C, network)
    if region is not None and region.inputs != network.inputs:
        raise InputError(f"the region has {region.inputs} inputs and the network has {network.inputs}; give its kind.")
    ends = math.inf if time_limit is None else time.perf_counter() + time_limit
    with np.errstate(all="ignore"):
        return _bounded(network, C, region, products, ends, random_state, provenance or {})


def _bounded(
    network: ReluNetwork,
    C: FloatArray,
    region: InputRegion | None,
    products: bool,
    ends: float,
    random_state: int,
    provenance: Mapping[str, Any],
) -> LipschitzResult:
    """The cheap bounds first, each with its proof; a better one takes their place if it comes in time."""

    def left(share: float = 1.0) -> float | None:
        return None if ends == math.inf else max(share * (ends - time.perf_counter()), 0.0)

    stable = stable_neurons(network, region)
    try:
        neurons = open_neurons(network, C, np.flatnonzero(stable == 0))
    except OverflowError:
        raise InputError("a weight of these functions of the outputs overflows; scale them down.") from None
    statement = _Statement(network, C, region, stable, neurons, provenance)
    sampling = left(SAMPLING_SHARE)
    sampled = largest_gradient(network, C, region, seed=random_state, seconds=SECONDS if sampling is None else sampling)
    patience = left(PLAIN_SHARE)
    product = _left_behind(
        lambda: _norm_product(network, C, stable, statement.gradients),
        None if patience is None else max(patience, 0.5 * GRACE),
    )
    theta = _weights(statement.gradients, left(PLAIN_SHARE))
    remaining = left()
    patience = None if remaining is None else max(remaining, GRACE)
    checked = _left_behind(lambda: _checked(statement.plain(theta), patience), patience)
    best = statement.unchecked() if checked is None else checked
    note = None
    # Without a neuron that is unstable and has a weight there is one gradient, and nothing to improve.
    if products and len(theta):
        better = _left_behind(lambda: statement.with_products(theta, best, left(), random_state), left())
        note = CHEAPER if better is None else None
        best = better or best
    certificate, report = best
    return LipschitzResult(
        constant=report.constant,
        sampled=sampled,
        product=statement.gradients.norm_product(exactly=False) if product is None else product,
        unstable=int(np.count_nonzero(stable == 0)),
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
    found: list[FloatArray] = []
    weights = _left_behind(lambda: best_weights(gradients, seconds, found.append), seconds)
    if weights is None and not found:
        found.append(np.full(len(gradients.U), rough_norm(gradients.B) / rough_norm(gradients.U)))
    return found[-1] if weights is None else weights


def stable_neurons(network: ReluNetwork, region: InputRegion | None) -> IntArray:
    """(m,) 1 and −1 for neurons that are active or inactive all over the region, proved by its bounds; else 0."""
    if region is None:
        return np.zeros(network.width, dtype=np.int64)
    return stable_signs(*preactivation_bounds(network, region))


def _functions(C: FloatArray, network: ReluNetwork) -> FloatArray:
    C = np.atleast_2d(np.array(C, dtype=np.float64))
    if C.ndim != 2 or C.shape[1] != network.outputs or not len(C) or not np.isfinite(C).all():
        raise InputError(f"each function must be {network.outputs} finite numbers, one for each output.")
    return C


def _norm_product(network: ReluNetwork, C: FloatArray, stable: IntArray, gradients: Gradients) -> float:
    if not (stable == ACTIVE).any():
        return gradients.norm_product()
    here = stable >= 0
    everything = Gradients(network.hidden[here], network.output[:, here].T @ C.T, np.zeros_like(gradients.J))
    return min(everything.norm_product(), gradients.norm_product())


@dataclass(frozen=True, eq=False)
class _Statement:
    """What is to be proved, and the certificates that may."""

    network: ReluNetwork
    C: FloatArray
    region: InputRegion | None
    stable: IntArray
    neurons: Neurons
    provenance: Mapping[str, Any]

    @property
    def weighty(self) -> IntArray:
        """The generators' neurons that have a weight."""
        return np.flatnonzero(self.neurons.B.any(axis=1))

    @property
    def gradients(self) -> Gradients:
        """Without neurons that have no weight."""
        active, kept = self.stable == ACTIVE, self.neurons.kept[self.weighty]
        J = self.C @ self.network.output[:, active] @ self.network.hidden[active]
        return Gradients(self.network.hidden[kept], self.neurons.B[self.weighty], J)

    def plain(self, theta: FloatArray) -> Iterator[Certificate]:
        """LipSDP with growing margins; large orders lose more to rounding in the check, and each attempt takes long."""
        order = self.network.inputs + len(self.C)
        for margin in MARGINS:
            if margin >= ROOM_PER_CUBE * order**3 or margin == MARGINS[-1]:
                yield self._plain(theta, margin)

    def unchecked(self) -> _Proof:
        """What is there when time was over before anything was proved."""
        nothing = LiftedProof.single(np.zeros((0, 2), dtype=np.int64), np.zeros(0), np.zeros(len(self.neurons.kept)))
        reason = "the time limit was reached before the proof was complete"
        report = Report(Verdict.UNKNOWN, reason, Arithmetic.FLOAT.value, 0.0)
        return self._certificate(LARGEST, nothing, np.zeros(0)), report

    def with_products(self, theta: FloatArray, best: _Proof, seconds: float | None, seed: int) -> _Proof:
        """A proof by products of signs of a smaller constant than that of ``best``, or ``best``.

        Raises:
            OutOfTimeError: the program is too large for the time or the memory.
        """
        start = time.perf_counter()
        bound = max(self.gradients.bound(theta, 1.0 / theta), SMALLEST)
        everything = Gradients(self.network.hidden[self.neurons.kept], self.neurons.B, self.gradients.J)
        solved = solve(everything, self.neurons.B[:, 0], bound, time_limit=seconds, seed=seed)
        if solved is None:
            raise OutOfTimeError

        def better() -> Iterator[Certificate]:
            for margin in MARGINS:
                constant, proof = solved.proof(margin)
                certificate = self._certificate(constant, proof, solved.halfspace)
                if not certificate.constant < best[1].constant:
                    return
                yield certificate

        left = None if seconds is None else max(seconds - (time.perf_counter() - start), 0.0)
        found = _checked(better(), left)
        return found if found is not None and found[1].verdict is Verdict.PROVED else best

    def _plain(self, theta: FloatArray, margin: float) -> Certificate:
        """LipSDP from its weights; see ``certificates.lipschitz_weights``."""
        gradients, N = self.gradients, len(self.neurons.kept)
        if len(self.C) == 1:
            L = max((1.0 + margin) * gradients.bound(theta, 1.0 / theta), SMALLEST)
            t = np.zeros(N)
            t[self.weighty] = -2.0 * L * theta
        else:
            up = 1.0 + margin
            L = max(up * gradients.bound(up * theta, up / theta), SMALLEST)
            t = -2.0 * up * np.concatenate([theta, 1.0 / theta])
        empty = np.zeros((0, 2), dtype=np.int64)
        return self._certificate(L, LiftedProof.single(empty, np.zeros(0), t), np.zeros(0))

    def _certificate(self, constant: float, proof: LiftedProof, halfspace: FloatArray) -> Certificate:
        constant = float(np.nextafter(constant * (1.0 + 1e-15) + float(self.neurons.lost), np.inf))
        return Certificate(
            Lipschitz(self.network, self.C, self.region),
            (LipschitzProof(self.stable, proof, halfspace),),
            {"constant": constant},
            self.provenance,
        )


def _checked(candidates: Iterator[Certificate], seconds: float | None) -> _Proof | None:
    """The first certificate that the checker accepts, or the last one; None where there is no candidate."""
    ends = math.inf if seconds is None else time.perf_counter() + seconds
    found = None
    for certificate in candidates:
        left = ends - time.perf_counter()
        if left <= 0:
            break
        found = certificate, check(certificate, time_limit=None if left == math.inf else left)
        if found[1].verdict is Verdict.PROVED:
            break
    return found
