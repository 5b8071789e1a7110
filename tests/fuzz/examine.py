"""Reading and checking a certificate file of any kind, with the truth at a few points as the judge of what is proved.

Imports the checker alone, so that a fuzzer needs nothing else.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np

from certificates import Verdict, check, read_certificate
from certificates.container import KIND, certificate_kind
from certificates.lipschitz import LipschitzCertificate, check_lipschitz
from certificates.lipschitz_file import KIND as LIPSCHITZ
from certificates.lipschitz_file import read_lipschitz
from certificates.robustness import RobustnessCertificate
from certificates.robustness_checker import check_robustness
from certificates.robustness_file import read_robustness
from formulations._validation import FloatArray
from formulations.robustness import ReluNetwork, UnsafeCase

exact = np.vectorize(Fraction, otypes=[object])


def examine(path: Path, seconds: float) -> str:
    """The verdict on a file of any kind.

    Raises:
        InputError: the file is no certificate.
        AssertionError: something is proved that is false.
    """
    kind = certificate_kind(path)
    if kind == KIND:
        report = check(read_certificate(path), time_limit=seconds)
        assert report.verdict is not Verdict.PROVED or report.lower_bound <= report.objective, report
        return str(report.verdict)
    if kind == LIPSCHITZ:
        slope = read_lipschitz(path)
        found = check_lipschitz(slope, time_limit=seconds)
        assert found.verdict is not Verdict.PROVED or _is_slope(slope), found
        return str(found.verdict)
    margin = read_robustness(path)
    proved = check_robustness(margin, time_limit=seconds)
    assert proved.verdict is not Verdict.PROVED or _is_margin(margin, proved.margin), proved
    return str(proved.verdict)


def _outputs(network: ReluNetwork, x: FloatArray) -> FloatArray:
    hidden = exact(network.hidden) @ exact(x) + exact(network.hidden_bias)
    outputs: FloatArray = exact(network.output) @ np.maximum(hidden, Fraction(0)) + exact(network.output_bias)
    return outputs


def _is_slope(certificate: LipschitzCertificate) -> bool:
    """Whether the constant holds between 0 and ±10^20 e_j, beyond most kinks."""
    c, start = exact(certificate.c), _outputs(certificate.network, np.zeros(certificate.network.inputs))
    steps = [sign * 1e20 * row for row in np.eye(certificate.network.inputs) for sign in (1.0, -1.0)]
    rises = [abs(c @ (_outputs(certificate.network, step) - start)) for step in steps]
    return all(rise <= Fraction(certificate.constant) * Fraction(1e20) for rise in rises)


def _is_margin(certificate: RobustnessCertificate, margin: float) -> bool:
    """Whether some row reaches the margin at the corners, the middle and the centre of every region."""
    return all(
        max(exact(case.H) @ _outputs(certificate.network, x) + exact(case.h)) >= Fraction(margin)
        for case in certificate.cases
        for x in _points(case)
    )


def _points(case: UnsafeCase) -> list[FloatArray]:
    region = case.region
    points = [region.lower, region.upper, 0.5 * region.lower + 0.5 * region.upper]
    if region.centre is None or region.radius is None:
        return points
    points.append(region.centre)
    size = Fraction(region.radius) ** 2
    inside = [((x >= region.lower) & (x <= region.upper)).all() for x in points]
    near = [sum((exact(x) - exact(region.centre)) ** 2) <= size for x in points]
    return [x for x, *holds in zip(points, inside, near, strict=True) if all(holds)]
