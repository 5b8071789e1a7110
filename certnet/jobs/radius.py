"""The largest radius around an input on which its class is certified, by bisection that never trusts an open bound.

A radius that is not decided is gone round: the search goes on between it and the proved radius below, and between it
and the refuted one above, until both are near it. So the two radii still meet where only a small range is undecided.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from certificates.robustness import RobustnessCertificate
from certificates.verdict import Verdict
from certnet.jobs.verify import counterexample_fields, verify
from certnet.search.counterexample import Counterexample
from formulations import InputError
from formulations._validation import FloatArray
from formulations.arguments import accepts, array, count, json_object, real, seconds
from formulations.network import ReluNetwork
from formulations.robustness import keeps_class, region_maker

__all__ = ["CertifiedRadius", "certified_radius"]

STEPS = 60
SHARE = 0.3
"""Part of the time that is left which one radius may take, so that a hard one leaves time to go round it."""
SIDE = 1.0 / 32
"""Part of the tolerance to which the search comes near undecided radii."""


@dataclass(frozen=True, eq=False)
class CertifiedRadius:
    """``certified ≤ true radius ≤ attacked``.

    Attributes:
        certified: a radius on which the class is proved to be kept; 0 without a certificate.
        attacked: a radius within which the class is lost; infinite if none was found up to the largest one tried.
        certificate: the proof for ``certified``.
        counterexample: an input within ``attacked``.
        open: whether the two are further apart than the tolerance, because radii between them were not decided.
        seconds: wall time.
    """

    certified: float
    attacked: float
    certificate: RobustnessCertificate | None
    counterexample: Counterexample | None
    open: bool
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """What JSON says of it."""
        return {
            "result": "radius",
            "certified_radius": self.certified,
            "attacked_radius": self.attacked if math.isfinite(self.attacked) else None,
            "open": self.open,
            "counterexample": counterexample_fields(self.counterexample),
            "seconds": self.seconds,
        }


@np.errstate(all="ignore")
@accepts(
    network=ReluNetwork,
    x=array,
    label=count,
    largest=real,
    tolerance=real,
    time_limit=seconds,
    random_state=count,
    provenance=json_object,
)
def certified_radius(
    network: ReluNetwork,
    x: FloatArray,
    label: int,
    *,
    norm: str,
    largest: float,
    tolerance: float = 1e-3,
    time_limit: float | None = None,
    random_state: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> CertifiedRadius:
    """Bisect between a radius that is proved and one that is refuted.

    Args:
        network, x, label: the network, the input (d,), and the output that shall stay the largest.
        norm: "linf" or "l2".
        largest: the largest radius of interest, positive.
        tolerance: relative difference of the two radii at which to stop.
        time_limit: seconds for all radii together, or None.
        random_state: seed of the attacks.
        provenance: JSON object that travels with the certificate, beside the norm and the radius.

    Raises:
        InputError: a norm, radius, tolerance or label that does not exist, or an input of another size.
    """
    make = region_maker(norm)
    if not (largest > 0 and np.isfinite(largest)):
        raise InputError(f"the largest radius must be positive and finite, not {largest}.")
    if not tolerance > 0:
        raise InputError(f"the tolerance must be positive, not {tolerance}.")
    start = time.perf_counter()
    deadline = math.inf if time_limit is None else start + time_limit
    low, high, certificate, counterexample = 0.0, math.inf, None, None
    undecided: list[float] = []
    radius: float | None = 0.0
    for _ in range(STEPS):
        left = deadline - time.perf_counter()
        if radius is None or left <= 0:
            break
        result = verify(
            network,
            keeps_class(network, make(x, radius), label),
            time_limit=SHARE * left if np.isfinite(left) else None,
            random_state=random_state,
            provenance={**(provenance or {}), "norm": norm, "radius": radius},
        )
        if result.verdict is Verdict.PROVED:
            low, certificate = radius, result.certificate
        elif result.counterexample is not None:
            counterexample = result.counterexample
            high = min(radius, distance(counterexample.x, x, norm))
        else:
            undecided.append(radius)
        radius = _following(low, high, undecided, largest, tolerance)
    closed = low >= largest or _near(low, high, tolerance)
    return CertifiedRadius(low, high, certificate, counterexample, not closed, time.perf_counter() - start)


def _near(low: float, high: float, tolerance: float) -> bool:
    return high < math.inf and high - low <= tolerance * high


def _middle(low: float, high: float, largest: float) -> float:
    """Between two radii; by their ratio while it is large, so that no scale is far away."""
    if high <= 4.0 * low:
        return 0.5 * low + 0.5 * high
    return math.sqrt(low) * math.sqrt(high) if low > 0 else high * min(0.5, high / largest)


def _following(low: float, high: float, undecided: list[float], largest: float, tolerance: float) -> float | None:
    """The radius to try after these were proved, refuted and not decided; None if the search has come to its end."""
    if low >= largest or _near(low, high, tolerance):
        return None
    between = [radius for radius in undecided if low < radius < high]
    if not between:
        return largest if high == math.inf else _middle(low, high, largest)
    least, most = min(between), max(between)
    if high == math.inf and most < largest:
        return largest
    # The wider side first, until both are small beside the tolerance.
    high = high if high < math.inf else most
    sides = ((low, least, least), (most, high, most))
    gaps = [(b - a, _middle(a, b, largest)) for a, b, size in sides if b - a > SIDE * tolerance * size]
    return max(gaps)[1] if gaps else None


def distance(a: FloatArray, b: FloatArray, norm: str) -> float:
    """How far two vectors (d,) are apart, rounded up."""
    size = float(np.abs(a - b).max()) if norm == "linf" else math.dist(a, b)
    return math.nextafter(size * (1.0 + 1e-12), math.inf) if size else 0.0
