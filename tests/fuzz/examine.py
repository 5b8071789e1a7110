"""Reading and checking a certificate file of any kind, with the truth at a few points as the judge of what is proved.

Imports the checker and the truth alone, so that a fuzzer needs nothing else.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from certificates import Certificate, Lipschitz, Report, Robustness, Training, Verdict, check, read_certificate
from certificates.proof import LiftedProof
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion
from tests.certificates.truth import ERROR, true_dual_value, true_objective

exact = np.vectorize(Fraction, otypes=[object])


def examine(path: Path, seconds: float) -> str:
    """The verdict on a file of any kind.

    Raises:
        InputError: the file is no certificate.
        AssertionError: something is proved that is false.
    """
    certificate = read_certificate(path)
    report = check(certificate, time_limit=seconds)
    if report.verdict is Verdict.PROVED:
        assert _TRUE[type(certificate.statement)](certificate, report), report
    if isinstance(certificate.statement, Training) and isinstance(certificate.proof, LiftedProof):
        rounded = check(certificate, arithmetic="float", time_limit=seconds)
        if rounded.verdict is Verdict.PROVED:
            exact = check(certificate, arithmetic="exact", time_limit=seconds)
            assert exact.verdict is Verdict.PROVED or "time limit" in exact.reason, exact
    return str(report.verdict)


def _outputs(network: ReluNetwork, x: FloatArray) -> FloatArray:
    hidden = exact(network.hidden) @ exact(x) + exact(network.hidden_bias)
    outputs: FloatArray = exact(network.output) @ np.maximum(hidden, Fraction(0)) + exact(network.output_bias)
    return outputs


def _is_slope(certificate: Certificate, _: Report) -> bool:
    """Whether the constant holds between some points: 0 and ±10^20 e_j, beyond most kinks, or points of the region."""
    C, d = exact(certificate.C), certificate.network.inputs
    if certificate.region is None:
        points = [np.zeros(d), *(sign * 1e20 * row for row in np.eye(d) for sign in (1.0, -1.0))]
    else:
        points = _points(certificate.region)
    outputs = [C @ _outputs(certificate.network, x) for x in points]
    square = Fraction(certificate.constant) ** 2
    return all(
        sum((outputs[i] - outputs[j]) ** 2) <= square * sum((exact(points[i]) - exact(points[j])) ** 2)
        for i in range(len(points))
        for j in range(i)
    )


def _is_margin(certificate: Certificate, report: Report) -> bool:
    """Whether some row reaches the margin at the corners, the middle and the centre of every region."""
    return all(
        max(exact(case.H) @ _outputs(certificate.network, x) + exact(case.h)) >= Fraction(report.margin)
        for case in certificate.cases
        for x in _points(case.region)
    )


def _is_bound(certificate: Certificate, report: Report) -> bool:
    """Whether W is worth the bound, no network here is below it, and the own one reaches the objective."""
    s, proof = certificate.statement, certificate.proofs[0]
    assert isinstance(s, Training)
    own = true_objective(s, proof.U, proof.V, proof.output)
    idle = true_objective(s, proof.U[:, :0], proof.V[:, :0], 0.0 * proof.output)
    size = ERROR * (1 + own + idle)
    least = min(own, idle, true_dual_value(s, proof.W)) + size
    return Fraction(report.lower_bound) <= least and own <= Fraction(report.objective) + size


def _points(region: InputRegion) -> list[FloatArray]:
    points = [region.lower, region.upper, 0.5 * region.lower + 0.5 * region.upper]
    if region.centre is None or region.radius is None:
        return points
    points.append(region.centre)
    size = Fraction(region.radius) ** 2
    inside = [((x >= region.lower) & (x <= region.upper)).all() for x in points]
    near = [sum((exact(x) - exact(region.centre)) ** 2) <= size for x in points]
    return [x for x, *holds in zip(points, inside, near, strict=True) if all(holds)]


_TRUE: dict[type, Callable[[Certificate, Report], bool]] = {
    Training: _is_bound,
    Robustness: _is_margin,
    Lipschitz: _is_slope,
}
