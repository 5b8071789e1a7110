"""Lipschitz constants in l2, global and on regions: LipSDP, the stronger bound from products of signs, and samples."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from certificates.lipschitz import LipschitzCertificate, LipschitzReport, Neurons, check_lipschitz, open_neurons
from certificates.proof import LiftedProof
from certificates.robustness import preactivation_bounds
from certificates.verdict import Verdict
from certnet.verification.gradients import largest_gradient
from certnet.verification.lipsdp import Gradients, best_weights
from certnet.verification.sign_products import SignProducts, solve
from formulations import InputError
from formulations._validation import FloatArray, IntArray
from formulations.nodes import ACTIVE
from formulations.robustness import InputRegion, ReluNetwork, stable_signs

MARGINS = (1e-9, 1e-7, 1e-5, 1e-3)
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
    """

    constant: float
    sampled: float
    product: float
    unstable: int
    certificate: LipschitzCertificate
    report: LipschitzReport


@np.errstate(all="ignore")
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
        time_limit: seconds for the solver, or None. LipSDP takes at most a quarter, and its bound is there in any case.
        random_state: seed of the sampled gradients.
        provenance: JSON object for the certificate.

    Raises:
        InputError: C or the region has another length, or C is not finite.
    """
    C = _functions(C, network)
    if region is not None and region.inputs != network.inputs:
        raise InputError(f"the region has {region.inputs} inputs and the network has {network.inputs}; give its kind.")
    stable = stable_neurons(network, region)
    try:
        neurons = open_neurons(network, C, np.flatnonzero(stable == 0))
    except OverflowError:
        raise InputError("a weight of these functions of the outputs overflows; scale them down.") from None
    statement = _Statement(network, C, region, stable, neurons, provenance or {})
    start = time.perf_counter()
    theta = best_weights(statement.gradients, None if time_limit is None else 0.25 * time_limit)
    solved = None
    # Without a neuron that is unstable and has a weight there is one gradient, and nothing to improve.
    if products and len(theta):
        left = None if time_limit is None else max(time_limit - (time.perf_counter() - start), 0.0)
        bound = max(statement.gradients.bound(theta, 1.0 / theta), SMALLEST)
        everything = Gradients(network.hidden[neurons.kept], neurons.B, statement.gradients.J)
        solved = solve(everything, neurons.B[:, 0], bound, time_limit=left, seed=random_state)
    certificate, report = _checked(statement.candidates(theta, solved))
    return LipschitzResult(
        constant=report.constant,
        sampled=largest_gradient(network, C, region, seed=random_state),
        product=_norm_product(network, C, stable, statement.gradients),
        unstable=int(np.count_nonzero(stable == 0)),
        certificate=certificate,
        report=report,
    )


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

    def candidates(self, theta: FloatArray, solved: SignProducts | None) -> Iterator[LipschitzCertificate]:
        """The better of both bounds first, then LipSDP, each with growing margins."""
        if solved is not None:
            plain = self._plain(theta, MARGINS[0])
            for margin in MARGINS:
                constant, proof = solved.proof(margin)
                if not constant < plain.constant:
                    break
                yield self._certificate(constant, proof, solved.halfspace)
        for margin in MARGINS:
            yield self._plain(theta, margin)

    def _plain(self, theta: FloatArray, margin: float) -> LipschitzCertificate:
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

    def _certificate(self, constant: float, proof: LiftedProof, halfspace: FloatArray) -> LipschitzCertificate:
        constant = float(np.nextafter(constant * (1.0 + 1e-15) + float(self.neurons.lost), np.inf))
        return LipschitzCertificate(
            self.network, self.C, constant, self.stable, proof, self.region, halfspace, self.provenance
        )


def _checked(candidates: Iterator[LipschitzCertificate]) -> tuple[LipschitzCertificate, LipschitzReport]:
    """The first certificate that the checker accepts, or the last one."""
    for certificate in candidates:
        report = check_lipschitz(certificate)
        if report.verdict is Verdict.PROVED:
            break
    return certificate, report
