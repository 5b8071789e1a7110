"""The largest radius around an input on which its class is certified, by bisection that never trusts an open bound."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from certificates.robustness import RobustnessCertificate
from certificates.verdict import Verdict
from certnet.verification.counterexample import Counterexample
from certnet.verification.verifier import verify
from formulations import InputError
from formulations._validation import FloatArray
from formulations.robustness import ReluNetwork, keeps_class, region_maker

STEPS = 40


@dataclass(frozen=True, eq=False)
class CertifiedRadius:
    """``certified ≤ true radius ≤ attacked``.

    Attributes:
        certified: a radius on which the class is proved to be kept; 0 without a certificate.
        attacked: a radius within which the class is lost; infinite if none was found up to the largest one tried.
        certificate: the proof for ``certified``.
        counterexample: an input within ``attacked``.
        open: whether the search ended because a radius between them was not decided.
    """

    certified: float
    attacked: float
    certificate: RobustnessCertificate | None
    counterexample: Counterexample | None
    open: bool


@np.errstate(all="ignore")
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
        time_limit: seconds for all radii together, or None. An undecided radius ends the search.
        random_state: seed of the attacks.
        provenance: JSON object that travels with the certificate, beside the norm and the radius.

    Raises:
        InputError: a norm, radius or label that does not exist, or an input of another size.
    """
    make = region_maker(norm)
    if not (largest > 0 and np.isfinite(largest)):
        raise InputError(f"the largest radius must be positive and finite, not {largest}.")
    deadline = np.inf if time_limit is None else time.perf_counter() + time_limit
    low, high = 0.0, np.inf
    certificate, counterexample = None, None
    radius, open_ = 0.0, False
    for _ in range(STEPS):
        left = deadline - time.perf_counter()
        if left <= 0:
            open_ = True
            break
        result = verify(
            network,
            keeps_class(network, make(x, radius), label),
            time_limit=left if np.isfinite(left) else None,
            random_state=random_state,
            provenance={**(provenance or {}), "norm": norm, "radius": radius},
        )
        if result.verdict is Verdict.PROVED:
            low, certificate = radius, result.certificate
        elif result.verdict is Verdict.REFUTED:
            high, counterexample = _distance(result.counterexample, x, norm), result.counterexample
        else:
            open_ = True
            break
        if low >= largest or (np.isfinite(high) and high - low <= tolerance * high):
            break
        radius = largest if not np.isfinite(high) else 0.5 * (low + high)
    return CertifiedRadius(low, high, certificate, counterexample, open_)


def _distance(found: Counterexample | None, x: FloatArray, norm: str) -> float:
    """How far a counterexample is from x, rounded up. Regions are rounded outwards, so it may pass their radius."""
    assert found is not None
    apart = np.abs(found.x - x)
    size = float(apart.max() if norm == "linf" else np.sqrt(np.sum(apart**2)))
    return size * (1.0 + 1e-12)
