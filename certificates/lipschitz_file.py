"""Lipschitz certificates as files: the container of docs/certificate-format.md with the kind "lipschitz".

Version 1 holds a global constant of one function of the outputs; every other certificate needs version 2.
"""

import zipfile
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
from certificates.lipschitz import LipschitzCertificate
from certificates.robustness_file import NETWORK, REGION, region_arrays, region_of
from formulations.errors import InputError
from formulations.network import ReluNetwork

KIND = "lipschitz"
LOCAL_VERSION = 2
TABLES: dict[int, dict[str, tuple[str, int]]] = {
    VERSION: {**NETWORK, "c": ("<f8", 1), "constant": ("<f8", 1), **PROOF},
    LOCAL_VERSION: {
        **NETWORK,
        "C": ("<f8", 2),
        "constant": ("<f8", 1),
        "stable": ("<i8", 1),
        "halfspace": ("<f8", 1),
        **REGION,
        **PROOF,
    },
}


def write_lipschitz(path: Path | str, certificate: LipschitzCertificate) -> None:
    """Write a certificate atomically. Equal certificates give equal bytes.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full.
    """
    values: dict[str, NDArray[Any]] = {name: getattr(certificate.network, name.split("/")[1]) for name in NETWORK}
    values |= {"constant": np.array([certificate.constant]), **proof_arrays(certificate.proof)}
    version = VERSION
    if certificate.region is None and len(certificate.C) == 1:
        values["c"] = certificate.C[0]
    else:
        version = LOCAL_VERSION
        nowhere = {name: np.zeros(0) for name in REGION}
        values |= nowhere if certificate.region is None else region_arrays(certificate.region)
        values |= {name: getattr(certificate, name) for name in ("C", "stable", "halfspace")}
    manifest = {"format": FORMAT, "version": version, "kind": KIND, "provenance": dict(certificate.provenance)}
    write_archive(path, manifest, values, {name: dtype for name, (dtype, _) in TABLES[version].items()})


def read_lipschitz(path: Path | str) -> LipschitzCertificate:
    """Read a certificate file; nothing in it is believed, but its shape is checked.

    Raises:
        InputError: the file is missing, damaged, or no Lipschitz certificate of a known version.
    """
    return open_archive(path, _read)


def _read(archive: zipfile.ZipFile, size: int) -> LipschitzCertificate:
    manifest = read_manifest(archive, KIND)
    provenance = subtable(manifest, "provenance")
    arrays = read_arrays(archive, size, manifest, TABLES[manifest["version"]])
    if len(arrays["constant"]) != 1:
        raise InputError("constant does not hold one number.")
    network = ReluNetwork(**{name.split("/")[1]: arrays[name] for name in NETWORK})
    proof, constant = lifted_proof(arrays, "proof/"), float(arrays["constant"][0])
    if manifest["version"] == VERSION:
        stable = np.zeros(network.width, dtype=np.int64)
        return LipschitzCertificate(network, arrays["c"][None], constant, stable, proof, provenance=provenance)
    somewhere = any(arrays[name].size for name in REGION)
    return LipschitzCertificate(
        network,
        arrays["C"],
        constant,
        arrays["stable"],
        proof,
        region_of(arrays) if somewhere else None,
        arrays["halfspace"],
        provenance,
    )
