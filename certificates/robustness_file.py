"""Robustness certificates as files: the container of docs/certificate-format.md with the kind "robustness"."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certificates.container import (
    FORMAT,
    PROOF,
    VERSION,
    lifted_proof,
    open_archive,
    proof_arrays,
    read_arrays,
    read_manifest,
    subtable,
    write_archive,
)
from certificates.robustness import CaseProof, RobustnessCertificate
from formulations.arguments import accepts, location
from formulations.errors import InputError
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase

KIND = "robustness"
MAX_CASES = 200
"""Cases that the manifest has room for."""

NETWORK: dict[str, tuple[str, int]] = {
    "network/hidden": ("<f8", 2),
    "network/hidden_bias": ("<f8", 1),
    "network/output": ("<f8", 2),
    "network/output_bias": ("<f8", 1),
}
REGION: dict[str, tuple[str, int]] = {
    "lower": ("<f8", 1),
    "upper": ("<f8", 1),
    "centre": ("<f8", 1),
    "radius": ("<f8", 1),
}
CASE_PROOF: dict[str, tuple[str, int]] = {
    "stable": ("<i8", 1),
    "mu": ("<f8", 2),
    "margin": ("<f8", 1),
    **PROOF,
}
CASE: dict[str, tuple[str, int]] = {**REGION, "H": ("<f8", 2), "h": ("<f8", 1), **CASE_PROOF}


def _table(cases: int) -> dict[str, tuple[str, int]]:
    """All arrays of a certificate with this many cases."""
    return {**NETWORK, **{f"case{i}/{name}": entry for i in range(cases) for name, entry in CASE.items()}}


@accepts(path=location, certificate=RobustnessCertificate)
def write_robustness(path: Path | str, certificate: RobustnessCertificate) -> None:
    """Write a certificate atomically. Equal certificates give equal bytes.

    Raises:
        InputError: it has too many cases for one file.
        OSError: the folder is missing or read-only, or the disk is full.
    """
    if len(certificate.cases) > MAX_CASES:
        raise InputError(
            f"the property has {len(certificate.cases)} cases, and a certificate file holds {MAX_CASES}; split it."
        )
    values: dict[str, NDArray[Any]] = {name: getattr(certificate.network, name.split("/")[1]) for name in NETWORK}
    for i, (case, given) in enumerate(zip(certificate.cases, certificate.proofs, strict=True)):
        values.update({f"case{i}/{name}": value for name, value in _case_arrays(case, given).items()})
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "kind": KIND,
        "cases": len(certificate.cases),
        "provenance": dict(certificate.provenance),
    }
    write_archive(path, manifest, values, {name: dtype for name, (dtype, _) in _table(len(certificate.cases)).items()})


def _case_arrays(case: UnsafeCase, given: CaseProof) -> dict[str, NDArray[Any]]:
    return {**region_arrays(case.region), "H": case.H, "h": case.h, **case_proof_arrays(given)}


def case_proof_arrays(given: CaseProof) -> dict[str, NDArray[Any]]:
    """The arrays of ``CASE_PROOF``; ``case_proof`` is the inverse."""
    return {
        "stable": given.stable,
        "mu": given.mu,
        "margin": np.array([given.margin]),
        **proof_arrays(given.proof),
    }


def region_arrays(region: InputRegion) -> dict[str, NDArray[Any]]:
    """The arrays of a region by name; ``region_of`` is the inverse."""
    return {
        "lower": region.lower,
        "upper": region.upper,
        "centre": np.zeros(0) if region.centre is None else region.centre,
        "radius": np.zeros(0) if region.radius is None else np.array([region.radius]),
    }


def region_of(arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> InputRegion:
    """The region whose arrays have these names; ``prefix`` is for messages.

    Raises:
        InputError: there is none such.
    """
    centre, radius = arrays["centre"], arrays["radius"]
    if len(radius) > 1:
        raise InputError(f"{prefix}radius holds more than one number.")
    ball = len(radius) == 1
    return InputRegion(
        arrays["lower"],
        arrays["upper"],
        centre if ball or len(centre) else None,
        float(radius[0]) if ball else None,
    )


@accepts(path=location)
def read_robustness(path: Path | str) -> RobustnessCertificate:
    """Read a certificate file; nothing in it is believed, but its shape is checked.

    Raises:
        InputError: the file is missing, damaged, or no robustness certificate of this version.
    """
    return open_archive(path, _read)


def _read(archive: zipfile.ZipFile, size: int) -> RobustnessCertificate:
    manifest = read_manifest(archive, KIND)
    cases = manifest.get("cases")
    if type(cases) is not int or not 1 <= cases <= MAX_CASES:
        raise InputError(f"its manifest has no number of cases between 1 and {MAX_CASES}.")
    provenance = subtable(manifest, "provenance")
    arrays = read_arrays(archive, size, manifest, _table(cases))
    network = ReluNetwork(**{name.split("/")[1]: arrays[name] for name in NETWORK})
    pairs = [_case(arrays, f"case{i}/") for i in range(cases)]
    return RobustnessCertificate(
        network, tuple(case for case, _ in pairs), tuple(proof for _, proof in pairs), provenance
    )


def _case(arrays: Mapping[str, NDArray[Any]], prefix: str) -> tuple[UnsafeCase, CaseProof]:
    mine = {name: arrays[prefix + name] for name in CASE}
    return UnsafeCase(region_of(mine, prefix), mine["H"], mine["h"]), case_proof(arrays, prefix)


def case_proof(arrays: Mapping[str, NDArray[Any]], prefix: str) -> CaseProof:
    """The proof whose arrays have these names after ``prefix``.

    Raises:
        InputError: its margin is not one number.
    """
    stable, mu, margin = (arrays[prefix + name] for name in ("stable", "mu", "margin"))
    if len(margin) != 1:
        raise InputError(f"{prefix}margin does not hold one number.")
    return CaseProof(stable, mu, float(margin[0]), lifted_proof(arrays, f"{prefix}proof/"))
