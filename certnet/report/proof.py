"""What is proved about a run: found out by the checker while the page is made, whatever the run's report states."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from certificates import Certificate, Report, Training, Verdict, check, read_certificate
from certificates.findings import figures
from certnet.io.endings import class_numbers
from certnet.io.network import TwoLayerNetwork
from certnet.runtime.wording import mapping, number
from formulations import InputError
from formulations._validation import IntArray
from formulations.network import ReluNetwork

if TYPE_CHECKING:
    from certnet.io.runs import Run

AGREES = 1e-9  # Relative difference of a stated figure and the proved one from which the page says that they differ.
UNPROVED = dict.fromkeys(("objective", "lower_bound", "gap"))
"""What nobody is told where there is no certificate of it."""


@dataclass(frozen=True, eq=False)
class Proved:
    """A run as the page shows it.

    Attributes:
        report: what ``report.json`` states, with the checker's verdict and figures in place of the stated ones.
        certificate: that of training, if there is one and it is proved; ``check`` is what was found of one that could
            be read.
        remarks: sentences on what is not as the report states.
    """

    run: "Run"
    report: Mapping[str, Any]
    certificate: Certificate | None
    check: Report | None
    remarks: tuple[str, ...]

    @property
    def network(self) -> TwoLayerNetwork | None:
        """The certificate's network, for raw features where the run's network file says how they are scaled."""
        if self.certificate is None:
            return None
        proof, own = self.certificate.proofs[0], self.run.network
        biased = self.certificate.hidden_bias != "none"
        relu = ReluNetwork.of_program(proof.U, proof.V, proof.output, hidden_bias=biased)
        fits = own is not None and own.network.inputs == relu.inputs
        return TwoLayerNetwork(relu, offset=own.offset, scale=own.scale) if own and fits else TwoLayerNetwork(relu)

    @property
    def rows(self) -> "np.ndarray[Any, np.dtype[np.float64]] | None":
        """(n, d) training rows as ``network`` takes them."""
        network, certificate = self.network, self.certificate
        if network is None or certificate is None:
            return None
        X = certificate.X[:, : network.network.inputs]
        with np.errstate(all="ignore"):
            X = X if network.scale is None else X * network.scale
            X = X if network.offset is None else X + network.offset
        return X if np.isfinite(X).all() else None

    @property
    def labels(self) -> IntArray | None:
        """(n,) numbers of the classes of these rows, None where targets are numbers."""
        data = mapping(self.report.get("data"))
        if self.certificate is None or data.get("task") != "classification":
            return None
        return class_numbers(self.certificate.Y)


def proved(run: "Run", *, time_limit: float | None = 60.0) -> Proved:
    """Prove a run's certificate again; verdict, bounds and objective are the checker's from here on."""
    stated = dict(run.report)
    if run.certificate is None:
        if stated.get("command") not in ("train", "optimality"):
            return Proved(run, {**stated, **UNPROVED}, None, None, ())
        remark = "The folder holds no certificate, so nothing is proved here."
        return Proved(run, _without(stated, "there is no certificate"), None, None, (remark,))
    try:
        certificate = read_certificate(run.certificate, Training)
    except InputError as error:
        return Proved(run, _without(stated, "the certificate cannot be read"), None, None, (str(error),))
    found = check(certificate, time_limit=time_limit)
    if found.verdict is not Verdict.PROVED:
        # Nor is anything else in the certificate to be relied on, its network for one.
        remark = f"The certificate proves nothing: {found.reason}."
        return Proved(run, _without(stated, found.reason, str(found.verdict)), None, found, (remark,))
    own = {name: number(getattr(found, name)) for name in UNPROVED}
    differs = ["verdict"] if stated.get("verdict") != str(found.verdict) else []
    differs += [name.replace("_", " ") for name, value in own.items() if _differ(value, number(stated.get(name)))]
    said = f"report.json states another {', '.join(differs)} than its certificate proves; shown is what the certificate"
    facts = {
        "verdict": str(found.verdict),
        "reason": found.reason,
        **own,
        **figures(certificate, "loss", "gamma", "hidden_bias", "output_bias"),
        "width": int(certificate.U.shape[1]),
        "data": {**mapping(stated.get("data")), "fingerprint": certificate.data_fingerprint},
    }
    return Proved(run, {**stated, **facts}, certificate, found, (f"{said} proves.",) if differs else ())


def _without(stated: Mapping[str, Any], reason: str, verdict: str = "UNKNOWN") -> dict[str, Any]:
    return {**stated, "verdict": verdict, "reason": reason, **UNPROVED}


def _differ(own: float | None, stated: float | None) -> bool:
    if own is None or stated is None:
        return own is not stated
    return not (abs(own - stated) <= AGREES * max(abs(own), abs(stated), 1.0))
